"""What breaks while calls are up: programs killed, lines cut, frames lost. Everybody is told and all works again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.interop.product import DID, Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario


async def standing_call(product: Product) -> int:
    """A call of the exchange that lasts; the SIP side has answered it."""
    call: int = (await product.exchange.command("call", called=DID, hold=-1))["call"]
    await product.until_answered()
    return call


async def works(product: Product) -> None:
    """A call each way succeeds."""
    async with await product.answering() as phone:
        assert (await product.pstn_call())["answered"] is not None
        await phone.succeed()
    async with await product.calling("95550112") as caller:
        await caller.succeed()
    await product.until_idle()


@scenario
async def test_the_gateway_is_killed_and_started_again_in_mid_call(tmp_path: Path) -> None:
    # The engine has to wait for it as long as it takes on a busy machine.
    async with Product(tmp_path, grace=round(PATIENCE)) as product:
        async with await product.answering(calls=2):
            await standing_call(product)
            await product.kill_gateway()
            await product.start_gateway()
            await product.until_up()
            # What becomes of the call is in test_product_survival; here, that all the rest works beside it.
            await product.until_answered()
            report = await product.pstn_call()
            assert report["cause"] is not None
            (call,) = (await product.exchange.command("calls"))["calls"]
            await product.exchange.command("hangup", call=call["call"])
        await product.until_idle()
        assert len(product.records()) == 2
        await works(product)


@scenario
async def test_the_gateway_is_told_to_end_in_mid_call_and_ends_the_call(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        async with await product.answering() as phone:
            call = await standing_call(product)
            await product.stop_gateway()
            ended = await product.exchange.event("ended", PATIENCE, lambda event: event["call"] == call)
            assert ended["cause"] == 41
            await phone.succeed()
        record = product.records()[0]
        assert (record["cause"], record["released_by"]) == (41, "gateway")
        await product.start_gateway()
        await product.until_up()
        await works(product)


@scenario
async def test_a_second_gateway_is_refused_and_the_first_ones_call_goes_on(tmp_path: Path) -> None:
    async with Product(tmp_path) as product, await product.answering() as phone:
        call = await standing_call(product)
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "--config", str(tmp_path / "gateway.toml"), "--start-engine"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(second.communicate(), PATIENCE)
        assert second.returncode == 1
        assert errors.decode().strip().endswith("another gateway runs with this run_dir")
        await product.until_answered()
        await product.exchange.command("hangup", call=call)
        await phone.succeed()
        await product.until_idle()
        assert "media engine is gone" not in product.log


@scenario
async def test_the_engine_is_killed_in_mid_call(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        async with await product.answering() as phone:
            call = await standing_call(product)
            engine = product.engine_pid
            assert engine is not None
            os.kill(engine, signal.SIGKILL)
            ended = await product.exchange.event("ended", PATIENCE, lambda event: event["call"] == call)
            assert ended["cause"] == 41
            await phone.succeed()
        await product.until_up()
        await product.until_idle()
        record = product.records()[0]
        assert (record["cause"], record["released_by"]) == (41, "gateway")
        assert record["notes"] == ["the media engine failed"]
        await works(product)


@scenario
async def test_the_exchange_is_killed_and_started_again_in_mid_call(tmp_path: Path) -> None:
    async with Product(tmp_path, extra="[timers.q931]\nT309_seconds = 3\n") as product:
        async with await product.answering() as phone:
            await standing_call(product)
            await product.kill_exchange()
            await product.until(lambda status: status["spans"]["s0"]["alarm"] == "red", "the alarm")
            await phone.succeed()  # it gets BYE when T309 has run out
        await product.start_exchange()
        await product.until_up()
        await works(product)


@scenario
async def test_a_short_cut_of_the_line_leaves_the_call_up(tmp_path: Path) -> None:
    async with Product(tmp_path) as product, await product.answering() as phone:
        call = await standing_call(product)
        await product.exchange.command("cut")
        status = await product.until(lambda status: status["spans"]["s0"]["alarm"] == "red", "the alarm")
        assert status["spans"]["s0"]["findings"]
        await product.exchange.command("mend")
        await product.until_up()
        await product.until_answered()
        await product.exchange.command("hangup", call=call)
        await phone.succeed()
        await product.until_idle()


@scenario
async def test_an_alarm_is_shown_and_goes_by_itself(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        for alarm in ("yellow", "blue", "red"):
            await product.exchange.command("alarm", alarm=alarm)
            await product.until(lambda status, alarm=alarm: status["spans"]["s0"]["alarm"] == alarm, alarm)  # type: ignore[misc]
        await product.exchange.command("alarm", alarm="none")
        await product.until_up()
        await works(product)


@scenario
async def test_a_hundred_calls_with_every_tenth_frame_lost(tmp_path: Path) -> None:
    # Frames are lost here, links are reset in the next test: N200 + 1 times T200 is longer than a busy machine stands.
    # With more calls a second, or a longer T200, the line could not carry all that is lost again and again.
    timers = "[timers.q921]\nT200_ms = 150\nN200 = 20\n"
    options = ("--t200-ms", "150", "--n200", "20")
    async with Product(tmp_path, extra=timers, exchange_options=options) as product:
        async with await product.answering(calls=100, trace=False) as phone:
            await product.exchange.command("faults", lose=0.1)
            await product.exchange.command("load", called=DID, rate=5, calls=100, hold=300)
            await phone.succeed()
        await product.exchange.command("faults", lose=0)
        await product.until_idle()
        result = await product.exchange.command("load-result")
        assert (result["answered"], result["failed"]) == (100, 0)
        assert len(product.records()) == 100


@scenario
async def test_resets_of_the_data_link_lose_no_call(tmp_path: Path) -> None:
    timers = "[timers.q921]\nT200_ms = 100\n"
    async with Product(tmp_path, extra=timers, exchange_options=("--t200-ms", "100")) as product:
        async with await product.answering(calls=60, trace=False) as phone:
            await product.exchange.command("load", called=DID, rate=10, calls=60, hold=300)
            for _ in range(3):
                await asyncio.sleep(1.2)
                # Longer than N200 + 1 times T200: the exchange gives the link up and begins anew.
                os.kill(product.gateway_pid, signal.SIGSTOP)
                await asyncio.sleep(0.45)
                os.kill(product.gateway_pid, signal.SIGCONT)
            await phone.succeed()
        await product.until_idle()
        result = await product.exchange.command("load-result")
        assert (result["answered"], result["failed"]) == (60, 0)
        assert "reset=True" in product.log
        assert len(product.records()) == 60
