from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from gateway.cause import Cause
from gateway.leg import SECURE_MEDIA, Held, NotOffered
from gateway.media.api import RtpSettings, Srtp
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerSettings, SessionTimers
from tests.unit.voip.sip.sip_pair import A_ADDRESS, Agent, Pair, hang_up, simple_setup

NO, OPTIONAL, REQUIRED = MediaEncryption


def pair(a: MediaEncryption, b: MediaEncryption, *, transport: str = TLS, **of_b: Any) -> Pair:
    """A and B; what they think of encryption holds for the other as their peer."""

    def with_(mode: MediaEncryption, **changes: Any) -> Any:
        def change(peer: PeerSettings) -> PeerSettings:
            return replace(peer, media_encryption=mode, **changes)

        return change

    return Pair(transport=transport, a_peer=with_(a), b_peer=with_(b, **of_b))


def told(agent: Agent) -> RtpSettings:
    """What the engine of ``agent`` was told last."""
    return agent.media.history[-1][1]


def secured(both: Pair) -> Srtp:
    ours, theirs = told(both.a).srtp, told(both.b).srtp
    assert ours is not None and theirs is not None
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    return ours


@pytest.mark.parametrize("modes", [(REQUIRED, REQUIRED), (OPTIONAL, REQUIRED), (REQUIRED, OPTIONAL)])
def test_call_over_tls_is_srtp_with_the_same_keys_at_both_ends(
    modes: tuple[MediaEncryption, MediaEncryption],
) -> None:
    both = pair(*modes)
    leg, _, far, _ = both.answered_call()
    srtp = secured(both)
    assert leg.secure_media and far.secure_media
    assert leg.record()["srtp"] == far.record()["srtp"] == srtp.send.suite.name
    assert both.b.offers[-1][1].setup.facts >= {SECURE_MEDIA}
    leg.hold(both.now)
    both.run(0.5)
    leg.resume(both.now)
    both.run(0.5)
    assert secured(both) == srtp
    hang_up(leg, both)
    both.assert_clean()


def test_each_call_has_keys_of_its_own() -> None:
    both = pair(REQUIRED, REQUIRED)
    found = set()
    for _ in range(3):
        leg, *_ = both.answered_call()
        srtp = secured(both)
        found |= {srtp.send.key, srtp.receive.key}
        hang_up(leg, both)
    assert len(found) == 6


@pytest.mark.parametrize("transport", [UDP, TCP])
def test_optional_over_clear_signalling_offers_no_keys_and_vouches_for_nothing(transport: str) -> None:
    both = pair(OPTIONAL, OPTIONAL, transport=transport)
    leg, _, far, _ = both.answered_call()
    invite = both.sent("a", "INVITE")[0]
    assert b"crypto" not in invite.body
    assert told(both.a).srtp is None and told(both.b).srtp is None
    assert not leg.secure_media and not far.secure_media
    assert SECURE_MEDIA not in both.b.offers[-1][1].setup.facts
    hang_up(leg, both)


def test_required_over_clear_signalling_sends_nothing_at_all() -> None:
    both = pair(REQUIRED, OPTIONAL, transport=TCP)
    leg, notes = both.call()
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
    assert "not TLS" in notes.released.text
    assert not both.wire
    both.assert_clean()
    assert leg.over


def test_invite_over_clear_signalling_to_who_requires_srtp_is_refused_with_a_reason() -> None:
    both = pair(OPTIONAL, REQUIRED, transport=UDP)
    _, notes = both.call()
    assert notes.released is not None
    refusal = both.sent("b", 488)[0]
    assert (refusal.headers.get("warning") or "").startswith('399 gateway "media_encryption = required')
    assert not both.b.offers
    both.assert_clean()


def test_invite_without_keys_is_refused_where_they_are_required() -> None:
    both = pair(NO, REQUIRED)
    _, notes = both.call()
    assert notes.released is not None
    refusal = both.sent("b", 488)[0]
    assert "no SRTP is offered" in (refusal.headers.get("warning") or "")
    assert not both.b.offers
    both.assert_clean()


def test_far_end_that_refuses_srtp_gets_no_call_without() -> None:
    both = pair(REQUIRED, NO)
    _, notes = both.call()
    assert notes.released is not None
    assert notes.released.text.startswith("488")
    assert len(both.sent("a", "INVITE")) == 1
    assert not both.a.media.history
    both.assert_clean()


