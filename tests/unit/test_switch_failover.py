"""A SIP trunk that says nothing: the call goes another way in time, and the trunk is tried last until it speaks."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number
from gateway.leg import Alerting, Answered, Setup
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.message import Request
from gateway.voip.sip.suspects import DOUBT, PATIENCE
from tests.unit.branch_scene import Scene, trunk_text

DEAD = "10.0.0.9"
SILENT = "\n".join([trunk_text(name="silent", host=DEAD), '[[phone]]\nname = "desk"\nhost = "10.0.0.8"\n'])
ROUTES = """
[[route]]
context = "from-pstn"
match = "_41655501XX"
to = ["sip:silent/{number}", "sip:hq/{number}"]

[[route]]
context = "from-pstn"
match = "_41655502XX"
to = ["sip:silent/{number}", "echo"]

[[route]]
context = "from-pstn"
match = "_41655503XX"
to = ["sip:silent/{number}"]

[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:desk", "sip:hq/{number}"]

[[route]]
context = "from-hq"
match = "911"
to = ["sip:silent/911", "pri:g0/5550101"]

[[route]]
context = "from-hq"
match = "_9."
to = ["pri:g0/{number:1}"]
"""
CALLED = "4165550101"


def scene_with_silence(**trunk: object) -> Scene:
    extra = (
        SILENT if not trunk else "\n".join([trunk_text(name="silent", host=DEAD, **trunk), SILENT.split("\n\n")[-1]])
    )
    scene = Scene(routes=ROUTES, extra=extra)
    scene.deaf = {DEAD, "10.0.0.8"}
    return scene


def invites(scene: Scene, host: str = DEAD) -> list[Request]:
    return [request for request in scene.sent("INVITE") if request.uri.host == host]


def answered_after(scene: Scene, called: str = CALLED, limit: float = 40.0) -> float:
    began = scene.now
    caller = scene.at_pstn(Setup(Number(called)))
    scene.run(limit, until=lambda: bool(caller.of(Answered)))
    seconds = (scene.now - began) / SECOND
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(0.5)
    return seconds


def respond(scene: Scene, request: Request, status: int, tag: str = "") -> None:
    """The silent trunk says something after all."""
    response = request.response(status, None, tag or None)
    if status > 100:
        response.headers.add("Contact", f"<sip:{DEAD}>")
    data = response.to_bytes()
    scene.switch.receive_sip(data, Flow(UDP, DEAD, 5060), scene.now)
    scene.settle()


def test_a_silent_trunk_costs_four_seconds_and_the_record_tells() -> None:
    scene = scene_with_silence()
    assert answered_after(scene) == pytest.approx(4, abs=0.1)
    record = scene.records[0]
    assert [attempt.destination for attempt in record.attempts] == ["sip:silent/4165550101", "sip:hq/4165550101"]
    first = record.attempts[0]
    assert (first.cause, first.text) == (102, "no response within 4 s")
    # No more copies for a call that is elsewhere.
    count = len(invites(scene))
    scene.run(40)
    assert len(invites(scene)) == count == 4
    scene.assert_clean()


@pytest.mark.parametrize("seconds", [1.5, 10])
def test_the_patience_is_the_trunks_failover_ms(seconds: float) -> None:
    scene = scene_with_silence(failover_ms=round(seconds * 1000))
    assert answered_after(scene) == pytest.approx(seconds, abs=0.1)


def test_a_silent_phone_is_left_as_well() -> None:
    scene = scene_with_silence()
    assert answered_after(scene, "4165550401") == pytest.approx(4, abs=0.1)


def test_an_emergency_call_does_not_wait_for_a_dead_trunk() -> None:
    scene = scene_with_silence()
    began = scene.now
    ear = scene.from_sip("911")
    scene.run(10, until=lambda: bool(ear.of(Alerting)))
    assert (scene.now - began) / SECOND == pytest.approx(4, abs=0.2)


def test_the_last_way_is_waited_for_as_long_as_sip_says() -> None:
    scene = scene_with_silence()
    caller = scene.at_pstn(Setup(Number("4165550301")))
    scene.run(31)
    assert caller.released is None
    scene.run(4)
    assert caller.released is not None
    record = scene.records[0]
    assert (record.cause, record.released_by) == (102, "gateway")
    assert record.attempts[0].text == "timer B expired"
    assert record.notes == ("timer B expired towards the called side",)


def test_a_suspect_is_tried_last_and_then_with_little_patience() -> None:
    scene = scene_with_silence()
    answered_after(scene)
    assert answered_after(scene) < 0.5
    assert [attempt.destination for attempt in scene.records[1].attempts] == ["sip:hq/4165550101"]
    scene.run(DOUBT / SECOND)
    assert answered_after(scene) == pytest.approx(PATIENCE / SECOND, abs=0.1)
    assert scene.records[2].attempts[0].text == "no response within 1 s"
    assert answered_after(scene) < 0.5


def test_a_suspect_goes_before_what_needs_no_far_end() -> None:
    scene = scene_with_silence()
    answered_after(scene)
    # An echo always answers: behind it the trunk would never be tried.
    assert answered_after(scene, "4165550201") == pytest.approx(PATIENCE / SECOND, abs=0.1)
    assert [attempt.destination for attempt in scene.records[1].attempts] == ["sip:silent/4165550201", "echo"]


@pytest.mark.parametrize("by", ["response", "request"])
def test_a_suspect_that_says_anything_is_none_any_more(by: str) -> None:
    scene = scene_with_silence()
    answered_after(scene)
    if by == "response":
        respond(scene, invites(scene)[-1], 404, "x")
    else:
        data = (
            f"OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {DEAD};branch=z9hG4bKo\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{DEAD}>;tag=1\r\nTo: <sip:10.0.0.1>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\r\n"
        )
        scene.switch.receive_sip(data.encode(), Flow(UDP, DEAD, 5060), scene.now)
        scene.settle()
    assert not scene.switch.sip.suspects.names
    assert answered_after(scene) == pytest.approx(4, abs=0.1)


def test_a_late_provisional_response_gets_cancel() -> None:
    scene = scene_with_silence()
    caller = scene.at_pstn(Setup(Number(CALLED)))
    scene.run(5)
    assert caller.of(Answered)
    invite = invites(scene)[-1]
    assert not scene.sent("CANCEL")
    respond(scene, invite, 180, "late")
    (cancel,) = scene.sent("CANCEL")
    assert cancel.via.branch == invite.via.branch
    respond(scene, invite, 487, "late")
    assert [ack.uri.host for ack in scene.sent("ACK")].count(DEAD) == 1
    # The call does not notice.
    assert caller.released is None


def test_a_late_answer_gets_ack_and_bye() -> None:
    scene = scene_with_silence()
    caller = scene.at_pstn(Setup(Number(CALLED)))
    scene.run(5)
    respond(scene, invites(scene)[-1], 200, "late")
    assert [ack.uri.host for ack in scene.sent("ACK")].count(DEAD) == 1
    (bye,) = scene.sent("BYE")
    assert bye.to.tag == "late"
    respond(scene, bye, 200)
    assert caller.released is None
    assert len(caller.of(Answered)) == 1
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()


def test_a_trunk_that_tries_is_waited_for() -> None:
    scene = scene_with_silence()
    caller = scene.at_pstn(Setup(Number(CALLED)))
    scene.run(2)
    respond(scene, invites(scene)[-1], 100)
    scene.run(20)
    assert not caller.of(Answered)
    assert not invites(scene, "10.0.0.2")


def test_nobody_goes_another_way_where_the_operator_forbids_it() -> None:
    scene = Scene(routes=ROUTES, extra=SILENT + "\n[[cause]]\ncause = 102\nfailover = false\n")
    scene.deaf = {DEAD}
    caller = scene.at_pstn(Setup(Number(CALLED)))
    scene.run(20)
    assert caller.released is None
    assert not invites(scene, "10.0.0.2")


# -- qualify --


def unreachable_scene() -> Scene:
    """The silent trunk was found unreachable before anybody called."""
    scene = scene_with_silence(qualify=2000)
    # It was there when the scene began.
    scene.run(66)
    assert scene.switch.sip.suspects.is_unreachable("silent")
    return scene


def test_an_unreachable_trunk_is_skipped_at_once() -> None:
    scene = unreachable_scene()
    assert answered_after(scene) < 0.5
    assert [attempt.destination for attempt in scene.records[0].attempts] == ["sip:hq/4165550101"]
    # And not only for a while.
    scene.run(2 * DOUBT / SECOND)
    assert answered_after(scene) < 0.5


def test_an_unreachable_trunk_is_tried_last_where_it_is_the_only_way() -> None:
    scene = unreachable_scene()
    caller = scene.at_pstn(Setup(Number("4165550301")))
    scene.run(PATIENCE / SECOND + 0.2)
    assert len(invites(scene)) >= 1
    assert caller.released is not None


def test_an_unreachable_trunk_goes_before_what_needs_no_far_end() -> None:
    scene = unreachable_scene()
    assert answered_after(scene, "4165550201") == pytest.approx(PATIENCE / SECOND, abs=0.1)


def test_a_trunk_that_answers_again_is_noticed_within_ten_seconds() -> None:
    scene = unreachable_scene()
    scene.run(11)
    options = [request for request in scene.sent("OPTIONS") if request.uri.host == DEAD][-1]
    respond(scene, options, 200, "here")
    assert not scene.switch.sip.suspects.names
