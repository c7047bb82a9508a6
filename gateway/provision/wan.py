"""The WAN: which interface has the default route, its addresses, and the networks beside it (rtnetlink(7)).

``find_wan`` and ``WanCore`` are sans-I/O; ``WanWatcher`` reads netlink by pyroute2. Every event is only a reason to
read all tables anew a moment later: the kernel tells of addresses that go, but not of all routes that go with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from gateway.core import MILLISECOND
from gateway.voip.sip.address import NetworkFacts

log = logging.getLogger(__name__)

AUTO = "auto"
QUIET = 100 * MILLISECOND
"""Changes come in bunches (address, routes, link): they are over when nothing came for so long …"""
MOST = 500 * MILLISECOND
"""… or looked at after so long at the latest."""
READ_AGAIN = 2.0
"""Seconds until netlink is opened again after it failed."""
MAX_ADDRESSES = 64
"""Addresses and networks that are looked at; a host with more is a router."""

_GLOBAL_SCOPE = 0
_LOOPBACK = 0x8
_UP = 0x1
_TEMPORARY = 0x01
_DAD_FAILED = 0x08
_DEPRECATED = 0x20
_TENTATIVE = 0x40
_UNICAST = 1
_MAIN_TABLE = 254
# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    index: int
    name: str
    up: bool = True
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """An address of an interface, ``prefix`` bits of which are its network's."""

    index: int
    address: str
    prefix: int
    scope: int = _GLOBAL_SCOPE
    flags: int = 0


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A route to everywhere in the main table; the least ``metric`` is taken."""

    version: int
    index: int
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """What netlink says at one time."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Held, ...] = ()
    defaults: tuple[DefaultRoute, ...] = ()


def find_wan(tables: Tables, interface: str = AUTO) -> NetworkFacts:
    """What ``tables`` say of the WAN; ``interface`` names it where the default route is not to decide."""
    up = {link.index: link for link in tables.links if link.up and not link.loopback}
    chosen: dict[int, Link] = {}
    for version in (4, 6):
        if interface != AUTO:
            named = next((link for link in up.values() if link.name == interface), None)
            if named is not None:
                chosen[version] = named
            continue
        routes = [route for route in tables.defaults if route.version == version and route.index in up]
        if routes:
            chosen[version] = up[min(routes, key=lambda route: route.metric).index]
    usable = [
        held
        for held in tables.addresses
        if held.index in up and held.scope == _GLOBAL_SCOPE and not held.flags & (_TENTATIVE | _DAD_FAILED)
    ]
    addresses: list[str] = []
    for version, link in sorted(chosen.items()):
        of_link = [held for held in usable if held.index == link.index and ip_address(held.address).version == version]
        # Of IPv6 those that last are shown first; of IPv4 the primary ones (whose bit is the same).
        of_link.sort(key=lambda held: held.flags & (_DEPRECATED | _TEMPORARY))
        addresses += [held.address for held in of_link]
    networks = dict.fromkeys(
        network
        for network in (ip_interface(f"{held.address}/{held.prefix}").network for held in usable)
        if network.num_addresses > 1
    )
    names = "/".join(dict.fromkeys(link.name for link in chosen.values()))
    return NetworkFacts(names, tuple(addresses[:MAX_ADDRESSES]), tuple(networks)[:MAX_ADDRESSES])


class WanCore:
    """When to read the tables, and what is new in them."""

    def __init__(self, interface: str = AUTO) -> None:
        self.facts: NetworkFacts | None = None
        self._interface = interface
        self._first: int | None = None
        self._deadline: int | None = None
        self._missed = False

    def event(self, now: int) -> None:
        """Netlink told of some change."""
        if self._first is None:
            self._first = now
        self._deadline = min(now + QUIET, self._first + MOST)

    def look_at(self, interface: str, now: int) -> None:
        """Another interface is the WAN now."""
        if interface != self._interface:
            self._interface = interface
            self._missed = False
            self.event(now)

    def next_timer(self) -> int | None:
        """When to read the tables, if they are to be read."""
        return self._deadline

    def read(self, tables: Tables) -> NetworkFacts | None:
        """The tables were read; returns the facts if they are others than before."""
        self._first = self._deadline = None
        facts = find_wan(tables, self._interface)
        missed = self._interface != AUTO and not facts.wan
        if missed and not self._missed:
            names = ", ".join(link.name for link in tables.links if not link.loopback) or "none"
            log.warning(
                "network.wan = %s: there is no such interface that is up; there are: %s", self._interface, names
            )
        self._missed = missed
        if facts == self.facts:
            return None
        self.facts = facts
        return facts


