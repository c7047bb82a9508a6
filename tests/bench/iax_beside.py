"""Rows of IAX2↔PRI calls: what they cost the gateway, and the Asterisk at the other end of the trunk, same run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.processes import tree
from tests.bench.row import Row
from tests.bench.scene import BenchScene
from tests.interop.program import free_port
from tests.outside.asterisk import Asterisk
from tests.outside.iax_site import site

RATE = 10.0
HOLD = 1_000
WARM_UP = 20
STANDING = 30
SPANS = 2
CALLED = "4165550670"
"""The site echoes."""
DIALLED = "95550112"
SETTLE_SECONDS = 3.0
_OURS = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
[[trunk]]
name = "site"
technology = "iax2"
host = "127.0.0.1:{far}"
defaultuser = "branch"
secret = "apples"
context = "from-hq"
{terms}
[[route]]
context = "from-pstn"
match = "_41655506XX"
to = ["iax2:site/{{number}}"]
"""


@asynccontextmanager
async def _scene(directory: Path, *, encrypted: bool) -> AsyncIterator[tuple[BenchScene, Asterisk]]:
    """Gateway and site with a trunk between them; nothing is written about each call."""
    near, far = free_port(), free_port()
    ours, general, peer = "trunk = true", "", "trunk = yes\n"
    if encrypted:
        ours, general = "forceencryption = true", "encryption = yes\nforceencryption = yes\n"
        peer = "encryption = yes\n"
    quiet = {"logger.conf": "[general]\n[logfiles]\nfull => warning,error\n"}
    scene = BenchScene(directory, SPANS, extra=_OURS.format(port=near, far=far, terms=ours))
    async with site(near, general=general, peer=peer, iax=far, files=quiet) as asterisk, scene:
        yield scene, asterisk


async def iax_calls(directory: Path, calls: int) -> list[Row]:
    """CPU per call, PRI → IAX2 and IAX2 → PRI."""
    async with _scene(directory, encrypted=False) as (scene, asterisk):
        await scene.load(RATE, WARM_UP, HOLD, CALLED)
        python, engine, theirs = scene.gateway().cpu, scene.engine().cpu, tree(asterisk.pid)
        result = await scene.load(RATE, calls, HOLD, CALLED)
        if result["failed"]:
            raise SystemExit(f"bench: {result['failed']} of {calls} calls failed")
        out = [scene.gateway().cpu - python, scene.engine().cpu - engine, tree(asterisk.pid) - theirs]
        await _originate(scene, asterisk, WARM_UP)
        python, engine, theirs = scene.gateway().cpu, scene.engine().cpu, tree(asterisk.pid)
        await _originate(scene, asterisk, calls)
        into = [scene.gateway().cpu - python, scene.engine().cpu - engine, tree(asterisk.pid) - theirs]
    rows = []
    for way, spent in (("PRI → IAX2", out), ("IAX2 → PRI", into)):
        ours, voice, beside = (f"{1000 * each / calls:.2f} ms" for each in spent)
        rows.append(Row(f"CPU of Python per call {way}", ours, "2 ms"))
        rows.append(Row(f"… of the engine (1 s of voice in a trunk), {RATE:.0f} calls/s", voice))
        rows.append(Row("… of Asterisk 16 at the other end, same calls", beside))
    return rows


async def _originate(scene: BenchScene, asterisk: Asterisk, calls: int) -> None:
    """Let the site call so often, RATE times a second, and wait until all is over."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(calls):
        await asyncio.sleep(max(begun + number / RATE - loop.time(), 0))
        await asterisk.manager.originate(f"IAX2/branch/{DIALLED}", "Wait", "1")
    await asyncio.sleep(1.5)
    await scene.until_calls(0)


async def iax_voice(directory: Path, seconds: int, *, encrypted: bool) -> list[Row]:
    """Percent of a core of a standing IAX2↔PRI call of STANDING."""
    async with _scene(directory, encrypted=encrypted) as (scene, asterisk):
        await scene.exchange.command("load", called=CALLED, rate=RATE, calls=STANDING, hold=-1)
        await scene.until_calls(STANDING)
        await asyncio.sleep(SETTLE_SECONDS)
        python, engine, theirs = scene.gateway().cpu, scene.engine().cpu, tree(asterisk.pid)
        await asyncio.sleep(seconds)
        spent = [scene.gateway().cpu - python, scene.engine().cpu - engine, tree(asterisk.pid) - theirs]
    ours, voice, beside = (100 * each / seconds / STANDING for each in spent)
    what, goal = ("IAX2 in encrypted mini frames", "0.08 %") if encrypted else ("IAX2 in a trunk", "0.04 %")
    return [
        Row(f"whole product, TDM ↔ {what}, per standing call of {STANDING}: engine", f"{voice:.3f} % of a core", goal),
        Row("… Python", f"{ours:.4f} % of a core"),
        Row("… Asterisk 16 at the other end (its IAX2 leg and an echo), same calls", f"{beside:.3f} % of a core"),
    ]
