"""How IAX2 calls end: nobody there, causes both ways, the last counters (RFC 5456 6.2.4, 6.2.5)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.identity import Party
from gateway.leg import (
    Leaving,
    MediaChanged,
    Proceeding,
)
from gateway.media.api import Failure, OnOpened
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.leg_voice import COUNTERS_WAIT
from tests.unit.voip.iax.iax_calls import offered, say, settled
from tests.unit.voip.iax.iax_scene import Scene, hang_up, simple_setup

# -- nobody there --


def test_a_far_end_that_is_silent_is_given_up() -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: sender == "b"
    begun = scene.now
    _, notes = scene.place()
    scene.run(60)
    assert notes.released is not None
    assert notes.released.cause is Cause.DESTINATION_OUT_OF_ORDER
    assert notes.released.timer == "retries"
    assert notes.times[-1] - begun < 16 * SECOND
    scene.assert_clean()


def test_with_another_way_to_go_a_silent_far_end_is_not_waited_for_long() -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: sender == "b"
    begun = scene.now
    _, notes = scene.place(replace(simple_setup(), alternatives=True))
    scene.run(60)
    assert notes.released is not None
    assert notes.released.cause is Cause.DESTINATION_OUT_OF_ORDER
    assert notes.times[-1] - begun == 4 * SECOND
    scene.assert_clean()


def test_a_far_end_that_says_something_is_waited_for_though_there_is_another_way() -> None:
    scene = Scene()
    _, notes = scene.place(replace(simple_setup(), alternatives=True))
    leg, _, _ = offered(scene)
    scene.run(10)
    assert notes.released is None
    leg.proceed(scene.now)
    settled(scene)
    assert notes.of(Proceeding)
    scene.run(60)
    assert notes.released is None


def test_a_call_that_nobody_accepts_ends_in_the_end() -> None:
    scene = Scene()
    _, notes = scene.place()
    begun = scene.now
    scene.run(120)
    assert notes.released is not None
    assert notes.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
    assert notes.released.timer == "auth"
    assert notes.times[-1] - begun == 30 * SECOND
    scene.run(1)
    assert scene["b"].offers[-1][2].released is not None


def test_a_far_end_that_falls_silent_in_a_call_ends_it_with_a_cause() -> None:
    scene = Scene()
    _, notes, _, far = scene.answered()
    scene.drop = lambda sender, to, data: True
    begun = scene.now
    scene.run(120)
    for each in (notes, far):
        assert each.released is not None
        assert each.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY
        assert each.released.timer == "retries"
        assert each.of(Leaving)
        assert each.times[-1] - begun < 36 * SECOND
    scene.assert_clean()


def test_a_far_end_that_forgot_the_call_ends_it_with_a_cause() -> None:
    scene = Scene()
    leg, notes, far, _ = scene.answered()
    assert far.session is not None
    far.session.abandon(scene.now)
    leg.hold(scene.now)
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.TEMPORARY_FAILURE
    assert "INVAL" in notes.released.text


# -- the end, and its cause --


@pytest.mark.parametrize("by", ["caller", "called"])
@pytest.mark.parametrize("cause", [Cause.NORMAL_CALL_CLEARING, Cause.CALL_REJECTED, Cause.RECOVERY_ON_TIMER_EXPIRY])
def test_hanging_up_carries_the_cause(by: str, cause: Cause) -> None:
    scene = Scene()
    leg, notes, far, far_notes = scene.answered()
    one, told, other = (leg, notes, far_notes) if by == "caller" else (far, far_notes, notes)
    one.release(cause, scene.now, "that is why")
    scene.run(1)
    assert told.released is not None
    assert (told.released.cause, told.released.ours) == (cause, True)
    assert not told.of(Leaving)
    assert other.released is not None
    assert (other.released.cause, other.released.ours, other.released.text) == (cause, False, "that is why")
    ours = cause in (Cause.NORMAL_CALL_CLEARING, Cause.CALL_REJECTED)
    assert other.released.location is (Location.USER if ours else Location.BEYOND_INTERWORKING)
    assert other.names()[-2:] == ["Leaving", "Released"]
    scene.assert_clean()


def test_a_call_that_is_not_accepted_is_rejected_with_its_cause() -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    leg.release(Cause.UNALLOCATED_NUMBER, scene.now)
    scene.run(1)
    assert len(scene.sent("b", Command.REJECT)) == 1
    assert notes.released is not None
    assert notes.released.cause is Cause.UNALLOCATED_NUMBER
    assert not notes.of(Leaving)
    scene.assert_clean()


@pytest.mark.parametrize(
    ("cause", "control"),
    [(Cause.USER_BUSY, Control.BUSY), (Cause.NO_CIRCUIT_AVAILABLE, Control.CONGESTION), (Cause.NO_ANSWER_FROM_USER, 0)],
)
def test_busy_and_congestion_are_said_in_both_ways(cause: Cause, control: int) -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    leg.proceed(scene.now)
    settled(scene)
    leg.release(cause, scene.now)
    scene.run(1)
    controls = [Control.BUSY, Control.CONGESTION]
    assert [each for each in controls if scene.sent("b", each, FrameType.CONTROL)] == ([control] if control else [])
    assert len(scene.sent("b", Command.HANGUP)) == 1
    assert notes.released is not None
    assert notes.released.cause is cause
    scene.assert_clean()


@pytest.mark.parametrize(
    ("control", "cause"),
    [
        (Control.BUSY, Cause.USER_BUSY),
        (Control.CONGESTION, Cause.NO_CIRCUIT_AVAILABLE),
        (Control.HANGUP, Cause.NORMAL_CALL_CLEARING),
    ],
)
def test_a_far_end_that_only_says_busy_is_hung_up(control: Control, cause: Cause) -> None:
    scene = Scene()
    _, notes = scene.place()
    leg, _, _ = offered(scene)
    leg.proceed(scene.now)
    settled(scene)
    say(leg, scene, FrameType.CONTROL, control)
    assert notes.released is not None
    assert notes.released.cause is cause
    assert len(scene.sent("a", Command.HANGUP)) == 1
    scene.assert_clean()


def test_in_an_answered_call_only_hangup_ends_it() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.CONTROL, Control.BUSY)
    say(far, scene, FrameType.CONTROL, Control.CONGESTION)
    assert notes.released is None
    say(far, scene, FrameType.CONTROL, Control.HANGUP)
    assert notes.released is not None
    assert notes.released.cause is Cause.NORMAL_CALL_CLEARING


def test_a_caller_who_gives_up_before_any_answer_hangs_up_as_soon_as_that_can_be_said() -> None:
    scene = Scene()
    leg, notes = scene.place()
    scene.run(1, until=lambda: len(scene.sent("a", Command.NEW)) == 2)
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.drain()
    assert notes.released is not None
    scene.run(2)
    (hangup,) = scene.sent("a", Command.HANGUP)
    assert hangup.destination
    scene.assert_clean(5)


def test_a_caller_who_gives_up_does_not_begin_anew_with_a_token() -> None:
    scene = Scene()
    leg, _ = scene.place()
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)
    assert len(scene.sent("a", Command.NEW)) == 1
    scene.assert_clean(1)
    assert not scene["a"].endpoint.reception.sessions


def test_a_hangup_with_broken_elements_ends_the_call_all_the_same() -> None:
    scene = Scene()
    _, notes, far, _ = scene.answered()
    say(far, scene, FrameType.IAX, Command.HANGUP, b"\x2a\x05\x01")
    assert notes.released is not None
    assert notes.released.cause is Cause.NORMAL_CALL_CLEARING


def test_a_leg_that_is_over_ignores_all_commands() -> None:
    scene = Scene()
    leg, notes, _, _ = scene.answered()
    hang_up(leg, scene)
    events = len(notes.events)
    before = len(scene.wire)
    leg.place(simple_setup(), scene.now)
    leg.proceed(scene.now)
    leg.progress(True, scene.now)
    leg.alert(True, scene.now)
    leg.answer(None, scene.now)
    leg.digits("1", True, scene.now)
    leg.keypad("1", 100, scene.now)
    leg.hold(scene.now)
    leg.resume(scene.now)
    leg.identify(Party(), scene.now)
    leg.notify(1, scene.now)
    leg.join(None, scene.now)
    leg.release(Cause.USER_BUSY, scene.now)
    scene.run(1)
    assert len(notes.events) == events
    assert len(scene.wire) == before


def test_the_last_counters_are_in_the_record() -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    scene.talk(("a", leg), ("b", far), packets=6)
    hang_up(leg, scene)
    record = leg.record()
    assert record["direction"] == "out"
    assert record["peer"] == "b"
    assert record["far_address"] == "192.0.2.2:4569"
    media = record["media"]
    assert isinstance(media, dict)
    assert media["packets_received"] == 6
    session = record["session"]
    assert isinstance(session, dict)
    assert session["malformed"] == 0
    assert far.record()["direction"] == "in"


def test_an_engine_that_cannot_open_a_stream_ends_the_call() -> None:
    scene = Scene()
    scene["a"].media.refuse = Failure(24, "too many open files")
    _, notes = scene.place()
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.RESOURCE_UNAVAILABLE
    assert "too many" in notes.released.text


def test_a_stream_that_fails_later_is_the_legs_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was told of it has it in its tables until then."""
    scene = Scene()
    media = scene["a"].media
    original = media.open_iax
    waiting: list[OnOpened] = []

    def open_iax(socket: int, label: str, on_reply: OnOpened) -> int:
        waiting.append(on_reply)
        return original(socket, label, lambda _: None)

    monkeypatch.setattr(media, "open_iax", open_iax)
    leg, notes = scene.place()
    assert notes.events[0] == MediaChanged(leg.stream)
    waiting[0](Failure(107, "connection to the media engine lost"))
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.RESOURCE_UNAVAILABLE
    assert notes.events[0] == MediaChanged(leg.stream)


def test_an_engine_that_never_tells_its_last_counters_holds_no_leg(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    leg, notes, _, _ = scene.answered()
    monkeypatch.setattr(scene["a"].media, "close", lambda stream, on_reply: None)
    begun = scene.now
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1.9)
    assert notes.released is None
    scene.run(1)
    assert notes.released is not None
    assert notes.times[-1] - begun == COUNTERS_WAIT
    assert not scene["a"].endpoint.legs


def test_a_leg_that_is_over_leaves_no_timer() -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    hang_up(leg, scene)
    for agent in scene.agents:
        assert not [owner for owner, _ in agent.endpoint._timers if owner in (leg, far, leg.session, far.session)]


def test_the_stream_is_known_at_once_and_closed_at_the_end() -> None:
    scene = Scene()
    leg, notes, _, _ = scene.answered()
    assert notes.events[0] == MediaChanged(leg.stream)
    assert leg.stream in scene["a"].media.voices
    hang_up(leg, scene)
    assert leg.stream not in scene["a"].media.voices
