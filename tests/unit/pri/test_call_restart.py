"""RESTART (Q.931 5.5) both ways, and SERVICE of NI-2."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.pri.channels import Block, Line
from gateway.pri.lapd import Side
from gateway.pri.q931.euroisdn import EuroIsdn
from gateway.pri.q931.ie import (
    CallState,
    CauseElement,
    ChannelIdentification,
    ElementId,
    InformationElement,
    RestartClass,
    RestartIndicator,
    UnknownElement,
)
from gateway.pri.q931.message import CallReference, Message, encode
from gateway.pri.q931.ni2 import NationalIsdn2
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.states import GlobalState, State
from tests.unit.pri.q931_far_end import FarEnd, T

CHANNELS = RestartIndicator(RestartClass.INDICATED_CHANNELS)
INTERFACE = RestartIndicator(RestartClass.SINGLE_INTERFACE)
ALL = RestartIndicator(RestartClass.ALL_INTERFACES)


def restart(*elements: InformationElement) -> Message:
    return Message(T.RESTART, CallReference(0), elements)


def acknowledge(*elements: InformationElement) -> Message:
    return Message(T.RESTART_ACKNOWLEDGE, CallReference(0, True), elements)


@pytest.mark.parametrize("side", list(Side))
def test_euroisdn_restarts_the_interface_when_the_link_comes_up_first_and_only_then(side: Side) -> None:
    end = FarEnd(side, EuroIsdn(), up=False)
    end.link.link_established(0)
    message = end.one(T.RESTART)
    assert message.call_reference == CallReference(0, False)
    assert message.elements == (INTERFACE,)
    assert all(channel.block is Block.RESTART for channel in end.channels)
    end.hears(acknowledge(INTERFACE))
    assert all(channel.idle for channel in end.channels)
    end.link.link_released(0)
    end.link.link_established(0)
    assert end.sent() == []


def test_ni2_restarts_channel_after_channel() -> None:
    end = FarEnd(Side.USER, NationalIsdn2(), line=Line.T1, up=False)
    end.link.link_established(0)
    for timeslot in range(1, 24):
        message = end.one(T.RESTART)
        assert message.elements == (ChannelIdentification((timeslot,)), CHANNELS)
        assert end.link.restarts.state is GlobalState.REST_1
        end.hears(acknowledge(*message.elements))
    assert end.sent() == []
    assert end.link.restarts.state is GlobalState.REST_0
    assert all(channel.idle for channel in end.channels)


def test_5_5_1_restart_of_ours_clears_the_call_on_the_channel() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.restarts.request(1)
    assert end.sent() == [T.RESTART]
    assert call.released
    assert end.told() == [Primitive.RELEASE]
    assert end.channels.seize(1, "x") is None
    end.hears(acknowledge(ChannelIdentification((1,)), CHANNELS))
    assert end.channels.seize(1, "x") is not None


def test_5_5_1_only_one_restart_is_out_at_a_time() -> None:
    end = FarEnd()
    end.link.restarts.request(1)
    end.link.restarts.request(2)
    end.link.restarts.request(2)
    assert end.sent() == [T.RESTART]
    end.hears(acknowledge(ChannelIdentification((1,)), CHANNELS))
    assert end.sent() == [T.RESTART]
    end.hears(acknowledge(ChannelIdentification((2,)), CHANNELS))
    assert end.sent() == []


def test_5_5_1_restart_is_sent_again_when_the_link_was_lost_meanwhile() -> None:
    end = FarEnd()
    end.link.restarts.request(None)
    end.taken()
    end.link.link_released(0)
    end.wait(1000)
    assert end.sent() == []
    end.link.link_established(end.now)
    assert end.sent() == [T.RESTART]
    end.hears(acknowledge(INTERFACE))
    assert all(channel.idle for channel in end.channels)


def test_restart_that_the_far_end_refuses_by_status_does_not_block_for_ever() -> None:
    end = FarEnd()
    end.link.restarts.request(None)
    end.hears(Message(T.STATUS, CallReference(0, True), (CauseElement(Cause.MESSAGE_TYPE_NONEXISTENT), CallState(0))))
    assert all(channel.idle for channel in end.channels)


@pytest.mark.parametrize("reference", [CallReference(0), CallReference(0, length=1)])
def test_restart_is_acknowledged_with_a_reference_as_long_as_its_own(reference: CallReference) -> None:
    end = FarEnd()
    end.hears(Message(T.RESTART, reference, (INTERFACE,)))
    end.link.restarts.completed()
    assert end.one(T.RESTART_ACKNOWLEDGE).call_reference == reference.answer()


def test_restart_at_the_start_that_nobody_answers_is_given_up_before_t316() -> None:
    end = FarEnd(Side.USER, EuroIsdn(), up=False)
    end.link.link_established(0)
    end.wait(20)
    assert end.sent() == [T.RESTART]
    assert all(channel.idle for channel in end.channels)
    assert end.link.next_timer() is None


def test_channels_of_a_far_end_that_answers_no_restart_are_not_restarted_one_by_one() -> None:
    end = FarEnd(Side.USER, NationalIsdn2(), line=Line.T1, up=False)
    end.link.link_established(0)
    end.wait(1000)
    assert end.sent() == [T.RESTART]
    assert all(channel.idle for channel in end.channels)


def test_restart_asked_for_after_the_start_waits_for_t316() -> None:
    end = FarEnd(Side.USER, EuroIsdn(), up=False)
    end.link.link_established(0)
    end.hears(acknowledge(INTERFACE))
    end.link.restarts.request(3)
    end.wait(119)
    assert end.sent() == [T.RESTART, T.RESTART]
    end.wait(2)
    assert end.sent() == [T.RESTART]
    channel = end.channels.get(3)
    assert channel is not None
    assert not channel.idle


def test_far_end_that_ignores_our_restart_may_call_us() -> None:
    end = FarEnd()
    end.link.restarts.request(None)
    call = end.offer(ChannelIdentification((5,)))
    assert call is not None
    call.connect(())
    end.send(call, T.CONNECT_ACKNOWLEDGE)
    end.wait(300)
    assert call.state is State.ACTIVE


def test_call_that_crossed_our_restart_ends_with_its_acknowledgement() -> None:
    end = FarEnd()
    end.link.restarts.request(5)
    call = end.offer(ChannelIdentification((5,)))
    assert call is not None
    end.taken()
    end.hears(acknowledge(ChannelIdentification((5,)), CHANNELS))
    assert call.released
    assert end.sent() == []  # the far end has no such call any more
    assert all(channel.idle for channel in end.channels)


def test_late_acknowledgement_of_another_channel_is_not_taken_for_the_one_that_waits() -> None:
    end = FarEnd()
    end.link.restarts.request(1)
    end.wait(240)
    end.link.restarts.request(2)
    end.taken()
    end.hears(acknowledge(ChannelIdentification((1,)), CHANNELS))
    assert end.link.restarts.outstanding == (2,)
    end.hears(acknowledge(ChannelIdentification((2,)), CHANNELS))
    assert not end.link.restarts.outstanding


def test_acknowledgement_that_nobody_waits_for_is_ignored() -> None:
    end = FarEnd()
    end.hears(acknowledge(INTERFACE))
    assert end.sent() == []


def test_waiting_restarts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pri.q931.restart.MAX_PENDING_RESTARTS", 2)
    end = FarEnd(up=False)
    assert [end.link.restarts.request(timeslot) for timeslot in (1, 2, 3)] == [True, True, False]


def test_5_5_2_restart_of_a_channel_clears_its_call_and_is_acknowledged_when_the_owner_is_done() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    other = end.call_in(False, State.ACTIVE)
    end.hears(restart(ChannelIdentification((1,)), CHANNELS))
    (indication,) = end.indications()
    assert indication.call is call
    assert indication.primitive is Primitive.RELEASE
    assert other.state is State.ACTIVE
    assert end.restarts[0].timeslots == (1,)
    assert end.sent() == []
    assert end.link.restarts.state is GlobalState.REST_2
    end.link.restarts.completed()
    message = end.one(T.RESTART_ACKNOWLEDGE)
    assert message.call_reference == CallReference(0, True)
    assert message.elements == (ChannelIdentification((1,)), CHANNELS)
    end.wait(100)
    assert end.sent() == []  # T317 is stopped


@pytest.mark.parametrize("indicator", [INTERFACE, ALL])
def test_5_5_2_restart_of_interfaces_clears_all_calls(indicator: RestartIndicator) -> None:
    end = FarEnd()
    end.call_in(True, State.ACTIVE)
    end.call_in(False, State.ACTIVE)
    end.hears(restart(indicator))
    assert end.link.calls == {}
    end.link.restarts.completed()
    assert end.one(T.RESTART_ACKNOWLEDGE).elements == (indicator,)


def test_5_5_2_restart_is_acknowledged_even_if_nothing_is_there_to_clear() -> None:
    end = FarEnd()
    end.hears(restart(ChannelIdentification((3,)), CHANNELS))
    end.link.restarts.completed()
    assert end.sent() == [T.RESTART_ACKNOWLEDGE]


def test_restarts_of_both_ends_are_handled_independently() -> None:
    end = FarEnd()
    end.link.restarts.request(None)
    end.taken()
    end.hears(restart(INTERFACE))
    end.link.restarts.completed()
    assert end.sent() == [T.RESTART_ACKNOWLEDGE]
    assert all(channel.block is Block.RESTART for channel in end.channels)
    end.hears(acknowledge(INTERFACE))
    assert all(channel.idle for channel in end.channels)


def test_restart_takes_away_a_block_of_the_far_end() -> None:
    end = FarEnd()
    end.channels.block(Block.REMOTE, 3)
    end.hears(restart(ChannelIdentification((3,)), CHANNELS))
    channel = end.channels.get(3)
    assert channel is not None
    assert channel.idle


@pytest.mark.parametrize(
    ("elements", "cause"),
    [
        ((), Cause.MANDATORY_ELEMENT_MISSING),
        ((CHANNELS,), Cause.MANDATORY_ELEMENT_MISSING),
        ((UnknownElement(ElementId.RESTART_INDICATOR, b"\x82"),), Cause.INVALID_ELEMENT_CONTENTS),
        ((ChannelIdentification((16,)), CHANNELS), Cause.CHANNEL_DOES_NOT_EXIST),
    ],
)
def test_faulty_restart_gets_status(elements: tuple[InformationElement, ...], cause: Cause) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.hears(restart(*elements))
    status = end.one(T.STATUS)
    answer = status.first(CauseElement)
    assert answer is not None
    assert answer.value is cause
    assert status.call_reference == CallReference(0, True)
    assert call.state is State.ACTIVE


def test_pending_restarts_of_the_far_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pri.q931.restart.MAX_PENDING_RESTARTS", 2)
    end = FarEnd()
    for _ in range(3):
        end.hears(restart(INTERFACE))
    for _ in range(3):
        end.link.restarts.completed()
    assert end.sent() == [T.RESTART_ACKNOWLEDGE] * 2


# -- SERVICE --
# Octets, as the two types of NI-2's messages have each other's numbers elsewhere.

IN_SERVICE, MAINTENANCE, OUT_OF_SERVICE = 0xC0, 0xC1, 0xC2


def service(timeslot: int, status: int, *, flag: int = 0, kind: int = 0x07, discriminator: int = 0x43) -> bytes:
    header = bytes((discriminator, 2, flag, 0, kind))
    return header + bytes((0x01, 0x01, status, 0x18, 0x03, 0xA9, 0x83, 0x80 | timeslot))


def acknowledgement(timeslot: int, status: int) -> bytes:
    return service(timeslot, status, flag=0x80, kind=0x0F)


def ni2() -> FarEnd:
    end = FarEnd(Side.USER, NationalIsdn2(), line=Line.T1, up=False)
    end.link.up = True
    return end


def said(end: FarEnd) -> list[bytes]:
    return [encode(message) for message in end.taken()]


@pytest.mark.parametrize("status", [OUT_OF_SERVICE, MAINTENANCE])
def test_service_takes_a_channel_out_of_service_and_back(status: int) -> None:
    end = ni2()
    end.link.receive(service(4, status), 0)
    assert said(end) == [acknowledgement(4, status)]
    assert end.channels.seize(4, "x") is None
    end.link.receive(service(4, IN_SERVICE), 0)
    assert said(end) == [acknowledgement(4, IN_SERVICE)]
    assert end.channels.seize(4, "x") is not None


def test_our_own_block_is_announced_and_told_again_when_the_link_is_back() -> None:
    end = ni2()
    end.channels.block(Block.LOCAL, 4)
    end.link.services.announce(4)
    assert said(end) == [service(4, OUT_OF_SERVICE)]
    end.link.receive(acknowledgement(4, OUT_OF_SERVICE), 0)
    channel = end.channels.get(4)
    assert channel is not None
    assert channel.block is Block.LOCAL  # the acknowledgement is no block of theirs
    end.link.link_released(0)
    end.link.link_established(0)
    assert service(4, OUT_OF_SERVICE) in said(end)


def test_service_is_ignored_by_a_switch_type_without_it() -> None:
    end = FarEnd()
    for discriminator in (0x03, 0x43):
        end.link.receive(service(4, OUT_OF_SERVICE, discriminator=discriminator), 0)
    assert said(end) == []
    assert end.link.ignored == 2
    end.channels.block(Block.LOCAL, 4)
    end.link.services.announce(4)
    assert said(end) == []


@pytest.mark.parametrize("kind", [0x07, 0x0F])
def test_acknowledgement_of_service_is_never_answered(kind: int) -> None:
    end = ni2()
    end.link.receive(service(4, OUT_OF_SERVICE, flag=0x80, kind=kind), 0)
    assert said(end) == []


def test_service_that_is_not_of_the_switch_type_or_without_its_elements_is_ignored() -> None:
    end = ni2()
    end.link.receive(service(4, OUT_OF_SERVICE)[:5], 0)
    end.link.receive(service(4, OUT_OF_SERVICE, discriminator=0x03, kind=0x0F), 0)
    assert said(end) == []
    end.link.receive(service(24, OUT_OF_SERVICE), 0)  # the D channel: acknowledged, nothing to block
    assert said(end) == [acknowledgement(24, OUT_OF_SERVICE)]
