"""What a call asks of the security of the hop it goes out by: ``secure_bridge`` of its route, and of who called sips:.

A destination that cannot have it is passed over, never taken without it; an emergency call is let pass, and it is said.
"""

from __future__ import annotations

from gateway.leg import Leg, Setup
from gateway.routing.dialplan import LegDestination, PriDestination


def wanted_of(destination: LegDestination, setup: Setup, secure_bridge: frozenset[str]) -> frozenset[str]:
    """The facts that the hop to ``destination`` must have.

    Who called a sips: URI was promised TLS up to this gateway's domain, and so over every SIP hop (RFC 3261 26.2.2),
    and no IAX2 hop has what it was promised;
    what is on a telephone line is out of its reach.
    """
    return secure_bridge if isinstance(destination, PriDestination) else secure_bridge | setup.secure_bridge


def facts_of(leg: Leg) -> frozenset[str]:
    """What the hop of ``leg`` has now; a telephone line has none."""
    facts = leg.record().get("facts")
    return frozenset(facts) if isinstance(facts, list) else frozenset()


def hindrance(missing: frozenset[str]) -> str:
    """Why a destination was passed over that lacks ``missing``."""
    return f"passed over: it has no {' and no '.join(sorted(missing))}, which secure_bridge asks for"
