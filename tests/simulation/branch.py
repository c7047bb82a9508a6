"""One branch, made from a seed: its gateway, its far ends, its calls and its misfortunes."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from gateway.assembly import pri_settings
from gateway.call import MAX_SERVICE
from gateway.config import Configuration
from gateway.core import MILLISECOND, SECOND
from gateway.pri.lapd import Side as LapdSide
from gateway.pri.settings import PriSettings
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import DEFAULT_TLS_PORT, TLS
from gateway.voip.sip.peers import DtmfMode, PeerSettings, Reliability, SessionTimers
from tests.simulation.exchange_node import ExchangeNode
from tests.simulation.gateway_node import ADDRESS, GatewayNode
from tests.simulation.guard import Guard
from tests.simulation.hearing import Hearing
from tests.simulation.iax_far_ends import MANGLED, IaxFarEnds
from tests.simulation.iax_keys import write_keys
from tests.simulation.iax_shape import choose_iax, configured
from tests.simulation.invariants import left_over
from tests.simulation.itsp import Names, ProviderNode
from tests.simulation.load import Load
from tests.simulation.misfortune import Misfortunes
from tests.simulation.registering import ACCOUNT, SECRET, RegisteringPhone
from tests.simulation.shape import (
    FAR_ENDS,
    PHONE,
    PROVIDER,
    SERVERS,
    choose_configuration,
    choose_shape,
)
from tests.simulation.sip_node import SipNode
from tests.simulation.story import Story
from tests.simulation.stranger import Strangers
from tests.simulation.world import DLine, Network, Weather, World

QUIET_LIMIT = MAX_SERVICE + 200 * SECOND
"""How long a branch may take to come to rest when nobody calls any more and nothing breaks: a session refresh that
finds its far end gone comes after 900 s, and a service whose caller vanished ends after MAX_SERVICE."""
ORPHAN_LIMIT = 120 * SECOND
TAKEN_BACK_BY = 8 * SECOND
"""So long the far ends of IAX2 have to take their registrations back, before the gateway hears of no new ones."""
LOOK_EVERY = 10 * SECOND
REGISTERED_BY = 10 * SECOND
"""After so long all have registered, and the lines are up."""
RECOVERY = 420 * SECOND
"""How long after all is mended until all are registered: a server that is tried last, after the longest wait."""
REFUSED_FOR = 700 * SECOND
"""The same after a registrar said 403: two refusals double the first wait."""


class Branch:
    """A world with one gateway in it. ``run`` takes it through its calls to rest. ``iax``: it has IAX2 trunks too."""

    def __init__(
        self, seed: int, calls: int, *, faults: bool | None = None, iax: bool = False, mangled: int = MANGLED
    ) -> None:
        self.world = world = World(seed)
        self.mangled = mangled
        rng = world.rng
        self.shape = shape = choose_shape(rng, calls, faults)
        self.story = Story()
        self.weather = Weather(latency=rng.choice((1, 5, 20)) * MILLISECOND, jitter=1 * MILLISECOND)
        self.network = Network(world, self.weather)
        iax_shapes = choose_iax(seed) if iax else []
        self._keys = tempfile.TemporaryDirectory() if iax else None
        if self._keys is not None:
            write_keys(Path(self._keys.name))
            shape.iax = configured(iax_shapes)
        self.configuration = choose_configuration(shape, rng, "/simulation" if self._keys is None else self._keys.name)
        self.lines = {span.name: DLine(world, span.name, rng.randrange(500, 3000)) for span in self.configuration.spans}
        servers = SERVERS[: shape.servers]
        listed = {f"pop{number}": address for number, address in enumerate(servers)}
        self.names = Names(world, listed, services=shape.named_servers)
        self.guard = Guard()
        self.gateway = GatewayNode(world, self.configuration, self.network, self.lines, self.guard, self.names)
        self.gateway.engine.required = frozenset(
            name for name, (ours, _) in shape.encryption.items() if ours is MediaEncryption.REQUIRED
        )
        self.exchanges = [
            ExchangeNode(world, _exchange_settings(self.configuration, span.name), self.lines[span.name], self.story)
            for span in self.configuration.spans
        ]
        trunks = [self._far_end(name, address, rng) for name, address in FAR_ENDS[:2]]
        self.devices = [self._device(number, rng) for number in range(shape.devices)]
        phones: list[SipNode] = [*self.devices] or [self._far_end(*FAR_ENDS[2], rng)]
        self.servers = [self._server(number, address, rng) for number, address in enumerate(servers, 1)]
        for server in self.servers:
            server.siblings = tuple(self.servers)
        self.iax = IaxFarEnds(self, iax_shapes)
        self.network.shown_to = {server.address for server in self.servers} if self.sees_itself else set()
        self.network.shown_to |= self.iax.seen_outside
        if self.sees_itself or self.iax.seen_outside:
            self.put_outside("203.0.113.250")
        self.phones: list[SipNode] = [*trunks, *phones, *self.servers]
        self.strangers = Strangers(world, self.network, tuple(each.address for each in trunks))
        self.load = Load(world, self.story, self.exchanges, self.phones, rng, self.iax.by_digits)
        self.misfortunes = Misfortunes(self)
        self.hearing = Hearing(self)
        self.orphans = 0
        self.breaches: list[str] = []
        self._ending = False

    def close(self) -> None:
        """Nothing is left on the disk."""
        if self._keys is not None:
            self._keys.cleanup()

    def _terms(self, name: str, rng: random.Random) -> PeerSettings:
        return PeerSettings(
            "gateway",
            ADDRESS,
            transport=self.shape.transports[name].upper(),
            context="default",
            dtmfmode=DtmfMode.INFO if name == "alt" else DtmfMode.RFC4733,
            reliable=rng.choice((Reliability.OFF, Reliability.SUPPORTED, Reliability.SUPPORTED)),
            session_timers=rng.choice((SessionTimers.REFUSE, SessionTimers.ACCEPT, SessionTimers.ORIGINATE)),
            late_offer=rng.random() < 0.1,
        )

    def _far_end(self, name: str, address: str, rng: random.Random) -> SipNode:
        peer = self._terms(name, rng)
        if name in self.shape.encryption:
            theirs = self.shape.encryption[name][1]
            peer = replace(peer, transport=TLS, port=DEFAULT_TLS_PORT, media_encryption=theirs)
        if name != PHONE and self.shape.proves:
            peer = replace(peer, secret=SECRET, auth_user=name)
        return SipNode(self.world, name, address, self.network, self.story, peer, strips_reason=rng.random() < 0.3)

    def _device(self, number: int, rng: random.Random) -> RegisteringPhone:
        peer = replace(self._terms(PHONE, rng), secret=SECRET, auth_user=ACCOUNT)
        name = ACCOUNT if number == 0 else f"{ACCOUNT}-{number + 1}"
        address = f"10.0.1.{3 + number}"
        phone = RegisteringPhone(self.world, name, address, self.network, self.story, peer)
        phone.begin_registering(self.guard.until, number, self.shape.nats[number])
        return phone

    def _server(self, number: int, address: str, rng: random.Random) -> ProviderNode:
        least = rng.choice((30, 30, 90))
        transport = self.shape.transports[PROVIDER].upper()
        proves = self.shape.proves
        return ProviderNode(self.world, number, address, self.network, self.story, transport, least, proves=proves)

    @property
    def sees_itself(self) -> bool:
        """Whether the gateway hears from a registrar where it is outside."""
        return self.shape.behind_nat and bool(self.servers) and self.shape.transports[PROVIDER] == "udp"

    def put_outside(self, outside: str) -> None:
        """The gateway is at this address outside, and no longer where it was."""
        self.network.seen_as(ADDRESS, outside)
        if self.sees_itself or self.iax.seen_outside:
            self.network.show(ADDRESS, outside)

    def run(self) -> None:
        """Let the lines come up, make the calls, let things go wrong, then wait until all is quiet."""
        world = self.world
        world.run(world.now + REGISTERED_BY)
        end = self.load.plan(self.shape.calls)
        if self.shape.faults:
            self.misfortunes.plan(end)
        if self.shape.strangers:
            self.gateway.overhear = self.strangers.overhear
            self.strangers.plan(end)
        self.iax.plan(end)
        self._look()
        world.run(end)
        self.misfortunes.over()
        self._recover()
        self._hang_up()
        self.iax.stop()
        if self.iax.nodes:
            world.run(world.now + TAKEN_BACK_BY)
        for phone in self.devices:
            phone.stop_registering()
        if not self._rest(QUIET_LIMIT) and self._hang_up_orphans():
            self._rest(ORPHAN_LIMIT)

    def _look(self) -> None:
        """Now and then all is looked at that holds at any time."""
        if self._ending:
            return
        if self.gateway.running:
            homes = frozenset(phone.address for phone in self.phones)
            self.guard.look(self.gateway.switch, homes, frozenset(self.strangers.trunks), self.world.now)
            self.breaches += self.iax.look()
            if not self.misfortunes.any:
                self.breaches += self.unregistered()
        self.world.after(LOOK_EVERY, self._look)

    def unregistered(self) -> list[str]:
        """Who is not registered that should be where nothing goes wrong."""
        sip, now = self.gateway.switch.sip, self.world.now
        found: list[str] = []
        if self.devices:
            addresses = {each.flow.address for each in sip.phones.location.reachable(ACCOUNT, now)}
            found += [f"{each.name} is not registered" for each in self.devices if each.seen_at not in addresses]
        registration = sip.far_ends.registration(PROVIDER)
        if registration is not None and not registration.in_force:
            found.append(f"not registered with {PROVIDER}: {registration.error}")
        if self.servers and not any(server.bound for server in self.servers):
            found.append(f"{PROVIDER} does not know where the gateway is")
        return found + self.iax.unregistered()

    def _recover(self) -> None:
        """After all is mended everybody registers again in time."""
        world = self.world
        end = world.now + (REFUSED_FOR if self.misfortunes.refused else RECOVERY)
        missing = self.unregistered()
        while missing and world.now < end:
            world.run(world.now + LOOK_EVERY)
            missing = self.unregistered()
        self.breaches += [f"{each}, long after all was mended" for each in missing]

    def _hang_up(self) -> None:
        """While calls stand, phones keep their NATs open."""
        end = self.world.now + QUIET_LIMIT
        while self.devices and self.gateway.switch.calls and self.world.now < end:
            self.world.run(self.world.now + LOOK_EVERY)
        self._ending = True

    def _rest(self, limit: int) -> bool:
        world = self.world
        end = world.now + limit
        while world.now < end:
            # An endpoint that asks others how they are is never idle, and after a restart it begins again.
            self.gateway.switch.sip.far_ends.leave(world.now)
            if self.gateway.switch.iax is not None:
                self.gateway.switch.iax.leave(world.now)
            self.gateway.settle()
            world.run(world.now + LOOK_EVERY)
            if self.quiet:
                return True
        return False

    def _hang_up_orphans(self) -> int:
        """A call between far ends that all forgot it, without session timers, is an operator's to end."""
        switch = self.gateway.switch
        for identity, call in list(switch.calls.items()):
            caller = call.setup.caller.number
            script = self.story.by_caller(caller.digits) if caller is not None else None
            if script is not None and all(side.lost for side in script.sides):
                self.world.note("operator", "hangs up", identity)
                switch.hang_up(identity, self.world.now)
                self.orphans += 1
        self.gateway.settle()
        return self.orphans

    @property
    def quiet(self) -> bool:
        """True if nothing is under way any more; what is left at the limit is for the invariants to name."""
        return not left_over(self)


def _exchange_settings(configuration: Configuration, name: str) -> PriSettings:
    """The far end's settings for a span: the same line from the other side."""
    span = next(span for span in configuration.spans if span.name == name)
    ours = pri_settings(span, configuration)
    other = LapdSide.NETWORK if ours.side is LapdSide.USER else LapdSide.USER
    return PriSettings(
        name=name,
        channel_path=ours.channel_path,
        line=ours.line,
        side=other,
        switch_type=ours.switch_type,
        timeslots=ours.timeslots,
        overlap_receive=ours.overlap_send,
        overlap_send=ours.overlap_receive,
        listen=True,
    )
