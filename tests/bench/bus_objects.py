"""A gateway with a thousand phones on D-Bus: how long its event loop is held up at a stretch, and what it costs."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from gateway.config import parse
from gateway.daemon import Daemon
from gateway.provision.bus.adapter import Bus
from gateway.provision.bus.configuration_model import FileConfiguration
from gateway.provision.bus.gateway_model import DaemonModel
from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, ROOT
from gateway.provision.bus.service import Service
from tests.demo import private_bus

PHONES = 1000
ASKED = 5
LOOKS = 5

_ASK = f"""
import asyncio, sys
from gateway.provision.bus.adapter import Bus

async def main():
    bus = await Bus.open(sys.argv[1], bounded=False)
    for _ in range({ASKED}):
        await bus.ask({BUS_NAME!r}, {ROOT!r}, {OBJECT_MANAGER.name!r}, "GetManagedObjects")
    bus.close()

asyncio.run(main())
"""


def _daemon(directory: Path) -> Daemon:
    phones = "".join(
        f'[[phone]]\nname = "phone{number}"\nsecret = "x{number:011d}"\ncontext = "internal"\n'
        for number in range(PHONES)
    )
    text = (
        f'schema = 1\n[gateway]\nrun_dir = "{directory}"\nbus = "none"\n[media]\nrtp_ports = [2000, 2999]\n{phones}'
        '[[route]]\ncontext = "internal"\nmatch = "600"\nto = ["echo"]\n'
    )
    return Daemon(parse(text, directory / "gateway.toml"), rng=random.Random(1))


async def bus_objects(directory: Path) -> list[tuple[str, str, str]]:
    """Rows: what, value, goal. Times are of our own thread's CPU, so that another load does not count."""
    bus_service = await private_bus.start(directory)
    daemon = _daemon(directory)
    model = DaemonModel(daemon, FileConfiguration(directory / "gateway.toml"), lambda: time.time_ns() // 1000)
    service = Service(model, look_seconds=0.2)
    bus = await Bus.open(private_bus.address_of(directory), service.on_call, service.on_signal)
    stretches: list[float] = []

    async def stopwatch() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            stretches.append(now - last)
            last = now

    watch = asyncio.create_task(stopwatch())
    try:
        await service.serve(bus)
        await asyncio.sleep(1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ASK, private_bus.address_of(directory), stdin=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            raise RuntimeError("the client of D-Bus did not get its answer")
        begun = time.thread_time()
        await service._managed_objects()
        answer = time.thread_time() - begun
        begun = time.thread_time()
        for _ in range(LOOKS):
            await service._look(bus, tell=True)
        look = (time.thread_time() - begun) / LOOKS
    finally:
        watch.cancel()
        await service.close()
        bus.close()
        await daemon.close()
        await bus_service.stop()
    return [
        (
            f"D-Bus, {PHONES} phones: the event loop's longest stretch while all are handed out and looked at",
            f"{1000 * max(stretches):.1f} ms",
            "10 ms",
        ),
        ("… CPU of handing out all of them", f"{1000 * answer:.0f} ms", ""),
        ("… CPU of a look for what changed", f"{1000 * look:.0f} ms", ""),
    ]
