"""Every timer of Q.931 9.1 and 9.2: what starts it, what stops it, and what its expiries do."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.pri.channels import Block, ChannelState
from gateway.pri.lapd import Side
from gateway.pri.q931.ie import (
    CauseElement,
    ChannelIdentification,
    ProgressDescription,
    ProgressIndicator,
    RestartClass,
    RestartIndicator,
    SendingComplete,
)
from gateway.pri.q931.message import CallReference, Message, MessageType
from gateway.pri.q931.primitives import CallIndication, MaintenanceIndication, Primitive
from gateway.pri.q931.states import State
from gateway.pri.q931.timers import NETWORK_TIMERS, USER_TIMERS, Q931Timer, timer_values
from tests.unit.pri.q931_far_end import FarEnd, T

INBAND = ProgressIndicator(ProgressDescription.INBAND_INFORMATION)


def cause_of(indication: CallIndication) -> Cause | int:
    assert indication.cause is not None
    return indication.cause.value


def sent_cause(end: FarEnd, kind: MessageType) -> Cause | int:
    cause = end.one(kind).first(CauseElement)
    assert cause is not None
    return cause.value


@pytest.mark.parametrize(
    ("timer", "user", "network"),
    [
        (Q931Timer.T301, 180, 180),
        (Q931Timer.T302, 15, 15),
        (Q931Timer.T303, 4, 4),
        (Q931Timer.T304, 30, 20),
        (Q931Timer.T305, 30, 30),
        (Q931Timer.T306, 30, 30),
        (Q931Timer.T308, 4, 4),
        (Q931Timer.T309, 90, 90),
        (Q931Timer.T310, 60, 10),
        (Q931Timer.T313, 4, 4),
        (Q931Timer.T316, 120, 120),
        (Q931Timer.T317, 60, 60),
        (Q931Timer.T322, 4, 4),
    ],
)
def test_defaults_are_those_of_tables_9_1_and_9_2(timer: Q931Timer, user: int, network: int) -> None:
    assert USER_TIMERS[timer].default == user * SECOND
    assert NETWORK_TIMERS[timer].default == network * SECOND


def test_timers_are_changed_by_switch_type_and_then_by_the_operator() -> None:
    values = timer_values(
        Side.USER, {Q931Timer.T310: 20 * SECOND, Q931Timer.T303: SECOND}, {Q931Timer.T303: 5 * SECOND}
    )
    assert values[Q931Timer.T310] == 20 * SECOND
    assert values[Q931Timer.T303] == 5 * SECOND


def test_timer_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="T303 is 1, expected"):
        timer_values(Side.USER, {}, {Q931Timer.T303: 1})
    with pytest.raises(ValueError, match="T317 is 120000000, expected less than T316"):
        timer_values(Side.USER, {}, {Q931Timer.T317: 120 * SECOND})


def test_operator_s_timer_is_used() -> None:
    end = FarEnd(timers={Q931Timer.T303: 2 * SECOND})
    end.place()
    end.wait(2)
    assert end.sent() == [T.SETUP, T.SETUP]


def test_t301_expires_and_clears_with_cause_102_and_no_answer() -> None:
    end = FarEnd(Side.NETWORK)
    end.call_in(True, State.CALL_RECEIVED)
    end.wait(179.9)
    assert end.sent() == []
    end.wait(0.2)
    assert sent_cause(end, T.DISCONNECT) is Cause.RECOVERY_ON_TIMER_EXPIRY
    (indication,) = end.indications()
    assert indication.primitive is Primitive.CLEARED
    assert cause_of(indication) is Cause.NO_ANSWER_FROM_USER


def test_t301_stops_at_connect() -> None:
    end = FarEnd()
    call = end.call_in(True, State.CALL_DELIVERED)
    end.send(call, T.CONNECT)
    end.wait(1000)
    assert call.state is State.ACTIVE


def test_t302_expires_and_leaves_it_to_the_owner_whether_the_number_is_complete() -> None:
    end = FarEnd()
    call = end.call_in(False, State.OVERLAP_RECEIVING)
    end.wait(10)
    end.send(call, T.INFORMATION)  # restarts it
    end.wait(14.9)
    assert end.told() == [Primitive.INFORMATION]
    end.wait(0.2)
    assert end.told() == [Primitive.DIGITS_COMPLETE]
    assert end.sent() == []
    assert call.proceeding(())
    assert end.sent() == [T.CALL_PROCEEDING]


def test_t302_stops_with_sending_complete() -> None:
    end = FarEnd()
    call = end.call_in(False, State.OVERLAP_RECEIVING)
    end.send(call, T.INFORMATION, SendingComplete())
    end.told()
    end.wait(100)
    assert end.told() == []


@pytest.mark.parametrize("request_name", ["proceeding", "alerting", "connect", "progress"])
def test_t302_stops_when_the_call_goes_on(request_name: str) -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(False, State.OVERLAP_SENDING)
    getattr(call, request_name)(())
    end.told()
    end.wait(100)
    assert end.told() == []


def test_t303_expires_twice_then_clears_with_cause_102() -> None:
    end = FarEnd(Side.USER)
    call = end.place()
    (first,) = end.taken()
    end.wait(4)
    (second,) = end.taken()
    assert second == first
    end.wait(4)
    assert sent_cause(end, T.RELEASE_COMPLETE) is Cause.RECOVERY_ON_TIMER_EXPIRY
    (indication,) = end.indications()
    assert indication.primitive is Primitive.RELEASE
    assert cause_of(indication) is Cause.RECOVERY_ON_TIMER_EXPIRY
    assert call.released


def test_t303_of_the_network_tells_that_no_user_responds() -> None:
    end = FarEnd(Side.NETWORK)
    end.place()
    end.taken()
    end.wait(8)
    assert end.sent() == [T.SETUP, T.RELEASE_COMPLETE]
    (indication,) = end.indications()
    assert cause_of(indication) is Cause.NO_USER_RESPONDING


@pytest.mark.parametrize("answer", [T.SETUP_ACKNOWLEDGE, T.CALL_PROCEEDING, T.ALERTING, T.CONNECT])
def test_t303_stops_with_any_answer(answer: MessageType) -> None:
    end = FarEnd()
    call = end.place()
    end.wait(3)
    end.send(call, answer)
    end.taken()
    end.wait(5)
    assert end.sent() == []


def test_t304_expires_and_clears_with_cause_102_and_invalid_number() -> None:
    end = FarEnd(Side.USER)
    call = end.call_in(True, State.OVERLAP_SENDING)
    end.wait(29)
    call.digits("4", False)
    assert end.sent() == [T.INFORMATION]
    end.wait(29.9)
    assert end.sent() == []
    end.wait(0.2)
    assert sent_cause(end, T.DISCONNECT) is Cause.RECOVERY_ON_TIMER_EXPIRY
    (indication,) = end.indications()
    assert cause_of(indication) is Cause.INVALID_NUMBER_FORMAT


def test_t304_starts_with_setup_acknowledge() -> None:
    end = FarEnd(Side.USER)
    call = end.place()
    end.send(call, T.SETUP_ACKNOWLEDGE)
    end.taken()
    end.wait(30)
    assert end.sent() == [T.DISCONNECT]


@pytest.mark.parametrize("answer", [T.CALL_PROCEEDING, T.ALERTING, T.CONNECT])
def test_t304_stops_when_the_number_is_taken(answer: MessageType) -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(True, State.OVERLAP_RECEIVING)
    end.send(call, answer)
    assert (call, Q931Timer.T304) not in end.link.timers


@pytest.mark.parametrize("side", list(Side))
def test_t305_expires_and_release_says_the_cause_of_disconnect(side: Side) -> None:
    end = FarEnd(side)
    call = end.call_in(True, State.ACTIVE)
    call.clear(Cause.USER_BUSY)
    assert end.sent() == [T.DISCONNECT]
    end.wait(30)
    assert sent_cause(end, T.RELEASE) is Cause.USER_BUSY
    assert call.state is State.RELEASE_REQUEST


def test_t306_expires_when_the_announcement_lasted_long_enough() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(False, State.OUTGOING_CALL_PROCEEDING)
    call.clear(Cause.UNALLOCATED_NUMBER, elements=(INBAND,))
    message = end.one(T.DISCONNECT)
    assert message.first(ProgressIndicator) is not None
    assert (call, Q931Timer.T306) in end.link.timers
    assert (call, Q931Timer.T305) not in end.link.timers
    end.wait(30)
    assert sent_cause(end, T.RELEASE) is Cause.UNALLOCATED_NUMBER


def test_t306_is_cut_short_when_the_owner_has_said_all() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(False, State.OUTGOING_CALL_PROCEEDING)
    call.clear(Cause.UNALLOCATED_NUMBER, elements=(INBAND,))
    end.wait(5)
    assert call.clear(Cause.UNALLOCATED_NUMBER)
    assert end.sent() == [T.DISCONNECT, T.RELEASE]


@pytest.mark.parametrize("side", list(Side))
def test_t308_expires_twice_then_frees_the_call_tells_management_and_restarts_the_channel(side: Side) -> None:
    end = FarEnd(side)
    call = end.call_in(True, State.RELEASE_REQUEST)
    assert call.channel is not None
    timeslot = call.channel.timeslot
    end.wait(4)
    assert end.sent() == [T.RELEASE]
    assert call.channel.owner is call
    end.wait(4)
    (restart,) = end.taken()
    assert restart.message_type is T.RESTART
    assert restart.first(ChannelIdentification) == ChannelIdentification((timeslot,))
    assert call.released
    assert end.channels.count(ChannelState.IDLE) == 29
    notes = [output for output in end.outputs if isinstance(output, MaintenanceIndication)]
    assert [note.timeslots for note in notes] == [(timeslot,)]


def test_t309_expires_and_ends_the_call_with_cause_27() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.link_released(end.now)
    end.wait(50)
    end.link.link_released(end.now)  # does not restart it
    end.wait(39.9)
    assert not call.released
    end.wait(0.2)
    assert call.released
    (indication,) = end.indications()
    assert cause_of(indication) is Cause.DESTINATION_OUT_OF_ORDER
    assert end.sent() == []


@pytest.mark.parametrize(
    ("side", "seconds", "told"),
    [(Side.USER, 110, Cause.RECOVERY_ON_TIMER_EXPIRY), (Side.NETWORK, 10, Cause.NO_USER_RESPONDING)],
)
def test_t310_expires_and_clears_with_cause_102(side: Side, seconds: int, told: Cause) -> None:
    end = FarEnd(side)
    call = end.place()
    end.send(call, T.CALL_PROCEEDING)
    end.taken()
    end.indications()
    end.wait(seconds)
    assert sent_cause(end, T.DISCONNECT) is Cause.RECOVERY_ON_TIMER_EXPIRY
    (indication,) = end.indications()
    assert cause_of(indication) is told


@pytest.mark.parametrize("answer", [T.PROGRESS, T.ALERTING, T.CONNECT, T.DISCONNECT])
def test_t310_stops(answer: MessageType) -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(True, State.INCOMING_CALL_PROCEEDING)
    end.send(call, answer, CauseElement(Cause.USER_BUSY), INBAND)
    assert (call, Q931Timer.T310) not in end.link.timers


def test_t310_does_not_run_while_an_announcement_is_played() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.place()
    end.send(call, T.CALL_PROCEEDING, INBAND)
    assert (call, Q931Timer.T310) not in end.link.timers


def test_t313_expires_and_clears_with_cause_102() -> None:
    end = FarEnd(Side.USER)
    end.call_in(False, State.CONNECT_REQUEST)
    end.wait(4)
    assert sent_cause(end, T.DISCONNECT) is Cause.RECOVERY_ON_TIMER_EXPIRY
    (indication,) = end.indications()
    assert indication.primitive is Primitive.CLEARED
    assert cause_of(indication) is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_t313_stops_with_connect_acknowledge() -> None:
    end = FarEnd(Side.USER)
    call = end.call_in(False, State.CONNECT_REQUEST)
    end.send(call, T.CONNECT_ACKNOWLEDGE)
    end.wait(100)
    assert end.told() == [Primitive.CONNECTED]
    assert end.sent() == []


def test_t316_expires_twice_then_tells_management_and_uses_the_channels_again() -> None:
    end = FarEnd()
    end.link.restarts.request(None)
    assert end.sent() == [T.RESTART]
    assert all(channel.block is Block.RESTART for channel in end.channels)
    end.wait(120)
    assert end.sent() == [T.RESTART]
    end.wait(120)
    assert end.sent() == []
    assert all(channel.idle for channel in end.channels)
    assert any(isinstance(output, MaintenanceIndication) for output in end.outputs)


def test_t317_expires_when_the_owner_does_not_clear_in_time() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    end.link.restarts.receive(_restart())
    assert call.released
    end.taken()
    end.channels.seize(1, object())
    end.wait(60)
    message = end.one(T.RESTART_ACKNOWLEDGE)
    channels = message.first(ChannelIdentification)
    assert channels is not None
    assert 1 not in channels.channels
    assert len(channels.channels) == 29
    (note,) = [output for output in end.outputs if isinstance(output, MaintenanceIndication)]
    assert note.timeslots == (1,)


def _restart() -> Message:
    return Message(T.RESTART, CallReference(0), (RestartIndicator(RestartClass.SINGLE_INTERFACE),))


def test_t322_expires_three_times_then_clears_with_cause_41() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    end.wait(4)
    end.wait(4)
    assert end.sent() == [T.STATUS_ENQUIRY] * 3
    end.wait(4)
    assert sent_cause(end, T.DISCONNECT) is Cause.TEMPORARY_FAILURE
    (indication,) = end.indications()
    assert cause_of(indication) is Cause.TEMPORARY_FAILURE


def test_t322_stops_with_the_answer() -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.enquire()
    end.send_status(call, Cause.RESPONSE_TO_STATUS_ENQUIRY, State.ACTIVE)
    end.taken()
    end.wait(100)
    assert end.sent() == []


@pytest.mark.parametrize("timer", [timer for timer in Q931Timer if timer not in (Q931Timer.T316, Q931Timer.T317)])
def test_no_timer_survives_its_call(timer: Q931Timer) -> None:
    end = FarEnd()
    call = end.call_in(True, State.ACTIVE)
    call.start(timer)
    end.send_cause(call, T.RELEASE_COMPLETE, Cause.NORMAL_CALL_CLEARING)
    assert end.link.next_timer() is None
