"""Our registration with Kamailio as a provider: digest, calls both ways, refresh, taking it back, fail-over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.core import SECOND
from gateway.leg import Answered, Released
from gateway.voip.registering import RegistrationState
from gateway.voip.sip.far_end_settings import FarEndSettings, RegistrationSettings
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.resolver import Resolver
from gateway.voip.sip.targets import Domain
from tests.interop.dns_server import DnsServer
from tests.interop.our_sip import OurSip, answer, trunk
from tests.interop.program import free_port
from tests.interop.provider import start_provider, until_registered
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

ACCOUNT = "branch042"
WORD = "apples"
FAILOVER = 3 * SECOND
"""Who is there may be held up by a busy machine for less."""
transports = pytest.mark.parametrize("transport", ["udp", "tcp"])


def provider_trunk(port: int, *, word: str = WORD, transport: str = "udp", qualify: int = 0) -> PeerSettings:
    settings = FarEndSettings(
        registration=RegistrationSettings(ACCOUNT), keepalive=5 * SECOND, qualify=qualify, qualifyfreq=SECOND
    )
    peer = trunk(port, transport=transport.upper(), secret=word, insecure_invite=True, far_end=settings)
    return replace(peer, auth_user=ACCOUNT, fromuser=ACCOUNT)


@transports
@scenario
async def test_calls_both_ways_over_a_registered_trunk(tmp_path: Path, transport: str) -> None:
    async with (
        await Sipp.start("uas_basic", tmp_path) as uas,
        await start_provider(
            tmp_path / "kamailio",
            accounts={"416": ACCOUNT},
            targets={"9": f"127.0.0.1:{uas.port}"},
            transports=("tcp", "udp") if transport == "tcp" else ("udp", "tcp"),
        ) as provider,
        OurSip(peers=(provider_trunk(provider.port, transport=transport),), plan={"416": answer}) as sip,
    ):
        await until_registered(sip, "peer")
        call = sip.place("peer", "94165550123")
        await call.event(Answered)
        sip.release(call)
        assert (await call.event(Released)).ours
        await uas.succeed()
        async with await Sipp.start(
            "uac_basic", tmp_path, remote=("127.0.0.1", provider.port), service="4165559999", transport=transport
        ) as uac:
            await uac.succeed()
            script = await sip.offered()
            assert script.offered is not None
            assert script.offered.setup.called.digits == "4165559999"
            await script.event(Released)
        await sip.cleared()


@scenario
async def test_short_registrations_are_refreshed_and_the_last_one_taken_back(tmp_path: Path) -> None:
    async with await start_provider(tmp_path / "kamailio", accounts={"416": ACCOUNT}, expires=4) as provider:
        async with OurSip(peers=(provider_trunk(provider.port),), plan={"416": answer}) as sip:
            await until_registered(sip, "peer")
            registration = sip.endpoint.far_ends.registration("peer")
            assert registration is not None
            first = registration.expires_at
            assert first - sip.call(lambda now: now) <= 4 * SECOND
            # Refreshed, and refreshed again.
            await sip.until(lambda: registration.expires_at > first + 4 * SECOND and registration.in_force)
            # The nonce serves for more than one: no challenge for each.
            asked = {data for data in sip.sent if data.startswith(b"REGISTER")}
            assert len(asked) >= 4
            assert len([data for data in asked if b"\r\nAuthorization: " not in data]) == 1
            sip.call(sip.endpoint.far_ends.leave)
            await sip.until(lambda: sip.endpoint.far_ends.quiet)
        async with await Sipp.start(
            "uac_refused", tmp_path, remote=("127.0.0.1", provider.port), service="4165559999", code=480
        ) as uac:
            await uac.succeed()


@scenario
async def test_wrong_password_is_a_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        await start_provider(tmp_path / "kamailio", accounts={}) as provider,
        OurSip(peers=(provider_trunk(provider.port, word="pears"),)) as sip,
    ):
        registration = sip.endpoint.far_ends.registration("peer")
        assert registration is not None
        await sip.until(lambda: registration.state is RegistrationState.REFUSED)
        assert "user name or secret is wrong" in registration.error
        assert "next try in" in caplog.text
        assert "pears" not in caplog.text


@scenario
async def test_qualify_sees_the_provider_go_and_come_back(tmp_path: Path) -> None:
    provider = await start_provider(tmp_path / "kamailio", accounts={})
    async with OurSip(peers=(provider_trunk(provider.port, qualify=500_000),)) as sip:

        def reach() -> object:
            shown = sip.endpoint.far_ends.as_json(0)["peer"]
            assert isinstance(shown, dict)
            return shown["qualify"]["reach"]

        await sip.until(lambda: reach() == "reachable")
        await provider.stop()
        await sip.until(lambda: reach() == "unreachable")
        assert sip.endpoint.suspects.is_unreachable("peer")
        async with await start_provider(tmp_path / "kamailio", accounts={}, port=provider.port):
            await sip.until(lambda: reach() == "reachable")
            assert not sip.endpoint.suspects.names


@scenario
async def test_registrar_with_moods(tmp_path: Path) -> None:
    async with (
        await Sipp.start("uas_register", tmp_path) as registrar,
        OurSip(peers=(provider_trunk(registrar.port),)) as sip,
    ):
        await until_registered(sip, "peer")
        registration = sip.endpoint.far_ends.registration("peer")
        assert registration is not None
        await sip.until(lambda: registration.expires_at - sip.call(lambda now: now) > 3000 * SECOND)
        sip.call(sip.endpoint.far_ends.leave)
        await sip.until(lambda: sip.endpoint.far_ends.quiet)
        await registrar.succeed()


# -- names --


def named_trunk(**settings: Any) -> PeerSettings:
    far_end = FarEndSettings(domain=Domain("provider.test"), **settings)
    return PeerSettings(
        "peer", "provider.test", context="from-peer", secret=WORD, auth_user=ACCOUNT, far_end=far_end, failover=FAILOVER
    )


def records(*ports: int, ttl: int = 300) -> list[str]:
    lines = [f"_sip._udp.provider.test. {ttl} SRV {n} 0 {port} pop.provider.test." for n, port in enumerate(ports)]
    return [*lines, f"pop.provider.test. {ttl} A 127.0.0.1"]


@scenario
async def test_calls_go_on_at_the_next_server_of_srv(tmp_path: Path) -> None:
    dead = free_port()
    async with (
        await Sipp.start("uas_reject", tmp_path, code=503, reason="Busy") as busy,
        await Sipp.start("uas_basic", tmp_path, calls=2) as good,
        DnsServer(records(dead, busy.port, good.port)) as server,
        OurSip(peers=(named_trunk(),), resolver=Resolver(nameservers=["127.0.0.1"], port=server.port)) as sip,
    ):
        await sip.until(lambda: len(sip.endpoint.far_ends.locator.known(Domain("provider.test"))) == 3)
        for _ in range(2):
            call = sip.place("peer", "4165550100")
            await call.event(Answered)
            sip.release(call)
            await call.event(Released)
        await busy.succeed()
        await good.succeed()


@scenario
async def test_registration_and_calls_follow_srv_to_the_next_provider_when_one_dies(tmp_path: Path) -> None:
    first = await start_provider(tmp_path / "first", accounts={"416": ACCOUNT})
    async with (
        await start_provider(tmp_path / "second", accounts={"416": ACCOUNT}) as second,
        DnsServer(records(first.port, second.port)) as server,
        OurSip(
            peers=(
                replace(
                    named_trunk(registration=RegistrationSettings(ACCOUNT, 60), qualify=200_000, qualifyfreq=SECOND),
                    insecure_invite=True,
                ),
            ),
            plan={"416": answer},
            resolver=Resolver(nameservers=["127.0.0.1"], port=server.port),
        ) as sip,
    ):
        await until_registered(sip, "peer")
        registration = sip.endpoint.far_ends.registration("peer")
        assert registration is not None
        assert registration.flow is not None
        assert registration.flow.port == first.port
        await first.stop()
        # The flow is dead: what else would tell than OPTIONS, long before the registration ends?
        await sip.until(lambda: registration.flow is not None and registration.flow.port == second.port)
        async with await Sipp.start(
            "uac_basic", tmp_path, remote=("127.0.0.1", second.port), service="4165559999"
        ) as uac:
            await uac.succeed()
            await (await sip.offered()).event(Released)


@scenario
async def test_a_change_of_the_dns_is_followed(tmp_path: Path) -> None:
    async with (
        await Sipp.start("uas_basic", tmp_path) as old,
        await Sipp.start("uas_basic", tmp_path) as new,
        DnsServer(records(old.port, ttl=5)) as server,
        OurSip(peers=(named_trunk(),), resolver=Resolver(nameservers=["127.0.0.1"], port=server.port)) as sip,
    ):
        await sip.until(lambda: bool(sip.endpoint.far_ends.locator.known(Domain("provider.test"))))
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        sip.release(call)
        await old.succeed()
        server.change(records(new.port, ttl=5))
        await sip.until(lambda: sip.endpoint.far_ends.locator.known(Domain("provider.test"))[0].port == new.port)
        # The name server may go: what is known goes on being used.
        server.silent = True
        call = sip.place("peer", "4165550100")
        await call.event(Answered)
        sip.release(call)
        await new.succeed()
