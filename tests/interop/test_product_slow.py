"""A stranger with hundreds of connections who never gets to the end of a message, or of a handshake (slow loris)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from tests.bench.processes import used
from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import PATIENCE, free_port
from tests.interop.scenario import scenario
from tests.interop.standing_call import StandingCall, configuration, telephone

pytestmark = pytest.mark.alone

STRANGER = "127.0.0.4"
CONNECTIONS = 300
"""To each of the two ports."""
SECONDS = 3.0
MOST_GROWTH = 24 * 1024 * 1024
"""Octets; a connection may take 16 KiB of what is not complete yet."""
BEGINNING = b"INVITE sip:911@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.4;branch=z9hG4bK1\r\nSubject: "
HELLO = bytes.fromhex("16030100f0010000ec0303")
OPTIONS = (
    "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{0} 127.0.0.1:5555;branch=z9hG4bK{0}\r\nMax-Forwards: 70\r\n"
    "From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {0}\r\nCSeq: 1 OPTIONS\r\n"
    "Content-Length: 0\r\n\r\n"
)


async def dribble(port: int, beginning: bytes) -> int:
    """Open many connections and send an octet of each now and then; how many were opened."""
    opened: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(CONNECTIONS):
            one = socket.socket()
            one.setblocking(False)
            opened.append(one)
            one.bind((STRANGER, 0))
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(loop.sock_connect(one, ("127.0.0.1", port)), 1)
                one.send(beginning)
        until = loop.time() + SECONDS
        while loop.time() < until:
            for one in opened:
                with contextlib.suppress(OSError):
                    one.send(b"a")
            await asyncio.sleep(0.2)
    finally:
        for one in opened:
            one.close()
    return len(opened)


async def answered(port: int, context: ssl.SSLContext | None) -> bytes:
    """What somebody else is answered meanwhile on that port."""
    word = "TLS" if context else "TCP"
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=context), PATIENCE)
    try:
        writer.write(OPTIONS.format(word).encode())
        return (await asyncio.wait_for(reader.readline(), PATIENCE)).split()[1]
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@scenario
async def test_slow_connections_of_a_stranger_keep_nobody_out(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    tls = free_port()
    context = ssl.create_default_context(cafile=str(files.ca))
    async with (
        await telephone(tmp_path) as phone,
        Product(tmp_path, sip=files.sip, listen=[f"tls:127.0.0.1:{tls}"], extra=configuration(phone)) as product,
        StandingCall(product, phone),
    ):
        before = used(product.gateway_pid).resident
        slow = [
            asyncio.create_task(dribble(port, text)) for port, text in ((product.sip_port, BEGINNING), (tls, HELLO))
        ]
        await asyncio.sleep(1.5)
        async with await product.calling("95550112") as caller:
            await caller.succeed()
        assert await answered(product.sip_port, None) == b"200"
        assert await answered(tls, context) == b"200"
        grown = used(product.gateway_pid).resident - before
        assert await asyncio.gather(*slow) == [CONNECTIONS, CONNECTIONS]
    assert grown < MOST_GROWTH
