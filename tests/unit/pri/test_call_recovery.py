"""Messages that a reset of the data link lost: the far end's state tells which, and they are made good (5.8.8)."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.ie import SPEECH_A_LAW, CalledPartyNumber, ChannelIdentification
from gateway.pri.q931.message import CallReference, Message
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.recovery import MAX_REPEATS
from gateway.pri.q931.states import State
from tests.unit.pri.q931_far_end import THEIRS, FarEnd, T

ANSWER = Cause.RESPONSE_TO_STATUS_ENQUIRY


def reset(end: FarEnd, call: Q931Call, reported: State) -> None:
    """The link is reset and the far end says where it is."""
    end.link.link_established(end.now)
    assert end.sent() == [T.STATUS_ENQUIRY]
    end.send_status(call, ANSWER, reported)


@pytest.mark.parametrize("reported", [State.CALL_PRESENT, State.INCOMING_CALL_PROCEEDING, State.CALL_RECEIVED])
def test_a_connect_that_was_lost_is_sent_again_and_its_timer_begins_anew(reported: State) -> None:
    end = FarEnd()
    call = end.call_in(False, State.CONNECT_REQUEST)
    end.wait(3.5)
    reset(end, call, reported)
    assert end.sent() == [T.CONNECT]
    end.wait(3.5)
    end.send(call, T.CONNECT_ACKNOWLEDGE)
    assert call.state is State.ACTIVE


def test_a_connect_acknowledge_that_was_lost_is_not_missed() -> None:
    end = FarEnd()
    call = end.call_in(False, State.CONNECT_REQUEST)
    reset(end, call, State.ACTIVE)
    assert (call.state, end.told()) == (State.ACTIVE, [Primitive.CONNECTED])
    end.wait(10)
    assert call.state is State.ACTIVE


def test_a_network_whose_connect_was_lost_sends_it_again_instead_of_clearing() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(False, State.ACTIVE)
    reset(end, call, State.CALL_DELIVERED)
    assert (end.sent(), call.state) == ([T.CONNECT], State.ACTIVE)


@pytest.mark.parametrize("before", [State.OUTGOING_CALL_PROCEEDING, State.CALL_DELIVERED])
def test_a_caller_that_missed_the_answer_is_told_of_it(before: State) -> None:
    end = FarEnd()
    call = end.call_in(True, before)
    reset(end, call, State.ACTIVE)
    assert end.told() == [Primitive.CONNECT]
    assert (end.sent(), call.state) == ([T.CONNECT_ACKNOWLEDGE], State.ACTIVE)


def test_a_caller_that_missed_the_ringing_is_told_of_it() -> None:
    end = FarEnd()
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    reset(end, call, State.CALL_DELIVERED)
    assert (call.state, end.told()) == (State.CALL_DELIVERED, [Primitive.ALERTING])


def test_a_network_that_calls_acknowledges_again_a_user_that_still_waits() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.call_in(True, State.ACTIVE)
    reset(end, call, State.CONNECT_REQUEST)
    assert (end.sent(), call.state) == ([T.CONNECT_ACKNOWLEDGE], State.ACTIVE)


def test_a_setup_without_answer_is_sent_again_at_once() -> None:
    end = FarEnd()
    end.place()
    end.taken()
    end.wait(1)
    end.link.link_established(end.now)
    assert end.sent() == [T.SETUP]
    end.wait(3.5)
    assert end.sent() == []
    end.wait(1)
    assert end.sent() == [T.SETUP]


@pytest.mark.parametrize(
    ("state", "again"), [(State.DISCONNECT_REQUEST, T.DISCONNECT), (State.RELEASE_REQUEST, T.RELEASE)]
)
def test_clearing_does_not_wait_for_its_timer(state: State, again: T) -> None:
    end = FarEnd()
    end.call_in(True, state)
    for _ in range(MAX_REPEATS):
        end.link.link_established(end.now)
        assert end.sent() == [again]
    end.link.link_established(end.now)
    assert end.sent() == []


def test_a_setup_that_is_repeated_gets_the_last_answer_again_a_few_times() -> None:
    end = FarEnd()
    call = end.call_in(False, State.CALL_RECEIVED)
    end.taken()
    for _ in range(MAX_REPEATS):
        end.send(call, T.SETUP, CalledPartyNumber("1"))
        assert end.sent() == [T.ALERTING]
    end.send(call, T.SETUP, CalledPartyNumber("1"))
    assert end.sent() == []


def test_a_far_end_that_says_nothing_leaves_a_ringing_call_to_its_own_timer() -> None:
    end = FarEnd()
    call = end.call_in(True, State.CALL_DELIVERED)
    end.link.link_established(end.now)
    end.wait(60)
    assert call.state is State.CALL_DELIVERED


def test_a_far_end_that_is_as_far_as_we_are_hears_nothing_more() -> None:
    end = FarEnd()
    call = end.call_in(False, State.CALL_RECEIVED)
    reset(end, call, State.CALL_RECEIVED)
    assert (end.sent(), call.state) == ([], State.CALL_RECEIVED)


@pytest.mark.parametrize("originated", [True, False])
def test_a_channel_that_is_given_away_anew_was_released_though_nobody_said_so(originated: bool) -> None:
    end = FarEnd()
    call = end.call_in(originated, State.RELEASE_REQUEST)
    assert call.channel is not None
    timeslot = call.channel.timeslot
    # The link was reset and took RELEASE COMPLETE with it; T308 would hold the channel for another 4 s.
    wanted = ChannelIdentification((timeslot,), exclusive=True)
    end.hears(Message(T.SETUP, CallReference(THEIRS + 1), (SPEECH_A_LAW, wanted, CalledPartyNumber("123"))))
    assert call.state is State.NULL and end.told()[:1] == [Primitive.RELEASE]
    new = end.link.calls[~(THEIRS + 1)]
    assert new.channel is not None and new.channel.timeslot == timeslot
    assert T.RELEASE_COMPLETE not in end.sent()


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISCONNECT_REQUEST])
def test_a_channel_with_a_call_that_is_not_released_is_not_given_away(state: State) -> None:
    end = FarEnd()
    call = end.call_in(False, state)
    assert call.channel is not None
    wanted = ChannelIdentification((call.channel.timeslot,), exclusive=True)
    end.hears(Message(T.SETUP, CallReference(THEIRS + 1), (SPEECH_A_LAW, wanted, CalledPartyNumber("123"))))
    assert (call.state, end.sent()) == (state, [T.RELEASE_COMPLETE])
