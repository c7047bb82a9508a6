"""Transfer of a call: who ends up with whom, who pays for it in the record, and that nobody is left behind."""

from __future__ import annotations

import pytest

from gateway import leg as words
from gateway.call import Call, Purpose, State
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import (
    EchoDestination,
    PhoneDestination,
    PriDestination,
    Refused,
    RejectDestination,
    TrunkDestination,
)
from tests.unit.call_scene import FakeLeg, FakeSwitch, answered_call, route_to, start

TARGET = Number("2001")


def transferring(
    by: int = 1, *targets: Leg | Cause, ring_seconds: int | None = None
) -> tuple[FakeSwitch, Call, FakeLeg, FakeLeg]:
    """An answered call and the leg that will ask for a transfer, and the one to be sent."""
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, call = answered_call(*legs)
    switch.legs = list(targets)
    switch.routing = route_to(
        *(PhoneDestination(f"p{number}", "2001") for number in range(len(targets))), ring_seconds=ring_seconds
    )
    return switch, call, legs[by], legs[1 - by]


def ask(leg: FakeLeg, replaces: Leg | None = None) -> None:
    leg.event(words.Transferred(TARGET, "internal", replaces, "sip:boss@example.com"))


@pytest.mark.parametrize("by", [0, 1])
def test_the_other_side_goes_on_with_the_target_and_who_asked_leaves(by: int) -> None:
    target = FakeLeg("pri", 3)
    switch, call, asks, sent = transferring(by, target)
    ask(asks)
    assert asks.told[-1] == "transfer trying"
    assert target.placed is not None
    assert target.placed.called.digits == "2001"
    assert target.placed.referred_by == "sip:boss@example.com"
    target.event(words.Alerting(False))
    assert switch.media.heard_by(sent.stream or 0) == "tone"
    target.event(words.Answered())
    assert asks.told[-2:] == ["transfer done", "release 16"]
    assert switch.media.wires == {sent.stream: 3, 3: sent.stream}
    assert call.state is State.ANSWERED
    assert switch.over == []
    for hangs_up in (target,):
        hangs_up.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert sent.released is Cause.NORMAL_CALL_CLEARING
    assert switch.over == [call]
    assert not switch.watched
    assert not switch.timers
    assert not switch.media.streams
    (transfer,) = call.history.transfers
    assert (transfer.kind, transfer.number, transfer.cause) == ("blind", "2001", Cause.NORMAL_CALL_CLEARING)
    assert call.history.incoming
    assert call.history.attempts[0].leg
    assert transfer.leg


def test_the_dial_plan_is_asked_in_the_context_of_who_asks() -> None:
    target = FakeLeg("sip", 3)
    switch, _, asks, _ = transferring(1, target)
    ask(asks)
    assert switch.contexts[-1] == "internal"


def test_where_the_context_may_not_call_nobody_is_sent() -> None:
    switch, call, asks, sent = transferring(1)
    switch.routing = Refused(Cause.CALL_REJECTED, "no route")
    ask(asks)
    assert asks.told[-1] == "transfer failed 21"
    assert switch.media.wires == {1: 2, 2: 1}
    assert call.state is State.ANSWERED
    assert sent.released is None


def test_a_target_that_fails_gives_way_to_the_next_and_the_last_sends_the_other_side_back() -> None:
    targets = FakeLeg("sip", 3), FakeLeg("sip", 4)
    switch, call, asks, sent = transferring(1, *targets)
    ask(asks)
    targets[0].event(words.Released(Cause.TEMPORARY_FAILURE))
    assert targets[1].placed is not None
    assert "transfer failed 41" not in asks.told
    targets[1].event(words.Released(Cause.USER_BUSY))
    assert asks.told[-1] == "transfer failed 17"
    assert switch.media.wires == {1: 2, 2: 1}
    assert asks.released is None and sent.released is None
    assert [transfer.cause for transfer in call.history.transfers] == [Cause.TEMPORARY_FAILURE, Cause.USER_BUSY]


def test_a_target_that_does_not_answer_in_time_is_given_up() -> None:
    target = FakeLeg("sip", 3)
    switch, call, asks, _ = transferring(1, target, ring_seconds=20)
    ask(asks)
    assert switch.timers[Purpose.TRANSFER_LIMIT] == 20 * SECOND
    call.handle_timer(Purpose.TRANSFER_LIMIT, 20 * SECOND)
    assert target.released is Cause.NO_ANSWER_FROM_USER
    assert asks.told[-1] == "transfer failed 19"
    assert Purpose.TRANSFER_LIMIT not in switch.timers


