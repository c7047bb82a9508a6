"""Values of the typed model written as the configuration file has them, for people to compare. Never a password."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath

from gateway.cause import Cause
from gateway.config.problems import shown
from gateway.config.values import CallerId, PeerHost, PortRange, Qualify, Secret
from gateway.identity import TypeOfNumber
from gateway.routing.destinations import Template
from gateway.routing.patterns import Pattern


def as_toml(value: object) -> str:
    """``value`` in TOML, cut to a length that fits a line; empty for None, as what is not there is not written."""
    return "" if value is None else shown(plain(value))


def plain(value: object) -> object:
    """What a TOML file would hold for ``value``."""
    match value:
        case Secret():
            return "…"
        case Cause() | TypeOfNumber():
            return value.name.lower()
        case Enum():
            return plain(value.value)
        case bool() | int() | float() | str():
            return value
        case Qualify(milliseconds):
            return False if milliseconds is None else milliseconds
        case PeerHost():
            return "dynamic" if value.dynamic else str(value)
        case PortRange(first, last):
            return [first, last]
        case CallerId(number=number, name=name):
            return f"{name} <{number}>" if name else number
        case Pattern(text=text) | Template(text=text):
            return text
        case frozenset() | set():
            return sorted(map(str, map(plain, value)))
        case tuple() | list():
            return [plain(item) for item in value]
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case PurePath():
            return str(value)
        case _:
            return str(value)
