"""Q.921 (LAPD), the data link layer of a PRI's D channel: point-to-point, modulo 128, user and network side.

TEI assignment, UI transfer and XID negotiation are not here: a PRI has one fixed TEI (ETS 300 402-1, Q.921 5.3).
"""

from __future__ import annotations

from gateway.pri.lapd.frames import LapdError
from gateway.pri.lapd.lapd import Lapd
from gateway.pri.lapd.link import (
    MAX_QUEUED,
    Data,
    Established,
    MdlError,
    Output,
    Released,
    Side,
    State,
    Statistics,
    Transmit,
)
from gateway.pri.lapd.parameters import LAPD_TIMERS, LapdTimer

__all__ = [
    "Data",
    "Established",
    "LAPD_TIMERS",
    "Lapd",
    "LapdError",
    "LapdTimer",
    "MAX_QUEUED",
    "MdlError",
    "Output",
    "Released",
    "Side",
    "State",
    "Statistics",
    "Transmit",
]
