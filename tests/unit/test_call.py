"""The Call between two legs: routing, fail-over, who hears what before answer, and one end for every beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from gateway import leg as words
from gateway.call import FAILURE_TONE, Call, Purpose, State
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg
from gateway.media import api
from gateway.media.api import Failure, OnOpened, OnStatistics, Opened, Statistics, Tone, ToneStep
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import (
    Destination,
    EchoDestination,
    Incomplete,
    MilliwattDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    Refused,
    RejectDestination,
    Route,
    Routing,
    TonedDestination,
    TrunkDestination,
)

RINGBACK = Tone((ToneStep((440, 480), 2000), ToneStep((), 4000)))


class FakeMedia:
    def __init__(self) -> None:
        self.streams: dict[int, str] = {}
        self.wires: dict[int, int] = {}
        self.digits: list[tuple[int, str]] = []
        self.fails = ""
        self._serial = 100

    def _open(self, kind: str, on_reply: OnOpened) -> int:
        self._serial += 1
        self.streams[self._serial] = kind
        on_reply(Failure(22, self.fails) if self.fails else Opened(self._serial))
        return self._serial

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        return self._open("rtp", on_reply)

    def set_rtp(self, stream: int, settings: api.RtpSettings) -> None:
        raise AssertionError("a call knows no SDP")

    def open_tdm(self, path: str, law: api.Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        return self._open("tdm", on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        return self._open("tone", on_reply)

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        return self._open(f"prompt {path}", on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        return self._open("echo", on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        return self._open("recorder", on_reply)

    def connect(self, first: int, second: int) -> None:
        self.disconnect(first)
        self.disconnect(second)
        self.wires[first], self.wires[second] = second, first

    def disconnect(self, stream: int) -> None:
        other = self.wires.pop(stream, None)
        if other is not None:
            self.wires.pop(other, None)

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        self.digits.append((stream, digits))

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        on_reply(Statistics())

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        self.disconnect(stream)
        del self.streams[stream]

    def heard_by(self, stream: int) -> str:
        other = self.wires.get(stream)
        return self.streams.get(other, "a leg") if other is not None else "silence"


class FakeLeg:
    def __init__(self, technology: str, stream: int | None) -> None:
        self.listener: words.Listener | None = None
        self.name = technology
        self.technology = technology
        self.source = technology
        self.stream = stream
        self.told: list[str] = []
        self.placed: words.Setup | None = None
        self.released: Cause | None = None
        self.stuck = False
        self.by_signalling = False

    def event(self, event: words.LegEvent, now: int = 0) -> None:
        assert self.listener is not None
        self.listener.on_leg(self, event, now)

    def place(self, setup: words.Setup, now: int) -> None:
        self.placed = setup
        self.told.append("place")

    def proceed(self, now: int) -> None:
        self.told.append("proceed")

    def progress(
        self, inband: bool, now: int, cause: Cause | None = None, conveyed: words.Conveyed | None = None
    ) -> None:
        self.told.append(f"progress {inband}")

    def alert(self, inband: bool, now: int, conveyed: words.Conveyed | None = None) -> None:
        self.told.append(f"alert {inband}")

    def answer(self, connected: Party | None, now: int, conveyed: words.Conveyed | None = None) -> None:
        self.told.append("answer")

    def digits(self, digits: str, complete: bool, now: int) -> None:
        self.told.append(f"digits {digits} {complete}")

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        self.told.append(f"keypad {digits}")
        return self.by_signalling

    def hold(self, now: int) -> None:
        self.told.append("hold")

    def resume(self, now: int) -> None:
        self.told.append("resume")

    def identify(self, connected: Party, now: int) -> None:
        self.told.append("identify")

    def notify(self, description: int, now: int) -> None:
        self.told.append(f"notify {description}")

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        self.released = cause
        self.told.append(f"release {int(cause)}")
        if not self.stuck:
            self.event(words.Released(cause, ours=True), now)

    def record(self) -> dict[str, object]:
        return {"technology": self.technology}


@dataclass
class FakeSwitch:
    routing: Routing = field(default_factory=lambda: route_to(TrunkDestination("hq", "1234")))
    legs: list[Leg | Cause] = field(default_factory=list)
    media: FakeMedia = field(default_factory=FakeMedia)
    timers: dict[Purpose, int] = field(default_factory=dict)
    over: list[Call] = field(default_factory=list)
    watched: dict[int, Call] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    failure_tones: dict[Cause, Tone] = field(default_factory=dict)

    def route(self, context: str, setup: words.Setup) -> Routing:
        self.asked.append((setup.called.digits, setup.complete))
        return self.routing

    def continues(self, cause: Cause) -> bool:
        return cause not in (Cause.USER_BUSY, Cause.CALL_REJECTED)

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        return destinations

    def open_leg(self, destination: PriDestination | TrunkDestination | PhoneDestination, now: int) -> Leg | Cause:
        return self.legs.pop(0)

    def ringback(self) -> Tone:
        return RINGBACK

    def failure_tone(self, cause: Cause) -> Tone | None:
        return self.failure_tones.get(cause)

    def start_timer(self, call: Call, purpose: Purpose, deadline: int) -> None:
        self.timers[purpose] = deadline

    def stop_timer(self, call: Call, purpose: Purpose) -> None:
        self.timers.pop(purpose, None)

    def watch(self, stream: int, call: Call) -> None:
        self.watched[stream] = call

    def unwatch(self, stream: int) -> None:
        self.watched.pop(stream, None)

    def ended(self, call: Call, now: int) -> None:
        self.over.append(call)


def route_to(*destinations: Destination, ring_seconds: int | None = None) -> Route:
    return Route(destinations, "from-pstn", "_X.", 1, ring_seconds=ring_seconds)


def start(switch: FakeSwitch, incoming: FakeLeg, complete: bool = True) -> Call:
    setup = words.Setup(Number("1234"), complete=complete)
    call = Call("c1", switch, incoming, words.Offered(setup, "from-pstn", "pstn"), 0)
    call.begin(0)
    return call


def answered_call(incoming: FakeLeg, outgoing: FakeLeg) -> tuple[FakeSwitch, Call]:
    switch = FakeSwitch(legs=[outgoing])
    call = start(switch, incoming)
    outgoing.event(words.Answered())
    return switch, call


def test_an_answered_call_is_wired_and_ends_with_one_record_whoever_hangs_up() -> None:
    for hangs_up in (0, 1):
        legs = FakeLeg("pri", 1), FakeLeg("sip", 2)
        switch, call = answered_call(*legs)
        assert switch.media.wires == {1: 2, 2: 1}
        assert call.state is State.ANSWERED
        legs[hangs_up].event(words.Released(Cause.NORMAL_CALL_CLEARING), 5)
        assert legs[1 - hangs_up].released is Cause.NORMAL_CALL_CLEARING
        assert switch.over == [call]
        assert call.history.released_by == ("caller", "called")[hangs_up]
        assert not switch.media.streams
        assert not switch.watched
        assert not switch.timers


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


def test_a_failed_destination_gives_way_to_the_next_and_the_record_has_both() -> None:
    first, second = FakeLeg("sip", 2), FakeLeg("pri", 3)
    switch = FakeSwitch(
        route_to(TrunkDestination("hq", "1234"), PriDestination("g0", Hunt.ASCENDING, "91234")),
        legs=[first, second],
    )
    incoming = FakeLeg("sip", 1)
    call = start(switch, incoming)
    first.event(words.Released(Cause.TEMPORARY_FAILURE))
    assert second.placed is not None
    assert second.placed.called.digits == "91234"
    assert incoming.told == ["proceed"]
    second.event(words.Answered())
    second.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert [a.cause for a in call.history.attempts] == [Cause.TEMPORARY_FAILURE, Cause.NORMAL_CALL_CLEARING]
    assert call.history.cause is Cause.NORMAL_CALL_CLEARING


def test_busy_is_the_end_although_another_destination_is_left() -> None:
    first = FakeLeg("sip", 2)
    switch = FakeSwitch(route_to(TrunkDestination("hq", "1"), TrunkDestination("b", "1")), legs=[first])
    incoming = FakeLeg("pri", 1)
    start(switch, incoming)
    first.event(words.Released(Cause.USER_BUSY))
    assert incoming.released is Cause.USER_BUSY


def test_when_all_destinations_fail_the_caller_gets_the_last_cause() -> None:
    first = FakeLeg("sip", 2)
    switch = FakeSwitch(
        route_to(TrunkDestination("hq", "1"), TrunkDestination("b", "1")),
        legs=[first, Cause.NO_CIRCUIT_AVAILABLE],
    )
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    first.event(words.Released(Cause.TEMPORARY_FAILURE))
    assert incoming.released is Cause.NO_CIRCUIT_AVAILABLE
    assert switch.over == [call]
    assert call.history.released_by == "gateway"
    assert call.history.attempts[-1].text == "no channel is free"


def test_a_channel_lost_to_glare_is_tried_again_on_the_same_group_but_not_for_ever() -> None:
    legs = [FakeLeg("pri", 2), FakeLeg("pri", 3), FakeLeg("pri", 4)]
    switch = FakeSwitch(route_to(PriDestination("g0", Hunt.ASCENDING, "1")), legs=list(legs))
    incoming = FakeLeg("sip", 1)
    start(switch, incoming)
    for leg in legs:
        assert leg.placed is not None
        assert incoming.released is None
        leg.event(words.Released(Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE))
    assert incoming.released is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE


def test_an_unknown_number_is_refused_at_once_with_the_dial_plans_cause() -> None:
    switch = FakeSwitch(Refused(Cause.UNALLOCATED_NUMBER, "no route"))
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    assert incoming.told == ["release 1"]
    assert switch.over == [call]
    assert call.history.released_by == "dial plan"


def test_overlap_digits_are_gathered_until_they_lead_somewhere_and_then_passed_on() -> None:
    outgoing = FakeLeg("pri", 2)
    switch = FakeSwitch(Incomplete(), legs=[outgoing])
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming, complete=False)
    assert incoming.told == []
    switch.routing = route_to(PriDestination("g0", Hunt.ASCENDING, "12345"))
    incoming.event(words.Digits("5"))
    assert switch.asked == [("1234", False), ("12345", False)]
    assert call.state is State.TRYING
    incoming.event(words.Digits("6", True))
    assert outgoing.told == ["place", "digits 6 True"]


def test_a_number_that_stays_too_short_is_refused_as_such() -> None:
    switch = FakeSwitch(Incomplete())
    incoming = FakeLeg("pri", 1)
    start(switch, incoming, complete=False)
    incoming.event(words.Digits("", True))
    assert incoming.released is Cause.INVALID_NUMBER_FORMAT


def test_nobody_answers_within_the_routes_time_and_the_next_destination_rings() -> None:
    first, second = FakeLeg("sip", 2), FakeLeg("sip", 3)
    switch = FakeSwitch(
        route_to(PhoneDestination("a", "1"), PhoneDestination("b", "1"), ring_seconds=20), legs=[first, second]
    )
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    first.event(words.Alerting(False))
    assert switch.timers[Purpose.RING_LIMIT] == 20 * SECOND
    call.handle_timer(Purpose.RING_LIMIT, 20 * SECOND)
    assert first.released is Cause.NO_ANSWER_FROM_USER
    assert second.placed is not None
    assert incoming.released is None


def test_the_caller_hangs_up_while_the_other_side_rings() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    call = start(switch, incoming)
    outgoing.event(words.Alerting(False))
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING), 9)
    assert outgoing.released is Cause.NORMAL_CALL_CLEARING
    assert switch.over == [call]
    assert call.history.answered is None
    assert switch.media.streams == {}


def test_a_leg_that_does_not_end_is_written_off_and_the_call_recorded() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, call = answered_call(incoming, outgoing)
    outgoing.stuck = True
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == []
    call.handle_timer(Purpose.RELEASE_GUARD, switch.timers[Purpose.RELEASE_GUARD])
    assert switch.over == [call]
    assert call.history.notes == ["a leg did not end in time"]
    outgoing.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [call]


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


def test_a_rejecting_destination_ends_the_call_with_its_cause() -> None:
    switch = FakeSwitch(route_to(RejectDestination(Cause.CALL_REJECTED)))
    incoming = FakeLeg("sip", 1)
    start(switch, incoming)
    assert incoming.told == ["release 21"]


def test_a_digit_heard_on_one_side_is_offered_to_the_other_sides_signalling() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    _switch, call = answered_call(incoming, outgoing)
    call.on_media(api.DigitHeard(1, "5", 80), 3)
    assert outgoing.told[-1] == "keypad 5"


def test_a_digit_of_signalling_reaches_the_other_sides_voice_path() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    switch, _call = answered_call(incoming, outgoing)
    outgoing.event(words.Keypad("7"))
    assert switch.media.digits == [(1, "7")]
    incoming.by_signalling = True
    outgoing.event(words.Keypad("8"))
    assert switch.media.digits == [(1, "7")]
    assert incoming.told[-1] == "keypad 8"


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
def test_without_a_rule_a_failed_call_ends_at_once_with_its_cause(technology: str) -> None:
    incoming, outgoing = FakeLeg(technology, 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    start(switch, incoming)
    outgoing.event(words.Progress(True))
    outgoing.event(words.Released(Cause.USER_BUSY))
    assert incoming.released is Cause.USER_BUSY
    assert not switch.media.streams


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
