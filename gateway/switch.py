"""The switch: spans, SIP, dial plan and calls as one sans-I/O core; the daemon and the simulation run it.

Bytes of every wire, media events and the time go in; frames, SIP messages and ended calls come out of ``poll``.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.assembly import cause_rules, pri_settings, sip_settings
from gateway.call import Call, Purpose
from gateway.cause import Cause
from gateway.config.model import Configuration
from gateway.core import TimerQueue
from gateway.leg import Leg, Listener, Offered, Setup
from gateway.media.api import EngineLost, EngineReady, Media, MediaEvent, Tone
from gateway.media.tones import tones_for
from gateway.pri.lapd import Transmit
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import PriTrunk, TrunkOutput
from gateway.routing.dialplan import DialPlan, PhoneDestination, PriDestination, Routing, TrunkDestination
from gateway.routing.failover import goes_on
from gateway.routing.groups import trunk_groups
from gateway.trace import Tracer, trace_frame, trace_sip
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import Close, Flow, Resolve, Send

log = logging.getLogger(__name__)

MAX_CALLS = 1000


@dataclass(frozen=True, slots=True)
class SpanFrame:
    """``frame`` is to leave on the D channel of the span named ``span``."""

    span: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class CallEnded:
    """``call`` is over; it is to be written to the call records."""

    call: Call
    now: int


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something an operator wants to know happened on ``span``."""

    span: str
    event: TrunkOutput


