"""The contract of the sans-I/O protocol cores: bytes and time go in, frames and events come out.

A core never touches a socket, a clock, a random source or ``await``. Its owner hands in the time with every call (an
``int`` of microseconds on a monotonic scale) and drains ``poll()`` until None after every call into the core.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

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


def timer_durations(rows: Mapping[Key, TimerRow], *changes: Mapping[Key, int] | None) -> dict[Key, int]:
    """The default of every row, with ``changes`` in force, the later before the earlier.

    ValueError names a value out of its row's range.
    """
    result = {timer: row.default for timer, row in rows.items()}
    for changed in changes:
        for timer, value in (changed or {}).items():
            result[timer] = rows[timer].checked(value)
    return result


class TimerQueue(Generic[Key]):
    """Many running timers with one earliest deadline; a key has at most one deadline and is never None.

    Starting a key that runs moves it. Starting, stopping and expiring cost O(log n); stopped entries leave the heap
    lazily and the heap is rebuilt when they outnumber the running ones.
    """

    __slots__ = ("_entries", "_heap", "_serial")

    def __init__(self) -> None:
        # Deadline, serial number, key. A stopped entry has lost its key, so that what is stopped does not live on in
        # the heap; serial numbers differ, so that keys are never compared.
        self._entries: dict[Key, list[Any]] = {}
        self._heap: list[list[Any]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def start(self, key: Key, deadline: int) -> None:
        """Let ``key`` expire at ``deadline`` (microseconds), replacing a deadline it may have."""
        self._serial = serial = self._serial + 1
        entries = self._entries
        moved = entries.get(key)
        if moved is not None:
            moved[2] = None
        entries[key] = entry = [deadline, serial, key]
        heap = self._heap
        heappush(heap, entry)
        # Looked at now and then: that is often enough, and starting is what happens most.
        if not serial & 63 and len(heap) > 3 * len(entries):
            heap[:] = entries.values()
            heapify(heap)

    def stop(self, key: Key) -> bool:
        """Forget ``key``; True if it was running."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        entry[2] = None
        return True

    def deadline(self, key: Key) -> int | None:
        """When ``key`` expires, or None if it does not run."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2] is not None:
                at: int = entry[0]
                return at
            heappop(heap)
        return None

    def expired(self, now: int) -> Iterator[Key]:
        """Yield, earliest first, each key whose deadline is at or before ``now``; a yielded key no longer runs.

        Keys started while iterating are yielded too if they are already due.
        """
        heap = self._heap
        while heap:
            entry = heap[0]
            key: Key | None = entry[2]
            if key is None:
                heappop(heap)
                continue
            if entry[0] > now:
                return
            heappop(heap)
            del self._entries[key]
            yield key
