"""The yardstick for the media engine: the same system calls without an engine, from ``engine/bench/bare_calls.c``."""

from __future__ import annotations

import asyncio

from gateway.media.engine_process import BINARY

PROGRAM = BINARY.with_name("bare-calls")


async def bare_calls(count: int, seconds: int, *, relay: bool = False) -> float:
    """Percent of a core that each of ``count`` calls costs in bare system calls on this machine, measured now.

    ``relay``: both ends of a call are UDP, else one is a line.
    """
    if not await asyncio.to_thread(PROGRAM.exists):
        raise SystemExit(f"bench: {PROGRAM} is missing, make bench builds it")
    words = [str(count), str(seconds), *(["rtp"] if relay else [])]
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return float(output)
