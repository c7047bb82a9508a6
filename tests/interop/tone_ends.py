"""Telephones by SIP, hundreds of them, each with a tone of its own that is listened to sample by sample.

Our own SIP makes and takes their calls; their voice is peers/tone_ends.c. What is heard is either one's own tone, which
an echo sends back, or that of another telephone (``pair``).
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.media.api import Failure, OnOpened, OnStatistics, RtpSettings
from gateway.pri.span.endpoint import monotonic_microseconds
from tests.interop.echo_media import EchoMedia, EchoStream
from tests.interop.held_up import Watch
from tests.interop.libpri import BUILD, PEERS
from tests.interop.our_sip import OurSip, answer
from tests.interop.program import PATIENCE, PeerError, Program, find_program, worker

FRAME = 160
RATE = 8000
LEAST_CYCLES, TONES = 14, 97
"""In a period of 331 samples: from 338 to 2659 Hz."""
LEAST_HEARD = 0.95
WAY_MICROSECONDS = 500_000
"""What may lie between a program that waits for a processor and the moment in which that is heard."""
STOPPED_MICROSECONDS = 300_000
PERIOD = 331
SHIFTS = (1, -1, 2, -2, 3, -3)
LEAST_MIXED, MOST_MIXED = FRAME + FRAME // 2, 5 * FRAME // 2
MOST_LONGER = 0.1
"""How often a second it may become longer for a telephone. That is no gap, but a gateway that stalls does it to all."""
GOING_ON = 1.0


def build() -> Path:
    """The program, made if need be."""
    make = find_program("make", "make")
    find_program("gcc", "gcc")
    target = BUILD / "tone_ends"
    words: list[str | Path] = [make, "-s", "-C", PEERS, f"BUILD={BUILD}", str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"tone_ends does not build:\n{done.stderr}")
    return target


@dataclass(frozen=True, slots=True)
class Fault:
    """``samples`` were not the tone's next, ``quiet`` of them silence, and it was ``jump`` too far on behind them.

    ``at`` is the time, in microseconds of CLOCK_MONOTONIC.
    """

    at: int
    samples: int
    jump: int
    quiet: int

    @property
    def shift(self) -> int:
        """By how many frames the delay became shorter, as a jitter buffer made one of two; below 0: longer.

        0 is none of that: something was lost. A call that passes several gateways may have it several times at once.
        """
        for frames in SHIFTS:
            if (frames * FRAME - self.jump) % PERIOD == 0 and self.samples <= (abs(frames) + 1) * FRAME:
                return 0 if self.quiet else frames
        return 0

    @property
    def mixed(self) -> bool:
        """Whether it may be a delay that became longer in one gateway and shorter in the next at the same time."""
        return not self.jump and not self.quiet and LEAST_MIXED <= self.samples <= MOST_MIXED

    def __str__(self) -> str:
        lasted, quiet = (1000 * samples / RATE for samples in (self.samples, self.quiet))
        return f"{lasted:.1f} ms not its tone, {quiet:.1f} of them silence, then {self.jump:+} samples"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one telephone heard: how many packets, from how many senders, and what was not its tone.

    ``broken`` is since when it hears something else, 0 if it does not; ``since`` how long ago the last packet came.
    """

    end: int
    sent: int
    received: int
    senders: int
    locked: bool
    broken: int
    since: int
    faults: tuple[Fault, ...]
    pauses: tuple[tuple[int, int], ...]

    @property
    def gaps(self) -> list[Fault]:
        """Where something of the tone was missing."""
        return [each for each in self.faults if not each.shift]

    def problems(self, excused: Callable[[int, int], bool], *, chained: bool = False) -> list[str]:
        """What is wrong with it, less what lasted ``excused(from, to)``. ``chained``: it comes by several gateways."""
        if not self.locked:
            return [f"never heard its tone ({self.received} packets)"]
        gaps = (each for each in self.gaps if not (chained and each.mixed))
        found = [str(each) for each in gaps if not excused(each.at, each.at)]
        found += [f"{length / 1000:.0f} ms nothing" for at, length in self.pauses if not excused(at, at + length)]
        if self.broken and not excused(self.broken, self.broken):
            found.append("it is something else now")
        if self.since > STOPPED_MICROSECONDS:
            found.append(f"nothing came for {self.since / 1000:.0f} ms at the end")
        if self.senders != 1:
            found.append(f"{self.senders} senders")
        return found


