"""The asyncio adapter with the real engine: connects, retries, comes back after the engine has been killed."""

from __future__ import annotations

import asyncio
import random
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.core import SECOND
from gateway.media.api import EngineLost, EngineReady, Failure, MediaEvent, Opened, Statistics
from gateway.media.client import EngineSettings, MediaClient
from gateway.media.connection import EngineConnection
from gateway.media.engine_process import EngineProcess
from tests.unit.media.engine_harness import build_engine


def now() -> int:
    return time.monotonic_ns() // 1000


def test_replies_that_wait_unread_on_a_busy_machine_are_not_missing(tmp_path: Path) -> None:
    """The timer comes late, together with the replies of all that time: those who asked get them."""
    replies: list[Opened | Failure] = []
    process = EngineProcess(tmp_path / "control", ["--no-realtime"], binary=build_engine())
    late = 0

    async def scenario() -> None:
        nonlocal late
        ready = asyncio.Event()
        client = MediaClient(random.Random(5), EngineSettings((27000, 27999)))
        connection = EngineConnection(client, process.control, lambda: now() + late, lambda _event, _now: ready.set())
        process.start()
        connection.start()
        await asyncio.wait_for(ready.wait(), 10)
        client.open_rtp("127.0.0.1", "sip", replies.append)
        connection.drain()
        assert connection._socket is not None
        select.select([connection._socket], [], [], 10)
        for _ in range(5):
            late += 2 * SECOND
            connection._expired()
        connection.close()

    try:
        asyncio.run(scenario())
    finally:
        process.stop()
    assert [type(reply) for reply in replies] == [Opened]


def test_it_connects_late_asks_and_reconnects(tmp_path: Path) -> None:
    events: list[MediaEvent] = []
    replies: list[Opened | Failure] = []
    statistics: list[Statistics | Failure] = []
    process = EngineProcess(tmp_path / "control", ["--no-realtime"], binary=build_engine())

    async def scenario() -> None:
        changed = asyncio.Event()

        def note(store: list[Any]) -> Callable[[Any], None]:
            def keep(value: object) -> None:
                store.append(value)
                changed.set()

            return keep

        async def wait_for(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(10):
                while not condition():
                    await changed.wait()
                    changed.clear()

        heard = note(events)
        client = MediaClient(random.Random(5), EngineSettings((27000, 27999)))
        connection = EngineConnection(client, process.control, now, lambda event, _: heard(event))
        connection.start()  # nobody there yet
        assert not client.up
        process.start()
        await wait_for(lambda: EngineReady(True) in events)
        for _ in range(200):
            client.open_rtp("127.0.0.1", "sip", note(replies))
        connection.drain()
        await wait_for(lambda: len(replies) == 200)
        ports = {reply.port for reply in replies if isinstance(reply, Opened)}
        assert len(ports) == 200
        assert all(27000 <= port <= 27998 and port % 2 == 0 for port in ports)
        for stream in tuple(client.streams):
            client.close(stream, note(statistics))
        connection.drain()
        await wait_for(lambda: len(statistics) == 200)
        assert all(isinstance(reply, Statistics) for reply in statistics)
        process.kill()
        await wait_for(lambda: EngineLost() in events)
        process.start()  # finds the socket its killed predecessor left
        await wait_for(lambda: events.count(EngineReady(True)) == 2)
        connection.close()

    try:
        asyncio.run(scenario())
    finally:
        process.stop()
