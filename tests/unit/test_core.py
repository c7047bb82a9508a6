"""The timer queue every core uses."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import TimerQueue, TimerRow


def test_timers_expire_in_order_of_deadline_then_of_start() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.start("late", 30)
    queue.start("first", 10)
    queue.start("second", 10)
    assert queue.next_timer() == 10
    assert list(queue.expired(10)) == ["first", "second"]
    assert list(queue.expired(29)) == []
    assert list(queue.expired(30)) == ["late"]
    assert queue.next_timer() is None


def test_restarting_a_timer_moves_it() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.start("t", 10)
    queue.start("t", 50)
    assert list(queue.expired(49)) == []
    assert queue.deadline("t") == 50
    assert list(queue.expired(50)) == ["t"]


def test_a_stopped_timer_never_expires() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.start("t", 10)
    assert queue.stop("t")
    assert not queue.stop("t")
    assert queue.next_timer() is None
    assert list(queue.expired(100)) == []


def test_a_timer_started_while_expiring_and_already_due_expires_too() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.start("a", 1)
    seen = []
    for key in queue.expired(5):
        seen.append(key)
        if key == "a":
            queue.start("b", 5)
            queue.start("c", 6)
    assert seen == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 1000))), max_size=400))
def test_the_queue_agrees_with_a_plain_dictionary(steps: list[tuple[int, int | None]]) -> None:
    queue: TimerQueue[int] = TimerQueue()
    model: dict[int, int] = {}
    for key, deadline in steps:
        if deadline is None:
            assert queue.stop(key) == (model.pop(key, None) is not None)
        else:
            queue.start(key, deadline)
            model[key] = deadline
        assert queue.next_timer() == min(model.values(), default=None)
        assert len(queue) == len(model)
    assert sorted(queue.expired(1000)) == sorted(model)


def test_a_queue_that_is_only_restarted_stays_small() -> None:
    queue: TimerQueue[str] = TimerQueue()
    for at in range(10_000):
        queue.start("t", at)
    assert len(queue._heap) < 200


def test_a_timer_row_refuses_a_value_out_of_range_by_name_and_clause() -> None:
    row = TimerRow("T200", 1_000_000, 100_000, 10_000_000, "Q.921 5.9.1")
    assert row.checked(2_000_000) == 2_000_000
    with pytest.raises(ValueError, match=r"T200 is 1, expected 100000 to 10000000 \(Q.921 5.9.1\)"):
        row.checked(1)


def test_a_stopped_or_expired_timer_does_not_keep_its_owner_alive() -> None:
    class Owner:
        pass

    queue: TimerQueue[Owner] = TimerQueue()
    stopped, expired, moved = Owner(), Owner(), Owner()
    for owner in (stopped, expired, moved):
        queue.start(owner, 10)
    queue.stop(stopped)
    queue.start(moved, 30)
    queue.stop(moved)
    assert list(queue.expired(10)) == [expired]
    seen = [weakref.ref(owner) for owner in (stopped, expired, moved)]
    del stopped, expired, moved, owner
    gc.collect()
    assert [reference() for reference in seen] == [None, None, None]
