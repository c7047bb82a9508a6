"""How requests leave: Via and Contact of ours, the next hop's flow, and TCP for what is too long (RFC 3261 18.1.1).

Names in Contacts and Routes are not looked up here: a next hop without a literal address goes back over the flow its
dialog came by.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.voip.sip.address import AdvertisedAddress
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.flow import DEFAULT_PORT, DEFAULT_TLS_PORT, TCP, TLS, UDP, Flow, default_port, literal_address
from gateway.voip.sip.hop import MAX_DATAGRAM_REQUEST, Listener, OwnVia, sent_by
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.transaction import ClientTransaction, ClientUser, Trouble
from gateway.voip.sip.transactions import TableFull, Transactions
from gateway.voip.sip.uri import Uri


class Outbound:
    """Sends requests for legs and sessions. One per endpoint."""

    def __init__(
        self,
        transactions: Transactions,
        listeners: tuple[Listener, ...],
        advertised: AdvertisedAddress,
        send: Callable[[Flow, bytes], None],
    ) -> None:
        self.transactions = transactions
        self.advertised = advertised
        self._send = send
        self._set_listeners(listeners)
        # Of a flow: our host and port, and what stands before and after the branch of a Via.
        self._hops: dict[Flow, tuple[str, str, str]] = {}
        advertised.when_forgotten(self._hops.clear)

    def _set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        self._has_tcp = any(listener.transport == TCP and not listener.retired for listener in listeners)

    def take_up(self, listeners: tuple[Listener, ...], addressing: Addressing) -> None:
        """Our sockets, and what is settled about our addresses, are others now."""
        self._set_listeners(listeners)
        self.advertised.take_up(listeners, addressing)

    def listener_for(self, transport: str, address: str) -> int | None:
        """The index of our socket for ``transport`` that reaches ``address``; TCP needs none to connect."""
        for number, listener in enumerate(self._listeners):
            if listener.transport == transport and listener.reaches(address) and not listener.retired:
                return number
        return None

    def sent_by(self, flow: Flow) -> str:
        """Our ``host:port`` for Via and Contact on ``flow``."""
        hop = self._hops.get(flow) or self._describe(flow)
        return hop[0]

    def _describe(self, flow: Flow) -> tuple[str, str, str]:
        number = flow.listener
        if number >= len(self._listeners) or self._listeners[number].transport != flow.transport:
            number = self.listener_for(flow.transport, flow.address) or 0
        host, port = self.advertised.signalling(flow.address, number)
        own = sent_by(host, port or DEFAULT_PORT)
        if len(self._hops) >= AdvertisedAddress.MAX_KEPT:
            self._hops.clear()
        # rport is of no use on a stream.
        hop = (own, f"SIP/2.0/{flow.transport} {own};branch=", "" if flow.reliable else ";rport")
        if self.advertised.reachable(flow.address, number):
            self._hops[flow] = hop
        return hop

    def via(self, flow: Flow) -> OwnVia:
        """A Via with a new branch; rport asks for RFC 3581 treatment."""
        own, before, after = self._hops.get(flow) or self._describe(flow)
        branch = self.transactions.branch()
        return OwnVia(f"{before}{branch}{after}", branch, own)

    def contact(self, flow: Flow, user: str, *, sips: bool = False) -> str:
        """Our Contact value towards ``flow``; ``sips`` where the dialog promises TLS (RFC 3261 12.1.1)."""
        at = f"{user}@" if user else ""
        if sips:
            return f"<sips:{at}{self.sent_by(flow)}>"
        transport = "" if flow.transport == UDP else f";transport={flow.transport.lower()}"
        return f"<sip:{at}{self.sent_by(flow)}{transport}>"

    def recontact(self, flow: Flow, contact: str) -> str:
        """``contact``, a value that ``contact`` made before, as it is towards ``flow`` now."""
        user, at, _ = contact.partition("@")
        return self.contact(flow, user.partition(":")[2] if at else "", sips=contact.startswith("<sips:"))

    def flow_to(self, uri: Uri, fallback: Flow) -> Flow:
        """The flow to the next hop ``uri``; ``fallback`` where that is a name, or the same place."""
        host = uri.params.get("maddr") or uri.host
        address = literal_address(host.strip("[]"))
        if fallback.secure:
            return self._secure_flow(uri, address, fallback)
        transport = TLS if uri.scheme == "sips" else (uri.transport or "udp").upper()
        if uri.transport is None and fallback.reliable and fallback.address == address:
            # RFC 3263 4.1 would have UDP, but whoever talks to us by TCP has only forgotten to say so.
            transport = fallback.transport
        if address is None or uri.scheme not in ("sip", "sips") or transport not in (UDP, TCP, TLS):
            return fallback
        port = uri.port or default_port(transport)
        if fallback.transport == transport and fallback.address == address and fallback.port == port:
            return fallback
        listener = 0
        if transport == UDP:
            found = fallback.listener if fallback.transport == UDP else self.listener_for(transport, address)
            if found is None:
                return fallback
            listener = found
        return Flow(transport, address, port, 0, listener)

    @staticmethod
    def _secure_flow(uri: Uri, address: str | None, fallback: Flow) -> Flow:
        """What began over TLS stays there, with the same far end: RFC 3261 26.2.2, whatever the URI would have."""
        transport = "tls" if uri.scheme == "sips" else uri.transport or "tls"
        if address is None or transport != "tls" or not fallback.name:
            # Nobody says whom a new connection should find; phones take none from outside anyway (RFC 5923).
            return fallback
        port = uri.port or DEFAULT_TLS_PORT
        if fallback.address == address and fallback.port == port:
            return fallback
        return Flow(TLS, address, port, 0, 0, fallback.name)

    def dialog_flow(self, next_hop: Callable[[], Uri], fallback: Flow) -> Flow:
        """``flow_to`` for a dialog whose next hop may be unusable."""
        try:
            return self.flow_to(next_hop(), fallback)
        except SipError:
            return fallback

    def request(self, request: Request, via: OwnVia, flow: Flow, user: ClientUser, now: int) -> ClientTransaction:
        """Send ``request`` (complete, with ``via`` made for ``flow``) in a transaction; raises TableFull."""
        data = request.to_bytes()
        if flow.transport == UDP and len(data) > MAX_DATAGRAM_REQUEST and self._has_tcp:
            stream = Flow(TCP, flow.address, flow.port)
            via = self.via(stream)
            request.headers.replace_first("Via", via.text)
            # 18.1.1: if the far end has no TCP after all, the request goes out as a datagram.
            user = _DatagramInstead(self, flow, user)
            return self.transactions.request(request, request.to_bytes(), stream, user, now, via)
        return self.transactions.request(request, data, flow, user, now, via)

    def send_alone(self, request: Request, flow: Flow) -> bytes:
        """Send an ACK for a 2xx, which has no transaction (13.2.2.4); returns its bytes to repeat it."""
        data = request.to_bytes()
        self._send(flow, data)
        return data

    def send_bytes(self, flow: Flow, data: bytes) -> None:
        """Repeat what was sent."""
        self._send(flow, data)


class _DatagramInstead:
    """Retries a request by UDP whose TCP attempt failed before any response."""

    def __init__(self, outbound: Outbound, flow: Flow, user: ClientUser) -> None:
        self._outbound = outbound
        self._flow = flow
        self._user = user
        self._answered = False

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        self._answered = True
        self._user.on_response(transaction, response, now)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        if self._answered or trouble is not Trouble.TRANSPORT:
            self._user.on_trouble(transaction, trouble, now)
            return
        request = transaction.request
        via = self._outbound.via(self._flow)
        request.headers.replace_first("Via", via.text)
        try:
            self._outbound.transactions.request(request, request.to_bytes(), self._flow, self._user, now, via)
        except TableFull:
            self._user.on_trouble(transaction, trouble, now)
