"""IAX2 frames that nobody should send: real ones mangled in every way, and some that never were any."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation import iax_rfc as rfc

ELEMENTS_MANY = 90
LONGEST = 1400


class Mangler:
    """``mangled`` makes one datagram of another; ``remember`` gives it more to make some of."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._seen: list[bytes] = []

    def remember(self, data: bytes) -> None:
        """Somebody sent this."""
        if len(self._seen) < 64:
            self._seen.append(data)
        elif self._rng.random() < 0.05:
            self._seen[self._rng.randrange(len(self._seen))] = data

    def any(self) -> bytes:
        """One that was seen, mangled; or one that is made up."""
        return self.mangled(self._rng.choice(self._seen) if self._seen else rfc.mini(1, 1, b"voice"))

    def replayed(self) -> bytes:
        """One that was seen, as it was."""
        return self._rng.choice(self._seen) if self._seen else b""

    def mangled(self, data: bytes) -> bytes:
        """``data`` as it should not be."""
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            data = self._rng.choice(_WAYS)(self, data)
        return data

    def _at(self, data: bytes) -> int:
        return self._rng.randrange(len(data)) if data else 0

    def _cut(self, data: bytes) -> bytes:
        return data[: self._at(data)]

    def _longer(self, data: bytes) -> bytes:
        return (data + self._rng.randbytes(self._rng.randrange(1, 300)))[:LONGEST]

    def _flip(self, data: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes([data[at] ^ 1 << self._rng.randrange(8)]) + data[at + 1 :] if data else b""

    def _overwrite(self, data: bytes) -> bytes:
        at = self._at(data)
        length = self._rng.randrange(1, 9)
        return data[:at] + self._rng.randbytes(min(length, len(data) - at)) + data[at + length :]

    def _header(self, data: bytes) -> bytes:
        """One field of a full frame's header."""
        if len(data) < 12:
            return self._noise(data)
        at, length = self._rng.choice(((0, 2), (2, 2), (4, 4), (8, 1), (9, 1), (10, 1), (11, 1), (10, 2)))
        value = self._rng.choice((bytes(length), b"\xff" * length, self._rng.randbytes(length)))
        changed = data[:at] + value + data[at + length :]
        return bytes([changed[0] | 0x80]) + changed[1:]

    def _numbers(self, data: bytes) -> bytes:
        """Sequence numbers that are a little off."""
        if len(data) < 12:
            return self._noise(data)
        at = self._rng.choice((8, 9))
        return data[:at] + bytes([(data[at] + self._rng.randrange(-3, 4)) & 0xFF]) + data[at + 1 :]

    def _command(self, data: bytes) -> bytes:
        """Another frame with the same numbers."""
        if len(data) < 12:
            return self._noise(data)
        kind = self._rng.choice((rfc.IAX, rfc.IAX, rfc.CONTROL, self._rng.randrange(256)))
        sub = self._rng.choice((self._rng.randrange(0, 48), self._rng.randrange(256)))
        return data[:10] + bytes([kind, sub]) + data[12:]

    def _elements(self, data: bytes) -> bytes:
        """Information elements: none, any, wrong lengths, too many."""
        rng = self._rng
        body = b""
        for _ in range(rng.choice((0, 1, 3, 8, ELEMENTS_MANY))):
            length = rng.choice((0, 1, 2, 3, 4, 8, 9, 16, rng.randrange(64)))
            body += bytes([rng.choice((rng.randrange(0, 0x3A), rng.randrange(256))), length]) + rng.randbytes(length)
        if rng.random() < 0.3:
            body = body[:-1]
        return (data[:12] + body)[:LONGEST]

    def _one_element(self, data: bytes) -> bytes:
        """One of its elements has other octets, another length, or is there twice."""
        if len(data) < 16:
            return self._elements(data)
        rng, body = self._rng, data[12:]
        starts, at = [], 0
        while at + 2 <= len(body):
            starts.append(at)
            at += 2 + body[at + 1]
        at = rng.choice(starts)
        end = at + 2 + body[at + 1]
        kind = rng.randrange(4)
        if kind == 0:
            changed = body[:at] + body[end:]
        elif kind == 1:
            changed = body + body[at:end]
        elif kind == 2:
            octets = rng.randbytes(rng.randrange(0, 64))
            changed = body[:at] + bytes([body[at], len(octets)]) + octets + body[end:]
        else:
            changed = body[: at + 1] + bytes([rng.randrange(256)]) + body[at + 2 :]
        return data[:12] + changed

    def _splice(self, data: bytes) -> bytes:
        """The head of one and the tail of another."""
        if not self._seen:
            return self._flip(data)
        other = self._rng.choice(self._seen)
        return data[: self._at(data)] + other[self._at(other) :]

    def _trunk(self, data: bytes) -> bytes:
        """A trunk frame of calls that there are or are not, whose lengths are right or wrong."""
        rng = self._rng
        number = int.from_bytes(data[:2], "big") & 0x7FFF if len(data) > 1 else 1
        shares = [
            (rng.choice((number, rng.randrange(1 << 16))), rng.randrange(1 << 16), rng.randbytes(rng.randrange(0, 40)))
            for _ in range(rng.choice((0, 1, 2, 30)))
        ]
        made = bytearray(rfc.trunk(rng.getrandbits(32), shares, stamps=rng.random() < 0.5))
        if rng.random() < 0.7:
            made[rng.randrange(2, len(made))] = rng.randrange(256)
        return bytes(made)[: rng.choice((LONGEST, rng.randrange(1, len(made) + 1)))]

    def _mini(self, data: bytes) -> bytes:
        """Voice, of the frame's call or of any."""
        rng = self._rng
        number = int.from_bytes(data[:2], "big") & 0x7FFF if len(data) > 1 else 1
        return rfc.mini(rng.choice((number, rng.randrange(1 << 15))), rng.randrange(1 << 16), rng.randbytes(20))

    def _video(self, data: bytes) -> bytes:
        return b"\0\0" + bytes([self._rng.randrange(256)]) + data[1 : self._at(data) + 1]

    def _noise(self, data: bytes) -> bytes:
        return self._rng.randbytes(self._rng.randrange(0, 200))


_WAYS: tuple[Callable[[Mangler, bytes], bytes], ...] = (
    Mangler._cut,
    Mangler._longer,
    Mangler._flip,
    Mangler._flip,
    Mangler._overwrite,
    Mangler._header,
    Mangler._header,
    Mangler._numbers,
    Mangler._command,
    Mangler._command,
    Mangler._elements,
    Mangler._one_element,
    Mangler._one_element,
    Mangler._splice,
    Mangler._trunk,
    Mangler._mini,
    Mangler._video,
    Mangler._noise,
)
