"""The INVITE usage of one dialog (RFC 3261 12 to 15, RFC 5057): what arrives inside it, ACK, BYE, digits, expiry.

Our own re-INVITE and UPDATE are in ``changes.py``, the first INVITE in ``uac.py`` and ``uas.py``. An early session of a
forked call is one of several of its leg.
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
from gateway.voip.sip.body import find_sdp
from gateway.voip.sip.causes import cause_for_bye
from gateway.voip.sip.changes import Changes
from gateway.voip.sip.dialog import Dialog
from gateway.voip.sip.dtmf_info import decode
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import ACCEPT, ALLOW, SUPPORTED, Fields, Host, warning_fields
from gateway.voip.sip.keypad import KeypadSender
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.parties import asserted_party, q850_of, reason_fields
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.refresh import SessionTimer
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientTransaction, ServerTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.values import NameAddr

if TYPE_CHECKING:
    from gateway.voip.sip.reliable import ReliableResponses

log = logging.getLogger(__name__)

MAX_RETRY_AFTER = 10
"""RFC 3261 14.2: a Retry-After of 0 to 10 s for an INVITE that came too early."""
SDP_TYPE = ("Content-Type", "application/sdp")


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

    def on_session_identity(self, session: Session, party: Party, now: int) -> None:
        """The far end says who is connected now."""

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
    ) -> None:
        self.host = host
        self.owner: SessionOwner | None = owner
        self.peer = peer
        self.dialog = dialog
        self.negotiation = negotiation
        self.flow = flow
        self.contact = contact
        self.phase = Phase.EARLY
        self._hop: tuple[str, tuple[NameAddr, ...], Flow, Flow] | None = None
        self.allow: frozenset[str] = frozenset()
        self.timer = timer
        # What it calls back by does not keep it in memory, so that a call leaves nothing for the collector.
        this: Session = proxy(self)
        self.changes = Changes(self)
        self.reliable: ReliableResponses | None = None
        # On the called side: the INVITE that has no final response yet.
        self.invited: ServerTransaction | None = None
        self.identity: Party | None = None
        self.acceptance = Acceptance(host, lambda now: this._never_acknowledged(now))
        self._bye: tuple[Cause, str] | None = None
        self._acks: dict[int, bytes] = {}
        self._keypad = KeypadSender(lambda fields, body, now: this._send_info(fields, body, now))
        self._running: set[SipTimer] = set()
        host.add_dialog(dialog.key, self)

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

    def send(self, method: str, now: int, fields: list[tuple[str, str]], body: bytes = b"") -> ClientTransaction | None:
        """Send a request inside the dialog; None if the transaction table is full."""
        flow = self._flow()
        outbound = self.host.outbound
        via = outbound.via(flow)
        request = self.dialog.request(method, via.text, fields, body)
        try:
            return outbound.request(request, via, flow, self, now)
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
        request = self.dialog.request("ACK", self.host.outbound.via(flow).text, fields, body)
        while len(self._acks) >= 2:
            del self._acks[next(iter(self._acks))]
        self._acks[number] = self.host.outbound.send_alone(request, flow)

    @property
    def quiet(self) -> bool:
        """True if a change of ours may go out now."""
        return (
            self.phase is Phase.CONFIRMED
            and not self.acceptance.pending
            and SipTimer.GLARE not in self._running
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
        self._over(now)

    def keypad(self, digits: str, milliseconds: int, now: int) -> None:
        """Send digits by INFO."""
        if self.phase is Phase.CONFIRMED:
            self._keypad.add(digits, milliseconds, now)

    def _send_info(self, fields: list[tuple[str, str]], body: bytes, now: int) -> bool:
        return self.send("INFO", now, fields, body) is not None

    def _send_bye(self, cause: Cause, text: str, now: int) -> None:
        self._bye = None
        if self.send("BYE", now, reason_fields(cause, text)) is None:
            self._over(now)

    @property
    def addresses(self) -> tuple[str, str]:
        """Where the first request went to or came from, and where the next one goes."""
        return self.flow.address, self._flow().address

    def _flow(self) -> Flow:
        # Where the last request went the next one goes too, unless something changed.
        dialog = self.dialog
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
            self._over(now)
        elif response.status in (408, 481) and method != "PRACK":
            # RFC 3261 12.2.1.2: the far end has lost the dialog.
            self._lost(Cause.RECOVERY_ON_TIMER_EXPIRY if response.status == 408 else Cause.NORMAL_UNSPECIFIED, now)
        elif method == "INFO":
            self._keypad.done(now)
        elif method != "PRACK":
            # Our PRACK never offers, so that its 200 has nothing for us.
            self.changes.on_response(transaction, response, now)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """A request of this session got no final response: as 408 or 503 (RFC 3261 8.1.3.1)."""
        if self.phase in (Phase.ENDING, Phase.OVER):
            self._over(now)
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
        if not self.dialog.in_order(request):
            self._refuse(transaction, 500, now, [("Retry-After", str(self.host.rng.randint(0, MAX_RETRY_AFTER)))])
            return
        if self.phase is Phase.OVER or (self.phase is Phase.ENDING and request.method != "BYE"):
            self._refuse(transaction, 481, now)
            return
        handler = self._REQUESTS.get(request.method)
        if handler is None:
            self._refuse(transaction, 405, now, [("Allow", ALLOW)])
            return
        try:
            handler(self, request, transaction, now)
        except SipError as error:
            self._refuse(transaction, error.status or 400, now, warning_fields(error))

    def _refuse(
        self, transaction: ServerTransaction, status: int, now: int, fields: Fields = (), reason: str | None = None
    ) -> None:
        self.host.respond(transaction, status, now, fields, b"", reason)

    def _on_bye(self, request: Request, transaction: ServerTransaction, now: int) -> None:
        self.host.respond(transaction, 200, now)
        if self.invited is not None:
            # RFC 3261 15.1.2: a BYE to an early dialog ends its INVITE with 487.
            invited, self.invited = self.invited, None
            self.host.respond(invited, 487, now)
        owner = self.owner
        self._over(now)
        if owner is not None:
            owner.on_session_over(self, cause_for_bye(q850_of(request)), "", now)

    @property
    def _awaits_answer(self) -> bool:
        return self.acceptance.pending and self.acceptance.answer_due

    def _on_reinvite(self, request: Request, transaction: ServerTransaction, now: int) -> None:
        transaction.user = self
        if self.invited is not None:
            self._refuse(transaction, 500, now, [("Retry-After", str(self.host.rng.randint(0, MAX_RETRY_AFTER)))])
            return
        if self.changes.busy or self._awaits_answer or self.phase is not Phase.CONFIRMED:
            self._refuse(transaction, 491, now)
            return
        if self.timer.too_small(request):
            self._refuse(transaction, 422, now, self.timer.refusal_fields())
            return
        body = find_sdp(request)
        answer = self.negotiation.take_offer(body) if body is not None else self.negotiation.make_offer()
        fields = self._success_fields(request)
        fields.append(SDP_TYPE)
        self.acceptance.send(transaction, fields, answer, now, answer_due=body is None)
        self._refreshed(request, body is not None, now)

    def _on_update(self, request: Request, transaction: ServerTransaction, now: int) -> None:
        body = find_sdp(request)
        if body is not None:
            if self.changes.offering or self.negotiation.awaiting_answer:
                self._refuse(transaction, 491, now)
                return
            if self.negotiation.owes_answer:
                # RFC 3311 5.2: the INVITE's own offer is still without an answer.
                self._refuse(transaction, 500, now, [("Retry-After", str(self.host.rng.randint(0, MAX_RETRY_AFTER)))])
                return
        if self.timer.too_small(request):
            self._refuse(transaction, 422, now, self.timer.refusal_fields())
            return
        answer = self.negotiation.take_offer(body) if body is not None else b""
        fields = self._success_fields(request)
        if answer:
            fields.append(SDP_TYPE)
        self.host.respond(transaction, 200, now, fields, answer)
        self._refreshed(request, body is not None, now)

    def _success_fields(self, request: Request) -> list[tuple[str, str]]:
        return [
            ("Contact", self.contact),
            ("Allow", ALLOW),
            ("Supported", SUPPORTED),
            *self.timer.take_request(request),
        ]

    def _refreshed(self, request: Request, offered: bool, now: int) -> None:
        self.dialog.refresh_target(request)
        self.learn(request)
        if self.phase is Phase.CONFIRMED:
            self.restart_session_timer(now)
        if offered:
            self.media_settled(now)
        self.note_identity(request, now, report=True)

    def _on_prack(self, request: Request, transaction: ServerTransaction, now: int) -> None:
        rack = request.rack
        if rack is None or self.reliable is None or not self.reliable.matches(rack):
            self._refuse(transaction, 481, now)
            return
        body = find_sdp(request)
        fields: list[tuple[str, str]] = []
        answer = b""
        settled = False
        if body is not None:
            if self.negotiation.awaiting_answer:
                self.negotiation.take_answer(body)
            else:
                answer = self.negotiation.take_offer(body)
                fields.append(SDP_TYPE)
            settled = True
        self.host.respond(transaction, 200, now, fields, answer)
        if settled:
            self.media_settled(now)
        self.reliable.acknowledged(now)

    def _on_info(self, request: Request, transaction: ServerTransaction, now: int) -> None:
        content_type = request.content_type
        if content_type is None or not request.body:
            self.host.respond(transaction, 200, now)
            return
        try:
            digits, milliseconds = decode(content_type.full, request.body)
        except SipError as error:
            self._refuse(transaction, error.status or 400, now, [("Accept", ACCEPT)] if error.status == 415 else ())
            return
        self.host.respond(transaction, 200, now)
        if self.owner is not None:
            self.owner.on_session_digits(self, digits, milliseconds, now)

    def _on_options(self, _request: Request, transaction: ServerTransaction, now: int) -> None:
        self.host.respond(transaction, 200, now, options_fields(self.contact))

    def _on_refer(self, _request: Request, transaction: ServerTransaction, now: int) -> None:
        # Transfer joins here: Refer-To becomes Transferred(target), answered 202 with NOTIFYs (RFC 3515).
        self._refuse(transaction, 603, now)

    def _on_notify(self, _request: Request, transaction: ServerTransaction, now: int) -> None:
        # RFC 6665 4.1.3: we have subscribed to nothing.
        self._refuse(transaction, 481, now)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: int) -> None:
        """CANCEL of a re-INVITE: those are answered at once, so nothing is left to cancel."""

    def on_server_trouble(self, transaction: ServerTransaction, trouble: Trouble, now: int) -> None:
        """The refusal of a re-INVITE was never acknowledged: the session stays as it was."""

    # -- endings --

    def _expired(self, now: int) -> None:
        self.fail(Cause.RECOVERY_ON_TIMER_EXPIRY, "session timer expired", now, "session timer")

    def _refresh(self, now: int) -> None:
        if SipTimer.EXPIRY not in self._running:
            self.start(SipTimer.EXPIRY, now, self.timer.expire_after - self.timer.refresh_after)
        self.changes.refresh(now)

    def _glare_over(self, now: int) -> None:
        self.changes.proceed(now)

    def _stop_usage(self, now: int) -> None:
        self.changes.drop(now)
        if self._running:
            for timer in (SipTimer.REFRESH, SipTimer.EXPIRY, SipTimer.GLARE):
                self.stop(timer)
        self._keypad.clear()
        if self.reliable is not None:
            self.reliable.stop()
            self.reliable = None

    def _over(self, now: int) -> None:
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
    }
    _REQUESTS: ClassVar[dict[str, Callable[[Session, Request, ServerTransaction, int], None]]] = {
        "BYE": _on_bye,
        "INVITE": _on_reinvite,
        "UPDATE": _on_update,
        "PRACK": _on_prack,
        "INFO": _on_info,
        "OPTIONS": _on_options,
        "REFER": _on_refer,
        "NOTIFY": _on_notify,
    }


def options_fields(contact: str) -> list[tuple[str, str]]:
    """What a 200 to OPTIONS says of us (RFC 3261 11.2)."""
    return [
        ("Contact", contact),
        ("Allow", ALLOW),
        ("Accept", ACCEPT),
        ("Accept-Encoding", "identity"),
        ("Accept-Language", "en"),
        ("Supported", SUPPORTED),
    ]
