"""Others on D-Bus: busctl, and a client of 50 lines that knows nothing of us but the bus."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.provision.bus.interface import BUS_NAME, ROOT
from tests.unit.provision.bus_scene import BOUND, Model, bus_daemon, served

CLIENT = Path(__file__).parent / "bus_client.py"
CALL = f"{ROOT}/calls/0a0b_2d1"


def on_bus(path: Path, test: Callable[[str, Model], Awaitable[None]]) -> None:
    async def run(address: str) -> None:
        async with served(address) as (_, model):
            await asyncio.wait_for(test(address, model), BOUND)

    with bus_daemon(path) as address:
        asyncio.run(run(address))


async def run(*arguments: str) -> tuple[int, str]:
    """A program's exit status, and all it said."""
    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def test_busctl_sees_the_tree_and_every_member_with_its_type(tmp_path: Path) -> None:
    async def test(address: str, _: Model) -> None:
        bus = f"--address={address}"
        code, out = await run("busctl", bus, "--list", "tree", BUS_NAME)
        assert code == 0
        paths = {"calls/0a0b_2d1", "configuration", "diagnostics", "network", "phones/101", "spans/pstn", "trunks/hq"}
        assert {f"{ROOT}/{each}" for each in paths} <= set(out.split())
        code, out = await run("busctl", bus, "introspect", BUS_NAME, CALL)
        assert code == 0
        rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
        assert rows[".Hangup"][:2] == ["method", "-"]
        assert rows[".Caller"][:4] == ["property", "s", '"4165550100"', "const"]
        assert rows[".State"][:4] == ["property", "s", '"answered"', "emits-change"]
        assert rows[".Hops"][:3] == ["property", "a(sssssbs)", "1"]

    on_bus(tmp_path, test)


def test_busctl_reads_calls_and_is_refused(tmp_path: Path) -> None:
    async def test(address: str, model: Model) -> None:
        bus = f"--address={address}"
        code, out = await run("busctl", bus, "get-property", BUS_NAME, ROOT, f"{BUS_NAME}.Manager", "Health")
        assert (code, out) == (0, 'a{ss} 1 "engine" "ok"\n')
        code, out = await run("busctl", bus, "call", BUS_NAME, CALL, f"{BUS_NAME}.Call", "Quality")
        assert (code, out) == (0, 'a(sttttdddds) 1 "incoming" 100 99 1 0 2.5 -1 40 4.2 "192.0.2.7:4000"\n')
        code, out = await run("busctl", bus, "call", BUS_NAME, ROOT, f"{BUS_NAME}.Manager", "Pardon", "s", "192.0.2.9")
        assert (code, out) == (1, "Call failed: there is no address 192.0.2.9 that is shut out\n")
        code, out = await run("busctl", bus, "set-property", BUS_NAME, ROOT, f"{BUS_NAME}.Manager", "Name", "s", "x")
        assert (code, "cannot be set" in out) == (1, True)
        code, _out = await run("busctl", bus, "call", BUS_NAME, CALL, f"{BUS_NAME}.Call", "Hangup")
        assert (code, model.done) == (0, [("hangup", "0a0b-1")])

    on_bus(tmp_path, test)


def test_a_client_of_fifty_lines(tmp_path: Path) -> None:
    assert len(CLIENT.read_text().splitlines()) <= 55

    async def test(address: str, model: Model) -> None:
        code, out = await run(sys.executable, str(CLIENT), address)
        assert code == 0, out
        found = json.loads(out.splitlines()[-1])
        assert (found["name"], found["caller"]) == ("branch-042", "4165550100")
        assert CALL in found["objects"]
        assert found["error"] == f"{BUS_NAME}.Error.NotFound"
        assert found["removed"] == [CALL, [f"{BUS_NAME}.Call"]]
        assert model.calls == {}

    on_bus(tmp_path, test)
