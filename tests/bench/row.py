"""A line of the table of ``make bench``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``goal`` is empty where none was set."""

    what: str
    value: str
    goal: str = ""
