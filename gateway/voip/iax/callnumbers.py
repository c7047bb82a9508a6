"""Our call numbers: 15 bits, at random, so that nobody guesses one (RFC 5456 has them count up), and never too many.

A number that is free again rests first: what is still under way for its last session must not meet the next.
"""

from __future__ import annotations

import random
from collections import Counter, deque

from gateway.voip.iax.frame import MAX_CALL_NUMBER
from gateway.voip.sip.defence import source_of

FIRST = 2
"""0 is nobody's and 1 answers without a session."""
MOST_IN_USE = 16_384
"""Half of all, so that a free one is found in two tries and guessing one is worth nothing."""
EMERGENCY_NUMBERS = 128
"""Beyond all others, for calls for help: one comes in with each, and another may go out."""
TRIES = 64


class CallNumbers:
    """``linger`` is how long a number rests (microseconds)."""

    def __init__(self, rng: random.Random, linger: int) -> None:
        self._rng = rng
        self._linger = linger
        self._taken: dict[int, str] = {}
        self._of: Counter[str] = Counter()
        self._resting: deque[tuple[int, int]] = deque()
        self._rests: set[int] = set()

    def __len__(self) -> int:
        """Numbers in use."""
        return len(self._taken)

    def __contains__(self, number: int) -> bool:
        return number in self._taken

    @property
    def resting(self) -> int:
        """Numbers that nobody has, and nobody gets yet."""
        return len(self._rests)

    def used_by(self, address: str) -> int:
        """How many sessions have their far end at ``address``."""
        return self._of[source_of(address)]

    def take(self, address: str, now: int, *, emergency: bool = False) -> int | None:
        """A number for a session with ``address``; None if there is none left."""
        self._wake(now)
        room = MOST_IN_USE + (EMERGENCY_NUMBERS if emergency else 0)
        if len(self._taken) >= room:
            return None
        # Before a call is refused a number gets up early.
        while self._resting and len(self._taken) + len(self._rests) >= room:
            self._rests.discard(self._resting.popleft()[1])
        for _ in range(TRIES):
            number = self._rng.randrange(FIRST, MAX_CALL_NUMBER + 1)
            if number not in self._taken and number not in self._rests:
                source = source_of(address)
                self._taken[number] = source
                self._of[source] += 1
                return number
        return None

    def reserve(self, number: int, address: str) -> bool:
        """Take ``number`` for a session with ``address`` that had it before; False if another has it."""
        if number in self._taken:
            return False
        source = source_of(address)
        self._taken[number] = source
        self._of[source] += 1
        return True

    def release(self, number: int, now: int) -> None:
        """The session with ``number`` is over."""
        source = self._taken.pop(number, None)
        if source is None:
            return
        self._of[source] -= 1
        if not self._of[source]:
            del self._of[source]
        if self._linger:
            self._resting.append((now + self._linger, number))
            self._rests.add(number)

    def moved(self, number: int, address: str) -> None:
        """The far end of the session with ``number`` is at ``address`` now."""
        source = self._taken.get(number)
        name = source_of(address)
        if source is None or source == name:
            return
        self._of[source] -= 1
        if not self._of[source]:
            del self._of[source]
        self._taken[number] = name
        self._of[name] += 1

    def _wake(self, now: int) -> None:
        resting = self._resting
        while resting and resting[0][0] <= now:
            self._rests.discard(resting.popleft()[1])
