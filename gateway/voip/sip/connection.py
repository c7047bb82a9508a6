"""One TCP or TLS connection of SIP on asyncio (RFC 3261 18): bytes to its owner and back, limits, keep-alive.

What the bytes mean, and which connection a message takes, is the owner's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, cast

from gateway.core import SECOND
from gateway.voip.sip.flow import TCP, TLS, Flow, bracketed
from gateway.voip.sip.handshakes import HANDSHAKE_TIMEOUT, Handshakes
from gateway.voip.sip.timers import SIP_TIMERS, SipTimer
from gateway.voip.sip.tls import Tls, hosts_shown
from gateway.voip.sip.tls_channel import TlsChannel, TlsError
from gateway.voip.sip.tls_reasons import CLOSED, TOO_LATE

log = logging.getLogger(__name__)

MAX_WRITE_BUFFER = 1 << 20
"""Octets a connection may leave unread before it is closed."""
KEEPALIVE_IDLE = 60
"""Seconds of silence after which the host asks whether the far end is still there; NATs forget after some 120 s."""
KEEPALIVE_INTERVAL = 15
KEEPALIVE_COUNT = 4
USER_TIMEOUT_MS = 30_000
"""RFC 5482: what nobody acknowledges for so long ends the connection; SIP gives a transaction up after 32 s."""


class Owner(Protocol):
    """What a connection reports to: SipTransport."""

    @property
    def handshakes(self) -> Handshakes:
        """The limits of TLS."""

    @property
    def now(self) -> int:
        """The time in microseconds."""

    def admits(self, address: str) -> bool:
        """Whether a connection from ``address`` is taken at all."""

    def opened(self, connection: Connection, remote: tuple[str, int]) -> Flow | None:
        """A connection was opened by either side; its flow, or None if there are too many."""

    def received(self, flow: Flow, data: bytes) -> None:
        """Bytes of a connection arrived."""

    def lost(self, connection: Connection, flow: Flow) -> None:
        """A connection is gone."""


class Connection(asyncio.Protocol):
    """One TCP connection. ``asked`` is the flow that made us open it, None if the far end did."""

    transport = TCP

    def __init__(self, owner: Owner, listener: int, asked: Flow | None = None) -> None:
        self.listener = listener
        self.asked: set[Flow] = set() if asked is None else {asked}
        self.outgoing = asked is not None
        self.name = ""
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.active = 0.0
        self.local = ""
        self.local_port = 0
        self._owner = owner
        self._flow: Flow | None = None
        self._socket: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._remote = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there (asyncio.Protocol)."""
        self._socket = stream = cast("asyncio.Transport", transport)
        remote = transport.get_extra_info("peername")
        if not remote:
            stream.abort()
            return
        self._remote = (plain(remote[0]), remote[1])
        sockname = transport.get_extra_info("sockname") or ("", 0)
        self.local, self.local_port = plain(str(sockname[0])), sockname[1]
        if not self.outgoing and not self._owner.admits(self._remote[0]):
            stream.abort()
            return
        _keep_alive(transport.get_extra_info("socket"))
        self._begin()

    def _begin(self) -> None:
        """The connection is there: of TCP that is all it takes."""
        self._open()

    def _open(self) -> None:
        self._flow = self._owner.opened(self, self._remote)
        if self._flow is None:
            self.abort()
            return
        self._watch()
        if not self.ready.done():
            self.ready.set_result(True)

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
        """Bytes came in (asyncio.Protocol)."""
        if self._flow is not None:
            self.active = asyncio.get_running_loop().time()
            self._owner.received(self._flow, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The TCP connection is gone (asyncio.Protocol)."""
        if self._idle is not None:
            self._idle.cancel()
        if not self.ready.done():
            self.ready.set_result(False)
        flow, self._flow = self._flow, None
        if flow is not None:
            self._owner.lost(self, flow)

    @property
    def address(self) -> str:
        """The address at the far end."""
        return self._remote[0]

    @property
    def remote(self) -> str:
        """Who is at the far end, for the log."""
        return f"{self.transport.lower()}:{bracketed(self._remote[0])}:{self._remote[1]}"

    def proves(self, name: str) -> bool:  # noqa: ARG002
        """True if what is sent to the host ``name`` may go this way."""
        return True

    def send(self, data: bytes) -> None:
        """Write; a far end that does not read loses its connection."""
        stream = self._socket
        if stream is None or stream.is_closing():
            return
        self._write(stream, data)
        self.active = asyncio.get_running_loop().time()
        if stream.get_write_buffer_size() > MAX_WRITE_BUFFER:
            log.warning("closing %s: the far end does not read", self.remote)
            stream.abort()

    def _write(self, stream: asyncio.Transport, data: bytes) -> None:
        stream.write(data)

    def finish(self) -> None:
        """Close after what is written has gone."""
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """Close at once."""
        if self._socket is not None:
            self._socket.abort()


class TlsConnection(Connection):
    """One TLS connection: its owner hears of it when the handshake is done and the far end is who it must be."""

    transport = TLS

    def __init__(self, owner: Owner, tls: Tls, listener: int, asked: Flow | None = None) -> None:
        super().__init__(owner, listener, asked)
        self._tls = tls
        self._expected = asked.name if asked is not None else ""
        self._channel: TlsChannel | None = None
        self._counted = False
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self.certificate: Mapping[str, object] = {}

    def _begin(self) -> None:
        if self.outgoing:
            self._channel = self._tls.connect(self._expected)
        else:
            self._counted = self._owner.handshakes.begin(self._remote[0], self._owner.now)
            if not self._counted:
                self.abort()
                return
            self._channel = self._tls.accept()
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._refuse, TOO_LATE)
        try:
            self._channel.start()
        except TlsError as error:
            self._refuse(error.text)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes came in (asyncio.Protocol)."""
        channel = self._channel
        if channel is None:
            return
        established = self._flow is not None
        try:
            text = channel.receive(data)
        except TlsError as error:
            self._flush()
            if established and not (self.outgoing and error.theirs):
                log.info("closing %s: %s", self.remote, error.text)
                self.abort()
            else:
                # With TLS 1.3 a server says only after our handshake what it thinks of our certificate.
                self._refuse(error.text)
            return
        self._flush()
        if not established:
            if not channel.established:
                return
            self._established(channel)
            if self._flow is None:
                return
        if text:
            super().data_received(text)
        if channel.ended:
            self.finish()

    def _established(self, channel: TlsChannel) -> None:
        self._over(done=True)
        self.certificate = channel.certificate
        address = self._remote[0]
        if self.outgoing:
            if not self._tls.vouches(self.certificate, self._expected, address):
                text = f"expected a certificate for {self._expected or address}; it is for "
                self._refuse(f"{text}{hosts_shown(self.certificate)}; set host to one of these, or give it another")
                return
            self.name = self._expected
        else:
            self.name = self._tls.peer_of(self.certificate)
        if log.isEnabledFor(logging.DEBUG):
            who = f", certificate for {hosts_shown(self.certificate)}" if self.certificate else ""
            log.debug("%s: %s, %s%s", self.remote, channel.version, channel.cipher, who)
        self._open()

    def proves(self, name: str) -> bool:
        """True if the far end is the host ``name`` by the certificate it showed to us."""
        if name == self.name:
            return True
        return bool(name and self.certificate) and self._tls.vouches(self.certificate, name, self._remote[0])

    def _refuse(self, text: str) -> None:
        if not self._refused:
            self._refused = True
            far_end = self._remote[0]
            if self.outgoing:
                far_end = f"{self._expected} at {self.remote}" if self._expected else self.remote
            self._owner.handshakes.refuse(far_end, text, self._owner.now, outgoing=self.outgoing)
        self._over(done=False)
        # close, so that an alert which says why still goes out.
        self.finish()

    def _over(self, *, done: bool) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._counted:
            self._counted = False
            self._owner.handshakes.end(self._remote[0], done=done)

    def _flush(self) -> None:
        stream, channel = self._socket, self._channel
        if stream is not None and channel is not None and not stream.is_closing():
            data = channel.outgoing()
            if data:
                stream.write(data)

    def _write(self, stream: asyncio.Transport, data: bytes) -> None:
        if self._channel is not None:
            try:
                stream.write(self._channel.send(data))
            except TlsError as error:
                log.info("closing %s: %s", self.remote, error.text)
                stream.abort()

    def finish(self) -> None:
        """Say that nothing more comes, then close."""
        stream, channel = self._socket, self._channel
        if stream is not None and channel is not None and not stream.is_closing():
            data = channel.close()
            if data:
                stream.write(data)
        super().finish()

    def abort(self) -> None:
        """Close at once, which then is no refusal of theirs."""
        self._refused = True
        super().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone (asyncio.Protocol)."""
        if self._deadline is not None and not self._refused and self._flow is None:
            self._refuse(CLOSED)
        self._over(done=False)
        super().connection_lost(exc)


def plain(address: str) -> str:
    """An IPv4 address that came over a dual-stack socket in its own form, scopes dropped."""
    if address.startswith("::ffff:") and "." in address:
        return address[7:]
    return address.partition("%")[0]


def _keep_alive(opened: socket.socket | None) -> None:
    """Let the host notice far ends that vanished without a word."""
    if opened is None:
        return
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
