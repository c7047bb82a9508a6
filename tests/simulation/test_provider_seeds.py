"""A provider trunk in half a day of misfortune, from a few seeds; ``python -m tests.simulation.provider`` runs many."""

from __future__ import annotations

import pytest

from tests.simulation.provider import run_provider


@pytest.mark.parametrize("seed", range(8))
def test_the_gateway_stays_registered_and_can_call(seed: int) -> None:
    provider = run_provider(seed, hours=6)
    assert provider.breaches == []
    assert provider.registered_seconds > 3600
