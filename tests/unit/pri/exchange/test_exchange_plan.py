"""The simulated exchange in virtual time: what every entry of the number plan does, and the calls it makes itself."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number
from gateway.leg import Alerting, Answered, Progress, Setup
from gateway.media.wire import Kind
from gateway.pri.channels import Hunt
from gateway.pri.exchange.core import CallRequest
from gateway.pri.exchange.plan import DEFAULT_PLAN, MAX_ENTRIES, UNKNOWN, NumberPlan, Subscriber
from tests.unit.branch_scene import Ear, Scene

OVERLAP = {"pstn": {"overlapdial": "both"}}


def dialled(number: str, seconds: float = 1.0) -> tuple[Scene, Ear, int]:
    scene = Scene()
    begun = scene.now
    ear = scene.from_sip(f"9{number}")
    scene.run(seconds)
    return scene, ear, begun


def answered_after(scene: Scene, begun: int) -> float:
    report = next(event.report for event in scene.reports["pstn"] if event.moment == "answered")
    assert report.answered is not None
    return (report.answered - begun) / SECOND


def voice_of(scene: Scene) -> Kind | None:
    """What the exchange's end of the only call is wired to."""
    wiring = scene.exchange_media["pstn"].wiring
    line = next(stream for stream in wiring.streams.values() if stream.kind is Kind.TDM)
    peer = wiring.peer_of(line)
    return None if peer is None else peer.kind


def hang_up(scene: Scene, ear: Ear) -> None:
    ear.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    scene.assert_clean()


@pytest.mark.parametrize(
    ("number", "delay", "voice", "rings"),
    [
        ("5550100", 0.5, Kind.TONE, True),
        ("5550104", 8.0, Kind.TONE, True),
        ("5550106", 0.0, Kind.ECHO, True),
        ("5550107", 0.0, Kind.TONE, True),
        ("5550112", 0.0, Kind.TONE, False),
        ("911", 0.5, Kind.TONE, True),
    ],
)
def test_numbers_that_answer(number: str, delay: float, voice: Kind, rings: bool) -> None:
    scene, ear, begun = dialled(number, delay + 0.5)
    assert bool(ear.of(Alerting)) is rings
    assert len(ear.of(Answered)) == 1
    assert delay <= answered_after(scene, begun) < delay + 0.1
    assert voice_of(scene) is voice
    hang_up(scene, ear)


@pytest.mark.parametrize(
    ("number", "cause", "status"),
    [
        ("5550102", Cause.USER_BUSY, 486),
        ("5550103", Cause.UNALLOCATED_NUMBER, 404),
        ("5550109", Cause.SWITCHING_EQUIPMENT_CONGESTION, 503),
        ("5550110", Cause.CALL_REJECTED, 403),
        ("5559999", Cause.UNALLOCATED_NUMBER, 404),
    ],
)
def test_numbers_that_refuse_at_once(number: str, cause: Cause, status: int) -> None:
    scene, ear, begun = dialled(number)
    assert ear.released is not None
    assert ear.released.cause is cause
    assert len(scene.sent(status)) == 1
    assert scene.ended.cause is cause
    assert scene.ended.ended is not None and scene.ended.ended - begun < 50 * MILLISECOND
    scene.assert_clean()


def test_a_number_that_rings_is_given_up_by_the_exchange_after_three_minutes() -> None:
    scene, ear, _begun = dialled("5550101", 179)
    assert [event.inband for event in ear.of(Alerting)] == [False]
    assert ear.released is None
    scene.run(3)
    assert ear.released is not None and ear.released.cause is Cause.NO_ANSWER_FROM_USER
    assert scene.sent(480)
    scene.assert_clean()


def test_an_announcement_is_heard_before_the_call_ends_with_its_cause() -> None:
    scene, ear, _ = dialled("5550105", 1)
    assert [event.inband for event in ear.of(Progress)] == [True]
    assert not ear.of(Answered)
    assert voice_of(scene) is Kind.TONE
    scene.run(10)
    assert ear.released is not None and ear.released.cause is Cause.NUMBER_CHANGED
    scene.assert_clean()


def test_in_band_ringing_becomes_an_echo_with_the_answer() -> None:
    scene, ear, begun = dialled("5550108", 1)
    assert [event.inband for event in ear.of(Alerting)] == [True]
    assert voice_of(scene) is Kind.TONE
    scene.run(3)
    assert 3.0 <= answered_after(scene, begun) < 3.1
    assert voice_of(scene) is Kind.ECHO
    hang_up(scene, ear)


