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

    __slots__ = ("_deadlines", "_heap", "_serial")

    def __init__(self) -> None:
        # A key's entry is the very one in the heap; one that is only in the heap was stopped or moved.
        self._deadlines: dict[Key, tuple[int, int, Key]] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: Key) -> bool:
        return key in self._deadlines

    def start(self, key: Key, deadline: int) -> None:
        """Let ``key`` expire at ``deadline`` (microseconds), replacing a deadline it may have."""
        self._serial += 1
        entry = self._deadlines[key] = (deadline, self._serial, key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 and len(self._heap) > 3 * len(self._deadlines):
            self._heap = list(self._deadlines.values())
            heapq.heapify(self._heap)

    def stop(self, key: Key) -> bool:
        """Forget ``key``; True if it was running."""
        return self._deadlines.pop(key, None) is not None

    def deadline(self, key: Key) -> int | None:
        """When ``key`` expires, or None if it does not run."""
        entry = self._deadlines.get(key)
        return entry[0] if entry else None

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        deadlines = self._deadlines
        if not deadlines:
            return None
        heap = self._heap
        while heap:
            entry = heap[0]
            if deadlines.get(entry[2]) is entry:
                return entry[0]
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
            _, _, key = heapq.heappop(self._heap)
            del self._deadlines[key]
            yield key
