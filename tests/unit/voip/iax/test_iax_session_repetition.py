"""Sessions of IAX2: what is repeated, when, and how much may wait (RFC 5456 7.2.1)."""

from __future__ import annotations

import pytest

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.outstanding import MAX_OUTSTANDING, MAX_WAITING
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_sessions import THEIRS, Bench, owner_of


def test_a_frame_is_repeated_with_growing_pauses_and_then_the_session_ends() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    start = bench.now
    times = []
    while not owner_of(bench).ended:
        bench.run(10)
        for frame in bench.frames():
            assert frame.oseqno == 0
            times.append((bench.now - start) // (100 * MILLISECOND) * 100)
    assert times == [0, 500, 1500, 3500, 7500]
    (ended,) = owner_of(bench).ended
    assert ended.timed_out
    assert "NEW" in ended.text
    assert bench.now - start == 15_500 * MILLISECOND
    assert bench.forgotten == [bench.session]
    assert bench.timers == []


def test_repetitions_are_marked_and_acknowledge_what_came_meanwhile() -> None:
    bench = Bench()
    bench.up()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, i=1)
    bench.sent.clear()
    bench.run(600)
    (again,) = bench.frames()
    assert again.retransmitted
    assert (again.oseqno, again.iseqno, again.subclass) == (1, 2, ord("5"))


def test_each_frame_is_repeated_in_its_own_time() -> None:
    bench = Bench()
    bench.up()
    bench.session.send(FrameType.DTMF, ord("1"), bench.now)
    bench.run(600)
    bench.session.send(FrameType.DTMF, ord("2"), bench.now)
    bench.sent.clear()
    bench.run(510)
    assert [frame.subclass for frame in bench.frames()] == [ord("2")]
    bench.run(400)
    assert [frame.subclass for frame in bench.frames()] == [ord("1")]


def test_no_pause_is_longer_than_the_longest() -> None:
    timers = {IaxTimer.RETRIES: 10, IaxTimer.RETRANSMIT_MOST: 2 * SECOND}
    bench = Bench(timers=timers)
    bench.session.command(Command.NEW, bench.now)
    start = bench.now
    while not owner_of(bench).ended:
        bench.run(100)
    assert bench.now - start == pytest.approx((0.5 + 1 + 9 * 2) * SECOND, abs=SECOND // 5)


def test_a_long_way_is_waited_for_twice_its_round_trip() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.run(400)
    bench.hear(Command.ACCEPT)
    assert bench.session.round_trip == 400 * MILLISECOND
    bench.sent.clear()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.run(790)
    assert len(bench.frames()) == 1
    bench.run(20)
    assert len(bench.frames()) == 1


def test_the_round_trip_is_not_taken_from_what_was_repeated() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.run(600)
    bench.hear(Command.ACCEPT)
    assert bench.session.round_trip is None


def test_more_than_a_window_waits_and_goes_when_there_is_room() -> None:
    bench = Bench()
    bench.up()
    for _ in range(MAX_OUTSTANDING + 5):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    assert len(bench.frames()) == MAX_OUTSTANDING
    bench.hear(Command.ACK, i=4)
    assert [frame.oseqno for frame in bench.frames()] == [MAX_OUTSTANDING + 1, MAX_OUTSTANDING + 2, MAX_OUTSTANDING + 3]


def test_too_many_waiting_frames_end_the_session() -> None:
    bench = Bench()
    bench.up()
    for _ in range(MAX_OUTSTANDING + MAX_WAITING):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    assert not owner_of(bench).ended
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    (ended,) = owner_of(bench).ended
    assert str(MAX_WAITING) in ended.text
    assert bench.session.closed


def test_nothing_follows_what_opens_a_session_before_its_far_end_is_known() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.session.command(Command.HANGUP, bench.now)
    bench.session.close(bench.now)
    assert bench.names() == ["NEW"]
    bench.hear(Command.ACCEPT, i=1)
    frames = bench.frames()
    assert [Command(frame.subclass).name for frame in frames] == ["HANGUP"]
    assert (frames[0].destination, frames[0].oseqno, frames[0].iseqno) == (THEIRS, 1, 1)
