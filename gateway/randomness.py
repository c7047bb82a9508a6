"""Random numbers of the operating system, fetched many at a time, for tags, branches and whatever must not be guessed.

``random.SystemRandom`` makes a system call for every number; a telephone call needs a dozen of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

POOL_BYTES = 4096


class PooledRandom(random.SystemRandom):
    """As ``random.SystemRandom``, from a pool. Of no use across a fork: both processes would draw the same numbers."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        """``source`` gives that many random octets."""
        super().__init__()
        self._source = source
        self._pool = b""
        self._at = 0

    def randbytes(self, n: int) -> bytes:
        """``n`` octets, none of them used before; ValueError if ``n`` is negative."""
        if n < 0:
            raise ValueError("number of octets must not be negative")
        at = self._at
        end = at + n
        if end > len(self._pool):
            if n > POOL_BYTES:
                return self._source(n)
            self._pool = self._source(POOL_BYTES)
            at, end = 0, n
        self._at = end
        return self._pool[at:end]

    def getrandbits(self, k: int) -> int:
        """An integer of ``k`` random bits; ValueError if ``k`` is negative."""
        if k < 0:
            raise ValueError("number of bits must not be negative")
        octets = (k + 7) // 8
        return int.from_bytes(self.randbytes(octets), "big") >> (8 * octets - k)

    def random(self) -> float:
        """A float in [0, 1) with 53 random bits."""
        return (int.from_bytes(self.randbytes(7), "big") >> 3) * 2.0**-53
