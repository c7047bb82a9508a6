"""Runs sipp with scenarios of ours (tests/interop/sipp/*.xml) and reads its statistics, logs and messages.

A scenario file may hold ``%%NAME%%`` marks, which are replaced by keyword arguments before sipp sees it, and
``<include name="FILE" key="value"/>`` lines, which are replaced by that file of the same folder with its own marks
set. A list of header lines is a keyword argument ``headers``.
"""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.sax.saxutils import unescape

from tests.interop.program import PATIENCE, PeerError, Program, find_program, free_port

PACKAGE = "sip-tester"
SCENARIOS = Path(__file__).parent / "sipp"
POLL_SECONDS = 0.01
RUN_SECONDS = 90
PORT_TRIES = 3
BURST_SOCKET_BUFFER = 1 << 20

DEFAULTS: Mapping[str, str] = {
    "HEADERS": "",
    "CALLER": "4165551234",
    "DISPLAY": "",
    "CODE": "486",
    "REASON": "Busy Here",
    "PAUSE": "100",
    "RING": "50",
    "CONTACT": "sip:nobody@127.0.0.1:9",
    "CODECS": "8 0 101",
}


@dataclass(frozen=True, slots=True)
class SippMessage:
    """One message sipp sent or received, as on the wire."""

    sent: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class SippResult:
    """How a run ended: exit code (0 is all well), counters of its statistics, what it logged, its errors."""

    code: int
    successful: int
    failed: int
    retransmissions: int
    logs: list[str]
    errors: str

    def __str__(self) -> str:
        return (
            f"sipp exit {self.code}, {self.successful} successful, {self.failed} failed, "
            f"{self.retransmissions} retransmissions\n{self.errors}"
        )


_INCLUDE = re.compile(r'<include name="([\w.]+)"((?:\s+\w+="[^"]*")*)\s*/>\n?')
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_MARK = re.compile(r"%%(\w+)%%")
INCLUDE_DEPTH = 8


def _fill(text: str, values: Mapping[str, str], depth: int = 0) -> str:
    if depth > INCLUDE_DEPTH:
        raise PeerError(f"scenarios include each other more than {INCLUDE_DEPTH} deep")

    def included(found: re.Match[str]) -> str:
        own = {key.upper(): unescape(value, {"&quot;": '"'}) for key, value in _ATTRIBUTE.findall(found[2])}
        return _fill((SCENARIOS / found[1]).read_text(), {**values, **own}, depth + 1)

    return _INCLUDE.sub(included, _MARK.sub(lambda mark: values.get(mark[1], mark[0]), text))


def render(name: str, arguments: Mapping[str, object]) -> str:
    """The text of scenario ``name`` with its includes and marks replaced; PeerError for a mark nobody gave."""
    values = dict(DEFAULTS)
    for key, value in arguments.items():
        values[key.upper()] = "".join(f"\n      {line}" for line in value) if isinstance(value, list) else str(value)
    text = _fill((SCENARIOS / f"{name}.xml").read_text(), values)
    if missing := _MARK.findall(text):
        raise PeerError(f"scenario {name} needs {', '.join(sorted(set(missing)))}")
    return text


LISTENING = "0A"
"""Of a TCP socket: there are others with its port, long after it was closed."""


def bound(port: int, transport: str) -> bool:
    """Whether somebody takes what is sent to ``port`` of this machine."""
    wanted = f":{port:04X}"
    for family in ("", "6"):
        try:
            lines = Path(f"/proc/net/{transport}{family}").read_text().splitlines()[1:]
        except OSError:
            continue
        for _, local, _, state, *_ in map(str.split, lines):
            if local.endswith(wanted) and (transport == "udp" or state == LISTENING):
                return True
    return False


class PortTakenError(PeerError):
    """sipp did not get its port."""


@cache
def _media_port_option(program: str) -> str:
    """Sipp 3.7 has another word for the port of its voice, and 3.7.2 no longer knows the old one."""
    told = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"SIPp v(\d+)\.(\d+)", told)
    if found is None:
        raise PeerError(f"{program} -v tells no version: {told[:100]!r}")
    return "-min_rtp_port" if (int(found[1]), int(found[2])) >= (3, 7) else "-mp"


