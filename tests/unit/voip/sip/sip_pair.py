"""Two SIP endpoints in virtual time, a network that may lose, double and delay, and a media engine that is a list."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, Party
from gateway.leg import (
    Alerting,
    Answered,
    Leg,
    LegEvent,
    Listener,
    Offered,
    Released,
    Setup,
)
from gateway.media.api import (
    Failure,
    OnOpened,
    OnStatistics,
    Opened,
    RtpSettings,
    Statistics,
)
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import UDP, Close, Flow, Resolve, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import PeerSettings, SipSettings
from tests.unit.no_media import NoMedia
from tests.unit.voip.sip.address_check import check

A_ADDRESS = "192.0.2.1"
B_ADDRESS = "192.0.2.2"


class FakeMedia(NoMedia):
    """The engine's requests, noted. Replies come at once, or when ``flush`` is called if ``delayed``."""

    def __init__(self, *, delayed: bool = False) -> None:
        self.delayed = delayed
        self.refuse: Failure | None = None
        self.open: dict[int, str] = {}
        self.rtp: dict[int, RtpSettings] = {}
        self.history: list[tuple[int, RtpSettings]] = []
        self.closed: list[int] = []
        self._pending: list[Callable[[], None]] = []
        self._serial = 0

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        self._serial += 1
        stream = self._serial
        if self.refuse is not None:
            failure = self.refuse
            self._reply(lambda: on_reply(failure))
            return stream
        self.open[stream] = address
        self._reply(lambda: on_reply(Opened(stream, address, 10_000 + 2 * stream)))
        return stream

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        assert stream in self.open
        self.rtp[stream] = settings
        self.history.append((stream, settings))

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        assert self.open.pop(stream, None) is not None, f"stream {stream} closed twice or never opened"
        self.closed.append(stream)
        if on_reply is not None:
            done = on_reply
            self._reply(lambda: done(Statistics(packets_sent=1)))

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        for reply in pending:
            reply()

    def _reply(self, reply: Callable[[], None]) -> None:
        if self.delayed:
            self._pending.append(reply)
        else:
            reply()


