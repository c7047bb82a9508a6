"""Percent of a core that the media engine spends on a standing call, by what its two ends speak."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from gateway.media.engine_process import BINARY, EngineProcess

PROGRAM = BINARY.with_name("media-load")
ENDS = ("tdm", "rtp", "srtp", "gcm", "g722", "opus", "l16", "iax", "iax-trunk", "iax-aes")
_DELAY = re.compile(rb"^(\w+) to (\w+): .*median ([\d.]+) 99% ([\d.]+)", re.MULTILINE)


async def engine_load(near: str, far: str, count: int, seconds: int) -> float:
    """Percent of a core a call, of ``count`` calls between ``near`` and ``far`` (each one of ENDS), measured now."""
    output = await _run(near, far, count, seconds)
    found = re.search(rb"([\d.]+) % a call", output)
    if found is None:
        raise SystemExit(f"bench: media-load {near} {far}: {output!r}")
    return float(found[1])


async def voice_delays(near: str, far: str, count: int, seconds: int) -> list[tuple[str, float, float]]:
    """What the engine adds to the way of the voice, the 20 ms of the packet left out: direction, median, 99th in ms."""
    found = _DELAY.findall(await _run(near, far, count, seconds))
    return [(f"{source.decode()} → {to.decode()}", float(median), float(high)) for source, to, median, high in found]


async def _run(near: str, far: str, count: int, seconds: int) -> bytes:
    if not await asyncio.to_thread(PROGRAM.exists):
        raise SystemExit(f"bench: {PROGRAM} is missing, make bench builds it")
    with tempfile.TemporaryDirectory(prefix="load-") as directory:
        engine = EngineProcess(Path(directory) / "control", ["--grace", "0"], binary=BINARY)
        await asyncio.to_thread(engine.start)
        try:
            words = (str(engine.control), directory, str(count), str(seconds), near, far)
            process = await asyncio.create_subprocess_exec(PROGRAM, *words, stdout=asyncio.subprocess.PIPE)
            try:
                output, _ = await asyncio.wait_for(process.communicate(), seconds + 20)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        finally:
            await asyncio.to_thread(engine.stop)
    if process.returncode:
        raise SystemExit(f"bench: media-load {near} {far} ended with {process.returncode}")
    return output
