"""Limits on TLS handshakes under way, and one log line for each that was refused. Times are handed in.

A handshake costs a thousand times what a datagram does, and who begins many and ends none would keep others out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.core import SECOND
from gateway.voip.sip.defence import source_of

log = logging.getLogger(__name__)

MAX_HANDSHAKES = 256
"""Under way at a time of those whom nobody knows."""
MAX_PER_SOURCE = 16
"""Under way at a time from one address of a stranger."""
MAX_PER_PEER = 256
"""Under way at a time from the address of a peer: a proxy's, say, with many phones behind it."""
RATE = 200
"""A second, of all strangers together: a fifth of what one core can do."""
RATE_PER_SOURCE = 10
"""A second, from one address of a stranger: some phones behind one NAT that all come back at once."""
BURST = 3
"""Seconds' worth that may come at once."""
MAX_SOURCES = 4096
"""Addresses whose rate is kept; of further ones only the sum is."""
HANDSHAKE_TIMEOUT = 5.0
"""Seconds a handshake may take."""
QUIET = 60 * SECOND
"""How long the same refusal of the same far end is only counted."""
MAX_REMEMBERED = 256
"""Refusals that are told apart, and so lines of the log in the time of ``QUIET``."""


class Handshakes:
    """Counts handshakes, by far end. ``known`` says whether an address is that of a peer."""

    def __init__(self, known: Callable[[str], bool] | None = None) -> None:
        self.known = known or _nobody
        self._under_way: dict[str, int] = {}
        # Those of them who were strangers when they began.
        self._strangers: dict[str, int] = {}
        # When all handshakes so far will have been paid for, by source and of all.
        self._free_at: dict[str, int] = {}
        self._all_free_at = 0
        # By far end and reason: when it was told, and how often it was not.
        self._told: dict[tuple[str, str], list[int]] = {}
        self._unsaid = 0
        self._unsaid_at = 0
        self.done = 0
        self.refused = 0
        self.turned_away = 0

    @property
    def under_way(self) -> int:
        """How many are under way now."""
        return sum(self._under_way.values())

    def begin(self, address: str, now: int) -> bool:
        """A connection came in from ``address``; False if it may not even begin: close it."""
        stranger = not self.known(address)
        address = source_of(address)
        count = self._under_way.get(address, 0)
        if stranger:
            full = count >= MAX_PER_SOURCE or sum(self._strangers.values()) >= MAX_HANDSHAKES
            text = "too many TLS handshakes are under way of it, or of all whom nobody knows"
            if not full and not self._affordable(address, now):
                full, text = True, "it begins too many TLS handshakes, or all together do whom nobody knows"
        else:
            full = count >= MAX_PER_PEER
            text = f"more than {MAX_PER_PEER} of its TLS handshakes are under way"
        if full:
            self.turned_away += 1
            self.tell(address, text, now)
            return False
        self._under_way[address] = count + 1
        if stranger:
            self._strangers[address] = self._strangers.get(address, 0) + 1
        return True

    def _affordable(self, address: str, now: int) -> bool:
        """Whether a stranger's handshake is within the rates; if so it is paid for."""
        all_free_at = max(self._all_free_at, now) + SECOND // RATE
        free_at = max(self._free_at.get(address, 0), now) + SECOND // RATE_PER_SOURCE
        if all_free_at - now > BURST * SECOND or free_at - now > BURST * SECOND:
            return False
        if len(self._free_at) >= MAX_SOURCES and address not in self._free_at:
            self._free_at = {each: at for each, at in self._free_at.items() if at > now}
        if len(self._free_at) < MAX_SOURCES or address in self._free_at:
            self._free_at[address] = free_at
        self._all_free_at = all_free_at
        return True

    def end(self, address: str, *, done: bool) -> None:
        """What ``begin`` allowed is over."""
        address = source_of(address)
        for table in (self._under_way, self._strangers):
            count = table.get(address, 0)
            if count > 1:
                table[address] = count - 1
            else:
                table.pop(address, None)
        if done:
            self.done += 1

    def refuse(self, far_end: str, text: str, now: int, *, outgoing: bool = False) -> None:
        """A handshake failed; ``text`` is why, and what to do."""
        self.refused += 1
        self.tell(far_end, text, now, outgoing=outgoing)

    def tell(self, far_end: str, text: str, now: int, *, outgoing: bool = False) -> None:
        """One line, unless the same was said within ``QUIET`` or too much is remembered already."""
        key = (far_end, text)
        told = self._told.get(key)
        if told is not None and now - told[0] < QUIET:
            told[1] += 1
            return
        if told is None and len(self._told) >= MAX_REMEMBERED and not self._forget(now):
            self._unsaid += 1
            if now - self._unsaid_at >= QUIET:
                self._unsaid_at = now
                log.warning("TLS: %d more handshakes refused, from many places", self._unsaid)
                self._unsaid = 0
            return
        more = f" ({told[1]} times more since it was last said)" if told is not None and told[1] else ""
        self._told[key] = [now, 0]
        log.warning("TLS %s %s refused: %s%s", "to" if outgoing else "from", far_end, text, more)

    def _forget(self, now: int) -> bool:
        old = [key for key, told in self._told.items() if now - told[0] >= QUIET]
        for key in old:
            del self._told[key]
        return bool(old)

    def statistics(self) -> dict[str, int]:
        """Counters for the operator."""
        return {
            "done": self.done,
            "refused": self.refused,
            "turned_away": self.turned_away,
            "under_way": self.under_way,
        }


def _nobody(address: str) -> bool:  # noqa: ARG001
    return False
