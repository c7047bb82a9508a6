"""What both ends of a virtual span share: D channel and line over Unix SOCK_SEQPACKET sockets, for asyncio.

How they come to be connected is in virtual.py; what goes over them is in docs/virtual-span.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.core import SECOND
from gateway.pri.channels import Line
from gateway.pri.span.layer1 import (
    Alarm,
    CountersRead,
    Layer1,
    Layer1Error,
    Layer1Output,
    Layer1Timer,
    LineChanged,
    SendLine,
)

log = logging.getLogger(__name__)

MAX_PATH = 107
"""Octets of a Unix socket's path: sun_path without its terminator."""
MAX_FRAME = 1024
"""Octets of a D-channel packet. N201 is 260; what is longer is dropped and counted."""
MAX_LINE_PACKET = 4096
PACKETS_PER_WAKE = 32
"""Packets of the line read before other work gets its turn."""


class SpanError(Exception):
    """A span directory that cannot be used as configured; the text says which path, and why."""


@dataclass(slots=True)
class SpanStatistics:
    """What went through the D channel's socket and what did not; only ever counts up."""

    packets_in: int = 0
    packets_out: int = 0
    dropped_full: int = 0
    dropped_down: int = 0
    dropped_long: int = 0
    bad_line_packets: int = 0
    connections: int = 0
    refused: int = 0


def monotonic_microseconds() -> int:
    """The time scale of asyncio's loop, in microseconds."""
    return time.monotonic_ns() // 1000


def channel_path(directory: Path, channel: int | str) -> Path:
    """The path of a channel's socket; SpanError if it has more than MAX_PATH octets."""
    path = directory / str(channel)
    length = len(bytes(path))
    if length > MAX_PATH:
        raise SpanError(f"{path}: path of {length} octets, a Unix socket's has at most {MAX_PATH}")
    return path


class SpanEnd:
    """What both ends share: two connected sockets, their packets, and layer 1 with its timer."""

    def __init__(
        self,
        directory: Path,
        line: Line,
        on_frame: Callable[[bytes, int], None],
        on_line: Callable[[LineChanged | CountersRead, int], None],
        *,
        name: str,
        timers: Mapping[Layer1Timer, int] | None,
        clock: Callable[[], int],
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """``after`` is called after each frame, and when the D channel is lost."""
        self.directory = directory
        self.line = line
        self.d_path = channel_path(directory, line.d_channel)
        self.line_path = channel_path(directory, "line")
        self.name = name or directory.name
        self.statistics = SpanStatistics()
        self.clock = clock
        self.layer1 = Layer1(self.name, timers, clock())
        self._on_frame = on_frame
        self._on_line = on_line
        self._after = after
        self.on_presence: Callable[[bool], None] = lambda _present: None
        """Told when the far end's sockets are there, and when they are no more."""
        self._d: socket.socket | None = None
        self._line: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def alarm(self) -> Alarm:
        """The declared alarm."""
        return self.layer1.alarm

    def send_frame(self, frame: bytes) -> bool:
        """Send one LAPD frame, address to information field. False if it was dropped and counted: LAPD repairs it."""
        channel = self._d
        if channel is None:
            self.statistics.dropped_down += 1
            return False
        try:
            channel.send(frame)
        except (BlockingIOError, InterruptedError):
            self.statistics.dropped_full += 1
            return False
        except OSError as error:
            self.statistics.dropped_down += 1
            self._later_lost(channel, str(error))
            return False
        self.statistics.packets_out += 1
        return True

    def tell_alarm(self, alarm: Alarm) -> None:
        """Let the far end see ``alarm`` from now on."""
        self.layer1.tell_alarm(alarm, self.clock())
        self._drain()

    # -- inside --

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError(f"span {self.name} is not started")
        return self._loop

    def _both_connected(self, d: socket.socket, line: socket.socket) -> None:
        loop = self._running()
        self._d, self._line = d, line
        self.statistics.connections += 1
        self.layer1.connect(self.clock())
        loop.add_reader(d, self._read_d, d)
        loop.add_reader(line, self._read_line, line)
        self.on_presence(True)
        self._drain()

    def _read_d(self, channel: socket.socket) -> None:
        # One frame at a wakeup: seldom do two wait, and a read in vain costs more than being woken again.
        try:
            packet = channel.recv(MAX_FRAME + 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(str(error))
        else:
            if not packet:
                self._lost("the far end closed the D channel")
            elif len(packet) > MAX_FRAME:
                self.statistics.dropped_long += 1
                return
            else:
                self.statistics.packets_in += 1
                self._frame_in(packet)
        self._after()

    def _frame_in(self, frame: bytes) -> None:
        self._on_frame(frame, self.clock())

    def _read_line(self, channel: socket.socket) -> None:
        for _ in range(PACKETS_PER_WAKE):
            try:
                packet = channel.recv(MAX_LINE_PACKET + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(str(error))
                return
            if not packet:
                self._lost("the far end closed the line")
                return
            try:
                self.layer1.receive(packet, self.clock())
            except Layer1Error as error:
                self.statistics.bad_line_packets += 1
                if self.statistics.bad_line_packets == 1:
                    log.warning("span %s: %s (further ones are only counted)", self.name, error)
            self._drain()
            if self._line is not channel:
                return

    def _later_lost(self, channel: socket.socket, reason: str) -> None:
        # Not within send_frame: its caller is in the middle of a drain.
        def lost() -> None:
            if self._d is channel:
                self._lost(reason)

        self._running().call_soon(lost)

    def _lost(self, reason: str) -> None:
        """The connection is gone: close what is left of it, red alarm."""
        self._close_connection()
        self.on_presence(False)
        self.layer1.disconnect(reason, self.clock())
        self._drain()

    def _close_connection(self) -> None:
        loop = self._running()
        for channel in (self._d, self._line):
            if channel is not None:
                loop.remove_reader(channel)
                channel.close()
        self._d = self._line = None

    def _drain(self) -> None:
        """Hand out what layer 1 has to say, then set the one timer."""
        while self._loop is not None and (output := self.layer1.poll()) is not None:
            self._dispatch(output)
        self._set_timer()

    def _dispatch(self, output: Layer1Output) -> None:
        match output:
            case SendLine(packet):
                if self._line is not None:
                    # A far end that does not read its line misses it; one that is gone is noticed by the reader.
                    with contextlib.suppress(OSError):
                        self._line.send(packet)
            case LineChanged() | CountersRead():
                self._on_line(output, self.clock())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is None:
            return
        at = self.layer1.next_timer()
        if at is not None:
            delay = max(at - self.clock(), 0) / SECOND
            self._timer = self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.layer1.handle_timer(self.clock())
        self._drain()

    def _stop(self) -> None:
        if self._loop is not None:
            self._close_connection()
        self._loop = None
        self._set_timer()
