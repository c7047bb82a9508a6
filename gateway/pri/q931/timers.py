"""The timers of Q.931 clause 9 as rows an operator may change: table 9-1 (network side) and table 9-2 (user side).

T307, T312, T314 and T318 to T321 belong to suspend, broadcast SETUP, segmentation and resume, which a PRI does not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from gateway.core import MILLISECOND, SECOND, TimerRow, timer_durations
from gateway.pri.lapd import Side


class Q931Timer(IntEnum):
    """A timer of the network layer; the value is its number."""

    T301 = 301
    T302 = 302
    T303 = 303
    T304 = 304
    T305 = 305
    T306 = 306
    T308 = 308
    T309 = 309
    T310 = 310
    T313 = 313
    T316 = 316
    T317 = 317
    T322 = 322


_SHORTEST = 100 * MILLISECOND
_LONGEST = 3600 * SECOND

SETUP_TRANSMISSIONS = 2
"""SETUP is sent again once, at the first expiry of T303."""

RELEASE_TRANSMISSIONS = 2
"""RELEASE is sent again once, at the first expiry of T308."""

RESTART_TRANSMISSIONS = 2
"""Q.931 5.5.1: consecutive RESTARTs without acknowledgement before the maintenance entity is told."""

STATUS_ENQUIRY_TRANSMISSIONS = 3
"""STATUS ENQUIRY without answer before the call is cleared (5.8.10 leaves the number to the implementation)."""


def _row(timer: Q931Timer, seconds: float, clause: str) -> TimerRow:
    return TimerRow(timer.name, int(seconds * SECOND), _SHORTEST, _LONGEST, clause)


USER_TIMERS: dict[Q931Timer, TimerRow] = {
    timer: _row(timer, seconds, f"Q.931 table 9-2, {clause}")
    for timer, seconds, clause in (
        (Q931Timer.T301, 180, "5.1.7, annex D"),
        (Q931Timer.T302, 15, "5.2.4"),
        (Q931Timer.T303, 4, "5.1.1"),
        (Q931Timer.T304, 30, "5.1.3"),
        (Q931Timer.T305, 30, "5.3.3"),
        (Q931Timer.T306, 30, "5.4"),
        (Q931Timer.T308, 4, "5.3.3"),
        (Q931Timer.T309, 90, "5.8.9"),
        (Q931Timer.T310, 60, "5.1.5.1, annex D"),
        (Q931Timer.T313, 4, "5.2.8"),
        (Q931Timer.T316, 120, "5.5.1"),
        (Q931Timer.T317, 60, "5.5.2"),
        (Q931Timer.T322, 4, "5.8.10"),
    )
}
"""Where the table gives a range: T309 (6 to 90 s) its upper and T310 (30 to 120 s) a middle value."""

NETWORK_TIMERS: dict[Q931Timer, TimerRow] = {
    timer: _row(timer, seconds, f"Q.931 table 9-1, {clause}")
    for timer, seconds, clause in (
        (Q931Timer.T301, 180, "5.2.5.3"),
        (Q931Timer.T302, 15, "5.1.3"),
        (Q931Timer.T303, 4, "5.2.1"),
        (Q931Timer.T304, 20, "5.2.4"),
        (Q931Timer.T305, 30, "5.3.4"),
        (Q931Timer.T306, 30, "5.3.4.1"),
        (Q931Timer.T308, 4, "5.3.4"),
        (Q931Timer.T309, 90, "5.8.9"),
        (Q931Timer.T310, 10, "5.2.5.3"),
        (Q931Timer.T313, 4, "annex D"),
        (Q931Timer.T316, 120, "5.5.1"),
        (Q931Timer.T317, 60, "5.5.2"),
        (Q931Timer.T322, 4, "5.8.10"),
    )
}


def timer_rows(side: Side) -> dict[Q931Timer, TimerRow]:
    """The table of ``side``."""
    return USER_TIMERS if side is Side.USER else NETWORK_TIMERS


def timer_values(
    side: Side, variant: Mapping[Q931Timer, int], overrides: Mapping[Q931Timer, int] | None
) -> dict[Q931Timer, int]:
    """All timers of ``side`` in microseconds: the table, changed by the ``variant``, changed by the operator.

    ValueError names a timer that is out of range, or a T317 that is not below T316 (Q.931 table 9-1).
    """
    values = timer_durations(timer_rows(side), variant, overrides)
    if values[Q931Timer.T317] >= values[Q931Timer.T316]:
        raise ValueError(
            f"T317 is {values[Q931Timer.T317]}, expected less than T316, {values[Q931Timer.T316]} (Q.931 table 9-1)"
        )
    return values
