"""Timers and counters of IAX2; operators change them under ``[timers.iax]``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway.core import MILLISECOND, SECOND, TimerRow, timer_durations


class IaxTimer(Enum):
    """Names as the configuration has them."""

    RETRANSMIT = "retransmit"
    RETRANSMIT_MOST = "retransmit_most"
    RETRIES = "retries"
    PING = "ping"
    LAGRQ = "lagrq"
    AUTH = "auth"
    LINGER = "linger"
    KEY_LEAST = "key_least"
    KEY_MOST = "key_most"
    REGISTER_RETRY = "register_retry"
    REGISTER_RETRY_MOST = "register_retry_most"
    REFUSED = "refused"
    REFUSED_MOST = "refused_most"
    QUALIFY_FIRST = "qualify_first"
    QUALIFY_UNREACHABLE = "qualify_unreachable"
    TOKEN = "token"  # noqa: S105 - a timer
    TRANSFER = "transfer"

    # That of Enum is written in Python, and every timer begun or stopped asks for it several times.
    __hash__ = object.__hash__


def _row(name: str, default: int, least: int, most: int, clause: str) -> TimerRow:
    return TimerRow(name, default, least, most, clause)


TIMERS: dict[IaxTimer, TimerRow] = {
    IaxTimer.RETRANSMIT: _row("retransmit", 500 * MILLISECOND, 50 * MILLISECOND, 10 * SECOND, "RFC 5456 7.2.1"),
    IaxTimer.RETRANSMIT_MOST: _row("retransmit_most", 10 * SECOND, 100 * MILLISECOND, 60 * SECOND, "RFC 5456 7.2.1"),
    IaxTimer.RETRIES: _row("retries", 4, 1, 10, "RFC 5456 7.2.1"),
    IaxTimer.PING: _row("ping", 20 * SECOND, SECOND, 300 * SECOND, "RFC 5456 6.7.2"),
    IaxTimer.LAGRQ: _row("lagrq", 10 * SECOND, SECOND, 300 * SECOND, "RFC 5456 6.7.4"),
    IaxTimer.AUTH: _row("auth", 30 * SECOND, SECOND, 300 * SECOND, "own"),
    IaxTimer.LINGER: _row("linger", 10 * SECOND, 0, 60 * SECOND, "own"),
    IaxTimer.KEY_LEAST: _row("key_least", 120 * SECOND, SECOND, 86_400 * SECOND, "own"),
    IaxTimer.KEY_MOST: _row("key_most", 300 * SECOND, SECOND, 86_400 * SECOND, "own"),
    IaxTimer.REGISTER_RETRY: _row("register_retry", 5 * SECOND, SECOND, 3600 * SECOND, "own"),
    IaxTimer.REGISTER_RETRY_MOST: _row("register_retry_most", 300 * SECOND, SECOND, 86_400 * SECOND, "own"),
    IaxTimer.REFUSED: _row("refused", 60 * SECOND, SECOND, 3600 * SECOND, "own"),
    IaxTimer.REFUSED_MOST: _row("refused_most", 1800 * SECOND, SECOND, 86_400 * SECOND, "own"),
    IaxTimer.QUALIFY_FIRST: _row("qualify_first", 2 * SECOND, 0, 60 * SECOND, "own"),
    IaxTimer.QUALIFY_UNREACHABLE: _row("qualify_unreachable", 10 * SECOND, SECOND, 3600 * SECOND, "own"),
    IaxTimer.TOKEN: _row("token", 10 * SECOND, SECOND, 60 * SECOND, "own"),
    IaxTimer.TRANSFER: _row("transfer", 10 * SECOND, SECOND, 60 * SECOND, "own"),
}

_ASCENDING = (
    (IaxTimer.RETRANSMIT, IaxTimer.RETRANSMIT_MOST),
    (IaxTimer.KEY_LEAST, IaxTimer.KEY_MOST),
    (IaxTimer.REGISTER_RETRY, IaxTimer.REGISTER_RETRY_MOST),
    (IaxTimer.REFUSED, IaxTimer.REFUSED_MOST),
)


def durations(overrides: Mapping[IaxTimer, int] | None = None) -> dict[IaxTimer, int]:
    """Every timer's duration (microseconds) with ``overrides`` in force; ValueError names what makes no sense."""
    result = timer_durations(TIMERS, overrides)
    for least, most in _ASCENDING:
        if result[most] < result[least]:
            raise ValueError(f"{most.value} is {result[most]}, expected at least {least.value} = {result[least]}")
    return result
