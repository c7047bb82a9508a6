"""Rows of SIP↔SIP calls: the gateway beside Kamailio with rtpengine and Asterisk 16, measured in the same run."""

from __future__ import annotations

from pathlib import Path

from tests.bench.engine_load import voice_delays
from tests.bench.row import Row
from tests.bench.through import RATE, through
from tests.bench.voice_calls import voice_calls

VOICE_CALLS = 100
DELAY_PAIRS = (("tdm", "rtp"), ("rtp", "rtp"), ("rtp", "srtp"))


async def calls_beside(directory: Path, calls: int) -> list[Row]:
    """CPU per call SIP → SIP."""
    spent, missing = await through(directory, calls, secret=False)
    goal = "1.9 ms, and less than Kamailio and rtpengine"
    proxied = spent.get("Kamailio", 0.0) + spent.get("rtpengine", 0.0)
    rows = [Row("CPU of Python per call SIP → SIP", f"{spent.pop('Python'):.2f} ms", goal)]
    rows.append(Row(f"… of the engine (1 s without voice), {RATE:.0f} calls/s", f"{spent.pop('engine'):.2f} ms"))
    if proxied:
        rows.append(Row("… of Kamailio and rtpengine together, same calls, same run", f"{proxied:.2f} ms"))
    rows += [Row(f"… of {what}, same calls, same run", f"{each:.2f} ms") for what, each in spent.items()]
    return rows + [Row(f"… of {why}", "not measured") for why in missing]


async def guarded_calls_beside(directory: Path, calls: int) -> list[Row]:
    """CPU per call SIP → SIP whose INVITE is challenged."""
    spent, missing = await through(directory, calls, secret=True)
    rows = [Row("CPU of Python per call SIP → SIP with a password (MD5)", f"{spent.pop('Python'):.2f} ms")]
    del spent["engine"]
    rows += [Row(f"… of {what}, same calls, same run", f"{each:.2f} ms") for what, each in spent.items()]
    return rows + [Row(f"… of {why}", "not measured") for why in missing]


async def voice_beside(directory: Path, seconds: int, *, secure: bool) -> list[Row]:
    """Percent of a core of a standing SIP↔SIP call."""
    spent, missing = await voice_calls(directory, VOICE_CALLS, seconds, secure=secure)
    what, goal = ("RTP ↔ SRTP", "0.12 %") if secure else ("RTP ↔ RTP", "0.07 %")
    python, engine = spent.pop("Python"), spent.pop("engine")
    rows = [
        Row(f"whole product, {what}, per standing call of {VOICE_CALLS}: engine", f"{engine:.3f} % of a core", goal),
        Row("… Python", f"{python:.4f} % of a core"),
    ]
    rows += [Row(f"… {who}, same calls, same run", f"{each:.3f} % of a core") for who, each in spent.items()]
    return rows + [Row(f"… {why}", "not measured") for why in missing]


async def delay_rows(seconds: int) -> list[Row]:
    """What voice waits in the engine."""
    return [
        Row(
            f"voice through the engine, {direction}: median / 99th percentile",
            f"{median:.2f} / {high:.2f} ms",
        )
        for near, far in DELAY_PAIRS
        for direction, median, high in await voice_delays(near, far, 30, seconds)
    ]
