"""What a capture shows has no secret left in it, however it is written, and everything else as it was."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.redact import nothing_of, redact_iax, redact_sip
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame

TOKEN = string.ascii_letters.replace("x", "") + string.digits
SECRETS = st.text(TOKEN, min_size=4, max_size=40).map("Zq7".__add__)
BLANK = st.text(" \t", max_size=3)
FOLD = st.sampled_from(["", " ", "\t", "\r\n ", "\r\n\t ", " \r\n  "])


def cased(word: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([each.lower(), each.upper()]) for each in word)).map("".join)


AUTHORIZATION = st.one_of(
    cased("authorization"),
    cased("proxy-authorization"),
    cased("authentication-info"),
    cased("proxy-authentication-info"),
)


def message(*lines: str, body: str = "") -> bytes:
    return "\r\n".join(
        [
            "INVITE sip:1@b SIP/2.0",
            "Via: SIP/2.0/UDP a;branch=z9hG4bK1",
            *lines,
            f"Content-Length: {len(body)}",
            "",
            body,
        ]
    ).encode()


def hidden(data: bytes, secret: str) -> bytes:
    """``data`` redacted, with all that must hold of it."""
    redacted = redact_sip(data)
    assert len(redacted) == len(data)
    assert secret.encode() not in redacted
    assert redact_sip(redacted) == redacted
    return redacted


@given(
    AUTHORIZATION,
    BLANK,
    FOLD,
    st.sampled_from(["response", "rspauth", "RESPONSE", "other"]),
    FOLD,
    SECRETS,
    st.booleans(),
)
def test_digests_are_hidden_however_they_are_written(
    name: str, blank: str, fold: str, parameter: str, after: str, secret: str, quoted: bool
) -> None:
    value = f'"{secret}"' if quoted else secret
    field = f'{name}{blank}:{fold}Digest username="u1",{after}{parameter}={value},{after}nonce="n1"'
    redacted = hidden(message(field, "To: <sip:me@b>"), secret)
    assert b"n1" in redacted and b"u1" in redacted and b"To: <sip:me@b>" in redacted


@given(AUTHORIZATION, st.sampled_from(["Basic", "Bearer", "NTLM", "Digests", ""]), SECRETS)
def test_credentials_of_any_other_scheme_are_hidden_as_a_whole(name: str, scheme: str, secret: str) -> None:
    hidden(message(f"{name}: {scheme} {secret}"), secret)


@given(AUTHORIZATION, SECRETS, st.text(TOKEN + '",;=\\ \t', max_size=30), st.text(TOKEN + '",;=\\ \t', max_size=30))
def test_credentials_that_nobody_can_parse_are_hidden_too(name: str, secret: str, before: str, after: str) -> None:
    redacted = redact_sip(message(f'{name}: Digest {before},response="{secret}"{after}'))
    # What stands in the value of a parameter that anybody may know is no secret, even if it says "response".
    assert secret.encode() not in redacted or "=" in before


@given(cased("a=crypto"), SECRETS, SECRETS, st.sampled_from(["", "|2^20", "|2^20|1:4", "|1:4;inline:"]))
def test_keys_of_sdes_are_hidden_and_the_suite_is_not(name: str, first: str, second: str, rest: str) -> None:
    key = f"inline:{first}{rest}" + (second if rest.endswith(":") else "")
    line = f"{name}:1 AES_CM_128_HMAC_SHA1_80 {key}"
    redacted = hidden(message(body=f"v=0\r\nm=audio 4000 RTP/SAVP 0\r\n{line}\r\na=sendrecv\r\n"), first)
    assert second.encode() not in redacted or second in "AES_CM_128_HMAC_SHA1_80"
    assert b"1 AES_CM_128_HMAC_SHA1_80 inline:" in redacted and b"a=sendrecv" in redacted


@pytest.mark.parametrize(
    "line",
    [
        "a=crypto:1 SECRETKEY",
        "a=crypto:SECRETKEY",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 SECRETKEY",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRETKEY KDR=1 SECRETKEY",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcd|SECRETKEY",
        "k=clear:SECRETKEY",
        "k=base64:SECRETKEY",
        "a=key-mgmt:mikey SECRETKEY",
        "  A = crypto : 1 AES_CM_128_HMAC_SHA1_80 inline:SECRETKEY",
    ],
)
def test_keys_are_hidden_where_they_should_not_be(line: str) -> None:
    hidden(message(body=f"v=0\r\n{line}\r\n"), "SECRETKEY")
    hidden(message(body=f"v=0\n{line}"), "SECRETKEY")


@given(st.sampled_from(["sip", "sips", "SIP"]), SECRETS)
def test_passwords_in_uris_are_hidden(scheme: str, secret: str) -> None:
    redacted = hidden(message(f"Contact:<{scheme}:alice:{secret}@192.0.2.1:5060>", f"X:{scheme}:b:{secret}@c"), secret)
    assert b"alice:" in redacted and b"@192.0.2.1:5060>" in redacted


@given(st.binary(max_size=300))
def test_any_octets_keep_their_length(data: bytes) -> None:
    redacted = redact_sip(data)
    assert len(redacted) == len(data)
    assert redact_sip(redacted) == redacted
    assert len(redact_iax(data)) == len(data)
    assert len(nothing_of(data)) == len(data) and not nothing_of(data).strip(b"\r\n")


def test_a_message_without_secrets_is_as_it_was() -> None:
    data = message(
        "From: <sip:alice@b>;tag=1",
        "Call-ID: abc@b",
        'WWW-Authenticate: Digest realm="b", nonce="abc", algorithm=MD5, qop="auth"',
        "X-Authorization: not ours",
        body="v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
    )
    assert redact_sip(data) == data


@pytest.mark.parametrize("size", [16_000, 64_000])
def test_what_is_made_to_take_long_does_not(size: int) -> None:
    for part in (
        b"sip:",
        b"@",
        b'"',
        b"\r\n ",
        b"Authorization:",
        b"a=crypto:1 A inline:",
        b",",
        b"sip:a:b@",
        b"\\",
        b" \t",
    ):
        for head in (b"", b"Authorization: Digest ", b'Authorization: Digest a="', b"a=crypto:1 A inline:b"):
            begun = time.process_time()
            redact_sip(head + part * (size // len(part)))
            assert time.process_time() - begun < 1.0, (head, part)


def full(command: int, *elements: tuple[int, bytes], kind: int = FrameType.IAX) -> FullFrame:
    return FullFrame(1, 2, 3, 4, 5, kind, command, bytes(Elements(list(elements))))


@given(
    st.sampled_from([Ie.PASSWORD, Ie.MD5_RESULT, Ie.RSA_RESULT, Ie.ENCKEY, Ie.CALLTOKEN]),
    SECRETS,
    st.sampled_from([Command.NEW, Command.AUTHREP, Command.REGREQ, Command.RTKEY]),
)
def test_secrets_of_iax2_are_hidden_and_what_is_beside_them_is_not(ie: int, secret: str, command: int) -> None:
    data = bytes(full(command, (Ie.USERNAME, b"alice"), (ie, secret.encode()), (Ie.REFRESH, b"\0\x3c")))
    redacted = redact_iax(data)
    assert len(redacted) == len(data) and secret.encode() not in redacted
    assert b"alice" in redacted and redacted.endswith(b"\x13\x02\0\x3c")
    assert redacted[:12] == data[:12]


def test_a_challenge_is_shown_but_the_key_that_is_told_in_its_place_is_not() -> None:
    asked = bytes(full(Command.AUTHREQ, (Ie.CHALLENGE, b"12345678")))
    assert redact_iax(asked) == asked
    assert b"0123456789abcdef" not in redact_iax(bytes(full(Command.RTKEY, (Ie.CHALLENGE, b"0123456789abcdef"))))


def test_a_secret_that_is_cut_short_is_hidden() -> None:
    data = bytes(full(Command.AUTHREP, (Ie.MD5_RESULT, b"0123456789abcdef")))[:-4]
    assert b"0123" not in redact_iax(data)


def test_voice_and_texts_of_iax2_are_no_elements() -> None:
    data = bytes(FullFrame(1, 2, 3, 4, 5, FrameType.TEXT, 0, b"\x06\x03abc"))
    assert redact_iax(data) == data
