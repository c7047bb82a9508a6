"""Calls between two trunks, user and network: from SETUP to RELEASE COMPLETE, voice, hold, keypad, glare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.cause import Cause, Location
from gateway.core import MILLISECOND
from gateway.identity import (
    Number,
)
from gateway.leg import (
    Alerting,
    Answered,
    Held,
    Keypad,
    MediaChanged,
    Proceeding,
    Released,
    Resumed,
    Setup,
)
from gateway.media.api import Law
from gateway.pri.channels import Hunt
from gateway.pri.q931.primitives import Primitive
from gateway.pri.trunk import Maintenance, PriSettings
from tests.unit.pri.pri_pair import CALL, CLEARED, E1_EURO, T1_NI2, TYPES, Heard, Pair, ends, placed


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("caller_hangs_up", [True, False])
def test_call_from_setup_to_release_complete(settings: PriSettings, from_user: bool, caller_hangs_up: bool) -> None:
    pair = Pair(settings)
    caller, called = ends(pair, from_user)
    caller.names(), called.names()
    leg, heard = caller.new_leg()
    leg.place(CALL, pair.now)
    pair.settle()
    other, other_heard = called.legs[0], called.heard[0]
    assert other_heard.offer is not None
    assert other_heard.offer.setup.called.digits == "4165551234"
    assert other_heard.offer.source == called.trunk.name
    other.proceed(pair.now)
    pair.settle()
    other.alert(False, pair.now)
    pair.settle()
    other.answer(None, pair.now)
    pair.settle()
    assert heard.spoken == [Proceeding(), Alerting(inband=False), Answered(None)]
    (leg if caller_hangs_up else other).release(CLEARED, pair.now)
    pair.settle()
    hung_up, hears = (heard, other_heard) if caller_hangs_up else (other_heard, heard)
    assert hung_up.released == Released(CLEARED, hung_up.released.location if hung_up.released else Location.USER, True)
    assert hears.released is not None
    assert (hears.released.cause, hears.released.ours) == (CLEARED, False)
    first, last = ["DISCONNECT", "RELEASE COMPLETE"], ["RELEASE"]
    assert caller.names() == ["SETUP", "CONNECT ACKNOWLEDGE", *(first if caller_hangs_up else last)]
    assert called.names() == ["CALL PROCEEDING", "ALERTING", "CONNECT", *(last if caller_hangs_up else first)]
    pair.check_nothing_left()


@pytest.mark.parametrize("cause", [Cause.USER_BUSY, Cause.UNALLOCATED_NUMBER, Cause.CALL_REJECTED])
@pytest.mark.parametrize("from_user", [True, False])
def test_refusal_of_a_call(cause: Cause, from_user: bool) -> None:
    pair = Pair()
    caller, called = ends(pair, from_user)
    called.on_offer = lambda leg, offered, now: leg.release(cause, now)
    called.names()
    heard = placed(pair, caller)
    assert heard.released is not None
    assert heard.released.cause is cause
    assert called.names() == ["RELEASE COMPLETE"]
    assert called.heard[0].released is not None
    assert called.heard[0].released.ours
    assert called.media.laws == []  # no channel was opened for it
    pair.check_nothing_left()


def test_call_that_nobody_listens_to_is_refused_with_42() -> None:
    pair = Pair()
    pair.user.refuses = True
    heard = placed(pair, pair.network)
    assert heard.released is not None
    assert heard.released.cause is Cause.SWITCHING_EQUIPMENT_CONGESTION
    pair.check_nothing_left()


@pytest.mark.parametrize("settings", TYPES, ids=lambda settings: settings.switch_type)
def test_caller_hangs_up_while_it_rings(settings: PriSettings) -> None:
    pair = Pair(settings)
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    pair.settle()
    pair.network.legs[0].alert(False, 0)
    pair.settle()
    leg.release(CLEARED, 0)
    assert pair.user.media.streams == {}
    pair.settle()
    assert pair.network.heard[0].released is not None
    assert heard.released is not None
    pair.check_nothing_left()


def test_caller_hangs_up_before_anything_was_answered() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    leg.release(CLEARED, 0)
    pair.settle()
    assert heard.spoken == [Released(CLEARED, Location.PUBLIC_LOCAL, True)]
    pair.check_nothing_left()


def test_leg_that_was_never_placed_gives_its_channel_back() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    leg.release(CLEARED, 0)
    leg.release(CLEARED, 0)
    pair.settle()
    assert [type(event) for event in heard.events] == [Released]
    pair.check_nothing_left()


def test_commands_in_a_wrong_state_are_ignored() -> None:
    pair = Pair()
    leg, heard = pair.user.new_leg()
    for command in (leg.proceed, leg.hold, leg.resume):
        command(0)
    leg.alert(True, 0)
    leg.answer(None, 0)
    leg.progress(True, 0)
    leg.place(CALL, 0)
    leg.place(CALL, 0)
    pair.settle()
    incoming = pair.network.legs[0]
    incoming.place(CALL, 0)
    incoming.digits("1", False, 0)
    incoming.hold(0)
    pair.settle()
    assert heard.events == []
    leg.release(CLEARED, 0)
    pair.settle()
    for late in (leg, incoming):
        late.proceed(0)
        late.answer(None, 0)
        late.alert(False, 0)
        late.progress(True, 0)
        late.digits("1", True, 0)
        late.release(CLEARED, 0)
        late.place(CALL, 0)
        assert late.keypad("1", 100, 0) is False
    pair.settle()
    pair.check_nothing_left()


def test_all_channels_busy_is_cause_34_and_no_link_is_38() -> None:
    pair = Pair(replace(E1_EURO, timeslots=(1, 2)))
    pair.user.new_leg()
    pair.user.new_leg()
    assert pair.user.trunk.new_leg(Hunt.ASCENDING, 0) is Cause.NO_CIRCUIT_AVAILABLE
    down = Pair(up=False)
    assert down.user.trunk.new_leg(Hunt.ASCENDING, 0) is Cause.NETWORK_OUT_OF_ORDER


def test_leg_takes_a_channel_that_a_group_has_seized() -> None:
    pair = Pair()
    channel = pair.user.trunk.channels.seize(7, "group")
    leg = pair.user.trunk.new_leg(None, 0, channel)
    assert not isinstance(leg, Cause)
    leg.place(CALL, 0)
    pair.settle()
    assert pair.network.legs[0].record()["channel"] == 7


# -- voice --


@pytest.mark.parametrize(
    ("settings", "law"), [(E1_EURO, Law.ALAW), (T1_NI2, Law.ULAW), (replace(E1_EURO, law=Law.ULAW), Law.ULAW)]
)
def test_stream_is_opened_when_the_channel_is_agreed_and_closed_with_the_call(settings: PriSettings, law: Law) -> None:
    pair = Pair(settings, replace(settings, listen=True))
    leg, heard = pair.user.new_leg()
    leg.place(CALL, 0)
    pair.settle()
    assert pair.user.media.streams == pair.network.media.streams == {}
    pair.network.legs[0].proceed(0)
    pair.settle()
    assert pair.user.media.streams == {1: "u/1"}
    assert pair.network.media.streams == {1: "n/1"}
    assert pair.user.media.laws == [law]
    assert (pair.user.media.listens, pair.network.media.listens) == ([False], [True])
    assert heard.events[0] == MediaChanged(1)
    assert leg.stream == 1
    pair.network.legs[0].answer(None, 0)
    pair.settle()
    leg.release(CLEARED, 0)
    assert pair.user.media.streams == {}  # at once, not when the far end agrees
    pair.settle()
    assert pair.network.media.streams == {}
    pair.check_nothing_left()


@pytest.mark.parametrize("from_user", [True, False])
def test_call_whose_channel_cannot_be_opened_ends_with_41(from_user: bool) -> None:
    pair = Pair()
    pair.user.media.fails = True
    caller, called = ends(pair, from_user)
    called.on_offer = lambda leg, offered, now: leg.proceed(now)
    heard = placed(pair, caller)
    pair.seconds(0)
    for released in (heard.released, called.heard[0].released):
        assert released is not None
        assert released.cause is Cause.TEMPORARY_FAILURE
    assert any(isinstance(note, Maintenance) and "no such channel" in note.text for note in pair.user.notes)
    pair.check_nothing_left()


# -- during the call --


def test_hold_and_retrieval_are_notified() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    leg.hold(pair.now)
    leg.resume(pair.now)
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken == [Held(), Resumed()]


@pytest.mark.parametrize("command", ["alert", "answer"])
def test_ni2_always_begins_with_call_proceeding(command: str) -> None:
    pair = Pair(T1_NI2)
    placed(pair, pair.network)
    pair.user.names()
    leg = pair.user.legs[0]
    if command == "alert":
        leg.alert(False, 0)
    else:
        leg.answer(None, 0)
    assert pair.user.names() == ["CALL PROCEEDING", {"alert": "ALERTING", "answer": "CONNECT"}[command]]


def test_euroisdn_does_not() -> None:
    pair = Pair()
    placed(pair, pair.network)
    pair.user.names()
    pair.user.legs[0].alert(False, 0)
    assert pair.user.names() == ["ALERTING"]


def test_ni2_has_no_notification_of_hold() -> None:
    pair = Pair(T1_NI2)
    leg, _ = pair.establish(pair.user)
    pair.user.names()
    leg.hold(pair.now)
    pair.settle()
    assert pair.user.names() == []


def test_keypad_goes_by_signalling_where_the_trunk_is_set_so() -> None:
    pair = Pair(replace(E1_EURO, keypad_in_call=True))
    leg, other = pair.establish(pair.user)
    assert leg.keypad("5", 100, pair.now) is True
    pair.settle()
    assert isinstance(other.listener, Heard)
    assert other.listener.spoken == [Keypad("5")]
    pair = Pair()
    leg, _ = pair.establish(pair.user)
    assert leg.keypad("5", 100, pair.now) is False


def test_record_of_a_leg() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    assert leg.record() == {
        "technology": "pri",
        "trunk": "user",
        "channel": 1,
        "direction": "out",
        "call_reference": leg.call.reference.value,
        "codec": "alaw",
    }
    assert other.record()["direction"] == "in"
    leg.release(CLEARED, pair.now)
    pair.settle()
    assert leg.record()["channel"] == 1


# -- glare --


def test_both_ends_call_at_once_and_both_calls_are_made() -> None:
    pair = Pair(delay=5 * MILLISECOND)
    pair.seconds(1)
    for end in pair.ends:
        end.on_offer = lambda leg, offered, now: leg.answer(None, now)
    results = [placed(pair, end) for end in pair.ends]
    pair.seconds(1)
    assert all(any(isinstance(event, Answered) for event in heard.events) for heard in results)
    channels = {end.legs[0].record()["channel"] for end in pair.ends}
    assert channels == {1, 2}
    for end in pair.ends:
        end.legs[0].release(CLEARED, pair.now)
    pair.seconds(1)
    pair.check_nothing_left()


def test_user_that_insisted_and_lost_hears_44_so_that_it_may_try_again() -> None:
    pair = Pair(replace(E1_EURO, exclusive=True), E1_EURO, delay=5 * MILLISECOND)
    pair.seconds(1)
    heard = placed(pair, pair.user)
    other = placed(pair, pair.network)
    pair.seconds(1)
    assert heard.released is not None
    assert heard.released.cause is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
    assert other.released is None


def test_leg_that_waits_for_digits_makes_way_for_a_call_of_the_far_end() -> None:
    pair = Pair(replace(E1_EURO, timeslots=(1, 2)))
    leg, heard = pair.user.new_leg()
    leg.place(Setup(Number("4"), complete=False), 0)
    for _ in range(2):
        placed(pair, pair.network)
    assert [other.record()["channel"] for other in pair.user.legs] == [1, 2]
    leg.digits("16", True, 0)
    pair.settle()
    assert heard.released is not None
    assert heard.released.cause is Cause.NO_CIRCUIT_AVAILABLE


def test_every_primitive_of_a_call_reaches_the_leg() -> None:
    from gateway.pri import leg as leg_module

    table: dict[Primitive, Callable[..., None]] = dict(leg_module._PRIMITIVES)
    assert set(table) == set(Primitive)
