"""Strangers who flood the SIP port: they get little, leave nothing behind, and the calls of the trunk go on."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.bench.processes import used
from tests.interop.product import Product
from tests.interop.scenario import scenario

STRANGER = "127.0.0.3"
A_SECOND = 1_000
SECONDS = 4
CALLS = 10
MOST_GROWTH = 8 * 1024 * 1024
"""Octets: a call and its transactions take about 20 KiB, so a hundredth of the flood would not fit if it were kept."""


def invite(number: int, port: int, own: int) -> bytes:
    """An INVITE as scanners send it, each a call of its own."""
    return (
        f"INVITE sip:9{number}@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {STRANGER}:{own};branch=z9hG4bK{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:100@{STRANGER}>;tag={number}\r\nTo: <sip:9{number}@127.0.0.1>\r\n"
        f"Call-ID: flood-{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:100@{STRANGER}:{own}>\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def flood(port: int, answers: list[bytes]) -> int:
    """Send for SECONDS; returns how many went out."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((STRANGER, 0))
        opened.setblocking(False)
        loop.add_reader(opened, lambda: answers.append(opened.recv(4096)))
        begun, sent = loop.time(), 0
        try:
            # On a slow machine it takes longer.
            while (elapsed := loop.time() - begun) < SECONDS or sent <= A_SECOND:
                while sent < elapsed * A_SECOND:
                    opened.sendto(invite(sent, port, opened.getsockname()[1]), ("127.0.0.1", port))
                    sent += 1
                await asyncio.sleep(0.005)
        finally:
            loop.remove_reader(opened)
    return sent


@scenario
async def test_a_flood_of_strangers_costs_no_call_of_the_trunk_and_is_not_kept(tmp_path: Path) -> None:
    async with Product(tmp_path) as product:
        async with await product.calling("95550112") as caller:
            await caller.succeed()
        before = used(product.gateway_pid)
        answers: list[bytes] = []
        flooding = asyncio.create_task(flood(product.sip_port, answers))
        for _ in range(CALLS):
            async with await product.calling("95550112") as caller:
                await caller.succeed()
        sent = await flooding
        await product.until_idle()
        after = used(product.gateway_pid)
        records = product.records()
    assert sent > A_SECOND
    assert answers
    assert {answer[:11] for answer in answers} == {b"SIP/2.0 403"}
    assert len(answers) <= sent
    assert after.resident - before.resident < MOST_GROWTH
    assert len(records) == 1 + CALLS
