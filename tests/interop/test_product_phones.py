"""The whole product with phones that register: baresip over UDP and TCP, two of them on one account, and a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.program import PATIENCE, free_port
from tests.interop.registering import RegisteringPhone
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

SIP = ""
SECRET = "correct-horse"  # noqa: S105 - of this test's phones
DESK = "4165550500"
PHONES = f"""
[[phone]]
name = "desk"
secret = "{SECRET}"
context = "internal"
[[phone]]
name = "lobby"
secret = "{SECRET}"
context = "internal"
[[trunk]]
name = "site"
technology = "sip"
host = "dynamic"
secret = "{SECRET}"
context = "from-hq"
[[route]]
context = "from-pstn"
match = "_41655506XX"
to = ["sip:site/{{number}}"]
[[route]]
context = "from-pstn"
match = "{DESK}"
to = ["sip:desk"]
[[route]]
context = "internal"
match = "_9."
to = ["pri:r0/{{number:1}}"]
[[route]]
context = "internal"
match = "500"
to = ["sip:desk"]
"""


async def phone(product: Product, name: str, *, user: str = "desk", secret: str = SECRET, **options: Any) -> Baresip:
    """A baresip that registers with the product's gateway."""
    directory = product.directory / name
    return await Baresip.start(
        directory, user=user, registrar=f"127.0.0.1:{product.sip_port}", secret=f'"{secret}"', **options
    )


async def registered(product: Product, count: int, user: str = "desk") -> list[dict[str, Any]]:
    """Wait until ``user`` is registered from so many places."""
    status = await product.until(
        lambda status: len(status["registered"].get(user, ())) == count, f"{count} registrations of {user}"
    )
    return list(status["registered"].get(user, ()))


async def ring(product: Product, called: str = DESK, **request: object) -> object:
    """Let the exchange call the phone; the call's name."""
    return (await product.exchange.command("call", **{"called": called, "hold": 30_000, **request}))["call"]


async def ended(product: Product, call: object) -> dict[str, Any]:
    """How the exchange's call ended."""
    return dict(await product.exchange.event("ended", PATIENCE, lambda event: event["call"] == call))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@scenario
async def test_a_phone_registers_is_called_and_calls(tmp_path: Path, transport: str) -> None:
    async with (
        Product(tmp_path, extra=PHONES, sip=SIP) as product,
        await phone(product, "one", transport=transport, answer="manual") as desk,
    ):
        (place,) = await registered(product, 1)
        assert place["address"].startswith(f"{transport}:127.0.0.1:")
        assert place["reachable"] and not place["behind_nat"]
        assert 50 <= place["seconds_left"] <= 60
        call = await ring(product)
        await desk.event("CALL_INCOMING")
        await desk.accept()
        await product.until_answered()
        await desk.hang_up()
        assert (await ended(product, call))["cause"] == 16
        await product.until_idle()
        await desk.dial(f"sip:95550107@127.0.0.1:{product.sip_port}")
        await product.until_answered()
        await desk.hang_up()
        await product.until_idle()
        assert SECRET not in product.log


@scenario
async def test_two_phones_of_one_account_ring_and_the_first_wins(tmp_path: Path) -> None:
    async with (
        Product(tmp_path, extra=PHONES, sip=SIP) as product,
        await phone(product, "one", answer="manual") as first,
        await phone(product, "two", answer="manual", transport="tcp") as second,
    ):
        await registered(product, 2)
        call = await ring(product)
        await first.event("CALL_INCOMING")
        await second.event("CALL_INCOMING")
        await second.accept()
        await second.event("CALL_ESTABLISHED")
        await first.event("CALL_CLOSED")
        await product.until_answered()
        await second.hang_up()
        assert (await ended(product, call))["cause"] == 16
        # One is busy with itself, the other takes it.
        call = await ring(product)
        await first.event("CALL_INCOMING")
        await second.event("CALL_INCOMING")
        await first.hang_up()
        await first.event("CALL_CLOSED")
        await second.accept()
        await product.until_answered()
        await second.hang_up()
        await ended(product, call)
        # Both refuse.
        call = await ring(product)
        for each in (first, second):
            await each.event("CALL_INCOMING")
            await each.hang_up()
        assert (await ended(product, call))["cause"] in (17, 21)
        await product.until_idle()


@scenario
async def test_registrations_outlive_a_restart_and_a_crash(tmp_path: Path) -> None:
    async with (
        Product(tmp_path, extra=PHONES, sip=SIP) as product,
        await phone(product, "one", regint=3600) as desk,
    ):
        await registered(product, 1)
        await product.stop_gateway()
        await product.start_gateway()
        await product.until_up()
        await registered(product, 1)
        call = await ring(product)
        await product.until_answered()
        await desk.hang_up()
        assert (await ended(product, call))["cause"] == 16
        await product.until_idle()
        # What was not stored in time is lost with SIGKILL; this one was.
        assert (tmp_path / "bindings.json").exists()
        await product.kill_gateway()
        await product.start_gateway()
        await product.until_up()
        (place,) = await registered(product, 1)
        assert place["seconds_left"] > 3000
        assert "1 registrations of before are restored" in product.log