class WanWatcher:
    """Follows netlink and calls ``tell`` with the facts whenever they change. Works without privileges."""

    def __init__(self, interface: str, clock: Callable[[], int], tell: Callable[[NetworkFacts, int], None]) -> None:
        self._core = WanCore(interface)
        self._clock = clock
        self._tell = tell
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell what is there now, and begin to watch; without netlink say so, and go on without."""
        read = asyncio.Event()
        self._task = asyncio.create_task(self._run(read))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(read.wait(), READ_AGAIN)

    def look_at(self, interface: str) -> None:
        """Another interface is the WAN now."""
        self._core.look_at(interface, self._clock())
        self._stirred.set()

    async def close(self) -> None:
        """Stop watching."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, read: asyncio.Event) -> None:
        told = False
        while True:
            try:
                async with AsyncIPRoute() as netlink:
                    await netlink.bind(groups=_GROUPS)
                    await self._watch(netlink, read)
            except (OSError, NetlinkError, KeyError) as error:
                # KeyError is pyroute2's word for no free port of netlink.
                if not told:
                    log.warning("netlink: %s; changes of addresses may be noticed late", error)
                told = True
            read.set()
            await asyncio.sleep(READ_AGAIN)

    async def _watch(self, netlink: AsyncIPRoute, read: asyncio.Event) -> None:
        listening = asyncio.create_task(self._listen(netlink))
        try:
            while True:
                facts = self._core.read(await _tables(netlink))
                if facts is not None:
                    self._tell(facts, self._clock())
                read.set()
                await self._settled(listening)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, NetlinkError):
                await listening

    async def _settled(self, listening: asyncio.Task[None]) -> None:
        """Wait for events, and for their end."""
        while (at := self._core.next_timer()) is None or self._clock() < at:
            stirred = asyncio.create_task(self._stirred.wait())
            wait = None if at is None else max(at - self._clock(), 0) / 1e6
            done, _ = await asyncio.wait({stirred, listening}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            stirred.cancel()
            self._stirred.clear()
            if listening in done:
                listening.result()
                raise OSError("netlink closed")

    async def _listen(self, netlink: AsyncIPRoute) -> None:
        while True:
            async for _ in netlink.get():
                self._core.event(self._clock())
                self._stirred.set()


async def _tables(netlink: AsyncIPRoute) -> Tables:
    links = [
        Link(one["index"], one.get("ifname") or "", bool(one["flags"] & _UP), bool(one["flags"] & _LOOPBACK))
        async for one in await netlink.get_links()
    ]
    addresses = []
    async for one in await netlink.get_addr():
        text = one.get("local") or one.get("address")
        if text:
            flags = one.get("flags") or 0
            addresses.append(Held(one["index"], text, one["prefixlen"], one["scope"], flags))
    defaults = []
    for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        async for one in await netlink.get_routes(family=family):
            if one["dst_len"] == 0 and one["type"] == _UNICAST and one.get("table") == _MAIN_TABLE:
                metric = one.get("priority") or 0
                defaults += [DefaultRoute(version, index, metric) for index in _interfaces(one)]
    return Tables(tuple(links), tuple(addresses), tuple(defaults))


def _interfaces(route: object) -> Sequence[int]:
    """Where a route leads: one interface, or several at once (RTA_MULTIPATH)."""
    index = route.get("oif")  # type: ignore[attr-defined]
    if index:
        return (index,)
    hops = route.get("multipath") or ()  # type: ignore[attr-defined]
    return [hop["oif"] for hop in hops]
