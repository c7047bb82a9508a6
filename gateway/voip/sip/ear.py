"""Who hears what becomes of an INVITE of ours (``uac.py``): its leg, a fork that has several, or nobody any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.cause import Cause, Location
from gateway.leg import Forward, LegEvent

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session


class Ear(Protocol):
    """What an INVITE tells."""

    def emit(self, event: LegEvent) -> None:
        """Something happened before the answer, or that."""

    def answered(self, session: Session, now: int) -> None:
        """``session`` won."""

    def finish(
        self,
        cause: Cause,
        location: Location,
        now: int,
        *,
        text: str = "",
        status: int = 0,
        timer: str = "",
        forward: Forward | None = None,
    ) -> None:
        """It failed."""


class _Deaf:
    def emit(self, event: LegEvent) -> None:
        pass

    def answered(self, session: Session, now: int) -> None:
        pass

    def finish(self, *_: object, **__: object) -> None:
        pass


DEAF: Ear = _Deaf()
"""Hears nothing of an INVITE whose call goes on at another server."""