@pytest.mark.parametrize("by", [0, 1])
def test_who_asked_may_hang_up_at_once_and_the_transfer_goes_on(by: int) -> None:
    target = FakeLeg("sip", 3)
    switch, call, asks, sent = transferring(by, target)
    ask(asks)
    asks.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert sent.released is None
    target.event(words.Answered())
    assert switch.media.wires == {sent.stream: 3, 3: sent.stream}
    sent.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert target.released is Cause.NORMAL_CALL_CLEARING
    assert switch.over == [call]
    assert not switch.media.streams


@pytest.mark.parametrize("by", [0, 1])
def test_without_who_asked_a_failure_is_the_end_with_its_cause(by: int) -> None:
    target = FakeLeg("sip", 3)
    switch, call, asks, sent = transferring(by, target)
    ask(asks)
    asks.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    target.event(words.Released(Cause.USER_BUSY))
    assert sent.released is Cause.USER_BUSY
    assert switch.over == [call]
    assert call.history.cause is Cause.USER_BUSY


@pytest.mark.parametrize("by", [0, 1])
def test_the_side_that_is_sent_hangs_up_and_all_is_over(by: int) -> None:
    target = FakeLeg("sip", 3)
    switch, call, asks, sent = transferring(by, target)
    ask(asks)
    target.event(words.Alerting(False))
    sent.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert target.released is Cause.NORMAL_CALL_CLEARING
    assert asks.released is Cause.NORMAL_CALL_CLEARING
    assert "transfer failed" in asks.told
    assert switch.over == [call]
    assert not switch.media.streams
    assert not switch.timers


def test_an_operator_may_end_a_call_in_the_middle_of_a_transfer() -> None:
    target = FakeLeg("sip", 3)
    switch, call, asks, sent = transferring(1, target)
    ask(asks)
    call.hang_up(5)
    assert target.released and asks.released and sent.released
    assert switch.over == [call]


def test_only_one_transfer_at_a_time() -> None:
    _, _, asks, sent = transferring(1, FakeLeg("sip", 3))
    ask(asks)
    ask(sent)
    assert sent.told[-1].startswith("transfer failed")


def test_early_audio_of_the_target_is_heard_and_a_ringing_tone_else() -> None:
    target = FakeLeg("sip", 3)
    switch, _, asks, sent = transferring(1, target)
    ask(asks)
    target.event(words.Alerting(True))
    assert switch.media.wires[sent.stream or 0] == 3


def test_a_transfer_to_a_service_of_ours() -> None:
    switch, call, asks, sent = transferring(0)
    switch.routing = route_to(EchoDestination())
    ask(asks)
    assert asks.told[-2:] == ["transfer done", "release 16"]
    assert switch.media.heard_by(sent.stream or 0) == "echo"
    assert Purpose.TONE_LIMIT in switch.timers
    sent.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [call]
    assert not switch.media.streams
    assert not switch.timers


def test_a_rejecting_target_fails_the_transfer() -> None:
    switch, _, asks, _ = transferring(1)
    switch.routing = route_to(RejectDestination(Cause.CALL_REJECTED))
    ask(asks)
    assert asks.told[-1] == "transfer failed 21"


def test_a_target_may_be_sent_on_again() -> None:
    first, second = FakeLeg("sip", 3), FakeLeg("pri", 4)
    switch, call, asks, sent = transferring(1, first)
    ask(asks)
    first.event(words.Answered(Party(Number("2001"))))
    switch.legs = [second]
    ask(first)
    second.event(words.Answered())
    assert switch.media.wires == {sent.stream: 4, 4: sent.stream}
    assert first.released is Cause.NORMAL_CALL_CLEARING
    sent.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [call]
    assert len(call.history.transfers) == 2


# -- attended --


def consultation(technology: str = "pri") -> tuple[FakeSwitch, Call, Call, list[FakeLeg]]:
    """A called B; B called C, too: the calls, and the legs A, B, B again and C."""
    a, b, b2, c = FakeLeg("pri", 1), FakeLeg("sip", 2), FakeLeg("sip", 3), FakeLeg(technology, 4)
    switch = FakeSwitch(legs=[b, c])
    first = start(switch, a)
    b.event(words.Answered())
    switch.routing = route_to(PriDestination("g0", Hunt.ASCENDING, "5"))
    second = start(switch, b2)
    return switch, first, second, [a, b, b2, c]


@pytest.mark.parametrize("technology", ["pri", "sip"])
def test_an_attended_transfer_joins_the_other_sides_and_each_call_has_one_record(technology: str) -> None:
    switch, first, second, (a, b, b2, c) = consultation(technology)
    c.event(words.Answered())
    ask(b, b2)
    assert b.told[-2:] == ["transfer done", "release 16"]
    assert b2.released is Cause.NORMAL_CALL_CLEARING
    assert switch.over == [first]
    assert first.history.released_by == "transfer"
    assert switch.media.wires == {1: 4, 4: 1}
    assert switch.watched[1] is second
    assert a.told[-1] == c.told[-1] == "identify"
    c.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert a.released is Cause.NORMAL_CALL_CLEARING
    assert switch.over == [first, second]
    assert not switch.media.streams
    assert not switch.watched
    (joined,) = second.history.transfers
    assert (joined.kind, joined.text) == ("attended", f"from call {first.identity}")
    assert joined.leg


