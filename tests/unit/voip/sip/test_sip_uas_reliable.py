"""Reliable provisional responses of the called side (RFC 3262 3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.media.api import Codec
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import Reliability
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp

# -- reliable provisional responses --


def test_reliable_180_is_repeated_at_doubling_intervals_until_prack() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.alert(True, far.now)
    far.run(3.6)
    responses = far.take()
    assert len(responses) == 4
    first = responses[0]
    assert first.require == {"100rel"}
    assert first.rseq is not None
    assert all(response.rseq == first.rseq for response in responses)
    far.request("PRACK", ("RAck", f"{first.rseq} {request.cseq.number} INVITE"), to_tag=first.to.tag)
    far.take_response(200)
    far.run(10)
    assert far.take() == []


@pytest.mark.parametrize("wrong", ["{other} {cseq} INVITE", "{rseq} 77 INVITE", "{rseq} {cseq} UPDATE"])
def test_prack_that_matches_nothing_is_481(wrong: str) -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.alert(True, far.now)
    first = far.take_response(180)
    assert first.rseq is not None
    rack = wrong.format(other=first.rseq + 1, rseq=first.rseq, cseq=request.cseq.number)
    far.request("PRACK", ("RAck", rack), to_tag=first.to.tag)
    far.take_response(481)


def test_next_reliable_response_waits_for_the_prack_of_the_one_before() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.progress(True, far.now)
    first = far.take_response(183)
    leg.alert(True, far.now)
    assert far.take() == []
    far.request("PRACK", ("RAck", f"{first.rseq} {request.cseq.number} INVITE"), to_tag=first.to.tag)
    _ok, second = far.take()
    assert isinstance(second, Response)
    assert second.status == 180
    assert first.rseq is not None
    assert second.rseq == first.rseq + 1
    assert second.body == b""


def test_answer_waits_for_the_prack_of_a_response_with_sdp_and_has_none_itself() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.progress(True, far.now)
    first = far.take_response(183)
    leg.answer(None, far.now)
    assert far.take() == []
    far.request("PRACK", ("RAck", f"{first.rseq} {request.cseq.number} INVITE"), to_tag=first.to.tag)
    _ok, answer = far.take()
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (200, b"")


def test_reliable_response_without_prack_refuses_the_call() -> None:
    far = FarEnd()
    leg, notes, _ = far.call_in(("Require", "100rel"))
    leg.alert(True, far.now)
    far.run(33)
    assert "504 INVITE" in far.names()
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    far.assert_clean()


def test_offer_in_a_reliable_response_is_answered_in_prack() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"), body=b"")
    leg.progress(True, far.now)
    first = far.take_response(183)
    assert SessionDescription.parse(first.body).media[0].formats == ("8", "0", "101")
    far.request(
        "PRACK", ("RAck", f"{first.rseq} {request.cseq.number} INVITE"), to_tag=first.to.tag, body=sdp(formats="0")
    )
    far.take_response(200)
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW
    leg.answer(None, far.now)
    assert far.take_response(200).body == b""


def test_offer_in_prack_is_answered_in_its_200() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.progress(True, far.now)
    first = far.take_response(183)
    far.request(
        "PRACK",
        ("RAck", f"{first.rseq} {request.cseq.number} INVITE"),
        to_tag=first.to.tag,
        body=sdp(formats="0", version=2),
    )
    answer = far.take_response(200)
    assert SessionDescription.parse(answer.body).media[0].formats == ("0",)
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW


def test_100rel_refused_where_it_is_off() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, reliable=Reliability.OFF))
    far.request("INVITE", ("Require", "100rel"), body=sdp())
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert refusal.status == 420
    assert refusal.unsupported == {"100rel"}


def test_100rel_demanded_where_it_is_required() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, reliable=Reliability.REQUIRED))
    far.request("INVITE", body=sdp())
    refusal = far.take()[-1]
    assert isinstance(refusal, Response)
    assert refusal.status == 421
    assert refusal.require == {"100rel"}
    far.request("INVITE", ("Supported", "100rel"), body=sdp(), call_id="call-2")
    far.take()
    far.offers[0][0].alert(False, far.now)
    assert far.take_response(180).require == {"100rel"}


def test_cancel_stops_reliable_responses() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.alert(True, far.now)
    far.take()
    far.request("CANCEL", cseq=request.cseq.number, branch=request.via.branch)
    answers = far.take()
    far.request("ACK", to_tag=answers[-1].to.tag, cseq=request.cseq.number, branch=request.via.branch)
    far.run(40)
    assert far.take() == []
    far.assert_clean()


def test_prack_that_crosses_our_answer_is_accepted_once() -> None:
    far = FarEnd()
    leg, _, request = far.call_in(("Require", "100rel"))
    leg.alert(False, far.now)
    first = far.take_response(180)
    leg.answer(None, far.now)
    far.take_response(200)
    rack = ("RAck", f"{first.rseq} {request.cseq.number} INVITE")
    far.request("PRACK", rack, to_tag=first.to.tag)
    far.take_response(200)
    far.request("PRACK", rack, to_tag=first.to.tag)
    far.take_response(481)
