"""Where a call stands, what its timers are for, and what it asks of the switch that owns it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from gateway import leg as words
from gateway.cause import Cause
from gateway.leg import Leg
from gateway.media.api import Media, Tone
from gateway.routing.dialplan import Destination, LegDestination, Routing

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.call_voice import VoicedCall


class State(StrEnum):
    """Where a call stands."""

    DIALLING = "dialling"
    TRYING = "trying"
    ALERTING = "alerting"
    ANSWERED = "answered"
    RELEASING = "releasing"
    ENDED = "ended"


NEXT: dict[State, frozenset[State]] = {
    State.DIALLING: frozenset({State.TRYING, State.RELEASING}),
    State.TRYING: frozenset({State.ALERTING, State.ANSWERED, State.RELEASING}),
    State.ALERTING: frozenset({State.TRYING, State.ANSWERED, State.RELEASING}),
    State.ANSWERED: frozenset({State.RELEASING}),
    State.RELEASING: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}


class Purpose(StrEnum):
    """What a call's timer is for."""

    RELEASE_GUARD = "release guard"
    TONE_LIMIT = "tone limit"
    RING_LIMIT = "ring limit"
    NOTHING_TO_HEAR = "nothing to hear"
    TRANSFER_LIMIT = "transfer limit"
    VOICE_LIMIT = "voice limit"
    DIGITS = "digits"


class Switch(Protocol):
    """What a call asks of the one that owns it."""

    @property
    def media(self) -> Media:
        """The media engine."""

    def route(self, context: str, setup: words.Setup) -> Routing:
        """Ask the dial plan."""

    def continues(self, cause: Cause) -> bool:
        """Whether a destination that failed with ``cause`` lets the next one be tried."""

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        """``destinations`` in the order in which they are best tried now."""

    def open_leg(self, destination: LegDestination, now: int, *, emergency: bool = False) -> Leg | Cause:
        """A fresh leg towards ``destination``, or why there can be none; no limit of ours stops an ``emergency``."""

    def lacking(self, destination: LegDestination, wanted: frozenset[str]) -> frozenset[str]:
        """Which of the facts ``wanted`` the hop to ``destination`` cannot have."""

    def ringback(self) -> Tone:
        """Ringing tone of this gateway's country."""

    @property
    def directrtpsetup(self) -> bool:
        """Whether voice may go around the gateway from the first moment."""

    def music_on_hold(self) -> Tone | str | None:
        """What a side hears that is on hold: a tone, a file by its path, or nothing of ours."""

    def hold_tone(self) -> Tone:
        """A quiet tone that says that one is on hold, where no file can be played."""

    def failure_tone(self, cause: Cause) -> Tone | None:
        """What a caller hears whose call failed with ``cause``; None: the caller's own side tells by the cause."""

    def start_timer(self, call: VoicedCall, purpose: Purpose, deadline: int) -> None:
        """(Re)start one of the call's timers."""

    def stop_timer(self, call: VoicedCall, purpose: Purpose) -> None:
        """Stop one of the call's timers."""

    def watch(self, stream: int, call: Call) -> None:
        """Send the media events of ``stream`` to ``call``."""

    def unwatch(self, stream: int) -> None:
        """No more media events of ``stream``."""

    def touch(self, call: VoicedCall) -> None:
        """The call is other than it was: what is kept of it for the next start (``gateway.survival``) is too old."""

    def ended(self, call: Call, now: int) -> None:
        """The call is over, both legs are gone; take its record."""
