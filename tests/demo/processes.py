"""The programs of the demonstration, started on loopback in one directory and ended by their own process ids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

START_SECONDS = 30.0
COMMAND_SECONDS = 30.0
END_SECONDS = 15.0
EVENTS_KEPT = 10_000


class DemoError(Exception):
    """Something of the demonstration does not work; the text is for the person who started it."""


class Service:
    """A program of ours in the background, its output in a log file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, name: str, arguments: list[str], log: Path, *, program: str = sys.executable) -> Service:
        """Run ``python -m`` something, or another program; ``log`` gets all it says."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                program, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        return cls(name, process, log)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])

    async def ended(self) -> int:
        """Wait until it ends by itself; its exit status."""
        return await asyncio.wait_for(self._process.wait(), END_SECONDS)

    async def stop(self) -> None:
        """End it and wait for it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), END_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


class Control:
    """A connection to a program's control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service) -> None:
        self.events: list[dict[str, Any]] = []
        self._service = service
        self._writer = writer
        self._replies: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(reader))

    @classmethod
    async def connect(cls, path: Path, service: Service) -> Control:
        """Connect as soon as ``service`` listens at ``path``."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
            except OSError as error:
                if not service.alive or asyncio.get_running_loop().time() > deadline:
                    raise DemoError(f"{service.name} did not start: {error}\n{service.tail()}") from None
                await asyncio.sleep(0.05)
            else:
                return cls(reader, writer, service)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                message = json.loads(line)
                if "event" in message:
                    self.events.append(message)
                    del self.events[:-EVENTS_KEPT]
                    self._changed.set()
                else:
                    await self._replies.put(message)
        await self._replies.put(None)
        self._changed.set()

    async def command(self, command: str, **members: object) -> Mapping[str, Any]:
        """Send one command; its reply. DemoError if it was refused."""
        if self._task.done():
            raise self._gone()
        self._writer.write(json.dumps({"command": command, **members}).encode() + b"\n")
        try:
            reply = await asyncio.wait_for(self._replies.get(), COMMAND_SECONDS)
        except TimeoutError:
            raise DemoError(f"{self._service.name} does not answer {command}\n{self._service.tail()}") from None
        if reply is None:
            raise self._gone()
        if not reply["ok"]:
            raise DemoError(f"{command}: {reply['error']}")
        return reply

    def _gone(self) -> DemoError:
        return DemoError(f"{self._service.name} has ended\n{self._service.tail()}")

    async def event(
        self, what: str, within: float, matches: Callable[[Mapping[str, Any]], bool] = lambda _: True
    ) -> Mapping[str, Any]:
        """The first event ``what`` that ``matches``; DemoError if it does not come in time."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            for event in self.events:
                if event["event"] == what and matches(event):
                    return event
            if self._task.done():
                raise self._gone()
            self._changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._changed.wait(), max(left, 0.001))
            except TimeoutError:
                raise DemoError(f"no {what!r} within {within:.0f} s") from None

    async def close(self) -> None:
        """Let go of the connection."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
