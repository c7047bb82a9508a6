"""Reliable provisional responses as the caller sees them (RFC 3262 4), and session timers both ways (RFC 4028)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Alerting, Progress
from gateway.media.api import Codec
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import PeerKind, PeerSettings, Reliability, SessionTimers
from gateway.voip.sip.sdp import SessionDescription
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.user_to_user import TO_KIND
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, sdp

RELIABLE = ("Require", "100rel")
# -- PRACK --


def test_reliable_183_gets_prack_inside_its_early_dialog() -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out()
    far.answer(invite, 183, RELIABLE, ("RSeq", "314"), body=sdp())
    prack = far.take_request("PRACK")
    assert prack.headers.get("rack") == f"314 {invite.cseq.number} INVITE"
    assert prack.cseq.number == invite.cseq.number + 1
    assert prack.to.tag == "far"
    assert notes.events[-1] == Progress(inband=True, conveyed=TO_KIND[PeerKind.TRUNK])
    assert leg.stream in far.media.rtp


def test_repeated_reliable_response_is_neither_reported_nor_acknowledged_again() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 180, RELIABLE, ("RSeq", "1"))
    far.answer(far.take_request("PRACK"), 200)
    far.answer(invite, 180, RELIABLE, ("RSeq", "1"))
    assert far.take() == []
    assert len(notes.of(Alerting)) == 1


def test_reliable_response_out_of_order_is_ignored_until_its_turn() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 183, RELIABLE, ("RSeq", "1"))
    far.answer(far.take_request("PRACK"), 200)
    far.answer(invite, 180, RELIABLE, ("RSeq", "3"))
    assert far.take() == []
    assert notes.of(Alerting) == []
    far.answer(invite, 183, RELIABLE, ("RSeq", "2"))
    far.take_request("PRACK")
    far.answer(invite, 180, RELIABLE, ("RSeq", "3"))
    far.take_request("PRACK")
    assert notes.of(Alerting)


def test_each_fork_has_its_own_order_of_reliable_responses() -> None:
    far = FarEnd()
    _, _, invite = far.call_out()
    far.answer(invite, 183, RELIABLE, ("RSeq", "10"), tag="one")
    assert far.take_request("PRACK").to.tag == "one"
    far.answer(invite, 183, RELIABLE, ("RSeq", "500"), tag="two")
    assert far.take_request("PRACK").to.tag == "two"


def test_prack_that_fails_does_not_end_the_call() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 183, RELIABLE, ("RSeq", "1"))
    far.answer(far.take_request("PRACK"), 481)
    assert notes.released is None


def test_offer_in_a_reliable_response_is_answered_in_prack() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, late_offer=True))
    leg, _, invite = far.call_out()
    far.answer(invite, 183, RELIABLE, ("RSeq", "1"), body=sdp(formats="0 101"))
    prack = far.take_request("PRACK")
    assert SessionDescription.parse(prack.body).media[0].formats == ("0", "101")
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW
    far.answer(prack, 200)
    far.answer(invite, 200)
    assert far.take_request("ACK").body == b""


def test_required_100rel_is_demanded_in_the_invite() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, reliable=Reliability.REQUIRED))
    _, _, invite = far.call_out()
    assert invite.require == {"100rel"}


def test_switched_off_100rel_is_not_offered() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, reliable=Reliability.OFF))
    _, _, invite = far.call_out()
    assert "100rel" not in invite.supported


# -- session timers, we called --


def originate(peer: PeerSettings) -> PeerSettings:
    return replace(peer, session_timers=SessionTimers.ORIGINATE)


def test_invite_asks_for_a_session_timer_where_we_originate() -> None:
    far = FarEnd(peer=originate)
    _, _, invite = far.call_out()
    assert invite.headers.get("session-expires") == "1800;refresher=uac"


def test_refresher_refreshes_by_update_at_half_the_interval() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(299)
    assert far.take() == []
    far.run(1.2)
    update = far.take_request("UPDATE")
    assert update.headers.get("session-expires") == "600;refresher=uac"
    assert update.body == b""
    far.answer(update, 200, ("Session-Expires", "600;refresher=uac"))
    far.run(299)
    assert far.take() == []
    far.run(1.2)
    far.take_request("UPDATE")
    assert notes.released is None


def test_refresher_refreshes_by_reinvite_with_the_same_sdp_without_update() -> None:
    far = FarEnd(peer=originate)
    _, _, invite = far.answered_out(("Session-Expires", "600;refresher=uac"))
    far.run(300.2)
    refresh = far.take_request("INVITE")
    description = SessionDescription.parse(refresh.body)
    assert description.origin == SessionDescription.parse(invite.body).origin
    changes = len(far.media.history)
    far.answer(refresh, 200, ("Session-Expires", "600;refresher=uac"), body=sdp())
    far.take_request("ACK")
    assert len(far.media.history) == changes


def test_refresh_that_gets_no_answer_ends_the_call() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(340)
    assert "BYE" in far.names()
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_refresh_that_is_always_refused_is_repeated_until_the_session_expires() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(290.2)
    for _ in range(27):
        far.run(10)
        assert notes.released is None
        far.answer(far.take_request("UPDATE"), 500)
    far.run(8.5)
    assert "BYE" in far.names()
    assert notes.released is not None


def test_refresh_that_is_refused_once_costs_nothing() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(300.2)
    far.answer(far.take_request("UPDATE"), 500, ("Retry-After", "15"))
    far.run(14.5)
    assert far.take() == []
    far.run(0.7)
    far.answer(far.take_request("UPDATE"), 200, ("Session-Expires", "600;refresher=uac"))
    far.run(299)
    assert far.take() == []
    assert notes.released is None


def test_refresh_by_update_that_is_not_taken_after_all_goes_by_re_invite() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(300.2)
    far.answer(far.take_request("UPDATE"), 405)
    far.answer(far.take_request("INVITE"), 200, ("Session-Expires", "600;refresher=uac"), body=sdp())
    far.take_request("ACK")
    assert notes.released is None


def test_re_invite_does_not_ask_for_reliable_responses_that_would_not_be_acknowledged() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    leg.hold(far.now)
    assert far.take_request("INVITE").supported == {"timer"}


def test_without_a_refresh_of_the_far_end_the_session_expires_in_bye() -> None:
    far = FarEnd(peer=originate)
    _, notes, _ = far.answered_out(("Session-Expires", "600;refresher=uas"))
    far.run(600 - 32 - 1)
    assert far.take() == []
    far.run(1.2)
    far.take_request("BYE")
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_422_raises_the_interval_and_the_invite_is_repeated() -> None:
    far = FarEnd(peer=originate)
    _, notes, invite = far.call_out()
    far.answer(invite, 422, ("Min-SE", "3600"))
    _, second = far.take()
    assert isinstance(second, Request)
    assert second.headers.get("session-expires") == "3600;refresher=uac"
    assert second.headers.get("min-se") == "3600"
    assert second.call_id == invite.call_id
    assert second.cseq.number == invite.cseq.number + 1
    assert notes.released is None


@pytest.mark.parametrize("fields", [[], [("Min-SE", "90")], [("Min-SE", "999999999")]])
def test_422_that_helps_nothing_is_a_failure(fields: list[tuple[str, str]]) -> None:
    far = FarEnd(peer=originate)
    _, notes, invite = far.call_out()
    far.answer(invite, 422, *fields)
    assert notes.released is not None


def test_422_to_a_refresh_raises_its_interval() -> None:
    far = FarEnd(peer=originate)
    far.answered_out(("Session-Expires", "600;refresher=uac"), ALLOW_UPDATE)
    far.run(300.2)
    far.answer(far.take_request("UPDATE"), 422, ("Min-SE", "1200"))
    assert far.take_request("UPDATE").headers.get("session-expires") == "1200;refresher=uac"


def test_far_end_without_session_timers_is_refreshed_by_us() -> None:
    far = FarEnd(peer=originate)
    far.answered_out(ALLOW_UPDATE)
    far.run(900.2)
    far.take_request("UPDATE")


def test_without_originate_no_timer_runs_unless_the_far_end_asks() -> None:
    far = FarEnd()
    far.answered_out()
    far.run(4000)
    assert far.take() == []


# -- session timers, we were called --


def answer_fields(far: FarEnd, *fields: tuple[str, str]) -> Response:
    leg, _, request = far.call_in(*fields)
    leg.answer(None, far.now)
    response = far.take_response(200)
    far.request("ACK", to_tag=response.to.tag, cseq=request.cseq.number)
    return response


@pytest.mark.parametrize(
    ("asked", "supported", "granted", "required"),
    [
        ("600;refresher=uac", "timer", "600;refresher=uac", True),
        ("600;refresher=uas", "timer", "600;refresher=uas", False),
        ("600", "timer", "600;refresher=uac", True),
        ("600", "", "600;refresher=uas", False),
        ("600;refresher=uac", "", "600;refresher=uas", False),
    ],
)
def test_who_refreshes_is_settled_by_rfc_4028_table_2(asked: str, supported: str, granted: str, required: bool) -> None:
    far = FarEnd()
    response = answer_fields(far, ("Session-Expires", asked), ("Supported", supported))
    assert response.headers.get("session-expires") == granted
    assert ("timer" in response.require) == required


def test_called_side_refreshes_when_it_is_to() -> None:
    far = FarEnd()
    answer_fields(far, ("Session-Expires", "600;refresher=uas"), ("Supported", "timer"), ALLOW_UPDATE)
    far.run(300.2)
    assert far.take_request("UPDATE").headers.get("session-expires") == "600;refresher=uac"


def test_called_side_expires_unless_the_caller_refreshes() -> None:
    far = FarEnd()
    response = answer_fields(far, ("Session-Expires", "600;refresher=uac"), ("Supported", "timer"))
    notes = far.offers[0][2]
    far.run(500)
    far.request("UPDATE", ("Session-Expires", "600;refresher=uac"), ("Supported", "timer"), to_tag=response.to.tag)
    assert far.take_response(200).headers.get("session-expires") == "600;refresher=uac"
    far.run(500)
    assert notes.released is None
    far.run(100)
    assert notes.released is not None


def test_refresh_without_session_expires_ends_the_timer() -> None:
    far = FarEnd()
    response = answer_fields(far, ("Session-Expires", "600;refresher=uac"), ("Supported", "timer"))
    far.request("UPDATE", to_tag=response.to.tag)
    far.take()
    far.run(4000)
    assert far.take() == []


def test_interval_below_ours_is_422_with_min_se() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, timers={SipTimer.EXPIRY: 300 * SECOND}))
    far.request("INVITE", ("Session-Expires", "120"), ("Supported", "timer"), body=sdp())
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert refusal.status == 422
    assert refusal.min_se == 300
    assert far.offers == []
    far.run(40)
    far.assert_clean()


def test_interval_below_ours_of_a_far_end_without_422_is_raised() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, timers={SipTimer.EXPIRY: 300 * SECOND}))
    assert answer_fields(far, ("Session-Expires", "120")).headers.get("session-expires") == "300;refresher=uas"


def test_originating_called_side_asks_for_a_timer_itself() -> None:
    far = FarEnd(peer=originate)
    response = answer_fields(far, ("Supported", "timer"))
    assert response.headers.get("session-expires") == "1800;refresher=uac"


def test_refused_session_timers_are_neither_offered_nor_granted() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, session_timers=SessionTimers.REFUSE))
    response = answer_fields(far, ("Session-Expires", "600"), ("Supported", "timer"))
    assert "session-expires" not in response.headers
    assert "timer" not in response.supported
    far.request("INVITE", ("Require", "timer"), body=sdp(), call_id="other")
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert refusal.status == 420


def test_session_timer_stops_with_the_call() -> None:
    far = FarEnd(peer=originate)
    leg, _, _ = far.answered_out(("Session-Expires", "600;refresher=uac"))
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.answer(far.take_request("BYE"), 200)
    far.assert_clean()
