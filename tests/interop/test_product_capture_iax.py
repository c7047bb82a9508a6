"""One capture of a call from a line to another site over IAX2: tshark has its voice, whatever it went in."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from tests.demo import private_bus
from tests.demo.processes import Service
from tests.interop.iax_sites import MILLIWATT, Sites
from tests.interop.scenario import scenario
from tests.interop.test_product_capture import until
from tests.interop.wire_check import EXPERT_WARNING, tshark
from tests.unit.media.engine_harness import strength

FRAMES = 50
FRAME_MS = 20
ULAW = '\nallow = ["ulaw"]'
FIELDS = (
    "frame.time_epoch",
    "frame.packet_flags_direction",
    "frame.interface_name",
    "_ws.expert.severity",
    "_ws.malformed",
    "q931.message_type",
    "iax2.packet_type",
    "iax2.src_call",
    "iax2.timestamp",
    "iax2.iax.subclass",
    "iax2.voice.subclass",
    "frame.comment",
    "udp.payload",
)
MINI = "0"
HEADER = 4
NEW = "1"
PROOF = bytes((16, 32)) + b"x" * 32
"""The digest of AUTHREP, of which nothing is to be seen."""


@pytest.mark.parametrize(
    ("terms", "way"),
    [
        ("", ""),
        ("trunk = true", "was in a trunk frame"),
        ("forceencryption = true", "was encrypted"),
    ],
)
@scenario
async def test_a_call_of_a_line_with_another_site_in_one_file(tmp_path: Path, terms: str, way: str) -> None:
    file = tmp_path / "call.pcapng"
    bus = await private_bus.start(tmp_path)
    words = ["-m", "gateway.cli.gatewayctl.main", "--bus", private_bus.address_of(tmp_path), "trace", "--voice"]
    try:
        async with Sites(
            tmp_path, near=terms + ULAW, far=terms + ULAW, near_lines=f'bus = "{private_bus.address_of(tmp_path)}"'
        ) as sites:
            trace = await Service.start("trace", [*words, "-w", str(file)], tmp_path / "trace.log")
            try:
                await until(lambda: file.exists() and file.stat().st_size > 0)
                call = await sites.begin(sites.near)
                await sites.heard(sites.near)
                size = file.stat().st_size
                # A second of voice both ways.
                await until(lambda: file.stat().st_size > size + 2 * FRAMES * 220)
                await sites.end(sites.near, call)
                await sites.until_idle()
                # What comes last is told half a second later, as something that belongs before it may come yet.
                await asyncio.sleep(1)
            finally:
                await trace.stop()
            port = sites.wire.targets[0]
    finally:
        await bus.stop()
    rows = tshark(file, "-d", f"udp.port=={port},iax2", *(word for field in FIELDS for word in ("-e", field)))
    found = [dict(zip(FIELDS, [*row, *[""] * len(FIELDS)], strict=False)) for row in rows]
    for row in found:
        worst = max((int(value, 0) for value in row["_ws.expert.severity"].split(",") if value), default=0)
        assert worst < EXPERT_WARNING and not row["_ws.malformed"], row
    times = [float(row["frame.time_epoch"]) for row in found]
    assert times == sorted(times)
    q931 = [int(row["q931.message_type"], 0) for row in found if row["q931.message_type"]]
    assert {0x05, 0x07, 0x0F, 0x45, 0x4D, 0x5A} <= set(q931)  # SETUP, CONNECT, its acknowledgement, and the end
    frames = [row for row in found if row["frame.interface_name"] == "iax2"]
    assert NEW in {row["iax2.iax.subclass"] for row in frames}
    assert PROOF in file.read_bytes()
    calls = set()
    for direction in ("1", "2"):
        heard = [row for row in frames if str(int(row["frame.packet_flags_direction"], 0)) == direction]
        assert [row["iax2.voice.subclass"] for row in heard if row["iax2.voice.subclass"]] == ["4"]
        heard = [row for row in heard if row["iax2.packet_type"] == MINI]
        assert len(heard) > FRAMES // 2
        assert {row["frame.comment"] for row in heard} == {way}
        calls |= {row["iax2.src_call"] for row in heard}
        stamps = [int(row["iax2.timestamp"]) for row in heard]
        # Lines and engines that wait for a processor leave frames out.
        steps = [after - before for before, after in pairwise(stamps)]
        assert all(step > 0 and step % FRAME_MS == 0 for step in steps)
        assert steps.count(FRAME_MS) > 0.8 * len(steps)
        seconds = float(heard[-1]["frame.time_epoch"]) - float(heard[0]["frame.time_epoch"])
        assert seconds == pytest.approx((stamps[-1] - stamps[0]) / 1000, abs=0.5)
        said = b"".join(bytes.fromhex(row["udp.payload"].replace(":", ""))[HEADER:] for row in heard)
        assert strength(said[1600:6400], MILLIWATT) > 0.9
    assert len(calls) == 2
