"""Whoever calls for help is stopped by no limit of ours, on any side of the call."""

from __future__ import annotations

from dataclasses import replace

from gateway.cause import Cause
from gateway.voip.sip.incoming import EMERGENCY_LEGS
from tests.unit.branch_scene import Ear, Scene

ROUTES = """
[[route]]
context = "from-pstn"
match = "_41655501XX"
to = ["sip:hq/{number}"]

[[route]]
context = "from-hq"
match = "911"
to = ["pri:g0/911", "sip:hq/4165550199"]

[[route]]
context = "from-hq"
match = "_9."
to = ["pri:g0/{number:1}", "sip:hq/{number}"]
"""


def branch(max_legs: int, **trunk: object) -> Scene:
    """A line with one channel, and a SIP side that takes ``max_legs`` legs in all."""
    scene = Scene({"pstn": {"timeslots": "1"}}, routes=ROUTES, trunk=trunk)
    sip = scene.switch.sip
    sip.settings = replace(sip.settings, max_calls=max_legs)
    return scene


def called_at_hq(scene: Scene) -> list[str]:
    return [ear.offered.setup.called.digits for ear in scene.ears if ear.offered is not None]


def busy_line(scene: Scene) -> None:
    scene.from_pstn()
    scene.run(1)
    assert called_at_hq(scene) == ["4165550101"]


def test_emergency_call_leaves_by_sip_when_the_line_is_full_and_no_leg_is_left() -> None:
    scene = branch(max_legs=1)
    busy_line(scene)
    other = scene.from_sip("95550106")
    scene.run(1)
    assert other.released is not None and "503" in other.released.text
    helped = scene.from_sip("911")
    scene.run(1)
    assert helped.released is None
    assert called_at_hq(scene) == ["4165550101", "4165550199"]


def test_brakes_of_the_trunk_do_not_stop_an_emergency_call_whose_number_was_changed() -> None:
    scene = branch(max_legs=100, call_limit=2, calls_per_hour=2, destinations_per_hour=1)
    busy_line(scene)
    scene.from_sip("95550106")
    scene.run(1)
    refused = scene.from_sip("95550107")
    scene.run(1)
    assert refused.released is not None and refused.released.cause is Cause.CALL_REJECTED
    helped = scene.from_sip("911")
    scene.run(1)
    assert helped.released is None
    assert called_at_hq(scene)[-1] == "4165550199"


def test_emergency_call_takes_the_last_channel_when_no_sip_leg_is_left() -> None:
    scene = Scene({"pstn": {"timeslots": "1-2"}}, routes=ROUTES)
    sip = scene.switch.sip
    sip.settings = replace(sip.settings, max_calls=1)
    busy_line(scene)
    helped = scene.from_sip("911")
    scene.run(1)
    assert helped.released is None
    assert called_at_hq(scene) == ["4165550101"]
    assert "offered" in scene.moments()


def test_every_call_of_the_reserve_finds_a_way_out() -> None:
    scene = branch(max_legs=1)
    busy_line(scene)
    helped: list[Ear] = []
    for _ in range(EMERGENCY_LEGS // 2):
        helped.append(scene.from_sip("911"))
        scene.run(0.1)
    assert [ear.released for ear in helped] == [None] * len(helped)
    assert called_at_hq(scene).count("4165550199") == len(helped)


def test_record_of_a_call_beyond_the_limits_says_that_it_was_one_for_help() -> None:
    scene = branch(max_legs=1)
    busy_line(scene)
    scene.from_sip("911").leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)
    assert [record.emergency for record in scene.records] == [True]
