"""Keeps one media engine running beside an asyncio program: starts it, again when it ends, and ends it at the end.

An engine that a killed program of ours left behind still has its calls' voice: it is taken over, not replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
from types import TracebackType

from gateway.media.engine_process import EngineProcess

log = logging.getLogger(__name__)

RETRY_FIRST = 0.1
"""Seconds until an engine that ended is started again; doubles while it does not stay up, up to RETRY_LAST."""
RETRY_LAST = 10.0
GOOD_SECONDS = 5.0
STOP_SECONDS = 1.0
"""How long an engine may take to end when it is told to; then it is killed."""
_CREDENTIALS = struct.Struct("3i")


def engine_at(control: str) -> int | None:
    """The process id of the engine that listens at ``control``; None if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(control)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid or None


class EngineKeeper:
    """An async context manager. Entering raises RuntimeError if the engine cannot be started at all."""

    def __init__(self, engine: EngineProcess) -> None:
        self.restarts = 0
        self._engine = engine
        self._foreign: int | None = None
        self._watched: int | None = None
        self._retry = RETRY_FIRST
        self._since = 0.0
        self._restarting: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._left = False

    @property
    def pid(self) -> int | None:
        """Process id of the engine; None while it is being started again."""
        return None if self._watched is None else self._foreign or self._engine.pid

    async def __aenter__(self) -> EngineKeeper:
        self._foreign = engine_at(self._engine.control)
        if self._foreign is None:
            # Nothing else runs yet that could be held up.
            self._engine.start()
        else:
            log.warning("a media engine (process %d) runs already: it is taken over", self._foreign)
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.no_more()
        if self._restarting is not None:
            # Not cancelled: an engine that is being started would be left behind.
            await self._restarting
        if self._left:
            self._unwatch()
            return
        if self._foreign is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._foreign, signal.SIGTERM)
        self._unwatch()
        await asyncio.to_thread(self._engine.stop, STOP_SECONDS)

    def no_more(self) -> None:
        """The program is about to end: an engine that ends from now on is not started again."""
        self._stopping.set()

    def leave(self) -> None:
        """The program is about to end, and the engine goes on for the one after it."""
        self._left = True
        self.no_more()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        try:
            self._watched = os.pidfd_open(self._foreign or self._engine.pid)
        except ProcessLookupError:
            self._start_again("not ours")
        else:
            loop.add_reader(self._watched, self._ended)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None

    def _ended(self) -> None:
        self._unwatch()
        status = self._engine.stop() if self._foreign is None else None
        self._foreign = None
        self._start_again("not ours" if status is None else str(status))

    def _start_again(self, status: str) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._since >= GOOD_SECONDS:
            self._retry = RETRY_FIRST
        self._restarting = loop.create_task(self._restart(status))

    async def _restart(self, status: str) -> None:
        ended = f"the media engine ended ({status})"
        while True:
            # Whoever ends a whole process group ends us as well, and that may be heard of a moment later.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._retry)
            if self._stopping.is_set():
                return
            if ended:
                log.error("%s and is started again", ended)
                ended = ""
            self._retry = min(2 * self._retry, RETRY_LAST)
            try:
                await asyncio.to_thread(self._engine.start)
            except (RuntimeError, OSError) as error:
                log.error("%s; next try in %.1f s", error, self._retry)
            else:
                self.restarts += 1
                self._watch()
                return
