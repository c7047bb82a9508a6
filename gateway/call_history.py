"""What a call remembers of itself for its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.cause import Cause
from gateway.identity import Party


@dataclass(slots=True)
class Attempt:
    """One outgoing leg that was tried, for the record."""

    destination: str
    number: str
    cause: Cause | None = None
    text: str = ""
    leg: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """The facts the record is made of; times are microseconds of the monotonic clock."""

    started: int
    routed: int | None = None
    alerting: int | None = None
    answered: int | None = None
    ended: int | None = None
    cause: Cause | None = None
    released_by: str = ""
    connected: Party | None = None
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    one_way: bool = False
    emergency: bool = False
    incoming: dict[str, object] = field(default_factory=dict)
