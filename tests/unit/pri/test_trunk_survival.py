"""A trunk made anew from what its predecessor left: calls go on, or are cleared, at both ends alike."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cause import Cause
from gateway.pri.channels import ChannelState
from gateway.pri.lapd import Side
from gateway.pri.leg import PriLeg
from gateway.pri.q931.message import MessageType
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.pri.survival import PriSurvival
from gateway.pri.trunk import PriTrunk
from tests.unit.pri.pri_pair import CALL, TYPES, End, Heard, Pair, ends


def _reborn(pair: Pair, end: End, *, seconds: float = 2.0) -> PriTrunk:
    """The program of ``end`` is killed, and another begins: media and line stay, all else is gone."""
    old = end.trunk
    end.trunk = PriTrunk(old.settings, end.media, random.Random(99), end._offered)
    end.trunk.trace(end._trace)
    other = pair.other(end)
    pair.cut = True
    other.trunk.line_state(Alarm.RED, pair.now)
    pair.seconds(seconds)
    return end.trunk


def _keep(leg: PriLeg) -> bytes | None:
    return PriSurvival(leg._trunk).keep(leg)


def _back(pair: Pair) -> None:
    pair.alarm(Alarm.NONE)
    pair.seconds(8)


@pytest.mark.parametrize("settings", TYPES, ids=lambda each: each.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("side", list(Side))
def test_an_answered_call_goes_on_and_ends_as_any_other(settings: PriSettings, from_user: bool, side: Side) -> None:
    pair = Pair(settings)
    caller, _ = ends(pair, from_user)
    calling, answering = pair.establish(caller)
    end = pair.user if side is Side.USER else pair.network
    mine, theirs = (calling, answering) if end is caller else (answering, calling)
    state, stream = _keep(mine), mine.stream
    assert state is not None and stream is not None
    record = mine.record()
    trunk = _reborn(pair, end)
    leg = PriSurvival(trunk).revive(state, stream, pair.now)
    heard = leg.listener = Heard()
    _back(pair)
    assert heard.events == []
    assert leg.record() == record
    assert MessageType.STATUS_ENQUIRY.name.replace("_", " ") in [name.upper() for name in end.names()]
    assert trunk.channels.count(ChannelState.BUSY) == 1
    theirs.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.seconds(1)
    assert heard.released is not None and heard.released.cause is Cause.NORMAL_CALL_CLEARING
    # The channels are as good as new for the next call, from either side.
    for each in (pair.user, pair.network):
        again, _ = pair.establish(each)
        again.release(Cause.NORMAL_CALL_CLEARING, pair.now)
        pair.seconds(1)
    pair.check_nothing_left()


@pytest.mark.parametrize("settings", TYPES, ids=lambda each: each.switch_type)
def test_a_connect_acknowledge_that_came_too_late_to_be_kept_is_made_up_for(settings: PriSettings) -> None:
    pair = Pair(settings, delay=20_000)
    pair.seconds(1)
    leg, _ = pair.network.new_leg()
    leg.place(CALL, pair.now)
    pair.seconds(0.1)
    mine = pair.user.legs[-1]
    mine.answer(None, pair.now)
    pair.settle()
    state, stream = _keep(mine), mine.stream
    pair.seconds(0.1)
    assert state is not None and stream is not None and _keep(mine) != state
    trunk = _reborn(pair, pair.user)
    heard = Heard()
    PriSurvival(trunk).revive(state, stream, pair.now).listener = heard
    _back(pair)
    pair.seconds(60)
    assert heard.events == []
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.seconds(1)
    assert heard.released is not None
    pair.check_nothing_left()


def test_our_side_can_end_it_too(settings: PriSettings = TYPES[0]) -> None:
    pair = Pair(settings)
    mine, theirs = pair.establish(pair.user)
    state, stream = _keep(mine), mine.stream
    assert state is not None and stream is not None
    leg = PriSurvival(_reborn(pair, pair.user)).revive(state, stream, pair.now)
    leg.listener = Heard()
    _back(pair)
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.seconds(1)
    assert isinstance(theirs.listener, Heard) and theirs.listener.released is not None
    pair.check_nothing_left()


def test_what_the_far_end_has_given_up_meanwhile_ends_here_too() -> None:
    pair = Pair()
    mine, theirs = pair.establish(pair.user)
    state, stream = _keep(mine), mine.stream
    assert state is not None and stream is not None
    trunk = _reborn(pair, pair.user, seconds=1)
    theirs.call.abandon(Cause.TEMPORARY_FAILURE)
    leg = PriSurvival(trunk).revive(state, stream, pair.now)
    heard = leg.listener = Heard()
    _back(pair)
    assert heard.released is not None
    pair.check_nothing_left()


def test_without_a_link_it_lasts_as_long_as_t309_allows() -> None:
    pair = Pair()
    mine, _ = pair.establish(pair.user)
    state, stream = _keep(mine), mine.stream
    assert state is not None and stream is not None
    leg = PriSurvival(_reborn(pair, pair.user)).revive(state, stream, pair.now)
    heard = leg.listener = Heard()
    pair.seconds(100)
    assert heard.released is not None
    _back(pair)
    pair.check_nothing_left()


@pytest.mark.parametrize("settings", TYPES, ids=lambda each: each.switch_type)
@pytest.mark.parametrize("from_user", [True, False])
def test_a_call_that_is_given_up_is_released_at_the_far_end(settings: PriSettings, from_user: bool) -> None:
    pair = Pair(settings)
    caller, called = ends(pair, from_user)
    leg, _ = caller.new_leg()
    leg.place(CALL, pair.now)
    pair.seconds(0.1)
    called.legs[-1].alert(False, pair.now)
    pair.seconds(0.1)
    state = _keep(pair.user.trunk.legs.copy().popitem()[1])
    assert state is not None
    theirs = pair.network.trunk.legs.copy().popitem()[1]
    heard = theirs.listener
    trunk = _reborn(pair, pair.user, seconds=0.1)
    pair.user.media.streams.clear()
    PriSurvival(trunk).give_up(state, Cause.TEMPORARY_FAILURE, pair.now)
    _back(pair)
    assert isinstance(heard, Heard) and heard.released is not None
    pair.check_nothing_left()


def test_two_calls_cannot_have_one_channel_or_one_reference() -> None:
    pair = Pair()
    mine, _ = pair.establish(pair.user)
    state, stream = _keep(mine), mine.stream
    assert state is not None and stream is not None
    trunk = _reborn(pair, pair.user)
    PriSurvival(trunk).revive(state, stream, pair.now)
    with pytest.raises(ValueError, match="in use"):
        PriSurvival(trunk).revive(state, stream, pair.now)
    other = msgspec.msgpack.decode(state)
    other["reference"] += 1
    with pytest.raises(ValueError, match="not to be had"):
        PriSurvival(trunk).revive(msgspec.msgpack.encode(other), stream, pair.now)
    other["timeslot"] = 16
    with pytest.raises(ValueError, match="not to be had"):
        PriSurvival(trunk).give_up(msgspec.msgpack.encode(other), Cause.TEMPORARY_FAILURE, pair.now)


@given(data=st.binary(max_size=60))
def test_what_makes_no_sense_is_refused(data: bytes) -> None:
    pair = Pair(up=False)
    with pytest.raises(ValueError, match=r".+"):
        PriSurvival(pair.user.trunk).revive(data, 1, 0)


def test_a_leg_that_is_over_leaves_nothing() -> None:
    pair = Pair()
    mine, theirs = pair.establish(pair.user)
    theirs.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.seconds(1)
    assert _keep(mine) is None
