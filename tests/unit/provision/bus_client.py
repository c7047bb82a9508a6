"""What the tests of the service ask of it over a bus, and hear."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.provision.bus.adapter import Bus, BusError, Incoming
from gateway.provision.bus.interface import (
    BUS_NAME,
    OBJECT_MANAGER,
    PROPERTIES,
    ROOT,
    Interface,
)
from gateway.provision.bus.objects import JOB
from gateway.provision.bus.service import Service
from tests.unit.provision.bus_scene import BOUND, Model, bus_daemon, client, served, until

OURS = f"{BUS_NAME}.Error"
THEIRS = "org.freedesktop.DBus.Error"
CALL_PATH = f"{ROOT}/calls/0a0b_2d1"
SPAN_PATH = f"{ROOT}/spans/pstn"

Test = Callable[[Service, Model, Bus], Awaitable[None]]


def on_bus(path: Path, test: Test, extra: str = "") -> None:
    async def run(address: str) -> None:
        async with served(address) as (service, model), client(address) as bus:
            await asyncio.wait_for(test(service, model, bus), BOUND)

    with bus_daemon(path, extra) as address:
        asyncio.run(run(address))


async def call(bus: Bus, path: str, interface: Interface, member: str, *values: object) -> list[Any]:
    signature = interface.method[member].signature
    return (await bus.ask(BUS_NAME, path, interface.name, member, signature, values)).body


async def get_all(bus: Bus, path: str, interface: Interface) -> dict[str, Any]:
    (found,) = await call(bus, path, PROPERTIES, "GetAll", interface.name)
    return dict(found)


async def error_of(word: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(BusError) as raised:
        await word
    return raised.value.name, raised.value.text


async def over(bus: Bus, path: str) -> dict[str, Any]:
    """The job at ``path`` as it is when it is over."""
    while True:
        job = await get_all(bus, path, JOB)
        if job["State"] != "running":
            return job
        await asyncio.sleep(0.01)


async def listening(bus: Bus) -> None:
    await bus.listen(f"type='signal',sender='{BUS_NAME}'")


def hearing(path: Path, test: Callable[[Service, Model, Bus, list[Incoming]], Awaitable[None]]) -> None:
    async def run(address: str) -> None:
        heard: list[Incoming] = []
        async with served(address) as (service, model):
            bus = await Bus.open(address, on_signal=heard.append, bounded=False)
            try:
                await listening(bus)
                # By then it has looked for the first time.
                await call(bus, ROOT, OBJECT_MANAGER, "GetManagedObjects")
                await until(lambda: bool(service._seen))
                await asyncio.sleep(0.05)
                heard.clear()
                await asyncio.wait_for(test(service, model, bus, heard), BOUND)
            finally:
                bus.close()

    with bus_daemon(path) as address:
        asyncio.run(run(address))


def of(heard: list[Incoming], member: str) -> list[Incoming]:
    return [each for each in heard if each.member == member]
