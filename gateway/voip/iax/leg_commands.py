"""What a call asks of an IAX2 leg: NEW, ACCEPT, the control frames of RFC 5456 8.3, DTMF, REJECT and HANGUP.

What the far end says is in ``leg``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.identity import Party
from gateway.leg import (
    SECURE_MEDIA,
    SECURE_SIGNALLING,
    Conveyed,
    Leg,
    Setup,
    TransferStep,
)
from gateway.media.api import Codec
from gateway.voip.iax import transfer
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.formats import BITS
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.host import Host
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.leg_voice import NOBODY, VoicedLeg
from gateway.voip.iax.new_contents import contents
from gateway.voip.iax.peers import Encryption
from gateway.voip.iax.rounds import pass_of
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.peer import Peer

log = logging.getLogger(__name__)

DTMF = frozenset(map(ord, "0123456789*#ABCD"))
MAX_TEXT = 1000
"""Octets of a TEXT that are handed on; what chan_iax2 reads into is not much longer."""
_BUSY = frozenset({Cause.USER_BUSY})
# As who hears CONGESTION takes it; another cause is for HANGUP to say.
_CONGESTED = frozenset({Cause.NO_CIRCUIT_AVAILABLE})


class CommandedLeg(VoicedLeg):
    """A leg as far as its call commands it; see ``gateway.voip.iax.leg.IaxLeg``."""

    __slots__ = ("_challenges", "_digit", "_held", "_inband", "_proceeding", "_rang", "setup")

    def __init__(self, host: Host, peer: Peer, name: str, now: int, incoming: bool) -> None:
        super().__init__(host, peer, name, now, incoming)
        # What the call is, in or out; None before it is.
        self.setup: Setup | None = None
        self._challenges = 0
        # The digit that is being pressed, and its stamp.
        self._digit: tuple[int, int] | None = None
        self._held = False
        self._inband = False
        self._proceeding = False
        self._rang = False

    @property
    def emergency(self) -> bool:
        """Whether it is a call for help."""
        return self.setup is not None and self.setup.emergency

    # -- a call that goes out --

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call: NEW."""
        if self.incoming or self.state is not LegState.IDLE:
            return
        settings = self.peer.settings
        if not setup.identity:
            setup = replace(setup, identity=f"{self.host.rng.getrandbits(64):016x}")
        self.setup = setup
        # What a route asks for never stops a call for help.
        asked = SECURE_MEDIA in setup.secure_bridge and not setup.emergency
        self._required = settings.encryption is Encryption.REQUIRED or asked
        fault = self._hindrance(setup, now)
        if fault is not None:
            self.finish(fault[0], Location.PRIVATE_LOCAL, now, text=fault[1])
            return
        cause = self.peer.takes_call(setup, setup.emergency, now)
        if cause is not None:
            self.finish(cause, Location.PRIVATE_LOCAL, now, text="its limits are reached")
            return
        self._passing = pass_of(settings.name, False, setup)
        self.host.rounds.enter(self._passing)
        self.peer.turns.begin(self, now)

    def ask(self, now: int) -> None:
        """NEW: it is this call's turn, for the first time or once more (see turns.py)."""
        setup, settings = self.setup, self.peer.settings
        if setup is None or self._released is not None:
            return
        path = self.peer.path(now)
        if path is None:
            absent = Cause.SUBSCRIBER_ABSENT if settings.dynamic else Cause.DESTINATION_OUT_OF_ORDER
            what = "is not registered" if settings.dynamic else "has no known address"
            self.finish(absent, Location.PRIVATE_LOCAL, now, text=f"{settings.name} {what}")
            return
        session = self.host.open_session(path, self, now)  # type: ignore[arg-type]
        if session is None:
            text = "no call number is free"
            self.finish(Cause.SWITCHING_EQUIPMENT_CONGESTION, Location.PRIVATE_LOCAL, now, text=text)
            return
        self.session = session
        self._set_state(LegState.WAITING)
        if self.stream is None:
            self._open(session)
        encrypt = self._required or (settings.encryption is not Encryption.NO and bool(settings.secret))
        session.command(Command.NEW, now, contents(settings, setup, self._codecs(setup), encrypt=encrypt))
        patience = self.host.durations[IaxTimer.AUTH]
        if setup.alternatives:
            patience = min(patience, settings.failover)
        self.host.start(self, IaxTimer.AUTH, now + patience)

    def _ask_again(self, now: int) -> bool:
        """The far end refused NEW for the others that have not proven themselves: True if it goes once more."""
        session = self.session
        if session is None or not self.peer.turns.refused(self, now):
            return False
        self.host.stop(self, IaxTimer.AUTH)
        self.session = None
        session.close(now)
        session.owner = NOBODY
        return True

    def _hindrance(self, setup: Setup, now: int) -> tuple[Cause, str] | None:
        """Why this call cannot even be tried."""
        if not setup.speech:
            return Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, "only speech"
        if setup.hops == 0:
            return self._goes_round(setup, now, "it has taken as many hops as a call may")
        if SECURE_SIGNALLING in setup.secure_bridge:
            return Cause.BEARER_CAPABILITY_NOT_AVAILABLE, "IAX2 has no secure signalling"
        if self._required and not self.peer.settings.secret:
            return Cause.BEARER_CAPABILITY_NOT_AVAILABLE, "encryption is required, and there is no secret for its key"
        return None

    def _goes_round(self, setup: Setup, now: int, how: str) -> tuple[Cause, str]:
        """Why a call ends that the routes of some sites send to one another; it is told, as nobody else sees it."""
        caller = setup.caller.number
        values = setup.called.digits, "nobody" if caller is None else caller.digits, self.peer.name or "guests"
        text = f"the call goes round: {how}"
        told = "a call to %s of %s goes round between trunk %s and us: %s; look at the routes of both"
        self.host.bursts.tell(f"round {values}", now, logging.WARNING, told, *values, how)
        # Whoever calls for help may have another way left, at each of the sites.
        return Cause.NO_CIRCUIT_AVAILABLE if setup.emergency else Cause.EXCHANGE_ROUTING_ERROR, text

    def _codecs(self, setup: Setup) -> tuple[Codec, ...]:
        """Ours, that of the caller's voice first: the same on both sides saves work."""
        codecs, wanted = self.peer.settings.codecs, setup.codec
        if wanted is None or wanted not in codecs or codecs[0] is wanted:
            return codecs
        return (wanted, *[codec for codec in codecs if codec is not wanted])

    # -- a call that comes in --

    def _accept(self, now: int) -> bool:
        """ACCEPT (6.2.3), once, before anything else is said; False if the call is not there to be spoken of."""
        session, codec = self.session, self.codec
        if session is None or codec is None or not self.incoming:
            return False
        if self.state is LegState.OFFERED:
            self._set_state(LegState.LINKED)
            session.command(Command.ACCEPT, now, Elements().add_formats(Ie.FORMAT, Ie.FORMAT2, BITS[codec]))
            self._tell_engine()
        return self.state is LegState.LINKED

    def proceed(self, now: int) -> None:
        """ACCEPT, and PROCEEDING."""
        if self._accept(now) and not self._proceeding:
            self._proceeding = True
            self._control(Control.PROCEEDING, now)

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:  # noqa: ARG002 - no word for them
        """PROGRESS where there is something to hear."""
        if self._accept(now) and inband and not self._inband:
            self._inband = True
            self._control(Control.PROGRESS, now)

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:  # noqa: ARG002 - no word for it
        """RINGING, and PROGRESS where our side makes the tone."""
        if not self._accept(now):
            return
        if not self._rang:
            self._rang = True
            self._control(Control.RINGING, now)
        self.progress(inband, now)

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:  # noqa: ARG002
        """ANSWER. Whom the call is connected to is not told: RFC 5456 has no word for it."""
        if self._accept(now):
            self._set_state(LegState.UP)
            self._control(Control.ANSWER, now)

    def _control(self, control: Control, now: int) -> None:
        if self.session is not None:
            self.session.send(FrameType.CONTROL, control, now)

    # -- both --

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """Nothing: NEW has the whole number."""

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:  # noqa: ARG002 - DTMF frames have no length
        """DTMF frames (6.10.1)."""
        session = self.session
        if session is None or self.state not in (LegState.LINKED, LegState.UP):
            return self._released is None
        for digit in digits.upper():
            if ord(digit) in DTMF:
                session.send(FrameType.DTMF, ord(digit), now)
        return True

    def text(self, text: str, now: int) -> None:
        """TEXT (8.2); none where the far end is not keeping up, as nobody waits for it (gateway.leg.Texting)."""
        session, data = self.session, text.encode()
        if session is None or self.state not in (LegState.LINKED, LegState.UP):
            return
        if len(data) <= MAX_TEXT and not session.congested:
            session.send(FrameType.TEXT, 0, now, data)

    def hold(self, now: int) -> None:
        """HOLD."""
        if self.state is LegState.UP:
            self._control(Control.HOLD, now)

    def resume(self, now: int) -> None:
        """UNHOLD."""
        if self.state is LegState.UP:
            self._control(Control.UNHOLD, now)

    def identify(self, connected: Party, now: int) -> None:
        """Nothing: RFC 5456 has no word for it."""

    def notify(self, description: int, now: int) -> None:
        """Nothing: RFC 5456 has no word for it."""

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:
        """Nothing: who sent TRANSFER is told no more; the call goes on, or is hung up."""

    def begin_with(self, caller: Leg) -> None:
        """Nothing: a call leaves the path only once it is answered."""

    def join(self, other: Leg | None, now: int) -> None:
        """Let the far ends of two IAX2 legs go on without us where both may (see transfer.py)."""
        if self._released is None:
            transfer.join(self, other, now)  # type: ignore[arg-type]

    def leave(self, now: int) -> None:
        """The far ends go on without us: the leg is over, and nobody hangs up."""
        self.left = True
        self.finish(Cause.NORMAL_CALL_CLEARING, Location.PRIVATE_LOCAL, now, text="the far ends go on without us")

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the call: REJECT or HANGUP, with BUSY or CONGESTION before it for those that look at these only."""
        if self._released is not None:
            return
        if self.state is LegState.LINKED and self.incoming:
            if cause in _BUSY:
                self._control(Control.BUSY, now)
            elif cause in _CONGESTED:
                self._control(Control.CONGESTION, now)
        self._hang_up(cause, text, now)
        self.finish(cause, Location.PRIVATE_LOCAL, now, ours=True, text=text)