@scenario
async def test_who_is_not_registered_is_absent_and_who_has_no_password_stays_out(tmp_path: Path) -> None:
    async with Product(tmp_path, extra=PHONES, sip=SIP) as product:
        call = await ring(product)
        assert (await ended(product, call))["cause"] == 20
        async with await phone(product, "thief", secret="wrong") as thief:  # noqa: S106
            await thief.until(lambda: any("403 Forbidden" in line for line in thief.lines), "its refusal")
        async with await phone(product, "nobody", user="nobody") as nobody:
            await nobody.until(lambda: any("403 Forbidden" in line for line in nobody.lines), "its refusal")
        await registered(product, 0)
        (record,) = product.records()
        assert record["cause"] == 20


@scenario
async def test_sipp_registers_for_too_short_a_time_then_rightly_and_takes_it_back(tmp_path: Path) -> None:
    async with Product(tmp_path, extra=PHONES, sip=SIP) as product:
        sipp = await Sipp.start(
            "uac_register",
            tmp_path / "sipp",
            remote=("127.0.0.1", product.sip_port),
            user="desk",
            password=SECRET,
            pause=4000,
        )
        async with sipp as caller:
            (place,) = await registered(product, 1)
            assert place["address"] == f"udp:127.0.0.1:{caller.port}"
            assert 80 < place["seconds_left"] <= 90
            await caller.succeed()
        await registered(product, 0)


@scenario
async def test_a_phone_over_tcp_is_called_after_its_connection_and_the_gateway_were_gone(tmp_path: Path) -> None:
    async with (
        Product(tmp_path, extra=PHONES, sip=SIP) as product,
        await phone(product, "one", regint=3600, transport="tcp") as desk,
    ):
        await registered(product, 1)
        await product.stop_gateway()
        await product.start_gateway()
        await product.until_up()
        call = await ring(product)
        await product.until_answered()
        await desk.hang_up()
        assert (await ended(product, call))["cause"] == 16


@scenario
async def test_a_broken_file_of_registrations_is_told_and_phones_register_anew(tmp_path: Path) -> None:
    (tmp_path / "bindings.json").write_bytes(b'{"version": 1, "written": 0, "bindings": [{"name"')
    async with Product(tmp_path, extra=PHONES, sip=SIP) as product:
        assert "bindings.json makes no sense" in product.log
        async with await phone(product, "one", regint=3600):
            await registered(product, 1)
            await product.stop_gateway()
            await product.start_gateway()
            await product.until_up()
            await registered(product, 1)


@scenario
async def test_where_nothing_can_be_stored_phones_register_all_the_same(tmp_path: Path) -> None:
    nowhere = f'calls.jsonl"\nstate_dir = "{tmp_path}/gateway.toml/state'
    async with Product(tmp_path, extra=PHONES, sip=SIP, records=nowhere) as product:
        async with await phone(product, "one"):
            await registered(product, 1)
            call = await ring(product)
            await product.until_answered()
            told = "registrations cannot be written: Not a directory"
            await product.until(lambda _: product.log.count(told) == 1, "the log line")
            await product.exchange.command("hangup", call=call)
            await ended(product, call)
        await product.until_idle()


@scenario
async def test_a_phone_that_lost_its_power_is_one_phone_when_it_is_back_at_another_port(tmp_path: Path) -> None:
    async with Product(tmp_path, extra=PHONES, sip=SIP) as product:
        options: dict[str, Any] = {
            "extra": "module_tmp uuid.so",
            "account": f';sipnat=outbound;outbound="sip:127.0.0.1:{product.sip_port}"',
            "regint": 3600,
        }
        lost = await phone(product, "one", **options)
        (before,) = await registered(product, 1)
        lost.process.kill()
        await lost.stop()
        async with await phone(product, "one", **options) as desk:
            status = await product.until(
                lambda status: status["registered"]["desk"][0]["address"] != before["address"], "the other port"
            )
            assert len(status["registered"]["desk"]) == 1
            call = await ring(product)
            await product.until_answered()
            await desk.hang_up()
            assert (await ended(product, call))["cause"] == 16


@scenario
async def test_a_trunk_that_registers_is_called_with_numbers_and_calls(tmp_path: Path) -> None:
    async with Product(tmp_path, extra=PHONES, sip=SIP) as product:
        call = await ring(product, "4165550601")
        assert (await ended(product, call))["cause"] == 20
        port = free_port()
        site = RegisteringPhone("site", SECRET, product.sip_port, port)
        try:
            assert await asyncio.to_thread(site.refresh) == 200
        finally:
            site.close()
        await registered(product, 1, "site")
        async with await Sipp.start("uas_basic", tmp_path / "sipp", port=port, codecs="8 101") as far_end:
            call = await ring(product, "4165550601", hold=200)
            invite = (await far_end.exchanged(b"INVITE", sent=False)).data
            assert invite.startswith(b"INVITE sip:4165550601@127.0.0.1:%d SIP/2.0" % port)
            await ended(product, call)
            await far_end.succeed()
        caller = await Sipp.start(
            "uac_digest",
            tmp_path / "sipp",
            remote=("127.0.0.1", product.sip_port),
            port=port,
            service="95550107",
            user="site",
            password=SECRET,
            codecs="8 101",
        )
        async with caller:
            await caller.succeed()
        await product.until_idle()
        assert product.records()[-1]["source"] == "site"
