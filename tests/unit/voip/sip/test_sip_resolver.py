"""The resolver against a DNS server on loopback, and against the hosts file."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from gateway.core import SECOND
from gateway.voip.sip.flow import ADDRESS, NAPTR, SRV, Resolve
from gateway.voip.sip.names import FAILED, Answer, Naptr, Srv
from gateway.voip.sip.resolver import Resolver
from tests.interop.dns_server import DnsServer

RECORDS = (
    "sip.example.test. 300 A 192.0.2.1",
    "sip.example.test. 300 A 192.0.2.2",
    "sip.example.test. 120 AAAA 2001:db8::1",
    "old.example.test. 30 CNAME sip.example.test.",
    "_sip._udp.example.test. 60 SRV 10 20 5070 sip.example.test.",
    "_sip._tcp.example.test. 60 SRV 0 0 0 .",
    'example.test. 90 NAPTR 10 50 "s" "SIP+D2U" "" _sip._udp.example.test.',
)


def run(scenario: Callable[[DnsServer, Resolver], Coroutine[object, object, None]], hosts: Path | None = None) -> None:
    async def whole() -> None:
        async with DnsServer(RECORDS) as server:
            resolver = Resolver(hosts=hosts or Path("/nonexistent/hosts"), nameservers=["127.0.0.1"], port=server.port)
            await asyncio.wait_for(scenario(server, resolver), 20)

    asyncio.run(whole())


def test_addresses_of_both_families_ipv4_first_and_good_for_the_shorter_time() -> None:
    async def scenario(_server: DnsServer, resolver: Resolver) -> None:
        answer = await resolver.look_up(Resolve("sip.example.test"))
        assert sorted(answer.records[:2]) == ["192.0.2.1", "192.0.2.2"]
        assert answer.records[2:] == ("2001:db8::1",)
        assert answer.ttl == 120 * SECOND

    run(scenario)


def test_srv_and_naptr_records() -> None:
    async def scenario(_server: DnsServer, resolver: Resolver) -> None:
        assert await resolver.look_up(Resolve("_sip._udp.example.test", SRV)) == Answer(
            (Srv(10, 20, 5070, "sip.example.test"),), 60 * SECOND
        )
        (absent,) = (await resolver.look_up(Resolve("_sip._tcp.example.test", SRV))).records
        assert isinstance(absent, Srv)
        assert absent.target == ""
        assert await resolver.look_up(Resolve("example.test", NAPTR)) == Answer(
            (Naptr(10, 50, "S", "SIP+D2U", "_sip._udp.example.test"),), 90 * SECOND
        )

    run(scenario)


@pytest.mark.parametrize("name", ["nobody.example.test", "example.test"])
def test_what_is_not_there_is_an_answer_with_the_time_that_the_zone_says(name: str) -> None:
    async def scenario(_server: DnsServer, resolver: Resolver) -> None:
        assert await resolver.look_up(Resolve(name)) == Answer((), 5 * SECOND)

    run(scenario)


def test_failure_of_the_server_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: DnsServer, resolver: Resolver) -> None:
        server.failing = True
        assert await resolver.look_up(Resolve("sip.example.test")) == FAILED
        assert "cannot look sip.example.test up (address): all name servers failed" in caplog.text

    run(scenario)


def test_names_that_are_none_and_kinds_that_are_unknown_fail() -> None:
    async def scenario(_server: DnsServer, resolver: Resolver) -> None:
        for host in ("a" * 64 + ".example.test", "a..b", "\udcff.example.test"):
            assert await resolver.look_up(Resolve(host, SRV)) == FAILED
        assert await resolver.look_up(Resolve("example.test", "mx")) == FAILED

    run(scenario)


def test_hosts_file_goes_first_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# those at home\n2001:db8::7 pbx pbx.example.test # ours\n192.0.2.7 PBX\nnonsense here\n")

    async def scenario(server: DnsServer, resolver: Resolver) -> None:
        assert (await resolver.look_up(Resolve("pbx"))).records == ("192.0.2.7", "2001:db8::7")
        assert (await resolver.look_up(Resolve("_sip._udp.pbx", SRV))).records == ()
        assert (await resolver.look_up(Resolve("localhost", ADDRESS))).records == ("127.0.0.1", "::1")
        assert server.asked == []
        hosts.write_text("192.0.2.17 pbx\n")
        assert (await resolver.look_up(Resolve("pbx"))).records == ("192.0.2.17",)

    run(scenario, hosts)


def test_without_a_name_server_the_failure_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        resolver = Resolver(hosts=tmp_path / "hosts", resolv_conf=tmp_path / "resolv.conf")
        assert await resolver.look_up(Resolve("sip.example.test")) == FAILED

    asyncio.run(scenario())
    assert "cannot look sip.example.test up (address)" in caplog.text


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.53\n")
    resolver = Resolver(resolv_conf=conf)
    assert [str(server) for server in resolver._dns().nameservers] == ["192.0.2.53"]
    conf.write_text("nameserver 192.0.2.54\nsearch example.test\n")
    assert [str(server) for server in resolver._dns().nameservers] == ["192.0.2.54"]


def test_a_silent_server_costs_seconds_not_minutes_and_blocks_nobody() -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            resolver = Resolver(hosts=Path("/nonexistent"), nameservers=["127.0.0.1"], port=deaf.getsockname()[1])
            resolver._dns().lifetime = 0.3
            look_up = asyncio.create_task(resolver.look_up(Resolve("sip.example.test")))
            await asyncio.sleep(0)
            assert not look_up.done()
            assert await asyncio.wait_for(look_up, 5) == FAILED

    asyncio.run(scenario())
