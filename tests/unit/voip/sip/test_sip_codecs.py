"""Codecs in SDP: wideband ones, their numbers and packet lengths, comfort noise, and the caller's codec first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from gateway.media.api import Codec, RtpSettings
from gateway.voip.sip.audio_formats import FIRST_DYNAMIC, MAX_PAYLOAD_TYPE, numbered
from gateway.voip.sip.codecs import CODECS, codec_rows, preferring
from gateway.voip.sip.offer_answer import Elsewhere, LocalMedia, apply_answer, make_answer, make_offer
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import Pair, simple_setup

ALL = ["opus", "slin16", "g722", "alaw", "ulaw"]
LOCAL = LocalMedia("192.0.2.1", 10000, codec_rows(ALL), 1000)


def description(*lines: str) -> SessionDescription:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", "c=IN IP4 192.0.2.2", "t=0 0"]
    return SessionDescription.parse("\r\n".join([*head, *lines, ""]).encode())


def taken(*lines: str, local: LocalMedia = LOCAL) -> RtpSettings:
    settings = make_answer(description(*lines), local).settings
    assert settings is not None
    return settings


def test_wideband_codecs_are_described_as_their_rfcs_have_them() -> None:
    media = make_offer(LOCAL).media[0]
    lines = [value for kind, value in media.lines if kind == "a" and "telephone-event" not in value]
    assert lines[:7] == [
        "rtpmap:107 opus/48000/2",
        "fmtp:107 useinbandfec=1",
        "rtpmap:118 L16/16000",
        "rtpmap:9 G722/8000",
        "rtpmap:8 PCMA/8000",
        "rtpmap:0 PCMU/8000",
        "fmtp:110 0-16",
    ]
    assert media.formats == ("107", "118", "9", "8", "0", "110", "119", "101")


@pytest.mark.parametrize(
    ("lines", "codec", "payload", "event"),
    [
        (("m=audio 4000 RTP/AVP 9 101", "a=rtpmap:101 telephone-event/8000"), Codec.G722, 9, 101),
        (
            ("m=audio 4000 RTP/AVP 96 97", "a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 telephone-event/48000"),
            Codec.OPUS,
            96,
            97,
        ),
        (
            ("m=audio 4000 RTP/AVP 96 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000"),
            Codec.OPUS,
            96,
            None,
        ),
        (
            ("m=audio 4000 RTP/AVP 97 98", "a=rtpmap:97 L16/16000/1", "a=rtpmap:98 telephone-event/16000"),
            Codec.L16,
            97,
            98,
        ),
    ],
)
def test_wideband_offers_are_taken_with_events_of_the_same_clock(
    lines: tuple[str, ...], codec: Codec, payload: int, event: int | None
) -> None:
    settings = taken(*lines)
    assert (settings.codec, settings.payload_type, settings.dtmf_payload_type) == (codec, payload, event)


@pytest.mark.parametrize(
    "lines",
    [
        ("m=audio 4000 RTP/AVP 11",),
        ("m=audio 4000 RTP/AVP 96", "a=rtpmap:96 L16/16000/2"),
        ("m=audio 4000 RTP/AVP 96", "a=rtpmap:96 L16/8000"),
    ],
)
def test_linear_of_another_rate_or_in_stereo_is_no_codec_of_ours(lines: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match="no codec in common"):
        taken(*lines)


@pytest.mark.parametrize(
    ("codec", "ptime", "milliseconds"),
    [("opus", 30, 20), ("opus", 50, 40), ("opus", 60, 60), ("opus", 120, 60), ("slin16", 60, 40), ("g722", 60, 60)],
)
def test_packet_is_no_longer_than_the_codec_allows(codec: str, ptime: int, milliseconds: int) -> None:
    row = CODECS[codec]
    settings = taken(
        f"m=audio 4000 RTP/AVP {row.payload_type}", f"a=rtpmap:{row.payload_type} {row.rtpmap}", f"a=ptime:{ptime}"
    )
    assert settings.packet_milliseconds == milliseconds


@pytest.mark.parametrize("ptime", [10, 20, 30, 40, 50, 60])
def test_our_packet_length_is_offered_and_taken_where_the_far_end_names_none(ptime: int) -> None:
    local = altered(LOCAL, codecs=codec_rows(["alaw"]), packet_milliseconds=ptime)
    assert make_offer(local).media[0].attribute("ptime") == str(ptime)
    assert taken("m=audio 4000 RTP/AVP 8", local=local).packet_milliseconds == ptime
    assert taken("m=audio 4000 RTP/AVP 8", "a=maxptime:20", local=local).packet_milliseconds == min(ptime, 20)


def test_comfort_noise_is_offered_and_answered_only_where_we_have_it() -> None:
    offer = ("m=audio 4000 RTP/AVP 8 13 101", "a=rtpmap:101 telephone-event/8000")
    assert "13" not in make_offer(LOCAL).media[0].formats
    assert make_answer(description(*offer), LOCAL).description.media[0].formats == ("8", "101")
    local = altered(LOCAL, comfort_noise=True)
    media = make_offer(local).media[0]
    assert "13" in media.formats
    assert ("a", "rtpmap:13 CN/8000") in media.lines
    assert make_answer(description(*offer), local).description.media[0].formats == ("8", "13", "101")
    # Not offered, of another meaning, or beside a codec of another clock.
    for lines in (
        ("m=audio 4000 RTP/AVP 8",),
        ("m=audio 4000 RTP/AVP 8 13", "a=rtpmap:13 CN/16000"),
        ("m=audio 4000 RTP/AVP 96 13", "a=rtpmap:96 opus/48000/2"),
    ):
        assert "13" not in make_answer(description(*lines), local).description.media[0].formats
    assert "13" not in make_offer(altered(local, codecs=codec_rows(["opus"]))).media[0].formats


def quiet_far_end() -> FarEnd:
    return FarEnd(
        peer=lambda plain: replace(plain, comfort_noise=True),
        settings=lambda plain: replace(plain, emergency=frozenset({"911"})),
    )


def formats_of(body: bytes) -> tuple[str, ...]:
    return SessionDescription.parse(body).media[0].formats


def test_comfort_noise_is_offered_to_peers_that_may_send_it_but_not_in_emergency_calls() -> None:
    assert "13" not in formats_of(FarEnd().call_out(simple_setup())[2].body)
    assert "13" in formats_of(quiet_far_end().call_out(simple_setup())[2].body)
    # The number may have been changed on the way to the trunk: the call says what it is.
    assert "13" not in formats_of(quiet_far_end().call_out(altered(simple_setup(), emergency=True))[2].body)


@pytest.mark.parametrize(("number", "taken_too"), [("5550100", True), ("911", False)])
def test_comfort_noise_that_a_caller_offers_is_taken_but_not_in_emergency_calls(number: str, taken_too: bool) -> None:
    far = quiet_far_end()
    far.request("INVITE", body=sdp(formats="8 13 101"), user=number)
    far.take_response(100)
    far.offers[-1][0].answer(None, far.now)
    assert ("13" in formats_of(far.take_response(200).body)) is taken_too


def test_comfort_noise_is_not_offered_for_voice_that_goes_to_somebody_else() -> None:
    local = altered(LOCAL, comfort_noise=True, elsewhere=Elsewhere("192.0.2.9", 4000, Codec.ALAW))
    assert "13" not in make_offer(local).media[0].formats


def test_answer_with_our_numbers_exchanged_is_understood() -> None:
    offer = make_offer(LOCAL)
    answer = description(
        "m=audio 4000 RTP/AVP 120 121", "a=rtpmap:120 opus/48000/2", "a=rtpmap:121 telephone-event/48000"
    )
    settings = apply_answer(offer, answer, LOCAL).settings
    assert settings is not None
    assert (settings.payload_type, settings.receive_payload_type) == (120, 107)
    assert (settings.dtmf_payload_type, settings.receive_dtmf_payload_type) == (121, 110)


@given(st.permutations(ALL), st.integers(0, MAX_PAYLOAD_TYPE), st.integers(0, MAX_PAYLOAD_TYPE), st.sampled_from(ALL))
def test_one_number_has_one_meaning_whatever_is_in_use(order: list[str], payload: int, event: int, codec: str) -> None:
    if payload == event:
        return
    current = RtpSettings("192.0.2.2", 4000, 4001, CODECS[codec].codec, payload, event)
    formats, events = numbered(codec_rows(order), events=True, current=current)
    numbers = [number for number, _ in (*formats, *events)]
    assert len(set(numbers)) == len(numbers)
    assert formats[0] == (payload, CODECS[codec])
    assert (event, CODECS[codec].clock) in events
    assert sorted(row.name for _, row in formats) == sorted(order)
    for number, row in formats[1:]:
        assert number == row.payload_type or FIRST_DYNAMIC <= number <= MAX_PAYLOAD_TYPE


def test_codec_of_the_caller_goes_first_if_it_is_allowed() -> None:
    rows = codec_rows(["alaw", "ulaw"])
    assert [row.name for row in preferring(rows, Codec.ULAW)] == ["ulaw", "alaw"]
    assert preferring(rows, Codec.ALAW) == rows
    assert preferring(rows, Codec.OPUS) == rows
    assert preferring(rows, None) == rows


def test_caller_tells_its_codec_and_the_called_side_is_offered_it_first() -> None:
    def ulaw(peer: PeerSettings) -> PeerSettings:
        return replace(peer, codecs=codec_rows(["ulaw"]))

    pair = Pair(a_peer=ulaw)
    pair.answered_call()
    assert pair.b.offers[-1][1].setup.codec is Codec.ULAW
    pair = Pair()
    pair.answered_call(altered(simple_setup(), codec=Codec.ULAW))
    assert SessionDescription.parse(pair.sent("a", "INVITE")[0].body).media[0].formats[:2] == ("0", "8")
