"""Both ends of a virtual span over real sockets, against each other and against a far end in bare socket calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.core import MILLISECOND
from gateway.pri.channels import Line
from gateway.pri.lapd import Data, Lapd, LapdTimer, Side, Transmit
from gateway.pri.span import endpoint
from gateway.pri.span.faults import FaultInjector, FaultRates
from gateway.pri.span.layer1 import Alarm, Counters, CountersRead, Layer1Timer, LineChanged
from gateway.pri.span.virtual import SpanError, VirtualSpan, VirtualSpanServer

FAST = {Layer1Timer.CLEAR: 20 * MILLISECOND}
PATIENCE = 5.0


class Heard:
    """What one end told its owner."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.alarms: list[Alarm] = []
        self.errors: list[Counters] = []
        self.changed = asyncio.Event()

    def frame(self, frame: bytes, now: int) -> None:
        assert now > 0
        self.frames.append(frame)
        self.changed.set()

    def line(self, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            self.alarms.append(event.alarm)
        else:
            self.errors.append(event.counters)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: a Unix socket's path has to be short.
    with TemporaryDirectory(prefix="span") as path:
        yield Path(path) / "s"


@contextlib.asynccontextmanager
async def server(
    directory: Path, line: Line = Line.E1, **options: object
) -> AsyncIterator[tuple[VirtualSpanServer, Heard]]:
    heard = Heard()
    span = VirtualSpanServer(directory, line, heard.frame, heard.line, timers=FAST, **options)  # type: ignore[arg-type]
    span.start()
    try:
        yield span, heard
    finally:
        span.close()


@contextlib.asynccontextmanager
async def client(directory: Path, line: Line = Line.E1) -> AsyncIterator[tuple[VirtualSpan, Heard]]:
    heard = Heard()
    span = VirtualSpan(
        directory, line, heard.frame, heard.line, timers=FAST, retry_first=10 * MILLISECOND, retry_last=20 * MILLISECOND
    )
    span.start()
    try:
        yield span, heard
    finally:
        span.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """For what nobody is told of."""
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited in vain")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(4 * PATIENCE):
            await test()

    asyncio.run(bounded())


@pytest.mark.parametrize("line", list(Line))
def test_frames_go_both_ways_unchanged_and_in_order(directory: Path, line: Line) -> None:
    async def body() -> None:
        async with server(directory, line) as (far, far_heard), client(directory, line) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)
            await far_heard.until(lambda: far.alarm is Alarm.NONE)
            frames = [bytes([n]) * (n + 3) for n in range(200)]
            for frame in frames:
                assert near.send_frame(frame)
                await asyncio.sleep(0)
            await far_heard.until(lambda: len(far_heard.frames) == 200)
            assert far_heard.frames == frames
            for frame in frames[:50]:
                assert far.send_frame(frame)
            await heard.until(lambda: len(heard.frames) == 50)
            assert heard.frames == frames[:50]
            assert (directory / str(line.d_channel)).exists()
            assert near.statistics.packets_out == far.statistics.packets_in == 200

    run(body)


def test_red_while_nobody_listens_then_up_without_help(directory: Path) -> None:
    async def body() -> None:
        async with client(directory) as (near, heard):
            assert near.alarm is Alarm.RED
            assert not near.send_frame(b"\x02\x01\x7f")
            assert near.statistics.dropped_down == 1
            assert "No such file" in near.layer1.reason
            async with server(directory):
                await heard.until(lambda: near.alarm is Alarm.NONE)
            await heard.until(lambda: near.alarm is Alarm.RED)
            async with server(directory):
                await heard.until(lambda: near.alarm is Alarm.NONE)
            assert heard.alarms == [Alarm.NONE, Alarm.RED, Alarm.NONE]

    run(body)


def test_retries_back_off_to_a_bound(directory: Path) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        delays: list[float] = []
        heard = Heard()
        span = VirtualSpan(directory, Line.E1, heard.frame, heard.line)
        real = loop.call_later

        def call_later(delay: float, *args: object) -> asyncio.TimerHandle:
            if getattr(args[0], "__self__", None) is not span:
                return real(delay, *args)  # type: ignore[arg-type]
            delays.append(delay)
            return real(0, *args)  # type: ignore[arg-type]

        loop.call_later = call_later  # type: ignore[assignment,method-assign]
        span.start()
        await eventually(lambda: len(delays) >= 7)
        span.close()
        assert delays[:7] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
        assert heard.alarms == []

    run(body)


