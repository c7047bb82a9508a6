"""Keep-alive of a flow (RFC 5626 3.5.1 and 4.4.1, RFC 6223): CR LF CR LF, and the CR LF that answers it on a stream.

On UDP it is one-way: it holds a NAT's binding open. No STUN.
"""

from __future__ import annotations

from typing import Protocol

from gateway.core import SECOND
from gateway.voip.sip.far_end_timers import FarEndTimer
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.registration import Surroundings, Timed

PING = b"\r\n\r\n"
PONG = b"\r\n"
LEAST_KEEPALIVE = 5 * SECOND


class Owner(Protocol):
    """Whose flow it is."""

    def flow_failed(self, flow: Flow, now: int) -> None:
        """Nothing comes back on ``flow``: it is to be closed, and another one opened."""


class Keepalive:
    """Keeps one flow open while it has one (``watch``). ``interval`` is in microseconds, 0 for not at all."""

    def __init__(self, where: Surroundings, owner: Owner, interval: int) -> None:
        self._where = where
        self._owner = owner
        self._usual = interval
        self._interval = 0
        self._flow: Flow | None = None
        self._answered = False
        self._heard: Flow | None = None
        self.waiting = False

    @property
    def flow(self) -> Flow | None:
        """The flow that is kept alive."""
        return self._flow

    def watch(self, flow: Flow, asked_seconds: int) -> None:
        """Keep ``flow`` alive; the far end asked for it every ``asked_seconds`` (0: it did not, RFC 6223)."""
        if self._flow != flow:
            self._flow = flow
            self._answered = False
            self._heard = None
        if asked_seconds:
            # Whoever says how often also answers (RFC 5626 4.4.1).
            self._answered = flow.reliable
        self._interval = max(asked_seconds * SECOND, LEAST_KEEPALIVE) if asked_seconds else self._usual

    def begin(self, now: int) -> None:
        """Send the first one when it is due, if that is wanted and none is under way."""
        if self._interval and self._flow is not None and not self.waiting:
            # RFC 5626 4.4: at random between 80 and 100 % of the time.
            wait = int(self._interval * self._where.rng.uniform(0.8, 1.0))
            self._where.start(self, FarEndTimer.KEEPALIVE, now + wait)

    def cease(self) -> None:
        """There is no flow any more."""
        self._flow = self._heard = None
        self.waiting = False
        timed: Timed = self
        self._where.stop(timed, FarEndTimer.KEEPALIVE)
        self._where.stop(timed, FarEndTimer.PONG)

    def heard(self, flow: Flow, data: bytes, now: int) -> None:
        """Something came from the far end, on the connection ``flow``."""
        self._heard = flow
        if not self.waiting:
            return
        if data == PONG:
            self._answered = True
        self.waiting = False
        self._where.stop(self, FarEndTimer.PONG)
        self.begin(now)

    def expire(self, timer: FarEndTimer, now: int) -> None:
        """It is time to send another, or the last one got no answer."""
        flow = self._flow
        if flow is None:
            return
        if timer is FarEndTimer.KEEPALIVE:
            self._where.outbound.send_bytes(flow, PING)
            if flow.reliable:
                self.waiting = True
                self._where.start(self, FarEndTimer.PONG, now + self._where.durations[FarEndTimer.PONG])
            else:
                self.begin(now)
            return
        self.waiting = False
        if self._answered:
            # It used to answer, or said that it would.
            heard = self._heard
            self.cease()
            self._owner.flow_failed(heard or flow, now)
        else:
            self.begin(now)
