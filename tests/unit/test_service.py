"""What systemd is told, on a NOTIFY_SOCKET: nothing before it is true, and no sign of life from who is not well."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.health import engine_checks
from gateway.media.client import EngineSettings, MediaClient
from gateway.service import MAX_STATUS, Check, Service, notifier_of, watchdog_seconds


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end of NOTIFY_SOCKET that systemd has."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def told(systemd: socket.socket) -> list[str]:
    """All that was told since the last look."""
    found = []
    systemd.setblocking(False)
    while True:
        try:
            found.append(systemd.recv(4096).decode())
        except BlockingIOError:
            return found


def run(
    test: Callable[[Service], Awaitable[None]], *checks: Check, status: Callable[[], str] = str, **words: float
) -> None:
    async def body() -> None:
        service = Service(notifier_of(), status, checks=checks, **words)
        try:
            await test(service)
        finally:
            await service.close()

    asyncio.run(body())


async def given(service: Service, beats: int) -> None:
    """So many signs of life were given."""
    async with asyncio.timeout(10):
        while service.beats < beats:  # noqa: ASYNC110 - there is nothing to wait for but time
            await asyncio.sleep(0.01)


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "broken"


def test_ready_only_when_it_is_said_and_with_what_people_are_told(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        await service.look()
        assert not [line for line in told(systemd) if "READY" in line]
        service.ready()
        assert told(systemd) == ["READY=1\nSTATUS=3 calls – „pstn“ up"]

    run(test, status=lambda: "3 calls –\n „pstn“ up")


def test_signs_of_life_while_all_is_well_and_a_status_that_changed_once(systemd: socket.socket) -> None:
    texts = iter(["ready", "one", "one", "two"])

    async def test(service: Service) -> None:
        service._running = True
        await service.look()
        await service.look()
        await service.look()
        await service.look()
        assert told(systemd) == [
            "STATUS=ready\nWATCHDOG=1",
            "STATUS=one\nWATCHDOG=1",
            "WATCHDOG=1",
            "STATUS=two\nWATCHDOG=1",
        ]

    run(test, Check("a", well, vital=True), status=lambda: next(texts), watchdog=30)


def test_what_is_vital_and_fails_takes_the_sign_of_life_away_until_it_is_well(systemd: socket.socket) -> None:
    state = [None, "broken", "broken", None]

    async def probe() -> str | None:
        return state.pop(0)

    async def test(service: Service) -> None:
        service._running = True
        for _ in range(4):
            await service.look()
        assert told(systemd) == ["WATCHDOG=1", "STATUS=it: broken;", "STATUS=\nWATCHDOG=1"]
        assert service.beats == 2 and service.faults == {}

    run(test, Check("it", probe, vital=True), watchdog=30)


def test_what_is_not_vital_is_only_told(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        service._running = True
        await service.look()
        assert told(systemd) == ["STATUS=engine: broken; 2 calls\nWATCHDOG=1"]
        assert service.faults == {"engine": "broken"}

    run(test, Check("engine", ill), status=lambda: "2 calls", watchdog=30)


def test_a_check_that_breaks_or_says_nothing_fails(systemd: socket.socket) -> None:
    async def breaks() -> str | None:
        raise ValueError("no such thing")

    async def silent() -> str | None:
        await asyncio.Event().wait()
        return None

    async def test(service: Service) -> None:
        await service.look()
        assert service.faults == {"one": "ValueError: no such thing", "two": "no answer within 0.1 s"}
        assert service.beats == 0

    run(test, Check("one", breaks, vital=True), Check("two", silent, vital=True), watchdog=0.3)


def test_checks_may_come_later(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        service.checks.append(Check("D-Bus", ill, vital=True))
        await service.look()
        assert "WATCHDOG" not in "".join(told(systemd))

    run(test, watchdog=30)


def test_beats_come_three_times_within_the_watchdogs_time_and_stop_while_the_loop_hangs(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        begun = time.monotonic()
        service.ready()
        await given(service, 4)
        # At 0, 0.1, 0.2 and 0.3 s.
        assert time.monotonic() - begun >= 0.29
        told(systemd)
        time.sleep(0.5)  # noqa: ASYNC251 - the loop is to hang
        assert told(systemd) == []
        await given(service, service.beats + 1)
        assert service.lateness > 0.3

    run(test, watchdog=0.3)


def test_a_status_that_cannot_be_had_ends_no_signs_of_life(systemd: socket.socket) -> None:
    fails = [True]

    def status() -> str:
        if service_ready and fails.pop():
            fails.append(False)
            raise KeyError("gone")
        return "ok"

    service_ready: list[bool] = []

    async def test(service: Service) -> None:
        service.ready()
        service_ready.append(True)
        await given(service, 1)

    run(test, status=status, watchdog=0.15)


def test_reloading_says_when_and_ends_with_ready(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        service.ready()
        told(systemd)
        before = time.monotonic_ns() // 1000
        service.reloading()
        service.reloaded()
        (reloading, ready) = told(systemd)
        first, _, at = reloading.partition("\nMONOTONIC_USEC=")
        assert first == "RELOADING=1" and before <= int(at) <= time.monotonic_ns() // 1000
        assert ready == "READY=1"
        service.stopping()
        service.reloaded()
        assert told(systemd) == ["STOPPING=1\nSTATUS=ending calls"]
        await service.look()
        assert told(systemd) == ["WATCHDOG=1"]

    run(test, watchdog=30)


def test_a_long_status_is_cut(systemd: socket.socket) -> None:
    async def test(service: Service) -> None:
        service.ready()
        assert told(systemd) == [f"READY=1\nSTATUS={'y' * MAX_STATUS}"]

    run(test, status=lambda: "y" * 9999)


def test_without_systemd_nothing_is_told_and_nothing_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    async def test(service: Service) -> None:
        service.ready()
        service.reloading()
        service.stopping()
        await service.look()
        assert service.beats == 0

    run(test, Check("a", well))


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_how_long_the_watchdog_waits_is_systemds_to_say(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"branch-gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

        async def test(service: Service) -> None:
            service.ready()
            assert told(listening) == ["READY=1\nSTATUS="]

        run(test)


# -- the media engine --


def test_an_engine_is_asked_and_its_answer_counts() -> None:
    async def run() -> None:
        client = MediaClient(random.Random(1), EngineSettings())
        asked = []
        there, answers = engine_checks(client, lambda: asked.append(True))
        assert (await there.probe(), await answers.probe(), asked) == ("it is gone", None, [])
        client.connected(0)
        assert await there.probe() is None
        probe = asyncio.ensure_future(answers.probe())
        await asyncio.sleep(0)
        assert asked == [True] and not probe.done()
        for now in range(1, 6):
            client.handle_timer(now * 1_000_000)
        assert await probe == "no reply to LIST"
        probe = asyncio.ensure_future(answers.probe())
        await asyncio.sleep(0)
        client.lost(0)
        # That it is gone is the other check's to say.
        assert await probe is None
        assert (there.vital, answers.vital) == (False, True)

    asyncio.run(run())
