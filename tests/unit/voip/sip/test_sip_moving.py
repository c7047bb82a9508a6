"""Calls in whose midst an address changes: ours before they are through, or that of a phone's NAT."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.leg import Answered
from gateway.media.api import Latch
from gateway.voip.sip.flow import Resolve
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import Answer
from gateway.voip.sip.targets import Domain
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS
from tests.unit.voip.sip.sip_provider import SECOND_ADDRESS, Provider
from tests.unit.voip.sip.test_sip_identification import ELSEWHERE, SECRET, WRONG, branch, field, proven_call
from tests.unit.voip.sip.test_sip_nat import addresses, far_with_wildcard, move

NEW = "192.0.2.50"


def test_call_that_goes_on_at_the_next_server_offers_voice_where_we_are_now() -> None:
    provider = Provider(host="provider.example.org", domain=Domain("provider.example.org", 5060), listen="::")
    provider.endpoint.looked_up(Resolve("provider.example.org"), Answer((B_ADDRESS, SECOND_ADDRESS)), provider.now)
    provider.run(0)
    provider.registered()
    _, _, invite = provider.call_out()
    assert addresses(invite) != {NEW}
    provider.endpoint.outbound.advertised._local_for = lambda _remote: NEW
    move(provider, {}, NEW)
    provider.take()
    provider.answer(invite, 503)
    (again,) = [each for each in provider.take() if isinstance(each, Request) and each.method == "INVITE"]
    assert provider.flows[-1].address == SECOND_ADDRESS
    assert addresses(again) == {NEW}


def test_early_dialog_is_told_where_we_are_by_update_and_its_voice_after_the_answer() -> None:
    far, own = far_with_wildcard()
    _, _, invite = far.call_out()
    far.answer(invite, 180, ALLOW_UPDATE)
    far.take()
    move(far, own, NEW)
    update = far.take_request("UPDATE")
    assert update.body == b""
    assert NEW in update.contacts[0].uri_text
    assert "session-expires" not in update.headers.first
    far.answer(update, 200)
    # And only once.
    assert far.take() == []
    far.answer(invite, 200, ALLOW_UPDATE, body=sdp())
    ack, reinvite = far.take()
    assert isinstance(ack, Request) and ack.method == "ACK"
    assert isinstance(reinvite, Request) and reinvite.method == "INVITE"
    assert addresses(reinvite) == {NEW}


@pytest.mark.parametrize("how", ["BYE", 481, "silence"])
def test_call_whose_answer_went_to_where_we_were_ends_when_the_far_end_says_so(how: str | int) -> None:
    far, own = far_with_wildcard()
    _, notes, invite = far.call_out()
    far.answer(invite, 180, ALLOW_UPDATE)
    far.take()
    move(far, own, NEW)
    update = far.take_request("UPDATE")
    if how == "BYE":
        far.answer(update, 200)
        # Its 2xx, which never came here, is not acknowledged.
        far.request("BYE", to_tag=invite.from_.tag, call_id=invite.call_id, from_tag="far")
        assert far.names() == ["200 BYE", "CANCEL"]
    elif how == 481:
        far.answer(update, 481)
        assert far.names() == ["CANCEL"]
    else:
        far.run(33)
    released = notes.released
    assert released is not None
    assert released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    assert released.text
    far.take()
    far.assert_clean()


def test_call_that_rings_where_no_update_is_taken_ends_at_once_for_a_caller_who_gives_up() -> None:
    far, own = far_with_wildcard()
    leg, notes, invite = far.call_out()
    far.answer(invite, 180)
    far.take()
    move(far, own, NEW)
    assert far.take() == []
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.take_request("CANCEL")
    assert notes.released is not None
    far.assert_clean()


def test_another_branch_that_rings_outlives_the_one_that_hangs_up() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 180, tag="one")
    far.answer(invite, 180, tag="two")
    far.request("BYE", to_tag=invite.from_.tag, call_id=invite.call_id, from_tag="one")
    assert far.names() == ["200 BYE"]
    assert notes.released is None
    far.answer(invite, 200, tag="two", body=sdp())
    assert isinstance(notes.events[-1], Answered)


@pytest.mark.parametrize("takes", [True, False])
def test_far_end_whose_ack_went_to_where_we_were_is_told_where_we_are(takes: bool) -> None:
    far, own = far_with_wildcard()
    leg, notes, request = far.call_in(*([ALLOW_UPDATE] if takes else []))
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag or ""
    move(far, own, NEW)
    if takes:
        update = far.take_request("UPDATE")
        assert NEW in update.contacts[0].uri_text
        far.answer(update, 200)
    else:
        far.run(1.2)
        # The 200 was repeated meanwhile.
        (reinvite,) = [each for each in far.take() if isinstance(each, Request)]
        assert reinvite.method == "INVITE"
        assert addresses(reinvite) == {NEW}
        # Who answers that has our 200.
        far.answer(reinvite, 200, body=sdp(version=2))
        assert far.names() == ["ACK"]
        far.run(40)
        assert far.names() == []
        assert notes.released is None
        return
    far.request("ACK", to_tag=tag, cseq=request.cseq.number)
    far.run(1.1)
    assert addresses(far.take_request("INVITE")) == {NEW}


def test_change_that_is_challenged_while_we_move_on_says_where_we_are_now() -> None:
    far, own = far_with_wildcard(secret=SECRET)
    far.answered_out()
    move(far, own, "192.0.2.49")
    first = far.take_request("INVITE")
    move(far, own, NEW)
    assert far.take() == []
    far.answer(first, 401, ("WWW-Authenticate", 'Digest realm="b", nonce="n", algorithm=MD5, qop="auth"'))
    _, again = far.take()
    assert isinstance(again, Request) and again.method == "INVITE"
    assert "authorization" in again.headers.first
    assert addresses(again) == {NEW}
    assert NEW in again.contacts[0].uri_text
    far.answer(again, 200, body=sdp(version=2))
    # And that is all that there is to say.
    assert far.names() == ["ACK"]


# -- a server that dies in the middle of a call --


@pytest.mark.parametrize("contact", [f"<sip:far@{B_ADDRESS}:5060>", "<sip:far@provider.example.org>"])
@pytest.mark.parametrize("ours", [True, False])
def test_call_whose_server_is_dead_ends_clearly_and_in_time(ours: bool, contact: str) -> None:
    provider = Provider(host="provider.example.org", domain=Domain("provider.example.org", 5060))
    provider.endpoint.looked_up(Resolve("provider.example.org"), Answer((B_ADDRESS, SECOND_ADDRESS)), provider.now)
    provider.run(0)
    provider.registered()
    leg, notes, invite = provider.call_out()
    provider.answer(invite, 200, body=sdp(), contact=contact)
    provider.take_request("ACK")
    if ours:
        leg.release(Cause.NORMAL_CALL_CLEARING, provider.now)
        provider.drain()
        assert notes.released is not None
    else:
        leg.hold(provider.now)
        provider.run(33)
        assert notes.released is not None
        assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
        assert notes.released.timer == "timer B"
    provider.run(40)
    assert not provider.endpoint.dialogs
    assert not provider.endpoint.legs


# -- a phone's NAT --


@pytest.mark.parametrize(("secret", "follows"), [(SECRET, True), (WRONG, False)])
def test_phone_that_proves_in_a_call_where_it_is_now_is_sent_there_what_follows(secret: str, follows: bool) -> None:
    far = branch()
    invite, tag = proven_call(far)
    leg, _, _ = far.offers[-1]
    request = far.request("INFO", flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag)
    proof = field(far, request, far.take_response(401), "desk", secret)
    far.request("INFO", proof, flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag)
    far.take()
    leg.hold(far.now)
    far.take_request("INVITE")
    assert (far.flows[-1] == ELSEWHERE) is follows
    settings = far.media.rtp[leg.stream or 0]
    assert settings.latch is Latch.NO or (settings.signalling_address == ELSEWHERE.address) is follows


def test_request_from_where_the_phone_has_registered_meanwhile_moves_its_call_too() -> None:
    far = branch()
    invite, tag = proven_call(far)
    leg, _, _ = far.offers[-1]
    # It was restarted: another Call-ID, and another Contact.
    request = far.request("REGISTER", flow=ELSEWHERE, call_id="new", user="desk")
    proof = field(far, request, far.take_response(401), "desk")
    contact = ("Contact", f"<sip:desk@{ELSEWHERE.address}:{ELSEWHERE.port}>")
    far.request("REGISTER", proof, contact, flow=ELSEWHERE, call_id="new", user="desk")
    far.take_response(200)
    far.request("UPDATE", flow=ELSEWHERE, call_id=invite.call_id, to_tag=tag, body=sdp(version=2))
    far.take_response(200)
    leg.hold(far.now)
    far.take_request("INVITE")
    assert far.flows[-1] == ELSEWHERE
