"""What is to be sent to a bus: in order, bounded, as much at a time as the socket takes. No D-Bus library."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol

MAX_UNSENT = 16 * 1024 * 1024
"""Octets that wait."""
COALESCED = 64 * 1024
"""Octets of several messages that are sent at once …"""
MAX_COALESCED = 64
"""… and messages."""


class Connection(Protocol):
    """What is used of a connection."""

    @property
    def connected(self) -> bool:
        """Whether the bus knows us."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""

    @property
    def socket(self) -> socket.socket:
        """Its socket, which does not block."""

    @property
    def descriptor(self) -> int:
        """Its socket's."""

    def fail(self, error: Exception | None) -> None:
        """The connection is over."""


class Outbox:
    """What is to be sent, in order and bounded; descriptors are ours from the moment they are put here."""

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self._queue: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._waiting = False
        self.unsent = 0

    def schedule_write(self, _message: object = None, _future: object = None) -> None:
        """The connection is there: what waited may go."""
        self.flush()

    def put(self, data: bytearray, fds: Sequence[int] = (), *, urgent: bool = False) -> bool:
        """Send ``data``; False if too much waits already. Copies of ``fds`` go along, which the caller may close."""
        if self.unsent + len(data) > MAX_UNSENT and not urgent:
            return False
        self._queue.append((memoryview(data), tuple(os.dup(each) for each in fds)))
        self.unsent += len(data)
        if not self._waiting and self._bus.connected:
            self.flush()
        return True

    def flush(self) -> None:
        """Send as much as the bus takes."""
        bus = self._bus
        try:
            while self._queue:
                self._send_some()
        except (BlockingIOError, InterruptedError):
            if not self._waiting:
                self._waiting = True
                bus.loop.add_writer(bus.descriptor, self.flush)
            return
        except OSError as error:
            bus.fail(error)
            return
        if self._waiting:
            self._waiting = False
            bus.loop.remove_writer(bus.descriptor)

    def _send_some(self) -> None:
        data, fds = self._queue[0]
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            sent = self._bus.socket.sendmsg([data], rights)
            close_all(fds)
        elif len(self._queue) > 1 and len(data) < COALESCED:
            several: list[memoryview] = []
            size = 0
            for each, with_fds in self._queue:
                if with_fds or size > COALESCED or len(several) == MAX_COALESCED:
                    break
                several.append(each)
                size += len(each)
            sent = self._bus.socket.sendmsg(several)
        else:
            sent = self._bus.socket.send(data)
        self.unsent -= sent
        while sent:
            first = self._queue[0][0]
            if sent < len(first):
                self._queue[0] = (first[sent:], ())
                return
            sent -= len(first)
            self._queue.popleft()

    def close(self) -> None:
        """Nothing is sent any more."""
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self.unsent = 0


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors of ours."""
    for each in fds:
        with contextlib.suppress(OSError):
            os.close(each)
