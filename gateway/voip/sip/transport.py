"""The sockets of SIP: UDP, TCP and TLS on asyncio (RFC 3261 18), one adapter for all listening sockets of an endpoint.

Hands bytes in, sends what it is told to; drains nothing and keeps no protocol timers.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

from gateway.core import SECOND
from gateway.readable import waiting
from gateway.voip.sip.connection import Connection, TlsConnection, plain
from gateway.voip.sip.flow import TCP, TLS, UDP, Close, Flow, Resolve, Send, bracketed, literal_address
from gateway.voip.sip.handshakes import Handshakes
from gateway.voip.sip.hop import Listener, succeeding
from gateway.voip.sip.names import Answer
from gateway.voip.sip.resolver import Resolver
from gateway.voip.sip.tls import Tls

log = logging.getLogger(__name__)

MAX_DATAGRAMS_PER_WAKEUP = 64
"""So that a flood on one socket leaves time for the rest."""
MAX_DATAGRAM = 65_535
MAX_KNOWN_SOURCES = 1024
"""Flows kept ready for those who have sent to us."""
MAX_CONNECTIONS = 1024
MAX_PENDING = 64
"""Messages that wait for a connection to open."""
TELL_AGAIN = SECOND
"""How often it is told that a stranger's connection is closed."""
CONNECT_TIMEOUT = 5.0
RECEIVE_BUFFER = 1 << 20
"""SO_RCVBUF of UDP sockets: bursts of hundreds of calls."""
_SO_RCVBUFFORCE = 33
"""socket(7); not among Python's names."""
_BACKLOG = 256
_LINE_WORDS = {"udp": UDP, "tcp": TCP, "tls": TLS}


class ListenError(Exception):
    """A listening socket cannot be had; the text is one line for the operator."""


class Receiver(Protocol):
    """What the adapter feeds: SipEndpoint."""

    def receive(self, data: bytes, flow: Flow, now: int) -> object:
        """Bytes arrived."""

    def connection_lost(self, flow: Flow, now: int) -> None:
        """A connection is gone or cannot be had."""

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        """What a name has."""


def parse_listen(text: str) -> Listener:
    """``udp:[::]:5060`` or ``tcp:192.0.2.1:5060`` as a Listener; ValueError says what is wrong."""
    word, _, rest = text.partition(":")
    host, colon, port = rest.rpartition(":")
    transport = _LINE_WORDS.get(word.lower())
    if transport is None:
        raise ValueError(f"listen is {text!r}, expected udp:, tcp: or tls:ADDRESS:PORT")
    address = literal_address(host.strip("[]")) if colon else None
    if address is None or not (port.isascii() and port.isdecimal() and 0 <= int(port) <= 65535):
        raise ValueError(f"listen is {text!r}, expected a literal address (IPv6 in brackets) and a port up to 65535")
    return Listener(transport, address, int(port))


