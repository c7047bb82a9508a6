"""Calls that a timer of ours ends: the record says so and names the timer."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Setup
from gateway.pri.leg import PriLeg
from gateway.pri.span.layer1 import Alarm
from tests.unit.branch_scene import ROUTES, Ear, Scene

RING = ROUTES.replace('to = ["sip:hq/{number}"]', 'to = ["sip:hq/{number}"]\nring_seconds = 20')


def outcome(scene: Scene) -> tuple[int, str, tuple[str, ...]]:
    (record,) = scene.records
    return record.cause, record.released_by, record.notes


def test_t303_ends_a_call_to_a_line_that_does_not_answer_setup() -> None:
    scene = Scene()
    # Calls are taken, but nothing answers them.
    scene.exchanges["pstn"].trunk.q931.receive = lambda data, now: None  # type: ignore[method-assign]
    ear = scene.from_sip("95550101")
    scene.run(12)
    assert ear.released is not None
    assert outcome(scene) == (102, "gateway", ("T303 expired towards the called side",))
    assert scene.records[0].attempts[0].text == "T303 expired"


@pytest.mark.parametrize(("timer", "seconds"), [("T310", 115), ("T301", 190)])
def test_timers_of_a_call_to_the_line_are_named(timer: str, seconds: float) -> None:
    scene = Scene()
    taken = scene.take_calls("pstn")
    scene.from_sip("95550101")
    scene.run(0.2)
    leg = taken[0].leg
    assert isinstance(leg, PriLeg)
    # Not by the leg, which would send PROGRESS after a while.
    leg.call.proceeding(())
    if timer == "T301":
        leg.call.alerting(())
    scene.run(seconds)
    _cause, by, notes = outcome(scene)
    assert (by, notes) == ("gateway", (f"{timer} expired towards the called side",))


def test_t309_ends_a_call_whose_line_is_gone() -> None:
    scene = Scene()
    scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.5)
    scene.alarm("pstn", Alarm.RED)
    scene.run(100)
    _cause, by, notes = outcome(scene)
    assert (by, notes) == ("gateway", ("T309 expired towards the caller",))


def vanish(scene: Scene) -> None:
    """The SIP far end is there no more."""
    scene.deaf = {"10.0.0.2"}
    scene.far.handle_timer = lambda now: None  # type: ignore[method-assign]
    scene.far.next_timer = lambda: None  # type: ignore[method-assign]


def test_the_session_timer_ends_a_call_whose_far_end_vanished() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(0.5)
    vanish(scene)
    scene.run(4000)
    _cause, by, notes = outcome(scene)
    # Whichever comes first: the refresh that gets no answer, or the end of the session.
    assert by == "gateway"
    assert notes in [(f"{timer} expired towards the called side",) for timer in ("timer F", "session timer")]


def test_an_answer_that_is_never_acknowledged_ends_the_call_by_a_timer() -> None:
    scene = Scene()
    taken = scene.take_calls("pstn")
    scene.from_sip("95550101")
    scene.run(0.2)
    taken[0].leg.answer(None, scene.now)
    scene.deaf = {"10.0.0.2"}
    scene.run(40)
    _cause, by, notes = outcome(scene)
    assert (by, notes) == ("gateway", ("timer H (2xx without ACK) expired towards the caller",))


def test_ring_seconds_that_no_other_way_follows_end_the_call() -> None:
    scene = Scene(routes=RING)
    scene.on_call = lambda leg, setup: leg.alert(False, scene.now)
    ear: Ear = scene.at_pstn(Setup(Number("4165550101")))
    scene.run(25)
    assert ear.released is not None
    assert outcome(scene) == (19, "gateway", ())
    assert scene.records[0].attempts[0].text == "ring_seconds"


def test_a_far_end_that_clears_is_still_who_ended_the_call() -> None:
    scene = Scene()
    scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.5)
    scene.ears[-1].leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)
    assert outcome(scene) == (16, "called", ())
