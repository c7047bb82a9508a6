"""Running calls: BYE, re-INVITE and UPDATE both ways, glare, hold, INFO, order of requests (RFC 3261 12, 14, 15)."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.leg import Held, Resumed
from gateway.media.api import Codec, Direction
from gateway.voip.sip.message import Request
from gateway.voip.sip.reason import q850_reason
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, direction, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS

# -- clearing --


def test_bye_of_the_far_end_releases_with_normal_clearing() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("BYE", to_tag=tag)
    far.take_response(200)
    assert notes.released is not None
    assert notes.released.cause is Cause.NORMAL_CALL_CLEARING
    assert not notes.released.ours
    far.assert_clean()


def test_bye_with_a_reason_hands_its_cause_on() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("BYE", ("Reason", "Q.850;cause=38"), to_tag=tag)
    assert notes.released is not None
    assert notes.released.cause is Cause.NETWORK_OUT_OF_ORDER


def test_our_bye_carries_the_cause() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.release(Cause.NETWORK_OUT_OF_ORDER, far.now, "line down")
    bye = far.take_request("BYE")
    reason = q850_reason(bye)
    assert reason is not None
    assert (reason.cause, reason.text) == (38, "line down")
    assert bye.uri_text == f"sip:far@{B_ADDRESS}:5060"
    assert notes.released is not None
    assert notes.released.ours
    far.answer(bye, 200)
    far.assert_clean()


def test_bye_waits_for_the_ack_of_our_200() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.answer(None, far.now)
    answer = far.take_response(200)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    assert far.take() == []
    assert notes.released is not None
    far.request("ACK", to_tag=answer.to.tag, cseq=request.cseq.number)
    far.answer(far.take_request("BYE"), 200)
    far.assert_clean()


def test_bye_without_that_ack_goes_out_after_64_t1() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.answer(None, far.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.run(32.1)
    assert far.names()[-1] == "BYE"
    far.assert_clean()


def test_byes_that_cross_each_get_200() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    far.request("BYE", to_tag=tag)
    far.take_response(200)
    far.answer(bye, 481)
    far.assert_clean()


def test_bye_that_nobody_answers_ends_after_64_t1() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.run(32.1)
    assert not far.endpoint.dialogs
    far.assert_clean()


def test_bye_before_the_ack_of_our_200_ends_its_repetition() -> None:
    far = FarEnd()
    leg, notes, _ = far.call_in()
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("BYE", to_tag=tag)
    far.take_response(200)
    far.run(33)
    assert far.take() == []
    assert notes.released is not None
    far.assert_clean()


def test_request_in_a_dialog_that_is_ending_is_481() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take()
    far.request("INFO", to_tag=tag)
    far.take_response(481)


# -- order of requests --


def test_request_with_a_lower_cseq_is_500() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.request("OPTIONS", to_tag=tag, cseq=50)
    far.take_response(200)
    far.request("OPTIONS", to_tag=tag, cseq=49)
    far.take_response(500)


def test_gaps_in_cseq_are_no_fault() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.request("OPTIONS", to_tag=tag, cseq=5000)
    far.take_response(200)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO", "OPTIONS", "PRACK", "NOTIFY", "REFER"])
def test_request_for_an_unknown_dialog_is_481(method: str) -> None:
    far = FarEnd()
    far.request(method, to_tag="nonsense")
    far.take_response(481)


def test_ack_for_an_unknown_dialog_is_ignored() -> None:
    far = FarEnd()
    far.request("ACK", to_tag="nonsense")
    assert far.take() == []


# -- re-INVITE of the far end --


def test_hold_and_resume_by_the_far_end() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    far.request("INVITE", to_tag=tag, body=sdp("sendonly", 2))
    answer = far.take_response(200)
    assert direction(answer) == "recvonly"
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].direction is Direction.RECVONLY
    far.request("ACK", to_tag=tag, cseq=answer.cseq.number)
    far.request("INVITE", to_tag=tag, body=sdp("sendrecv", 3))
    answer = far.take_response(200)
    far.request("ACK", to_tag=tag, cseq=answer.cseq.number)
    assert far.media.rtp[leg.stream].direction is Direction.SENDRECV
    assert notes.events[-2:] == [Held(), Resumed()]


def test_hold_in_the_old_way_by_address_zero() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("INVITE", to_tag=tag, body=sdp(version=2).replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 0.0.0.0"))
    far.take_response(200)
    assert notes.events[-1] == Held()


def test_reinvite_without_offer_gets_ours_and_the_answer_comes_in_ack() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    far.request("INVITE", to_tag=tag)
    answer = far.take_response(200)
    assert SessionDescription.parse(answer.body).media[0].port == 10_002
    far.request("ACK", to_tag=tag, cseq=answer.cseq.number, body=sdp(formats="0 101", version=2))
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW


def test_reinvite_that_cannot_be_taken_is_488_and_the_call_goes_on() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    before = dict(far.media.rtp)
    far.request("INVITE", to_tag=tag, body=sdp(formats="18"))
    far.take_response(488)
    assert far.media.rtp == before
    assert notes.released is None
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("BYE")


def test_refresh_with_the_same_sdp_gets_the_same_answer_and_touches_no_media() -> None:
    far = FarEnd()
    leg, _, request = far.call_in()
    leg.answer(None, far.now)
    first = far.take_response(200)
    far.request("ACK", to_tag=first.to.tag, cseq=request.cseq.number)
    changes = len(far.media.history)
    far.request("INVITE", to_tag=first.to.tag, body=sdp())
    again = far.take_response(200)
    assert again.body == first.body
    assert len(far.media.history) == changes


def test_reinvite_moves_the_target_of_later_requests() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    reinvite = far.request("INVITE", to_tag=tag, body=sdp(), send=False)
    reinvite.headers.set("Contact", "<sip:new@192.0.2.77:5090>")
    far.give(reinvite.to_bytes())
    answer = far.take_response(200)
    far.request("ACK", to_tag=tag, cseq=answer.cseq.number)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    assert far.take_request("BYE").uri_text == "sip:new@192.0.2.77:5090"
    assert (far.flows[-1].address, far.flows[-1].port) == ("192.0.2.77", 5090)


def test_reinvite_before_the_first_one_is_answered_is_500_with_retry_after() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.alert(False, far.now)
    tag = far.take_response(180).to.tag
    far.request("INVITE", to_tag=tag, body=sdp())
    refusal = far.take_response(500)
    assert refusal.retry_after is not None
    assert 0 <= refusal.retry_after <= 10


def test_reinvite_while_our_offer_waits_for_its_ack_is_491() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in(body=b"")
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("INVITE", to_tag=tag, body=sdp())
    far.take_response(491)


def test_reinvite_that_overtakes_the_ack_is_taken() -> None:
    far = FarEnd()
    leg, notes, request = far.call_in()
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("INVITE", to_tag=tag, body=sdp(version=2))
    second = far.take_response(200)
    far.request("ACK", to_tag=tag, cseq=request.cseq.number)
    far.request("ACK", to_tag=tag, cseq=second.cseq.number)
    far.run(40)
    assert far.take() == []
    assert notes.released is None


def test_reinvite_that_is_never_acknowledged_ends_the_call() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("INVITE", to_tag=tag, body=sdp(version=2))
    far.run(33)
    assert "BYE" in far.names()
    assert notes.released is not None
    far.assert_clean()


# -- our re-INVITE --


def test_our_hold_and_resume() -> None:
    far = FarEnd()
    leg, notes, invite = far.answered_out()
    leg.hold(far.now)
    hold = far.take_request("INVITE")
    assert direction(hold) == "sendonly"
    assert hold.to.tag == "far"
    assert hold.from_.tag == invite.from_.tag
    assert hold.cseq.number == invite.cseq.number + 1
    assert hold.uri_text == f"sip:far@{B_ADDRESS}:5060"
    far.answer(hold, 200, body=sdp("recvonly", 2))
    ack = far.take_request("ACK")
    assert ack.cseq.number == hold.cseq.number
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].direction is Direction.SENDONLY
    leg.resume(far.now)
    resume = far.take_request("INVITE")
    assert direction(resume) == "sendrecv"
    first, second = SessionDescription.parse(hold.body), SessionDescription.parse(resume.body)
    assert second.origin.version == first.origin.version + 1
    far.answer(resume, 200, body=sdp("sendrecv", 3))
    assert far.media.rtp[leg.stream].direction is Direction.SENDRECV
    assert notes.of(Held) == []


def test_hold_twice_sends_one_reinvite() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    leg.hold(far.now)
    leg.hold(far.now)
    hold = far.take_request("INVITE")
    far.answer(hold, 200, body=sdp("recvonly", 2))
    assert far.names() == ["ACK"]


def test_resume_that_comes_during_hold_follows_it() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    leg.hold(far.now)
    hold = far.take_request("INVITE")
    leg.resume(far.now)
    assert far.take() == []
    far.answer(hold, 200, body=sdp("recvonly", 2))
    _ack, resume = far.take()
    assert isinstance(resume, Request)
    assert direction(resume) == "sendrecv"


def test_far_end_may_refuse_our_hold_and_the_call_goes_on() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 488)
    assert far.names() == ["ACK"]
    assert notes.released is None
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].direction is Direction.SENDRECV
    leg.hold(far.now)
    assert direction(far.take_request("INVITE")) == "sendonly"


@pytest.mark.parametrize(("outgoing", "least", "most"), [(True, 2_100, 4_000), (False, 0, 2_000)])
def test_glare_is_tried_again_after_the_wait_of_14_1(outgoing: bool, least: int, most: int) -> None:
    far = FarEnd()
    if outgoing:
        leg, _, _ = far.answered_out()
    else:
        leg, _, _ = far.answered_in()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 491)
    assert far.names() == ["ACK"]
    start = far.now
    due = far.endpoint.next_timer()
    while far.take() == []:
        due = far.endpoint.next_timer()
        assert due is not None
        far.now = due
        far.endpoint.handle_timer(due)
        far.endpoint.timers.next_timer()
        if far.endpoint._out:
            break
    waited = (far.now - start) // MILLISECOND
    assert least <= waited <= most
    assert direction(far.take_request("INVITE")) == "sendonly"


def test_our_reinvite_and_theirs_cross_and_each_gets_491() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    leg.hold(far.now)
    ours = far.take_request("INVITE")
    far.request("INVITE", to_tag=tag, body=sdp("sendonly", 2))
    far.take_response(491)
    far.answer(ours, 491)
    far.take_request("ACK")
    assert notes.released is None


def test_far_end_that_lost_the_dialog_ends_it() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 408)
    assert far.names() == ["ACK", "BYE"]
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    far.assert_clean()


def test_far_end_that_knows_no_such_dialog_ends_it_if_its_bye_does_not_come() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 481)
    assert far.names() == ["ACK"]
    # Nothing more is asked of who has no such dialog.
    leg.resume(far.now)
    far.run(0.4)
    assert far.names() == []
    assert notes.released is None
    far.run(0.2)
    assert far.names() == ["BYE"]
    assert notes.released is not None
    assert notes.released.cause is Cause.NORMAL_UNSPECIFIED
    far.assert_clean()


def test_bye_that_comes_behind_the_481_says_why() -> None:
    far = FarEnd()
    leg, notes, invite = far.answered_out()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 481)
    far.run(0.3)
    reason = ("Reason", "Q.850;cause=38")
    far.request("BYE", reason, to_tag=invite.from_.tag, call_id=invite.call_id, from_tag="far")
    assert far.names() == ["ACK", "200 BYE"]
    far.run(1)
    assert far.take() == []
    assert notes.released is not None
    assert notes.released.cause is Cause.NETWORK_OUT_OF_ORDER
    far.assert_clean()


def test_reinvite_without_any_response_ends_the_call() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.hold(far.now)
    far.run(33)
    assert "BYE" in far.names()
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    far.assert_clean()


def test_bye_during_our_reinvite_still_acknowledges_its_2xx() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    leg.hold(far.now)
    ours = far.take_request("INVITE")
    far.request("BYE", to_tag=tag)
    far.take_response(200)
    far.answer(ours, 200, body=sdp("recvonly"))
    far.take_request("ACK")
    far.assert_clean()


def test_reinvite_that_the_far_end_never_ends_does_not_outlive_the_call() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 100, tag=None)
    far.request("BYE", to_tag=tag)
    far.run(70)
    far.assert_clean(1)


def test_answer_that_fails_in_our_reinvite_ends_the_call() -> None:
    far = FarEnd()
    leg, notes, _ = far.answered_out()
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 200, body=b"v=0\r\nrubbish")
    assert far.names() == ["ACK", "BYE"]
    assert notes.released is not None
