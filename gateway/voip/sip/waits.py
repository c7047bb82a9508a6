"""Timers of a fixed length that hardly matter: guards that are nearly always stopped, waits that only end something.

All of a kind stand in one line in the order they began: starting and stopping cost next to nothing. One that runs out
does so up to ``GRAIN`` late and never early, which lets many end together: RFC 3261 17 asks for at least T4 or 64*T1.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from gateway.core import SECOND
from gateway.voip.sip.timers import SipTimer

if TYPE_CHECKING:
    from gateway.voip.sip.transaction import TimerOwner, Timers

GRAIN = SECOND
"""Least time (microseconds) between two ends of waits of one kind, but for those due together."""


class Wait(msgspec.Struct, eq=False):
    """One wait; without its owner it is stopped."""

    at: int
    owner: TimerOwner | None
    timer: SipTimer


class Waits:
    """All waits of an endpoint, as one owner of timers in its queue ``timers``."""

    __slots__ = ("_durations", "_lines", "_timers")

    def __init__(self, timers: Timers, durations: dict[SipTimer, int]) -> None:
        self._timers = timers
        self._durations = durations
        # A kind has its timer in the queue as long as anybody stands in its line.
        self._lines: dict[SipTimer, deque[Wait]] = {}

    @property
    def running(self) -> int:
        """How many timers of the queue are for lines."""
        return sum(1 for line in self._lines.values() if line)

    def start(self, owner: TimerOwner, timer: SipTimer, now: int) -> Wait:
        """Let ``owner.expire(timer)`` be called after the duration of ``timer``, unless the Wait loses its owner."""
        wait = Wait(now + self._durations[timer], owner, timer)
        line = self._lines.get(timer)
        if line:
            line.append(wait)
            return wait
        self._lines[timer] = deque((wait,))
        self._timers.start((self, timer), wait.at)
        return wait

    def expire(self, timer: SipTimer, now: int) -> None:
        """The first in the line of ``timer`` is due."""
        line = self._lines[timer]
        least = now
        try:
            while line:
                wait = line[0]
                owner = wait.owner
                if owner is not None and wait.at > now:
                    return
                line.popleft()
                if owner is not None:
                    wait.owner = None
                    least = now + GRAIN
                    # It may get in line again, at the end.
                    owner.expire(timer, now)
        finally:
            # Whatever went wrong with one: the others still end.
            if line:
                self._timers.start((self, timer), max(line[0].at, least))
