"""gatewayctl against a gateway that is only a model, over a real dbus-daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal as signal_module
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.gatewayctl.main import main
from gateway.cli.gatewayctl.manpage import page
from gateway.cli.gatewayctl.show import length, security, snake, summary
from gateway.cli.gatewayctl.watch import events_of, line_of
from gateway.provision.bus.adapter import Incoming
from gateway.provision.bus.interface import ROOT
from gateway.provision.bus.model import TraceWanted
from tests.unit.provision.bus_scene import Model, bus_daemon, served

DOCS = Path(__file__).parents[3] / "docs"


class Running:
    """A model on a bus, in a thread with an event loop of its own."""

    def __init__(self, address: str, groups: Callable[[int], Collection[str]] | None) -> None:
        self.address = address
        self.model = Model()
        self._groups = groups
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with served(self.address, self.model, self._groups):
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def ctl(self, *arguments: str, code: int = 0, text: str | None = None) -> Result:
        result = CliRunner().invoke(main, ["--bus", self.address, *arguments], input=text)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.ctl(*arguments, "--json", code=code).stdout)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with bus_daemon(tmp_path) as address:
        own = Running(address, None)
        try:
            yield own
        finally:
            own.close()


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Running]:
    with bus_daemon(tmp_path) as address:
        own = Running(address, lambda _: ("gateway-viewer",))
        try:
            yield own
        finally:
            own.close()


# -- looking --


def test_status(running: Running) -> None:
    out = running.ctl("status").stdout
    for word in (
        "branch-042",
        "version 1.0",
        "SN1",
        "running",
        "29 of 30 B channels idle",
        "1 in order",
        "203.0.113.9",
    ):
        assert word in out
    shown = running.json("status")
    assert shown["name"] == "branch-042"
    assert shown["spans"] == {"pstn": {"alarm": "none", "data_link": True}}
    assert shown["trunks"] == {"hq": "OK"}


def test_trunks_have_the_columns_of_sip_show_peers(running: Running) -> None:
    lines = running.ctl("trunks").stdout.splitlines()
    head = lines[0].split()
    assert head[:7] == ["Name/username", "Host", "Dyn", "Forcerport", "ACL", "Port", "Status"]
    for word in ("hq/branch-042", "192.0.2.10", "Yes", "5060", "OK (9.0 ms)", "registered", "required"):
        assert word in lines[1]
    assert lines[2] == "1 trunks [Monitored: 1 online, 0 offline Unmonitored: 0 online, 0 offline]"
    assert running.json("trunks")[0]["round_trip"] == 9.0


def test_phones_spans_calls_and_the_network(running: Running) -> None:
    assert "udp 192.0.2.7:5060" in running.ctl("phones").stdout
    assert "29 idle" not in running.ctl("spans").stdout
    assert "local" in running.ctl("spans", "pstn").stdout
    out = running.ctl("calls").stdout
    assert "0a0b-1" in out
    assert "4165550100 at pstn" in out
    out = running.ctl("call", "show", "0a0b-1").stdout
    assert "4.2" in out
    assert "192.0.2.7:4000" in out
    assert running.json("call", "show", "0a0b-1")["quality"][0]["mos"] == 4.2
    out = running.ctl("network").stdout
    assert "198.51.100.1, by registrar hq" in out
    assert running.json("network")["external"] == [["ipv4", "198.51.100.1", "registrar hq"]]
    assert running.ctl("explain", "internal", "911").stdout == "internal: 911\ngoes nowhere\n"
    running.model.calls.clear()
    assert running.ctl("calls").stdout == "There are no calls.\n"
    assert running.json("calls") == []


def test_what_far_ends_say_is_no_markup_and_moves_no_cursor(running: Running) -> None:
    running.model.change_phone("101", host="[red]x[/red]\x1b[2J")
    out = running.ctl("phones").stdout
    assert "[red]x[/red]" in out
    assert "\x1b" not in out


# -- acting --


def test_calls_channels_and_addresses_are_acted_on(running: Running) -> None:
    running.ctl("call", "hangup", "0a0b-1")
    running.ctl("span", "block", "pstn", "2")
    running.ctl("span", "loop", "pstn", "2")
    running.ctl("span", "unloop", "pstn", "2")
    running.ctl("span", "unblock", "pstn", "0")
    running.ctl("span", "restart", "pstn", "3")
    assert running.json("pardon", "203.0.113.9") == {"done": True}
    running.ctl("log-level", "debug")
    assert running.model.level == "debug"
    assert running.model.done == [
        ("hangup", "0a0b-1"),
        ("block", "pstn", 2),
        ("loop", "pstn", 2, True),
        ("loop", "pstn", 2, False),
        ("unblock", "pstn", 0),
        ("restart", "pstn", 3),
        ("pardon", "203.0.113.9"),
    ]


def test_a_test_call_is_good_or_its_exit_status_says_that_it_is_not(running: Running) -> None:
    assert "two way              yes" in running.ctl("test-call", "internal", "600").stdout
    running.model.test_result = {"two_way": "no", "heard": "no"}
    assert running.json("test-call", "internal", "600", "--seconds", "3", code=5) == running.model.test_result
    assert running.model.done[-1] == ("test call", "internal", "600", 3)


# -- exit statuses --


def test_exit_statuses(running: Running, tmp_path: Path) -> None:
    assert "there is no object" in running.ctl("call", "hangup", "none", code=1).stderr
    running.ctl("call", "hangup", code=2)
    running.ctl("log-level", "loud", code=2)
    nowhere = CliRunner().invoke(main, ["--bus", f"unix:path={tmp_path}/none", "status"])
    assert nowhere.exit_code == 3
    assert "No such file" in nowhere.stderr
    running.close()
    assert "no gateway answers" in running.ctl("status", code=3).stderr


def test_who_may_only_look_is_told_so(stranger: Running) -> None:
    stranger.ctl("status")
    stranger.ctl("config", "get")
    for words in (
        ("call", "hangup", "0a0b-1"),
        ("span", "block", "pstn", "1"),
        ("config", "set", "a.b", "c"),
        ("config", "commit", "--yes"),
        ("config", "rollback"),
        ("test-call", "internal", "600"),
        ("log-level", "debug"),
        ("pardon", "203.0.113.9"),
    ):
        assert "access denied" in stranger.ctl(*words, code=4).stderr
    assert stranger.model.done == []


# -- configuration --


def test_a_change_is_set_planned_committed_and_confirmed(running: Running) -> None:
    own = running.model.configuration
    assert running.ctl("config", "get").stdout == "schema = 1\n"
    assert running.ctl("config", "get", "gateway.name").stdout == '"branch-042"\n'
    assert "warning: sip.x" in running.ctl("config", "set", "trunk.hq.host", "b.example.org").stdout
    assert own.done[-1][:3] == ("set", "trunk.hq.host", "b.example.org")
    out = running.ctl("config", "plan", code=5).stdout
    assert "trunk hq" in out
    assert 'host: "a" → "b"' in out
    assert running.json("config", "plan", code=5)["dropped"] == ["0a0b-1"]
    # Nobody is asked where nobody sits, and no call drops by mistake.
    assert "1 calls would drop" in running.ctl("config", "commit", code=5).stderr
    running.ctl("config", "commit", "--drain", "10m", "--confirm", "5m", "-m", "why")
    commit = own.done[-1]
    assert commit[:2] + commit[3:] == ("commit", "why", 300, 600)
    assert "unconfirmed" in running.ctl("config", "status").stdout
    running.ctl("config", "confirm")
    running.ctl("config", "confirm", code=1)
    running.ctl("config", "unset", "trunk.hq")
    running.ctl("config", "discard")
    running.ctl("config", "rollback", "1", "--confirm", "90")
    assert own.done[-1][:2] + own.done[-1][3:] == ("rollback", 1, 90)
    rows = running.json("config", "history")
    assert [(row["version"], row["active"]) for row in rows] == [(3, True), (2, False), (1, False)]
    assert "3 *" in running.ctl("config", "history").stdout
    assert running.ctl("config", "diff", "1", "2").stdout == "--- 1\n+++ 2\n"
    running.ctl("config", "diff", "x", code=2)
    running.ctl("config", "commit", "--confirm", "soon", code=2)


def test_a_file_is_checked_and_staged(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text("schema = 1\n# new\n")
    running.ctl("config", "check", str(file))
    running.ctl("config", "stage", str(file))
    assert running.model.configuration.waiting == "schema = 1\n# new\n"
    running.ctl("config", "stage", "-", text="schema = 1\n# by pipe\n")
    assert running.ctl("config", "get", "--version", "staged").stdout == "schema = 1\n# by pipe\n"
    file.write_text("bad")
    assert "not TOML" in running.ctl("config", "check", str(file), code=5).stdout
    running.ctl("config", "stage", str(file), code=5)


def test_the_configuration_is_edited(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "# edited" >> "$1"\n')
    editor.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(editor))
    running.ctl("config", "edit")
    assert running.model.configuration.waiting == "schema = 1\n# edited\n"
    # What is staged is edited further.
    running.ctl("config", "edit")
    assert running.model.configuration.waiting == "schema = 1\n# edited\n# edited\n"
    monkeypatch.setenv("VISUAL", "true")
    assert "Nothing was changed" in running.ctl("config", "edit").stderr
    editor.write_text('#!/bin/sh\nprintf bad > "$1"\n')
    monkeypatch.setenv("VISUAL", str(editor))
    assert "not TOML" in running.ctl("config", "edit", code=5).stdout


# -- traces and events --


def test_a_trace_goes_to_a_file_that_only_we_can_read(running: Running, tmp_path: Path) -> None:
    def pipe() -> int:
        read, write = os.pipe()
        os.write(write, b"\x0a\x0d\x0d\x0a" * 10)
        os.close(write)
        return read

    running.ctl("trace", "-w", str(tmp_path / "x"), code=1)
    running.model.pipe = pipe
    file = tmp_path / "trace.pcapng"
    running.ctl("trace", "--span", "pstn", "--past", "-w", str(file))
    assert file.read_bytes() == b"\x0a\x0d\x0d\x0a" * 10
    assert file.stat().st_mode & 0o777 == 0o600
    assert running.model.done == [("trace", TraceWanted("", "pstn", secrets=False, past=True))]
    running.ctl("trace", "--past", "--voice", "-w", str(file), code=2)
    assert running.ctl("trace", "--secrets").stdout_bytes == b"\x0a\x0d\x0d\x0a" * 10


def test_a_trace_that_nothing_comes_from_ends_with_ctrl_c(running: Running, tmp_path: Path) -> None:
    ends: list[int] = []

    def pipe() -> int:
        read, write = os.pipe()
        os.write(write, b"some")
        ends.append(write)
        return read

    running.model.pipe = pipe
    file = tmp_path / "x.pcapng"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.gatewayctl.main", "--bus", running.address, "trace", "-w", str(file)],
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 20
        while not file.exists() or file.read_bytes() != b"some":
            assert time.monotonic() < end
        process.send_signal(signal_module.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
        for each in ends:
            os.close(each)
    assert (process.returncode, err) == (0, f"4 octets in {file}\n".encode())


def test_events_come_live(running: Running) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gateway.cli.gatewayctl.main",
            "--bus",
            running.address,
            "events",
            "--count",
            "2",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == b"listening\n"
        running.model.change_phone("101", status="UNREACHABLE")
        running.model.calls.clear()
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    events = [json.loads(line) for line in out.splitlines()]
    told = {(event["event"], event.get("name", "")) for event in events}
    assert len(events) == 2
    assert told <= {("phone changed", "101"), ("call removed", "0a0b-1"), ("gateway changed", "")}


def signal(member: str, body: list[Any], path: str = ROOT) -> Incoming:
    return Incoming(4, 1, False, ":1.1", path, "", member, "", body, 0, "", [])


def test_every_signal_has_its_line() -> None:
    every = [
        signal("Event", [1, "warning", "line", "pstn", "it rains"]),
        signal("CallEnded", ["0a-1", 17, "called", 2.5]),
        signal("LineChanged", ["pstn", "red", "cut"]),
        signal("SignalsLost", [4]),
        signal("InterfacesAdded", [f"{ROOT}/calls/0a_2d1", {"i": {"Id": "0a-1"}}]),
        signal("InterfacesRemoved", [f"{ROOT}/calls/0a_2d1", ["i"]]),
        signal("PropertiesChanged", ["i", {"Alarm": "red"}, []], f"{ROOT}/spans/pstn"),
        signal("PropertiesChanged", ["i", {"State": "degraded"}, []]),
        signal("NameOwnerChanged", ["a", "b", ""]),
    ]
    lines = [line_of(event) for each in every for event in events_of(each, changes=True)]
    words = [
        ("line ", "it rains"),
        ("call ended", "cause=17"),
        ("line changed", "alarm=red"),
        ("signals lost", "count=4"),
        ("call added", "name=0a-1"),
        ("call removed", "name=0a-1"),
        ("span changed", "name=pstn  alarm=red"),
        ("gateway changed", "state=degraded"),
    ]
    assert len(lines) == len(words)
    for line, expected in zip(lines, words, strict=True):
        assert all(word in line for word in expected), line
    assert [event for each in every for event in events_of(each, changes=False)][4:] == []


# -- the rest --


def test_where_the_bus_is_looked_for(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert CliRunner().invoke(main, ["status"]).exit_code == 3
    (tmp_path / ".run/demo").mkdir(parents=True)
    (tmp_path / ".run/demo/bus").symlink_to(tmp_path / "bus")
    assert CliRunner().invoke(main, ["status"]).exit_code == 0
    monkeypatch.setenv("GATEWAY_BUS", f"unix:path={tmp_path}/nowhere")
    assert CliRunner().invoke(main, ["status"]).exit_code == 3
    monkeypatch.setenv("GATEWAY_BUS", running.address)
    assert CliRunner().invoke(main, ["status"]).exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_GATEWAYCTL_COMPLETE" in result.stdout


def test_the_shell_completes_names_that_the_gateway_has(running: Running) -> None:
    out = subprocess.run(
        [sys.executable, "-c", "from gateway.cli.gatewayctl.main import main; main(prog_name='gatewayctl')"],
        env={
            "PATH": os.environ["PATH"],
            "GATEWAY_BUS": running.address,
            "_GATEWAYCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": "gatewayctl call hangup 0a",
            "COMP_CWORD": "3",
        },
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert out.stdout == b"plain,0a0b-1\n"


def test_the_manual_page_is_what_help_says_and_names_every_command() -> None:
    text = page()
    assert (DOCS / "man/gatewayctl.1").read_text() == text, "run make generate"
    for word in ("config rollback", "test\\-call", "EXIT STATUS", "access denied", "\\-\\-drain"):
        assert word in text


def test_help_tells_exit_statuses() -> None:
    out = CliRunner().invoke(main, ["--help"]).stdout
    assert "4  access denied" in out


def test_words() -> None:
    assert snake("RoundTrip") == "round_trip"
    assert (length(59), length(3_600), length(90_061)) == ("0:00:59", "1:00:00", "1d 1:01:01")
    assert security(("in", "pri", "", "", "", False, "no")) == "line"
    assert security(("in", "sip", "", "", "", True, "AES")) == "TLS+AES"
    assert security(("in", "sip", "", "", "", False, "no")) == "clear"
    found: list[dict[str, Any]] = [
        {"Status": "OK"},
        {"Status": "LAGGED"},
        {"Status": "UNREACHABLE"},
        {"Status": "Unmonitored", "Registered": False},
        {"Status": "Unmonitored"},
    ]
    assert summary(found, "phones") == "5 phones [Monitored: 2 online, 1 offline Unmonitored: 1 online, 1 offline]"
