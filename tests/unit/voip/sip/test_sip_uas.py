"""Incoming calls against a far end played by hand (RFC 3261 8.2, 9.2, 13.3; RFC 3262; RFC 3326)."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party, Screening
from gateway.leg import MediaChanged
from gateway.media.api import Codec
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.reason import q850_reason
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp


def test_invite_gets_100_at_once_and_is_offered_with_number_caller_and_context() -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp())
    trying = far.take_response(100)
    assert trying.via.branch == request.via.branch
    assert trying.to.tag is None
    leg, offered, notes = far.offers[0]
    assert offered.context == "from-b"
    assert offered.source == leg.source == "b"
    assert offered.setup.called == Number("4165551234")
    assert offered.setup.caller.number is not None
    assert offered.setup.caller.number.digits == "2125550000"
    assert offered.setup.caller.name == "Bob"
    assert offered.setup.complete
    assert notes.events == [MediaChanged(leg.stream)]


def test_asserted_identity_of_a_trusted_peer_is_the_caller() -> None:
    far = FarEnd()
    far.call_in(("P-Asserted-Identity", '"Carol" <sip:+14165550001@b>'))
    number = far.offers[0][1].setup.caller.number
    assert number is not None
    assert number.digits == "14165550001"
    assert number.screening is Screening.NETWORK


def test_diversion_becomes_redirection() -> None:
    far = FarEnd()
    far.call_in(("Diversion", "<sip:5551000@b>;reason=user-busy"))
    redirection = far.offers[0][1].setup.redirection
    assert redirection is not None
    assert redirection.number.digits == "5551000"


def test_retransmitted_invite_is_answered_and_not_offered_again() -> None:
    far = FarEnd()
    _, _, request = far.call_in()
    far.give(request.to_bytes())
    far.take_response(100)
    assert len(far.offers) == 1


# -- ringing and early media --


def test_alert_without_audio_is_180_without_sdp() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.alert(False, far.now)
    ringing = far.take_response(180)
    assert ringing.body == b""
    assert ringing.to.tag
    assert ringing.contacts
    assert far.media.history == []


def test_alert_with_audio_is_180_with_our_answer() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.alert(True, far.now)
    ringing = far.take_response(180)
    answer = SessionDescription.parse(ringing.body)
    assert answer.media[0].port == 10_002
    assert answer.media[0].formats == ("8", "101")
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].port == 20_000


def test_progress_with_audio_is_183_with_sdp_and_the_later_180_and_200_repeat_it() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.progress(True, far.now)
    first = far.take_response(183)
    leg.alert(True, far.now)
    second = far.take_response(180)
    leg.answer(None, far.now)
    third = far.take_response(200)
    assert first.body == second.body == third.body != b""
    assert len(far.media.history) == 1


def test_progress_without_audio_is_183_without_sdp_and_may_tell_a_cause() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.progress(False, far.now, Cause.USER_BUSY)
    progress = far.take_response(183)
    assert progress.body == b""
    reason = q850_reason(progress)
    assert reason is not None
    assert reason.cause == 17


def test_commands_that_need_the_port_wait_for_the_engine_in_their_order() -> None:
    far = FarEnd(delayed_media=True)
    leg, notes, _ = far.call_in()
    leg.progress(True, far.now)
    leg.alert(True, far.now)
    leg.answer(None, far.now)
    assert far.take() == []
    far.media.flush()
    assert far.names() == ["183 INVITE", "180 INVITE", "200 INVITE"]
    assert notes.events == [MediaChanged(leg.stream)]


def test_alert_without_audio_does_not_wait_for_the_engine() -> None:
    far = FarEnd(delayed_media=True)
    leg, _, _ = far.call_in()
    leg.alert(False, far.now)
    far.take_response(180)


# -- how long it may ring --


def test_invite_that_expires_gets_487() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in(("Expires", "20"))
    leg.alert(False, far.now)
    far.take_response(180)
    far.run(20.1)
    far.take_response(487)
    notes = far.offers[0][2]
    assert notes.released is not None
    assert notes.released.cause is Cause.NO_ANSWER_FROM_USER
    far.assert_clean()


def test_invite_answered_in_time_does_not_expire() -> None:
    far = FarEnd()
    _, notes, _ = far.answered_in(("Expires", "20"))
    far.run(60)
    assert notes.released is None


def test_ringing_is_repeated_every_minute_for_the_proxies_on_the_way() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.alert(True, far.now)
    assert far.take_response(180).body
    far.run(125)
    assert far.names() == ["180 INVITE", "180 INVITE"]
    leg.answer(None, far.now)
    far.take_response(200)


# -- answer --


def test_answer_is_repeated_until_its_ack() -> None:
    far = FarEnd()
    leg, _, request = far.call_in()
    leg.answer(None, far.now)
    far.run(3.6)
    responses = far.take()
    assert [message.status for message in responses if isinstance(message, Response)] == [200, 200, 200, 200]
    tag = responses[0].to.tag
    far.request("ACK", to_tag=tag, cseq=request.cseq.number)
    far.run(60)
    assert far.take() == []


def test_answer_is_repeated_on_a_reliable_transport_too() -> None:
    far = FarEnd(transport="TCP")
    leg, _, _ = far.call_in()
    leg.answer(None, far.now)
    far.run(0.6)
    assert far.names() == ["200 INVITE", "200 INVITE"]


def test_answer_that_is_never_acknowledged_ends_in_bye_after_64_t1() -> None:
    far = FarEnd()
    leg, notes, _ = far.call_in()
    leg.answer(None, far.now)
    far.run(31.9)
    assert notes.released is None
    far.take()
    far.run(0.2)
    bye = far.take_request("BYE")
    far.answer(bye, 200)
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    far.assert_clean()


def test_answer_names_the_connected_party() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.answer(Party(Number("4165557777", screening=Screening.NETWORK), "Dora"), far.now)
    response = far.take_response(200)
    assert "4165557777" in str(response.addresses("p-asserted-identity")[0])


def test_identity_that_comes_before_the_answer_goes_out_with_it() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.identify(Party(Number("4165557777")), far.now)
    leg.answer(None, far.now)
    assert "p-asserted-identity" in far.take_response(200).headers


def test_invite_without_offer_gets_our_offer_in_200_and_its_answer_in_ack() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in(body=b"")
    leg.answer(None, far.now)
    response = far.take_response(200)
    assert SessionDescription.parse(response.body).media[0].formats == ("8", "0", "101")
    assert far.media.history == []
    far.request("ACK", to_tag=response.to.tag, cseq=request.cseq.number, body=sdp(formats="0 101"))
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW
    assert notes.released is None


@pytest.mark.parametrize("body", [b"", sdp(formats="18"), b"not sdp"])
def test_ack_without_a_usable_answer_ends_the_call(body: bytes) -> None:
    far = FarEnd()
    leg, notes, request = far.call_in(body=b"")
    leg.answer(None, far.now)
    response = far.take_response(200)
    far.request("ACK", to_tag=response.to.tag, cseq=request.cseq.number, body=body)
    assert far.names() == ["BYE"]
    assert notes.released is not None


# -- the same things written otherwise --


def test_ack_and_bye_whose_to_and_from_are_written_otherwise_find_their_dialog() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    for method in ("ACK", "BYE"):
        number = request.cseq.number + (method == "BYE")
        other = far.request(method, to_tag=tag, cseq=number, send=False)
        other.headers.set("To", f"Somebody < sip:x@y > ;x=1; tag={tag}")
        other.headers.set("f", "sip:b@c;tag=fartag")
        far.give(other.to_bytes())
    far.take_response(200)
    far.run(40)
    assert far.take() == []
    assert notes.released is not None


def test_bye_with_two_from_fields_is_400() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    bye = far.request("BYE", to_tag=tag, send=False)
    bye.headers.add("From", "<sip:other@b>;tag=other")
    far.give(bye.to_bytes())
    far.take_response(400)
    assert notes.released is None


def test_bye_that_requires_an_unknown_extension_is_420() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("BYE", ("Require", "nonsense"), to_tag=tag)
    far.take_response(420)
    assert notes.released is None


def test_late_ack_of_the_first_invite_does_not_acknowledge_the_second() -> None:
    far = FarEnd()
    leg, _, request = far.call_in()
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("INVITE", to_tag=tag, body=sdp(version=2))
    far.take_response(200)
    far.request("ACK", to_tag=tag, cseq=request.cseq.number)
    far.run(0.6)
    far.take_response(200)


def test_invite_as_in_rfc_2543_needs_no_contact() -> None:
    far = FarEnd()
    old = (
        b"INVITE sip:5551234@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2\r\nFrom: <sip:2125550000@192.0.2.2>\r\n"
        b"To: <sip:5551234@192.0.2.1>\r\nCall-ID: old\r\nCSeq: 56 INVITE\r\nContent-Type: application/sdp\r\n\r\n"
    )
    far.give(old + sdp())
    leg, _, _ = far.offers[0]
    leg.answer(None, far.now)
    far.run(1)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.run(40)
    targets = {message.uri_text for message in map(parse, far.raw) if isinstance(message, Request)}
    assert targets == {"sip:2125550000@192.0.2.2"}
