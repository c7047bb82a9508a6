"""Numbers and patterns against a reference that scans a sorted list, as Asterisk does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.patterns import (
    MAX_PATTERN,
    PatternError,
    PatternTable,
    Tail,
    parse_pattern,
    sort_key,
    without_separators,
)


def table_of(*texts: str) -> PatternTable[str]:
    table: PatternTable[str] = PatternTable()
    for text in texts:
        table.add(parse_pattern(text), text)
    table.freeze()
    return table


def found(table: PatternTable[str], number: str) -> list[str]:
    return [value for value, _ in table.find(number)]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("911", ["911"], ["91", "9111", "912", ""]),
        ("_9NXXNXXXXXX", ["94165551234", "92002000000"], ["91165551234", "9416555123", "941655512345", "94161551234"]),
        ("_X.", ["12", "0*", "99999999999"], ["1", "", "*1"]),
        ("_X!", ["1", "12", "123456"], ["", "*"]),
        ("_!", ["", "1", "*#AB"], []),
        ("_.", ["1", "abc"], [""]),
        ("_6XXX", ["6000", "6999"], ["5000", "600", "60000", "6*00"]),
        ("_Z0", ["10", "90"], ["00", "1"]),
        ("_[13-5]X", ["10", "39", "40", "55"], ["20", "60", "00"]),
        ("_[*#]1", ["*1", "#1"], ["11"]),
        ("_[A-D]", ["A", "D"], ["E", "a"]),
        ("_[5-]0", ["50"], ["60"]),
        ("_nxz", ["201"], ["101", "200"]),
        ("_1-800-NXX", ["1800200"], ["1-800-200", "1800100"]),
        ("1-800", ["1800"], ["1-800"]),
        ("0000FFFF0001", ["0000FFFF0001"], ["0000ffff0001"]),
        ("_*98.", ["*981", "*98123"], ["*98", "98"]),
        ("s", ["s"], ["", "S"]),
    ],
)
def test_matches_what_asterisk_would(pattern: str, matching: list[str], others: list[str]) -> None:
    table = table_of(pattern)
    for number in matching:
        assert found(table, number) == [pattern]
        assert parse_pattern(pattern).matches(number)
    for number in others:
        assert found(table, number) == []
        assert not parse_pattern(pattern).matches(number)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("_", "nothing after"),
        ("--", "nothing but separators"),
        ("_[12", "without its ]"),
        ("_12]", "without its ["),
        ("_[]", "empty set"),
        ("_[9-1]", "backwards"),
        ("_1.2", "must be the last"),
        ("_!!", "must be the last"),
        ("_1é", "ASCII"),
        ("12\n", "ASCII"),
        ("_" + "X" * MAX_PATTERN, "longer"),
    ],
)
def test_bad_pattern_is_refused_with_its_reason(text: str, says: str) -> None:
    with pytest.raises(PatternError, match=says.replace("[", r"\[").replace("]", r"\]")):
        parse_pattern(text)


def test_pattern_of_the_greatest_length_is_read() -> None:
    assert len(parse_pattern("_" + "X" * (MAX_PATTERN - 1)).elements) == MAX_PATTERN - 1


def test_most_specific_comes_first_whatever_the_order_of_the_file() -> None:
    texts = ["_.", "_X.", "_NXX", "_9XX", "_91X", "911", "_91[1-3]", "_9!", "_9."]
    expected = ["911", "_91[1-3]", "_91X", "_9XX", "_9.", "_9!", "_NXX", "_X.", "_."]
    assert found(table_of(*texts), "911") == expected
    assert found(table_of(*reversed(texts)), "911") == expected


def test_any_tail_goes_before_the_exact_end_as_in_asterisk() -> None:
    assert found(table_of("_12", "_12!", "_12."), "12") == ["_12!", "_12"]


def test_a_set_equal_to_a_class_is_the_same_pattern() -> None:
    assert sort_key(parse_pattern("_[0-9]1")) == sort_key(parse_pattern("_X[1]"))


def test_last_value_of_a_pattern_stands() -> None:
    table: PatternTable[int] = PatternTable()
    table.add(parse_pattern("_X"), 1)
    table.add(parse_pattern("_[0-9]"), 2)
    table.freeze()
    assert list(table.find("5")) == [(2, False)]
    assert table.get(parse_pattern("_X")) == 2
    assert table.get(parse_pattern("_XX")) is None


@pytest.mark.parametrize(
    ("texts", "number", "grows"),
    [
        (["911"], "9", True),
        (["911"], "911", False),
        (["911"], "8", False),
        (["911", "9112"], "911", True),
        (["_9NXXNXXXXXX"], "941", True),
        (["_9NXXNXXXXXX"], "91", False),
        (["_9NXXNXXXXXX"], "94165551234", False),
        (["_X."], "1", True),
        (["_X."], "123456", True),
        (["_X!"], "1", False),
        (["_X!"], "", True),
        (["_9X.", "_9!"], "91", True),
        (["_9!", "_9XX"], "91", True),
        (["_91!", "_9XX"], "91", False),
        ([], "", False),
    ],
)
def test_may_grow_tells_whether_to_wait_for_digits(texts: list[str], number: str, grows: bool) -> None:
    assert table_of(*texts).may_grow(number) is grows


def test_early_match_is_told() -> None:
    assert list(table_of("_9!").find("9123")) == [("_9!", True)]
    assert list(table_of("_9.").find("9123")) == [("_9.", False)]


def test_separators_go() -> None:
    assert without_separators("1-800 555") == "1800555"
    assert without_separators("123") == "123"


# -- against a reference: a sorted list, scanned --


def reference_match(text: str, number: str) -> bool:
    """A pattern matched character by character, written apart from the product."""
    if not text.startswith("_"):
        return text.replace("-", "").replace(" ", "") == number
    rest = text[1:]
    while rest:
        head = rest[0]
        if head in "- ":
            rest = rest[1:]
            continue
        if head == "!":
            return True
        if head == ".":
            return len(number) > 0
        if not number:
            return False
        if head == "[":
            inside, rest = rest[1:].split("]", 1)
            allowed = set()
            while inside:
                if len(inside) > 2 and inside[1] == "-":
                    allowed |= {chr(c) for c in range(ord(inside[0]), ord(inside[2]) + 1)}
                    inside = inside[3:]
                else:
                    allowed.add(inside[0])
                    inside = inside[1:]
        else:
            allowed = {"X": set("0123456789"), "Z": set("123456789"), "N": set("23456789")}.get(head.upper(), {head})
            rest = rest[1:]
        if number[0] not in allowed:
            return False
        number = number[1:]
    return not number


elements = st.sampled_from(["X", "Z", "N", "0", "1", "2", "9", "*", "#", "A", "-", "[13]", "[2-5]", "[0-9]", "[19*]"])
patterns = st.one_of(
    st.text("0129*#A", min_size=1, max_size=5),
    st.tuples(st.lists(elements, max_size=4), st.sampled_from(["", ".", "!"]))
    .map(lambda parts: "_" + "".join(parts[0]) + parts[1])
    .filter(lambda text: text.replace("-", "") != "_"),
)
numbers = st.text("012349*#A", max_size=6)


@settings(deadline=None)
@given(st.lists(patterns, max_size=12), numbers)
def test_finds_what_a_scan_of_the_sorted_list_finds(texts: list[str], number: str) -> None:
    unique = {sort_key(parse_pattern(text)): text for text in texts}
    expected = [text for _, text in sorted(unique.items()) if reference_match(text, number)]
    table = table_of(*unique.values())
    assert found(table, number) == expected
    first = table.first(number)
    assert (first[0] if first else None) == (expected[0] if expected else None)


@settings(deadline=None)
@given(st.lists(patterns, max_size=8), numbers, numbers)
def test_a_number_that_may_not_grow_does_not_match_more_specifically_later(
    texts: list[str], number: str, tail: str
) -> None:
    """If nothing may grow, a longer number finds nothing, or a ``!`` that the shorter one had found too."""
    table = table_of(*texts)
    if tail and not table.may_grow(number):
        longer = next(table.find(number + tail), None)
        if longer is not None and longer[1]:
            # The early match that ended the waiting.
            assert any(early for _, early in table.find(number))


@settings(deadline=None)
@given(st.text(max_size=12))
def test_random_text_is_a_pattern_or_a_pattern_error(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PatternError:
        return
    assert pattern.literal is not text.startswith("_")
    assert isinstance(pattern.tail, Tail)
