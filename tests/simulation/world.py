"""Virtual time: one heap of events, nodes that are woken by it, the datagram network and the D channels."""

from __future__ import annotations

import heapq
import random
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core import MILLISECOND, SECOND
from gateway.pri.span.faults import FaultInjector, FaultRates
from gateway.pri.span.layer1 import Alarm
from tests.simulation.nat import Nat, NatKind

if TYPE_CHECKING:
    from tests.simulation.tcp import Streams

LOG_EVENTS = 4000
"""Events remembered for the story of a failure."""
IAX_PORTS = frozenset({4569, 4570})
MAX_EVENTS = 5_000_000
"""A run with more of them goes round in circles."""


class StuckError(AssertionError):
    """A run that does not come to rest."""


class World:
    """The time, the events to come and the fingerprint of those that were."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = SECOND
        self.digest = 0
        self.events = 0
        self.log: deque[tuple[int, str, str, object]] = deque(maxlen=LOG_EVENTS)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0

    def at(self, when: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let ``action`` happen at ``when`` (microseconds)."""
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, action, arguments))

    def after(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let ``action`` happen in ``delay`` microseconds."""
        self.at(self.now + delay, action, *arguments)

    def run(self, until: int) -> None:
        """Let everything happen up to ``until``."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= until:
            when, _, action, arguments = pop(heap)
            self.now = when
            self.events += 1
            action(*arguments)
        if self.events > MAX_EVENTS:
            raise StuckError(f"more than {MAX_EVENTS} events")
        self.now = until

    def note(self, where: str, what: str, data: object = b"") -> None:
        """Remember an event, for the log and the fingerprint; ``data`` is a frame, a datagram or some words."""
        now = self.now
        self.log.append((now, where, what, data))
        octets = data if isinstance(data, bytes) else str(data).encode()
        self.digest = zlib.crc32(octets, zlib.crc32(what.encode(), self.digest ^ (now & 0xFFFF_FFFF)))


class Node(ABC):
    """Something that signals: it is drained after whatever happens to it and woken at its next deadline."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self._wake_at: int | None = None

    @abstractmethod
    def drain(self) -> None:
        """Carry out everything the node's cores have to say."""

    @abstractmethod
    def next_deadline(self) -> int | None:
        """The earliest deadline of the node's cores."""

    @abstractmethod
    def expire(self, now: int) -> None:
        """Let the node's cores do what is due."""

    def settle(self) -> None:
        """After something happened: drain, and see to being woken."""
        self.drain()
        self._arm()

    def _arm(self) -> None:
        at = self.next_deadline()
        if at is not None and (self._wake_at is None or at < self._wake_at):
            at = max(at, self.world.now)
            self._wake_at = at
            self.world.at(at, self._wake, at)

    def _wake(self, at: int) -> None:
        if at != self._wake_at:
            return
        self._wake_at = None
        due = self.next_deadline()
        if due is not None and due <= at:
            self.expire(at)
            self.drain()
        self._arm()


@dataclass(slots=True)
class Weather:
    """What the network does to datagrams: fractions (0 to 1) and microseconds."""

    latency: int = 5 * MILLISECOND
    jitter: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    damage: float = 0.0

    def clear(self) -> None:
        """Fair weather again."""
        self.loss = self.duplicate = self.damage = 0.0


Address = tuple[str, int]


class Network:
    """Datagrams between addresses: late, lost, twice, damaged, and out of order as the weather has it."""

    def __init__(self, world: World, weather: Weather) -> None:
        self.world = world
        self.weather = weather
        self.rng = random.Random(world.rng.getrandbits(64))
        self.sent = self.lost = self.doubled = 0
        self.streams: dict[str, Streams] = {}
        """The TCP of each host (``tests.simulation.tcp``)."""
        self._hosts: dict[str, tuple[str, Callable[[bytes, Address], None]]] = {}
        # Who has a port of a host to itself.
        self._ports: dict[Address, Callable[[bytes, Address], None]] = {}
        self._cut: set[str] = set()
        # What a NAT in front of a host makes of its address outside.
        self._outside: dict[str, str] = {}
        self._also: dict[str, str] = {}
        self._nats: dict[str, Nat] = {}
        self._behind: dict[str, Nat] = {}
        # Where datagrams seem to come from that go to some hosts only: a NAT that lets everybody in.
        self._shown: dict[str, str] = {}
        self.shown_to: set[str] = set()

    def put_behind(self, nat: Nat) -> None:
        """The host at ``nat.inside`` is behind it from now on; it may be put behind another, or another outside."""
        before = self._behind.pop(nat.inside, None)
        if before is not None:
            self._nats = {outside: each for outside, each in self._nats.items() if each is not before}
        self._behind[nat.inside] = self._nats[nat.outside] = nat
        self.seen_as(nat.inside, nat.outside)

    def take_away(self, inside: str) -> None:
        """No NAT is in front of ``inside`` any more."""
        nat = self._behind.pop(inside, None)
        if nat is not None:
            self._nats = {outside: each for outside, each in self._nats.items() if each is not nat}

    def outside(self, address: str) -> str:
        """What others see of the host at ``address``."""
        nat = self._behind.get(address)
        return address if nat is None else nat.outside

    def symmetric(self, address: str) -> bool:
        """True if the host at ``address`` is behind a NAT that takes nothing but answers from where they are due."""
        nat = self._behind.get(address)
        return nat is not None and nat.kind is NatKind.SYMMETRIC

    def hidden(self, address: str) -> bool:
        """True if ``address`` is a NAT's outside, where nobody can be called who did not call first."""
        return address in self._nats

    def show(self, address: str, outside: str) -> None:
        """Those in ``shown_to`` see the host at ``address`` as ``outside``."""
        self._shown[address] = outside

    def seen_as(self, address: str, outside: str) -> None:
        """The host at ``address`` is reached at ``outside`` too, and no longer at what it was reached at before."""
        self._outside = {alias: host for alias, host in self._outside.items() if host != address}
        self._outside[outside] = address

    def also(self, address: str, second: str) -> None:
        """The host at ``address`` has a second one."""
        self._also[second] = address

    def real(self, address: str) -> str:
        """The address of the host that is reached at ``address``."""
        return self._also.get(address) or self._outside.get(address, address)

    def join(self, address: str, name: str, receive: Callable[[bytes, Address], None]) -> None:
        """A host comes to the network, or another takes its place."""
        self._hosts[address] = (name, receive)

    def join_port(self, address: str, port: int, receive: Callable[[bytes, Address], None]) -> None:
        """What comes to this port of a host goes there."""
        self._ports[address, port] = receive

    def leave(self, address: str) -> None:
        """A host goes away from this address."""
        self._hosts.pop(address, None)

    def name(self, address: str) -> str:
        """The name of a host."""
        host = self._hosts.get(address)
        return host[0] if host else address

    def cut(self, address: str, cut: bool) -> None:
        """Part a host from the network, or bring it back."""
        (self._cut.add if cut else self._cut.discard)(address)

    def reaches(self, source: str, target: str) -> bool:
        """True if neither host is parted from the network."""
        return source not in self._cut and self.real(target) not in self._cut

    def send(self, source: Address, target: Address, data: bytes) -> None:
        """A datagram leaves ``source``."""
        weather, rng, world = self.weather, self.rng, self.world
        self.sent += 1
        shown = source
        if self._behind and source[0] in self._behind:
            shown = self._behind[source[0]].leaves(source[1], target, world.now)
        elif self._shown and target[0] in self.shown_to:
            shown = self._shown.get(source[0], source[0]), source[1]
        elif target[0] in self._nats:
            shown = self._as_known(source, self._nats[target[0]].answering(target[1]))
        wanted, target = target, (self.real(target[0]), target[1])
        host = self._hosts.get(target[0])
        if host is None or self._also.get(source[0], source[0]) in self._cut or target[0] in self._cut:
            self.lost += 1
            return
        copies = 1
        if weather.loss and rng.random() < weather.loss:
            self.lost += 1
            world.note(f"{self.name(source[0])}-{host[0]}", "lost", data)
            return
        if weather.duplicate and rng.random() < weather.duplicate:
            copies = 2
            self.doubled += 1
        if weather.damage and rng.random() < weather.damage:
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data = data[:at]
            elif kind == 1:
                data = data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
            else:
                data = rng.randbytes(rng.randrange(1, 400))
        for _ in range(copies):
            delay = weather.latency + (rng.randrange(weather.jitter) if weather.jitter else 0)
            world.at(world.now + delay, self._arrive, shown, wanted, target[0], data)

    def _as_known(self, source: Address, known: set[Address]) -> Address:
        """Who was reached at an address outside answers from there: so the NAT in front of it has it."""
        if source in known or source[0] not in self._outside.values():
            return source
        return next((each for each in sorted(known) if (self.real(each[0]), each[1]) == source), source)

    def _arrive(self, source: Address, target: Address, address: str, data: bytes) -> None:
        if address in self._cut:
            return
        nat = self._nats.get(target[0]) if self._nats else None
        port = target[1]
        if nat is not None:
            inside = nat.enters(port, source, self.world.now)
            if inside is None:
                self.world.note(f"{self.name(source[0])}>{target[0]}:{port}", "kept out", data)
                return
            port = inside
        host = self._hosts.get(address)
        if host is None:
            return
        what = "iax" if port in IAX_PORTS or source[1] in IAX_PORTS else "sip"
        self.world.note(f"{self.name(source[0])}>{host[0]}", what, data)
        if self._ports and (address, port) in self._ports:
            self._ports[address, port](data, source)
            return
        host[1](data, source)


class LineEnd(ABC):
    """What is at one end of a line."""

    @abstractmethod
    def frame(self, data: bytes) -> None:
        """A D-channel frame came in."""

    @abstractmethod
    def alarm(self, alarm: Alarm) -> None:
        """Layer 1 changed."""


DETECTION = 5 * MILLISECOND
CLEARING = 500 * MILLISECOND
"""As layer 1 debounces (gateway.pri.span.layer1)."""


class DLine:
    """One span: the D channel, in order but lossy, and layer 1. Ends are 0 (gateway) and 1 (exchange)."""

    def __init__(self, world: World, name: str, latency: int) -> None:
        self.world = world
        self.name = name
        self.latency = latency
        self.muted = False
        self.ends: list[LineEnd | None] = [None, None]
        self.frames = 0
        self._alarms = [Alarm.NONE, Alarm.NONE]
        self._told = [Alarm.RED, Alarm.RED]
        self._change = 0
        self._rng = random.Random(world.rng.getrandbits(64))
        self._faults: list[FaultInjector | None] = [None, None]

    def rates(self, rates: FaultRates | None) -> None:
        """What the D channel does to frames from now on, each way."""
        self._faults = [None if rates is None else FaultInjector(rates, self._rng) for _ in range(2)]

    def send(self, end: int, frame: bytes) -> None:
        """A frame leaves ``end``."""
        self.frames += 1
        world = self.world
        if self.muted or not self._alarms[0].usable or not self._alarms[1].usable:
            return
        faults = self._faults[end]
        if faults is None:
            world.at(world.now + self.latency, self._arrive, 1 - end, frame, self._change)
            return
        for when, carried in faults.carry(frame, world.now):
            world.at(when + self.latency, self._arrive, 1 - end, carried, self._change)

    def _arrive(self, end: int, frame: bytes, change: int) -> None:
        target = self.ends[end]
        if change != self._change or self.muted or target is None:
            return
        self.world.note(f"{self.name}{'<' if end == 0 else '>'}", "frame", frame)
        target.frame(frame)

    def set_alarms(self, gateway: Alarm, exchange: Alarm) -> None:
        """Layer 1 changes; each end sees it a little later, the end of an alarm later still."""
        self._change += 1
        self._alarms = [gateway, exchange]
        for end in (0, 1):
            delay = CLEARING if self._alarms[end].usable else DETECTION
            self.world.after(delay + self._rng.randrange(20 * MILLISECOND), self._tell, end, self._change)

    def _tell(self, end: int, change: int) -> None:
        target = self.ends[end]
        if change == self._change and target is not None and self._told[end] is not self._alarms[end]:
            self._told[end] = self._alarms[end]
            self.world.note(f"{self.name}{'<' if end == 0 else '>'}", "alarm", self._alarms[end].value)
            target.alarm(self._alarms[end])

    def attach(self, end: int, node: LineEnd | None) -> None:
        """Put a (new) node to an end; it begins with a red alarm and soon sees what there is. None takes it away."""
        self.ends[end] = node
        self._told[end] = Alarm.RED
        self._change += 1
        if node is not None:
            self.world.after(DETECTION, self._tell, end, self._change)
            self.world.after(DETECTION, self._tell, 1 - end, self._change)
