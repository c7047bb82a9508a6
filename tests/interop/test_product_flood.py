"""Ten thousand INVITEs or REGISTERs a second from a stranger, where phones register: no call and no memory is lost.

FLOOD_SECONDS is for how long.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.processes import used
from tests.interop.product import Product
from tests.interop.scenario import SCENARIO_SECONDS, lasting
from tests.interop.standing_call import StandingCall, configuration, telephone

pytestmark = pytest.mark.alone

STRANGER = "127.0.0.3"
A_SECOND = 10_000
SECONDS = int(os.environ.get("FLOOD_SECONDS", "3"))
CALLS = 10
BURST, BURST_A_SECOND = 300, 50
"""What a source is heard before it is shut out."""
MOST_GROWTH = 4 * 1024 * 1024
PHONE = """\
[[phone]]
name = "desk"
secret = "apples"
"""


def request(method: str, number: int, port: int, own: int) -> bytes:
    """One of the flood, each from another user."""
    lines = (
        f"{method} sip:9{number}@127.0.0.1:{port} SIP/2.0",
        f"Via: SIP/2.0/UDP {STRANGER}:{own};branch=z9hG4bK{number}",
        "Max-Forwards: 70",
        f"From: <sip:{number}@127.0.0.1>;tag={number}",
        f"To: <sip:{number}@127.0.0.1>",
        f"Call-ID: flood-{number}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:100@{STRANGER}:{own}>",
        "Content-Length: 0",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def flood(method: str, port: int, answers: Counter[bytes]) -> tuple[int, float]:
    """Send for SECONDS; returns how many went out, and how long it took."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((STRANGER, 0))
        opened.setblocking(False)
        own = opened.getsockname()[1]

        def take() -> None:
            answers[opened.recv(4096)[:11]] += 1

        loop.add_reader(opened, take)
        begun, sent = loop.time(), 0
        try:
            # On a slow machine it takes longer.
            while (elapsed := loop.time() - begun) < SECONDS or sent <= A_SECOND:
                while sent < elapsed * A_SECOND:
                    opened.sendto(request(method, sent, port, own), ("127.0.0.1", port))
                    sent += 1
                await asyncio.sleep(0.002)
        finally:
            loop.remove_reader(opened)
    return sent, loop.time() - begun


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
@lasting(SCENARIO_SECONDS + 2 * SECONDS)
async def test_flood_of_a_stranger_costs_no_call_and_no_memory(tmp_path: Path, method: str) -> None:
    async with (
        await telephone(tmp_path, seconds=60 + 2 * SECONDS) as phone,
        Product(tmp_path, extra=PHONE + configuration(phone)) as product,
    ):
        async with await product.calling("95550112") as caller:
            await caller.succeed()
        answers: Counter[bytes] = Counter()
        async with StandingCall(product, phone):
            before = used(product.gateway_pid)
            flooding = asyncio.create_task(flood(method, product.sip_port, answers))
            calls = 0
            while calls < CALLS or not flooding.done():
                async with await product.calling("95550112") as caller:
                    await caller.succeed()
                calls += 1
            sent, seconds = await flooding
            after = used(product.gateway_pid)
        await product.until_idle()
        records = product.records()
        log = product.log
    assert sent > A_SECOND
    assert set(answers) == {b"SIP/2.0 401"}
    assert answers.total() <= BURST + (seconds + 1) * BURST_A_SECOND
    assert after.resident - before.resident < MOST_GROWTH
    assert len(records) == 1 + calls + 1
    assert f"{STRANGER} guesses users or passwords: it is not heard for 60 s" in log
