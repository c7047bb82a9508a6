"""When a slot has shown that it is good: whoever has it in care looks every few seconds, and this says what follows.

Good is: the daemon said READY and was alive for minutes on end, its engine and its D-Bus answer, the card is there if
one was, and a test call was heard both ways. A line in alarm is nobody's image's fault. While a call is up nothing is
tried that could hurt it, and during an emergency call nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

SECOND = 1_000_000
WELL_FOR = 180 * SECOND
"""Microseconds without a restart or a failing check before the test call is placed."""
PATIENCE = 900 * SECOND
"""Microseconds after which a slot that is not good is given up."""
TEST_EVERY = 30 * SECOND
MAX_TESTS = 4
"""Test calls that fail before the slot is given up, if its patience has not run out before."""


class Verdict(Enum):
    """What to do now."""

    WAIT = "wait"
    TEST = "place the test call"
    GOOD = "good"
    GIVE_UP = "give up"


class Heard(Enum):
    """What came of a test call."""

    BOTH_WAYS = "heard both ways"
    NOT_ANSWERED = "not answered"
    ONE_WAY = "not heard both ways"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment. ``restarts`` only grows; ``health`` says "ok" or what is wrong of each part."""

    ready: bool = False
    restarts: int = 0
    bus: bool = False
    health: Mapping[str, str] | None = None
    lines_up: bool = False
    """Whether a span is without alarm and has its data link."""
    cards: int = 0
    calls: int = 0
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class Trials:
    """Which test calls there can be, as ``context/number``; empty if none."""

    line: str = ""
    loop: str = ""


class Confirmation:
    """The judge of one run of a slot that began at ``now`` (microseconds) and knew ``cards_before``."""

    def __init__(self, trials: Trials, cards_before: int, now: int, *, well_for: int = WELL_FOR) -> None:
        self._trials = trials
        self._cards_before = cards_before
        self._began = now
        self._well_for = well_for
        self._well_since: int | None = None
        self._restarts: int | None = None
        self._tests = 0
        self._passed = not (trials.line or trials.loop)
        self._line_said_nothing = False
        self._next_test = now
        self._latest = Look()
        self.why = "it has not begun"
        """What the last verdict rests on, for people."""

    def observe(self, look: Look, now: int) -> Verdict:
        """What follows from ``look``. TEST asks for a call over ``trial`` and its result by ``tested``."""
        self._latest = look
        wrong = self._wrong(look)
        if look.restarts != self._restarts:
            self._restarts = look.restarts
            self._well_since = None
        if wrong:
            self._well_since = None
        elif self._well_since is None:
            self._well_since = now
        if look.emergency:
            self.why = "an emergency call is up"
            return Verdict.WAIT
        if wrong:
            self.why = wrong
            return self._unwell(look, now)
        if self._well_since is None or now - self._well_since < self._well_for:
            self.why = f"well, but not yet for {self._well_for // SECOND} s"
            # One that is started anew all the time is never well for long.
            return self._unwell(look, now)
        if self._passed:
            self.why = "well" if self._tests else "well; no test call is configured"
            return Verdict.GOOD
        if self._tests >= MAX_TESTS:
            return self._give_up(look)
        if now < self._next_test:
            return Verdict.WAIT
        if not self.trial:
            self.why = "well; the line is down, and there is no loop to call instead"
            return Verdict.WAIT
        self.why = f"a test call over {self.trial}"
        return Verdict.TEST

    @property
    def trial(self) -> str:
        """The test call to place now: over the line if it is up, else over the loop."""
        return self._trials.line if self._trial_over_line(self._latest) else self._trials.loop

    def tested(self, heard: Heard, now: int) -> None:
        """What came of the call that was asked for."""
        over_line = self.trial == self._trials.line != ""
        self._next_test = now + TEST_EVERY
        if heard is Heard.BOTH_WAYS:
            self._passed = True
            self._tests += 1
            return
        self.why = f"a test call over {self.trial} was {heard.value}"
        if over_line and heard is Heard.NOT_ANSWERED and self._trials.loop:
            # Who does not answer may be busy or gone; that says nothing about the image. The loop decides.
            self._line_said_nothing = True
            self._next_test = now
            return
        self._tests += 1

    def _trial_over_line(self, look: Look) -> bool:
        return bool(self._trials.line) and look.lines_up and not self._line_said_nothing

    def _wrong(self, look: Look) -> str:
        if not look.ready:
            return "the daemon is not ready"
        if not look.bus:
            return "it does not answer on D-Bus"
        if look.cards < self._cards_before:
            return f"{self._cards_before} cards were known, {look.cards} are there"
        ill = [f"{part}: {text}" for part, text in (look.health or {}).items() if text != "ok"]
        return "; ".join(ill)

    def _unwell(self, look: Look, now: int) -> Verdict:
        return self._give_up(look) if now - self._began >= PATIENCE else Verdict.WAIT

    def _give_up(self, look: Look) -> Verdict:
        # It is worth more with calls than without: they may end first.
        return Verdict.WAIT if look.calls else Verdict.GIVE_UP
