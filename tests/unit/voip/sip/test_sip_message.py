from __future__ import annotations

import pytest

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import Headers
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.uri import Uri


def invite(*extra: tuple[str, str], body: bytes = b"") -> Request:
    return Request(
        "INVITE",
        "sip:200@gw.example.com",
        [
            ("Via", "SIP/2.0/UDP pbx.example.com:5070;branch=z9hG4bK1;rport"),
            ("Max-Forwards", "70"),
            ("From", '"Alice" <sip:100@pbx.example.com>;tag=f'),
            ("To", "<sip:200@gw.example.com>"),
            ("Call-ID", "c@pbx"),
            ("CSeq", "7 INVITE"),
            *extra,
        ],
        body,
    )


def test_written_message_is_exactly_this() -> None:
    assert invite(("X-Odd", "Value  as IS"), body=b"abc").to_bytes() == (
        b"INVITE sip:200@gw.example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP pbx.example.com:5070;branch=z9hG4bK1;rport\r\n"
        b"Max-Forwards: 70\r\n"
        b'From: "Alice" <sip:100@pbx.example.com>;tag=f\r\n'
        b"To: <sip:200@gw.example.com>\r\n"
        b"Call-ID: c@pbx\r\n"
        b"CSeq: 7 INVITE\r\n"
        b"X-Odd: Value  as IS\r\n"
        b"Content-Length: 3\r\n"
        b"\r\n"
        b"abc"
    )


def test_values_nobody_changed_are_written_octet_by_octet() -> None:
    wire = b"OPTIONS sip:a@b SIP/2.0\r\nX-Raw: \xff\xfe \xc3\xa9  ;,;\r\nv: SIP/2.0/UDP h\r\nl: 0\r\n\r\n"
    assert parse(wire).to_bytes() == wire


def test_content_length_is_made_right_where_it_stands() -> None:
    message = parse(b"OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\nX: y\r\n\r\n")
    message.body = b"12345"
    assert message.to_bytes() == b"OPTIONS sip:a@b SIP/2.0\r\nl: 5\r\nX: y\r\n\r\n12345"


def test_line_end_in_our_own_value_is_never_sent() -> None:
    with pytest.raises(ValueError, match="line end"):
        invite(("Subject", "x\r\nVia: evil")).to_bytes()


def test_typed_access() -> None:
    message = invite(
        ("m", "<sip:a@h1>, <sip:b@h2>;q=0.5"),
        ("Contact", "<sip:c@h3>"),
        ("Route", "<sip:r1;lr>,<sip:r2;lr>"),
        ("k", "100rel, Timer"),
        ("Supported", "replaces"),
        ("Require", ""),
        ("Allow", "INVITE, ACK"),
        ("Allow", "BYE"),
        ("x", "1800;refresher=uac"),
        ("Min-SE", "90"),
        ("RSeq", "12"),
        ("RAck", "12 7 INVITE"),
        ("o", "refer;id=3"),
        ("Accept", "application/sdp, text/*;q=0.1"),
        ("Retry-After", "120 (busy)"),
        ("r", "<sip:x@y>"),
        ("Expires", "99999999999999"),
        ("Content-Disposition", "Session;handling=optional"),
    )
    assert [str(contact.uri) for contact in message.contacts] == ["sip:a@h1", "sip:b@h2", "sip:c@h3"]
    assert [route.uri.host for route in message.routes] == ["r1", "r2"]
    assert message.record_routes == ()
    assert message.supported == {"100rel", "timer", "replaces"}
    assert message.require == frozenset()
    assert message.allow == {"INVITE", "ACK", "BYE"}
    assert message.session_expires == (1800, "uac")
    assert message.min_se == 90
    assert (message.rseq, message.rack) == (12, (12, 7, "INVITE"))
    assert message.event is not None and message.event.params["id"] == "3"
    assert message.accept is not None and [media.full for media in message.accept] == ["application/sdp", "text/*"]
    assert message.retry_after == 120
    assert message.refer_to is not None and message.refer_to.uri.host == "y"
    assert message.expires == 3600
    assert message.content_disposition == ("session", {"handling": "optional"})
    assert message.max_forwards == 70
    assert message.uri == Uri("sip", "200", "gw.example.com")


def test_absent_fields() -> None:
    message = Response(200)
    for value in (message.max_forwards, message.content_type, message.expires, message.session_expires, message.accept):
        assert value is None
    assert message.contacts == () and message.vias == ()
    for name in ("via", "from_", "to", "call_id", "cseq"):
        with pytest.raises(SipError):
            getattr(message, name)


def test_change_of_a_header_field_is_seen_by_its_accessor() -> None:
    message = invite()
    assert message.cseq.number == 7
    message.headers.set("cseq", "8 INVITE")
    assert message.cseq.number == 8
    message.headers.remove("Via")
    with pytest.raises(SipError):
        _ = message.via


def test_headers_order_and_replacement() -> None:
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    headers.set("a", "9")
    assert list(headers) == [("a", "9"), ("B", "2")]
    headers.add_first("Via", "x")
    headers.add("v", "y")
    assert headers.get_all("VIA") == ["x", "y"]
    headers.replace_first("v", "z")
    assert headers.get_all("Via") == ["z", "y"]
    headers.replace_first("new", "n")
    headers.set("newer", "n")
    assert len(headers) == 6
    assert "NEWER" in headers and "absent" not in headers
    copy = headers.copy()
    copy.remove("via")
    assert len(headers) == 6 and len(copy) == 4


