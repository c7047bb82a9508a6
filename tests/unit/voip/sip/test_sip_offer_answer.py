from __future__ import annotations

import msgspec
import pytest

from gateway.media.api import Codec, Direction, RtpSettings
from gateway.voip.sip.codecs import CODECS, codec_rows
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.offer_answer import LocalMedia, Negotiated, apply_answer, make_answer, make_offer
from gateway.voip.sip.sdp import SessionDescription

LOCAL = LocalMedia("192.0.2.1", 10000, codec_rows(["alaw", "ulaw"]), 1000)
PEER = LocalMedia("192.0.2.2", 20000, codec_rows(["ulaw", "alaw"]), 2000)


def description(*lines: str, address: str = "192.0.2.2") -> SessionDescription:
    head = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    return SessionDescription.parse("\r\n".join([*head, *lines, ""]).encode())


def answered(*lines: str, local: LocalMedia = LOCAL, address: str = "192.0.2.2") -> Negotiated:
    return make_answer(description(*lines, address=address), local)


def settings_of(negotiated: Negotiated) -> RtpSettings:
    assert negotiated.settings is not None
    return negotiated.settings


def refused(*lines: str, address: str = "192.0.2.2") -> SipError:
    with pytest.raises(SipError) as caught:
        answered(*lines, address=address)
    return caught.value


def test_offer_reads_exactly_so() -> None:
    assert make_offer(LOCAL).to_bytes().decode().split("\r\n") == [
        "v=0",
        "o=- 1000 1000 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 10000 RTP/AVP 8 0 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
        "",
    ]


def test_offer_over_ipv6_without_events_with_mux() -> None:
    offer = make_offer(msgspec.structs.replace(LOCAL, address="2001:db8::1", telephone_event=False, rtcp_mux=True))
    assert "c=IN IP6 2001:db8::1" in str(offer)
    assert offer.media[0].formats == ("8", "0")
    assert offer.media[0].attribute("rtcp-mux") == ""


def test_answer_follows_the_offers_order_of_codecs() -> None:
    result = answered("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000")
    assert settings_of(result) == RtpSettings("192.0.2.2", 4000, 4001, Codec.ULAW, 0, 101)
    assert result.description.media[0].formats == ("0", "101")
    assert result.codec is CODECS["ulaw"]
    assert not result.held


def test_answer_follows_our_order_where_told() -> None:
    local = msgspec.structs.replace(LOCAL, prefer_local=True)
    assert settings_of(answered("m=audio 4000 RTP/AVP 0 8", local=local)).codec == Codec.ALAW


def test_dynamic_payload_numbers_are_the_offers() -> None:
    result = answered(
        "m=audio 4000 RTP/AVP 18 111 96",
        "a=rtpmap:111 pcma/8000/1",
        "a=rtpmap:96 Telephone-Event/8000",
        "a=fmtp:96 0-15",
    )
    assert (settings_of(result).payload_type, settings_of(result).dtmf_payload_type) == (111, 96)
    assert result.description.media[0].formats == ("111", "96")
    assert result.description.media[0].rtpmaps().keys() == {"111", "96"}


def test_events_of_another_clock_or_not_listed_are_none() -> None:
    for lines in (
        ("m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/48000"),
        ("m=audio 4000 RTP/AVP 8", "a=rtpmap:101 telephone-event/8000"),
        ("m=audio 4000 RTP/AVP 8",),
    ):
        result = answered(*lines)
        assert settings_of(result).dtmf_payload_type is None
        assert result.description.media[0].formats == ("8",)


def test_static_number_that_is_mapped_to_something_else_is_not_what_it_was() -> None:
    assert refused("m=audio 4000 RTP/AVP 8", "a=rtpmap:8 L16/8000").status == 488


@pytest.mark.parametrize(
    ("lines", "milliseconds"),
    [
        ((), 20),
        (("a=ptime:30",), 30),
        (("a=ptime:20", "a=maxptime:10"), 10),
        (("a=ptime:25",), 20),
        (("a=ptime:5",), 10),
        (("a=ptime:1000",), 60),
        (("a=ptime:x", "a=maxptime:-1"), 20),
        (("a=ptime:0",), 20),
        (("a=ptime:20.5",), 20),
    ],
)
def test_packet_length_is_what_the_far_end_likes(lines: tuple[str, ...], milliseconds: int) -> None:
    result = answered("m=audio 4000 RTP/AVP 8", *lines)
    assert settings_of(result).packet_milliseconds == milliseconds
    assert result.description.media[0].attribute("ptime") == str(milliseconds)


