"""The ring of what went over the wires last: always on, bounded in octets, nothing encoded before somebody asks.

It holds the very octets that signalling handled. Keys and secrets in them leave it through ``redact`` only.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, NamedTuple

from gateway.media.api import Copied

DEFAULT_OCTETS = 16 << 20
"""What the ring may hold: some 2,000 calls between PRI and SIP."""
MIN_OCTETS = 64 << 10
ENTRY_OCTETS = 160
"""What an entry takes beside its data: a tuple, a time and a header of bytes."""
CHUNK = 64
"""Entries that come and go together, as each on its own would cost twice as much."""
MAX_ENDED = 2_000
"""Calls that are over and can still be asked for."""


class Wire(IntEnum):
    """What an entry is, and by that what its ``where`` is."""

    LAPD = 0
    """A frame of a D channel; ``where`` is the name of the span."""
    SIP = 1
    """A datagram, or what a read of a stream brought, in clear; ``where`` is its Flow."""
    IAX2 = 2
    """A full frame as it is on the wire; ``where`` is the Path and the key that it is encrypted with, b"" if none."""
    RTP = 3
    """An RTP packet in clear; ``where`` is a VoicePath."""
    MINI = 4
    """A mini frame of IAX2 in clear, whatever it came or went in; ``where`` is a VoicePath."""


class VoicePath(NamedTuple):
    """Of which stream of the media engine a packet is, between which addresses it went, and in what."""

    stream: int
    local: tuple[str, int]
    remote: tuple[str, int]
    copied: Copied = Copied.RTP


Entry = tuple[int, int, bool, Any, bytes]
"""When (microseconds of the monotonic clock), a Wire, whether it came to us, where, and the octets."""


class CallKeys(NamedTuple):
    """What the messages of a call bear, and when it was (microseconds); ``ended`` None: it goes on.

    ``keys`` are those of its legs: see ``dialogues.keys_of``.
    """

    identity: str
    started: int
    ended: int | None
    keys: tuple[tuple[object, ...], ...]


class Ring:
    """At most ``octets`` of entries and what they take, and fewer than CHUNK entries beside.

    The oldest go a chunk at a time. ValueError for fewer octets than MIN_OCTETS.
    """

    __slots__ = ("_chunks", "_dropped", "_fresh", "_held", "_limit", "ended")

    def __init__(self, octets: int = DEFAULT_OCTETS) -> None:
        if octets < MIN_OCTETS:
            raise ValueError(f"a ring of {octets} octets, expected {MIN_OCTETS} or more")
        self._limit = octets
        # Each of CHUNK entries, with the octets that it takes.
        self._chunks: deque[tuple[list[Entry], int]] = deque()
        self._fresh: list[Entry] = []
        self._held = 0
        self._dropped = 0
        self.ended: deque[CallKeys] = deque(maxlen=MAX_ENDED)

    def note(self, at: int, wire: int, inward: bool, where: Any, data: bytes) -> None:
        """Keep one entry; the oldest go. This is on the way of every message."""
        fresh = self._fresh
        fresh.append((at, wire, inward, where, data))
        if len(fresh) == CHUNK:
            self._sweep()

    def _sweep(self) -> None:
        fresh, self._fresh = self._fresh, []
        taken = sum([len(entry[4]) for entry in fresh]) + CHUNK * ENTRY_OCTETS
        chunks = self._chunks
        chunks.append((fresh, taken))
        held = self._held + taken
        while held > self._limit:
            held -= chunks.popleft()[1]
            self._dropped += CHUNK
        self._held = held

    def end_of(self, call: CallKeys) -> None:
        """A call is over: it can be asked for as long as its entries are here, and MAX_ENDED others came after it."""
        self.ended.append(call)

    @property
    def octets(self) -> int:
        """What the entries take, but for the newest ones."""
        return self._held

    @property
    def first(self) -> int:
        """The number of the oldest entry that is here, counted from the start."""
        return self._dropped

    @property
    def last(self) -> int:
        """The number that the next entry will have."""
        return self._dropped + len(self._chunks) * CHUNK + len(self._fresh)

    def since(self, number: int, most: int) -> tuple[list[Entry], int]:
        """At most ``most`` entries from ``number`` on, and the number after them; what was dropped is left out."""
        begin = max(number, self._dropped)
        found: list[Entry] = []
        index, within = divmod(begin - self._dropped, CHUNK)
        while len(found) < most and index <= len(self._chunks):
            entries = self._chunks[index][0] if index < len(self._chunks) else self._fresh
            found += entries[within : within + most - len(found)]
            index, within = index + 1, 0
        return found, begin + len(found)

    def call(self, identity: str) -> CallKeys | None:
        """The ended call of that identity, if it is still known."""
        return next((each for each in reversed(self.ended) if each.identity == identity), None)
