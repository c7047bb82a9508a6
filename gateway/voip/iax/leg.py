"""An IAX2 call as a leg (``gateway.leg``): NEW to HANGUP (RFC 5456 6.2 to 6.6), DTMF, hold, encryption.

Full frames are carried by its session, its voice and its end are in ``leg_voice``, transfers in ``transfer``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.core import MILLISECOND
from gateway.identity import MAX_DIGITS, Number
from gateway.leg import (
    SECURE_MEDIA,
    Alerting,
    Answered,
    Held,
    Keypad,
    NotOffered,
    Offered,
    Proceeding,
    Progress,
    Resumed,
    Setup,
    Text,
    Transferred,
)
from gateway.voip.iax import transfer
from gateway.voip.iax.auth import OWN_CHALLENGE, answer
from gateway.voip.iax.causes import TOO_MANY_UNPROVEN, UNAUTHORIZED, control_cause, reason_of
from gateway.voip.iax.crypt import KEY_ROTATION
from gateway.voip.iax.elements import Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.formats import codec_of
from gateway.voip.iax.frame import Command, Control, FrameType, FullFrame
from gateway.voip.iax.host import Ended, Path
from gateway.voip.iax.leg_commands import DTMF, MAX_TEXT, CommandedLeg
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.new_contents import fault, read
from gateway.voip.iax.peers import Encryption
from gateway.voip.iax.rounds import pass_of
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.auth import Proof
    from gateway.voip.iax.session import Session

log = logging.getLogger(__name__)

DIGIT_MILLISECONDS = 100
"""Of a digit whose beginning was not told."""
MAX_DIGIT_MILLISECONDS = 8000
MAX_CHALLENGES = 3
"""AUTHREQs that are answered in a call (own)."""
_OF_USERS = frozenset(
    {
        Cause.NORMAL_CALL_CLEARING,
        Cause.USER_BUSY,
        Cause.NO_USER_RESPONDING,
        Cause.NO_ANSWER_FROM_USER,
        Cause.CALL_REJECTED,
        Cause.NON_SELECTED_USER_CLEARING,
    }
)
"""Causes that the called or calling user makes; all others are of the network there."""
_NO_ENCRYPTION = "does not encrypt, but the call must be: encryption is required"


class IaxLeg(CommandedLeg):
    """One IAX2 call; implements ``gateway.leg.Leg`` and ``SessionOwner``. Made by the endpoint."""

    __slots__ = ()

    # -- a call that comes in --

    def take(self, session: Session, frame: FullFrame, proof: Proof | None, now: int) -> None:
        """Offer the call that ``frame``, the NEW, asks for; its far end may call, and has proven it by ``proof``."""
        self.session = session
        session.owner = self
        self._set_state(LegState.OFFERED)
        settings = self.peer.settings
        encrypted = session.encrypted and proof is not None and bool(proof.key)
        facts = frozenset({SECURE_MEDIA}) if encrypted else frozenset[str]()
        try:
            elements = frame.elements
            cause = fault(elements)
            asked = read(elements, settings.codecs, facts)
        except IaxError as error:
            self._refuse(Setup(Number()), Cause.INVALID_ELEMENT_CONTENTS, str(error), now)
            return
        if cause is not None:
            self._refuse(asked.setup, cause, "", now)
            return
        if settings.encryption is Encryption.REQUIRED and not encrypted:
            log.warning("%s: %s %s", self.name, settings.name, _NO_ENCRYPTION)
            self._refuse(asked.setup, Cause.BEARER_CAPABILITY_NOT_AVAILABLE, _NO_ENCRYPTION, now)
            return
        if asked.codec is None:
            self._refuse(asked.setup, Cause.BEARER_CAPABILITY_NOT_AVAILABLE, "Unable to negotiate codec", now)
            return
        setup = asked.setup
        if settings.name and setup.called.digits in self.host.settings.emergency:
            setup = replace(setup, emergency=True)
        passing = pass_of(settings.name, True, setup)
        # Calls for help end by their hops alone: two callers must never be taken for one.
        had = 0 if setup.emergency else self.host.rounds.had(passing)
        if had:
            cause, text = self._goes_round(setup, now, f"it is here {had} times already")
            self._refuse(setup, cause, text, now)
            return
        self._passing = passing
        self.host.rounds.enter(passing)
        self.codec = asked.codec
        if encrypted and asked.encryption & KEY_ROTATION and self.host.settings.key_rotation:
            session.rotate_keys(now)
        self.setup = setup
        self._open(session)
        session.watch(now)
        self.host.offer(self, Offered(setup, settings.context, self.source), now)

    def _refuse(self, setup: Setup, cause: Cause, text: str, now: int) -> None:
        """REJECT of what nobody was asked about."""
        settings = self.peer.settings
        self.fail(cause, text, now)
        told = f"NEW refused: {text or cause.name.lower().replace('_', ' ')}"
        self.host.not_offered(NotOffered(setup, settings.context, self.source, self.technology, cause, told), now)

    # -- what the far end says before it accepts --

    def _on_authreq(self, frame: FullFrame, now: int) -> None:
        """AUTHREQ (6.2.6): prove who we are; from the answer on the call is encrypted, if it is to be."""
        session = self.session
        if session is None or self.state not in (LegState.WAITING, LegState.AUTHENTICATING):
            return
        self._challenges += 1
        settings = self.peer.settings
        if self._required and settings.encryption is Encryption.NO:
            settings = replace(settings, encryption=Encryption.REQUIRED)
        elements = frame.elements
        offered = elements.number(Ie.ENCRYPTION) or 0
        if self.host.has_asked(elements.raw(Ie.CHALLENGE) or b""):
            log.warning("%s: %s %s", self.name, settings.name, OWN_CHALLENGE)
            self.fail(Cause.CALL_REJECTED, f"{settings.name} {OWN_CHALLENGE}", now)
            return
        proof = answer(settings, elements) if self._challenges <= MAX_CHALLENGES else None
        if proof is None:
            log.warning("%s: %s wants a proof that our settings have not", self.name, settings.name)
            self.fail(Cause.CALL_REJECTED, "it wants a proof that our settings have not", now)
            return
        if self._required and not proof.key:
            self._not_encrypted(now)
            return
        self._set_state(LegState.AUTHENTICATING)
        if proof.key:
            rotate = bool(offered & KEY_ROTATION) and self.host.settings.key_rotation
            session.encrypt(proof.key, proof.key, now, rotate=rotate)
        session.command(Command.AUTHREP, now, proof.elements)
        self.peer.turns.settled(self, now)

    def _not_encrypted(self, now: int) -> None:
        log.warning("%s: %s %s", self.name, self.peer.settings.name, _NO_ENCRYPTION)
        self.fail(Cause.BEARER_CAPABILITY_NOT_AVAILABLE, f"{self.peer.settings.name} {_NO_ENCRYPTION}", now)

    def _on_accept(self, frame: FullFrame, now: int) -> None:
        """ACCEPT (6.2.3): the far end takes the call, and says how it is coded."""
        session = self.session
        if session is None or self.state not in (LegState.WAITING, LegState.AUTHENTICATING):
            return
        if self._required and not session.encrypted:
            self._not_encrypted(now)
            return
        mask = frame.elements.formats(Ie.FORMAT, Ie.FORMAT2)
        codec = self.peer.settings.codecs[0] if mask is None else codec_of(mask)
        if codec not in self.peer.settings.codecs:
            text = f"format {mask:#x} was not offered"
            self.fail(Cause.BEARER_CAPABILITY_NOT_AVAILABLE, text, now)
            return
        setup = self.setup
        if setup is not None and SECURE_MEDIA in setup.secure_bridge and not session.encrypted:
            log.warning(
                "%s: %s does not encrypt: an emergency call goes on in clear", self.name, self.peer.settings.name
            )
        self.codec = codec
        self._set_state(LegState.LINKED)
        self.host.stop(self, IaxTimer.AUTH)
        self.peer.turns.settled(self, now)
        if self.peer.refuses_us:
            self.peer.refuses_us = ""
            log.warning("trunk %s takes our user name and secret again", self.peer.name)
        session.watch(now)
        self._tell_engine()
        self._proceeding = True
        self.emit(Proceeding())

    # -- SessionOwner --

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """Take what the far end says in its turn."""
        if session is not self.session or self._released is not None:
            return
        kind = frame.type
        if kind == FrameType.VOICE:
            if self.state in (LegState.LINKED, LegState.UP):
                self._on_voice(frame)
        elif kind == FrameType.IAX:
            handler = _COMMANDS.get(frame.subclass)
            if handler is not None:
                handler(self, frame, now)
            elif frame.subclass in transfer.COMMANDS:
                transfer.on_frame(self, session, frame, now)
            elif frame.subclass not in _IGNORED:
                session.unsupported(frame, now)
        elif kind == FrameType.CONTROL:
            control = _CONTROLS.get(frame.subclass)
            if control is not None and self.state in (LegState.LINKED, LegState.UP):
                control(self, frame, now)
        elif kind == FrameType.DTMF:
            self._on_digit(frame)
        elif kind == FrameType.DTMF_BEGIN:
            self._digit = (frame.subclass, frame.stamp)
        elif kind == FrameType.TEXT:
            self._on_text(frame)

    def on_transfer(self, session: Session, frame: FullFrame, path: Path, now: int) -> None:
        """TXCNT or TXACC came from anywhere (SessionWatcher)."""
        if self._released is None:
            transfer.on_transfer(self, session, frame, path, now)

    def on_session_end(self, session: Session, ended: Ended, now: int) -> None:
        """The far end is silent, or has forgotten the call."""
        if session is not self.session:
            return
        cause = Cause.RECOVERY_ON_TIMER_EXPIRY if ended.timed_out else Cause.TEMPORARY_FAILURE
        if self.state is LegState.WAITING:
            # Nothing came of NEW: as a host that is down.
            cause = Cause.DESTINATION_OUT_OF_ORDER
            if session.heard is None:
                self._unheard()
        if ended.timed_out:
            self._tell_silence(session, now)
        timer = IaxTimer.RETRIES.value if ended.timed_out else ""
        self.finish(cause, Location.BEYOND_INTERWORKING, now, text=ended.text, timer=timer)

    def _tell_silence(self, session: Session, now: int) -> None:
        """In the log: nothing came of what we sent last, in a call that has not begun."""
        if self.state is LegState.WAITING:
            what = "NEW" if session.heard is None else "NEW beyond acknowledging it"
        elif self.state is LegState.AUTHENTICATING:
            what = "AUTHREP, our proof"
            if session.encrypted:
                # chan_iax2 cannot read what was encrypted with another secret, and says nothing.
                what += " (encrypted: it may have another secret)"
        else:
            return
        since = (now - session.epoch) // MILLISECOND
        told = "trunk %s at %s does not answer %s: the call is given up after %d ms"
        self.host.bursts.tell(
            f"silent {self.peer.name}", now, logging.WARNING, told, self.peer.name, session.path, what, since
        )

    def _unheard(self) -> None:
        """It says nothing at all where it was called: the next call goes to another of its addresses."""
        self.peer.try_next()

    def expire(self, timer: IaxTimer, now: int) -> None:
        """A timer of this leg ran out."""
        if timer is not IaxTimer.AUTH:
            super().expire(timer, now)
        elif self._released is None and self.session is not None:
            self._not_accepted(self.session, now)

    def _not_accepted(self, session: Session, now: int) -> None:
        """No ACCEPT in time. With another way to go it may be silent for FAILOVER at most, but for this.

        Who has acknowledged all that we said may think about it for longer, unless somebody calls for help.
        """
        setup, failover, since = self.setup, self.peer.settings.failover, now - session.epoch
        patience = self.host.durations[IaxTimer.AUTH]
        due = session.epoch + patience
        hurries = setup is not None and setup.alternatives
        if hurries and (self.emergency or session.unacknowledged):
            due = min(due, (session.epoch if session.heard is None else session.heard) + failover)
        if now < due:
            self.host.start(self, IaxTimer.AUTH, min(due, now + failover) if hurries else due)
            return
        text = f"{session.path} did not accept the call in {since // MILLISECOND} ms"
        self._tell_silence(session, now)
        timer = "failover" if since < patience else IaxTimer.AUTH.value
        if session.heard is None:
            self._unheard()
            self.fail(Cause.DESTINATION_OUT_OF_ORDER, text, now, timer=timer)
        else:
            self.fail(Cause.RECOVERY_ON_TIMER_EXPIRY, text, now, timer=timer)

    # -- commands and control frames of the far end --

    def _on_end(self, frame: FullFrame, now: int) -> None:
        """HANGUP (6.2.5) or REJECT (6.2.4)."""
        rejected = frame.subclass == Command.REJECT
        default = Cause.CALL_REJECTED if rejected else Cause.NORMAL_CALL_CLEARING
        try:
            reason = reason_of(frame.elements, default)
        except IaxError:
            cause, text = default, ""
        else:
            cause, text = reason
        if rejected and not self.incoming:
            if self.state is LegState.WAITING and text == TOO_MANY_UNPROVEN and self._ask_again(now):
                return
            if self._is_unauthorized(cause, text):
                cause = self._unauthorized(cause, text, now)
        location = Location.USER if cause in _OF_USERS else Location.BEYOND_INTERWORKING
        self.finish(cause, location, now, text=text)

    def _is_unauthorized(self, cause: Cause, text: str) -> bool:
        """Whether a REJECT is for who we are, not for the call."""
        if self.state not in (LegState.WAITING, LegState.AUTHENTICATING):
            return False
        return text.lower() in UNAUTHORIZED or (cause is Cause.FACILITY_NOT_SUBSCRIBED and not text)

    def _unauthorized(self, cause: Cause, text: str, now: int) -> Cause:
        """The far end does not take us for who we say to be: no fault of the caller's, and another way may do."""
        peer = self.peer
        peer.refuses_us = f"{text or 'without a reason'} ({int(cause)})"
        who = peer.settings.user or "which we do not give"
        told = "trunk %s refuses our user name (%s) or secret: %s; see defaultuser, secret and auth here and there"
        self.host.bursts.tell(f"refuses {peer.name}", now, logging.WARNING, told, peer.name, who, peer.refuses_us)
        return Cause.BEARER_CAPABILITY_NOT_AUTHORIZED

    def _on_quelch(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002 - as all handlers
        """QUELCH (6.4.4): no voice to there; with MUSICONHOLD it is on hold as well."""
        self._quiet = True
        self._tell_engine()
        if frame.elements.raw(Ie.MUSICONHOLD) is not None:
            self._hold(True)

    def _on_unquelch(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        self._quiet = False
        self._tell_engine()
        self._hold(False)

    def _hold(self, held: bool) -> None:
        if held is not self._held and self.state is LegState.UP:
            self._held = held
            self.emit(Held() if held else Resumed())

    def _on_transfer(self, frame: FullFrame, now: int) -> None:
        """TRANSFER (6.4.6): the other side is to go to a number of the dial plan; it counts as a call of its own."""
        text = frame.elements.text(Ie.CALLED_NUMBER) or ""
        number = 0 < len(text) <= MAX_DIGITS and DTMF.issuperset(text.encode())
        allowed = self.peer.settings.allow_transfer and self.state is LegState.UP
        if not (number and allowed) or self.peer.takes_call(Setup(Number(text)), False, now) is not None:
            if self.session is not None:
                self.session.unsupported(frame, now)
            return
        self.emit(Transferred(Number(text), self.peer.settings.context))

    def _on_proceeding(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        if not self.incoming and not self._proceeding:
            self._proceeding = True
            self.emit(Proceeding())

    def _on_progress(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        if not self.incoming and self.state is LegState.LINKED:
            self._inband = True
            self.emit(Progress(inband=True))

    def _on_ringing(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        if not self.incoming and self.state is LegState.LINKED:
            self.emit(Alerting(self._inband))

    def _on_answer(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        if not self.incoming and self.state is LegState.LINKED:
            self._set_state(LegState.UP)
            self.emit(Answered())

    def _on_control_end(self, frame: FullFrame, now: int) -> None:
        """BUSY, CONGESTION: how the call went. Their sender waits for our HANGUP."""
        cause = control_cause(frame.subclass)
        if cause is None or (self.state is LegState.UP and frame.subclass != Control.HANGUP):
            return
        self._hang_up(Cause.NORMAL_CALL_CLEARING, "", now)
        self.finish(cause, Location.USER, now)

    def _on_hold(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002
        self._hold(frame.subclass == Control.HOLD)

    def _on_text(self, frame: FullFrame) -> None:
        """TEXT (8.2): of people, to people. chan_iax2 ends it with a zero."""
        text = frame.data.rstrip(b"\0").decode("utf-8", "replace")
        if self.state not in (LegState.LINKED, LegState.UP) or not 0 < len(frame.data) <= MAX_TEXT:
            log.debug("%s: text of %d octets is not handed on", self.name, len(frame.data))
        elif text:
            self.emit(Text(text))

    def _on_digit(self, frame: FullFrame) -> None:
        """A digit ended; if its beginning was told as well, by stamps in between it was pressed so long."""
        digit, self._digit = self._digit, None
        if frame.subclass not in DTMF or self.state not in (LegState.LINKED, LegState.UP):
            return
        length = DIGIT_MILLISECONDS
        if digit is not None and digit[0] == frame.subclass:
            length = min(max(frame.stamp - digit[1], DIGIT_MILLISECONDS // 2), MAX_DIGIT_MILLISECONDS)
        self.emit(Keypad(chr(frame.subclass), length))


_IGNORED = frozenset({Command.NEW, Command.AUTHREP, Command.PONG, Command.POKE, Command.MWI})
"""Nothing to be done: repetitions, and what is of no use to us."""
_COMMANDS: dict[int, Callable[[IaxLeg, FullFrame, int], None]] = {
    Command.AUTHREQ: IaxLeg._on_authreq,
    Command.ACCEPT: IaxLeg._on_accept,
    Command.HANGUP: IaxLeg._on_end,
    Command.REJECT: IaxLeg._on_end,
    Command.QUELCH: IaxLeg._on_quelch,
    Command.UNQUELCH: IaxLeg._on_unquelch,
    Command.TRANSFER: IaxLeg._on_transfer,
}
_CONTROLS: dict[int, Callable[[IaxLeg, FullFrame, int], None]] = {
    Control.HANGUP: IaxLeg._on_control_end,
    Control.BUSY: IaxLeg._on_control_end,
    Control.CONGESTION: IaxLeg._on_control_end,
    Control.PROCEEDING: IaxLeg._on_proceeding,
    Control.PROGRESS: IaxLeg._on_progress,
    Control.RINGING: IaxLeg._on_ringing,
    Control.ANSWER: IaxLeg._on_answer,
    Control.HOLD: IaxLeg._on_hold,
    Control.UNHOLD: IaxLeg._on_hold,
}
