"""A line that loses, damages, repeats and delays frames on purpose, from one seed; they stay in order, as on a wire."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.core import MILLISECOND


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Fractions (0 to 1) of the frames that suffer each fault; ``delay_time`` is the longest delay, microseconds."""

    lose: float = 0.0
    corrupt: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_time: int = 100 * MILLISECOND

    def __post_init__(self) -> None:
        for name in ("lose", "corrupt", "duplicate", "delay"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}, expected 0 to 1")
        if self.delay_time < 0:
            raise ValueError(f"delay_time is {self.delay_time}, expected 0 or more")


class FaultInjector:
    """One direction of a bad line."""

    def __init__(self, rates: FaultRates, rng: random.Random) -> None:
        self.rates = rates
        self.lost = self.corrupted = self.duplicated = self.delayed = 0
        self._rng = rng
        self._last = 0

    def carry(self, frame: bytes, now: int) -> list[tuple[int, bytes]]:
        """What comes out of the line for ``frame`` put in at ``now``, and when; never before what went in earlier."""
        rates, rng = self.rates, self._rng
        if rng.random() < rates.lose:
            self.lost += 1
            return []
        if frame and rng.random() < rates.corrupt:
            self.corrupted += 1
            at = rng.randrange(len(frame))
            frame = frame[:at] + bytes((frame[at] ^ (1 << rng.randrange(8)),)) + frame[at + 1 :]
        when = now
        if rng.random() < rates.delay:
            self.delayed += 1
            when += rng.randint(0, rates.delay_time)
        self._last = when = max(when, self._last)
        if rng.random() < rates.duplicate:
            self.duplicated += 1
            return [(when, frame), (when, frame)]
        return [(when, frame)]
