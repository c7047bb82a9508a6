"""One end of one call at a far end that has our own legs: it rings, answers, refuses, holds and hangs up by script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway import leg as words
from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.leg import Leg, LegEvent
from tests.simulation.story import BOREDOM, KEY, Script, Side, Story
from tests.simulation.world import World


class Home(Protocol):
    """The far end."""

    name: str
    world: World
    story: Story

    def settle(self) -> None:
        """Something was done."""


class ScriptedParty:
    """``acts`` is what it can do, by the words of scripts; what its technology has no words for is nothing."""

    def __init__(self, home: Home, script: Script, side: Side, leg: Leg) -> None:
        self.home = home
        self.script = script
        self.side = side
        self.leg = leg
        self.acts: dict[str, Callable[[int], None]] = {
            "ring": self._ring,
            "early": self._early,
            "answer": self._answer,
            "refuse": self._refuse,
            "get bored": self._get_bored,
            "give up": self._give_up,
            "hang up": self._hang_up,
            "hold": self._hold,
            "resume": self._resume,
            "press": self._press,
        }

    def later(self, milliseconds: int, what: str) -> None:
        """Do that then, if the call still stands."""
        self.home.world.after(milliseconds * MILLISECOND, self._do, what)

    def offered(self) -> None:
        """The call came."""
        answering = self.side.answering
        assert answering is not None
        for milliseconds, what in (
            (answering.early, "early"),
            (answering.ring_after, "ring"),
            (answering.answer_after, "answer"),
            (answering.refuse_after, "refuse"),
        ):
            if milliseconds is not None:
                self.later(milliseconds, what)
        self.later(BOREDOM, "get bored")

    def _do(self, what: str) -> None:
        act = self.acts.get(what)
        if act is not None and not self.side.over:
            act(self.home.world.now)
            self.home.settle()

    # -- what a called party does --

    def _ring(self, now: int) -> None:
        answering = self.side.answering
        if self.side.answered is None:
            self.side.ringing = now
            self.leg.alert(answering is not None and answering.ring_inband, now)

    def _early(self, now: int) -> None:
        self.leg.progress(True, now)

    def _answer(self, now: int) -> None:
        answering, side = self.side.answering, self.side
        if side.hung_up is not None:
            return
        side.answered = now
        self.leg.answer(None, now)
        assert answering is not None
        self.later(BOREDOM if answering.hold is None else answering.hold, "hang up")
        for milliseconds, what in answering.acts:
            self.later(milliseconds, what)

    def _refuse(self, now: int) -> None:
        answering = self.side.answering
        assert answering is not None
        self.release(answering.cause, now)

    def _get_bored(self, now: int) -> None:
        if self.side.answered is None:
            self.release(Cause.NO_ANSWER_FROM_USER, now)

    # -- what both do --

    def _give_up(self, now: int) -> None:
        if self.side.answered is None:
            self.release(self.script.caller_cause, now)

    def _hang_up(self, now: int) -> None:
        answering = self.side.answering
        self.release(answering.cause if answering is not None else self.script.caller_cause, now)

    def release(self, cause: Cause, now: int) -> None:
        """End it; the first cause counts."""
        if self.side.hung_up is None:
            self.side.hung_up, self.side.hung_up_with = now, cause
        self.leg.release(cause, now)

    def _hold(self, now: int) -> None:
        self.leg.hold(now)

    def _resume(self, now: int) -> None:
        self.leg.resume(now)

    def _press(self, now: int) -> None:
        self.leg.keypad(KEY, 100, now)
        self.home.story.on_key(self.script, self.side)

    # -- what happens to them --

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Note it, for the judgement."""
        side = self.side
        match event:
            case words.Proceeding():
                side.proceeding = side.proceeding or now
            case words.Progress(inband):
                if inband and side.heard is None:
                    side.heard = now
            case words.Alerting(inband):
                side.ringing = side.ringing or now
                if inband and side.heard is None:
                    side.heard = now
                    self.home.story.on_ringing(self.script)
            case words.Answered():
                side.answered = now
                self.home.story.on_answered(self.script)
                self.later(self.script.hold, "hang up")
                for milliseconds, what in self.script.acts:
                    self.later(milliseconds, what)
            case words.Held():
                side.held += 1
            case words.Resumed():
                side.resumed += 1
            case words.Keypad(digits):
                side.digits += digits
            case words.Released(cause, ours=ours):
                side.ended, side.cause, side.ours = now, cause, ours
                self.home.world.note(self.home.name, "ended", f"{self.script.number} {cause.name}")
            case _:
                pass
