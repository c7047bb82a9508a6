"""Sixty calls of all kinds up, and the gateway ends: killed, or told to hand over. And the engine is killed.

The next start has all of them in its hands within three seconds, nobody hears anything of it, and each ends with one
right record, here and at the other gateway that some of them pass.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.interop.openssl import Certificates
from tests.interop.product import DID, Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario
from tests.interop.secure_phone import TlsProduct, address
from tests.interop.secure_phone import telephone as secure_telephone
from tests.interop.standing_call import ECHO, HERTZ, StandingCall
from tests.interop.tone_ends import Listening, hears_a_gap
from tests.interop.tone_sites import ENCRYPTED, OVER_FAR_IN, ToneSites, Way

MILLIWATT = 1004.0
WAYS = {
    Way.SIP_LINE: 8,
    Way.LINE_SIP: 8,
    Way.SIP_SIP: 7,
    Way.SRTP_LINE: 7,
    Way.LINE_SRTP: 7,
    Way.SIP_SRTP: 4,
    Way.IAX_LINE: 5,
    Way.LINE_IAX: 5,
    Way.CODED_LINE: 4,
    Way.LINE_CODED: 4,
}
"""How many of each; the sixtieth call is that of a telephone that nobody here wrote, with TLS and SRTP."""
SECRET = "apples-and-a-tree"  # noqa: S105 - of this test's telephone
PHONE = """
[[phone]]
name = "tlsphone"
transport = "tls"
media_encryption = "required"
context = "from-hq"
secret = "{secret}"
[[route]]
context = "from-hq"
match = "_8."
to = ["pri:r0/{{number:1}}"]
"""
LEAST_HEARD = 0.9
GAP = 2
"""Packets that are left out on purpose: to see that this is heard."""
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 3.0
CONTROL_SECONDS = 3.0
NEXT_SECONDS = 2.0


def waited(pid: int) -> float:
    """Seconds that the program was ready to run and others were let run instead: this machine is not its alone."""
    return sum(int(task.read_text().split()[1]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


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


def expected(sites: ToneSites, enders: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Who ends each call in the records of near and of far, by the number that each was told to call."""
    far = {}
    for call in sites.calls:
        told, who = call.told_far, enders[call.called]
        if told is not None:
            # What the operator of near ends, far hears from near.
            far[told] = ("called" if call.way in OVER_FAR_IN else "caller") if who == "operator" else who
    return dict(enders), far


def right(product: Product, enders: Mapping[str, str], seconds: float, gap: str | None) -> list[dict[str, Any]]:
    """The records of ``product``, one a call, with all of its ``seconds`` or more in it; ``gap`` is one with a gap."""
    records = product.records()
    assert len(records) == len({record["id"] for record in records}) == len(enders)
    assert {record["dialled"]: record["released_by"] for record in records} == dict(enders)
    for record in records:
        assert record["cause"] == 16 and "restarted" not in "".join(record["notes"]), record
        assert record["start"] <= record["answer"] < record["end"]
        assert record["talk_seconds"] > seconds
        for leg in (record["incoming"], record["attempts"][-1]["leg"]):
            # But for the gap that was made on purpose.
            assert leg["media"]["lost"] in ((0, GAP) if record["dialled"] == gap else (0,)), record
            assert leg["media"]["packets_received"] > 50 * LEAST_HEARD * record["talk_seconds"], record
    return records


@pytest.mark.alone
@pytest.mark.parametrize("how", ["killed", "handed over"])
@scenario
async def test_sixty_calls_of_all_kinds_outlive_the_gateway(tmp_path: Path, how: str) -> None:
    files = await Certificates(tmp_path).make()
    sites = ToneSites(tmp_path, files, spans=2, extra=PHONE.format(secret=SECRET))
    near = sites.near
    registrar = f"127.0.0.1:{sites.tls_ports[0]}"
    async with (
        sites,
        await secure_telephone(
            tmp_path / "talker",
            files,
            "module srtp.so\n",
            tone=HERTZ,
            account=";mediaenc=srtp-mand",
            registrar=registrar,
            secret=SECRET,
        ) as phone,
    ):
        await near.until(lambda status: bool(status["registered"]), "the telephone")
        for way, count in WAYS.items():
            for _ in range(count):
                await sites.call(way)
        async with StandingCall(near, phone, f"{registrar};transport=tls"):
            calls = len(sites.calls) + 1
            assert calls == 60
            await near.until_answered(calls)
            await sites.telephones.all_hear(sites.voices)
            begun = asyncio.get_running_loop().time()
            async with Listening(sites.telephones, sites.voice_pids):
                await sites.telephones.pass_time(BEFORE_SECONDS)
                took = await restarted(near, how)
                await near.until_up()
                await sites.telephones.pass_time(AFTER_SECONDS)
            assert took < CONTROL_SECONDS
            await sites.telephones.all_hear(sites.voices)
            await hears_a_gap(sites.telephones, sites.calls[-1].stream, GAP)
            seconds = asyncio.get_running_loop().time() - begun
        enders = {}
        # Of every way some are ended by either side; one is told by us to end.
        for number, call in enumerate(sites.calls):
            enders[call.called] = who = "operator" if not number else ("caller", "called")[number % 2]
            if who == "operator":
                status = await near.gateway.command("status")
                told = next(each["id"] for each in status["calls"] if each["called"] == call.called)
                await near.gateway.command("hangup", call=told)
            else:
                await sites.hang_up(call, who)
        await sites.until_idle()
        in_near, in_far = expected(sites, enders)
        in_near[f"8{ECHO}"] = "caller"
        secret = {call.called for call in sites.calls if call.way in ENCRYPTED} | {f"8{ECHO}"}
        records = right(near, in_near, seconds, sites.calls[-1].called)
        right(sites.far, in_far, seconds, sites.calls[-1].told_far)
        # Each hop that was encrypted is known to have been, from before the end of the gateway.
        for record in records:
            hops = json.dumps([record["incoming"], record["attempts"][-1]["leg"]])
            assert ("secure_media" in hops) is (record["dialled"] in secret), record


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
