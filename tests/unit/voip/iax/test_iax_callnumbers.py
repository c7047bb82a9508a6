"""Call numbers: at random, each one's once, limited, and at rest before they are somebody's again."""

from __future__ import annotations

import itertools
import random

from gateway.core import SECOND
from gateway.voip.iax.callnumbers import EMERGENCY_NUMBERS, MOST_IN_USE, CallNumbers

LINGER = 10 * SECOND


def numbers(linger: int = LINGER) -> CallNumbers:
    return CallNumbers(random.Random(5), linger)


def test_numbers_are_of_15_bits_and_never_those_of_nobody() -> None:
    table = numbers()
    taken = [table.take("192.0.2.1", 0) for _ in range(5000)]
    assert len(set(taken)) == 5000
    assert all(number is not None and 1 < number < 32_768 for number in taken)


def test_next_number_cannot_be_told_from_the_last() -> None:
    table = numbers()
    taken = [table.take("192.0.2.1", 0) or 0 for _ in range(1000)]
    steps = [second - first for first, second in itertools.pairwise(taken)]
    assert len(set(steps)) > 900
    assert sum(1 for step in steps if abs(step) < 100) < 50


def test_number_rests_before_it_is_given_again() -> None:
    table = numbers()
    number = table.take("192.0.2.1", 0)
    assert number is not None
    table.release(number, 0)
    assert number not in table
    assert table.resting == 1
    while len(table) < MOST_IN_USE - 1:
        assert table.take("192.0.2.1", LINGER - 1) != number
    assert table.resting == 1


def test_there_are_no_more_than_so_many_and_some_for_calls_for_help() -> None:
    table = numbers(0)
    while (number := table.take("192.0.2.1", 0)) is not None:
        last = number
    assert len(table) == MOST_IN_USE
    for _ in range(EMERGENCY_NUMBERS):
        assert table.take("192.0.2.1", 0, emergency=True) is not None
    assert table.take("192.0.2.1", 0, emergency=True) is None
    table.release(last, 0)
    assert table.take("192.0.2.1", 0) is None


def test_those_at_rest_get_up_before_a_call_is_refused() -> None:
    table = numbers()
    for _ in range(MOST_IN_USE // 2):
        table.take("192.0.2.1", 0)
    for number in [table.take("192.0.2.2", 0) or 0 for _ in range(MOST_IN_USE // 2)]:
        table.release(number, 0)
    assert table.resting == MOST_IN_USE // 2
    for _ in range(MOST_IN_USE // 2):
        assert table.take("192.0.2.3", 0) is not None
    assert table.resting == 0


def test_sessions_are_counted_by_address_and_ipv6_by_network() -> None:
    table = numbers()
    first = table.take("2001:db8::1", 0)
    table.take("2001:db8::2", 0)
    table.take("192.0.2.1", 0)
    assert (table.used_by("2001:db8::ffff"), table.used_by("192.0.2.1"), table.used_by("192.0.2.2")) == (2, 1, 0)
    assert first is not None
    table.moved(first, "192.0.2.2")
    assert (table.used_by("2001:db8::1"), table.used_by("192.0.2.2")) == (1, 1)
    table.release(first, 0)
    assert table.used_by("192.0.2.2") == 0


def test_release_of_what_is_free_changes_nothing() -> None:
    table = numbers()
    table.release(77, 0)
    assert (len(table), table.resting) == (0, 0)


def test_number_that_has_rested_is_free_again() -> None:
    table = numbers()
    number = table.take("192.0.2.1", 0)
    assert number is not None
    table.release(number, 0)
    table.take("192.0.2.1", LINGER)
    assert table.resting == 0