@dataclass
class Notes:
    """A listener that keeps what it hears, and may react."""

    events: list[LegEvent] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    react: Callable[[Leg, LegEvent, int], None] | None = None

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        assert self.released is None, "an event after Released"
        self.events.append(event)
        self.times.append(now)
        if self.react is not None:
            self.react(leg, event, now)

    @property
    def released(self) -> Released | None:
        return next((event for event in self.events if isinstance(event, Released)), None)

    def of(self, kind: type[LegEvent]) -> list[LegEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Agent:
    """One endpoint with its media and what it was offered."""

    def __init__(self, name: str, settings: SipSettings, seed: int) -> None:
        self.name = name
        self.media = FakeMedia()
        self.offers: list[tuple[SipLeg, Offered, Notes]] = []
        self.refuse_offers = False
        self.on_offer_react: Callable[[Leg, Offered, Notes, int], None] | None = None
        address = settings.listeners[0].address
        self.endpoint = SipEndpoint(
            settings, self.media, random.Random(seed), self._on_offer, local_for=lambda remote: address
        )

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if self.refuse_offers:
            return None
        notes = Notes()
        assert isinstance(leg, SipLeg)
        self.offers.append((leg, offered, notes))
        if self.on_offer_react is not None:
            self.on_offer_react(leg, offered, notes, now)
        return notes


@dataclass
class Faults:
    """What the network does to each datagram."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: int = MILLISECOND
    jitter: int = 0


class Pair:
    """Agents A and B; time jumps from event to event. ``wire`` has all that was sent: (time, from, message)."""

    def __init__(
        self,
        *,
        seed: int = 1,
        transport: str = UDP,
        a: Callable[[SipSettings], SipSettings] = lambda settings: settings,
        b: Callable[[SipSettings], SipSettings] = lambda settings: settings,
        a_peer: Callable[[PeerSettings], PeerSettings] = lambda peer: peer,
        b_peer: Callable[[PeerSettings], PeerSettings] = lambda peer: peer,
        faults: Faults | None = None,
    ) -> None:
        self.now = SECOND
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        self.wire: list[tuple[int, str, Request | Response]] = []
        self.drop: Callable[[str, Request | Response], bool] = lambda sender, message: False
        self._queue: list[tuple[int, int, str, bytes]] = []
        self._serial = 0
        self.transport = transport
        sockets = {
            name: (Socket(UDP, address, 5060), Socket(transport, address, 5060))
            if transport != UDP
            else (Socket(UDP, address, 5060),)
            for name, address in (("a", A_ADDRESS), ("b", B_ADDRESS))
        }
        self.a = Agent(
            "a",
            a(
                SipSettings(
                    listeners=sockets["a"],
                    peers=(a_peer(PeerSettings("b", B_ADDRESS, transport=transport, context="from-b")),),
                )
            ),
            seed + 100,
        )
        self.b = Agent(
            "b",
            b(
                SipSettings(
                    listeners=sockets["b"],
                    peers=(b_peer(PeerSettings("a", A_ADDRESS, transport=transport, context="from-a")),),
                )
            ),
            seed + 200,
        )

    def agent(self, name: str) -> Agent:
        return self.a if name == "a" else self.b

    def drain(self) -> None:
        for agent in (self.a, self.b):
            agent.media.flush() if not agent.media.delayed else None
            while (output := agent.endpoint.poll()) is not None:
                match output:
                    case Send(flow, data):
                        check(agent.endpoint, flow, data)
                        self._carry(agent.name, flow, data)
                    case Resolve() | Close():
                        pass

    def _carry(self, sender: str, flow: Flow, data: bytes) -> None:
        message = parse(data)
        self.wire.append((self.now, sender, message))
        if self.drop(sender, message):
            return
        target = {A_ADDRESS: "a", B_ADDRESS: "b"}.get(flow.address)
        if target is None:
            return
        faults = self.faults
        copies = 1
        if flow.transport == UDP:
            if self.rng.random() < faults.loss:
                return
            if self.rng.random() < faults.duplicate:
                copies = 2
        for _ in range(copies):
            self._serial += 1
            delay = faults.delay + (self.rng.randint(0, faults.jitter) if faults.jitter else 0)
            heapq.heappush(self._queue, (self.now + delay, self._serial, target, data))

    def inject(self, target: str, data: bytes, *, port: int = 5060, address: str | None = None) -> None:
        """Bytes from outside arrive at ``target``."""
        source = address or (A_ADDRESS if target == "b" else B_ADDRESS)
        self.agent(target).endpoint.receive(data, Flow(self.transport, source, port), self.now)
        self.drain()

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> None:
        """Let ``seconds`` pass, or less if ``until`` comes true."""
        end = self.now + int(seconds * SECOND)
        self.drain()
        while until is None or not until():
            times = [at for agent in (self.a, self.b) if (at := agent.endpoint.next_timer()) is not None]
            if self._queue:
                times.append(self._queue[0][0])
            if not times or min(times) > end:
                self.now = end
                break
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, target, data = heapq.heappop(self._queue)
                source = A_ADDRESS if target == "b" else B_ADDRESS
                self.agent(target).endpoint.receive(data, Flow(self.transport, source, 5060), self.now)
                self.drain()
            for agent in (self.a, self.b):
                agent.endpoint.handle_timer(self.now)
            self.drain()

    def call(self, setup: Setup | None = None, *, seconds: float = 0.1, peer: str = "b") -> tuple[SipLeg, Notes]:
        """A calls B."""
        leg = self.a.endpoint.new_leg(peer, self.now)
        assert isinstance(leg, SipLeg), leg
        notes = Notes()
        leg.listener = notes
        leg.place(setup or simple_setup(), self.now)
        self.run(seconds)
        return leg, notes

    def answered_call(self, setup: Setup | None = None) -> tuple[SipLeg, Notes, SipLeg, Notes]:
        """A calls B, B rings and answers."""
        leg, notes = self.call(setup)
        far, _, far_notes = self.b.offers[-1]
        far.alert(False, self.now)
        self.run(0.1)
        far.answer(None, self.now)
        self.run(0.1)
        assert notes.of(Alerting) and notes.of(Answered), notes.events
        return leg, notes, far, far_notes

    def sent(self, sender: str, what: str | int) -> list[Request | Response]:
        """What ``sender`` sent of a method or a status, retransmissions included."""
        return [
            message
            for _, by, message in self.wire
            if by == sender and what == (message.method if isinstance(message, Request) else message.status)
        ]

    def ladder(self) -> list[str]:
        """The wire in short: "a INVITE", "b 100 INVITE"."""
        return [
            f"{by} {message.method}" if isinstance(message, Request) else f"{by} {message.status} {message.cseq.method}"
            for _, by, message in self.wire
        ]

    def assert_clean(self, seconds: float = 200.0) -> None:
        """After long enough nothing is left over anywhere."""
        self.run(seconds)
        for agent in (self.a, self.b):
            endpoint = agent.endpoint
            assert not endpoint.legs, endpoint.legs
            assert not endpoint.dialogs, endpoint.dialogs
            assert not endpoint.transactions.all, [(t.kind, t.state) for t in endpoint.transactions.all]
            assert endpoint.idle, endpoint.timers
            assert not agent.media.open, agent.media.open


def simple_setup(called: str = "4165551234", caller: str = "2125550000") -> Setup:
    return Setup(Number(called), Party(Number(caller), "Alice"))


def hang_up(leg: SipLeg, pair: Pair, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> None:
    leg.release(cause, pair.now)
    pair.run(0.2)
