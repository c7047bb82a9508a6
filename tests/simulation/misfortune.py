"""What goes wrong in a run: weather on the network, bad lines, alarms, cut cables, and programs that restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND, SECOND
from gateway.pri.span.faults import FaultRates
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import PriTrunk
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.flow import UDP, Flow
from gateway.voip.sip.session import Phase
from tests.simulation.exchange_node import ExchangeNode
from tests.simulation.gateway_node import ADDRESS, GatewayNode
from tests.simulation.iax_far_ends import LEAKS
from tests.simulation.itsp import Mood
from tests.simulation.registering import ACCOUNT, RegisteringPhone
from tests.simulation.world import DLine

if TYPE_CHECKING:
    from tests.simulation.branch import Branch

Interval = tuple[int, int]
FOLLOWED_BY = 8 * SECOND
"""So long after a change of address all calls are told of it: a few round trips, or a glare that is waited for."""
AFTERMATH = 130 * SECOND
"""How long after a misfortune its traces may show: T309 and what follows it."""


class Misfortunes:
    """Plans what goes wrong and mends it all in the end. ``happened`` tells when and what, for the judgement."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch
        self.world = branch.world
        self.happened: list[tuple[int, str]] = []
        self.followed = 0
        # A registrar said 403.
        self.refused = False
        # When what began to suffer, by "lines", "everything" or the name of a far end.
        self.suffered: list[tuple[int, str]] = []
        self.packets_suffer = False
        self.frames_suffer = False
        self.contents_suffer = False
        self._blocked: list[tuple[str, str, int]] = []
        self._over = False
        self._outside = 0

    def plan(self, end: int) -> None:
        """Choose weather and incidents between now and ``end``."""
        rng, world = self.world.rng, self.world
        branch = self.branch
        alone: Callable[[], None] | None = None
        if branch.shape.behind_nat and rng.random() < 0.4:
            alone = self._seen_elsewhere
        elif any(branch.shape.nats) and rng.random() < 0.3:
            alone = self._nat_rebinds
        elif branch.shape.servers > 1 and rng.random() < 0.2:
            alone = self._provider_down
        if alone is not None:
            # Nothing but that, to see that it alone does no harm.
            for _ in range(rng.randint(1, 3)):
                world.at(rng.randrange(world.now, max(end, world.now + 1)), self._happen, alone)
            return
        if rng.random() < 0.6:
            self.packets_suffer = True
            weather = branch.weather
            weather.loss = rng.choice((0.01, 0.05, 0.15))
            weather.duplicate = rng.choice((0.0, 0.02, 0.1))
            weather.jitter = rng.choice((5, 40, 150, 900)) * MILLISECOND
            weather.damage = rng.choice((0.0, 0.0, 0.0, 0.005))
            self.contents_suffer = weather.damage > 0
        if rng.random() < 0.5:
            self.frames_suffer = True
            for line in branch.lines.values():
                # A frame that the FCS finds broken is lost; one in which it finds nothing is very rare.
                corrupt = rng.choice((0.0, 0.0, 0.0, 0.01))
                self.contents_suffer = self.contents_suffer or corrupt > 0
                line.rates(
                    FaultRates(
                        lose=rng.choice((0.0, 0.01, 0.05)),
                        corrupt=corrupt,
                        duplicate=rng.choice((0.0, 0.005)),
                        delay=rng.choice((0.0, 0.1)),
                        delay_time=rng.choice((80, 80, 1_200)) * MILLISECOND,
                    )
                )
        incidents: list[Callable[[], None]] = [
            self._cut,
            self._cut,
            self._alarm,
            self._mute,
            self._exchange_restarts,
            self._gateway_restarts,
            self._phone_restarts,
            self._engine_lost,
            self._network_cut,
            self._channel_restart,
            self._silence,
            self._connection_breaks,
            self._flap,
            self._flap,
            self._block,
            self._operator,
            self._gateway_unreachable,
        ]
        if branch.devices:
            incidents += [self._phone_moves, self._phone_moves, self._phone_vanishes]
        if any(branch.shape.nats):
            incidents += [self._nat_rebinds] * 3
        if branch.servers:
            incidents += [self._provider_moody, self._provider_moody, self._provider_down, self._names_fail]
        if branch.shape.behind_nat:
            incidents += [self._seen_elsewhere] * 3
        if branch.iax.nodes:
            of_iax = [
                *[self._iax_restarts, self._iax_cut, self._iax_clock, self._iax_moody],
                *[self._iax_rebinds, self._iax_leaks, self._iax_leaks],
            ]
            for _ in range(rng.choice((0, 1, 2, 4))):
                world.at(rng.randrange(world.now, max(end, world.now + 1)), self._happen, rng.choice(of_iax))
        for _ in range(rng.choice((0, 1, 2, 4, 8))):
            world.at(rng.randrange(world.now, max(end, world.now + 1)), self._happen, rng.choice(incidents))

    def over(self) -> None:
        """Nothing goes wrong any more; what is broken is mended."""
        self._over = True
        branch = self.branch
        branch.weather.clear()
        self.world.note("world", "all is mended")
        for line in branch.lines.values():
            line.rates(None)
            line.muted = False
            line.set_alarms(Alarm.NONE, Alarm.NONE)
        for exchange in branch.exchanges:
            if not exchange.running:
                exchange.start()
        if not branch.gateway.running:
            branch.gateway.start()
        branch.gateway.connect_engine()
        for phone in branch.phones:
            branch.network.cut(phone.address, False)
        branch.network.cut(ADDRESS, False)
        for device in branch.devices:
            device.come_back()
        for server in branch.servers:
            server.mood = Mood.WELL
        branch.names.works = True
        branch.iax.mend()
        while self._blocked:
            self._unblock(*self._blocked.pop())

    @property
    def any(self) -> bool:
        """True if anything at all went wrong."""
        return bool(self.happened) or self.packets_suffer or self.frames_suffer

    def _happen(self, incident: Callable[[], None]) -> None:
        if not self._over:
            incident()

    def _note(self, what: str, *suffer: str) -> None:
        self.happened.append((self.world.now, what))
        self.suffered += [(self.world.now, each) for each in suffer]
        self.world.note("world", what)

    def _later(self, milliseconds: int, mend: Callable[..., None], *arguments: object) -> None:
        self.world.after(milliseconds * MILLISECOND, self._mend, mend, arguments)

    def _mend(self, mend: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self._over:
            mend(*arguments)

    def _line(self) -> DLine:
        return self.world.rng.choice(list(self.branch.lines.values()))

    def _long(self) -> int:
        rng = self.world.rng
        return rng.choice((rng.randint(100, 3_000), rng.randint(3_000, 30_000), rng.randint(30_000, 120_000)))

    def _cut(self) -> None:
        line = self._line()
        self._note(f"{line.name} is cut", "lines")
        line.set_alarms(Alarm.RED, Alarm.RED)
        self._later(self._long(), line.set_alarms, Alarm.NONE, Alarm.NONE)

    def _alarm(self) -> None:
        line = self._line()
        alarms = self.world.rng.choice(
            ((Alarm.YELLOW, Alarm.RED), (Alarm.RED, Alarm.YELLOW), (Alarm.BLUE, Alarm.YELLOW), (Alarm.BLUE, Alarm.NONE))
        )
        self._note(f"{line.name} has alarms {alarms[0].value} and {alarms[1].value}", "lines")
        line.set_alarms(*alarms)
        self._later(self._long(), line.set_alarms, Alarm.NONE, Alarm.NONE)

    def _mute(self) -> None:
        line = self._line()
        self._note(f"{line.name} carries no frames, without an alarm", "lines")
        line.muted = True
        self._later(self._long(), setattr, line, "muted", False)

    def _exchange_restarts(self) -> None:
        exchange = self.world.rng.choice(self.branch.exchanges)
        if not exchange.running:
            return
        self._note(f"{exchange.name} restarts", "lines", exchange.name)
        exchange.stop()
        line = exchange.line
        if self.world.rng.random() < 0.5:
            line.set_alarms(Alarm.RED, Alarm.NONE)
        self._later(self.world.rng.randint(100, 20_000), self._exchange_back, exchange)

    def _exchange_back(self, exchange: ExchangeNode) -> None:
        exchange.line.set_alarms(Alarm.NONE, Alarm.NONE)
        exchange.start()

    def _gateway_restarts(self) -> None:
        gateway = self.branch.gateway
        if not gateway.running:
            return
        self._note("the gateway restarts", "everything")
        gateway.stop()
        # A virtual span's far end sees its connections close; a card goes on framing.
        alarmed = self.world.rng.random() < 0.5
        if alarmed:
            for line in self.branch.lines.values():
                line.set_alarms(Alarm.NONE, Alarm.RED)
        self._later(self.world.rng.randint(300, 30_000), self._gateway_back, alarmed)

    def _gateway_back(self, alarmed: bool) -> None:
        if alarmed:
            for line in self.branch.lines.values():
                line.set_alarms(Alarm.NONE, Alarm.NONE)
        self.branch.gateway.start()

    def _phone_restarts(self) -> None:
        phone = self.world.rng.choice(self.branch.phones)
        self._note(f"{phone.name} restarts", phone.name)
        phone.restart()

    def _phone_moves(self) -> None:
        phone = self.world.rng.choice(self.branch.devices)
        if phone.vanished:
            return
        self._note(f"{phone.name} goes to another address", phone.name)
        phone.move()
        self.world.after(self.branch.shape.natexpiry * SECOND, self._moved, phone, phone.seen_at)

    def _nat_rebinds(self) -> None:
        phone = self.world.rng.choice([each for each in self.branch.devices if each.nat is not None])
        if not phone.vanished:
            self._note(f"the NAT before {phone.name} has another address", phone.name)
            phone.rebind()
            after = self.branch.shape.natexpiry * SECOND
            self.world.after(after, self._rebound, phone, phone.seen_at)

    def _found(self, phone: RegisteringPhone, address: str) -> bool:
        """It has registered again by now, from its new address, and is called there, if all else was well."""
        well = all("the NAT" in what or "goes to" in what for _, what in self.happened) and not self.packets_suffer
        if not well or self.frames_suffer or phone.stopped or phone.seen_at != address or phone.peer.transport != UDP:
            return False
        sip = self.branch.gateway.switch.sip
        peer = sip.peers.get(ACCOUNT)
        if peer is None or all(way.flow.address != address for way in sip.phones.ways(peer, self.world.now)):
            self.branch.breaches.append(f"{phone.name} is not called at {address}, where it registered anew")
        return True

    def _moved(self, phone: RegisteringPhone, address: str) -> None:
        self._found(phone, address)

    def _rebound(self, phone: RegisteringPhone, address: str) -> None:
        """Its calls go on there too."""
        if not self._found(phone, address):
            return
        dialogs = self.branch.gateway.switch.sip.dialogs
        for session in phone.endpoint.dialogs.values():
            dialog = session.dialog
            ours = dialogs.get((dialog.call_id, dialog.remote_tag, dialog.local_tag))
            if ours is not None and session.phase is Phase.CONFIRMED and ours.flow.address != address:
                self.branch.breaches.append(f"a call of {phone.name} is still to go to {ours.flow}, not to {address}")

    def _iax_restarts(self) -> None:
        name = self.branch.iax.restart()
        self._note(f"{name} restarts", name)

    def _iax_cut(self) -> None:
        node = self.world.rng.choice(self.branch.iax.all)
        self._note(f"{node.name} cannot be reached", node.name)
        self.branch.network.cut(node.address, True)
        self._later(self._long(), self.branch.network.cut, node.address, False)

    def _iax_clock(self) -> None:
        name = self.branch.iax.turn_clock()
        if name:
            self._note(f"the clock of {name} jumps", name)

    def _iax_rebinds(self) -> None:
        name = self.branch.iax.rebind()
        if name:
            self._note(f"the NAT before {name} has forgotten all", name)

    def _iax_leaks(self, tries: int = 10) -> None:
        name = self.branch.iax.leak()
        if name:
            self._note(f"{name} {LEAKS}", name)
        elif tries:
            # Until there is such a call.
            self._later(1_500, self._iax_leaks, tries - 1)

    def _iax_moody(self) -> None:
        name = self.branch.iax.sulk(self._long())
        if name:
            self._note(f"{name} takes no registrations", name)

    def _provider_moody(self) -> None:
        server = self.world.rng.choice(self.branch.servers)
        server.mood = self.world.rng.choice((Mood.SILENT, Mood.BUSY, Mood.FAILING, Mood.FORBIDS))
        self.refused = self.refused or server.mood is Mood.FORBIDS
        self._note(f"{server.name} is {server.mood.name.lower()} to those who register")
        self._later(self._long(), setattr, server, "mood", Mood.WELL)

    def _provider_down(self) -> None:
        server = self.world.rng.choice(self.branch.servers)
        self._note(f"{server.name} is down", server.name)
        self.branch.network.cut(server.address, True)
        self._later(self._long(), self.branch.network.cut, server.address, False)

    def _names_fail(self) -> None:
        self._note("the DNS fails")
        self.branch.names.works = False
        self._later(self._long(), setattr, self.branch.names, "works", True)

    def _phone_vanishes(self) -> None:
        phone = self.world.rng.choice(self.branch.devices)
        if not phone.vanished:
            self._note(f"{phone.name} is pulled out", phone.name)
            phone.vanish()
            self._later(self._long(), phone.come_back)

    def _engine_lost(self) -> None:
        gateway = self.branch.gateway
        crash = self.world.rng.random() < 0.5
        self._note("the media engine is lost", "everything")
        gateway.lose_engine(crash=crash)
        self._later(self.world.rng.randint(50, 5_000), gateway.connect_engine)

    def _network_cut(self) -> None:
        phone = self.world.rng.choice(self.branch.phones)
        self._note(f"{phone.name} cannot be reached", phone.name)
        self.branch.network.cut(phone.address, True)
        self._later(self._long(), self.branch.network.cut, phone.address, False)

    def _connection_breaks(self) -> None:
        if self.branch.gateway.running and self.branch.gateway.streams.break_one():
            self._note("a TCP connection breaks", "everything")

    def _flap(self) -> None:
        """A line that comes and goes (a bad connector)."""
        line = self._line()
        self._note(f"{line.name} flaps", "lines")
        rng = self.world.rng
        at = 0
        for _ in range(rng.randint(3, 12)):
            at += rng.randint(20, 3_000)
            self._later(at, line.set_alarms, Alarm.RED, rng.choice((Alarm.RED, Alarm.YELLOW)))
            at += rng.randint(20, 3_000)
            self._later(at, line.set_alarms, Alarm.NONE, Alarm.NONE)

    def _trunk(self, node: str, name: str) -> tuple[PriTrunk, GatewayNode | ExchangeNode] | None:
        gateway = self.branch.gateway
        if node == gateway.name:
            return (gateway.switch.trunks[name], gateway) if gateway.running else None
        for exchange in self.branch.exchanges:
            if exchange.name == node and exchange.running:
                return exchange.exchange.trunk, exchange
        return None

    def _block(self) -> None:
        """Somebody takes a channel out of service for a while."""
        exchange = self.world.rng.choice(self.branch.exchanges)
        node = self.world.rng.choice((self.branch.gateway.name, exchange.name))
        found = self._trunk(node, exchange.settings.name)
        if found is None:
            return
        trunk, owner = found
        timeslot = self.world.rng.choice([channel.timeslot for channel in trunk.channels])
        self._note(f"{node} blocks channel {timeslot} of {trunk.name}", "lines")
        trunk.block(timeslot, self.world.now)
        owner.settle()
        entry = node, trunk.name, timeslot
        if entry not in self._blocked:
            self._blocked.append(entry)
            self._later(self._long(), self._unblock_one, entry)

    def _unblock_one(self, entry: tuple[str, str, int]) -> None:
        if entry in self._blocked:
            self._blocked.remove(entry)
            self._unblock(*entry)

    def _unblock(self, node: str, name: str, timeslot: int) -> None:
        found = self._trunk(node, name)
        if found is not None:
            found[0].unblock(timeslot, self.world.now)
            found[1].settle()

    def _operator(self) -> None:
        """An operator ends a call, any."""
        gateway = self.branch.gateway
        if gateway.running and gateway.switch.calls:
            identity = self.world.rng.choice(list(gateway.switch.calls))
            self._note(f"an operator ends call {identity}", "everything")
            gateway.switch.hang_up(identity, self.world.now)
            gateway.settle()

    def _gateway_unreachable(self) -> None:
        """The gateway's own uplink fails."""
        self._note("the gateway has no network", "everything")
        self.branch.network.cut(ADDRESS, True)
        self._later(self._long(), self._uplink_back)

    def _seen_elsewhere(self) -> None:
        """The NAT in front of the gateway has another address outside, and a registrar sees that."""
        gateway = self.branch.gateway
        if not gateway.running:
            return
        self._outside += 1
        outside = f"203.0.113.{self._outside}"
        self._note(f"the gateway is {outside} outside", "everything")
        self.branch.put_outside(outside)
        facts = NetworkFacts("wan0", (f"192.168.{self._outside}.2",))
        if self.branch.sees_itself:
            # The WAN watcher tells of another network, and the provider's registrar sees the address then.
            gateway.switch.network(facts, self.world.now)
        else:
            if gateway.switch.iax is not None:
                gateway.switch.iax.network(facts, self.world.now)
            registrar = Flow(UDP, self.branch.phones[0].address, 5060)
            gateway.switch.sip.relocation.seen("hq", outside, 5060, registrar, self.world.now)
        gateway.settle()
        self.world.after(FOLLOWED_BY, self._followed, outside, len(self.happened))

    def _followed(self, outside: str, happened: int) -> None:
        """Every far end that is in a call knows by now where the gateway is, if all else was well."""
        if self.packets_suffer or self._over or len(self.happened) > happened:
            return
        if any(not what.endswith("outside") for _, what in self.happened):
            return
        self.followed += 1
        self.branch.breaches += self.branch.iax.not_followed(outside)
        holders = [each for each in self.branch.servers if each.bound]
        if holders and all(outside not in each.contact_of_gateway for each in holders):
            told = ", ".join(each.contact_of_gateway for each in holders)
            self.branch.breaches.append(f"the provider is still to call the gateway at {told}, not at {outside}")
        dialogs = self.branch.gateway.switch.sip.dialogs
        for phone in self.branch.phones:
            if self.branch.network.symmetric(phone.address):
                # To its NAT we are a stranger now, until the phone calls or registers where we are.
                continue
            for session in phone.endpoint.dialogs.values():
                told = session.dialog.request_uri
                dialog = session.dialog
                ours = dialogs.get((dialog.call_id, dialog.remote_tag, dialog.local_tag))
                if session.phase is not Phase.CONFIRMED or ours is None:
                    continue
                # Our ACK, or what went to where we were: nobody is there any more.
                crossed = session.acceptance.pending
                if not crossed and outside not in told:
                    self.branch.breaches.append(
                        f"{phone.name} is still to reach the gateway at {told}, not at {outside}"
                    )

    def _uplink_back(self) -> None:
        if self.branch.gateway.running:
            self.branch.network.cut(ADDRESS, False)

    def _silence(self) -> None:
        self._note("a stream falls silent")
        self.branch.gateway.hear_nothing()

    def _channel_restart(self) -> None:
        gateway = self.branch.gateway
        exchange = self.world.rng.choice(self.branch.exchanges)
        rng = self.world.rng
        node: GatewayNode | ExchangeNode = rng.choice((gateway, exchange))
        trunk = gateway.switch.trunks[exchange.settings.name] if node is gateway else exchange.exchange.trunk
        if not node.running:
            return
        timeslot = rng.choice((None, *[channel.timeslot for channel in trunk.channels]))
        self._note(f"{node.name} restarts channel {timeslot} of {trunk.name}", "lines")
        trunk.restart(timeslot, self.world.now)
        node.settle()
