"""What arrives: from a message to its transaction (RFC 3261 17), its dialog (12.2.2), or its method's handler (8.2).

Strangers' requests are answered without state. ``handlers`` is where methods outside of dialogs join.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.voip.sip.defence import Offence
from gateway.voip.sip.dtmf_info import DTMF, DTMF_RELAY
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.hop import reply_flow
from gateway.voip.sip.host import ALLOWED_METHODS, OPTION_TAGS, Fields
from gateway.voip.sip.identification import Passed, Stopped
from gateway.voip.sip.in_dialog import options_fields
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.nat import DEFAULT_NAT
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.session import Session
from gateway.voip.sip.stateless import answer_without_state
from gateway.voip.sip.transaction import ServerTransaction
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.uas import RETRY_AFTER_SECONDS
from gateway.voip.sip.validation import check_request, check_usable

if TYPE_CHECKING:
    from gateway.voip.sip.endpoint import SipEndpoint

log = logging.getLogger(__name__)

METHODS = frozenset({*ALLOWED_METHODS, "NOTIFY", "REGISTER"})
URI_SCHEMES = frozenset({"sip", "tel"})
SECURE_URI_SCHEMES = frozenset({"sip", "sips", "tel"})
"""Over TLS. Over anything else sips: has been betrayed on the way here (RFC 3261 26.2.2)."""
TELL_AGAIN = SECOND
BODY_KINDS = frozenset({"application/sdp", DTMF_RELAY, DTMF})
_PLAIN_METHODS = frozenset({"ACK", "BYE"})
REGISTER_TAGS = OPTION_TAGS | {"path"}
"""RFC 3327: the registrar knows it."""
_PROVEN = frozenset({"INVITE", "REGISTER"})
"""Methods outside of dialogs that take a proof of who asks."""

Handler = Callable[[Request, ServerTransaction, Flow, PeerSettings, int], None]
"""Answers a new request outside of dialogs in its transaction. Whom it is from was proven, if that takes a proof."""


class Reception:
    """Requests and responses of one endpoint."""

    def __init__(self, endpoint: SipEndpoint) -> None:
        self._endpoint = endpoint
        self._counters = endpoint.counters
        self._peers = endpoint.peers
        self._transactions = endpoint.transactions
        self._dialogs = endpoint.dialog_table
        self._strangers = endpoint.strangers
        self._identification = endpoint.identification
        # When what is no message is told again.
        self._tell_at = 0
        self.handlers: dict[str, Handler] = {
            "INVITE": self._on_invite,
            "OPTIONS": self._on_options,
            "REFER": self._on_refer,
            "REGISTER": endpoint.phones.on_register,
        }

    def broken(self, error: SipError, flow: Flow, now: int) -> None:
        """Bytes came that are no message."""
        self._counters.garbage += 1
        # What a stranger sends is no event: it may send it a thousand times a second. Of a peer one a second is enough.
        known = self._strangers.known(flow.address)
        told = known and now >= self._tell_at
        if told:
            self._tell_at = now + TELL_AGAIN
        level = logging.INFO if told else logging.DEBUG
        if not known:
            self._endpoint.defence.offended(flow.address, Offence.GARBAGE, now)
        if log.isEnabledFor(level):
            log.log(level, "from %s: %s", flow, error)
        request = error.request
        if request is None or error.status is None:
            return
        self._reject(request, flow, error.status, (), now)

    def receive(self, message: Request | Response, flow: Flow, now: int) -> None:
        """A message came. Nothing that it may hold raises."""
        suspects = self._endpoint.suspects
        if suspects.names:
            peer = self._peers.match(flow)
            if peer is not None:
                self._endpoint.far_ends.heard(peer.name, now)
                suspects.heard(peer.name)
        if isinstance(message, Request):
            self._counters.requests += 1
            self._receive_request(message, flow, now)
            return
        self._counters.responses += 1
        try:
            check_usable(message)
            self._transactions.receive_response(message, now)
        except SipError as error:
            self._counters.garbage += 1
            log.debug("response from %s dropped: %s", flow, error)

    def _is_late(self, request: Request, flow: Flow) -> bool:
        """Whether something new begins over a socket that is there for standing calls alone: as if it were closed."""
        if flow.listener not in self._endpoint.retired or request.method in ("ACK", "CANCEL"):
            return False
        return self._endpoint.settings.listeners[flow.listener].transport == flow.transport and request.to.tag is None

    def _receive_request(self, request: Request, flow: Flow, now: int) -> None:
        if request.method in _PLAIN_METHODS:
            session = self._dialogs.find_as_known(request)
            if session is not None:
                self._receive_plain(request, session, flow, now)
                return
        rejection = check_request(
            request,
            methods=METHODS,
            option_tags=OPTION_TAGS if request.method != "REGISTER" else REGISTER_TAGS,
            body_kinds=BODY_KINDS,
            schemes=SECURE_URI_SCHEMES if flow.secure else URI_SCHEMES,
            forwarding=False,
        )
        if rejection is not None:
            self._reject(request, flow, rejection.status, rejection.headers, now)
            return
        if self._endpoint.retired and self._is_late(request, flow):
            return
        request.stamp_source(flow.address, flow.port)
        try:
            if self._transactions.absorb(request, now):
                return
            if request.method == "ACK":
                session = self._dialogs.find(request)
                if session is not None and (flow.secure or not session.flow.secure):
                    session.receive(request, None, now)
                return
            self._new_request(request, flow, now)
        except SipError as error:
            self._reject(request, flow, error.status or 400, (), now)

    def _receive_plain(self, request: Request, session: Session, flow: Flow, now: int) -> None:
        """An ACK or BYE without body of a dialog: From and To need not be parsed again, nor anything refused."""
        try:
            if request.cseq.method != request.method:
                raise SipError(400, f"CSeq names another method than {request.method}")
            if request.method != "ACK":
                # An ACK is never answered, so that nobody asks for its way back.
                request.stamp_source(flow.address, flow.port)
            if self._transactions.absorb(request, now):
                return
            if request.method == "ACK":
                if flow.secure or not session.flow.secure:
                    session.receive(request, None, now)
                return
            if flow.address != session.flow.address and self._stopped_in_dialog(request, session, flow, now):
                return
            where = reply_flow(request.via, flow, session.peer.nat)
            transaction = self._transactions.accept(request, flow, where, now, initial=False)
            session.receive(request, transaction, now)
        except SipError as error:
            self._reject(request, flow, error.status or 400, (), now)
        except TableFull:
            self._overload(request, flow)

    def _overload(self, request: Request, flow: Flow) -> None:
        self._counters.overload += 1
        self._answer(request, flow, 503, (("Retry-After", str(RETRY_AFTER_SECONDS)),))

    def _answer(self, request: Request, flow: Flow, status: int, fields: Fields) -> None:
        answer_without_state(request, flow, status, fields, self._endpoint.send)

    def _new_request(self, request: Request, flow: Flow, now: int) -> None:
        transactions = self._transactions
        cancelled = transactions.find_cancelled(request) if request.method == "CANCEL" else None
        if cancelled is not None and (
            cancelled.flow.address != flow.address or (cancelled.flow.secure and not flow.secure)
        ):
            # 9.1: whoever sent the INVITE cancels it. Many a far end's branches can be guessed.
            cancelled = None
        initial = request.to.tag is None
        merged = initial and request.method != "CANCEL" and transactions.is_merged(request)
        if merged and "authorization" in request.headers.first:
            # 8.2.2.2, before its credentials, which were used with the request that came first, are called a replay.
            self._answer(request, flow, 482, ())
            return
        session = None if initial else self._dialogs.find(request)
        peer: PeerSettings | None = None
        if session is not None:
            if self._stopped_in_dialog(request, session, flow, now):
                return
        elif initial and request.method in _PROVEN:
            admission = self._identification.admit(request, flow, now)
            if isinstance(admission, Stopped):
                self._stopped(request, flow, admission, now)
                return
            peer = admission.peer
            if peer is None and self._crowded(request, flow):
                return
        elif cancelled is None:
            peer = self._identification.identify(flow)
            if peer is None and self._dismissed(request, flow):
                return
        try:
            known = session.peer if session is not None else peer
            if known is None and request.via.maddr is not None:
                where = flow
            else:
                where = reply_flow(request.via, flow, DEFAULT_NAT if known is None else known.nat)
            transaction = transactions.accept(request, flow, where, now, initial=initial)
        except TableFull:
            self._overload(request, flow)
            return
        try:
            self._dispatch(request, transaction, flow, session, peer, cancelled, merged, now)
        except SipError as error:
            self._counters.rejected += 1
            self._endpoint.respond(transaction, error.status or 400, now)

    def _stopped_in_dialog(self, request: Request, session: Session, flow: Flow, now: int) -> bool:
        if request.method == "CANCEL":
            # 22.1: nobody can be asked for a proof here; it knows the branch of what it cancels.
            return False
        admission = self._identification.admit_in_dialog(request, session, flow, now)
        if isinstance(admission, Passed):
            if admission.found:
                session.follow(flow, now)
            return False
        self._stopped(request, flow, admission, now)
        return True

    def _stopped(self, request: Request, flow: Flow, stopped: Stopped, now: int) -> None:
        """Refuse or challenge without state: whoever floods us fills no table."""
        if request.method == "INVITE" and request.to.tag is None:
            self._counters.strangers += 1
            self._endpoint.resolve(self._strangers.names_to_ask(now))
        self._answer(request, flow, stopped.status, stopped.fields)

    def _crowded(self, request: Request, flow: Flow) -> bool:
        """Refuse a stranger's call if there are too many."""
        if not self._strangers.crowded(flow.address):
            return False
        self._counters.strangers += 1
        self._overload(request, flow)
        return True

    def _dismissed(self, request: Request, flow: Flow) -> bool:
        """Answer a stranger's request without state; False if it is none that a stranger can be answered so."""
        status = self._strangers.status_for(request)
        fields: Fields = ()
        if status == 200:
            status, fields = self._options(flow)
        self._answer(request, flow, status, fields)
        return True

    def _dispatch(
        self,
        request: Request,
        transaction: ServerTransaction,
        flow: Flow,
        session: Session | None,
        peer: PeerSettings | None,
        cancelled: ServerTransaction | None,
        merged: bool,
        now: int,
    ) -> None:
        respond = self._endpoint.respond
        if request.method == "CANCEL":
            self._on_cancel(request, transaction, cancelled, now)
        elif request.to.tag is not None:
            if session is not None:
                session.receive(request, transaction, now)
            else:
                respond(transaction, 481, now)
        elif merged:
            respond(transaction, 482, now)
        elif peer is None:
            self._endpoint.incoming.receive(request, transaction, flow, None, now)
        else:
            handler = self.handlers.get(request.method)
            if handler is not None:
                handler(request, transaction, flow, peer, now)
            else:
                # A method that lives in dialogs only, without one (RFC 3261 12.2.2, RFC 6665 4.1.3).
                respond(transaction, 481, now)

    def _on_invite(
        self, request: Request, transaction: ServerTransaction, flow: Flow, peer: PeerSettings, now: int
    ) -> None:
        self._endpoint.incoming.receive(request, transaction, flow, peer, now)

    def _on_options(
        self, _request: Request, transaction: ServerTransaction, flow: Flow, _peer: PeerSettings, now: int
    ) -> None:
        status, fields = self._options(flow)
        self._endpoint.respond(transaction, status, now, fields)

    def _on_refer(
        self, _request: Request, transaction: ServerTransaction, _flow: Flow, _peer: PeerSettings, now: int
    ) -> None:
        # As in a dialog: see Session.
        self._endpoint.respond(transaction, 603, now)

    def _options(self, flow: Flow) -> tuple[int, Fields]:
        """Status and header fields for OPTIONS: the status is what an INVITE would get now (RFC 3261 11.2)."""
        endpoint = self._endpoint
        fields = options_fields(endpoint.outbound.contact(flow, ""))
        if len(endpoint.legs) < endpoint.settings.max_calls:
            return 200, fields
        return 503, [*fields, ("Retry-After", str(RETRY_AFTER_SECONDS))]

    def _on_cancel(
        self, cancel: Request, transaction: ServerTransaction, invite: ServerTransaction | None, now: int
    ) -> None:
        if invite is None:
            self._endpoint.respond(transaction, 481, now)
            return
        transaction.tag = invite.tag
        self._endpoint.respond(transaction, 200, now)
        if invite.status < 200 and invite.user is not None:
            invite.user.on_cancel(invite, cancel, now)

    def _reject(self, request: Request, flow: Flow, status: int, fields: tuple[tuple[str, str], ...], now: int) -> None:
        """Answer a request that is not fit for more; in a transaction where it has what that takes."""
        self._counters.rejected += 1
        if request.method == "ACK":
            return
        try:
            request.stamp_source(flow.address, flow.port)
            if self._transactions.absorb(request, now):
                return
            known = self._peers.match(flow)
            if request.method == "INVITE" and known is not None:
                where, initial = reply_flow(request.via, flow, known.nat), request.to.tag is None
                transaction = self._transactions.accept(request, flow, where, now, initial=initial)
                self._endpoint.respond(transaction, status, now, fields)
                return
        except (SipError, TableFull):
            pass
        self._answer(request, flow, status, fields)