class ToneEnds(Program):
    """The program."""

    @classmethod
    async def start(cls) -> ToneEnds:
        return cls("tone_ends", await cls.spawn([build()]))

    async def __aenter__(self) -> ToneEnds:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.stop()

    def tell(self, *words: object) -> None:
        """One command."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    async def report(self) -> list[Heard]:
        """What all have heard since ``judge``."""
        self.lines.clear()
        self.tell("report")
        await self.until(lambda: bool(self.lines) and "done" in self.lines[-1], "its report")
        return [_heard(json.loads(line)) for line in self.lines[:-1]]


def _heard(said: dict[str, Any]) -> Heard:
    faults = tuple(Fault(at, samples, jump, quiet) for at, samples, jump, quiet in said["events"])
    pauses = tuple((at, length) for at, length in said["pauses"])
    names = ("end", "sent", "received", "senders", "locked", "broken", "since")
    return Heard(**{name: said[name] for name in names}, faults=faults, pauses=pauses)


class ToneMedia(EchoMedia):
    """A media engine of telephones with a tone."""

    def __init__(self, program: ToneEnds, after_reply: Callable[[], None]) -> None:
        super().__init__(after_reply)
        self._program = program
        self._port = 2000 + worker() * 800
        self._ports: dict[int, int] = {}
        self._told: dict[int, int] = {}

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        """A port that nobody has; the program takes it as soon as the far end's is known."""
        while True:
            self._port += 2
            if self._port >= 2000 + (worker() + 1) * 800:
                return self._add(EchoStream("rtp", label), on_reply, Failure(98, "no port"))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((address, self._port))
                except OSError:
                    continue
            number = self._add(EchoStream("rtp", label), on_reply, port=self._port)
            self._ports[number] = self._port
            return number

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        """Speak, as soon as it is known where to."""
        super().set_rtp(stream, settings)
        if settings.port and self._told.get(stream) != settings.port:
            self._told[stream] = settings.port
            cycles = tone_of(stream)
            self._program.tell("open", stream, self._ports[stream], settings.port, cycles, cycles)

    def pair(self, first: int, second: int) -> None:
        """From now on they should hear each other."""
        self._program.tell("expect", first, tone_of(second))
        self._program.tell("expect", second, tone_of(first))

    def skip(self, stream: int, packets: int) -> None:
        """Let it send so many packets not at all."""
        self._program.tell("skip", stream, packets)

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        """Silence."""
        if stream in self._told and not self.streams[stream].closed:
            self._program.tell("close", stream)
        super().close(stream, on_reply)


def tone_of(stream: int) -> int:
    """The cycles of the tone that telephone ``stream`` sends."""
    return LEAST_CYCLES + stream % TONES


class Telephones(OurSip):
    """All telephones of a test, at one address. ``chained`` are those whose calls pass several gateways."""

    def __init__(self, program: ToneEnds, **settings: Any) -> None:
        self.program = program
        self.chained: set[int] = set()
        super().__init__(plan={"": answer}, **settings)

    def _media(self) -> ToneMedia:
        return ToneMedia(self.program, self._after)

    @property
    def tones(self) -> ToneMedia:
        """Their voice."""
        assert isinstance(self.media, ToneMedia)
        return self.media

    async def all_hear(self, count: int, within: float = PATIENCE) -> None:
        """Wait until there are ``count`` telephones, and each has heard nothing but its tone for a second."""
        deadline = monotonic_microseconds() + round(within * 1e6)
        good: set[int] = set()
        while True:
            self.program.tell("judge")
            await self.pass_time(GOING_ON)
            heard = await self.program.report()
            good |= {each.end for each in heard if not each.problems(lambda _begin, _end: False)}
            if len(good) == len(heard) == count:
                return
            if monotonic_microseconds() > deadline:
                bad = [each for each in heard if each.end not in good]
                raise PeerError(f"{len(good)} of {len(heard)} telephones hear their tone, expected {count}: {bad[:4]}")

    async def pass_time(self, seconds: float) -> None:
        """Let them talk for ``seconds``."""
        end = monotonic_microseconds() + round(seconds * 1e6)
        await self.until(lambda: monotonic_microseconds() >= end, "time to pass")


