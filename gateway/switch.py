"""The switch: spans, SIP, IAX2, dial plan and calls as one sans-I/O core; the daemon and the simulation run it.

Bytes of every wire, media events and the time go in; frames, SIP messages and ended calls come out of ``poll``. The
wire of IAX2 is the media engine's. The calls are ``switchboard.py``'s; which way one leaves is decided in ``ways.py``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec

from gateway.capture.ring import Ring, Wire
from gateway.config.model import Configuration
from gateway.media.api import (
    ClearVoice,
    EngineLost,
    EngineReady,
    IaxFrame,
    IaxMediaEvent,
    IaxVoiceDue,
    Media,
    MediaEvent,
)
from gateway.prepared import Prepared, prepared
from gateway.pri.lapd import Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.pri.survival import PriSurvival
from gateway.pri.trunk import PriTrunk, TrunkOutput
from gateway.switchboard import MAX_CALLS, CallEnded, CallRefused, Switchboard
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
    from gateway.survival import Engine, Technology
    from gateway.trace_iax import IaxTrace
    from gateway.voip.iax.endpoint import IaxEndpoint
    from gateway.voip.iax.peers import IaxSettings

log = logging.getLogger(__name__)

_LAPD, _SIP = int(Wire.LAPD), int(Wire.SIP)
_OF_IAX = (IaxFrame, IaxVoiceDue, ClearVoice)


class SpanFrame(msgspec.Struct, frozen=True, gc=False):
    """``frame`` is to leave on the D channel of the span named ``span``."""

    span: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something an operator wants to know happened on ``span``."""

    span: str
    event: TrunkOutput


SwitchOutput = (
    SpanFrame | Send | Close | Resolve | StoreBindings | StoreIaxBindings | CallEnded | CallRefused | SpanEvent
)


class Switch(Switchboard):
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
        fresh = prepared(configuration)
        super().__init__(fresh, media, rng, max_calls=max_calls)
        self.tracer = tracer
        self.ring = ring
        # With many spans most have nothing to say at a time: only those that asked for it are polled, and asked for
        # their next deadline when they are done.
        self._awake: dict[str, None] = {}
        self._looks: dict[str, int] = {}
        self._rng = rng
        self.trunks: dict[str, PriTrunk] = {name: self._new_trunk(settings) for name, settings in fresh.spans.items()}
        settings = fresh.sip
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
        self.sip.left_by = self._left_by
        self._iax_trace: IaxTrace | None = None
        self._wall_clock = wall_clock
        self.iax = self._iax_endpoint(fresh.iax, wall_clock)
        self._ways = Ways(configuration, self.trunks, self.sip, self.iax)
        self.sip.on_changed = self._leg_changed
        self._survivals: dict[str, Technology] = {name: PriSurvival(trunk) for name, trunk in self.trunks.items()}
        self._survivals["sip"] = SipSurvival(self.sip)
        if self.iax is not None:
            self._keep_iax(self.iax)

    def _keep_iax(self, iax: IaxEndpoint) -> None:
        from gateway.voip.iax.survival import IaxSurvival

        iax.on_changed = self._leg_changed
        self._survivals["iax2"] = IaxSurvival(iax)

    def _begin_iax(self, settings: IaxSettings, now: int) -> None:
        iax = self.iax = self._iax_endpoint(settings, self._wall_clock)
        if iax is None:
            return
        self._keep_iax(iax)
        iax.network(self.sip.outbound.advertised.facts, now)
        if self._engine_up:
            iax.engine_ready(True, now)

    def _new_trunk(self, settings: PriSettings) -> PriTrunk:
        wake = partial(self._awake.__setitem__, settings.name, None)
        return PriTrunk(settings, self._media, self._rng, self._offered, wake, self._not_offered)

    def _iax_endpoint(self, settings: IaxSettings | None, wall_clock: Callable[[], float] | None) -> IaxEndpoint | None:
        if settings is None:
            return None
        # Late: a gateway without IAX2 need not have it in memory.
        from gateway.voip.iax.endpoint import IaxEndpoint

        media = self._media
        if self.tracer is not None:
            from gateway.trace_iax import IaxTrace

            self._iax_trace = IaxTrace(self.tracer, media, lambda: self._now)
            media = cast(Media, self._iax_trace)
        iax = IaxEndpoint(
            settings, media, self._rng, self._offered, on_not_offered=self._not_offered, wall_clock=wall_clock
        )
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
        if self.tracer is not None:
            line = trace_sip(now, str(flow), True, data)
            if line is not None:
                self.tracer(line)
        # A flood that is dropped unread does not drive out what the ring is for.
        if self.sip.receive(data, flow, now) and self.ring is not None:
            self.ring.note(now, _SIP, True, flow, data)

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
            if self.iax is not None:
                # First, so that far ends of calls that are ended hear of it.
                self.iax.engine_ready(event.fresh, now)
            self._engine_ready(event.fresh, now)
        else:
            call = self._watched.get(event.stream)
            if call is not None:
                call.on_media(event, now)

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

    def shut_down(self, now: int) -> None:
        """End all calls, both sides told, and refuse new ones from now on."""
        self._now = now
        self._end_all(now)
        self.sip.far_ends.leave(now)
        if self.iax is not None:
            self.iax.leave(now)

    def pardon(self, address: str) -> bool:
        """Hear ``address`` again, that was shut out of SIP or IAX2; False if it was not."""
        pardoned = self.sip.defence.pardon(address)
        return (self.iax is not None and self.iax.defence.pardon(address)) or pardoned

    # -- for the program after this one, and from the one before (gateway.survival.Heir) --

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

    # -- another configuration --

    def take_up(self, fresh: Prepared, renewed: frozenset[str], now: int) -> None:
        """Let ``fresh`` be in force from now on; calls that are up go on as they are.

        The spans ``renewed`` start anew; they, and those that ``fresh`` has no more, must have no calls.
        """
        self._now = now
        self._put_in_force(fresh)
        self.sip.take_up(fresh.sip, now)
        if self.iax is not None:
            # Without [iax] there is nobody whom it could talk to, and nothing that it listens at.
            nothing = msgspec.structs.replace(self.iax.settings, listeners=(), peers=(), context=None)
            self.iax.take_up(fresh.iax or nothing, now)
        elif fresh.iax is not None:
            self._begin_iax(fresh.iax, now)
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

    # -- for operators and tests --

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
