"""What an IAX2 endpoint counts for the operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    frames: int = 0
    garbage: int = 0
    pokes: int = 0
    tokens: int = 0
    unknown: int = 0
    overload: int = 0
    held: int = 0
    failed: int = 0
    rejected: int = 0
    strangers: int = 0
    calls_in: int = 0
    calls_out: int = 0
