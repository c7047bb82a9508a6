"""REFER inside a dialog, its NOTIFYs, and INVITE with Replaces: who may ask for what, and how it is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import leg as words
from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Transferred, TransferStep
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import Brakes
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp

TO = ("Refer-To", "<sip:2001@192.0.2.1>")


def refer(far: FarEnd, tag: str, *fields: tuple[str, str], status: int = 202) -> None:
    far.request("REFER", *(fields or (TO,)), to_tag=tag)
    far.take_response(status)


def notified(far: FarEnd, status: int) -> Request:
    notify = far.take_request("NOTIFY")
    assert notify.body.decode().startswith(f"SIP/2.0 {status} ")
    assert notify.headers.get("content-type") == "message/sipfrag;version=2.0"
    assert (notify.headers.get("event") or "").startswith("refer")
    return notify


def test_a_blind_transfer_is_asked_of_the_call_and_its_way_told() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    refer(far, tag, TO, ("Referred-By", "<sip:boss@example.com;x=1>"))
    (asked,) = notes.of(Transferred)
    assert isinstance(asked, Transferred)
    assert (asked.target.digits, asked.context, asked.replaces) == ("2001", "from-b", None)
    assert asked.referred_by == "sip:boss@example.com;x=1"
    leg.transfer(TransferStep.TRYING, far.now)
    trying = notified(far, 100)
    assert (trying.headers.get("subscription-state") or "").startswith("active")
    # One at a time: what comes meanwhile waits, and only the latest of it is told.
    leg.transfer(TransferStep.ALERTING, far.now)
    leg.transfer(TransferStep.DONE, far.now)
    assert far.take() == []
    far.answer(trying, 200)
    done = notified(far, 200)
    assert done.headers.get("subscription-state") == "terminated;reason=noresource"
    far.answer(done, 200)
    assert far.take() == []
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.answer(far.take_request("BYE"), 200)
    far.assert_clean()


@pytest.mark.parametrize(
    ("cause", "status"),
    [(Cause.USER_BUSY, 486), (Cause.UNALLOCATED_NUMBER, 404), (Cause.INVALID_CALL_REFERENCE, 481), (None, 487)],
)
def test_a_transfer_that_fails_is_told_with_the_status_of_its_cause(cause: Cause | None, status: int) -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.FAILED, far.now, cause)
    far.answer(notified(far, status), 200)
    # The call stands and may be transferred again, which is told apart.
    refer(far, tag)
    leg.transfer(TransferStep.TRYING, far.now)
    assert "refer;id=" in (notified(far, 100).headers.get("event") or "")


def test_of_two_transfers_at_once_the_second_has_to_wait() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    refer(far, tag)
    refer(far, tag, status=491)
    assert len(notes.of(Transferred)) == 1


def test_who_wants_no_subscription_gets_none() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    far.request("REFER", TO, ("Refer-Sub", "false"), ("Require", "norefersub"), to_tag=tag)
    assert far.take_response(200).headers.get("refer-sub") == "false"
    leg.transfer(TransferStep.TRYING, far.now)
    leg.transfer(TransferStep.DONE, far.now)
    assert far.take() == []


def test_a_peer_that_may_not_transfer_is_declined() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, allowtransfer=False))
    _, notes, tag = far.answered_in()
    refer(far, tag, status=603)
    assert notes.of(Transferred) == []
    assert notes.released is None


def test_transfers_count_as_calls_for_the_brakes_of_toll_fraud() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, brakes=Brakes(destinations_per_hour=2)))
    leg, notes, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.FAILED, far.now, Cause.USER_BUSY)
    far.answer(notified(far, 486), 200)
    far.request("REFER", ("Refer-To", "<sip:2002@192.0.2.1>"), to_tag=tag)
    accepted, told = far.take()
    assert isinstance(accepted, Response)
    assert accepted.status == 202
    assert told.body.startswith(b"SIP/2.0 403 ")
    assert len(notes.of(Transferred)) == 1


def test_a_stranger_is_declined() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    assert leg.session is not None
    leg.session.peer = far.settings.stranger
    refer(far, tag, status=603)
    assert notes.of(Transferred) == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((("Subject", "x"),), 400),
        ((TO, ("Refer-To", "<sip:2002@192.0.2.1>")), 400),
        ((("Refer-To", "<http://example.com/>"),), 603),
        ((("Refer-To", "<sip:2001@a;method=BYE>"),), 603),
        ((("Refer-To", "<sip:alice@a>"),), 603),
        ((("Refer-To", "<sip:@@>"),), 400),
        ((("Refer-To", "<sip:2001@a?Replaces=nonsense>"),), 400),
    ],
)
def test_a_refer_that_cannot_be_taken_leaves_the_call_alone(fields: tuple[tuple[str, str], ...], status: int) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    refer(far, tag, *fields, status=status)
    assert notes.of(Transferred) == []
    assert notes.released is None
    refer(far, tag)


def test_a_refer_before_the_answer_is_declined() -> None:
    far = FarEnd()
    leg, notes, _ = far.call_in()
    leg.alert(False, far.now)
    tag = far.take_response(180).to.tag or ""
    refer(far, tag, status=603)
    assert notes.of(Transferred) == []


def test_who_hangs_up_after_asking_is_still_told_and_nothing_stays() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.TRYING, far.now)
    far.answer(notified(far, 100), 200)
    far.request("BYE", to_tag=tag)
    far.take_response(200)
    assert notes.released is not None
    leg.transfer(TransferStep.DONE, far.now)
    far.answer(notified(far, 200), 481)
    far.assert_clean()


@pytest.mark.parametrize("status", [481, 500, None])
def test_a_notify_that_nobody_wants_ends_the_telling_not_the_call(status: int | None) -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.TRYING, far.now)
    trying = notified(far, 100)
    if status is None:
        far.run(40)
        far.take()
    else:
        far.answer(trying, status)
    leg.transfer(TransferStep.DONE, far.now)
    assert far.take() == []
    assert notes.released is None


# -- Replaces in Refer-To --


def second_call(far: FarEnd) -> tuple[SipLeg, str]:
    """The far end has another call with us: our leg, and the Replaces that names it."""
    request = far.request("INVITE", body=sdp(), call_id="call-2", from_tag="two")
    far.take_response(100)
    leg = far.offers[-1][0]
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag or ""
    far.request("ACK", call_id="call-2", from_tag="two", to_tag=tag, cseq=request.cseq.number)
    return leg, f"call-2;to-tag={tag};from-tag=two"


def escaped(replaces: str) -> str:
    return replaces.replace(";", "%3B").replace("=", "%3D")


def test_an_attended_transfer_names_the_other_leg() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    other, replaces = second_call(far)
    refer(far, tag, ("Refer-To", f"<sip:gateway@192.0.2.1?Replaces={escaped(replaces)}>"))
    (asked,) = notes.of(Transferred)
    assert isinstance(asked, Transferred)
    assert asked.replaces is other


@pytest.mark.parametrize("replaces", ["call-9;to-tag=a;from-tag=b", "call-1;to-tag=OWN;from-tag=fartag"])
def test_a_dialog_that_is_not_there_or_its_own_fails_the_transfer(replaces: str) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request(
        "REFER", ("Refer-To", f"<sip:x@192.0.2.1?Replaces={escaped(replaces.replace('OWN', tag))}>"), to_tag=tag
    )
    accepted, told = far.take()
    assert not isinstance(accepted, Request)
    assert accepted.status == 202
    assert told.body.startswith(b"SIP/2.0 481 ")
    assert notes.of(Transferred) == []
    assert notes.released is None


# -- INVITE with Replaces --


def invite_replacing(far: FarEnd, replaces: str) -> None:
    far.request("INVITE", ("Replaces", replaces), ("Require", "replaces"), body=sdp(), call_id="call-3", from_tag="3")


def test_an_invite_with_replaces_is_offered_with_the_leg_it_wants() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    invite_replacing(far, f"call-1;to-tag={tag};from-tag=fartag")
    far.take_response(100)
    assert far.offers[-1][1].replaces is leg


@pytest.mark.parametrize(
    ("replaces", "status"),
    [
        ("call-9;to-tag=x;from-tag=y", 481),
        ("call-1;to-tag=TAG;from-tag=fartag;early-only", 486),
        ("call-1", 400),
    ],
)
def test_an_invite_with_a_replaces_that_cannot_be_had_is_refused(replaces: str, status: int) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    invite_replacing(far, replaces.replace("TAG", tag))
    assert far.names() == ["100 INVITE", f"{status} INVITE"]
    assert len(far.offers) == 1
    assert notes.released is None


def test_an_early_dialog_of_ours_may_be_picked_up_and_one_of_a_callers_not() -> None:
    far = FarEnd()
    leg, _, invite = far.call_out()
    far.answer(invite, 180)
    ours = invite.from_.tag
    invite_replacing(far, f"{invite.call_id};to-tag={ours};from-tag=far;early-only")
    far.take_response(100)
    assert far.offers[-1][1].replaces is leg
    caller, _, _ = far.call_in()
    caller.alert(False, far.now)
    tag = far.take_response(180).to.tag
    invite_replacing(far, f"call-1;to-tag={tag};from-tag=fartag")
    assert far.names() == ["100 INVITE", "481 INVITE"]


def test_the_place_in_another_peers_call_is_not_had() -> None:
    far = FarEnd(
        settings=lambda settings: replace(settings, peers=(*settings.peers, replace(settings.peers[0], name="c")))
    )
    _, _, tag = far.answered_in()
    session = next(iter(far.endpoint.dialogs.values()))
    session.peer = replace(session.peer, name="c")
    invite_replacing(far, f"call-1;to-tag={tag};from-tag=fartag")
    assert far.names() == ["100 INVITE", "481 INVITE"]


def test_the_listener_may_still_refuse_the_place() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.refuse_offers = True
    invite_replacing(far, f"call-1;to-tag={tag};from-tag=fartag")
    assert far.names()[:1] == ["100 INVITE"]


def test_who_was_referred_by_whom_is_passed_on() -> None:
    far = FarEnd()
    _, _, invite = far.call_out(words.Setup(Number("2001"), referred_by="sip:boss@example.com"))
    assert invite.headers.get("referred-by") == "<sip:boss@example.com>"


def test_who_asked_is_told_how_it_went_before_it_is_hung_up() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.TRYING, far.now)
    trying = notified(far, 100)
    leg.transfer(TransferStep.DONE, far.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    assert far.take() == []
    far.answer(trying, 200)
    done = notified(far, 200)
    far.answer(done, 200)
    far.answer(far.take_request("BYE"), 200)
    far.assert_clean()


@pytest.mark.parametrize("hangs_up", [False, True])
def test_who_does_not_answer_that_or_hangs_up_meanwhile_leaves_nothing(hangs_up: bool) -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    refer(far, tag)
    leg.transfer(TransferStep.TRYING, far.now)
    trying = notified(far, 100)
    leg.transfer(TransferStep.DONE, far.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    if hangs_up:
        far.request("BYE", to_tag=tag)
        far.take_response(200)
        far.answer(trying, 200)
        far.answer(notified(far, 200), 481)
        assert far.take() == []
    else:
        far.run(40)
        byes = [message for message in far.take() if isinstance(message, Request) and message.method == "BYE"]
        far.answer(byes[0], 200)
    far.assert_clean()
