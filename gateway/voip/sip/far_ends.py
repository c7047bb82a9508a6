"""Far ends between calls: their servers by RFC 3263, our registrations with them, keep-alive, and who can be had.

One per endpoint; composes ``targets``, ``registration``, ``keepalive``, ``qualify`` and ``contacts``. Touches no call.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.core import MILLISECOND, SECOND, TimerQueue
from gateway.voip.reach import Reach
from gateway.voip.sip.contacts import WatchedContacts
from gateway.voip.sip.far_end_timers import FarEndTimer, durations
from gateway.voip.sip.flow import (
    ADDRESS,
    DEFAULT_PORT,
    TCP,
    TLS,
    UDP,
    Flow,
    Resolve,
    bracketed,
    literal_address,
)
from gateway.voip.sip.keepalive import Keepalive
from gateway.voip.sip.message import Response
from gateway.voip.sip.names import Answer
from gateway.voip.sip.outbound import Outbound
from gateway.voip.sip.peers import PeerKind, PeerSettings, PeerTable
from gateway.voip.sip.qualify import Watch
from gateway.voip.sip.registration import Registration, Timed
from gateway.voip.sip.suspects import Suspects
from gateway.voip.sip.targets import Domain, Locator, Target, addresses_answer
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import Timers

log = logging.getLogger(__name__)

SPREAD = 20 * MILLISECOND
MOST_SPREAD = 5 * SECOND
"""The first registrations are spread over so much for each trunk, and all together."""

OnSeen = Callable[[str, str, int, Flow, int], None]
"""What a registrar saw us come from: name of the trunk, address, port, the flow to it, now."""


class Endpoint(Protocol):
    """What is used of the endpoint."""

    rng: random.Random
    timers: Timers
    outbound: Outbound
    peers: PeerTable
    suspects: Suspects

    def close(self, flow: Flow, text: str) -> None:
        """The connection ``flow`` is to be closed."""

    def ask(self, question: Resolve) -> None:
        """The DNS is to be asked."""


class _Trunk:
    """What is kept of one peer."""

    __slots__ = ("domain", "keepalive", "peer", "place", "registration", "watch")

    def __init__(self, peer: PeerSettings, domain: Domain | None) -> None:
        self.peer = peer
        self.domain = domain
        self.registration: Registration | None = None
        self.keepalive: Keepalive | None = None
        self.watch: Watch | None = None
        # Where its connection leads.
        self.place: tuple[str, int] = ("", 0)


class FarEnds:
    """``on_seen`` is told what registrars see. ``streams`` is True if what comes on connections is to be told."""

    def __init__(
        self,
        endpoint: Endpoint,
        peers: Sequence[PeerSettings],
        user_agent: str,
        on_seen: OnSeen | None = None,
    ) -> None:
        self.rng = endpoint.rng
        self.user_agent = user_agent
        self.outbound = endpoint.outbound
        self.durations = durations()
        self.on_seen = on_seen
        self._endpoint = endpoint
        self._timers: TimerQueue[tuple[Timed, FarEndTimer]] = TimerQueue()
        # When the endpoint's queue will wake us.
        self._armed: int | None = None
        self._locator_timer = _LookUp(self)
        self.locator = Locator(endpoint.rng, self._reaches, self._speaks)
        self._trunks: dict[str, _Trunk] = {}
        self._by_domain: dict[Domain, list[_Trunk]] = {}
        # Of these the DNS knows nothing, and that was told.
        self._unknown: set[Domain] = set()
        # Whose flows lead to an address and port: several accounts of one provider share a connection.
        self._by_place: dict[tuple[str, int], list[_Trunk]] = {}
        self.contacts = WatchedContacts(self, endpoint.suspects)
        self._leaving = False
        for peer in peers:
            self._add(peer)
        self.streams = any(trunk.keepalive is not None for trunk in self._trunks.values())
        # Names are asked for at once; all else begins at the first moment that there is.
        self._begun = not self._trunks
        for domain in self._by_domain:
            self.locator.watch(domain, 0)
        self._put_questions()
        if not self._begun:
            self._arm(0)

    def _add(self, peer: PeerSettings) -> None:
        settings = peer.far_end
        domain = domain_of(peer)
        if peer.dynamic:
            return
        if domain is None and settings.registration is None and not settings.qualify and not settings.keepalive:
            return
        trunk = self._trunks[peer.name] = _Trunk(peer, domain)
        if domain is not None:
            self._by_domain.setdefault(domain, []).append(trunk)
        if settings.registration is not None:
            trunk.registration = Registration(self, peer, settings.registration)
        if settings.keepalive or settings.registration is not None:
            trunk.keepalive = Keepalive(self, self, settings.keepalive)
        if settings.qualify:
            trunk.watch = Watch(
                self,
                peer.name,
                _uri_of(peer),
                lambda now: self.flows(peer, now),
                settings.qualify,
                settings.qualifyfreq,
                self._reach_changed,
                lambda flow: self.routes(peer.name, flow),
                lambda: self.looking_up(peer),
            )

    def take_up(self, changed: frozenset[str], user_agent: str, now: int) -> None:
        """The endpoint's peers are others now; those of the names ``changed`` are gone, or other than before."""
        self.user_agent = user_agent
        self.contacts.forget(changed)
        for name in changed:
            self._forget(name, now)
        fresh = []
        for peer in self._endpoint.peers:
            if peer.name not in self._trunks:
                self._add(peer)
                if peer.name in self._trunks:
                    fresh.append(self._trunks[peer.name])
        for trunk in fresh:
            if trunk.domain is not None:
                self.locator.watch(trunk.domain, now)
        self._put_questions()
        self.streams = any(trunk.keepalive is not None for trunk in self._trunks.values())
        if self._begun:
            self._begin_with(fresh, now)

    def _forget(self, name: str, now: int) -> None:
        self._endpoint.suspects.reachable(name)
        trunk = self._trunks.pop(name, None)
        if trunk is None:
            return
        if trunk.watch is not None:
            trunk.watch.cease()
        if trunk.keepalive is not None:
            trunk.keepalive.cease()
            self._place_of(trunk, None)
        if trunk.domain is not None:
            of_domain = self._by_domain[trunk.domain]
            of_domain.remove(trunk)
            if not of_domain:
                del self._by_domain[trunk.domain]
                self._unknown.discard(trunk.domain)
                self.locator.forget(trunk.domain)
        if trunk.registration is not None:
            heir = self._endpoint.peers.get(name)
            if heir is not None and _same_account(heir, trunk.peer):
                # Taken back it might be after the next one was made, which has the same Contact.
                trunk.registration.abandon()
            else:
                trunk.registration.leave(now)

    def _begin(self, now: int) -> None:
        self._begun = True
        self._begin_with(tuple(self._trunks.values()), now)

    def _begin_with(self, trunks: Sequence[_Trunk], now: int) -> None:
        spread = max(min(SPREAD * (len(trunks) - 1), MOST_SPREAD), 0)
        for trunk in trunks:
            if trunk.registration is not None:
                # Many accounts with one provider do not come all at once.
                self.start(trunk.registration, FarEndTimer.REGISTER, now + self.rng.randrange(spread + 1))
            elif trunk.keepalive is not None:
                self._keep_alive(trunk, now)
            if trunk.watch is not None:
                trunk.watch.begin(now)
        self._look_up_later()

    # -- Surroundings of registrations, keep-alives and watches --

    def start(self, owner: Timed, timer: FarEndTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""
        self._timers.start((owner, timer), at)
        self._arm(at)

    def stop(self, owner: Timed, timer: FarEndTimer) -> None:
        """Do not."""
        self._timers.stop((owner, timer))

    def _arm(self, at: int) -> None:
        if self._armed is None or at < self._armed:
            self._armed = at
            # Which one does not matter: we have a queue of our own.
            self._endpoint.timers.start((self, SipTimer.REFRESH), at)

    def flows(self, peer: PeerSettings, now: int) -> list[Flow]:
        """The servers of ``peer``, the one to try first in front: that which we are registered with, then by DNS."""
        trunk = self._trunks.get(peer.name)
        if trunk is None or trunk.domain is None:
            flow = self._endpoint.peers.flow(peer, self.outbound.listener_for)
            return [] if flow is None else [flow]
        found = [self._flow(target) for target in self.locator.targets(trunk.domain, now)]
        self._put_questions()
        flows = [flow for flow in found if flow is not None]
        registration = trunk.registration
        if registration is not None and registration.in_force and registration.flow is not None:
            held = registration.flow
            if held in flows and not self.locator.avoided(_target(held), now):
                flows.remove(held)
                flows.insert(0, held)
        return flows

    def _flow(self, target: Target) -> Flow | None:
        listener = self.outbound.listener_for(target.transport, target.address)
        if target.transport == UDP:
            return None if listener is None else Flow(UDP, target.address, target.port, 0, listener)
        name = target.host.lower() if target.transport == TLS else ""
        return Flow(target.transport, target.address, target.port, 0, 0, name)

    def _reaches(self, transport: str, address: str) -> bool:
        return transport != UDP or self.outbound.listener_for(UDP, address) is not None

    def _speaks(self, transport: str) -> bool:
        # TLS that nobody configured has no certificate, and nobody asked for it.
        return transport in (UDP, TCP) or (transport == TLS and self.outbound.listener_for(TLS, "") is not None)

    def looking_up(self, peer: PeerSettings) -> bool:
        """True while the DNS has not said all about the servers of ``peer``."""
        trunk = self._trunks.get(peer.name)
        return trunk is not None and trunk.domain is not None and self.locator.pending(trunk.domain)

    def failed(self, flow: Flow, now: int, microseconds: int = 0) -> None:
        """A server failed: for so long (0: as usual) the others go first."""
        self.locator.avoid(_place(flow), now, microseconds or self.durations[FarEndTimer.AVOID])

    def dead(self, flow: Flow, now: int) -> None:
        """A server does not answer: as ``failed``, and who is registered with it moves to another, if there is one."""
        self.failed(flow, now)
        for trunk in self._trunks.values():
            registration = trunk.registration
            if registration is not None and registration.flow == flow and len(self.flows(trunk.peer, now)) > 1:
                registration.server_died(now)

    def works(self, flow: Flow) -> None:
        """A server answers."""
        self.locator.works(_place(flow))

    def registered(self, registration: Registration, response: Response, now: int) -> None:
        """A registration was made, refreshed or moved."""
        trunk = self._trunks[registration.peer.name]
        flow = registration.flow
        if flow is None:
            return
        if trunk.keepalive is not None:
            trunk.keepalive.watch(flow, registration.keep_seconds)
            self._place_of(trunk, flow)
            trunk.keepalive.begin(now)
        self._endpoint.suspects.heard(trunk.peer.name)
        if self.on_seen is not None:
            via = response.via
            address = literal_address(via.received or via.host)
            if address is not None and (via.received is not None or via.rport is not None):
                self.on_seen(trunk.peer.name, address, via.rport or via.port or DEFAULT_PORT, flow, now)

    def unregistered(self, registration: Registration, now: int) -> None:
        """A registration is no longer in force."""
        trunk = self._trunks[registration.peer.name]
        if trunk.keepalive is not None:
            trunk.keepalive.cease()
            self._keep_alive(trunk, now)

    def _keep_alive(self, trunk: _Trunk, now: int) -> None:
        """Without a registration the best server's flow is kept open, if that was asked for."""
        keepalive = trunk.keepalive
        if keepalive is None or trunk.registration is not None or keepalive.flow is not None:
            return
        flows = self.flows(trunk.peer, now)
        if flows:
            keepalive.watch(flows[0], 0)
            self._place_of(trunk, flows[0])
            keepalive.begin(now)

    def flow_failed(self, flow: Flow, now: int) -> None:
        """Keep-alives are no longer answered on ``flow``."""
        log.warning("%s answers no keep-alive: the connection is closed", flow)
        self._endpoint.close(flow, "no answer to keep-alives")
        for trunk in self._at(flow):
            self._connection_gone(trunk, flow, now)

    def _place_of(self, trunk: _Trunk, flow: Flow | None) -> None:
        """Where the connection of ``trunk`` leads, None for nowhere."""
        place = ("", 0) if flow is None else (flow.address, flow.port)
        if trunk.place == place:
            return
        old = self._by_place.get(trunk.place, [])
        if trunk in old:
            old.remove(trunk)
            if not old:
                del self._by_place[trunk.place]
        trunk.place = place
        if flow is not None:
            self._by_place.setdefault(place, []).append(trunk)

    def _at(self, flow: Flow) -> Sequence[_Trunk]:
        return tuple(self._by_place.get((flow.address, flow.port), ()))

    # -- what the endpoint tells --

    def expire(self, timer: SipTimer, now: int) -> None:  # noqa: ARG002
        """Run what is due."""
        self._armed = None
        if not self._begun:
            self._begin(now)
        for owner, due in self._timers.expired(now):
            owner.expire(due, now)
        at = self._timers.next_timer()
        if at is not None:
            self._arm(at)

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        """The DNS answered."""
        for domain in self.locator.answered(question, answer, now):
            for trunk in self._by_domain[domain]:
                self._relocated(trunk, domain, now)
            if not self.locator.pending(domain):
                self._tell(domain)
        self._look_up_later()

    def _tell(self, domain: Domain) -> None:
        """One line when nothing is known of a domain's servers, and one when something is again."""
        known = bool(self.locator.known(domain))
        if known is (domain not in self._unknown):
            return
        names = ", ".join(trunk.peer.name for trunk in self._by_domain[domain])
        if known:
            self._unknown.discard(domain)
            log.info("%s: the DNS has %s now", names, domain.host)
        else:
            self._unknown.add(domain)
            log.warning(
                "%s: host %s does not resolve, and cannot be called; check the name, and the DNS server",
                names,
                domain.host,
            )

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The same for addresses that came without their time to live; none is as if the DNS had failed."""
        self.looked_up(Resolve(host, ADDRESS), addresses_answer(addresses), now)

    def _relocated(self, trunk: _Trunk, domain: Domain, now: int) -> None:
        known = [(target.address, target.port) for target in self.locator.known(domain)]
        self._endpoint.peers.located(trunk.peer.name, known)
        if trunk.registration is not None:
            trunk.registration.located(now)
        else:
            self._keep_alive(trunk, now)
        if trunk.watch is not None and trunk.watch.state in (Reach.UNKNOWN, Reach.UNREACHABLE) and known:
            trunk.watch.ask_soon(now)

    def _look_up_later(self) -> None:
        self._put_questions()
        at = self.locator.next_timer()
        if at is not None:
            self.start(self._locator_timer, FarEndTimer.LOOK_UP, at)

    def look_up(self, now: int) -> None:
        """Names are to be asked for again."""
        self.locator.handle_timer(now)
        self._look_up_later()

    def _put_questions(self) -> None:
        while (question := self.locator.poll()) is not None:
            self._endpoint.ask(question)

    def connection_lost(self, flow: Flow, now: int) -> None:
        """The connection of ``flow`` is gone, or could not be had."""
        if flow.reliable:
            for trunk in self._at(flow):
                self._connection_gone(trunk, flow, now)

    def _connection_gone(self, trunk: _Trunk, flow: Flow, now: int) -> None:
        registration = trunk.registration
        if trunk.keepalive is not None:
            trunk.keepalive.cease()
            if registration is None:
                self._keep_alive(trunk, now)
        if registration is not None and registration.in_force and _place(registration.flow or flow) == _place(flow):
            # RFC 5626 4.4: calls come over this very connection.
            registration.renew(now)

    def heard_on(self, flow: Flow, data: bytes, now: int) -> None:
        """Bytes came on a connection."""
        for trunk in self._at(flow):
            if trunk.keepalive is not None:
                trunk.keepalive.heard(flow, data, now)

    def heard(self, name: str, now: int) -> None:
        """A message of the peer called ``name`` came."""
        trunk = self._trunks.get(name)
        if trunk is not None and trunk.watch is not None:
            trunk.watch.heard(now)

    # -- what others ask --

    def moved(self, now: int) -> None:
        """This host's address changed, or its way to the Internet: register anew, look names up and ask again."""
        self.locator.moved(now)
        for trunk in self._trunks.values():
            if trunk.registration is not None:
                trunk.registration.renew(now)
            if trunk.watch is not None:
                trunk.watch.ask_soon(now)
        self.contacts.ask_soon(now)
        self._look_up_later()

    def leave(self, now: int) -> None:
        """The gateway ends: take all registrations back."""
        self._leaving = True
        for trunk in self._trunks.values():
            if trunk.registration is not None:
                trunk.registration.leave(now)
            if trunk.keepalive is not None:
                trunk.keepalive.cease()
            if trunk.watch is not None:
                trunk.watch.cease()
        self.contacts.leave()

    @property
    def quiet(self) -> bool:
        """True if no registration is still being taken back."""
        return not self._leaving or all(
            trunk.registration is None or trunk.registration.over for trunk in self._trunks.values()
        )

    @property
    def running(self) -> int:
        """How many timers of the endpoint's queue are for us."""
        return 0 if self._armed is None else 1

    def routes(self, name: str, flow: Flow) -> tuple[str, ...]:
        """The Service-Route for requests outside of dialogs to the trunk called ``name`` (RFC 3608).

        None on another ``flow`` than that of the registration: it is a way from there.
        """
        trunk = self._trunks.get(name)
        registration = None if trunk is None else trunk.registration
        return () if registration is None or registration.flow != flow else registration.routes

    def registration(self, name: str) -> Registration | None:
        """Our registration with the trunk called ``name``."""
        trunk = self._trunks.get(name)
        return None if trunk is None else trunk.registration

    def account(self, user: str, flow: Flow) -> PeerSettings | None:
        """The trunk that we registered with as ``user``, of those that ``flow`` may come from: whom a call is for.

        Several accounts with one provider have one address; its calls name our Contact's user (RFC 3261 16.5).
        """
        for trunk in self._trunks.values():
            registration = trunk.registration
            if registration is not None and registration.settings.user == user and self._is_of(trunk, flow):
                return trunk.peer
        return None

    def _is_of(self, trunk: _Trunk, flow: Flow) -> bool:
        if trunk.domain is None:
            return literal_address(trunk.peer.host) == flow.address
        return any(target.address == flow.address for target in self.locator.known(trunk.domain))

    # -- who can be had --

    def _reach_changed(self, watch: Watch, now: int) -> None:
        suspects, name = self._endpoint.suspects, watch.name
        if watch.state is Reach.UNREACHABLE:
            suspects.unreachable(name, now)
            return
        registration = self.registration(name)
        if registration is not None:
            registration.server_back(now)
        suspects.reachable(name)

    def shown(self, name: str, now: int) -> dict[str, object]:
        """What an operator is shown of one trunk, or of a phone that has an address; empty if it is left alone."""
        entry: dict[str, object] = {}
        trunk = self._trunks.get(name)
        if trunk is None:
            return entry
        if trunk.domain is not None:
            known = self.locator.known(trunk.domain)
            entry["servers"] = [
                f"{target.transport.lower()}:{bracketed(target.address)}:{target.port}" for target in known
            ]
        if trunk.watch is not None:
            entry["qualify"] = trunk.watch.as_json(now)
        if trunk.registration is not None:
            entry["registration"] = trunk.registration.as_json(now)
        return entry

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown, by the peer's name."""
        shown: dict[str, object] = {name: self.shown(name, now) for name in self._trunks}
        for name, contacts in self.contacts.as_json(now).items():
            shown[name] = {"contacts": contacts}
        return shown


def _same_account(one: PeerSettings, other: PeerSettings) -> bool:
    """Whether both register the same user with the same registrar."""
    mine, theirs = one.far_end.registration, other.far_end.registration
    return mine is not None and theirs is not None and mine.user == theirs.user and one.host_port == other.host_port


class _LookUp:
    """The locator's timer."""

    __slots__ = ("_far_ends",)

    def __init__(self, far_ends: FarEnds) -> None:
        self._far_ends = far_ends

    def expire(self, _timer: FarEndTimer, now: int) -> None:
        self._far_ends.look_up(now)


def domain_of(peer: PeerSettings) -> Domain | None:
    """Where the servers of ``peer`` are looked for; None if it has one address and no name."""
    domain = peer.far_end.domain
    if domain is None:
        if peer.dynamic or literal_address(peer.host) is not None:
            return None
        return Domain(peer.host.rstrip(".").lower(), peer.port, peer.transport)
    return domain


def _uri_of(peer: PeerSettings) -> str:
    user = f"{peer.user or peer.name}@" if peer.kind is PeerKind.PHONE else ""
    transport = "" if peer.transport == UDP else f";transport={peer.transport.lower()}"
    return f"sip:{user}{peer.host_port}{transport}"


def _place(flow: Flow) -> tuple[str, str, int]:
    return flow.transport, flow.address, flow.port


def _target(flow: Flow) -> Target:
    return Target(flow.transport, flow.address, flow.port)
