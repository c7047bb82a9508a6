"""Fifty calls a second from SIP through the gateway to the exchange over eight E1s: no call fails and nothing leaks.

``LOAD_SECONDS`` says for how long (6; the full run is 60). The line of figures is printed for ``pytest -s``.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.bench.processes import used
from tests.interop.product import Product

LOAD_SECONDS = int(os.environ.get("LOAD_SECONDS", "6"))
RATE = 50
SPANS = 8
HOLD_MILLISECONDS = 3_500
"""At 50 calls/s some 175 of the 240 channels are taken at a time."""
MAX_STANDING = 220
"""sipp catches up with a burst when the machine held it up; a channel is free only when it has been cleared, too."""
LINGER_SECONDS = 33
"""SIP transactions wait out 32 s after their call (RFC 3261 17.2.2, timer J); from then on as many go as come."""
MAX_GROWTH = 8 * 1024 * 1024
"""Bytes that the Python side may grow by once it has all the transactions it ever will."""
MAX_KEPT = 24 * 1024
"""Bytes that a call's transactions take while they wait."""
FULL_RUN = LOAD_SECONDS >= 60
WARM_UP_CALLS = RATE * (LINGER_SECONDS + 2) if FULL_RUN else 250


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def load(product: Product, calls: int, hold: int) -> None:
    seconds = calls // RATE + 60
    async with await product.calling(
        "95550112", calls=calls, rate=RATE, pause=hold, limit=MAX_STANDING, seconds=seconds, trace=False
    ) as caller:
        result = await caller.succeed(seconds)
        assert (result.successful, result.failed) == (calls, 0)
    await product.until_idle()


async def run(directory: Path) -> None:
    async with Product(directory, spans=SPANS) as product:
        await load(product, WARM_UP_CALLS, HOLD_MILLISECONDS)
        engine = product.engine_pid
        assert engine is not None
        before = used(product.gateway_pid)
        files = descriptors(product.gateway_pid), descriptors(engine)
        calls = RATE * LOAD_SECONDS
        await load(product, calls, HOLD_MILLISECONDS)
        spent = used(product.gateway_pid) - before
        status = await product.until_idle()
        assert (descriptors(product.gateway_pid), descriptors(engine)) == files
        assert spent.resident < MAX_GROWTH + (0 if FULL_RUN else MAX_KEPT * calls)
        assert status["sip"]["dialogs"] == 0
        records = product.records()
        assert len(records) == WARM_UP_CALLS + calls
        assert {record["cause"] for record in records} == {16}
        assert all(record["answer"] for record in records)
        print(
            f"\n{calls} calls at {RATE}/s: {1000 * spent.cpu / calls:.2f} ms CPU a call, "
            f"{spent.resident / 1024:.0f} KiB growth, {files[0]} and {files[1]} descriptors, "
            f"{status['sip']['retransmissions']} SIP retransmissions"
        )
        if FULL_RUN:
            await product.until(lambda status: status["sip"]["transactions"] == 0, "the transactions", LINGER_SECONDS)


def test_fifty_calls_a_second_over_240_channels(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(run(tmp_path), 2 * LOAD_SECONDS + 120))
