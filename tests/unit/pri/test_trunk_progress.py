"""Calls between two trunks before the answer: ringing, announcements, digits one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.identity import (
    Number,
)
from gateway.leg import (
    Alerting,
    Answered,
    Conveyed,
    Digits,
    Interworking,
    Met,
    Proceeding,
    Progress,
    Setup,
)
from gateway.pri.lapd import Side
from gateway.pri.q931.ie import CauseElement, ProgressDescription, ProgressIndicator
from gateway.pri.q931.message import Message, MessageType, encode
from gateway.pri.trunk import PriSettings
from tests.unit.pri.pri_pair import CALL, CLEARED, E1_EURO, T1_NI2, End, Pair, ends, placed

OVERLAP = replace(E1_EURO, overlap_receive=True, overlap_send=True)


# -- progress --


@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("inband", [True, False])
def test_alerting_says_whether_there_is_something_to_hear(from_user: bool, inband: bool) -> None:
    pair = Pair()
    caller, called = ends(pair, from_user)
    heard = placed(pair, caller)
    called.legs[0].alert(inband, 0)
    pair.settle()
    assert heard.spoken == [Alerting(inband)]


@pytest.mark.parametrize(("inband", "description"), [(True, 8), (False, 1)])
def test_progress_before_answer(inband: bool, description: int) -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(inband, 0)
    pair.settle()
    indicator = pair.user.sent[-1].first(ProgressIndicator)
    assert indicator is not None
    assert (indicator.description, indicator.location) == (description, Location.PRIVATE_LOCAL)
    # #1, interworking, means that the B channel is to be listened to as well.
    met = Conveyed((Met(Interworking.NOT_END_TO_END, Location.PRIVATE_LOCAL),)) if not inband else None
    assert heard.spoken == [Proceeding(), Progress(inband=True, conveyed=met)]


def sent_last(end: End) -> int:
    return end.sent[-1].message_type


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("from_user", "seconds"), [(False, 7), (True, 25)])
def test_call_proceeding_alone_is_followed_by_progress_before_t310(before: bool, from_user: bool, seconds: int) -> None:
    pair = Pair()
    caller, called = ends(pair, from_user)
    placed(pair, caller)
    leg = called.legs[0]
    if before:
        leg.call.proceeding(())
    leg.proceed(pair.now)
    pair.seconds(seconds - 1)
    assert sent_last(called) == MessageType.CALL_PROCEEDING
    pair.seconds(2)
    indicator = called.sent[-1].first(ProgressIndicator)
    assert sent_last(called) == MessageType.PROGRESS
    assert indicator is not None
    assert indicator.description == 1
    leg.release(Cause.USER_BUSY, pair.now)
    pair.seconds(1)
    assert sent_last(called) != MessageType.PROGRESS


def test_progress_with_a_cause_from_the_user_is_progress() -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(True, 0, Cause.USER_BUSY)
    pair.settle()
    assert heard.spoken == [Proceeding(), Progress(True, Cause.USER_BUSY)]


def test_ringing_after_an_announcement_stays_audible() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0)
    pair.network.legs[0].alert(False, 0)
    pair.settle()
    assert heard.spoken[-1] == Alerting(inband=True)


def test_announcement_with_the_clearing_is_heard_out_and_then_released() -> None:
    pair = Pair()
    heard = placed(pair, pair.user)
    pair.network.legs[0].proceed(0)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.settle()
    assert heard.spoken == [Proceeding(), Progress(True, Cause.UNALLOCATED_NUMBER)]
    assert len(pair.user.media.streams) == len(pair.network.media.streams) == 1
    pair.seconds(24)
    assert heard.released is None
    pair.seconds(2)
    assert heard.released is not None
    assert (heard.released.cause, heard.released.ours) == (Cause.UNALLOCATED_NUMBER, False)
    other = pair.network.heard[0].released
    assert other is not None
    assert other.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


def test_announcement_with_the_clearing_ends_with_t306_of_the_network() -> None:
    pair = Pair(replace(E1_EURO, inband_hold=100 * SECOND))
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.seconds(31)
    assert heard.released is not None
    assert heard.released.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


def test_announcement_with_the_clearing_ends_when_the_caller_hangs_up_or_the_network_has_said_all() -> None:
    for by_caller in (True, False):
        pair = Pair()
        leg, heard = pair.user.new_leg()
        leg.place(CALL, 0)
        pair.settle()
        pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
        pair.seconds(1)
        (leg if by_caller else pair.network.legs[0]).release(Cause.UNALLOCATED_NUMBER, pair.now)
        pair.settle()
        assert heard.released is not None
        pair.check_nothing_left()


def test_trunk_that_wants_no_announcements_releases_at_once() -> None:
    pair = Pair(replace(E1_EURO, inband_on_disconnect=False), E1_EURO)
    heard = placed(pair, pair.user)
    pair.network.legs[0].progress(True, 0, Cause.UNALLOCATED_NUMBER)
    pair.settle()
    assert heard.released is not None
    assert heard.released.cause is Cause.UNALLOCATED_NUMBER
    pair.check_nothing_left()


def test_cause_of_progress_is_told() -> None:
    pair = Pair()
    heard = placed(pair, pair.network)
    pair.user.legs[0].progress(True, 0, Cause.NUMBER_CHANGED)
    pair.settle()
    message = pair.user.sent[-1]
    assert message.first(CauseElement) is not None
    assert Progress(True, Cause.NUMBER_CHANGED) in heard.events


# -- overlap --


@pytest.mark.parametrize("from_user", [True, False])
def test_digits_one_by_one(from_user: bool) -> None:
    pair = Pair(OVERLAP)
    caller, called = ends(pair, from_user)
    caller.names()
    leg, heard = caller.new_leg()
    leg.place(Setup(Number("41"), complete=False), 0)
    pair.settle()
    other = called.heard[0]
    assert other.offer is not None
    assert (other.offer.setup.called.digits, other.offer.setup.complete) == ("41", False)
    for digit in "655":
        leg.digits(digit, False, 0)
        pair.settle()
    assert other.spoken == [Digits("6"), Digits("5"), Digits("5")]
    called.legs[0].proceed(0)
    called.legs[0].answer(None, 0)
    pair.settle()
    assert heard.spoken[-2:] == [Proceeding(), Answered(None)]
    assert caller.names() == ["SETUP", *["INFORMATION"] * 3, "CONNECT ACKNOWLEDGE"]
    leg.release(CLEARED, 0)
    pair.settle()
    pair.check_nothing_left()


def test_dial_tone_of_the_far_end_is_to_be_heard() -> None:
    pair = Pair(OVERLAP)
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    # Taken from the line, so that the answer may be ours.
    pair.network.trunk.receive_frame = lambda frame, now: None  # type: ignore[method-assign]
    pair.settle()
    tone = pair.network.trunk.variant.progress_element(ProgressDescription.INBAND_INFORMATION, Side.NETWORK)
    answer = Message(MessageType.SETUP_ACKNOWLEDGE, leg.call.reference.answer(), (tone,))
    pair.user.trunk.q931.receive(encode(answer), 0)
    pair.settle()
    assert heard.spoken == [Progress(inband=True)]


def test_digits_with_the_last_one_marked() -> None:
    pair = Pair(OVERLAP)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    leg.digits("4", False, 0)
    leg.digits("1", True, 0)
    pair.settle()
    assert pair.network.heard[0].spoken == [Digits("41", complete=True)]


def test_caller_that_dials_no_more_is_told_complete_after_t302() -> None:
    pair = Pair(OVERLAP)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("41"), complete=False), 0)
    pair.seconds(14)
    assert pair.network.heard[0].spoken == []
    pair.seconds(2)
    assert pair.network.heard[0].spoken == [Digits("", complete=True)]
    pair.network.legs[0].release(Cause.INVALID_NUMBER_FORMAT, pair.now)
    pair.settle()
    pair.check_nothing_left()


def test_complete_number_is_offered_as_such_even_where_overlap_is_allowed() -> None:
    pair = Pair(OVERLAP)
    pair.network.names()
    placed(pair, pair.user)
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.complete
    assert pair.network.names() == []  # no SETUP ACKNOWLEDGE


def test_call_is_not_offered_before_it_has_the_digits_it_must_have() -> None:
    pair = Pair(OVERLAP, replace(OVERLAP, overlap_receive_minimum=3))
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    pair.settle()
    leg.digits("1", False, 0)
    pair.settle()
    assert pair.network.heard == []
    leg.digits("6", False, 0)
    pair.settle()
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert (offer.setup.called.digits, offer.setup.complete) == ("416", False)


@pytest.mark.parametrize(
    ("settings", "digits"), [(E1_EURO, "416"), (T1_NI2, "416"), (replace(OVERLAP, overlap_send_minimum=4), "416")]
)
def test_number_that_may_not_go_out_in_pieces_is_collected_first(settings: PriSettings, digits: str) -> None:
    pair = Pair(settings)
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number(""), complete=False), 0)
    for digit in digits:
        leg.digits(digit, False, pair.now)
        pair.seconds(9)
    assert pair.network.heard == []
    pair.seconds(2)
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.called.digits == digits
    assert offer.setup.complete


def test_collected_number_goes_out_at_once_when_it_is_complete() -> None:
    pair = Pair()
    leg, _ = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    leg.digits("16", True, 0)
    pair.settle()
    offer = pair.network.heard[0].offer
    assert offer is not None
    assert offer.setup.called.digits == "416"
    leg.release(CLEARED, 0)
    pair.settle()
    pair.check_nothing_left()


def test_caller_may_hang_up_while_its_number_is_collected() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    leg.release(CLEARED, 0)
    pair.seconds(60)
    assert pair.network.heard == []
    assert heard.released is not None
    pair.check_nothing_left()