def test_far_end_that_knows_the_secure_profile_only_is_asked_again() -> None:
    both = pair(OPTIONAL, REQUIRED)
    original = both.b.endpoint.receive

    def strict(data: bytes, flow: Flow, now: int) -> bool:
        # As of a far end that does not look for keys beside RTP/AVP.
        return original(data.replace(b"a=crypto", b"a=x-rypto") if b"RTP/AVP" in data else data, flow, now)

    both.b.endpoint.receive = strict  # type: ignore[method-assign]
    leg, *_ = both.answered_call()
    assert len(both.sent("b", 488)) == 1
    first, second = both.sent("a", "INVITE")
    assert b"RTP/AVP" in first.body and b"RTP/SAVP" in second.body
    secured(both)
    hang_up(leg, both)
    both.assert_clean()


def test_far_end_that_wants_no_srtp_at_all_is_not_asked_for_ever() -> None:
    both = pair(OPTIONAL, REQUIRED, session_timers=SessionTimers.REFUSE)
    carry = both._carry

    def no_keys(sender: str, flow: Flow, data: bytes) -> None:
        carry(sender, flow, data.replace(b"a=crypto", b"a=x-rypto") if sender == "a" else data)

    both._carry = no_keys  # type: ignore[method-assign]
    _, notes = both.call()
    assert notes.released is not None
    assert len(both.sent("a", "INVITE")) == 2
    both.assert_clean()


def test_answer_without_srtp_ends_the_call_with_a_cause_and_a_text() -> None:
    # B takes what it should refuse: its answer names the plain profile, as of a far end that ignores the matter.
    both = pair(REQUIRED, REQUIRED)
    carry = both._carry

    def stripped(sender: str, flow: Flow, data: bytes) -> None:
        if sender == "b" and b"a=crypto" in data:
            lines = [line for line in data.split(b"\r\n") if not line.startswith((b"a=crypto", b"Content-Length"))]
            data = b"\r\n".join(lines).replace(b"RTP/SAVP", b"RTP/AVP")
            head, body = data.split(b"\r\n\r\n", 1)
            data = head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        carry(sender, flow, data)

    both._carry = stripped  # type: ignore[method-assign]
    leg, notes = both.call()
    far, *_ = both.b.offers[-1]
    far.alert(True, both.now)
    both.run(0.1)
    assert not both.a.media.history, "early media in the clear"
    far.answer(None, both.now)
    both.run(0.5)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
    assert "not encrypted" in notes.released.text
    assert both.sent("a", "ACK") and both.sent("a", "BYE")
    assert not both.a.media.history
    assert leg.over
    both.assert_clean()


def test_reinvite_to_plain_media_is_refused_and_the_call_goes_on_with_its_keys() -> None:
    both = pair(REQUIRED, OPTIONAL)
    leg, _, far, far_notes = both.answered_call()
    before = told(both.a)
    both.inject("a", plain_reinvite(both, far))
    both.run(0.5)
    assert both.sent("a", 488)
    assert told(both.a) == before
    assert secured(both) == before.srtp
    assert not leg.over and far_notes.released is None
    hang_up(leg, both)


def test_late_offer_is_made_and_answered_with_keys() -> None:
    late = Pair(
        transport=TLS,
        a_peer=lambda peer: replace(peer, media_encryption=REQUIRED, late_offer=True),
        b_peer=lambda peer: replace(peer, media_encryption=REQUIRED),
    )
    leg, *_ = late.answered_call()
    secured(late)
    # Nothing was said of media yet, but without SRTP there would be no call.
    assert late.b.offers[-1][1].setup.facts >= {SECURE_MEDIA}
    hang_up(leg, late)
    late.assert_clean()


def test_route_that_demands_secure_media_makes_it_required() -> None:
    both = pair(NO, OPTIONAL)
    leg, _, _, _ = both.answered_call(altered(simple_setup(), secure_bridge=frozenset({SECURE_MEDIA})))
    secured(both)
    assert leg.secure_media
    hang_up(leg, both)
    both = pair(OPTIONAL, NO)
    _, notes = both.call(altered(simple_setup(), secure_bridge=frozenset({SECURE_MEDIA})))
    assert notes.released is not None


def test_emergency_call_goes_on_in_clear_where_a_route_demands_what_the_far_end_has_not() -> None:
    both = pair(OPTIONAL, NO)
    setup = altered(simple_setup(), secure_bridge=frozenset({SECURE_MEDIA}), emergency=True)
    leg, _, _, _ = both.answered_call(setup)
    assert not leg.secure_media
    hang_up(leg, both)
    both = pair(OPTIONAL, OPTIONAL)
    leg, _, _, _ = both.answered_call(setup)
    assert leg.secure_media
    hang_up(leg, both)


