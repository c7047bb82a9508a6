"""Where requests go: route sets that make no sense, Contacts without transport, connections that come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.peers import SipSettings
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, sdp
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS


def only_tcp(settings: SipSettings) -> SipSettings:
    return replace(settings, listeners=(Socket(TCP, A_ADDRESS, 5060),))


@pytest.mark.parametrize("value", ["<foo>", "<sip:a b@c>", "<sip:@x;lr>", "<sip:p:99999>"])
def test_invite_with_a_route_that_is_no_uri_is_400(value: str) -> None:
    far = FarEnd()
    far.request("INVITE", ("Record-Route", value), body=sdp())
    assert far.names() == ["100 INVITE", "400 INVITE"]
    assert not far.offers


@pytest.mark.parametrize("routes", [["<foo>"], [f"<sip:p{number}.example.com;lr>" for number in range(40)]])
def test_answer_with_routes_that_cannot_be_used_is_dropped_and_the_call_ends_in_time(routes: list[str]) -> None:
    far = FarEnd()
    _, notes, invite = far.call_out()
    far.answer(invite, 180)
    far.answer(invite, 200, *[("Record-Route", route) for route in routes], body=sdp())
    assert far.take() == []
    far.run(200)
    assert "CANCEL" in far.names()
    assert notes.released is not None
    far.assert_clean()


def test_route_set_over_two_proxies_changes_the_transport_at_the_first_hop() -> None:
    far = FarEnd()
    leg, _, invite = far.call_out()
    near, distant = "<sip:198.51.100.7:5070;transport=tcp;lr>", "<sip:198.51.100.8;lr>"
    # The nearest proxy stands last on the caller's side (12.1.2).
    far.answer(invite, 200, ("Record-Route", f"{distant}, {near}"), body=sdp())
    ack = far.take_request("ACK")
    assert far.flows[-1] == Flow(TCP, "198.51.100.7", 5070)
    assert ack.via.transport == TCP
    assert [str(route) for route in ack.routes] == [near, distant]
    assert ack.uri_text == f"sip:far@{B_ADDRESS}:5060"
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    assert (far.flows[-1].transport, bye.via.transport) == (TCP, TCP)


@pytest.mark.parametrize("settings", [only_tcp, lambda settings: settings])
def test_contact_that_forgets_its_transport_is_reached_by_the_tcp_it_came_by(settings: object) -> None:
    far = FarEnd(transport=TCP, settings=settings)  # type: ignore[arg-type]
    _, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact=f"<sip:far@{B_ADDRESS}>")
    ack = far.take_request("ACK")
    assert (far.flows[-1].transport, ack.via.transport) == (TCP, TCP)


def test_udp_contact_without_a_udp_socket_of_ours_is_reached_by_what_there_is() -> None:
    far = FarEnd(transport=TCP, settings=only_tcp)
    _, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact=f"<sip:far@{B_ADDRESS};transport=udp>")
    far.take_request("ACK")
    assert far.flows[-1].transport == TCP


def test_contact_at_another_address_without_transport_is_udp() -> None:
    far = FarEnd(transport=TCP)
    _, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact="<sip:far@198.51.100.9>")
    assert far.take_request("ACK").via.transport == UDP
    assert far.flows[-1].address == "198.51.100.9"


def test_call_outlives_its_connection_and_opens_a_new_one_for_a_contact_with_a_name() -> None:
    far = FarEnd(transport=TCP)
    old = Flow(TCP, B_ADDRESS, 40000, 7, 1)
    request = far.request("INVITE", body=sdp(), send=False)
    request.headers.set("Contact", "<sip:bob@pbx.example.com;transport=tcp>")
    far.give(request.to_bytes(), old)
    far.take_response(100)
    leg, _, notes = far.offers[-1]
    leg.answer(None, far.now)
    tag = far.take_response(200).to.tag
    far.request("ACK", to_tag=tag, cseq=request.cseq.number, flow=old)
    far.endpoint.connection_lost(old, far.now)
    assert notes.released is None
    leg.hold(far.now)
    far.take_request("INVITE")
    assert far.flows[-1] == Flow(TCP, B_ADDRESS, 5060)


def test_bye_over_a_new_connection_ends_the_call() -> None:
    far = FarEnd(transport=TCP)
    _, notes, tag = far.answered_in()
    far.endpoint.connection_lost(far.flow, far.now)
    later = Flow(TCP, B_ADDRESS, 40001, 8, 1)
    far.request("BYE", to_tag=tag, flow=later)
    far.take_response(200)
    assert far.flows[-1] == later
    assert notes.released is not None


def test_request_that_cannot_be_delivered_does_not_end_the_call() -> None:
    far = FarEnd(transport=TCP)
    leg, notes, _ = far.answered_out(ALLOW_UPDATE)
    leg.hold(far.now)
    far.take_request("INVITE")
    far.endpoint.connection_lost(far.flows[-1], far.now)
    far.run(1)
    assert notes.released is None
    # The hold is lost; another change is possible.
    leg.hold(far.now)
    far.answer(far.take_request("INVITE"), 200, body=sdp("recvonly"))
    far.take_request("ACK")


def test_messages_cut_anywhere_and_joined_arrive_alike_on_a_stream() -> None:
    far = FarEnd(transport=TCP)
    two = b"".join(far.request("OPTIONS", send=False).to_bytes() for _ in range(2))
    for cut in range(0, len(two), 7):
        far.give(two[cut : cut + 7])
    far.give(two.replace(b"z9hG4bKtest", b"z9hG4bKother"))
    assert far.names() == ["200 OPTIONS"] * 4
