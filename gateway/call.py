"""A Call: two legs, the voice between them, and the record of it. Sans-I/O: leg and media events in, commands out.

It follows the ordered destinations of the dial plan until one answers, leaves nobody in silence while that takes, and
ends with exactly one record. It knows no technology: what differs between them is the legs' business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec.structs import replace

from gateway import leg as words
from gateway.call_history import Attempt, History
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import MAX_DIGITS, Party
from gateway.leg import Conveyed, Leg, LegEvent
from gateway.media import api as media_api
from gateway.media.api import Failure, Media, Opened, Tone
from gateway.routing.dialplan import (
    Destination,
    EchoDestination,
    IaxDestination,
    Incomplete,
    MilliwattDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    Refused,
    RejectDestination,
    Route,
    Routing,
    TonedDestination,
    TrunkDestination,
)

log = logging.getLogger(__name__)

# A channel that was taken in the same moment from the other side (glare) is no reason to give a call up.
MAX_CHANNEL_RETRIES = 2
# How long a released leg may take to be gone; Q.931 T305 + 2 × T308 (38 s) and SIP's 64 × T1 (32 s) are below it.
RELEASE_GUARD = 60 * SECOND
MAX_EARLY_TONE = 60 * SECOND
# A caller who vanished without a word, or a prompt whose engine died: only time ends such a call.
MAX_SERVICE = 1800 * SECOND
FAILURE_TONE = 20 * SECOND
"""How long a caller may listen to the tone that an operator set for a cause; below T306 (30 s) of a network side."""
MAX_NOTES = 16
_NO_LEG = {
    Cause.NO_CIRCUIT_AVAILABLE: "no channel is free",
    Cause.NETWORK_OUT_OF_ORDER: "no line is up",
}
"""Why there is no leg towards a destination, for the call record."""


class State(StrEnum):
    """Where a call stands."""

    DIALLING = "dialling"
    TRYING = "trying"
    ALERTING = "alerting"
    ANSWERED = "answered"
    RELEASING = "releasing"
    ENDED = "ended"


_NEXT: dict[State, frozenset[State]] = {
    State.DIALLING: frozenset({State.TRYING, State.RELEASING}),
    State.TRYING: frozenset({State.ALERTING, State.ANSWERED, State.RELEASING}),
    State.ALERTING: frozenset({State.TRYING, State.ANSWERED, State.RELEASING}),
    State.ANSWERED: frozenset({State.RELEASING}),
    State.RELEASING: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}


class Purpose(StrEnum):
    """What a call's timer is for."""

    RELEASE_GUARD = "release guard"
    TONE_LIMIT = "tone limit"
    RING_LIMIT = "ring limit"
    NOTHING_TO_HEAR = "nothing to hear"


class Switch(Protocol):
    """What a call asks of the one that owns it."""

    @property
    def media(self) -> Media:
        """The media engine."""

    def route(self, context: str, setup: words.Setup) -> Routing:
        """Ask the dial plan."""

    def continues(self, cause: Cause) -> bool:
        """Whether a destination that failed with ``cause`` lets the next one be tried."""

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        """``destinations`` in the order in which they are best tried now."""

    def open_leg(self, destination: PriDestination | TrunkDestination | PhoneDestination, now: int) -> Leg | Cause:
        """A fresh outgoing leg towards ``destination``, or why there can be none."""

    def ringback(self) -> Tone:
        """Ringing tone of this gateway's country."""

    def failure_tone(self, cause: Cause) -> Tone | None:
        """What a caller hears whose call failed with ``cause``; None: the caller's own side tells by the cause."""

    def start_timer(self, call: Call, purpose: Purpose, deadline: int) -> None:
        """(Re)start one of the call's timers."""

    def stop_timer(self, call: Call, purpose: Purpose) -> None:
        """Stop one of the call's timers."""

    def watch(self, stream: int, call: Call) -> None:
        """Send the media events of ``stream`` to ``call``."""

    def unwatch(self, stream: int) -> None:
        """No more media events of ``stream``."""

    def ended(self, call: Call, now: int) -> None:
        """The call is over, both legs are gone; take its record."""


