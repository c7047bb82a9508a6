"""User-to-User and isub: to and from the octets that ISDN has for them (RFC 7433, RFC 7434, RFC 4715)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerKind
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.user_to_user import (
    FROM_KIND,
    MAX_SUBADDRESS,
    MAX_USER_USER,
    answer_of,
    conveyed_of,
    isub_of,
    subaddress_in,
    user_to_user_field,
    user_to_user_of,
)


def invite(*fields: tuple[str, str], uri: str = "sip:1@h") -> Request:
    return Request("INVITE", uri, list(fields))


@given(st.binary(min_size=1, max_size=MAX_USER_USER))
def test_user_information_is_read_as_it_was_written(contents: bytes) -> None:
    assert user_to_user_of(invite(user_to_user_field(contents))) == contents


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        ("0468656c6c6f;encoding=hex", b"\x04hello"),
        # Both parameters may be missing (RFC 7434).
        ("0468656C6C6F", b"\x04hello"),
        ('"0468656c6c6f";purpose=isdn-uui;content=isdn-uui', b"\x04hello"),
        ("04;purpose=other, 0401;purpose=isdn-uui", b"\x04\x01"),
        ("04;encoding=base64", None),
        ("hello;encoding=hex", None),
        ("", None),
        ("04" * (MAX_USER_USER + 1), None),
    ],
)
def test_user_information_of_others_is_read_or_left(value: str, contents: bytes | None) -> None:
    assert user_to_user_of(invite(("User-to-User", value))) == contents


@pytest.mark.parametrize(
    ("contents", "isub"),
    [
        (b"\x80\x50" + b"4711", ";isub=4711"),
        (b"\x80\x50" + b"a;b c", ";isub=a%3Bb%20c"),
        (b"\x80\x48\x12\x3f", ";isub=123;isub-encoding=nsap-bcd"),
        (b"\x80\x39\x01\x02", ";isub=390102;isub-encoding=nsap"),
        # What a user specified for itself (type 2) has no name in SIP.
        (b"\xa0\x01\x02", ""),
        (b"\x80", ""),
        (b"\x80" + bytes(MAX_SUBADDRESS + 1), ""),
    ],
)
def test_subaddresses_are_written_by_their_kind_and_read_back(contents: bytes, isub: str) -> None:
    assert isub_of(contents) == isub
    if isub:
        assert subaddress_in(Uri.parse(f"sip:+1555{isub}@h;user=phone")) == contents
        assert subaddress_in(Uri.parse(f"tel:+1555{isub}")) == contents
        assert subaddress_in(Uri.parse(f"sip:+1555@h{isub}")) == contents


@pytest.mark.parametrize("isub", ["", "isub", "isub=", f"isub={'1' * 20}", "isub=%C3%A9", "isub=1;isub-encoding=nsap"])
def test_what_is_no_subaddress_is_left_out(isub: str) -> None:
    assert subaddress_in(Uri.parse(f"sip:1;{isub}@h")) is None


def test_a_call_that_brings_nothing_costs_no_object_of_its_own() -> None:
    for kind in PeerKind:
        assert conveyed_of(invite(), kind, trusted=True) is FROM_KIND[kind]


def test_the_asserted_subaddress_of_a_peer_that_is_not_trusted_is_not_believed() -> None:
    asserted = ("P-Asserted-Identity", "<sip:+1555;isub=12@h;user=phone>")
    assert conveyed_of(invite(asserted), PeerKind.TRUNK, trusted=True).calling_subaddress == b"\x80\x5012"
    assert conveyed_of(invite(asserted), PeerKind.TRUNK, trusted=False).calling_subaddress is None
    assert answer_of(invite(asserted), PeerKind.TRUNK, trusted=True).subaddress == b"\x80\x5012"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=30))
def test_random_text_never_raises(user_user: str, asserted: str, isub: str) -> None:
    request = invite(("User-to-User", user_user), ("P-Asserted-Identity", f"{asserted}isub={isub}"))
    try:
        uri = Uri.parse(f"sip:1;isub={isub}@h")
    except SipError:
        return
    subaddress_in(uri)
    conveyed_of(request, PeerKind.TRUNK, trusted=True)
