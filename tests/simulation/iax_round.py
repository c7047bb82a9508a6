"""Two sites whose routes send a number to one another: what comes to the far one goes back to where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import leg as words
from gateway.cause import Cause
from gateway.leg import Leg, LegEvent, Offered
from tests.simulation.story import ID_DIGITS

if TYPE_CHECKING:
    from tests.simulation.iax_site import IaxSite

ROUND = "97"
"""What numbers begin with that go round."""
NAMED_MOST = 3
"""Calls of one number until the gateway notices, where the far end says which call it is."""
UNNAMED_MOST = 8
"""The same where it does not."""
NOTICED = Cause.EXCHANGE_ROUTING_ERROR


def goes_round(digits: str) -> bool:
    """Whether the site's routes lead back."""
    return len(digits) == len(ROUND) + ID_DIGITS and digits.startswith(ROUND)


class Round:
    """One call at the site: the leg that came, and the one that goes back."""

    def __init__(self, node: IaxSite, incoming: Leg) -> None:
        self._node = node
        self._legs: list[Leg] = [incoming]

    def begin(self, offered: Offered, now: int) -> None:
        """Send it back."""
        (incoming,) = self._legs
        onward = self._node.endpoint.new_leg(self._node.peer.name, now)
        if isinstance(onward, Cause):
            incoming.release(onward, now)
            return
        self._legs.append(onward)
        onward.listener = self
        incoming.proceed(now)
        onward.place(offered.setup, now)

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """One side ends: so does the other."""
        if isinstance(event, words.Released):
            for other in self._legs:
                if other is not leg:
                    other.release(event.cause, now)
            self._node.settle()
