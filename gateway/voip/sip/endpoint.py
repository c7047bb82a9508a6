"""The SIP endpoint: datagrams and streams in, messages, legs and their events out. Sans-I/O (``gateway.core``).

Composes parser, transactions, dialogs and legs. Out-of-dialog requests end here; REGISTER, digest and SRTP are the next
issue's: ``credentials`` and ``PeerTable`` are their places.
"""

from __future__ import annotations

import logging
import random
import zlib
from collections import deque
from collections.abc import Callable

from gateway.cause import Cause
from gateway.core import TimerQueue
from gateway.identity import Number
from gateway.leg import Leg, LegEvent, Listener, NotOffered, Offered, OnNotOffered, Released, Setup
from gateway.media.api import Media
from gateway.voip.sip.admission import Refusal, open_call, setup_of
from gateway.voip.sip.causes import cause_for_sip
from gateway.voip.sip.composed import field_lines
from gateway.voip.sip.counters import EndpointCounters
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.dtmf_info import DTMF, DTMF_RELAY
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import DEFAULT_PORT, RELIABLE, Close, Flow, Resolve, Send, bracketed
from gateway.voip.sip.hop import AdvertisedAddress, reply_flow
from gateway.voip.sip.host import ALLOWED_METHODS, OPTION_TAGS, Fields
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import SIP_VERSION, Request, Response
from gateway.voip.sip.outbound import Outbound
from gateway.voip.sip.parser import StreamParser, parse
from gateway.voip.sip.peers import Credentials, PeerSettings, PeerTable, SipSettings
from gateway.voip.sip.session import Session, options_fields
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.strangers import Strangers
from gateway.voip.sip.suspects import Suspects
from gateway.voip.sip.timers import durations
from gateway.voip.sip.transaction import ServerTransaction, Timers
from gateway.voip.sip.transactions import TableFull, Transactions
from gateway.voip.sip.uas import RETRY_AFTER_SECONDS
from gateway.voip.sip.validation import check_request, check_usable

log = logging.getLogger(__name__)

MAX_STREAMS = 1024
"""TCP connections at a time; a further one is closed."""
MAX_PONGS = 8
"""Keep-alives answered of those that arrive at once: who sends more does not wait for the answers."""
METHODS = frozenset({*ALLOWED_METHODS, "NOTIFY"})
URI_SCHEMES = frozenset({"sip", "tel"})
"""sips: joins with TLS: until then nobody is promised a secure call (RFC 3261 26.2.2)."""
BODY_KINDS = frozenset({"application/sdp", DTMF_RELAY, DTMF})
_PONG = b"\r\n"
ASKED_AGAIN = frozenset({420, 421, 422})
"""Refusals of how a call was asked for, not of the call: the caller asks once more in another way."""
_SINGLE = frozenset({"from", "to", "cseq", "call-id"})
_PLAIN_METHODS = frozenset({"ACK", "BYE"})

OnOffer = Callable[[Leg, Offered, int], "Listener | None"]
Output = Send | Close | Resolve


