"""The daemon on real sockets: what it shows, what it is told, and that it leaves nothing behind when it ends."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cause import Cause
from gateway.config import Configuration, parse
from gateway.core import SECOND
from gateway.daemon import Daemon
from gateway.identity import Number, Party
from gateway.leg import NotOffered, Setup
from gateway.record import read_records
from gateway.switch import CallRefused
from gateway.trace import TraceLine
from gateway.voip.iax.binding_store import Binding, stored
from gateway.voip.iax.peers import IaxListener
from gateway.voip.sip.defence import Offence
from gateway.voip.sip.transport import ListenError

BOUND = 10.0


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configured(path: Path, port: int, extra: str = "") -> Configuration:
    text = f"""
schema = 1
[gateway]
run_dir = "{path}"
[media]
rtp_ports = [2000, 2999]
[sip]
listen = ["udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}"]
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
    return parse(text + extra, path / "gateway.toml")


def running(path: Path, test: Callable[[Daemon], Awaitable[None]], extra: str = "", **options: Any) -> None:
    async def run() -> None:
        daemon = Daemon(configured(path, free_port(), extra), rng=random.Random(1), **options)
        await daemon.start()
        try:
            await asyncio.wait_for(test(daemon), BOUND)
        finally:
            await daemon.close()
            await asyncio.sleep(0)

    asyncio.run(run())


async def ask(daemon: Daemon, request: dict[str, object]) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(daemon.status.path), limit=1 << 20)
    writer.write(json.dumps(request).encode() + b"\n")
    reply: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return reply


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_after_the_end(tmp_path: Path) -> None:
    async def nothing(daemon: Daemon) -> None:
        await asyncio.sleep(0)

    running(tmp_path, nothing)
    gc.collect()
    before = open_files()
    for _ in range(3):
        running(tmp_path, nothing)
    gc.collect()
    assert open_files() == before
    assert not (tmp_path / "status.sock").exists()


def test_status_of_a_gateway_that_has_neither_line_nor_engine(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        status = await ask(daemon, {"command": "status"})
        assert status["ok"]
        assert status["engine"] == {"up": False, "streams": 0}
        assert status["calls"] == []
        span = status["spans"]["pstn"]
        assert (span["alarm"], span["data_link"], span["side"]) == ("red", False, "user")
        assert span["channels"] == {"blocked": 30}
        assert "No such file" in span["reason"]
        assert span["findings"]

    running(tmp_path, test)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"command": "dance"}, "command 'dance', expected status, hangup, pardon or explain"),
        ({}, "command None, expected status, hangup, pardon or explain"),
        ({"command": "hangup"}, "call: expected a text"),
        ({"command": "hangup", "call": "x"}, "there is no call 'x'"),
        ({"command": "pardon", "address": "203.0.113.9"}, "'203.0.113.9' is not shut out"),
        ({"command": "explain", "context": "from-pstn"}, "number: expected a text"),
    ],
)
def test_commands_that_cannot_be_carried_out(tmp_path: Path, request_: dict[str, object], error: str) -> None:
    async def test(daemon: Daemon) -> None:
        assert await ask(daemon, request_) == {"ok": False, "error": error}

    running(tmp_path, test)


def test_who_was_shut_out_is_shown_and_can_be_pardoned(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        defence = daemon.switch.sip.defence
        for _ in range(21):
            defence.offended("203.0.113.9", Offence.GUESSED, daemon.clock())
        assert (await ask(daemon, {"command": "status"}))["shut_out"] == {"203.0.113.9": 60}
        assert (await ask(daemon, {"command": "pardon", "address": "203.0.113.9"}))["ok"]
        assert (await ask(daemon, {"command": "status"}))["shut_out"] == {}

    running(tmp_path, test)


def test_explain_tells_how_a_number_would_go(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reply = await ask(daemon, {"command": "explain", "context": "from-pstn", "number": "123"})
        assert any("echo" in line for line in reply["lines"])

    running(tmp_path, test)


IAX = """
[[trunk]]
name = "branch"
technology = "iax2"
host = "dynamic"
secret = "correct horse"
"""


def test_where_an_iax2_trunk_is_registered_is_known_after_a_restart(tmp_path: Path) -> None:
    bindings = [Binding("branch", 0, "192.0.2.7", 4569, 300 * SECOND, 300)]
    (tmp_path / "iax-bindings.json").write_bytes(stored(bindings, [IaxListener("::")], time.time(), 0))

    async def test(daemon: Daemon) -> None:
        status = (await ask(daemon, {"command": "status"}))["iax"]
        assert 250 < status["peers"]["branch"]["expires_seconds"] <= 300
        assert status["listeners"] == [{"address": "::", "port": 4569, "open": False}]

    running(tmp_path, test, IAX)


def test_registrations_that_make_no_sense_keep_nothing_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "iax-bindings.json").write_text("[]")

    async def test(daemon: Daemon) -> None:
        assert (await ask(daemon, {"command": "status"}))["iax"]["statistics"]["bindings"] == 0

    running(tmp_path, test, IAX)
    assert f"{tmp_path}/iax-bindings.json makes no sense: " in caplog.text


def test_a_port_in_use_leaves_nothing_open(tmp_path: Path) -> None:
    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            daemon = Daemon(configured(tmp_path, other.getsockname()[1]))
            with pytest.raises(ListenError, match="in use"):
                await daemon.start()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert not (tmp_path / "status.sock").exists()


def test_a_trace_that_cannot_be_written_ends_and_the_gateway_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, os.strerror(28))

    async def test(daemon: Daemon) -> None:
        tracer = daemon.switch.tracer
        assert tracer is not None
        for _ in range(2):
            tracer(TraceLine(0, "sip", "a", True, "OPTIONS", "", "x"))
        assert daemon.switch.tracer is None
        assert (await ask(daemon, {"command": "status"}))["ok"]

    running(tmp_path, test, trace=Full())
    assert caplog.text.count("the trace cannot be written: No space left") == 1


def test_records_follow_the_wall_clock_that_is_set_while_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to = 4_000_000_000

    async def test(daemon: Daemon) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: set_to * 1_000_000_000)
        setup = Setup(called=Number("600"), caller=Party())
        refused = NotOffered(setup, "from-pstn", "pstn", "pri", Cause.INCOMPATIBLE_DESTINATION, "no voice")
        daemon.switch._ended.append(CallRefused("x", refused, daemon.clock()))
        daemon.drain()

    running(tmp_path, test)
    (record,) = read_records(tmp_path / "calls.jsonl")
    assert set_to - 1 <= record.end // 1_000_000 <= set_to
