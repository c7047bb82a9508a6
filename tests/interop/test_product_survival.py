"""kill -9 of the gateway in mid-call: voice goes on without a gap, and the next start has the calls in its hands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.voip.iax.frame import Command, FrameType, FullFrame
from tests.interop.iax_sites import Sites
from tests.interop.product import DID, Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario
from tests.interop.standing_call import StandingCall, configuration, telephone

PLAIN, TRUNK, ENCRYPTED = "", "trunk = true", "forceencryption = true"
STAMPED = TRUNK + "\ntrunktimestamps = true"
ROTATING = "[timers.iax]\nkey_least_seconds = 1\nkey_most_seconds = 2"
TELEPHONE = """
[[phone]]
name = "talker"
host = "127.0.0.1:{port}"
context = "talkers"
[[route]]
context = "talkers"
match = "_8."
to = ["iax2:far/{{number:1}}"]
"""


@scenario
async def test_a_call_between_line_and_telephone_is_heard_on_and_ends_as_any_other(tmp_path: Path) -> None:
    phone = await telephone(tmp_path)
    async with phone, Product(tmp_path, grace=round(PATIENCE), extra=configuration(phone)) as product:
        async with StandingCall(product, phone):
            await asyncio.sleep(1)
            await product.kill_gateway()
            await asyncio.sleep(1)
            await product.start_gateway()
            await product.until_up()
            await product.until_answered()
            await asyncio.sleep(2)
        await phone.hang_up()
        await product.until_idle()
        (record,) = product.records()
        assert (record["cause"], record["released_by"]) == (16, "caller")
        assert record["answer"] < record["end"]


@scenario
async def test_the_exchange_ends_a_call_that_was_taken_up(tmp_path: Path) -> None:
    async with Product(tmp_path, grace=round(PATIENCE)) as product:
        async with await product.answering() as phone:
            call = (await product.exchange.command("call", called=DID, hold=-1))["call"]
            await product.until_answered()
            await product.kill_gateway()
            await product.start_gateway()
            await product.until_up()
            await product.until_answered()
            await product.exchange.command("hangup", call=call)
            await phone.succeed()
        await product.until_idle()
        (record,) = product.records()
        assert (record["cause"], record["released_by"]) == (16, "caller")


async def _anew(product: Product, seconds: float = 1.0) -> None:
    """Kill the gateway, and start it again after ``seconds``."""
    await product.kill_gateway()
    await asyncio.sleep(seconds)
    await product.start_gateway()
    await product.until_up()
    await product.until_answered()


@pytest.mark.parametrize("site", ["near", "far"])
@pytest.mark.parametrize("terms", [PLAIN, TRUNK, STAMPED, ENCRYPTED])
@scenario
async def test_a_call_over_iax2_is_heard_on_at_either_end(tmp_path: Path, terms: str, site: str) -> None:
    phone = await telephone(tmp_path)
    async with (
        phone,
        Sites(
            tmp_path,
            near=terms,
            far=terms,
            near_section=ROTATING,
            far_section=ROTATING,
            near_extra=TELEPHONE.format(port=phone.sip_port),
            grace=round(PATIENCE),
        ) as sites,
    ):
        product = sites.near if site == "near" else sites.far
        async with StandingCall(sites.near, phone):
            await asyncio.sleep(1)
            await _anew(product)
            await asyncio.sleep(3)
        await sites.until_idle()
        for each in (sites.near, sites.far):
            (record,) = each.records()
            assert (record["cause"], record["released_by"]) == (16, "caller"), sites.log
            assert record["answer"] < record["end"]


@pytest.mark.parametrize("site", ["near", "far"])
@pytest.mark.parametrize("ends", ["near", "far"])
@scenario
async def test_either_exchange_ends_a_call_over_iax2_that_was_taken_up(tmp_path: Path, site: str, ends: str) -> None:
    async with Sites(tmp_path, grace=round(PATIENCE)) as sites:
        product = sites.near if site == "near" else sites.far
        call = await sites.begin(sites.near)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        before = len(sites.wire.seen)
        await _anew(product)
        await sites.heard(sites.near)
        await sites.heard(sites.far)
        if ends == "near":
            await sites.end(sites.near, call)
        else:
            (other,) = (await sites.far.exchange.command("calls"))["calls"]
            await sites.end(sites.far, other["call"])
        await sites.until_idle()
        for each in (sites.near, sites.far):
            (record,) = each.records()
            assert (record["cause"], record["released_by"]) == (16, "caller" if ends == "near" else "called")
        # The far end was told the codec and the time anew, and nobody doubted that there is a call.
        frames = (*sites.wire.frames(0, before), *sites.wire.frames(1, before))
        said = {each.subclass for each in frames if isinstance(each, FullFrame) and each.type == FrameType.IAX}
        assert not said & {Command.INVAL, Command.NEW}
