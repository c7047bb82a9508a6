"""A daemon finds its bus, waits for one that is not there, and comes back to one that was started anew."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import parse
from gateway.config.store_import import open_store
from gateway.daemon import Daemon
from gateway.pri.lapd import MdlError
from gateway.pri.span.endpoint import monotonic_microseconds
from gateway.pri.span.layer1 import Alarm, LineChanged
from gateway.pri.trunk import ChannelFreed, LinkDown, LinkUp, Maintenance
from gateway.provision.bus import runner
from gateway.provision.bus.adapter import Bus, BusError, Incoming
from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, ROOT
from gateway.provision.bus.model import STAGED
from gateway.provision.bus.runner import address_of, missing
from gateway.record import CallRecord
from tests.unit.provision.bus_scene import BOUND, bus_daemon, client, served, until
from tests.unit.test_daemon import free_port


def daemon_on(path: Path, bus: str) -> Daemon:
    text = f"""
schema = 1
[gateway]
name = "branch-042"
run_dir = "{path}"
bus = "{bus}"
[media]
rtp_ports = [2000, 2999]
[sip]
listen = ["udp:127.0.0.1:{free_port()}"]
[[span]]
name = "pstn"
channels = "virtual:{path}/pstn"
line = "e1"
context = "from-pstn"
[[route]]
context = "from-pstn"
match = "_X."
to = ["echo"]
"""
    return Daemon(parse(text, path / "gateway.toml"), rng=random.Random(1))


def running(path: Path, bus: str, test: Callable[[Daemon], Awaitable[None]]) -> None:
    async def run() -> None:
        daemon = daemon_on(path, bus)
        await daemon.start()
        try:
            await asyncio.wait_for(test(daemon), BOUND)
        finally:
            await daemon.close()

    asyncio.run(run())


async def objects(address: str) -> dict[str, Any]:
    async with client(address) as bus:
        reply = await bus.ask(BUS_NAME, ROOT, OBJECT_MANAGER.name, "GetManagedObjects")
        return dict(reply.body[0])


def test_a_running_daemon_is_on_the_bus_and_leaves_it_with_its_end(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        await until(lambda: daemon.provisioning.connected)
        assert await daemon.provisioning.answers() is None
        found = await objects(address)
        assert found[ROOT][f"{BUS_NAME}.Manager"]["Name"] == "branch-042"
        assert found[f"{ROOT}/spans/pstn"][f"{BUS_NAME}.Span"]["Alarm"] == "red"

    with bus_daemon(tmp_path) as address:
        running(tmp_path, address, test)
        with pytest.raises(BusError, match="not provided"):
            asyncio.run(objects(address))


def test_a_bus_that_comes_later_is_found_and_one_that_was_started_anew_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "AGAIN_SECONDS", (0.02,))

    async def test(daemon: Daemon) -> None:
        await asyncio.sleep(0.1)
        assert not daemon.provisioning.connected
        for _turn in range(2):
            with bus_daemon(tmp_path) as address:
                await until(lambda: daemon.provisioning.connected)
                assert ROOT in await objects(address)
            await until(lambda: not daemon.provisioning.connected)

    running(tmp_path, f"unix:path={tmp_path}/bus", test)
    lines = [
        each.message for each in caplog.records if each.name == runner.__name__ and each.levelno >= logging.WARNING
    ]
    # Each trouble is told once, however often it is tried.
    assert len(lines) <= 5
    assert "there is no" in lines[0]


def test_a_name_that_another_gateway_has_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AGAIN_SECONDS", (0.02,))

    async def run() -> None:
        async with served(address):
            daemon = daemon_on(tmp_path, address)
            await daemon.start()
            await asyncio.sleep(0.1)
            assert not daemon.provisioning.connected
        try:
            await until(lambda: daemon.provisioning.connected)
        finally:
            await daemon.close()

    with bus_daemon(tmp_path) as address:
        asyncio.run(run())


def test_what_happens_in_the_daemon_is_told_on_the_bus(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        heard: list[Incoming] = []
        bus = await Bus.open(address, on_signal=heard.append, bounded=False)
        await bus.listen(f"type='signal',sender='{BUS_NAME}'")
        await until(lambda: daemon.provisioning.connected)
        record = CallRecord("0a-1", 0, "pstn", "from-pstn", "600", 16, "caller", 3_000_000, answer=1_000_000)
        daemon._record(record)
        daemon._line("pstn", LineChanged(Alarm.YELLOW, 0, "the line reports yellow"), daemon.clock())
        await until(lambda: len([each for each in heard if each.path == ROOT and each.member != "NameAcquired"]) >= 3)
        told = {each.member: each.body for each in heard}
        assert told["CallEnded"] == ["0a-1", 16, "caller", 2.0]
        assert told["LineChanged"] == ["pstn", "yellow", "the line reports yellow"]
        assert told["Event"][1:] == ["error", "line", "pstn", "yellow: the line reports yellow"]
        bus.close()

    with bus_daemon(tmp_path) as address:
        running(tmp_path, address, test)


def test_what_happens_to_a_span_is_told_in_words() -> None:
    told = [
        (LinkUp("pstn", reset=False), "info", "the data link is up"),
        (LinkUp("pstn", reset=True), "info", "the data link was set up anew"),
        (LinkDown("pstn", Alarm.NONE), "error", "the data link is down"),
        (LinkDown("pstn", Alarm.RED), "error", "the data link is down: alarm red"),
        (Maintenance("pstn", "no voice"), "warning", "no voice"),
        (Maintenance("pstn", "out of service", (3, 4)), "warning", "out of service (channels 3, 4)"),
        (ChannelFreed("pstn", 5, "held"), "warning", "channel 5 was held, and is free again"),
        (MdlError("G", "N200 tries"), "warning", "data link error G: N200 tries"),
    ]
    for event, severity, text in told:
        assert runner._words(event) == (severity, text)


def test_a_change_goes_all_the_way_and_no_answer_ever_has_a_password(tmp_path: Path) -> None:
    password = "swordfish-swordfish"  # noqa: S105
    file = tmp_path / "first.toml"
    own = "unix:path=" + str(tmp_path / "bus")
    file.write_text(
        f'schema = 1\n[gateway]\nrun_dir = "{tmp_path}"\nbus = "{own}"\n[media]\nrtp_ports = [2000, 2999]\n'
        f'[sip]\nlisten = ["udp:127.0.0.1:{free_port()}"]\n'
        f'[[phone]]\nname = "101"\nsecret = "{password}"\ncontext = "internal"\n'
        '[[route]]\ncontext = "internal"\nmatch = "600"\nto = ["echo"]\n'
    )

    async def ask(bus: Bus, member: str, signature: str = "", *values: object) -> list[Any]:
        path, interface = f"{ROOT}/configuration", f"{BUS_NAME}.Configuration"
        reply = await bus.ask(BUS_NAME, path, interface, member, signature, values)
        assert password not in str(reply.body)
        assert password[::-1] not in str(reply.body)
        return reply.body

    async def run(address: str) -> None:
        store = open_store(tmp_path / "store", monotonic_microseconds(), 1.0, first=file)
        assert store.configuration is not None
        daemon = Daemon(store.configuration, rng=random.Random(1), store=store)
        await daemon.start()
        try:
            await until(lambda: daemon.provisioning.connected)
            async with client(address) as bus:
                (text,) = await ask(bus, "Get", "u", 0)
                assert 'name = "101"' in text
                assert "file" in (await ask(bus, "GetValue", "su", "phone.101.secret", 0))[0]
                await ask(bus, "Stage", "s", text + f'[[phone]]\nname = "102"\nsecret = "{password[::-1]}"\n')
                await ask(bus, "Get", "u", STAGED)
                entries, service = await ask(bus, "Plan", "u", STAGED)
                assert [row[:3] for row in entries] == [["phone", "102", "added"]]
                assert service == ""
                await ask(bus, "Diff", "uu", 0, STAGED)
                assert await ask(bus, "Commit", "su", "a phone more", 60) == [2]
                assert f"{ROOT}/phones/102" in await objects(address)
                await ask(bus, "History")
                assert await ask(bus, "Rollback", "uu", 0, 0) == [1]
                found = await objects(address)
                assert f"{ROOT}/phones/102" not in found
                assert password not in str(found)
        finally:
            await daemon.close()

    with bus_daemon(tmp_path) as address:
        asyncio.run(run(address))


def test_without_a_bus_nothing_is_looked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(daemon: Daemon) -> None:
        await asyncio.sleep(0.05)
        daemon.provisioning.event("info", "a", "b", "c")
        assert not daemon.provisioning.connected

    running(tmp_path, "none", test)
    assert "D-Bus" not in caplog.text


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of("none") is None
    assert address_of("unix:path=/a") == "unix:path=/a"
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    assert address_of("system") == "unix:path=/run/dbus/system_bus_socket"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/b")
    assert address_of("system") == "unix:path=/b"
    assert missing(f"unix:path={tmp_path}/none") == tmp_path / "none"
    (tmp_path / "a b").touch()
    assert missing(f"unix:path={tmp_path}/a%20b,guid=1") is None
    assert missing("unix:abstract=x") is None
