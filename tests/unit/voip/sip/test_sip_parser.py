from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import COMPACT_FORMS, Headers, header_key
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, StreamParser, parse

START = b"OPTIONS sip:a@b SIP/2.0\r\n"


def error_of(data: bytes) -> SipError:
    with pytest.raises(SipError) as caught:
        parse(data)
    return caught.value


def stream_of(*chunks: bytes) -> StreamParser:
    stream = StreamParser()
    for chunk in chunks:
        stream.feed(chunk)
    return stream


@pytest.mark.parametrize(("short", "full"), COMPACT_FORMS.items())
def test_compact_form_is_the_field_itself(short: str, full: str) -> None:
    value = "0" if short == "l" else "x"
    for name in (short, short.upper()):
        message = parse(START + f"{name}: {value}\r\n\r\n".encode())
        assert message.headers.get(full) == value
        assert message.headers.get(full.title()) == value


def test_folds_become_one_blank() -> None:
    message = parse(START + b"Subject: a\r\n  b\r\n\tc \r\nX : y\r\n\r\n")
    assert message.headers.get("subject") == "a b c"
    assert message.headers.get("x") == "y"


def test_empty_lines_before_the_start_line_are_skipped() -> None:
    assert isinstance(parse(b"\r\n\r\n" + START + b"\r\n"), Request)


def test_body_without_content_length_is_the_rest_of_the_datagram() -> None:
    assert parse(START + b"\r\nabc").body == b"abc"


def test_octets_beyond_content_length_are_ignored() -> None:
    assert parse(START + b"Content-Length: 2\r\n\r\nabc").body == b"ab"


def test_equal_content_lengths_do_no_harm() -> None:
    assert parse(START + b"Content-Length: 2\r\nl: 02\r\n\r\nab").body == b"ab"


@pytest.mark.parametrize("length", ["-1", "+1", "x", "", "99999999999", "1 2", "٣"])
def test_senseless_content_length_is_400(length: str) -> None:
    error = error_of(START + f"Content-Length: {length}\r\n\r\nabc".encode())
    assert error.status == 400
    assert error.request is not None and error.request.method == "OPTIONS"


def test_broken_response_and_broken_ack_are_never_answered() -> None:
    for start in (b"SIP/2.0 200 OK\r\n", b"ACK sip:a@b SIP/2.0\r\n"):
        error = error_of(start + b"Content-Length: 9\r\n\r\n")
        assert error.status is None and error.request is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"hello\r\n\r\n",
        b"OPTIONS sip:a@b\r\n\r\n",
        b"OPT(IONS sip:a@b SIP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 700 High\r\n\r\n",
        b"SIP/3.0 200 OK\r\n\r\n",
        b"SIP/2.0 2x0 OK\r\n\r\n",
        START + b"X: y\nZ: w\r\n\r\n",
        START + b"X: y\rZ: w\r\n\r\n",
        START + b"X: y",
    ],
)
def test_noise_is_dropped(data: bytes) -> None:
    assert error_of(data).status is None


@pytest.mark.parametrize("line", [b"no colon", b"Via", b": value", b"na me: x", b"n<me: x"])
def test_line_that_is_no_header_field_is_400(line: bytes) -> None:
    assert error_of(START + line + b"\r\n\r\n").status == 400


def test_status_line_without_reason() -> None:
    for line in (b"SIP/2.0 200\r\n\r\n", b"SIP/2.0 200 \r\n\r\n"):
        message = parse(line)
        assert isinstance(message, Response) and (message.status, message.reason) == (200, "")


def test_lost_last_empty_line_is_forgiven() -> None:
    assert parse(START + b"X: y\r\n").headers.get("x") == "y"


def test_datagram_size_limit() -> None:
    head = START + b"\r\n"
    assert len(parse(head + b"x" * (MAX_MESSAGE - len(head))).body) == MAX_MESSAGE - len(head)
    assert error_of(head + b"x" * (MAX_MESSAGE + 1 - len(head))).status is None


