"""What plays the Call in tests of one technology: listens to a leg, keeps its events, and may act on them by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from gateway.leg import Leg, LegEvent, Offered, Released
from tests.interop.program import PATIENCE, PeerError

Kind = TypeVar("Kind", bound=LegEvent)
Reaction = Callable[[Leg, int], None]


class LegScript:
    """The listener of one leg. ``reactions`` are done once each, when an event of that type first comes."""

    def __init__(self, name: str, reactions: dict[type[LegEvent], Reaction] | None = None) -> None:
        self.name = name
        self.leg: Leg | None = None
        self.offered: Offered | None = None
        self.events: list[LegEvent] = []
        self._taken = 0
        self._reactions = dict(reactions or {})
        self._changed = asyncio.Event()

    def offer(self, leg: Leg, offered: Offered, now: int) -> LegScript:
        """Take an incoming leg; to be returned from ``on_offer``."""
        self.leg = leg
        self.offered = offered
        self._changed.set()
        reaction = self._reactions.pop(Offered, None)
        if reaction is not None:
            asyncio.get_running_loop().call_soon(reaction, leg, now)
        return self

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Keep the event and do what the script says."""
        self.leg = leg
        self.events.append(event)
        self._changed.set()
        reaction = self._reactions.pop(type(event), None)
        if reaction is not None:
            reaction(leg, now)

    @property
    def released(self) -> Released | None:
        """The end of the leg, or None while it lives; two of them are an error."""
        ends = [event for event in self.events if isinstance(event, Released)]
        if len(ends) > 1 or (ends and self.events[-1] is not ends[0]):
            raise PeerError(f"{self.name}: Released is not the one last event: {self.events}")
        return ends[0] if ends else None

    def has(self, kind: type[LegEvent]) -> bool:
        """Whether an event of ``kind`` came at all."""
        return any(isinstance(event, kind) for event in self.events)

    async def event(self, kind: type[Kind], *, within: float = PATIENCE) -> Kind:
        """The next event of ``kind`` after the last one that was waited for; those between are passed over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            for index in range(self._taken, len(self.events)):
                event = self.events[index]
                if isinstance(event, kind):
                    self._taken = index + 1
                    return event
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(deadline - loop.time(), 0.001))
            except TimeoutError:
                raise PeerError(f"{self.name}: no {kind.__name__} within {within} s: {self.events}") from None
