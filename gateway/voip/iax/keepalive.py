"""Keeps a NAT's binding alive towards who is registered with us, and whom we are registered with.

A POKE of 12 octets from a call number that hears nothing; its PONG comes back through both NATs and is dropped.
"""

from __future__ import annotations

import random
from typing import Protocol

from gateway.core import SECOND
from gateway.voip.iax.calltokens import STATELESS_NUMBER
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.host import Path, Timed
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.timers import IaxTimer

PAUSE = 25 * SECOND
"""NATs forget a UDP binding after 30 seconds (RFC 4787 4.3 asks for 2 minutes, and is not heard by all)."""
_AGAIN = IaxTimer.RETRANSMIT
_POKE = bytes(FullFrame(STATELESS_NUMBER, 0, 0, 0, 0, FrameType.IAX, Command.POKE))


class Surroundings(Protocol):
    """What is needed of where it lives."""

    rng: random.Random

    def transmit(self, path: Path, data: bytes) -> None:
        """Send one datagram."""

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""


class Keepalive:
    """Of one peer; ``on`` and ``off`` as often as one likes."""

    def __init__(self, where: Surroundings, peer: Peer) -> None:
        self._where = where
        self._peer = peer
        self._runs = False

    def on(self, now: int) -> None:
        """There is a binding to be kept."""
        if not self._runs:
            self._runs = True
            self._wait(now)

    def off(self) -> None:
        """There is none any more."""
        if self._runs:
            self._runs = False
            self._where.stop(self, _AGAIN)

    def expire(self, _timer: IaxTimer, now: int) -> None:
        """It is time."""
        path = self._peer.path(now)
        if path is not None:
            self._where.transmit(path, _POKE)
        self._wait(now)

    def _wait(self, now: int) -> None:
        self._where.start(self, _AGAIN, now + int(PAUSE * self._where.rng.uniform(0.9, 1.0)))