@pytest.mark.parametrize(
    ("theirs", "wanted", "direction", "held"),
    [
        ("sendrecv", Direction.SENDRECV, "sendrecv", False),
        ("sendonly", Direction.SENDRECV, "recvonly", True),
        ("recvonly", Direction.SENDRECV, "sendonly", False),
        ("inactive", Direction.SENDRECV, "inactive", True),
        ("sendrecv", Direction.SENDONLY, "sendonly", False),
        ("sendonly", Direction.SENDONLY, "inactive", True),
        ("recvonly", Direction.INACTIVE, "inactive", False),
    ],
)
def test_directions(theirs: str, wanted: Direction, direction: str, held: bool) -> None:
    local = msgspec.structs.replace(LOCAL, direction=wanted)
    result = answered("m=audio 4000 RTP/AVP 8", f"a={theirs}", local=local)
    assert result.description.media[0].direction == direction
    assert settings_of(result).direction.name.lower() == direction
    assert result.held is held


def test_direction_of_the_session_counts() -> None:
    assert answered("a=sendonly", "m=audio 4000 RTP/AVP 8").held


def test_blank_after_a_direction_does_no_harm() -> None:
    assert answered("m=audio 4000 RTP/AVP 8", "a=sendonly ").held


@pytest.mark.parametrize("nought", ["0.0.0.0", "::"])
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_address_nought_is_told_to_the_engine_in_the_family_of_the_stream(nought: str, address: str) -> None:
    family = "IP6" if ":" in nought else "IP4"
    offer = (
        f"v=0\r\no=- 1 1 IN {family} {nought}\r\ns=-\r\nc=IN {family} {nought}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
    )
    local = msgspec.structs.replace(LOCAL, address=address)
    settings = settings_of(make_answer(SessionDescription.parse(offer.encode()), local))
    assert settings.address == ("::" if ":" in address else "0.0.0.0")


def test_hold_by_address_nought() -> None:
    result = answered("m=audio 4000 RTP/AVP 8", address="0.0.0.0")
    assert result.held
    assert settings_of(result).direction == Direction.RECVONLY
    assert result.description.media[0].direction == "recvonly"
    # RTCP to nowhere would be RTCP to ourselves.
    assert settings_of(result).rtcp_port == 0
    assert (
        settings_of(answered("m=audio 4000 RTP/AVP 8", "a=inactive", address="0.0.0.0")).direction == Direction.INACTIVE
    )


@pytest.mark.parametrize("address", ["nowhere.invalid", "Black-Hole.INVALID.", "invalid.invalid"])
def test_name_that_can_be_nowhere_is_address_nought(address: str) -> None:
    result = answered("m=audio 4000 RTP/AVP 8", address=address)
    assert result.held
    assert (settings_of(result).address, settings_of(result).rtcp_port) == ("0.0.0.0", 0)


@pytest.mark.parametrize("address", ["pbx.example.org", "invalid", "xinvalid", "1.2.3", "999.0.0.1"])
def test_other_names_are_refused_and_not_looked_up(address: str) -> None:
    error = refused("m=audio 4000 RTP/AVP 8", address=address)
    assert (error.status, error.warning) == (488, 301)
    assert f"{address!r} is a name, expected an IP address" in error.text
    offer = make_offer(LOCAL)
    with pytest.raises(SipError, match="names are not looked up"):
        apply_answer(offer, description("m=audio 4000 RTP/AVP 8", address=address), LOCAL)


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("a=rtcp:53020", 53020),
        ("a=rtcp:53020 IN IP4 192.0.2.9", 53020),
        ("a=rtcp:x", 4001),
        ("a=rtcp:0", 4001),
        ("a=rtcp:99999", 4001),
        ("a=x", 4001),
    ],
)
def test_rtcp_port(line: str, port: int) -> None:
    assert settings_of(answered("m=audio 4000 RTP/AVP 8", line)).rtcp_port == port


def test_rtcp_mux_is_taken_when_offered() -> None:
    result = answered("m=audio 4000 RTP/AVP 8", "a=rtcp-mux", "a=rtcp:53020")
    assert settings_of(result).rtcp_mux and settings_of(result).rtcp_port == 4000
    assert result.description.media[0].attribute("rtcp-mux") == ""
    assert answered("m=audio 4000 RTP/AVP 8").description.media[0].attribute("rtcp-mux") is None


def test_rtcp_mux_needs_both_ends() -> None:
    answer = description("m=audio 4000 RTP/AVP 8", "a=rtcp-mux")
    plain = settings_of(apply_answer(make_offer(LOCAL), answer, LOCAL))
    assert not plain.rtcp_mux and plain.rtcp_port == 4001
    muxing = msgspec.structs.replace(LOCAL, rtcp_mux=True)
    assert settings_of(apply_answer(make_offer(muxing), answer, muxing)).rtcp_mux


