"""Numbers that come digit by digit from one line and go on so to another."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Alerting, Answered, Digits, Leg, Proceeding, Setup
from tests.unit.branch_scene import ROUTES, Ear, Scene

TANDEM = """
[[route]]
context = "from-pstn"
match = "_8!"
to = ["pri:g1/{number:1}"]

[[route]]
context = "from-pbx"
match = "_9."
to = ["pri:g0/{number:1}"]
"""
PBX = {"side": "network", "group": "g1", "context": "from-pbx", "overlapdial": "outgoing"}


def dialling() -> tuple[Scene, Ear, Ear]:
    """A caller that has dialled 82 and goes on, and the far end, which has the 2."""
    scene = Scene({"pstn": {"overlapdial": "incoming"}, "pbx": PBX}, routes=ROUTES + TANDEM)
    taken = scene.take_calls("pbx")
    caller = scene.at_pstn(Setup(Number("82"), complete=False))
    scene.run(1)
    (called,) = taken
    assert called.offered is not None
    assert called.offered.setup.called.digits == "2"
    return scene, caller, called


@pytest.mark.parametrize("complete", [False, True])
def test_digits_behind_the_route_reach_the_line_behind_one_by_one(complete: bool) -> None:
    scene, caller, called = dialling()
    assert not caller.of(Proceeding)  # which would end the dialling
    for digit in "34":
        caller.leg.digits(digit, False, scene.now)
        scene.run(0.3)
    caller.leg.digits("5", complete, scene.now)
    scene.run(0.3)
    heard = called.of(Digits)
    assert "".join(one.digits for one in heard) == "345"
    assert heard[-1].complete is complete
    called.leg.proceed(scene.now)
    scene.run(0.1)
    assert len(caller.of(Proceeding)) == 1
    called.leg.answer(None, scene.now)
    scene.run(1)
    assert caller.of(Answered)
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    (record,) = scene.records
    assert (record.dialled, record.sent) == ("82345", "2345")


def test_ringing_ends_the_dialling_too() -> None:
    scene, caller, called = dialling()
    called.leg.alert(False, scene.now)
    scene.run(0.1)
    assert caller.of(Alerting)
    scene.assert_clean()


def test_digits_reach_a_far_end_that_finds_the_number_too_short_by_another_invite() -> None:
    scene = Scene({"pstn": {"overlapdial": "incoming"}}, routes=ROUTES.replace("_41655501XX", "_4!"))

    def take(leg: Leg, setup: Setup) -> None:
        if len(setup.called.digits) < 5:
            leg.release(Cause.INVALID_NUMBER_FORMAT, scene.now)
        else:
            leg.answer(None, scene.now)

    scene.on_call = take
    caller = scene.at_pstn(Setup(Number("41"), complete=False))
    for digit in "655":
        scene.run(0.3)
        caller.leg.digits(digit, False, scene.now)
    scene.run(1)
    assert [invite.uri.user for invite in scene.sent("INVITE")] == ["41", "416", "4165", "41655"]
    assert caller.of(Answered)
