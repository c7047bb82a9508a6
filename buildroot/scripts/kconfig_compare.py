#!/usr/bin/env python3
"""Compares what a Kconfig input file asks for with the .config that came of it; exits 1 if a line was lost or changed.

Usage: kconfig_compare.py REQUESTED CONFIG. Kconfig says nothing of an option that it does not know, whose dependencies
are missing, or that something else selects: it leaves it out, and the product is another one.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_SET = re.compile(r"([A-Za-z0-9_]+)=(.*)")
_UNSET = re.compile(r"# ([A-Za-z0-9_]+) is not set")


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the request that did not come to be: where it stands, what it asks, what there is (None: nothing)."""

    line: int
    option: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            reason = "no such option, or what it needs is not on"
            return f"line {self.line}: {self.option}={self.wanted} was dropped: {reason}"
        return f"line {self.line}: {self.option}={self.wanted} became {self.option}={self.found}"


def options(text: str) -> list[tuple[int, str, str]]:
    """Line number, option and value of each line that sets one; "n" for "is not set". Other comments say nothing."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SET.fullmatch(line.strip()):
            found.append((number, match[1], match[2].strip()))
        elif match := _UNSET.fullmatch(line.strip()):
            found.append((number, match[1], "n"))
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ValueError(f"line {number} is neither an option nor a comment: {line}")
    return found


def differences(requested: str, resulting: str) -> list[Difference]:
    """What of ``requested`` is not so in ``resulting``. An option set twice is one too: only the last would count."""
    result = {option: value for _, option, value in options(resulting)}
    seen: dict[str, int] = {}
    found = []
    for line, option, wanted in options(requested):
        if option in seen:
            found.append(Difference(line, option, wanted, f"(set in line {seen[option]} too)"))
        seen[option] = line
        there = result.get(option)
        # An option that is off is not written when what it hangs on is off as well.
        if there != wanted and not (wanted == "n" and there is None):
            found.append(Difference(line, option, wanted, there))
    return found


def main(arguments: list[str]) -> int:
    """Prints the differences on standard error; 0 if there is none, 1 if there are some, 2 if it could not compare."""
    if len(arguments) != 2:
        sys.stderr.write("usage: kconfig_compare.py REQUESTED CONFIG\n")
        return 2
    requested, resulting = (Path(argument) for argument in arguments)
    try:
        found = differences(requested.read_text(encoding="utf-8"), resulting.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"kconfig_compare: {error}\n")
        return 2
    for difference in found:
        sys.stderr.write(f"{requested.name}, {difference}\n")
    if not found:
        count = len(options(requested.read_text(encoding="utf-8")))
        sys.stdout.write(f"{requested.name}: {count} lines, all as asked\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
