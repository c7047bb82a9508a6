"""kill -9 of the gateway when a call has hardly begun: its caller is told, and it has its record."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.interop.product import DID, Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario


def _kept(directory: Path) -> int:
    """Octets of the journal."""
    (journal,) = directory.rglob("calls.journal")
    return journal.stat().st_size


@scenario
async def test_a_call_that_nobody_answered_yet_has_its_record(tmp_path: Path) -> None:
    async with Product(tmp_path, grace=round(PATIENCE)) as product, await product.answering("uas_no_answer"):
        empty = _kept(tmp_path)
        await product.exchange.command("call", called=DID, hold=-1)
        for _ in range(round(PATIENCE * 1000)):
            if _kept(tmp_path) != empty:
                break
            await asyncio.sleep(0.001)
        await product.kill_gateway()
        await product.start_gateway()
        await product.until_up()
        await product.until_idle()
        (record,) = product.records()
        assert (record["cause"], record["released_by"]) == (41, "gateway")
        assert record["dialled"] == DID
        assert "the gateway was restarted: it was not answered" in json.dumps(record)
