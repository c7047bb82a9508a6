"""Strangers at the ports of a call's voice: they get none of it (RTP bleed) and add nothing to it (RTP injection)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from pathlib import Path

import pytest

from tests.interop.product import Product
from tests.interop.scenario import scenario
from tests.interop.standing_call import StandingCall, configuration, telephone

pytestmark = pytest.mark.alone

SECONDS = 2.0
ROUNDS_A_SECOND = 25
STRANGERS = ("127.0.0.2", "127.0.0.1")
"""Another host, and another program of the telephone's own: behind one NAT, say."""
LOUD = bytes([0x2A, 0xAA] * 80)
"""Full scale at 4 kHz, A-law: it would drown every tone."""
RECEIVER_REPORT_AND_BYE = struct.pack("!BBHI", 0x80, 201, 1, 0xBADBAD) + struct.pack("!BBHI", 0x81, 203, 1, 0xBADBAD)


async def spray(address: str, first: int, last: int) -> tuple[int, int]:
    """Voice and RTCP of a stranger to all ports; how many packets went out, and how many came back."""
    loop = asyncio.get_running_loop()
    came = itertools.count()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((address, 0))
        opened.setblocking(False)

        def take() -> None:
            with contextlib.suppress(OSError):
                opened.recv(2048)
                next(came)

        loop.add_reader(opened, take)
        sent, begun = 0, loop.time()
        try:
            for number in range(int(SECONDS * ROUNDS_A_SECOND)):
                voice = struct.pack("!BBHII", 0x80, 8, number, number * 160, 0xBADBAD) + LOUD
                for port in range(first, last + 1):
                    with contextlib.suppress(OSError):
                        opened.sendto(RECEIVER_REPORT_AND_BYE if port % 2 else voice, ("127.0.0.1", port))
                        sent += 1
                await asyncio.sleep(max(0.0, begun + number / ROUNDS_A_SECOND - loop.time()))
            await asyncio.sleep(0.2)
        finally:
            loop.remove_reader(opened)
    return sent, next(came)


@pytest.mark.parametrize("nat", ["no", "force_rport,comedia"])
@scenario
async def test_strangers_neither_hear_nor_spoil_a_call(tmp_path: Path, nat: str) -> None:
    async with (
        await telephone(tmp_path) as phone,
        Product(tmp_path, extra=configuration(phone, f'nat = "{nat}"')) as product,
    ):
        async with StandingCall(product, phone) as call:
            attacks = await asyncio.gather(*(spray(address, call.port - 8, call.port + 9) for address in STRANGERS))
        await product.until_idle()
        (record,) = product.records()
    for sent, came in attacks:
        assert sent > 800
        assert came == 0
    media = record["incoming"]["media"]
    assert media["strangers"] > len(STRANGERS) * SECONDS * ROUNDS_A_SECOND / 2
    assert media["source"].startswith("127.0.0.1:")
    assert not media["lost"]
