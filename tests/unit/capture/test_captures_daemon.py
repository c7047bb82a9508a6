"""A running gateway's captures: both ends of real connections have the ports that they really have."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gateway.capture.capture import Selection
from gateway.config import parse
from gateway.daemon import Daemon
from tests.unit.capture.pcapng_reader import File, read
from tests.unit.test_daemon import free_port

TEXT = """
schema = 1
[gateway]
run_dir = "{run}"
bus = "none"
[sip]
listen = ["tcp:127.0.0.1:{port}", "udp:127.0.0.1:{port}"]
[[trunk]]
name = "hq"
technology = "sip"
host = "127.0.0.1:{far}"
transport = "tcp"
context = "default"
qualify = true
"""
OPTIONS = (
    b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:127.0.0.1>\r\nCall-ID: mine\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


async def captured(daemon: Daemon) -> File:
    """As it is handed to whoever asks for it by D-Bus."""
    assert daemon.captures is not None
    reading, writing = os.pipe()
    task = asyncio.create_task(daemon.captures.pour(Selection(), writing))
    data = b""
    while part := await asyncio.to_thread(os.read, reading, 65_536):
        data += part
    os.close(reading)
    assert await task == len(data)
    return read(data)


def test_both_ends_of_connections_are_right(tmp_path: Path) -> None:
    async def run() -> None:
        asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()

        async def far_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set_result(writer.get_extra_info("peername")[1])
            # Open until the capture is made: of a connection that is gone nobody knows the port.
            await reader.read()
            writer.close()
            over.set()

        server = await asyncio.start_server(far_end, "127.0.0.1", 0)
        far, port = server.sockets[0].getsockname()[1], free_port()
        daemon = Daemon(parse(TEXT.format(run=tmp_path, port=port, far=far), tmp_path / "gateway.toml"))
        await daemon.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            own = writer.get_extra_info("sockname")[1]
            writer.write(OPTIONS)
            async with asyncio.timeout(20):
                await reader.readuntil(b"\r\n\r\n")
                from_port = await asked
                file = await captured(daemon)
            writer.close()
            await writer.wait_closed()
        finally:
            await daemon.close()
            await asyncio.wait_for(over.wait(), 20)
            server.close()
            await asyncio.sleep(0)
        ends = {(packet.inward, packet.ports) for packet in file.of("sip-tcp")}
        assert {(True, (own, port)), (False, (port, own))} <= ends
        assert (False, (from_port, far)) in ends

    asyncio.run(run())


def test_nothing_is_kept_where_it_is_not_wanted(tmp_path: Path) -> None:
    async def run() -> None:
        text = TEXT.format(run=tmp_path, port=free_port(), far=free_port()).replace(
            'bus = "none"', 'bus = "none"\ncapture_megabytes = 0'
        )
        daemon = Daemon(parse(text, tmp_path / "gateway.toml"))
        assert daemon.captures is None and daemon.switch.ring is None
        await daemon.close()

    asyncio.run(run())
