"""The switch: spans, SIP, IAX2, dial plan and calls as one sans-I/O core; the daemon and the simulation run it.

Bytes of every wire, media events and the time go in; frames, SIP messages and ended calls come out of ``poll``. The
wire of IAX2 is the media engine's. Which way a call leaves is decided in ``ways.py``.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec

from gateway.assembly import cause_rules, music_on_hold, pri_settings, sip_settings
from gateway.assembly_iax import iax_settings
from gateway.call import Call, Purpose
from gateway.call_survival import CallState, revived
from gateway.call_voice import VoicedCall
from gateway.capture.ring import Ring, Wire
from gateway.cause import Cause
from gateway.config.model import Configuration
from gateway.core import SECOND, TimerQueue
from gateway.leg import Leg, Listener, NotOffered, Offered, Setup
from gateway.media.api import (
    ClearVoice,
    EngineLost,
    EngineReady,
    IaxFrame,
    IaxMediaEvent,
    IaxVoiceDue,
    Media,
    MediaEvent,
    Tone,
)
from gateway.media.tones import HOLD_TONE, tones_for
from gateway.pri.lapd import Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.pri.survival import PriSurvival
from gateway.pri.trunk import PriTrunk, TrunkOutput
from gateway.routing.callers import CallerIds
from gateway.routing.dialplan import Destination, DialPlan, LegDestination, Route, Routing
from gateway.routing.failover import goes_on
from gateway.trace import Tracer, trace_frame, trace_sip
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import Close, Flow, Resolve, Send
from gateway.voip.sip.names import Answer
from gateway.voip.sip.survival import SipSurvival
from gateway.ways import Ways

if TYPE_CHECKING:
    from gateway.prepared import Prepared
    from gateway.survival import Engine, Technology
    from gateway.trace_iax import IaxTrace
    from gateway.voip.iax.endpoint import IaxEndpoint

log = logging.getLogger(__name__)

_LAPD, _SIP = int(Wire.LAPD), int(Wire.SIP)
MAX_CALLS = 1000
_OF_IAX = (IaxFrame, IaxVoiceDue, ClearVoice)
ENGINE_WAIT = 10 * SECOND
"""How long calls wait for a media engine that went away; without one they have no voice and are ended."""


class SpanFrame(msgspec.Struct, frozen=True, gc=False):
    """``frame`` is to leave on the D channel of the span named ``span``."""

    span: str
    frame: bytes


class CallEnded(msgspec.Struct, frozen=True):
    """``call`` is over; it is to be written to the call records."""

    call: Call
    now: int


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something an operator wants to know happened on ``span``."""

    span: str
    event: TrunkOutput


@dataclass(frozen=True, slots=True)
class CallRefused:
    """A call came in that could not even be offered to the dial plan; it is to be written to the call records too."""

    identity: str
    refused: NotOffered
    now: int


SwitchOutput = (
    SpanFrame | Send | Close | Resolve | StoreBindings | StoreIaxBindings | CallEnded | CallRefused | SpanEvent
)


