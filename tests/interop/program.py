"""Running the peers: finding their programs, waiting for what they say, and ending them by their own process id."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

PATIENCE = 30.0
"""Seconds that a test waits for what has to happen: nothing where all is well, enough where a machine is busy."""
END_SECONDS = 10.0
CHILD_SECONDS = 1.0
LINE_MAXIMUM = 1 << 20
WORKERS = 10
PORTS = 448
"""Ports of one test process."""
_SERIAL = itertools.count()


class PeerError(AssertionError):
    """A peer is missing, ended early or did not do in time what a test waits for."""


def find_program(name: str, package: str) -> str:
    """The path of program ``name``; PeerError names the Debian ``package`` that holds it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise PeerError(f"{name} is not installed: apt-get install {package}")
    return path


@functools.cache
def worker() -> int:
    """A number that no other test process of this machine has while this one runs: its ports are its own by that."""
    for number in range(WORKERS):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0branch-gateway-test-{number}")
        except OSError:
            claim.close()
            continue
        # Held until the process ends, whichever way it does.
        claim.detach()
        return number
    raise PeerError(f"more than {WORKERS} test processes at once on this machine")


def free_port() -> int:
    """An even loopback port that nobody has now, nor the three after it (RTCP, TLS, sipp's video), for UDP as for TCP.

    It is of this test process's own range, above the ports that the system hands out, and it is long until it is given
    out again: what is free now is still free when a program that was started meanwhile comes to take it.
    """
    first = 61_000 + worker() * PORTS
    for _ in range(PORTS // 4):
        port = first + next(_SERIAL) * 4 % PORTS
        try:
            with contextlib.ExitStack() as probes:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    for number in range(port, port + 4):
                        probes.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise PeerError("no free port on 127.0.0.1")


class Program:
    """One child process whose lines of output are kept and can be waited for.

    Ended by ``stop`` (terminate, then kill, by its own id, and what is left of its group); usable as an async context
    manager.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._changed = asyncio.Event()
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.on_line)),
            asyncio.create_task(self._read(process.stderr, self.errors.append)),
        ]

    @classmethod
    async def spawn(cls, arguments: Sequence[str | Path], *, cwd: Path | None = None) -> asyncio.subprocess.Process:
        """Start a child with all three standard streams piped."""
        return await asyncio.create_subprocess_exec(
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            limit=LINE_MAXIMUM,
            process_group=0,
        )

    def on_line(self, line: str) -> None:
        """Take one line of standard output; subclasses parse it."""
        self.lines.append(line)

    async def _read(self, stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
        while data := await stream.readline():
            take(data.decode("utf-8", "replace").rstrip("\n"))
            self._changed.set()
        self._changed.set()

    async def until(self, done: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
        """Wait until ``done()``; PeerError tells ``what`` was waited for and what the program last said."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not done():
            if all(reader.done() for reader in self._readers):
                await self.process.wait()
                if done():
                    return
                raise PeerError(f"{self.name} ended ({self.process.returncode}) before {what}\n{self.tail()}")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(deadline - loop.time(), 0.001))
            except TimeoutError:
                if not done():
                    raise PeerError(f"{self.name}: no {what} within {within} s\n{self.tail()}") from None

    def tail(self) -> str:
        """The last lines of both outputs, for messages."""
        return "\n".join([*self.lines[-25:], *(f"stderr: {line}" for line in self.errors[-25:])])

    async def wait(self, within: float) -> int:
        """The exit code, once the program has ended by itself."""
        try:
            await asyncio.wait_for(asyncio.gather(self.process.wait(), *self._readers), within)
        except TimeoutError:
            raise PeerError(f"{self.name} did not end within {within} s\n{self.tail()}") from None
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self) -> None:
        """End the program and wait for it; harmless if it has ended."""
        for end in (self.process.terminate, self.process.kill):
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
                break
        if self.process.stdin is not None:
            self.process.stdin.close()
            with contextlib.suppress(OSError):
                await self.process.stdin.wait_closed()
        _, waiting = await asyncio.wait(self._readers, timeout=CHILD_SECONDS)
        if waiting:
            # Children of one that was killed (Kamailio's, when its end gets stuck) have our pipes open.
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.gather(*self._readers)
