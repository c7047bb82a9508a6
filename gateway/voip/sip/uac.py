"""The calling side of an INVITE (RFC 3261 13.2): forks, 100rel, CANCEL, repeats after 3xx, 401, 407, 422 and 484.

One per outgoing leg. Every To tag makes a session; the first 2xx wins, others are acknowledged and ended with BYE.
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
from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.dialog import Dialog
from gateway.voip.sip.diversion import diversion_fields, history_fields
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow, bracketed
from gateway.voip.sip.host import ALLOW, Host
from gateway.voip.sip.identity import caller_fields, connected_of
from gateway.voip.sip.message import Response
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.parties import q850_of, reason_fields, rules_for
from gateway.voip.sip.peers import PeerKind, PeerSettings, RedirectionHeader, Reliability
from gateway.voip.sip.session import SDP_TYPE, Phase, Session, session_timer
from gateway.voip.sip.suspects import PATIENCE
from gateway.voip.sip.telephone import user_of
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientInvite, ClientTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.uas import supported_by
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.user_to_user import answer_of, isub_of, user_to_user_field

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg

log = logging.getLogger(__name__)

MAX_FORKS = 8
"""Early dialogs of one INVITE; provisional responses of more are ignored, a 2xx still gets ACK and BYE."""
MAX_ATTEMPTS = 8
"""INVITEs sent for one call: challenges, redirections, 422 and longer numbers count alike."""
CHALLENGES = frozenset({401, 407})
REDIRECTIONS = frozenset({300, 301, 302})
"""305 names a proxy and 380 a service, not where the called user is (21.3)."""
MAX_FORWARDS = 70
"""RFC 3261 8.1.1.6."""
_OWN_FIELDS = 10
"""Header fields that every INVITE of ours has."""
_USER_STATUSES = frozenset({480, 486, 600, 603, 604})


class OutgoingInvite:
    """An INVITE of ours. ``setup`` grows with overlap digits (RFC 3578)."""

    def __init__(
        self, leg: SipLeg, host: Host, peer: PeerSettings, flow: Flow, setup: Setup, negotiation: Negotiation
    ) -> None:
        self._leg = leg
        self._host = host
        self._peer = peer
        self._flow = flow
        self._setup = setup
        self._negotiation = negotiation
        # 48 bits of tag, 96 of Call-ID, 16 of CSeq.
        number = host.rng.getrandbits(160)
        digits = f"{number:040x}"
        self._tag = digits[:12]
        address = leg.local_address
        self.call_id = f"{digits[12:36]}@{address.strip('[]')}"
        self._cseq = 1 + (number & 0xFFFF)
        self._attempts = 0
        self._rules = rules_for(peer, address)
        # What is to be added to the called number, and the fields of what goes from end to end.
        self._isub = isub = ""
        self._conveyed: list[tuple[str, str]] = []
        conveyed = setup.conveyed
        if conveyed is not None:
            if conveyed.called_subaddress is not None and peer.kind is PeerKind.TRUNK and not peer.user:
                self._isub = isub_of(conveyed.called_subaddress)
            if conveyed.calling_subaddress is not None:
                isub = isub_of(conveyed.calling_subaddress)
            if conveyed.user_user:
                self._conveyed.append(user_to_user_field(conveyed.user_user))
        sender, fields = caller_fields(setup.caller, self._rules, isub)
        self._sender = f"{sender};tag={self._tag}"
        user = sender.uri.user or ""
        self._contact = host.outbound.contact(flow, user if user != "anonymous" else "")
        self._identity = list(fields)
        self._timer = session_timer(host, peer)
        self._to_host = bracketed(peer.host.strip("[]"))
        hops = setup.hops
        self._max_forwards = str(MAX_FORWARDS if hops is None else min(hops - 1, MAX_FORWARDS))
        # Where redirections sent us: being tried, still to be tried (best first), and all there ever were.
        self._target: Uri | None = None
        self._targets: list[Uri] = []
        self._known_targets: set[str] = set()
        self._transaction: ClientTransaction | None = None
        self._body = b""
        self._sessions: dict[str, Session] = {}
        self._rseqs: dict[str, int] = {}
        # To tags by the whole value: the responses of a branch all have the same.
        self._tags: dict[str, str] = {}
        self._winner: Session | None = None
        self._extra: dict[str, Session] = {}
        self._cancel: tuple[Cause, str] | None = None
        self._cancelled = False
        # Whether a timer runs that sends the call another way, and when the INVITE went out.
        self._hurrying = False
        self._asked = 0
        self._provisional_seen = False
        self._waits_for_digits = False
        self._last: LegEvent | None = None

    @property
    def session(self) -> Session | None:
        """The session that won, if any."""
        return self._winner

    # -- commands of the leg --

    def start(self, now: int) -> None:
        """Send the (first) INVITE; our RTP port is known."""
        if not self._peer.late_offer:
            self._body = self._negotiation.make_offer()
        self._invite(now, [])

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits of the number: they go out with the next INVITE, at once if the last one got 484."""
        called = self._setup.called
        self._setup = replace(self._setup, called=replace(called, digits=called.digits + digits), complete=complete)
        if not self._waits_for_digits:
            return
        self._waits_for_digits = False
        if digits:
            self._invite(now, [])
        elif complete:
            self._leg.finish(Cause.INVALID_NUMBER_FORMAT, Location.BEYOND_INTERWORKING, now, text="484")

    def cancel(self, cause: Cause, text: str, now: int) -> None:
        """The leg gave up before an answer: CANCEL, once a provisional response allows it (9.1)."""
        if self._winner is not None:
            return
        self._stop_hurrying()
        if self._transaction is None:
            self._cancelled = True
            return
        self._cancel = (cause, text)
        if self._provisional_seen:
            self._send_cancel(now)

    def _send_cancel(self, now: int) -> None:
        transaction = self._transaction
        if self._cancelled or self._cancel is None or not isinstance(transaction, ClientInvite):
            return
        self._cancelled = True
        cancel = transaction.request.cancel()
        for name, value in reason_fields(*self._cancel):
            cancel.headers.add(name, value)
        try:
            self._host.outbound.transactions.request(cancel, cancel.to_bytes(), transaction.flow, _Nobody(), now)
        except TableFull:
            log.warning("call %s: no room to send CANCEL", self.call_id)
        transaction.expect_end(now)

    # -- the INVITE --

    def _called(self) -> str:
        peer = self._peer
        user = peer.user or (peer.name if peer.kind is PeerKind.PHONE else user_of(self._setup.called, peer.style))
        return f"sip:{user}{self._isub}@" if user else "sip:"

    def _request_uri(self, called: str) -> str:
        if self._target is not None:
            return str(self._target.without_headers())
        transport = ";transport=tcp" if self._peer.transport == "TCP" else ""
        if self._isub:
            transport = f";user=phone{transport}"
        return f"{called}{self._leg.remote_host}{transport}"

    def _invite(self, now: int, extra: list[tuple[str, str]]) -> None:
        self._attempts += 1
        self._cseq += 1
        self._asked = now
        self._provisional_seen = False
        peer, setup = self._peer, self._setup
        called = self._called()
        uri = self._request_uri(called)
        outbound = self._host.outbound
        via = outbound.via(self._flow)
        fields: list[tuple[str, str]] = []
        if peer.reliable is Reliability.REQUIRED:
            fields.append(("Require", "100rel"))
        fields.extend(self._timer.request_fields())
        fields.extend(self._identity)
        if self._conveyed:
            fields.extend(self._conveyed)
        if setup.redirection is not None:
            if peer.redirection in (RedirectionHeader.DIVERSION, RedirectionHeader.BOTH):
                fields.extend(diversion_fields(setup.redirection, self._rules))
            if peer.redirection in (RedirectionHeader.HISTORY_INFO, RedirectionHeader.BOTH):
                fields.extend(history_fields(setup.redirection, Uri.parse(uri), self._rules))
        fields.extend(extra)
        if self._body:
            fields.append(SDP_TYPE)
        text = (
            f"Via: {via.text}\r\nMax-Forwards: {self._max_forwards}\r\nFrom: {self._sender}\r\n"
            # 19.1.1: no port and no transport here; after a redirection it is as before (8.1.3.4).
            f"To: <{called}{self._to_host}>\r\nCall-ID: {self.call_id}\r\nCSeq: {self._cseq} INVITE\r\n"
            f"Contact: {self._contact}\r\nAllow: {ALLOW}\r\nSupported: {supported_by(peer)}\r\n"
            f"User-Agent: {self._host.settings.user_agent}\r\n{field_lines(fields)}"
        )
        request = ComposedRequest(
            "INVITE", uri, self._cseq, self.call_id, self._sender, text, _OWN_FIELDS + len(fields), self._body
        )
        try:
            self._transaction = outbound.request(request, via, self._flow, self, now)
        except TableFull:
            self._transaction = None
            self._leg.finish(
                Cause.SWITCHING_EQUIPMENT_CONGESTION, Location.PRIVATE_LOCAL, now, text="transaction table is full"
            )
            return
        if setup.alternatives:
            self._hurrying = True
            host = self._host
            host.timers.start((self, SipTimer.FAILOVER), now + host.suspects.patience(peer.name, peer.failover))

    def _stop_hurrying(self) -> None:
        if self._hurrying:
            self._hurrying = False
            self._host.timers.stop((self, SipTimer.FAILOVER))

    def expire(self, timer: SipTimer, now: int) -> None:  # noqa: ARG002
        """Not even a 100 came while there is another way: the call goes on there.

        The transaction stays to see to what comes late: CANCEL after a provisional response, ACK and BYE after a 2xx.
        """
        self._hurrying = False
        transaction = self._transaction
        if transaction is None or self._cancel is not None or self._provisional_seen:
            return
        self._suspect(now)
        if isinstance(transaction, ClientInvite):
            transaction.stop_repeating()
        self.cancel(Cause.NORMAL_CALL_CLEARING, "", now)
        waited = self._peer.failover if now - self._asked >= self._peer.failover else PATIENCE
        self._leg.finish(
            Cause.RECOVERY_ON_TIMER_EXPIRY,
            Location.BEYOND_INTERWORKING,
            now,
            text=f"no response within {waited / SECOND:g} s",
        )

    def _suspect(self, now: int) -> None:
        # Who is silent after a redirection is not the peer, which did answer.
        if self._target is None:
            self._host.suspects.add(self._peer.name, now)

    # -- responses --

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to the INVITE."""
        status = response.status
        if self._hurrying:
            self._stop_hurrying()
        if self._host.suspects.names and self._target is None:
            # It may answer from another address than the one it is called at.
            self._host.suspects.heard(self._peer.name)
        current = transaction.number == self._cseq
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
            self._leg.finish(Cause.NO_ANSWER_FROM_USER, Location.BEYOND_INTERWORKING, now, timer="timer C")
            return
        self._drop_sessions(None, now)
        if self._cancel is None and self._try_next_target(now):
            return
        # RFC 3261 8.1.3.1: a time-out is as 408, a transport error as 503.
        status = 408 if trouble is Trouble.TIMEOUT else 503
        cause = cause_for_sip(status, None, self._host.settings.cause_rules)
        timer = ""
        if trouble is Trouble.TIMEOUT:
            timer = "timer B"
            if self._cancel is None:
                self._suspect(now)
        self._leg.finish(cause, Location.BEYOND_INTERWORKING, now, text=trouble.value, status=status, timer=timer)

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
        negotiation = session.negotiation
        if "100rel" in response.require and response.rseq is not None and self._peer.reliable is not Reliability.OFF:
            last = self._rseqs.get(tag)
            if last is not None and response.rseq != last + 1:
                # RFC 3262 4: a repetition, or one out of order, whose turn comes when it is repeated.
                return
            self._rseqs[tag] = response.rseq
            answer = b""
            settled = False
            if body is not None:
                try:
                    answer, settled = self._take_description(negotiation, body)
                except SipError as error:
                    log.info("call %s: SDP of %d refused: %s", self.call_id, response.status, error)
            session.prack(response, answer, now)
        else:
            settled = False
            if body is not None and not self._peer.late_offer:
                try:
                    _, settled = self._take_description(negotiation, body)
                except SipError as error:
                    log.info("call %s: SDP of %d refused: %s", self.call_id, response.status, error)
        if settled:
            session.media_settled(now)
        self._report(response, session)

    def _take_description(self, negotiation: Negotiation, body: bytes) -> tuple[bytes, bool]:
        """Take SDP of a response to the INVITE: (our answer if it was an offer, whether anything changed)."""
        if negotiation.awaiting_answer:
            negotiation.take_answer(body)
            return b"", True
        if self._peer.late_offer and not negotiation.settled:
            return negotiation.take_offer(body), True
        if negotiation.differs(body) and not negotiation.answered:
            # Not by the book (RFC 6337 2.1: the answer must not change), but announcement servers do it.
            negotiation.take_answer(body)
            return b"", True
        return b"", False

    def _report(self, response: Response, session: Session | None) -> None:
        audible = session is not None and session.negotiation.settings is not None
        status = response.status
        if self._last is None and status != 180:
            self._leg.emit(Proceeding())
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
            self._leg.emit(event)

    def _tag_of(self, response: Response) -> str:
        text = response.headers.get("To") or ""
        tag = self._tags.get(text)
        if tag is None:
            tag = response.to.tag or ""
            if len(self._tags) < MAX_FORKS:
                self._tags[text] = tag
        return tag

    def _open_session(self, transaction: ClientTransaction, response: Response) -> Session:
        dialog = Dialog.from_response(transaction.request, response, self._tag)
        return Session(
            self._host,
            self._leg,
            self._peer,
            dialog,
            self._negotiation.fork(),
            transaction.flow,
            self._contact,
            self._timer.copy(),
        )

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
                answer, settled = self._take_description(session.negotiation, body)
            elif not session.negotiation.settled:
                failure = "2xx without SDP"
        except SipError as error:
            failure = error.text
        session.acknowledge(response, answer)
        if failure:
            cause = Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED
            session.release(cause, failure, now)
            self._leg.finish(cause, Location.BEYOND_INTERWORKING, now, text=failure)
            return
        self._leg.answered(session, now)
        if settled or session.negotiation.settings is not self._leg.settings:
            session.media_settled(now, hold=False)
        connected = connected_of(response, self._rules)
        session.identity = connected
        peer = self._peer
        self._leg.emit(Answered(connected, answer_of(response, peer.kind, trusted=peer.trust_identity)))
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
        cause = cause_for_sip(status, q850_of(response), self._host.settings.cause_rules, _warning_of(response))
        if 300 <= status < 400:
            cause = Cause.REDIRECTION_TO_NEW_DESTINATION
        location = Location.USER if status in _USER_STATUSES else Location.BEYOND_INTERWORKING
        self._leg.finish(cause, location, now, text=f"{status} {response.reason}", status=status)

    def _repeat(self, response: Response, now: int) -> bool:
        """Try again where ``response`` tells how; False if it is final for us."""
        if self._attempts >= MAX_ATTEMPTS:
            return False
        status = response.status
        transaction = self._transaction
        if status in CHALLENGES and self._host.credentials is not None and transaction is not None:
            field = self._host.credentials.authorize(self._peer, transaction.request, response)
            if field is not None:
                self._invite(now, [field])
                return True
        elif status == 422:
            if self._timer.take_too_small(response):
                self._invite(now, [])
                return True
        elif status == 484 and not self._setup.complete:
            sent = transaction.request.uri_text if transaction is not None else ""
            if self._request_uri(self._called()) != sent:
                self._invite(now, [])
            else:
                self._transaction = None
                self._waits_for_digits = True
            return True
        elif status in REDIRECTIONS and self._peer.follow_redirects:
            # 8.1.3.4: no URI is tried twice, and new ones go before those that are left.
            found = [target for target in _targets_of(response) if str(target) not in self._known_targets]
            self._known_targets.update(map(str, found))
            self._targets = found + self._targets
            return self._try_next_target(now)
        elif status < 600:
            return self._try_next_target(now)
        return False

    def _try_next_target(self, now: int) -> bool:
        """Call the next of the addresses that a redirection named; False if there is none (left)."""
        if not self._targets or self._attempts >= MAX_ATTEMPTS:
            return False
        self._target = self._targets.pop(0)
        self._flow = self._host.outbound.flow_to(self._target, self._flow)
        self._invite(now, [])
        return True


class _Nobody:
    """Nobody waits for the response to a CANCEL: the INVITE's own final response tells (9.1)."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        pass

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        pass


def _targets_of(response: Response) -> list[Uri]:
    """The SIP URIs of the Contacts of a 3xx, the best q first (20.10)."""
    found: list[tuple[float, Uri]] = []
    for contact in response.contacts:
        try:
            target = contact.uri
            quality = float(contact.params.get("q") or "1")
        except (SipError, ValueError):
            continue
        if target.scheme == "sip":
            found.append((quality, target))
    found.sort(key=lambda each: -each[0])
    return [target for _, target in found]


def _warning_of(response: Response) -> int | None:
    text = response.headers.get("warning")
    return int(text[:3]) if text is not None and text[:3].isdecimal() and text[:3].isascii() else None
