"""The called side of an INVITE (RFC 3261 13.3): provisional responses plain or reliable, answer or refusal.

One per incoming leg. Commands that need our RTP port wait for the media engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.identity import Party
from gateway.leg import Conveyed
from gateway.voip.sip.body import SDP_TYPE
from gateway.voip.sip.causes import cause_for_bye, sip_status_for
from gateway.voip.sip.host import ALLOW, Host
from gateway.voip.sip.identity import asserted_fields
from gateway.voip.sip.message import Request
from gateway.voip.sip.parties import q850_of, refusal_fields, rules_for
from gateway.voip.sip.peers import PeerSettings, Reliability, SessionTimers
from gateway.voip.sip.reason import reason_header
from gateway.voip.sip.reliable import ReliableResponses
from gateway.voip.sip.session import Session
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ServerTransaction, Trouble
from gateway.voip.sip.user_to_user import isub_of, user_to_user_field
from gateway.voip.sip.waits import Wait

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 10
"""What a 503 of ours tells: a channel may be free again then."""
_UNIFORM_CAUSES = frozenset(
    {
        Cause.UNALLOCATED_NUMBER,
        Cause.NO_ROUTE_TO_DESTINATION,
        Cause.CALL_REJECTED,
        Cause.INVALID_NUMBER_FORMAT,
        Cause.DESTINATION_OUT_OF_ORDER,
        Cause.FACILITY_REJECTED,
        Cause.BEARER_CAPABILITY_NOT_AUTHORIZED,
    }
)
"""For these a stranger always gets 403: what exists and what not is no business of a scanner."""


class Step(Enum):
    """How far an incoming INVITE got."""

    OFFERED = "offered"
    ANSWERED = "answered"
    OVER = "over"


def supported_by(peer: PeerSettings) -> str:
    """The value of Supported towards ``peer``."""
    tags = []
    if peer.reliable is not Reliability.OFF:
        tags.append("100rel")
    if peer.session_timers is not SessionTimers.REFUSE:
        tags.append("timer")
    tags.append("replaces")
    return ", ".join(tags)


class IncomingInvite:
    """An INVITE that we are to answer."""

    def __init__(
        self,
        leg: SipLeg,
        host: Host,
        transaction: ServerTransaction,
        session: Session,
        *,
        offered: bool,
        stranger: bool,
    ) -> None:
        self._leg = leg
        self._host = host
        self._transaction = transaction
        self._session = session
        self._stranger = stranger
        # False while the far end's offer, or ours in a reliable 1xx, is not settled.
        self._offered = offered
        self._described = False
        self._step = Step.OFFERED
        self._rang = False
        self._media_ready = False
        self._waiting: list[Callable[[int], None]] = []
        self._answer_held = False
        self._connected: Party | None = None
        self._conveyed: Conveyed | None = None
        request = transaction.request
        self._reliable_wanted = "100rel" in request.require or (
            session.peer.reliable is Reliability.REQUIRED and "100rel" in request.supported
        )
        self._last_status = 0
        self._ring: Wait | None = None
        self._expires = False
        transaction.user = self
        session.invited = transaction

    def watch_expires(self, now: int) -> None:
        """Start the timer of the INVITE's Expires, if it has one (RFC 3261 13.3.1); raises SipError."""
        expires = self._transaction.request.expires
        if expires:
            limit = self._host.durations[SipTimer.INVITE_EXPIRES]
            self._host.timers.start((self, SipTimer.INVITE_EXPIRES), now + min(expires * SECOND, limit))
            self._expires = True

    def _stop_timers(self) -> None:
        self._waiting.clear()
        if self._expires:
            self._host.timers.stop((self, SipTimer.INVITE_EXPIRES))
        self._stop_ring()

    def _stop_ring(self) -> None:
        ring = self._ring
        if ring is not None:
            self._ring = ring.owner = None

    @property
    def answered(self) -> bool:
        """True after our 2xx."""
        return self._step is Step.ANSWERED

    @property
    def unanswered(self) -> ServerTransaction | None:
        """The INVITE while it has no final response."""
        return self._transaction if self._step is Step.OFFERED else None

    def media_ready(self, now: int) -> None:
        """Our RTP port is known: carry out what waited for it."""
        self._media_ready = True
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action(now)

    # -- commands of the leg --

    def progress(self, inband: bool, cause: Cause | None, now: int, conveyed: Conveyed | None = None) -> None:
        """Send 183, with our SDP if ``inband``."""
        self._when_ready(lambda at: self._provisional(183, inband, cause, at, conveyed), now, needed=inband)

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """Send 180, with our SDP if ``inband``."""
        self._rang = True
        self._when_ready(lambda at: self._provisional(180, inband, None, at, conveyed), now, needed=inband)

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        """Send 200 with our SDP, after the PRACK that it may have to wait for."""
        self._connected = connected or self._connected
        self._conveyed = conveyed
        self._when_ready(self._answer, now, needed=True)

    def identify(self, connected: Party) -> None:
        """The connected party that the 200 will name."""
        self._connected = connected

    def refuse(self, cause: Cause, text: str, now: int) -> None:
        """Refuse the call with the status that belongs to ``cause``; a Reason says which (RFC 3326)."""
        status, phrase = sip_status_for(cause, self._host.settings.cause_rules)
        if self._stranger and not self._rang and cause in _UNIFORM_CAUSES:
            self._final(403, reason_phrase(403), [], now)
            return
        fields = refusal_fields(cause, text)
        if status == 503:
            fields.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
        self._final(status, phrase, fields, now)

    def refuse_with(self, status: int, now: int) -> None:
        """Refuse the call with ``status``: the fault is in SIP and has no cause."""
        self._final(status, reason_phrase(status), [], now)

    # -- how they are carried out --

    def _when_ready(self, action: Callable[[int], None], now: int, *, needed: bool) -> None:
        if self._step is not Step.OFFERED:
            return
        if self._media_ready or not (needed or self._waiting):
            action(now)
        else:
            self._waiting.append(action)

    def _provisional(
        self, status: int, inband: bool, cause: Cause | None, now: int, conveyed: Conveyed | None = None
    ) -> None:
        if self._step is not Step.OFFERED or self._answer_held:
            return
        session = self._session
        negotiation = session.negotiation
        fields = [("Contact", session.contact), ("Allow", ALLOW)]
        if cause is not None:
            fields.append(reason_header(cause))
        if conveyed is not None and conveyed.user_user:
            fields.append(user_to_user_field(conveyed.user_user))
        body = b""
        if inband:
            if self._offered:
                # RFC 3261 13.2.1: until a reliable response has carried it, each has the same answer.
                if not (self._reliable_wanted and self._described):
                    body = negotiation.late_answer() if negotiation.owes_answer else negotiation.sent
            elif self._reliable_wanted and not self._described:
                body = negotiation.make_offer()
        if body:
            fields.append(SDP_TYPE)
        self._last_status = status
        self._stop_ring()
        self._ring = self._host.waits.start(self, SipTimer.RING, now)
        first = bool(body) and not self._described
        self._described = self._described or bool(body)
        if self._reliable_wanted:
            self._reliable().send(status, fields, body, now)
        else:
            self._host.respond(self._transaction, status, now, fields, body)
        if first and negotiation.settled:
            session.media_settled(now)

    def _reliable(self) -> ReliableResponses:
        reliable = self._session.reliable
        if reliable is None:
            reliable = self._session.reliable = ReliableResponses(
                self._host, self._transaction, self._reliable_free, self._reliable_failed
            )
        return reliable

    def _reliable_free(self, now: int) -> None:
        if self._answer_held:
            self._answer_held = False
            self._answer(now)

    def _reliable_failed(self, now: int) -> None:
        # RFC 3262 3: no PRACK within 64*T1.
        self._final(504, reason_phrase(504), [], now)
        self._leg.finish(
            Cause.RECOVERY_ON_TIMER_EXPIRY,
            Location.BEYOND_INTERWORKING,
            now,
            text="reliable response without PRACK",
            timer="reliable 1xx without PRACK",
        )

    def _answer(self, now: int) -> None:
        if self._step is not Step.OFFERED:
            return
        session = self._session
        negotiation = session.negotiation
        if session.reliable is not None and session.reliable.blocks_answer:
            self._answer_held = True
            return
        body, answer_due = b"", False
        settled_now = False
        if self._offered:
            if negotiation.owes_answer:
                body, settled_now = negotiation.late_answer(), True
            elif not self._reliable_wanted:
                body = negotiation.sent
        elif not negotiation.settled:
            body, answer_due = negotiation.make_offer(), True
        peer = session.peer
        request = self._transaction.request
        fields = [("Contact", session.contact), ("Allow", ALLOW), ("Supported", supported_by(peer))]
        fields.extend(session.timer.take_request(request))
        conveyed = self._conveyed
        if self._connected is not None:
            subaddress = conveyed.subaddress if conveyed is not None else None
            isub = isub_of(subaddress) if subaddress is not None else ""
            fields.extend(asserted_fields(self._connected, rules_for(peer, self._leg.local_address), isub))
        if conveyed is not None and conveyed.user_user:
            fields.append(user_to_user_field(conveyed.user_user))
        if body:
            fields.append(SDP_TYPE)
        self._step = Step.ANSWERED
        self._stop_timers()
        session.invited = None
        if session.reliable is not None:
            session.reliable.stop()
        session.confirm(None, now)
        session.acceptance.send(self._transaction, fields, body, now, answer_due=answer_due)
        session.restart_session_timer(now)
        if settled_now:
            session.media_settled(now)
        self._leg.confirmed(now)

    def _final(self, status: int, phrase: str, fields: list[tuple[str, str]], now: int) -> None:
        if self._step is not Step.OFFERED:
            return
        self._step = Step.OVER
        self._stop_timers()
        self._session.invited = None
        self._host.respond(self._transaction, status, now, fields, b"", phrase)
        self._session.abandon(now)

    # -- what the far end does to its INVITE --

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: int) -> None:  # noqa: ARG002
        """CANCEL before the final response: 487 (9.2)."""
        if self._step is not Step.OFFERED:
            return
        self._final(487, reason_phrase(487), [], now)
        self._leg.finish(cause_for_bye(q850_of(cancel)), Location.USER, now, text="cancelled")

    def ended_by_bye(self) -> None:
        """A BYE ended the early dialog; the session has sent 487."""
        self._step = Step.OVER
        self._stop_timers()

    def on_server_trouble(self, transaction: ServerTransaction, trouble: Trouble, now: int) -> None:  # noqa: ARG002
        """Our refusal was not acknowledged, or cannot be sent: the far end is gone."""
        if self._step is Step.OFFERED:
            self._step = Step.OVER
            self._stop_timers()
            self._session.invited = None
            self._session.abandon(now)
            self._leg.finish(Cause.DESTINATION_OUT_OF_ORDER, Location.BEYOND_INTERWORKING, now, text=trouble.value)

    def expire(self, timer: SipTimer, now: int) -> None:
        """The INVITE's Expires ran out, or proxies on the way want to see that it still rings."""
        if timer is SipTimer.RING:
            self._provisional(self._last_status, False, None, now)
        elif self._step is Step.OFFERED:
            # RFC 3261 13.3.1: 487 as after a CANCEL.
            self._final(487, reason_phrase(487), [], now)
            self._leg.finish(Cause.NO_ANSWER_FROM_USER, Location.USER, now, text="INVITE expired")
