"""The gateway's side of the bus as ``gatewayctl`` uses it: find it, ask it, and say plainly why that did not work."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click

from gateway.provision.bus.adapter import Bus, BusError, Incoming
from gateway.provision.bus.errors import FREEDESKTOP, Name
from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, PROPERTIES, ROOT, Interface, element_of

FAILED = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
NOT_GOOD = 5

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
ENVIRONMENT = "GATEWAY_BUS"
DEVELOPERS_BUS = Path(".run/demo/bus")
_ABSENT = frozenset(f"{FREEDESKTOP}.{each}" for each in ("ServiceUnknown", "NameHasNoOwner", "Disconnected", "NoReply"))
_DENIED = frozenset({Name.ACCESS_DENIED.value, f"{FREEDESKTOP}.AccessDenied"})

T = TypeVar("T")
Properties = dict[str, Any]


class Unsuccessful(click.ClickException):
    """What was asked for did not come about; ends the program with ``exit_code``."""

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """One or more lines on standard error."""
        click.echo(f"gatewayctl: {self.message}", file=file or sys.stderr)


def default_address() -> str:
    """The bus of ``make run`` below the directory we are in, if it is ours; else the system's."""
    own = DEVELOPERS_BUS
    try:
        if own.is_socket() and own.stat().st_uid == os.getuid():
            return f"unix:path={quote(str(own.absolute()))}"
    except OSError:
        pass
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", SYSTEM_BUS)


def failure_of(error: BusError) -> Unsuccessful:
    """What an error of the bus comes to."""
    if error.name in _DENIED:
        return Unsuccessful(f"access denied: {error.text}", DENIED)
    if error.name in _ABSENT:
        return Unsuccessful(f"no gateway answers on this bus: {error.text}", NOT_FOUND)
    if error.name == Name.INVALID_CONFIGURATION.value:
        return Unsuccessful(error.text, NOT_GOOD)
    if not error.name:
        return Unsuccessful(error.text, NOT_FOUND)
    return Unsuccessful(error.text)


class Gateway:
    """A gateway on a bus."""

    def __init__(self, bus: Bus, signals: asyncio.Queue[Incoming]) -> None:
        self.bus = bus
        self.signals = signals

    async def call(
        self,
        path: str,
        interface: Interface,
        member: str,
        *values: object,
        seconds: float | None = 60.0,
    ) -> list[Any]:
        """Call a method; what it gives."""
        reply = await self.ask(path, interface, member, *values, seconds=seconds)
        return reply.body

    async def ask(
        self, path: str, interface: Interface, member: str, *values: object, seconds: float | None = 60.0
    ) -> Incoming:
        """Call a method; the reply, whose descriptors are the caller's."""
        signature = interface.method[member].signature
        return await self.bus.ask(BUS_NAME, path, interface.name, member, signature, values, seconds=seconds)

    async def properties(self, path: str, interface: Interface) -> Properties:
        """All properties of one object."""
        (found,) = await self.call(path, PROPERTIES, "GetAll", interface.name)
        return dict(found)

    async def every(self, interface: Interface) -> list[Properties]:
        """The properties of all objects of a kind."""
        return (await self.all_of(interface))[interface.name]

    async def all_of(self, *interfaces: Interface) -> Mapping[str, list[Properties]]:
        """The properties of all objects of some kinds, from one answer."""
        (objects,) = await self.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")
        found: dict[str, list[Properties]] = {each.name: [] for each in interfaces}
        for members in objects.values():
            for name, properties in members.items():
                if name in found:
                    found[name].append(properties)
        return found


def path_of(kind: str, name: str) -> str:
    """Where the object of that name is."""
    return f"{ROOT}/{kind}/{element_of(name)}"


async def _with_gateway(address: str, work: Callable[[Gateway], Awaitable[T]]) -> T:
    signals: asyncio.Queue[Incoming] = asyncio.Queue()
    bus = await Bus.open(address, on_signal=signals.put_nowait, bounded=False)
    try:
        return await work(Gateway(bus, signals))
    finally:
        bus.close()


def run(address: str | None, work: Callable[[Gateway], Awaitable[T]]) -> T:
    """The result of ``work`` on the gateway at ``address``; Unsuccessful if it cannot be had."""
    try:
        return asyncio.run(_with_gateway(address or default_address(), work))
    except BusError as error:
        raise failure_of(error) from None


def names_of(address: str | None, interface: Interface, key: str) -> Sequence[str]:
    """Names for a shell that completes; none if the gateway cannot be asked at once."""

    async def ask(gateway: Gateway) -> list[str]:
        async with asyncio.timeout(2):
            return [str(each[key]) for each in await gateway.every(interface)]

    try:
        return run(address, ask)
    except (Unsuccessful, TimeoutError, OSError):
        return ()
