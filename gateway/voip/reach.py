"""Whether a far end can be had, in Asterisk's words, whatever it is asked by: OPTIONS or POKE."""

from __future__ import annotations

import logging
from enum import Enum

from gateway.core import MILLISECOND, SECOND


class Reach(Enum):
    """Asterisk's words, and what is said before the first answer."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    LAGGED = "lagged"
    UNREACHABLE = "unreachable"


class Reachability:
    """What is known of the far end ``name``; an answer that takes longer than ``late`` (microseconds) is lagged.

    ``round_trip`` is that of the last answer, ``error`` why there was none, ``next_ask`` when it is asked again. Each
    change goes to ``log``.
    """

    def __init__(self, name: str, late: int, log: logging.Logger) -> None:
        self.name = name
        self.state = Reach.UNKNOWN
        self.round_trip: int | None = None
        self.error = ""
        self.next_ask: int | None = None
        self._late = late
        self._log = log

    def _tell(self, now: int) -> None:
        """``state`` is another."""
        raise NotImplementedError

    def _answered_after(self, taken: int, now: int) -> None:
        """An answer took ``taken`` microseconds."""
        self._set_state(Reach.LAGGED if taken > self._late else Reach.REACHABLE, taken, "", now)

    def _set_state(self, state: Reach, round_trip: int | None, error: str, now: int) -> None:
        if round_trip is not None:
            self.round_trip = round_trip
        self.error = error
        if state is self.state:
            return
        log = self._log
        if log.isEnabledFor(logging.DEBUG):
            log.debug("qualify of %s: %s -> %s", self.name, self.state.value, state.value)
        before, self.state = self.state, state
        if state is Reach.UNREACHABLE:
            log.warning("%s is unreachable: %s", self.name, error)
        elif state is Reach.LAGGED:
            log.warning(
                "%s is lagged: it took %d ms to answer, expected at most %d",
                self.name,
                (self.round_trip or 0) // MILLISECOND,
                self._late // MILLISECOND,
            )
        elif round_trip is None:
            log.warning("%s is reachable again: it sent something", self.name)
        else:
            # The first time is what everybody expects.
            level = logging.INFO if before is Reach.UNKNOWN else logging.WARNING
            log.log(level, "%s is reachable: it took %d ms to answer", self.name, round_trip // MILLISECOND)
        self._tell(now)

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown."""
        return {
            "reach": self.state.value,
            "round_trip_ms": None if self.round_trip is None else self.round_trip / MILLISECOND,
            "next_ask_seconds": None if self.next_ask is None else max(self.next_ask - now, 0) / SECOND,
            "error": self.error,
        }
