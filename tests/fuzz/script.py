"""Reads fuzz input as a script: choices, numbers and pieces of text, so that a machine can be led by octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

TOKENS = (
    *(
        b'"',
        b"<",
        b">",
        b";",
        b",",
        b":",
        b"\r\n",
        b"\r\n ",
        b"%",
        b"@",
        b"[",
        b"\\",
        b"=",
        b"0",
        b"-1",
        b"\0",
        b"\xff",
    ),
    *(b"99999999999999999999", b"\xd9\xa3", b"\xc3\xa9", b"%00", b"z9hG4bK", b"sip:", b"tel:", b"\r\n\r\n", b"*", b"/"),
)
MAX_CHANGES = 6


class Script:
    """A cursor over ``data``. At its end every number is 0 and every piece empty, so that all input means something."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def octet(self) -> int:
        """0 to 255."""
        piece = self.take(1)
        return piece[0] if piece else 0

    def below(self, limit: int) -> int:
        """0 to ``limit`` - 1; one octet up to 256, else two."""
        number = self.octet()
        if limit > 256:
            number = number << 8 | self.octet()
        return number % limit

    def flag(self) -> bool:
        """True or False."""
        return self.octet() & 1 == 1

    def choose(self, items: Sequence[Item]) -> Item:
        """One of ``items``."""
        return items[self.below(len(items))]

    def take(self, count: int) -> bytes:
        """The next ``count`` octets, or what is left."""
        piece = self._data[self._at : self._at + count]
        self._at += len(piece)
        return piece

    def piece(self) -> bytes:
        """A length of one octet and as many octets."""
        return self.take(self.octet())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def changed(self, original: bytes) -> bytes:
        """``original`` with some changes, or none."""
        data = bytearray(original)
        for _ in range(self.octet() % (MAX_CHANGES + 1)):
            at = self.below(max(len(data), 257))
            match self.octet() % 6:
                case 0:
                    data[at : at + 1] = self.take(1)
                case 1:
                    data[at:at] = self.choose(TOKENS)
                case 2:
                    del data[at : at + 1 + self.octet() % 40]
                case 3:
                    start = self.below(max(len(data), 257))
                    data[at:at] = data[start : start + 1 + self.octet() % 80]
                case 4:
                    data[at : at + 1] = self.choose(TOKENS)
                case _:
                    data[at:at] = self.take(self.octet() % 16)
        return bytes(data)
