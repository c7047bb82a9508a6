"""The sockets of SIP: UDP and TCP on asyncio (RFC 3261 18), one adapter for all listening sockets of an endpoint.

Hands bytes in, sends what it is told to; drains nothing and keeps no protocol timers. TLS joins as a third word.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from gateway.core import SECOND
from gateway.readable import waiting
from gateway.voip.sip.flow import TCP, UDP, Close, Flow, Resolve, Send, bracketed, literal_address
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.timers import SIP_TIMERS, SipTimer

log = logging.getLogger(__name__)

MAX_DATAGRAMS_PER_WAKEUP = 64
"""So that a flood on one socket leaves time for the rest."""
MAX_DATAGRAM = 65_535
MAX_KNOWN_SOURCES = 1024
"""Flows kept ready for those who have sent to us."""
MAX_CONNECTIONS = 1024
MAX_PENDING = 64
"""Messages that wait for a connection to open."""
MAX_WRITE_BUFFER = 1 << 20
"""Octets a connection may leave unread before it is closed."""
CONNECT_TIMEOUT = 5.0
RECEIVE_BUFFER = 1 << 20
"""SO_RCVBUF of UDP sockets: bursts of hundreds of calls."""
_SO_RCVBUFFORCE = 33
"""socket(7); not among Python's names."""
_BACKLOG = 256
_LINE_WORDS = {"udp": UDP, "tcp": TCP}


class ListenError(Exception):
    """A listening socket cannot be had; the text is one line for the operator."""


