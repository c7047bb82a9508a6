from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.call_digits import MAX_REMEMBERED, SAME_PRESS, WAIT, Pressed, ToldDigits
from gateway.core import MILLISECOND, SECOND

START = 5 * SECOND


def text(pressed: list[Pressed]) -> str:
    return "".join(each.digit for each in pressed)


def test_digit_that_is_only_told_waits_once_and_is_passed_on() -> None:
    told = ToldDigits()
    assert told.tell("1", 100, START) == []
    assert told.deadline == START + WAIT
    assert told.due(START + WAIT - 1) == []
    assert text(told.due(START + WAIT)) == "1"
    assert told.deadline is None
    # It tells its keys in no other way, so the next goes at once.
    assert text(told.tell("1", 100, START + SECOND)) == "1"


def test_digit_that_is_told_and_then_heard_is_not_passed_on() -> None:
    told = ToldDigits()
    told.tell("5", 100, START)
    told.hear("5", 120, START + 200 * MILLISECOND)
    assert told.deadline is None
    assert told.due(START + WAIT) == []


def test_digit_that_is_heard_and_then_told_is_not_passed_on() -> None:
    told = ToldDigits()
    told.hear("5", 120, START)
    assert told.tell("5", 100, START + 50 * MILLISECOND) == []
    assert told.deadline is None


def test_same_key_twice_is_two_digits() -> None:
    told = ToldDigits()
    for at in (START, START + 300 * MILLISECOND):
        told.hear("5", 120, at)
        told.tell("5", 100, at + 20 * MILLISECOND)
    assert told.deadline is None
    told.tell("5", 100, START + 500 * MILLISECOND)
    assert told.deadline is not None


def test_speech_that_sounded_like_a_digit_takes_no_key_away() -> None:
    told = ToldDigits()
    told.hear("9", 60, START)
    told.tell("5", 100, START + 10 * MILLISECOND)
    assert text(told.due(START + SECOND)) == "5"
    told = ToldDigits()
    told.hear("5", 60, START)
    told.tell("5", 100, START + SAME_PRESS + 1)
    assert told.deadline is not None


def test_who_begins_to_do_both_is_doubled_once_at_most() -> None:
    told = ToldDigits()
    told.tell("1", 100, START)
    told.due(START + WAIT)
    assert text(told.tell("2", 100, START + SECOND)) == "2"
    told.hear("2", 100, START + SECOND + 100 * MILLISECOND)
    assert told.tell("3", 100, START + 2 * SECOND) == []
    told.hear("3", 100, START + 2 * SECOND + 100 * MILLISECOND)
    assert told.due(START + 9 * SECOND) == []


def test_order_is_kept_where_some_wait() -> None:
    told = ToldDigits()
    told.tell("1", 100, START)
    told.tell("2", 100, START + 100 * MILLISECOND)
    assert text(told.due(START + WAIT)) == "1"
    assert told.tell("3", 100, START + WAIT) == []
    assert text(told.due(START + SECOND)) == "23"


def test_flood_of_digits_is_kept_within_bounds() -> None:
    told = ToldDigits()
    told.tell("1" * 1000, 100, START)
    assert len(told.due(START + WAIT)) == MAX_REMEMBERED


@given(st.lists(st.tuples(st.sampled_from(["tell", "hear", "both"]), st.sampled_from("123"), st.integers(0, 60))))
def test_no_key_is_lost_and_none_that_is_heard_first_is_doubled(presses: list[tuple[str, str, int]]) -> None:
    told = ToldDigits()
    now = START
    passed = []
    expected = []
    for what, digit, delay in presses:
        now += SAME_PRESS + SECOND
        passed += told.due(now)
        if what != "tell":
            told.hear(digit, 100, now)
        else:
            expected.append(digit)
        if what != "hear":
            now += delay * MILLISECOND
            passed += told.tell(digit, 100, now)
    passed += told.due(now + WAIT)
    assert [each.digit for each in passed] == expected
