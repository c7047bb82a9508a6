"""Outgoing calls that take more than one INVITE, or go by another transport, or without an offer."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import (
    Alerting,
    Answered,
)
from gateway.media.api import Direction
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS, Notes, simple_setup

# -- further attempts --


def test_overlap_484_waits_for_digits_and_sends_the_longer_number() -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out(msgspec.structs.replace(simple_setup("416"), complete=False))
    far.answer(invite, 484)
    assert far.names() == ["ACK"]
    assert notes.released is None
    leg.digits("5551234", False, far.now)
    second = far.take_request("INVITE")
    assert second.uri.user == "4165551234"
    assert second.call_id == invite.call_id
    assert second.cseq.number == invite.cseq.number + 1
    assert second.from_.tag == invite.from_.tag
    assert second.via.branch != invite.via.branch
    far.answer(second, 200, body=sdp())
    assert notes.of(Answered)
    assert far.media.closed == []


def test_overlap_digits_that_came_meanwhile_go_out_with_the_484() -> None:
    far = FarEnd()
    leg, _, invite = far.call_out(msgspec.structs.replace(simple_setup("416"), complete=False))
    leg.digits("555", False, far.now)
    assert far.take() == []
    far.answer(invite, 484)
    _, second = far.take()
    assert isinstance(second, Request)
    assert second.uri.user == "416555"


def test_overlap_that_ends_after_484_is_an_invalid_number() -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out(msgspec.structs.replace(simple_setup("416"), complete=False))
    far.answer(invite, 484)
    leg.digits("", True, far.now)
    far.drain()
    assert notes.released is not None
    assert notes.released.cause is Cause.INVALID_NUMBER_FORMAT
    far.assert_clean()


def test_release_while_waiting_for_digits_leaks_nothing() -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out(msgspec.structs.replace(simple_setup("416"), complete=False))
    far.answer(invite, 484)
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.assert_clean()
    assert notes.released is not None


def test_redirection_is_followed_only_where_configured() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, follow_redirects=True))
    _, notes, invite = far.call_out()
    far.answer(invite, 302, ("Contact", "<sip:9999@192.0.2.9:5080>"))
    assert notes.released is None
    _, second = far.take()
    assert isinstance(second, Request)
    assert second.uri_text == "sip:9999@192.0.2.9:5080"
    assert far.flows[-1].address == "192.0.2.9"
    assert far.flows[-1].port == 5080
    assert second.call_id == invite.call_id


def redirected() -> tuple[FarEnd, Notes, Request]:
    far = FarEnd(peer=lambda peer: replace(peer, follow_redirects=True))
    _, notes, invite = far.call_out()
    contacts = "<tel:+1>, <sip:worst@192.0.2.8>;q=0.1, <sip:best@192.0.2.9>;q=1.0, <sip:odd@192.0.2.7>;q=x"
    far.answer(invite, 302, ("Contact", contacts))
    _, second = far.take()
    assert isinstance(second, Request)
    return far, notes, second


def test_redirection_goes_to_the_best_contact_and_keeps_to() -> None:
    _, _, second = redirected()
    assert second.uri_text == "sip:best@192.0.2.9"
    assert second.headers.get("To") == f"<sip:4165551234@{B_ADDRESS}>"


@pytest.mark.parametrize("status", [404, 486, 503])
def test_next_contact_of_a_redirection_is_tried_when_the_first_fails(status: int) -> None:
    far, notes, second = redirected()
    far.answer(second, status)
    third = far.take()[-1]
    assert isinstance(third, Request)
    assert third.uri_text == "sip:worst@192.0.2.8"
    far.answer(third, status)
    assert notes.released is not None


def test_next_contact_of_a_redirection_is_tried_when_the_first_is_silent() -> None:
    far, _, _ = redirected()
    far.run(33)
    last = far.take()[-1]
    assert isinstance(last, Request)
    assert last.uri_text == "sip:worst@192.0.2.8"


def test_global_failure_ends_a_redirection() -> None:
    far, notes, second = redirected()
    far.answer(second, 603)
    assert far.names() == ["ACK"]
    assert notes.released is not None


def test_redirection_to_where_we_were_ends_the_call() -> None:
    far, notes, second = redirected()
    far.answer(second, 302, ("Contact", "<sip:best@192.0.2.9>"))
    third = far.take()[-1]
    assert isinstance(third, Request)
    far.answer(third, 302, ("Contact", "<sip:best@192.0.2.9>"))
    assert notes.released is not None


@pytest.mark.parametrize("status", [305, 380])
def test_other_services_and_proxies_are_not_followed(status: int) -> None:
    far = FarEnd(peer=lambda peer: replace(peer, follow_redirects=True))
    _, notes, invite = far.call_out()
    far.answer(invite, status, ("Contact", "<sip:9999@192.0.2.9>"))
    assert notes.released is not None


def test_to_names_neither_port_nor_transport() -> None:
    far = FarEnd(transport=TCP, peer=lambda peer: replace(peer, port=5099))
    _, _, invite = far.call_out()
    assert invite.uri_text == f"sip:4165551234@{B_ADDRESS}:5099;transport=tcp"
    assert invite.headers.get("To") == f"<sip:4165551234@{B_ADDRESS}>"


@pytest.mark.parametrize(("hops", "sent"), [(None, "70"), (200, "70"), (11, "10"), (1, "0")])
def test_invite_has_one_hop_less_than_the_call_came_with(hops: int | None, sent: str) -> None:
    _, _, invite = FarEnd().call_out(msgspec.structs.replace(simple_setup(), hops=hops))
    assert invite.headers.get("Max-Forwards") == sent


def test_call_without_hops_left_is_not_placed() -> None:
    far = FarEnd()
    leg = far.endpoint.new_leg("b", far.now)
    assert isinstance(leg, SipLeg)
    leg.listener = notes = Notes()
    leg.place(msgspec.structs.replace(simple_setup(), hops=0), far.now)
    assert far.take() == []
    assert notes.released is not None
    assert notes.released.cause is Cause.EXCHANGE_ROUTING_ERROR
    far.assert_clean()


def test_hops_of_an_incoming_call_are_handed_on() -> None:
    far = FarEnd()
    far.call_in()
    assert far.offers[-1][1].setup.hops == 70


def test_redirection_in_circles_ends() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, follow_redirects=True))
    _, notes, invite = far.call_out()
    sent = 1
    while notes.released is None:
        far.answer(invite, 302, ("Contact", f"<sip:{sent}@{B_ADDRESS}>"))
        requests = [message for message in far.take() if isinstance(message, Request) and message.method == "INVITE"]
        if requests:
            (invite,) = requests
            sent += 1
    assert sent == 8
    assert notes.released.cause is Cause.REDIRECTION_TO_NEW_DESTINATION


# -- transports --


def test_request_longer_than_1300_octets_goes_by_tcp_and_falls_back_to_udp() -> None:
    far = FarEnd(transport=TCP, peer=lambda peer: replace(peer, transport=UDP))
    setup = msgspec.structs.replace(simple_setup(), caller=Party(Number("2125550000"), "x" * 80))
    far.endpoint.settings = replace(far.endpoint.settings, user_agent="y" * 800)
    _, _, invite = far.call_out(setup)
    assert len(invite.to_bytes()) > 1300
    assert invite.via.transport == "TCP"
    assert far.flows[-1].transport == TCP
    far.endpoint.connection_lost(far.flows[-1], far.now)
    second = far.take_request("INVITE")
    assert second.via.transport == "UDP"
    assert far.flows[-1].transport == UDP
    assert second.via.branch != invite.via.branch
    far.answer(second, 200, body=sdp())
    assert "ACK" in far.names()


def test_transport_error_releases_as_503() -> None:
    far = FarEnd(transport=TCP)
    _, notes, _ = far.call_out()
    far.endpoint.connection_lost(far.flows[-1], far.now)
    far.drain()
    assert notes.released is not None
    assert notes.released.cause is Cause.TEMPORARY_FAILURE
    far.assert_clean()


# -- late offer --


def test_late_offer_is_answered_in_the_ack() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, late_offer=True))
    leg, notes, invite = far.call_out()
    assert invite.body == b""
    far.answer(invite, 200, body=sdp(formats="0 8 101"))
    ack = far.take_request("ACK")
    answer = SessionDescription.parse(ack.body)
    assert answer.media[0].port == 10_002
    assert leg.stream in far.media.rtp
    assert notes.of(Answered)


def test_stream_that_the_answer_refuses_is_not_set_up() -> None:
    far = FarEnd()
    leg, notes, invite = far.call_out()
    far.answer(invite, 200, body=sdp().replace(b"m=audio 20000", b"m=audio 0"))
    assert leg.stream not in far.media.rtp
    assert notes.of(Answered)


def test_answer_on_hold_is_set_up_without_sending() -> None:
    far = FarEnd()
    leg, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp("sendonly"))
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].direction is Direction.RECVONLY


def test_response_whose_via_and_cseq_are_written_otherwise_still_matches() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    response = invite.response(180, None, "far")
    response.headers.set("Via", f"SIP / 2.0 / UDP {A_ADDRESS.upper()}:5060 ;rport=5060; Branch={invite.via.branch}")
    response.headers.set("CSeq", f"0{invite.cseq.number}   INVITE")
    far.give(response.to_bytes())
    assert notes.of(Alerting)


def test_response_with_a_second_via_is_dropped() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    response = invite.response(180, None, "far")
    response.headers.add("Via", "SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKother")
    far.give(response.to_bytes())
    assert not notes.of(Alerting)


@pytest.mark.parametrize("name", ["To", "Contact", "Record-Route"])
def test_answer_too_broken_for_a_dialog_is_dropped(name: str) -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    response = invite.response(200, None, "far")
    response.headers.set(name, "<sip:broken")
    far.give(response.to_bytes())
    assert far.take() == []
    assert far.endpoint.counters.garbage == 1
    assert not notes.of(Answered)


def test_answer_with_a_broken_body_is_acknowledged_and_ended() -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    response = invite.response(200, None, "far")
    response.headers.add("Contact", f"<sip:far@{B_ADDRESS}>")
    response.headers.add("Content-Type", "multipart/mixed;boundary=x")
    response.body = b"rubbish"
    far.give(response.to_bytes())
    assert far.names() == ["ACK", "BYE"]
    assert notes.released is not None


# -- another way to go --


def test_a_redirection_to_a_silent_place_makes_no_suspect_of_the_peer_that_redirected() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, follow_redirects=True))
    _, notes, invite = far.call_out(msgspec.structs.replace(simple_setup(), alternatives=True))
    far.answer(invite, 302, ("Contact", "<sip:9999@192.0.2.9:5080>"))
    far.run(5)
    assert notes.released is not None
    assert not far.endpoint.suspects.names


def test_a_suspect_that_answers_from_another_address_is_none_any_more() -> None:
    far = FarEnd()
    far.call_out(msgspec.structs.replace(simple_setup(), alternatives=True))
    far.run(5)
    far.take()
    assert list(far.endpoint.suspects.names) == ["b"]
    _, notes, invite = far.call_out(msgspec.structs.replace(simple_setup(), alternatives=True))
    ringing = invite.response(180, None, "far")
    ringing.headers.add("Contact", f"<sip:far@{B_ADDRESS}>")
    far.give(ringing.to_bytes(), Flow(UDP, "192.0.2.77", 5060))
    assert notes.of(Alerting)
    assert not far.endpoint.suspects.names
