"""Which interface is the WAN, when its tables are read, and that netlink of this host can be followed at all."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

import pytest

import gateway.provision.wan as wan_module
from gateway.core import MILLISECOND
from gateway.provision.wan import DefaultRoute, Held, Link, Tables, WanCore, WanWatcher, find_wan
from gateway.voip.sip.address import NetworkFacts

LO, LAN, WAN, PPP = Link(1, "lo", loopback=True), Link(2, "lan0"), Link(3, "wan0"), Link(4, "ppp0")
LINKS = (LO, LAN, WAN, PPP)
ADDRESSES = (
    Held(1, "127.0.0.1", 8, scope=254),
    Held(2, "192.168.7.1", 24),
    Held(3, "203.0.113.10", 24),
    Held(3, "fe80::1", 64, scope=253),
    Held(4, "198.51.100.77", 32),
)
TABLES = Tables(LINKS, ADDRESSES, (DefaultRoute(4, 3, 100),))


def test_the_default_route_says_which_interface_is_the_wan() -> None:
    assert find_wan(TABLES) == NetworkFacts(
        "wan0", ("203.0.113.10",), (ip_network("192.168.7.0/24"), ip_network("203.0.113.0/24"))
    )


def test_of_several_default_routes_the_least_metric_that_is_up_counts() -> None:
    both = Tables(LINKS, ADDRESSES, (DefaultRoute(4, 3, 100), DefaultRoute(4, 4, 50)))
    assert find_wan(both).wan == "ppp0"
    down = Tables((LO, LAN, WAN, Link(4, "ppp0", up=False)), ADDRESSES, both.defaults)
    assert find_wan(down).addresses == ("203.0.113.10",)


def test_ipv4_and_ipv6_may_leave_by_different_interfaces() -> None:
    tables = Tables(
        LINKS,
        (
            *ADDRESSES,
            Held(4, "2001:db8:4::9", 64, flags=0x01),
            Held(4, "2001:db8:4::8", 64, flags=0x20),
            Held(4, "2001:db8:4::7", 64),
            Held(4, "2001:db8:4::6", 64, flags=0x40),
            Held(4, "2001:db8:4::5", 64, flags=0x08),
        ),
        (DefaultRoute(4, 3), DefaultRoute(6, 4)),
    )
    facts = find_wan(tables)
    assert facts.wan == "wan0/ppp0"
    # First what lasts, then the temporary, then the deprecated; tentative and failed ones not at all.
    assert facts.addresses == ("203.0.113.10", "2001:db8:4::7", "2001:db8:4::9", "2001:db8:4::8")


def test_a_named_interface_needs_no_default_route() -> None:
    assert find_wan(TABLES, "lan0").addresses == ("192.168.7.1",)


def test_without_a_default_route_there_is_no_wan_but_there_are_networks() -> None:
    facts = find_wan(Tables(LINKS, ADDRESSES, ()))
    assert (facts.wan, facts.addresses) == ("", ())
    assert ip_network("192.168.7.0/24") in facts.connected


def test_a_bunch_of_events_is_one_reading_but_never_a_late_one() -> None:
    core = WanCore()
    core.event(0)
    assert core.next_timer() == 100 * MILLISECOND
    core.event(60 * MILLISECOND)
    assert core.next_timer() == 160 * MILLISECOND
    for at in range(100, 900, 50):
        core.event(at * MILLISECOND)
    assert core.next_timer() == 500 * MILLISECOND
    assert core.read(TABLES) == find_wan(TABLES)
    assert core.next_timer() is None
    assert core.read(TABLES) is None


def test_an_interface_that_is_not_there_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    core = WanCore("wan7")
    core.read(TABLES)
    core.read(Tables(LINKS, ADDRESSES[:2], ()))
    assert caplog.text.count("network.wan = wan7: there is no such interface that is up; there are: lan0, wan0") == 1


def test_the_tables_of_this_host_are_read() -> None:
    told: list[NetworkFacts] = []

    async def run() -> None:
        watcher = WanWatcher("auto", lambda: time.monotonic_ns() // 1000, lambda facts, _: told.append(facts))
        await watcher.start()
        await watcher.close()

    asyncio.run(run())
    assert len(told) == 1


def test_without_netlink_the_gateway_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(wan_module, "AsyncIPRoute", refuse)
    told: list[NetworkFacts] = []

    async def run() -> None:
        watcher = WanWatcher("auto", lambda: 0, lambda facts, _: told.append(facts))
        await asyncio.wait_for(watcher.start(), 1.0)
        await watcher.close()

    asyncio.run(run())
    assert told == []
    assert "Operation not permitted; changes of addresses may be noticed late" in caplog.text
