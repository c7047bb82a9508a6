"""What systemd is told of us: READY, STATUS, WATCHDOG, RELOADING and STOPPING (sd_notify(3)), from real health.

Checks are asked in turn from the event loop, so that a loop that hangs tells nothing. systemd ends and starts again who
says nothing for WatchdogSec: that is for faults that a fresh start heals. A far end that is gone is only told of.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableSequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

BEATS = 3
"""How often a sign of life is given within WatchdogSec: one that comes late, or one check that fails, ends nothing."""
IDLE_BEAT = 10.0
"""Seconds between two looks at the checks where there is no watchdog."""
MIN_BEAT = 0.05
MAX_STATUS = 500
LATE = 1.0
"""Seconds by which the event loop may be late before it is told."""


class Notifier(Protocol):
    """Where states go."""

    def notify(self, state: str) -> None:
        """Lines of ``NAME=value``."""

    def close(self) -> None:
        """Nothing more is told."""


class _Nobody:
    """Not started by systemd."""

    def notify(self, state: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Systemd:
    """sdnotify, which encodes states as Latin-1 where sd_notify(3) has UTF-8."""

    def __init__(self) -> None:
        import sdnotify  # type: ignore[import-untyped]

        self._notifier = sdnotify.SystemdNotifier()

    def notify(self, state: str) -> None:
        self._notifier.notify(state.encode("utf-8", "replace").decode("latin-1"))

    def close(self) -> None:
        if self._notifier.socket is not None:
            self._notifier.socket.close()


@dataclass(frozen=True, slots=True)
class Check:
    """``probe`` gives None while all is well, else what is wrong; one that takes longer than a beat is wrong, too.

    ``vital``: a fresh start would heal it, so that the watchdog is to bite if it goes on.
    """

    name: str
    probe: Callable[[], Awaitable[str | None]]
    vital: bool = False


class Service:
    """One service. ``status`` gives a line for people; ``checks`` may be added to while it runs.

    ``watchdog`` is WatchdogSec in seconds, None without one.
    """

    def __init__(
        self,
        notifier: Notifier,
        status: Callable[[], str],
        *,
        watchdog: float | None = None,
        checks: tuple[Check, ...] = (),
    ) -> None:
        self.checks: MutableSequence[Check] = list(checks)
        self.faults: dict[str, str] = {}
        """What is wrong now, by the name of the check."""
        self.lateness = 0.0
        """Seconds by which the event loop was late at the last beat."""
        self.beats = 0
        """Signs of life that were given."""
        self._notifier = notifier
        self._status = status
        self._watchdog = watchdog is not None
        self._beat = IDLE_BEAT if watchdog is None else max(watchdog / BEATS, MIN_BEAT)
        self._told = ""
        self._task: asyncio.Task[None] | None = None
        self._running = False

    # -- what the owner says --

    def ready(self) -> None:
        """All is open and calls are served: dependent services may start. Begins the beats."""
        self._running = True
        text = self._line()
        self._told = text
        self._notifier.notify(f"READY=1\nSTATUS={text}")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._beats(), name="signs of life")

    def reloading(self) -> None:
        """The configuration is read again; ``reloaded`` is to follow."""
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """It is in force, or stays what it was."""
        if self._running:
            self._notifier.notify("READY=1")

    def stopping(self) -> None:
        """The end has begun; there are signs of life until ``close``."""
        self._running = False
        self._told = "ending calls"
        self._notifier.notify(f"STOPPING=1\nSTATUS={self._told}")

    async def close(self) -> None:
        """No more signs of life."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._notifier.close()

    # -- inside --

    async def _beats(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self.look()
            except Exception:  # what fails once must not end all signs of life
                log.exception("the state of the gateway cannot be told")
            due = begun + self._beat
            await asyncio.sleep(max(due - loop.time(), 0))
            self.lateness = max(loop.time() - due, 0.0)
            if self.lateness > LATE:
                log.warning("the event loop was held up for %.1f s", self.lateness)

    async def look(self) -> None:
        """Ask all checks, then give a sign of life if none that is vital fails."""
        checks = tuple(self.checks)
        results = await asyncio.gather(*(self._asked(check) for check in checks))
        alive = True
        for check, fault in zip(checks, results, strict=True):
            if fault is not None and check.vital:
                alive = False
            self._note(check, fault)
        text = self._line() if self._running else self._told
        lines = []
        if text != self._told:
            self._told = text
            lines.append(f"STATUS={text}")
        if alive and self._watchdog:
            self.beats += 1
            lines.append("WATCHDOG=1")
        if lines:
            self._notifier.notify("\n".join(lines))

    async def _asked(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._beat):
                return await check.probe()
        except TimeoutError:
            return f"no answer within {self._beat:.1f} s"
        except Exception as error:  # a check that breaks is a fault of what it looks at, not the end of all checks
            return f"{type(error).__name__}: {error}"

    def _note(self, check: Check, fault: str | None) -> None:
        if fault is None:
            if self.faults.pop(check.name, None) is not None:
                log.warning("%s is well again", check.name)
            return
        if check.name not in self.faults:
            log.error("%s: %s", check.name, fault)
        self.faults[check.name] = fault

    def _line(self) -> str:
        faults = "; ".join(f"{name}: {fault}" for name, fault in self.faults.items())
        text = f"{faults}; {self._status()}" if faults else self._status()
        return " ".join(text.split())[:MAX_STATUS]


def watchdog_seconds(environment: Mapping[str, str], process: int) -> float | None:
    """WatchdogSec as systemd says it in WATCHDOG_USEC and WATCHDOG_PID; None if it wants no signs of life of us."""
    text = environment.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(process)) != str(process):
        return None
    return int(text) / 1e6


def notifier_of(environment: Mapping[str, str] | None = None) -> Notifier:
    """systemd, if it started us, else nobody. sdnotify itself reads NOTIFY_SOCKET."""
    environment = os.environ if environment is None else environment
    return _Systemd() if environment.get("NOTIFY_SOCKET") else _Nobody()