def test_request_in_a_tls_dialog_that_comes_by_udp_is_refused() -> None:
    both = pair(REQUIRED, REQUIRED)
    leg, _, _, far_notes = both.answered_call()
    leg.hold(both.now)
    both.run(0.5)
    assert far_notes.of(Held)
    reinvite = both.sent("a", "INVITE")[-1]
    assert isinstance(reinvite, Request)
    data = reinvite.to_bytes().replace(b"/TLS ", b"/UDP ").replace(b"branch=z9hG4bK", b"branch=z9hG4bKx")
    number = reinvite.cseq.number
    data = data.replace(f"CSeq: {number} ".encode(), f"CSeq: {number + 1} ".encode())
    both.b.endpoint.receive(data, Flow(UDP, A_ADDRESS, 5060), both.now)
    both.run(0.5)
    assert both.sent("b", 403)
    hang_up(leg, both)


def test_refusal_of_a_session_description_is_told_with_its_reason() -> None:
    told: list[NotOffered] = []
    both = pair(NO, REQUIRED)
    both.b.endpoint.incoming._on_not_offered = lambda call, _now: told.append(call)
    both.call()
    assert [call.text for call in told] == [
        "INVITE for sip:4165551234@192.0.2.2:5060;transport=tls refused: 488, "
        "offer cannot be taken: media_encryption = required, and no SRTP is offered"
    ]


def test_stranger_over_tls_may_be_heard_encrypted() -> None:
    both = Pair(
        transport=TLS, a_peer=lambda peer: replace(peer, media_encryption=REQUIRED), b=lambda b: replace(b, peers=())
    )
    leg, *_ = both.answered_call()
    secured(both)
    hang_up(leg, both)


def test_invite_that_is_repeated_with_a_password_has_the_same_keys() -> None:
    def known(peer: PeerSettings) -> PeerSettings:
        return replace(peer, media_encryption=REQUIRED, secret="apples", auth_user="ours")  # noqa: S106

    both = Pair(transport=TLS, a_peer=known, b_peer=known)
    leg, *_ = both.answered_call()
    first, second = both.sent("a", "INVITE")
    assert both.sent("b", 401)
    assert first.body == second.body
    assert first.body.count(b"a=crypto:") > 1
    secured(both)
    hang_up(leg, both)
    both.assert_clean()


def test_caller_that_was_vouched_for_does_not_go_back_to_plain_media() -> None:
    both = pair(OPTIONAL, OPTIONAL)
    leg, _, far, _ = both.answered_call()
    assert both.b.offers[-1][1].setup.facts >= {SECURE_MEDIA}
    srtp = told(both.b).srtp
    both.inject("b", plain_reinvite(both, leg))
    both.run(0.5)
    assert both.sent("b", 488)
    assert told(both.b).srtp == srtp
    # Whom we called nobody vouched for.
    both.inject("a", plain_reinvite(both, far))
    both.run(0.5)
    assert not both.sent("a", 488)
    assert told(both.a).srtp is None
    hang_up(leg, both)


@given(st.lists(st.sampled_from(["hold a", "resume a", "hold b", "resume b", "wait", "plain"]), max_size=8))
@settings(max_examples=25, deadline=None)
def test_whatever_both_sides_change_the_call_keeps_its_keys(script: list[str]) -> None:
    both = pair(REQUIRED, REQUIRED)
    leg, _, far, _ = both.answered_call()
    srtp = secured(both)
    for step in script:
        what, _, side = step.partition(" ")
        one = far if side == "b" else leg
        if what == "hold":
            one.hold(both.now)
        elif what == "resume":
            one.resume(both.now)
        elif what == "plain":
            # The far end forgets itself for one offer, which is refused.
            both.inject("a", plain_reinvite(both, far))
        else:
            both.run(5.0)
    both.run(10.0)
    assert secured(both) == srtp
    assert all(told.srtp == srtp for _, told in both.a.media.history)
    hang_up(leg, both)


def plain_reinvite(both: Pair, far: SipLeg) -> bytes:
    """A re-INVITE of ``far`` that offers plain RTP."""
    session = far.session
    assert session is not None
    body = session.negotiation.sent.replace(b"RTP/SAVP", b"RTP/AVP")
    body = b"\r\n".join(line for line in body.split(b"\r\n") if not line.startswith(b"a=crypto"))
    fields = [("Contact", session.contact), ("Content-Type", "application/sdp")]
    via = f"SIP/2.0/TLS 192.0.2.2:5060;branch=z9hG4bKplain{len(both.wire)}"
    return session.dialog.request("INVITE", via, fields, body).to_bytes()