class Sipp(Program):
    """A running sipp, as caller (with ``remote``) or called side. ``port`` is where it is."""

    def __init__(self, name: str, process: Any, prefix: Path, port: int, rtp_port: int, calls: int) -> None:
        self.calls = calls
        self.port = port
        self.rtp_port = rtp_port
        self._prefix = prefix
        super().__init__(name, process)

    @classmethod
    async def start(cls, scenario: str, directory: Path, *, port: int | None = None, **arguments: Any) -> Sipp:
        """Start ``scenario``; it ends by itself after ``calls`` calls or ``seconds``, whichever is first.

        The called side is ready when this returns. ``transport`` is udp or tcp; ``echo`` sends RTP back. Where the
        port is ours to choose, one that somebody else took in the meantime is left for another.
        """
        for _ in range(PORT_TRIES - 1):
            try:
                return await cls._begin(scenario, directory, port=port, **arguments)
            except PortTakenError as error:
                # The port of voice is always ours to choose.
                if port is not None and "RTP socket" not in str(error):
                    raise
        return await cls._begin(scenario, directory, port=port, **arguments)

    @classmethod
    async def _begin(
        cls,
        scenario: str,
        directory: Path,
        *,
        remote: tuple[str, int] | None = None,
        port: int | None = None,
        calls: int = 1,
        rate: float = 10.0,
        limit: int = 300,
        service: str = "4165550100",
        transport: str = "udp",
        seconds: int = RUN_SECONDS,
        echo: bool = False,
        trace: bool = True,
        options: Iterable[str] = (),
        **arguments: object,
    ) -> Sipp:
        program = find_program("sipp", PACKAGE)
        port = port or free_port()
        rtp_port = free_port()
        prefix = directory / f"{scenario}.{port}"
        file = cls._prepare(prefix, scenario, {"service": service, **arguments})
        words: list[object] = [
            program,
            *([f"{remote[0]}:{remote[1]}"] if remote else []),
            *("-sf", file, "-i", "127.0.0.1", "-p", port, "-bind_local", "-mi", "127.0.0.1"),
            *(_media_port_option(program), rtp_port),
            *("-t", {"udp": "u1", "tcp": "t1"}[transport], "-m", calls, "-r", rate, "-l", limit, "-s", service),
            *("-nostdin", "-timeout", seconds, "-timeout_error", "-cp", free_port(), "-recv_timeout", seconds * 1000),
            *("-trace_stat", "-stf", f"{prefix}.csv", "-fd", 1, "-trace_logs", "-log_file", f"{prefix}.log"),
            *("-trace_err", "-error_file", f"{prefix}.err", "-buff_size", BURST_SOCKET_BUFFER),
            *(("-trace_msg", "-message_file", f"{prefix}.msg") if trace else ()),
            *(("-rtp_echo",) if echo else ()),
            *options,
        ]
        process = await cls.spawn([str(word) for word in words], cwd=directory)
        peer = cls(f"sipp {scenario}", process, prefix, port, rtp_port, calls)
        if remote is None:
            await peer._until_bound(transport)
        return peer

    @staticmethod
    def _prepare(prefix: Path, scenario: str, arguments: Mapping[str, object]) -> Path:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        file = Path(f"{prefix}.xml")
        file.write_text(render(scenario, arguments))
        return file

    async def _until_bound(self, transport: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not bound(self.port, transport):
            if self.process.returncode is not None or time.monotonic() > deadline:
                code = self.process.returncode
                await self.stop()
                raise PortTakenError(f"{self.name} does not listen at port {self.port} (exit {code})\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def __aenter__(self) -> Sipp:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _text(self, suffix: str) -> str:
        path = Path(f"{self._prefix}.{suffix}")
        return path.read_text(errors="replace") if path.exists() else ""

    async def result(self, within: float = RUN_SECONDS + PATIENCE) -> SippResult:
        """Wait for the end of the run and read its figures."""
        code = await self.wait(within)
        rows = list(csv.DictReader(self._text("csv").splitlines(), delimiter=";"))
        last = rows[-1] if rows else {}
        return SippResult(
            code,
            # The last row of the statistics is now and then not written; exit code 0 says that all went well.
            self.calls if code == 0 else int(last.get("SuccessfulCall(C)") or 0),
            int(last.get("FailedCall(C)") or 0),
            int(last.get("Retransmissions(C)") or 0),
            self._text("log").splitlines(),
            self._text("err"),
        )

    async def succeed(self, within: float = RUN_SECONDS + PATIENCE) -> SippResult:
        """``result``, or PeerError with all that is known if any call failed."""
        result = await self.result(within)
        if result.code or result.failed or not result.successful:
            raise PeerError(f"{self.name}: {result}\n{self._text('msg')[-6000:]}")
        return result

    def finish(self) -> None:
        """Ask it to place no more calls and to end when those it has are over."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGUSR1)

    async def exchanged(self, start: bytes, *, sent: bool, count: int = 1, within: float = PATIENCE) -> SippMessage:
        """Wait for ``count`` messages that begin with ``start``, sent or received; the last of them."""
        deadline = time.monotonic() + within
        while True:
            found = [m for m in self.messages() if m.sent is sent and m.data.startswith(start)]
            if len(found) >= count:
                return found[count - 1]
            if time.monotonic() > deadline:
                raise PeerError(f"{self.name}: no {start!r} (number {count}) within {within} s\n{self._text('msg')}")
            await asyncio.sleep(POLL_SECONDS)

    def messages(self) -> list[SippMessage]:
        """What it sent and received so far, oldest first."""
        found = []
        for part in re.split(r"^-{40,} .*\n", self._text("msg").replace("\r\n", "\n"), flags=re.MULTILINE)[1:]:
            head, _, body = part.partition("\n\n")
            if "message sent" in head or "message received" in head:
                size = re.search(r"[\[(](\d+)[\])]? ?bytes", head)
                data = body.replace("\n", "\r\n").encode()
                if size and len(data) < int(size[1]):
                    continue  # it is being written
                found.append(SippMessage("sent" in head, data[: int(size[1])] if size else data))
        return found