class Call:
    """A call from its offer to its record. Construct, then ``begin``."""

    def __init__(self, identity: str, switch: Switch, leg: Leg, offered: words.Offered, now: int) -> None:
        self.identity = identity
        self.state = State.DIALLING
        self.incoming = leg
        self.outgoing: Leg | None = None
        self.setup = offered.setup
        self.context = offered.context
        self.source = offered.source
        self.history = History(now)
        self._switch = switch
        self._media = switch.media
        self._destinations: Sequence[Destination] = ()
        self._next = 0
        self._ring_seconds: int | None = None
        self._open_ended = False
        self._retries = 0
        self._proceeded = False
        self._outgoing_inband = False
        self._outgoing_heard = False
        self._early_audio = False
        self._incoming_gone = False
        self._own_stream: int | None = None
        self._timed_out = False
        # Whether a limit of time was ever set: most calls have none.
        self._limited = False
        self._wired: tuple[int, int] | None = None
        self._last_cause = Cause.NO_ROUTE_TO_DESTINATION
        # What the call will have failed of when its tone has been heard.
        self._failure: tuple[Cause, str, str] | None = None
        # Asked once, not with every state.
        self._verbose = log.isEnabledFor(logging.DEBUG)
        leg.listener = self

    def begin(self, now: int) -> None:
        """Route the call as far as its number goes."""
        self._watch(self.incoming.stream)
        self._route(now)

    def hang_up(self, now: int, cause: Cause = Cause.NORMAL_CALL_CLEARING, by: str = "operator") -> None:
        """End the call from our side."""
        self._release(cause, by, now)

    def abandon(self, now: int) -> None:
        """Wait no longer for the legs of a call that is being released."""
        self._note("a leg did not end in time")
        self._end(now)

    @property
    def has_voice(self) -> bool:
        """Whether the call has any stream in the media engine."""
        legs = (self.incoming, self.outgoing)
        return self._own_stream is not None or any(leg is not None and leg.stream is not None for leg in legs)

    def lose_voice(self, now: int) -> None:
        """The media engine is gone, and the call's voice with it."""
        self._note("the media engine failed")
        self._release(Cause.TEMPORARY_FAILURE, "gateway", now)

    # -- routing --

    def _route(self, now: int) -> None:
        routing = self._switch.route(self.context, self.setup)
        if isinstance(routing, Incomplete):
            if self.setup.complete or len(self.setup.called.digits) >= MAX_DIGITS:
                self._release(Cause.INVALID_NUMBER_FORMAT, "dial plan", now)
        elif isinstance(routing, Refused):
            self._note(routing.reason)
            self._fail(routing.cause, "dial plan", now)
        else:
            self._take(routing, now)

    def _take(self, route: Route, now: int) -> None:
        self.history.routed = now
        self.history.emergency = route.emergency
        self._set_state(State.TRYING)
        self._destinations = self._switch.ordered(route.destinations)
        self._ring_seconds = route.ring_seconds
        self._open_ended = route.open_ended
        self._next = 0
        self._try_next(now)

    def _try_next(self, now: int) -> None:
        while self._next < len(self._destinations):
            destination = self._destinations[self._next]
            self._next += 1
            self._retries = 0
            if self._try(destination, now):
                return
        self._fail(self._last_cause, self._who_refused(), now)

    def _try(self, destination: Destination, now: int) -> bool:
        """Start one destination; False when the next one is to be tried."""
        match destination:
            case PriDestination() | TrunkDestination() | PhoneDestination():
                return self._place(destination, now)
            case PlayDestination() | EchoDestination() | MilliwattDestination() | TonedDestination():
                self._serve(destination, now)
                return True
            case RejectDestination(cause):
                self._fail(cause, "dial plan", now)
                return True
            case IaxDestination():
                self._note("IAX2 trunks: not yet")
                self._last_cause = Cause.SERVICE_NOT_IMPLEMENTED
                return False

    def _place(self, destination: PriDestination | TrunkDestination | PhoneDestination, now: int) -> bool:
        number = self.setup.called.digits if isinstance(destination, PhoneDestination) else destination.number
        attempt = Attempt(str(destination), number)
        self.history.attempts.append(attempt)
        leg = self._switch.open_leg(destination, now)
        if isinstance(leg, Cause):
            attempt.cause = self._last_cause = leg
            attempt.text = _NO_LEG.get(leg, "")
            return not self._switch.continues(leg) and self._give_up(leg, now)
        self.outgoing = leg
        self._outgoing_inband = self._outgoing_heard = False
        leg.listener = self
        self._proceed(now)
        if self._ring_seconds is not None:
            self._limit(Purpose.RING_LIMIT, now + self._ring_seconds * SECOND)
        complete = self.setup.complete or not self._open_ended
        setup = self.setup
        if number != setup.called.digits or complete is not setup.complete:
            setup = replace(setup, called=replace(setup.called, digits=number), complete=complete)
        if self._next < len(self._destinations) and self._switch.continues(Cause.RECOVERY_ON_TIMER_EXPIRY):
            setup = replace(setup, alternatives=True)
        leg.place(setup, now)
        return True

    def _limit(self, purpose: Purpose, deadline: int) -> None:
        self._limited = True
        self._switch.start_timer(self, purpose, deadline)

    def _lift(self, *purposes: Purpose) -> None:
        if self._limited:
            for purpose in purposes:
                self._switch.stop_timer(self, purpose)

    def _give_up(self, cause: Cause, now: int) -> bool:
        self._fail(cause, self._who_refused(), now)
        return True

    def _who_refused(self) -> str:
        attempts = self.history.attempts
        if not attempts:
            return "dial plan"
        # Without a leg nobody was asked.
        return "far end" if attempts[-1].leg else "gateway"

    def _proceed(self, now: int) -> None:
        if not self._proceeded:
            self._proceeded = True
            self.incoming.proceed(now)

    # -- events --

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of one of the legs."""
        if isinstance(event, words.MediaChanged):
            self._watch(event.stream)
            if leg is self.incoming or leg is self.outgoing:
                self._wire()
        elif isinstance(event, words.Released):
            self._on_released(leg, event, now)
        elif self.state in (State.RELEASING, State.ENDED):
            return
        elif leg is self.incoming:
            self._on_incoming(event, now)
        elif leg is self.outgoing:
            self._on_outgoing(event, now)

    def _on_incoming(self, event: LegEvent, now: int) -> None:
        match event:
            case words.Digits(digits, complete):
                if self.state is State.DIALLING:
                    called = replace(self.setup.called, digits=(self.setup.called.digits + digits)[:MAX_DIGITS])
                    self.setup = replace(self.setup, called=called, complete=complete)
                    self._route(now)
                elif self.outgoing is not None:
                    self.outgoing.digits(digits, complete, now)
            case _:
                if self.outgoing is not None:
                    self._pass_on(self.outgoing, event, now)

    def _on_outgoing(self, event: LegEvent, now: int) -> None:
        match event:
            case words.Proceeding():
                pass
            case words.Progress(inband, cause, conveyed):
                if self.state is not State.ANSWERED:
                    self._progress(inband, cause, now, conveyed)
            case words.Alerting(inband, conveyed):
                if self.state is not State.ANSWERED:
                    self._alert(inband, now, conveyed)
            case words.Answered(connected, conveyed):
                self._answer(connected, now, conveyed)
            case _:
                self._pass_on(self.incoming, event, now)

    def _pass_on(self, leg: Leg, event: LegEvent, now: int) -> None:
        match event:
            case words.Keypad(digits, milliseconds):
                if not leg.keypad(digits, milliseconds, now) and leg.stream is not None:
                    self._media.send_digits(leg.stream, digits, milliseconds)
            case words.Held():
                leg.hold(now)
            case words.Resumed():
                leg.resume(now)
            case words.Identified(connected):
                self.history.connected = connected
                leg.identify(connected, now)
            case words.Notified(description):
                leg.notify(description, now)
            case words.Transferred(target):
                self._note(f"transfer to {target.digits} asked for, not yet possible")
            case _:
                log.debug("call %s: nothing to do for %r", self.identity, event)

    def on_media(self, event: media_api.MediaEvent, now: int) -> None:
        """Take an event of one of this call's streams."""
        match event:
            case media_api.DigitHeard(stream, digit, milliseconds):
                other = self._other(stream)
                if other is not None:
                    other.keypad(digit, milliseconds, now)
            case media_api.WentSilent(stream, milliseconds):
                self.history.one_way = True
                side = "incoming" if stream == self.incoming.stream else "outgoing"
                self._note(f"nothing heard from the {side} side for {milliseconds} ms")
                log.warning("call %s: one-way audio: %s", self.identity, self.history.notes[-1])
            case media_api.PromptEnded(stream) if stream == self._own_stream and self.state is State.ANSWERED:
                self._release(Cause.NORMAL_CALL_CLEARING, "gateway", now)
            case media_api.FirstPacket(stream) if self.outgoing is not None and stream == self.outgoing.stream:
                self._outgoing_heard = True
                # It said that it would send audio and now does: our ringing tone makes way.
                if self._outgoing_inband and self.state is State.ALERTING:
                    self._stop_own_voice()
                    self._wire()
            case media_api.StreamLost(stream, text):
                self._note(f"stream {stream}: {text}")
            case _:
                pass

    def handle_timer(self, purpose: Purpose, now: int) -> None:
        """One of this call's timers has expired."""
        if purpose is Purpose.TONE_LIMIT:
            cause, by, text = self._failure or (self._last_cause, "gateway", "")
            self._release(cause, by, now, text)
            return
        if purpose is Purpose.RING_LIMIT:
            if self.outgoing is not None and self.state is not State.ANSWERED:
                self._timed_out = True
                self.outgoing.release(Cause.NO_ANSWER_FROM_USER, now, "ring_seconds")
            return
        if purpose is Purpose.NOTHING_TO_HEAR:
            if self.outgoing is None:
                cause, by, text = self._failure or (Cause.TEMPORARY_FAILURE, "gateway", "")
                self._release(cause, by, now, text)
            return
        log.error("call %s: a leg did not end within %d s of its release", self.identity, RELEASE_GUARD // SECOND)
        self.abandon(now)

    # -- before answer --

    def _progress(self, inband: bool, cause: Cause | None, now: int, conveyed: Conveyed | None = None) -> None:
        if inband:
            self._stop_own_voice()
            self._early_audio = self._outgoing_inband = True
        self._wire()
        self.incoming.progress(inband, now, cause, conveyed)

    def _alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        if self.history.alerting is None:
            self.history.alerting = now
        self._set_state(State.ALERTING)
        self._outgoing_inband = self._outgoing_inband or inband
        # Ringing without audio after early media: the audio goes on if there is any (RFC 3960 3.2).
        inband = inband or (self._outgoing_inband and self._outgoing_heard)
        # A caller whose voice path is open already (early media, an announcement of a destination that failed) or
        # who depends on us for tones hears nothing unless we ring.
        if not inband and (self._early_audio or self.incoming.technology == "pri"):
            self._own_voice(self._switch.ringback(), "ringback")
            inband = True
        elif inband:
            self._stop_own_voice()
        self._early_audio = self._early_audio or inband
        self._wire()
        self.incoming.alert(inband, now, conveyed)

    def _answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        if self.state is State.ANSWERED:
            return
        self._lift(Purpose.RING_LIMIT)
        self.history.answered = now
        self.history.connected = connected
        self._set_state(State.ANSWERED)
        self._stop_own_voice()
        self._wire()
        self.incoming.answer(connected, now, conveyed)

    # -- services of the gateway itself --

    def _serve(
        self, service: PlayDestination | EchoDestination | MilliwattDestination | TonedDestination, now: int
    ) -> None:
        self._stop_own_voice()
        self._proceed(now)
        self.history.attempts.append(Attempt(str(service), ""))
        match service:
            case PlayDestination():
                self._adopt_voice(self._media.open_prompt(service.path, self.identity, self._on_own_voice))
            case EchoDestination():
                self._adopt_voice(self._media.open_echo(self.identity, self._on_own_voice))
            case MilliwattDestination(tone=tone):
                self._own_voice(tone, "milliwatt")
            case TonedDestination(tone=tone, cause=cause):
                self._last_cause = cause
                self._own_voice(tone, "tone")
                self._early_audio = True
                self.incoming.progress(True, now)
                self._wire()
                self._limit(Purpose.TONE_LIMIT, now + MAX_EARLY_TONE)
                return
        self._last_cause = Cause.NORMAL_CALL_CLEARING
        self._limit(Purpose.TONE_LIMIT, now + MAX_SERVICE)
        self._answer(None, now)

    # -- voice --

    def _own_voice(self, tone: Tone, what: str) -> None:
        if self._own_stream is None:
            self._adopt_voice(self._media.open_tone(tone, f"{self.identity} {what}", self._on_own_voice))

    def _adopt_voice(self, stream: int) -> None:
        self._stop_own_voice()
        self._own_stream = stream
        self._watch(stream)

    def _on_own_voice(self, reply: Opened | Failure) -> None:
        if isinstance(reply, Failure):
            self._note(f"no voice of our own: {reply.text}")
            log.error("call %s: the media engine cannot make a sound: %s", self.identity, reply.text)
            if self.outgoing is None:
                # Nobody is left in silence. Replies come without a time: what is due at once happens next.
                self._switch.start_timer(self, Purpose.NOTHING_TO_HEAR, 0)

    def _stop_own_voice(self) -> None:
        if self._own_stream is not None and not self._serving:
            self._unwatch(self._own_stream)
            self._media.close(self._own_stream)
            self._own_stream = None
            self._wired = None

    @property
    def _serving(self) -> bool:
        return self.outgoing is None and self.state is State.ANSWERED

    def _wire(self) -> None:
        """Connect what the caller is to hear now: our own voice, else the outgoing leg; only what has changed."""
        if self.state in (State.RELEASING, State.ENDED):
            return
        hears = self.incoming.stream
        speaks = self._own_stream
        if speaks is None and self.outgoing is not None:
            speaks = self.outgoing.stream
        if hears is None or speaks is None or self._wired == (hears, speaks):
            return
        if not self._early_audio and self.state is not State.ANSWERED:
            return
        self._wired = (hears, speaks)
        self._media.connect(hears, speaks)

    def _other(self, stream: int) -> Leg | None:
        if stream == self.incoming.stream:
            return self.outgoing
        if self.outgoing is not None and stream == self.outgoing.stream:
            return self.incoming
        return None

    def _watch(self, stream: int | None) -> None:
        if stream is not None:
            self._switch.watch(stream, self)

    def _unwatch(self, stream: int | None) -> None:
        if stream is not None:
            self._switch.unwatch(stream)

    # -- the end --

    def _on_released(self, leg: Leg, event: words.Released, now: int) -> None:
        self._unwatch(leg.stream)
        self._wired = None
        if leg is self.incoming:
            self._incoming_gone = True
            self.history.incoming = leg.record()
            if self.state not in (State.RELEASING, State.ENDED):
                by, text = self._ended_by(event, "caller")
                cause, by, text = self._failure or (event.cause, by, text)
                self._release(cause, by, now, text)
        elif leg is self.outgoing:
            self.outgoing = None
            attempt = self.history.attempts[-1]
            attempt.cause = event.cause
            attempt.text = f"{event.timer} expired" if event.timer else event.text
            attempt.leg = leg.record()
            if self.state not in (State.RELEASING, State.ENDED):
                self._on_outgoing_failed(leg, event, now)
        else:
            return
        self._end_if_over(now)

    def _end_if_over(self, now: int) -> None:
        if self.state is State.RELEASING and self._incoming_gone and self.outgoing is None:
            self._end(now)

    def _on_outgoing_failed(self, leg: Leg, event: words.Released, now: int) -> None:
        self._last_cause = event.cause
        timed_out, self._timed_out = self._timed_out, False
        if self.state is State.ANSWERED:
            by, text = self._ended_by(event, "called")
            self._release(event.cause, by, now, text)
            return
        if (
            event.cause is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
            and leg.technology == "pri"
            and self._retries < MAX_CHANNEL_RETRIES
        ):
            self._retries += 1
            retries = self._retries
            if self._try(self._destinations[self._next - 1], now):
                self._retries = retries
                return
        if (timed_out or self._switch.continues(event.cause)) and self._next < len(self._destinations):
            if self.state is State.ALERTING:
                self._set_state(State.TRYING)
            self._keep_ringing()
            self._try_next(now)
        else:
            by, text = ("gateway", event.text) if timed_out else self._ended_by(event, "called")
            self._fail(event.cause, by, now, text)

    def _ended_by(self, event: words.Released, side: str) -> tuple[str, str]:
        """Who ended the call, ``side`` or a timer of ours, and what is to be said of it."""
        if not event.timer:
            return side, event.text if side == "called" else ""
        text = f"{event.timer} expired"
        self._note(f"{text} towards the {'caller' if side == 'caller' else 'called side'}")
        return "gateway", text

    def _keep_ringing(self) -> None:
        """A caller who heard it ring goes on hearing that while the next destination is tried."""
        if self.history.alerting is not None and self._early_audio:
            self._own_voice(self._switch.ringback(), "ringback")
            self._wire()

    def _fail(self, cause: Cause, by: str, now: int, text: str = "") -> None:
        """The call leads nowhere: tell the caller's side by the cause, or with a tone first if one is set for it.

        A SIP caller gets the final status, a PSTN caller DISCONNECT; each side makes its own tone of that, so that
        nobody is left in silence.
        """
        tone = self._switch.failure_tone(cause)
        if tone is None or self._incoming_gone or self._failure is not None or self.state is State.RELEASING:
            self._release(cause, by, now, text)
            return
        self._failure = cause, by, text
        self._lift(Purpose.RING_LIMIT)
        self._set_state(State.TRYING)
        self._proceed(now)
        self._stop_own_voice()
        self._own_voice(tone, "failure")
        self._early_audio = True
        self.incoming.progress(True, now, cause)
        self._wire()
        self._limit(Purpose.TONE_LIMIT, now + FAILURE_TONE)

    def _release(self, cause: Cause, by: str, now: int, text: str = "") -> None:
        if self.state in (State.RELEASING, State.ENDED):
            return
        self.history.cause = cause
        self.history.released_by = by
        self.history.ended = now
        self._set_state(State.RELEASING)
        self._lift(Purpose.TONE_LIMIT, Purpose.RING_LIMIT)
        self._switch.start_timer(self, Purpose.RELEASE_GUARD, now + RELEASE_GUARD)
        if self._own_stream is not None:
            self._unwatch(self._own_stream)
            self._media.close(self._own_stream)
            self._own_stream = None
        if self.outgoing is not None:
            self.outgoing.release(cause, now, text)
        if not self._incoming_gone:
            self.incoming.release(cause, now, text)
        self._end_if_over(now)

    def _end(self, now: int) -> None:
        self._set_state(State.ENDED)
        self._switch.stop_timer(self, Purpose.RELEASE_GUARD)
        self._unwatch(self.incoming.stream)
        if self._incoming_gone:
            # Call and leg would keep each other in memory until the collector comes by.
            self.incoming.listener = None
        self._switch.ended(self, now)

    def _note(self, text: str) -> None:
        if len(self.history.notes) < MAX_NOTES:
            self.history.notes.append(text)

    def _set_state(self, state: State) -> None:
        if state is self.state:
            return
        if state not in _NEXT[self.state]:
            raise AssertionError(f"call {self.identity}: {self.state.value} -> {state.value} is not a transition")
        if self._verbose:
            log.debug("call %s: %s -> %s", self.identity, self.state.value, state.value)
        self.state = state
