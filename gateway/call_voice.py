"""Who hears what in a call: early media, our own ringing tones and prompts, and the wire between two voices."""

from __future__ import annotations

import logging

from gateway import leg as words
from gateway.call_history import History
from gateway.call_states import NEXT, Purpose, State, Switch
from gateway.cause import Cause
from gateway.leg import Conveyed, Leg
from gateway.media.api import Failure, Opened, Tone

log = logging.getLogger(__name__)

MAX_NOTES = 16


class VoicedCall:
    """A call as far as it is heard; see ``gateway.call.Call``."""

    # Without them, more than 30 attributes would cost every object a dict of its own.
    __slots__ = (
        "__weakref__",
        "_early_audio",
        "_hearer",
        "_media",
        "_outgoing_heard",
        "_outgoing_inband",
        "_own_stream",
        "_switch",
        "_transferring",
        "_verbose",
        "_wired",
        "history",
        "identity",
        "incoming",
        "outgoing",
        "setup",
        "state",
    )

    def __init__(self, identity: str, switch: Switch, leg: Leg, setup: words.Setup, now: int) -> None:
        self.identity = identity
        self.state = State.DIALLING
        self.incoming = leg
        self.outgoing: Leg | None = None
        self.setup = setup
        self.history = History(now)
        self._switch = switch
        self._media = switch.media
        self._outgoing_inband = False
        self._outgoing_heard = False
        self._early_audio = False
        self._own_stream: int | None = None
        # Whom our own voice is for; None is the caller.
        self._hearer: Leg | None = None
        # The side that a transfer is under way for is served meanwhile, not by the other side.
        self._transferring = False
        self._wired: tuple[int, int] | None = None
        # Asked once, not with every state.
        self._verbose = log.isEnabledFor(logging.DEBUG)

    @property
    def has_voice(self) -> bool:
        """Whether the call has any stream in the media engine."""
        legs = (self.incoming, self.outgoing)
        return self._own_stream is not None or any(leg is not None and leg.stream is not None for leg in legs)

    # -- before answer --

    def _progress(self, inband: bool, cause: Cause | None, now: int, conveyed: Conveyed | None = None) -> None:
        if inband:
            self._stop_own_voice()
            self._early_audio = self._outgoing_inband = True
        self._wire()
        self.incoming.progress(inband, now, cause, conveyed)

    def _alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        if self.history.alerting is None:
            self.history.alerting = now
        self._set_state(State.ALERTING)
        self._outgoing_inband = self._outgoing_inband or inband
        # Ringing without audio after early media: the audio goes on if there is any (RFC 3960 3.2).
        inband = inband or (self._outgoing_inband and self._outgoing_heard)
        # A caller whose voice path is open already (early media, an announcement of a destination that failed) or
        # who depends on us for tones hears nothing unless we ring.
        if not inband and self.setup.speech and (self._early_audio or self.incoming.technology == "pri"):
            self._own_voice(self._switch.ringback(), "ringback")
            inband = True
        elif inband:
            self._stop_own_voice()
        self._early_audio = self._early_audio or inband
        self._wire()
        self.incoming.alert(inband, now, conveyed)

    def _keep_ringing(self) -> None:
        """A caller who heard it ring goes on hearing that while the next destination is tried."""
        if self.history.alerting is not None and self._early_audio and self.setup.speech:
            self._own_voice(self._switch.ringback(), "ringback")
            self._wire()

    # -- our own voice --

    def _own_voice(self, tone: Tone, what: str) -> None:
        if self._own_stream is None:
            self._adopt_voice(self._media.open_tone(tone, f"{self.identity} {what}", self._on_own_voice))

    def _adopt_voice(self, stream: int) -> None:
        self._stop_own_voice()
        self._own_stream = stream
        self._watch(stream)

    def _on_own_voice(self, reply: Opened | Failure) -> None:
        if isinstance(reply, Failure):
            self._note(f"no voice of our own: {reply.text}")
            log.error("call %s: the media engine cannot make a sound: %s", self.identity, reply.text)
            if self.outgoing is None:
                # Nobody is left in silence. Replies come without a time: what is due at once happens next.
                self._switch.start_timer(self, Purpose.NOTHING_TO_HEAR, 0)

    def _stop_own_voice(self) -> None:
        if self._own_stream is not None and not self._serving:
            self._unwatch(self._own_stream)
            self._media.close(self._own_stream)
            self._own_stream = self._hearer = None
            self._wired = None

    @property
    def _serving(self) -> bool:
        return self.outgoing is None and self.state is State.ANSWERED and not self._transferring

    # -- the wire --

    def _wire(self) -> None:
        """Connect what the caller is to hear now: our own voice, else the outgoing leg; only what has changed."""
        if self.state in (State.RELEASING, State.ENDED):
            return
        hearer, speaker = self._pair()
        hears = hearer.stream
        speaks = self._own_stream
        if speaks is None and speaker is not None:
            speaks = speaker.stream
        if hears is None or speaks is None or self._wired == (hears, speaks):
            return
        if not self._early_audio and self.state is not State.ANSWERED:
            return
        self._wired = (hears, speaks)
        self._media.connect(hears, speaks)

    def _pair(self) -> tuple[Leg, Leg | None]:
        """Who hears, and who speaks if we do not."""
        return self._hearer or self.incoming, self.outgoing

    def _other(self, stream: int) -> Leg | None:
        if stream == self.incoming.stream:
            return self.outgoing
        if self.outgoing is not None and stream == self.outgoing.stream:
            return self.incoming
        return None

    def _watch(self, stream: int | None) -> None:
        if stream is not None:
            self._switch.watch(stream, self)  # type: ignore[arg-type]

    def _unwatch(self, stream: int | None) -> None:
        if stream is not None:
            self._switch.unwatch(stream)

    # -- state and record --

    def _note(self, text: str) -> None:
        if len(self.history.notes) < MAX_NOTES:
            self.history.notes.append(text)

    def _set_state(self, state: State) -> None:
        if state is self.state:
            return
        if state not in NEXT[self.state]:
            raise AssertionError(f"call {self.identity}: {self.state.value} -> {state.value} is not a transition")
        if self._verbose:
            log.debug("call %s: %s -> %s", self.identity, self.state.value, state.value)
        self.state = state
        self._switch.touch(self)
