from __future__ import annotations

import pytest

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.syntax import (
    MAX_LIST_VALUES,
    MAX_PARAMETERS,
    format_params,
    parse_params,
    quote,
    split_list,
    split_tokens,
    unquote,
)
from gateway.voip.sip.values import CSeq, MediaType, NameAddr, RAck, Replaces, SessionExpires, Tagged, Via


@pytest.mark.parametrize(
    ("text", "name", "uri", "tag"),
    [
        ('"A. G. Bell" <sip:agb@bell-telephone.com> ;tag=a48s', "A. G. Bell", "sip:agb@bell-telephone.com", "a48s"),
        ("sip:+12125551212@server.phone2net.com;tag=887s", "", "sip:+12125551212@server.phone2net.com", "887s"),
        ("Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8", "Anonymous", "sip:c8oqz84zk7z@privacy.org", "hyh8"),
        ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", "323"),
        ("<sip:a@b;tag=inner>", "", "sip:a@b;tag=inner", None),
        (r'"q \" \\ <x>, ;" <sip:a@b>', 'q " \\ <x>, ;', "sip:a@b", None),
        ("  < sip:a@b > ", "", "sip:a@b", None),
    ],
)
def test_address_forms(text: str, name: str, uri: str, tag: str | None) -> None:
    address = NameAddr.parse(text)
    assert address.display_name == name
    assert str(address.uri) == uri
    assert address.tag == tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "<sip:a@b",
        '"no end <sip:a@b>',
        '"name" sip:a@b',
        '"name" x <sip:a@b>',
        "sip:a@b?x=y",
        "sip:a@b,sip:c@d",
        "<sip:a@b>;;tag=1",
        "<sip:a@b> tag=1",
        '<sip:a@b>;x="open',
    ],
)
def test_broken_addresses_are_refused(text: str) -> None:
    with pytest.raises(SipError) as caught:
        NameAddr.parse(text)
    assert caught.value.status == 400


def test_wrong_uri_is_found_when_it_is_used() -> None:
    address = NameAddr.parse("<http//nothing>;tag=1")
    assert address.tag == "1"
    with pytest.raises(SipError):
        _ = address.uri


def test_address_is_written_so_that_it_reads_the_same() -> None:
    address = NameAddr("sip:a@b", 'evil" <sip:x@y>\r\nVia: \\', {"tag": "1", "flag": None})
    again = NameAddr.parse(str(address))
    assert "\r" not in str(address) and "\n" not in str(address)
    assert again.uri_text == "sip:a@b"
    assert again.params == {"tag": "1", "flag": None}
    assert again.display_name == 'evil" <sip:x@y>  Via: \\'


def test_address_with_and_without_parameters_are_copies() -> None:
    address = NameAddr.parse("<sip:a@b>;x=1")
    assert address.with_param("tag", "t").tag == "t"
    assert address.without_param("x").params == {}
    assert address.params == {"x": "1"}


def test_via_parts() -> None:
    via = Via.parse("SIP/2.0/udp [2001:db8::9]:5070 ;branch=z9hG4bK1;rport=1024;received=192.0.2.1;maddr=[::1]")
    assert (via.transport, via.host, via.port) == ("UDP", "2001:db8::9", 5070)
    assert (via.branch, via.rport, via.received, via.maddr) == ("z9hG4bK1", 1024, "192.0.2.1", "::1")
    assert via.sent_by == "[2001:db8::9]:5070"
    assert str(via) == ("SIP/2.0/UDP [2001:db8::9]:5070;branch=z9hG4bK1;rport=1024;received=192.0.2.1;maddr=[::1]")


def test_via_rport_flag_is_not_its_absence() -> None:
    flag, none = Via.parse("SIP/2.0/UDP h;rport"), Via.parse("SIP/2.0/UDP h")
    assert flag.wants_rport and flag.rport is None
    assert not none.wants_rport


