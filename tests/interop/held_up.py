"""When the machine let programs wait for a processor, by the kernel's own account: what was late then is not theirs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

WATCH_SECONDS = 0.05
HELD_UP_SECONDS = 0.02
"""So long of WATCH_SECONDS, all programs together: voice goes every 20 ms."""
TICKS_A_SECOND = 100
"""Of /proc/stat (USER_HZ)."""


def waited(pids: Iterable[int]) -> float:
    """Seconds that the threads of ``pids`` were ready to run and did not, and those that a hypervisor took."""
    nanoseconds = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(path.read_text().split()[1])
    stolen = int(Path("/proc/stat").read_text().split(maxsplit=9)[8])
    return nanoseconds / 1e9 + stolen / TICKS_A_SECOND


@dataclass(frozen=True, slots=True)
class Moment:
    """From ``begin`` to ``end``, in seconds, ``progress`` went up to ``reached`` and programs were held up, or not."""

    begin: float
    end: float
    reached: int
    held_up: bool


class Watch:
    """Looks every WATCH_SECONDS at how long ``pids`` were kept waiting, and how far ``progress`` has come."""

    def __init__(self, pids: Iterable[int], progress: Callable[[], int]) -> None:
        self._pids, self._progress = tuple(pids), progress
        self.moments: list[Moment] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begin, before = loop.time(), waited(self._pids)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            end, now = loop.time(), waited(self._pids)
            self.moments.append(Moment(begin, end, self._progress(), now - before > HELD_UP_SECONDS))
            begin, before = end, now

    def held_up(self, first: int, last: int, margin: float) -> bool:
        """Whether anything was held up while progress went from ``first`` to ``last``, or ``margin`` seconds before."""
        over = [moment for moment in self.moments if moment.reached >= first]
        if not over:
            return True
        begin = over[0].begin - margin
        end = next((moment.end for moment in over if moment.reached >= last), over[-1].end)
        return any(moment.held_up for moment in self.moments if moment.end > begin and moment.begin < end)
