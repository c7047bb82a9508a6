"""How trunks and phones are looked after between calls: where they are, registration with them, watching them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core import SECOND
from gateway.voip.sip.targets import Domain

REGISTER_EXPIRY = 3600
"""RFC 3261 10.2.1.1."""
QUALIFY_FREQUENCY = 60 * SECOND
"""Asterisk's DEFAULT_FREQ_OK."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """Who registers: ``user`` of the address of record and of our Contact; ``expiry`` is what is asked for, seconds.

    ``domain`` of the address of record where that is not the host's name.
    """

    user: str
    expiry: int = REGISTER_EXPIRY
    domain: str = ""


@dataclass(frozen=True, slots=True)
class FarEndSettings:
    """``domain`` is where requests go; None is the peer's own host and port.

    ``qualify`` is the time (microseconds) after which an answer to OPTIONS is late, 0 for no OPTIONS at all;
    ``qualifyfreq`` how often they go out. ``keepalive``: time between CR LFs that keep a NAT's binding, 0 for none.
    """

    domain: Domain | None = None
    registration: RegistrationSettings | None = None
    qualify: int = 0
    qualifyfreq: int = QUALIFY_FREQUENCY
    keepalive: int = 0


LEFT_ALONE = FarEndSettings()
"""Nothing is done between calls."""