class Switch:
    """Everything that signals, in one core. ``local_for`` says which local address reaches a remote one."""

    def __init__(
        self,
        configuration: Configuration,
        media: Media,
        rng: random.Random,
        *,
        local_for: Callable[[str], str] | None = None,
        tracer: Tracer | None = None,
        ring: Ring | None = None,
        max_calls: int = MAX_CALLS,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.configuration = configuration
        self.dial_plan = DialPlan(configuration)
        self.calls: dict[str, Call] = {}
        self.tracer = tracer
        self.ring = ring
        self._media = media
        self._rules = cause_rules(configuration)
        self._caller_ids = CallerIds(configuration)
        self._tones = tones_for(configuration.gateway.country)
        self._music = music_on_hold(configuration)
        # The timers of the calls, and by its name the next moment at which to look after a trunk.
        self._timers: TimerQueue[tuple[str, Purpose] | str] = TimerQueue()
        # Before this nothing of them is due; where a timer was stopped, later neither: looking again once is cheaper.
        self._due: int | None = None
        self._watched: dict[int, Call] = {}
        self._max_calls = max_calls
        self._closing = False
        self._engine_up = False
        self._engine_deadline: int | None = None
        # Calls that had voice when the engine went away.
        self._voiceless: list[Call] = []
        self._ended: deque[CallEnded | CallRefused] = deque()
        self._serial = 0
        self.touched: dict[str, None] = {}
        """Calls that are other than they were kept (``gateway.survival``); whoever keeps them empties it."""
        # Calls of one start of the daemon are told from those of another without a clock.
        self._epoch = f"{rng.getrandbits(32):08x}"
        self._now = 0
        # With many spans most have nothing to say at a time: only those that asked for it are polled, and asked for
        # their next deadline when they are done.
        self._awake: dict[str, None] = {}
        self._looks: dict[str, int] = {}
        self._rng = rng
        self.trunks: dict[str, PriTrunk] = {
            span.name: self._new_trunk(pri_settings(span, configuration)) for span in configuration.spans
        }
        settings = sip_settings(configuration, self._rules)
        if local_for is None:
            self.sip = SipEndpoint(
                settings, media, rng, self._offered, on_not_offered=self._not_offered, wall_clock=wall_clock
            )
        else:
            self.sip = SipEndpoint(
                settings,
                media,
                rng,
                self._offered,
                local_for=local_for,
                on_not_offered=self._not_offered,
                wall_clock=wall_clock,
            )
        self.sip.unproven.leads_to_help = self._leads_to_help
        self._phones = frozenset(phone.name for phone in configuration.phones)
        self._closed: frozenset[str] = frozenset()
        self.sip.left_by = self._left_by
        self._iax_trace: IaxTrace | None = None
        self.iax = self._iax_endpoint(rng, wall_clock)
        self._ways = Ways(configuration, self.trunks, self.sip, self.iax)
        self.sip.on_changed = self._leg_changed
        self._survivals: dict[str, Technology] = {name: PriSurvival(trunk) for name, trunk in self.trunks.items()}
        self._survivals["sip"] = SipSurvival(self.sip)
        if self.iax is not None:
            from gateway.voip.iax.survival import IaxSurvival

            self.iax.on_changed = self._leg_changed
            self._survivals["iax2"] = IaxSurvival(self.iax)

    def _new_trunk(self, settings: PriSettings) -> PriTrunk:
        wake = partial(self._awake.__setitem__, settings.name, None)
        return PriTrunk(settings, self._media, self._rng, self._offered, wake, self._not_offered)

    def _iax_endpoint(self, rng: random.Random, wall_clock: Callable[[], float] | None) -> IaxEndpoint | None:
        settings = iax_settings(self.configuration)
        if settings is None:
            return None
        # Late: a gateway without IAX2 need not have it in memory.
        from gateway.voip.iax.endpoint import IaxEndpoint

        media = self._media
        if self.tracer is not None:
            from gateway.trace_iax import IaxTrace

            self._iax_trace = IaxTrace(self.tracer, media, lambda: self._now)
            media = cast(Media, self._iax_trace)
        iax = IaxEndpoint(settings, media, rng, self._offered, on_not_offered=self._not_offered, wall_clock=wall_clock)
        iax.left_by = self._left_by
        iax.ring = self.ring
        if self._iax_trace is not None:
            self._iax_trace.endpoint = iax
        return iax

    # -- what the owner calls --

    def receive_frame(self, span: str, frame: bytes, now: int) -> None:
        """A frame came in on the D channel of ``span``."""
        self._now = now
        if self.ring is not None:
            self.ring.note(now, _LAPD, True, span, frame)
        if self.tracer is not None:
            line = trace_frame(now, span, True, frame)
            if line is not None:
                self.tracer(line)
        self.trunks[span].receive_frame(frame, now)

    def line_state(self, span: str, alarm: Alarm, now: int) -> None:
        """Layer 1 of ``span`` changed."""
        self._now = now
        self.trunks[span].line_state(alarm, now)

    def receive_sip(self, data: bytes, flow: Flow, now: int) -> None:
        """A datagram or bytes of a stream came in on ``flow``."""
        self._now = now
        if self.ring is not None:
            self.ring.note(now, _SIP, True, flow, data)
        if self.tracer is not None:
            line = trace_sip(now, str(flow), True, data)
            if line is not None:
                self.tracer(line)
        self.sip.receive(data, flow, now)

    def sip_connection_lost(self, flow: Flow, now: int) -> None:
        """A connection is gone or could not be made."""
        self._now = now
        self.sip.connection_lost(flow, now)

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The answer to a Resolve."""
        self._now = now
        self.sip.resolved(host, addresses, now)

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        """The answer to a Resolve of any kind, with its time to live."""
        self._now = now
        self.sip.looked_up(question, answer, now)
        if self.iax is not None:
            self.iax.looked_up(question, answer, now)

    def network(self, facts: NetworkFacts, now: int) -> None:
        """The networks of this host are these now."""
        self._now = now
        self.sip.enter(now)
        self.sip.relocation.network(facts, now)
        if self.iax is not None:
            self.iax.enter(now)
            self.iax.network(facts, now)

    def media_event(self, event: MediaEvent | IaxMediaEvent, now: int) -> None:
        """The media engine told something that is no reply."""
        self._now = now
        if isinstance(event, _OF_IAX):
            if self.iax is not None:
                if self._iax_trace is not None and isinstance(event, IaxFrame):
                    self._iax_trace.received(event, now)
                self.iax.media_event(event, now)
        elif isinstance(event, EngineLost):
            self._engine_lost(now)
        elif isinstance(event, EngineReady):
            self._engine_ready(event.fresh, now)
        else:
            call = self._watched.get(event.stream)
            if call is not None:
                call.on_media(event, now)

    def _engine_lost(self, now: int) -> None:
        self._engine_up = False
        known = {call.identity for call in self._voiceless}
        self._voiceless += [call for call in self.calls.values() if call.has_voice and call.identity not in known]
        self._engine_deadline = now + ENGINE_WAIT
        self._note_due(self._engine_deadline)
        log.error("the media engine is gone: %d calls have no voice until it is back", len(self._voiceless))

    def _engine_ready(self, fresh: bool, now: int) -> None:
        log.info("the media engine answers%s", "" if fresh else ", with streams of before")
        self._engine_up = True
        self._engine_deadline = None
        if self.iax is not None:
            # First, so that far ends of calls that are ended hear of it.
            self.iax.engine_ready(fresh, now)
        if fresh:
            self._end_voiceless(now)
        self._voiceless.clear()

    def _end_voiceless(self, now: int) -> None:
        """Nobody is left in a call that cannot be heard."""
        for call in self._voiceless:
            if call.identity in self.calls:
                call.lose_voice(now)
        self._voiceless.clear()

    def handle_timer(self, now: int) -> None:
        """Run all that is due."""
        self._now = now
        if self._engine_deadline is not None and self._engine_deadline <= now:
            self._engine_deadline = None
            self._end_voiceless(now)
        self.sip.handle_timer(now)
        if self.iax is not None:
            self.iax.handle_timer(now)
        for key in self._timers.expired(now):
            if isinstance(key, str):
                # Its own handle_timer passes over what is not due, as the deadline may have moved.
                del self._looks[key]
                self.trunks[key].handle_timer(now)
                continue
            identity, purpose = key
            call = self.calls.get(identity)
            if call is not None:
                call.handle_timer(purpose, now)
        self._due = self._timers.next_timer()
        if self._engine_deadline is not None:
            self._note_due(self._engine_deadline)

    def _note_due(self, at: int) -> None:
        if self._due is None or at < self._due:
            self._due = at

    def enter(self, now: int) -> None:
        """What is drained from now on happens at ``now``; replies of the media engine come without a time."""
        self._now = now
        self.sip.enter(now)
        if self.iax is not None:
            self.iax.enter(now)

    def next_timer(self) -> int | None:
        """The earliest deadline of all parts, or an earlier one that was given up meanwhile."""
        for name in self._awake:
            self._set_deadline(name, self.trunks[name])
        at, due = self.sip.next_timer(), self._due
        if self.iax is not None:
            soon = self.iax.next_timer()
            if soon is not None and (at is None or soon < at):
                at = soon
        return due if due is not None and (at is None or due < at) else at

    def poll(self) -> SwitchOutput | None:
        """The next thing to send or to note; None when all parts have nothing more to say."""
        awake = self._awake
        while True:
            while awake:
                for name in awake:
                    trunk = self.trunks[name]
                    output = trunk.poll()
                    if output is not None:
                        if isinstance(output, Transmit) and self.tracer is None:
                            if self.ring is not None:
                                self.ring.note(self._now, _LAPD, False, name, output.frame)
                            return SpanFrame(name, output.frame)
                        return self._from_trunk(name, output)
                    del awake[name]
                    self._set_deadline(name, trunk)
                    break  # polling it may have woken others
            sip = self.sip.poll()
            if sip is not None:
                break
            if self.iax is not None:
                wanted = self.iax.poll()
                if wanted is not None:
                    return wanted
            # Those who heard SIP's legs, or those of IAX2, may have made a trunk or SIP speak.
            if not awake and (self.iax is None or not self.sip.pending):
                return self._ended.popleft() if self._ended else None
        if self.ring is not None and isinstance(sip, Send):
            self.ring.note(self._now, _SIP, False, sip.flow, sip.data)
        if self.tracer is not None and isinstance(sip, Send):
            line = trace_sip(self._now, str(sip.flow), False, sip.data)
            if line is not None:
                self.tracer(line)
        return sip

    def _set_deadline(self, name: str, trunk: PriTrunk) -> None:
        running = self._looks.get(name)
        soon = self._now + trunk.shortest_timer
        # One that is too early costs less than moving it with every frame: before it no timer begun now can end.
        if running is not None and running <= soon and not trunk.failed_legs:
            return
        at = trunk.next_timer()
        if at is None:
            if running is not None:
                del self._looks[name]
                self._timers.stop(name)
        elif running is None or at < running:
            if running is not None and at > soon:
                # Where one frame comes others follow.
                at = soon
            self._looks[name] = at
            self._timers.start(name, at)
            self._note_due(at)

    def _from_trunk(self, name: str, output: TrunkOutput) -> SwitchOutput:
        if isinstance(output, Transmit):
            if self.ring is not None:
                self.ring.note(self._now, _LAPD, False, name, output.frame)
            if self.tracer is not None:
                line = trace_frame(self._now, name, False, output.frame)
                if line is not None:
                    self.tracer(line)
            return SpanFrame(name, output.frame)
        return SpanEvent(name, output)

    # -- calls --

    def _left_by(self, name: str) -> int:
        """How many calls the trunk or phone ``name`` has sent on that go on without anybody at the branch."""
        return sum(call.left_by(name, self._phones) for call in self.calls.values())

    def _new_identity(self) -> str:
        self._serial += 1
        return f"{self._epoch}-{self._serial}"

    def _not_offered(self, refused: NotOffered, now: int) -> None:
        self._ended.append(CallRefused(self._new_identity(), refused, now))

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if offered.replaces is not None:
            return self._replacing(leg, offered, offered.replaces, now)
        offered = self._caller_ids.applied(offered)
        identity = self._new_identity()
        call = Call(identity, self, leg, offered, now)
        full = len(self.calls) >= self._max_calls and not self._leads_to_help(
            offered.context, offered.setup.called.digits
        )
        self.calls[identity] = call
        if (
            full
            or self._closing
            or (
                offered.source in self._closed and not self._leads_to_help(offered.context, offered.setup.called.digits)
            )
        ):
            if full:
                log.error("more than %d calls: one from %s is refused", self._max_calls, offered.source)
            call.hang_up(now, Cause.SWITCHING_EQUIPMENT_CONGESTION, "gateway")
        else:
            call.begin(now)
        return call

    def _leads_to_help(self, context: str, number: str) -> bool:
        """Whether ``number`` is an emergency call in ``context``."""
        routing = self.dial_plan.route(context, number)
        return isinstance(routing, Route) and routing.emergency

    def _replacing(self, leg: Leg, offered: Offered, replaced: Leg, now: int) -> Listener | None:
        """``leg`` is no call of its own but asks for a place in a standing one; None if it cannot have it any more."""
        call = replaced.listener
        if not isinstance(call, Call) or self._closing or not call.take_place(replaced, leg, offered, now):
            return None
        return call

    def offer(self, leg: Leg, offered: Offered, now: int) -> str:
        """Take a call that the owner itself begins on ``leg``; its identity."""
        self._now = now
        call = self._offered(leg, offered, now)
        return call.identity if isinstance(call, Call) else ""

    def hang_up(self, identity: str, now: int) -> bool:
        """End a call; False if there is none of that identity."""
        self._now = now
        call = self.calls.get(identity)
        if call is None:
            return False
        call.hang_up(now)
        return True

    def shut_down(self, now: int) -> None:
        """End all calls, both sides told, and refuse new ones from now on."""
        self._now = now
        self._closing = True
        for call in tuple(self.calls.values()):
            call.hang_up(now, Cause.TEMPORARY_FAILURE, "gateway")
        self.sip.far_ends.leave(now)
        if self.iax is not None:
            self.iax.leave(now)

    def abandon(self, identity: str, now: int) -> None:
        """Give up waiting for the legs of a call that is being released, if it is still there."""
        self._now = now
        call = self.calls.get(identity)
        if call is not None:
            call.abandon(now)

    def abandon_calls(self, now: int) -> None:
        """Give up waiting for the legs of calls that are being released, so that each call has its record."""
        self._now = now
        for call in tuple(self.calls.values()):
            call.abandon(now)

    def pardon(self, address: str) -> bool:
        """Hear ``address`` again, that was shut out of SIP or IAX2; False if it was not."""
        pardoned = self.sip.defence.pardon(address)
        return (self.iax is not None and self.iax.defence.pardon(address)) or pardoned

    def explain(self, context: str, called: str) -> list[str]:
        """How the dial plan would route ``called``, a step a line."""
        return self.dial_plan.explain(context, called)

    # -- for the program after this one, and from the one before (gateway.survival.Heir) --

    def touch(self, call: VoicedCall) -> None:
        """``call`` is other than it was."""
        self.touched[call.identity] = None

    def _leg_changed(self, leg: Leg) -> None:
        call = leg.listener
        if isinstance(call, Call):
            self.touched[call.identity] = None

    def technology_of(self, technology: str, source: str) -> Technology | None:
        """Who keeps and revives the legs of ``technology`` from ``source``; None if that is not configured."""
        if technology == "pri":
            return self._survivals.get(source)
        return self._survivals.get(technology)

    def inherit(self, engine: Engine) -> None:
        """Calls of before are about to be gone on with; ``engine`` has what is theirs."""
        if self.iax is not None:
            self.iax.inherit(engine)

    def inherited(self, now: int) -> None:
        """Those that go on have been adopted."""
        if self.iax is not None:
            self.iax.inherited(now)

    def adopt(self, state: CallState, incoming: Leg, outgoing: Leg, now: int) -> Call:
        """A call of the program before this one goes on."""
        self._now = now
        call = self.calls[state.identity] = revived(state, self, incoming, outgoing, now)
        self.touch(call)
        return call

    # -- another configuration --

    def take_up(self, fresh: Prepared, renewed: frozenset[str], now: int) -> None:
        """Let ``fresh`` be in force from now on; calls that are up go on as they are.

        The spans ``renewed`` start anew; they, and those that ``fresh`` has no more, must have no calls.
        """
        self._now = now
        self.configuration = fresh.configuration
        self.dial_plan = fresh.dial_plan
        self._rules = fresh.rules
        self._caller_ids = fresh.caller_ids
        self._tones = fresh.tones
        self._music = fresh.music
        self._phones = fresh.phones
        self.sip.take_up(fresh.sip, now)
        if self.iax is not None and fresh.iax is not None:
            self.iax.take_up(fresh.iax, now)
        self._take_up_spans(fresh.spans, renewed)
        self._ways = Ways(fresh.configuration, self.trunks, self.sip, self.iax)
        self._ways.closed = self._closed

    def _take_up_spans(self, spans: Mapping[str, PriSettings], renewed: frozenset[str]) -> None:
        for name in [name for name in self.trunks if name not in spans or name in renewed]:
            del self.trunks[name], self._survivals[name]
            self._awake.pop(name, None)
            if self._looks.pop(name, None) is not None:
                self._timers.stop(name)
        for name, settings in spans.items():
            trunk = self.trunks.get(name)
            if trunk is None:
                trunk = self.trunks[name] = self._new_trunk(settings)
                self._survivals[name] = PriSurvival(trunk)
            else:
                trunk.take_up(settings)

    def is_phone(self, name: str) -> bool:
        """Whether the peer of that name is a phone."""
        return name in self._phones

    def close_parts(self, names: frozenset[str]) -> None:
        """Let no call begin over the spans, trunks and phones of ``names``, and over all others again."""
        self._closed = self._ways.closed = names

    # -- what a Call asks (gateway.call.Switch) --

    @property
    def media(self) -> Media:
        """The media engine."""
        return self._media

    def route(self, context: str, setup: Setup) -> Routing:
        """Ask the dial plan."""
        caller = setup.caller.number
        return self.dial_plan.route(
            context, setup.called.digits, caller.digits if caller else "", setup.facts, setup.complete
        )

    def continues(self, cause: Cause) -> bool:
        """Whether the next destination is tried after ``cause``."""
        return goes_on(cause, self._rules)

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        """``destinations`` with peers that went silent after the others."""
        return self._ways.ordered(destinations, self._now)

    def open_leg(self, destination: LegDestination, now: int, *, emergency: bool = False) -> Leg | Cause:
        """A fresh outgoing leg, or why there can be none."""
        return self._ways.open_leg(destination, now, emergency=emergency)

    def lacking(self, destination: LegDestination, wanted: frozenset[str]) -> frozenset[str]:
        """Which of the facts ``wanted`` the hop to ``destination`` cannot have."""
        return self._ways.lacking(destination, wanted)

    def ringback(self) -> Tone:
        """Ringing tone of the gateway's country."""
        return self._tones.ringback

    @property
    def directrtpsetup(self) -> bool:
        """What ``[sip] directrtpsetup`` says."""
        return self.configuration.sip.directrtpsetup

    def music_on_hold(self) -> Tone | str | None:
        """What ``[media] musiconhold`` says."""
        return self._music

    def hold_tone(self) -> Tone:
        """The tone of those on hold."""
        return HOLD_TONE

    def failure_tone(self, cause: Cause) -> Tone | None:
        """The tone that the configuration's ``[[cause]]`` sets for ``cause``, if any."""
        name = self._rules.tone.get(cause)
        return None if name is None else self._tones.named(name)

    def start_timer(self, call: VoicedCall, purpose: Purpose, deadline: int) -> None:
        """(Re)start one of the call's timers."""
        self._timers.start((call.identity, purpose), deadline)
        self._note_due(deadline)

    def stop_timer(self, call: VoicedCall, purpose: Purpose) -> None:
        """Stop one of the call's timers."""
        self._timers.stop((call.identity, purpose))

    def watch(self, stream: int, call: Call) -> None:
        """Send the media events of ``stream`` to ``call``."""
        self._watched[stream] = call

    def unwatch(self, stream: int) -> None:
        """No more media events of ``stream``."""
        self._watched.pop(stream, None)

    def ended(self, call: Call, now: int) -> None:
        """The call is over."""
        self.calls.pop(call.identity, None)
        self.touched[call.identity] = None
        self._ended.append(CallEnded(call, now))

    # -- for operators and tests --

    @property
    def engine_up(self) -> bool:
        """True while the media engine answers."""
        return self._engine_up

    @property
    def quiet(self) -> bool:
        """True if no call and no leg is left, whatever still waits for a stray retransmission."""
        sip = self.sip
        calls = self.calls or sip.legs or sip.dialogs or any(trunk.legs for trunk in self.trunks.values())
        return not calls and sip.far_ends.quiet and (self.iax is None or self.iax.quiet)

    @property
    def idle(self) -> bool:
        """True if no call, leg, transaction or watched stream is left."""
        timers = any(not isinstance(key, str) for key in self._timers)
        return not (self.calls or self._watched or timers) and self.sip.idle and (self.iax is None or self.iax.idle)


__all__ = ["CallEnded", "CallRefused", "SpanEvent", "SpanFrame", "Switch", "SwitchOutput"]