class Receiver(Protocol):
    """What the adapter feeds: SipEndpoint."""

    def receive(self, data: bytes, flow: Flow, now: int) -> None:
        """Bytes arrived."""

    def connection_lost(self, flow: Flow, now: int) -> None:
        """A connection is gone or cannot be had."""

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The addresses of a name."""


def parse_listen(text: str) -> Listener:
    """``udp:[::]:5060`` or ``tcp:192.0.2.1:5060`` as a Listener; ValueError says what is wrong."""
    word, _, rest = text.partition(":")
    host, colon, port = rest.rpartition(":")
    transport = _LINE_WORDS.get(word.lower())
    if transport is None:
        raise ValueError(f"listen is {text!r}, expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT")
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
    ``SipEndpoint.poll`` returned. ``clock`` gives the time in microseconds.
    """

    def __init__(self, listeners: tuple[Listener, ...], clock: Callable[[], int], after: Callable[[], None]) -> None:
        self._listeners = listeners
        self._receiver: Receiver = _Nobody()
        self._clock = clock
        self._after = after
        self._sockets: dict[int, socket.socket] = {}
        # Listeners whose UDP socket is of IPv6, so that IPv4 addresses need the mapped form.
        self._dual: set[int] = set()
        self._buffer = bytearray(MAX_DATAGRAM)
        self._view = memoryview(self._buffer)
        self._flows: dict[tuple[int, tuple[object, ...]], Flow] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[int, _Connection] = {}
        self._by_remote: dict[tuple[str, int], _Connection] = {}
        self._opening: dict[Flow, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serial = 0
        self._crowded = False
        self._closed = False
        self.dropped = 0

    @property
    def connections(self) -> int:
        """How many TCP connections are open."""
        return len(self._connections)

    async def start(self) -> tuple[Listener, ...]:
        """Bind every listener; raises ListenError. Returns them with the ports they really have (0: any free one)."""
        bound: list[Listener] = []
        try:
            for number, listener in enumerate(self._listeners):
                try:
                    port = await self._listen(number, listener)
                except OSError as error:
                    name = f"{listener.transport.lower()}:{bracketed(listener.address)}:{listener.port}"
                    raise ListenError(f"cannot listen on {name}: {os.strerror(error.errno or 0)}") from None
                bound.append(Listener(listener.transport, listener.address, port))
        except ListenError:
            self.close()
            raise
        return tuple(bound)

    async def _listen(self, number: int, listener: Listener) -> int:
        family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        kind = socket.SOCK_DGRAM if listener.transport == UDP else socket.SOCK_STREAM
        opened = socket.socket(family, kind)
        try:
            if family == socket.AF_INET6:
                # [::] is IPv4 and IPv6 whatever the host's default is.
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listener.wildcard else 1)
            if kind == socket.SOCK_STREAM:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                _widen(opened)
            opened.setblocking(False)
            opened.bind((listener.address, listener.port))
            loop = asyncio.get_running_loop()
            if kind == socket.SOCK_STREAM:
                server = await loop.create_server(
                    partial(_Connection, self, number), sock=opened, backlog=_BACKLOG, start_serving=False
                )
                self._servers.append(server)
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
        loop = asyncio.get_running_loop()
        for number, opened in self._sockets.items():
            loop.add_reader(opened.fileno(), self._readable, number, opened)
        for server in self._servers:
            await server.start_serving()

    def close(self) -> None:
        """Close everything at once."""
        self._closed = True
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened.fileno())
            opened.close()
        self._sockets.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections.values()):
            connection.abort()
        for task in self._tasks:
            task.cancel()

    # -- out --

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
                log.info("closing %s: %s", output.flow, output.text)
                connection.finish()
        else:
            self._spawn(self._resolve(output.host))

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
            connection = self._by_remote.get((flow.address, flow.port))
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
        if len(self._connections) + len(self._opening) >= MAX_CONNECTIONS and not self._make_room():
            log.warning("no connection to %s: %d are being opened", flow, MAX_CONNECTIONS)
            self._later(self._receiver.connection_lost, flow)
            return
        self._opening[flow] = [data]
        self._spawn(self._connect(flow))

    async def _connect(self, flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    partial(_Connection, self, flow.listener, flow), flow.address, flow.port
                )
        except OSError as error:
            # TimeoutError is one of them.
            reason = error.strerror or "timed out"
            log.warning("cannot connect to %s: %s", flow, reason)
            self._opening.pop(flow, None)
            self._tell_lost(flow)
            self._after()
            return
        for data in self._opening.pop(flow, ()):
            connection.send(data)

    async def _resolve(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except OSError as error:
            log.warning("cannot resolve %s: %s", host, error.strerror)
            addresses: tuple[str, ...] = ()
        else:
            addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._closed:
            self._receiver.resolved(host, addresses, self._clock())
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
        flow = flows[(number, source)] = Flow(UDP, _plain(str(source[0])), cast("int", source[1]), 0, number)
        return flow

    def opened(self, connection: _Connection, remote: tuple[str, int]) -> Flow | None:
        """A connection was opened by either side; its flow, or None if there are too many."""
        if self._closed or (len(self._connections) >= MAX_CONNECTIONS and not self._make_room()):
            return None
        self._serial += 1
        self._connections[self._serial] = connection
        address = _plain(remote[0])
        self._by_remote[(address, remote[1])] = connection
        return Flow(TCP, address, remote[1], self._serial, connection.listener)

    def _make_room(self) -> bool:
        """Close the connection that was silent longest: nobody keeps others out by opening many. False without any."""
        if not self._connections:
            return False
        number, idlest = min(self._connections.items(), key=lambda each: each[1].active)
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

    def lost(self, connection: _Connection, flow: Flow, asked: Flow | None) -> None:
        """A connection is gone."""
        self._connections.pop(flow.connection, None)
        self._crowded = self._crowded and 2 * len(self._connections) > MAX_CONNECTIONS
        if self._by_remote.get((flow.address, flow.port)) is connection:
            del self._by_remote[(flow.address, flow.port)]
        if self._closed:
            return
        self._tell_lost(flow)
        if asked is not None:
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


class _Nobody:
    """Before ``attach``."""

    def receive(self, data: bytes, flow: Flow, now: int) -> None:
        pass

    def connection_lost(self, flow: Flow, now: int) -> None:
        pass

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        pass


class _Connection(asyncio.Protocol):
    """One TCP connection. ``asked`` is the flow that made us open it."""

    def __init__(self, owner: SipTransport, listener: int, asked: Flow | None = None) -> None:
        self.listener = listener
        self._owner = owner
        self._asked = asked
        self._flow: Flow | None = None
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.active = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)
        remote = transport.get_extra_info("peername")
        self._flow = self._owner.opened(self, (remote[0], remote[1])) if remote else None
        if self._flow is None:
            stream.abort()
            return
        self._watch()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        limit = SIP_TIMERS[SipTimer.IDLE].default / SECOND
        now = loop.time()
        self.active = self.active or now
        if now - self.active >= limit:
            self.finish()
            return
        self._idle = loop.call_later(self.active + limit - now + 0.001, self._watch)

    def data_received(self, data: bytes) -> None:
        if self._flow is not None:
            self.active = asyncio.get_running_loop().time()
            self._owner.received(self._flow, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._idle is not None:
            self._idle.cancel()
        flow, self._flow = self._flow, None
        if flow is not None:
            self._owner.lost(self, flow, self._asked)

    @property
    def remote(self) -> str:
        """Who is at the far end, for the log."""
        return str(self._flow)

    def send(self, data: bytes) -> None:
        """Write; a far end that does not read loses its connection."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        self.active = asyncio.get_running_loop().time()
        if transport.get_write_buffer_size() > MAX_WRITE_BUFFER:
            log.warning("closing %s: the far end does not read", self._flow)
            transport.abort()

    def finish(self) -> None:
        """Close after what is written has gone."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _plain(address: str) -> str:
    """An IPv4 address that came over a dual-stack socket in its own form, scopes dropped."""
    if address.startswith("::ffff:") and "." in address:
        return address[7:]
    return address.partition("%")[0]
