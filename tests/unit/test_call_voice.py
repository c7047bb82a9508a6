"""Who hears what in a Call: ringing tones, early media, announcements, services of the gateway, digits."""

from __future__ import annotations

import pytest

from gateway import leg as words
from gateway.call import FAILURE_TONE, Purpose
from gateway.call_digits import WAIT
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.media import api
from gateway.media.api import Failure, OnOpened, Tone
from gateway.routing.dialplan import (
    EchoDestination,
    MilliwattDestination,
    PlayDestination,
    Refused,
    TonedDestination,
    TrunkDestination,
)
from tests.unit.call_scene import RINGBACK, FakeLeg, FakeMedia, FakeSwitch, answered_call, route_to, start


def test_a_pstn_caller_hears_ringback_while_the_phone_rings_and_then_the_phone() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    start(switch, incoming)
    outgoing.event(words.Alerting(False))
    assert incoming.told == ["proceed", "alert True"]
    assert switch.media.heard_by(1) == "tone"
    outgoing.event(words.Answered())
    assert switch.media.wires == {1: 2, 2: 1}
    assert switch.media.streams == {}


def test_a_phone_makes_its_own_ringing_tone() -> None:
    incoming, outgoing = FakeLeg("sip", 1), FakeLeg("pri", 2)
    switch = FakeSwitch(legs=[outgoing])
    start(switch, incoming)
    outgoing.event(words.Alerting(False))
    assert incoming.told == ["proceed", "alert False"]
    assert switch.media.wires == {}


def test_early_media_of_the_called_side_is_heard_and_not_our_tone() -> None:
    incoming, outgoing = FakeLeg("sip", 1), FakeLeg("pri", 2)
    switch = FakeSwitch(legs=[outgoing])
    start(switch, incoming)
    outgoing.event(words.Progress(True))
    outgoing.event(words.Alerting(True))
    assert incoming.told == ["proceed", "progress True", "alert True"]
    assert switch.media.wires == {1: 2, 2: 1}


def test_ringing_without_audio_after_early_media_without_packets_rings_until_packets_come() -> None:
    incoming, outgoing = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    call = start(switch, incoming)
    outgoing.event(words.Progress(True))
    outgoing.event(words.Alerting(False))
    assert switch.media.heard_by(1) == "tone"
    call.on_media(api.FirstPacket(2), 1)
    assert switch.media.wires == {1: 2, 2: 1}
    assert switch.media.streams == {}


def test_ringing_without_audio_after_early_media_that_flows_leaves_it_flowing() -> None:
    incoming, outgoing = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    call = start(switch, incoming)
    outgoing.event(words.Progress(True))
    call.on_media(api.FirstPacket(2), 1)
    outgoing.event(words.Alerting(False))
    assert switch.media.wires == {1: 2, 2: 1}
    assert incoming.told[-1] == "alert True"


def test_a_leg_that_gets_its_stream_late_is_wired_when_it_has_it() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", None)
    switch, _call = answered_call(incoming, outgoing)
    assert switch.media.wires == {}
    outgoing.stream = 2
    outgoing.event(words.MediaChanged(2))
    assert switch.media.wires == {1: 2, 2: 1}


def test_a_prompt_is_played_to_its_end_and_the_call_is_cleared() -> None:
    switch = FakeSwitch(route_to(PlayDestination("/prompts/closed.wav", "closed")))
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    assert incoming.told == ["proceed", "answer"]
    assert switch.media.heard_by(1) == "prompt /prompts/closed.wav"
    call.on_media(api.PromptEnded(switch.media.wires[1]), 7)
    assert incoming.released is Cause.NORMAL_CALL_CLEARING
    assert switch.media.streams == {}


def test_a_prompt_that_cannot_be_played_ends_the_call_instead_of_leaving_the_caller_in_silence() -> None:
    switch = FakeSwitch(route_to(PlayDestination("/prompts/closed.wav", "closed")))
    switch.media.fails = "not a WAV file"
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    call.handle_timer(Purpose.NOTHING_TO_HEAR, switch.timers[Purpose.NOTHING_TO_HEAR])
    assert incoming.released is Cause.TEMPORARY_FAILURE
    assert call.history.notes == ["no voice of our own: not a WAV file"]


