"""Targets of what an operator writes: the configuration's text, patterns and destinations of the dial plan."""

from __future__ import annotations

import contextlib

from gateway.routing.destinations import DestinationError, parse_destination
from gateway.routing.patterns import PatternError, PatternTable, parse_pattern, sort_key
from tests.unit.config.test_config_file import EXAMPLE
from tests.unit.config.test_config_fuzz import GOOD, read
from tests.unit.routing.test_patterns import found, reference_match, table_of

MAX_LINES = 20
MAX_NUMBER = 40


def configuration(data: bytes) -> None:
    """A file is read or refused in words; a plan made of it answers any number."""
    read(data.decode("utf-8", "replace"))


CONFIGURATION_SEEDS = (GOOD.encode(), EXAMPLE.read_bytes(), b"schema = 1\n[sip]\nlisten = []\n[[cause]]\ncause = 17\n")


def patterns(data: bytes) -> None:
    """The first line is a number, the others are patterns or destinations; what is found is what a scan finds."""
    first, *texts = data.decode("utf-8", "replace").split("\n")[: MAX_LINES + 1]
    number = first[:MAX_NUMBER]
    good: dict[object, str] = {}
    for text in texts:
        with contextlib.suppress(PatternError):
            good[sort_key(parse_pattern(text))] = text
        with contextlib.suppress(DestinationError):
            template = parse_destination(text)
            assert template.text == text
            if template.number is not None:
                template.number.expand(number)
    table: PatternTable[str] = table_of(*good.values())
    table.may_grow(number)
    assert found(table, number) == [text for _, text in sorted(good.items()) if reference_match(text, number)]


PATTERN_SEEDS = (
    b"94165551234\n_9NXXNXXXXXX\n911\n_9.\n_[1-9]!\n_X.\npri:g0/{number:1}\nsip:hq/{number}",
    b"911\n_911\n_9[0-24-9]X\n_Z!\n_*#.\n_1-800-NXX\nreject:17\ngoto:a/{number:-4}",
)
