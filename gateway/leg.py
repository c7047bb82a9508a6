"""The words that legs speak. A leg is one side of a call in one technology; a Call owns two and hears only these.

Events go from a leg to its Call, commands from the Call to the leg. Nothing here knows a technology. Causes are Q.850.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.cause import Cause, Location
from gateway.identity import Number, Party, Redirection


@dataclass(frozen=True, slots=True)
class Setup:
    """What a call is asked to be: who calls whom, and how far the number goes.

    ``complete`` is False while overlap digits may follow. ``facts`` are what the incoming hop can vouch for
    (``secure_signalling``, ``secure_media``). ``speech`` False is an unrestricted 64 kbit/s bearer. ``hops``: how
    many more the call may take (SIP's Max-Forwards, RFC 7332), None where it came from a network that counts none.
    """

    called: Number
    caller: Party = field(default_factory=Party)
    redirection: Redirection | None = None
    complete: bool = True
    speech: bool = True
    facts: frozenset[str] = frozenset()
    user_user: bytes | None = None
    hops: int | None = None


# -- events, leg to Call --


@dataclass(frozen=True, slots=True)
class Offered:
    """A new call came in on this leg; ``context`` is where the dial plan begins and ``source`` names trunk or phone."""

    setup: Setup
    context: str
    source: str


@dataclass(frozen=True, slots=True)
class NotOffered:
    """A call that its own technology refused before anybody could be asked; it is worth a record all the same."""

    setup: Setup
    context: str
    source: str
    technology: str
    cause: Cause
    text: str


OnNotOffered = Callable[[NotOffered, int], None]


@dataclass(frozen=True, slots=True)
class Proceeding:
    """The far end has taken the call and needs no more digits."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Something happens before answer; ``inband`` says that the far end sends audio that must be heard."""

    inband: bool
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Alerting:
    """The called side rings; ``inband`` says that the far end sends its own ringing tone as audio."""

    inband: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The called side took the call."""

    connected: Party | None = None


@dataclass(frozen=True, slots=True)
class Digits:
    """More digits of the called number (overlap, before answer); ``complete`` ends the number."""

    digits: str
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Keypad:
    """A digit pressed during the call that came in signalling (SIP INFO, Q.931 Keypad facility), not in audio."""

    digits: str
    milliseconds: int = 100


@dataclass(frozen=True, slots=True)
class Held:
    """The far end put us on hold."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The far end took us back from hold."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """The far end asks that the other leg be sent to ``target`` (a number in this leg's context)."""

    target: Number


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """The engine stream (see ``gateway.media.api``) that is this leg's voice from now on; None is no voice yet."""

    stream: int | None


@dataclass(frozen=True, slots=True)
class Identified:
    """The connected party changed or became known before or after answer."""

    connected: Party


@dataclass(frozen=True, slots=True)
class Released:
    """The leg is over and everything of it is free. ``ours`` is True when we asked for the release."""

    cause: Cause
    location: Location = Location.PRIVATE_LOCAL
    ours: bool = False
    text: str = ""


LegEvent = (
    Offered
    | Proceeding
    | Progress
    | Alerting
    | Answered
    | Digits
    | Keypad
    | Held
    | Resumed
    | Transferred
    | MediaChanged
    | Identified
    | Released
)


# -- commands, Call to leg --


class Listener(Protocol):
    """What a leg reports to: its Call."""

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of ``leg``. The last event of any leg is one Released, after which it stays silent."""


class Leg(Protocol):
    """One side of a call. Commands never block and never raise on a leg in the wrong state: they are then ignored.

    An incoming leg gets: proceed, progress, alert, answer, or release. An outgoing leg gets: place once, then digits
    while overlap goes on. Both get hold, resume, identify, keypad and release. After ``release`` the leg still owes one
    ``Released``. ``listener`` is set by the Call that owns the leg.
    """

    listener: Listener | None
    name: str
    technology: str
    source: str
    stream: int | None

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call."""

    def proceed(self, now: int) -> None:
        """The number is complete and a way for the call was found (CALL PROCEEDING, 100/183 without SDP)."""

    def progress(self, inband: bool, now: int, cause: Cause | None = None) -> None:
        """Something happens before answer; ``inband``: the caller is to listen to this leg's stream now."""

    def alert(self, inband: bool, now: int) -> None:
        """The called side rings; ``inband``: audio (ours or the far end's ringing tone) flows on the stream."""

    def answer(self, connected: Party | None, now: int) -> None:
        """The called side answered."""

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits of the called number."""

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        """Send digits pressed during the call by signalling, where this leg is set to do so; False if it is not."""

    def hold(self, now: int) -> None:
        """Tell the far end it is on hold."""

    def resume(self, now: int) -> None:
        """Take the far end back from hold."""

    def identify(self, connected: Party, now: int) -> None:
        """Tell the far end whom it is connected to now."""

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the leg with ``cause``, whatever its state."""

    def record(self) -> dict[str, object]:
        """What the call record says of this leg: technology, trunk, channel, codec, far address (JSON types only)."""
