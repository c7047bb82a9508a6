"""What is wrong with a configuration file: each finding names file, line, key, value and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from enum import Enum
from pathlib import PurePath

MAX_SHOWN = 60
MAX_PROBLEMS = 100
"""Of each severity; further ones are not told."""

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the root, such as ``("trunk", 0, "allow", 2)``."""

# Never printed: a mistake in a secret must not put it into a log.
_HIDDEN = frozenset({"secret"})


class Severity(Enum):
    """An error keeps the gateway from starting; a warning says what it will do otherwise than written."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. ``line`` counts from 1; ``value`` is as written in TOML, or empty if there is none."""

    file: str
    line: int
    key: str
    value: str
    text: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: "
        if self.severity is Severity.WARNING:
            where += "warning: "
        if not self.key:
            return where + self.text
        return f"{where}{self.key} = {self.value}: {self.text}" if self.value else f"{where}{self.key}: {self.text}"


class ConfigError(Exception):
    """A configuration that cannot be used. ``problems`` holds every finding; the text has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


def shown(value: object) -> str:
    """``value`` as TOML writes it, cut to a length that fits a line."""
    text = _toml(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def shown_at(path: KeyPath, value: object) -> str:
    """As ``shown``, but never a secret."""
    return "…" if any(part in _HIDDEN for part in path) else shown(value)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            cut = value[: MAX_SHOWN + 1].replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut) + '"'
        case int():
            # Python refuses to print integers of thousands of digits.
            return str(value) if value.bit_length() < 200 else "a very large number"
        case date() | time():
            return value.isoformat()
        case list() | tuple():
            return "[" + ", ".join(_toml(item) for item in value[:MAX_SHOWN]) + "]"
        case dict():
            pairs = list(value.items())[:MAX_SHOWN]
            return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in pairs) + " }" if pairs else "{}"
        case PurePath():
            return _toml(str(value))
        case _:
            return str(value)


_OTHERS_WORDS = {
    "g.711a": "alaw",
    "g.711u": "ulaw",
    "g711": "ulaw",
    "g711a": "alaw",
    "g711u": "ulaw",
    "l16": "slin16",
    "pcma": "alaw",
    "pcmu": "ulaw",
    "sdes": "required",
    "slin": "slin16",
    "srtp": "required",
}
"""What something is called elsewhere, of codecs and of encryption."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A suggestion to end an error with, or nothing."""
    by_lower = {name.lower(): name for name in known}
    other = _OTHERS_WORDS.get(word.lower())
    if other in by_lower:
        return f'; did you mean "{other}"?'
    # Of g0 and g1 half is the same.
    close = get_close_matches(word.lower()[:MAX_SHOWN], by_lower, n=1, cutoff=0.6 if len(word) > 2 else 0.5)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""