def test_a_told_alarm_shows_at_the_other_end(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, far_heard), client(directory) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)
            for alarm in (Alarm.YELLOW, Alarm.BLUE, Alarm.RED):
                far.tell_alarm(alarm)
                await heard.until(lambda alarm=alarm: near.alarm is alarm)  # type: ignore[misc]
            far.tell_alarm(Alarm.NONE)
            await heard.until(lambda: near.alarm is Alarm.NONE)
            near.tell_alarm(Alarm.YELLOW)
            await far_heard.until(lambda: far.alarm is Alarm.YELLOW)

    run(body)


def test_counters_come_on_request(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, _):
            far.layer1.own_counters = Counters(slips=425)
            async with client(directory) as (_near, heard):
                await heard.until(lambda: heard.errors == [Counters(slips=425)])

    run(body)


def test_cut_and_mend(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, far_heard), client(directory) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)
            await far_heard.until(lambda: far.alarm is Alarm.NONE)
            far.cut()
            assert far.is_cut
            assert far.alarm is Alarm.RED
            await heard.until(lambda: near.alarm is Alarm.RED)
            assert not far.send_frame(b"x")
            far.mend()
            await heard.until(lambda: near.alarm is Alarm.NONE)
            assert heard.alarms == [Alarm.NONE, Alarm.RED, Alarm.NONE]

    run(body)


def test_rights_of_directory_and_sockets(directory: Path) -> None:
    async def body() -> None:
        old = os.umask(0)
        try:
            async with server(directory):
                assert mode(directory) == 0o700
                for name in ("line", "16"):
                    assert mode(directory / name) == 0o600
            os.umask(0o077)
            async with server(directory, Line.T1, socket_mode=0o660):
                assert mode(directory / "24") == 0o660
        finally:
            os.umask(old)

    run(body)
    assert list(directory.iterdir()) == []


def test_stale_sockets_are_replaced(directory: Path) -> None:
    directory.mkdir()
    for name in ("line", "16"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
            dead.bind(str(directory / name))

    async def body() -> None:
        async with server(directory), client(directory) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)

    run(body)


def test_a_second_listener_is_refused_and_does_no_harm(directory: Path) -> None:
    async def body() -> None:
        async with server(directory), client(directory) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)
            with pytest.raises(SpanError, match=r"line: somebody listens there already"):
                async with server(directory):
                    pass
            assert near.send_frame(b"still there")
            assert (directory / "16").exists()
            assert heard.alarms == [Alarm.NONE]

    run(body)


def test_what_is_no_socket_is_not_removed(directory: Path) -> None:
    directory.mkdir()
    (directory / "16").write_text("precious")

    async def body() -> None:
        with pytest.raises(SpanError, match="16: exists and is no socket"):
            async with server(directory):
                pass

    run(body)
    assert (directory / "16").read_text() == "precious"
    assert not (directory / "line").exists()


def test_a_directory_that_cannot_be_made_is_one_clear_error(directory: Path) -> None:
    directory.write_text("a file")

    async def body() -> None:
        with pytest.raises(SpanError, match=str(directory)):
            async with server(directory):
                pass

    run(body)


@pytest.mark.parametrize("end", [VirtualSpan, VirtualSpanServer])
def test_a_path_too_long_is_one_clear_error(end: Callable[..., object]) -> None:
    heard: list[object] = []
    for length, fits in ((107 - len("/line"), True), (107 - len("/line") + 1, False)):
        directory = Path("/" + "d" * (length - 1))
        with contextlib.nullcontext() if fits else pytest.raises(SpanError, match="path of 108 octets"):
            end(directory, Line.E1, heard.append, heard.append)


def test_a_second_client_is_refused_and_the_first_keeps_the_line(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, far_heard), client(directory) as (near, heard):
            await heard.until(lambda: near.alarm is Alarm.NONE)
            await far_heard.until(lambda: far.alarm is Alarm.NONE)
            async with client(directory) as (second, _):
                await eventually(lambda: far.statistics.refused >= 2)
                assert second.alarm is Alarm.RED
            assert far_heard.alarms == [Alarm.NONE]
            assert heard.alarms == [Alarm.NONE]
            assert near.send_frame(b"mine")
            await far_heard.until(lambda: far_heard.frames == [b"mine"])

    run(body)