SETTLING = 1.0
"""Seconds in which what a telephone hears just then has to become its tone again, with the fault noted by then."""
MUCH_HELD_UP = 0.4
"""Share of the time in which the machine let programs wait, from which on little can be said."""


class Listening:
    """A block in which no telephone may hear anything but its tone, unless the machine let ``pids`` wait just then."""

    def __init__(self, telephones: Telephones, pids: Iterable[int]) -> None:
        self._telephones = telephones
        program = telephones.program
        self.watch = Watch((program.process.pid, *pids), monotonic_microseconds)
        self.heard: list[Heard] = []
        self.begun = 0

    async def __aenter__(self) -> Listening:
        self._telephones.program.tell("judge")
        self.begun = monotonic_microseconds()
        self.watch.start()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        deadline = monotonic_microseconds() + round(SETTLING * 1e6)
        self.heard = await self._telephones.program.report()
        # In the middle of a change of delay it is not known yet how it goes on.
        while any(each.broken for each in self.heard) and monotonic_microseconds() < deadline:
            await self._telephones.pass_time(0.1)
            self.heard = await self._telephones.program.report()
        await self.watch.stop()
        if error is None:
            self._judge()

    @property
    def held_up(self) -> float:
        """The share of the time in which something waited for a processor, so that nothing can be said of it."""
        return sum(moment.held_up for moment in self.watch.moments) / max(len(self.watch.moments), 1)

    def excused(self, begin: int, end: int) -> bool:
        """Whether a program waited for a processor then."""
        return self.watch.held_up(begin - WAY_MICROSECONDS, end, WAY_MICROSECONDS / 1e6)

    def _judge(self) -> None:
        seconds = (monotonic_microseconds() - self.begun) / 1e6
        chained = self._telephones.chained
        problems = {
            each.end: found
            for each in self.heard
            if (found := each.problems(self.excused, chained=each.end in chained))
        }
        least = min((each.received / (50 * seconds) for each in self.heard), default=0.0)
        faults = [fault for each in self.heard for fault in each.faults]
        gaps = sum(len(each.gaps) for each in self.heard)
        changes = [fault for fault in faults if fault.shift]
        longer = sum(fault.shift < 0 and not self.excused(fault.at, fault.at) for fault in changes)
        mixed = sum(fault.mixed for each in self.heard if each.end in chained for fault in each.gaps)
        print(
            f"\n{len(self.heard)} telephones listened for {seconds:.1f} s and heard {100 * least:.1f} % of it or more; "
            f"{len(changes)} changes of delay by a frame ({longer} longer without excuse), {gaps - mixed} gaps; "
            f"the machine was short of time for {100 * self.held_up:.0f} % of it"
        )
        if problems or not self.heard:
            raise PeerError(f"of {len(self.heard)} telephones these heard something else than their tone: {problems}")
        if least < LEAST_HEARD:
            raise PeerError(f"a telephone heard {100 * least:.1f} % of {seconds:.1f} s")
        if mixed > MOST_LONGER * len(chained) * seconds and self.held_up < MUCH_HELD_UP:
            raise PeerError(f"{mixed} times 40 ms were not the tone in {seconds:.1f} s of {len(chained)} telephones")
        if longer > MOST_LONGER * len(self.heard) * seconds:
            raise PeerError(
                f"the delay of {len(self.heard)} telephones became longer {longer} times in {seconds:.1f} s"
            )


async def hears_a_gap(telephones: Telephones, stream: int, packets: int) -> None:
    """Leave out ``packets`` of what telephone ``stream`` sends: PeerError unless that, and nothing less, is heard."""
    before = {each.end: len(each.gaps) for each in await telephones.program.report()}
    telephones.tones.skip(stream, packets)
    deadline = monotonic_microseconds() + round(PATIENCE * 1e6)
    while True:
        heard = next(each for each in await telephones.program.report() if each.end == stream)
        # A packet that was left out may be hidden by what sounds like it, but for a place where the tone breaks.
        if any(each.samples >= packets * FRAME // 2 for each in heard.gaps[before[stream] :]):
            return
        if monotonic_microseconds() > deadline:
            raise PeerError(f"a gap of {packets} packets is not heard: {heard}")
        await telephones.pass_time(GOING_ON / 10)