def test_via_blanks_around_everything() -> None:
    via = Via.parse("SIP / 2.0 /\tTCP   first.example.com : 4000 ; ttl = 16 ; branch = z9hG4bKa7")
    assert (via.transport, via.host, via.port, via.branch) == ("TCP", "first.example.com", 4000, "z9hG4bKa7")


@pytest.mark.parametrize(
    "text",
    ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "HTTP/1.1/TCP h", "SIP/2.0/ h", "SIP/2.0/UDP h:x", "SIP/2.0/UDP h;;branch=1"],
)
def test_broken_vias_are_refused(text: str) -> None:
    with pytest.raises(SipError):
        Via.parse(text)


def test_cseq_rack_and_their_limits() -> None:
    assert CSeq.parse("2147483647 INVITE") == (2147483647, "INVITE")
    assert str(RAck.parse("776656  1 INVITE")) == "776656 1 INVITE"
    for text in ("2147483648 INVITE", "1", "-1 INVITE", "1 INVITE x", "1 IN<VITE", "٣ INVITE"):
        with pytest.raises(SipError):
            CSeq.parse(text)
    with pytest.raises(SipError):
        RAck.parse("1 INVITE")


def test_media_type_and_what_a_range_covers() -> None:
    media = MediaType.parse("Multipart/Mixed; boundary=a48s")
    assert (media.full, media.params) == ("multipart/mixed", {"boundary": "a48s"})
    assert MediaType.parse("*/*").covers("application/sdp")
    assert MediaType.parse("application/*").covers("application/sdp")
    assert not MediaType.parse("text/*").covers("application/sdp")
    with pytest.raises(SipError):
        MediaType.parse("application")


def test_small_values() -> None:
    assert Tagged.parse("18000 (in a meeting) ;duration=3600") == ("18000", {"duration": "3600"})
    assert SessionExpires.parse("1800;refresher=UAS") == (1800, "uas")
    assert str(SessionExpires(90)) == "90"
    replaces = Replaces.parse("12@x;from-tag=a;to-tag=b;early-only")
    assert replaces == ("12@x", "b", "a", True)
    assert Replaces.parse(str(replaces)) == replaces
    with pytest.raises(SipError):
        Replaces.parse("12@x;to-tag=b")
    with pytest.raises(SipError):
        SessionExpires.parse("soon")


def test_list_splits_only_at_commas_that_separate() -> None:
    assert split_list('"a, b" <sip:x,y@h>;p="1,2" , <sip:z@h>') == ['"a, b" <sip:x,y@h>;p="1,2"', "<sip:z@h>"]
    assert split_tokens("a, ,b,") == ["a", "b"]
    for text in ("a,,b", "a,", ""):
        with pytest.raises(SipError):
            split_list(text)


def test_list_and_parameters_have_limits() -> None:
    assert len(split_list(",".join("a" * MAX_LIST_VALUES))) == MAX_LIST_VALUES
    with pytest.raises(SipError):
        split_list(",".join("a" * (MAX_LIST_VALUES + 1)))
    with pytest.raises(SipError):
        parse_params(";a" * (MAX_PARAMETERS + 1))


def test_parameters_keep_order_and_the_first_of_a_name() -> None:
    params = parse_params('; A = 1;b ;c="x;y" ;a=2;')
    assert params == {"a": "1", "b": None, "c": '"x;y"'}
    assert format_params(params) == ';a=1;b;c="x;y"'


def test_quote_that_never_ends_is_refused_in_a_tag_too() -> None:
    for text in (';tag="', ';tag=1"', ';x=1;tag="'):
        with pytest.raises(SipError):
            parse_params(text)


def test_quoting_and_unquoting() -> None:
    assert quote('a"b\\c\r\n') == '"a\\"b\\\\c  "'
    assert unquote(quote('a"b\\c')) == 'a"b\\c'
    assert unquote("token") == "token"
