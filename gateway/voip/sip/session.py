"""The INVITE usage of one dialog (RFC 3261 12 to 15, RFC 5057): our requests, ACK, BYE, digits, expiry.

The far end's requests are in ``in_dialog.py``, our own re-INVITE and UPDATE in ``changes.py``, the first INVITE in
``uac.py`` and ``uas.py``. An early session of a forked call is one of several of its leg.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol
from weakref import proxy

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Party
from gateway.voip.sip.acceptance import Acceptance
from gateway.voip.sip.body import SDP_TYPE, find_sdp
from gateway.voip.sip.changes import Changes
from gateway.voip.sip.credentials import DigestClient, client_for
from gateway.voip.sip.dialog import Dialog
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import ALLOW, Fields, Host, warning_fields
from gateway.voip.sip.in_dialog import REQUESTS, refuse_for_now
from gateway.voip.sip.keypad import KeypadSender
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.nat import latches, to_source
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.parties import asserted_party, reason_fields
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.proving import Proving
from gateway.voip.sip.refer import Refer, Referral
from gateway.voip.sip.refresh import SessionTimer
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientTransaction, ClientUser, ServerTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.values import NameAddr

if TYPE_CHECKING:
    from gateway.voip.sip.reliable import ReliableResponses

log = logging.getLogger(__name__)

BYE_AGAIN = 10 * SECOND
MAX_BYES = 13
"""How soon and how often BYE goes to a phone whose connection is gone: it registers anew within two minutes (own)."""
NO_INFO = frozenset({405, 415, 489, 501})
"""Refusals of INFO or of what is in it, not of this one."""


class Phase(Enum):
    """Where a session is."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    ENDING = "ending"
    OVER = "over"


