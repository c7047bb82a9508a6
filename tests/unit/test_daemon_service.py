"""The daemon under systemd: ready when calls are served, STOPPING before they end, fields of a call in the journal."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import parse
from gateway.daemon import Daemon
from gateway.journal import JournalHandler
from gateway.record import CallRecord
from tests.unit.test_daemon import free_port
from tests.unit.test_journal import parsed
from tests.unit.test_service import given, told

TEXT = """
schema = 1
[gateway]
run_dir = "{run}"
bus = "none"
[sip]
listen = ["udp:127.0.0.1:{port}"]
[[span]]
name = "pstn"
channels = "virtual:{run}/span"
line = "e1"
group = "g0"
context = "default"
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        yield listening


def daemon(path: Path) -> Daemon:
    return Daemon(parse(TEXT.format(run=path, port=free_port()), path / "gateway.toml"))


def test_from_ready_to_stopping_with_signs_of_life_between(tmp_path: Path, systemd: socket.socket) -> None:
    async def run() -> None:
        one = daemon(tmp_path)
        await one.start()
        assert told(systemd) == []
        one.service.ready()
        assert told(systemd) == ["READY=1\nSTATUS=0 calls; pstn red"]
        await given(one.service, 2)
        first, *further = told(systemd)
        # Nobody has started a media engine here: that is told, and no reason to start the gateway again.
        assert first == "STATUS=media engine: it is gone; 0 calls; pstn red\nWATCHDOG=1"
        assert set(further) <= {"WATCHDOG=1"}
        one.reload_tls()
        (reloading, ready) = [line for line in told(systemd) if "WATCHDOG" not in line]
        assert reloading.startswith("RELOADING=1\n") and ready == "READY=1"
        await one.end()
        assert [line for line in told(systemd) if "WATCHDOG" not in line] == ["STOPPING=1\nSTATUS=ending calls"]

    asyncio.run(run())


def test_a_call_that_ended_is_in_the_journal_by_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    async def run() -> None:
        one = daemon(tmp_path)
        one._record(
            CallRecord(
                id="e-1",
                start=1,
                source="pstn",
                context="c",
                dialled="123",
                cause=16,
                released_by="caller",
                end=2,
                caller={"number": "456"},
            )
        )
        await one.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        handler = JournalHandler(tmp_path / "journal")
        logger = logging.getLogger("gateway")
        caplog.set_level(logging.INFO, "gateway")
        logger.addHandler(handler)
        try:
            asyncio.run(run())
        finally:
            logger.removeHandler(handler)
            handler.close()
        fields = parsed(journal.recv(65_536))
    assert {name: value.decode() for name, value in fields.items() if name.startswith("GATEWAY")} == {
        "GATEWAY_CALL": "e-1",
        "GATEWAY_SOURCE": "pstn",
        "GATEWAY_CALLER": "456",
        "GATEWAY_DIALLED": "123",
        "GATEWAY_CAUSE": "16",
        "GATEWAY_RELEASED_BY": "caller",
        "GATEWAY_TALK_SECONDS": "0.0",
    }