def _widen(opened: socket.socket) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        # Without CAP_NET_ADMIN the host's rmem_max is the limit.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def local_address_for(remote: str) -> str:
    """The address of this host that packets to ``remote`` leave from; loopback if there is no way to it."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0]).partition("%")[0]


class SipTransport:
    """All sockets of one endpoint: ``start`` binds them, ``attach`` begins to read.

    ``after`` is called after every wakeup that fed the receiver: drain it there, and give ``perform`` what
    ``SipEndpoint.poll`` returned. ``clock`` gives the time in microseconds. ``tls`` is needed for TLS, ``handshakes``
    are its limits; ``admit`` says whether a connection from an address is taken at all at a time.
    """

    def __init__(
        self,
        listeners: tuple[Listener, ...],
        clock: Callable[[], int],
        after: Callable[[], None],
        *,
        tls: Tls | None = None,
        handshakes: Handshakes | None = None,
        admit: Callable[[str, int], bool] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._listeners = listeners
        self._receiver: Receiver = _Nobody()
        self._clock = clock
        self._after = after
        self._sockets: dict[int, socket.socket] = {}
        # Listeners whose UDP socket is of IPv6, so that IPv4 addresses need the mapped form.
        self._dual: set[int] = set()
        self._ports: dict[int, int] = {}
        self._buffer = bytearray(MAX_DATAGRAM)
        self._view = memoryview(self._buffer)
        self._flows: dict[tuple[int, tuple[object, ...]], Flow] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self.tls = tls
        self.handshakes = handshakes or Handshakes()
        self._admit = admit
        self._resolver = resolver or Resolver()
        self._attached = asyncio.Event()
        self._connections: dict[int, Connection] = {}
        self._by_remote: dict[tuple[str, str, int], Connection] = {}
        # Connections of peers who proved their name when they came in (RFC 5923), by transport, address and name.
        self._by_name: dict[tuple[str, str, str], Connection] = {}
        self._opening: dict[Flow, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serial = 0
        self._crowded = False
        self._tell_at = 0
        self._closed = False
        self.dropped = 0

    @property
    def connections(self) -> int:
        """How many TCP and TLS connections are open."""
        return len(self._connections)

    @property
    def now(self) -> int:
        """The time in microseconds."""
        return self._clock()

    @property
    def secure_connections(self) -> int:
        """How many TLS connections are open."""
        return sum(connection.transport == TLS for connection in self._connections.values())

    def ends_of(self, flow: Flow) -> tuple[tuple[str, int], bool] | None:
        """Our end of the connection of ``flow`` and whether we opened it; None if it is none, or not open."""
        if flow.connection:
            connection = self._connections.get(flow.connection)
        else:
            connection = self._by_remote.get((flow.transport, flow.address, flow.port))
        return None if connection is None else ((connection.local, connection.local_port), connection.outgoing)

    async def start(self) -> tuple[Listener, ...]:
        """Bind every listener; raises ListenError. Returns them with the ports they really have (0: any free one)."""
        try:
            for number, listener in enumerate(self._listeners):
                if listener.transport == TLS and (self.tls is None or not self.tls.listens):
                    raise ListenError(f"cannot listen on {_written(listener)}: no certificate")
                await self._listen(number, listener)
        except ListenError:
            self.close()
            raise
        return self.bound

    @property
    def bound(self) -> tuple[Listener, ...]:
        """The listeners by their numbers, with the ports that they really have."""
        return tuple(replace(each, port=self._ports.get(n, each.port)) for n, each in enumerate(self._listeners))

    async def open_more(self, wanted: Sequence[Listener]) -> None:
        """Open what is ``wanted`` beside what is open, to be read from ``serve`` on. ListenError, and all is as before.

        What is not wanted stays open until ``shut``, but for sockets of TCP in the way.
        """
        before, listeners = self._listeners, succeeding(self._listeners, wanted)
        there = {*self._sockets, *self._servers}
        fresh = [n for n, each in enumerate(listeners) if not each.retired and n not in there]
        new = [listeners[n] for n in fresh]
        in_the_way = [
            n for n, each in enumerate(listeners) if each.retired and any(_collide(each, other) for other in new)
        ]
        self._listeners = listeners
        silenced = [n for n in in_the_way if n in self._servers]
        shared = [opened for n in in_the_way if (opened := self._sockets.get(n)) is not None]
        for number in silenced:
            self._servers.pop(number).close()
        for opened in shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            for number in fresh:
                await self._listen(number, listeners[number], shared=bool(shared))
        except ListenError:
            for number in fresh:
                self.shut(number)
            await self.go_back(before)
            raise
        finally:
            for opened in shared:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    async def go_back(self, before: tuple[Listener, ...]) -> None:
        """Let ``before`` be the listeners again that were before ``open_more``."""
        for number in range(len(before), len(self._listeners)):
            self.shut(number)
        self._listeners = before
        for number, listener in enumerate(before):
            if not listener.retired and number not in self._sockets and number not in self._servers:
                await self._listen(number, listener)
        await self.serve()

    async def serve(self) -> None:
        """Read from all that is open."""
        await self.attach(self._receiver)

    def shut(self, number: int, needed: Collection[int] = (), *, listens: bool = False) -> None:
        """Close a socket unless it still ``listens``, and the connections that came in by it but those ``needed``."""
        if not listens:
            opened, server = self._sockets.pop(number, None), self._servers.pop(number, None)
            if opened is not None:
                asyncio.get_running_loop().remove_reader(opened.fileno())
                opened.close()
            if server is not None:
                server.close()
        for serial, connection in tuple(self._connections.items()):
            if connection.listener == number and not connection.outgoing and serial not in needed:
                connection.finish()

    def _accept(self, number: int) -> Connection:
        if self._listeners[number].transport == TLS and self.tls is not None:
            return TlsConnection(self, self.tls, number)
        return Connection(self, number)

    async def _listen(self, number: int, listener: Listener, *, shared: bool = False) -> None:
        try:
            self._ports[number] = await self._opened_at(number, listener, shared=shared)
        except OSError as error:
            raise ListenError(f"cannot listen on {_written(listener)}: {os.strerror(error.errno or 0)}") from None

    async def _opened_at(self, number: int, listener: Listener, *, shared: bool) -> int:
        family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        kind = socket.SOCK_DGRAM if listener.transport == UDP else socket.SOCK_STREAM
        opened = socket.socket(family, kind)
        try:
            if family == socket.AF_INET6:
                # [::] is IPv4 and IPv6 whatever the host's default is.
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listener.wildcard else 1)
            if kind == socket.SOCK_STREAM or shared:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_DGRAM:
                _widen(opened)
            opened.setblocking(False)
            opened.bind((listener.address, listener.port))
            if shared and kind == socket.SOCK_DGRAM:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            loop = asyncio.get_running_loop()
            if kind == socket.SOCK_STREAM:
                server = await loop.create_server(
                    partial(self._accept, number), sock=opened, backlog=_BACKLOG, start_serving=False
                )
                self._servers[number] = server
            else:
                self._sockets[number] = opened
                if family == socket.AF_INET6:
                    self._dual.add(number)
        except OSError:
            opened.close()
            raise
        return int(opened.getsockname()[1])

    async def attach(self, receiver: Receiver) -> None:
        """Begin to read, for ``receiver``."""
        self._receiver = receiver
        self._attached.set()
        loop = asyncio.get_running_loop()
        for number, opened in self._sockets.items():
            loop.add_reader(opened.fileno(), self._readable, number, opened)
        for server in self._servers.values():
            await server.start_serving()

    def close(self) -> None:
        """Close everything at once."""
        self._closed = True
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened.fileno())
            opened.close()
        self._sockets.clear()
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for connection in list(self._connections.values()):
            connection.abort()
        for task in self._tasks:
            task.cancel()

    # -- out --

    def drop_stale(self) -> bool:
        """Close the connections whose address of ours is no longer this host's; True if there are any.

        The kernel would try for minutes to reach their far ends.
        """
        stale = [each for each in self._connections.values() if not _is_ours(each.local)]
        for connection in stale:
            connection.abort()
        return bool(stale)

    def perform(self, output: Send | Close | Resolve) -> None:
        """Carry out one output of the endpoint."""
        if isinstance(output, Send):
            if output.flow.transport == UDP:
                self._send_datagram(output.flow, output.data)
            else:
                self._send_stream(output.flow, output.data)
        elif isinstance(output, Close):
            connection = self._connections.get(output.flow.connection)
            if connection is not None:
                if self._worth_telling(output.flow.address):
                    log.info("closing %s: %s", output.flow, output.text)
                connection.finish()
        else:
            self._spawn(self._resolve(output))

    def _worth_telling(self, address: str) -> bool:
        """False for a stranger's connection a moment after another: whoever opens many fills no log."""
        if self.handshakes.known(address):
            return True
        now = self._clock()
        if now < self._tell_at:
            return False
        self._tell_at = now + TELL_AGAIN
        return True

    def _send_datagram(self, flow: Flow, data: bytes) -> None:
        opened = self._sockets.get(flow.listener)
        if opened is None:
            return
        address = flow.address
        if flow.listener in self._dual and ":" not in address:
            address = f"::ffff:{address}"
        try:
            opened.sendto(data, (address, flow.port))
        except BlockingIOError:
            # As lost on the way: retransmission mends it.
            self.dropped += 1
        except OSError as error:
            log.warning("cannot send to %s: %s", flow, error.strerror)
            self._later(self._receiver.connection_lost, flow)

    def _send_stream(self, flow: Flow, data: bytes) -> None:
        connection = self._connections.get(flow.connection) if flow.connection else None
        if connection is None:
            connection = self._there(flow)
        if connection is not None:
            connection.send(data)
            return
        if flow.connection:
            self._later(self._receiver.connection_lost, flow)
            return
        pending = self._opening.get(flow)
        if pending is not None:
            if len(pending) < MAX_PENDING:
                pending.append(data)
            else:
                self.dropped += 1
            return
        if len(self._connections) + len(self._opening) >= MAX_CONNECTIONS and not self._make_room(True):
            log.warning("no connection to %s: %d are being opened", flow, MAX_CONNECTIONS)
            self._later(self._receiver.connection_lost, flow)
            return
        self._opening[flow] = [data]
        self._spawn(self._connect(flow))

    def _there(self, flow: Flow) -> Connection | None:
        """A connection that is open and leads to where ``flow`` does (RFC 3261 18, RFC 5923 8)."""
        connection = self._by_remote.get((flow.transport, flow.address, flow.port))
        if connection is None and flow.name:
            connection = self._by_name.get((flow.transport, flow.address, flow.name))
        if connection is None or not connection.proves(flow.name):
            return None
        if not flow.connection and len(connection.asked) < MAX_PENDING:
            connection.asked.add(flow)
        return connection

    async def _connect(self, flow: Flow) -> None:
        if await self._opened(flow):
            connection = self._there(flow)
            for data in self._opening.pop(flow, ()):
                if connection is not None:
                    connection.send(data)
            return
        self._opening.pop(flow, None)
        self._tell_lost(flow)
        self._after()

    async def _opened(self, flow: Flow) -> bool:
        """Open a connection for ``flow``; False, and a line in the log, if that cannot be."""
        connection: Connection
        if flow.transport != TLS:
            connection = Connection(self, flow.listener, flow)
        elif self.tls is not None:
            connection = TlsConnection(self, self.tls, flow.listener, flow)
        else:
            log.warning("cannot connect to %s: TLS is not set up", flow)
            return False
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: connection, flow.address, flow.port)
                return await connection.ready
        except OSError as error:
            # TimeoutError is one of them. What asyncio says instead of the system's words has Python's quotes in it.
            reason = os.strerror(error.errno) if error.errno else "timed out"
            log.warning("cannot connect to %s: %s", flow, reason)
            connection.abort()
            return False

    async def _resolve(self, question: Resolve) -> None:
        answer = await self._resolver.look_up(question)
        # Somebody may ask before anybody can listen.
        await self._attached.wait()
        if not self._closed:
            self._receiver.looked_up(question, answer, self._clock())
            self._after()

    # -- in --

    def _readable(self, number: int, opened: socket.socket) -> None:
        for _ in range(MAX_DATAGRAMS_PER_WAKEUP):
            try:
                length, source = opened.recvfrom_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                # ICMP errors of earlier datagrams come out here; they say nothing about those that wait.
                if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
                    log.warning("cannot receive on %s: %s", opened.getsockname(), error.strerror)
                break
            flow = self._flows.get((number, source))
            if flow is None:
                flow = self._new_flow(number, source)
            self._receiver.receive(bytes(self._view[:length]), flow, self._clock())
            if not waiting(opened):
                break
        self._after()

    def _new_flow(self, number: int, source: tuple[object, ...]) -> Flow:
        flows = self._flows
        if len(flows) >= MAX_KNOWN_SOURCES:
            flows.clear()
        flow = flows[(number, source)] = Flow(UDP, plain(str(source[0])), cast("int", source[1]), 0, number)
        return flow

    def admits(self, address: str) -> bool:
        """Whether a connection from ``address`` is taken at all."""
        return self._admit is None or self._admit(address, self._clock())

    def opened(self, connection: Connection, remote: tuple[str, int]) -> Flow | None:
        """A connection was opened by either side; its flow, or None if there are too many."""
        if self._closed:
            return None
        if len(self._connections) >= MAX_CONNECTIONS:
            ours = connection.outgoing or self.handshakes.known(connection.address)
            if not self._make_room(ours):
                return None
        self._serial += 1
        self._connections[self._serial] = connection
        word, name = connection.transport, connection.name
        address, port = remote
        self._by_remote[(word, address, port)] = connection
        if name and not connection.outgoing:
            self._by_name[(word, address, name)] = connection
        return Flow(word, address, port, self._serial, connection.listener, name)

    def _make_room(self, known: bool) -> bool:
        """Close the connection that was silent longest, a stranger's first: nobody keeps others out by opening many.

        False without any, or if a stranger's (not ``known``) would take the place of a peer's or phone's.
        """
        is_ours = self.handshakes.known
        ranked = [(is_ours(each.address), each.active, number) for number, each in self._connections.items()]
        is_known, _, number = min(ranked, default=(True, 0.0, 0))
        if not ranked or (is_known and not known):
            return False
        idlest = self._connections[number]
        if not self._crowded:
            self._crowded = True
            log.warning(
                "more than %d connections: the idlest are closed, now that of %s", MAX_CONNECTIONS, idlest.remote
            )
        del self._connections[number]
        idlest.abort()
        return True

    def received(self, flow: Flow, data: bytes) -> None:
        """Bytes of a connection arrived."""
        self._receiver.receive(data, flow, self._clock())
        self._after()

    def lost(self, connection: Connection, flow: Flow) -> None:
        """A connection is gone."""
        self._connections.pop(flow.connection, None)
        self._crowded = self._crowded and 2 * len(self._connections) > MAX_CONNECTIONS
        key = (flow.transport, flow.address, flow.port)
        if self._by_remote.get(key) is connection:
            del self._by_remote[key]
        name = (flow.transport, flow.address, flow.name)
        if self._by_name.get(name) is connection:
            del self._by_name[name]
        if self._closed:
            return
        self._tell_lost(flow)
        for asked in connection.asked:
            self._tell_lost(asked)
        self._after()

    def _tell_lost(self, flow: Flow) -> None:
        self._receiver.connection_lost(flow, self._clock())

    def _later(self, tell: Callable[[Flow, int], None], flow: Flow) -> None:
        """Report after the drain that sent, not in the middle of it."""

        def report() -> None:
            if not self._closed:
                tell(flow, self._clock())
                self._after()

        asyncio.get_running_loop().call_soon(report)

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _written(listener: Listener) -> str:
    return f"{listener.transport.lower()}:{bracketed(listener.address)}:{listener.port}"


def _collide(one: Listener, other: Listener) -> bool:
    """Whether both want a port that only one can have."""
    if one.port != other.port or (one.transport == UDP) != (other.transport == UDP):
        return False
    return one.address == other.address or one.wildcard or other.wildcard


def _is_ours(address: str) -> bool:
    """True if ``address`` is one of this host's, or unknown."""
    if not address:
        return True
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


class _Nobody:
    """Before ``attach``."""

    def receive(self, data: bytes, flow: Flow, now: int) -> None:
        pass

    def connection_lost(self, flow: Flow, now: int) -> None:
        pass

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        pass
