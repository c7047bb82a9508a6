"""Channel negotiation of Q.931 5.1.2 and 5.2.3, and glare (5.7, D.3)."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.pri.channels import Block, Hunt
from gateway.pri.lapd import Side
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.ie import (
    SPEECH_A_LAW,
    BearerCapability,
    CallState,
    CauseElement,
    ChannelIdentification,
    ChannelSelection,
    ChannelType,
    ProgressDescription,
    ProgressIndicator,
    TransferCapability,
    TransferMode,
    TransferRate,
)
from gateway.pri.q931.message import CallReference, Message
from gateway.pri.q931.primitives import Primitive
from gateway.pri.q931.states import State
from tests.unit.pri.q931_far_end import THEIRS, FarEnd, QuietEuroIsdn, T


def refusal(end: FarEnd) -> Cause | int:
    cause = end.one(T.RELEASE_COMPLETE).first(CauseElement)
    assert cause is not None
    return cause.value


def slot(call: Q931Call | None) -> int | None:
    return call.channel.timeslot if call is not None and call.channel is not None else None


def given(end: FarEnd) -> ChannelIdentification | None:
    (message,) = end.taken()
    return message.first(ChannelIdentification)


def seized(end: FarEnd, *timeslots: int) -> None:
    for timeslot in timeslots:
        end.channels.seize(timeslot, "somebody else")


@pytest.mark.parametrize("exclusive", [True, False])
def test_free_channel_of_a_setup_is_taken_and_confirmed_as_exclusive(exclusive: bool) -> None:
    end = FarEnd()
    call = end.offer(ChannelIdentification((9,), exclusive))
    assert slot(call) == 9
    assert call is not None
    call.proceeding(())
    assert given(end) == ChannelIdentification((9,), exclusive=True)
    call.alerting(())
    assert given(end) is None  # only the first answer names it


@pytest.mark.parametrize("request_name", ["more_information", "proceeding", "alerting", "connect"])
def test_any_first_answer_names_the_channel(request_name: str) -> None:
    end = FarEnd()
    call = end.offer(ChannelIdentification((9,)))
    getattr(call, request_name)(())
    assert given(end) == ChannelIdentification((9,))


def test_busy_channel_that_is_exclusive_is_refused_with_44() -> None:
    end = FarEnd()
    seized(end, 9)
    assert end.offer(ChannelIdentification((9,), exclusive=True)) is None
    assert refusal(end) is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE


def test_busy_channel_that_is_preferred_is_replaced_by_another() -> None:
    end = FarEnd()
    seized(end, 9)
    call = end.offer(ChannelIdentification((9,), exclusive=False))
    assert slot(call) == 1
    assert call is not None
    call.proceeding(())
    assert given(end) == ChannelIdentification((1,))


@pytest.mark.parametrize("channel", [None, ChannelIdentification((), exclusive=False, selection=ChannelSelection.ANY)])
def test_any_channel_is_the_first_free_one(channel: ChannelIdentification | None) -> None:
    end = FarEnd()
    seized(end, 1, 2)
    assert slot(end.offer(channel)) == 3


@pytest.mark.parametrize("channel", [None, ChannelIdentification((9,), exclusive=False)])
def test_no_free_channel_at_all_is_refused_with_34(channel: ChannelIdentification | None) -> None:
    end = FarEnd()
    seized(end, *range(1, 32))
    assert end.offer(channel) is None
    assert refusal(end) is Cause.NO_CIRCUIT_AVAILABLE


@pytest.mark.parametrize("timeslot", [0, 16, 32, 100])
def test_channel_that_does_not_exist_is_refused_with_82(timeslot: int) -> None:
    end = FarEnd()
    assert end.offer(ChannelIdentification((timeslot,))) is None
    assert refusal(end) is Cause.CHANNEL_DOES_NOT_EXIST


@pytest.mark.parametrize(
    "channel",
    [
        ChannelIdentification((), selection=ChannelSelection.NONE),
        ChannelIdentification((), interface=1, d_channel=True),
        ChannelIdentification((1,), channel_type=ChannelType.H0),
    ],
)
def test_what_is_no_b_channel_is_refused_with_66(channel: ChannelIdentification) -> None:
    end = FarEnd()
    assert end.offer(channel) is None
    assert refusal(end) is Cause.CHANNEL_TYPE_NOT_IMPLEMENTED


@pytest.mark.parametrize("block", [Block.LOCAL, Block.LAYER1])
def test_blocked_channel_is_not_given_to_the_far_end(block: Block) -> None:
    end = FarEnd()
    end.channels.block(block, 9)
    assert end.offer(ChannelIdentification((9,), exclusive=True)) is None
    assert refusal(end) is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE


@pytest.mark.parametrize(
    "bearer",
    [
        BearerCapability(TransferCapability.VIDEO),
        BearerCapability(TransferCapability.SPEECH, TransferMode.PACKET, TransferRate.PACKET),
        BearerCapability(TransferCapability.UNRESTRICTED_DIGITAL, rate=TransferRate.RATE_384),
    ],
)
@pytest.mark.parametrize(
    ("side", "cause"),
    [(Side.USER, Cause.INCOMPATIBLE_DESTINATION), (Side.NETWORK, Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED)],
)
def test_bearer_that_cannot_be_carried_is_refused(bearer: BearerCapability, side: Side, cause: Cause) -> None:
    end = FarEnd(side)
    end.hears(Message(T.SETUP, CallReference(THEIRS), (bearer, ChannelIdentification((1,)))))
    assert refusal(end) is cause
    assert all(channel.owner is None for channel in end.channels)


def test_answer_without_channel_keeps_ours() -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.CALL_PROCEEDING)
    assert slot(call) == 1
    assert end.told() == [Primitive.CHANNEL, Primitive.PROCEEDING]


def test_answer_with_another_channel_moves_the_call() -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.ALERTING, ChannelIdentification((20,)))
    assert slot(call) == 20
    assert [channel.timeslot for channel in end.channels if channel.owner is not None] == [20]
    end.send(call, T.CONNECT, ChannelIdentification((21,)))  # too late to move
    assert slot(call) == 20


@pytest.mark.parametrize("timeslot", [2, 16, 99])
def test_answer_with_a_channel_we_cannot_use_is_released_with_6(timeslot: int) -> None:
    end = FarEnd()
    call = end.place()
    seized(end, 2)
    end.taken()
    end.send(call, T.CALL_PROCEEDING, ChannelIdentification((timeslot,)))
    message = end.one(T.RELEASE)
    cause = message.first(CauseElement)
    assert cause is not None
    assert cause.value is Cause.CHANNEL_UNACCEPTABLE
    assert end.told() == [Primitive.CLEARED]
    assert call.state is State.RELEASE_REQUEST


def test_answer_with_another_channel_than_the_one_we_insisted_on_is_released_with_6() -> None:
    end = FarEnd()
    call = end.place(exclusive=True)
    end.taken()
    end.send(call, T.CALL_PROCEEDING, ChannelIdentification((20,)))
    assert end.sent() == [T.RELEASE]


# -- glare: both ends have sent SETUP for channel 1 --


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_5_7_user_yields_its_channel_to_the_network(ours: bool, theirs: bool) -> None:
    end = FarEnd(Side.USER)
    call = end.place(exclusive=ours)
    other = end.offer(ChannelIdentification((1,), theirs))
    assert slot(other) == 1
    assert slot(call) is None
    assert call.yielded
    # The network offers another channel in its first answer.
    end.taken()
    end.send(call, T.CALL_PROCEEDING, ChannelIdentification((2,)))
    assert slot(call) == 2
    assert call.state is State.OUTGOING_CALL_PROCEEDING
    # What the call fails of later is no matter of the glare: 34 is not told as 44 then.
    assert not call.yielded


def test_5_7_user_that_yielded_and_gets_no_other_channel_gives_up() -> None:
    end = FarEnd(Side.USER)
    call = end.place()
    end.offer(ChannelIdentification((1,)))
    end.taken()
    end.send(call, T.CALL_PROCEEDING)
    assert end.sent() == [T.RELEASE]
    assert call.state is State.RELEASE_REQUEST


def test_5_7_network_keeps_its_channel_and_gives_the_user_another_if_it_may() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.place(exclusive=True)
    other = end.offer(ChannelIdentification((1,), exclusive=False))
    assert slot(call) == 1
    assert slot(other) == 2


def test_5_7_network_refuses_a_user_that_insists_on_the_channel() -> None:
    end = FarEnd(Side.NETWORK)
    call = end.place()
    end.taken()
    assert end.offer(ChannelIdentification((1,), exclusive=True)) is None
    assert refusal(end) is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
    assert slot(call) == 1


class Symmetric(QuietEuroIsdn):
    symmetric_glare = True


@pytest.mark.parametrize(
    ("side", "ours", "theirs", "ours_keeps"),
    [
        (Side.USER, True, False, True),
        (Side.USER, False, True, False),
        (Side.USER, False, False, False),
        (Side.NETWORK, False, True, False),
        (Side.NETWORK, True, False, True),
        (Side.NETWORK, False, False, True),
    ],
)
def test_d_3_in_symmetric_operation_the_exclusive_call_goes_first(
    side: Side, ours: bool, theirs: bool, ours_keeps: bool
) -> None:
    end = FarEnd(side, Symmetric())
    call = end.place(exclusive=ours)
    other = end.offer(ChannelIdentification((1,), theirs))
    assert (slot(call) == 1) is ours_keeps
    assert (slot(other) == 1) is not ours_keeps


def test_channel_that_the_far_end_offers_goes_from_a_call_that_only_wishes_for_it() -> None:
    end = FarEnd(Side.USER)
    first, second = end.place(), end.place()
    assert slot(second) == 2
    end.taken()
    # The network gave channel 2 away before it knew of the second call.
    end.send(first, T.CALL_PROCEEDING, ChannelIdentification((2,)))
    assert slot(first) == 2
    assert slot(second) is None
    channel = end.channels.get(2)
    assert channel is not None
    assert channel.owner is first
    end.send(second, T.CALL_PROCEEDING, ChannelIdentification((3,)))
    assert slot(second) == 3
    assert end.sent() == []
    assert [channel.timeslot for channel in end.channels if channel.owner is not None] == [2, 3]


def test_channel_of_a_call_that_was_hung_up_before_any_answer_may_go_to_another() -> None:
    end = FarEnd(Side.USER)
    first, second = end.place(), end.place()
    second.clear(Cause.NORMAL_CALL_CLEARING)
    end.send(first, T.CALL_PROCEEDING, ChannelIdentification((2,)))
    assert slot(first) == 2
    end.send(second, T.RELEASE)
    assert second.released
    assert [channel.timeslot for channel in end.channels if channel.owner is not None] == [2]


@pytest.mark.parametrize("side", list(Side))
def test_call_whose_setup_is_not_out_yet_makes_way_and_takes_another_channel(side: Side) -> None:
    end = FarEnd(side)
    waiting = end.link.new_call(Hunt.ASCENDING)
    assert isinstance(waiting, Q931Call)
    other = end.offer(ChannelIdentification((1,), exclusive=True))
    assert slot(other) == 1
    assert slot(waiting) == 2
    assert not waiting.yielded


def test_channel_of_an_answered_call_is_no_glare() -> None:
    end = FarEnd(Side.USER)
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    assert end.offer(ChannelIdentification((1,), exclusive=True)) is None
    assert refusal(end) is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
    assert slot(call) == 1


def test_channel_stays_busy_until_release_complete() -> None:
    end = FarEnd()
    call = end.call_in(True, State.RELEASE_REQUEST)
    assert slot(call) == 1
    assert end.channels.get(1) is not None
    assert end.channels.seize(1, "another") is None
    end.send(call, T.RELEASE_COMPLETE)
    assert end.channels.seize(1, "another") is not None


# -- overlap --


def test_digits_before_setup_acknowledge_wait_for_it() -> None:
    end = FarEnd()
    call = end.place()
    end.taken()
    assert call.digits("4", False)
    assert call.digits("5", True)
    assert end.sent() == []
    end.send(call, T.SETUP_ACKNOWLEDGE)
    (information,) = end.taken()
    assert end.link.variant.read_digits(information) == "45"
    assert not call.digits("6", False)  # it was complete


def test_digits_go_nowhere_once_the_number_is_taken() -> None:
    end = FarEnd()
    call = end.call_in(True, State.OUTGOING_CALL_PROCEEDING)
    assert not call.digits("4", False)
    assert end.sent() == []


def test_waiting_digits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pri.q931.call.MAX_WAITING_DIGITS", 2)
    end = FarEnd()
    call = end.place()
    assert [call.digits("1", False) for _ in range(3)] == [True, True, False]


INBAND = ProgressIndicator(ProgressDescription.INBAND_INFORMATION)
INTERWORKING = ProgressIndicator(ProgressDescription.DESTINATION_NOT_ISDN)


@pytest.mark.parametrize("indicator", [INBAND, INTERWORKING])
def test_progress_before_any_other_answer_is_no_error_nor_is_what_follows_it(indicator: ProgressIndicator) -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.PROGRESS, indicator)
    end.wait(60)
    end.send(call, T.CALL_PROCEEDING)
    end.send(call, T.ALERTING)
    assert end.sent() == [T.SETUP]  # neither T303 nor T310, and no STATUS
    assert end.told() == [
        *([Primitive.CHANNEL] if indicator is INBAND else []),
        Primitive.PROGRESS,
        *([] if indicator is INBAND else [Primitive.CHANNEL]),
        Primitive.PROCEEDING,
        Primitive.ALERTING,
    ]


def test_preferred_channel_is_not_settled_by_progress_without_anything_to_hear() -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.PROGRESS, INTERWORKING)
    end.send(call, T.CALL_PROCEEDING, ChannelIdentification((9,)))
    assert call.channel is end.channels.get(9)


def test_audible_progress_before_any_other_answer_settles_the_channel() -> None:
    end = FarEnd()
    call = end.place()
    end.send(call, T.PROGRESS, INBAND)
    end.send(call, T.CALL_PROCEEDING, ChannelIdentification((9,)))
    assert call.channel is end.channels.get(1)


def test_preferred_channel_that_does_not_exist_is_answered_with_another() -> None:
    end = FarEnd()
    call = end.offer(ChannelIdentification((16,), exclusive=False))
    assert call is not None
    call.proceeding(())
    assert end.one(T.CALL_PROCEEDING).first(ChannelIdentification) == ChannelIdentification((1,))


def test_progress_of_ours_goes_out_behind_call_proceeding() -> None:
    end = FarEnd()
    call = end.offered()
    call.progress((end.link.variant.progress_element(8, Side.USER),))
    assert end.sent() == [T.CALL_PROCEEDING, T.PROGRESS]


def test_status_enquiry_is_answered_with_the_state() -> None:
    end = FarEnd()
    call = end.call_in(False, State.CALL_RECEIVED)
    end.send(call, T.STATUS_ENQUIRY)
    status = end.one(T.STATUS)
    assert status.first(CallState) == CallState(7)


def test_speech_bearer_is_taken() -> None:
    assert QuietEuroIsdn().accepts(SPEECH_A_LAW)
