"""Peers that did not say a word when called, until they say one: who is called impatiently, and after all others."""

from __future__ import annotations

import logging

from gateway.core import SECOND

log = logging.getLogger(__name__)

PATIENCE = SECOND
"""How long a suspect may stay silent when there is another way (own): two transmissions of the INVITE by UDP."""
DOUBT = 30 * SECOND
"""How long a suspect is called after all others (own); then one call in turn finds out, at the cost of PATIENCE."""


class Suspects:
    """``names`` are the suspects, with the time at which they fell silent last; there are no more than peers."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._unreachable: set[str] = set()

    def unreachable(self, name: str, now: int) -> None:
        """``name`` was asked whether it is there (``qualify``) and is not: all others go first until it is."""
        self._unreachable.add(name)
        self.names[name] = now

    def reachable(self, name: str) -> None:
        """``name`` was asked and is there."""
        self._unreachable.discard(name)
        self.names.pop(name, None)

    def is_unreachable(self, name: str) -> bool:
        """Whether ``qualify`` found ``name`` not to be there."""
        return name in self._unreachable

    def add(self, name: str, now: int) -> None:
        """``name`` was called and said nothing."""
        if name not in self.names:
            log.warning("%s does not answer: as long as it says nothing, other ways go first", name)
        self.names[name] = now

    def heard(self, name: str) -> None:
        """``name`` said something."""
        if self.names.pop(name, None) is not None:
            if name in self._unreachable:
                # Whoever found out tells that it is back.
                self._unreachable.discard(name)
            else:
                log.warning("%s answers again", name)

    def doubts(self, name: str, now: int) -> bool:
        """Whether ``name`` is to be tried after all others."""
        since = self.names.get(name)
        return since is not None and (now - since < DOUBT or name in self._unreachable)

    def patience(self, name: str, usual: int) -> int:
        """How long ``name`` may stay silent where there is another way."""
        return min(usual, PATIENCE) if name in self.names else usual