def test_other_streams_are_refused_in_their_places() -> None:
    result = answered(
        "m=video 5000 RTP/AVP 31",
        "m=audio 6000 RTP/SAVP 8",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc",
        "m=audio 4000 RTP/AVP 8",
        "m=audio 7000 RTP/AVP 0",
        "m=image 8000 udptl t38",
    )
    assert [(media.media, media.port, media.protocol, media.formats) for media in result.description.media] == [
        ("video", 0, "RTP/AVP", ("31",)),
        ("audio", 0, "RTP/SAVP", ("8",)),
        ("audio", 10000, "RTP/AVP", ("8",)),
        ("audio", 0, "RTP/AVP", ("0",)),
        ("image", 0, "udptl", ("t38",)),
    ]
    assert settings_of(result).port == 4000


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("m=video 5000 RTP/AVP 31",),
        ("m=audio 4000 RTP/SAVP 8",),
        ("m=audio 4000 RTP/SAVPF 8",),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 8",),
        ("m=audio 4000 RTP/AVP 18",),
        ("m=audio 4000 RTP/AVP 200 x",),
        ("m=audio 0 RTP/AVP 8",),
        ("m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1"),
        ("m=audio 4000 RTP/AVP 8", "c=IN IP4 host.example.com"),
    ],
)
def test_offer_that_has_nothing_for_us_is_488(lines: tuple[str, ...]) -> None:
    assert refused(*lines).status == 488


def test_feedback_profile_is_answered_in_kind() -> None:
    assert answered("m=audio 4000 RTP/AVPF 8").description.media[0].protocol == "RTP/AVPF"


def test_ice_and_preconditions_do_no_harm() -> None:
    result = answered(
        "a=ice-ufrag:x",
        "a=group:BUNDLE 0",
        "m=audio 4000 RTP/AVP 8",
        "a=candidate:1 1 UDP 1 192.0.2.2 4000 typ host",
        "a=curr:qos local none",
        "a=des:qos mandatory local sendrecv",
        "a=mid:0",
    )
    assert settings_of(result).port == 4000


def test_same_offer_again_gets_the_very_same_answer() -> None:
    offer = description("m=audio 4000 RTP/AVP 8")
    first = make_answer(offer, LOCAL)
    assert make_answer(offer, LOCAL, first.description).description == first.description


def test_version_grows_by_one_with_each_change() -> None:
    first = make_answer(description("m=audio 4000 RTP/AVP 8"), LOCAL).description
    held = make_answer(description("m=audio 4000 RTP/AVP 8", "a=sendonly"), LOCAL, first).description
    resumed = make_answer(description("m=audio 4000 RTP/AVP 8"), LOCAL, held).description
    assert [answer.origin.version for answer in (first, held, resumed)] == [1000, 1001, 1002]
    assert {answer.origin.session_id for answer in (first, held, resumed)} == {"1000"}


def test_our_hold_and_resume() -> None:
    offer = make_offer(LOCAL)
    result = apply_answer(offer, description("m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"), LOCAL)
    holding = msgspec.structs.replace(LOCAL, direction=Direction.SENDONLY)
    hold = make_offer(holding, offer, result.settings)
    assert hold.media[0].direction == "sendonly"
    assert hold.origin.version == offer.origin.version + 1
    held = apply_answer(hold, description("m=audio 4000 RTP/AVP 8", "a=recvonly"), holding)
    assert settings_of(held).direction == Direction.SENDONLY and not held.held
    resume = make_offer(LOCAL, hold, held.settings)
    assert resume.media[0].direction == "sendrecv"
    assert resume.origin.version == offer.origin.version + 2


def test_later_offer_keeps_codec_in_use_and_numbers() -> None:
    first = answered("m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/8000")
    again = make_offer(LOCAL, first.description, first.settings)
    assert again.media[0].formats == ("0", "8", "97")


def test_later_offer_gives_no_number_two_meanings() -> None:
    first = answered("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 PCMA/8000")
    again = make_offer(LOCAL, first.description, first.settings)
    assert again.media[0].formats == ("101", "0", "102")
    assert again.media[0].rtpmaps()["102"].encoding == "telephone-event"


def test_later_offer_keeps_refused_streams_in_their_places() -> None:
    first = answered("m=video 5000 RTP/AVP 31", "m=audio 4000 RTP/AVP 8")
    again = make_offer(LOCAL, first.description, first.settings)
    assert [(media.media, media.port) for media in again.media] == [("video", 0), ("audio", 10000)]