def test_a_number_that_hangs_up_by_itself() -> None:
    scene, ear, _ = dialled("5550111", 5)
    assert len(ear.of(Answered)) == 1
    assert ear.released is not None and ear.released.cause is Cause.NORMAL_CALL_CLEARING
    assert scene.ended.released_by_us
    scene.assert_clean()


@pytest.mark.parametrize("number", ["5550101", "5550104", "5550105"])
def test_the_caller_hangs_up_before_the_answer(number: str) -> None:
    scene, ear, _ = dialled(number, 1)
    ear.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    assert scene.ended.answered is None
    assert not scene.ended.released_by_us
    scene.assert_clean()


def test_overlap_digits_towards_the_exchange_are_gathered_until_they_reach_somebody() -> None:
    scene = Scene(OVERLAP)
    leg = scene.exchanges["pstn"].trunk
    assert leg.settings.overlap_receive
    trunk = scene.switch.trunks["pstn"]
    call = trunk.new_leg(Hunt.ASCENDING, scene.now)
    assert not isinstance(call, Cause)
    ear = Ear(call)
    call.listener = ear
    call.place(Setup(Number("555"), complete=False), scene.now)
    scene.run(0.5)
    for digit in "0106":
        call.digits(digit, False, scene.now)
        scene.run(0.2)
    assert len(ear.of(Answered)) == 1
    assert scene.reports["pstn"][-1].report.called == "5550106"
    hang_up(scene, ear)


def test_overlap_digits_from_the_exchange_reach_the_dial_plan() -> None:
    scene = Scene(OVERLAP)
    scene.from_pstn("4165550101", overlap=True)
    scene.run(1)
    assert scene.ears[0].offered is not None
    assert scene.ears[0].offered.setup.called.digits == "4165550101"
    assert scene.moments() == ["placed", "answered"]


def test_a_call_of_the_exchange_ends_by_itself_after_its_hold_time() -> None:
    scene = Scene()
    scene.from_pstn(hold=2000)
    scene.run(5)
    report = scene.ended
    assert report.answered is not None and report.ended is not None
    assert 2.0 <= (report.ended - report.answered) / SECOND < 2.1
    assert report.released_by_us
    scene.assert_clean()


def test_a_call_of_the_exchange_is_hung_up_while_it_rings() -> None:
    scene = Scene()
    scene.on_call = lambda leg, setup: leg.alert(False, scene.now)
    report = scene.from_pstn()
    scene.run(1)
    assert scene.exchanges["pstn"].hang_up(report.call, scene.now)
    assert not scene.exchanges["pstn"].hang_up(999, scene.now)
    scene.run(1)
    assert scene.moments() == ["placed", "alerting", "ended"]
    assert scene.sent("CANCEL")
    scene.assert_clean()


def test_calls_beyond_the_channels_are_refused_with_no_circuit() -> None:
    scene = Scene({"pstn": {"timeslots": "1-2"}})
    for _ in range(2):
        scene.from_pstn()
    assert scene.exchanges["pstn"].call(CallRequest("1"), scene.now) is Cause.NO_CIRCUIT_AVAILABLE


def test_what_a_line_hears_is_measured_at_the_end_but_waited_for_only_so_long() -> None:
    scene = Scene()
    report = scene.from_pstn(measure=True, hold=1000)
    scene.run(3)
    assert report.heard is not None
    scene.exchange_media["pstn"].statistics = lambda stream, on_reply: None  # type: ignore[method-assign]
    second = scene.from_pstn(measure=True, hold=1000)
    scene.run(3)
    assert second.ended is not None and second.heard is None
    scene.assert_clean()


def test_the_longest_ending_of_a_number_is_looked_up_and_service_numbers_only_alone() -> None:
    plan = NumberPlan()
    assert plan.lookup("14165550102").name == "busy"
    assert plan.lookup("5550102").name == "busy"
    assert plan.lookup("911").name == "emergency"
    assert plan.lookup("5550911") is UNKNOWN
    assert plan.lookup("") is UNKNOWN
    assert not plan.complete("555010")
    assert plan.complete("5550102")
    assert plan.lookup("5550100") is DEFAULT_PLAN["5550100"]


def test_a_plan_that_is_too_large_or_holds_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        NumberPlan({str(1_000_000 + n): Subscriber("x") for n in range(MAX_ENTRIES + 1)})
    with pytest.raises(ValueError, match="expected digits"):
        NumberPlan({"12a": Subscriber("x")})
