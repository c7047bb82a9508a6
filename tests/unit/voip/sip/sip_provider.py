"""A provider that the endpoint registers with, played by hand: one server, or a name that leads to two."""

from __future__ import annotations

from dataclasses import replace

from gateway.core import SECOND
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.flow import SRV, UDP, Flow, Resolve
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import Answer, Srv
from gateway.voip.sip.peers import PeerSettings, SipSettings
from gateway.voip.sip.registration import Registration
from gateway.voip.sip.targets import Domain
from tests.unit.voip.sip.sip_far_end import FarEnd
from tests.unit.voip.sip.sip_pair import A_ADDRESS, B_ADDRESS

CHALLENGE = ("WWW-Authenticate", 'Digest realm="provider", nonce="{nonce}", algorithm=MD5, qop="auth"')
WORD = "apples"
SECOND_ADDRESS = "192.0.2.3"


def challenge(nonce: str = "n1", *, stale: bool = False) -> tuple[str, str]:
    return CHALLENGE[0], CHALLENGE[1].format(nonce=nonce) + (", stale=true" if stale else "")


class Provider(FarEnd):
    """Peer "b" is a trunk that the endpoint registers with, as 4165550100."""

    def __init__(
        self,
        *,
        secret: str = WORD,
        transport: str = UDP,
        expiry: int = 3600,
        keepalive: int = 0,
        host: str = B_ADDRESS,
        domain: Domain | None = None,
        listen: str = A_ADDRESS,
    ) -> None:
        settings = FarEndSettings(
            domain=domain, registration=RegistrationSettings("4165550100", expiry), keepalive=keepalive
        )

        def registering(peer: PeerSettings) -> PeerSettings:
            return replace(peer, host=host, secret=secret, insecure_invite=True, far_end=settings)

        def listening(sip: SipSettings) -> SipSettings:
            return replace(sip, listeners=tuple(replace(each, address=listen) for each in sip.listeners))

        super().__init__(transport=transport, peer=registering, settings=listening)
        self.run(0)

    @property
    def registration(self) -> Registration:
        found = self.endpoint.far_ends.registration("b")
        assert found is not None
        return found

    def accept(self, request: Request, expires: int = 3600, *fields: tuple[str, str]) -> None:
        contact = request.contacts[0].uri_text
        self.answer(request, 200, ("Contact", f"<{contact}>;expires={expires}"), *fields)

    def registered(self, expires: int = 3600, *fields: tuple[str, str]) -> Request:
        request = self.take_request("REGISTER")
        self.accept(request, expires, *fields)
        assert self.registration.in_force
        return request

    def move(self, address: str) -> None:
        """Our own address becomes ``address``."""
        self.endpoint.outbound.advertised._local_for = lambda _remote: address
        self.endpoint.outbound.advertised.forget()
        self.run(5)
        self.endpoint.far_ends.moved(self.now)
        self.run(0)

    def silence(self) -> float:
        """Seconds until the endpoint sends something again."""
        began = self.now
        while not self.sent:
            due = self.endpoint.next_timer()
            assert due is not None
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
            self.drain()
        return (self.now - began) / SECOND


class Named(Provider):
    """The provider's name leads to two servers, of which the first is preferred."""

    def __init__(self) -> None:
        super().__init__(host="provider.example.org", domain=Domain("provider.example.org"))
        answers = {
            Resolve("_sip._udp.provider.example.org", SRV): Answer(
                (Srv(1, 0, 5060, "one.example.org"), Srv(2, 0, 5070, "two.example.org"))
            ),
            Resolve("one.example.org"): Answer((B_ADDRESS,)),
            Resolve("two.example.org"): Answer((SECOND_ADDRESS,)),
        }
        for question, answer in answers.items():
            self.endpoint.looked_up(question, answer, self.now)
        self.drain()
        self.second = Flow(UDP, SECOND_ADDRESS, 5070)

    @property
    def last_flow(self) -> Flow:
        return self.flows[-1]
