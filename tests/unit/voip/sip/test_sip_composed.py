"""Requests of ours that are text from the beginning."""

from __future__ import annotations

import pytest

from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.headers import Headers
from gateway.voip.sip.message import Request
from gateway.voip.sip.parser import parse

FIELDS = [
    ("Via", "SIP/2.0/UDP a.example:5060;branch=z9hG4bK1;rport"),
    ("From", '"Ann: Lee" <sip:1@a.example>;tag=x'),
    ("To", "<sip:2@b.example>"),
    ("Call-ID", "c@a.example"),
    ("CSeq", "7 INVITE"),
    ("Supported", ""),
]


def composed(fields: list[tuple[str, str]] = FIELDS, body: bytes = b"") -> ComposedRequest:
    text = field_lines(fields)
    return ComposedRequest("INVITE", "sip:2@b.example", 7, "c@a.example", fields[1][1], text, len(fields), body)


def test_what_is_sent_is_what_a_plain_request_would_send() -> None:
    assert composed(body=b"x=y").to_bytes() == Request("INVITE", "sip:2@b.example", FIELDS, b"x=y").to_bytes()


def test_fields_are_read_back_as_they_were_written() -> None:
    request = composed()
    assert request.headers == Headers(FIELDS)
    assert (request.cseq.number, request.cseq.method, request.call_id) == (7, "INVITE", "c@a.example")
    assert request.from_.display_name == "Ann: Lee"
    assert parse(request.to_bytes()).headers.get("supported") == ""


def test_a_change_of_a_field_is_sent() -> None:
    request = composed()
    request.headers.replace_first("Via", "SIP/2.0/TCP a.example:5060;branch=z9hG4bK2")
    assert b"Via: SIP/2.0/TCP a.example:5060;branch=z9hG4bK2\r\n" in request.to_bytes()
    assert b"z9hG4bK1" not in request.to_bytes()


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1"])
def test_a_line_end_in_a_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        composed([*FIELDS, ("Subject", value)])


def test_cancel_and_ack_are_made_of_it_as_of_any_request() -> None:
    plain = Request("INVITE", "sip:2@b.example", FIELDS)
    response = plain.response(486, to_tag="y")
    assert composed().cancel().to_bytes() == plain.cancel().to_bytes()
    assert composed().ack(response).to_bytes() == plain.ack(response).to_bytes()
