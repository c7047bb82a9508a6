"""The Call between two legs: routing, fail-over, and one end for every beginning."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway import leg as words
from gateway.call import Purpose, State
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import (
    Incomplete,
    PhoneDestination,
    PriDestination,
    Refused,
    RejectDestination,
    TrunkDestination,
)
from tests.unit.call_scene import FakeLeg, FakeSwitch, answered_call, route_to, start


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


@pytest.mark.parametrize("hangs_up", [0, 1])
def test_one_side_that_hung_up_is_enough_to_release_the_other_before_the_counters_are_here(hangs_up: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    switch, call = answered_call(*legs)
    legs[hangs_up].stuck = True
    released = words.Released(Cause.NORMAL_CALL_CLEARING)
    legs[hangs_up].event(words.Leaving(released), 5)
    assert legs[1 - hangs_up].released is Cause.NORMAL_CALL_CLEARING
    assert not switch.over
    legs[hangs_up].event(released, 6)
    assert switch.over == [call]
    assert (call.history.released_by, call.history.ended) == (("caller", "called")[hangs_up], 5)


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


@pytest.mark.parametrize("cause", [Cause.USER_BUSY, Cause.CALL_REJECTED, Cause.EXCHANGE_ROUTING_ERROR])
def test_call_for_help_goes_on_to_the_next_destination_whatever_the_one_before_says(cause: Cause) -> None:
    first, second = FakeLeg("sip", 2), FakeLeg("pri", 3)
    route = replace(
        route_to(TrunkDestination("hq", "911"), PriDestination("g0", Hunt.ASCENDING, "911")), emergency=True
    )
    switch = FakeSwitch(route, legs=[first, second])
    incoming = FakeLeg("sip", 1)
    start(switch, incoming)
    first.event(words.Released(cause))
    assert incoming.released is None
    assert second.placed is not None
    second.event(words.Released(cause))
    assert incoming.released is cause


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


def test_a_rejecting_destination_ends_the_call_with_its_cause() -> None:
    switch = FakeSwitch(route_to(RejectDestination(Cause.CALL_REJECTED)))
    incoming = FakeLeg("sip", 1)
    start(switch, incoming)
    assert incoming.told == ["release 21"]


@pytest.mark.parametrize("technology", ["pri", "sip"])
def test_without_a_rule_a_failed_call_ends_at_once_with_its_cause(technology: str) -> None:
    incoming, outgoing = FakeLeg(technology, 1), FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    start(switch, incoming)
    outgoing.event(words.Progress(True))
    outgoing.event(words.Released(Cause.USER_BUSY))
    assert incoming.released is Cause.USER_BUSY
    assert not switch.media.streams


@pytest.mark.parametrize(
    ("before", "answer", "after", "known"),
    [
        (Party(None, "Front"), None, None, Party(None, "Front")),
        (Party(None, "Front"), Party(Number("12")), None, Party(Number("12"), "Front")),
        (None, Party(Number("12")), Party(None, "Front"), Party(Number("12"), "Front")),
        (Party(Number("11"), "First"), Party(Number("12")), None, Party(Number("12"))),
        (None, Party(Number("12"), "Front"), Party(Number("13")), Party(Number("13"))),
    ],
)
def test_number_and_name_of_who_answered_may_come_apart(
    before: Party | None, answer: Party | None, after: Party | None, known: Party
) -> None:
    outgoing = FakeLeg("pri", 2)
    call = start(FakeSwitch(legs=[outgoing]), FakeLeg("pri", 1))
    if before is not None:
        outgoing.event(words.Identified(before))
    outgoing.event(words.Answered(answer))
    if after is not None:
        outgoing.event(words.Identified(after))
    assert call.history.connected == known


def test_a_caller_who_is_another_one_now_did_not_answer_the_call() -> None:
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    _, call = answered_call(incoming, outgoing)
    incoming.event(words.Identified(Party(Number("99"))))
    assert outgoing.told[-1] == "identify"
    assert call.history.connected is None


def test_who_was_named_by_a_destination_that_failed_is_not_who_answered() -> None:
    first, second = FakeLeg("pri", 2), FakeLeg("sip", 3)
    switch = FakeSwitch(
        routing=route_to(PriDestination("g0", Hunt.ASCENDING, "1"), TrunkDestination("hq", "1")), legs=[first, second]
    )
    call = start(switch, FakeLeg("pri", 1))
    first.event(words.Identified(Party(None, "First")))
    first.event(words.Released(Cause.NO_CIRCUIT_AVAILABLE))
    second.event(words.Answered())
    assert call.history.connected is None
