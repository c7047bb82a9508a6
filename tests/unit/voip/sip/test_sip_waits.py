"""Waits of one length each: never early, at most a grain late, and many of them at once."""

from __future__ import annotations

import pytest

from gateway.core import MILLISECOND, SECOND, TimerQueue
from gateway.voip.sip.timers import SipTimer, durations
from gateway.voip.sip.transaction import Timers
from gateway.voip.sip.waits import GRAIN, Waits

T4 = 5 * SECOND


class Bench:
    """The queue of an endpoint with nothing but waits in it; ``ended`` says who ran out and when."""

    def __init__(self) -> None:
        self.timers: Timers = TimerQueue()
        self.waits = Waits(self.timers, durations())
        self.ended: list[tuple[str, int]] = []

    def run(self, until: int) -> int:
        """Let everything due happen up to ``until``; how often there was something."""
        times = 0
        while (due := self.timers.next_timer()) is not None and due <= until:
            times += 1
            for owner, timer in self.timers.expired(due):
                owner.expire(timer, due)
        return times


class Owner:
    """One that waits, again and again if ``again``."""

    def __init__(self, bench: Bench, name: str, again: int = 0) -> None:
        self.bench = bench
        self.name = name
        self.again = again

    def expire(self, timer: SipTimer, now: int) -> None:
        """Note it."""
        self.bench.ended.append((self.name, now))
        if self.again:
            self.again -= 1
            self.bench.waits.start(self, timer, now)


def test_a_wait_alone_ends_when_it_is_due() -> None:
    bench = Bench()
    bench.waits.start(Owner(bench, "a"), SipTimer.K, 7)
    bench.run(T4 + 6)
    assert bench.ended == []
    bench.run(T4 + 7)
    assert bench.ended == [("a", T4 + 7)]
    assert len(bench.timers) == bench.waits.running == 0


def test_waits_that_end_soon_after_each_other_end_together_and_none_early() -> None:
    bench = Bench()
    starts = {str(number): 10 * MILLISECOND * number for number in range(1000)}
    for name, at in starts.items():
        bench.waits.start(Owner(bench, name), SipTimer.K, at)
    assert bench.run(60 * SECOND) <= 11
    assert [name for name, _ in bench.ended] == list(starts)
    assert all(0 <= at - starts[name] - T4 <= GRAIN for name, at in bench.ended)


def test_a_stopped_wait_never_ends_and_does_not_hold_up_the_others() -> None:
    bench = Bench()
    first = bench.waits.start(Owner(bench, "first"), SipTimer.K, 0)
    bench.waits.start(Owner(bench, "second"), SipTimer.K, SECOND // 2)
    first.owner = None
    bench.run(60 * SECOND)
    assert bench.ended == [("second", T4 + SECOND // 2)]


def test_stopped_waits_alone_leave_the_queue_with_the_first() -> None:
    bench = Bench()
    for number in range(5):
        bench.waits.start(Owner(bench, "x"), SipTimer.K, number * SECOND).owner = None
    assert bench.run(T4) == 1
    assert bench.ended == []
    assert len(bench.timers) == 0


def test_kinds_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.waits.start(Owner(bench, "slow"), SipTimer.J, 0)
    bench.waits.start(Owner(bench, "quick"), SipTimer.K, 1)
    bench.run(60 * SECOND)
    assert bench.ended == [("quick", T4 + 1), ("slow", 32 * SECOND)]


def test_who_waits_again_stands_at_the_end_of_the_line() -> None:
    bench = Bench()
    bench.waits.start(Owner(bench, "a", again=2), SipTimer.K, 0)
    bench.waits.start(Owner(bench, "b"), SipTimer.K, 3 * SECOND)
    bench.run(60 * SECOND)
    assert bench.ended == [("a", T4), ("b", T4 + 3 * SECOND), ("a", 2 * T4), ("a", 3 * T4)]
    assert len(bench.timers) == 0


def test_one_that_breaks_does_not_keep_the_others_waiting_for_ever() -> None:
    bench = Bench()

    class Broken:
        def expire(self, timer: SipTimer, now: int) -> None:
            raise RuntimeError("broken")

    bench.waits.start(Broken(), SipTimer.K, 0)
    bench.waits.start(Owner(bench, "next"), SipTimer.K, 1)
    with pytest.raises(RuntimeError):
        bench.run(T4)
    bench.run(60 * SECOND)
    bench.waits.start(Owner(bench, "later"), SipTimer.K, 60 * SECOND)
    bench.run(120 * SECOND)
    assert [name for name, _ in bench.ended] == ["next", "later"]
