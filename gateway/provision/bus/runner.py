"""Keeps the service on its bus: connects, waits for a bus that is not there yet, comes back when it was restarted."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.pri.lapd import MdlError
from gateway.pri.trunk import ChannelFreed, LinkDown, LinkUp, Maintenance

if TYPE_CHECKING:
    from gateway.config.change import Told
    from gateway.config.keeper import ConfigurationKeeper
    from gateway.daemon import Daemon
    from gateway.provision.bus.adapter import Bus
    from gateway.provision.bus.gateway_model import DaemonModel
    from gateway.provision.bus.service import Service
    from gateway.record import CallRecord

log = logging.getLogger(__name__)

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""Until it is tried anew after it failed; the last one for ever."""


def address_of(bus: str) -> str | None:
    """The address that ``[gateway] bus`` stands for; None for "none"."""
    if bus == "none":
        return None
    if bus == "system":
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", SYSTEM_BUS)
    return bus


def missing(address: str) -> Path | None:
    """The socket that ``address`` leads to, if it is one that is not there."""
    for each in address.split(","):
        name, _, value = each.partition("=")
        path = Path(unquote(value))
        if name == "unix:path" and not path.exists():
            return path
    return None


class Provisioning:
    """One per daemon. ``start`` returns at once; nothing of the daemon waits for the bus."""

    def __init__(self, daemon: Daemon, bus: str, keeper: ConfigurationKeeper | None = None) -> None:
        self._daemon = daemon
        self._address = address_of(bus)
        self._keeper = keeper
        self._task: asyncio.Task[None] | None = None
        self._bus: Bus | None = None
        self._lost = asyncio.Event()
        self._silence: Callable[[], None] | None = None
        self.service: Service | None = None
        self._model: DaemonModel | None = None

    def start(self) -> None:
        """Begin to look for the bus."""
        if self._address is not None:
            self._task = asyncio.create_task(self._run(self._address), name="D-Bus")

    @property
    def connected(self) -> bool:
        """Whether the gateway can be had on its bus now."""
        return self._bus is not None

    async def answers(self) -> str | None:
        """Why the bus does not answer though we are on it; None if it does, or we are not."""
        bus = self._bus
        if bus is None:
            return None
        from gateway.provision.bus.adapter import BusError

        try:
            await bus.ask_bus("GetId")
        except BusError as error:
            return error.text
        return None

    async def close(self) -> None:
        """Leave the bus, and end what was begun over it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._silence is not None:
            self._silence()
            self._silence = None
        if self.service is not None:
            await self.service.close()
        if self._model is not None:
            await self._model.close()
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    async def _run(self, address: str) -> None:
        told = ""
        for seconds in _pauses():
            absent = missing(address)
            fault = f"there is no {absent}" if absent is not None else await self._serve(address)
            if fault and fault != told:
                log.warning("no D-Bus at %s: %s; calls go on, but gatewayctl finds nobody until then", address, fault)
            told = fault
            await asyncio.sleep(seconds)

    async def _serve(self, address: str) -> str:
        """Be on the bus until that ends; why it ended, or could not begin."""
        # Late: without a bus nothing of it need be in memory; in a thread, as it takes a while and calls may go on.
        for name in ("adapter", "configuration_model", "gateway_model", "service"):
            await asyncio.to_thread(import_module, f"gateway.provision.bus.{name}")
        from gateway.provision.bus.adapter import Bus, BusError

        service = self._made()
        self._lost.clear()
        why: list[str] = []

        def lost(text: str) -> None:
            why.append(text)
            self._lost.set()

        try:
            bus = await Bus.open(address, service.on_call, service.on_signal, lost)
        except BusError as error:
            return error.text
        try:
            await service.serve(bus)
        except BusError as error:
            bus.close()
            return error.text
        except BaseException:
            bus.close()
            raise
        self._bus = bus
        log.info("on D-Bus at %s", address)
        try:
            await self._lost.wait()
        finally:
            if why:
                service.stop()
                self._bus = None
        return why[0]

    def _made(self) -> Service:
        if self.service is not None:
            return self.service
        from gateway.provision.bus.configuration_model import FileConfiguration, KeptConfiguration
        from gateway.provision.bus.gateway_model import DaemonModel
        from gateway.provision.bus.model import ConfigurationModel
        from gateway.provision.bus.service import Service

        configuration: ConfigurationModel
        if self._keeper is None:
            configuration = FileConfiguration(self._daemon.configuration.path)
        else:
            configuration = KeptConfiguration(self._keeper)
            self._silence = self._keeper.listen(
                lambda told: self.event("info", "configuration", f"version {told.version}", _said(told))
            )
        self._model = DaemonModel(self._daemon, configuration, lambda: time.time_ns() // 1000)
        self.service = Service(self._model)
        return self.service

    # -- what the daemon tells --

    def event(self, severity: str, kind: str, subject: str, text: str) -> None:
        """Something happened that an operator may want to know."""
        if self._bus is not None and self.service is not None:
            self.service.event(severity, kind, subject, text)

    def tell(self, name: str, signature: str, values: Sequence[object]) -> None:
        """Emit a signal of the manager."""
        if self._bus is not None and self.service is not None:
            self.service.tell(name, signature, values)

    def call_ended(self, record: CallRecord) -> None:
        """A call is over."""
        if self._bus is not None:
            self.tell("CallEnded", "susd", [record.id, record.cause, record.released_by, record.talk_seconds])

    def span_event(self, span: str, event: object) -> None:
        """Something happened to a span."""
        if self._bus is not None:
            severity, text = _words(event)
            self.event(severity, "span", span, text)

    def line_changed(self, span: str, alarm: str, reason: str) -> None:
        """Layer 1 of a span changed."""
        self.tell("LineChanged", "sss", [span, alarm, reason])
        self.event("info" if alarm == "none" else "error", "line", span, f"{alarm}: {reason}")


def _words(event: object) -> tuple[str, str]:
    """How bad it is, and what happened to a span, in words."""
    match event:
        case LinkUp(reset=reset):
            return "info", "the data link was set up anew" if reset else "the data link is up"
        case LinkDown(alarm=alarm):
            return "error", "the data link is down" + ("" if alarm.usable else f": alarm {alarm.value}")
        case Maintenance(text=text, timeslots=timeslots):
            return "warning", f"{text} (channels {', '.join(map(str, timeslots))})" if timeslots else text
        case ChannelFreed(timeslot=timeslot, text=text):
            return "warning", f"channel {timeslot} was {text}, and is free again"
        case MdlError(code=code, text=text):
            return "warning", f"data link error {code}: {text}"
        case _:
            return "info", str(event)


def _said(told: Told) -> str:
    return f"{told.happening.value}: {told.text}" if told.text else told.happening.value


def _pauses() -> Iterator[float]:
    yield from AGAIN_SECONDS
    while True:
        yield AGAIN_SECONDS[-1]
