"""The whole product between libpri, which plays the exchange, and sipp: calls both ways, refusals, a cancelled call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.libpri import LibpriPeer
from tests.interop.product import DID, Product
from tests.interop.scenario import scenario

PLAN = ("1=answer", "2=busy", "3=refuse:1", "4=ring")
VARIETIES = pytest.mark.parametrize(
    ("switch", "line", "side"),
    [("euroisdn", "e1", "user"), ("euroisdn", "e1", "network"), ("ni2", "t1", "user"), ("ni2", "t1", "network")],
)


@asynccontextmanager
async def between(directory: Path, switch: str, line: str, side: str) -> AsyncIterator[tuple[Product, LibpriPeer]]:
    """A product whose exchange is libpri."""
    span = directory / "s0"
    span.mkdir()
    far_side = "network" if side == "user" else "user"
    async with (
        await LibpriPeer.start(span, side=far_side, switch=switch, line=line, plan=PLAN) as peer,
        Product(directory, switch=switch, line=line, side=side, exchange=False) as product,
    ):
        await peer.event("up")
        await product.until_up()
        yield product, peer
        await product.until_idle()


@VARIETIES
@scenario
async def test_calls_both_ways(tmp_path: Path, switch: str, line: str, side: str) -> None:
    async with between(tmp_path, switch, line, side) as (product, peer):
        async with await product.answering() as phone:
            call = await peer.call(DID, caller="2125551234")
            await peer.event("answer", call=call)
            invite = (await phone.exchanged(b"INVITE", sent=False)).data
            assert b"2125551234" in invite
            peer.command("hangup", call=call, cause=16)
            await phone.succeed()
        async with await product.calling("91000") as caller:
            await caller.succeed()
        for number, code in (("92000", 486), ("93000", 404)):
            async with await product.calling(number, "uac_refused", code=code) as caller:
                await caller.succeed()
        async with await product.calling("94000", "uac_cancel") as caller:
            await caller.succeed()
        await product.until_idle()
        assert [record["cause"] for record in product.records()][:4] == [16, 16, 17, 1]


@VARIETIES
@scenario
async def test_refusals_of_sip_reach_libpri(tmp_path: Path, switch: str, line: str, side: str) -> None:
    async with between(tmp_path, switch, line, side) as (product, peer):
        for code, cause in ((486, 17), (404, 1), (503, 41)):
            async with await product.answering("uas_reject", code=code, reason="No") as phone:
                call = await peer.call(DID)
                assert (await peer.event("hangup_request", call=call))["cause"] == cause
                await phone.succeed()
        call = await peer.call("4169999999")
        assert (await peer.event("hangup", call=call))["cause"] == 1
