"""What registrations with far ends have in common, whether by REGISTER or REGREQ: states, and when it is time again."""

from __future__ import annotations

import random
from enum import Enum

from gateway.core import SECOND

AGAIN_AT_ONCE = SECOND
"""Least time between rounds that something other than time brings about: a network that flaps costs little."""
LEAST_WAIT = SECOND // 2
"""Between a registration and its refresh, whatever was granted."""
_MOST_DOUBLINGS = 20


class RegistrationState(Enum):
    """What is known of us at the registrar."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    FAILED = "failed"
    REFUSED = "refused"
    LEAVING = "leaving"
    ENDED = "ended"


def refresh_after(granted: int, timeout: float, rng: random.Random) -> int:
    """When a registration of ``granted`` seconds is refreshed (microseconds): in time for another try, at random.

    A quarter before its end (600 s at most), but ``timeout`` seconds, after which who is silent counts as gone, where
    that leaves half of it.
    """
    left = max(min(granted / 4, 600.0), min(granted / 2, timeout))
    return max(int((granted - left) * rng.uniform(0.9, 1.0) * SECOND), LEAST_WAIT)


def back_off(first: int, most: int, failures: int, rng: random.Random) -> int:
    """How long to wait after ``failures`` failures before this one: doubling from ``first`` to ``most`` microseconds.

    At random in the upper half (RFC 5626 4.5), so that a provider's customers do not all come at once.
    """
    wait = min(first << min(failures, _MOST_DOUBLINGS), max(first, most))
    return wait // 2 + rng.randrange(wait // 2 + 1)
