"""What the calls of a run are to be, and what became of each at its ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.cause import Cause
from gateway.leg import Leg

ID_DIGITS = 6
BOREDOM = 240_000
"""Milliseconds after which a called party that rings stops ringing, and one that talks hangs up, whatever happens."""
CALLER_PREFIX = "8"
KEY = "7"
EMERGENCY = "911"


@dataclass(frozen=True, slots=True)
class Answering:
    """How a called party behaves; milliseconds from its offer, None is never.

    ``early``: it sends audio before it answers (183, PROGRESS). ``ring_inband``: its ringing has audio (180 with SDP).
    ``refuse_after`` with ``cause``, or with the bare SIP ``status``. ``hold`` counts from answer until it hangs up.
    ``forward``: with that status it names a number to call instead.
    """

    name: str
    ring_after: int | None = None
    ring_inband: bool = False
    early: int | None = None
    answer_after: int | None = None
    refuse_after: int | None = None
    cause: Cause = Cause.NORMAL_CALL_CLEARING
    status: int = 0
    hold: int | None = None
    more_digits: int = 0
    forward: bool = False
    acts: tuple[tuple[int, str], ...] = ()


DESK = Answering("the emergency desk", ring_after=20, answer_after=400, hold=8_000)
"""Who answers EMERGENCY, wherever that is called."""


@dataclass(slots=True)
class Side:
    """One party's view of one call. Times are microseconds; ``ours``: this party hung up."""

    node: str
    technology: str
    answering: Answering | None
    offered: int
    leg: Leg | None = None
    proceeding: int | None = None
    ringing: int | None = None
    heard: int | None = None
    answered: int | None = None
    hung_up: int | None = None
    hung_up_with: Cause | None = None
    ended: int | None = None
    cause: Cause | None = None
    ours: bool = False
    held: int = 0
    resumed: int = 0
    digits: str = ""
    lost: bool = False
    strips_reason: bool = False

    @property
    def over(self) -> bool:
        """True once the party has nothing more to do with the call."""
        return self.lost or self.ended is not None


@dataclass(slots=True)
class Script:
    """One call. ``answers`` are for the attempts in turn, the last one for all further ones.

    ``patience``: milliseconds until the caller gives up waiting; ``hold``: from answer until the caller hangs up.
    """

    number: int
    kind: str
    origin: str
    called: str
    patience: int
    hold: int
    caller_cause: Cause
    answers: tuple[Answering, ...]
    overlap: bool = False
    acts: tuple[tuple[int, str], ...] = ()
    start: int = 0
    caller: Side | None = None
    callees: list[Side] = field(default_factory=list)
    refused: Cause | None = None
    # Somebody asked for a transfer: who ends up with whom is another story.
    moved: bool = False
    _taken: int = 0

    @property
    def calling(self) -> str:
        """The calling number, by which the called side knows the script."""
        return f"{CALLER_PREFIX}{self.number:0{ID_DIGITS}d}"

    def next_answer(self) -> Answering:
        """How the next called party behaves."""
        answer = self.answers[min(self._taken, len(self.answers) - 1)]
        self._taken += 1
        return answer

    @property
    def callee(self) -> Side | None:
        """Whom the caller talks to, or else whom it called last."""
        talking = [side for side in self.callees if side.answered is not None and not side.over]
        return talking[-1] if talking else self.callees[-1] if self.callees else None

    @property
    def sides(self) -> list[Side]:
        """All parties there were."""
        return [*([self.caller] if self.caller is not None else []), *self.callees]

    def __str__(self) -> str:
        answers = " then ".join(answer.name for answer in self.answers)
        return f"call {self.number} ({self.kind}) from {self.origin} to {self.called}: {answers}"


def _nobody(script: Script) -> None:
    """Nobody listens."""


def _no_key(script: Script, side: Side) -> None:
    """Nobody listens."""


class Story:
    """All calls of a run by number.

    ``on_answered`` and ``on_ringing`` hear what a caller was just told, ``on_key`` that a party presses KEY.
    """

    def __init__(self) -> None:
        self.scripts: dict[int, Script] = {}
        self.on_answered: Callable[[Script], None] = _nobody
        self.on_ringing: Callable[[Script], None] = _nobody
        self.on_key: Callable[[Script, Side], None] = _no_key

    def add(self, script: Script) -> None:
        """Take a call into the story."""
        self.scripts[script.number] = script

    def by_caller(self, digits: str) -> Script | None:
        """The call that a calling number belongs to."""
        tail = digits[-ID_DIGITS:]
        if len(digits) <= ID_DIGITS or digits[-ID_DIGITS - 1] != CALLER_PREFIX or not tail.isdecimal():
            return None
        return self.scripts.get(int(tail))

    def by_called(self, digits: str) -> Script | None:
        """The call that a called number belongs to: its last digits are the call's number."""
        tail = digits[-ID_DIGITS:]
        return self.scripts.get(int(tail)) if len(tail) == ID_DIGITS and tail.isdecimal() else None
