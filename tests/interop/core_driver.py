"""Runs one sans-I/O core in asyncio: hands in the time, drains its outputs, keeps exactly one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from gateway.core import SECOND
from gateway.pri.span.endpoint import monotonic_microseconds


class Core(Protocol):
    """What all cores have in common (``gateway.core``)."""

    def handle_timer(self, now: int) -> None:
        """Called at or after ``next_timer()``."""

    def next_timer(self) -> int | None:
        """The earliest deadline."""

    def poll(self) -> Any:
        """The next output, or None."""


class CoreDriver:
    """Owner of a core. ``take`` gets each output; ``call`` does something to the core and drains it."""

    def __init__(self, core: Core, take: Callable[[Any], None]) -> None:
        self._core = core
        self._take = take
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False

    @staticmethod
    def now() -> int:
        """The time as cores are told it: microseconds of the monotonic clock."""
        return monotonic_microseconds()

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """``function(*arguments, now)``, then drain."""
        result = function(*arguments, self.now())
        self.drain()
        return result

    def drain(self) -> None:
        """Take all outputs and set the timer anew; nested calls are left to the outer one."""
        if self._draining or self._closed:
            return
        self._draining = True
        try:
            while (output := self._core.poll()) is not None:
                self._take(output)
        finally:
            self._draining = False
        self._arm()

    def close(self) -> None:
        """Stop the timer for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._core.next_timer()
        if deadline is not None and not self._closed:
            delay = max(deadline - self.now(), 0) / SECOND
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._core.handle_timer(self.now())
        self.drain()
