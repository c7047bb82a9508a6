"""A phone forwards its calls: as far as it may call itself, with what tells of the diversion, and not for ever."""

from __future__ import annotations

from msgspec.structs import replace

from gateway import leg as words
from gateway.call import Call, State
from gateway.cause import Cause
from gateway.identity import Number, RedirectionReason
from gateway.leg import Forward, Leg
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import PhoneDestination, PriDestination, Refused
from tests.unit.call_scene import FakeLeg, FakeSwitch, route_to, start


def forwarding(*targets: str) -> words.Released:
    numbers = tuple(map(Number, targets))
    forward = Forward(numbers, "internal", RedirectionReason.UNCONDITIONAL)
    return words.Released(Cause.REDIRECTION_TO_NEW_DESTINATION, text="302", forward=forward)


def ringing(*legs: Leg | Cause) -> tuple[FakeSwitch, Call, FakeLeg, FakeLeg]:
    first, incoming = FakeLeg("sip", 2), FakeLeg("pri", 1)
    switch = FakeSwitch(route_to(PhoneDestination("p1", "1234")), legs=[first, *legs])
    return switch, start(switch, incoming), incoming, first


def test_the_call_goes_where_the_phone_sends_it_and_the_diversion_is_told() -> None:
    target = FakeLeg("pri", 3)
    switch, call, incoming, phone = ringing(target)
    switch.routing = route_to(PriDestination("g0", Hunt.ASCENDING, "95551"))
    phone.event(forwarding("5551"))
    assert switch.contexts[-1] == "internal"
    assert switch.asked[-1] == ("5551", True)
    assert target.placed is not None
    assert target.placed.called.digits == "95551"
    assert target.placed.redirection is not None
    assert target.placed.redirection.number.digits == "1234"
    assert target.placed.redirection.reason is RedirectionReason.UNCONDITIONAL
    assert "notify 123" in incoming.told
    target.event(words.Answered())
    assert call.state is State.ANSWERED
    assert call.history.notes == ["forwarded to 5551"]
    assert [attempt.cause for attempt in call.history.attempts] == [Cause.REDIRECTION_TO_NEW_DESTINATION, None]


def test_what_it_forwards_out_of_the_branch_is_its_call_as_long_as_it_lasts() -> None:
    target = FakeLeg("pri", 3)
    switch, call, _, phone = ringing(target)
    phone.source = "p1"
    assert not call.left_by("p1", frozenset({"p1"}))
    switch.routing = route_to(PriDestination("g0", Hunt.ASCENDING, "95551"))
    phone.event(forwarding("5551"))
    assert call.left_by("p1", frozenset({"p1"}))
    assert not call.left_by("p2", frozenset({"p1"}))
    target.event(words.Answered())
    assert call.left_by("p1", frozenset({"p1"}))


def test_what_it_forwards_to_a_colleague_is_the_colleagues() -> None:
    colleague = FakeLeg("sip", 3)
    switch, call, _, phone = ringing(colleague)
    phone.source, colleague.source = "p1", "p2"
    switch.routing = route_to(PhoneDestination("p2", "5552"))
    phone.event(forwarding("5552"))
    assert not call.left_by("p1", frozenset({"p1", "p2"}))


def test_a_call_for_help_that_it_forwards_is_nobodys() -> None:
    switch, call, _, phone = ringing(FakeLeg("pri", 3))
    phone.source = "p1"
    switch.routing = replace(route_to(PriDestination("g0", Hunt.ASCENDING, "911")), emergency=True)
    phone.event(forwarding("911"))
    assert not call.left_by("p1", frozenset({"p1"}))


def test_what_its_context_may_not_call_is_not_called() -> None:
    switch, call, incoming, phone = ringing()
    switch.routing = Refused(Cause.CALL_REJECTED, "no route for 900 in context internal")
    phone.event(forwarding("900"))
    assert incoming.released is Cause.REDIRECTION_TO_NEW_DESTINATION
    assert call.history.notes == ["not forwarded to 900: no route for 900 in context internal"]


def test_its_targets_are_tried_in_order() -> None:
    legs = FakeLeg("sip", 3), FakeLeg("sip", 4)
    switch, _, _, phone = ringing(*legs)
    phone.event(forwarding("5551", "5552"))
    legs[0].event(words.Released(Cause.TEMPORARY_FAILURE))
    assert legs[1].placed is not None
    assert [asked[0] for asked in switch.asked] == ["1234", "5551", "5552"]


def test_phones_that_forward_to_one_another_are_not_followed_round() -> None:
    legs = [FakeLeg("sip", number) for number in range(3, 6)]
    _, call, incoming, phone = ringing(*legs)
    phone.event(forwarding("2001"))
    legs[0].event(forwarding("2002"))
    legs[1].event(forwarding("2001"))
    assert legs[2].placed is None
    assert incoming.released is Cause.REDIRECTION_TO_NEW_DESTINATION
    assert call.setup.redirection is not None
    assert call.setup.redirection.count == 2


def test_a_chain_of_forwardings_has_an_end() -> None:
    legs = [FakeLeg("sip", number) for number in range(3, 12)]
    _, call, incoming, phone = ringing(*legs)
    phone.event(forwarding("2000"))
    for number, leg in enumerate(legs):
        if leg.placed is None:
            break
        leg.event(forwarding(f"300{number}"))
    assert sum(leg.placed is not None for leg in legs) == 5
    assert incoming.released is not None
    assert call.history.notes[-1] == "forwarded more than 5 times"


def test_after_an_answer_nothing_is_forwarded() -> None:
    switch, _, incoming, phone = ringing()
    phone.event(words.Answered())
    phone.event(forwarding("5551"))
    assert incoming.released is not None
    assert len(switch.asked) == 1
