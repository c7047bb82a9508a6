"""The words that legs speak. A leg is one side of a call in one technology; a Call owns two and hears only these.

Events go from a leg to its Call, commands from the Call to the leg. Nothing here knows a technology. Causes are Q.850.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

import msgspec

from gateway.cause import Cause, Location
from gateway.identity import Number, Party, Redirection, RedirectionReason
from gateway.media.api import Codec


class Bearer(Enum):
    """What is to be carried (Q.931 4.5.5): speech, 3.1 kHz audio (modems and faxes too), or plain 64 kbit/s."""

    SPEECH = "speech"
    AUDIO = "audio"
    UNRESTRICTED = "unrestricted"


class Interworking(IntEnum):
    """Where a call leaves or enters ISDN: progress descriptions of Q.931 table 4-18 that are not about audio."""

    NOT_END_TO_END = 1
    DESTINATION_NOT_ISDN = 2
    ORIGINATION_NOT_ISDN = 3
    RETURNED_TO_ISDN = 4


class Met(NamedTuple):
    """What the call met and where, as told by the network there; ``location`` None: here, in this gateway."""

    interworking: Interworking
    location: Location | None = None


class Conveyed(msgspec.Struct, frozen=True):
    """What a call's ends and networks tell each other and the gateway only passes on; most calls have none of it.

    Octets are contents of Q.931 elements (octet 3 and on): subaddresses 4.5.9 and 4.5.11 (``subaddress`` is the
    connected one of an answer, Q.951), compatibilities 4.5.17 and 4.5.19, user-user 4.5.30, which begins with its
    protocol discriminator. A technology leaves out what it cannot carry.
    """

    progress: tuple[Met, ...] = ()
    calling_subaddress: bytes | None = None
    called_subaddress: bytes | None = None
    subaddress: bytes | None = None
    low_layer: bytes | None = None
    high_layer: bytes | None = None
    user_user: bytes | None = None


SECURE_SIGNALLING = "secure_signalling"
SECURE_MEDIA = "secure_media"
"""Facts about a hop: its signalling is TLS, its voice SRTP."""


class Setup(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call is asked to be: who calls whom, and how far the number goes.

    ``complete`` is False while overlap digits may follow. ``facts`` are what the incoming hop can vouch for
    (``secure_signalling``, ``secure_media``), ``secure_bridge`` those that the outgoing hop must have: a leg that
    cannot have them fails rather than does without. ``bearer`` None: voice, as the outgoing side has it. ``hops``: how
    many more the call may take (SIP's Max-Forwards, RFC 7332), None where it came from a network that counts none.
    ``alternatives``: there is another way to go, so that a far end that says nothing at all is not waited for long.
    ``codec`` is that of the caller's voice, None where it has no choice: the same on the other side saves work.
    ``referred_by``: the URI of who transferred the caller here (RFC 3892), "" if nobody did. ``emergency``: a call for
    help, whatever its number has become on the way: no limit of ours stops it. ``identity``: what gateways on its way
    know the call by, so that one to which it comes back knows it again; "" where none has named it yet.
    """

    called: Number
    caller: Party = msgspec.field(default_factory=Party)
    redirection: Redirection | None = None
    complete: bool = True
    bearer: Bearer | None = None
    facts: frozenset[str] = frozenset()
    secure_bridge: frozenset[str] = frozenset()
    conveyed: Conveyed | None = None
    hops: int | None = None
    alternatives: bool = False
    codec: Codec | None = None
    referred_by: str = ""
    emergency: bool = False
    identity: str = ""

    @property
    def speech(self) -> bool:
        """True for whatever can be heard; False is an unrestricted 64 kbit/s bearer."""
        return self.bearer is not Bearer.UNRESTRICTED


# -- events, leg to Call --


class Offered(msgspec.Struct, frozen=True):
    """A new call came in on this leg; ``context`` is where the dial plan begins and ``source`` names trunk or phone.

    ``replaces``: it is no new call but wants the place of that leg of a standing one (RFC 3891), which it may have.
    ``note``: what its record is to say of how it came in.
    """

    setup: Setup
    context: str
    source: str
    replaces: Leg | None = None
    note: str = ""


class NotOffered(msgspec.Struct, frozen=True):
    """A call that its own technology refused before anybody could be asked; it is worth a record all the same."""

    setup: Setup
    context: str
    source: str
    technology: str
    cause: Cause
    text: str


OnNotOffered = Callable[[NotOffered, int], None]


class Proceeding(msgspec.Struct, frozen=True):
    """The far end has taken the call and needs no more digits."""


class Progress(msgspec.Struct, frozen=True):
    """Something happens before answer; ``inband`` says that the far end sends audio that must be heard."""

    inband: bool
    cause: Cause | None = None
    conveyed: Conveyed | None = None


class Alerting(msgspec.Struct, frozen=True):
    """The called side rings; ``inband`` says that the far end sends its own ringing tone as audio."""

    inband: bool
    conveyed: Conveyed | None = None


