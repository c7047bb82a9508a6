"""What the service tells on a real dbus-daemon: objects that come and go, properties that change, events."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.provision.bus import service as service_module
from gateway.provision.bus.adapter import Bus, Incoming
from gateway.provision.bus.interface import (
    ROOT,
)
from gateway.provision.bus.objects import CALL, PHONE
from gateway.provision.bus.service import Service
from tests.unit.provision.bus_client import hearing, of
from tests.unit.provision.bus_scene import Model, a_call, until


def test_objects_that_come_and_go_are_told_from_the_root(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, __: Bus, heard: list[Incoming]) -> None:
        model.calls["0a0b-2"] = a_call("0a0b-2")
        await until(lambda: bool(of(heard, "InterfacesAdded")))
        (added,) = of(heard, "InterfacesAdded")
        assert (added.path, added.signature) == (ROOT, "oa{sa{sv}}")
        path, members = added.body
        assert path == f"{ROOT}/calls/0a0b_2d2"
        assert members[CALL.name]["Id"] == "0a0b-2"
        del model.calls["0a0b-2"]
        await until(lambda: bool(of(heard, "InterfacesRemoved")))
        (removed,) = of(heard, "InterfacesRemoved")
        assert (removed.path, removed.body) == (ROOT, [path, [CALL.name]])

    hearing(tmp_path, test)


def test_what_changed_is_told_once_with_its_type_and_nothing_else(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, __: Bus, heard: list[Incoming]) -> None:
        model.change_phone("101", status="UNREACHABLE", round_trip=99.0)
        await until(lambda: bool(of(heard, "PropertiesChanged")))
        await asyncio.sleep(0.1)
        (changed,) = of(heard, "PropertiesChanged")
        assert (changed.path, changed.signature) == (f"{ROOT}/phones/101", "sa{sv}as")
        # RoundTrip is read when it is wanted.
        assert changed.body == [PHONE.name, {"Status": "UNREACHABLE"}, []]
        model.change_phone("101", round_trip=98.0)
        await asyncio.sleep(0.1)
        assert len(of(heard, "PropertiesChanged")) == 1
        model.level = "debug"
        await until(lambda: len(of(heard, "PropertiesChanged")) == 2)
        assert of(heard, "PropertiesChanged")[1].body[1] == {"LogLevel": "debug"}

    hearing(tmp_path, test)


def test_changes_between_two_looks_are_one_signal(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, __: Bus, heard: list[Incoming]) -> None:
        for number in range(1000):
            model.change_phone("101", calls=number)
        await until(lambda: bool(of(heard, "PropertiesChanged")))
        await asyncio.sleep(0.1)
        assert [each.body[1] for each in of(heard, "PropertiesChanged")] == [{"Calls": 999}]

    hearing(tmp_path, test)


def test_signals_of_one_look_are_bounded_and_the_rest_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_TOLD_AT_ONCE", 3)

    async def test(_: Service, model: Model, __: Bus, heard: list[Incoming]) -> None:
        for number in range(10):
            model.calls[f"b-{number}"] = a_call(f"b-{number}")
        await until(lambda: len(of(heard, "InterfacesAdded")) == 10)
        model.calls.clear()
        await until(lambda: len(of(heard, "InterfacesRemoved")) == 11)

    hearing(tmp_path, test)


def test_events_are_told_and_a_flood_of_them_is_counted(tmp_path: Path) -> None:
    async def test(service: Service, _: Model, __: Bus, heard: list[Incoming]) -> None:
        service.event("warning", "line", "pstn", "it rains")
        service.tell("CallEnded", "susd", ["0a0b-1", 16, "caller", 3.5])
        await until(lambda: len(heard) == 2)
        assert heard[0].body[1:] == ["warning", "line", "pstn", "it rains"]
        assert (heard[1].member, heard[1].path) == ("CallEnded", ROOT)
        for number in range(500):
            service.event("info", "x", str(number), "")
        await until(lambda: bool(of(heard, "SignalsLost")))
        (lost,) = of(heard, "SignalsLost")
        assert len(of(heard, "Event")) + lost.body[0] == 501
        assert 90 <= len(of(heard, "Event")) <= 120

    hearing(tmp_path, test)