class SipEndpoint:
    """All SIP of the gateway. ``local_for`` says which local address reaches a remote one.

    ``on_offer`` is called from ``poll`` for each incoming call; it returns the leg's listener, or None to refuse it.
    """

    def __init__(
        self,
        settings: SipSettings,
        media: Media,
        rng: random.Random,
        on_offer: OnOffer,
        *,
        local_for: Callable[[str], str] = lambda remote: "::1" if ":" in remote else "127.0.0.1",
        credentials: Credentials | None = None,
        on_not_offered: OnNotOffered | None = None,
    ) -> None:
        self.settings = settings
        self.media = media
        self.rng = rng
        self.credentials = credentials
        self.suspects = Suspects()
        self.counters = EndpointCounters()
        self.timers: Timers = TimerQueue()
        self.durations = durations(settings.timers)
        self.transactions = Transactions(self.timers, self.durations, rng, self._send)
        self.waits = self.transactions.waits
        self.peers = PeerTable(settings.peers)
        self.dialogs: dict[DialogKey, Session] = {}
        self.strangers = Strangers(settings, self.peers, self.transactions, self.dialogs)
        advertised = AdvertisedAddress(settings.listeners, local_for)
        self.outbound = Outbound(self.transactions, settings.listeners, advertised, self._send)
        self.legs: dict[str, SipLeg] = {}
        # The same dialogs by Call-ID and the whole values of To and From, as the far end repeats them.
        self._sessions: dict[tuple[str, str, str], Session] = {}
        self._on_offer = on_offer
        self._on_not_offered = on_not_offered
        self._streams: dict[Flow, StreamParser] = {}
        self._out: deque[Output] = deque()
        self._events: deque[tuple[SipLeg, LegEvent]] = deque()
        self._replies: deque[Callable[[int], None]] = deque()
        self._serial = 0
        self._now = 0
        for host in self.peers.unresolved():
            self._out.append(Resolve(host))

    # -- the contract of gateway.core --

    def receive(self, data: bytes, flow: Flow, now: int) -> None:
        """A datagram, or bytes of a stream, arrived on ``flow``. Nothing that it may hold raises."""
        self._now = now
        if flow.transport in RELIABLE:
            self._receive_stream(data, flow, now)
            return
        if self.strangers.unheard(flow.address, now):
            self.counters.overload += 1
            return
        if len(data) < 12 or data[0] < 0x20:
            # CR LF keep-alives, STUN (first two bits zero, RFC 5389 6) and the like; CR LF may come first (3261 7.5).
            data = data.lstrip(b"\r\n")
            if not data.strip(b"\0 ") or data[0] < 4:
                self.counters.keepalives += 1
                return
        try:
            message = parse(data)
        except SipError as error:
            self._broken(error, flow, now)
            return
        self._receive_message(message, flow, now)

    def connection_lost(self, flow: Flow, now: int) -> None:
        """The connection of ``flow`` is gone, or could not be opened."""
        self._now = now
        self._streams.pop(flow, None)
        if flow.connection:
            # Calls outlive their connection: what is still to be sent opens a new one (RFC 3261 18.1.1).
            for session in self.dialogs.values():
                if session.flow == flow:
                    session.flow = Flow(flow.transport, flow.address, session.peer.port)
        self.transactions.transport_failed(flow, now)

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The answer to a Resolve; without addresses the name is asked for again when it is next called."""
        self._now = now
        self.peers.resolved(host, addresses)

    def handle_timer(self, now: int) -> None:
        """Let everything that is due happen."""
        self._now = now
        for owner, timer in self.timers.expired(now):
            owner.expire(timer, now)

    def enter(self, now: int) -> None:
        """What is drained from now on happens at ``now``: replies of the media engine bring no time along."""
        if now > self._now:
            self._now = now

    def next_timer(self) -> int | None:
        """The earliest deadline, or None; at once while there is something to drain."""
        if self._events or self._replies or self._out:
            return self._now
        return self.timers.next_timer()

    def poll(self) -> Output | None:
        """The next thing to send or do; tells leg events to their listeners on the way. None when there is no more."""
        out = self._out
        while not out:
            if self._replies:
                self._replies.popleft()(self._now)
            elif self._events:
                self._tell(*self._events.popleft())
            else:
                return None
        return out.popleft()

    # -- calls --

    def new_leg(self, peer: str, now: int) -> SipLeg | Cause:
        """A leg for a call to the peer called ``peer``, to be placed; or why there is none."""
        self._now = now
        settings = self.peers.get(peer)
        if settings is None:
            return Cause.NO_ROUTE_TO_DESTINATION
        if len(self.legs) >= self.settings.max_calls:
            self.counters.overload += 1
            return Cause.SWITCHING_EQUIPMENT_CONGESTION
        flow = self.peers.flow(settings, self.outbound.listener_for)
        if flow is None:
            self._out.extend(Resolve(host) for host in self.peers.unresolved() if host == settings.host)
            return Cause.DESTINATION_OUT_OF_ORDER
        self.counters.calls_out += 1
        host = bracketed(settings.host.strip("[]"))
        if settings.port != DEFAULT_PORT:
            host = f"{host}:{settings.port}"
        return self._make_leg(settings, flow, host, settings.name)

    def _make_leg(self, peer: PeerSettings, flow: Flow, remote_host: str, source: str) -> SipLeg:
        self._serial += 1
        name = f"sip/{source or 'stranger'}-{self._serial}"
        address = self.outbound.advertised.of(flow.address, flow.listener)
        leg = SipLeg(self, name, peer, flow, address, remote_host, source=source)
        self.legs[name] = leg
        if not source:
            self.strangers.calls += 1
        return leg

    @property
    def idle(self) -> bool:
        """True if no leg, dialog, transaction or timer is left."""
        return not self.legs and not self.dialogs and not len(self.transactions) and self._timers_idle

    @property
    def _timers_idle(self) -> bool:
        # What lines are left is stopped: whoever could wait is gone.
        return len(self.timers) == self.waits.running

    def statistics(self) -> dict[str, int]:
        """Counters for the operator."""
        counted = {name: getattr(self.counters, name) for name in EndpointCounters.__slots__}
        table = self.transactions.counters
        return {
            **counted,
            "legs": len(self.legs),
            "dialogs": len(self.dialogs),
            "transactions": len(self.transactions),
            "retransmissions": table.retransmissions,
            "stray_responses": table.stray_responses,
        }

    # -- Host --

    def new_tag(self) -> str:
        """A new From or To tag."""
        return f"{self.rng.getrandbits(48):x}"

    def add_dialog(self, key: DialogKey, session: Session) -> None:
        """Let ``session`` have the requests of the dialog ``key``."""
        self.dialogs[key] = session
        dialog = session.dialog
        self._sessions[(dialog.call_id, dialog.local, dialog.remote)] = session

    def remove_dialog(self, key: DialogKey) -> None:
        """The dialog is over."""
        session = self.dialogs.pop(key, None)
        if session is not None:
            dialog = session.dialog
            self._sessions.pop((dialog.call_id, dialog.local, dialog.remote), None)

    def queue(self, leg: SipLeg, event: LegEvent) -> None:
        """Tell ``leg``'s listener ``event`` from the drain loop."""
        self._events.append((leg, event))

    def media_replied(self, handle: Callable[[int], None]) -> None:
        """The media engine answered: ``handle`` it from the drain loop."""
        self._replies.append(handle)

    def leg_over(self, leg: SipLeg) -> None:
        """``leg`` has queued its Released."""
        if self.legs.pop(leg.name, None) is not None and not leg.peer.name:
            self.strangers.calls -= 1

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: int,
        fields: Fields = (),
        body: bytes = b"",
        reason: str | None = None,
    ) -> bytes:
        """Answer ``transaction``'s request; returns the bytes sent."""
        if not transaction.tag:
            transaction.tag = self.new_tag()
        own = field_lines(fields) if fields else ""
        if own.count("\n") != len(fields) or own.count("\r") != len(fields):
            raise ValueError(f"a header field of a {status} has a line end in it")
        echoed = transaction.request.echoed(status, transaction.tag if transaction.initial else None)
        phrase = reason_phrase(status) if reason is None else reason
        head = f"SIP/2.0 {status} {phrase}\r\n{echoed}{own}Content-Length: {len(body)}\r\n\r\n"
        data = head.encode("utf-8", "surrogateescape") + body
        transaction.respond(status, data, now)
        return data

    # -- messages --

    def _send(self, flow: Flow, data: bytes) -> None:
        self._out.append(Send(flow, data))

    def _tell(self, leg: SipLeg, event: LegEvent) -> None:
        if isinstance(event, Offered):
            self._offer(leg, event)
            return
        listener = leg.listener
        if listener is not None:
            listener.on_leg(leg, event, self._now)
        if isinstance(event, Released):
            leg.let_go()

    def _receive_stream(self, data: bytes, flow: Flow, now: int) -> None:
        parser = self._streams.get(flow)
        if parser is None:
            if len(self._streams) >= MAX_STREAMS:
                self.counters.overload += 1
                self._out.append(Close(flow, f"more than {MAX_STREAMS} connections"))
                return
            parser = self._streams[flow] = StreamParser()
        parser.feed(data)
        pings = parser.pings
        try:
            while (message := parser.next_message()) is not None:
                if self.strangers.unheard(flow.address, now):
                    self.counters.overload += 1
                    raise SipError(None, "a stranger sends more than is read")
                self._receive_message(message, flow, now)
        except SipError as error:
            self._broken(error, flow, now)
            self._streams.pop(flow, None)
            self._out.append(Close(flow, error.text))
            return
        pings = parser.pings - pings
        self.counters.keepalives += pings
        for _ in range(min(pings, MAX_PONGS)):
            # RFC 5626 4.4.1: a double CR LF is answered with a single one.
            self._send(flow, _PONG)

    def _broken(self, error: SipError, flow: Flow, now: int) -> None:
        self.counters.garbage += 1
        # What a stranger sends is no event: it may send it a thousand times a second.
        level = logging.DEBUG if self.peers.match(flow) is None else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "from %s: %s", flow, error)
        request = error.request
        if request is None or error.status is None:
            return
        self._reject(request, flow, error.status, (), now)

    def _receive_message(self, message: Request | Response, flow: Flow, now: int) -> None:
        if self.suspects.names:
            peer = self.peers.match(flow)
            if peer is not None:
                self.suspects.heard(peer.name)
        if isinstance(message, Request):
            self.counters.requests += 1
            self._receive_request(message, flow, now)
            return
        self.counters.responses += 1
        try:
            check_usable(message)
            self.transactions.receive_response(message, now)
        except SipError as error:
            self.counters.garbage += 1
            log.debug("response from %s dropped: %s", flow, error)

    def _receive_request(self, request: Request, flow: Flow, now: int) -> None:
        if request.method in _PLAIN_METHODS:
            session = self._find_dialog_as_known(request)
            if session is not None:
                self._receive_plain(request, session, flow, now)
                return
        rejection = check_request(
            request,
            methods=METHODS,
            option_tags=OPTION_TAGS,
            body_kinds=BODY_KINDS,
            schemes=URI_SCHEMES,
            forwarding=False,
        )
        if rejection is not None:
            self._reject(request, flow, rejection.status, rejection.headers, now)
            return
        request.stamp_source(flow.address, flow.port)
        try:
            if self.transactions.absorb(request, now):
                return
            if request.method == "ACK":
                session = self._find_dialog(request)
                if session is not None:
                    session.receive(request, None, now)
                return
            self._new_request(request, flow, now)
        except SipError as error:
            self._reject(request, flow, error.status or 400, (), now)

    def _find_dialog_as_known(self, request: Request) -> Session | None:
        """The dialog of a request whose Call-ID, From and To are letter by letter as in the one that made it."""
        headers = request.headers
        first = headers.first
        session = self._sessions.get((first.get("call-id", ""), first.get("to", ""), first.get("from", "")))
        if session is None or request.body or "require" in first or request.version != SIP_VERSION:
            return None
        if "cseq" not in first or (headers.repeated and not _SINGLE.isdisjoint(headers.repeated)):
            return None
        return session

    def _receive_plain(self, request: Request, session: Session, flow: Flow, now: int) -> None:
        """An ACK or BYE without body of a dialog: From and To need not be parsed again, nor anything refused."""
        try:
            if request.cseq.method != request.method:
                raise SipError(400, f"CSeq names another method than {request.method}")
            if request.method != "ACK":
                # An ACK is never answered, so that nobody asks for its way back.
                request.stamp_source(flow.address, flow.port)
            if self.transactions.absorb(request, now):
                return
            if request.method == "ACK":
                session.receive(request, None, now)
                return
            where = reply_flow(request.via, flow)
            transaction = self.transactions.accept(request, flow, where, now, initial=False)
            session.receive(request, transaction, now)
        except SipError as error:
            self._reject(request, flow, error.status or 400, (), now)
        except TableFull:
            self._overload(request, flow)

    def _overload(self, request: Request, flow: Flow) -> None:
        self.counters.overload += 1
        self._answer_without_transaction(request, flow, 503, (("Retry-After", str(RETRY_AFTER_SECONDS)),))

    def _new_request(self, request: Request, flow: Flow, now: int) -> None:
        cancelled = self.transactions.find_cancelled(request) if request.method == "CANCEL" else None
        initial = request.to.tag is None
        if cancelled is None and self.peers.match(flow) is None and self._dismissed(request, flow):
            return
        merged = initial and request.method != "CANCEL" and self.transactions.is_merged(request)
        try:
            where = reply_flow(request.via, flow)
            transaction = self.transactions.accept(request, flow, where, now, initial=initial)
        except TableFull:
            self._overload(request, flow)
            return
        try:
            self._dispatch(request, transaction, flow, cancelled, merged, now)
        except SipError as error:
            self.counters.rejected += 1
            self.respond(transaction, error.status or 400, now)

    def _dismissed(self, request: Request, flow: Flow) -> bool:
        """Answer a stranger's request if that takes no state: whoever floods us fills no table."""
        if self._find_dialog(request) is not None:
            return False
        status = self.strangers.status_for(request)
        fields: Fields = ()
        if request.method == "INVITE" and request.to.tag is None:
            self._out.extend(map(Resolve, self.strangers.names_to_ask(self._now)))
            if status == 0:
                return False
            self.counters.strangers += 1
            if status == 503:
                self.counters.overload += 1
                fields = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
        elif status == 200:
            status, fields = self._options(flow)
        self._answer_without_transaction(request, flow, status, fields)
        return True

    def _dispatch(
        self,
        request: Request,
        transaction: ServerTransaction,
        flow: Flow,
        cancelled: ServerTransaction | None,
        merged: bool,
        now: int,
    ) -> None:
        if request.method == "CANCEL":
            self._on_cancel(request, transaction, cancelled, now)
        elif request.to.tag is not None:
            session = self._find_dialog(request)
            if session is not None:
                session.receive(request, transaction, now)
            else:
                self.respond(transaction, 481, now)
        elif merged:
            self.respond(transaction, 482, now)
        elif request.method == "INVITE":
            self._on_invite(request, transaction, flow, now)
        elif request.method == "OPTIONS":
            status, fields = self._options(flow)
            self.respond(transaction, status, now, fields)
        elif request.method == "REFER":
            # As in a dialog: see Session.
            self.respond(transaction, 603, now)
        else:
            # A method that lives in dialogs only, without one (RFC 3261 12.2.2, RFC 6665 4.1.3).
            self.respond(transaction, 481, now)

    def _options(self, flow: Flow) -> tuple[int, Fields]:
        """Status and header fields for OPTIONS: the status is what an INVITE would get now (RFC 3261 11.2)."""
        fields = options_fields(self.outbound.contact(flow, ""))
        if len(self.legs) < self.settings.max_calls:
            return 200, fields
        return 503, [*fields, ("Retry-After", str(RETRY_AFTER_SECONDS))]

    def _find_dialog(self, request: Request) -> Session | None:
        return self.dialogs.get((request.call_id, request.to.tag or "", request.from_.tag or ""))

    def _on_cancel(
        self, cancel: Request, transaction: ServerTransaction, invite: ServerTransaction | None, now: int
    ) -> None:
        if invite is None:
            self.respond(transaction, 481, now)
            return
        transaction.tag = invite.tag
        self.respond(transaction, 200, now)
        if invite.status < 200 and invite.user is not None:
            invite.user.on_cancel(invite, cancel, now)

    def _reject(self, request: Request, flow: Flow, status: int, fields: tuple[tuple[str, str], ...], now: int) -> None:
        """Answer a request that is not fit for more; in a transaction where it has what that takes."""
        self.counters.rejected += 1
        if request.method == "ACK":
            return
        try:
            request.stamp_source(flow.address, flow.port)
            if self.transactions.absorb(request, now):
                return
            if request.method == "INVITE" and self.peers.match(flow) is not None:
                where, initial = reply_flow(request.via, flow), request.to.tag is None
                transaction = self.transactions.accept(request, flow, where, now, initial=initial)
                self.respond(transaction, status, now, fields)
                return
        except (SipError, TableFull):
            pass
        self._answer_without_transaction(request, flow, status, fields)

    def _answer_without_transaction(self, request: Request, flow: Flow, status: int, fields: Fields) -> None:
        """RFC 3261 8.2.7: the same request would get the same answer, so none is kept."""
        try:
            where = reply_flow(request.via, flow)
        except SipError:
            where = flow
        # 8.2.6.2: and so each repetition the same To tag.
        response = request.response(status, None, f"{zlib.crc32(repr(request.headers.entries).encode()):x}")
        for name, value in fields:
            response.headers.add(name, value)
        try:
            self._send(where, response.to_bytes())
        except ValueError:
            log.debug("from %s: request cannot even be answered", flow)

    # -- incoming calls --

    def _on_invite(self, request: Request, transaction: ServerTransaction, flow: Flow, now: int) -> None:
        self.respond(transaction, 100, now)
        peer = self.peers.match(flow)
        stranger = peer is None
        if peer is None:
            self.counters.strangers += 1
            if self.settings.context is None:
                self.respond(transaction, 403, now)
                return
            peer = self.settings.stranger
        if len(self.legs) >= self.settings.max_calls:
            self.counters.overload += 1
            self.respond(transaction, 503, now, (("Retry-After", str(RETRY_AFTER_SECONDS)),))
            self._not_offered(request, peer, 503, stranger, now)
            return
        caller = peer

        def make_leg() -> SipLeg:
            return self._make_leg(caller, flow, request.from_.uri.host, caller.name)

        opened = open_call(self, make_leg, request, transaction, flow, peer, now, stranger=stranger)
        if isinstance(opened, Refusal):
            self.counters.rejected += 1
            self.respond(transaction, opened.status, now, opened.fields)
            self._not_offered(request, peer, opened.status, stranger, now)
            return
        leg, setup = opened
        self.counters.calls_in += 1
        context = (self.settings.context or "default") if stranger else peer.context
        leg.emit(Offered(setup, context, peer.name))

    def _not_offered(self, request: Request, peer: PeerSettings, status: int, stranger: bool, now: int) -> None:
        """Tell of a call that will never be offered; what strangers try, and what is asked again, is only counted."""
        if self._on_not_offered is None or stranger or status in ASKED_AGAIN:
            return
        try:
            setup = setup_of(request, peer)
        except SipError:
            setup = Setup(Number())
        cause = cause_for_sip(status, rules=self.settings.cause_rules)
        text = f"INVITE for {request.uri_text[:60]} refused: {status}"
        self._on_not_offered(NotOffered(setup, peer.context, peer.name, "sip", cause, text), now)

    def _offer(self, leg: SipLeg, offered: Offered) -> None:
        now = self._now
        incoming, session = leg.incoming, leg.session
        if incoming is None or session is None or leg.over:
            return
        leg.listener = self._on_offer(leg, offered, now)
        if leg.listener is None:
            leg.release(Cause.SWITCHING_EQUIPMENT_CONGESTION, now)
        elif not leg.over:
            leg.open_media(session.negotiation, now)
