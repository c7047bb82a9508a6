"""gatewayctl beside the whole product: exchange, gateway with its engine, and a phone over TLS and SRTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.demo import private_bus
from tests.demo.scene import DID, PHONE, Scene
from tests.interop.wire_check import tshark

BOUND = 120.0


class Ctl:
    """gatewayctl on the scene's bus."""

    def __init__(self, scene: Scene) -> None:
        self._bus = private_bus.address_of(scene.directory)

    async def __call__(self, *words: str, code: int = 0) -> Any:
        """What it prints as JSON."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli.gatewayctl.main",
            "--bus",
            self._bus,
            "--json",
            *words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == code, (words, out, err)
        return json.loads(out) if out else err.decode()


def on_scene(path: Path, test: Callable[[Scene, Ctl], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = await Scene.start(path, seconds=3600)
        try:
            await asyncio.wait_for(test(scene, Ctl(scene)), BOUND)
        finally:
            await scene.stop()

    asyncio.run(run())


def test_an_operator_s_day(tmp_path: Path) -> None:
    async def test(scene: Scene, ctl: Ctl) -> None:
        status = await ctl("status")
        assert (status["state"], status["channels_idle"], status["registered"]) == ("running", 30, 1)
        (phone,) = [each for each in await ctl("phones") if each["name"] == PHONE]
        assert (phone["registered"], phone["transport"], phone["media_encryption"]) == (True, "tls", "required")

        # A test call to the echo of the telephone company has voice both ways, and one to a busy number has none.
        result = await ctl("test-call", "internal", "95550106", "--seconds", "2")
        assert (result["two_way"], result["own_tone_came_back"]) == ("yes", "yes")
        assert (await ctl("test-call", "internal", "95550102", code=5))["cause"].startswith("17 ")
        assert "emergency" in await ctl("test-call", "internal", "911", code=1)

        # A call of the telephone company to the phone, secure on the phone's side.
        records = len(scene.records())
        await scene.exchange.command("call", called=DID, hold=60_000)
        while True:
            calls = await ctl("calls")
            if calls and calls[0]["state"] == "answered":
                break
        (call,) = calls
        assert (call["source"], call["called"], call["destination"]) == ("pstn", DID, f"sip:{PHONE}")
        line, sip = call["hops"]
        assert line[1:3] == ["pri", "pstn"]
        assert sip[1:3] == ["sip", PHONE]
        assert sip[5] is True
        assert sip[6].startswith("AEAD_AES_256_GCM")
        await asyncio.sleep(1.5)
        sides = {each["side"]: each for each in (await ctl("call", "show", call["id"]))["quality"]}
        assert sides["outgoing"]["received"] > 25
        assert sides["outgoing"]["mos"] > 3.5
        assert sides["incoming"]["sent"] > 25
        (span,) = await ctl("spans")
        assert sum(state == "busy" for _, state, _ in span["channels"]) == 1

        # What was said on the wires, TLS in clear and passwords not at all.
        file = scene.directory / "call.pcapng"
        await ctl("trace", "--call", call["id"], "--past", "-w", str(file))
        protocols = {each for (row,) in tshark(file, "-e", "frame.protocols") for each in row.split(":")}
        assert {"q931", "sip", "sdp"} <= protocols

        await ctl("call", "hangup", call["id"])
        record = await scene.record_after(records)
        assert (record["id"], record["released_by"], record["cause"]) == (call["id"], "operator", 16)
        assert await ctl("calls") == []

        # A channel is looped, and what the exchange sends on it comes back.
        await ctl("span", "loop", "pstn", "5", code=1)
        await ctl("span", "block", "pstn", "5")
        await ctl("span", "loop", "pstn", "5")
        (span,) = await ctl("spans", "pstn")
        assert span["channels"][4] == [5, "blocked", ["local", "loop"]]
        await ctl("span", "unblock", "pstn", "5")
        await ctl("span", "restart", "pstn", "5")
        while (await ctl("status"))["channels_idle"] != 30:
            pass

    on_scene(tmp_path, test)