class SessionOwner(Protocol):
    """The leg of a session."""

    def on_session_media(self, session: Session, now: int) -> None:
        """Offer and answer settled new terms."""

    def on_session_hold(self, session: Session, held: bool, now: int) -> None:
        """The far end put us on hold, or took us back."""

    def on_session_digits(self, session: Session, digits: str, milliseconds: int, now: int) -> None:
        """Digits came by INFO."""

    def on_session_unsent(self, session: Session, digits: str, milliseconds: int, now: int) -> None:
        """Digits could not go by INFO: the far end takes none."""

    def on_session_identity(self, session: Session, party: Party, now: int) -> None:
        """The far end says who is connected now."""

    def on_session_stays(self, now: int) -> None:
        """The far end does not want to send its voice elsewhere."""

    def on_session_refer(self, session: Session, refer: Refer, now: int) -> None:
        """The far end asks for a transfer, which is answered by ``session.referral``."""

    def on_session_over(self, session: Session, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """The session ended and not because the leg asked; ``timer`` names the one of ours that ended it."""


def session_timer(host: Host, peer: PeerSettings) -> SessionTimer:
    """A session timer with the terms that ``peer`` gets."""
    offered, least = host.durations[SipTimer.REFRESH], host.durations[SipTimer.EXPIRY]
    return SessionTimer(peer.session_timers, offered // SECOND, least // SECOND)


class Session:
    """One dialog's session. ``flow`` is where its first request went to or came from."""

    def __init__(
        self,
        host: Host,
        owner: SessionOwner,
        peer: PeerSettings,
        dialog: Dialog,
        negotiation: Negotiation,
        flow: Flow,
        contact: str,
        timer: SessionTimer,
        digest: DigestClient | None = None,
    ) -> None:
        self.host = host
        self.owner: SessionOwner | None = owner
        self.peer = peer
        self.digest = client_for(peer, host.rng) if digest is None else digest
        self.dialog = dialog
        self.negotiation = negotiation
        self.flow = flow
        self.contact = contact
        self.phase = Phase.EARLY
        self._hop: tuple[str, tuple[NameAddr, ...], Flow, Flow] | None = None
        self.note_nat(False)
        self.allow: frozenset[str] = frozenset()
        self.info_refused = False
        self.timer = timer
        # What it calls back by does not keep it in memory, so that a call leaves nothing for the collector.
        this: Session = proxy(self)
        self.changes = Changes(self)
        self.reliable: ReliableResponses | None = None
        # Whether the far end ever offered anything after the answer.
        self.changed_by_far_end = False
        # The last REFER that was taken.
        self.referral: Referral | None = None
        # On the called side: the INVITE that has no final response yet.
        self.invited: ServerTransaction | None = None
        self.identity: Party | None = None
        self.acceptance = Acceptance(host, lambda now: this._never_acknowledged(now))
        self._bye: tuple[Cause, str] | None = None
        # How often BYE was sent, and what it says.
        self._byes = 0
        self._why = (Cause.NORMAL_CALL_CLEARING, "")
        self._acks: dict[int, bytes] = {}
        self._keypad = KeypadSender(lambda fields, body, now: this._send_info(fields, body, now))
        self._running: set[SipTimer] = set()
        host.add_dialog(dialog.key, self)

    def note_nat(self, detected: bool) -> None:
        """The far end was (not) found to be behind NAT; ``peer.nat`` says what that means.

        ``to_source``: requests go to where the far end's came from. ``latches``: its voice is answered likewise.
        """
        self.nat_detected = detected
        self.to_source = to_source(self.peer.nat, detected)
        self.latches = latches(self.peer.nat, detected)

    def relocate(self, contact: str, address: str, now: int) -> None:
        """Our address, or the one we have outside, changed: tell the far end, now or as soon as it may be told."""
        if contact == self.contact and address == self.negotiation.local.address:
            return
        self.contact = contact
        self.negotiation.move(address)
        self.changes.relocate(now)

    def follow(self, flow: Flow, now: int) -> None:
        """The far end proved to be at ``flow`` now, or registered from there: what goes to where it is goes there."""
        if (self.flow.secure and not flow.secure) or not (self.to_source or self.peer.dynamic):
            return
        self.flow = flow
        if self.phase is Phase.CONFIRMED and self.owner is not None:
            # Its voice is expected from there too.
            self.owner.on_session_media(self, now)

    # -- timers --

    def start(self, timer: SipTimer, now: int, duration: int | None = None) -> None:
        """Start (or start again) one of the session's timers."""
        self._running.add(timer)
        self.host.timers.start((self, timer), now + (self.host.durations[timer] if duration is None else duration))

    def stop(self, timer: SipTimer) -> None:
        """Stop one of the session's timers if it runs."""
        if timer in self._running:
            self._running.discard(timer)
            self.host.timers.stop((self, timer))

    def expire(self, timer: SipTimer, now: int) -> None:
        """A timer ran out."""
        self._running.discard(timer)
        handler = self._EXPIRIES.get(timer)
        if handler is not None:
            handler(self, now)

    def restart_session_timer(self, now: int) -> None:
        """The session was set up or refreshed."""
        if self._running:
            self.stop(SipTimer.REFRESH)
            self.stop(SipTimer.EXPIRY)
        if not self.timer.interval or self.phase is not Phase.CONFIRMED:
            return
        if self.timer.we_refresh:
            # The end has its timer once the refresh is due.
            self.start(SipTimer.REFRESH, now, self.timer.refresh_after)
        else:
            self.start(SipTimer.EXPIRY, now, self.timer.expire_after)

    # -- requests of ours --

    def send(
        self,
        method: str,
        now: int,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        user: ClientUser | None = None,
    ) -> ClientTransaction | None:
        """Send a request inside the dialog, answered to ``user`` or us; None if the transaction table is full."""
        who: ClientUser = user or self
        if self.digest is not None:
            who = Proving(self, method, fields, body, who)
        return self.transmit(method, now, fields, body, who)

    def transmit(
        self, method: str, now: int, fields: list[tuple[str, str]], body: bytes, user: ClientUser
    ) -> ClientTransaction | None:
        """As ``send``, once: a challenge is told to ``user`` like any other response."""
        flow = self._flow()
        outbound = self.host.outbound
        via = outbound.via(flow)
        digest = self.digest
        if digest is not None and digest.active:
            fields = [*fields, *digest.fields(method, self.dialog.request_uri, body)]
        request = self.dialog.request(method, via.text, fields, body)
        try:
            return outbound.request(request, via, flow, user, now)
        except TableFull:
            return None

    def acknowledge(self, response: Response, body: bytes = b"") -> None:
        """Send the ACK of a 2xx to our INVITE (13.2.2.4), or send it again if this one had it already."""
        number = response.cseq.number
        flow = self._flow()
        data = self._acks.get(number)
        if data is not None:
            self.host.outbound.send_bytes(flow, data)
            return
        fields = [SDP_TYPE] if body else []
        if self.digest is not None:
            # 22.1: the credentials of its INVITE, as it cannot be challenged.
            fields += self.digest.fields("ACK", "")
        request = self.dialog.request("ACK", self.host.outbound.via(flow).text, fields, body)
        while len(self._acks) >= 2:
            del self._acks[next(iter(self._acks))]
        self._acks[number] = self.host.outbound.send_alone(request, flow)

    @property
    def early(self) -> bool:
        """True before the answer."""
        return self.phase is Phase.EARLY

    @property
    def over(self) -> bool:
        """True once nothing is sent any more."""
        return self.phase is Phase.OVER

    @property
    def quiet(self) -> bool:
        """True if a change of ours may go out now."""
        return (
            self.phase is Phase.CONFIRMED
            and not self.acceptance.pending
            and SipTimer.GLARE not in self._running
            and SipTimer.GONE not in self._running
            and not self.negotiation.awaiting_answer
        )

    def has_acknowledged(self, response: Response) -> bool:
        """True if ``response`` is a retransmission of a 2xx that was dealt with."""
        return response.cseq.number in self._acks

    def release(self, cause: Cause, text: str, now: int) -> None:
        """End the session from our side: BYE, held back until our 2xx is acknowledged (RFC 3261 15)."""
        if self.phase in (Phase.ENDING, Phase.OVER):
            return
        self.owner = None
        self._set_phase(Phase.ENDING)
        self._stop_usage(now)
        if self.acceptance.pending:
            self._bye = (cause, text)
            return
        self._send_bye(cause, text, now)

    def abandon(self, now: int) -> None:
        """Drop an early dialog without a word: its INVITE was refused, or another branch was taken."""
        self.owner = None
        self.end(now)

    def keypad(self, digits: str, milliseconds: int, now: int) -> None:
        """Send digits by INFO."""
        if self.phase is Phase.CONFIRMED:
            self._keypad.add(digits, milliseconds, now)

    def _info_refused(self, response: Response, now: int) -> None:
        self.info_refused = True
        log.info("call %s: INFO with digits refused with %d", self.dialog.call_id, response.status)
        for digit, milliseconds in self._keypad.take_back():
            if self.owner is not None:
                self.owner.on_session_unsent(self, digit, milliseconds, now)

    def _send_info(self, fields: list[tuple[str, str]], body: bytes, now: int) -> bool:
        return self.send("INFO", now, fields, body) is not None

    def _send_bye(self, cause: Cause, text: str, now: int) -> None:
        self._bye = None
        self._byes += 1
        self._why = (cause, text)
        if self.send("BYE", now, reason_fields(cause, text)) is None:
            self.end(now)

    def _awaits_phone(self, now: int) -> bool:
        """Whether the BYE is sent again later: a phone whose connection is gone comes back over another one."""
        if self.phase is not Phase.ENDING or not (self.peer.dynamic and self.flow.reliable) or self._byes >= MAX_BYES:
            return False
        self.start(SipTimer.GLARE, now, BYE_AGAIN)
        return True

    @property
    def addresses(self) -> tuple[str, str]:
        """Where the first request went to or came from, and where the next one goes."""
        return self.flow.address, self._flow().address

    def _flow(self) -> Flow:
        # Where the last request went the next one goes too, unless something changed.
        dialog = self.dialog
        if (self.to_source or self.peer.dynamic) and not dialog.routes:
            # What it calls its address may be one that we cannot reach; where its messages come from we can.
            return self.flow
        hop = self._hop
        if hop is None or hop[0] is not dialog.target or hop[1] is not dialog.routes or hop[2] is not self.flow:
            flow = self.host.outbound.dialog_flow(dialog.next_hop, self.flow)
            self._hop = hop = (dialog.target, dialog.routes, self.flow, flow)
        return hop[3]

    # -- responses to requests of ours --

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to a request of this session."""
        method = transaction.request.method
        if method == "INVITE" and 200 <= response.status < 300 and self.has_acknowledged(response):
            self.acknowledge(response)
            return
        if response.status < 200:
            return
        if self.phase is Phase.OVER or (self.phase is Phase.ENDING and method != "BYE"):
            if method == "INVITE" and response.status < 300:
                self.acknowledge(response)
            return
        if method == "BYE":
            self.end(now)
        elif response.status in (408, 481) and method != "PRACK":
            # RFC 3261 12.2.1.2: the far end has lost the dialog.
            if response.status == 481 and self.phase is Phase.CONFIRMED:
                # Or it has ended it, and its BYE, which says why, comes over another connection or by a longer way.
                self.start(SipTimer.GONE, now)
                return
            self._lost(Cause.RECOVERY_ON_TIMER_EXPIRY if response.status == 408 else Cause.NORMAL_UNSPECIFIED, now)
        elif method == "INFO":
            if response.status in NO_INFO:
                self._info_refused(response, now)
            self._keypad.done(now)
        elif method != "PRACK":
            # Our PRACK never offers, so that its 200 has nothing for us.
            self.changes.on_response(transaction, response, now)
        self.host.changed(self)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """A request of this session got no final response: as 408 or 503 (RFC 3261 8.1.3.1)."""
        if self.phase in (Phase.ENDING, Phase.OVER):
            if trouble is not Trouble.TRANSPORT or not self._awaits_phone(now):
                self.end(now)
            return
        method = transaction.request.method
        log.info("call %s: %s of %s", self.dialog.call_id, trouble.value, method)
        if trouble is not Trouble.TRANSPORT:
            timer = "timer C" if trouble is Trouble.NO_ANSWER else "timer B" if method == "INVITE" else "timer F"
            self._lost(Cause.RECOVERY_ON_TIMER_EXPIRY, now, timer)
        elif method == "INFO":
            self._keypad.done(now)
        elif method != "PRACK":
            # As 503: the request failed, the session stays (12.2.1.2 ends it after 408 and 481 only).
            self.changes.on_transport_error(transaction, now)

    def _lost(self, cause: Cause, now: int, timer: str = "") -> None:
        self.fail(cause, "no response inside the dialog", now, timer)

    def fail(self, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """End the session with BYE and tell the leg; ``timer`` names one of ours that ran out."""
        owner = self.owner
        if self.phase is Phase.EARLY:
            # Before a final response only the INVITE itself can be ended, and that is the leg's.
            if owner is not None:
                owner.on_session_over(self, cause, text, now, timer)
            return
        self.release(cause, text, now)
        if owner is not None:
            owner.on_session_over(self, cause, text, now, timer)

    # -- the caller's side: early and final responses --

    def learn(self, message: Request | Response) -> None:
        """Keep what the far end says it can do."""
        if "allow" in message.headers.first:
            self.allow = message.allow

    def prack(self, response: Response, body: bytes, now: int) -> None:
        """Acknowledge a reliable provisional response (RFC 3262 4)."""
        fields = [("RAck", f"{response.rseq} {response.cseq.number} INVITE")]
        if body:
            fields.append(SDP_TYPE)
        self.send("PRACK", now, fields, body)

    def confirm(self, response: Response | None, now: int) -> None:
        """The INVITE was answered with 2xx."""
        self.dialog.confirm(response)
        self._set_phase(Phase.CONFIRMED)
        if response is not None:
            self.learn(response)
            self.timer.take_success(response)
            self.restart_session_timer(now)

    def media_settled(self, now: int, *, hold: bool = True) -> None:
        """Offer and answer changed the terms of the media; ``hold`` False leaves telling of hold for later."""
        if self.owner is not None:
            self.owner.on_session_media(self, now)
            if hold:
                self.report_hold(now)

    def report_hold(self, now: int) -> None:
        """Tell the leg if the far end put us on hold, or took us back."""
        held = self.negotiation.held
        if held != self.negotiation.was_held and self.phase is Phase.CONFIRMED and self.owner is not None:
            self.negotiation.was_held = held
            self.owner.on_session_hold(self, held, now)

    def note_identity(self, message: Request | Response, now: int, *, report: bool) -> None:
        """Keep the identity that ``message`` asserts; ``report`` a new one to the leg."""
        if not self.peer.trust_identity:
            return
        party = asserted_party(message, self.peer)
        if party is None or party == self.identity:
            return
        self.identity = party
        if report and self.owner is not None:
            self.owner.on_session_identity(self, party, now)

    # -- the called side --

    def _never_acknowledged(self, now: int) -> None:
        if self._bye is not None:
            self._send_bye(*self._bye, now)
        else:
            timer = "timer H (2xx without ACK)"
            self.fail(Cause.RECOVERY_ON_TIMER_EXPIRY, "2xx was never acknowledged", now, timer)

    def _on_ack(self, request: Request, now: int) -> None:
        if not self.acceptance.acknowledged(request):
            return
        if self._bye is not None:
            self._send_bye(*self._bye, now)
            return
        if self.acceptance.answer_due:
            try:
                body = find_sdp(request)
                if body is None:
                    raise SipError(None, "ACK has no answer to our offer")
                self.negotiation.take_answer(body)
            except SipError as error:
                self.fail(Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, error.text, now)
                return
            self.media_settled(now)
        self.changes.proceed(now)

    # -- requests of the far end --

    def receive(self, request: Request, transaction: ServerTransaction | None, now: int) -> None:
        """A request inside the dialog; ``transaction`` is None for ACK only."""
        if transaction is None:
            if request.method == "ACK":
                self._on_ack(request, now)
            return
        transaction.tag = self.dialog.local_tag
        if self.flow.secure and not transaction.flow.secure:
            # What began over TLS, with keys of SRTP in it, does not go on in the clear (RFC 3261 26.2.2).
            self.refuse(transaction, 403, now)
            return
        if self.to_source and transaction.flow != self.flow and transaction.flow.address == self.flow.address:
            # Its NAT took another port for it. Who takes another address must prove who it is: by registering.
            self.flow = transaction.flow
        if not self.dialog.in_order(request):
            refuse_for_now(self, transaction, now)
            return
        if self.phase is Phase.OVER or (self.phase is Phase.ENDING and request.method != "BYE"):
            self.refuse(transaction, 481, now)
            return
        handler = REQUESTS.get(request.method)
        if handler is None:
            self.refuse(transaction, 405, now, [("Allow", ALLOW)])
            return
        try:
            handler(self, request, transaction, now)
        except SipError as error:
            self.refuse(transaction, error.status or 400, now, warning_fields(error))
        self.host.changed(self)

    @property
    def confirmed(self) -> bool:
        """True between answer and end."""
        return self.phase is Phase.CONFIRMED

    def refuse(self, transaction: ServerTransaction, status: int, now: int, fields: Fields = ()) -> None:
        """Refuse a request of the dialog."""
        self.host.respond(transaction, status, now, fields)

    def refreshed(self, request: Request, offered: bool, now: int) -> None:
        """A re-INVITE or UPDATE was accepted, which had an offer or not."""
        self.dialog.refresh_target(request)
        self.learn(request)
        if self.phase is Phase.CONFIRMED:
            self.restart_session_timer(now)
        if offered:
            self.changed_by_far_end = self.phase is Phase.CONFIRMED
            self.media_settled(now)
        self.note_identity(request, now, report=True)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: int) -> None:
        """CANCEL of a re-INVITE: those are answered at once, so nothing is left to cancel."""

    def on_server_trouble(self, transaction: ServerTransaction, trouble: Trouble, now: int) -> None:
        """The refusal of a re-INVITE was never acknowledged: the session stays as it was."""

    # -- endings --

    def _expired(self, now: int) -> None:
        self.fail(Cause.RECOVERY_ON_TIMER_EXPIRY, "session timer expired", now, "session timer")

    def _refresh(self, now: int) -> None:
        if self.timer.interval and SipTimer.EXPIRY not in self._running:
            self.start(SipTimer.EXPIRY, now, self.timer.expire_after - self.timer.refresh_after)
        self.changes.refresh(now)

    def _gone(self, now: int) -> None:
        self._lost(Cause.NORMAL_UNSPECIFIED, now)

    def _glare_over(self, now: int) -> None:
        if self.phase is Phase.ENDING:
            self._send_bye(*self._why, now)
        else:
            self.changes.waited(now)

    def _stop_usage(self, now: int) -> None:
        self.changes.drop(now)
        for timer in tuple(self._running):
            self.stop(timer)
        self._keypad.clear()
        if self.reliable is not None:
            self.reliable.stop()
            self.reliable = None

    def end(self, now: int) -> None:
        """Nothing is sent or taken any more."""
        if self.phase is Phase.OVER:
            return
        ending = self.phase is Phase.ENDING
        self._set_phase(Phase.OVER)
        self.owner = None
        self.acceptance.stop()
        if not ending:
            self._stop_usage(now)
        for timer in tuple(self._running):
            self.stop(timer)
        self.dialog.terminate()
        self.host.remove_dialog(self.dialog.key)

    def _set_phase(self, phase: Phase) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("session %s: %s -> %s", self.dialog.call_id, self.phase.value, phase.value)
        self.phase = phase

    _EXPIRIES: ClassVar[dict[SipTimer, Callable[[Session, int], None]]] = {
        SipTimer.REFRESH: _refresh,
        SipTimer.EXPIRY: _expired,
        SipTimer.GLARE: _glare_over,
        SipTimer.GONE: _gone,
    }
