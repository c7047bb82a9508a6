"""One endpoint in virtual time against a far end that a test plays by hand, message by message."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.core import SECOND
from gateway.leg import Leg, LegEvent, Listener, Offered, Setup
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import TCP, UDP, Close, Flow, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import PeerSettings, SipSettings
from gateway.voip.sip.sdp import SessionDescription
from tests.unit.voip.sip.address_check import check
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS, FakeMedia, Notes, simple_setup

SDP = (
    "v=0\r\no=- 1 {version} IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
    "m=audio 20000 RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)


def sdp(direction: str = "sendrecv", version: int = 1, formats: str = "8 101") -> bytes:
    return SDP.format(direction=direction, version=version, formats=formats).encode()


ALLOW_UPDATE = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")


def direction(message: Request | Response) -> str:
    """The direction of the stream in a message's SDP."""
    description = SessionDescription.parse(message.body)
    return description.direction_of(description.media[0])


class FarEnd:
    """The endpoint under test is at A_ADDRESS; the test is its peer "b" at B_ADDRESS."""

    def __init__(
        self,
        *,
        transport: str = UDP,
        peer: Callable[[PeerSettings], PeerSettings] = lambda peer: peer,
        settings: Callable[[SipSettings], SipSettings] = lambda settings: settings,
        delayed_media: bool = False,
    ) -> None:
        self.now = SECOND
        self.media = FakeMedia(delayed=delayed_media)
        stream = int(transport != UDP)
        sockets = (Socket(UDP, A_ADDRESS, 5060), Socket(transport if stream else TCP, A_ADDRESS, 5060))
        self.flow = Flow(transport, B_ADDRESS, 5060, stream, stream)
        self.settings = settings(
            SipSettings(
                listeners=sockets if stream else sockets[:1],
                peers=(peer(PeerSettings("b", B_ADDRESS, transport=transport, context="from-b")),),
            )
        )
        self.offers: list[tuple[SipLeg, Offered, Notes]] = []
        self.refuse_offers = False
        self.react: Callable[[Leg, LegEvent, int], None] | None = None
        self.endpoint = SipEndpoint(
            self.settings, self.media, random.Random(7), self._on_offer, local_for=lambda remote: A_ADDRESS
        )
        self.sent: list[Request | Response] = []
        self.flows: list[Flow] = []
        self.raw: list[bytes] = []
        self.closed: list[Close] = []
        self._branch = 0
        self._cseq = 0

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if self.refuse_offers:
            return None
        assert isinstance(leg, SipLeg)
        notes = Notes(react=self.react)
        self.offers.append((leg, offered, notes))
        return notes

    # -- time --

    def drain(self) -> None:
        while (output := self.endpoint.poll()) is not None:
            if isinstance(output, Send):
                check(self.endpoint, output.flow, output.data)
                self.raw.append(output.data)
                self.flows.append(output.flow)
                # Neither a keep-alive nor STUN.
                if output.data.strip() and output.data[0] > 0x20:
                    self.sent.append(parse(output.data))
            elif isinstance(output, Close):
                self.closed.append(output)

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        self.drain()
        while (due := self.endpoint.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
            self.drain()
        self.now = end

    def take(self) -> list[Request | Response]:
        """What the endpoint sent since the last time."""
        self.drain()
        taken, self.sent = self.sent, []
        return taken

    def take_request(self, method: str) -> Request:
        """The one request sent since the last time."""
        (message,) = self.take()
        assert isinstance(message, Request), message
        assert message.method == method, message
        return message

    def take_response(self, status: int) -> Response:
        """The one response sent since the last time."""
        (message,) = self.take()
        assert isinstance(message, Response), message
        assert message.status == status, message
        return message

    def names(self) -> list[str]:
        """What the endpoint sent since the last time, in short."""
        return [
            message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
            for message in self.take()
        ]

    # -- what the test sends --

    def give(self, data: bytes, flow: Flow | None = None) -> None:
        self.endpoint.receive(data, flow or self.flow, self.now)
        self.drain()

    def answer(
        self,
        request: Request,
        status: int,
        *fields: tuple[str, str],
        tag: str | None = "far",
        body: bytes = b"",
        contact: str | None = f"<sip:far@{B_ADDRESS}:5060>",
    ) -> Response:
        """Respond to a request of the endpoint."""
        response = request.response(status, None, tag)
        if contact is not None and request.method in ("INVITE", "UPDATE") and 100 < status < 300:
            response.headers.add("Contact", contact)
        for name, value in fields:
            response.headers.add(name, value)
        if body:
            response.headers.add("Content-Type", "application/sdp")
            response.body = body
        self.give(response.to_bytes())
        return response

    def branch(self) -> str:
        self._branch += 1
        return f"z9hG4bKtest{self._branch}"

    def request(
        self,
        method: str,
        *fields: tuple[str, str],
        body: bytes = b"",
        to_tag: str | None = None,
        call_id: str = "call-1",
        from_tag: str = "fartag",
        cseq: int | None = None,
        branch: str | None = None,
        user: str = "4165551234",
        flow: Flow | None = None,
        content_type: str = "application/sdp",
        send: bool = True,
    ) -> Request:
        """Send a request to the endpoint."""
        if cseq is None:
            self._cseq += 1
            cseq = self._cseq
        to = f"<sip:{user}@{A_ADDRESS}>" + (f";tag={to_tag}" if to_tag else "")
        headers = [
            ("Via", f"SIP/2.0/{self.flow.transport} {B_ADDRESS}:5060;branch={branch or self.branch()};rport"),
            ("Max-Forwards", "70"),
            ("From", f'"Bob" <sip:2125550000@{B_ADDRESS}>;tag={from_tag}'),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if method in ("INVITE", "UPDATE"):
            headers.append(("Contact", f"<sip:2125550000@{B_ADDRESS}:5060>"))
        headers.extend(fields)
        if body:
            headers.append(("Content-Type", content_type))
        request = Request(method, f"sip:{user}@{A_ADDRESS}", headers, body)
        if send:
            self.give(request.to_bytes(), flow)
        return request

    # -- whole passages --

    def call_in(self, *fields: tuple[str, str], body: bytes | None = None) -> tuple[SipLeg, Notes, Request]:
        """The far end calls; the 100 is taken off."""
        request = self.request("INVITE", *fields, body=sdp() if body is None else body)
        self.take_response(100)
        leg, _, notes = self.offers[-1]
        return leg, notes, request

    def answered_in(self, *fields: tuple[str, str], body: bytes | None = None) -> tuple[SipLeg, Notes, str]:
        """The far end called, we answered, the ACK is here; the leg, its events, our To tag."""
        leg, notes, request = self.call_in(*fields, body=body)
        leg.answer(None, self.now)
        response = self.take_response(200)
        tag = response.to.tag or ""
        self.request("ACK", to_tag=tag, cseq=request.cseq.number, body=b"" if body != b"" else sdp())
        assert self.take() == []
        return leg, notes, tag

    def call_out(self, setup: Setup | None = None) -> tuple[SipLeg, Notes, Request]:
        """The endpoint calls; its INVITE."""
        leg = self.endpoint.new_leg("b", self.now)
        assert isinstance(leg, SipLeg), leg
        leg.listener = notes = Notes(react=self.react)
        leg.place(setup or simple_setup(), self.now)
        return leg, notes, self.take_request("INVITE")

    def answered_out(self, *fields: tuple[str, str], setup: Setup | None = None) -> tuple[SipLeg, Notes, Request]:
        """The endpoint called and the far end answered; the ACK is taken off."""
        leg, notes, invite = self.call_out(setup)
        self.answer(invite, 200, *fields, body=sdp())
        self.take_request("ACK")
        return leg, notes, invite

    def assert_clean(self, seconds: float = 200.0) -> None:
        """After long enough nothing is left over."""
        self.run(seconds)
        assert not self.endpoint.legs
        assert not self.endpoint.dialogs
        assert not self.endpoint.transactions.all, [(t.kind, t.state) for t in self.endpoint.transactions.all]
        assert self.endpoint.idle
        assert not self.media.open
