"""Requests inside a dialog other than INVITE and BYE: UPDATE, INFO, OPTIONS, REFER; identities and routes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party, Screening
from gateway.leg import Held, Identified, Keypad
from gateway.media.api import Codec, Direction
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import DtmfMode
from tests.unit.voip.sip.sip_far_end import ALLOW_UPDATE, FarEnd, direction, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS

# -- UPDATE --


def test_update_with_an_offer_is_answered() -> None:
    far = FarEnd()
    leg, notes, tag = far.answered_in()
    far.request("UPDATE", to_tag=tag, body=sdp("inactive", 2))
    assert direction(far.take_response(200)) == "inactive"
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].direction is Direction.INACTIVE
    assert notes.events[-1] == Held()


def test_update_without_sdp_only_refreshes() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    changes = len(far.media.history)
    far.request("UPDATE", to_tag=tag)
    assert far.take_response(200).body == b""
    assert len(far.media.history) == changes


def test_update_while_our_offer_is_under_way_is_491() -> None:
    far = FarEnd()
    leg, _, tag = far.answered_in()
    leg.hold(far.now)
    far.take()
    far.request("UPDATE", to_tag=tag, body=sdp(version=2))
    far.take_response(491)


def test_update_before_the_first_offer_is_answered_is_500() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in()
    leg.alert(False, far.now)
    tag = far.take_response(180).to.tag
    far.request("UPDATE", to_tag=tag, body=sdp(version=2))
    assert far.take_response(500).retry_after is not None


def test_update_in_an_early_dialog_changes_early_media() -> None:
    far = FarEnd()
    leg, _, invite = far.call_out()
    far.answer(invite, 183, ALLOW_UPDATE, body=sdp())
    ours = invite.from_.tag
    update = Request(
        "UPDATE",
        invite.contacts[0].uri_text,
        [
            ("Via", f"SIP/2.0/UDP {B_ADDRESS}:5060;branch=z9hG4bKu"),
            ("From", "<sip:x@y>;tag=far"),
            ("To", f"<sip:a@b>;tag={ours}"),
            ("Call-ID", invite.call_id),
            ("CSeq", "1 UPDATE"),
            ("Contact", f"<sip:far@{B_ADDRESS}>"),
            ("Content-Type", "application/sdp"),
        ],
        sdp(formats="0 101", version=2),
    )
    far.give(update.to_bytes())
    far.take_response(200)
    assert leg.stream is not None
    assert far.media.rtp[leg.stream].codec is Codec.ULAW


# -- identities --


def test_new_identity_after_answer_goes_out_by_update() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out(ALLOW_UPDATE)
    leg.identify(Party(Number("4165557777", screening=Screening.NETWORK), "Dora"), far.now)
    update = far.take_request("UPDATE")
    assert "4165557777" in str(update.addresses("p-asserted-identity")[0])
    assert update.body == b""


def test_new_identity_is_not_sent_to_a_far_end_without_update() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    leg.identify(Party(Number("4165557777")), far.now)
    assert far.take() == []


def test_new_identity_in_update_is_reported_once() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    for _ in range(2):
        far.request("UPDATE", ("P-Asserted-Identity", '"Eve" <sip:5559999@b>'), to_tag=tag)
        far.take_response(200)
    (event,) = notes.of(Identified)
    assert isinstance(event, Identified)
    assert event.connected.name == "Eve"


# -- INFO, OPTIONS, REFER and the rest --


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", Keypad("5", 160)),
        ("application/dtmf-relay", b"Signal= *\r\nDuration= 100", Keypad("*", 100)),
        ("application/dtmf-relay", b"signal=11\r\n", Keypad("#", 100)),
        ("application/dtmf", b"7", Keypad("7", 100)),
        ("application/dtmf", b"d", Keypad("D", 100)),
    ],
)
def test_info_digits_are_reported(kind: str, body: bytes, expected: Keypad) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("INFO", to_tag=tag, body=body, content_type=kind)
    far.take_response(200)
    assert notes.events[-1] == expected


@pytest.mark.parametrize("body", [b"Signal=XY\r\n", b"\xff\xfe", b"Duration=100\r\n", b"x" * 500])
def test_info_without_a_digit_is_400(body: bytes) -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("INFO", to_tag=tag, body=body, content_type="application/dtmf-relay")
    far.take_response(400)
    assert notes.of(Keypad) == []


def test_info_of_another_type_is_415_with_accept() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.request("INFO", to_tag=tag, body=b"x", content_type="application/isup")
    assert "application/dtmf-relay" in (far.take_response(415).headers.get("accept") or "")


def test_info_without_a_body_is_a_sign_of_life() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.request("INFO", to_tag=tag)
    far.take_response(200)


def test_digits_go_out_by_info_one_after_the_other_where_the_peer_wants_that() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, dtmfmode=DtmfMode.INFO))
    leg, _, _ = far.answered_out()
    assert leg.keypad("12", 160, far.now)
    first = far.take_request("INFO")
    assert first.body == b"Signal=1\r\nDuration=160\r\n"
    assert first.content_type is not None
    assert first.content_type.full == "application/dtmf-relay"
    far.answer(first, 200)
    assert far.take_request("INFO").body.startswith(b"Signal=2")


def test_digits_are_left_to_audio_otherwise() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_out()
    assert not leg.keypad("1", 100, far.now)
    assert far.take() == []


def test_options_in_a_dialog_says_what_we_can_do() -> None:
    far = FarEnd()
    _, _, tag = far.answered_in()
    far.request("OPTIONS", to_tag=tag)
    response = far.take_response(200)
    assert "INVITE" in response.allow
    assert "100rel" in response.supported


@pytest.mark.parametrize("flow", [None, Flow(UDP, "198.51.100.7", 5060)])
def test_refer_outside_a_dialog_is_declined_too(flow: Flow | None) -> None:
    far = FarEnd()
    far.request("REFER", ("Refer-To", "<sip:1@b>"), flow=flow)
    far.take_response(603)


def test_notify_without_subscription_is_481_and_harmless() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("NOTIFY", ("Event", "refer"), to_tag=tag)
    far.take_response(481)
    assert notes.released is None


def test_unknown_method_in_a_dialog_is_refused_with_allow() -> None:
    far = FarEnd()
    _, notes, tag = far.answered_in()
    far.request("MESSAGE", to_tag=tag)
    assert "INVITE" in far.take_response(405).allow
    far.request("FROBNICATE", to_tag=tag)
    assert far.take_response(501).allow
    assert notes.released is None


# -- routes --


def test_requests_follow_the_recorded_route_of_a_loose_router() -> None:
    far = FarEnd()
    _leg, _, invite = far.call_out()
    routes = ("Record-Route", "<sip:192.0.2.50;lr>, <sip:192.0.2.60:5070;lr>")
    far.answer(invite, 200, routes, body=sdp())
    ack = far.take_request("ACK")
    assert ack.uri_text == f"sip:far@{B_ADDRESS}:5060"
    assert [str(route) for route in ack.routes] == ["<sip:192.0.2.60:5070;lr>", "<sip:192.0.2.50;lr>"]
    assert (far.flows[-1].address, far.flows[-1].port) == ("192.0.2.60", 5070)


def test_strict_router_gets_itself_in_the_request_uri() -> None:
    far = FarEnd()
    _, _, invite = far.call_out()
    far.answer(invite, 200, ("Record-Route", "<sip:192.0.2.50;lr>, <sip:192.0.2.60>"), body=sdp())
    ack = far.take_request("ACK")
    assert ack.uri_text == "sip:192.0.2.60"
    assert [str(route) for route in ack.routes] == ["<sip:192.0.2.50;lr>", f"<sip:far@{B_ADDRESS}:5060>"]
    assert far.flows[-1].address == "192.0.2.60"


def test_called_side_keeps_the_order_of_record_route() -> None:
    far = FarEnd()
    leg, _, _ = far.answered_in(("Record-Route", "<sip:192.0.2.50;lr>"), ("Record-Route", "<sip:192.0.2.60;lr>"))
    leg.release(Cause.NORMAL_CALL_CLEARING, far.now)
    bye = far.take_request("BYE")
    assert [str(route) for route in bye.routes] == ["<sip:192.0.2.50;lr>", "<sip:192.0.2.60;lr>"]
    assert far.flows[-1].address == "192.0.2.50"


def test_answer_repeats_record_route() -> None:
    far = FarEnd()
    leg, _, _ = far.call_in(("Record-Route", "<sip:192.0.2.50;lr>"))
    leg.answer(None, far.now)
    assert str(far.take_response(200).record_routes[0]) == "<sip:192.0.2.50;lr>"


def test_contact_that_is_a_name_is_reached_where_the_call_came_from() -> None:
    far = FarEnd()
    _leg, _, invite = far.call_out()
    far.answer(invite, 200, body=sdp(), contact="<sip:far@pbx.example.org>")
    ack = far.take_request("ACK")
    assert ack.uri_text == "sip:far@pbx.example.org"
    assert far.flows[-1].address == B_ADDRESS


def test_route_set_without_end_is_refused() -> None:
    far = FarEnd()
    far.request("INVITE", ("Record-Route", ", ".join(["<sip:192.0.2.50;lr>"] * 33)), body=sdp())
    assert far.names()[-1] == "400 INVITE"
    far.run(SECOND / SECOND)
    assert far.offers == []


def test_digits_asked_for_meanwhile_wait_for_the_response() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, dtmfmode=DtmfMode.INFO))
    leg, _, _ = far.answered_out()
    leg.keypad("1", 100, far.now)
    leg.keypad("2", 100, far.now)
    first = far.take_request("INFO")
    far.answer(first, 200)
    assert far.take_request("INFO").body.startswith(b"Signal=2")


def test_digits_beyond_the_queue_are_dropped() -> None:
    far = FarEnd(peer=lambda peer: replace(peer, dtmfmode=DtmfMode.INFO))
    leg, _, _ = far.answered_out()
    leg.keypad("1" * 100, 100, far.now)
    sent = 0
    while requests := [message for message in far.take() if isinstance(message, Request)]:
        sent += 1
        far.answer(requests[0], 200)
    assert sent == 64


@pytest.mark.parametrize(
    ("mode", "offered"),
    [(DtmfMode.RFC4733, True), (DtmfMode.AUTO, True), (DtmfMode.INFO, False), (DtmfMode.INBAND, False)],
)
def test_telephone_events_are_offered_only_where_digits_go_as_events(mode: DtmfMode, offered: bool) -> None:
    far = FarEnd(peer=lambda peer: replace(peer, dtmfmode=mode))
    _, _, invite = far.call_out()
    assert (b"telephone-event" in invite.body) is offered