SwitchOutput = SpanFrame | Send | Close | Resolve | CallEnded | SpanEvent


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
    ) -> None:
        self.configuration = configuration
        self.dial_plan = DialPlan(configuration)
        self.calls: dict[str, Call] = {}
        self.tracer = tracer
        self._media = media
        self._rules = cause_rules(configuration)
        self._tones = tones_for(configuration.gateway.country)
        self._timers: TimerQueue[tuple[str, Purpose]] = TimerQueue()
        self._watched: dict[int, Call] = {}
        self._ended: deque[CallEnded] = deque()
        self._serial = 0
        # Calls of one start of the daemon are told from those of another without a clock.
        self._epoch = f"{rng.getrandbits(32):08x}"
        self._now = 0
        self.trunks: Mapping[str, PriTrunk] = {
            span.name: PriTrunk(pri_settings(span, configuration), media, rng, self._offered)
            for span in configuration.spans
        }
        self._groups = trunk_groups(configuration)
        self._next_span: dict[str, int] = {}
        settings = sip_settings(configuration, self._rules)
        if local_for is None:
            self.sip = SipEndpoint(settings, media, rng, self._offered)
        else:
            self.sip = SipEndpoint(settings, media, rng, self._offered, local_for=local_for)

    # -- what the owner calls --

    def receive_frame(self, span: str, frame: bytes, now: int) -> None:
        """A frame came in on the D channel of ``span``."""
        self._now = now
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
        self.sip.receive(data, flow, now)

    def sip_connection_lost(self, flow: Flow, now: int) -> None:
        """A connection is gone or could not be made."""
        self._now = now
        self.sip.connection_lost(flow, now)

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The answer to a Resolve."""
        self._now = now
        self.sip.resolved(host, addresses, now)

    def media_event(self, event: MediaEvent, now: int) -> None:
        """The media engine told something that is no reply."""
        self._now = now
        if isinstance(event, EngineLost):
            log.error("the media engine is gone: calls have no voice until it is back")
        elif isinstance(event, EngineReady):
            log.info("the media engine answers%s", "" if event.fresh else ", with streams of before")
        else:
            call = self._watched.get(event.stream)
            if call is not None:
                call.on_media(event, now)

    def handle_timer(self, now: int) -> None:
        """Run all that is due."""
        self._now = now
        for trunk in self.trunks.values():
            due = trunk.next_timer()
            if due is not None and due <= now:
                trunk.handle_timer(now)
        self.sip.handle_timer(now)
        for identity, purpose in self._timers.expired(now):
            call = self.calls.get(identity)
            if call is not None:
                call.handle_timer(purpose, now)

    def next_timer(self) -> int | None:
        """The earliest deadline of all parts."""
        earliest = self._timers.next_timer()
        for trunk in self.trunks.values():
            at = trunk.next_timer()
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        at = self.sip.next_timer()
        return at if earliest is None or (at is not None and at < earliest) else earliest

    def poll(self) -> SwitchOutput | None:
        """The next thing to send or to note; None when all parts have nothing more to say."""
        for name, trunk in self.trunks.items():
            output = trunk.poll()
            if output is not None:
                return self._from_trunk(name, output)
        sip = self.sip.poll()
        if sip is None:
            return self._ended.popleft() if self._ended else None
        if self.tracer is not None and isinstance(sip, Send):
            line = trace_sip(self._now, str(sip.flow), False, sip.data)
            if line is not None:
                self.tracer(line)
        return sip

    def _from_trunk(self, name: str, output: TrunkOutput) -> SwitchOutput:
        if isinstance(output, Transmit):
            if self.tracer is not None:
                line = trace_frame(self._now, name, False, output.frame)
                if line is not None:
                    self.tracer(line)
            return SpanFrame(name, output.frame)
        return SpanEvent(name, output)

    # -- calls --

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if len(self.calls) >= MAX_CALLS:
            log.error("more than %d calls: one from %s is refused", MAX_CALLS, offered.source)
            return None
        self._serial += 1
        identity = f"{self._epoch}-{self._serial}"
        call = Call(identity, self, leg, offered, now)
        self.calls[identity] = call
        call.begin(now)
        return call

    def hang_up(self, identity: str, now: int) -> bool:
        """End a call; False if there is none of that identity."""
        self._now = now
        call = self.calls.get(identity)
        if call is None:
            return False
        call.hang_up(now)
        return True

    def explain(self, context: str, called: str) -> list[str]:
        """How the dial plan would route ``called``, a step a line."""
        return self.dial_plan.explain(context, called)

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

    def open_leg(self, destination: PriDestination | TrunkDestination | PhoneDestination, now: int) -> Leg | Cause:
        """A fresh outgoing leg, or why there can be none."""
        if isinstance(destination, PriDestination):
            return self._open_pri(destination, now)
        peer = destination.trunk if isinstance(destination, TrunkDestination) else destination.phone
        return self.sip.new_leg(peer, now)

    def _open_pri(self, destination: PriDestination, now: int) -> Leg | Cause:
        """Hunt the group's spans: g and G from the first and last, r and R onwards from the one used before."""
        spans = self._groups.get(destination.group, ())
        if not spans:
            return Cause.NO_ROUTE_TO_DESTINATION
        hunt = destination.hunt
        count = len(spans)
        step = -1 if hunt.descending else 1
        start = count - 1 if hunt.descending else 0
        key = f"{destination.group}{hunt.value}"
        if hunt.round_robin:
            start = self._next_span.get(key, start)
        worst: Cause = Cause.NO_CIRCUIT_AVAILABLE
        for offset in range(count):
            index = (start + step * offset) % count
            leg = self.trunks[spans[index]].new_leg(hunt, now)
            if not isinstance(leg, Cause):
                if hunt.round_robin:
                    self._next_span[key] = (index + step) % count
                return leg
            worst = leg
        return worst

    def ringback(self) -> Tone:
        """Ringing tone of the gateway's country."""
        return self._tones.ringback

    def start_timer(self, call: Call, purpose: Purpose, deadline: int) -> None:
        """(Re)start one of the call's timers."""
        self._timers.start((call.identity, purpose), deadline)

    def stop_timer(self, call: Call, purpose: Purpose) -> None:
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
        self._ended.append(CallEnded(call, now))

    # -- for operators and tests --

    @property
    def idle(self) -> bool:
        """True if no call, leg, transaction or watched stream is left."""
        return not (self.calls or self._watched or self._timers) and self.sip.idle


__all__ = ["CallEnded", "SpanEvent", "SpanFrame", "Switch", "SwitchOutput"]
