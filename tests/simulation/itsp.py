"""A provider: servers that the gateway registers with and that call it there, in all the moods of a registrar."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import ADDRESS, SRV, Flow, Resolve
from gateway.voip.sip.message import Request
from gateway.voip.sip.names import FAILED, Answer, Srv
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import PeerSettings, RegistrarSettings, SipSettings
from tests.simulation.registering import SECRET
from tests.simulation.shape import PROVIDER, PROVIDER_HOST, PROVIDER_USER
from tests.simulation.sip_node import PORT, SipNode
from tests.simulation.story import Script, Story
from tests.simulation.world import Address, Network, World


class Mood(Enum):
    """What a registrar does with a REGISTER."""

    WELL = 0
    SILENT = 1
    BUSY = 503
    FAILING = 500
    FORBIDS = 403


class ProviderNode(SipNode):
    """Server ``number`` (1, 2). ``siblings`` are all of them: who has the gateway's binding makes the call."""

    mood = Mood.WELL
    siblings: tuple[ProviderNode, ...] = ()
    lost_calls = 0

    def __init__(
        self,
        world: World,
        number: int,
        address: str,
        network: Network,
        story: Story,
        transport: str,
        minexpiry: int,
        *,
        proves: bool,
    ) -> None:
        self.registrar = RegistrarSettings(minexpiry, maxexpiry=120, defaultexpiry=120, natexpiry=120)
        peer = PeerSettings(
            PROVIDER_USER,
            "",
            dynamic=True,
            secret=SECRET,
            auth_user=PROVIDER,
            transport=transport,
            insecure_invite=not proves,
        )
        super().__init__(world, f"{PROVIDER}{number}", address, network, story, peer)

    def settings(self) -> SipSettings:
        """A registrar, besides."""
        return replace(super().settings(), registrar=self.registrar)

    @property
    def bound(self) -> bool:
        """True if the gateway can be called from here."""
        return bool(self.endpoint.phones.location.reachable(PROVIDER_USER, self.world.now))

    @property
    def contact_of_gateway(self) -> str:
        """Where the gateway says to be."""
        found = self.endpoint.phones.location.reachable(PROVIDER_USER, self.world.now)
        return " ".join(each.contact for each in found)

    def place(self, script: Script) -> None:
        """Make a call to the gateway, from where it is registered."""
        holder = next((each for each in self.siblings if each.bound), None)
        if holder is None:
            self.lost_calls += 1
        SipNode.place(holder or self, script)

    # -- moods --

    def _receive(self, data: bytes, source: Address) -> None:
        if self.mood is not Mood.WELL and data.startswith(b"REGISTER "):
            self._refuse(data, Flow("UDP", source[0], source[1]))
            return
        super()._receive(data, source)

    def stream_received(self, data: bytes, flow: Flow) -> None:
        """The same on a connection, whose messages mostly come whole."""
        if self.mood is not Mood.WELL and data.startswith(b"REGISTER "):
            self._refuse(data, flow)
            return
        super().stream_received(data, flow)

    def _refuse(self, data: bytes, flow: Flow) -> None:
        try:
            request = parse(data)
        except SipError:
            return
        if self.mood is Mood.SILENT or not isinstance(request, Request):
            return
        status = self.mood.value
        after = "Retry-After: 7\r\n" if self.mood is Mood.BUSY and self.world.rng.random() < 0.5 else ""
        head = f"SIP/2.0 {status} No\r\n{request.echoed(status, 'x')}{after}Content-Length: 0\r\n\r\n"
        self.endpoint.send(flow, head.encode())
        self.settle()


class Names:
    """The DNS. ``works`` False: nobody answers for it."""

    def __init__(self, world: World, servers: dict[str, str], *, services: bool) -> None:
        self.world = world
        self.works = True
        self._servers = servers
        self._services = services
        self._rng = random.Random(world.rng.getrandbits(64))

    def ask(self, question: Resolve, answered: Callable[[Resolve, Answer], None]) -> None:
        """``question`` is answered after a while."""
        self.world.after(self._rng.randrange(1, 200) * MILLISECOND, lambda: answered(question, self._answer(question)))

    def _answer(self, question: Resolve) -> Answer:
        if not self.works:
            return FAILED
        ttl = self._rng.choice((5, 30, 300)) * SECOND
        host = question.host
        if question.kind == SRV and self._services and host.endswith(PROVIDER_HOST):
            return Answer(tuple(Srv(1, n, PORT, f"{name}.example.org") for n, name in enumerate(self._servers)), ttl)
        if question.kind == ADDRESS:
            if host == PROVIDER_HOST:
                return Answer(tuple(self._servers.values()), ttl)
            found = self._servers.get(host.partition(".")[0])
            return Answer((found,) if found is not None else (), ttl)
        return Answer((), ttl)
