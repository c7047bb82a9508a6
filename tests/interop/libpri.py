"""Drives tests/interop/peers/libpri_peer: one end of a virtual span played by libpri, scripted and observed.

Commands and events are those of the C program; the frames it saw can be read back for checks of the wire.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from tests.interop.program import PATIENCE, PeerError, Program, find_program

PEERS = Path(__file__).parent / "peers"
BUILD = Path(__file__).parents[2] / "build" / "peers"
POLL_SECONDS = 0.05

# libpri's octet for type of number and plan (Q.931 octet 3) and for presentation and screening (octet 3a)
INTERNATIONAL = 0x11
NATIONAL = 0x21
SUBSCRIBER = 0x41
ALLOWED_PASSED = 0x01
ALLOWED_NETWORK = 0x03
RESTRICTED_PASSED = 0x21
UNAVAILABLE = 0x43

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One LAPD frame the peer saw: seconds of the monotonic clock, in/out of the peer, lost on purpose or not."""

    time: float
    received: bool
    lost: bool
    octets: bytes


def build_peer() -> Path:
    """Build the C program if need be; PeerError names the Debian package when libpri is not there."""
    make = find_program("make", "make")
    find_program("gcc", "gcc")
    done = subprocess.run([make, "-s", "-C", PEERS, f"BUILD={BUILD}"], capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "libpri is not installed: apt-get install libpri-dev\n" if "libpri.h" in done.stderr else ""
        raise PeerError(f"{hint}libpri_peer does not build:\n{done.stderr}")
    return BUILD / "libpri_peer"


def read_frames(path: Path) -> list[Frame]:
    """The frames a peer recorded, oldest first."""
    frames = []
    for line in path.read_text().splitlines():
        seconds, direction, octets = line.split(" ")
        frames.append(
            Frame(float(seconds), direction.endswith("in"), direction.startswith("lost"), bytes.fromhex(octets))
        )
    return frames


class LibpriPeer(Program):
    """A running libpri peer. Each event is handed out once; those nobody asks for stay in ``pending``."""

    def __init__(self, name: str, process: Any, record: Path) -> None:
        self.pending: list[Event] = []
        self.record = record
        super().__init__(name, process)

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        listen: bool = True,
        side: str = "network",
        switch: str = "euroisdn",
        line: str = "e1",
        plan: Iterable[str] = (),
        timers: Iterable[str] = (),
        options: Iterable[str] = (),
        loss: float = 0.0,
        seed: int = 1,
        seconds: int = 200,
        record: Path | None = None,
    ) -> LibpriPeer:
        """Start a peer at the span in ``directory`` and wait until it is ready (not until the data link is up)."""
        record = record or directory / f"{side}.frames"
        arguments: list[str | Path] = [
            build_peer(),
            *("--dir", directory, "--listen" if listen else "--connect", "--side", side),
            *("--switch", switch, "--line", line, "--loss", str(loss), "--seed", str(seed)),
            *("--seconds", str(seconds), "--record", record),
            *(word for entry in plan for word in ("--plan", entry)),
            *(word for entry in timers for word in ("--timer", entry)),
            *options,
        ]
        peer = cls(f"libpri {side}", await cls.spawn(arguments), record)
        try:
            await peer.event("ready")
        except BaseException:
            await peer.stop()
            raise
        return peer

    async def __aenter__(self) -> LibpriPeer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def on_line(self, line: str) -> None:
        """Parse one event."""
        super().on_line(line)
        self.pending.append(json.loads(line))

    def command(self, word: str, **arguments: object) -> None:
        """Send one command; arguments are written as text, True as 1."""
        assert self.process.stdin is not None
        pairs = (
            f"{key}={quote(str(int(v) if isinstance(v, bool) else v), safe='', encoding='latin-1')}"
            for key, v in arguments.items()
        )
        self.process.stdin.write((" ".join([word, *pairs]) + "\n").encode("latin-1"))

    def _take(self, names: Sequence[str], fields: dict[str, object]) -> Event | None:
        for index, event in enumerate(self.pending):
            if event["event"] in names and all(event.get(key) == value for key, value in fields.items()):
                return self.pending.pop(index)
        return None

    async def first_event(self, names: Sequence[str], *, within: float = PATIENCE, **fields: object) -> Event:
        """The oldest event with one of ``names`` and with those fields that nobody took yet, waited for if need be."""
        found: list[Event] = []

        def taken() -> bool:
            event = self._take(names, fields)
            if event is not None:
                found.append(event)
            return event is not None

        await self.until(taken, f"event {'/'.join(names)} {fields or ''}", within)
        return found[0]

    async def event(self, name: str, *, within: float = PATIENCE, **fields: object) -> Event:
        """``first_event`` of one name."""
        return await self.first_event((name,), within=within, **fields)

    def seen(self, name: str) -> list[Event]:
        """Events of that name that nobody took."""
        return [event for event in self.pending if event["event"] == name]

    async def call(self, called: str, **arguments: object) -> int:
        """Place a call; the number by which commands and events name it."""
        self.command("call", called=called, **arguments)
        placed = await self.event("placed")
        return int(placed["call"])

    async def seen_frames(self, count: int, *, within: float = PATIENCE) -> None:
        """Wait until that many frames were recorded."""
        deadline = asyncio.get_running_loop().time() + within
        while len(self.frames()) < count:
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"{self.name}: only {len(self.frames())} of {count} frames within {within} s")
            await asyncio.sleep(POLL_SECONDS)

    def frames(self) -> list[Frame]:
        """What went over the D channel so far."""
        return read_frames(self.record)