def test_echo_answers_and_is_closed_when_the_caller_leaves() -> None:
    switch = FakeSwitch(route_to(EchoDestination()))
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    assert switch.media.heard_by(1) == "echo"
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.media.streams == {}
    assert switch.over == [call]


def test_a_tone_is_heard_without_answer_and_ends_with_its_cause() -> None:
    switch = FakeSwitch(route_to(TonedDestination(RINGBACK, Cause.USER_BUSY, "busy")))
    incoming = FakeLeg("sip", 1)
    call = start(switch, incoming)
    assert incoming.told == ["proceed", "progress True"]
    assert switch.media.heard_by(1) == "tone"
    call.handle_timer(Purpose.TONE_LIMIT, switch.timers[Purpose.TONE_LIMIT])
    assert incoming.released is Cause.USER_BUSY
    assert switch.media.streams == {}


def test_a_digit_heard_on_one_side_is_offered_to_the_other_sides_signalling() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    _switch, call = answered_call(incoming, outgoing)
    call.on_media(api.DigitHeard(1, "5", 80), 3)
    assert outgoing.told[-1] == "keypad 5"


def test_a_digit_of_signalling_reaches_the_other_sides_voice_path() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, call = answered_call(incoming, outgoing)
    outgoing.event(words.Keypad("7"), 10)
    # It may be heard as well.
    assert switch.media.digits == []
    assert switch.timers[Purpose.DIGITS] == 10 + WAIT
    call.handle_timer(Purpose.DIGITS, 10 + WAIT)
    assert switch.media.digits == [(1, "7")]
    incoming.by_signalling = True
    outgoing.event(words.Keypad("8"), SECOND)
    assert switch.media.digits == [(1, "7")]
    assert incoming.told[-1] == "keypad 8"


def test_a_key_that_is_told_and_heard_is_passed_on_once() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, call = answered_call(incoming, outgoing)
    outgoing.event(words.Keypad("7"), 10)
    call.on_media(api.DigitHeard(2, "7", 80), 20)
    outgoing.event(words.Keypad("8"), 30)
    call.on_media(api.DigitHeard(1, "8", 80), 40)
    call.handle_timer(Purpose.DIGITS, 30 + WAIT)
    # What the other side pressed has nothing to do with it.
    assert switch.media.digits == [(1, "8")]


def test_keys_of_both_sides_wait_each_for_itself() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, call = answered_call(incoming, outgoing)
    outgoing.event(words.Keypad("7"), 10)
    incoming.event(words.Keypad("1"), 20)
    assert switch.timers[Purpose.DIGITS] == 10 + WAIT
    call.handle_timer(Purpose.DIGITS, 10 + WAIT)
    assert switch.timers[Purpose.DIGITS] == 20 + WAIT
    call.handle_timer(Purpose.DIGITS, 20 + WAIT)
    assert switch.media.digits == [(1, "7"), (2, "1")]
    outgoing.event(words.Keypad("9"), 30)
    call.hang_up(40)
    assert Purpose.DIGITS not in switch.timers


def test_one_way_audio_is_noted_with_the_side() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    _switch, call = answered_call(incoming, outgoing)
    call.on_media(api.WentSilent(2, 2000), 3)
    assert call.history.one_way
    assert call.history.notes == ["nothing heard from the outgoing side for 2000 ms"]


def test_a_sound_the_engine_cannot_make_is_noted_and_the_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])

    def fail(_self: FakeMedia, tone: Tone, label: str, on_reply: OnOpened) -> int:
        switch.media.streams[9] = "broken"
        on_reply(Failure(24, "too many streams"))
        return 9

    monkeypatch.setattr(FakeMedia, "open_tone", fail)
    call = start(switch, incoming)
    outgoing.event(words.Alerting(False))
    outgoing.event(words.Answered())
    assert call.history.notes == ["no voice of our own: too many streams"]
    assert switch.media.wires == {1: 2, 2: 1}


