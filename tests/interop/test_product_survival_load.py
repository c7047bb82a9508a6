"""Sixty calls of all kinds up, and the gateway ends: killed, or told to hand over. And the engine is killed.

The next start has all of them in its hands within three seconds, and each ends with one right record.
"""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.interop.openssl import Certificates
from tests.interop.product import DID, POLL_SECONDS, Product
from tests.interop.program import PATIENCE, free_port
from tests.interop.scenario import scenario
from tests.interop.secure_phone import TlsProduct, address
from tests.interop.secure_phone import telephone as secure_telephone
from tests.interop.sipp import Sipp
from tests.interop.standing_call import ECHO, HERTZ, StandingCall

MILLIWATT = 1004.0
EACH = 20
"""Calls from the line to SIP, from SIP to the line, and from SIP to SIP; one of them is of a telephone with SRTP."""
TALK = 30.0
"""Seconds that the calls last which the far end by SIP ends."""
CONTROL_SECONDS = 3.0
NEXT_SECONDS = 2.0
ROUTES = """
[[trunk]]
name = "south"
technology = "sip"
host = "127.0.0.1:{port}"
context = "from-south"
session_timers = "refuse"
[[trunk]]
name = "west"
technology = "sip"
host = "127.0.0.1:{west}"
context = "from-south"
session_timers = "refuse"
[[route]]
context = "from-south"
match = "_9."
to = ["pri:r0/{{number:1}}"]
[[route]]
context = "from-south"
match = "_7."
to = ["sip:hq/{{number:1}}"]
"""


