"""What peers in the field do: odd SDP, calls that cross, bodies of several parts, callers who hide, strange names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party, Presentation, Redirection, RedirectionReason, TypeOfNumber
from gateway.leg import Held, Resumed, Setup
from gateway.media.api import Codec, Direction
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import PeerSettings, RedirectionHeader
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, direction, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS

# -- descriptions --


def test_of_two_codecs_in_an_answer_the_first_is_sent() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 200, body=sdp(formats="0 8 101"))
    far.take_request("ACK")
    (_, settings) = far.media.history[-1]
    assert (settings.codec, settings.payload_type) == (Codec.ULAW, 0)
    assert notes.released is None


def test_answer_that_renumbers_payload_types_is_sent_what_it_named() -> None:
    far = FarEnd()
    _, _, invite = far.call_out()
    body = sdp(formats="97 96").replace(b"rtpmap:101", b"rtpmap:96") + b"a=rtpmap:97 PCMA/8000\r\n"
    far.answer(invite, 200, body=body)
    far.take_request("ACK")
    (_, settings) = far.media.history[-1]
    assert (settings.codec, settings.payload_type, settings.dtmf_payload_type) == (Codec.ALAW, 97, 96)
    # The far end sends with the numbers of our description (RFC 3264 6.1).
    assert (settings.receive_payload_type, settings.receive_dtmf_payload_type) == (8, 101)


@pytest.mark.parametrize("address", ["224.2.1.1/127", "239.1.2.3", "255.255.255.255", "240.0.0.1"])
def test_voice_is_not_sent_to_many(address: str) -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp().replace(b"c=IN IP4 192.0.2.2", f"c=IN IP4 {address}".encode()))
    assert far.names() == ["100 INVITE", "488 INVITE"]


@pytest.mark.parametrize("how", ["inactive", "sendonly", "nought"])
def test_every_way_of_hold_is_reported_answered_and_taken_back(how: str) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    held = sdp(version=2).replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 0.0.0.0") if how == "nought" else sdp(how, 2)
    invite = far.request("INVITE", to_tag=tag, body=held)
    response = far.take_response(200)
    assert direction(response) == ("inactive" if how == "inactive" else "recvonly")
    far.request("ACK", to_tag=tag, cseq=invite.cseq.number)
    assert not far.media.history[-1][1].direction & Direction.SENDONLY
    invite = far.request("INVITE", to_tag=tag, body=sdp(version=3))
    assert direction(far.take_response(200)) == "sendrecv"
    assert notes.of(Held) and notes.of(Resumed)


def test_re_invite_without_offer_gets_all_we_can_do() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in(body=sdp(formats="0"))
    far.request("INVITE", to_tag=tag)
    (media,) = SessionDescription.parse(far.take_response(200).body).media
    assert media.formats == ("0", "8", "101")


def test_re_invite_may_move_the_voice_and_change_its_codec_without_a_new_stream() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    stream = leg.stream
    body = sdp(version=2, formats="0 101").replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 198.51.100.20")
    far.request("INVITE", to_tag=tag, body=body.replace(b"20000", b"30000"))
    far.take_response(200)
    (where, settings) = far.media.history[-1]
    assert where == stream == leg.stream
    assert (settings.address, settings.port, settings.codec) == ("198.51.100.20", 30000, Codec.ULAW)
    assert not far.media.closed
    assert notes.released is None


@pytest.mark.parametrize("formats", ["18", "101", "9 18"])
def test_re_invite_that_cannot_be_taken_leaves_the_call_as_it_was(formats: str) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    before = far.media.history[-1]
    invite = far.request("INVITE", to_tag=tag, body=sdp(version=2, formats=formats))
    far.take_response(488)
    far.request("ACK", to_tag=tag, cseq=invite.cseq.number, branch=invite.via.branch)
    assert far.media.history[-1] == before
    assert notes.released is None
    far.request("INVITE", to_tag=tag, body=sdp(version=3))
    far.take_response(200)


def test_bye_that_crosses_our_re_invite_ends_the_call_and_leaves_nothing() -> None:
    far = FarEnd()
    leg, notes, invite = far.answered_out()
    leg.hold(far.now)
    again = far.take_request("INVITE")
    far.request("BYE", call_id=invite.call_id, to_tag=invite.from_.tag, from_tag="far", cseq=1)
    far.take_response(200)
    far.answer(again, 481)
    assert far.names() == ["ACK"]
    assert notes.released is not None
    far.assert_clean()


def test_our_bye_while_their_re_invite_is_unacknowledged_waits_for_the_ack() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    invite = far.request("INVITE", to_tag=tag, body=sdp(version=2))
    far.take_response(200)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    assert far.take() == []
    far.request("ACK", to_tag=tag, cseq=invite.cseq.number)
    far.take_request("BYE")


def test_answer_that_repeats_the_183_after_an_update_moved_the_voice_moves_nothing_back() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 183, ("Require", "100rel"), ("RSeq", "1"), body=sdp())
    far.answer(far.take_request("PRACK"), 200)
    body = sdp(version=2).replace(b"20000", b"30000")
    far.request("UPDATE", call_id=invite.call_id, to_tag=invite.from_.tag, from_tag="far", cseq=1, body=body)
    far.take_response(200)
    far.answer(invite, 200, body=sdp())
    far.take_request("ACK")
    assert far.media.history[-1][1].port == 30000
    assert notes.released is None


# -- bodies --


def with_isup(disposition: str) -> bytes:
    isup = b"Content-Type: application/isup;version=ansi88;base=ansi88\r\n" + disposition.encode() + b"\r\n\x01\x02"
    parts = [b"Content-Type: application/sdp\r\n\r\n" + sdp(), isup]
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        ("Content-Disposition: signal;handling=optional\r\n", 100),
        ("Content-Disposition: signal;handling=required\r\n", 415),
        ("", 415),
    ],
)
def test_isup_beside_sdp_is_passed_over_where_it_is_optional(disposition: str, status: int) -> None:
    far = FarEnd()
    far.request("INVITE", body=with_isup(disposition), content_type="multipart/mixed;boundary=x")
    response = far.take_response(status)
    if status == 100:
        assert far.offers
    else:
        assert response.accept


def test_datagram_far_beyond_one_frame_is_taken() -> None:
    far = FarEnd()
    far.request("INVITE", *[("X-Filler", "x" * 4000) for _ in range(10)], body=sdp())
    far.take_response(100)


# -- who calls --

HIDDEN = Number("4165550000", presentation=Presentation.RESTRICTED)


@pytest.mark.parametrize("header", [RedirectionHeader.DIVERSION, RedirectionHeader.HISTORY_INFO])
def test_nothing_of_a_hidden_caller_or_diverter_reaches_a_trunk_that_is_not_trusted(header: RedirectionHeader) -> None:
    def distrust(peer: PeerSettings) -> PeerSettings:
        return replace(peer, trust_identity=False, redirection=header)

    first = Number("4165550001", presentation=Presentation.RESTRICTED)
    redirection = Redirection(HIDDEN, RedirectionReason.BUSY, 2, first, RedirectionReason.NO_REPLY, "Secret Sam")
    far = FarEnd(peer=distrust)
    leg, _, invite = far.call_out(Setup(Number("1234"), Party(HIDDEN, "Secret Sam"), redirection))
    far.answer(invite, 200, body=sdp())
    leg.identify(Party(HIDDEN, "Secret Sam"), far.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    for data in far.raw:
        assert b"416555" not in data
        assert b"Secret" not in data
        assert b"P-Asserted-Identity" not in data


def test_hidden_connected_party_does_not_reach_a_stranger() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, trust_identity=False))
    leg, _, _ = far.call_in()
    leg.answer(Party(HIDDEN, "Secret Sam"), far.now)
    data = far.take_response(200).to_bytes()
    assert b"4165550000" not in data
    assert b"Secret" not in data


@pytest.mark.parametrize("name", ['The "Boss" \\ Co', "Zoë Müller-Straße", "x" * 80, "a\r\nX-Evil: 1", "<sip:x@y>, <z"])
def test_any_name_makes_one_sound_from(name: str) -> None:
    far = FarEnd()
    _, _, invite = far.call_out(Setup(Number("1234"), Party(Number("2125550000"), name)))
    assert invite.from_.uri.user == "2125550000"
    assert invite.from_.display_name == name.replace("\r", " ").replace("\n", " ")
    assert "X-Evil" not in invite.headers


@pytest.mark.parametrize("call_id", ["a@b@c", '{}<>"\\/[]?:', "caf\udce9", "x" * 2000])
def test_any_call_id_comes_back_as_it_was(call_id: str) -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp(), call_id=call_id)
    leg, _, _ = far.offers[-1]
    leg.answer(None, far.now)
    response = far.take()[-1]
    assert isinstance(response, Response)
    assert response.call_id == call_id
    far.request("ACK", to_tag=response.to.tag, call_id=call_id, cseq=request.cseq.number)
    far.request("BYE", to_tag=response.to.tag, call_id=call_id)
    assert far.names() == ["200 BYE"]


@pytest.mark.parametrize(
    ("uri", "digits"),
    [
        ("tel:+1-416-555-1234", "14165551234"),
        ("tel:555-1234;phone-context=+1-416;isub=42", "5551234"),
        ("sip:+1(416)555.1234;isub=42@gw;user=phone", "14165551234"),
        (f"sip:4165551234@{B_ADDRESS};user=phone", "4165551234"),
        ("SIP:4165551234@gw", "4165551234"),
    ],
)
def test_number_called_is_found_however_it_is_written(uri: str, digits: str) -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp(), send=False)
    far.give(request.to_bytes().replace(request.uri_text.encode(), uri.encode(), 1))
    far.take_response(100)
    assert far.offers[-1][1].setup.called.digits == digits


def test_plus_and_digits_that_must_be_escaped_stay_inside_the_user_part() -> None:
    far = FarEnd()
    _, _, invite = far.call_out(Setup(Number("1#2", TypeOfNumber.INTERNATIONAL), Party(Number("3"))))
    assert invite.uri.user == "+1%232"
