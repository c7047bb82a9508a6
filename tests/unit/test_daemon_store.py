"""The daemon with a store: it runs the active version, and a commit is in force without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from gateway.config.change import ChangeError
from gateway.config.keeper import ConfigurationKeeper
from gateway.config.store_import import open_store
from gateway.daemon import Daemon
from gateway.main import _begun, main
from gateway.pri.span.endpoint import monotonic_microseconds
from gateway.provision.bus.interface import BUS_NAME, OBJECT_MANAGER, ROOT
from tests.unit.provision.bus_scene import bus_daemon, client
from tests.unit.provision.bus_scene import until as bus_until
from tests.unit.test_daemon import ask, free_port

BOUND = 20.0
CONFIGURATION = f"{BUS_NAME}.Configuration"


def document(port: int) -> str:
    return f"""schema = 1
[gateway]
run_dir = "run"
bus = "none"
[media]
rtp_ports = [2000, 2999]
[sip]
listen = ["udp:127.0.0.1:{port}"]
[[span]]
name = "pstn"
channels = "virtual:pstn"
line = "e1"
context = "from-pstn"
[[phone]]
name = "desk"
secret = "correct horse battery"
context = "from-pstn"
[[route]]
context = "from-pstn"
match = "_X."
to = ["echo"]
"""


def running(path: Path, test: Callable[[Daemon, ConfigurationKeeper], Awaitable[None]]) -> None:
    file = path / "gateway.toml"
    if not file.exists():
        file.write_text(document(free_port()))

    async def run() -> None:
        store = open_store(path / "store", monotonic_microseconds(), time.time(), first=file)
        assert store.configuration is not None
        daemon = Daemon(store.configuration, store=store)
        assert daemon.keeper is not None
        await daemon.start()
        try:
            await asyncio.wait_for(test(daemon, daemon.keeper), BOUND)
        finally:
            await daemon.close()
            await asyncio.sleep(0)

    asyncio.run(run())


def test_a_commit_is_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        await keeper.set("route.2.context", "from-pstn", "anna")
        await keeper.set("route.2.match", "4711", "anna")
        await keeper.set("route.2.to", '["sip:desk"]', "anna")
        await keeper.set("span.second.channels", "virtual:second", "anna")
        await keeper.set("span.second.line", "e1", "anna")
        await keeper.set("span.second.context", "from-pstn", "anna")
        plan = await keeper.plan()
        assert [(entry.kind.value, entry.name, entry.action.value) for entry in plan.changes] == [
            ("span", "second", "added"),
            ("context", "from-pstn", "updated"),
        ]
        await keeper.commit("anna", "a second line")
        answer = await ask(daemon, {"command": "explain", "context": "from-pstn", "number": "4711"})
        assert any("desk" in line for line in answer["lines"])
        assert list(daemon.spans) == list(daemon.switch.trunks) == ["pstn", "second"]
        assert daemon.configuration.spans[1].name == "second"
        status = await ask(daemon, {"command": "status"})
        assert list(status["spans"]) == ["pstn", "second"]

    async def look(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        assert list(daemon.spans) == ["pstn", "second"]
        assert keeper.status().active == 2
        await keeper.roll_back("anna")
        assert list(daemon.spans) == list(daemon.switch.trunks) == ["pstn"]

    running(tmp_path, change)
    running(tmp_path, look)


def test_what_waits_for_a_start_says_so(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        await keeper.set("gateway.run_dir", f'"{tmp_path / "other"}"', "anna")
        await keeper.commit("anna")
        assert keeper.status().restart == "gateway: run_dir are taken up when the gateway is started anew"

    running(tmp_path, change)


async def answers(port: int, family: socket.AddressFamily = socket.AF_INET) -> bool:
    """Whether an OPTIONS to ``port`` has an answer."""
    loop, host = asyncio.get_running_loop(), "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.bind((host, 0))
        own.connect((host, port))
        at = own.getsockname()[1]
        request = (
            f"OPTIONS sip:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{at};branch=z9hG4bK{at}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: {at}\r\nCSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        try:
            for _ in range(10):
                await loop.sock_sendall(own, request.encode())
                with contextlib.suppress(TimeoutError):
                    return b"SIP/2.0" in await asyncio.wait_for(loop.sock_recv(own, 4096), 0.5)
        except ConnectionRefusedError:
            return False
    return False


def test_sockets_of_sip_are_opened_and_closed_in_place(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        first, second = daemon.listeners[0].port, free_port()
        assert await answers(first)
        await keeper.set("sip.listen", f'["udp:127.0.0.1:{second}", "tcp:127.0.0.1:{second}"]', "anna")
        (entry,) = (await keeper.plan()).changes
        assert (entry.kind.value, entry.action.value) == ("sip", "updated")
        await keeper.commit("anna")
        assert keeper.status().restart == ""
        assert await answers(second) and not await answers(first)
        _, writer = await asyncio.open_connection("127.0.0.1", second)
        writer.close()
        await keeper.roll_back("anna")
        assert await answers(first) and not await answers(second)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", second)

    running(tmp_path, change)


def test_a_socket_takes_the_place_of_another_of_the_same_port(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        port = daemon.listeners[0].port
        for listen in (
            f'["udp:[::]:{port}", "tcp:[::]:{port}"]',
            f'["udp:0.0.0.0:{port}", "tcp:0.0.0.0:{port}"]',
            f'["udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}"]',
        ):
            await keeper.set("sip.listen", listen, "anna")
            await keeper.commit("anna")
            assert await answers(port)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()

    running(tmp_path, change)


def test_a_socket_that_cannot_be_had_leaves_all_as_it_was(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        first, free = daemon.listeners[0].port, free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            listen = [f"udp:127.0.0.1:{free}", f"tcp:127.0.0.1:{free}", f"udp:127.0.0.1:{taken.getsockname()[1]}"]
            await keeper.set("gateway.records", f'"{tmp_path / "elsewhere.jsonl"}"', "anna")
            await keeper.set("sip.listen", json.dumps(listen), "anna")
            with pytest.raises(ChangeError, match=r"cannot listen on udp:127\.0\.0\.1"):
                await keeper.commit("anna")
        assert keeper.status().active == 1
        assert daemon.records.path != tmp_path / "elsewhere.jsonl"
        assert await answers(first) and not await answers(free)
        # And the next one is as if nothing had been.
        await keeper.set("sip.listen", f'["udp:127.0.0.1:{free}"]', "anna")
        await keeper.commit("anna")
        assert await answers(free) and not await answers(first)
        assert daemon.records.path == tmp_path / "elsewhere.jsonl"

    running(tmp_path, change)


def test_records_metrics_ports_and_state_move_in_place(tmp_path: Path) -> None:
    async def change(daemon: Daemon, keeper: ConfigurationKeeper) -> None:
        for key, value in (
            ("gateway.records", f'"{tmp_path / "records.jsonl"}"'),
            ("gateway.state_dir", f'"{tmp_path / "state"}"'),
            ("gateway.metrics", f'"unix:{tmp_path / "metrics"}"'),
            ("media.rtp_ports", "[3000, 3999]"),
        ):
            await keeper.set(key, value, "anna")
        await keeper.commit("anna")
        assert keeper.status().restart == ""
        assert daemon.records.path.exists() and daemon.records.path.parent == tmp_path
        assert (tmp_path / "metrics").is_socket() and daemon.metrics is not None
        assert daemon.media.settings.rtp_ports == (3000, 3999)
        assert daemon.bindings.path.parent == tmp_path / "state"
        counted = daemon.metrics.metrics
        await keeper.set("gateway.metrics", f'"unix:{tmp_path / "others"}"', "anna")
        await keeper.commit("anna")
        assert (tmp_path / "others").is_socket() and not (tmp_path / "metrics").exists()
        assert daemon.metrics.metrics is counted
        await keeper.unset("gateway.metrics", "anna")
        await keeper.commit("anna")
        assert daemon.metrics is None and not (tmp_path / "others").exists()

    running(tmp_path, change)


def test_arguments_that_make_no_sense_together(tmp_path: Path) -> None:
    runner = CliRunner()
    for arguments in ([], ["--check", "x", "--config", "y"], ["--check", "x", "--store", "y"]):
        assert runner.invoke(main, arguments).exit_code == 2
    for arguments in (["--first", "x"], ["--first", "x", "--store", "y", "--config", "z"]):
        assert runner.invoke(main, arguments).exit_code == 2
    (tmp_path / "bad.toml").write_text("schema = 1\nsip = 3\n")
    result = runner.invoke(main, ["--store", str(tmp_path / "store"), "--config", str(tmp_path / "bad.toml")])
    assert result.exit_code == 1
    assert "bad.toml:2" in result.output


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_program_begins_with_a_file_and_goes_on_with_the_store(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(document(free_port()))
    command = [sys.executable, "-m", "gateway", "--store", str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for arguments in (["--config", str(file)], []):
        with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stderr is not None
            try:
                assert any(" is up: " in line for line in process.stderr)
            finally:
                process.send_signal(how)
        assert process.returncode in (0, -how)
        file.unlink(missing_ok=True)
    assert (tmp_path / "store/versions/000001.toml").exists()


def test_a_gateway_without_a_configuration_says_so_and_can_be_given_one_over_the_bus(tmp_path: Path) -> None:
    port = free_port()

    async def run(address: str) -> None:
        store = open_store(tmp_path / "store", monotonic_microseconds(), time.time())
        configuration = store.configuration
        assert configuration is not None
        # As it is, but where a test may have sockets.
        here = replace(configuration.gateway, run_dir=tmp_path / "run", bus=address)
        daemon = Daemon(replace(configuration, gateway=here), store=store)
        await daemon.start()
        try:
            assert daemon.listeners == () and not daemon.spans and daemon.switch.iax is None
            assert not await answers(port)
            await bus_until(lambda: daemon.provisioning.connected)
            async with client(address) as bus:
                reply = await bus.ask(BUS_NAME, ROOT, OBJECT_MANAGER.name, "GetManagedObjects")
                found = {name: (path, shown) for path, each in reply.body[0].items() for name, shown in each.items()}
                assert found[f"{BUS_NAME}.Manager"][1]["State"] == "degraded"
                path, standing = found[CONFIGURATION]
                assert standing["Degraded"].startswith("nothing is configured")
                assert standing["Active"] == 0
                await bus.ask(BUS_NAME, path, CONFIGURATION, "Stage", "s", [document(port)])
                reply = await bus.ask(BUS_NAME, path, CONFIGURATION, "Commit", "su", ["the first", 0])
                assert reply.body == [2]
            assert daemon.keeper is not None and daemon.keeper.status().degraded == ""
            assert await answers(port) and list(daemon.spans) == ["pstn"]
        finally:
            await daemon.close()
            await asyncio.sleep(0)

    with bus_daemon(tmp_path) as address:
        asyncio.run(run(address))


def program(path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway", "--store", str(path / "store"), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def said(process: subprocess.Popen[str], *texts: str) -> str:
    """Wait for the line in which the program says one of ``texts``."""
    assert process.stderr is not None
    guard = threading.Timer(3 * BOUND, process.kill)
    guard.start()
    try:
        line = next((line for line in process.stderr if any(text in line for text in texts)), "")
    finally:
        guard.cancel()
    assert line, f"the program never said any of {texts}"
    return line


async def commit_over(address: str, path: Path, confirm: int) -> None:
    await bus_until(lambda: (path / "bus").exists())
    async with client(address) as bus:
        reply = await bus.ask(BUS_NAME, ROOT, OBJECT_MANAGER.name, "GetManagedObjects")
        at = next(each for each, shown in reply.body[0].items() if CONFIGURATION in shown)
        await bus.ask(BUS_NAME, at, CONFIGURATION, "Set", "ss", ["gateway.name", '"on-trial"'])
        await bus.ask(BUS_NAME, at, CONFIGURATION, "Commit", "su", ["on trial", confirm])


@pytest.mark.parametrize("sleeps", [False, True], ids=["within its trial", "after its trial"])
def test_a_trial_ends_in_time_though_the_program_was_killed(tmp_path: Path, sleeps: bool) -> None:
    """The whole program, killed while a version is on trial, and begun anew before or after the trial is over."""
    seconds = 5
    with bus_daemon(tmp_path) as address:
        file = tmp_path / "gateway.toml"
        file.write_text(document(free_port()).replace('bus = "none"', f'bus = "{address}"'))
        with program(tmp_path, "--config", str(file)) as process:
            try:
                said(process, "on D-Bus at")
                begun = time.monotonic()
                asyncio.run(commit_over(address, tmp_path, seconds))
            finally:
                process.kill()
        assert '"active": 2' in (tmp_path / "store/state.json").read_text()
        if sleeps:
            time.sleep(max(begun + seconds + 0.2 - time.monotonic(), 0))
        with program(tmp_path) as process:
            try:
                # A slow host may need as long as the trial to begin anew.
                if "is undone:" in said(process, "is undone:", "rolled back"):
                    said(process, " is up: ")
                assert time.monotonic() >= begun + seconds
                assert '"active": 1' in (tmp_path / "store/state.json").read_text()
            finally:
                process.kill()
        store = open_store(tmp_path / "store", monotonic_microseconds(), time.time())
        assert store.configuration is not None and store.configuration.gateway.name != "on-trial"
        assert store.versions[0].undone == "it was not confirmed in time"
        store.close()


def test_a_first_file_that_is_of_no_use_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("schema = 1\nsip = 3\n")
    store = _begun(tmp_path / "store", file)
    assert store.unconfigured
    store.close()
    file.write_text(document(free_port()))
    file.chmod(0o666)
    store = _begun(tmp_path / "store", file)
    assert store.unconfigured
    store.close()
    file.chmod(0o644)
    store = _begun(tmp_path / "store", file)
    assert not store.unconfigured and store.running == 1
    store.close()
