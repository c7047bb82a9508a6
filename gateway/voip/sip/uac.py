"""The calling side of an INVITE (RFC 3261 13.2): forks, 100rel, CANCEL, repeats after 3xx, 401, 407, 422 and 484.

One per outgoing leg. Every To tag makes a session; the first 2xx wins, others are acknowledged and ended with BYE.
What the INVITE says is in ``invite_request.py``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.leg import Alerting, Answered, LegEvent, Proceeding, Progress, Setup
from gateway.voip.sip.body import find_sdp
from gateway.voip.sip.causes import cause_for_sip
from gateway.voip.sip.dialog import Dialog
from gateway.voip.sip.ear import DEAF, Ear
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.forwarding import forward_of
from gateway.voip.sip.host import Host
from gateway.voip.sip.identity import connected_of
from gateway.voip.sip.invite_request import InviteRequest, Remedy
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.nat import contact_behind_nat
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.parties import q850_of, reason_fields, warning_of
from gateway.voip.sip.peers import PeerSettings, Reliability
from gateway.voip.sip.session import Phase, Session
from gateway.voip.sip.suspects import PATIENCE
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import NOBODY, ClientInvite, ClientTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.user_to_user import answer_of

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.way import Way

log = logging.getLogger(__name__)

MAX_FORKS = 8
"""Early dialogs of one INVITE; provisional responses of more are ignored, a 2xx still gets ACK and BYE."""
MAX_ATTEMPTS = 8
"""INVITEs sent for one call: challenges, redirections, 422 and longer numbers count alike."""
MEDIA_REFUSALS = frozenset({415, 488, 606})
"""Some that would have SRTP refuse the profile that goes without (RFC 8643 4)."""
_USER_STATUSES = frozenset({480, 486, 600, 603, 604})


class OutgoingInvite:
    """An INVITE of ours. ``setup`` grows with overlap digits (RFC 3578). ``way`` is set for who is registered."""

    def __init__(
        self,
        leg: SipLeg,
        host: Host,
        peer: PeerSettings,
        flow: Flow,
        setup: Setup,
        negotiation: Negotiation,
        *,
        way: Way | None = None,
        ear: Ear | None = None,
    ) -> None:
        self._leg = leg
        self._ear: Ear = leg if ear is None else ear
        self._way = way
        self._host = host
        self._peer = peer
        self._flow = flow
        self._negotiation = negotiation
        self._request = InviteRequest(leg, host, peer, flow, setup, way)
        self.call_id = self._request.call_id
        self._attempts = 0
        self._transaction: ClientTransaction | None = None
        self._body = b""
        self._sessions: dict[str, Session] = {}
        self._rseqs: dict[str, int] = {}
        # To tags by the whole value: the responses of a branch all have the same.
        self._tags: dict[str, str] = {}
        self._winner: Session | None = None
        self._extra: dict[str, Session] = {}
        self._cancel: tuple[Cause, str] | None = None
        self._reasons: tuple[str, ...] = ()
        self._cancelled = False
        # Whether a timer runs that sends the call another way, and when the INVITE went out.
        self._hurrying = False
        self._asked = 0
        self._provisional_seen = False
        self._waits_for_digits = False
        self._moved = False
        self._last: LegEvent | None = None

    @property
    def session(self) -> Session | None:
        """The session that won, if any."""
        return self._winner

    @property
    def audible(self) -> Session | None:
        """An early session whose media is settled."""
        return next((each for each in self._sessions.values() if each.negotiation.settings is not None), None)

    def hears(self, session: Session) -> bool:  # noqa: ARG002
        """Whether ``session``'s early media may be heard: the latest is."""
        return True

    # -- commands of the leg --

    def start(self, now: int) -> None:
        """Send the (first) INVITE; our RTP port is known."""
        hindrance = self._negotiation.local.encryption.hindrance
        if hindrance:
            self._ear.finish(Cause.BEARER_CAPABILITY_NOT_AUTHORIZED, Location.PRIVATE_LOCAL, now, text=hindrance)
            return
        if not self._peer.late_offer:
            self._body = self._negotiation.make_offer()
        self._invite(now)

    def start_with(self, body: bytes, now: int) -> None:
        """Send the INVITE with the offer ``body``, which was made for another server of the same peer."""
        self._body = body
        self._invite(now)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits of the number: they go out with the next INVITE, at once if the last one got 484."""
        setup = self._request.setup
        called = replace(setup.called, digits=setup.called.digits + digits)
        self._request.setup = replace(setup, called=called, complete=complete)
        if not self._waits_for_digits:
            return
        self._waits_for_digits = False
        if digits:
            self._invite(now)
        elif complete:
            self._ear.finish(Cause.INVALID_NUMBER_FORMAT, Location.BEYOND_INTERWORKING, now, text="484")

    def relocate(self, address: str, now: int) -> None:
        """Our address changed before anybody answered: further INVITEs and dialogs name the new one."""
        request = self._request
        request.contact = self._host.outbound.recontact(self._flow, request.contact)
        self._negotiation.move(address)
        self._moved = True
        for session in self._sessions.values():
            session.relocate(request.contact, address, now)

    def follow(self, old: Flow, new: Flow) -> None:
        """Who was called over ``old`` is at ``new`` now; whatever is sent again or in reply goes there."""
        if self._flow == old:
            self._flow = self._leg.flow = new
        if self._transaction is not None and self._transaction.flow == old:
            self._transaction.flow = new

    def lost(self, session: Session, text: str, now: int, timer: str) -> None:
        """An early ``session`` is there no more: who rang there has gone, or waited for our ACK in vain."""
        tag = session.dialog.remote_tag
        if self._sessions.get(tag) is not session:
            return
        del self._sessions[tag]
        session.abandon(now)
        if not self._sessions and self._cancel is None:
            cause = Cause.RECOVERY_ON_TIMER_EXPIRY
            self.cancel(cause, text, now)
            self._ear.finish(cause, Location.BEYOND_INTERWORKING, now, text=text, timer=timer)

    def cancel(self, cause: Cause, text: str, now: int, reasons: tuple[str, ...] = ()) -> None:
        """The leg gave up before an answer: CANCEL, once a provisional response allows it (9.1).

        ``reasons``: the values of Reason if they are others than ``cause`` and ``text`` make.
        """
        if self._winner is not None:
            return
        self._reasons = reasons
        self._stop_hurrying()
        if self._transaction is None:
            self._cancelled = True
            return
        self._cancel = (cause, text)
        if self._provisional_seen:
            self._send_cancel(now)

    @property
    def unanswered(self) -> list[ClientInvite]:
        """The INVITE while it has no final response."""
        transaction = self._transaction
        return [transaction] if self._winner is None and isinstance(transaction, ClientInvite) else []

    def resume_cancelled(self, request: Request, flow: Flow, why: tuple[Cause, str], now: int) -> None:
        """Cancel the INVITE ``request`` of the program before this one; a 2xx that comes still gets ACK and BYE.

        Raises TableFull and SipError.
        """
        self._request.resume(request)
        self.call_id = request.call_id
        self._transaction = self._host.outbound.transactions.resume(request, flow, self, now)
        self._cancel = why
        self._send_cancel(now)

    @property
    def silent_since(self) -> int | None:
        """When the INVITE went out to which nothing came back; None if something did, or if none is out."""
        return None if self._transaction is None or self._provisional_seen else self._asked

    def give_up(self, now: int) -> None:
        """Nothing came back: the INVITE is not sent again, and what comes late is seen to."""
        if isinstance(self._transaction, ClientInvite):
            self._transaction.stop_repeating()
        self.cancel(Cause.NORMAL_CALL_CLEARING, "", now)

    def _send_cancel(self, now: int) -> None:
        transaction = self._transaction
        if self._cancelled or self._cancel is None or not isinstance(transaction, ClientInvite):
            return
        self._cancelled = True
        cancel = transaction.request.cancel()
        fields = [("Reason", value) for value in self._reasons] or reason_fields(*self._cancel)
        for name, value in fields:
            cancel.headers.add(name, value)
        try:
            self._host.outbound.transactions.request(cancel, cancel.to_bytes(), transaction.flow, NOBODY, now)
        except TableFull:
            log.warning("call %s: no room to send CANCEL", self.call_id)
        transaction.expect_end(now)

    # -- the INVITE --

    def _invite(self, now: int) -> None:
        self._attempts += 1
        self._offer_from_here()
        if self._negotiation.local.encryption.confidential and not self._flow.secure:
            # Whoever chose this way forgot that there are keys in the body.
            self._ear.finish(
                Cause.BEARER_CAPABILITY_NOT_AUTHORIZED, Location.PRIVATE_LOCAL, now, text="no TLS to another target"
            )
            return
        self._asked = now
        self._provisional_seen = False
        outbound = self._host.outbound
        via = outbound.via(self._flow)
        request = self._request.compose(via, self._flow, self._body)
        try:
            self._transaction = outbound.request(request, via, self._flow, self, now)
        except TableFull:
            self._transaction = None
            self._ear.finish(
                Cause.SWITCHING_EQUIPMENT_CONGESTION, Location.PRIVATE_LOCAL, now, text="transaction table is full"
            )
            return
        host, peer, setup = self._host, self._peer, self._request.setup
        host.placed(self._leg)
        # How long a fork's branches may be silent is the fork's to say.
        if self._ear is self._leg and (setup.alternatives or self._leg.other_flows or self._is_vain(setup)):
            self._hurrying = True
            host.timers.start((self, SipTimer.FAILOVER), now + host.suspects.patience(peer.name, peer.failover))

    def _offer_from_here(self) -> None:
        """What was offered before our address changed names the old one."""
        if self._moved and self._body:
            self._body = self._negotiation.make_offer()
        self._moved = False

    def _is_vain(self, setup: Setup) -> bool:
        """Whether the peer was found not to be there: then a moment must do, but for who calls an ambulance."""
        emergency = setup.emergency or setup.called.digits in self._host.settings.emergency
        return not emergency and self._host.suspects.is_unreachable(self._peer.name)

    def _stop_hurrying(self) -> None:
        if self._hurrying:
            self._hurrying = False
            self._host.timers.stop((self, SipTimer.FAILOVER))

    def expire(self, timer: SipTimer, now: int) -> None:  # noqa: ARG002
        """Not even a 100 came while there is another way: the call goes on there.

        The transaction stays to see to what comes late: CANCEL after a provisional response, ACK and BYE after a 2xx.
        """
        self._hurrying = False
        if self.silent_since is None or self._cancel is not None:
            return
        self.give_up(now)
        if self._has_other_servers:
            self._call_next_server(now)
            return
        self._suspect(now)
        waited = self._peer.failover if now - self._asked >= self._peer.failover else PATIENCE
        self._ear.finish(
            Cause.RECOVERY_ON_TIMER_EXPIRY,
            Location.BEYOND_INTERWORKING,
            now,
            text=f"no response within {waited / SECOND:g} s",
        )

    def _suspect(self, now: int) -> None:
        # Who is silent after a redirection is not the peer, which did answer; and a phone may have other places.
        if self._request.target is None and self._way is None:
            self._host.suspects.add(self._peer.name, now)

    # -- responses --

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to the INVITE."""
        status = response.status
        if self._hurrying:
            self._stop_hurrying()
        if self._host.suspects.names and self._request.target is None:
            # It may answer from another address than the one it is called at.
            self._host.suspects.heard(self._peer.name)
        current = transaction.number == self._request.cseq
        if current:
            # Outbound may have put another in its place (TCP that could not be had, now UDP).
            self._transaction = transaction
        if status >= 300:
            if current:
                self._failed(response, now)
            return
        try:
            if status >= 200:
                self._accepted(transaction, response, now)
            elif current:
                self._provisional(transaction, response, now)
        except SipError as error:
            log.info("call %s: %d ignored: %s", self.call_id, status, error)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:  # noqa: ARG002
        """Time-out, transport error, or too long without an answer."""
        if self._winner is not None:
            return
        self._stop_hurrying()
        if trouble is Trouble.NO_ANSWER:
            self.cancel(Cause.NO_ANSWER_FROM_USER, "", now)
            self._ear.finish(Cause.NO_ANSWER_FROM_USER, Location.BEYOND_INTERWORKING, now, timer="timer C")
            return
        self._drop_sessions(None, now)
        if self._cancel is None and self._try_next_target(now):
            return
        if self._cancel is None and self._has_other_servers:
            self._call_next_server(now)
            return
        # RFC 3261 8.1.3.1: a time-out is as 408, a transport error as 503.
        status = 408 if trouble is Trouble.TIMEOUT else 503
        cause = cause_for_sip(status, None, self._host.settings.cause_rules)
        timer = "timer B" if trouble is Trouble.TIMEOUT else ""
        if timer and self._cancel is None:
            self._suspect(now)
        self._ear.finish(cause, Location.BEYOND_INTERWORKING, now, text=trouble.value, status=status, timer=timer)

    def _provisional(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        self._provisional_seen = True
        if self._cancel is not None:
            self._send_cancel(now)
            return
        if response.status == 100 or self._cancelled:
            return
        tag = self._tag_of(response)
        if not tag:
            # No dialog without a tag, but the far end does ring.
            self._report(response, None)
            return
        if response.status == 199:
            # RFC 6228: this branch is over, others may go on.
            session = self._sessions.pop(tag, None)
            if session is not None:
                session.abandon(now)
            return
        session = self._sessions.get(tag)
        if session is None:
            if len(self._sessions) >= MAX_FORKS:
                return
            session = self._open_session(transaction, response)
            self._sessions[tag] = session
        session.learn(response)
        self._early(session, tag, response, now)

    def _early(self, session: Session, tag: str, response: Response, now: int) -> None:
        body = find_sdp(response)
        peer = self._peer
        rseq = response.rseq if "100rel" in response.require and peer.reliable is not Reliability.OFF else None
        if rseq is not None:
            last = self._rseqs.get(tag)
            if last is not None and rseq != last + 1:
                # RFC 3262 4: a repetition, or one out of order, whose turn comes when it is repeated.
                return
            self._rseqs[tag] = rseq
        answer, settled = b"", False
        if body is not None and (rseq is not None or not peer.late_offer):
            try:
                answer, settled = session.negotiation.take_response(body, late_offer=peer.late_offer)
            except SipError as error:
                log.info("call %s: SDP of %d refused: %s", self.call_id, response.status, error)
        if rseq is not None:
            session.prack(response, answer, now)
        if settled:
            session.media_settled(now)
        self._report(response, session)

    def _report(self, response: Response, session: Session | None) -> None:
        audible = session is not None and session.negotiation.settings is not None
        status = response.status
        if self._last is None and status != 180:
            self._ear.emit(Proceeding())
        event: LegEvent
        peer = self._peer
        conveyed = answer_of(response, peer.kind, trusted=peer.trust_identity)
        if status == 180:
            event = Alerting(audible, conveyed)
        else:
            reason = q850_of(response)
            described = audible and status == 183
            event = Progress(described, Cause.of(reason) if reason else None, conveyed)
        if event != self._last:
            self._last = event
            self._ear.emit(event)

    def _tag_of(self, response: Response) -> str:
        text = response.headers.get("To") or ""
        tag = self._tags.get(text)
        if tag is None:
            tag = response.to.tag or ""
            if len(self._tags) < MAX_FORKS:
                self._tags[text] = tag
        return tag

    def _open_session(self, transaction: ClientTransaction, response: Response) -> Session:
        request = self._request
        dialog = Dialog.from_response(transaction.request, response, request.tag)
        session = Session(
            self._host,
            self._leg,
            self._peer,
            dialog,
            self._negotiation.fork(),
            transaction.flow,
            request.contact,
            request.timer.copy(),
            request.digest,
        )
        session.note_nat(
            (self._way is not None and self._way.behind_nat) or contact_behind_nat(response, transaction.flow)
        )
        if self._moved:
            # The INVITE that it answers named another address.
            session.changes.relocate(0)
        return session

    def _accepted(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        tag = self._tag_of(response)
        winner = self._winner
        if winner is not None and winner.dialog.remote_tag == tag:
            winner.acknowledge(response)
            return
        extra = self._extra.get(tag)
        if extra is not None:
            extra.acknowledge(response)
            return
        session = self._sessions.pop(tag, None)
        if session is None or session.phase is Phase.OVER:
            session = self._open_session(transaction, response)
        if winner is not None or self._cancel is not None or self._cancelled:
            # A further branch (13.2.2.4), or the answer crossed our CANCEL (9.1).
            self._extra[tag] = session
            session.confirm(response, now)
            session.acknowledge(response, self._late_answer(session, response))
            cause, text = self._cancel or (Cause.NORMAL_CALL_CLEARING, "")
            session.release(cause, text, now)
            return
        self._winner = session
        self._drop_sessions(session, now)
        self._take_winner(session, response, now)

    def _late_answer(self, session: Session, response: Response) -> bytes:
        if not self._peer.late_offer or session.negotiation.settled:
            return b""
        try:
            body = find_sdp(response)
            return session.negotiation.take_offer(body) if body is not None else b""
        except SipError:
            return b""

    def _take_winner(self, session: Session, response: Response, now: int) -> None:
        session.confirm(response, now)
        answer, settled, failure = b"", False, ""
        try:
            body = find_sdp(response)
            if body is not None:
                answer, settled = session.negotiation.take_response(body, late_offer=self._peer.late_offer)
            elif not session.negotiation.settled:
                failure = "2xx without SDP"
        except SipError as error:
            failure = error.text
        session.acknowledge(response, answer)
        if failure:
            cause = Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
            session.release(cause, failure, now)
            self._ear.finish(cause, Location.BEYOND_INTERWORKING, now, text=failure)
            return
        self._ear.answered(session, now)
        if settled or session.negotiation.settings is not self._leg.settings:
            session.media_settled(now, hold=False)
        connected = connected_of(response, self._request.rules)
        session.identity = connected
        peer = self._peer
        self._ear.emit(Answered(connected, answer_of(response, peer.kind, trusted=peer.trust_identity)))
        session.report_hold(now)
        session.changes.proceed(now)

    def _drop_sessions(self, but: Session | None, now: int) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            if session is not but:
                session.abandon(now)

    def _failed(self, response: Response, now: int) -> None:
        self._drop_sessions(None, now)
        if self._winner is not None:
            return
        self._rseqs.clear()
        if self._cancel is None and not self._cancelled and self._repeat(response, now):
            return
        status = response.status
        self._transaction = None
        if status == 503 and self._cancel is None and not self._cancelled and self._has_other_servers:
            self._call_next_server(now)
            return
        cause = cause_for_sip(status, q850_of(response), self._host.settings.cause_rules, warning_of(response))
        forward = None
        if 300 <= status < 400:
            cause = Cause.REDIRECTION_TO_NEW_DESTINATION
            if self._cancel is None and not self._cancelled:
                peer, host, rang = self._peer, self._host, isinstance(self._last, Alerting)
                forward = forward_of(response, peer, lambda number: host.braked(peer, number, now), rang=rang)
        location = Location.USER if status in _USER_STATUSES else Location.BEYOND_INTERWORKING
        self._ear.finish(cause, location, now, text=f"{status} {response.reason}", status=status, forward=forward)

    def _repeat(self, response: Response, now: int) -> bool:
        """Try again where ``response`` tells how; False if it is final for us."""
        if self._attempts >= MAX_ATTEMPTS:
            return False
        if response.status in MEDIA_REFUSALS and self._body and self._negotiation.insist():
            self._body = self._negotiation.make_offer()
            self._invite(now)
            return True
        remedy = self._request.heed(response, self._flow)
        if remedy is Remedy.AGAIN:
            self._invite(now)
            return True
        if remedy is Remedy.DIGITS:
            self._transaction = None
            self._waits_for_digits = True
            return True
        return remedy is Remedy.ELSEWHERE and self._try_next_target(now)

    @property
    def _has_other_servers(self) -> bool:
        return bool(self._leg.other_flows) and self._request.target is None and self._ear is self._leg

    def _call_next_server(self, now: int) -> None:
        """RFC 3263 4.3: on with the next server; what still comes of this one is seen to, and heard by nobody."""
        self._ear = DEAF
        self._offer_from_here()
        self._host.far_ends.dead(self._flow, now)
        self._leg.call_next_server(self._request.setup, self._negotiation, self._body, now)

    def _try_next_target(self, now: int) -> bool:
        """Call the next of the addresses that a redirection named; False if there is none (left)."""
        target = self._request.next_target() if self._attempts < MAX_ATTEMPTS else None
        if target is None:
            return False
        self._flow = self._host.outbound.flow_to(target, self._flow)
        self._invite(now)
        return True
