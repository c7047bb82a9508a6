from __future__ import annotations

import pytest

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.syntax import MAX_PARAMETERS
from gateway.voip.sip.uri import MAX_URI, Uri, check_ipv6, escape_user, parse_host_port


@pytest.mark.parametrize(
    "text",
    [
        "sip:example.com",
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:user@[2001:db8::10]:5070;lr",
        "sip:[::1]",
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
        "urn:service:sos",
        "soap.beep://192.0.2.103:3002",
    ],
)
def test_text_comes_back_unchanged(text: str) -> None:
    assert str(Uri.parse(text)) == text


def test_parts_of_a_full_uri() -> None:
    uri = Uri.parse("SIP:alice;x=1:pa?ss@Example.COM:5070;Transport=TCP;lr?Route=%3Csip:a%3E&Subject=x")
    assert uri.scheme == "sip"
    assert uri.user == "alice;x=1"
    assert str(uri.password) == "pa?ss"
    assert (uri.host, uri.port) == ("Example.COM", 5070)
    assert uri.params == {"transport": "TCP", "lr": None}
    assert uri.transport == "tcp"
    assert uri.loose_routing
    assert uri.headers == "Route=%3Csip:a%3E&Subject=x"
    assert uri.host_port == "Example.COM:5070"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip",
        "sip:@example.com",
        "sip:a@b@example.com",
        "sip:a b@example.com",
        "sip:alice@exam ple.com",
        "sip:alice@example.com:port",
        "sip:alice@example.com:65536",
        "sip:alice@example.com:",
        "sip:alice@example.com;;lr",
        "sip:alice@example.com; lr",
        "sip:alice@[2001:db8::10",
        "sip:alice@[2001:db8::10]5060",
        "sip:alice@[2001:db8::zz]",
        "sip:2001:db8::10",
        "sip:alice@example.com?a=<b>",
        "tel:",
        "tel:;x=y",
        "1sip:alice",
        "foo:a b",
        f"sip:{'a' * MAX_URI}@example.com",
        "sip:example.com" + ";a" * (MAX_PARAMETERS + 1),
    ],
)
def test_what_is_no_uri_is_refused_with_400(text: str) -> None:
    with pytest.raises(SipError) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


def test_as_many_parameters_as_the_limit_are_taken() -> None:
    uri = Uri.parse("sip:example.com" + "".join(f";p{number}" for number in range(MAX_PARAMETERS)))
    assert len(uri.params) == MAX_PARAMETERS


def test_one_semicolon_at_the_end_does_no_harm() -> None:
    assert Uri.parse("sip:example.com;lr;").params == {"lr": None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # RFC 3261 19.1.4
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("sip:a%3Bb@example.com", "sip:a%3bb@example.com"),
    ],
)
def test_equivalent_uris_match_both_ways(first: str, second: str) -> None:
    assert Uri.parse(first).matches(Uri.parse(second))
    assert Uri.parse(second).matches(Uri.parse(first))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # RFC 3261 19.1.4
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        ("sip:a%3Bb@example.com", "sip:a;b@example.com"),
        ("tel:+12015550123", "tel:12015550123"),
        ("urn:service:sos", "urn:service:other"),
    ],
)
def test_different_uris_do_not_match(first: str, second: str) -> None:
    assert not Uri.parse(first).matches(Uri.parse(second))
    assert not Uri.parse(second).matches(Uri.parse(first))


def test_number_drops_separators_and_user_parameters() -> None:
    uri = Uri.parse("sip:+1-(212)-555.1212;phone-context=x%20y;isub=1@example.com")
    assert uri.number == "+12125551212"
    assert uri.user_params == {"phone-context": "x y", "isub": "1"}


def test_escape_user_keeps_a_user_part_from_breaking_out() -> None:
    assert escape_user("+1*2") == "+1*2"
    assert escape_user("a@b>#é") == "a%40b%3E%23%C3%A9"
    assert Uri.parse(f"sip:{escape_user('a@b<>')}@h").user_decoded == "a@b<>"


def test_request_uri_has_no_headers_and_no_method() -> None:
    uri = Uri.parse("sip:a@example.com;method=BYE;lr?Route=x")
    assert str(uri.without_headers()) == "sip:a@example.com;lr"
    assert str(Uri.parse("sip:a@b?x=y").without_headers()) == "sip:a@b"
    assert str(Uri.parse("sip:a@b;method=X").without_headers()) == "sip:a@b"


def test_parameters_are_added_and_taken_away() -> None:
    uri = Uri.parse("sip:example.com")
    assert str(uri.with_param("lr").with_param("transport", "tcp")) == "sip:example.com;lr;transport=tcp"
    assert str(uri.with_param("lr").without_param("lr")) == "sip:example.com"
    assert str(uri) == "sip:example.com"


def test_host_and_port() -> None:
    assert parse_host_port("example.com") == ("example.com", None)
    assert parse_host_port("[::1]:5060") == ("::1", 5060)
    with pytest.raises(SipError):
        parse_host_port("exa$mple")
    with pytest.raises(SipError):
        check_ipv6("1:::2:::3")
