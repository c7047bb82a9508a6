from __future__ import annotations

import pytest

from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.uri import MAX_URI
from gateway.voip.sip.validation import SINGLE_HEADERS, check_request, check_response

FIELDS = {
    "Via": "SIP/2.0/UDP h;branch=z9hG4bK1",
    "Max-Forwards": "70",
    "From": "<sip:a@h>;tag=1",
    "To": "<sip:b@g>",
    "Call-ID": "c",
    "CSeq": "1 INVITE",
    "Contact": "<sip:a@h>",
}


def changed(changes: dict[str, str | None]) -> Request:
    fields: dict[str, str | None] = {**FIELDS}
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    return Request("INVITE", "sip:b@g", [(name, value) for name, value in fields.items() if value is not None])


def request(method: str = "INVITE", uri: str = "sip:b@g", body: bytes = b"", **changes: str | None) -> Request:
    message = changed({"CSeq": f"1 {method}", **changes})
    return Request(method, uri, message.headers, body)


def status(message: Request, **options: bool) -> int | None:
    rejection = check_request(message, **options)  # type: ignore[arg-type]
    return None if rejection is None else rejection.status


def test_good_request_passes() -> None:
    assert status(request()) is None
    assert status(request(body=b"v=0", Content_Type="application/sdp")) is None
    assert status(request(Max_Forwards=None)) is None
    assert status(request(uri="tel:+12125550100")) is None


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_mandatory_field_missing_is_400(name: str) -> None:
    assert status(changed({name: None})) == 400


@pytest.mark.parametrize("name", SINGLE_HEADERS)
def test_repeated_single_field_is_400(name: str) -> None:
    message = request()
    value = message.headers.get(name) or "1"
    message.headers.remove(name)
    message.headers.add(name, value)
    message.headers.add(name, value)
    rejection = check_request(message)
    assert rejection is not None and rejection.status == 400 and name in rejection.text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Max_Forwards": "256"}, 400),
        ({"Max_Forwards": "x"}, 400),
        ({"CSeq": "1 BYE"}, 400),
        ({"From": '"open <sip:a@h>'}, 400),
        ({"From": "<sip:a b@h>"}, 400),
        ({"To": "<nothing>"}, 400),
        ({"Via": "SIP/2.0/UDP h, rubbish"}, 400),
        ({"Contact": "<sip:a@[h>"}, 400),
        ({"Route": "<sip:r>;;"}, 400),
        ({"Require": "100rel, foo"}, 420),
        ({"Accept": "text/plain"}, 406),
        ({"Accept": ""}, 406),
        ({"Accept": "application/*"}, None),
        ({"Proxy_Require": "foo"}, None),
        ({"Require": "100rel, TIMER"}, None),
    ],
)
def test_header_fields_of_an_invite(changes: dict[str, str | None], expected: int | None) -> None:
    assert status(changed(changes)) == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [("REGISTER", 405), ("PUBLISH", 405), ("FOO", 501), ("invite", 501), ("OPTIONS", None), ("BYE", None)],
)
def test_methods(method: str, expected: int | None) -> None:
    rejection = check_request(request(method))
    assert (None if rejection is None else rejection.status) == expected
    if rejection is not None:
        assert "INVITE" in dict(rejection.headers)["Allow"]


def test_version_and_request_uri() -> None:
    old = request()
    old.version = "SIP/1.0"
    assert status(old) == 505
    assert status(request(uri="mailto:a@b")) == 416
    assert status(request(uri="sip:a@b?Route=x")) == 400
    assert status(request(uri="<sip:a@b>")) == 400


def test_request_uri_that_is_too_long_is_414() -> None:
    assert status(request(uri=f"sip:{'9' * MAX_URI}@b")) == 414


def test_ack_and_cancel_are_not_refused_for_require() -> None:
    assert status(request("ACK", Require="foo")) is None
    assert status(request("CANCEL", Require="foo")) is None
    assert status(request("BYE", Require="foo")) == 420


def test_forwarding_view_counts_hops_and_proxy_require() -> None:
    assert status(request(Max_Forwards="0"), forwarding=False) is None
    assert status(request(Max_Forwards="0"), forwarding=True) == 483
    assert status(request("OPTIONS", Max_Forwards="0"), forwarding=True) is None
    assert status(request(Proxy_Require="foo"), forwarding=True) == 420


def test_bodies() -> None:
    assert status(request(body=b"x")) == 400
    rejection = check_request(request(body=b"x", Content_Type="text/plain"))
    assert rejection is not None and rejection.status == 415
    assert rejection.headers == (("Accept", "application/sdp"),)
    rejection = check_request(request(body=b"x", Content_Type="application/sdp", Content_Encoding="gzip"))
    assert rejection is not None and rejection.status == 415
    assert rejection.headers == (("Accept-Encoding", "identity"),)
    rejection = check_request(request(body=b"x", Content_Type="text/plain", Content_Encoding="gzip"))
    assert rejection is not None and rejection.headers == (("Accept", "application/sdp"),)
    assert status(request(body=b"x", Content_Type="text/plain", Content_Disposition="icon;handling=optional")) is None
    assert status(request(body=b"x", Content_Type="multipart/mixed;boundary=z")) == 400
    assert status(request("BYE", body=b"x", Content_Type="text/plain")) is None


def response(**changes: str | None) -> Response:
    fields: dict[str, str | None] = {**FIELDS}
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    return Response(200, None, [(name, value) for name, value in fields.items() if value is not None])


def test_good_response_passes() -> None:
    assert check_response(response()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"Via": None},
        {"From": None},
        {"To": None},
        {"Call_ID": None},
        {"CSeq": None},
        {"CSeq": "99999999999 INVITE"},
        {"Via": "SIP/2.0/UDP h, SIP/2.0/UDP g"},
        {"Contact": "<sip:a@h"},
        {"Record_Route": "<sip:a@h>;;"},
        {"Retry_After": "soon"},
        {"RSeq": "-1"},
    ],
)
def test_broken_response_is_dropped(changes: dict[str, str | None]) -> None:
    assert check_response(response(**changes)) is not None


def test_response_with_two_from_is_dropped() -> None:
    message = response()
    message.headers.add("From", "<sip:x@y>")
    assert check_response(message) == "more than one from"
