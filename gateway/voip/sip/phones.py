"""Who is registered with us, as the endpoint sees it: REGISTER in, ways to call out, ends, moves, and what is stored.

Composes ``registrar``, ``location`` and ``binding_store``. Needs neither names nor the WAN.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec import structs

from gateway.core import MILLISECOND, SECOND
from gateway.voip.reach import Reach
from gateway.voip.sip.binding_store import StoreBindings, restored, stored
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import TLS, UDP, Flow
from gateway.voip.sip.location import Binding, Location, Moved
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.registrar import Registrar
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ServerTransaction
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.way import Way

if TYPE_CHECKING:
    from gateway.voip.sip.endpoint import SipEndpoint
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)

STORE_CHANGES_AFTER = 500 * MILLISECOND
"""A change is stored so soon, with all others of that time."""
STORE_REFRESHES_AFTER = 5 * SECOND
"""And what only got a later end."""
# What our two timers are called in the endpoint's queue.
_ENDS = SipTimer.EXPIRY
_STORE = SipTimer.REFRESH


class Phones:
    """Registered phones and trunks of one endpoint. ``output`` takes what is to be stored."""

    def __init__(
        self,
        endpoint: SipEndpoint,
        output: Callable[[StoreBindings], None],
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.location = Location()
        self.registrar = Registrar(self.location, endpoint.settings.registrar, wall_clock)
        self._endpoint = endpoint
        self._output = output
        self._wall_clock = wall_clock
        self._store_at: int | None = None
        self._look_at: int | None = None

    @property
    def running(self) -> int:
        """How many timers of the endpoint's queue are ours."""
        return (self._store_at is not None) + (self._look_at is not None)

    # -- registrations --

    def on_register(
        self, request: Request, transaction: ServerTransaction, flow: Flow, peer: PeerSettings, now: int
    ) -> None:
        """A REGISTER of ``peer``, which has proved to be that."""
        endpoint = self._endpoint
        if not peer.dynamic:
            # It is called at its fixed address; what it registers would change nothing.
            log.info("%s at %s: REGISTER refused, as it has a fixed host", peer.name, flow)
            endpoint.respond(transaction, 403, now)
            return
        if peer.transport == TLS and not flow.secure:
            log.warning("%s at %s: REGISTER refused, as its transport is tls", peer.name, flow)
            endpoint.respond(transaction, 403, now)
            return
        answer = self.registrar.register(request, peer, flow, now)
        endpoint.respond(transaction, answer.status, now, answer.fields)
        if answer.status == 200:
            self._follow(answer.moved, now)
            endpoint.far_ends.contacts.heard(peer.name, flow, now)
            self._watch(peer.name, now)
            self._changed(now, STORE_CHANGES_AFTER if answer.changed else STORE_REFRESHES_AFTER)

    def _follow(self, moved: tuple[Moved, ...], now: int) -> None:
        """Calls of a phone that is elsewhere now go on over its new flow, those that ring as well."""
        for each in moved:
            others = [binding for binding in self.location.bindings(each.name, now) if binding.flow != each.new]
            for leg in self._endpoint.legs.values():
                if leg.peer.name == each.name and leg.outgoing is not None:
                    leg.outgoing.follow(each.old, each.new)
            for session in self._endpoint.dialogs.values():
                if session.peer.name == each.name and (session.flow == each.old or _came_from(session, each, others)):
                    session.follow(each.new, now)

    def connection_lost(self, flow: Flow, now: int) -> None:
        """The connection of ``flow`` is gone, or could not be opened."""
        for binding in self.location.lost(flow, now):
            if binding.gone:
                log.info("%s cannot be called until it registers again: its connection is lost", binding.name)
            self._watch(binding.name, now)

    def _watch(self, name: str, now: int) -> None:
        """``qualify`` goes with the bindings."""
        peer = self._endpoint.peers.get(name)
        if peer is not None:
            self._endpoint.far_ends.contacts.follow(peer, self.location.bindings(name, now), now)

    def way_back(self, peer: PeerSettings, flow: Flow, now: int) -> Flow:
        """Where requests of a call go whose ``flow`` to ``peer`` is lost; the same, until it registers over another."""
        ways = self.location.reachable(peer.name, now)
        return next((each.flow for each in ways if each.flow.address == flow.address), flow)

    def forget(self, name: str, now: int) -> None:
        """Whoever registered as ``name`` has to do it again, if it still may."""
        if self.location.bindings(name, now):
            log.info("%s is no longer registered, as the configuration says otherwise", name)
            self.location.put(name, (), now)
            self._changed(now, STORE_CHANGES_AFTER)

    def move_from(self, retired: frozenset[int], now: int) -> None:
        """Whoever registered over a socket that is ``retired`` is called over another, if one leads there."""
        listener_for = self._endpoint.outbound.listener_for
        stale = [each for each in self.location if each.flow.transport == UDP and each.flow.listener in retired]
        for name in dict.fromkeys(each.name for each in stale):
            kept = []
            for binding in self.location.bindings(name, now):
                flow = binding.flow
                if flow.transport == UDP and flow.listener in retired:
                    number = listener_for(UDP, flow.address)
                    if number is None:
                        log.info("%s cannot be called until it registers again: its socket is closed", name)
                        continue
                    binding = replace(binding, flow=structs.replace(flow, listener=number))
                kept.append(binding)
            self.location.put(name, kept, now)
            self._watch(name, now)
            self._changed(now, STORE_CHANGES_AFTER)

    def watch_again(self, name: str, now: int) -> None:
        """How the phone called ``name`` is watched is another."""
        self._watch(name, now)

    # -- calls --

    def ways(self, peer: PeerSettings, now: int) -> tuple[Way, ...]:
        """Where to call ``peer``: all its Contacts, a flow once; none while it is not registered.

        A place that leaves OPTIONS without answer is called only if there is no other.
        """
        found: dict[tuple[Flow, str], Way] = {}
        version = ""
        for binding in self._answering(self.location.reachable(peer.name, now)):
            # A call has one RTP stream, of one address family: the best binding's.
            own_version = ":" if ":" in binding.flow.address else "."
            version = version or own_version
            if own_version == version:
                found.setdefault((binding.flow, str(binding.uri)), Way.of(binding))
        return tuple(found.values())

    def _answering(self, bindings: tuple[Binding, ...]) -> tuple[Binding, ...]:
        reach = self._endpoint.far_ends.contacts.reach
        found = tuple([each for each in bindings if reach(each) is not Reach.UNREACHABLE])
        return found or bindings

    def status(self, now: int) -> dict[str, list[dict[str, object]]]:
        """Who is registered where, as JSON types."""
        by_name = groupby(sorted(self.location, key=lambda each: each.name), key=lambda each: each.name)
        return {
            name: [
                {
                    "contact": binding.contact,
                    "address": str(binding.flow),
                    "seconds_left": binding.seconds_left(now),
                    "behind_nat": binding.behind_nat,
                    "reachable": not binding.gone,
                    "qualify": self._endpoint.far_ends.contacts.reach(binding).value,
                    "user_agent": binding.user_agent,
                }
                for binding in bindings
                if binding.expires > now
            ]
            for name, bindings in by_name
        }

    # -- time --

    def expire(self, timer: SipTimer, now: int) -> None:
        """A timer ran out."""
        if timer is _STORE:
            self._store_at = None
            self._store(now)
            return
        self._look_at = None
        for binding in self.location.expire(now):
            log.info(
                "%s is no longer registered: %s at %s did not refresh", binding.name, binding.contact, binding.flow
            )
            self._store_in(STORE_CHANGES_AFTER, now)
            self._watch(binding.name, now)
        self._look()

    def _changed(self, now: int, store_after: int) -> None:
        self._store_in(store_after, now)
        self._look()

    def _look(self) -> None:
        at = self.location.next_timer()
        if at is None:
            if self._look_at is not None:
                self._endpoint.timers.stop((self, _ENDS))
        elif at != self._look_at:
            self._endpoint.timers.start((self, _ENDS), at)
        self._look_at = at

    # -- storing --

    def _store_in(self, after: int, now: int) -> None:
        if self._store_at is None or now + after < self._store_at:
            self._store_at = now + after
            self._endpoint.timers.start((self, _STORE), self._store_at)

    def _store(self, now: int) -> None:
        listeners = self._endpoint.settings.listeners
        self._output(StoreBindings(stored(self.location, listeners, self._wall(), now)))

    def store_now(self, now: int) -> None:
        """The program ends: store what there is, if anything is not stored yet."""
        if self._store_at is not None:
            self._store_at = None
            self._endpoint.timers.stop((self, _STORE))
            self._store(now)

    def stored_elsewhere(self, now: int) -> None:
        """Where it is stored is another place, which has nothing of it yet."""
        self._store_in(STORE_CHANGES_AFTER, now)

    def restore(self, data: bytes, now: int) -> int:
        """Take what was stored before a restart; how many bindings stand. Raises ValueError if it makes no sense."""
        found = restored(data, self._endpoint.settings.listeners, self._wall(), now)
        count = 0
        for name, bindings in groupby(sorted(found, key=lambda each: each.name), key=lambda each: each.name):
            peer = self._endpoint.peers.get(name)
            if peer is None or not peer.dynamic:
                continue
            kept = list(bindings)[: peer.max_contacts]
            self.location.put(name, kept, now)
            self._watch(name, now)
            count += len(kept)
        for _ in found:
            self.location.next_serial()
        self._look()
        return count

    def _wall(self) -> float:
        return 0.0 if self._wall_clock is None else self._wall_clock()


def _came_from(session: Session, moved: Moved, others: list[Binding]) -> bool:
    """Whether the far end of ``session`` is the phone that moved, heard through another mapping of its NAT: one that
    nobody used between two registrations is made anew, with another port (RFC 4787 4.3); a NAT that got two new
    addresses one after the other was heard at the first one in this call only. ``others``: where else it is registered.
    """
    flow = session.flow
    if not session.to_source:
        return False
    try:
        target = Uri.parse(session.dialog.target)
    except SipError:
        return False
    if (target.host, target.port) != moved.place:
        return False
    if flow.address == moved.old.address:
        return not flow.reliable
    # Behind another NAT another phone may have the very same Contact.
    return not any(each.flow.address == flow.address or _place(each) == moved.place for each in others)


def _place(binding: Binding) -> tuple[str, int | None]:
    return binding.uri.host, binding.uri.port
