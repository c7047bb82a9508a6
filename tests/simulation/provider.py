"""A gateway on a provider trunk for days of virtual time: servers that come and go, weather, the DNS, another address.

Both sides are the product's own: the provider's servers are endpoints whose registrar the gateway registers with.
"""

from __future__ import annotations

import logging
import random
import sys
from collections import deque
from collections.abc import Callable

import click

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number
from gateway.leg import Alerting, Answered, Leg, LegEvent, Listener, Offered, Setup
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.flow import ADDRESS, SRV, UDP, Flow, Resolve, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.names import FAILED, Answer, Srv
from gateway.voip.sip.peers import PeerSettings, RegistrarSettings, SipSettings
from gateway.voip.sip.targets import Domain
from tests.simulation.voice import DirectMedia
from tests.simulation.world import Address, Network, Node, Weather, World

HOST = "provider.example.org"
ACCOUNT = "branch"
WORD = "apples"
PORT = 5060
HOUR = 3600 * SECOND
RECOVERY = 420 * SECOND
"""How long after all is well again the gateway may take to be registered: a server that is tried last and times out,
after the longest wait."""
MOST_REGISTERS = 60
"""REGISTER requests within WINDOW, retransmissions not counted: one change a second that renews all."""
WINDOW = 60 * SECOND
MOVE_LIMIT = 10 * SECOND
"""How long after its address changed the registrar may be wrong about it: a round trip, where nothing is lost."""
CALL_LIMIT = 16 * SECOND
"""Within what a call is answered if a server is up: four seconds for each that is not, and the time to ring."""


