"""Destinations as they are written, and the numbers they make."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.pri.channels import Hunt
from gateway.routing.destinations import (
    MAX_DESTINATION,
    MAX_EXPANDED,
    DestinationError,
    Kind,
    parse_cause,
    parse_destination,
    parse_number_template,
)


@pytest.mark.parametrize(
    ("template", "number", "expected"),
    [
        ("{number}", "4165551234", "4165551234"),
        ("{number:1}", "94165551234", "4165551234"),
        ("{number:-4}", "4165551234", "1234"),
        ("{number:1:3}", "94165551234", "416"),
        ("{number:0:3}", "4165551234", "416"),
        ("{number:0:-4}", "4165551234", "416555"),
        ("{number:-4:2}", "4165551234", "12"),
        ("{number:1:-1}", "12345", "234"),
        ("{number:9}", "123", ""),
        ("{number:-9}", "123", "123"),
        ("{number:1:0}", "123", ""),
        ("{number:2:-2}", "123", ""),
        ("1{number}", "4165551234", "14165551234"),
        ("9{number:1:3}0{number:-2}#", "94165551234", "9416034#"),
        ("911", "anything", "911"),
    ],
)
def test_number_template_cuts_as_exten_does(template: str, number: str, expected: str) -> None:
    assert parse_number_template(template).expand(number) == expected


@settings(deadline=None)
@given(st.integers(-12, 12), st.integers(-12, 12) | st.none(), st.text("0123456789", max_size=10))
def test_slice_is_what_asterisk_documents(offset: int, length: int | None, number: str) -> None:
    """Offset from the end if negative; a negative length leaves that many off the end."""
    start = offset if offset >= 0 else max(0, len(number) + offset)
    rest = number[start:]
    if length is None:
        expected = rest
    elif length >= 0:
        expected = rest[:length]
    else:
        expected = rest[: max(0, len(rest) + length)]
    text = f"{{number:{offset}}}" if length is None else f"{{number:{offset}:{length}}}"
    assert parse_number_template(text).expand(number) == expected


def test_expanded_number_has_a_limit() -> None:
    assert len(parse_number_template("{number}{number}").expand("1" * 60)) == MAX_EXPANDED


@pytest.mark.parametrize(
    ("text", "open_ended"),
    [("{number}", True), ("9{number:1}", True), ("{number}#", False), ("{number:-4}", False), ("{number:1:3}", False)],
)
def test_only_a_number_that_ends_with_the_called_one_can_grow(text: str, open_ended: bool) -> None:
    assert parse_number_template(text).open_ended is open_ended


def test_group_letter_is_the_hunting() -> None:
    for letter, hunt in (
        ("g", Hunt.ASCENDING),
        ("G", Hunt.DESCENDING),
        ("r", Hunt.ROUND_ROBIN_ASCENDING),
        ("R", Hunt.ROUND_ROBIN_DESCENDING),
    ):
        template = parse_destination(f"pri:{letter}0/{{number}}")
        assert (template.kind, template.target, template.hunt) == (Kind.PRI, "g0", hunt)


def test_phone_has_no_number_and_trunk_has_one() -> None:
    assert parse_destination("sip:0000FFFF0001").number is None
    assert parse_destination("sip:hq/{number}").number is not None


@pytest.mark.parametrize("word", ["17", "user_busy", "USER_BUSY", "user-busy", "user busy"])
def test_cause_by_number_or_name(word: str) -> None:
    assert parse_cause(word) is Cause.USER_BUSY
    assert parse_destination(f"reject:{word}").cause is Cause.USER_BUSY


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected one of pri:GROUP/NUMBER"),
        ("isdn:g0/1", "expected one of pri:"),
        ("pri:g0", "expected pri:GROUP/NUMBER"),
        ("pri:x0/1", "begins with g, G, r or R"),
        ("pri:g0/", "number after the /"),
        ("sip:", "expected sip:TRUNK/NUMBER or sip:PHONE"),
        ("sip:a b", "name of letters"),
        ("sip:hq/{number", "cannot be part of a number"),
        ("sip:hq/{numer:1}", "is no placeholder"),
        ("sip:hq/{number:x}", "is no placeholder"),
        ("sip:hq/{number:1:2:3}", "is no placeholder"),
        ("echo:1", "nothing after it"),
        ("milliwatt:", "nothing after it"),
        ("play:../../etc/passwd", "name of letters"),
        ("play:/etc/passwd", "name of letters"),
        ("tone:a/b", "name of letters"),
        ("reject:", "expected reject:CAUSE"),
        ("reject:0", "defined"),
        ("reject:999999999999", "defined"),
        ("reject:bussy", "by number or name"),
        ("goto:internal", "expected goto:CONTEXT/NUMBER"),
        ("pri:g0/1é", "cannot be part of a number"),
        ("sip:" + "x" * MAX_DESTINATION, "at most"),
    ],
)
def test_bad_destination_says_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(DestinationError) as raised:
        parse_destination(text)
    assert says in str(raised.value)


@settings(deadline=None)
@given(st.text(max_size=30) | st.sampled_from(list(Kind)).flatmap(lambda k: st.text().map(lambda t: f"{k.value}:{t}")))
def test_random_text_is_a_destination_or_a_destination_error(text: str) -> None:
    try:
        template = parse_destination(text)
    except DestinationError:
        return
    assert template.text == text
