"""What it costs the event loop to stage, plan and commit a configuration of 1,000 routes and 500 phones."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from gateway.background import Background
from gateway.boot import boot_identity
from gateway.config.keeper import ConfigurationKeeper
from gateway.config.model import Span
from gateway.config.store_import import open_store
from gateway.prepared import Prepared
from gateway.pri.span.endpoint import monotonic_microseconds
from gateway.reconfigure import Reconfiguration
from gateway.switch import Switch
from tests.bench.row import Row
from tests.unit.config.big_document import big
from tests.unit.no_media import NoMedia

TICK = 0.001


class _Nothing:
    """A gateway that has a switch and nothing else."""

    def drain(self) -> None:
        pass

    def close_span(self, name: str) -> None:
        pass

    def open_span(self, span: Span) -> None:
        pass

    async def prepare(self, fresh: Prepared) -> None:
        pass

    async def give_up(self) -> None:
        pass

    def reconfigured(self, fresh: Prepared) -> None:
        pass

    async def settle(self) -> None:
        pass


class _Pulse:
    """A timer of the event loop that should come every millisecond, and by how much it was late at most.

    Of that only counts what this process was at work meanwhile, in whatever thread: a host that is busy takes the rest.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._due = 0.0
        self._worked = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK
        self._worked = time.process_time()
        self._handle = loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        late = asyncio.get_running_loop().time() - self._due
        self.worst = max(self.worst, min(late, time.process_time() - self._worked))
        self.start()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


async def reconfiguration_rows(directory: Path) -> list[Row]:
    """A commit that changes 500 phones, a trunk and a route, with everything that leads to it."""
    text = big()
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    first = directory / "gateway.toml"
    first.write_text(text)
    store = open_store(directory / "store", monotonic_microseconds(), time.time(), first=first)
    if store.configuration is None:
        raise RuntimeError("the store is empty")
    switch = Switch(store.configuration, NoMedia(), random.Random(1), local_for=lambda _remote: "127.0.0.1")
    background = Background()
    applier = Reconfiguration(switch, monotonic_microseconds, _Nothing(), background)
    keeper = ConfigurationKeeper(store, applier, monotonic_microseconds, boot=boot_identity(), background=background)
    changed = text.replace('"g722", "alaw"', '"alaw"').replace("4160003", "4169003").replace("192.0.2.10", "192.0.2.11")
    pulse = _Pulse()
    pulse.start()
    begun, cpu = time.perf_counter(), time.thread_time()
    await keeper.stage(changed, "bench")
    await keeper.plan()
    await keeper.commit("bench")
    took, cpu = time.perf_counter() - begun, time.thread_time() - cpu
    pulse.stop()
    await keeper.close()
    return [
        Row("commit of 1,000 routes and 500 phones: the event loop's CPU", f"{1000 * cpu:.0f} ms", "200 ms"),
        Row("… the longest that anything else had to wait for it", f"{1000 * pulse.worst:.1f} ms", "10 ms"),
        Row("… from the document to its being in force", f"{took:.2f} s"),
    ]
