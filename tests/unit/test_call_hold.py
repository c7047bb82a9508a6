"""Hold in a call: what each side hears, whom it is told, and how a call ends that nobody can be heard in."""

from __future__ import annotations

import pytest

from gateway import leg as words
from gateway.call import Purpose, State
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number
from gateway.media.api import HeardAgain, WentSilent
from tests.unit.call_scene import HOLD, FakeLeg, FakeSwitch, answered_call, start


@pytest.mark.parametrize("holds", [0, 1])
def test_the_other_side_hears_music_until_it_is_taken_back(holds: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(*legs)
    switch.music = HOLD
    other = legs[1 - holds]
    legs[holds].event(words.Held())
    assert switch.media.heard_by(other.stream or 0) == "tone"
    assert legs[holds].stream not in switch.media.wires
    assert "hold" not in other.told
    legs[holds].event(words.Resumed())
    assert switch.media.wires == {1: 2, 2: 1}
    assert not switch.media.streams


def test_a_telephone_line_is_notified_and_hears_music_too() -> None:
    pri, sip = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(pri, sip)
    switch.music = HOLD
    sip.event(words.Held())
    assert pri.told[-1] == "hold"
    assert switch.media.heard_by(1) == "tone"
    sip.event(words.Resumed())
    assert pri.told[-1] == "resume"


def test_without_music_the_hold_is_passed_on() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(*legs)
    legs[0].event(words.Held())
    assert legs[1].told[-1] == "hold"
    assert not switch.media.streams
    legs[0].event(words.Resumed())
    assert legs[1].told[-1] == "resume"


def test_both_sides_hold_and_nobody_hears_music_until_one_takes_the_other_back() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(*legs)
    switch.music = HOLD
    legs[0].event(words.Held())
    legs[1].event(words.Held())
    assert not switch.media.streams
    legs[0].event(words.Resumed())
    assert switch.media.heard_by(1) == "tone"
    legs[1].event(words.Resumed())
    assert switch.media.wires == {1: 2, 2: 1}


def test_a_file_that_cannot_be_played_gives_way_to_the_tone_and_is_noted() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, call = answered_call(*legs)
    switch.music = "/gone.wav"
    switch.media.fails = "no such file"
    legs[0].event(words.Held())
    assert switch.media.heard_by(2) == "tone"
    assert call.history.notes[0] == "no music on hold: no such file"
    legs[0].event(words.Resumed())
    assert not switch.media.streams


@pytest.mark.parametrize("hangs_up", [0, 1])
def test_a_call_may_end_on_hold(hangs_up: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, call = answered_call(*legs)
    switch.music = HOLD
    legs[0].event(words.Held())
    legs[hangs_up].event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert legs[1 - hangs_up].released
    assert switch.over == [call]
    assert not switch.media.streams
    assert not switch.watched


def test_a_new_stream_of_the_side_on_hold_hears_the_music_too() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(*legs)
    switch.music = HOLD
    legs[0].event(words.Held())
    legs[1].stream = 7
    legs[1].event(words.MediaChanged(7))
    assert switch.media.heard_by(7) == "tone"


def test_who_is_on_hold_may_be_silent() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    _, call = answered_call(*legs)
    legs[0].event(words.Held())
    call.on_media(WentSilent(1, 2000), 9)
    assert not call.history.one_way


# -- voice around the gateway --


def test_voice_may_go_around_only_while_nothing_of_ours_is_to_be_heard() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, _ = answered_call(*legs)
    switch.music = HOLD
    assert legs[0].joined is legs[1]
    legs[1].event(words.Held())
    assert legs[0].joined is None
    legs[1].event(words.Resumed())
    assert legs[0].joined is legs[1]
    switch.legs = [FakeLeg("sip", 3)]
    legs[1].event(words.Transferred(Number("5"), "x"))
    assert legs[0].joined is None


def test_before_the_answer_voice_stays_here() -> None:
    incoming, outgoing = FakeLeg("sip", 1), FakeLeg("sip", 2)
    start(FakeSwitch(legs=[outgoing]), incoming)
    outgoing.event(words.Alerting(True))
    assert incoming.joined is None


# -- rtptimeout --


def test_a_call_none_of_whose_sides_is_heard_ends_after_rtptimeout() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    for leg in legs:
        leg.rtptimeout = 60 * SECOND
    switch, call = answered_call(*legs)
    call.on_media(WentSilent(1, 2000), 10 * SECOND)
    assert Purpose.VOICE_LIMIT not in switch.timers
    call.on_media(WentSilent(2, 2000), 20 * SECOND)
    assert switch.timers[Purpose.VOICE_LIMIT] == 78 * SECOND
    call.on_media(HeardAgain(1), 30 * SECOND)
    assert Purpose.VOICE_LIMIT not in switch.timers
    call.on_media(WentSilent(1, 2000), 40 * SECOND)
    call.handle_timer(Purpose.VOICE_LIMIT, switch.timers[Purpose.VOICE_LIMIT])
    assert legs[0].released is legs[1].released is Cause.RECOVERY_ON_TIMER_EXPIRY
    assert switch.over == [call]
    assert "rtptimeout" in call.history.notes[-1]


def test_without_rtptimeout_silence_ends_nothing_and_neither_does_it_on_hold() -> None:
    legs = FakeLeg("sip", 1), FakeLeg("pri", 2)
    switch, call = answered_call(*legs)
    call.on_media(WentSilent(1, 2000), 10 * SECOND)
    assert Purpose.VOICE_LIMIT not in switch.timers
    legs[0].rtptimeout = 60 * SECOND
    call.on_media(WentSilent(1, 2000), 10 * SECOND)
    assert Purpose.VOICE_LIMIT in switch.timers
    legs[0].event(words.Held())
    call.handle_timer(Purpose.VOICE_LIMIT, 100 * SECOND)
    assert call.state is State.ANSWERED
