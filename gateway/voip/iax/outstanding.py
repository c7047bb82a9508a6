"""Full frames on their way: sent, and not yet acknowledged (RFC 5456 7.2.1). Times in microseconds.

Sequence numbers have 8 bits and wrap; as what is outstanding is less than half of them, there is never a doubt.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND
from gateway.voip.iax.frame import compressed

if TYPE_CHECKING:
    from gateway.voip.iax.crypt import Cipher
    from gateway.voip.iax.host import Path

MAX_OUTSTANDING = 64
"""Frames at once; a far end takes what is half of the sequence space away for a repetition (own)."""
MAX_WAITING = 256
"""Frames that wait until others are acknowledged (own)."""
VNAK_PAUSE = 10 * MILLISECOND
"""A frame is not sent again for a VNAK within this time: what was asked for twice goes once (own)."""
_HEADER = Struct(">HHIBBBB")
_FULL = 0x8000
_AGAIN = 0x8000


class Sent:
    """One frame: what it says, the key that it went with, and how often. ``path``: where the first try went besides."""

    __slots__ = (
        "asked",
        "at",
        "cipher",
        "code",
        "data",
        "due",
        "kind",
        "path",
        "sequence",
        "stamp",
        "subclass",
        "tries",
    )

    def __init__(self, kind: int, subclass: int, stamp: int, data: bytes) -> None:
        self.kind = kind
        self.subclass = subclass
        self.code = compressed(subclass)
        self.stamp = stamp
        self.data = data
        self.sequence = 0
        self.cipher: Cipher | None = None
        self.path: Path | None = None
        # How often it counts to have gone, and whether a VNAK asked for it besides; ``at`` is when last, 0 never.
        self.tries = 0
        self.asked = False
        self.at = 0
        self.due = 0

    def datagram(self, source: int, destination: int, iseqno: int) -> bytes:
        """As it is to be on the wire now. What goes again says so, and what has been heard since (7)."""
        if self.at:
            destination |= _AGAIN
        data = (
            _HEADER.pack(source | _FULL, destination, self.stamp, self.sequence, iseqno, self.kind, self.code)
            + self.data
        )
        return data if self.cipher is None else self.cipher.encrypt(data)


class Outstanding:
    """The frames of one session in the order of their sequence numbers, and those that have none yet."""

    __slots__ = ("frames", "waiting")

    def __init__(self) -> None:
        self.frames: deque[Sent] = deque()
        self.waiting: deque[Sent] = deque()

    def __bool__(self) -> bool:
        return bool(self.frames)

    @property
    def full(self) -> bool:
        """Whether no further frame may be sent now."""
        return len(self.frames) >= MAX_OUTSTANDING

    def acknowledged(self, iseqno: int) -> Sent | None:
        """The far end has all frames before ``iseqno``: the last of them, None if that is nothing new (or nonsense)."""
        frames = self.frames
        if not frames:
            return None
        count = (iseqno - frames[0].sequence) & 0xFF
        if not 0 < count <= len(frames):
            return None
        last = frames[count - 1]
        for _ in range(count):
            frames.popleft()
        return last

    def asked_for(self, iseqno: int, now: int) -> list[Sent]:
        """What a VNAK wants again: all from ``iseqno`` on, but for what just went."""
        return [
            sent
            for sent in self.frames
            if (sent.sequence - iseqno) & 0xFF < 0x80 and (not sent.asked or now - sent.at >= VNAK_PAUSE)
        ]

    def clear(self) -> None:
        """Nobody is there to hear them."""
        self.frames.clear()
        self.waiting.clear()