def test_response_copies_what_ties_it_to_the_request() -> None:
    request = invite(("Record-Route", "<sip:p;lr>"), ("Via", "SIP/2.0/TCP other"), ("Timestamp", "54"))
    ringing = request.response(180, to_tag="t")
    assert ringing.start_line == "SIP/2.0 180 Ringing"
    assert [via.host for via in ringing.vias] == ["pbx.example.com", "other"]
    assert ringing.to.tag == "t"
    assert ringing.from_.tag == "f"
    assert ringing.cseq == request.cseq and ringing.call_id == request.call_id
    assert len(ringing.record_routes) == 1
    assert "Timestamp" not in ringing.headers


def test_100_has_no_tag_and_a_failure_no_record_route() -> None:
    request = invite(("Record-Route", "<sip:p;lr>"), ("Timestamp", "54"))
    trying = request.response(100, to_tag="t")
    assert trying.to.tag is None
    assert trying.headers.get("Timestamp") == "54"
    assert "Record-Route" not in request.response(486, to_tag="t").headers


def test_tag_of_the_request_stays() -> None:
    request = invite()
    request.headers.set("To", "<sip:200@gw>;tag=old")
    assert request.response(200, to_tag="new").to.tag == "old"


def test_cancel_is_tied_to_its_invite() -> None:
    request = invite(("Route", "<sip:p;lr>"), ("Via", "SIP/2.0/UDP second"), ("Require", "100rel"))
    cancel = request.cancel()
    assert cancel.method == "CANCEL" and cancel.cseq == (7, "CANCEL")
    assert [str(via) for via in cancel.vias] == [str(request.via)]
    assert cancel.uri_text == request.uri_text
    assert (cancel.from_, cancel.to, cancel.call_id) == (request.from_, request.to, request.call_id)
    assert len(cancel.routes) == 1
    assert "Require" not in cancel.headers


ECHOED = {
    "plain": "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\n",
    "compact": "v: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@a>;tag=1\r\nt: <sip:b@b>\r\n",
    "proxied": (
        "Via: SIP/2.0/UDP p;branch=z9hG4bK2\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nRecord-Route: <sip:p;lr>\r\n"
        "From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nTimestamp: 5\r\n"
    ),
    "two To": "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nTo: <sip:c@b>\r\n",
    "no From": "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nTo: <sip:b@b>\r\n",
}


@pytest.mark.parametrize("status", [100, 180, 200, 486])
@pytest.mark.parametrize("fields", ECHOED.values(), ids=ECHOED.keys())
def test_echoed_lines_are_the_fields_of_a_response(fields: str, status: int) -> None:
    text = f"INVITE sip:b@b SIP/2.0\r\n{fields}Call-ID: 1\r\nCSeq: 1 INVITE\r\nSubject: x\r\n"
    request = parse(f"{text}Content-Length: 0\r\n\r\n".encode())
    assert isinstance(request, Request)
    written = parse(f"SIP/2.0 {status} X\r\n{request.echoed(status, 'mine')}\r\n".encode())
    assert written.headers == request.response(status, to_tag="mine").headers


def test_ack_of_a_failure_has_the_responses_to_and_the_invites_via() -> None:
    request = invite(("Route", "<sip:p;lr>"))
    ack = request.ack(request.response(486, to_tag="t"))
    assert ack.method == "ACK" and ack.cseq == (7, "ACK")
    assert ack.to.tag == "t" and ack.from_.tag == "f"
    assert ack.via == request.via
    assert len(ack.routes) == 1


def test_source_is_stamped_into_the_top_via_only() -> None:
    request = invite()
    request.headers.replace_first("Via", f"{request.via}, SIP/2.0/UDP second")
    request.stamp_source("192.0.2.9", 1024)
    assert (request.via.received, request.via.rport) == ("192.0.2.9", 1024)
    assert [via.host for via in request.vias] == ["pbx.example.com", "second"]
    assert request.vias[0] == request.via


def test_source_is_not_stamped_where_the_via_says_it() -> None:
    request = invite()
    request.headers.set("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1")
    request.stamp_source("192.0.2.9", 5060)
    assert request.headers.get("Via") == "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1"
    request.stamp_source("192.0.2.10", 5060)
    assert request.via.received == "192.0.2.10" and request.via.rport is None


def test_reason_phrases() -> None:
    assert reason_phrase(486) == "Busy Here"
    assert reason_phrase(499) == "Request Failure"


def test_an_address_read_once_is_not_changed_by_what_is_made_of_it() -> None:
    first = parse(b"SIP/2.0 200 OK\r\nTo: <sip:b@b>;tag=1\r\nContact: <sip:c@b>\r\n\r\n")
    first.to.with_param("tag", "2")
    first.contacts[0].with_param("expires", "5")
    again = parse(b"SIP/2.0 180 Ringing\r\nTo: <sip:b@b>;tag=1\r\nContact: <sip:c@b>\r\n\r\n")
    assert again.to.params == {"tag": "1"}
    assert again.contacts[0].params == {}


def test_stamping_one_request_leaves_the_next_from_the_same_hop_alone() -> None:
    text = "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a.example:5062;branch=z9hG4bK{0};rport\r\n\r\n"
    for number in range(2):
        request = parse(text.format(number).encode())
        assert isinstance(request, Request)
        assert request.via.params == {"branch": f"z9hG4bK{number}", "rport": None}
        request.stamp_source("192.0.2.1", 1024)
        stamped = f"SIP/2.0/UDP a.example:5062;branch=z9hG4bK{number};rport=1024;received=192.0.2.1"
        assert request.headers.get("Via") == str(request.via) == str(request.vias[0]) == stamped