class _Ear:
    """Whoever is called answers; what a caller hears is kept."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.events: list[LegEvent] = []

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        self.events.append(event)


class Party(Node):
    """An endpoint on the network. ``drain`` gives Resolves to ``resolve``."""

    def __init__(self, world: World, network: Network, name: str, address: str, settings: SipSettings) -> None:
        super().__init__(world, name)
        self.network = network
        self.address = address
        self.settings = settings
        self.offered = 0
        self.begin()
        network.join(address, name, self._receive)

    def begin(self) -> None:
        """Start, knowing nothing."""
        self.media = DirectMedia()
        self.endpoint = SipEndpoint(
            self.settings,
            self.media,
            random.Random(self.world.rng.getrandbits(64)),
            self._offer,
            local_for=lambda _remote: self.address,
        )

    def _offer(self, leg: Leg, offered: Offered, now: int) -> Listener:
        assert isinstance(leg, SipLeg)
        self.offered += 1
        self.world.after(20 * MILLISECOND, self._answer, leg)
        self.world.after(2 * SECOND, self._end, leg)
        return _Ear(answers=True)

    def _answer(self, leg: SipLeg) -> None:
        leg.answer(None, self.world.now)
        self.settle()

    def _end(self, leg: SipLeg) -> None:
        leg.release(Cause.NORMAL_CALL_CLEARING, self.world.now)
        self.settle()

    def call(self, peer: str) -> _Ear | None:
        """Call ``peer``; None if there is no way."""
        leg = self.endpoint.new_leg(peer, self.world.now)
        if isinstance(leg, Cause):
            return None
        leg.listener = ear = _Ear(answers=False)
        leg.place(Setup(Number("4165550100")), self.world.now)
        self.settle()
        self.world.after(30 * SECOND, self._end, leg)
        return ear

    def _receive(self, data: bytes, source: Address) -> None:
        self.endpoint.receive(data, Flow(UDP, source[0], source[1]), self.world.now)
        self.settle()

    def drain(self) -> None:
        while True:
            while (output := self.endpoint.poll()) is not None:
                if isinstance(output, Send):
                    self.on_send(output)
                    self.network.send((self.address, PORT), (output.flow.address, output.flow.port), output.data)
                elif isinstance(output, Resolve):
                    self.resolve(output)
            if not self.media.flush():
                break

    def on_send(self, send: Send) -> None:
        """Look at what is sent."""

    def resolve(self, question: Resolve) -> None:
        """Answer a question."""

    def next_deadline(self) -> int | None:
        return self.endpoint.next_timer()

    def expire(self, now: int) -> None:
        self.endpoint.handle_timer(now)


class Branch(Party):
    """The gateway."""

    def __init__(self, world: World, network: Network, ask: Callable[[Resolve], Answer], settings: SipSettings) -> None:
        self.ask = ask
        self.registers: deque[int] = deque()
        self.most_registers = 0
        self._branches: set[bytes] = set()
        super().__init__(world, network, "branch", "10.0.0.1", settings)

    def on_send(self, send: Send) -> None:
        if send.data.startswith(b"REGISTER"):
            branch = send.data.partition(b"branch=")[2][:23]
            if branch not in self._branches:
                self._branches.add(branch)
                self.registers.append(self.world.now)
                while self.registers[0] < self.world.now - WINDOW:
                    self.registers.popleft()
                self.most_registers = max(self.most_registers, len(self.registers))

    def resolve(self, question: Resolve) -> None:
        delay = self.world.rng.randrange(1, 300) * MILLISECOND
        self.world.after(delay, self._answered, question)

    def _answered(self, question: Resolve) -> None:
        self.endpoint.looked_up(question, self.ask(question), self.world.now)
        self.settle()

    def move(self, address: str) -> None:
        """The branch has another address from now on."""
        self.network.leave(self.address)
        self.address = address
        self.network.join(address, self.name, self._receive)
        self.endpoint.outbound.advertised.forget()
        self.endpoint.far_ends.moved(self.world.now)
        self.settle()


class Provider:
    """The world of one seed. ``breaches`` says what was not as it should be."""

    def __init__(self, seed: int) -> None:
        self.world = world = World(seed)
        rng = world.rng
        self.weather = Weather(latency=10 * MILLISECOND, jitter=5 * MILLISECOND)
        self.network = Network(world, self.weather)
        self.breaches: list[str] = []
        self.registered_seconds = 0
        self.calls = 0
        peer = PeerSettings(ACCOUNT, "", dynamic=True, secret=WORD, insecure_invite=True, context="in")
        self.settled_looks = 0
        self._expiry = expiry = rng.choice((60, 60, 300, 3600))
        provider = SipSettings(
            listeners=(Socket(UDP, "", PORT),),
            peers=(peer,),
            registrar=RegistrarSettings(minexpiry=30, maxexpiry=expiry, defaultexpiry=expiry, natexpiry=expiry),
        )
        self.servers = [
            Party(world, self.network, f"server{n}", f"10.0.1.{n}", provider) for n in range(1, rng.choice((2, 3, 4)))
        ]
        self.up = {server.address: True for server in self.servers}
        self.named = [server.address for server in self.servers]
        self.dns_works = True
        qualify = rng.choice((0, 2)) * SECOND
        settings = FarEndSettings(
            domain=Domain(HOST),
            registration=RegistrationSettings(ACCOUNT, rng.choice((60, 600, 3600))),
            qualify=qualify,
            qualifyfreq=rng.choice((20, 60)) * SECOND,
            keepalive=25 * SECOND,
        )
        trunk = PeerSettings(
            "trunk", HOST, secret=WORD, auth_user=ACCOUNT, insecure_invite=True, far_end=settings, context="in"
        )
        self.branch = Branch(
            world, self.network, self._answer, SipSettings(listeners=(Socket(UDP, "", PORT),), peers=(trunk,))
        )
        self.branch.settle()
        # Since when nothing was changed, lost or down that the gateway needs.
        self._well_since = world.now
        self._moves = 0

    @property
    def registration(self) -> object:
        """Ours."""
        return self.branch.endpoint.far_ends.registration("trunk")

    def _answer(self, question: Resolve) -> Answer:
        rng = self.world.rng
        if not self.dns_works:
            return FAILED
        ttl = rng.choice((0, 30, 300)) * SECOND
        if question.kind == SRV:
            return Answer(tuple(Srv(1, n, PORT, f"pop{address[-1]}") for n, address in enumerate(self.named)), ttl)
        if question.kind == ADDRESS and question.host.startswith("pop"):
            return Answer((f"10.0.1.{question.host[-1]}",), ttl)
        return Answer((), ttl)

    # -- what goes wrong --

    def _change(self) -> None:
        rng = self.world.rng
        self._well_since = self.world.now
        rng.choice((self._weather, self._server, self._server, self._restart, self._dns, self._names, self._move))()
        if not any(self.up[address] for address in self.named) and rng.random() < 0.7:
            self._revive()

    def _weather(self) -> None:
        rng, weather = self.world.rng, self.weather
        weather.loss = rng.choice((0.0, 0.0, 0.05, 0.3))
        weather.duplicate = rng.choice((0.0, 0.1))
        weather.jitter = rng.choice((5, 200, 1500)) * MILLISECOND

    def _server(self) -> None:
        server = self.world.rng.choice(self.servers)
        self._set(server, not self.up[server.address])

    def _set(self, server: Party, up: bool) -> None:
        self.world.note(server.name, "up" if up else "down")
        self.up[server.address] = up
        self.network.cut(server.address, not up)

    def _revive(self) -> None:
        self._well_since = self.world.now
        for server in self.servers:
            self._set(server, True)

    def _restart(self) -> None:
        server = self.world.rng.choice(self.servers)
        self.world.note(server.name, "restart")
        server.begin()
        server.settle()

    def _dns(self) -> None:
        self.dns_works = not self.dns_works
        self.world.note("dns", "works" if self.dns_works else "fails")

    def _names(self) -> None:
        rng = self.world.rng
        self.named = rng.sample([server.address for server in self.servers], rng.randint(1, len(self.servers)))
        self.world.note("dns", "servers", " ".join(self.named))

    def _move(self) -> None:
        self._moves += 1
        self.world.note("branch", "moves")
        self.branch.move(f"10.0.{2 + self._moves // 200}.{1 + self._moves % 200}")
        registration = self.branch.endpoint.far_ends.registration("trunk")
        if self._fair and all(self.up.values()) and registration is not None and registration.in_force:
            self.world.after(MOVE_LIMIT, self._moved, self._well_since)

    def _moved(self, since: int) -> None:
        """The registrar knows the new address by now."""
        if since == self._well_since:
            self._check_holder()

    # -- what must hold --

    def _look(self) -> None:
        far_ends = self.branch.endpoint.far_ends
        registration = far_ends.registration("trunk")
        assert registration is not None
        now = self.world.now
        if registration.in_force:
            self.registered_seconds += 10
            if registration.expires_at < now:
                self._breach("a binding is taken to stand that has run out")
        if not (self._fair and self.dns_works and any(self.up[address] for address in self.named)):
            self._well_since = now
        if now - self._well_since < RECOVERY:
            return
        if not registration.in_force or registration.flow is None:
            self._breach(f"not registered though a server is there: {registration.error}")
            return
        # A restarted server forgets, and the gateway hears of that at the next refresh only.
        if now - self._well_since < RECOVERY + self._expiry * SECOND:
            return
        self.settled_looks += 1
        self._check_holder()

    @property
    def _fair(self) -> bool:
        return self.weather.loss == 0 and self.weather.jitter < SECOND

    def _check_holder(self) -> None:
        registration = self.branch.endpoint.far_ends.registration("trunk")
        assert registration is not None
        if registration.flow is None:
            self._breach("not registered")
            return
        holder = next(each for each in self.servers if registration.flow.address == each.address)
        bindings = holder.endpoint.phones.location.bindings(ACCOUNT, self.world.now)
        if [binding.flow.address for binding in bindings] != [self.branch.address]:
            self._breach("the registrar does not know where the gateway is")

    def _breach(self, text: str) -> None:
        self.world.note("invariant", text)
        self.breaches.append(f"{self.world.now / SECOND:.0f} s: {text}")

    def _call(self) -> None:
        """We call, if all has been well for long enough to be answered for certain."""
        if self.world.now - self._well_since < RECOVERY:
            return
        self.calls += 1
        ear = self.branch.call("trunk")
        if ear is None:
            self._breach("no way to call")
            return
        since = self._well_since
        self.world.after(CALL_LIMIT, self._called, ear, since)

    def _called(self, ear: _Ear, since: int) -> None:
        if since == self._well_since and not any(isinstance(event, Answered | Alerting) for event in ear.events):
            self._breach(f"a call was not answered: {ear.events}")

    # -- the run --

    def run(self, hours: int = 12) -> None:
        """So many hours of misfortune, then an hour of peace, then the end of the gateway."""
        world = self.world
        end = world.now + hours * HOUR
        at = world.now
        while at < end:
            at += world.rng.choice((1, 20, 200, 2000, 4000)) * SECOND
            world.at(at, self._change)
        for second in range(0, (hours + 1) * 3600, 10):
            world.at(SECOND + second * SECOND, self._look)
        for second in range(0, hours * 3600, 600):
            world.at(SECOND + second * SECOND, self._call)
        world.run(at)
        self.weather.clear()
        self.weather.jitter = 5 * MILLISECOND
        self.dns_works = True
        self._revive()
        world.run(at + HOUR)
        self._end()

    def _end(self) -> None:
        branch, world = self.branch, self.world
        registration = branch.endpoint.far_ends.registration("trunk")
        assert registration is not None
        if not registration.in_force or registration.flow is None:
            self._breach("not registered after an hour of peace")
            return
        holder = next(each for each in self.servers if registration.flow.address == each.address)
        bindings = holder.endpoint.phones.location.bindings(ACCOUNT, world.now)
        if [binding.flow.address for binding in bindings] != [branch.address]:
            self._breach(f"the registrar has {bindings}, expected one binding at {branch.address}")
        offered = branch.offered
        holder.call(ACCOUNT)
        world.run(world.now + 10 * SECOND)
        if branch.offered != offered + 1:
            self._breach("the provider's call did not come")
        branch.endpoint.far_ends.leave(world.now)
        branch.settle()
        world.run(world.now + 40 * SECOND)
        if not branch.endpoint.far_ends.quiet:
            self._breach("the registration was not taken back")
        if holder.endpoint.phones.location.bindings(ACCOUNT, world.now):
            self._breach("the registrar still has a binding")
        if branch.most_registers > MOST_REGISTERS:
            self._breach(f"{branch.most_registers} REGISTERs within a minute")
        world.run(world.now + 120 * SECOND)
        if not branch.endpoint.idle:
            self._breach("the endpoint does not come to rest")


def run_provider(seed: int, hours: int = 12) -> Provider:
    """The world of ``seed`` after its run."""
    provider = Provider(seed)
    provider.run(hours)
    return provider


@click.command(help="Run provider trunks in virtual time, one a seed.")
@click.option("--seeds", default=100, show_default=True, help="How many runs.")
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--hours", default=12, show_default=True, help="Hours of misfortune.")
def main(seeds: int, first: int, hours: int) -> None:
    """Exit 1 if any run failed."""
    logging.disable(logging.CRITICAL)
    failed = calls = looks = 0
    for seed in range(first, first + seeds):
        provider = run_provider(seed, hours)
        calls += provider.calls
        looks += provider.settled_looks
        if provider.breaches:
            failed += 1
            click.echo("\n".join([f"seed {seed}: {len(provider.breaches)} breaches", *provider.breaches[:5]]))
    click.echo(f"{seeds} runs, {calls} calls, looked {looks} times at a registrar: {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
