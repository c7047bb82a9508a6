"""Who is a peer, and what strangers may have: calls in a context of their own, a share of all, no state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.voip.sip.defence import SOURCE_BURST
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.strangers import STRANGERS_RATE
from gateway.voip.sip.streams import MAX_PONGS
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS

STRANGER = Flow(UDP, "198.51.100.7", 5060)
PARTNER = Flow(UDP, "203.0.113.5", 5060)


def test_stranger_is_offered_in_the_default_context_without_a_source() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    _, offered, _ = far.offers[0]
    assert (offered.context, offered.source) == ("default", "")


def test_stranger_is_not_believed_whom_it_asserts() -> None:
    far = FarEnd()
    far.request("INVITE", ("P-Asserted-Identity", "<sip:911@b>"), body=sdp(), flow=STRANGER)
    number = far.offers[0][1].setup.caller.number
    assert number is not None
    assert number.digits == "2125550000"


def test_without_a_default_context_a_stranger_is_forbidden_at_once() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    far.request("INVITE", body=sdp(), flow=STRANGER)
    assert far.names() == ["403 INVITE"]
    assert far.offers == []


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "BYE", "REFER"])
def test_strangers_leave_nothing_behind_where_they_may_not_call(method: str) -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    request = far.request(method, flow=STRANGER)
    first = far.raw[-1]
    assert far.endpoint.idle
    far.give(request.to_bytes(), STRANGER)
    # RFC 3261 8.2.7: the same request has the same answer, its To tag among it.
    assert far.raw[-1] == first
    assert far.endpoint.idle


def test_malformed_invite_of_a_stranger_leaves_nothing_behind() -> None:
    far = FarEnd()
    far.request("INVITE", ("Require", "nothing"), body=sdp(), flow=STRANGER)
    far.take_response(420)
    assert far.endpoint.idle


def test_strangers_have_a_share_of_the_calls_and_peers_the_rest() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, max_calls=8))
    for _ in range(8):
        far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 2
    assert far.endpoint.counters.overload == 6
    far.take()
    for leg, _, _ in list(far.offers):
        leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 3


def test_one_stranger_leaves_room_for_others() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, max_calls=64))
    for _ in range(8):
        far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 4
    far.request("INVITE", body=sdp(), flow=PARTNER)
    assert len(far.offers) == 5
    far.offers[0][0].release(Cause.NORMAL_CALL_CLEARING, far.now)
    far.drain()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    assert len(far.offers) == 6


def sources(count: int) -> list[Flow]:
    return [Flow(UDP, f"198.51.{number // 250}.{1 + number % 250}", 5060) for number in range(count)]


def test_peer_is_served_while_strangers_flood() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    for flow in sources(2 * STRANGERS_RATE):
        far.request("INVITE", body=sdp(), flow=flow)
    assert far.endpoint.idle
    assert far.names() == ["403 INVITE"] * STRANGERS_RATE
    far.request("INVITE", body=sdp())
    assert len(far.offers) == 1
    far.take()
    far.run(0.01)
    for _ in range(STRANGERS_RATE):
        far.request("OPTIONS", flow=STRANGER)
    assert far.names() == ["200 OPTIONS"] * (STRANGERS_RATE // 100)


def test_who_is_inside_is_heard_while_the_world_floods() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    far.endpoint.strangers.near = lambda address: address.startswith("192.168.")
    for flow in sources(2 * STRANGERS_RATE):
        far.request("OPTIONS", flow=flow)
    assert len(far.take()) == STRANGERS_RATE
    inside = [Flow(UDP, f"192.168.{number // 250}.{1 + number % 250}", 5060) for number in range(2 * STRANGERS_RATE)]
    for flow in inside:
        far.request("REGISTER", flow=flow)
    assert len(far.take()) == STRANGERS_RATE
    for flow in sources(STRANGERS_RATE):
        far.request("OPTIONS", flow=flow)
    assert far.take() == []


def test_stranger_on_tcp_that_sends_too_much_is_closed() -> None:
    far = FarEnd(transport=TCP, settings=lambda settings: replace(settings, context=None))
    request = far.request("OPTIONS", send=False).to_bytes()
    flow = Flow(TCP, "198.51.100.7", 40000, 9, 1)
    far.give(request * SOURCE_BURST, flow)
    assert far.names() == ["200 OPTIONS"] * SOURCE_BURST
    assert far.closed == []
    far.give(request, flow)
    assert far.names() == []
    assert [each.flow for each in far.closed] == [flow]
    far.give(request)
    assert far.names() == ["200 OPTIONS"]


def test_strangers_are_all_heard_where_they_may_call_but_none_too_often() -> None:
    far = FarEnd()
    for flow in sources(2 * STRANGERS_RATE):
        far.request("OPTIONS", flow=flow)
    assert len(far.take()) == 2 * STRANGERS_RATE
    for _ in range(2 * SOURCE_BURST):
        far.request("OPTIONS", flow=STRANGER)
    assert len(far.take()) == SOURCE_BURST


@pytest.mark.parametrize("cause", [Cause.UNALLOCATED_NUMBER, Cause.CALL_REJECTED, Cause.NO_ROUTE_TO_DESTINATION])
def test_stranger_learns_nothing_from_how_it_is_refused(cause: Cause) -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=STRANGER)
    far.take()
    far.offers[0][0].release(cause, far.now)
    response = far.take_response(403)
    assert "reason" not in response.headers


def test_peer_that_must_match_its_port_is_a_stranger_on_another() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, match_port=True))
    far.request("INVITE", body=sdp(), flow=Flow(UDP, B_ADDRESS, 6000))
    assert far.offers[0][1].source == ""


def test_peer_is_known_by_its_address_on_any_port() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), flow=Flow(UDP, B_ADDRESS, 6000))
    assert far.offers[0][1].source == "b"
    assert far.flows[-1].port == 6000


def test_stranger_that_calls_a_name_learns_nothing() -> None:
    far = FarEnd()
    far.request("INVITE", body=sdp(), user="alice", flow=STRANGER)
    assert far.names() == ["100 INVITE", "403 INVITE"]


def test_burst_of_keep_alives_is_not_answered_one_by_one() -> None:
    far = FarEnd(transport=TCP)
    far.give(b"\r\n" * 10_000)
    assert far.raw == [b"\r\n"] * MAX_PONGS
    assert far.endpoint.counters.keepalives == 5_000


def test_far_end_of_a_peers_call_is_heard_from_its_own_address_while_strangers_flood() -> None:
    far = FarEnd(settings=lambda settings: replace(settings, context=None))
    _, notes, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact=f"<sip:far@{PARTNER.address}>")
    far.take()
    for flow in sources(2 * STRANGERS_RATE):
        far.request("OPTIONS", flow=flow)
    assert far.names() == ["200 OPTIONS"] * STRANGERS_RATE
    far.request("BYE", to_tag=invite.from_.tag, from_tag="far", call_id=invite.call_id, flow=PARTNER)
    assert far.names() == ["200 BYE"]
    assert notes.released is not None
    far.run(40)
    for flow in sources(2 * STRANGERS_RATE):
        far.request("OPTIONS", flow=flow)
    far.take()
    far.request("OPTIONS", flow=PARTNER)
    assert far.names() == []
