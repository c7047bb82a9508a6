"""The life of a change: what is heeded when, what is ordered, and how it ends."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.config.change import (
    MAX_CONFIRM,
    MAX_DRAIN,
    REFUSED,
    Change,
    ChangeError,
    ChangeState,
    Confirm,
    Drain,
    EndDrain,
    Happening,
    Order,
    Refusal,
    StagedDocument,
    TakeUp,
    Undo,
    Word,
    Write,
)
from gateway.config.problems import Problem, Severity
from gateway.config.store_records import Origin, Version
from gateway.core import SECOND


def version(number: int, origin: Origin = Origin.COMMIT) -> Version:
    return Version(number, 0.0, "", "", 1, "", number - 1, origin)


def staged(base: int = 1, *problems: Problem) -> StagedDocument:
    return StagedDocument("text", "anna", 0.0, base, problems)


def orders(change: Change) -> list[Order]:
    found = []
    while (order := change.poll()) is not None:
        found.append(order)
    return found


def told(change: Change) -> list[tuple[Happening, int]]:
    found = [(each.happening, each.version) for each in change.events]
    change.events.clear()
    return found


def committed(confirm: int = 0) -> Change:
    """Version 2 is active, on trial for ``confirm`` microseconds from 100."""
    change = Change(1)
    change.stage(staged())
    change.commit("anna", "why", 100, confirm=confirm)
    (write,) = orders(change)
    assert write == Write(Origin.COMMIT, "text", 0, "anna", "why", 100 + confirm if confirm else None)
    change.written(version(2))
    assert orders(change) == [TakeUp()]
    change.taken_up()
    return change


def test_a_commit_is_written_then_taken_up() -> None:
    change = committed()
    assert (change.state, change.active, change.staged) == (ChangeState.IDLE, 2, None)
    assert told(change) == [(Happening.STAGED, 1), (Happening.COMMITTED, 2)]
    assert change.outcome == version(2)
    assert change.next_timer() is None


def test_without_confirmation_it_is_undone_in_time() -> None:
    change = committed(confirm=5 * SECOND)
    assert (change.state, change.next_timer()) == (ChangeState.UNCONFIRMED, 100 + 5 * SECOND)
    change.handle_timer(99 + 5 * SECOND)
    assert orders(change) == []
    change.handle_timer(100 + 5 * SECOND)
    assert orders(change) == [Undo("it was not confirmed in time")]
    change.undone(version(1))
    assert orders(change) == [TakeUp()]
    change.taken_up()
    assert (change.state, change.active, change.trial) == (ChangeState.IDLE, 1, None)
    assert told(change)[-1] == (Happening.ROLLED_BACK, 1)


def test_a_confirmed_version_stays() -> None:
    change = committed(confirm=5 * SECOND)
    change.confirm()
    assert orders(change) == [Confirm()]
    change.confirmed(version(2))
    assert (change.state, change.next_timer()) == (ChangeState.IDLE, None)


def test_what_cannot_be_confirmed_on_disk_is_still_on_trial() -> None:
    change = committed(confirm=5 * SECOND)
    change.confirm()
    orders(change)
    change.failed(Refusal.DISK, "full")
    assert (change.state, change.next_timer()) == (ChangeState.UNCONFIRMED, 100 + 5 * SECOND)


def test_a_version_that_cannot_be_written_changes_nothing() -> None:
    change = Change(1)
    change.stage(staged())
    change.commit("anna", "", 0, confirm=SECOND)
    orders(change)
    change.failed(Refusal.DISK, "full")
    assert (change.state, change.active, change.trial) == (ChangeState.STAGED, 1, None)
    assert isinstance(change.outcome, ChangeError) and change.outcome.refusal is Refusal.DISK


def test_a_version_that_cannot_be_taken_up_is_undone() -> None:
    change = Change(1)
    change.stage(staged())
    change.commit("anna", "", 0, confirm=SECOND)
    orders(change)
    change.written(version(2))
    orders(change)
    change.failed(Refusal.NOT_APPLIED, "the port is taken")
    assert orders(change) == [Undo("the port is taken")]
    change.undone(version(1))
    orders(change)
    change.taken_up()
    assert (change.state, change.active, change.trial) == (ChangeState.STAGED, 1, None)
    assert isinstance(change.outcome, ChangeError) and change.outcome.refusal is Refusal.NOT_APPLIED
    assert change.staged is not None


def test_a_drain_ends_when_the_calls_do_or_when_its_time_is_over() -> None:
    for end in ("drained", "timer"):
        change = Change(1)
        change.stage(staged())
        change.commit("anna", "", 0, drain=SECOND)
        assert orders(change) == [Drain()] and change.state is ChangeState.DRAINING
        change.handle_timer(SECOND - 1)
        assert orders(change) == []
        if end == "timer":
            change.handle_timer(SECOND)
        else:
            change.drained(5)
        first, write = orders(change)
        assert first == EndDrain() and isinstance(write, Write)


def test_a_drain_is_given_up_by_discarding() -> None:
    change = Change(1)
    change.stage(staged())
    change.commit("anna", "", 0, drain=SECOND)
    orders(change)
    change.discard()
    assert orders(change) == [EndDrain()]
    assert change.state is ChangeState.IDLE and isinstance(change.outcome, ChangeError)
    change.drained(5)
    assert orders(change) == []


def test_a_commit_is_refused_for_its_reason() -> None:
    change = Change(1)
    for document, refusal in (
        (staged(7), Refusal.STALE),
        (staged(1, Problem("f", 1, "k", "v", "t", Severity.ERROR)), Refusal.INVALID),
    ):
        change.stage(document)
        with pytest.raises(ChangeError) as caught:
            change.commit("anna", "", 0)
        assert caught.value.refusal is refusal
    change.stage(staged(1, Problem("f", 1, "k", "v", "t", Severity.WARNING)))
    for seconds in ({"confirm": -1}, {"confirm": MAX_CONFIRM + 1}, {"drain": MAX_DRAIN + 1}):
        with pytest.raises(ChangeError) as caught:
            change.commit("anna", "", 0, **seconds)
        assert caught.value.refusal is Refusal.BAD_VALUE
    change.commit("anna", "", 0)


def test_a_roll_back_to_a_number_is_a_version_of_its_own() -> None:
    change = committed()
    change.roll_back("anna", "", 1, 0)
    (write,) = orders(change)
    assert isinstance(write, Write) and (write.origin, write.restores) == (Origin.ROLLBACK, 1)
    change.written(version(3, Origin.ROLLBACK))
    orders(change)
    change.taken_up()
    assert told(change)[-1] == (Happening.ROLLED_BACK, 3)


def test_what_is_on_trial_is_rolled_back_without_a_number() -> None:
    change = committed(confirm=SECOND)
    with pytest.raises(ChangeError):
        change.roll_back("anna", "", 1, 0)
    change.roll_back("anna", "", None, 0)
    assert orders(change) == [Undo("rolled back by anna")]


class Life(RuleBasedStateMachine):
    """Any words, timers and failures in any order: the state fits, and no order is lost or given twice."""

    @initialize()
    def begin(self) -> None:
        self.change = Change(1)
        self.now = 0
        self.active = 1
        self.before = 0
        self.last = 1
        self.open: Order | None = None

    def pull(self) -> None:
        while self.open is None:
            order = self.change.poll()
            if order is None:
                return
            if isinstance(order, Drain | EndDrain):
                continue
            self.open = order

    def say(self, word: Word, *, confirm: int = 0, drain: int = 0) -> None:
        change, state = self.change, self.change.state
        try:
            match word:
                case Word.STAGE:
                    change.stage(staged(self.active))
                case Word.DISCARD:
                    change.discard()
                case Word.COMMIT:
                    change.commit("a", "", self.now, confirm=confirm, drain=drain)
                case Word.CONFIRM:
                    change.confirm()
                case Word.ROLL_BACK:
                    change.roll_back(
                        "a", "", None if state is ChangeState.UNCONFIRMED else 1, self.now, confirm=confirm
                    )
        except ChangeError as error:
            assert state in REFUSED[word] or error.refusal in (Refusal.STALE, Refusal.NOTHING_STAGED)
            assert change.state is state
        else:
            assert state not in REFUSED[word]
        self.pull()

    @rule(word=st.sampled_from(Word), confirm=st.sampled_from([0, 50]), drain=st.sampled_from([0, 30]))
    def a_word(self, word: Word, confirm: int, drain: int) -> None:
        self.say(word, confirm=confirm, drain=drain)

    @rule(step=st.integers(1, 60))
    def time_goes_on(self, step: int) -> None:
        self.now += step
        self.change.handle_timer(self.now)
        self.pull()

    @rule()
    def calls_end(self) -> None:
        self.change.drained(self.now)
        self.pull()

    @precondition(lambda self: self.open is not None)
    @rule(works=st.booleans())
    def an_order_ends(self, works: bool) -> None:
        order, self.open = self.open, None
        change = self.change
        match order:
            case Write() if works:
                self.last += 1
                self.before, self.active = self.active, self.last
                change.written(version(self.last, order.origin))
            case Undo() if works:
                self.active = self.before
                change.undone(version(self.active))
            case Confirm() if works:
                change.confirmed(version(self.active))
            case TakeUp() if works:
                change.taken_up()
            case _:
                change.failed(Refusal.DISK, "no")
        self.pull()

    @invariant()
    def all_fits(self) -> None:
        change = self.change
        assert change.active == self.active
        assert (self.open is not None) is (change.state is ChangeState.APPLYING)
        assert (change.next_timer() is not None) is (change.state in (ChangeState.DRAINING, ChangeState.UNCONFIRMED))
        if change.state is ChangeState.UNCONFIRMED:
            assert change.trial is not None
        if change.state is ChangeState.IDLE:
            assert change.staged is None and change.trial is None
        if change.state is ChangeState.STAGED:
            assert change.staged is not None and change.trial is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
