"""A small file that outlives the program: read at the start, replaced as a whole, never half written.

Written in a thread of its own, as a disk may take its time; the latest content wins. What cannot be written is logged
once and tried again with the next content.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MAX_STATE = 32 << 20
"""Octets that are read at most."""


class StateFile:
    """``what`` names the content in the log."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._wanted: bytes | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def read(self) -> bytes | None:
        """The content; None if there is none, or none that can be read."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_STATE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("%s: %s cannot be read: %s", self.path, self._what, error.strerror or error)
            return None
        if len(data) > MAX_STATE:
            log.error("%s: %s are more than %d octets and not read", self.path, self._what, MAX_STATE)
            return None
        return data

    def keep(self, data: bytes) -> None:
        """Let ``data`` be the content, soon. Needs a running loop."""
        self._wanted = data
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        """Wait until what was to be kept is."""
        if self._task is not None:
            await self._task

    async def _write_all(self) -> None:
        try:
            while self._wanted is not None:
                data, self._wanted = self._wanted, None
                try:
                    await asyncio.to_thread(self._replace, data)
                except OSError as error:
                    if not self._failing:
                        self._failing = True
                        log.error(
                            "%s: %s cannot be written: %s; the gateway goes on, a restart will not know of them",
                            self.path,
                            self._what,
                            error.strerror or error,
                        )
                else:
                    if self._failing:
                        self._failing = False
                        log.warning("%s: %s are written again", self.path, self._what)
        finally:
            self._task = None

    def _replace(self, data: bytes) -> None:
        """Power may fail at any instant: then the old content is there, or the new."""
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
