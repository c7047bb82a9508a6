"""States of an IAX2 call (RFC 5456 6.2, figures 4 to 9), and which follow which."""

from __future__ import annotations

from enum import Enum


class LegState(Enum):
    """How far the call got. WAITING: a NEW of ours is out; LINKED: accepted (6.2.3), its voice flows, not answered."""

    IDLE = "idle"
    WAITING = "waiting"
    AUTHENTICATING = "authenticating"
    OFFERED = "offered"
    LINKED = "linked"
    UP = "up"
    OVER = "over"

    # That of Enum is written in Python.
    __hash__ = object.__hash__


NEXT: dict[LegState, frozenset[LegState]] = {
    LegState.IDLE: frozenset({LegState.WAITING, LegState.OFFERED, LegState.OVER}),
    LegState.WAITING: frozenset({LegState.AUTHENTICATING, LegState.LINKED, LegState.OVER}),
    LegState.AUTHENTICATING: frozenset({LegState.LINKED, LegState.OVER}),
    LegState.OFFERED: frozenset({LegState.LINKED, LegState.OVER}),
    LegState.LINKED: frozenset({LegState.UP, LegState.OVER}),
    LegState.UP: frozenset({LegState.OVER}),
    LegState.OVER: frozenset(),
}