def test_later_offer_without_change_is_the_same() -> None:
    offer = make_offer(LOCAL)
    assert make_offer(LOCAL, offer) == offer


def test_later_answer_stays_with_the_stream_in_use() -> None:
    first = answered("m=audio 3000 RTP/SAVP 8", "m=audio 4000 RTP/AVP 8")
    again = make_answer(description("m=audio 3000 RTP/AVP 8", "m=audio 4000 RTP/AVP 8"), LOCAL, first.description)
    assert [media.port for media in again.description.media] == [0, 10000]


def test_stream_is_switched_off_and_on_again() -> None:
    first = answered("m=audio 4000 RTP/AVP 8")
    off = make_answer(description("m=audio 0 RTP/AVP 8"), LOCAL, first.description)
    assert off.settings is None and off.held
    assert off.description.media[0].port == 0
    on = make_answer(description("m=audio 4000 RTP/AVP 8"), LOCAL, off.description)
    assert on.settings is not None
    assert on.description.origin.version == 1002


def test_answer_settles_what_we_send() -> None:
    offer = make_offer(LOCAL)
    answer = make_answer(offer, PEER)
    result = apply_answer(offer, answer.description, LOCAL)
    assert settings_of(result) == RtpSettings("192.0.2.2", 20000, 20001, Codec.ALAW, 8, 101)
    assert settings_of(answer) == msgspec.structs.replace(
        settings_of(result), address="192.0.2.1", port=10000, rtcp_port=10001
    )


@pytest.mark.parametrize("encoding", ["PCMA", "telephone-event"])
def test_payload_type_of_thousands_of_digits_is_none(encoding: str) -> None:
    endless = "9" * 5_000
    offer = description(f"m=audio 4000 RTP/AVP {endless} 8", f"a=rtpmap:{endless} {encoding}/8000")
    settings = settings_of(make_answer(offer, LOCAL))
    assert (settings.payload_type, settings.dtmf_payload_type) == (8, None)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("m=audio 4000 RTP/AVP 18", 305),
        ("m=audio 4000 RTP/SAVP 8", 302),
        ("m=audio 0 RTP/AVP 8", 304),
        ("m=image 4000 udptl t38", 304),
    ],
)
def test_refusal_has_the_warning_that_belongs_to_it(line: str, code: int) -> None:
    with pytest.raises(SipError) as caught:
        make_answer(description(line), LOCAL)
    assert (caught.value.status, caught.value.warning) == (488, code)


def test_answer_may_number_events_otherwise() -> None:
    answer = description("m=audio 4000 RTP/AVP 8 96", "a=rtpmap:96 telephone-event/8000")
    offer = make_offer(LOCAL)
    settings = settings_of(apply_answer(offer, answer, LOCAL))
    assert (settings.dtmf_payload_type, settings.receive_dtmf_payload_type) == (96, 101)
    assert (settings.payload_type, settings.receive_payload_type) == (8, 8)
    again = make_offer(LOCAL, offer, settings)
    assert again.media[0].rtpmaps()["101"].encoding == "telephone-event"  # RFC 3264 8.3.2: ours keep their meaning
    assert "96" not in again.media[0].formats


def test_answer_in_our_hold_cannot_open_the_way_back() -> None:
    holding = msgspec.structs.replace(LOCAL, direction=Direction.SENDONLY)
    result = apply_answer(make_offer(holding), description("m=audio 4000 RTP/AVP 8"), LOCAL)
    assert settings_of(result).direction == Direction.SENDONLY


def test_answer_that_refuses_the_stream() -> None:
    for answer in (description("m=audio 0 RTP/AVP 8"), description()):
        assert apply_answer(make_offer(LOCAL), answer, LOCAL).settings is None


@pytest.mark.parametrize("line", ["m=audio 4000 RTP/AVP 18", "m=audio 4000 RTP/SAVP 8", "m=video 4000 RTP/AVP 8"])
def test_answer_with_what_was_not_offered_is_an_error(line: str) -> None:
    with pytest.raises(SipError) as caught:
        apply_answer(make_offer(LOCAL), description(line), LOCAL)
    assert caught.value.status == 488


def test_codec_names_in_order_once_and_unknown_ones_named() -> None:
    assert [row.name for row in codec_rows(["ULAW", "alaw", "ulaw"])] == ["ulaw", "alaw"]
    with pytest.raises(ValueError, match="'g729', expected one of ulaw, alaw"):
        codec_rows(["g729"])
