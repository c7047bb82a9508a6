"""The yardstick for the media engine: the same system calls without an engine, from ``engine/bench/bare_calls.c``."""

from __future__ import annotations

import asyncio

from gateway.media.engine_process import BINARY

PROGRAM = BINARY.with_name("bare-calls")


async def bare_calls(count: int, seconds: int) -> float:
    """Percent of a core that each of ``count`` calls costs in bare system calls on this machine, measured now."""
    if not await asyncio.to_thread(PROGRAM.exists):
        raise SystemExit(f"bench: {PROGRAM} is missing, make bench builds it")
    process = await asyncio.create_subprocess_exec(
        PROGRAM, str(count), str(seconds), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return float(output)
