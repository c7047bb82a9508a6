"""Which numbers are emergency calls, by country. Here they are only recognised; their special treatment goes here too.

A call to one of these is marked in the routing result, so that nothing on the way treats it as any other call.
"""

from __future__ import annotations

# GSM 02.30 and EU directive 2018/1972 article 109 give 112; the rest are national.
EMERGENCY_NUMBERS: dict[str, frozenset[str]] = {
    "us": frozenset({"911", "9911", "112"}),
    "ca": frozenset({"911", "9911", "112"}),
    "mx": frozenset({"911", "112"}),
    "gb": frozenset({"999", "112"}),
    "ie": frozenset({"999", "112"}),
    "au": frozenset({"000", "112"}),
    "nz": frozenset({"111", "112"}),
    "in": frozenset({"112", "100", "101", "102", "108"}),
    "jp": frozenset({"110", "118", "119"}),
    "cn": frozenset({"110", "119", "120", "122"}),
    "hk": frozenset({"999", "112"}),
    "sg": frozenset({"995", "999", "112"}),
    "br": frozenset({"190", "192", "193", "112"}),
    "za": frozenset({"10111", "10177", "112"}),
    "il": frozenset({"100", "101", "102", "112"}),
    "fr": frozenset({"112", "15", "17", "18"}),
    "de": frozenset({"112", "110"}),
    "at": frozenset({"112", "122", "133", "144"}),
    "ch": frozenset({"112", "117", "118", "144"}),
    "it": frozenset({"112", "113", "115", "118"}),
    "es": frozenset({"112"}),
    "pl": frozenset({"112", "997", "998", "999"}),
}
ELSEWHERE = frozenset({"112"})


def emergency_numbers(country: str) -> frozenset[str]:
    """The emergency numbers of ``country`` (ISO 3166 two letters, lower case)."""
    return EMERGENCY_NUMBERS.get(country, ELSEWHERE)


def expected_emergency_numbers(country: str) -> frozenset[str]:
    """Those that every telephone of ``country`` must reach: no habits of PBXs, and not what only mobiles need there."""
    numbers = emergency_numbers(country)
    return frozenset({"911"}) if "911" in numbers else numbers
