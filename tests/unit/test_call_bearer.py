"""A call of plain 64 kbit/s: only another line carries it; nothing else may touch its octets, no codec and no tone."""

from __future__ import annotations

import pytest

from gateway import leg as words
from gateway.call import Call, State
from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Bearer
from gateway.pri.channels import Hunt
from gateway.routing.dialplan import (
    Destination,
    EchoDestination,
    MilliwattDestination,
    PhoneDestination,
    PlayDestination,
    PriDestination,
    TonedDestination,
    TrunkDestination,
)
from tests.unit.branch_scene import Scene
from tests.unit.call_scene import RINGBACK, FakeLeg, FakeSwitch, route_to

SIP = TrunkDestination("hq", "1234")
LINE = PriDestination("g0", Hunt.ASCENDING, "1234")
NOT_IMPLEMENTED = Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED


def start(switch: FakeSwitch, incoming: FakeLeg, bearer: Bearer = Bearer.UNRESTRICTED) -> Call:
    setup = words.Setup(Number("1234"), bearer=bearer)
    call = Call("c1", switch, incoming, words.Offered(setup, "from-pstn", "pstn"), 0)
    call.begin(0)
    return call


@pytest.mark.parametrize(
    "destination",
    [
        SIP,
        PhoneDestination("desk", "1234"),
        PlayDestination("closed.wav", "closed"),
        EchoDestination(),
        MilliwattDestination(RINGBACK),
    ],
    ids=str,
)
def test_data_goes_nowhere_but_to_a_line_and_the_caller_gets_65(destination: Destination) -> None:
    switch = FakeSwitch(route_to(destination))
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    assert incoming.told == ["release 65"]
    assert switch.media.streams == {}
    assert (call.history.cause, call.history.released_by) == (NOT_IMPLEMENTED, "gateway")
    [attempt] = call.history.attempts
    assert (attempt.destination, attempt.cause, attempt.text) == (
        str(destination),
        NOT_IMPLEMENTED,
        "carries speech only",
    )


def test_data_passes_by_what_cannot_carry_it_whatever_the_operator_says_of_65(monkeypatch: pytest.MonkeyPatch) -> None:
    line = FakeLeg("pri", 2)
    switch = FakeSwitch(route_to(SIP, LINE), legs=[line])
    monkeypatch.setattr(switch, "continues", lambda cause: cause is not NOT_IMPLEMENTED)
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    assert line.placed is not None
    assert line.placed.bearer is Bearer.UNRESTRICTED
    line.event(words.Answered())
    assert call.state is State.ANSWERED
    assert switch.media.wires == {1: 2, 2: 1}


@pytest.mark.parametrize("speech_first", [False, True])
def test_the_cause_is_that_of_the_line_which_could_have_carried_it(speech_first: bool) -> None:
    order = (SIP, LINE) if speech_first else (LINE, SIP)
    switch = FakeSwitch(route_to(*order), legs=[Cause.NO_CIRCUIT_AVAILABLE])
    incoming = FakeLeg("pri", 1)
    start(switch, incoming)
    assert incoming.released is Cause.NO_CIRCUIT_AVAILABLE


def test_who_refused_is_told_although_a_destination_was_left_out_after_that() -> None:
    line = FakeLeg("pri", 2)
    switch = FakeSwitch(route_to(LINE, SIP), legs=[line])
    incoming = FakeLeg("pri", 1)
    call = start(switch, incoming)
    line.event(words.Released(Cause.NETWORK_OUT_OF_ORDER))
    assert incoming.released is Cause.NETWORK_OUT_OF_ORDER
    assert call.history.released_by == "far end"


def test_no_tone_of_ours_gets_into_a_data_call() -> None:
    line = FakeLeg("pri", 2)
    switch = FakeSwitch(route_to(LINE), legs=[line], failure_tones={Cause.USER_BUSY: RINGBACK})
    incoming = FakeLeg("pri", 1)
    start(switch, incoming)
    line.event(words.Alerting(inband=False))
    assert incoming.told[-1] == "alert False"
    assert switch.media.streams == {}
    line.event(words.Released(Cause.USER_BUSY))
    assert incoming.told[-1] == "release 17"


def test_a_busy_tone_of_the_dial_plan_is_only_its_cause_for_data() -> None:
    switch = FakeSwitch(route_to(TonedDestination(RINGBACK, Cause.USER_BUSY, "busy")))
    incoming = FakeLeg("pri", 1)
    start(switch, incoming)
    assert incoming.told == ["release 17"]
    assert switch.media.streams == {}


@pytest.mark.parametrize("bearer", [Bearer.SPEECH, Bearer.AUDIO])
def test_what_can_be_heard_goes_to_sip(bearer: Bearer) -> None:
    trunk = FakeLeg("sip", 2)
    start(FakeSwitch(route_to(SIP), legs=[trunk]), FakeLeg("pri", 1), bearer)
    assert trunk.placed is not None


def test_the_pstn_is_told_65_and_sip_and_the_voice_engine_hear_nothing_of_it() -> None:
    scene = Scene()
    caller = scene.at_pstn(words.Setup(Number("4165550101"), bearer=Bearer.UNRESTRICTED))
    scene.run(5)
    assert caller.released is not None
    assert caller.released.cause is NOT_IMPLEMENTED
    assert scene.sent("INVITE") == []
    assert [record.cause for record in scene.records] == [65]
    scene.assert_clean()
