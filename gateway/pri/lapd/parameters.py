"""The system parameters of Q.921 5.9 as rows that an operator may change, and the texts of its MDL error codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway.core import MILLISECOND, SECOND, TimerRow, timer_durations


class LapdTimer(Enum):
    """A timer (microseconds) or counter of the data link."""

    T200 = "T200"
    T203 = "T203"
    N200 = "N200"
    N201 = "N201"
    K = "k"
    RETRY = "retry"


LAPD_TIMERS: dict[LapdTimer, TimerRow] = {
    LapdTimer.T200: TimerRow("T200", SECOND, 50 * MILLISECOND, 60 * SECOND, "Q.921 5.9.1"),
    LapdTimer.T203: TimerRow("T203", 10 * SECOND, 100 * MILLISECOND, 600 * SECOND, "Q.921 5.9.8"),
    LapdTimer.N200: TimerRow("N200", 3, 1, 20, "Q.921 5.9.2"),
    LapdTimer.N201: TimerRow("N201", 260, 16, 1024, "Q.921 5.9.3"),
    LapdTimer.K: TimerRow("k", 7, 1, 127, "Q.921 5.9.5"),
    # Not in Q.921: the shortest time between two attempts of ours to establish a link that layer 3 wants.
    LapdTimer.RETRY: TimerRow("link retry interval", SECOND, 100 * MILLISECOND, 600 * SECOND, "policy, Q.921 5.5.1.3"),
}

# Q.921 table II.1 (appendix II): management error indications.
MDL_ERRORS: dict[str, str] = {
    "A": "unsolicited supervisory response with F=1",
    "B": "unsolicited DM with F=1",
    "C": "unsolicited UA with F=1",
    "D": "unsolicited UA with F=0",
    "E": "DM with F=0: the peer is not in multiple frame operation",
    "F": "the peer re-established the link with SABME",
    "G": "no answer to SABME after N200 repetitions",
    "H": "no answer to DISC after N200 repetitions",
    "I": "no answer to enquiries after N200 repetitions",
    "J": "N(R) outside V(A) to V(S)",
    "K": "the peer rejected a frame with FRMR",
    "L": "undefined frame",
    "M": "information field where none is permitted",
    "N": "frame of wrong size",
    "O": "information field longer than N201",
}


def system_parameters(overrides: Mapping[LapdTimer, int] | None) -> dict[LapdTimer, int]:
    """All parameters with ``overrides`` applied; ValueError if one is out of range or T203 is not above T200."""
    values = timer_durations(LAPD_TIMERS, overrides)
    if values[LapdTimer.T203] <= values[LapdTimer.T200]:
        raise ValueError(
            f"T203 is {values[LapdTimer.T203]}, expected more than T200, {values[LapdTimer.T200]} (Q.921 5.9.8)"
        )
    return values
