"""The torture messages of RFC 4475 and RFC 5118: each gets the treatment its section describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.voip.sip.body import body_parts, find_sdp
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import StreamParser, parse
from gateway.voip.sip.sdp import SessionDescription
from gateway.voip.sip.validation import BODY_KINDS, METHODS, check_request, check_response

MESSAGES = Path(__file__).parent / "torture"
OK = 0
DROP = None

# What an element that knows all methods of these messages does: goes on (0), answers with a status, or drops (None).
VERDICTS: dict[str, int | None] = {
    # RFC 4475 3.1.1: valid messages
    "wsinv": OK,
    "intmeth": 501,
    "esc01": OK,
    "escnull": OK,
    "esc02": 501,
    "lwsdisp": OK,
    "longreq": OK,
    "dblreq": OK,
    "semiuri": OK,
    "transports": OK,
    "mpart01": OK,
    "unreason": OK,
    "noreason": OK,
    # 3.1.2: invalid messages
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": DROP,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": OK,
    "trws": OK,
    "escruri": 400,
    "baddate": OK,
    "regbadct": 400,
    "badaspec": OK,
    "baddn": OK,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 501,
    "bigcode": DROP,
    # 3.2: transaction layer; 3.3: application layer; 3.4: backward compatibility
    "badbranch": OK,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": OK,
    "bext01": 420,
    "invut": 415,
    "regaut01": OK,
    "multi01": 400,
    "mcl01": 400,
    "bcast": DROP,
    "zeromf": OK,
    "cparam01": OK,
    "cparam02": OK,
    "regescrt": OK,
    "sdp01": 406,
    "inv2543": OK,
    # RFC 5118 4
    "ipv6-good": OK,
    "ipv6-bad": 400,
    "port-ambiguous": OK,
    "port-unambiguous": OK,
    "via-received-param-with-delim": OK,
    "via-received-param-no-delim": OK,
    "ipv6-in-sdp": OK,
    "mult-ip-in-header": OK,
    "mult-ip-in-sdp": OK,
    "ipv4-mapped-ipv6": OK,
    "ipv6-bug-abnf-3-colons": OK,
    "ipv6-correct-abnf-2-colons": OK,
}

EVERY_METHOD = METHODS | {"REGISTER", "MESSAGE"}
EVERY_BODY = BODY_KINDS | {"text/plain", "application/octet-stream"}


def wire(name: str) -> bytes:
    return (MESSAGES / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    message = parse(wire(name))
    assert isinstance(message, Request)
    return message


def verdict(data: bytes) -> int | None:
    try:
        message = parse(data)
    except SipError as error:
        if error.status is not None:
            assert error.request is not None
        return error.status
    if isinstance(message, Response):
        return OK if check_response(message) is None else DROP
    rejection = check_request(message, methods=EVERY_METHOD, body_kinds=EVERY_BODY)
    return OK if rejection is None else rejection.status


def test_every_message_has_a_verdict() -> None:
    assert {path.stem for path in MESSAGES.glob("*.dat")} == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_message_gets_the_treatment_its_rfc_describes(name: str) -> None:
    assert verdict(wire(name)) == VERDICTS[name]


@pytest.mark.parametrize("name", [name for name, status in VERDICTS.items() if status not in (OK, DROP)])
def test_refusal_can_be_built_and_parses(name: str) -> None:
    try:
        broken = parse(wire(name))
    except SipError as error:
        assert error.request is not None
        broken = error.request
    assert isinstance(broken, Request)
    answer = broken.response(VERDICTS[name] or 0, to_tag="here").to_bytes()
    assert isinstance(parse(answer), Response)


@pytest.mark.parametrize("name", [name for name, status in VERDICTS.items() if status == OK])
def test_message_survives_being_written_and_read_again(name: str) -> None:
    first = parse(wire(name))
    second = parse(first.to_bytes())
    assert second.start_line == first.start_line
    fields = [(field, value) for field, value in first.headers if field.lower() not in ("content-length", "l")]
    assert [(field, value) for field, value in second.headers if field.lower() not in ("content-length", "l")] == fields
    assert second.body == first.body


@pytest.mark.parametrize("name", ["ncl", "mcl01"])
def test_stream_with_senseless_length_is_beyond_repair(name: str) -> None:
    stream = StreamParser()
    stream.feed(wire(name))
    with pytest.raises(SipError) as caught:
        stream.next_message()
    assert caught.value.status == 400
    assert caught.value.request is not None


def test_stream_waits_for_the_octets_that_are_announced() -> None:
    stream = StreamParser()
    stream.feed(wire("clerr"))
    assert stream.next_message() is None


def test_wsinv_reads_through_folds_blanks_and_short_forms() -> None:
    message = request("wsinv")
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.max_forwards == 68
    assert message.cseq == (9, "INVITE")
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.contacts[0].display_name == 'Quoted string ""'
    assert message.contacts[0].params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert [str(route.uri) for route in message.routes] == [
        "sip:services.example.com;lr;unknownwith=value;unknown-no-value"
    ]
    assert message.headers.get("NewFangledHeader") == ("newfangled value continued newfangled value")
    assert message.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert message.content_type is not None and message.content_type.full == "application/sdp"
    assert find_sdp(message)


def test_intmeth_uri_and_tag_keep_every_character() -> None:
    message = request("intmeth")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert str(message.uri.password) == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.params["tag"] == "_token~1'+`*%!-."
    assert message.headers.get("extensionHeader-!.%*+_`'~") is not None


def test_esc01_escapes_in_the_user_part_are_no_structure() -> None:
    message = request("esc01")
    assert message.uri.user == "sips%3Auser%40example.com"
    assert message.uri.user_decoded == "sips:user@example.com"
    assert message.uri.host == "example.net"


def test_escnull_addresses_of_record_are_two() -> None:
    first, second = request("escnull").contacts
    assert first.uri.user_decoded == "\0"
    assert second.uri.user_decoded == "\0\0"
    assert not first.uri.matches(second.uri)


def test_dblreq_trailing_request_is_no_body() -> None:
    message = request("dblreq")
    assert message.method == "REGISTER"
    assert message.body == b""


def test_semiuri_semicolon_belongs_to_the_user() -> None:
    uri = request("semiuri").uri
    assert uri.user_decoded == "user;par=u@example.net"
    assert uri.params == {}


def test_transports_unknown_ones_are_read() -> None:
    assert [via.transport for via in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_has_text_and_binary() -> None:
    text, binary = body_parts(request("mpart01"))
    assert text.kind == "text/plain" and text.content.startswith(b"Hello")
    assert binary.kind == "application/octet-stream" and binary.content[:1] == b"\x30"


def test_longreq_long_values_come_through_whole() -> None:
    message = request("longreq")
    assert len(message.vias) == 34
    assert message.call_id.count("longcallid") == 1
    assert len(message.call_id) > 100
    assert len(message.to.display_name) > 100


def test_badbranch_is_no_unique_branch() -> None:
    assert request("badbranch").via.branch == "z9hG4bK"


def test_unreason_and_noreason_phrases() -> None:
    first, second = parse(wire("unreason")), parse(wire("noreason"))
    assert isinstance(first, Response) and "но сто девяносто девять" in first.reason
    assert isinstance(second, Response) and second.reason == ""


def test_bext01_names_what_is_not_supported() -> None:
    rejection = check_request(request("bext01"))
    assert rejection is not None
    assert dict(rejection.headers)["Unsupported"] == "nothingSupportsThis, nothingSupportsThisEither"


def test_invut_says_what_is_accepted() -> None:
    rejection = check_request(request("invut"))
    assert rejection is not None
    assert dict(rejection.headers)["Accept"] == "application/sdp"


def test_zeromf_goes_no_further_through_us() -> None:
    message = request("zeromf")
    assert check_request(message, forwarding=False) is None
    message.method = "INFO"
    message.headers.set("CSeq", "1 INFO")
    rejection = check_request(message, forwarding=True)
    assert rejection is not None and rejection.status == 483


def test_cparam01_parameter_outside_brackets_is_the_fields_own() -> None:
    outside, inside = request("cparam01").contacts[0], request("cparam02").contacts[0]
    assert "unknownparam" in outside.params and outside.uri.params == {}
    assert inside.params == {} and "unknownparam" in inside.uri.params


def test_regescrt_headers_stay_in_the_uri() -> None:
    assert request("regescrt").contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_badaspec_and_baddn_are_understood() -> None:
    assert str(request("badaspec").to.uri) == "sip:t.watson@example.org"
    assert request("baddn").from_.display_name == "Bell, Alexander"


def test_ipv6_port_inside_and_outside_of_the_brackets() -> None:
    inside, outside = request("port-ambiguous").uri, request("port-unambiguous").uri
    assert (inside.host, inside.port) == ("2001:db8::10:5070", None)
    assert (outside.host, outside.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("name", ["via-received-param-with-delim", "via-received-param-no-delim"])
def test_ipv6_received_with_and_without_brackets_is_the_same(name: str) -> None:
    assert request(name).via.received == "2001:db8::9:255"


def test_ipv6_three_colons_mean_two() -> None:
    wrong, right = request("ipv6-bug-abnf-3-colons"), request("ipv6-correct-abnf-2-colons")
    assert wrong.uri.host == right.uri.host == "2001:db8::192.0.2.1"


def test_ipv6_and_ipv4_in_one_description() -> None:
    sdp = find_sdp(request("mult-ip-in-sdp"))
    assert sdp is not None
    description = SessionDescription.parse(sdp)
    assert [description.address_of(media) for media in description.media] == ["192.0.2.1", "2001:db8::1"]


def test_ipv4_mapped_address_in_description() -> None:
    sdp = find_sdp(request("ipv4-mapped-ipv6"))
    assert sdp is not None
    description = SessionDescription.parse(sdp)
    assert description.address_of(description.media[0]) == "::ffff:192.0.2.2"
