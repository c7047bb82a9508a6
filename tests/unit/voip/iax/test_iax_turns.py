"""A far end that takes few unproven calls at a time, as Asterisk does: bursts of calls all get through."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.leg import Proceeding, Setup
from gateway.voip.iax.causes import TOO_MANY_UNPROVEN
from gateway.voip.iax.frame import Command
from gateway.voip.iax.gatekeeper import Gatekeeper
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.turns import FIRST_LIMIT, MAX_WAITING, MOST_TRIES, Turns
from tests.unit.voip.iax.iax_scene import Faults, Notes, Scene, simple_setup

BURST = 30


class Narrow(Scene):
    """b takes ``most`` calls at a time that have not proven whose they are; ``worst`` is how many it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 3, faults: Faults | None = None) -> None:
        super().__init__(faults=faults)
        self.most = most
        self.refused = 0
        challenge = Gatekeeper._challenge
        ours = self["b"].endpoint.gatekeeper

        def narrow(gatekeeper: Gatekeeper, *words: Any, **more: Any) -> None:
            frame, _, octets, path = words[1:5]
            if gatekeeper is ours and len(ours) >= self.most:
                self.refused += 1
                ours._refuse(frame, octets, path, TOO_MANY_UNPROVEN)
                return
            challenge(gatekeeper, *words, **more)

        monkeypatch.setattr(Gatekeeper, "_challenge", narrow)

    def burst(self, count: int = BURST, setup: Setup | None = None) -> list[tuple[IaxLeg, Notes]]:
        return [self.place(setup) for _ in range(count)]

    @property
    def turns(self) -> Turns:
        return self["a"].endpoint.peers["b"].turns

    def accepted(self) -> None:
        """Let b take what it is offered."""
        for leg, _, _ in self["b"].offers:
            leg.proceed(self.now)


def waited(scene: Scene, calls: list[tuple[IaxLeg, Notes]], began: int) -> list[float]:
    """Milliseconds until each was taken."""
    return [
        (at - began) / MILLISECOND
        for _, notes in calls
        for at, event in zip(notes.times, notes.events, strict=True)
        if isinstance(event, Proceeding)
    ]


def run_accepting(scene: Narrow, calls: list[tuple[IaxLeg, Notes]], seconds: float) -> None:
    end = scene.now + int(seconds * SECOND)
    while scene.now < end and not all(notes.of(Proceeding) or notes.released for _, notes in calls):
        scene.run(0.01)
        scene.accepted()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_burst_of_calls_all_get_through(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    scene = Narrow(monkeypatch, most, Faults(delay=10 * MILLISECOND))
    began = scene.now
    calls = scene.burst()
    run_accepting(scene, calls, 20)
    assert [notes.released for _, notes in calls if notes.released] == []
    times = waited(scene, calls, began)
    assert len(times) == BURST
    assert scene.refused > 0
    assert max(times) < 5000
    assert len(scene.turns) == 0


def test_second_burst_is_refused_nothing_and_costs_a_few_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch, faults=Faults(delay=10 * MILLISECOND))
    run_accepting(scene, scene.burst(), 20)
    before, began = scene.refused, scene.now
    calls = scene.burst()
    run_accepting(scene, calls, 20)
    assert scene.refused == before
    # Three at a time, each with its token and its proof: 10 times two round trips of 20 ms, and the way of ACCEPT.
    assert max(waited(scene, calls, began)) < 600


def test_far_end_without_such_a_limit_is_asked_for_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch, most=1000)
    scene.burst()
    assert scene.turns.limit is None
    assert len(scene.sent("a", Command.NEW)) == BURST


def test_call_for_help_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch, faults=Faults(delay=10 * MILLISECOND))
    run_accepting(scene, scene.burst(), 20)
    scene.burst()
    assert len(scene.turns) == BURST - FIRST_LIMIT
    began = scene.now
    urgent = scene.place(replace(simple_setup("112"), emergency=True))
    run_accepting(scene, [urgent], 5)
    assert waited(scene, [urgent], began)[0] < 300
    assert len(scene.turns) > 0


def test_far_end_that_is_gone_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch)
    run_accepting(scene, scene.burst(), 20)
    before = len(scene.sent("a", Command.NEW))
    scene.drop = lambda sender, to, data: True
    scene.burst(10)
    scene.run(2.2)
    first = [frame for frame in scene.sent("a", Command.NEW)[before:] if not frame.retransmitted]
    assert len(first) == 10


def test_call_that_is_refused_again_and_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch, most=0)
    _, notes = scene.place()
    scene.run(10)
    assert notes.released is not None
    assert notes.released.cause is Cause.CALL_REJECTED
    assert scene.refused == MOST_TRIES
    assert scene.turns.limit == 1
    scene.assert_clean()


def test_call_that_is_given_up_while_it_waits_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch)
    run_accepting(scene, scene.burst(), 20)
    calls = scene.burst(6)
    before = len(scene.sent("a", Command.NEW))
    for leg, _ in reversed(calls):
        leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(3)
    assert len(scene.turns) == 0
    assert len(scene.sent("a", Command.NEW)) == before
    assert all(notes.released is not None and notes.released.ours for _, notes in calls)


def test_limit_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Narrow(monkeypatch)
    run_accepting(scene, scene.burst(), 20)
    assert scene.turns.limit == FIRST_LIMIT
    scene.most = 1000
    scene.now += 3600 * SECOND
    before = len(scene.sent("a", Command.NEW))
    scene.burst()
    assert len(scene.sent("a", Command.NEW)) == before + BURST


class _Call:
    emergency = False

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, now: int) -> None:
        self.asked += 1


class _Clock:
    def start(self, owner: object, timer: object, at: int) -> None:
        """Nothing comes of it."""

    def stop(self, owner: object, timer: object) -> None:
        """Nor of this."""


def test_queue_has_an_end() -> None:
    turns = Turns(_Clock())
    turns.begin(first := _Call(), 1)
    turns.refused(first, 2)
    calls = [_Call() for _ in range(FIRST_LIMIT + MAX_WAITING + 5)]
    for call in calls:
        turns.begin(call, 3)
    assert len(turns) == MAX_WAITING
    assert sum(call.asked for call in calls) == len(calls) - MAX_WAITING + 1
