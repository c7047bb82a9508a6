"""Calls to one far end that takes few at a time which have not proven yet whose they are (``maxauthreq`` of Asterisk).

Nobody waits before the far end has refused a call for it. Then that call is tried again, and others begin as proofs of
those before them went; calls for help never wait for others. See ``docs/iax2.md``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.host import Timed
from gateway.voip.iax.timers import IaxTimer

FIRST_LIMIT = 3
"""What Asterisk has by default; one less each time that is too many still."""
MOST_TRIES = 6
"""How often one call is begun."""
PAUSE = 100 * MILLISECOND
"""Between two tries of a call, the second time twice as long and so on (own)."""
URGENT_PAUSE = 30 * MILLISECOND
"""The same for a call for help."""
WAIT_MOST = 2 * SECOND
"""A call that has waited so long goes, whatever is before it (own)."""
PROOF_WITHIN = SECOND
"""A call that has not come to its proof in this time is in nobody's way (own): the far end may be gone."""
KNOWN_FOR = 3600 * SECOND
"""After this without a refusal the far end may have another limit, or none."""
MAX_WAITING = 256
"""Calls that wait; others begin at once, and may be refused."""
TICK = 50 * MILLISECOND
_TICK = IaxTimer.RETRANSMIT


class Call(Protocol):
    """Which waits for its turn."""

    @property
    def emergency(self) -> bool:
        """Whether it is a call for help."""

    def ask(self, now: int) -> None:
        """It is its turn: begin (again)."""


class Clock(Protocol):
    """What is needed of the endpoint."""

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""


class _Waiting(NamedTuple):
    call: Call
    since: int
    not_before: int


class Turns:
    """Of one peer. ``limit``: how many it takes at a time, None while nothing is known of one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.limit: int | None = None
        self._refused_at = 0
        # Calls that went and have not proven themselves: when they went, and how often.
        self._asking: dict[Call, int] = {}
        self._tries: dict[Call, int] = {}
        self._waiting: list[_Waiting] = []
        self._pumping = False

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, call: Call, now: int) -> None:
        """``call`` wants to begin: now, or when it is its turn."""
        if self.limit is not None and now - self._refused_at >= KNOWN_FOR:
            self.limit = None
        if self.limit is None or call.emergency or len(self._waiting) >= MAX_WAITING:
            self._ask(call, now)
            return
        self._waiting.append(_Waiting(call, now, now))
        self._pump(now)

    def refused(self, call: Call, now: int) -> bool:
        """The far end has too many that are not proven; True if ``call`` is tried again, which happens by itself."""
        began = self._asking.pop(call, None)
        tries = self._tries.get(call, 0)
        if self.limit is None:
            self.limit = FIRST_LIMIT
        elif began is not None and began > self._refused_at and not call.emergency:
            # It waited for its turn, and that was not enough.
            self.limit = max(self.limit - 1, 1)
        self._refused_at = now
        if began is None or tries >= MOST_TRIES or len(self._waiting) >= MAX_WAITING:
            self._tries.pop(call, None)
            return False
        if call.emergency:
            self._waiting.insert(0, _Waiting(call, now, now + URGENT_PAUSE))
        else:
            self._waiting.append(_Waiting(call, now, now + tries * PAUSE))
        self._pump(now)
        return True

    def settled(self, call: Call, now: int) -> None:
        """``call`` gave its proof, or needs none, or is over: the next one may begin. As often as one likes."""
        self._asking.pop(call, None)
        self._tries.pop(call, None)
        if self._waiting:
            self._waiting = [each for each in self._waiting if each.call is not call]
            self._pump(now)

    def expire(self, _timer: IaxTimer, now: int) -> None:
        """Somebody may have waited long enough."""
        self._pump(now)

    def _ask(self, call: Call, now: int) -> None:
        self._asking[call] = now
        self._tries[call] = self._tries.get(call, 0) + 1
        call.ask(now)

    def _pump(self, now: int) -> None:
        """Let those begin whose turn it is. What they do may end others, which comes back here."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while (found := self._next(now)) is not None:
                self._waiting.remove(found)
                self._ask(found.call, now)
        finally:
            self._pumping = False
        if self._waiting:
            self._clock.start(self, _TICK, now + TICK)
        else:
            self._clock.stop(self, _TICK)

    def _next(self, now: int) -> _Waiting | None:
        room = self.limit is None or self._unproven(now) < self.limit
        for each in self._waiting:
            if each.not_before <= now and (room or each.call.emergency or now - each.since >= WAIT_MOST):
                return each
        return None

    def _unproven(self, now: int) -> int:
        return sum([now - began < PROOF_WITHIN for began in self._asking.values()])