def test_lines_that_a_phone_joined_are_a_call_of_its_own_until_they_end() -> None:
    _, _, second, (_, b, b2, c) = consultation("pri")
    b.source = b2.source = "desk"
    c.event(words.Answered())
    assert not second.left_by("desk", frozenset({"desk"}))
    ask(b, b2)
    assert second.left_by("desk", frozenset({"desk"}))


def test_an_attended_transfer_while_it_still_rings_leaves_the_ringing_to_the_other_side() -> None:
    switch, first, second, (a, b, b2, c) = consultation()
    c.event(words.Alerting(False))
    ask(b, b2)
    assert switch.over == [first]
    assert switch.media.heard_by(1) == "tone"
    c.event(words.Answered())
    assert switch.media.wires == {1: 4, 4: 1}
    a.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [first, second]
    assert not switch.media.streams


def test_a_consultation_that_is_over_fails_the_transfer_and_the_call_goes_on() -> None:
    _, first, _, (_, b, b2, c) = consultation()
    c.event(words.Answered())
    c.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    ask(b, b2)
    assert b.told[-1] == "transfer failed 81"
    assert first.state is State.ANSWERED


# -- another leg asks for the place of one --


def offered(number: str = "77") -> words.Offered:
    return words.Offered(words.Setup(Number("1"), Party(Number(number))), "internal", "p7")


@pytest.mark.parametrize("replaced", [0, 1])
def test_an_invite_with_replaces_takes_the_place_of_a_leg(replaced: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, call = answered_call(*legs)
    new = FakeLeg("sip", 3)
    assert call.take_place(legs[replaced], new, offered(), 5)
    assert new.told[-1] == "answer"
    assert legs[replaced].released is Cause.NORMAL_CALL_CLEARING
    other = legs[1 - replaced]
    assert switch.media.wires == {other.stream: 3, 3: other.stream}
    new.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert other.released
    assert switch.over == [call]
    assert call.history.transfers[0].kind == "replaces"


def test_a_call_that_rings_is_picked_up_by_another_phone() -> None:
    incoming, rings, new = FakeLeg("pri", 1), FakeLeg("sip", 2), FakeLeg("sip", 3)
    switch = FakeSwitch(legs=[rings])
    call = start(switch, incoming)
    rings.event(words.Alerting(False))
    assert call.take_place(rings, new, offered(), 5)
    assert incoming.told[-1] == "answer"
    assert rings.released is Cause.NORMAL_CALL_CLEARING
    assert switch.media.wires == {1: 3, 3: 1}
    assert call.history.answered == 5
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING))
    assert switch.over == [call]


def test_a_caller_whose_call_is_not_answered_is_not_replaced() -> None:
    incoming, rings = FakeLeg("sip", 1), FakeLeg("sip", 2)
    call = start(FakeSwitch(legs=[rings]), incoming)
    assert not call.take_place(incoming, FakeLeg("sip", 3), offered(), 5)


def test_a_transfer_while_on_hold_plays_music_until_it_rings_and_again_after_it_failed() -> None:
    target = FakeLeg("sip", 3)
    switch, _, asks, sent = transferring(1, target)
    switch.music = "/music.wav"
    asks.event(words.Held())
    assert switch.media.heard_by(sent.stream or 0) == "prompt /music.wav"
    ask(asks)
    assert switch.media.heard_by(sent.stream or 0) == "prompt /music.wav"
    target.event(words.Alerting(False))
    assert switch.media.heard_by(sent.stream or 0) == "tone"
    target.event(words.Released(Cause.USER_BUSY))
    assert switch.media.heard_by(sent.stream or 0) == "prompt /music.wav"
    asks.event(words.Resumed())
    assert switch.media.wires == {1: 2, 2: 1}
    assert not switch.media.streams


def test_too_many_transfers_of_one_call_are_refused() -> None:
    switch, call, asks, _ = transferring(1)
    switch.routing = route_to(TrunkDestination("hq", "1"))
    for _ in range(20):
        switch.legs = [FakeLeg("sip", 9)]
        legs = switch.legs
        ask(asks)
        target = call._others[0] if call._others else None
        if isinstance(target, FakeLeg):
            target.event(words.Released(Cause.USER_BUSY))
    assert asks.told[-1] == "transfer failed 29"
    assert len(call.history.transfers) == 16
    assert legs
