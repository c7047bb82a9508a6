"""What a call remembers of itself for its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.cause import Cause
from gateway.identity import Party
from gateway.leg import Leg


@dataclass(slots=True)
class Attempt:
    """One outgoing leg that was tried, for the record; ``owner`` is that leg until it is over, ``party`` who it is."""

    destination: str
    number: str
    cause: Cause | None = None
    text: str = ""
    leg: dict[str, object] = field(default_factory=dict)
    owner: Leg | None = None
    party: Party | None = None


@dataclass(slots=True)
class TransferAttempt(Attempt):
    """A leg that came into the call, or was to, because ``by`` transferred it ``at`` that time.

    ``kind``: blind, attended (out of the call named in ``text``) or replaces (by an INVITE of its own).
    """

    at: int = 0
    kind: str = "blind"
    by: str = ""


@dataclass(slots=True)
class History:
    """The facts the record is made of; times are microseconds of the monotonic clock.

    ``sent_by``: the trunks and phones that transferred or forwarded the call.
    """

    started: int
    routed: int | None = None
    alerting: int | None = None
    answered: int | None = None
    ended: int | None = None
    cause: Cause | None = None
    released_by: str = ""
    connected: Party | None = None
    attempts: list[Attempt] = field(default_factory=list)
    transfers: list[TransferAttempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    one_way: bool = False
    emergency: bool = False
    sent_by: tuple[str, ...] = ()
    incoming: dict[str, object] = field(default_factory=dict)

    def attempt_of(self, leg: Leg) -> Attempt | None:
        """The attempt or transfer that made ``leg``; None for the leg that began the call."""
        for attempt in self.attempts:
            if attempt.owner is leg:
                return attempt
        for transfer in self.transfers:
            if transfer.owner is leg:
                return transfer
        return None

    def keep(self, leg: Leg, cause: Cause | None, text: str) -> None:
        """``leg`` has left the call: keep what it says of itself where it belongs."""
        attempt = self.attempt_of(leg)
        if attempt is None:
            self.incoming = leg.record()
            return
        attempt.cause, attempt.text, attempt.owner = cause, text or attempt.text, None
        attempt.leg = leg.record()
