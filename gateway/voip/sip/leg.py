"""A SIP call as a leg (``gateway.leg``): commands in, events out.

Its voice is in ``leg_voice.py``, the INVITE in ``uac.py`` or ``uas.py``, what follows it in ``session.py``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cause import Cause, Location
from gateway.identity import Party
from gateway.leg import (
    SECURE_MEDIA,
    Conveyed,
    Held,
    Identified,
    Keypad,
    Leg,
    Resumed,
    Setup,
    TransferStep,
)
from gateway.media.api import Direction
from gateway.voip.sip.direct import DirectPath, answer, begin
from gateway.voip.sip.fork import Fork
from gateway.voip.sip.identity import asserted_fields
from gateway.voip.sip.leg_voice import VoicedLeg
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.offer_answer import Elsewhere
from gateway.voip.sip.parties import rules_for
from gateway.voip.sip.refer import Refer
from gateway.voip.sip.replaces import transferred
from gateway.voip.sip.uac import OutgoingInvite

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session
    from gateway.voip.sip.uas import IncomingInvite

log = logging.getLogger(__name__)


class SipLeg(VoicedLeg):
    """One SIP call."""

    __slots__ = ()

    # -- commands (gateway.leg.Leg) --

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call: open the RTP stream, then INVITE with its port."""
        if self.incoming is not None or self.outgoing is not None or self._released is not None:
            return
        if not setup.speech:
            # An unrestricted bearer would need CLEARMODE (RFC 4040), which the engine does not have.
            self.finish(Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, Location.PRIVATE_LOCAL, now, text="only speech")
            return
        if setup.hops == 0:
            # RFC 7332 5: what comes back to us again and again must end at some time.
            self.finish(Cause.EXCHANGE_ROUTING_ERROR, Location.PRIVATE_LOCAL, now, text="Max-Forwards is 0")
            return
        hindrance = self._host.hindrance(self, setup, now)
        if hindrance:
            self.finish(Cause.CALL_REJECTED, Location.PRIVATE_LOCAL, now, text=hindrance)
            return
        self._placed = True
        self._secure_bridge = SECURE_MEDIA in setup.secure_bridge and not setup.emergency
        self._other_codec = setup.codec
        ways = self.ways
        if len(ways) > 1:
            self.outgoing = fork = Fork(self, self._host, self.peer, ways, setup)
            negotiation = fork.negotiation
        else:
            negotiation = self.negotiation()
            if self._caller is not None:
                begin(self._caller, self, negotiation)
                self._caller = None
            way = ways[0] if ways else None
            self.outgoing = OutgoingInvite(self, self._host, self.peer, self.flow, setup, negotiation, way=way)
        self.call_id = self.outgoing.call_id
        if setup.emergency:
            negotiation.hear_everything()
        self.open_media(negotiation, now)

    def call_next_server(self, setup: Setup, negotiation: Negotiation, body: bytes, now: int) -> None:
        """The server that was called does not do its duty: call the next one (RFC 3263 4.3)."""
        self.flow, *self.other_flows = self.other_flows
        self.outgoing = outgoing = OutgoingInvite(self, self._host, self.peer, self.flow, setup, negotiation)
        self.call_id = outgoing.call_id
        outgoing.start_with(body, now)

    def proceed(self, now: int) -> None:
        """Nothing to send: 100 went out with the INVITE's arrival."""

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:
        """183, with SDP if ``inband``."""
        if self.incoming is not None and self._released is None:
            self.incoming.progress(inband, cause, now, conveyed)

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """180, with SDP if ``inband``."""
        if self.incoming is not None and self._released is None:
            self.incoming.alert(inband, now, conveyed)

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        """200 with SDP."""
        if self.incoming is not None and self._released is None:
            self._answered = True
            if self._by_info:
                self._tell_engine()
            self.incoming.answer(connected, now, conveyed)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits for an INVITE that gets 484."""
        if self.outgoing is not None and self._released is None and not self._answered:
            self.outgoing.digits(digits, complete, now)

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        """INFO where the peer's ``dtmfmode`` makes it so; False where voice carries digits."""
        if not self._by_info:
            return False
        if self._session is not None and self._answered:
            self._session.keypad(digits, milliseconds, now)
        return True

    def hold(self, now: int) -> None:
        """Put the far end on hold: re-INVITE with sendonly."""
        if self._session is not None and self._answered:
            self._session.changes.direct(Direction.SENDONLY, now)

    def resume(self, now: int) -> None:
        """Take the far end back: re-INVITE with sendrecv."""
        if self._session is not None and self._answered:
            self._session.changes.direct(Direction.SENDRECV, now)

    def identify(self, connected: Party, now: int) -> None:
        """Name the connected party: in the 200 if that is still to come, else by UPDATE."""
        if self._released is not None:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.identify(connected)
        elif self._session is not None and self._answered:
            fields = asserted_fields(connected, rules_for(self.peer, self.local_address))
            if fields:
                self._session.changes.identify(list(fields), now)

    def notify(self, description: int, now: int) -> None:
        """Nothing: SIP has no word for what NOTIFY tells."""

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:
        """NOTIFY of the implicit subscription that REFER made."""
        if self._session is not None and self._session.referral is not None:
            self._session.referral.went(step, cause, now)

    def join(self, other: Leg | None, now: int) -> None:
        """Let the voice of two SIP far ends go directly where both may; None: have it here again."""
        path, allowed = self.path, self.peer.direct.allowed
        if other is None:
            if path is not None:
                path.want(False, now)
            elif allowed:
                self.send_elsewhere(None, now)
            return
        if not isinstance(other, SipLeg):
            self.come_back(now)
            return
        if not allowed or not other.peer.direct.allowed:
            self.come_back(now)
            other.come_back(now)
            return
        if path is None or not path.joins(self, other):
            path = DirectPath(self, other)
            # Of a call that the program before this one left so.
            path.direct = self._quiet and other._quiet
        self.path = other.path = path
        if self._host.settings.directrtpsetup and self.incoming is not None and not self._answered:
            answer(self, other)
        path.want(True, now)

    def begin_with(self, caller: Leg) -> None:
        """This leg is about to be placed for ``caller``, whose voice may never have to come here."""
        if isinstance(caller, SipLeg) and self.peer.direct.allowed and caller.peer.direct.allowed:
            self._caller = caller

    def confirmed(self, now: int) -> None:
        """Our 2xx is on its way: the terms hold."""
        if self.path is not None:
            self.path.reconcile(now)

    def send_elsewhere(self, elsewhere: Elsewhere | None, now: int) -> None:
        """Have the far end told where to send its voice; None is here."""
        if self._session is not None and self._released is None:
            self._session.changes.redirect(elsewhere, now)

    def come_back(self, now: int) -> None:
        """Voice that goes directly, as it did when the gateway was restarted, may not do so any more."""
        if self._quiet:
            self.keep_quiet(False)
            self.send_elsewhere(None, now)

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the call: refusal, CANCEL or BYE."""
        if self._released is not None:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.refuse(cause, text, now)
        elif self._session is not None and (self.incoming is not None or self._answered):
            session, referral = self._session, self._session.referral
            # Whoever asked for a transfer is told how it went before it is hung up.
            if referral is None or not referral.told_first(lambda at: session.release(cause, text, at)):
                session.release(cause, text, now)
        elif self.outgoing is not None:
            self.outgoing.cancel(cause, text, now)
        self.finish(cause, Location.PRIVATE_LOCAL, now, ours=True, text=text)

    def let_go(self) -> None:
        """Released has been heard: let go of all that refers to this leg, so that no collector has to find it."""
        self.listener = self.incoming = self.outgoing = self.path = None

    def relocate(self, now: int) -> None:
        """Our address, or the one that we have outside, changed: the far end is told where it now is another."""
        if self._released is not None:
            return
        outbound = self._host.outbound
        session = self._session
        # A binding or a connection may have moved since the call began.
        flow = self.flow if session is None else session.flow
        if not outbound.advertised.reachable(flow.address, flow.listener):
            return
        self.local_address = outbound.advertised.of(flow.address, flow.listener)
        address = outbound.advertised.media_of(flow.address, flow.listener)
        if session is not None:
            session.relocate(outbound.recontact(flow, session.contact), address, now)
        elif self.outgoing is not None:
            self.outgoing.relocate(address, now)

    # -- what the INVITE and the session report --

    def attach(self, incoming: IncomingInvite, session: Session) -> None:
        """This is an incoming leg."""
        self.incoming = incoming
        self._session = session
        self.call_id = session.dialog.call_id

    def answered(self, session: Session, now: int) -> None:  # noqa: ARG002
        """The outgoing call was answered: ``session`` won."""
        self._session = session
        self._answered = True
        if self._by_info:
            self._tell_engine()

    def on_session_stays(self, now: int) -> None:
        """The far end keeps to the gateway's address."""
        if self.path is not None:
            self.path.refused(now)

    def on_session_hold(self, session: Session, held: bool, now: int) -> None:  # noqa: ARG002
        """The far end put us on hold, or took us back."""
        if session is self._session and self._answered:
            self.emit(Held() if held else Resumed())

    def on_session_digits(self, session: Session, digits: str, milliseconds: int, now: int) -> None:  # noqa: ARG002
        """Digits by INFO; before the answer they may be meant for who speaks then."""
        if session is self._session:
            self.emit(Keypad(digits, milliseconds))

    def on_session_unsent(self, session: Session, digits: str, milliseconds: int, now: int) -> None:  # noqa: ARG002
        """Digits that the far end takes in no INFO: voice is what is left."""
        if session is self._session and self.stream is not None and self._released is None:
            self._tell_engine()
            self._host.media.send_digits(self.stream, digits, milliseconds)

    def on_session_identity(self, session: Session, party: Party, now: int) -> None:  # noqa: ARG002
        """The far end is somebody else now."""
        if session is self._session:
            self.emit(Identified(party))

    def on_session_refer(self, session: Session, refer: Refer, now: int) -> None:
        """The far end asks for a transfer."""
        if session is not self._session or not self._answered or session.referral is None:
            return
        wanted = transferred(refer, self, self._host, now)
        if isinstance(wanted, Cause):
            session.referral.went(TransferStep.FAILED, wanted, now)
        else:
            self.emit(wanted)

    def on_session_over(self, session: Session, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """The session ended: BYE, time-out, or an early dialog of an incoming call."""
        if session is not self._session:
            if self._session is None and self.outgoing is not None:
                self.outgoing.lost(session, text or "it hung up after an answer that never came here", now, timer)
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.ended_by_bye()
        self.finish(cause, Location.BEYOND_INTERWORKING if text else Location.USER, now, text=text, timer=timer)
