"""A call that stands while something else happens: a telephone talks to an echo behind the line, and hears itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.program import PeerError
from tests.interop.tone import RATE, goertzel, read_samples

ECHO = "5550106"
HERTZ = 600.0
WINDOW = RATE // 4
PURE = 0.9
MOST_SPOILT = 0.1
"""Of the time: telephone, attacker and gateway share a machine that others use as well."""
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

    async def __aenter__(self) -> StandingCall:
        await self._phone.dial(f"sip:8{ECHO}@{self._at}")
        await self._phone.hears(HERTZ)
        self._from = self._samples()
        return self

    @property
    def port(self) -> int:
        """Where the gateway takes its voice."""
        first, last = self._product.rtp_ports
        told = (int(found) for line in self._phone.lines for found in re.findall(r"^m=audio ([0-9]+) ", line))
        return [port for port in told if first <= port <= last][-1]

    def _samples(self) -> int:
        return len(read_samples(self._phone.recordings()[-1])[0])

    def spoilt(self) -> list[str]:
        """The quarters of a second since the beginning of the block in which something else was heard than the tone."""
        samples, rate = read_samples(self._phone.recordings()[-1])
        found = []
        for start in range(self._from, len(samples) - WINDOW + 1, WINDOW):
            part = samples[start : start + WINDOW]
            power = sum(sample * sample for sample in part) / WINDOW
            share = goertzel(part, rate, HERTZ) / power if power else 0.0
            if share < PURE:
                level = 10 * math.log10(power / 32767**2) if power else -99.0
                found.append(f"{(start - self._from) / rate:.2f} s: {share:.2f} of {level:.0f} dB")
        return found

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            seconds = (self._samples() - self._from) / RATE
            spoilt = self.spoilt()
            if len(spoilt) * WINDOW / RATE > MOST_SPOILT * seconds or seconds < 1:
                raise PeerError(f"of {seconds:.1f} s of the standing call these were not its tone: {spoilt}")
        await self._phone.hang_up()
