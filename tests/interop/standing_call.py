"""A call that stands while something else happens: a telephone talks to an echo behind the line, and hears itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from tests.interop.baresip import Baresip
from tests.interop.held_up import Watch
from tests.interop.product import Product
from tests.interop.program import PeerError
from tests.interop.tone import RATE, goertzel, read_samples

ECHO = "5550106"
HERTZ = 600.0
WINDOW = RATE // 4
WAV_HEADER = 44
PURE = 0.9
WAY_SECONDS = 0.5
"""What may lie between a program that waits for a processor and the recording in which that is heard."""
CONFIGURATION = """
[[phone]]
name = "talker"
host = "127.0.0.1:{port}"
context = "talkers"
{terms}
[[route]]
context = "talkers"
match = "_8."
to = ["pri:r0/{{number:1}}"]
"""


def configuration(phone: Baresip, terms: str = "") -> str:
    """What the gateway has to know of ``phone``, which is called "talker"."""
    return CONFIGURATION.format(port=phone.sip_port, terms=terms)


async def telephone(directory: Path, **settings: Any) -> Baresip:
    """The telephone."""
    return await Baresip.start(directory / "talker", user="talker", tone=HERTZ, **settings)


class StandingCall:
    """The call of ``phone``, which is heard when the block begins; the block has to be clean."""

    def __init__(self, product: Product, phone: Baresip, at: str = "") -> None:
        self._product, self._phone, self._at = product, phone, at or f"127.0.0.1:{product.sip_port}"
        self._from = 0
        self._watch: Watch

    async def __aenter__(self) -> StandingCall:
        await self._phone.dial(f"sip:8{ECHO}@{self._at}")
        await self._phone.hears(HERTZ)
        self._watch = Watch((self._phone.process.pid, *self._product.voice_pids), self._samples)
        self._watch.start()
        self._from = self._samples()
        return self

    @property
    def port(self) -> int:
        """Where the gateway takes its voice."""
        first, last = self._product.rtp_ports
        told = (int(found) for line in self._phone.lines for found in re.findall(r"^m=audio ([0-9]+) ", line))
        return [port for port in told if first <= port <= last][-1]

    def _samples(self) -> int:
        """So many are in the recording, of 16 bits."""
        return (self._phone.recordings()[-1].stat().st_size - WAV_HEADER) // 2

    def spoilt(self) -> list[str]:
        """The quarters of a second since the beginning of the block in which something else was heard than the tone.

        Less those in which telephone or engines waited for a processor: others use the machine as well.
        """
        samples, rate = read_samples(self._phone.recordings()[-1])
        found = []
        for start in range(self._from, len(samples) - WINDOW + 1, WINDOW):
            part = samples[start : start + WINDOW]
            power = sum(sample * sample for sample in part) / WINDOW
            share = goertzel(part, rate, HERTZ) / power if power else 0.0
            if share < PURE and not self._watch.held_up(start, start + WINDOW, WAY_SECONDS):
                level = 10 * math.log10(power / 32767**2) if power else -99.0
                found.append(f"{(start - self._from) / rate:.2f} s: {share:.2f} of {level:.0f} dB")
        return found

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self._watch.stop()
        if error is None:
            seconds = (self._samples() - self._from) / RATE
            spoilt = self.spoilt()
            if spoilt or seconds < 1:
                raise PeerError(f"of {seconds:.1f} s of the standing call these were not its tone: {spoilt}")
        await self._phone.hang_up()
