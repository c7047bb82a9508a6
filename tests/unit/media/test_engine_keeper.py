"""Keeping an engine running: started again when it is killed, taken over when an earlier program left it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.media import engine_keeper
from gateway.media.engine_keeper import EngineKeeper, engine_at
from gateway.media.engine_process import BINARY, EngineProcess
from tests.unit.media.engine_harness import build_engine

BOUND = 20.0


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    build_engine()


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - processes tell nobody
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_engine_that_is_killed_is_started_again_and_ended_at_the_end(tmp_path: Path) -> None:
    control = str(tmp_path / "media.sock")

    async def run() -> None:
        async with EngineKeeper(EngineProcess(control)) as keeper:
            first = keeper.pid
            assert first is not None and engine_at(control) == first
            os.kill(first, signal.SIGKILL)
            await asyncio.wait_for(until(lambda: keeper.restarts == 1), BOUND)
            assert keeper.pid not in (None, first)
            assert engine_at(control) == keeper.pid
        assert engine_at(control) is None

    asyncio.run(run())


def test_an_interrupt_at_the_terminal_is_for_the_gateway_alone(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path / "media.sock")
    engine.start()
    try:
        # Ctrl-C goes to the group of the terminal; who stops the engine is who has calls to end before.
        assert os.getpgid(engine.pid) != os.getpgid(0)
    finally:
        engine.stop()


def test_an_engine_left_behind_is_taken_over_and_ended_at_the_end(tmp_path: Path) -> None:
    left = EngineProcess(tmp_path / "media.sock")
    left.start()

    async def run() -> None:
        async with EngineKeeper(EngineProcess(left.control)) as keeper:
            assert keeper.pid == left.pid
            assert keeper.restarts == 0

    try:
        asyncio.run(run())
    finally:
        assert left.stop() == 0


def test_one_left_behind_that_ends_is_replaced(tmp_path: Path) -> None:
    left = EngineProcess(tmp_path / "media.sock")
    left.start()

    async def run() -> None:
        async with EngineKeeper(EngineProcess(left.control)) as keeper:
            left.kill()
            await asyncio.wait_for(until(lambda: keeper.restarts == 1), BOUND)
            assert keeper.pid is not None and alive(keeper.pid)

    asyncio.run(run())


def test_an_engine_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    async def run() -> None:
        async with EngineKeeper(EngineProcess(tmp_path / "media.sock", binary=tmp_path / "no-engine")):
            pass

    with pytest.raises(RuntimeError, match=r"media engine .*no-engine: No such file or directory"):
        asyncio.run(run())


def test_an_engine_that_ends_with_its_program_is_not_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    control = str(tmp_path / "media.sock")

    async def run() -> None:
        async with EngineKeeper(EngineProcess(control)) as keeper:
            assert keeper.pid is not None
            os.kill(keeper.pid, signal.SIGTERM)
            await asyncio.wait_for(until(lambda: keeper.pid is None), BOUND)
            # The program's own SIGTERM is heard of after the engine's end.
            keeper.no_more()
            await asyncio.sleep(3 * engine_keeper.RETRY_FIRST)
            assert keeper.pid is None
            assert keeper.restarts == 0

    caplog.set_level(logging.INFO)
    asyncio.run(run())
    assert "started again" not in caplog.text
    assert engine_at(control) is None


def test_an_engine_that_is_being_started_at_the_end_is_ended_too(tmp_path: Path) -> None:
    slow = tmp_path / "slow-engine"
    slow.write_text(f'#!/bin/sh\necho $$ >>"{tmp_path}/started"\nsleep 0.3\nexec "{BINARY}" "$@"\n')
    slow.chmod(0o700)

    def started() -> list[int]:
        return [int(word) for word in (tmp_path / "started").read_text().split()]

    async def run() -> None:
        async with EngineKeeper(EngineProcess(tmp_path / "media.sock", binary=slow)) as keeper:
            assert keeper.pid is not None
            os.kill(keeper.pid, signal.SIGKILL)
            await asyncio.wait_for(until(lambda: len(started()) == 2), BOUND)

    asyncio.run(run())
    assert [pid for pid in started() if alive(pid)] == []


def test_an_engine_that_hangs_holds_up_the_end_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_keeper, "STOP_SECONDS", 0.2)
    pids: list[int] = []

    async def run() -> None:
        async with EngineKeeper(EngineProcess(tmp_path / "media.sock")) as keeper:
            assert keeper.pid is not None
            pids.append(keeper.pid)
            os.kill(keeper.pid, signal.SIGSTOP)

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 5
    assert not alive(pids[0])
