"""Measures and writes ``docs/bench.md``. ``python -m tests.bench.run [--quick] [--output FILE]``.

CPU time is the scheduler's own account of each process, so another load on the machine adds noise but does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.bench.bare import bare_calls
from tests.bench.beside import calls_beside, delay_rows, guarded_calls_beside, voice_beside
from tests.bench.bus_objects import bus_objects
from tests.bench.engine_load import engine_load
from tests.bench.iax_beside import iax_calls, iax_voice
from tests.bench.processes import machine, percentile, share_stolen, stolen, tree, used
from tests.bench.reconfiguration import reconfiguration_rows
from tests.bench.registrations import ROUNDS as REGISTERING_ROUNDS
from tests.bench.registrations import registrations
from tests.bench.row import Row
from tests.bench.scene import BenchScene
from tests.bench.tls import handshakes
from tests.demo.processes import Service
from tests.interop.kamailio import SWIFT_MEMORY, Kamailio
from tests.interop.program import PeerError
from tests.interop.sipp import Sipp

SPANS = 8
HOLD = 1_000
WARM_UP = 40
RATE = 20.0
WINDOW = 10.0
BARE_SECONDS = 5
ROUND_TRIP_RATE = 100.0
LOAD_CALLS = 100
TRANSCODED_CALLS = 30
"""Where one side speaks another codec than G.711: a hundred would be more than a core. And in a trunk of IAX2."""
LOAD_SECONDS = 8
QUICK_SECONDS = 3
MOST_TRIES = 4
HOST_LOOKS = 20
HOST_LOOK_SECONDS = 3.0
HOST_SHARE = 0.03
"""Of the processors' time that a host may give to others when a step begins."""
LOAD_GOALS = {
    ("tdm", "rtp"): "",
    ("tdm", "srtp"): "0.10 %",
    ("tdm", "gcm"): "0.10 %",
    ("rtp", "rtp"): "0.07 %",
    ("rtp", "srtp"): "0.12 %",
    ("rtp", "gcm"): "0.12 %",
    ("rtp", "g722"): "",
    ("rtp", "opus"): "",
    ("rtp", "l16"): "",
    ("g722", "opus"): "",
    ("tdm", "g722"): "",
    ("tdm", "opus"): "",
    ("g722", "g722"): "",
    ("opus", "opus"): "",
    ("tdm", "iax"): "",
    ("tdm", "iax-trunk"): "0.04 %",
    ("tdm", "iax-aes"): "0.08 %",
}
COMPANDED = frozenset({"tdm", "rtp", "srtp", "gcm", "iax", "iax-aes"})
LOAD_NAMES = {
    "tdm": "TDM",
    "rtp": "RTP",
    "srtp": "SRTP (AES_CM_128_HMAC_SHA1_80)",
    "gcm": "SRTP (AEAD_AES_128_GCM)",
    "g722": "RTP in G.722",
    "opus": "RTP in Opus",
    "l16": "RTP in L16",
    "iax": "IAX2",
    "iax-trunk": "IAX2 in a trunk",
    "iax-aes": "IAX2 in encrypted mini frames",
}


def say(text: str) -> None:
    """Progress for the person who waits."""
    print(f"== {text}", flush=True)


async def per_call_from_pstn(directory: Path, calls: int) -> list[Row]:
    """CPU per call PRI → SIP."""
    async with BenchScene(directory, SPANS) as scene, await scene.answering(calls + WARM_UP + 1, seconds=600) as far:
        await scene.load(RATE, WARM_UP, HOLD)
        gateway, engine, sipp = scene.gateway(), scene.engine(), used(far.process.pid)
        result = await scene.load(RATE, calls, HOLD)
        gateway, engine = scene.gateway() - gateway, scene.engine() - engine
        spent = used(far.process.pid) - sipp
        if result["failed"]:
            raise SystemExit(f"bench: {result['failed']} of {calls} calls failed")
    return [
        Row("CPU of Python per call PRI → SIP", f"{1000 * gateway.cpu / calls:.2f} ms", "2 ms"),
        Row(f"… of the engine (1 s of voice), {RATE:.0f} calls/s", f"{1000 * engine.cpu / calls:.2f} ms"),
        Row("… of sipp answering, same run", f"{1000 * spent.cpu / calls:.2f} ms"),
    ]


