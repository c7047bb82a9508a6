"""A Call: two legs, the voice between them, and the record of it. Sans-I/O: leg and media events in, commands out.

It follows the ordered destinations of the dial plan until one answers, leaves nobody in silence while that takes, and
ends with exactly one record. It knows no technology: what differs between them is the legs' business.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from gateway import leg as words
from gateway.call_digits import ToldDigits
from gateway.call_end import FAILURE_TONE, RELEASE_GUARD
from gateway.call_forward import CALL_IS_DIVERTING, MAX_FORWARDS, follow
from gateway.call_history import Attempt, TransferAttempt
from gateway.call_security import hindrance, wanted_of
from gateway.call_states import Purpose, State, Switch
from gateway.call_transfer import TransferringCall
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import MAX_DIGITS, Party
from gateway.leg import Conveyed, Leg, LegEvent
from gateway.media import api as media_api
from gateway.routing.dialplan import (
    Destination,
    EchoDestination,
    IaxDestination,
    Incomplete,
    LegDestination,
    MilliwattDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    Refused,
    RejectDestination,
    Route,
    TonedDestination,
    TrunkDestination,
)

__all__ = ["FAILURE_TONE", "MAX_SERVICE", "Call", "Purpose", "State", "Switch"]

log = logging.getLogger(__name__)

# A channel that was taken in the same moment from the other side (glare) is no reason to give a call up.
MAX_CHANNEL_RETRIES = 2
MAX_EARLY_TONE = 60 * SECOND
# A caller who vanished without a word, or a prompt whose engine died: only time ends such a call.
MAX_SERVICE = 1800 * SECOND
_NO_LEG = {
    Cause.NO_CIRCUIT_AVAILABLE: "no channel is free",
    Cause.NETWORK_OUT_OF_ORDER: "no line is up",
}
"""Why there is no leg towards a destination, for the call record."""
_VOICE_ONLY = (
    TrunkDestination,
    PhoneDestination,
    IaxDestination,
    PlayDestination,
    EchoDestination,
    MilliwattDestination,
)
"""Destinations whose voice passes a codec: only another line carries 64 kbit/s as they are (RFC 4040 is not had)."""


class Call(TransferringCall):
    """A call from its offer to its record. Construct, then ``begin``."""

    __slots__ = (
        "_destinations",
        "_forwarded",
        "_forwards",
        "_further",
        "_last_cause",
        "_next",
        "_open_ended",
        "_require",
        "_retries",
        "_ring_seconds",
        "_secure_bridge",
        "_timed_out",
        "_told",
        "context",
        "source",
    )

    def __init__(self, identity: str, switch: Switch, leg: Leg, offered: words.Offered, now: int) -> None:
        super().__init__(identity, switch, leg, offered.setup, now)
        self.context = offered.context
        self.source = offered.source
        if offered.note:
            self._note(offered.note)
        self._destinations: Sequence[Destination] = ()
        self._next = 0
        self._ring_seconds: int | None = None
        self._open_ended = False
        # Digits that came after the route was found.
        self._further = ""
        self._retries = 0
        # How often it was forwarded, and the numbers it was at, by context.
        self._forwards = 0
        self._forwarded: set[tuple[str, str]] = set()
        self._timed_out = False
        self._last_cause = Cause.NO_ROUTE_TO_DESTINATION
        self._secure_bridge: frozenset[str] = frozenset()
        self._require: frozenset[str] = frozenset()
        # By stream; of sides that told or sent any.
        self._told: dict[int, ToldDigits] = {}
        leg.listener = self

    def begin(self, now: int) -> None:
        """Route the call as far as its number goes."""
        self._watch(self.incoming.stream)
        self._route(now)

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
        self._secure_bridge = route.secure_bridge
        self._require = route.require
        if route.waived:
            self._note(f"emergency: {route.waived}")
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
        if not self.setup.speech and isinstance(destination, _VOICE_ONLY):
            self._leave_out(destination)
            return False
        match destination:
            case PriDestination() | TrunkDestination() | PhoneDestination() | IaxDestination():
                return self._place(destination, now)
            case TonedDestination(cause=cause) if not self.setup.speech:
                self._fail(cause, "dial plan", now)
                return True
            case PlayDestination() | EchoDestination() | MilliwattDestination() | TonedDestination():
                self._serve(destination, now)
                return True
            case RejectDestination(cause):
                self._fail(cause, "dial plan", now)
                return True

    def _leave_out(self, destination: Destination) -> None:
        """``destination`` carries voice alone: a way of a line that failed or is to come says more of the call."""
        cause = Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
        attempts = self.history.attempts
        if all(attempt.cause is cause for attempt in attempts):
            self._last_cause = cause
        attempts.append(Attempt(str(destination), "", cause, "carries speech only"))

    def _place(self, destination: LegDestination, now: int) -> bool:
        phone = isinstance(destination, PhoneDestination)
        number = self.setup.called.digits if phone else destination.number + self._further
        attempt = Attempt(str(destination), number)
        self.history.attempts.append(attempt)
        setup = self.setup
        if self._secure_bridge or setup.secure_bridge:
            wanted = wanted_of(destination, setup, self._secure_bridge)
            missing = self._switch.lacking(destination, wanted)
            if missing and self.history.emergency:
                self._note(f"emergency: {destination} has no {', '.join(sorted(missing))}")
            elif missing:
                attempt.cause = self._last_cause = Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
                attempt.text = hindrance(missing)
                return False
            setup = replace(setup, secure_bridge=wanted - missing)
        leg = self._switch.open_leg(destination, now, emergency=self.history.emergency)
        if isinstance(leg, Cause):
            attempt.cause = self._last_cause = leg
            attempt.text = _NO_LEG.get(leg, "")
            return not self._continues(leg) and self._give_up(leg, now)
        self.outgoing = attempt.owner = leg
        self.history.connected = None
        self._outgoing_inband = self._outgoing_heard = False
        leg.listener = self
        complete = self.setup.complete or not self._open_ended
        if complete:
            # To a caller that dials on it would say that no more digits are wanted (Q.931 5.1.5.1).
            self._proceed(now)
        if self._ring_seconds is not None:
            self._limit(Purpose.RING_LIMIT, now + self._ring_seconds * SECOND)
        if number != setup.called.digits or complete is not setup.complete:
            setup = replace(setup, called=replace(setup.called, digits=number), complete=complete)
        if self._next < len(self._destinations) and self._continues(Cause.RECOVERY_ON_TIMER_EXPIRY):
            setup = replace(setup, alternatives=True)
        if self.history.emergency:
            setup = replace(setup, emergency=True)
        if self._switch.directrtpsetup:
            leg.begin_with(self.incoming)
        leg.place(setup, now)
        self._switch.touch(self)
        return True

    def _continues(self, cause: Cause) -> bool:
        """Whether the next destination is tried: a call for help tries them all, whatever the one before said."""
        return self.history.emergency or self._switch.continues(cause)

    def _give_up(self, cause: Cause, now: int) -> bool:
        self._fail(cause, self._who_refused(), now)
        return True

    def _who_refused(self) -> str:
        attempts = self.history.attempts
        if not attempts:
            return "dial plan"
        # Without a leg nobody was asked.
        last = next((attempt for attempt in reversed(attempts) if attempt.cause is self._last_cause), attempts[-1])
        return "far end" if last.leg else "gateway"

    # -- events --

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of one of the legs."""
        if self.state is State.ANSWERED:
            self._switch.touch(self)
        if isinstance(event, words.MediaChanged):
            self._watch(event.stream)
            if leg is self.incoming or leg is self.outgoing or self._transfer is not None:
                self._wire()
        elif isinstance(event, words.Released):
            self._on_released(leg, event, now)
        elif self.state in (State.RELEASING, State.ENDED):
            return
        elif isinstance(event, words.Leaving):
            self._on_leaving(leg, event.released, now)
        elif leg is self.incoming:
            self._on_incoming(leg, event, now)
        elif leg is self.outgoing:
            self._on_outgoing(leg, event, now)
        elif self._transfer is not None and leg is self._transfer.leg:
            self._on_target(self._transfer, event, now)

    def _on_incoming(self, leg: Leg, event: LegEvent, now: int) -> None:
        match event:
            case words.Digits(digits, complete):
                if self.state is State.DIALLING:
                    self._take_digits(digits, complete)
                    self._route(now)
                elif self.outgoing is not None:
                    if self._open_ended and not self._proceeded:
                        self._take_digits(digits, complete)
                        self._further += digits
                        self.history.attempts[-1].number += digits
                        if complete:
                            self._proceed(now)
                    self.outgoing.digits(digits, complete, now)
            case _:
                self._pass_on(leg, self.outgoing, event, now)

    def _take_digits(self, digits: str, complete: bool) -> None:
        called = replace(self.setup.called, digits=(self.setup.called.digits + digits)[:MAX_DIGITS])
        self.setup = replace(self.setup, called=called, complete=complete)

    def _on_outgoing(self, leg: Leg, event: LegEvent, now: int) -> None:
        match event:
            case words.Proceeding():
                self._proceed(now)
            case words.Progress(inband, cause, conveyed):
                if self.state is not State.ANSWERED:
                    self._progress(inband, cause, now, conveyed)
            case words.Alerting(inband, conveyed):
                if self.state is not State.ANSWERED:
                    self._alert(inband, now, conveyed)
            case words.Answered(connected, conveyed):
                self._answer(connected, now, conveyed)
            case _:
                self._pass_on(leg, None if self._incoming_gone else self.incoming, event, now)

    def _pass_on(self, source: Leg, leg: Leg | None, event: LegEvent, now: int) -> None:
        """Something that ``source`` said in the call: see to it, or tell the other side, if there is one."""
        match event:
            case words.Held():
                self._on_held(source, now)
            case words.Resumed():
                self._on_resumed(source, now)
            case words.Transferred():
                self._on_transferred(source, event, now)
            case _ if leg is None or self._transfer is not None:
                pass
            case words.Keypad(digits, milliseconds):
                if source.stream is None:
                    self._press(leg, digits, milliseconds, now)
                else:
                    told = self._told.setdefault(source.stream, ToldDigits())
                    for pressed in told.tell(digits, milliseconds, now):
                        self._press(leg, pressed.digit, pressed.milliseconds, now)
                    self._await_digits()
            case words.Identified(party):
                if leg is self.incoming:
                    self.history.connected = party = self._completed(party)
                leg.identify(party, now)
            case words.Notified(description):
                leg.notify(description, now)
            case words.Text(text):
                send = getattr(leg, "text", None)
                if send is not None:
                    send(text, now)
            case _:
                log.debug("call %s: nothing to do for %r", self.identity, event)

    def on_media(self, event: media_api.MediaEvent, now: int) -> None:
        """Take an event of one of this call's streams."""
        match event:
            case media_api.DigitHeard(stream, digit, milliseconds):
                self._told.setdefault(stream, ToldDigits()).hear(digit, milliseconds, now)
                other = self._other(stream)
                if other is not None:
                    other.keypad(digit, milliseconds, now)
            case media_api.WentSilent(stream, milliseconds):
                self._on_silent(stream, milliseconds, now)
            case media_api.HeardAgain(stream):
                self._on_heard_again(stream, now)
            case media_api.PromptEnded(stream) if stream == self._own_stream and self._serving:
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

    def _press(self, leg: Leg, digits: str, milliseconds: int, now: int) -> None:
        if not leg.keypad(digits, milliseconds, now) and leg.stream is not None:
            self._media.send_digits(leg.stream, digits, milliseconds)

    def _digits_due(self, now: int) -> None:
        """Digits that were told in signalling were not heard as well."""
        for stream, told in self._told.items():
            other = self._other(stream)
            for pressed in told.due(now):
                if other is not None:
                    self._press(other, pressed.digit, pressed.milliseconds, now)
        self._await_digits()

    def _await_digits(self) -> None:
        deadlines = [told.deadline for told in self._told.values() if told.deadline is not None]
        if deadlines:
            self._limit(Purpose.DIGITS, min(deadlines))

    def handle_timer(self, purpose: Purpose, now: int) -> None:
        """One of this call's timers has expired."""
        if purpose is Purpose.DIGITS:
            self._digits_due(now)
            return
        if purpose is Purpose.TONE_LIMIT:
            cause, by, text = self._failure or (self._last_cause, "gateway", "")
            self._release(cause, by, now, text)
            return
        if purpose is Purpose.RING_LIMIT:
            if self.outgoing is not None and self.state is not State.ANSWERED:
                self._timed_out = True
                self.outgoing.release(Cause.NO_ANSWER_FROM_USER, now, "ring_seconds")
            return
        if purpose is Purpose.TRANSFER_LIMIT:
            self._transfer_limit(now)
            return
        if purpose is Purpose.VOICE_LIMIT:
            self._voice_limit(now)
            return
        if purpose is Purpose.NOTHING_TO_HEAR:
            if self.outgoing is None:
                cause, by, text = self._failure or (Cause.TEMPORARY_FAILURE, "gateway", "")
                self._release(cause, by, now, text)
            return
        log.error("call %s: a leg did not end within %d s of its release", self.identity, RELEASE_GUARD // SECOND)
        self.abandon(now)

    # -- before answer --

    def _answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        if self.state is State.ANSWERED:
            return
        self._lift(Purpose.RING_LIMIT)
        self.history.answered = now
        connected = self._completed(connected) if connected is not None else self.history.connected
        self.history.connected = connected
        self._set_state(State.ANSWERED)
        self._stop_own_voice()
        self._wire()
        early = self._switch.directrtpsetup
        if early:
            # The answer may name the called side's voice: not after it has gone.
            self._settle_join(now)
        self.incoming.answer(connected, now, conveyed)
        self._settle_join(now)
        if early and self._joined is None and self.outgoing is not None:
            self.outgoing.join(None, now)
        if self._holding:
            self._settle_voice(now)

    def _completed(self, party: Party) -> Party:
        """``party`` with what was said before: a name may come alone, before the number or after it."""
        known = self.history.connected
        if known is None:
            return party
        if party.number is None:
            return replace(party, number=known.number, network=known.network)
        if party.name is None and known.number is None:
            return replace(party, name=known.name, name_presentation=known.name_presentation)
        return party

    def _follow(self, forward: words.Forward, by: str, now: int) -> bool:
        """The called side, ``by``, sends the call elsewhere; False if that leads nowhere."""
        if self._forwards >= MAX_FORWARDS:
            self._note(f"forwarded more than {MAX_FORWARDS} times")
            return False
        self._forwards += 1
        self._forwarded.add((self.context, self.setup.called.digits))
        followed = follow(self._switch, forward, self.setup, self.history.attempts[-1].number, self._forwarded)
        for note in followed.notes:
            self._note(note)
        if not followed.destinations:
            return False
        self.setup = followed.setup
        self.history.sent_by += (by,)
        self._secure_bridge |= followed.secure_bridge
        self.history.emergency = self.history.emergency or followed.emergency
        self._destinations = (*followed.destinations, *self._destinations[self._next :])
        self._next = 0
        if self.state is State.ALERTING:
            self._set_state(State.TRYING)
        self.incoming.notify(CALL_IS_DIVERTING, now)
        self._keep_ringing()
        self._try_next(now)
        return True

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
        self._serve_until_limit(now)
        self._answer(None, now)

    def _serve_until_limit(self, now: int) -> None:
        self._last_cause = Cause.NORMAL_CALL_CLEARING
        self._limit(Purpose.TONE_LIMIT, now + MAX_SERVICE)

    # -- another leg asks for the place of one of this call --

    def take_place(self, old: Leg, new: Leg, offered: words.Offered, now: int) -> bool:
        """``new`` came in for the place of ``old`` (RFC 3891): take it in and answer it; False if that cannot be."""
        if not self.may_replace(old) or (old is self.incoming and self.state is not State.ANSWERED):
            return False
        if not self.asked_of(old, new.technology) <= offered.setup.facts:
            self._note(
                f"{offered.source} may not take the place of {old.source}: its hop is not as safe as was asked for"
            )
            return False
        number = offered.setup.caller.number
        attempt = TransferAttempt("", number.digits if number is not None else "", party=offered.setup.caller, at=now)
        attempt.kind, attempt.by = "replaces", offered.source
        self._note(f"{offered.source} took the place of {old.source}")
        self.take_in(old, new, attempt, now)
        other = self._partner(new)
        new.answer(self._party_of(other) if other is not None else None, now)
        return True

    def asked_of(self, old: Leg, technology: str) -> frozenset[str]:
        """The facts that a leg of ``technology`` must have to take the place of ``old``, by the route of this call."""
        if self.history.emergency:
            return frozenset()
        if old is self.incoming:
            return self._require
        # See wanted_of.
        return self._secure_bridge if technology == "pri" else self._secure_bridge | self.setup.secure_bridge

    # -- a leg is over --

    def _on_leaving(self, leg: Leg, event: words.Released, now: int) -> None:
        """Nobody stays on the line, nor is the engine asked twice, for the counters of a side that hung up."""
        if self.state is not State.ANSWERED or self._transfer is not None or self._others:
            return
        if leg is self.incoming or leg is self.outgoing:
            by, text = self._ended_by(event, "caller" if leg is self.incoming else "called")
            self._release(event.cause, by, now, text)

    def _on_released(self, leg: Leg, event: words.Released, now: int) -> None:
        self._unwatch(leg.stream)
        self._wired = None
        self.history.keep(leg, event.cause, f"{event.timer} expired" if event.timer else event.text)
        if self._on_other_released(leg, event, now):
            pass
        elif leg is self.incoming:
            self._incoming_gone = True
            if self.state not in (State.RELEASING, State.ENDED):
                by, text = self._ended_by(event, "caller")
                cause, by, text = self._failure or (event.cause, by, text)
                self._release(cause, by, now, text)
        elif leg is self.outgoing:
            self.outgoing = None
            if self.state not in (State.RELEASING, State.ENDED):
                self._on_outgoing_failed(leg, event, now)
        else:
            return
        self._end_if_over(now)

    def _on_outgoing_failed(self, leg: Leg, event: words.Released, now: int) -> None:
        self._last_cause = event.cause
        timed_out, self._timed_out = self._timed_out, False
        if (
            event.forward is not None
            and self.state is not State.ANSWERED
            and self._follow(event.forward, leg.source, now)
        ):
            return
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
        if (timed_out or self._continues(event.cause)) and self._next < len(self._destinations):
            if self.state is State.ALERTING:
                self._set_state(State.TRYING)
            self._keep_ringing()
            self._try_next(now)
        else:
            by, text = ("gateway", event.text) if timed_out else self._ended_by(event, "called")
            self._fail(event.cause, by, now, text)
