"""The exchange's number plan: what a subscriber does when it is called, as data.

A number is looked up by its longest ending in the plan, so that 5550102 and 14165550102 reach the same subscriber.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.cause import Cause

MAX_ENTRIES = 1000
SERVICE_DIGITS = 7


class Voice(Enum):
    """What a subscriber's line sends."""

    NOTHING = "nothing"
    RINGBACK = "ringback"
    MILLIWATT = "milliwatt"
    ANNOUNCEMENT = "announcement"
    ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscriber's behaviour; times in milliseconds from the moment the number is known, None is never.

    ``release_after`` counts from answer, or from the start of a call that is never answered; ``cause`` goes with it.
    """

    name: str
    alert_after: int | None = 0
    answer_after: int | None = None
    release_after: int | None = None
    cause: Cause = Cause.NORMAL_CALL_CLEARING
    before: Voice = Voice.NOTHING
    after: Voice = Voice.NOTHING
    progress_inband: bool = False


def _refusing(name: str, cause: Cause) -> Subscriber:
    return Subscriber(name, alert_after=None, release_after=0, cause=cause)


DEFAULT_PLAN: Mapping[str, Subscriber] = {
    "5550100": Subscriber("answers, milliwatt", answer_after=500, after=Voice.MILLIWATT),
    "5550101": Subscriber("rings, no answer", release_after=180_000, cause=Cause.NO_ANSWER_FROM_USER),
    "5550102": _refusing("busy", Cause.USER_BUSY),
    "5550103": _refusing("unallocated", Cause.UNALLOCATED_NUMBER),
    "5550104": Subscriber("answers after 8 s", answer_after=8_000, after=Voice.MILLIWATT),
    "5550105": Subscriber(
        "announcement, never answers",
        alert_after=None,
        release_after=10_000,
        cause=Cause.NUMBER_CHANGED,
        before=Voice.ANNOUNCEMENT,
        progress_inband=True,
    ),
    "5550106": Subscriber("echo", answer_after=0, after=Voice.ECHO),
    "5550107": Subscriber("milliwatt at once", answer_after=0, after=Voice.MILLIWATT),
    "5550108": Subscriber(
        "in-band ringing, then echo", answer_after=3_000, before=Voice.RINGBACK, after=Voice.ECHO, progress_inband=True
    ),
    "5550109": _refusing("congestion", Cause.SWITCHING_EQUIPMENT_CONGESTION),
    "5550110": _refusing("rejects", Cause.CALL_REJECTED),
    "5550111": Subscriber("answers, hangs up after 2 s", answer_after=500, release_after=2_000, after=Voice.MILLIWATT),
    "5550112": Subscriber("answers without ringing", alert_after=None, answer_after=0, after=Voice.MILLIWATT),
    "911": Subscriber("emergency", answer_after=500, after=Voice.MILLIWATT),
    "112": Subscriber("emergency", answer_after=500, after=Voice.MILLIWATT),
}

UNKNOWN = _refusing("not in the plan", Cause.UNALLOCATED_NUMBER)


class NumberPlan:
    """Looks numbers up by their longest known ending.

    Raises ValueError if the plan has more than MAX_ENTRIES entries or an entry that is no number.
    """

    def __init__(self, entries: Mapping[str, Subscriber] = DEFAULT_PLAN) -> None:
        if len(entries) > MAX_ENTRIES:
            raise ValueError(f"the number plan has {len(entries)} entries, at most {MAX_ENTRIES} are allowed")
        for number in entries:
            if not number.isdecimal():
                raise ValueError(f"number plan entry {number!r}, expected digits")
        self._entries = dict(entries)
        self._longest = max((len(number) for number in entries), default=0)

    def lookup(self, digits: str) -> Subscriber:
        """The subscriber whose number ``digits`` ends with; UNKNOWN if there is none."""
        for length in range(min(len(digits), self._longest), 0, -1):
            found = self._entries.get(digits[-length:])
            # Short service numbers (911) are dialled alone: 5550911 is not an emergency call.
            if found is not None and (length >= SERVICE_DIGITS or length == len(digits)):
                return found
        return UNKNOWN

    def complete(self, digits: str) -> bool:
        """Whether ``digits``, dialled one by one, reach somebody without any more digits."""
        return self.lookup(digits) is not UNKNOWN