async def per_call_from_sip(directory: Path, calls: int) -> list[Row]:
    """CPU per call SIP → PRI."""
    async with BenchScene(directory, SPANS) as scene:
        async with await scene.calling(WARM_UP, RATE, HOLD) as far:
            await far.succeed(60)
        await scene.until_calls(0)
        gateway, engine = scene.gateway(), scene.engine()
        async with await scene.calling(calls, RATE, HOLD, seconds=600) as far:
            await far.succeed(calls / RATE + 60)
        await scene.until_calls(0)
        gateway, engine = scene.gateway() - gateway, scene.engine() - engine
    return [
        Row("CPU of Python per call SIP → PRI", f"{1000 * gateway.cpu / calls:.2f} ms", "2 ms"),
        Row(f"… of the engine (1 s of voice), {RATE:.0f} calls/s", f"{1000 * engine.cpu / calls:.2f} ms"),
    ]


async def peer_per_call(directory: Path, calls: int) -> list[Row]:
    """The yardstick: the same SIP call through Kamailio, which relays signalling and touches no voice."""
    what = "CPU of Kamailio per call SIP → SIP, signalling only, same run"
    usual = await _through_kamailio(directory / "usual", calls // 2, ())
    swift = await _through_kamailio(directory / "swift", calls // 2, SWIFT_MEMORY)
    return [Row(what, f"{usual:.2f} ms"), Row(f"… with its allocator {SWIFT_MEMORY[1]}", f"{swift:.2f} ms")]


async def _through_kamailio(directory: Path, calls: int, options: Sequence[str]) -> float:
    """CPU milliseconds a call."""
    await asyncio.to_thread(directory.mkdir, parents=True)
    async with (
        await Sipp.start("uas_basic", directory, calls=calls + 1, seconds=600, trace=False) as called,
        await Kamailio.start(directory, {"9": [f"127.0.0.1:{called.port}"]}, options=options) as proxy,
    ):
        # Its processes begin when it listens already.
        await asyncio.sleep(1)
        before = tree(proxy.process.pid)
        async with await Sipp.start(
            "uac_basic",
            directory,
            remote=("127.0.0.1", proxy.port),
            service="95550112",
            calls=calls,
            rate=RATE,
            pause=HOLD,
            limit=2000,
            seconds=600,
            trace=False,
        ) as caller:
            await caller.succeed(calls / RATE + 60)
        return 1000 * (tree(proxy.process.pid) - before) / calls


async def delays(directory: Path, calls: int) -> list[Row]:
    """Set-up delay that the gateway adds, at RATE calls a second each way."""
    async with BenchScene(directory, SPANS, probe=True) as scene:
        trips = directory / "round_trips.json"
        words = ["-m", "tests.bench.round_trip", str(ROUND_TRIP_RATE), str(trips)]
        yardstick = await Service.start("round_trip", words, directory / "round_trip.log")
        try:
            async with await scene.answering(calls + 1, seconds=600):
                await scene.load(RATE, calls, HOLD)
            async with await scene.calling(calls, RATE, HOLD, seconds=600) as far:
                await far.succeed(calls / RATE + 60)
            await scene.until_calls(0)
        finally:
            await yardstick.stop()
    taken: dict[str, list[float]] = {}
    for line in await asyncio.to_thread(lambda: scene.delays.read_text().splitlines()):
        name, milliseconds = json.loads(line)
        taken.setdefault(name, []).append(milliseconds)
    idle = json.loads(await asyncio.to_thread(trips.read_text))
    rows = [
        Row(
            f"{name}, median / 99th percentile of {len(values)}",
            f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} ms",
            "3 ms at the 99th" if name == "SETUP → INVITE" else "",
        )
        for name, values in taken.items()
    ]
    rows.append(
        Row(
            "… an empty round trip between two other processes, same run: median / 99th / longest",
            f"{percentile(idle, 0.5):.2f} / {percentile(idle, 0.99):.2f} / {max(idle):.2f} ms",
        )
    )
    return rows


async def standing(directory: Path, count: int) -> list[Row]:
    """Percent of a core per standing G.711 call, and memory per call."""
    async with BenchScene(directory, SPANS) as scene:
        await asyncio.sleep(1)
        empty_gateway, empty_engine = scene.gateway(), scene.engine()
        async with await scene.answering(count + 1, echo=True, seconds=600) as far:
            await scene.exchange.command(
                "load", called="4165550101", rate=min(50.0, max(count / 2, 1.0)), calls=count, hold=-1
            )
            await scene.until_calls(count)
            await asyncio.sleep(3)
            gateway, engine, sipp = scene.gateway(), scene.engine(), used(far.process.pid)
            await asyncio.sleep(WINDOW)
            now_gateway, now_engine = scene.gateway(), scene.engine()
            gateway_cpu, engine_cpu = (now_gateway - gateway).cpu, (now_engine - engine).cpu
            sipp_cpu = (used(far.process.pid) - sipp).cpu
    share = 100 / WINDOW / count
    bare = await bare_calls(count, BARE_SECONDS)
    rows = [
        Row(
            f"engine, per standing call of {count}",
            f"{engine_cpu * share:.3f} % of a core",
            "0.05 %" if count > 1 else "",
        ),
        Row(
            f"… the bare system calls of {count}, and how many times that the engine took",
            f"{bare:.3f} % of a core, {engine_cpu * share / bare:.2f}",
        ),
        Row(f"… Python, {count} standing", f"{gateway_cpu * share:.4f} % of a core"),
        Row(f"… sipp's echo of the same voice, {count} standing", f"{sipp_cpu * share:.3f} % of a core"),
    ]
    if count >= 30:
        python = (now_gateway - empty_gateway).resident / count / 1024
        engine_memory = (now_engine - empty_engine).resident / count / 1024
        rows.append(
            Row(f"memory per call, {count} standing: Python / engine", f"{python:.0f} / {engine_memory:.0f} KiB")
        )
    return rows


async def engine_pairs(seconds: int) -> list[Row]:
    """The engine alone, by what the two ends of a call speak."""
    rows = []
    for (near, far), goal in LOAD_GOALS.items():
        calls = LOAD_CALLS if {near, far} <= COMPANDED else TRANSCODED_CALLS
        load = await engine_load(near, far, calls, seconds)
        name = f"engine, {LOAD_NAMES[near]} ↔ {LOAD_NAMES[far]}, per standing call of {calls}"
        rows.append(Row(name, f"{load:.3f} % of a core", goal))
        if {near, far} <= {"tdm", "rtp"}:
            bare = await bare_calls(calls, seconds, relay=near == far)
            what = "… the bare system calls of these, and how many times that the engine took"
            rows.append(Row(what, f"{bare:.3f} % of a core, {load / bare:.2f}"))
    return rows


async def measure(directory: Path, quick: bool) -> list[Row]:
    """Everything, one after the other."""
    calls, seconds, rounds = (100, QUICK_SECONDS, 1) if quick else (600, LOAD_SECONDS, REGISTERING_ROUNDS)
    plan: list[tuple[str, Callable[[Path], Awaitable[list[Row]]]]] = [
        ("CPU per call, PRI to SIP", lambda where: per_call_from_pstn(where, calls)),
        ("CPU per call, SIP to PRI", lambda where: per_call_from_sip(where, calls)),
        ("CPU per call, SIP to SIP, beside others", lambda where: calls_beside(where, calls)),
        ("the same with a password", lambda where: guarded_calls_beside(where, calls // 2)),
        ("the yardstick, Kamailio", lambda where: peer_per_call(where, calls)),
        ("set-up delay", lambda where: delays(where, calls)),
        ("CPU per call, IAX2, beside Asterisk", lambda where: iax_calls(where, calls // 2)),
        ("a trunk of IAX2 beside Asterisk", lambda where: iax_voice(where, seconds, encrypted=False)),
        ("the same encrypted", lambda where: iax_voice(where, seconds, encrypted=True)),
        ("TLS handshakes", tls_handshakes),
        ("registrations", lambda where: phone_registrations(where, rounds)),
        ("a thousand objects on D-Bus", objects_on_bus),
        ("another configuration, while it runs", reconfiguration_rows),
        *((f"{count} standing calls", _standing(count)) for count in (1, 30, 240)),
        ("standing SIP to SIP calls beside others", lambda where: voice_beside(where, seconds, secure=False)),
        ("the same with SRTP on one side", lambda where: voice_beside(where, seconds, secure=True)),
        ("the engine alone", lambda _where: engine_pairs(seconds)),
        ("delay of the voice", lambda _where: delay_rows(seconds)),
    ]
    rows: list[Row] = []
    before = stolen()
    for number, (what, work) in enumerate(plan):
        say(f"{number + 1} of {len(plan)}: {what}")
        found = await _undisturbed(work, directory / f"b{number}")
        for row in found:
            print(f"   {row.what}: {row.value}" + (f" (goal {row.goal})" if row.goal else ""), flush=True)
        rows += found
    taken = share_stolen(before, stolen())
    rows.append(Row("of the processors' time, given by the host to others while this was measured", f"{taken:.1%}"))
    return rows


async def _undisturbed(work: Callable[[Path], Awaitable[list[Row]]], directory: Path) -> list[Row]:
    """What one step found, begun when the host lets us be; one that a call of it spoilt, anybody's, is done again."""
    for again in range(MOST_TRIES - 1):
        await _wait_for_host()
        try:
            return await work(directory.with_name(f"{directory.name}-{again}"))
        except (PeerError, SystemExit) as spoilt:
            say(f"again, for this was spoilt: {spoilt}")
    await _wait_for_host()
    return await work(directory)


async def _wait_for_host() -> None:
    """Wait while a host gives a good part of our processors to others, but not for ever."""
    for _ in range(HOST_LOOKS):
        before = stolen()
        await asyncio.sleep(HOST_LOOK_SECONDS)
        share = share_stolen(before, stolen())
        if share < HOST_SHARE:
            return
        say(f"the host has taken {share:.0%} of the processors: waiting")
        await asyncio.sleep(HOST_LOOK_SECONDS * 2)


async def tls_handshakes(directory: Path) -> list[Row]:
    """TLS handshakes a second of one core."""
    return [Row(what, value) for what, value in await handshakes(directory)]


async def phone_registrations(directory: Path, rounds: int) -> list[Row]:
    """Registrations a second of one core."""
    return [Row(what, value) for what, value in await registrations(directory, rounds)]


async def objects_on_bus(directory: Path) -> list[Row]:
    """What the event loop spends on whoever looks at a gateway with a thousand phones."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    return [Row(what, value, goal) for what, value, goal in await bus_objects(directory)]


def _standing(count: int) -> Callable[[Path], Awaitable[list[Row]]]:
    return lambda where: standing(where, count)


def table(rows: list[Row]) -> str:
    """The page that is written."""
    lines = [
        "# What a call costs",
        "",
        "Measured by `make bench` on the whole product: simulated exchange with eight E1 spans, gateway, media engine,",
        "sipp as the SIP side, all on one machine over loopback. CPU time is what the scheduler accounted to the",
        "process. Set-up delay is from the read of one message to the write of the other, inside the gateway.",
        "",
        f"Machine: {machine()}; Python {sys.version.split()[0]}.",
        "",
        "| what | measured | goal |",
        "|---|---|---|",
        *(f"| {row.what} | {row.value} | {row.goal} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixth of the calls, for a look")
    parser.add_argument("--output", type=Path, default=Path("docs/bench.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rows = asyncio.run(measure(Path(directory), options.quick))
    options.output.write_text(table(rows))
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