def waited(pid: int) -> float:
    """Seconds that the program was ready to run and others were let run instead: this machine is not its alone."""
    return sum(int(task.read_text().split()[1]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def talk(record: dict[str, Any]) -> float:
    begun, ended = (datetime.fromisoformat(record[key]) for key in ("answer", "end"))
    return (ended - begun).total_seconds()


async def calling(product: Product, number: str, port: int, name: str, calls: int, seconds: float) -> Sipp:
    return await Sipp.start(
        "uac_basic",
        product.directory / name,
        remote=("127.0.0.1", product.sip_port),
        port=port,
        service=number,
        calls=calls,
        rate=20.0,
        codecs="8 101",
        pause=round(seconds * 1000),
        trace=False,
    )


async def restarted(product: Product, how: str) -> float:
    """The gateway ends and is started again; how long it took until all calls could be told what to do."""
    calls = len((await product.gateway.command("status"))["calls"])
    if how == "killed":
        await product.kill_gateway()
    else:
        await product.hand_over_gateway()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await product.start_gateway()
    await product.until_answered(calls)
    took = loop.time() - begun - waited(product.gateway_pid)
    print(f"\n{calls} calls in hand {took:.2f} s after the start, {waited(product.gateway_pid):.2f} s of waiting apart")
    return took


async def fewer(product: Product, calls: list[int]) -> list[int]:
    """Those of the exchange's ``calls`` that are left once one has ended."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        there = {each["call"] for each in (await product.exchange.command("calls"))["calls"]}
        left = [call for call in calls if call in there]
        if len(left) < len(calls):
            return left
        assert asyncio.get_running_loop().time() < deadline, "the exchange still has all its calls"
        await asyncio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("how", ["killed", "handed over"])
@scenario
async def test_sixty_calls_of_all_kinds_outlive_the_gateway(tmp_path: Path, how: str) -> None:
    files = await Certificates(tmp_path).make()
    south, west = free_port(), free_port()
    async with (
        await secure_telephone(
            tmp_path / "talker", files, "module srtp.so\n", tone=HERTZ, account=";mediaenc=srtp-mand"
        ) as phone,
        TlsProduct(
            tmp_path,
            address(phone),
            terms='media_encryption = "required"',
            sip=files.sip,
            spans=2,
            grace=round(PATIENCE),
            trunk='session_timers = "refuse"',
            routes=ROUTES.format(port=south, west=west),
        ) as product,
    ):
        await product.until_up()
        async with (
            await product.answering(calls=2 * EACH, trace=False) as answering,
            StandingCall(product, phone, f"127.0.0.1:{product.tls_port};transport=tls"),
        ):
            begun = asyncio.get_running_loop().time()
            async with (
                await calling(product, f"9{ECHO}", south, "south", EACH - 1, TALK) as to_line,
                await calling(product, f"7{DID}", west, "west", EACH, TALK) as to_sip,
            ):
                ours = [(await product.exchange.command("call", called=DID, hold=-1))["call"] for _ in range(EACH)]
                await product.until_answered(3 * EACH)
                took = await restarted(product, how)
                await product.until_up()
                assert took < CONTROL_SECONDS
                # One is told by us to end, and all others by their far ends.
                status = await product.gateway.command("status")
                told = next(call["id"] for call in status["calls"] if call["source"] == "s0")
                await product.gateway.command("hangup", call=told)
                # Which of the exchange's calls it was shows when the exchange has one less.
                left = await fewer(product, ours)
                for call in left:
                    await product.exchange.command("hangup", call=call)
                await product.until_answered(2 * EACH)
                seconds = asyncio.get_running_loop().time() - begun
                await to_line.succeed()
                await to_sip.succeed()
                await answering.succeed()
        await product.until_idle()
        records = product.records()
        assert len(records) == len({record["id"] for record in records}) == 3 * EACH
        causes = [(record["cause"], record["released_by"]) for record in records]
        assert causes.count((16, "operator")) == 1 and causes.count((16, "caller")) == 3 * EACH - 1
        for record in records:
            if record["source"] in ("south", "west"):
                assert TALK - 0.5 < talk(record) < TALK + 5
            elif record["source"] == "s0":
                assert 0 < talk(record) < seconds
        assert any(record["incoming"].get("srtp") for record in records)


@scenario
async def test_a_secure_telephone_and_the_line_each_end_a_call_that_was_taken_up(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    async with (
        await secure_telephone(
            tmp_path / "talker", files, "module srtp.so\n", tone=HERTZ, account=";mediaenc=srtp-mand"
        ) as phone,
        TlsProduct(
            tmp_path,
            address(phone),
            terms='media_encryption = "required"',
            sip=files.sip,
            grace=round(PATIENCE),
        ) as product,
    ):
        for ender in ("phone", "line"):
            await product.called_by(phone)
            await phone.hears(MILLIWATT)
            await restarted(product, "killed")
            await product.until_up()
            # The connection of the call is gone: whoever ends it needs another one.
            if ender == "phone":
                await phone.hang_up()
            else:
                (there,) = (await product.exchange.command("calls"))["calls"]
                await product.exchange.command("hangup", call=there["call"])
                await phone.event("CALL_CLOSED")
            await product.until_idle()
        first, second = product.records()
        assert (first["cause"], first["released_by"]) == (16, "caller")
        assert (second["cause"], second["released_by"]) == (16, "called")
        assert first["incoming"]["srtp"] and second["incoming"]["srtp"]


@scenario
async def test_calls_end_with_the_engine_and_the_next_one_works_at_once(tmp_path: Path) -> None:
    calls = 10
    async with Product(tmp_path) as product:
        async with await product.answering(calls=calls, trace=False) as phones:
            for _ in range(calls):
                await product.exchange.command("call", called=DID, hold=-1)
            await product.until_answered(calls)
            engine = product.engine_pid
            assert engine is not None
            loop = asyncio.get_running_loop()
            begun = loop.time()
            os.kill(engine, signal.SIGKILL)
            await phones.succeed()
        async with await product.answering():
            report = await product.pstn_call(hold=0)
            took = loop.time() - begun
            assert report["cause"] == 16
        print(f"\nthe next call was over {took:.2f} s after the engine was killed")
        await product.until_idle()
        records = product.records()
        assert len(records) == calls + 1
        assert [(record["cause"], record["released_by"]) for record in records[:calls]] == calls * [(41, "gateway")]
        assert {note for record in records[:calls] for note in record["notes"]} == {"the media engine failed"}
        assert took - waited(product.gateway_pid) < NEXT_SECONDS + 1.0, (
            "a second is for the telephone to start and ring"
        )
