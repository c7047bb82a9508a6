"""How many legs of IAX2 there are and may be, of all and of each peer: nobody is to have all there is.

What ``call_limit`` and the other brakes say is looked at in ``peer.py``.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint
    from gateway.voip.iax.peer import Peer

MAX_LEGS = 1000
EMERGENCY_LEGS = 64
"""Legs beyond all others that are for emergency calls: one comes in with each, and another may go out."""
GUESTS_SHARE = 4
"""One in so many legs may be of those who are no peers of ours."""
OTHERS_SHARE = 4
"""One in so many legs is not for a trunk that has no ``call_limit``, where there are others."""
MOST_GUESTS = MAX_LEGS // GUESTS_SHARE
"""How many legs may be of those who are no peers of ours."""


class Shares:
    """Counts the legs of one endpoint by the names of their peers."""

    def __init__(self, endpoint: IaxEndpoint) -> None:
        self._endpoint = endpoint
        self._legs: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Another leg is of the peer of that name."""
        self._legs[name] += 1

    def remove(self, name: str) -> None:
        """A leg of it is over."""
        self._legs[name] -= 1
        if not self._legs[name]:
            del self._legs[name]

    def of(self, name: str) -> int:
        """How many legs are of the peer of that name."""
        return self._legs[name]

    def full(self, *, emergency: bool) -> bool:
        """Whether there are as many legs as there may be: then it is counted."""
        endpoint = self._endpoint
        if len(endpoint.legs) < MAX_LEGS + (EMERGENCY_LEGS if emergency else 0):
            return False
        endpoint.counters.overload += 1
        return True

    def spent(self, peer: Peer, now: int) -> bool:
        """Whether ``peer`` has as many legs as it may have: then it is told in the log, and counted."""
        endpoint, settings = self._endpoint, peer.settings
        alone = len(endpoint.peers) == 1 and endpoint.guest is None
        share = MAX_LEGS if settings.call_limit or alone else MAX_LEGS - MAX_LEGS // OTHERS_SHARE
        most = min(settings.max_call_numbers, share)
        if self.of(peer.name) < most:
            return False
        endpoint.counters.overload += 1
        text = "trunk %s has %d calls, which is its share: more are refused, but for help; call_limit would set another"
        endpoint.bursts.tell(f"enough {peer.name}", now, logging.WARNING, text, peer.name, most)
        return True
