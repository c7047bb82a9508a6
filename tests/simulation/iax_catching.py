"""Looks for a run in which the simulation tells of what a test broke in IAX2, among seeds with trunks of its kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.iax_shape import IaxShape, choose_iax
from tests.simulation.load import Load
from tests.simulation.misfortune import Misfortunes
from tests.simulation.shape import choose_shape
from tests.simulation.verdict import run_seed
from tests.simulation.world import World

CALLS = 25
LOOKED_AT = 400
TRIED = 12


def fitting(fits: Callable[[list[IaxShape]], bool], *, faults: bool, behind_nat: bool) -> list[int]:
    """Some seeds whose trunks are of that kind."""
    found = []
    for seed in range(LOOKED_AT):
        shape = choose_shape(World(seed).rng, CALLS, faults)
        if fits(choose_iax(seed)) and (shape.behind_nat or not behind_nat):
            found.append(seed)
            if len(found) == TRIED:
                break
    return found


def told(
    word: str,
    fits: Callable[[list[IaxShape]], bool] = lambda _: True,
    *,
    faults: bool = False,
    calls: int = CALLS,
    behind_nat: bool = False,
    tries: int = TRIED,
) -> bool:
    """Whether a branch whose trunks ``fits`` likes says ``word``; looks until one does."""
    for seed in fitting(fits, faults=faults, behind_nat=behind_nat)[:tries]:
        breaches = run_seed(seed, calls, faults=faults, iax=True).breaches
        if any(word in breach for breach in breaches):
            return True
    return False


def weather(monkeypatch: pytest.MonkeyPatch, *, loss: float = 0.0, duplicate: float = 0.0) -> None:
    """Let this be all that goes wrong."""

    def plan(self: Misfortunes, _end: int) -> None:
        self.packets_suffer = True
        self.branch.weather.loss, self.branch.weather.duplicate = loss, duplicate

    monkeypatch.setattr(Misfortunes, "plan", plan)


def all_press(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody press a key."""
    monkeypatch.setattr(Load, "_acts", lambda _: ((600, "press"),))
