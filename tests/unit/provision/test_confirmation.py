"""The gate: what must be seen before a slot is confirmed, and what must never happen meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provision.confirmation import (
    MAX_TESTS,
    PATIENCE,
    SECOND,
    TEST_EVERY,
    WELL_FOR,
    Confirmation,
    Heard,
    Look,
    Trials,
    Verdict,
)

WELL = Look(ready=True, bus=True, health={"media engine": "ok", "D-Bus": "ok"}, lines_up=True, cards=1)
BOTH = Trials("test/100", "loop/200")


def gate(trials: Trials = BOTH, cards: int = 1) -> Confirmation:
    return Confirmation(trials, cards, 0)


def at_the_test(judge: Confirmation, look: Look = WELL) -> int:
    assert judge.observe(look, 0) is Verdict.WAIT
    assert judge.observe(look, WELL_FOR) is Verdict.TEST
    return WELL_FOR


def test_a_slot_is_good_after_minutes_of_health_and_a_call_heard_both_ways() -> None:
    judge = gate()
    assert judge.observe(WELL, WELL_FOR - 1) is Verdict.WAIT
    judge = gate()
    now = at_the_test(judge)
    assert judge.trial == "test/100"
    judge.tested(Heard.BOTH_WAYS, now)
    assert judge.observe(WELL, now + 1) is Verdict.GOOD


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (replace(WELL, ready=False), "not ready"),
        (replace(WELL, bus=False), "D-Bus"),
        (replace(WELL, cards=0), "1 cards were known, 0 are there"),
        (replace(WELL, health={"media engine": "it is gone"}), "media engine: it is gone"),
    ],
)
def test_whatever_is_wrong_for_good_ends_in_giving_up_and_never_in_a_confirmation(look: Look, why: str) -> None:
    judge = gate(Trials())
    for now in range(0, PATIENCE, 5 * SECOND):
        assert judge.observe(look, now) is Verdict.WAIT
    assert judge.observe(look, PATIENCE) is Verdict.GIVE_UP and why in judge.why


def test_a_card_that_never_was_there_is_not_missed() -> None:
    judge = gate(Trials(), cards=0)
    judge.observe(replace(WELL, cards=0), 0)
    assert judge.observe(replace(WELL, cards=0), WELL_FOR) is Verdict.GOOD


def test_a_daemon_that_is_started_anew_all_the_time_is_given_up() -> None:
    judge = gate(Trials())
    for number, now in enumerate(range(0, PATIENCE, 60 * SECOND)):
        assert judge.observe(replace(WELL, restarts=number), now) is Verdict.WAIT
    assert judge.observe(replace(WELL, restarts=99), PATIENCE) is Verdict.GIVE_UP


def test_a_moment_of_ill_health_begins_the_minutes_anew() -> None:
    judge = gate(Trials())
    judge.observe(WELL, 0)
    judge.observe(replace(WELL, health={"media engine": "it is gone"}), WELL_FOR - 1)
    judge.observe(WELL, WELL_FOR)
    assert judge.observe(WELL, 2 * WELL_FOR - 1) is Verdict.WAIT
    assert judge.observe(WELL, 2 * WELL_FOR) is Verdict.GOOD


def test_with_the_line_in_alarm_the_loop_is_called() -> None:
    judge = gate()
    now = at_the_test(judge, replace(WELL, lines_up=False))
    assert judge.trial == "loop/200"
    judge.tested(Heard.BOTH_WAYS, now)
    assert judge.observe(replace(WELL, lines_up=False), now + 1) is Verdict.GOOD


def test_a_line_in_alarm_without_a_loop_is_waited_for_and_is_no_bad_image() -> None:
    judge, down = gate(Trials("test/100")), replace(WELL, lines_up=False)
    judge.observe(down, 0)
    for now in range(WELL_FOR, 4 * PATIENCE, 60 * SECOND):
        assert judge.observe(down, now) is Verdict.WAIT
    assert judge.observe(WELL, 4 * PATIENCE) is Verdict.TEST


def test_a_line_that_does_not_answer_leaves_it_to_the_loop() -> None:
    judge = gate()
    now = at_the_test(judge)
    judge.tested(Heard.NOT_ANSWERED, now)
    assert judge.observe(WELL, now + 1) is Verdict.TEST and judge.trial == "loop/200"
    judge.tested(Heard.BOTH_WAYS, now + 2)
    assert judge.observe(WELL, now + 3) is Verdict.GOOD


def test_one_way_audio_is_tried_again_and_then_the_slot_is_given_up() -> None:
    judge = gate()
    now = at_the_test(judge)
    for _ in range(MAX_TESTS - 1):
        judge.tested(Heard.ONE_WAY, now)
        assert judge.observe(WELL, now + TEST_EVERY - 1) is Verdict.WAIT
        now += TEST_EVERY
        assert judge.observe(WELL, now) is Verdict.TEST
    judge.tested(Heard.ONE_WAY, now)
    assert judge.observe(WELL, now + 1) is Verdict.GIVE_UP and "not heard both ways" in judge.why


looks = st.builds(
    Look,
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([None, {"media engine": "ok"}, {"media engine": "it is gone"}]),
    st.booleans(),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
)


@given(st.lists(st.tuples(looks, st.integers(1, PATIENCE // 2), st.sampled_from(Heard)), max_size=30))
def test_nothing_is_done_during_an_emergency_call_nor_a_restart_during_any(
    steps: list[tuple[Look, int, Heard]],
) -> None:
    judge, now = gate(), 0
    for look, passed, heard in steps:
        now += passed
        verdict = judge.observe(look, now)
        assert verdict is Verdict.WAIT or not look.emergency
        assert verdict is not Verdict.GIVE_UP or not look.calls
        if verdict is Verdict.GOOD:
            assert look.ready and look.bus and look.cards >= 1 and set((look.health or {}).values()) <= {"ok"}
        if verdict is Verdict.TEST:
            judge.tested(heard, now)
