"""TCP in virtual time: connections that open, carry bytes in order, stall while the network is cut, and break.

TLS is the same by another name, on the next port: nobody listens in who could not read it anyway.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.flow import Flow
from tests.simulation.world import Network

CONNECT_TIMEOUT = 5 * SECOND
RETRANSMISSION = 200 * MILLISECOND
PATIENCE = 20 * SECOND
"""How long a connection lives whose bytes do not get through."""
FIRST_PORT = 40_000


class StreamUser(ABC):
    """The node that a connection's bytes are for."""

    @abstractmethod
    def stream_received(self, data: bytes, flow: Flow) -> None:
        """Bytes came in."""

    @abstractmethod
    def stream_lost(self, flow: Flow) -> None:
        """A connection is gone, or could not be had."""


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection. ``asked`` is the flow that made us open it."""

    owner: Streams
    flow: Flow
    other: _End | None = None
    asked: Flow | None = None
    last: int = 0
    open: bool = True


class Streams:
    """All connections of one node."""

    def __init__(self, network: Network, address: str, port: int, user: StreamUser) -> None:
        self.network = network
        self.world = network.world
        self.address = address
        self.port = port
        self.user = user
        self._ends: dict[int, _End] = {}
        self._by_remote: dict[tuple[str, int], _End] = {}
        self._opening: dict[Flow, list[bytes]] = {}
        self._serial = 0
        self._next_port = FIRST_PORT
        network.streams[address] = self

    # -- what the node calls --

    def send(self, flow: Flow, data: bytes) -> None:
        """Send on the connection of ``flow``, or open one for it."""
        end = self._ends.get(flow.connection) if flow.connection else None
        if end is None:
            end = self._by_remote.get((flow.address, flow.port))
        if end is not None:
            self._carry(end, data, self.world.now)
        elif flow.connection:
            self.world.after(1, self._tell_lost, flow)
        elif flow in self._opening:
            self._opening[flow].append(data)
        else:
            self._opening[flow] = [data]
            self.world.after(2 * self.network.weather.latency, self._connect, flow, self.world.now)

    def close(self, flow: Flow) -> None:
        """Close a connection."""
        end = self._ends.get(flow.connection)
        if end is not None:
            self._break(end)

    def vanish(self) -> None:
        """The node is gone: its connections break, as their other ends see soon."""
        for end in list(self._ends.values()):
            self._forget(end)
            if end.other is not None:
                self.world.after(self.network.weather.latency, end.other.owner._broken, end.other)
        self._opening.clear()
        self.network.streams.pop(self.address, None)

    # -- inside --

    def _alive(self) -> bool:
        return self.network.streams.get(self.address) is self

    def _connect(self, flow: Flow, started: int) -> None:
        if not self._alive() or flow not in self._opening:
            return
        network, world = self.network, self.world
        target = network.streams.get(network.real(flow.address))
        if not network.reaches(self.address, flow.address):
            if world.now - started < CONNECT_TIMEOUT:
                world.after(SECOND, self._connect, flow, started)
                return
            target = None
        if target is None or flow.port not in (target.port, target.port + 1) or network.hidden(flow.address):
            del self._opening[flow]
            self._tell_lost(flow)
            return
        self._next_port += 1
        here = self._new_end(flow.address, flow.port, flow, flow.transport)
        there = target._new_end(network.outside(self.address), self._next_port, None, flow.transport)
        here.other, there.other = there, here
        for data in self._opening.pop(flow):
            self._carry(here, data, world.now)

    def _new_end(self, address: str, port: int, asked: Flow | None, transport: str) -> _End:
        self._serial += 1
        # Whom a certificate would name: of who was called, whoever that was.
        name = asked.name if asked is not None else ""
        end = _End(self, Flow(transport, address, port, self._serial, name=name), asked=asked)
        self._ends[self._serial] = end
        self._by_remote[(address, port)] = end
        return end

    def _carry(self, end: _End, data: bytes, since: int) -> None:
        network, world = self.network, self.world
        other = end.other
        if not end.open or other is None:
            return
        if not network.reaches(self.address, end.flow.address):
            if world.now - since > PATIENCE:
                self._break(end)
            else:
                end.last = max(end.last, world.now + SECOND)
                world.at(end.last, self._carry, end, data, since)
            return
        weather, rng = network.weather, network.rng
        delay = weather.latency + (rng.randrange(weather.jitter) if weather.jitter else 0)
        if weather.loss and rng.random() < weather.loss:
            delay += RETRANSMISSION
        parts = [data]
        if rng.random() < 0.1:
            cut = rng.randrange(len(data))
            parts = [data[:cut], data[cut:]]
        for part in parts:
            end.last = max(end.last + 1, world.now + delay)
            world.at(end.last, other.owner._arrive, other, part)

    def _arrive(self, end: _End, data: bytes) -> None:
        if end.open and self._alive():
            self.world.note(f"{self.network.name(end.flow.address)}>{self.network.name(self.address)}", "tcp", data)
            self.user.stream_received(data, end.flow)

    def _break(self, end: _End) -> None:
        other = end.other
        if other is not None and other.open:
            self.world.after(self.network.weather.latency, other.owner._broken, other)
        self._broken(end)

    def _broken(self, end: _End) -> None:
        if not end.open:
            return
        self._forget(end)
        if self._alive():
            self.world.note(self.network.name(self.address), "connection lost", str(end.flow))
            self._tell_lost(end.flow)
            if end.asked is not None:
                self._tell_lost(end.asked)

    def _forget(self, end: _End) -> None:
        end.open = False
        self._ends.pop(end.flow.connection, None)
        if self._by_remote.get((end.flow.address, end.flow.port)) is end:
            del self._by_remote[(end.flow.address, end.flow.port)]

    def _tell_lost(self, flow: Flow) -> None:
        if self._alive():
            self.user.stream_lost(flow)

    def break_all(self) -> None:
        """Break all connections."""
        for end in list(self._ends.values()):
            self._break(end)

    def break_one(self) -> bool:
        """Break a connection, any; False if there is none."""
        ends = list(self._ends.values())
        if ends:
            self._break(self.network.rng.choice(ends))
        return bool(ends)
