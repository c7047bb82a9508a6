"""Who says to be somebody, ends what is not his, or asks who there is: gets what a stranger gets."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gateway.voip.sip.digest import Credentials
from gateway.voip.sip.flow import TLS, UDP, Flow
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import PeerKind, PeerSettings, SipSettings
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS
from tests.unit.voip.sip.test_sip_identification import DESK, ELSEWHERE, SECRET, WRONG, ask, branch, field

EASY = PeerSettings(
    "easy", "", kind=PeerKind.PHONE, context="internal", dynamic=True, secret=SECRET, insecure_invite=True
)


def claim(far: FarEnd, user: str, secret: str = WRONG, method: str = "INVITE") -> tuple[str, str]:
    """An Authorization of ``user`` for a nonce that nobody was given."""
    request = far.request(method, send=False)
    credentials = Credentials(
        user, "branch-gateway", "A" * 32, request.uri_text, "", qop="auth", cnonce="c", nc="1" * 8
    )
    return "Authorization", str(credentials.answered(method, secret))


def with_easy(plain: SipSettings) -> SipSettings:
    return replace(plain, peers=(*plain.peers, EASY), context=None)


def test_name_of_a_phone_that_need_not_prove_its_calls_is_no_proof() -> None:
    far = FarEnd(settings=with_easy)
    far.request("INVITE", claim(far, "easy"), body=sdp(), flow=ELSEWHERE)
    far.take_response(401)
    assert far.offers == []
    # From where it has registered, with its password, it calls without.
    ask_to_register(far)
    far.request("INVITE", body=sdp(), flow=DESK, call_id="own")
    assert far.names() == ["100 INVITE"]
    assert far.offers[0][1].source == "easy"


def ask_to_register(far: FarEnd) -> None:
    request = far.request("REGISTER", flow=DESK, user="easy")
    challenge = far.take_response(401)
    proof = field(far, request, challenge, "easy")
    far.request("REGISTER", proof, ("Contact", f"<sip:easy@{DESK.address}:{DESK.port}>"), flow=DESK, user="easy")
    far.take_response(200)


def test_its_calls_are_ended_from_elsewhere_only_with_a_proof() -> None:
    far = FarEnd(settings=with_easy)
    ask_to_register(far)
    invite = far.request("INVITE", body=sdp(), flow=DESK, call_id="own")
    far.take_response(100)
    leg, _, notes = far.offers[-1]
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag or ""
    far.request("ACK", flow=DESK, call_id="own", to_tag=tag, cseq=invite.cseq.number)
    far.request("BYE", flow=ELSEWHERE, call_id="own", to_tag=tag)
    far.take_response(401)
    assert notes.released is None


@pytest.mark.parametrize("method", ["OPTIONS", "REFER", "NOTIFY", "INFO"])
def test_what_takes_no_proof_shows_nobody_who_there_is(method: str) -> None:
    seen = []
    for user in ("desk", "hq", "nobody"):
        far = branch()
        far.request(method, claim(far, user, method=method), ("Refer-To", "<sip:1@h>"), flow=ELSEWHERE)
        (response,) = far.take()
        assert isinstance(response, Response)
        seen.append((response.status, len(response.to.tag or "") > 8))
        # Nor does it take memory.
        assert far.endpoint.idle
    assert seen[0] == seen[1] == seen[2]


def test_guess_with_a_nonce_of_nobody_s_costs_as_much_as_any() -> None:
    far = branch()
    heard = 0
    for number in range(40):
        far.request("REGISTER", claim(far, "desk", method="REGISTER"), flow=DESK, call_id=f"b{number}")
        heard += len(far.take())
    assert heard == 21
    assert DESK.address in far.endpoint.defence.shut_out(far.now)


def test_proof_for_one_number_calls_no_other() -> None:
    far = branch()
    request = far.request("INVITE", body=sdp(), flow=DESK)
    proof = field(far, request, far.take_response(401), "desk")
    far.request("INVITE", proof, body=sdp(), flow=DESK, user="9005551234")
    far.take_response(400)
    assert far.offers == []


@pytest.mark.parametrize("signed", [f"sip:{A_ADDRESS}:5060", "sip:4165551234@branch.example;transport=udp", "!"])
def test_programs_that_sign_the_host_alone_or_as_they_know_it_call(signed: str) -> None:
    far = branch()
    request = far.request("INVITE", body=sdp(), flow=DESK)
    request.uri_text = signed
    proof = field(far, request, far.take_response(401), "desk")
    far.request("INVITE", proof, body=sdp(), flow=DESK)
    assert far.names() == ["100 INVITE"]


def test_cancel_from_elsewhere_ends_no_call() -> None:
    far = branch()
    request = ask(far)
    assert request is not None
    far.take_response(100)
    branch_of = request.via.branch
    cancel = far.request("CANCEL", send=False, branch=branch_of, call_id=request.call_id, cseq=request.cseq.number)
    far.give(cancel.to_bytes(), ELSEWHERE)
    far.take_response(481)
    _, _, notes = far.offers[-1]
    assert notes.released is None
    # From another port of the same address it does: NATs do that.
    far.give(cancel.to_bytes(), Flow(UDP, DESK.address, DESK.port + 1))
    assert sorted(far.names()) == ["200 CANCEL", "487 INVITE"]
    assert notes.released is not None


@pytest.mark.parametrize("guests", [True, False])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER", "BYE", "SUBSCRIBE"])
def test_nobody_has_answers_sent_to_others(method: str, guests: bool) -> None:
    far = branch(guests=guests)
    request = far.request(method, body=sdp() if method == "INVITE" else b"", send=False)
    request.headers.replace_first("Via", "SIP/2.0/UDP 203.0.113.99:53;maddr=203.0.113.99;branch=z9hG4bKx")
    far.give(request.to_bytes(), ELSEWHERE)
    assert far.take()
    assert {flow.address for flow in far.flows} == {ELSEWHERE.address}


@pytest.mark.parametrize("body", [b"", sdp()])
def test_what_began_over_tls_is_neither_cancelled_nor_acknowledged_in_the_clear(body: bytes) -> None:
    far = FarEnd(transport=TLS)
    clear = Flow(UDP, far.flow.address, 5060)
    invite = far.request("INVITE", body=sdp(), branch="z9hG4bKtls")
    assert far.names() == ["100 INVITE"]
    leg, _, notes = far.offers[0]
    far.request("CANCEL", branch="z9hG4bKtls", cseq=invite.cseq.number, flow=clear)
    assert far.names() in (["481 CANCEL"], [])
    assert notes.released is None
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    session = leg.session
    assert session is not None
    far.request("ACK", to_tag=tag, cseq=invite.cseq.number, flow=clear, body=body)
    assert session.acceptance.pending
    far.request("ACK", to_tag=tag, cseq=invite.cseq.number)
    assert not session.acceptance.pending


def test_garbage_of_a_peer_is_told_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    far = FarEnd()
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            far.give(b"INVITE what is this")
            far.now += 25_000
    assert len(caplog.records) == 3
