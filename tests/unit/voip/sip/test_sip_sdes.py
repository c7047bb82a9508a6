from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.api import SrtpKey, SrtpSuite
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.sdes import (
    KEY_LENGTHS,
    MAX_ATTRIBUTE,
    MAX_ATTRIBUTES,
    SUITES,
    Crypto,
    UnusableCrypto,
    first_usable,
    parse_crypto,
    with_tag,
)

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
"""Thirty octets, as the first example of RFC 4568 has them."""


def usable(value: str) -> Crypto:
    crypto = parse_crypto(value)
    assert isinstance(crypto, Crypto), crypto
    return crypto


def unusable(value: str) -> str:
    crypto = parse_crypto(value)
    assert isinstance(crypto, UnusableCrypto), crypto
    return crypto.why


@pytest.mark.parametrize(
    ("value", "tag", "suite"),
    [
        # RFC 4568 4 and 7.1.1 to 7.1.3, with what they have besides the key.
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20", 1, SrtpSuite.AES_CM_128_HMAC_SHA1_80),
        (f"2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|1048576 WSH=64", 2, SrtpSuite.AES_CM_128_HMAC_SHA1_32),
        (
            f"999999999 aes_cm_128_hmac_sha1_80 INLINE:{KEY} KDR=0 -odd=1",
            999_999_999,
            SUITES["AES_CM_128_HMAC_SHA1_80"],
        ),
    ],
)
def test_examples_of_the_rfc_are_read(value: str, tag: int, suite: SrtpSuite) -> None:
    crypto = usable(value)
    assert (crypto.tag, crypto.suite) == (tag, suite)
    assert crypto.key.key == base64.b64decode(KEY)


@pytest.mark.parametrize(
    ("parameters", "mki"),
    [("|2^20|1:4", b"\0\0\0\1"), ("|1:1", b"\1"), ("|2^31|258:2", b"\1\2"), ("|1:8", bytes(7) + b"\1"), ("", b"")],
)
def test_mki_is_read_as_the_octets_that_packets_have(parameters: str, mki: bytes) -> None:
    crypto = usable(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{parameters}")
    assert crypto.key.mki == mki
    assert crypto.key.key == base64.b64decode(KEY)


def test_key_without_mki_goes_before_one_with_which_is_better_than_none() -> None:
    lines = (
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1",
        f"2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^31|2:1",
        f"3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31",
    )
    for offered, tag in ((lines, 3), (lines[:2], 1)):
        crypto, why = first_usable(offered)
        assert crypto is not None
        assert (crypto.tag, why) == (tag, "")
    # Ours never has one: what we send carries none.
    assert "|" not in str(crypto)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", "unknown suite F8_128_HMAC_SHA1_80"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:9", "key with an MKI of 9 octets"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4;inline:{KEY}|2:4", "more than one key"),
        ("1 AES_CM_128_HMAC_SHA1_80 uri:https://example.org", "unknown key method"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49", "lifetime of a key that no key may have"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|0", "lifetime of a key that no key may have"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^999999", "lifetime of a key that no key may have"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP", "session parameter UNENCRYPTED_SRTP"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP", "session parameter UNENCRYPTED_SRTCP"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP", "session parameter UNAUTHENTICATED_SRTP"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} FEC_ORDER=FEC_SRTP", "session parameter FEC_ORDER"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1", "keys derived again and again (KDR)"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=25", "key derivation rate that is none"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=63", "window size hint that is none"),
        (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} NEW=1", "session parameter NEW"),
    ],
)
def test_what_the_engine_cannot_do_makes_the_attribute_unusable(value: str, why: str) -> None:
    assert unusable(value) == why


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "1 AES_CM_128_HMAC_SHA1_80",
        f"x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"² AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 {KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:-4]}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}AAAA",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:!{KEY[1:]}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|2^20",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4|1",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|soon",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:x",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:129",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|256:1",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} \x01",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} " + "-x" * MAX_ATTRIBUTE,
    ],
)
def test_malformed_attribute_is_an_error_that_tells_no_key(value: str) -> None:
    with pytest.raises(SipError) as caught:
        parse_crypto(value)
    assert caught.value.status == 400
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize("suite", KEY_LENGTHS)
def test_every_suite_reads_as_it_was_written(suite: SrtpSuite) -> None:
    crypto = Crypto(7, suite.name, SrtpKey(suite, bytes(range(KEY_LENGTHS[suite]))))
    assert parse_crypto(str(crypto)) == crypto
    # Padding may be missing.
    assert parse_crypto(str(crypto).rstrip("=")) == crypto


def test_key_of_another_suite_is_too_short_or_too_long() -> None:
    with pytest.raises(SipError, match="have 30 octets, expected 46"):
        parse_crypto(f"1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}")


def test_no_text_for_people_has_the_key_in_it() -> None:
    crypto = usable(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
    assert KEY[:8] not in repr(crypto)
    assert str(crypto.key.key) not in repr(crypto)


def test_name_of_a_draft_is_the_suite_and_stays_as_written() -> None:
    key = base64.b64encode(bytes(46)).decode()
    crypto = usable(f"1 AES_CM_256_HMAC_SHA1_80 inline:{key}")
    assert crypto.suite is SrtpSuite.AES_256_CM_HMAC_SHA1_80
    assert str(crypto).split()[1] == "AES_CM_256_HMAC_SHA1_80"


def test_of_several_the_first_usable_one_is_found() -> None:
    lines = (
        "garbage",
        "4 SOMETHING_NEW inline:AAAA",
        f"3 AES_CM_128_HMAC_SHA1_32 inline:{KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
    )
    found, why = first_usable(lines)
    assert found == usable(lines[2])
    assert why == ""
    assert first_usable(lines[1:2]) == (None, "unknown suite SOMETHING_NEW")
    assert first_usable(()) == (None, "")


def test_ours_is_found_by_its_tag() -> None:
    lines = (f"11 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
    assert with_tag(lines, 1) == usable(lines[1])
    assert with_tag(lines, 2) is None


def test_no_more_than_the_limit_is_looked_at() -> None:
    lines = tuple(f"{number} NONE inline:AAAA" for number in range(1, MAX_ATTRIBUTES + 1))
    assert first_usable((*lines, f"99 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"))[0] is None


@given(st.text(max_size=200))
def test_random_text_raises_nothing_else(text: str) -> None:
    with contextlib.suppress(SipError):
        parse_crypto(text)


@given(
    st.integers(0, 10**9 - 1),
    st.sampled_from(sorted(SUITES)),
    st.binary(min_size=46, max_size=46),
    st.sampled_from(["", "|2^31", "|4711", "|2^20|1:4", "|x", "||"]),
    st.lists(st.sampled_from(["WSH=128", "KDR=0", "-x=y", "KDR=3", "UNENCRYPTED_SRTCP", "WSH", "é"]), max_size=3),
)
def test_near_misses_raise_nothing_else_and_read_back(
    tag: int, name: str, octets: bytes, rest: str, parameters: list[str]
) -> None:
    key = octets[: KEY_LENGTHS[SUITES[name]]]
    text = " ".join([str(tag), name, f"inline:{base64.b64encode(key).decode()}{rest}", *parameters])
    try:
        crypto = parse_crypto(text)
    except SipError:
        return
    if isinstance(crypto, Crypto):
        assert crypto.key == SrtpKey(SUITES[name], key, b"\0\0\0\1" if "1:4" in rest else b"")
        ours = Crypto(crypto.tag, crypto.name, SrtpKey(SUITES[name], key))
        assert parse_crypto(str(crypto)) == ours
