"""The daemon with a store: it runs the active version, and a commit is in force without a restart."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.config.keeper import ConfigurationKeeper
from gateway.config.store_import import open_store
from gateway.daemon import Daemon, main
from gateway.pri.span.endpoint import monotonic_microseconds
from tests.unit.test_daemon import ask, free_port

BOUND = 20.0


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
        await keeper.set("sip.listen", f'["udp:127.0.0.1:{free_port()}"]', "anna")
        before = daemon.listeners
        await keeper.commit("anna")
        assert "listen" in keeper.status().restart
        assert daemon.listeners == before

    running(tmp_path, change)


def test_arguments_that_make_no_sense_together(tmp_path: Path) -> None:
    runner = CliRunner()
    for arguments in ([], ["--check", "x", "--config", "y"], ["--check", "x", "--store", "y"]):
        assert runner.invoke(main, arguments).exit_code == 2
    result = runner.invoke(main, ["--store", str(tmp_path / "store")])
    assert result.exit_code == 1
    assert "the store is empty" in result.output
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
