"""The gateway is killed at random moments: calls go on or end at both ends, each with one record, and nothing leaks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gateway.voip.sip import survival as sip_survival
from tests.simulation import mortal
from tests.simulation.mortal import Mortal

SEEDS = int(os.environ.get("MORTAL_SEEDS", "20"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calls_outlive_the_gateway_or_end_well(seed: int) -> None:
    branch = Mortal(seed)
    assert branch.judge() == []
    assert branch.starts > 1


def test_both_happens() -> None:
    gone_on = ended = 0
    for seed in range(3):
        branch = Mortal(1000 + seed)
        branch.judge()
        gone_on += branch.gone_on
        ended += branch.ended_by_starts
    assert gone_on > 10 and ended > 3


def _keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mortal, "note", lambda *_: None)


def _drops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mortal, "drop", lambda *_, **__: None)


def _tells_nobody_by_sip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_survival.SipSurvival, "give_up", lambda *_: None)


def _never_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_survival, "CSEQ_GAP", -5)


def _keeps_its_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mortal._Engine, "adopt", lambda *_: None)


def _never_looks_after_a_call_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_survival, "_ask_soon", lambda *_: None)
    monkeypatch.setattr(mortal, "MAX_DOWN", 60_000)


@pytest.mark.parametrize(
    "breaks",
    [
        _keeps_nothing,
        _drops_nothing,
        _tells_nobody_by_sip,
        _never_asks_again,
        _never_looks_after_a_call_again,
        _keeps_its_voice,
    ],
)
def test_what_is_broken_is_noticed(
    breaks: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    assert any(Mortal(seed).judge() for seed in range(6))
