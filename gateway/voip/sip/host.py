"""What legs and sessions may use of the endpoint that they live in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.identity import Number
from gateway.leg import LegEvent, Setup
from gateway.media.api import Media
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.outbound import Outbound
from gateway.voip.sip.peers import PeerSettings, SipSettings
from gateway.voip.sip.suspects import Suspects
from gateway.voip.sip.syntax import quote
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ServerTransaction, Timers
from gateway.voip.sip.waits import Waits

if TYPE_CHECKING:
    from gateway.voip.sip.far_ends import FarEnds
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.session import Session

Fields = Sequence[tuple[str, str]]

ALLOWED_METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "PRACK", "UPDATE", "REFER")
ALLOW = ", ".join(ALLOWED_METHODS)
OPTION_TAGS = frozenset({"100rel", "timer", "replaces", "norefersub"})
SUPPORTED = "100rel, timer, replaces, norefersub"
MAX_QUEUED_PROVISIONAL = 8
"""Reliable provisional responses that wait for the PRACK of the one before."""
ACCEPT = "application/sdp, application/dtmf-relay, application/dtmf"


def warning_fields(error: SipError) -> list[tuple[str, str]]:
    """The Warning that tells why a session description was refused (RFC 3261 20.43), if it was that."""
    return [("Warning", f"{error.warning} gateway {quote(error.text)}")] if error.warning else []


class Host(Protocol):
    """The endpoint, seen from inside."""

    settings: SipSettings
    rng: random.Random
    media: Media
    timers: Timers
    waits: Waits
    durations: dict[SipTimer, int]
    outbound: Outbound
    suspects: Suspects
    far_ends: FarEnds

    def braked(self, peer: PeerSettings, number: Number, now: int) -> bool:
        """Whether ``peer``, who sends a call of its own on to ``number``, has made too many calls for that."""

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: int,
        fields: Fields = (),
        body: bytes = b"",
        reason: str | None = None,
    ) -> bytes:
        """Answer ``transaction``'s request; returns the bytes sent. The To tag is ``transaction.tag``."""

    def new_tag(self) -> str:
        """A new From or To tag (RFC 3261 19.3)."""

    def add_dialog(self, key: DialogKey, session: Session) -> None:
        """Let ``session`` have the requests of the dialog ``key``."""

    def session_of(self, key: DialogKey) -> Session | None:
        """The session of the dialog ``key``."""

    def remove_dialog(self, key: DialogKey) -> None:
        """The dialog is over."""

    def changed(self, session: Session) -> None:
        """Something was said in ``session``: what is kept of it for the next start is too old."""

    def placed(self, leg: SipLeg) -> None:
        """An INVITE of ``leg``'s went out: what is kept of it for the next start is too old."""

    def queue(self, leg: SipLeg, event: LegEvent) -> None:
        """Tell ``leg``'s listener ``event`` from the drain loop."""

    def media_replied(self, handle: Callable[[int], None]) -> None:
        """The media engine answered: ``handle`` it from the drain loop."""

    def hindrance(self, leg: SipLeg, setup: Setup, now: int) -> str:
        """Why ``leg`` may not be placed: the brakes of its peer; "" if it may."""

    def leg_over(self, leg: SipLeg) -> None:
        """``leg`` has queued its Released."""
