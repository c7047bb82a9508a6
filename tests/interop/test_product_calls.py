"""The whole product through real programs: exchange, gateway, engine and sipp; calls both ways, and why they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.product import Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario

VARIETIES = pytest.mark.parametrize(("switch", "line"), [("euroisdn", "e1"), ("ni2", "t1")])

REFUSALS = {
    400: 41, 404: 1, 405: 63, 408: 102, 410: 22, 480: 18, 482: 25, 484: 28, 486: 17,
    500: 41, 501: 79, 502: 38, 503: 41, 504: 102, 600: 17, 603: 21, 604: 1,
}  # fmt: skip
"""SIP status to Q.850 cause, RFC 3398 8.2.6.1."""


@VARIETIES
@pytest.mark.parametrize("side", ["user", "network"])
@scenario
async def test_a_call_each_way_with_records(tmp_path: Path, switch: str, line: str, side: str) -> None:
    async with Product(tmp_path, switch=switch, line=line, side=side) as product:
        async with await product.answering() as phone:
            report = await product.pstn_call(name="EXCHANGE")
            assert (report["answered"] is not None, report["cause"]) == (True, 16)
            await phone.succeed()
        async with await product.calling("95550107") as caller:
            await caller.succeed()
        await product.until_idle()
        first, second = product.records()
        assert (first["cause"], first["released_by"], second["released_by"]) == (16, "caller", "caller")
        for record in (first, second):
            assert record["incoming"]["media"]["packets_sent"] > 0
            assert record["attempts"][0]["leg"]["media"]["packets_received"] >= 0


@scenario
async def test_calls_to_numbers_that_refuse_get_the_status_of_the_cause(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        for number, code in (("5550102", 486), ("5550103", 404), ("5550109", 503), ("5550110", 403)):
            async with await product.calling(f"9{number}", "uac_refused", code=code) as caller:
                await caller.succeed()
        async with await product.calling("123", "uac_refused", code=404) as caller:
            await caller.succeed()
        await product.until_idle()
        assert [record["cause"] for record in product.records()] == [17, 1, 42, 21, 1]


@scenario
async def test_sip_refusals_reach_the_exchange_as_rfc_3398_says(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        got = {}
        for code in REFUSALS:
            async with await product.answering("uas_reject", code=code, reason="No") as phone:
                got[code] = (await product.pstn_call())["cause"]
                await phone.succeed()
        assert got == REFUSALS
        await product.until_idle()


@scenario
async def test_a_reason_goes_before_the_status(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        headers = ["Reason: Q.850;cause=22"]
        async with await product.answering("uas_reject", code=503, reason="No", headers=headers) as phone:
            assert (await product.pstn_call())["cause"] == 22
            await phone.succeed()


@scenario
async def test_a_caller_gives_up_while_it_rings_in_both_directions(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        async with await product.answering("uas_no_answer") as phone:
            call = (await product.exchange.command("call", called="4165550101"))["call"]
            await product.exchange.event("alerting", PATIENCE, lambda event: event["call"] == call)
            await product.exchange.command("hangup", call=call)
            await phone.succeed()
        async with await product.calling("95550101", "uac_cancel") as caller:
            await caller.succeed()
        await product.until_idle()
        assert [record["answer"] for record in product.records()] == [None, None]


@scenario
async def test_an_unknown_number_is_refused_at_once(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        reports = [await product.pstn_call("4169999999") for _ in range(3)]
        assert [report["cause"] for report in reports] == [1, 1, 1]
        # Where it waits for something it always does; a busy machine does now and then.
        assert min(report["ended"] - report["started"] for report in reports) < 500_000


@scenario
async def test_early_media_from_the_exchange_is_there_before_the_answer(tmp_path: Path) -> None:
    async with Product(tmp_path) as product, await product.calling("95550108", pause=200) as caller:
        ringing = await caller.exchanged(b"SIP/2.0 180", sent=False)
        assert b"m=audio" in ringing.data
        await caller.succeed()


@scenario
async def test_identities_go_through_the_programs(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        async with await product.answering() as phone:
            await product.pstn_call(caller="2125551234", name="JANE", redirecting="4165550777", presentation="allowed")
            invite = (await phone.exchanged(b"INVITE", sent=False)).data.decode()
            await phone.succeed()
        assert "2125551234" in invite and "JANE" in invite
        assert "Diversion: " in invite and "4165550777" in invite
        async with await product.answering() as phone:
            await product.pstn_call(caller="2125551234", name="JANE", presentation="restricted")
            invite = (await phone.exchanged(b"INVITE", sent=False)).data.decode()
            await phone.succeed()
        assert "From: " in invite and "anonymous" in invite and "Privacy: " in invite
