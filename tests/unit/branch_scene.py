"""A small branch in virtual time: Switch, an exchange a span, and one SIP far end; every wire takes a millisecond."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.call_record import record_of, refusal_record
from gateway.cause import Cause
from gateway.config import parse
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, Listener, Offered, Released, Setup
from gateway.pri.exchange.core import CallEvent, CallRequest, Exchange
from gateway.pri.exchange.line import Report
from gateway.pri.exchange.plan import NumberPlan
from gateway.pri.lapd import Side, Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.record import CallRecord, WallClock
from gateway.switch import CallEnded, CallRefused, SpanFrame, Switch
from gateway.switchboard import MAX_CALLS
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import UDP, Flow, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse as parse_sip
from gateway.voip.sip.peers import PeerSettings, SipSettings
from tests.simulation.voice import DirectMedia

GATEWAY, FAR = "10.0.0.1", "10.0.0.2"
LATENCY = MILLISECOND
QUIET = 400.0
"""Seconds; longer than any timer of a call that is over."""

ROUTES = """
[[route]]
context = "from-pstn"
match = "_41655501XX"
to = ["sip:hq/{number}"]

[[route]]
context = "from-hq"
match = "_9."
to = ["pri:g0/{number:1}"]
"""


def span_text(name: str, **keys: object) -> str:
    settings = {"line": "e1", "side": "user", "switch_type": "euroisdn", "context": "from-pstn", **keys}
    lines = [f"{key} = {toml(value)}" for key, value in settings.items()]
    return "\n".join(["[[span]]", f'name = "{name}"', f'channels = "virtual:/spans/{name}"', *lines, ""])


def trunk_text(**keys: object) -> str:
    settings = {"name": "hq", "technology": "sip", "host": FAR, "context": "from-hq", "trustrpid": True, **keys}
    return "\n".join(["[[trunk]]", *(f"{key} = {toml(value)}" for key, value in settings.items()), ""])


def toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@dataclass
class Ear:
    """What one leg of the SIP far end hears."""

    leg: Leg
    offered: Offered | None = None
    events: list[LegEvent] = field(default_factory=list)

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        self.events.append(event)

    def of(self, kind: type[LegEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def released(self) -> Released | None:
        found = self.of(Released)
        return found[0] if found else None


class Scene:
    """``spans`` are names with what differs from a EuroISDN E1 on the user side."""

    def __init__(
        self,
        spans: Mapping[str, Mapping[str, object]] | None = None,
        *,
        routes: str = ROUTES,
        trunk: Mapping[str, object] | None = None,
        extra: str = "",
        sip: str = "",
        far: Mapping[str, Any] | None = None,
        plan: NumberPlan | None = None,
        max_calls: int = MAX_CALLS,
        up: bool = True,
    ) -> None:
        spans = {"pstn": {}} if spans is None else spans
        text = "\n".join(
            [
                "schema = 1",
                f'[sip]\nlisten = ["udp:{GATEWAY}:5060"]\n{sip}',
                *(span_text(name, **keys) for name, keys in spans.items()),
                trunk_text(**(trunk or {})),
                extra,
                routes,
            ]
        )
        self.now = 0
        self.configuration = parse(text, Path("branch.toml"))
        self.media = DirectMedia()
        self.switch = Switch(
            self.configuration,
            self.media,
            random.Random(1),
            local_for=lambda _remote: GATEWAY,
            max_calls=max_calls,
        )
        self.exchanges: dict[str, Exchange] = {}
        self.exchange_media: dict[str, DirectMedia] = {}
        for number, span in enumerate(self.configuration.spans):
            media = self.exchange_media[span.name] = DirectMedia(first_port=30000)
            euro = span.switch_type.value == "euroisdn"
            settings = PriSettings(
                name=span.name,
                channel_path=lambda slot, name=span.name: f"/spans/{name}/{slot}",  # type: ignore[misc]
                line=span.line,
                side=Side.NETWORK if span.side is Side.USER else Side.USER,
                switch_type=span.switch_type.value,
                law=span.companding,
                timeslots=span.timeslots,
                listen=True,
                overlap_receive=euro,
                overlap_send=euro,
            )
            self.exchanges[span.name] = Exchange(settings, media, random.Random(10 + number), plan)
        peer = replace(PeerSettings("gateway", GATEWAY), **(far or {}))
        self.far_media = DirectMedia(first_port=40000)
        self.far = SipEndpoint(
            SipSettings(listeners=(Socket(UDP, FAR, 5060),), peers=(peer,)),
            self.far_media,
            random.Random(99),
            self._far_offered,
            local_for=lambda _remote: FAR,
        )
        self._cores: list[Switch | SipEndpoint | Exchange] = [self.switch, self.far, *self.exchanges.values()]
        self.on_call: Callable[[Leg, Setup], None] = lambda leg, setup: leg.answer(None, self.now)
        self.ears: list[Ear] = []
        self.reports: dict[str, list[CallEvent]] = {name: [] for name in self.exchanges}
        self.ended_at = 0
        self.records: list[CallRecord] = []
        self.sip_wire: list[Request | Response] = []
        self.frames_lost = False
        self.deaf: set[str] = set()
        """Addresses at which nobody is."""
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._serial = 0
        if up:
            for name in self.exchanges:
                self.alarm(name, Alarm.NONE)
            self.run(3)

    # -- driving --

    def alarm(self, span: str, alarm: Alarm) -> None:
        self.exchanges[span].line_state(alarm, self.now)
        self.switch.line_state(span, alarm, self.now)
        self.settle()

    def later(self, delay: int, what: Callable[[], object]) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (self.now + delay, self._serial, what))

    def settle(self) -> None:
        """Drain every core until all is said."""
        busy = True
        while busy:
            busy = self._drain_switch() or self._drain_far()
            for name in self.exchanges:
                busy = self._drain_exchange(name) or busy

    def _drain_switch(self) -> bool:
        self.switch.enter(self.now)
        output = self.switch.poll()
        if output is None:
            return self.media.flush()
        if isinstance(output, SpanFrame):
            exchange, frame = self.exchanges[output.span], output.frame
            if not self.frames_lost:
                self.later(LATENCY, lambda: exchange.receive_frame(frame, self.now))
        elif isinstance(output, Send):
            data = output.data
            self.sip_wire.append(parse_sip(data))
            if output.flow.address in self.deaf:
                return True
            self.later(LATENCY, lambda: self.far.receive(data, Flow(UDP, GATEWAY, 5060), self.now))
        elif isinstance(output, CallEnded):
            self.ended_at = output.now
            self.records.append(record_of(output.call, WallClock(0, 0)))
        elif isinstance(output, CallRefused):
            self.records.append(refusal_record(output.identity, output.refused, output.now, WallClock(0, 0)))
        return True

    def _drain_far(self) -> bool:
        output = self.far.poll()
        if output is None:
            return self.far_media.flush()
        if isinstance(output, Send):
            data = output.data
            self.later(LATENCY, lambda: self.switch.receive_sip(data, Flow(UDP, FAR, 5060), self.now))
        return True

    def _drain_exchange(self, name: str) -> bool:
        output = self.exchanges[name].poll()
        if output is None:
            return self.exchange_media[name].flush()
        if isinstance(output, Transmit):
            frame = output.frame
            if not self.frames_lost:
                self.later(LATENCY, lambda: self.switch.receive_frame(name, frame, self.now))
        elif isinstance(output, CallEvent):
            # The report goes on changing: what it says now is kept.
            self.reports[name].append(replace(output, report=replace(output.report)))
        return True

    def _next(self) -> int | None:
        times = [core.next_timer() for core in self._cores]
        if self._queue:
            times.append(self._queue[0][0])
        return min((at for at in times if at is not None), default=None)

    def run(self, seconds: float = 1.0, *, until: Callable[[], bool] | None = None) -> None:
        """Let time pass; with ``until``, no longer than it takes, and it is an error if it never comes true."""
        end = self.now + round(seconds * SECOND)
        self.settle()
        while not (until is not None and until()):
            at = self._next()
            if at is None or at > end:
                self.now = end
                assert until is None, "it did not happen in time"
                return
            self.now = max(self.now, at)
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
                self.settle()
            for core in self._cores:
                core.handle_timer(self.now)
            self.settle()

    # -- calls --

    def _far_offered(self, leg: Leg, offered: Offered, now: int) -> Listener:
        ear = Ear(leg, offered)
        self.ears.append(ear)
        leg.listener = ear
        self.later(0, lambda: self.on_call(leg, offered.setup))
        return ear

    def from_sip(self, called: str | Number, caller: Party | None = None, **setup: Any) -> Ear:
        """The SIP far end calls the gateway."""
        leg = self.far.new_leg("gateway", self.now)
        assert not isinstance(leg, Cause)
        ear = Ear(leg)
        self.ears.append(ear)
        leg.listener = ear
        number = Number(called) if isinstance(called, str) else called
        leg.place(Setup(number, caller or Party(Number("2125550000"), "Far End"), **setup), self.now)
        self.settle()
        return ear

    def at_pstn(self, setup: Setup, span: str = "pstn") -> Ear:
        """The exchange calls the gateway as ``setup`` says; nobody but the test speaks at its end."""
        leg = self.exchanges[span].trunk.new_leg(None, self.now)
        assert not isinstance(leg, Cause)
        leg.listener = ear = Ear(leg)
        self.ears.append(ear)
        leg.place(setup, self.now)
        self.settle()
        return ear

    def take_calls(self, span: str) -> list[Ear]:
        """From now on calls to the exchange of ``span`` are the test's; each is in the list that comes back."""
        taken: list[Ear] = []

        def take(leg: Leg, offered: Offered, now: int) -> Listener:
            taken.append(Ear(leg, offered))
            return taken[-1]

        self.exchanges[span].trunk.take_calls(take)
        return taken

    def from_pstn(self, called: str = "4165550101", span: str = "pstn", **request: Any) -> Report:
        """The exchange calls the gateway."""
        report = self.exchanges[span].call(CallRequest(called, **{"measure": False, "hold": None, **request}), self.now)
        assert isinstance(report, Report), report
        self.settle()
        return report

    def moments(self, span: str = "pstn") -> list[str]:
        return [event.moment for event in self.reports[span]]

    @property
    def ended(self) -> Report:
        """The report of the only call of all exchanges that has ended."""
        found = [event.report for events in self.reports.values() for event in events if event.moment == "ended"]
        assert len(found) == 1, found
        return found[0]

    def sent(self, what: str | int) -> list[Any]:
        """SIP messages of the gateway: requests of a method or responses with a status."""
        if isinstance(what, str):
            return [one for one in self.sip_wire if isinstance(one, Request) and one.method == what]
        return [one for one in self.sip_wire if isinstance(one, Response) and one.status == what]

    def assert_clean(self) -> None:
        """After all timers have run out nothing of any call is left anywhere."""
        self.run(QUIET)
        assert self.switch.idle
        assert self.far.idle
        for media in (self.media, self.far_media, *self.exchange_media.values()):
            assert not media.wiring.streams
        for name, exchange in self.exchanges.items():
            assert not exchange.lines
            assert not any(channel.owner for channel in exchange.trunk.channels)
            assert not any(channel.owner for channel in self.switch.trunks[name].channels)
