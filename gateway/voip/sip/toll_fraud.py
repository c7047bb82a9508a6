"""What a stolen password may cost: calls at once, calls an hour and destinations an hour of one trunk or phone.

Emergency calls are never refused and never counted. What a call is to cost is not known here.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from gateway.core import SECOND
from gateway.voip.sip.peers import Brakes

log = logging.getLogger(__name__)

HOUR = 3600 * SECOND
MAX_NUMBER = 32
"""Digits by which destinations are told apart; E.164 has 15."""


class Braked(Protocol):
    """A trunk or phone, of whatever technology."""

    @property
    def name(self) -> str:
        """As the configuration has it."""

    @property
    def brakes(self) -> Brakes:
        """What it may have."""


class _Used:
    """What one peer has had in the last hour: when its calls began, and when each destination was last called."""

    __slots__ = ("began", "called", "told")

    def __init__(self, calls_per_hour: int) -> None:
        self.began: deque[int] = deque(maxlen=calls_per_hour)
        self.called: OrderedDict[str, int] = OrderedDict()
        self.told: dict[str, int] = {}


class TollFraud:
    """The brakes of all peers. ``standing(name)``: how many calls the peer has now. ``emergency``: exempt numbers."""

    def __init__(self, standing: Callable[[str], int], emergency: frozenset[str]) -> None:
        self._standing = standing
        self._emergency = emergency
        # Of peers that have brakes only, so there are no more of them than peers.
        self._used: dict[str, _Used] = {}

    def exempt(self, emergency: frozenset[str]) -> None:
        """Let ``emergency`` be the numbers that are exempt from now on."""
        self._emergency = emergency

    def forget(self, name: str) -> None:
        """There is no peer of that name any more."""
        self._used.pop(name, None)

    def hindrance(self, peer: Braked, number: str, now: int, *, own: int = 0) -> str:
        """Why ``peer`` may not begin a call to ``number`` now; "" if it may, and then the call counts.

        ``own`` is 1 if the call is among those that stand already.
        """
        brakes = peer.brakes
        if number in self._emergency:
            return ""
        used = self._used.get(peer.name)
        if used is None:
            used = self._used[peer.name] = _Used(brakes.calls_per_hour)
        elif used.began.maxlen != brakes.calls_per_hour:
            # The configuration is another; what was had counts.
            used.began = deque(used.began, maxlen=brakes.calls_per_hour)
        number = number[:MAX_NUMBER]
        called = used.called
        while called and now - next(iter(called.values())) >= HOUR:
            called.popitem(last=False)
        word = ""
        if brakes.call_limit and self._standing(peer.name) - own >= brakes.call_limit:
            word = "call_limit"
        elif brakes.calls_per_hour and len(used.began) == brakes.calls_per_hour and now - used.began[0] < HOUR:
            word = "calls_per_hour"
        elif brakes.destinations_per_hour and number not in called and len(called) >= brakes.destinations_per_hour:
            word = "destinations_per_hour"
        if word:
            return self._told(peer, used, word, now)
        if brakes.calls_per_hour:
            used.began.append(now)
        if brakes.destinations_per_hour:
            called[number] = now
            called.move_to_end(number)
        return ""

    @staticmethod
    def _told(peer: Braked, used: _Used, word: str, now: int) -> str:
        text = f"{word} = {getattr(peer.brakes, word)}"
        last = used.told.get(word)
        if last is None or now - last >= HOUR:
            used.told[word] = now
            log.warning("%s has reached %s: further calls are refused, but not to emergency numbers", peer.name, text)
        return text
