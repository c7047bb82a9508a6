"""When registrations are refreshed and tried again, in SIP and in IAX2."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.voip.iax.registration import TIMEOUT as IAX_TIMEOUT
from gateway.voip.registering import back_off, refresh_after
from gateway.voip.sip.registration import TIMEOUT as SIP_TIMEOUT


@given(st.integers(5, 604_800), st.sampled_from([IAX_TIMEOUT, SIP_TIMEOUT]), st.integers())
def test_refresh_leaves_time_for_another_try(granted: int, timeout: int, seed: int) -> None:
    after = refresh_after(granted, timeout, random.Random(seed))
    assert SECOND <= after < granted * SECOND
    assert granted * SECOND - after >= min(granted * SECOND // 2, timeout * SECOND)


@pytest.mark.parametrize(
    ("granted", "earliest", "latest"),
    [(1, 0.5, 0.5), (60, 27, 40), (120, 72, 90), (1200, 810, 900), (3600, 2700, 3000)],
)
def test_refresh_comes_a_quarter_before_the_end_but_a_time_out_at_least(
    granted: int, earliest: float, latest: float
) -> None:
    for seed in range(50):
        for timeout in (IAX_TIMEOUT, SIP_TIMEOUT):
            assert earliest * SECOND <= refresh_after(granted, timeout, random.Random(seed)) <= latest * SECOND


def test_long_registration_is_refreshed_ten_minutes_before_its_end() -> None:
    assert max(refresh_after(86_400, 20, random.Random(seed)) for seed in range(500)) <= 85_800 * SECOND


@given(st.integers(0, 100), st.integers())
def test_wait_doubles_up_to_the_most_and_is_random_in_its_upper_half(failures: int, seed: int) -> None:
    first, most = 5 * SECOND, 300 * SECOND
    whole = min(first * 2**failures, most)
    assert whole // 2 <= back_off(first, most, failures, random.Random(seed)) <= whole
