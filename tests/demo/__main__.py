"""``make run``: starts the scene, makes a call each way, says what happened, then stays up with a live view."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live

from gateway.pri.span.endpoint import MAX_PATH
from tests.demo import private_bus
from tests.demo.calls import Outcome, from_exchange, from_phone
from tests.demo.ladder import ladder
from tests.demo.processes import DemoError
from tests.demo.scene import DID, PHONE, SOFTPHONE, SOFTPHONE_DID, Scene
from tests.demo.view import render
from tests.interop.program import PeerError

STAY_SECONDS = 8 * 3600
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_NAME = "exchange.sock"
REFRESH_SECONDS = 0.5

HELP = """
Join in with your own softphone on this machine (no registration needed, nothing encrypted):
  account  sip:{softphone}@127.0.0.1, listening on port {softphone_port}; outbound proxy 127.0.0.1:{sip_port}
  dial     95550100 milliwatt · 95550106 echo · 95550101 rings · 95550102 busy · 95550103 unallocated
           95550104 answers after 8 s · 95550105 announcement · 95550108 in-band ringing, then echo
           {phone} the demonstration's phone · 600 echo in the gateway · 601 milliwatt in the gateway
Let the exchange call you:  {python} -m tests.demo.command '{directory}/exchange.sock' call {softphone_did}
Cut and mend the line:      … cut    … mend    … alarm yellow
Look into it:  {python.parent}/gatewayctl --bus '{bus}' status
               … phones    … spans    … calls    … events    … test-call internal 95550106    … --help
Files: {directory}/gateway.toml, gateway.log, exchange.log, trace.jsonl, calls.jsonl
Ctrl-C ends everything.
"""


def show(outcome: Outcome) -> None:
    """Print the ladder and the checks of one call."""
    print(f"\n── {outcome.title}\n")
    for line in ladder(outcome.trace):
        print(line)
    print()
    for text, good in outcome.checks:
        print(f"  {'ok  ' if good else 'FAIL'} {text}")
    sys.stdout.flush()


async def run(directory: Path, once: bool) -> int:
    """The whole demonstration; 0 if both calls were as they must be."""
    begun = time.monotonic()
    print(f"== starting exchange, gateway, media engines and phone in {directory}", flush=True)
    scene = await Scene.start(directory, seconds=STAY_SECONDS)
    try:
        print(
            f"== after {time.monotonic() - begun:.1f} s the line is up, and phone {PHONE} registered with its password"
        )
        print(f"   from {await scene.registration()}; two calls, encrypted between phone and gateway", flush=True)
        outcomes = []
        for call in (from_exchange, from_phone):
            outcome = await call(scene)
            show(outcome)
            outcomes.append(outcome)
        good = all(outcome.good for outcome in outcomes)
        print(f"\n== {'two-way voice in both directions' if good else 'NOT as it must be, see FAIL above'}", flush=True)
        if once:
            return 0 if good else 1
        print(
            HELP.format(
                softphone=SOFTPHONE,
                softphone_port=scene.softphone_port,
                softphone_did=SOFTPHONE_DID,
                sip_port=scene.sip_port,
                phone=PHONE,
                did=DID,
                directory=directory,
                bus=private_bus.address_of(directory),
                python=Path(sys.executable),
            )
        )
        await stay(scene)
        return 0 if good else 1
    finally:
        await scene.stop()


async def stay(scene: Scene) -> None:
    """Show spans and calls until SIGINT or SIGTERM; DemoError if one of the programs ends before."""
    stop = asyncio.Event()
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with Live(console=Console(), refresh_per_second=4) as live:
        while not stop.is_set():
            scene.check_alive()
            live.update(render(await scene.gateway.command("status"), scene.records()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH_SECONDS)


def _until_stopped(directory: Path, once: bool) -> int:
    """``run``, ended in good order by SIGTERM and a closed terminal as by Ctrl-C."""

    async def bounded() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in STOPPING[1:]:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await run(directory, once)

    try:
        return asyncio.run(bounded())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


@contextlib.contextmanager
def _usable(directory: Path) -> Iterator[Path]:
    """An empty ``directory``, or a temporary one if the paths of sockets in it would be too long."""
    longest = len(bytes(directory / LONGEST_NAME))
    if longest > MAX_PATH:
        with tempfile.TemporaryDirectory(prefix="branch-gateway-") as other:
            print(
                f"== {directory} is too deep for sockets: a path of {longest} bytes, at most {MAX_PATH} are possible.\n"
                f"   Run-time files go to {other} and are removed at the end",
                flush=True,
            )
            yield Path(other)
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    yield directory


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the verdict, with 0 or 1")
    parser.add_argument("--directory", type=Path, default=Path(".run/demo"), help="where run-time files go")
    options = parser.parse_args()
    try:
        with _usable(options.directory.resolve()) as directory:
            code = _until_stopped(directory, options.once)
    except (DemoError, PeerError, OSError) as error:
        print(f"make run: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
