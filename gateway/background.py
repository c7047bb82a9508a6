"""Long reckoning in a thread beside the event loop, which has calls to serve meanwhile.

The interpreter runs one thread at a time: so that the loop has its turn soon, turns are short as long as such work goes
on, and the collector of cycles waits, which would hold up everybody while it walks over what a document is read into.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

TURN_SECONDS = 0.0005

Result = TypeVar("Result")


class Background:
    """One for all that share an event loop."""

    def __init__(self) -> None:
        self._running = 0
        self._interval = 0.0
        self._collecting = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """What ``work``, which blocks, returns or raises."""
        self._begin()
        try:
            return await asyncio.to_thread(work)
        finally:
            self._end()

    def _begin(self) -> None:
        if not self._running:
            self._interval, self._collecting = sys.getswitchinterval(), gc.isenabled()
            sys.setswitchinterval(TURN_SECONDS)
            gc.disable()
        self._running += 1

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            sys.setswitchinterval(self._interval)
            if self._collecting:
                gc.enable()