@pytest.mark.parametrize("technology", ["pri", "sip"])
def test_a_tone_set_for_the_cause_is_heard_before_the_call_ends_with_it(technology: str) -> None:
    incoming, outgoing = FakeLeg(technology, 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing], failure_tones={Cause.USER_BUSY: RINGBACK})
    call = start(switch, incoming)
    outgoing.event(words.Alerting(False))
    outgoing.event(words.Released(Cause.USER_BUSY))
    assert incoming.told[-1] == "progress True"
    assert switch.media.heard_by(1) == "tone"
    assert incoming.released is None
    assert switch.timers == {Purpose.TONE_LIMIT: FAILURE_TONE}
    call.handle_timer(Purpose.TONE_LIMIT, FAILURE_TONE)
    assert incoming.released is Cause.USER_BUSY
    assert (call.history.cause, call.history.released_by) == (Cause.USER_BUSY, "called")
    assert not switch.media.streams


def test_a_caller_who_hangs_up_on_the_failure_tone_does_not_change_why_the_call_failed() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing], failure_tones={Cause.USER_BUSY: RINGBACK})
    call = start(switch, incoming)
    outgoing.event(words.Released(Cause.USER_BUSY))
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [call]
    assert (call.history.cause, call.history.released_by) == (Cause.USER_BUSY, "called")


def test_a_refused_number_with_a_tone_is_heard_too() -> None:
    switch = FakeSwitch(
        Refused(Cause.UNALLOCATED_NUMBER, "no route"), failure_tones={Cause.UNALLOCATED_NUMBER: RINGBACK}
    )
    incoming = FakeLeg("pri", 1)
    start(switch, incoming)
    assert incoming.told == ["proceed", "progress True"]
    assert switch.media.heard_by(1) == "tone"


def test_after_a_destination_with_early_media_failed_the_next_one_that_rings_is_heard() -> None:
    incoming, first, second = FakeLeg("sip", 1), FakeLeg("sip", 2), FakeLeg("sip", 3)
    switch = FakeSwitch(route_to(TrunkDestination("a", "1"), TrunkDestination("b", "1")), legs=[first, second])
    start(switch, incoming)
    first.event(words.Progress(True))
    first.event(words.Released(Cause.TEMPORARY_FAILURE))
    second.event(words.Alerting(False))
    assert incoming.told[-1] == "alert True"
    assert switch.media.heard_by(1) == "tone"


def test_a_call_without_its_media_engine_is_ended_and_says_so() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, call = answered_call(incoming, outgoing)
    assert call.has_voice
    call.lose_voice(3)
    assert (incoming.released, outgoing.released) == (Cause.TEMPORARY_FAILURE,) * 2
    assert call.history.notes == ["the media engine failed"]
    assert switch.over == [call]


def test_a_caller_who_heard_it_ring_hears_it_ring_on_while_the_next_destination_is_tried() -> None:
    first, second = FakeLeg("sip", 2), FakeLeg("sip", 3)
    switch = FakeSwitch(route_to(TrunkDestination("hq", "1"), TrunkDestination("b", "1")), legs=[first, second])
    start(switch, FakeLeg("pri", 1))
    first.event(words.Alerting(True))
    assert switch.media.wires == {1: 2, 2: 1}
    first.event(words.Released(Cause.TEMPORARY_FAILURE))
    assert switch.media.heard_by(1) == "tone"
    second.event(words.MediaChanged(3))
    assert switch.media.heard_by(1) == "tone"
    second.event(words.Answered())
    assert switch.media.wires == {1: 3, 3: 1}
    assert switch.media.streams == {}


@pytest.mark.parametrize("service", [EchoDestination(), MilliwattDestination(), PlayDestination("/p.wav", "p")])
def test_a_service_ends_by_itself_when_its_caller_vanished_without_a_word(
    service: EchoDestination | MilliwattDestination | PlayDestination,
) -> None:
    switch = FakeSwitch(route_to(service))
    incoming = FakeLeg("sip", 1)
    call = start(switch, incoming)
    call.handle_timer(Purpose.TONE_LIMIT, switch.timers[Purpose.TONE_LIMIT])
    assert incoming.released is Cause.NORMAL_CALL_CLEARING
    assert switch.media.streams == {}
    assert switch.over == [call]
