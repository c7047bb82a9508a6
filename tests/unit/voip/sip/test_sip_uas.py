"""Incoming calls against a far end played by hand (RFC 3261 8.2, 9.2, 13.3; RFC 3262; RFC 3326)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party, Screening
from gateway.leg import Bearer, Leg, LegEvent, MediaChanged, Offered, Released
from gateway.media.api import Codec, Failure
from gateway.voip.sip.endpoint import MAX_PONGS
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.reason import q850_reason
from gateway.voip.sip.sdp import SessionDescription
from gateway.voip.sip.strangers import STRANGERS_RATE
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS, Notes, simple_setup


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


# -- refusals --


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (Cause.UNALLOCATED_NUMBER, 404),
        (Cause.USER_BUSY, 486),
        (Cause.NO_ANSWER_FROM_USER, 480),
        (Cause.CALL_REJECTED, 403),
        (Cause.INVALID_NUMBER_FORMAT, 484),
        (Cause.NO_CIRCUIT_AVAILABLE, 503),
        (Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, 488),
    ],
)
def test_release_before_answer_is_a_failure_with_its_reason(cause: Cause, status: int) -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.release(cause, far.now)
    response = far.take_response(status)
    reason = q850_reason(response)
    assert reason is not None
    assert reason.cause == cause
    assert ("retry-after" in response.headers) == (status == 503)
    assert notes.released == Released(cause, ours=True)
    far.request("ACK", to_tag=response.to.tag, cseq=request.cseq.number, branch=request.via.branch)
    far.assert_clean(6)


def test_failure_never_carries_cause_16() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    response = far.take_response(480)
    assert "reason" not in response.headers


def test_listener_none_refuses_the_call() -> None:
    far = FarEnd()
    far.refuse_offers = True
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE", "503 INVITE"]
    assert far.media.open == {}
    far.assert_clean()


def test_release_from_within_the_offer_opens_no_stream() -> None:
    far = FarEnd()
    original = far.endpoint._on_offer

    def refuse(leg: Leg, offered: Offered, now: int) -> object:
        listener = original(leg, offered, now)
        leg.listener = listener
        leg.release(Cause.UNALLOCATED_NUMBER, now)
        return listener

    far.endpoint._on_offer = refuse  # type: ignore[assignment]
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE", "404 INVITE"]
    assert far.offers[0][2].names() == ["Released"]
    assert far.media.closed == []
    far.assert_clean()


def test_commands_from_within_an_event_are_safe() -> None:
    far = FarEnd()

    def react(leg: Leg, event: LegEvent, now: int) -> None:
        if isinstance(event, MediaChanged):
            leg.alert(True, now)
            leg.answer(None, now)
            leg.release(Cause.NORMAL_CALL_CLEARING, now)
            leg.answer(None, now)

    far.react = react
    request = far.request("INVITE", body=sdp())
    names = far.take()
    assert [message.status for message in names if isinstance(message, Response)] == [100, 180, 200]
    far.request("ACK", to_tag=names[-1].to.tag, cseq=request.cseq.number)
    far.answer(far.take_request("BYE"), 200)
    far.assert_clean()


def test_no_rtp_port_refuses_with_503() -> None:
    far = FarEnd()
    far.media.refuse = Failure(98, "no free port")
    far.request("INVITE", body=sdp())
    assert far.names() == ["100 INVITE", "503 INVITE"]
    notes = far.offers[0][2]
    assert notes.released is not None
    assert notes.released.cause is Cause.RESOURCE_UNAVAILABLE
    far.assert_clean()


@pytest.mark.parametrize(
    ("body", "status"), [(sdp(formats="18"), 488), (b"v=0\r\nrubbish", 400), (sdp().replace(b"audio", b"video"), 488)]
)
def test_offer_that_cannot_be_taken_is_refused_before_the_call_is_offered(body: bytes, status: int) -> None:
    far = FarEnd()
    far.request("INVITE", body=body)
    assert far.names() == ["100 INVITE", f"{status} INVITE"]
    assert far.offers == []
    far.assert_clean()


def test_name_instead_of_a_number_is_not_found() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), user="alice")
    assert far.names() == ["100 INVITE", "404 INVITE"]
    far.assert_clean()


def test_call_limit_gives_503_with_retry_after() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, max_calls=1))
    far.call_in()
    far.request("INVITE", body=sdp(), call_id="call-2")
    _, refusal = far.take()
    assert isinstance(refusal, Response)
    assert refusal.status == 503
    assert refusal.retry_after is not None
    assert far.endpoint.counters.overload == 1


# -- strangers --


STRANGER = Flow(UDP, "198.51.100.7", 5060)


def test_stranger_is_offered_in_the_default_context_without_a_source() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    _, offered, _ = far.offers[0]
    assert (offered.context, offered.source) == ("default", "")


def test_stranger_is_not_believed_whom_it_asserts() -> None:
    far = FarEnd()
    far.request("INVITE", ("P-Asserted-Identity", "<sip:911@b>"), body=sdp(), flow=STRANGER)
    number = far.offers[0][1].setup.caller.number
    assert number is not None
    assert number.digits == "2125550000"


def test_without_a_default_context_a_stranger_is_forbidden_at_once() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    far.request("INVITE", body=sdp(), flow=STRANGER)
    assert far.names() == ["403 INVITE"]
    assert far.offers == []


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "BYE", "REFER"])
def test_strangers_leave_nothing_behind_where_they_may_not_call(method: str) -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    request = far.request(method, flow=STRANGER)
    first = far.raw[-1]
    assert far.endpoint.idle
    far.give(request.to_bytes(), STRANGER)
    # RFC 3261 8.2.7: the same request has the same answer, its To tag among it.
    assert far.raw[-1] == first
    assert far.endpoint.idle


def test_malformed_invite_of_a_stranger_leaves_nothing_behind() -> None:
    far = FarEnd()
    far.request("INVITE", ("Require", "nothing"), body=sdp(), flow=STRANGER)
    far.take_response(420)
    assert far.endpoint.idle


def test_strangers_have_a_share_of_the_calls_and_peers_the_rest() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, max_calls=8))
    for _ in range(8):
        far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 2
    assert far.endpoint.counters.overload == 6
    far.take()
    for leg, _, _ in list(far.offers):
        leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 3


def test_peer_is_served_while_strangers_flood() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    for _ in range(2 * STRANGERS_RATE):
        far.request("INVITE", body=sdp(), flow=STRANGER)
    assert far.endpoint.idle
    assert far.names() == ["403 INVITE"] * STRANGERS_RATE
    far.request("INVITE", body=sdp())
    assert len(far.offers) == 1
    far.take()
    far.run(0.01)
    for _ in range(STRANGERS_RATE):
        far.request("OPTIONS", flow=STRANGER)
    assert far.names() == ["200 OPTIONS"] * (STRANGERS_RATE // 100)


def test_stranger_on_tcp_that_sends_too_much_is_closed() -> None:
    far = FarEnd(transport=TCP, settings=lambda settings: replace(settings, context=None))
    request = far.request("OPTIONS", send=False).to_bytes()
    flow = Flow(TCP, "198.51.100.7", 40000, 9, 1)
    far.give(request * STRANGERS_RATE, flow)
    assert far.names() == ["200 OPTIONS"] * STRANGERS_RATE
    assert far.closed == []
    far.give(request, flow)
    assert far.names() == []
    assert [each.flow for each in far.closed] == [flow]
    far.give(request)
    assert far.names() == ["200 OPTIONS"]


def test_burst_of_keep_alives_is_not_answered_one_by_one() -> None:
    far = FarEnd(transport=TCP)
    far.give(b"\r\n" * 10_000)
    assert far.raw == [b"\r\n"] * MAX_PONGS
    assert far.endpoint.counters.keepalives == 5_000


def test_strangers_are_all_heard_where_they_may_call() -> None:
    far = FarEnd()
    for _ in range(2 * STRANGERS_RATE):
        far.request("OPTIONS", flow=STRANGER)
    assert len(far.take()) == 2 * STRANGERS_RATE


def test_refused_offer_says_why() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(formats="18"))
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.headers.get("Warning")) == (
        488,
        '305 gateway "offer cannot be taken: no codec in common"',
    )


def test_sips_is_refused_while_there_is_no_tls() -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp(), send=False)
    far.give(request.to_bytes().replace(b" sip:", b" sips:", 1))
    assert far.names() == ["416 INVITE"]
    assert far.offers == []


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


@pytest.mark.parametrize("cause", [Cause.UNALLOCATED_NUMBER, Cause.CALL_REJECTED, Cause.NO_ROUTE_TO_DESTINATION])
def test_stranger_learns_nothing_from_how_it_is_refused(cause: Cause) -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    far.take()
    far.offers[0][0].release(cause, far.now)
    response = far.take_response(403)
    assert "reason" not in response.headers


def test_peer_that_must_match_its_port_is_a_stranger_on_another() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, match_port=True))
    far.request("INVITE", body=sdp(), flow=Flow(UDP, B_ADDRESS, 6000))
    assert far.offers[0][1].source == ""


def test_peer_is_known_by_its_address_on_any_port() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=Flow(UDP, B_ADDRESS, 6000))
    assert far.offers[0][1].source == "b"
    assert far.flows[-1].port == 6000


# -- CANCEL and early BYE --


def test_cancel_gets_200_and_the_invite_487() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.alert(False, far.now)
    ringing = far.take_response(180)
    far.request("CANCEL", cseq=request.cseq.number, branch=request.via.branch)
    ok, terminated = far.take()
    assert isinstance(ok, Response)
    assert isinstance(terminated, Response)
    assert (ok.status, ok.cseq.method, terminated.status) == (200, "CANCEL", 487)
    assert ok.to.tag == terminated.to.tag == ringing.to.tag
    assert "reason" not in terminated.headers
    assert notes.released is not None
    assert notes.released.cause is Cause.NORMAL_CALL_CLEARING
    assert not notes.released.ours
    far.request("ACK", to_tag=terminated.to.tag, cseq=request.cseq.number, branch=request.via.branch)
    far.assert_clean()


def test_cancel_with_a_reason_hands_it_on() -> None:
    far = FarEnd()
    _, notes, request = far.call_in()
    far.request("CANCEL", ("Reason", "Q.850;cause=102"), cseq=request.cseq.number, branch=request.via.branch)
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_cancel_after_the_answer_changes_nothing() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.answer(None, far.now)
    far.take_response(200)
    far.request("CANCEL", cseq=request.cseq.number, branch=request.via.branch)
    assert far.take_response(200).cseq.method == "CANCEL"
    assert notes.released is None


def test_cancel_of_nothing_is_481() -> None:
    far = FarEnd()
    far.request("CANCEL", branch="z9hG4bKnothing")
    far.take_response(481)


def test_cancel_during_delayed_media_leaks_nothing() -> None:
    far = FarEnd(delayed_media=True)
    leg, notes, request = far.call_in()
    leg.answer(None, far.now)
    far.request("CANCEL", cseq=request.cseq.number, branch=request.via.branch)
    far.media.flush()
    assert far.names() == ["200 CANCEL", "487 INVITE"]
    assert notes.names() == ["Released"]
    far.assert_clean()


def test_bye_to_an_early_dialog_ends_the_invite_with_487() -> None:
    far = FarEnd()
    leg, notes, _ = far.call_in()
    leg.alert(False, far.now)
    tag = far.take_response(180).to.tag
    far.request("BYE", to_tag=tag)
    assert far.names() == ["200 BYE", "487 INVITE"]
    assert notes.released is not None
    far.assert_clean()


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


def test_unrestricted_bearer_is_refused() -> None:
    far = FarEnd()
    leg = far.endpoint.new_leg("b", far.now)
    assert not isinstance(leg, Cause)
    leg.listener = notes = Notes()
    leg.place(msgspec.structs.replace(simple_setup(), bearer=Bearer.UNRESTRICTED), far.now)
    assert far.take() == []
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
    far.assert_clean()


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


def test_stranger_that_calls_a_name_learns_nothing() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), user="alice", flow=STRANGER)
    assert far.names() == ["100 INVITE", "403 INVITE"]


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
