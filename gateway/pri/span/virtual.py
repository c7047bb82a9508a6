"""A virtual span over Unix sockets, for asyncio: connecting end ``VirtualSpan``, listening end ``VirtualSpanServer``.

One LAPD frame a packet and layer 1 as JSON, as in docs/virtual-span.md. B channels are the media engine's matter.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.core import MILLISECOND, SECOND, TimerRow
from gateway.pri.channels import Line
from gateway.pri.span.endpoint import SpanEnd, SpanError, SpanStatistics, channel_path, monotonic_microseconds
from gateway.pri.span.faults import FaultInjector
from gateway.pri.span.layer1 import CountersRead, Layer1Timer, LineChanged
from gateway.stale_socket import make_way

__all__ = ["SpanError", "SpanStatistics", "VirtualSpan", "VirtualSpanServer", "channel_path"]

MAX_DELAYED = 256
"""Frames on their way through a fault injector; one more is dropped and counted."""

# Not a protocol's: how often the connecting end knocks, and how long a connection must live to count as a good one.
RETRY_FIRST = TimerRow("span connect retry, first", 200 * MILLISECOND, 10 * MILLISECOND, 60 * SECOND, "policy")
RETRY_LAST = TimerRow("span connect retry, longest", 2 * SECOND, 10 * MILLISECOND, 60 * SECOND, "policy")
GOOD_CONNECTION = 2 * SECOND


class VirtualSpan(SpanEnd):
    """The connecting end, the gateway's: knocks until somebody listens, and is a red alarm meanwhile.

    ``on_frame(frame, now)`` gets D-channel frames, ``on_line(event, now)`` changes of the alarm and counter readings;
    ``after()`` is called after each frame.
    """

    def __init__(
        self,
        directory: Path,
        line: Line,
        on_frame: Callable[[bytes, int], None],
        on_line: Callable[[LineChanged | CountersRead, int], None],
        *,
        name: str = "",
        timers: Mapping[Layer1Timer, int] | None = None,
        retry_first: int = RETRY_FIRST.default,
        retry_last: int = RETRY_LAST.default,
        clock: Callable[[], int] = monotonic_microseconds,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """SpanError if a path is too long, ValueError if a timer is out of range."""
        super().__init__(directory, line, on_frame, on_line, name=name, timers=timers, clock=clock, after=after)
        self._retry_first = RETRY_FIRST.checked(retry_first)
        self._retry_last = max(RETRY_LAST.checked(retry_last), retry_first)
        self._retry = retry_first
        self._connected_at = 0
        self._knock: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to knock; needs a running loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._connect()

    def close(self) -> None:
        """Let go of everything, at once; no callback comes after this."""
        if self._knock is not None:
            self._knock.cancel()
            self._knock = None
        self._stop()

    def _connect(self) -> None:
        self._knock = None
        opened: list[socket.socket] = []
        try:
            for path in (self.line_path, self.d_path):
                channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
                opened.append(channel)
                channel.connect(str(path))
        except OSError as error:
            for channel in opened:
                channel.close()
            self.layer1.disconnect(f"{path}: {error.strerror}", self.clock())
            self._knock_later()
            self._drain()
            return
        self._connected_at = self.clock()
        self._both_connected(opened[1], opened[0])

    def _lost(self, reason: str) -> None:
        if self.clock() - self._connected_at >= GOOD_CONNECTION:
            self._retry = self._retry_first
        self._knock_later()
        super()._lost(reason)

    def _knock_later(self) -> None:
        if self._knock is None:
            self._knock = self._running().call_later(self._retry / SECOND, self._connect)
            self._retry = min(2 * self._retry, self._retry_last)


class VirtualSpanServer(SpanEnd):
    """The listening end, the exchange's or a test's: makes the directory's sockets and serves one client.

    ``faults_in`` and ``faults_out`` spoil the frames of one direction each; ``cut`` and ``mend`` are the cable.
    """

    def __init__(
        self,
        directory: Path,
        line: Line,
        on_frame: Callable[[bytes, int], None],
        on_line: Callable[[LineChanged | CountersRead, int], None],
        *,
        name: str = "",
        timers: Mapping[Layer1Timer, int] | None = None,
        faults_in: FaultInjector | None = None,
        faults_out: FaultInjector | None = None,
        directory_mode: int = 0o700,
        socket_mode: int = 0o600,
        clock: Callable[[], int] = monotonic_microseconds,
    ) -> None:
        """SpanError if a path is too long, ValueError if a timer is out of range."""
        super().__init__(directory, line, on_frame, on_line, name=name, timers=timers, clock=clock)
        self.faults_in = faults_in
        self.faults_out = faults_out
        self._directory_mode = directory_mode
        self._socket_mode = socket_mode
        self._listeners: dict[Path, socket.socket] = {}
        self._accepted: dict[Path, socket.socket] = {}
        self._out_line = _DelayLine(super().send_frame, self)
        self._in_line = _DelayLine(super()._frame_in, self)

    @property
    def is_cut(self) -> bool:
        """True between ``cut`` and ``mend``, and before ``start``."""
        return not self._listeners

    def start(self) -> None:
        """Listen; needs a running loop. SpanError if the directory cannot be used or somebody alive listens there."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        try:
            self.directory.mkdir(mode=self._directory_mode, parents=True, exist_ok=True)
            self.mend()
        except OSError as error:
            self.close()
            raise SpanError(f"{self.directory}: {error.strerror}") from error
        except SpanError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of everything, at once, and remove the sockets; no callback comes after this."""
        if self._loop is not None:
            self._unlisten()
        self._stop()

    def cut(self) -> None:
        """Cut the cable: the client's connections close and new ones are refused until ``mend``."""
        self._running()
        self._unlisten()
        self._lost("the cable is cut")

    def mend(self) -> None:
        """Listen again after ``cut``. SpanError as for ``start``."""
        loop = self._running()
        if self._listeners:
            return
        for path in (self.line_path, self.d_path):
            listener = _listen(path, self._socket_mode)
            self._listeners[path] = listener
            loop.add_reader(listener, self._accept, path, listener)

    def send_frame(self, frame: bytes) -> bool:
        """Send one LAPD frame, through ``faults_out`` if there is one (then always True: faults are not told)."""
        if self.faults_out is None:
            return super().send_frame(frame)
        self._out_line.put(frame, self.faults_out)
        return True

    # -- inside --

    def _frame_in(self, frame: bytes) -> None:
        if self.faults_in is None:
            super()._frame_in(frame)
        else:
            self._in_line.put(frame, self.faults_in)

    def _close_connection(self) -> None:
        self._out_line.clear()
        self._in_line.clear()
        super()._close_connection()

    def _accept(self, path: Path, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            # The client gave up between knocking and now, or we are out of descriptors: it will knock again.
            return
        client.setblocking(False)
        old = self._client(path)
        if old is not None and _alive(old):
            self.statistics.refused += 1
            client.close()
            return
        if self._d is not None:
            self._lost("the client came anew")
        elif old is not None:
            old.close()
        self._accepted[path] = client
        if len(self._accepted) == len(self._listeners):
            both = self._accepted
            self._accepted = {}
            self._both_connected(both[self.d_path], both[self.line_path])

    def _client(self, path: Path) -> socket.socket | None:
        if self._d is not None:
            return self._d if path == self.d_path else self._line
        return self._accepted.get(path)

    def _unlisten(self) -> None:
        loop = self._running()
        for path, listener in self._listeners.items():
            loop.remove_reader(listener)
            listener.close()
            path.unlink(missing_ok=True)
        self._listeners.clear()
        for client in self._accepted.values():
            client.close()
        self._accepted.clear()


class _DelayLine:
    """Frames on a spoilt line, in order, with one timer for the next to come out."""

    def __init__(self, deliver: Callable[[bytes], object], end: SpanEnd) -> None:
        self._deliver = deliver
        self._end = end
        self._frames: deque[tuple[int, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, frame: bytes, faults: FaultInjector) -> None:
        now = self._end.clock()
        for when, spoilt in faults.carry(frame, now):
            if when <= now and not self._frames:
                self._deliver(spoilt)
            elif len(self._frames) < MAX_DELAYED:
                self._frames.append((when, spoilt))
            else:
                self._end.statistics.dropped_full += 1
        self._arm()

    def clear(self) -> None:
        self._frames.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None and self._frames:
            delay = max(self._frames[0][0] - self._end.clock(), 0) / SECOND
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._end.clock()
        while self._frames and self._frames[0][0] <= now:
            self._deliver(self._frames.popleft()[1])
        self._arm()


def _alive(channel: socket.socket) -> bool:
    """True unless the far end has closed ``channel``."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    return not poll.poll(0)


def _listen(path: Path, mode: int) -> socket.socket:
    """A listening socket at ``path``, in place of a dead one; SpanError if somebody listens or it is something else."""
    refuse_taken(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        # Before bind, so that the socket is never there with wider rights; after, as the umask may have narrowed them.
        os.fchmod(listener.fileno(), mode)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise SpanError(f"{path}: {error.strerror}") from error
    return listener


def refuse_taken(path: Path) -> None:
    """Remove a channel's socket that nobody listens at; SpanError if somebody does, or if it is something else."""
    try:
        make_way(path, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise SpanError(f"{path}: {error.strerror}") from error
