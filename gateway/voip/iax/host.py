"""What the parts of IAX2 know of each other: a session of its owner, and both of the endpoint that they live in.

``Session`` (session.py) carries full frames in order and without loss. Its owner is a call (leg.py), a registration, a
POKE, or the gatekeeper of a far end that has not proven who it is. The endpoint (endpoint.py) has the sockets, the call
numbers, the timers and the peers.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.leg import LegEvent, NotOffered, Offered
from gateway.media.api import Media
from gateway.voip.iax.frame import FullFrame
from gateway.voip.iax.peers import IaxSettings
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.bursts import Bursts
    from gateway.voip.iax.leg import IaxLeg
    from gateway.voip.iax.rounds import Rounds
    from gateway.voip.iax.session import Session


class Path(NamedTuple):
    """Where datagrams go and come from: a socket of the media engine, and the far end's literal address and port."""

    socket: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Ended(NamedTuple):
    """Why a session is over without its owner having ended it."""

    text: str
    timed_out: bool = False


class SessionOwner(Protocol):
    """What hears a session."""

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """A full frame came in its turn; those that the session answers by itself (ACK, PING, …) are not told."""

    def on_session_end(self, session: Session, ended: Ended, now: int) -> None:
        """The far end does not answer any more, or knows nothing of the session (INVAL). It is closed already."""


class Timed(Protocol):
    """Something with timers of IaxTimer."""

    def expire(self, timer: IaxTimer, now: int) -> None:
        """``timer`` of this object ran out."""


class Host(Protocol):
    """The endpoint, as sessions, legs, registrations and watches see it."""

    rng: random.Random
    media: Media
    durations: dict[IaxTimer, int]
    settings: IaxSettings
    bursts: Bursts
    rounds: Rounds

    def transmit(self, path: Path, data: bytes) -> None:
        """Send one datagram."""

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``; a timer of the owner that runs moves."""

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""

    def open_session(self, path: Path, owner: SessionOwner, now: int) -> Session | None:
        """A session that we begin, with a call number of its own; None if there is none left (in the log)."""

    def has_asked(self, challenge: bytes) -> bool:
        """Whether ``challenge`` is our own, that a far end is to answer: who sends it wants to have that of us."""

    def shown(self, session: Session) -> bool:
        """Whether the far end has shown that it is where it says; else the owner's ``on_shown`` tells when it has."""

    def changed(self, session: Session) -> None:
        """The session is other than it was: a frame in sequence was sent or taken, or its far end is known now."""

    def forget(self, session: Session, now: int) -> None:
        """The session is closed: its call number rests for LINGER, then it is free."""

    def moved(self, session: Session, path: Path) -> None:
        """The far end of the session is elsewhere now (TXREADY, NAT)."""

    def queue(self, leg: IaxLeg, event: LegEvent) -> None:
        """Tell the listener of ``leg``; out of the drain loop, after what is being done now."""

    def offer(self, leg: IaxLeg, offered: Offered, now: int) -> None:
        """A call that came in wants a Call; it becomes the leg's listener, or the leg is released."""

    def not_offered(self, refused: NotOffered, now: int) -> None:
        """A call of a peer's that was refused before anybody could be asked."""

    def forget_leg(self, leg: IaxLeg) -> None:
        """The leg is over and owes nothing any more."""


TimerKey = tuple[Hashable, IaxTimer]
