"""SIP's timers as rows: RFC 3261 table 4, RFC 6026 8.4, RFC 3262 3, RFC 3261 14.1 and 9.1.

Rows that derive from T1, T2 and T4 follow them when those are changed, unless they are set themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from gateway.core import MILLISECOND, SECOND, TimerRow, timer_durations


class SipTimer(IntEnum):
    """Every timer of the SIP side; the letters are those of RFC 3261 table 4."""

    T1 = 1
    T2 = 2
    T4 = 3
    A = 4
    B = 5
    C = 6
    D = 7
    E = 8
    F = 9
    G = 10
    H = 11
    I = 12  # noqa: E741 - the standard's name
    J = 13
    K = 14
    L = 15
    M = 16
    TRYING = 17
    ACCEPT_RETRANSMIT = 18
    ACCEPT_TIMEOUT = 19
    RELIABLE_RETRANSMIT = 20
    RELIABLE_TIMEOUT = 21
    CANCEL_TIMEOUT = 22
    GLARE = 23
    REFRESH = 24
    EXPIRY = 25
    MEDIA = 26
    STATISTICS = 27
    IDLE = 28
    INVITE_EXPIRES = 29
    RING = 30
    FAILOVER = 31
    GONE = 32


_LONGEST = 3600 * SECOND


def _row(name: str, default: int, clause: str, minimum: int = MILLISECOND) -> TimerRow:
    return TimerRow(name, default, minimum, _LONGEST, clause)


SIP_TIMERS: dict[SipTimer, TimerRow] = {
    SipTimer.T1: _row("T1", 500 * MILLISECOND, "RFC 3261 17.1.1.1"),
    SipTimer.T2: _row("T2", 4 * SECOND, "RFC 3261 17.1.2.2"),
    SipTimer.T4: _row("T4", 5 * SECOND, "RFC 3261 17.1.2.2"),
    SipTimer.A: _row("A", 500 * MILLISECOND, "RFC 3261 17.1.1.2: T1, doubles"),
    SipTimer.B: _row("B", 32 * SECOND, "RFC 3261 17.1.1.2: 64*T1"),
    SipTimer.C: _row("C", 185 * SECOND, "RFC 3261 16.6: more than 3 minutes"),
    SipTimer.D: _row("D", 32 * SECOND, "RFC 3261 17.1.1.2: at least 32 s, 0 if reliable", 0),
    SipTimer.E: _row("E", 500 * MILLISECOND, "RFC 3261 17.1.2.2: T1, doubles up to T2"),
    SipTimer.F: _row("F", 32 * SECOND, "RFC 3261 17.1.2.2: 64*T1"),
    SipTimer.G: _row("G", 500 * MILLISECOND, "RFC 3261 17.2.1: T1, doubles up to T2"),
    SipTimer.H: _row("H", 32 * SECOND, "RFC 3261 17.2.1: 64*T1"),
    SipTimer.I: _row("I", 5 * SECOND, "RFC 3261 17.2.1: T4, 0 if reliable", 0),
    SipTimer.J: _row("J", 32 * SECOND, "RFC 3261 17.2.2: 64*T1, 0 if reliable", 0),
    SipTimer.K: _row("K", 5 * SECOND, "RFC 3261 17.1.2.2: T4, 0 if reliable", 0),
    SipTimer.L: _row("L", 32 * SECOND, "RFC 6026 8.4: 64*T1"),
    SipTimer.M: _row("M", 32 * SECOND, "RFC 6026 8.4: 64*T1"),
    SipTimer.TRYING: _row("non-INVITE server without final response", 32 * SECOND, "RFC 4320 4.2: 64*T1"),
    SipTimer.ACCEPT_RETRANSMIT: _row("2xx retransmission", 500 * MILLISECOND, "RFC 3261 13.3.1.4: T1, doubles to T2"),
    SipTimer.ACCEPT_TIMEOUT: _row("2xx without ACK", 32 * SECOND, "RFC 3261 13.3.1.4: 64*T1"),
    SipTimer.RELIABLE_RETRANSMIT: _row("reliable 1xx retransmission", 500 * MILLISECOND, "RFC 3262 3: T1, doubles"),
    SipTimer.RELIABLE_TIMEOUT: _row("reliable 1xx without PRACK", 32 * SECOND, "RFC 3262 3: 64*T1"),
    SipTimer.CANCEL_TIMEOUT: _row("final response after CANCEL", 32 * SECOND, "RFC 3261 9.1: 64*T1"),
    SipTimer.GLARE: _row("least wait after 491", 2_100 * MILLISECOND, "RFC 3261 14.1: 2.1 to 4 s for the owner"),
    SipTimer.REFRESH: _row("session interval offered", 1800 * SECOND, "RFC 4028 4", 90 * SECOND),
    SipTimer.EXPIRY: _row("least session interval (Min-SE)", 90 * SECOND, "RFC 4028 5", 90 * SECOND),
    SipTimer.MEDIA: _row("reply of the media engine", 5 * SECOND, "own"),
    SipTimer.STATISTICS: _row("last counters of the media engine", SECOND, "own"),
    SipTimer.IDLE: _row("idle connection is closed", 1800 * SECOND, "own; RFC 5626 4.4.1 pings within 120 s"),
    SipTimer.INVITE_EXPIRES: _row("most that Expires of an INVITE may say", 600 * SECOND, "RFC 3261 13.3.1"),
    SipTimer.FAILOVER: _row("no response while there is another way", 4 * SECOND, "own; the peer's failover_ms"),
    SipTimer.GONE: _row("BYE behind a 481", 500 * MILLISECOND, "own; RFC 3261 12.2.1.2"),
    SipTimer.RING: _row("1xx again while it rings", 60 * SECOND, "RFC 3261 13.3.1.1: every minute"),
}

_DERIVED: dict[SipTimer, Callable[[int, int, int], int]] = {
    SipTimer.A: lambda t1, _t2, _t4: t1,
    SipTimer.B: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.E: lambda t1, _t2, _t4: t1,
    SipTimer.F: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.G: lambda t1, _t2, _t4: t1,
    SipTimer.H: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.I: lambda _t1, _t2, t4: t4,
    SipTimer.J: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.K: lambda _t1, _t2, t4: t4,
    SipTimer.L: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.M: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.TRYING: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.ACCEPT_RETRANSMIT: lambda t1, _t2, _t4: t1,
    SipTimer.ACCEPT_TIMEOUT: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.RELIABLE_RETRANSMIT: lambda t1, _t2, _t4: t1,
    SipTimer.RELIABLE_TIMEOUT: lambda t1, _t2, _t4: 64 * t1,
    SipTimer.CANCEL_TIMEOUT: lambda t1, _t2, _t4: 64 * t1,
}


def durations(overrides: Mapping[SipTimer, int] | None = None) -> dict[SipTimer, int]:
    """Every timer's duration (microseconds) with ``overrides`` in force; ValueError names one out of range."""
    given = overrides or {}
    result = timer_durations(SIP_TIMERS, given)
    if result[SipTimer.T2] < result[SipTimer.T1]:
        raise ValueError(
            f"T2 is {result[SipTimer.T2]}, expected at least T1 = {result[SipTimer.T1]} (RFC 3261 17.1.2.2)"
        )
    changed = {SipTimer.T1, SipTimer.T2, SipTimer.T4} & given.keys()
    if changed:
        t1, t2, t4 = result[SipTimer.T1], result[SipTimer.T2], result[SipTimer.T4]
        for timer, derive in _DERIVED.items():
            if timer not in given:
                result[timer] = derive(t1, t2, t4)
    return result
