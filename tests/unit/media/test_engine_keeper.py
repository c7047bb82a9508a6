"""Keeping an engine running: started again when it is killed, taken over when an earlier program left it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.media.engine_keeper import EngineKeeper, engine_at
from gateway.media.engine_process import EngineProcess
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
