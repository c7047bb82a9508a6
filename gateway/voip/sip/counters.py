"""What an endpoint counts for the operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EndpointCounters:
    """What came in since the start."""

    requests: int = 0
    responses: int = 0
    keepalives: int = 0
    garbage: int = 0
    rejected: int = 0
    overload: int = 0
    strangers: int = 0
    calls_in: int = 0
    calls_out: int = 0
