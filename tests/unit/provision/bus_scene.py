"""A real dbus-daemon of our own, a gateway that is only a model, and clients; for the tests of what is on the bus."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.config.change import ChangeState, ChangeStatus
from gateway.provision.bus.adapter import Bus
from gateway.provision.bus.errors import Name, ServiceError, not_found, not_possible
from gateway.provision.bus.model import STAGED, Entry, PlanView, Progress, TraceWanted
from gateway.provision.bus.service import Service
from gateway.provision.bus.states import (
    CallState,
    ManagerState,
    NetworkState,
    PhoneState,
    Quality,
    SpanState,
    TrunkState,
)

BOUND = 20.0
_CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
    <allow eavesdrop="{eavesdrop}"/>
  </policy>
  {extra}
</busconfig>
"""


def address_in(directory: Path) -> str:
    """Of the dbus-daemon in ``directory``."""
    return f"unix:path={directory}/bus"


@contextlib.contextmanager
def bus_daemon(directory: Path, extra: str = "") -> Iterator[str]:
    """A dbus-daemon in ``directory``; its address."""
    path = directory / "bus"
    file = directory / "bus.conf"
    file.write_text(_CONFIGURATION.format(path=path, eavesdrop="false", extra=extra))
    process = subprocess.Popen(
        ["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", f"--config-file={file}", "--print-address"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"unix:")
        yield address_in(directory)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
        path.unlink(missing_ok=True)


def a_call(identity: str = "0a0b-1") -> CallState:
    return CallState(
        id=identity,
        state="answered",
        source="pstn",
        context="from-pstn",
        caller="4165550100",
        caller_name="Ann",
        called="101",
        destination="sip:101",
        connected="",
        started=1_700_000_000_000_000,
        alerted=0,
        answered=1_700_000_001_000_000,
        emergency=False,
        one_way=False,
        hops=(("incoming", "pri", "pstn", "channel 3", "", False, "no"),),
        notes=(),
    )


def a_phone(name: str = "101") -> PhoneState:
    return PhoneState(
        name=name,
        host="dynamic",
        dynamic=True,
        forcerport=True,
        acl=False,
        port=0,
        transport="udp",
        status="OK",
        round_trip=12.5,
        registered=True,
        contacts=(("sip:101@192.0.2.7", "udp 192.0.2.7:5060", "reachable", 12.5, False, "phone/1"),),
        expires=0,
        location="site",
        media_encryption="no",
        context="internal",
        calls=0,
    )


def a_trunk(name: str = "hq") -> TrunkState:
    return TrunkState(
        name=name,
        technology="sip",
        username="branch-042",
        host="192.0.2.10",
        dynamic=False,
        forcerport=True,
        acl=False,
        port=5060,
        transport="tls",
        servers=("tls:192.0.2.10:5061",),
        status="OK",
        round_trip=9.0,
        error="",
        registration="registered",
        registration_server="192.0.2.10:5061",
        registration_expires=0,
        registration_error="",
        media_encryption="required",
        context="from-hq",
        calls=1,
    )


def a_span(name: str = "pstn") -> SpanState:
    return SpanState(
        name=name,
        line="e1",
        side="user",
        switch_type="euroisdn",
        groups=("g0",),
        context="from-pstn",
        alarm="none",
        reason="connected",
        since=0,
        bounces=0,
        data_link=True,
        channels=((1, "idle", ()), (2, "blocked", ("local",))),
        counters={"slips": 3},
        findings=(),
    )


class ConfigurationOfModel:
    """Documents kept in a list."""

    def __init__(self) -> None:
        self.versions = ["schema = 1\n"]
        self.waiting = ""
        self.deadline: float | None = None
        self.done: list[tuple[object, ...]] = []
        self.hold: asyncio.Event | None = None

    def standing(self) -> ChangeStatus:
        waits = ChangeState.UNCONFIRMED if self.deadline is not None else ChangeState.IDLE
        state = ChangeState.STAGED if self.waiting else waits
        count = len(self.versions)
        by = "ann" if self.waiting else ""
        return ChangeStatus(state, count, count, count - 1, self.deadline, by, 0, "", "")

    async def text(self, version: int) -> str:
        if version == STAGED:
            if not self.waiting:
                raise not_possible("nothing is staged")
            return self.waiting
        if version > len(self.versions):
            raise not_found(f"version {version}")
        return self.versions[version - 1 if version else -1]

    async def value(self, key: str, version: int) -> str:
        await self.text(version)
        if key != "gateway.name":
            raise not_found(f"key {key}")
        return '"branch-042"'

    async def stage(self, text: str, author: str) -> None:
        if text == "bad":
            raise ServiceError(Name.INVALID_CONFIGURATION, "config:1: not TOML")
        self.waiting = text
        self.done.append(("stage", author))

    async def set_key(self, key: str, value: str, author: str) -> None:
        self.waiting = self.versions[-1] + f"# {key} = {value}\n"
        self.done.append(("set", key, value, author))

    async def unset_key(self, key: str, author: str) -> None:
        self.waiting = self.versions[-1] + f"# no {key}\n"
        self.done.append(("unset", key, author))

    async def discard(self) -> None:
        self.waiting = ""

    async def problems(self, text: str | None = None) -> Sequence[tuple[str, int, str, str, str]]:
        if text is not None:
            return [("gateway.toml", 1, "error", "", "not TOML")] if text == "bad" else []
        return [("gateway.toml", 3, "warning", "sip.x", "of use with y only")] if self.waiting else []

    async def plan(self, version: int) -> PlanView:
        if version == STAGED and not self.waiting:
            raise not_possible("nothing is staged")
        entry = Entry("trunk", "hq", "restarted", (("host", '"a"', '"b"'),), ("0a0b-1",), "its host is another")
        return PlanView((entry,), "")

    async def commit(self, comment: str, author: str, confirm_seconds: int, drain_seconds: int) -> int:
        if not self.waiting:
            raise not_possible("nothing is staged")
        if self.hold is not None:
            await self.hold.wait()
        self.versions.append(self.waiting)
        self.waiting = ""
        self.deadline = float(confirm_seconds) if confirm_seconds else None
        self.done.append(("commit", comment, author, confirm_seconds, drain_seconds))
        return len(self.versions)

    async def confirm(self, author: str) -> None:
        if self.deadline is None:
            raise not_possible("nothing waits to be confirmed")
        self.deadline = None
        self.done.append(("confirm", author))

    async def rollback(self, version: int, author: str, confirm_seconds: int) -> int:
        self.versions.append(await self.text(version or len(self.versions) - 1))
        self.deadline = None
        self.done.append(("rollback", version, author, confirm_seconds))
        return len(self.versions)

    async def history(self) -> Sequence[tuple[object, ...]]:
        return [
            (number, 1_700_000_000_000_000, "ann", "first", "import", number - 1, 0, "")
            for number in range(len(self.versions), 0, -1)
        ]

    async def diff(self, old: int, new: int) -> str:
        return f"--- {old}\n+++ {new}\n"


class Model:
    """A gateway that only remembers what it was told to do."""

    def __init__(self) -> None:
        self.configuration = ConfigurationOfModel()
        self.done: list[tuple[object, ...]] = []
        self.calls: dict[str, CallState] = {"0a0b-1": a_call()}
        self.phones: dict[str, PhoneState] = {"101": a_phone()}
        self.trunks: dict[str, TrunkState] = {"hq": a_trunk()}
        self.spans: dict[str, SpanState] = {"pstn": a_span()}
        self.level = "info"
        self.pipe: Callable[[], int] | None = None
        self.test_result: Mapping[str, str] = {"two_way": "yes"}
        self.hold: asyncio.Event | None = None

    def manager(self) -> ManagerState:
        return ManagerState(
            name="branch-042",
            version="1.0",
            serial_number="SN1",
            started=1,
            uptime=7,
            state="running",
            health={"engine": "ok"},
            calls=len(self.calls),
            channels=30,
            channels_idle=29,
            registered=1,
            shut_out={"203.0.113.9": 60},
            statistics={"requests": 12},
            log_level=self.level,
        )

    def network(self) -> NetworkState:
        return NetworkState(
            interface="eth0",
            addresses=("192.0.2.1",),
            networks=("192.0.2.0/24",),
            externip="auto",
            localnet=("auto",),
            external=(("ipv4", "198.51.100.1", "registrar hq"),),
            listeners=("udp [::]:5060",),
        )

    def span_names(self) -> Collection[str]:
        return self.spans

    def span(self, name: str) -> SpanState | None:
        return self.spans.get(name)

    def trunk_names(self) -> Collection[str]:
        return self.trunks

    def trunk(self, name: str) -> TrunkState | None:
        return self.trunks.get(name)

    def phone_names(self) -> Collection[str]:
        return self.phones

    def phone(self, name: str) -> PhoneState | None:
        return self.phones.get(name)

    def call_names(self) -> Collection[str]:
        return self.calls

    def call(self, identity: str) -> CallState | None:
        return self.calls.get(identity)

    def call_mark(self, identity: str) -> object:
        return self.calls.get(identity)

    async def quality(self, identity: str) -> Sequence[Quality]:
        if identity == "breaks":
            raise RuntimeError("secret of the inside")
        if self.hold is not None:
            await self.hold.wait()
        return [Quality("incoming", 100, 99, 1, 0, 2.5, -1.0, 40.0, 4.2, "192.0.2.7:4000")]

    def hang_up(self, identity: str) -> None:
        if self.calls.pop(identity, None) is None:
            raise not_found(f"call {identity}")
        self.done.append(("hangup", identity))

    def pardon(self, address: str) -> None:
        if address != "203.0.113.9":
            raise not_found(f"address {address} that is shut out")
        self.done.append(("pardon", address))

    def set_log_level(self, level: str) -> None:
        self.level = level

    def block(self, span: str, timeslot: int) -> None:
        self.done.append(("block", span, timeslot))

    def unblock(self, span: str, timeslot: int) -> None:
        self.done.append(("unblock", span, timeslot))

    def restart(self, span: str, timeslot: int) -> None:
        self.done.append(("restart", span, timeslot))

    async def loop(self, span: str, timeslot: int, on: bool) -> None:
        self.done.append(("loop", span, timeslot, on))

    def explain(self, context: str, number: str) -> Sequence[str]:
        return [f"{context}: {number}", "goes nowhere"]

    async def test_call(self, context: str, number: str, seconds: int, tell: Progress) -> Mapping[str, str]:
        tell(0.5, "ringing")
        if self.hold is not None:
            await self.hold.wait()
        self.done.append(("test call", context, number, seconds))
        return self.test_result

    def trace(self, wanted: TraceWanted) -> int:
        if self.pipe is None:
            raise ServiceError(Name.NOT_SUPPORTED, "no capture")
        self.done.append(("trace", wanted))
        return self.pipe()

    def trace_state(self) -> tuple[int, int]:
        return 0, 0

    def change_phone(self, name: str, **changes: object) -> None:
        self.phones[name] = replace(self.phones[name], **changes)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def served(
    address: str, model: Model | None = None, groups: Callable[[int], Collection[str]] | None = None
) -> AsyncIterator[tuple[Service, Model]]:
    """``model`` on the bus. With ``groups`` nobody is more than these say, not even root."""
    model = model or Model()
    if groups is None:
        service = Service(model, look_seconds=0.02, look_seldom_seconds=0.02)
    else:
        service = Service(model, look_up=groups, trusted=(), look_seconds=0.02, look_seldom_seconds=0.02)
    bus = await Bus.open(address, service.on_call, service.on_signal)
    try:
        await service.serve(bus)
        yield service, model
    finally:
        await service.close()
        bus.close()


@contextlib.asynccontextmanager
async def client(address: str) -> AsyncIterator[Bus]:
    """A client of the bus."""
    bus = await Bus.open(address, bounded=False)
    try:
        yield bus
    finally:
        bus.close()


async def until(condition: Callable[[], bool], within: float = BOUND) -> None:
    """Wait until ``condition``."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
