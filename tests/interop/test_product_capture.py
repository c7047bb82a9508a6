"""One capture of a call from a line to a telephone over TLS with SRTP: what was encrypted is there for all to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.demo import private_bus
from tests.demo.processes import Service
from tests.interop.openssl import Certificates
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario
from tests.interop.secure_phone import CALLED, TlsProduct, address, telephone
from tests.interop.wire_check import EXPERT_WARNING, tshark
from tests.unit.media.engine_harness import strength

HERTZ = 600.0
FIELDS = (
    "frame.protocols",
    "frame.time_epoch",
    "frame.packet_flags_direction",
    "_ws.expert.severity",
    "_ws.malformed",
    "q931.message_type",
    "sip.Method",
    "rtp.p_type",
    "rtp.payload",
    "frame.interface_name",
)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 - programs tell nobody
            await asyncio.sleep(0.05)


@scenario
async def test_a_call_of_a_line_with_a_secure_telephone_in_one_file(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    file = tmp_path / "call.pcapng"
    bus = await private_bus.start(tmp_path)
    words = ["-m", "gateway.cli.gatewayctl.main", "--bus", private_bus.address_of(tmp_path), "trace", "--voice"]
    try:
        async with (
            await telephone(
                tmp_path / "phone", files, "module srtp.so\n", tone=HERTZ, account=";mediaenc=srtp-mand"
            ) as phone,
            TlsProduct(
                tmp_path,
                address(phone),
                terms='media_encryption = "required"\nallow = ["ulaw"]',
                bridge=("secure_media",),
                sip=files.sip,
                section=f'bus = "{private_bus.address_of(tmp_path)}"',
            ) as product,
        ):
            trace = await Service.start("trace", [*words, "-w", str(file)], tmp_path / "trace.log")
            try:
                await until(lambda: file.exists() and file.stat().st_size > 0)
                call = (await product.exchange.command("call", called=CALLED, hold=-1))["call"]
                # Half a second of voice both ways.
                await until(lambda: file.stat().st_size > 50 * 230)
                await product.exchange.command("hangup", call=call)
                await product.until_idle()
                # What comes last is told half a second later, as something that belongs before it may come yet.
                await asyncio.sleep(1)
            finally:
                await trace.stop()
    finally:
        await bus.stop()
    rows = tshark(file, *(word for field in FIELDS for word in ("-e", field)))
    found = [dict(zip(FIELDS, [*row, *[""] * len(FIELDS)], strict=False)) for row in rows]
    for row in found:
        worst = max((int(value, 0) for value in row["_ws.expert.severity"].split(",") if value), default=0)
        assert worst < EXPERT_WARNING and not row["_ws.malformed"], row
    times = [float(row["frame.time_epoch"]) for row in found]
    assert times == sorted(times)
    q931 = [int(row["q931.message_type"], 0) for row in found if row["q931.message_type"]]
    assert {0x05, 0x07, 0x0F, 0x45, 0x4D, 0x5A} <= set(q931)  # SETUP, CONNECT, its acknowledgement, and the end
    methods = [row["sip.Method"] for row in found if row["frame.interface_name"] == "sip-tls"]
    assert {"INVITE", "ACK", "BYE"} <= set(methods)
    voice = [row for row in found if row["rtp.payload"]]
    for direction in ("1", "2"):
        heard = [row for row in voice if str(int(row["frame.packet_flags_direction"], 0)) == direction]
        assert len(heard) > 20
        assert {row["rtp.p_type"] for row in heard} == {"0"}
    said = b"".join(
        bytes.fromhex(row["rtp.payload"].replace(":", ""))
        for row in voice
        if str(int(row["frame.packet_flags_direction"], 0)) == "1"
    )
    assert strength(said[1600:8000], HERTZ) > 0.9
    data = file.read_bytes()
    assert b"inline:x" in data and data.count(b"inline:") == data.count(b"inline:xxxx")
