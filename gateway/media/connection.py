"""asyncio adapter of ``MediaClient``: one Unix SOCK_SEQPACKET connection, kept up by retrying, and one timer handle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable

from gateway.media.api import MediaEvent
from gateway.media.client import MediaClient, Transmit
from gateway.media.wire import PACKET_MAX, WireError
from gateway.readable import waiting

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
PACKETS_AT_ONCE = 32
BACKLOG_MAX = 256


class EngineConnection:
    """Keeps ``client`` connected to the engine at ``path``; ``clock`` gives microseconds, events go to ``on_event``.

    Whoever makes requests calls ``drain()`` afterwards (once for many requests: they share a packet). ``after`` is
    called after each wakeup instead of ``drain()``, which it must call then: replies may have made others speak.
    """

    def __init__(
        self,
        client: MediaClient,
        path: str,
        clock: Callable[[], int],
        on_event: Callable[[MediaEvent, int], None],
        after: Callable[[], object] | None = None,
    ) -> None:
        self.client = client
        self.path = path
        self._clock = clock
        self._on_event = on_event
        self._after = after or self.drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._backlog: deque[bytes] = deque()
        self._buffer = bytearray(PACKET_MAX)
        self._view = memoryview(self._buffer)
        self._complained = False

    def start(self) -> None:
        """Connect, now or as soon as the engine is there; once. Needs a running loop."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._connect()

    def close(self) -> None:
        """Close the connection; the engine keeps the streams for the grace time."""
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        self._timer = self._retry = None
        self._drop()
        self._loop = None

    def _connect(self) -> None:
        self._retry = None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(self.path)
        except OSError as error:
            connection.close()
            if not self._complained:
                log.warning("media engine at %s: %s", self.path, error.strerror)
            self._complained = True
            self._retry_later()
            return
        assert self._loop is not None  # noqa: S101 - start() came first
        self._complained = False
        self._socket = connection
        self._loop.add_reader(connection, self._readable)
        self.client.connected(self._clock())
        self._after()

    def _retry_later(self) -> None:
        if self._loop is not None and self._retry is None:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._connect)

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection is None or self._loop is None:
            return
        self._loop.remove_reader(connection)
        self._loop.remove_writer(connection)
        connection.close()
        self._backlog.clear()
        self.client.lost(self._clock())

    def _lose(self, why: str) -> None:
        log.error("media engine at %s: %s", self.path, why)
        self._drop()
        self._retry_later()
        self._after()

    def _readable(self) -> None:
        for _ in range(PACKETS_AT_ONCE):
            if self._socket is None:
                return
            try:
                length = self._socket.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._lose(error.strerror or "connection lost")
                return
            if not length:
                self._lose("connection closed")
                return
            try:
                self.client.receive(bytes(self._view[:length]), self._clock())
            except WireError as error:
                self._lose(str(error))
                return
            if self._socket is None or not waiting(self._socket):
                break
        self.tell()
        self._after()

    def _expired(self) -> None:
        self._timer = None
        if self._socket is not None and waiting(self._socket):
            # On a machine that is short of time it is we who are late: what waits unread is not missing.
            self._readable()
        else:
            self.client.handle_timer(self._clock())
            self._after()
        self._set_timer()

    def tell(self) -> bool:
        """Hand on what the client has to tell and send nothing yet, ``drain`` does; True if there was anything."""
        client = self.client
        if not client.tells:
            return False
        now = self._clock()
        while (event := client.hear()) is not None:
            self._on_event(event, now)
        return True

    def drain(self) -> bool:
        """Send and hand on everything the client has; call after making requests. True if others were told anything."""
        poll = self.client.poll
        told = bool(self.client.refused)
        sent = False
        while (output := poll()) is not None:
            if isinstance(output, Transmit):
                sent = True
                self._send(output.data)
            else:
                told = True
                self._on_event(output, self._clock())
        if sent:
            # Only a request starts the client's timer.
            self._set_timer()
        return told

    def _set_timer(self) -> None:
        at = self.client.next_timer()
        if at is None or self._loop is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self._loop.call_later(max(0, at - self._clock()) / 1e6, self._expired)

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            return
        if not self._backlog:
            try:
                self._socket.send(data)
                return
            except (BlockingIOError, InterruptedError):
                assert self._loop is not None  # noqa: S101 - there is a socket
                self._loop.add_writer(self._socket, self._writable)
            except OSError as error:
                self._lose(error.strerror or "connection lost")
                return
        if len(self._backlog) >= BACKLOG_MAX:
            self._lose(f"it has not read {BACKLOG_MAX} packets")
        else:
            self._backlog.append(data)

    def _writable(self) -> None:
        while self._backlog and self._socket is not None:
            try:
                self._socket.send(self._backlog[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lose(error.strerror or "connection lost")
                return
            self._backlog.popleft()
        if self._socket is not None and self._loop is not None:
            with contextlib.suppress(ValueError):
                self._loop.remove_writer(self._socket)
