"""Incoming calls that are refused or cancelled before an answer (RFC 3261 8.2, 9.2, 13.3.1; RFC 3326)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from gateway.cause import Cause
from gateway.leg import Bearer, Leg, LegEvent, MediaChanged, NotOffered, Offered, Released
from gateway.media.api import Failure
from gateway.voip.sip.message import Response
from gateway.voip.sip.reason import q850_reason
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import Notes, simple_setup

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
    original = far.endpoint.incoming._on_offer

    def refuse(leg: Leg, offered: Offered, now: int) -> object:
        listener = original(leg, offered, now)
        leg.listener = listener
        leg.release(Cause.UNALLOCATED_NUMBER, now)
        return listener

    far.endpoint.incoming._on_offer = refuse  # type: ignore[assignment]
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


def test_refused_offer_says_why() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(formats="18"))
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.headers.get("Warning")) == (
        488,
        '305 gateway "offer cannot be taken: no codec in common"',
    )


def test_name_for_an_address_is_refused_with_a_warning_and_a_record_that_say_so() -> None:
    far = FarEnd()
    told: list[NotOffered] = []
    far.endpoint.incoming._on_not_offered = lambda offer, _now: told.append(offer)
    far.request("INVITE", body=sdp().replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 pbx.example.org"))
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert refusal.status == 488
    assert (refusal.headers.get("Warning") or "").startswith("301 gateway ")
    assert "'pbx.example.org' is a name, expected an IP address" in told[0].text


def test_sips_is_refused_while_there_is_no_tls() -> None:
    far = FarEnd()
    request = far.request("INVITE", body=sdp(), send=False)
    far.give(request.to_bytes().replace(b" sip:", b" sips:", 1))
    assert far.names() == ["416 INVITE"]
    assert far.offers == []


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
