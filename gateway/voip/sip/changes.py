"""Our changes to a running session: re-INVITE (RFC 3261 14.1) and UPDATE (RFC 3311), one at a time; glare and 422.

What is wanted is kept until it was sent: hold or resume, session refresh (RFC 4028), a new connected identity (4916).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import proxy

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.media.api import Direction
from gateway.voip.sip.body import SDP_TYPE, find_sdp
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.host import ALLOW
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import SessionTimers
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientInvite, ClientTransaction

if TYPE_CHECKING:
    from gateway.voip.sip.offer_answer import Elsewhere
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)

MAX_TOO_SMALL = 3
"""How often a 422 may raise the interval of one refresh."""
REFRESH_AGAIN = 10 * SECOND
LONGEST_RETRY_AFTER = 30 * SECOND
"""A refresh that failed is tried again so much later, or when Retry-After says: it must not cost the call."""
MOVE_AGAIN = SECOND
MAX_MOVES = 8
"""How soon and how often a far end is told our new address that could not be told: a network comes up in steps."""
UNKNOWN_METHOD_STATUSES = frozenset({405, 501})
GLARE_STEP = 10 * MILLISECOND
GLARE_SPREAD = 1_900 * MILLISECOND
GLARE_OTHER = 2 * SECOND
"""RFC 3261 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side 0 to 2 s, in steps of 10 ms."""


class Changes:
    """The changes we want of one session."""

    __slots__ = (
        "_announced",
        "_direction",
        "_identity",
        "_moved",
        "_moves",
        "_redirect",
        "_redirecting",
        "_refresh",
        "_sent",
        "_session",
        "_telling",
        "_too_small",
        "offering",
        "pending",
    )

    def __init__(self, session: Session) -> None:
        # Session and Changes would keep each other in memory until the collector comes by.
        self._session: Session = proxy(session)
        self._direction: Direction | None = None
        self._refresh = False
        # Our address is another than the far end knows; and how often it was told in vain.
        self._moved = False
        self._moves = 0
        self._telling = False
        # Whether its Contact at least was told while the INVITE was not through.
        self._announced = False
        self._identity: list[tuple[str, str]] = []
        # Where the far end is to send its voice, if that is another place than it was told.
        self._redirect: tuple[Elsewhere | None] | None = None
        self._redirecting: tuple[Elsewhere | None] | None = None
        # What the request under way carries: wishes that came meanwhile outlive it.
        self._sent: tuple[Direction | None, list[tuple[str, str]]] = (None, [])
        self._too_small = 0
        self.pending: ClientTransaction | None = None
        self.offering = False

    @property
    def busy(self) -> bool:
        """True while a re-INVITE or an offer of ours is under way: the far end's gets 491."""
        return self.pending is not None and (self.offering or self.pending.request.method == "INVITE")

    def direct(self, direction: Direction, now: int) -> None:
        """Want ``direction`` of the stream: SENDONLY puts the far end on hold, SENDRECV takes it back."""
        self._direction = direction
        self.proceed(now)

    def redirect(self, elsewhere: Elsewhere | None, now: int) -> None:
        """Want the far end's voice ``elsewhere``; None is back here, which is tried until it is so."""
        wanted = self._redirecting if self.pending is not None and self._redirecting is not None else self._redirect
        current = self._session.negotiation.settled_elsewhere
        if (wanted[0] if wanted is not None else current) == elsewhere and self._redirect in (None, wanted):
            return
        self._redirect = (elsewhere,)
        self.proceed(now)

    def refresh(self, now: int) -> None:
        """The session timer wants a refresh."""
        self._refresh = True
        self.proceed(now)

    def relocate(self, now: int) -> None:
        """Tell the far end our new address, in Contact and SDP."""
        self._moved, self._moves = True, 0
        self._announced = False
        self.proceed(now)

    def identify(self, fields: list[tuple[str, str]], now: int) -> None:
        """Tell the far end a new connected identity by UPDATE, if it takes that."""
        self._identity = fields
        self.proceed(now)

    def proceed(self, now: int) -> None:
        """Send the next wanted change if nothing stands in its way."""
        session = self._session
        if not session.quiet or self.pending is not None:
            if self._moved:
                self._announce(now)
            return
        if self._direction is session.negotiation.local.direction:
            self._direction = None
        if self._redirect is not None and self._redirect[0] == session.negotiation.local.elsewhere:
            self._redirect = None
        if self._direction is not None or self._moved:
            self._send("INVITE", now, offer=True)
        elif self._redirect is not None:
            by_update = session.peer.direct.update and "UPDATE" in session.allow
            self._send("UPDATE" if by_update else "INVITE", now, offer=True)
        elif self._refresh:
            if "UPDATE" in session.allow:
                self._send("UPDATE", now, offer=False)
            else:
                self._send("INVITE", now, offer=True)
        elif self._identity:
            if "UPDATE" in session.allow:
                self._send("UPDATE", now, offer=False)
            else:
                self._identity = []

    def _announce(self, now: int) -> None:
        """While the INVITE is not through the Contact alone may be told, by UPDATE (RFC 3311 5.1): what the far end has
        to say meanwhile, as an ACK or the BYE after its 2xx in vain, would go to where we are no longer.
        """
        session = self._session
        unacknowledged = session.acceptance.pending
        if self.pending is not None or not (unacknowledged or (session.early and session.dialog.uac)):
            return
        if not self._announced and "UPDATE" in session.allow:
            self._announced = True
            self._send("UPDATE", now, offer=False)
        elif unacknowledged:
            session.start(SipTimer.GLARE, now, MOVE_AGAIN)

    def waited(self, now: int) -> None:
        """Time to try again what could not be sent, or was refused."""
        self.proceed(now)
        acceptance = self._session.acceptance
        if self._moved and acceptance.pending and not acceptance.answer_due and self.pending is None:
            # Its ACK goes to where we were. Who answers our offer has our 2xx.
            self._send("INVITE", now, offer=True)

    def _send(self, method: str, now: int, *, offer: bool) -> None:
        session = self._session
        body = session.negotiation.make_offer(self._direction, self._redirect) if offer else b""
        fields = [("Contact", session.contact), ("Allow", ALLOW)]
        if session.peer.session_timers is not SessionTimers.REFUSE:
            # Not 100rel: we would have to acknowledge 1xx that say nothing of use (RFC 3262 4).
            fields.append(("Supported", "timer"))
        if not session.early:
            fields.extend(session.timer.request_fields())
        fields.extend(self._identity)
        if body:
            fields.append(SDP_TYPE)
        if offer:
            self._telling, self._moved = self._moved, False
            self._redirecting = self._redirect
        self.offering = offer
        self._sent = (self._direction if offer else None, self._identity)
        self.pending = session.send(method, now, fields, body)
        if self.pending is None:
            # The table is full: a refresh is tried again, a hold is lost.
            self._forget_offer()
            self._abandon(now)

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """The final response to a re-INVITE or UPDATE of ours."""
        if self.pending is None or transaction.request is not self.pending.request:
            if transaction.request.method == "INVITE" and response.status < 300:
                self._session.acknowledge(response)
            return
        self.pending = None
        if response.status < 300:
            self._succeeded(transaction, response, now)
        else:
            self._failed(transaction, response, now)

    def begin_again(self, now: int) -> None:
        """What is under way was not accepted yet, and would say an address that is ours no longer: compose it anew."""
        self.pending = None
        self._forget_offer()
        self._redirecting = None
        self._announced = False
        self.proceed(now)

    def on_transport_error(self, transaction: ClientTransaction, now: int) -> None:
        """A re-INVITE or UPDATE of ours could not be delivered: as 503 (RFC 3261 8.1.3.1)."""
        if self.pending is not None and transaction.request is self.pending.request:
            self.pending = None
            self._forget_offer()
            self._abandon(now)
            self._redirection_failed(now)

    def _succeeded(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        session = self._session
        offered, self.offering = self.offering, False
        if transaction.request.method == "INVITE":
            session.acknowledge(response)
            session.acceptance.stop()
        self._settled()
        self._telling = False
        self._moves = 0
        self._redirecting = None
        session.dialog.refresh_target(response)
        session.learn(response)
        if not session.early:
            session.timer.take_success(response)
            session.restart_session_timer(now)
        if offered:
            body = find_sdp(response)
            try:
                if body is None:
                    raise SipError(None, "2xx has no answer to our offer")
                session.negotiation.take_answer(body)
            except SipError as error:
                session.negotiation.forget_offer()
                session.fail(Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, error.text, now)
                return
            session.media_settled(now)
        session.note_identity(response, now, report=True)
        self.proceed(now)

    def _failed(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        session = self._session
        self._forget_offer()
        status = response.status
        if status == 491:
            self._announced = False
            session.start(SipTimer.GLARE, now, self._glare_wait())
            return
        if status == 422 and self._too_small < MAX_TOO_SMALL and session.timer.take_too_small(response):
            self._too_small += 1
            self.proceed(now)
            return
        if status in UNKNOWN_METHOD_STATUSES and transaction.request.method == "UPDATE":
            # Its Allow was wrong: a refresh goes by re-INVITE from now on.
            session.allow -= {"UPDATE"}
            self.proceed(now)
            return
        # A challenge (401, 407) is answered here once there is digest. The session stays as it was.
        log.info("call %s: change of the session refused with %d", session.dialog.call_id, status)
        self._abandon(now, _retry_after(response))
        self._redirection_failed(now)

    def _forget_offer(self) -> None:
        if self._telling:
            self._telling, self._moved = False, True
        if self.offering:
            self._session.negotiation.forget_offer()
            self.offering = False

    def _abandon(self, now: int, again: int = REFRESH_AGAIN) -> None:
        """What was sent failed: try a refresh again after ``again``, if there is one to do, until the timer's end."""
        session = self._session
        refreshing = self._refresh and session.timer.interval > 0 and session.timer.we_refresh
        self._settled()
        if refreshing:
            session.start(SipTimer.REFRESH, now, again)
        if self._moved:
            self._moves += 1
            if self._moves < MAX_MOVES:
                session.start(SipTimer.GLARE, now, MOVE_AGAIN)
            else:
                self._moved = False
        self.proceed(now)

    def _redirection_failed(self, now: int) -> None:
        """The far end does not want its voice elsewhere; or not back here, which is tried again."""
        redirecting, self._redirecting = self._redirecting, None
        if redirecting is None:
            return
        if redirecting[0] is None:
            self._moves += 1
            if self._redirect is None and self._moves < MAX_MOVES:
                self._redirect = redirecting
                self._session.start(SipTimer.GLARE, now, MOVE_AGAIN)
        elif self._session.owner is not None:
            self._session.owner.on_session_stays(now)

    def _settled(self) -> None:
        """What was sent is no longer wanted."""
        direction, identity = self._sent
        self._refresh = False
        self._too_small = 0
        if self._direction is direction:
            self._direction = None
        if self._identity is identity:
            self._identity = []
        if self._redirect is self._redirecting:
            self._redirect = None

    def _glare_wait(self) -> int:
        session = self._session
        rng = session.host.rng
        if session.dialog.uac:
            least = session.host.durations[SipTimer.GLARE]
            return least + GLARE_STEP * rng.randint(0, GLARE_SPREAD // GLARE_STEP)
        return GLARE_STEP * rng.randint(0, GLARE_OTHER // GLARE_STEP)

    def drop(self, now: int) -> None:
        """The session ends: want nothing more; an INVITE under way gets a last limit."""
        self._direction, self._refresh, self._identity = None, False, []
        self._moved = self._telling = False
        self._redirect = self._redirecting = None
        if isinstance(self.pending, ClientInvite):
            self.pending.expect_end(now)


def _retry_after(response: Response) -> int:
    try:
        seconds = response.retry_after or 0
    except SipError:
        seconds = 0
    return max(REFRESH_AGAIN, min(seconds * SECOND, LONGEST_RETRY_AFTER))
