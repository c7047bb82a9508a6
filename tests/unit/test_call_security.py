"""Calls whose route, or whose caller, wants a secure hop on the way out: passed over, never taken without it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway import leg as words
from gateway.call import Call
from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import Destination, PhoneDestination, PriDestination, TrunkDestination
from tests.unit.call_scene import FakeLeg, FakeSwitch, answered_call, route_to

BOTH = frozenset({SECURE_SIGNALLING, SECURE_MEDIA})
SIGNALLING = frozenset({SECURE_SIGNALLING})
HQ = TrunkDestination("hq", "1234")
DESK = PhoneDestination("desk", "1234")
LINE = PriDestination("g0", Hunt.ASCENDING, "1234")


def begin(
    switch: FakeSwitch,
    incoming: FakeLeg,
    *destinations: Destination,
    secure_bridge: frozenset[str] = frozenset(),
    emergency: bool = False,
    sips: bool = False,
) -> Call:
    switch.routing = replace(route_to(*destinations), secure_bridge=secure_bridge, emergency=emergency)
    setup = words.Setup(Number("1234"), secure_bridge=SIGNALLING if sips else frozenset())
    call = Call("c1", switch, incoming, words.Offered(setup, "from-hq", "hq"), 0)
    call.begin(0)
    return call


def test_destination_that_lacks_a_fact_is_passed_over_for_one_that_has_it() -> None:
    outgoing = FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing], facts={"sip:hq": SIGNALLING, "sip:desk": BOTH})
    call = begin(switch, FakeLeg("sip", 1), HQ, LINE, DESK, secure_bridge=BOTH)
    assert call.outgoing is outgoing
    assert [attempt.destination for attempt in call.history.attempts] == ["sip:hq/1234", "pri:g0/1234", "sip:desk"]
    first, second, third = call.history.attempts
    assert first.text == "passed over: it has no secure_media, which secure_bridge asks for"
    assert second.text == ("passed over: it has no secure_media and no secure_signalling, which secure_bridge asks for")
    assert (first.cause, third.cause) == (Cause.BEARER_CAPABILITY_NOT_AUTHORIZED, None)
    # What the leg must insist on itself.
    assert outgoing.placed is not None
    assert outgoing.placed.secure_bridge == BOTH


def test_call_that_nobody_can_take_securely_ends_with_cause_57() -> None:
    incoming = FakeLeg("sip", None)
    switch = FakeSwitch(legs=[])
    begin(switch, incoming, HQ, secure_bridge=SIGNALLING)
    assert incoming.released is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
    assert switch.over[0].history.released_by == "gateway"


def test_emergency_call_goes_on_and_its_record_says_what_was_missing() -> None:
    outgoing = FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    call = begin(switch, FakeLeg("sip", 1), HQ, secure_bridge=BOTH, emergency=True)
    assert outgoing.placed is not None
    assert outgoing.placed.secure_bridge == frozenset()
    assert call.history.notes == ["emergency: sip:hq/1234 has no secure_media, secure_signalling"]


@pytest.mark.parametrize(("destination", "taken"), [(HQ, False), (LINE, True)])
def test_who_called_a_sips_number_goes_on_over_tls_or_on_a_line(destination: Destination, taken: bool) -> None:
    outgoing = FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    begin(switch, FakeLeg("sip", 1), destination, sips=True)
    assert (outgoing.placed is not None) is taken


def test_call_without_such_wishes_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    outgoing = FakeLeg("sip", 2)
    switch = FakeSwitch(legs=[outgoing])
    monkeypatch.setattr(switch, "lacking", None)
    begin(switch, FakeLeg("sip", 1), HQ)
    assert outgoing.placed is not None


@pytest.mark.parametrize(("emergency", "placed"), [(False, False), (True, True)])
def test_transfer_to_a_destination_that_must_be_secure(emergency: bool, placed: bool) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    target = FakeLeg("sip", 3)
    switch, call = answered_call(*legs)
    switch.legs = [target]
    switch.routing = replace(route_to(DESK), secure_bridge=SIGNALLING, emergency=emergency)
    legs[1].event(words.Transferred(Number("2001"), "internal", None, "sip:boss@example.com"))
    assert (target.placed is not None) is placed
    (transfer,) = call.history.transfers
    if placed:
        assert target.placed is not None
        assert target.placed.secure_bridge == frozenset()
        assert "emergency: sip:desk has no secure_signalling" in call.history.notes
    else:
        assert transfer.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
        assert transfer.text.startswith("passed over: it has no secure_signalling")


# -- whoever comes into a place later --


def secured(incoming: FakeLeg, outgoing: FakeLeg, **facts: frozenset[str]) -> tuple[FakeSwitch, Call]:
    """An answered call of a caller on TLS, whose route asks for that on both sides."""
    switch = FakeSwitch(legs=[outgoing], facts={"sip:hq": SIGNALLING, **facts})
    switch.routing = replace(route_to(HQ), secure_bridge=SIGNALLING, require=SIGNALLING)
    setup = words.Setup(Number("1234"), facts=SIGNALLING)
    call = Call("c1", switch, incoming, words.Offered(setup, "from-hq", "hq"), 0)
    call.begin(0)
    outgoing.event(words.Answered())
    return switch, call


@pytest.mark.parametrize("replaced", [0, 1])
def test_who_takes_a_place_must_be_as_safe_as_was_asked_of_it(replaced: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    _, call = secured(*legs)
    clear = words.Offered(words.Setup(Number("1")), "internal", "p7")
    assert not call.take_place(legs[replaced], FakeLeg("sip", 3), clear, 5)
    assert "not as safe" in call.history.notes[-1]
    assert legs[replaced].released is None
    safe = words.Offered(words.Setup(Number("1"), facts=SIGNALLING), "internal", "p7")
    assert call.take_place(legs[replaced], FakeLeg("sip", 3), safe, 5)


@pytest.mark.parametrize("by", [0, 1])
def test_transfer_leads_to_no_hop_less_safe(by: int) -> None:
    legs = FakeLeg("sip", 1), FakeLeg("sip", 2)
    target = FakeLeg("sip", 3)
    switch, call = secured(*legs)
    switch.legs.append(target)
    switch.routing = route_to(LINE, DESK)
    legs[by].event(words.Transferred(Number("5"), "internal"))
    assert target.placed is None
    assert legs[by].told[-1] == "transfer failed 57"
    switch.facts["sip:desk"] = SIGNALLING
    legs[by].event(words.Transferred(Number("5"), "internal"))
    assert target.placed is not None
    assert target.placed.secure_bridge == SIGNALLING
    assert call.history.transfers[-1].destination == "sip:desk"


class SafeLeg(FakeLeg):
    """On TLS."""

    def record(self) -> dict[str, object]:
        return {**super().record(), "facts": [SECURE_SIGNALLING]}


@pytest.mark.parametrize("safe", [True, False])
def test_attended_transfer_joins_no_hop_less_safe(safe: bool) -> None:
    caller, called, consulting = SafeLeg("sip", 1), SafeLeg("sip", 2), SafeLeg("sip", 3)
    other = SafeLeg("sip", 4) if safe else FakeLeg("sip", 4)
    switch, _ = secured(caller, called)
    switch.legs.append(other)
    switch.routing = route_to(DESK)
    second = Call("c2", switch, consulting, words.Offered(words.Setup(Number("9")), "internal", "p7"), 0)
    second.begin(0)
    other.event(words.Answered())
    called.event(words.Transferred(Number("9"), "internal", consulting))
    assert (called.released is not None) is safe
    assert called.told[-1] == ("release 16" if safe else "transfer failed 57")
