"""The fault injector of a virtual span: rates, order, one seed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.pri.span.faults import FaultInjector, FaultRates


def carry(rates: FaultRates, count: int = 2000, seed: int = 1) -> tuple[FaultInjector, list[tuple[int, bytes]]]:
    faults = FaultInjector(rates, random.Random(seed))
    out = []
    for n in range(count):
        out += faults.carry(n.to_bytes(4, "big"), n * 1000)
    return faults, out


def test_a_good_line_changes_nothing() -> None:
    _, out = carry(FaultRates())
    assert out == [(n * 1000, n.to_bytes(4, "big")) for n in range(2000)]


def test_rates_are_kept() -> None:
    faults, out = carry(FaultRates(lose=0.1, corrupt=0.2, duplicate=0.05, delay=0.3))
    assert 150 < faults.lost < 250
    assert 300 < faults.corrupted < 420
    assert 60 < faults.duplicated < 120
    assert 450 < faults.delayed < 630
    assert len(out) == 2000 - faults.lost + faults.duplicated


def test_corruption_flips_one_bit() -> None:
    _, out = carry(FaultRates(corrupt=1.0))
    for n, (_, frame) in enumerate(out):
        assert (int.from_bytes(frame, "big") ^ n).bit_count() == 1
    assert FaultInjector(FaultRates(corrupt=1.0), random.Random(1)).carry(b"", 0) == [(0, b"")]


def test_a_delayed_frame_holds_up_those_behind_it() -> None:
    faults, out = carry(FaultRates(delay=0.2, delay_time=50_000))
    assert faults.delayed
    assert all(a[0] <= b[0] and a[1] < b[1] for a, b in pairwise(out))
    assert max(when - 1000 * int.from_bytes(frame, "big") for when, frame in out) <= 50_000


def test_one_seed_gives_one_line() -> None:
    rates = FaultRates(lose=0.1, corrupt=0.1, duplicate=0.1, delay=0.1)
    assert carry(rates, seed=5)[1] == carry(rates, seed=5)[1]
    assert carry(rates, seed=5)[1] != carry(rates, seed=6)[1]


@pytest.mark.parametrize(
    "wrong", [{"lose": 1.1}, {"corrupt": -0.1}, {"duplicate": 2}, {"delay": 9}, {"delay_time": -1}]
)
def test_rates_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaultRates(**wrong)  # type: ignore[arg-type]