class Answered(msgspec.Struct, frozen=True):
    """The called side took the call."""

    connected: Party | None = None
    conveyed: Conveyed | None = None


class Digits(msgspec.Struct, frozen=True):
    """More digits of the called number (overlap, before answer); ``complete`` ends the number."""

    digits: str
    complete: bool = False


class Keypad(msgspec.Struct, frozen=True):
    """A digit pressed during the call that came in signalling (SIP INFO, Q.931 Keypad facility), not in audio."""

    digits: str
    milliseconds: int = 100


class Held(msgspec.Struct, frozen=True):
    """The far end put us on hold."""


class Resumed(msgspec.Struct, frozen=True):
    """The far end took us back from hold."""


class Transferred(msgspec.Struct, frozen=True):
    """The far end asks that the other leg be sent to ``target``, a number of the dial plan in ``context``.

    ``replaces``: the far end's leg in its other call, whose other side the transferred leg is to be joined with
    (attended transfer); ``target`` is then of no account. ``referred_by``: see Setup. Each is answered by ``transfer``.
    """

    target: Number
    context: str
    replaces: Leg | None = None
    referred_by: str = ""


class TransferStep(Enum):
    """How far a transfer got. After DONE and FAILED nothing more is said of it."""

    TRYING = "trying"
    ALERTING = "alerting"
    DONE = "done"
    FAILED = "failed"


class MediaChanged(msgspec.Struct, frozen=True):
    """The engine stream (see ``gateway.media.api``) that is this leg's voice from now on; None is no voice yet."""

    stream: int | None


class Identified(msgspec.Struct, frozen=True):
    """The connected party changed or became known before or after answer."""

    connected: Party


class Notified(msgspec.Struct, frozen=True):
    """Something happened to the call that its other end may want to know: description of Q.931 table 4-21 (NOTIFY)."""

    description: int


class Forward(msgspec.Struct, frozen=True):
    """Where a called side wants its call to go: numbers in its own ``context``, to be tried in order."""

    targets: tuple[Number, ...]
    context: str
    reason: RedirectionReason = RedirectionReason.UNKNOWN


class Released(msgspec.Struct, frozen=True):
    """The leg is over and everything of it is free. ``ours`` is True when we asked for the release.

    ``timer`` is the name of a timer of ours that ended it, not the far end. ``forward``: the far end wants the call
    sent elsewhere, as far as it may call there itself (a phone's call forwarding).
    """

    cause: Cause
    location: Location = Location.PRIVATE_LOCAL
    ours: bool = False
    text: str = ""
    timer: str = ""
    forward: Forward | None = None


class Text(msgspec.Struct, frozen=True):
    """The far end sent a text for people to read, in the call. Where the other leg has no ``text`` it ends here."""

    text: str


class Leaving(msgspec.Struct, frozen=True):
    """The far end of an answered leg hung up. ``released`` follows when the last counters of its voice are here."""

    released: Released


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
    | Notified
    | Text
    | Leaving
    | Released
)


# -- commands, Call to leg --


class Listener(Protocol):
    """What a leg reports to: its Call."""

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of ``leg``. The last event of any leg is one Released, after which it stays silent."""


class Texting(Protocol):
    """What a leg has besides, if its technology knows texts within a call."""

    def text(self, text: str, now: int) -> None:
        """Send the far end a text."""


class Leg(Protocol):
    """One side of a call. Commands never block and never raise on a leg in the wrong state: they are then ignored.

    An incoming leg gets: proceed, progress, alert, answer, or release. An outgoing leg gets: place once, then digits
    while overlap goes on. Both get hold, resume, identify, keypad and release. After ``release`` the leg still owes one
    ``Released``. ``listener`` is set by the Call that owns the leg. ``rtptimeout``: after so many microseconds without
    any voice from the far end it is taken for gone; 0 is never.
    """

    listener: Listener | None
    name: str
    technology: str
    source: str
    stream: int | None
    rtptimeout: int

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call."""

    def proceed(self, now: int) -> None:
        """The number is complete and a way for the call was found (CALL PROCEEDING, 100/183 without SDP)."""

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:
        """Something happens before answer; ``inband``: the caller is to listen to this leg's stream now."""

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """The called side rings; ``inband``: audio (ours or the far end's ringing tone) flows on the stream."""

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
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

    def notify(self, description: int, now: int) -> None:
        """Tell the far end what happened to the call (see Notified); ignored where it cannot be said."""

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:
        """Tell the far end how the transfer goes that it asked for; ``cause`` why it FAILED."""

    def begin_with(self, caller: Leg) -> None:
        """Before ``place``: it is for ``caller``, whose voice may go around the gateway from the first moment."""

    def join(self, other: Leg | None, now: int) -> None:
        """Both sides talk and the gateway need not hear them: voice may go around it; None: it has to be here."""

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the leg with ``cause``, whatever its state."""

    def record(self) -> dict[str, object]:
        """What the call record says of this leg: technology, trunk, channel, codec, far address (JSON types only)."""
