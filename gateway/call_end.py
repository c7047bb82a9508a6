"""How every call ends: with both legs released, a tone before it where one is set, and exactly one record."""

from __future__ import annotations

import logging

from gateway import leg as words
from gateway.call_states import Purpose, State, Switch
from gateway.call_voice import VoicedCall
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Leg

log = logging.getLogger(__name__)

# How long a released leg may take to be gone; Q.931 T305 + 2 × T308 (38 s) and SIP's 64 × T1 (32 s) are below it.
RELEASE_GUARD = 60 * SECOND
FAILURE_TONE = 20 * SECOND
"""How long a caller may listen to the tone that an operator set for a cause; below T306 (30 s) of a network side."""


class EndingCall(VoicedCall):
    """A call as far as it can be ended; see ``gateway.call.Call``."""

    __slots__ = (
        "_failure",
        "_incoming_gone",
        "_limited",
        "_others",
        "_proceeded",
    )

    def __init__(self, identity: str, switch: Switch, leg: Leg, setup: words.Setup, now: int) -> None:
        super().__init__(identity, switch, leg, setup, now)
        self._proceeded = False
        self._incoming_gone = False
        # Legs in neither place: one that a transfer tries, those that made room for another and are not over yet.
        self._others: tuple[Leg, ...] = ()
        # Whether a limit of time was ever set: most calls have none.
        self._limited = False
        # What the call will have failed of when its tone has been heard.
        self._failure: tuple[Cause, str, str] | None = None

    def hang_up(self, now: int, cause: Cause = Cause.NORMAL_CALL_CLEARING, by: str = "operator") -> None:
        """End the call from our side."""
        self._release(cause, by, now)

    def abandon(self, now: int) -> None:
        """Wait no longer for the legs of a call that is being released."""
        self._note("a leg did not end in time")
        history = self.history
        if not self._incoming_gone:
            history.keep(self.incoming, history.cause, "")
        if self.outgoing is not None:
            history.keep(self.outgoing, history.cause, "")
        for leg in self._others:
            history.keep(leg, history.cause, "")
        self._others = ()
        self._end(now)

    def lose_voice(self, now: int) -> None:
        """The media engine is gone, and the call's voice with it."""
        self._note("the media engine failed")
        self._release(Cause.TEMPORARY_FAILURE, "gateway", now)

    # -- on the way --

    def _proceed(self, now: int) -> None:
        if not self._proceeded:
            self._proceeded = True
            self.incoming.proceed(now)

    def _limit(self, purpose: Purpose, deadline: int) -> None:
        self._limited = True
        self._switch.start_timer(self, purpose, deadline)

    def _lift(self, *purposes: Purpose) -> None:
        if self._limited:
            for purpose in purposes:
                self._switch.stop_timer(self, purpose)

    # -- the end --

    def _fail(self, cause: Cause, by: str, now: int, text: str = "") -> None:
        """The call leads nowhere: tell the caller's side by the cause, or with a tone first if one is set for it.

        A SIP caller gets the final status, a PSTN caller DISCONNECT; each side makes its own tone of that, so that
        nobody is left in silence.
        """
        tone = self._switch.failure_tone(cause) if self.setup.speech else None
        if tone is None or self._incoming_gone or self._failure is not None or self.state is State.RELEASING:
            self._release(cause, by, now, text)
            return
        self._failure = cause, by, text
        self._lift(Purpose.RING_LIMIT)
        self._set_state(State.TRYING)
        self._proceed(now)
        self._stop_own_voice()
        self._own_voice(tone, "failure")
        self._early_audio = True
        self.incoming.progress(True, now, cause)
        self._wire()
        self._limit(Purpose.TONE_LIMIT, now + FAILURE_TONE)

    def _release(self, cause: Cause, by: str, now: int, text: str = "") -> None:
        if self.state in (State.RELEASING, State.ENDED):
            return
        self.history.cause = cause
        self.history.released_by = by
        self.history.ended = now
        self._set_state(State.RELEASING)
        self._lift(Purpose.TONE_LIMIT, Purpose.RING_LIMIT, Purpose.TRANSFER_LIMIT, Purpose.VOICE_LIMIT, Purpose.DIGITS)
        self._switch.start_timer(self, Purpose.RELEASE_GUARD, now + RELEASE_GUARD)
        if self._own_stream is not None:
            self._unwatch(self._own_stream)
            self._media.close(self._own_stream)
            self._own_stream = self._hearer = None
        for leg in self._others:
            leg.release(cause, now, text)
        if self.outgoing is not None:
            self.outgoing.release(cause, now, text)
        if not self._incoming_gone:
            self.incoming.release(cause, now, text)
        self._end_if_over(now)

    def _end_if_over(self, now: int) -> None:
        if self.state is State.RELEASING and self._incoming_gone and self.outgoing is None and not self._others:
            self._end(now)

    def _end(self, now: int) -> None:
        self._set_state(State.ENDED)
        self._switch.stop_timer(self, Purpose.RELEASE_GUARD)
        self._unwatch(self.incoming.stream)
        if self._incoming_gone:
            # Call and leg would keep each other in memory until the collector comes by.
            self.incoming.listener = None
        self._switch.ended(self, now)  # type: ignore[arg-type]

    def _ended_by(self, event: words.Released, side: str) -> tuple[str, str]:
        """Who ended the call, ``side`` or a timer of ours, and what is to be said of it."""
        if not event.timer:
            return side, event.text if side == "called" else ""
        text = f"{event.timer} expired"
        self._note(f"{text} towards the {'caller' if side == 'caller' else 'called side'}")
        return "gateway", text
