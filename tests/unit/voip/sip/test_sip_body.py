from __future__ import annotations

import pytest

from gateway.voip.sip.body import (
    MAX_DEPTH,
    MAX_PART_HEADERS,
    MAX_PARTS,
    body_parts,
    find_part,
    find_sdp,
    not_understood,
)
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request

SDP_KINDS = frozenset({"application/sdp"})


def message(body: bytes, kind: str = 'multipart/mixed; boundary="b1"', **fields: str) -> Request:
    headers = [("Content-Type", kind)] if kind else []
    headers += [(name.replace("_", "-"), value) for name, value in fields.items()]
    return Request("INVITE", "sip:a@b", headers, body)


def part(content: bytes, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return b"--b1\r\n" + head + b"\r\n" + content + b"\r\n"


END = b"--b1--\r\n"
SDP = part(b"v=0", "Content-Type: application/sdp")
ISUP = part(b"\x01\x02", "Content-Type: application/ISUP;version=x", "Content-Disposition: signal;handling=optional")


def test_plain_body_is_one_part() -> None:
    (only,) = body_parts(message(b"v=0", "application/SDP"))
    assert (only.kind, only.content) == ("application/sdp", b"v=0")
    assert find_sdp(message(b"v=0", "application/SDP")) == b"v=0"
    assert find_sdp(message(b"v=0", "application/sdp")) == b"v=0"


def test_no_body_has_no_parts() -> None:
    assert body_parts(message(b"", "application/sdp")) == ()
    assert find_sdp(message(b"", "application/sdp")) is None


def test_sdp_is_found_beside_isup() -> None:
    both = message(b"preamble\r\n" + ISUP + SDP + END + b"epilogue")
    assert [piece.kind for piece in body_parts(both)] == ["application/isup", "application/sdp"]
    assert find_sdp(both) == b"v=0"
    assert find_part(both, "application/isup") is None
    assert body_parts(both)[0].content == b"\x01\x02"


def test_part_content_keeps_its_own_line_ends() -> None:
    (only,) = body_parts(message(part(b"a\r\n\r\nb\r\n") + END))
    assert only.content == b"a\r\n\r\nb\r\n"
    assert only.kind == "text/plain"


def test_nested_multipart_is_opened() -> None:
    inner = b"--in\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--in--"
    outer = part(inner, "Content-Type: multipart/alternative;boundary=in") + END
    assert find_sdp(message(outer)) == b"v=0"


def test_session_disposition_goes_before_others() -> None:
    first = part(b"v=1", "Content-Type: application/sdp", "Content-Disposition: early-session")
    second = part(b"v=2", "Content-Type: application/sdp", "Content-Disposition: session;handling=required")
    assert find_sdp(message(first + second + END)) == b"v=2"
    assert find_sdp(message(first + END)) is None
    third = part(b"v=3", "Content-Type: application/sdp", "Content-Disposition: session")
    assert find_sdp(message(second + third + END)) == b"v=2"


def test_optional_part_may_be_strange_and_required_may_not() -> None:
    assert not_understood(message(SDP + ISUP + END), SDP_KINDS) is None
    required = part(b"x", "Content-Type: application/isup", "Content-Disposition: signal;handling=required")
    bad = not_understood(message(SDP + required + END), SDP_KINDS)
    assert bad is not None and bad.kind == "application/isup"
    silent = part(b"x", "Content-Type: application/isup")
    assert not_understood(message(SDP + silent + END), SDP_KINDS) is not None


def test_one_alternative_is_enough() -> None:
    other = part(b"x", "Content-Type: application/unknown")
    alternative = message(SDP + other + END, "multipart/alternative;boundary=b1")
    assert not_understood(alternative, SDP_KINDS) is None
    assert not_understood(message(other + END, "multipart/alternative;boundary=b1"), SDP_KINDS) is not None


def test_encoded_body_is_not_understood() -> None:
    zipped = message(b"\x1f\x8b", "application/sdp", Content_Encoding="gzip")
    assert not_understood(zipped, SDP_KINDS) is not None
    assert (
        find_part(
            message(part(b"x", "Content-Type: application/sdp", "Content-Transfer-Encoding: base64") + END),
            "application/sdp",
        )
        is None
    )
    assert not_understood(message(b"v=0", "application/sdp", Content_Encoding="identity"), SDP_KINDS) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (SDP, 'multipart/mixed;boundary="b1"'),
        (SDP + END, "multipart/mixed"),
        (SDP + END, f"multipart/mixed;boundary={'b' * 71}"),
        (b"--b1 x\r\n\r\n\r\n" + END, "multipart/mixed;boundary=b1"),
        (b"--b1\r\nnothing" + b"\r\n" + END, "multipart/mixed;boundary=b1"),
        (part(b"x", "no colon") + END, "multipart/mixed;boundary=b1"),
        (part(b"x", "Content-Type: nothing") + END, "multipart/mixed;boundary=b1"),
        (part(b"x", *(["X: y"] * (MAX_PART_HEADERS + 1))) + END, "multipart/mixed;boundary=b1"),
        (b"no boundary", "multipart/mixed;boundary=b1"),
    ],
)
def test_broken_multipart_is_400(body: bytes, kind: str) -> None:
    with pytest.raises(SipError) as caught:
        body_parts(message(body, kind))
    assert caught.value.status == 400


def test_part_count_and_depth_have_limits() -> None:
    assert len(body_parts(message(part(b"x", *(["X: y"] * MAX_PART_HEADERS)) + END))) == 1
    assert len(body_parts(message(part(b"x") * MAX_PARTS + END))) == MAX_PARTS
    with pytest.raises(SipError):
        body_parts(message(part(b"x") * (MAX_PARTS + 1) + END))

    def nested(depth: int) -> bytes:
        body = b"--d0\r\n\r\nx\r\n--d0--"
        for level in range(1, depth):
            head = f"--d{level}\r\nContent-Type: multipart/mixed;boundary=d{level - 1}\r\n\r\n".encode()
            body = head + body + f"\r\n--d{level}--".encode()
        return body

    assert len(body_parts(message(nested(MAX_DEPTH), f"multipart/mixed;boundary=d{MAX_DEPTH - 1}"))) == 1
    with pytest.raises(SipError):
        body_parts(message(nested(MAX_DEPTH + 1), f"multipart/mixed;boundary=d{MAX_DEPTH}"))
