"""The fuzz targets without the fuzzer: what they begin with, that changed a little, and inputs that once broke them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import NAMES
from tests.fuzz.script import Script
from tests.fuzz.targets import TARGETS


def test_every_target_can_be_named() -> None:
    assert set(NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_pass(name: str) -> None:
    target = TARGETS[name]
    for octets in target.seeds:
        assert len(octets) <= target.longest
        target.take(octets)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_pass(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(target.seeds), st.binary(max_size=30), st.binary(max_size=60))
    def change(octets: bytes, changes: bytes, tail: bytes) -> None:
        target.take((Script(changes).changed(octets) + tail)[: target.longest])

    change()
