"""A branch of calls and misfortunes on many seeds: nothing is left, every call has its record, both sides agree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.verdict import KINDS, run_seed

SEEDS = int(os.environ.get("SIM_SEEDS", "200"))
CALLS = 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_branch_comes_to_rest_with_every_call_accounted_for(seed: int) -> None:
    verdict = run_seed(seed, CALLS)
    assert not verdict.breaches, "\n".join([*verdict.story, str(verdict)])


def test_all_that_a_branch_must_get_over_happens_in_a_hundred_runs() -> None:
    """It takes about forty."""
    seen: Counter[str] = Counter()
    for seed in range(100):
        seen.update(run_seed(seed, CALLS).seen)
        if all(seen[kind] for kind in KINDS):
            break
    assert [kind for kind in KINDS if not seen[kind]] == []


def test_a_seed_always_gives_the_same_run() -> None:
    first, second = (run_seed(7, CALLS, faults=True) for _ in range(2))
    assert first.events == second.events
    assert first.digest == second.digest
    assert first.digest != run_seed(8, CALLS, faults=True).digest


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        program = "from tests.simulation.verdict import run_seed; print(run_seed(3, 30, faults=True).digest)"
        result = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(result.stdout)
    assert len(digests) == 1
