"""Digits of one side of a call that are told in signalling (SIP INFO, Q.931 Keypad), maybe besides being heard.

What is heard (RFC 4733, in-band) the engine passes on by itself, so of a key that is told as well one must go. Which of
the two comes first is chance: until a side proved to tell its keys in signalling alone, each waits a little.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from gateway.core import MILLISECOND

WAIT = 400 * MILLISECOND
"""How long a digit that was told waits to be heard: a usual press, its three last packets, and a slow INFO."""
SAME_PRESS = 1500 * MILLISECOND
"""How far apart the same digit, heard and told, may be and still be one press of the key."""
MAX_REMEMBERED = 32


class Pressed(NamedTuple):
    """A digit, its length in milliseconds, and when we learned of it."""

    digit: str
    milliseconds: int
    at: int


class ToldDigits:
    """What one side told and what was heard of it. ``now`` never goes back."""

    __slots__ = ("_alone", "_heard", "_passed", "_waiting")

    def __init__(self) -> None:
        self._heard: deque[Pressed] = deque(maxlen=MAX_REMEMBERED)
        self._waiting: deque[Pressed] = deque()
        self._passed: deque[Pressed] = deque(maxlen=MAX_REMEMBERED)
        # A key was told and nothing of it heard: the next need not wait.
        self._alone = False

    def tell(self, digits: str, milliseconds: int, now: int) -> list[Pressed]:
        """Digits were told in signalling; returns those to be passed on at once."""
        ready: list[Pressed] = []
        for digit in digits:
            pressed = Pressed(digit, milliseconds, now)
            if self._take(self._heard, digit, now):
                continue
            if self._alone and not self._waiting:
                self._passed.append(pressed)
                ready.append(pressed)
            elif len(self._waiting) < MAX_REMEMBERED:
                self._waiting.append(pressed)
        return ready

    def hear(self, digit: str, milliseconds: int, now: int) -> None:
        """A digit was heard, and passed on by the engine."""
        for pressed in self._waiting:
            if pressed.digit == digit:
                self._waiting.remove(pressed)
                self._alone = False
                return
        if self._take(self._passed, digit, now):
            # It went out twice. So the next ones wait again.
            self._alone = False
        else:
            self._heard.append(Pressed(digit, milliseconds, now))

    def due(self, now: int) -> list[Pressed]:
        """The digits that were waited for in vain: they are to be passed on now, in the order of their keys."""
        ready: list[Pressed] = []
        while self._waiting and self._waiting[0].at + WAIT <= now:
            pressed = self._waiting.popleft()
            self._alone = True
            self._passed.append(pressed)
            ready.append(pressed)
        return ready

    @property
    def deadline(self) -> int | None:
        """When ``due`` is to be asked next."""
        return self._waiting[0].at + WAIT if self._waiting else None

    @staticmethod
    def _take(known: deque[Pressed], digit: str, now: int) -> bool:
        """Whether ``digit`` is among those ``known`` for the same press; each is taken once."""
        while known and now - known[0].at > SAME_PRESS:
            known.popleft()
        for pressed in known:
            if pressed.digit == digit:
                known.remove(pressed)
                return True
        return False