def test_header_count_limit() -> None:
    assert len(parse(START + b"X: y\r\n" * MAX_HEADERS + b"\r\n").headers) == MAX_HEADERS
    assert error_of(START + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n").status == 513


def test_line_length_limit_counts_folded_lines_as_one() -> None:
    assert parse(START + b"X: " + b"y" * (MAX_LINE - 3) + b"\r\n\r\n")
    assert error_of(START + b"X: " + b"y" * (MAX_LINE - 2) + b"\r\n\r\n").status == 513
    assert error_of(START + b"X: " + b"\r\n y" * MAX_LINE + b"\r\n\r\n").status == 513


def test_request_uri_beyond_the_line_length_is_414() -> None:
    request = b"OPTIONS sip:" + b"9" * MAX_LINE + b"@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n"
    assert error_of(request).status == 414


@pytest.mark.parametrize("much", [b"X: y\r\n" * (MAX_HEADERS + 1), b"X: " + b"y" * MAX_LINE + b"\r\n"])
def test_request_that_is_too_long_can_be_answered(much: bytes) -> None:
    refused = error_of(START + b"Via: SIP/2.0/UDP a\r\n" + much + b"\r\n").request
    assert refused is not None
    assert refused.via.host == "a"


def test_stream_cuts_messages_wherever_the_bytes_break() -> None:
    data = START + b"Content-Length: 3\r\n\r\nabc" + b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n"
    for size in (1, 2, 3, 7, len(data)):
        stream = StreamParser()
        found: list[Request | Response] = []
        for at in range(0, len(data), size):
            stream.feed(data[at : at + size])
            while (message := stream.next_message()) is not None:
                found.append(message)
        assert [type(message) for message in found] == [Request, Response]
        assert [message.body for message in found] == [b"abc", b""]
        assert stream.pings == 0


def test_stream_counts_keep_alives_between_messages() -> None:
    whole = START + b"l: 0\r\n\r\n"
    stream = stream_of(b"\r\n\r\n", whole, b"\r\n", b"\r\n", whole)
    assert isinstance(stream.next_message(), Request)
    assert isinstance(stream.next_message(), Request)
    assert stream.next_message() is None
    assert stream.pings == 2
    stream.feed(b"\r\n")
    assert stream.next_message() is None
    stream.feed(b"\r\n")
    assert stream.next_message() is None
    assert stream.pings == 3


def test_stream_needs_content_length() -> None:
    with pytest.raises(SipError) as caught:
        stream_of(START + b"\r\n").next_message()
    assert caught.value.status == 400 and caught.value.request is not None


def test_stream_limits() -> None:
    with pytest.raises(SipError):
        stream_of(START + b"X: " + b"y" * MAX_MESSAGE).next_message()
    with pytest.raises(SipError):
        stream_of(START + b"X: y\r\n" * (MAX_MESSAGE // 6) + b"\r\n").next_message()
    with pytest.raises(SipError) as caught:
        stream_of(START + f"Content-Length: {MAX_MESSAGE}\r\n\r\n".encode()).next_message()
    assert caught.value.status == 413


def test_error_tells_status_and_text() -> None:
    assert str(SipError(400, "bad")) == "bad (400)"
    assert str(SipError(None, "noise")) == "noise"


_NAMES = st.sampled_from(["Via", "via", "v", "Call-ID", "X-Charge", "x-charge", "Supported", "Content-Type", "Zz"])
_WRITTEN = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@given(st.lists(st.tuples(_NAMES, st.sampled_from([":", ": ", " : ", ":\t", ":  "]), _WRITTEN), max_size=12))
def test_fields_are_the_same_however_their_blanks_stand(fields: list[tuple[str, str, str]]) -> None:
    text = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields)
    headers = parse(START + f"{text}Content-Length: 0\r\n\r\n".encode()).headers
    expected = [(name, value.strip(" \t")) for name, _, value in fields]
    assert list(headers)[:-1] == expected
    assert headers == Headers([*expected, ("Content-Length", "0")])
    for name, _ in expected:
        assert headers.get_all(name) == [v for n, v in expected if header_key(n) == header_key(name)]
        assert headers.get(name) == headers.get_all(name)[0]


@pytest.mark.parametrize("line", ["Via", "Subject x", "No token: y", ": z", "Sub ject: y"])
def test_a_line_that_is_no_field_is_400_among_proper_ones(line: str) -> None:
    error = error_of(START + f"To: <sip:a@b>\r\n{line}\r\nFrom: <sip:c@d>\r\n\r\n".encode())
    assert error.status == 400
    assert error.request is not None
    assert error.request.headers.get("to") == "<sip:a@b>"


@pytest.mark.parametrize("start", ["OPTIONS sip:{} SIP/2.0", "SIP/2.0 200 {}"])
def test_a_start_line_that_is_too_long_and_all_there_is_gives_an_error(start: str) -> None:
    line = start.format("x" * MAX_LINE)
    assert error_of(f"{line}\r\n\r\n".encode()).status == (414 if line.startswith("OPTIONS") else None)
    assert error_of(f"{line}\r\n".encode()).status == (414 if line.startswith("OPTIONS") else None)
