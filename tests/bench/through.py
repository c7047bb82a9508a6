"""CPU per SIP↔SIP call, set-up and clearing: the gateway beside Kamailio with rtpengine and Asterisk, in turns.

All stand ready at the same time and are given calls one after the other, twice round, so that what else the machine
does in the meantime meets each of them alike. No voice is sent.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.middle import CALLER, MIDDLES, SECRET, Middle
from tests.interop.program import PeerError
from tests.interop.sipp import Sipp

RATE = 20.0
HOLD = 1_000
WARM_UP = 20
ROUNDS = 2
AFTERMATH = 60
"""Seconds that a run may last longer than its calls take to begin."""


async def _calls(middle: Middle, directory: Path, calls: int) -> None:
    scenario = "uac_digest" if middle.secret else "uac_basic"
    async with await Sipp.start(
        scenario,
        directory,
        remote=("127.0.0.1", middle.port),
        service="95550112",
        calls=calls,
        rate=RATE,
        pause=HOLD,
        limit=2000,
        seconds=600,
        trace=False,
        codecs="8 101",
        caller=CALLER,
        user=CALLER,
        password=SECRET,
    ) as caller:
        await caller.succeed(calls / RATE + AFTERMATH)


async def through(directory: Path, calls: int, *, secret: bool) -> tuple[dict[str, float], list[str]]:
    """CPU milliseconds a call by what spent them, and what could not be started and why.

    ``secret``: each INVITE is challenged and comes again with the proof.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    missing: list[str] = []
    part = calls // ROUNDS
    async with AsyncExitStack() as stack:
        middles: list[Middle] = []
        for number, kind in enumerate(MIDDLES):
            far = await stack.enter_async_context(
                await Sipp.start(
                    "uas_basic", directory / f"far{number}", calls=100_000, seconds=900, trace=False, codecs="8 101"
                )
            )
            middle = kind(directory / f"middle{number}", far.port, secret=secret)
            try:
                middles.append(await stack.enter_async_context(middle))
            except PeerError as error:
                missing.append(f"{kind.name}: {str(error).splitlines()[0]}")
        for middle in middles:
            await _calls(middle, directory / "caller", WARM_UP)
        for _ in range(ROUNDS):
            for middle in middles:
                before = middle.cpu()
                await _calls(middle, directory / "caller", part)
                for what, now in middle.cpu().items():
                    spent[what] += (now - before[what]) * 1000 / (part * ROUNDS)
    return dict(spent), missing
