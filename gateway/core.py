"""The contract of the sans-I/O protocol cores: bytes and time go in, frames and events come out.

A core never touches a socket, a clock, a random source or ``await``. Its owner hands in the time with every call (an
``int`` of microseconds on a monotonic scale) and drains ``poll()`` until None after every call into the core.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

MILLISECOND = 1_000
SECOND = 1_000_000

Key = TypeVar("Key", bound=Hashable)


class ProtocolError(Exception):
    """What the far end sent breaks its protocol; each protocol has one subclass. Never a fault of ours."""


@dataclass(frozen=True, slots=True)
class TimerRow:
    """One configurable protocol timer or counter: its name in the specification, default, range and clause.

    Timers are in microseconds; counters (N200, k) are plain numbers.
    """

    name: str
    default: int
    minimum: int
    maximum: int
    clause: str

    def checked(self, value: int) -> int:
        """Return ``value`` if it is in range, else raise ValueError naming the timer and its range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{self.name} is {value}, expected {self.minimum} to {self.maximum} ({self.clause})")
        return value


class TimerQueue(Generic[Key]):
    """Many running timers with one earliest deadline; a key has at most one deadline.

    Starting a key that runs moves it. Starting, stopping and expiring cost O(log n); stopped entries leave the heap
    lazily and the heap is rebuilt when they outnumber the running ones.
    """

    __slots__ = ("_deadlines", "_heap", "_running", "_serial")

    def __init__(self) -> None:
        self._deadlines: dict[Key, tuple[int, int]] = {}
        # The heap names keys by serial number only, so that what is stopped does not live on in it.
        self._running: dict[int, Key] = {}
        self._heap: list[tuple[int, int]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: Key) -> bool:
        return key in self._deadlines

    def start(self, key: Key, deadline: int) -> None:
        """Let ``key`` expire at ``deadline`` (microseconds), replacing a deadline it may have."""
        self._serial = serial = self._serial + 1
        deadlines, running = self._deadlines, self._running
        moved = deadlines.get(key)
        if moved is not None:
            del running[moved[1]]
        entry = deadlines[key] = (deadline, serial)
        running[serial] = key
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 and len(self._heap) > 3 * len(deadlines):
            self._heap = list(deadlines.values())
            heapq.heapify(self._heap)

    def stop(self, key: Key) -> bool:
        """Forget ``key``; True if it was running."""
        entry = self._deadlines.pop(key, None)
        if entry is None:
            return False
        del self._running[entry[1]]
        return True

    def deadline(self, key: Key) -> int | None:
        """When ``key`` expires, or None if it does not run."""
        entry = self._deadlines.get(key)
        return entry[0] if entry else None

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        running = self._running
        if not running:
            return None
        heap = self._heap
        while heap:
            at, serial = heap[0]
            if serial in running:
                return at
            heapq.heappop(heap)
        return None

    def expired(self, now: int) -> Iterator[Key]:
        """Yield, earliest first, each key whose deadline is at or before ``now``; a yielded key no longer runs.

        Keys started while iterating are yielded too if they are already due.
        """
        while True:
            at = self.next_timer()
            if at is None or at > now:
                return
            _, serial = heapq.heappop(self._heap)
            key = self._running.pop(serial)
            del self._deadlines[key]
            yield key
