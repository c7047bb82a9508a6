"""What a client that asks too much, says too much or does not listen costs others: little."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.provision.bus import service as service_module
from gateway.provision.bus.adapter import Bus
from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, PROPERTIES, ROOT
from gateway.provision.bus.objects import CALL, CONFIGURATION, MANAGER
from gateway.provision.bus.service import MAX_PENDING_OF_ONE, Service
from tests.unit.provision.bus_client import CALL_PATH, OURS, call, error_of, listening, on_bus
from tests.unit.provision.bus_scene import Model, a_phone, address_in, until


def test_calls_at_a_time_are_bounded_and_others_are_served_all_the_same(tmp_path: Path) -> None:
    async def test(service: Service, model: Model, bus: Bus) -> None:
        model.hold = asyncio.Event()
        waiting = [asyncio.create_task(call(bus, CALL_PATH, CALL, "Quality")) for _ in range(MAX_PENDING_OF_ONE + 4)]
        await until(lambda: sum(each.done() for each in waiting) == 4)
        names = {(await error_of(each))[0] for each in waiting if each.done()}
        assert names == {f"{OURS}.LimitsExceeded"}
        other = await Bus.open(address_in(tmp_path), bounded=False)
        assert await call(other, ROOT, PROPERTIES, "Get", MANAGER.name, "Name") == ["branch-042"]
        other.close()
        model.hold.set()
        await asyncio.gather(*[each for each in waiting if not each.done()])
        await until(lambda: not service._pending)
        assert not service._pending_of

    on_bus(tmp_path, test)


def test_a_message_beyond_measure_is_refused(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        word = call(bus, f"{ROOT}/configuration", CONFIGURATION, "Stage", "#" * (6 * 1024 * 1024))
        assert (await error_of(word))[0] == f"{OURS}.LimitsExceeded"
        nested = bus.ask(BUS_NAME, CALL_PATH, CALL.name, "Hangup", "as", [[""] * 20_000])
        assert (await error_of(nested))[0] == f"{OURS}.LimitsExceeded"
        assert model.configuration.done == []
        # One that a configuration may well have is taken.
        await call(bus, f"{ROOT}/configuration", CONFIGURATION, "Stage", "#" * (4 * 1024 * 1024))

    on_bus(tmp_path, test)


def test_who_does_not_read_holds_up_nobody_else(tmp_path: Path) -> None:
    extra = '<limit name="max_outgoing_bytes">200000</limit>'

    async def test(service: Service, model: Model, bus: Bus) -> None:
        sleeper = await Bus.open(address_in(tmp_path), bounded=False)
        await listening(sleeper)
        sleeper.loop.remove_reader(sleeper.descriptor)
        for number in range(300):
            model.phones[f"p{number}"] = a_phone(f"p{number}")
        for _turn in range(10):
            await call(bus, ROOT, OBJECT_MANAGER, "GetManagedObjects")
            for number in range(300):
                model.change_phone(f"p{number}", calls=_turn)
            await asyncio.sleep(0.03)
        assert await call(bus, ROOT, PROPERTIES, "Get", MANAGER.name, "Name") == ["branch-042"]
        assert service._bus is not None
        assert service._bus.unsent < 1_000_000
        sleeper.close()

    on_bus(tmp_path, test, extra)


def test_callers_are_forgotten_when_they_leave(tmp_path: Path) -> None:
    async def test(service: Service, _: Model, bus: Bus) -> None:
        await call(bus, ROOT, PROPERTIES, "Get", MANAGER.name, "Name")
        for _turn in range(5):
            other = await Bus.open(address_in(tmp_path), bounded=False)
            await call(other, ROOT, PROPERTIES, "Get", MANAGER.name, "Name")
            other.close()
        await until(lambda: len(service.callers) == 1)

    on_bus(tmp_path, test)


def test_a_thousand_objects_are_handed_out_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "SLICE", 0.0)

    async def test(service: Service, model: Model, _: Bus) -> None:
        for number in range(1000):
            model.phones[f"p{number}"] = a_phone(f"p{number}")
        turns = 0
        made = asyncio.create_task(service._managed_objects())
        while not made.done():
            turns += 1
            await asyncio.sleep(0)
        # Other work had its turn after each object.
        assert turns > 1000
        assert len(made.result()) > 300_000

    on_bus(tmp_path, test)
