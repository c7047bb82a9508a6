"""SIP timers as rows (RFC 3261 table 4)."""

from __future__ import annotations

import pytest

from gateway.core import SECOND
from gateway.voip.sip.timers import SIP_TIMERS, SipTimer, durations


def test_defaults_are_those_of_rfc_3261_table_4() -> None:
    found = durations()
    assert found[SipTimer.T1] == SECOND // 2
    assert found[SipTimer.B] == found[SipTimer.F] == found[SipTimer.H] == 32 * SECOND
    assert found[SipTimer.C] > 180 * SECOND
    assert found[SipTimer.I] == found[SipTimer.K] == 5 * SECOND


def test_every_timer_has_a_row() -> None:
    assert set(SIP_TIMERS) == set(SipTimer)


def test_derived_timers_follow_t1_and_t4() -> None:
    found = durations({SipTimer.T1: 100_000, SipTimer.T4: 1_000_000})
    assert found[SipTimer.A] == found[SipTimer.G] == 100_000
    assert found[SipTimer.B] == found[SipTimer.L] == 6_400_000
    assert found[SipTimer.K] == 1_000_000


def test_a_derived_timer_that_is_set_itself_stays() -> None:
    assert durations({SipTimer.T1: 100_000, SipTimer.B: 8 * SECOND})[SipTimer.B] == 8 * SECOND


def test_timer_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"T1 is 0, expected 1000 to"):
        durations({SipTimer.T1: 0})


def test_t2_below_t1_is_refused() -> None:
    with pytest.raises(ValueError, match="T2"):
        durations({SipTimer.T1: 5 * SECOND})
