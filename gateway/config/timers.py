"""``[timers]`` of the file: keys are the standards' names with the unit behind them, ranges are those of the rows.

``T303_seconds = 4``, ``T200_ms = 1000``; a counter such as ``N200`` has no unit. The rows stand with their protocols.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from gateway.config.fields import Reader
from gateway.config.model import SipSection, Timers
from gateway.config.problems import KeyPath
from gateway.core import MILLISECOND, SECOND, TimerRow
from gateway.pri.lapd import LAPD_TIMERS, Side
from gateway.pri.lapd.parameters import system_parameters
from gateway.pri.q931.timers import USER_TIMERS, timer_values
from gateway.voip.iax.timers import TIMERS as IAX_TIMERS
from gateway.voip.iax.timers import durations as iax_durations
from gateway.voip.sip.timers import SIP_TIMERS, SipTimer, durations

# No timer of ours has so short a longest value, no counter so large a one.
_LARGEST_COUNTER = 10 * MILLISECOND
_UNITS = {"ms": MILLISECOND, "seconds": SECOND}
_SPEC_NAME = re.compile(r"[A-Za-z][0-9]*\Z")

# These two are known as session_expires and session_minse and stand in [sip].
SIP_ROWS: dict[SipTimer, TimerRow] = {
    key: row for key, row in SIP_TIMERS.items() if key not in (SipTimer.REFRESH, SipTimer.EXPIRY, SipTimer.FAILOVER)
}

Key = TypeVar("Key", bound=Enum)


def timer_name(key: Enum, row: TimerRow) -> str:
    """A row's name in the file, without unit: the specification's, or ours in small letters where it has none."""
    return row.name if _SPEC_NAME.match(row.name) else key.name.lower()


def is_counter(row: TimerRow) -> bool:
    """Whether the row counts something rather than measures time."""
    return row.maximum < _LARGEST_COUNTER


def file_keys(key: Enum, row: TimerRow) -> list[str]:
    """The keys by which a row may be set."""
    name = timer_name(key, row)
    return [name] if is_counter(row) else [f"{name}_{unit}" for unit in _UNITS]


def read_timers(reader: Reader, raw: object, path: KeyPath, *, voip: bool = True) -> Timers:
    """Read ``[timers]`` (or a span's, without SIP and IAX2); what is wrong is noted in ``reader`` and left out."""
    table = reader.table(raw, path)
    if table is None:
        return Timers()
    known = ["q921", "q931", *(["sip", "iax"] if voip else [])]
    for key in table:
        if key not in known:
            reader.unknown_key((*path, key), known)
    timers = Timers(
        q921=_rows(reader, table.get("q921", {}), (*path, "q921"), LAPD_TIMERS),
        q931=_rows(reader, table.get("q931", {}), (*path, "q931"), USER_TIMERS),
        sip=_rows(reader, table.get("sip", {}) if voip else {}, (*path, "sip"), SIP_ROWS),
        iax=_rows(reader, table.get("iax", {}) if voip else {}, (*path, "iax"), IAX_TIMERS),
    )
    check_together(reader, path, timers)
    return timers


def named_timers(timers: Timers) -> dict[str, int | str]:
    """What ``timers`` sets, by its dotted key without unit: ``{"q931.T303": "4 s", "q921.N200": 3}``."""
    return {
        f"{protocol}.{timer_name(key, rows[key])}": value if is_counter(rows[key]) else _duration(value)
        for protocol, values, rows in _protocols(timers)
        for key, value in values.items()
        if key in rows
    }


def _protocols(timers: Timers) -> tuple[tuple[str, Mapping[Any, int], Mapping[Any, TimerRow]], ...]:
    return (
        ("q921", timers.q921, LAPD_TIMERS),
        ("q931", timers.q931, USER_TIMERS),
        ("sip", timers.sip, SIP_ROWS),
        ("iax", timers.iax, IAX_TIMERS),
    )


def with_session_timers(timers: Timers, sip: SipSection) -> Timers:
    """``timers`` with the session interval and Min-SE of ``[sip]``."""
    values = dict(timers.sip)
    for key, seconds in ((SipTimer.REFRESH, sip.session_expires), (SipTimer.EXPIRY, sip.session_minse)):
        if seconds is not None:
            values[key] = seconds * SECOND
    return Timers(q921=timers.q921, q931=timers.q931, sip=values, iax=timers.iax)


def check_together(reader: Reader, path: KeyPath, timers: Timers, side: Side = Side.USER) -> None:
    """Note what the protocols say of the values together (T203 above T200, T317 below T316, T2 at least T1)."""
    for name, together in (
        ("q921", lambda: system_parameters(timers.q921)),
        ("q931", lambda: timer_values(side, {}, timers.q931)),
        ("sip", lambda: durations(timers.sip)),
        ("iax", lambda: iax_durations(timers.iax)),
    ):
        try:
            together()
        except ValueError as error:
            reader.error((*path, name), f"{error}, in microseconds")


def merged(general: Timers, special: Timers) -> Timers:
    """``general`` with the values of ``special`` over it."""
    return Timers(
        q921={**general.q921, **special.q921},
        q931={**general.q931, **special.q931},
        sip={**general.sip, **special.sip},
        iax={**general.iax, **special.iax},
    )


def _rows(reader: Reader, raw: object, path: KeyPath, rows: Mapping[Key, TimerRow]) -> dict[Key, int]:
    table = reader.table(raw, path)
    by_key = {name: (key, row) for key, row in rows.items() for name in file_keys(key, row)}
    values: dict[Key, int] = {}
    for name, value in (table or {}).items():
        found = by_key.get(name)
        if found is None:
            reader.unknown_key((*path, name), list(by_key))
            continue
        key, row = found
        number = _number(value, 1 if is_counter(row) else _UNITS[name.rpartition("_")[2]])
        if number is None or not row.minimum <= number <= row.maximum:
            reader.error((*path, name), f"expected {_range(row)} ({row.clause})", value)
        elif key in values:
            reader.error((*path, name), "expected one unit only; this timer is set twice", value)
        else:
            values[key] = number
    return values


def _number(value: object, unit: int) -> int | None:
    """``value`` times ``unit`` as a whole number; a counter (unit 1) may have no fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Also sorts out nan and inf, and integers that no float can hold.
    if not -1e9 < value < 1e9 or (unit == 1 and not isinstance(value, int)):
        return None
    return round(value * unit)


def _range(row: TimerRow) -> str:
    if is_counter(row):
        return f"a whole number from {row.minimum} to {row.maximum}"
    return f"{_duration(row.minimum)} to {_duration(row.maximum)}"


def _duration(value: int) -> str:
    return f"{value // SECOND} s" if value % SECOND == 0 else f"{value / MILLISECOND:g} ms"
