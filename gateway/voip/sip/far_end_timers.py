"""Timers of what is done for far ends between calls: registration, keep-alive and qualify. Rows as in ``timers.py``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway.core import MILLISECOND, SECOND, TimerRow, timer_durations


class FarEndTimer(Enum):
    """Every such timer; not all of them run, some say how long others are to run."""

    LOOK_UP = "look up"
    REGISTER = "register"
    EXPIRED = "expired"
    ANSWER = "answer"
    RETRY = "retry"
    RETRY_MOST = "retry most"
    REFUSED = "refused"
    REFUSED_MOST = "refused most"
    AVOID = "avoid"
    KEEPALIVE = "keepalive"
    PONG = "pong"
    QUALIFY = "qualify"
    QUALIFY_ANSWER = "qualify answer"
    QUALIFY_FIRST = "qualify first"
    QUALIFY_UNREACHABLE = "qualify unreachable"


def _row(name: str, default: int, clause: str, minimum: int = 100 * MILLISECOND) -> TimerRow:
    return TimerRow(name, default, minimum, 86_400 * SECOND, clause)


FAR_END_TIMERS: dict[FarEndTimer, TimerRow] = {
    FarEndTimer.ANSWER: _row("silence of a registrar when there is another", 8 * SECOND, "own; RFC 3263 4.3: timer F"),
    FarEndTimer.RETRY: _row("first wait after all servers failed", 10 * SECOND, "own; RFC 5626 4.5 has 30 s"),
    FarEndTimer.RETRY_MOST: _row("longest wait after all servers failed", 300 * SECOND, "own; RFC 5626 4.5: 1800 s"),
    FarEndTimer.REFUSED: _row("first wait after a registration was refused", 300 * SECOND, "own"),
    FarEndTimer.REFUSED_MOST: _row("longest wait after a registration was refused", 3600 * SECOND, "own"),
    FarEndTimer.AVOID: _row("a server that failed comes last", 60 * SECOND, "own; RFC 3263 4.3"),
    FarEndTimer.PONG: _row("answer to a keep-alive", 10 * SECOND, "RFC 5626 4.4.1"),
    FarEndTimer.QUALIFY_ANSWER: _row("least time until who is asked is unreachable", 4 * SECOND, "own"),
    FarEndTimer.QUALIFY_FIRST: _row("most until the first OPTIONS", SECOND, "own"),
    FarEndTimer.QUALIFY_UNREACHABLE: _row("OPTIONS to the unreachable", 10 * SECOND, "Asterisk's DEFAULT_FREQ_NOTOK"),
}


def durations(overrides: Mapping[FarEndTimer, int] | None = None) -> dict[FarEndTimer, int]:
    """Every duration (microseconds) with ``overrides`` in force; ValueError names one out of range."""
    return timer_durations(FAR_END_TIMERS, overrides)