def test_a_client_that_comes_anew_takes_the_place_of_its_dead_self(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, far_heard):
            for count in range(1, 4):
                async with client(directory) as (near, heard):
                    await heard.until(lambda near=near: near.alarm is Alarm.NONE)  # type: ignore[misc]
                    await far_heard.until(lambda count=count: far.statistics.connections == count)  # type: ignore[misc]

    run(body)


def bare(directory: Path, name: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.settimeout(PATIENCE)
    channel.connect(str(directory / name))
    return channel


def test_a_far_end_in_bare_socket_calls(directory: Path) -> None:
    """What docs/virtual-span.md promises to a program in any language."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with server(directory) as (far, heard):
            with bare(directory, "line") as line, bare(directory, "16") as d:
                first = json.loads(await loop.run_in_executor(None, line.recv, 4096))
                assert first == {"alarm": "none"}
                line.send(b'{"alarm": "none"}')
                await heard.until(lambda: far.alarm is Alarm.NONE)
                far.send_frame(b"\x02\x01\x7f")
                assert await loop.run_in_executor(None, d.recv, 4096) == b"\x02\x01\x7f"
                d.send(b"\x02\x01\x73")
                await heard.until(lambda: heard.frames == [b"\x02\x01\x73"])
                # Wrong packets are counted and do no harm.
                line.send(b"no json")
                line.send(b'{"request": "counters"}')
                while "counters" not in (answer := json.loads(await loop.run_in_executor(None, line.recv, 4096))):
                    assert answer == {"request": "counters"}
                assert far.statistics.bad_line_packets == 1
                d.send(bytes(endpoint.MAX_FRAME + 1))
                d.send(bytes(endpoint.MAX_FRAME))
                await heard.until(lambda: len(heard.frames) == 2)
                assert far.statistics.dropped_long == 1
                assert far.alarm is Alarm.NONE
                # Either connection closing is the cut cable.
                d.close()
                await heard.until(lambda: far.alarm is Alarm.RED)
                assert await loop.run_in_executor(None, line.recv, 4096) in (b"", b'{"request": "counters"}')

    run(body)


def test_the_far_end_in_the_document_works(directory: Path) -> None:
    document = (Path(__file__).parents[3] / "docs" / "virtual-span.md").read_text()
    program = document.split("```python\n")[1].split("```")[0]
    directory.parent.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=directory.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as far:

        async def body() -> None:
            async with client(directory.parent / "span") as (near, heard):
                await heard.until(lambda: near.alarm is Alarm.NONE)
                near.send_frame(b"\x00\x01\x7f")
                await heard.until(lambda: heard.frames == [b"\x00\x01\x73"])
                near.send_frame(b"\x00\x01\x01\x00")

        try:
            run(body)
            assert far.communicate(timeout=PATIENCE)[0] == "00 01 01 00\n"
        finally:
            far.kill()


def test_a_far_end_that_does_not_read_costs_dropped_frames_and_no_time(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, heard):
            with bare(directory, "line") as line, bare(directory, "16"):
                line.send(b'{"alarm": "none"}')
                await heard.until(lambda: far.alarm is Alarm.NONE)
                sent = sum(far.send_frame(bytes(260)) for _ in range(5000))
                assert 10 < sent < 5000
                assert far.statistics.dropped_full == 5000 - sent

    run(body)


def test_a_flood_of_frames_lets_others_have_their_turn(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, heard):
            with bare(directory, "line"), bare(directory, "16") as d:
                await eventually(lambda: far.statistics.connections == 1)
                d.setblocking(False)
                for n in range(4 * endpoint.PACKETS_PER_WAKE):
                    d.send(bytes([n]))
                seen = [len(heard.frames)]
                while seen[-1] < 4 * endpoint.PACKETS_PER_WAKE:
                    await asyncio.sleep(0)
                    seen.append(len(heard.frames))
                assert max(b - a for a, b in pairwise(seen)) <= endpoint.PACKETS_PER_WAKE

    run(body)


def test_an_owner_may_close_from_within_a_callback(directory: Path) -> None:
    async def body() -> None:
        ends: list[VirtualSpan] = []
        done = asyncio.Event()

        def line(event: LineChanged | CountersRead, now: int) -> None:
            assert not done.is_set(), "called after close"
            ends[0].close()
            done.set()

        async with server(directory):
            ends.append(VirtualSpan(directory, Line.E1, lambda frame, now: None, line, timers=FAST))
            ends[0].start()
            await asyncio.wait_for(done.wait(), PATIENCE)
            await asyncio.sleep(0.05)

    run(body)


def test_no_callback_after_close_even_if_there_is_more_to_tell(directory: Path) -> None:
    async def body() -> None:
        heard = Heard()
        span = VirtualSpanServer(directory, Line.E1, heard.frame, lambda event, now: close(event, now), timers=FAST)

        def close(event: LineChanged | CountersRead, now: int) -> None:
            heard.line(event, now)
            span.close()

        span.start()
        with bare(directory, "line") as line, bare(directory, "16"):
            line.send(b'{"alarm": "none", "counters": {"slips": 1}}')
            await heard.until(lambda: bool(heard.alarms))
            await asyncio.sleep(0.01)
        assert heard.alarms == [Alarm.NONE]
        assert heard.errors == []

    run(body)


def test_a_client_that_gave_up_halfway_leaves_no_trace(directory: Path) -> None:
    async def body() -> None:
        async with server(directory) as (far, _):
            with bare(directory, "line"):
                await asyncio.sleep(0.01)
            async with client(directory) as (near, heard):
                await heard.until(lambda: near.alarm is Alarm.NONE)
            assert far.statistics.refused == 0

    run(body)


def test_faults_spoil_frames_both_ways_and_lapd_repairs_them(directory: Path) -> None:
    async def body() -> None:
        rng = random.Random(3)
        rates = FaultRates(lose=0.1, duplicate=0.05, delay=0.2, delay_time=3_000)
        delivered: list[list[bytes]] = [[], []]
        spans: list[VirtualSpan | VirtualSpanServer] = []
        timers = {LapdTimer.T200: 50 * MILLISECOND, LapdTimer.N200: 10}
        links = [Lapd(Side.NETWORK, timers=timers), Lapd(Side.USER, timers=timers)]

        def drain(index: int) -> None:
            while (output := links[index].poll()) is not None:
                match output:
                    case Transmit(frame):
                        spans[index].send_frame(frame)
                    case Data(data):
                        delivered[index].append(data)

        def on_frame(index: int) -> Callable[[bytes, int], None]:
            def received(frame: bytes, now: int) -> None:
                links[index].receive(frame, now)
                drain(index)

            return received

        def on_line(index: int) -> Callable[[LineChanged | CountersRead, int], None]:
            def changed(event: LineChanged | CountersRead, now: int) -> None:
                if isinstance(event, LineChanged) and event.alarm is Alarm.NONE:
                    links[index].activate(now)
                    links[index].establish(now)
                    drain(index)

            return changed

        far = VirtualSpanServer(directory, Line.E1, on_frame(0), on_line(0), timers=FAST)
        near = VirtualSpan(directory, Line.E1, on_frame(1), on_line(1), timers=FAST)
        spans += [far, near]
        far.start()
        near.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await eventually(lambda: all(link.established for link in links))
                far.faults_in = FaultInjector(rates, rng)
                far.faults_out = FaultInjector(rates, rng)
                messages = [b"%d" % n for n in range(100)]
                for index in (0, 1):
                    for message in messages:
                        assert links[index].send(message, endpoint.monotonic_microseconds())
                    drain(index)
                while not all(len(got) == 100 for got in delivered):
                    await asyncio.sleep(0.005)
                    now = endpoint.monotonic_microseconds()
                    for index in (0, 1):
                        at = links[index].next_timer()
                        if at is not None and at <= now:
                            links[index].handle_timer(now)
                            drain(index)
        finally:
            near.close()
            far.close()
        assert delivered == [messages, messages]
        assert far.faults_in.lost
        assert far.faults_out.lost
        assert far.faults_out.delayed

    run(body)
