"""Our changes to a running session: re-INVITE (RFC 3261 14.1) and UPDATE (RFC 3311), one at a time; glare and 422.

What is wanted is kept until it was sent: hold or resume, session refresh (RFC 4028), a new connected identity (4916).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.media.api import Direction
from gateway.voip.sip.body import find_sdp
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.host import ALLOW, SUPPORTED
from gateway.voip.sip.message import Response
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientInvite, ClientTransaction

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)

MAX_TOO_SMALL = 3
"""How often a 422 may raise the interval of one refresh."""
GLARE_STEP = 10 * MILLISECOND
GLARE_SPREAD = 1_900 * MILLISECOND
GLARE_OTHER = 2 * SECOND
"""RFC 3261 14.1: the owner of the Call-ID waits 2.1 to 4 s, the other side 0 to 2 s, in steps of 10 ms."""


class Changes:
    """The changes we want of one session."""

    __slots__ = ("_direction", "_identity", "_refresh", "_sent", "_session", "_too_small", "offering", "pending")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._direction: Direction | None = None
        self._refresh = False
        self._identity: list[tuple[str, str]] = []
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

    def refresh(self, now: int) -> None:
        """The session timer wants a refresh."""
        self._refresh = True
        self.proceed(now)

    def identify(self, fields: list[tuple[str, str]], now: int) -> None:
        """Tell the far end a new connected identity by UPDATE, if it takes that."""
        self._identity = fields
        self.proceed(now)

    def proceed(self, now: int) -> None:
        """Send the next wanted change if nothing stands in its way."""
        session = self._session
        if not session.quiet or self.pending is not None:
            return
        if self._direction is session.negotiation.local.direction:
            self._direction = None
        if self._direction is not None:
            self._send("INVITE", now, offer=True)
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

    def _send(self, method: str, now: int, *, offer: bool) -> None:
        session = self._session
        body = session.negotiation.make_offer(self._direction) if offer else b""
        fields = [("Contact", session.contact), ("Allow", ALLOW), ("Supported", SUPPORTED)]
        fields.extend(session.timer.request_fields())
        fields.extend(self._identity)
        if body:
            fields.append(("Content-Type", "application/sdp"))
        self.offering = offer
        self._sent = (self._direction if offer else None, self._identity)
        self.pending = session.send(method, now, fields, body)
        if self.pending is None and offer:
            # The table is full: the session timer will try again, a hold is lost.
            session.negotiation.forget_offer()
            self._direction = None

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
            self._failed(response, now)

    def _succeeded(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        session = self._session
        offered, self.offering = self.offering, False
        if transaction.request.method == "INVITE":
            session.acknowledge(response)
        self._settled()
        session.dialog.refresh_target(response)
        session.learn(response)
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

    def _failed(self, response: Response, now: int) -> None:
        session = self._session
        if self.offering:
            session.negotiation.forget_offer()
            self.offering = False
        if response.status == 491:
            session.start(SipTimer.GLARE, now, self._glare_wait())
            return
        if response.status == 422 and self._too_small < MAX_TOO_SMALL and session.timer.take_too_small(response):
            self._too_small += 1
            self.proceed(now)
            return
        # A challenge (401, 407) is answered here once there is digest. The session stays as it was; a refresh that
        # failed for good ends in the session timer's BYE.
        log.info("call %s: change of the session refused with %d", session.dialog.call_id, response.status)
        self._settled()
        self.proceed(now)

    def _settled(self) -> None:
        """What was sent is no longer wanted."""
        direction, identity = self._sent
        self._refresh = False
        self._too_small = 0
        if self._direction is direction:
            self._direction = None
        if self._identity is identity:
            self._identity = []

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
        if isinstance(self.pending, ClientInvite):
            self.pending.expect_end(now)
