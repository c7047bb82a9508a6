"""The brakes on a trunk or phone whose password was stolen; emergency calls pass them all."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec
import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number
from gateway.leg import NotOffered, Setup
from gateway.voip.sip.peers import Brakes, PeerSettings
from gateway.voip.sip.toll_fraud import HOUR, TollFraud
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import B_ADDRESS, Notes, simple_setup

EMERGENCY = frozenset({"911", "112"})


def guard(standing: int = 0) -> TollFraud:
    return TollFraud(lambda _name: standing, EMERGENCY)


def peer(**brakes: int) -> PeerSettings:
    return PeerSettings("desk", "192.0.2.9", brakes=Brakes(**brakes))


def test_calls_of_an_hour_run_out_and_come_back_one_by_one() -> None:
    fraud, desk = guard(), peer(calls_per_hour=3)
    for number in range(3):
        assert not fraud.hindrance(desk, "2125550000", number * 60 * SECOND)
    assert fraud.hindrance(desk, "2125550000", HOUR - 1) == "calls_per_hour = 3"
    assert not fraud.hindrance(desk, "2125550000", HOUR)
    assert fraud.hindrance(desk, "2125550000", HOUR)
    assert not fraud.hindrance(desk, "2125550000", HOUR + 60 * SECOND)


def test_refused_calls_do_not_count() -> None:
    fraud, desk = guard(), peer(calls_per_hour=1)
    assert not fraud.hindrance(desk, "1", 0)
    for number in range(100):
        assert fraud.hindrance(desk, "1", number)
    assert not fraud.hindrance(desk, "1", HOUR)


def test_new_destinations_run_out_and_old_ones_stay() -> None:
    fraud, desk = guard(), peer(destinations_per_hour=2)
    for number in ("10", "11", "10", "11"):
        assert not fraud.hindrance(desk, number, 0)
    assert fraud.hindrance(desk, "12", SECOND) == "destinations_per_hour = 2"
    assert not fraud.hindrance(desk, "10", HOUR - SECOND)
    assert not fraud.hindrance(desk, "12", HOUR)
    assert fraud.hindrance(desk, "11", HOUR)


def test_calls_at_once_have_a_limit() -> None:
    assert guard(2).hindrance(peer(call_limit=2), "1", 0) == "call_limit = 2"
    assert not guard(1).hindrance(peer(call_limit=2), "1", 0)
    assert not guard(2).hindrance(peer(call_limit=2), "1", 0, own=1)


def test_emergency_calls_are_never_refused_and_take_nobody_s_place() -> None:
    fraud, desk = guard(5), peer(call_limit=1, calls_per_hour=1, destinations_per_hour=1)
    for number in range(50):
        assert not fraud.hindrance(desk, "911", number)
    calm = guard()
    desk = peer(calls_per_hour=1, destinations_per_hour=1)
    assert not calm.hindrance(desk, "112", 0)
    assert not calm.hindrance(desk, "2125550000", 0)
    assert calm.hindrance(desk, "2125550001", 0)
    assert not calm.hindrance(desk, "112", 0)


def test_peers_have_brakes_of_their_own() -> None:
    fraud = guard()
    assert not fraud.hindrance(peer(calls_per_hour=1), "1", 0)
    assert not fraud.hindrance(replace(peer(calls_per_hour=1), name="lobby"), "1", 0)
    assert fraud.hindrance(peer(calls_per_hour=1), "1", 0)


def test_one_line_an_hour_tells(caplog: pytest.LogCaptureFixture) -> None:
    fraud, desk = guard(), peer(calls_per_hour=1)
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            fraud.hindrance(desk, str(number), number)
    assert [record.getMessage() for record in caplog.records] == [
        "desk has reached calls_per_hour = 1: further calls are refused, but not to emergency numbers"
    ]


# -- in the endpoint --


def branch(**brakes: int) -> FarEnd:
    return FarEnd(
        peer=lambda plain: replace(plain, brakes=Brakes(**brakes)),
        settings=lambda plain: replace(plain, emergency=EMERGENCY),
    )


def test_call_too_many_of_a_peer_is_refused_and_told() -> None:
    far = branch(call_limit=2)
    told: list[NotOffered] = []
    far.endpoint.incoming._on_not_offered = lambda offer, _now: told.append(offer)
    for number in range(2):
        far.request("INVITE", body=sdp(), call_id=f"c{number}")
        far.take_response(100)
    far.request("INVITE", body=sdp(), call_id="c3")
    assert far.names() == ["100 INVITE", "403 INVITE"]
    assert [(each.source, each.cause) for each in told] == [("b", Cause.CALL_REJECTED)]
    assert "call_limit = 2" in told[0].text
    far.request("INVITE", body=sdp(), call_id="c4", user="911")
    far.take_response(100)
    assert far.offers[-1][1].setup.called.digits == "911"
    far.offers[0][0].release(Cause.USER_BUSY, far.now)
    far.offers[1][0].release(Cause.USER_BUSY, far.now)
    far.take()
    far.request("INVITE", body=sdp(), call_id="c5")
    far.take_response(100)


def test_call_too_many_to_a_peer_fails_before_it_is_placed() -> None:
    far = branch(destinations_per_hour=1)
    far.call_out(simple_setup())
    leg = far.endpoint.new_leg("b", far.now)
    assert not isinstance(leg, Cause)
    leg.listener = notes = Notes()
    leg.place(replace_called("9005551234"), far.now)
    assert far.take() == []
    assert notes.released is not None
    assert notes.released.cause is Cause.CALL_REJECTED
    assert "destinations_per_hour" in notes.released.text
    _, _, invite = far.call_out(replace_called("911"))
    assert invite.uri_text.startswith(f"sip:911@{B_ADDRESS}")


def replace_called(digits: str) -> Setup:
    return msgspec.structs.replace(simple_setup(), called=Number(digits))


def test_emergency_call_has_room_when_all_others_are_refused() -> None:
    far = FarEnd(settings=lambda plain: replace(plain, max_calls=1, emergency=EMERGENCY))
    far.request("INVITE", body=sdp(), call_id="c1")
    far.take()
    far.request("INVITE", body=sdp(), call_id="c2")
    assert far.names() == ["100 INVITE", "503 INVITE"]
    far.request("INVITE", body=sdp(), call_id="c3", user="911")
    assert far.names() == ["100 INVITE"]
