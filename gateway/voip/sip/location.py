"""Where registered phones and trunks are: the bindings of the location service (RFC 3261 10), their flows and ends.

Keeps what ``registrar.py`` decided. Knows neither messages nor rules; asks no name server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.core import SECOND, TimerQueue
from gateway.voip.sip.flow import TCP, Flow, default_port, literal_address
from gateway.voip.sip.uri import Uri

MAX_BINDINGS = 16_384
"""Bindings of all names together."""
WHOLE_Q = 1000
"""q is kept in thousandths (RFC 3261 25.1: three decimals)."""

_FlowKey = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Binding:
    """One Contact of ``name``. ``flow`` is the only way requests go to it; ``expires`` is when it ends (microseconds).

    ``granted``: the seconds it was last given. ``q``: 0 to 1000. ``path``: Path URIs as received (RFC 3327), to become
    Routes. ``instance``: +sip.instance without quotes (RFC 5626). ``behind_nat``: its Contact is not its address.
    ``gone``: the connection that led there is lost and none can be opened; calls pass it over until it registers again.
    ``serial`` grows with each registration.
    """

    name: str
    contact: str
    uri: Uri
    flow: Flow
    call_id: str
    cseq: int
    expires: int
    granted: int
    q: int = WHOLE_Q
    instance: str = ""
    path: tuple[str, ...] = ()
    user_agent: str = ""
    behind_nat: bool = False
    gone: bool = False
    serial: int = 0

    def seconds_left(self, now: int) -> int:
        """Whole seconds until it ends, at least 1 while it stands."""
        return max(1, (self.expires - now) // SECOND)

    def without_connection(self) -> Binding:
        """The same after its connection is lost: to be dialled at its Contact where that is no NAT's inside.

        Phones take no TLS connections, as they have no certificate of a server.
        """
        flow = self.flow
        if self.behind_nat or self.path or flow.transport != TCP:
            return replace(self, gone=True)
        return replace(self, flow=Flow(flow.transport, flow.address, self.uri.port or default_port(TCP)))


class Moved(NamedTuple):
    """A binding of ``name`` has another flow now: calls that used the old one go on over the new one."""

    name: str
    old: Flow
    new: Flow
    place: tuple[str, int | None] = ("", None)
    """Host and port of its Contact, by which calls of it are known that came through another mapping of its NAT."""


class LocationFull(Exception):  # noqa: N818 - a condition to answer with 503, not an error of the far end
    """There is no room for another binding."""


def flow_for(uri: Uri, source: Flow, *, via_proxy: bool, to_source: bool = False) -> tuple[Flow, bool]:
    """The flow to a Contact that was registered from ``source``, and whether it is behind NAT.

    ``to_source``: it is the source's port in any case, not the Contact's (force_rport). Never another address than the
    source's: a Contact that names a third party must not make us call that one.
    """
    address = literal_address(uri.params.get("maddr") or uri.host)
    if via_proxy:
        return source, False
    if address != source.address:
        return source, True
    if to_source or source.reliable:
        # RFC 3263 4.1 would have UDP without a transport parameter, but here is a connection that works.
        return source, False
    port = uri.port or default_port(TCP)
    if uri.transport == "tcp":
        return Flow(TCP, source.address, port), False
    if port == source.port:
        return source, False
    return Flow(source.transport, source.address, port, 0, source.listener), False


def _key(flow: Flow) -> _FlowKey:
    return flow.transport, flow.address, flow.port, flow.connection


class Location:
    """All bindings, by name. Those that ended are never handed out, whether ``expire`` was called or not."""

    def __init__(self, limit: int = MAX_BINDINGS) -> None:
        self._limit = limit
        self._by_name: dict[str, tuple[Binding, ...]] = {}
        self._owners: dict[_FlowKey, list[str]] = {}
        self._addresses: dict[str, int] = {}
        self._ends: TimerQueue[str] = TimerQueue()
        self._count = 0
        self._serial = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Binding]:
        """All of them, those that ended and were not yet swept out included."""
        for bindings in self._by_name.values():
            yield from bindings

    def names(self) -> list[str]:
        """Who has bindings."""
        return list(self._by_name)

    def bindings(self, name: str, now: int) -> tuple[Binding, ...]:
        """The bindings of ``name`` that stand at ``now``, best q first, then the latest; those ``gone`` included."""
        found = self._by_name.get(name)
        if found is None:
            return ()
        if len(found) == 1:
            return found if found[0].expires > now else ()
        return tuple([binding for binding in found if binding.expires > now])

    def reachable(self, name: str, now: int) -> tuple[Binding, ...]:
        """Those of ``bindings`` that a call can be sent to."""
        return tuple([binding for binding in self.bindings(name, now) if not binding.gone])

    def owner(self, flow: Flow) -> str | None:
        """Who registered from ``flow``; None if nobody or several did (a phone with two accounts)."""
        names = self._owners.get(_key(flow))
        return names[0] if names is not None and len(set(names)) == 1 else None

    def owners(self, flow: Flow) -> frozenset[str]:
        """Everybody who registered from ``flow``."""
        return frozenset(self._owners.get(_key(flow), ()))

    def knows(self, address: str) -> bool:
        """True if somebody is registered at ``address``, on whatever port."""
        return address in self._addresses

    def put(self, name: str, bindings: Iterable[Binding], now: int) -> list[Moved]:
        """Let ``bindings`` be all of ``name``; returns which moved to another flow. Raises LocationFull with no change.

        A binding moves if it has the Call-ID, the instance or the Contact of one before.
        """
        new = sorted([each for each in bindings if each.expires > now], key=lambda each: (-each.q, -each.serial))
        old = self._by_name.get(name, ())
        if len(new) > len(old) and self._count + len(new) - len(old) > self._limit:
            raise LocationFull(f"{self._count} bindings, at most {self._limit} expected")
        self._forget(name, old)
        if new:
            self._by_name[name] = tuple(new)
            self._count += len(new)
            for binding in new:
                flow = binding.flow
                self._addresses[flow.address] = self._addresses.get(flow.address, 0) + 1
                if not binding.gone:
                    self._owners.setdefault(_key(flow), []).append(name)
            self._ends.start(name, min(binding.expires for binding in new))
        return [
            Moved(name, before.flow, after.flow, (after.uri.host, after.uri.port))
            for after in new
            for before in old
            if before.flow != after.flow and _same_phone(before, after)
        ]

    def next_serial(self) -> int:
        """The number of the next registration."""
        self._serial += 1
        return self._serial

    def expire(self, now: int) -> list[Binding]:
        """Sweep out what has ended; returns it."""
        ended: list[Binding] = []
        for name in self._ends.expired(now):
            standing = self._by_name.get(name, ())
            ended += [binding for binding in standing if binding.expires <= now]
            self.put(name, standing, now)
        return ended

    def next_timer(self) -> int | None:
        """When the next binding ends, or None."""
        return self._ends.next_timer()

    def lost(self, flow: Flow, now: int) -> list[Binding]:
        """The connection of ``flow`` is gone; returns the bindings that used it, as they are now."""
        key = _key(flow)
        names = self._owners.get(key)
        changed: list[Binding] = []
        for name in tuple(dict.fromkeys(names or ())):
            bindings = []
            for binding in self._by_name[name]:
                if not binding.gone and _key(binding.flow) == key:
                    binding = binding.without_connection()
                    changed.append(binding)
                bindings.append(binding)
            self.put(name, bindings, now)
        return changed

    def _forget(self, name: str, bindings: tuple[Binding, ...]) -> None:
        if not bindings:
            return
        del self._by_name[name]
        self._ends.stop(name)
        self._count -= len(bindings)
        for binding in bindings:
            address = binding.flow.address
            left = self._addresses[address] - 1
            if left:
                self._addresses[address] = left
            else:
                del self._addresses[address]
            if binding.gone:
                continue
            key = _key(binding.flow)
            names = self._owners[key]
            names.remove(name)
            if not names:
                del self._owners[key]


def _same_phone(one: Binding, other: Binding) -> bool:
    if one.instance and other.instance:
        return one.instance == other.instance
    return one.call_id == other.call_id or one.contact == other.contact
