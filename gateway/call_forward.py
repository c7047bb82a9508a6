"""A called side sends the call elsewhere (SIP 3xx, a phone's call forwarding): where to, and with which diversion.

Its targets are numbers of the dial plan in its own context: nobody is called whom it might not have called itself.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from gateway.call_states import Switch
from gateway.identity import Number, Redirection
from gateway.leg import Forward, Setup
from gateway.routing.dialplan import Destination, Route

MAX_FORWARDS = 5
"""How often one call may be forwarded: as many diversions as the services of ISDN allow (ETS 300 207-1)."""
CALL_IS_DIVERTING = 0x7B
"""Q.931 table 4-21 as extended by ETS 300 207-1: what a caller's network is told."""


class Forwarded(NamedTuple):
    """What came of a forwarding: destinations to be tried next, and what they are told. None: it leads nowhere."""

    destinations: tuple[Destination, ...]
    setup: Setup
    secure_bridge: frozenset[str]
    emergency: bool
    notes: tuple[str, ...]


def follow(switch: Switch, forward: Forward, setup: Setup, diverter: str, seen: set[tuple[str, str]]) -> Forwarded:
    """Route ``forward`` for the call ``setup`` that ``diverter`` (a number) had; ``seen`` grows by its targets."""
    destinations: list[Destination] = []
    notes: list[str] = []
    secure_bridge: frozenset[str] = frozenset()
    emergency = False
    setup = replace(setup, redirection=_diverted(setup.redirection, diverter, forward))
    for target in forward.targets:
        key = forward.context, target.digits
        if key in seen:
            notes.append(f"not forwarded to {target.digits}: it was tried already")
            continue
        seen.add(key)
        routing = switch.route(forward.context, replace(setup, called=target, complete=True))
        if isinstance(routing, Route):
            destinations.extend(switch.ordered(routing.destinations))
            secure_bridge |= routing.secure_bridge
            emergency = emergency or routing.emergency
            notes.append(f"forwarded to {target.digits}")
        else:
            notes.append(
                f"not forwarded to {target.digits}: {getattr(routing, 'reason', 'the number is not complete')}"
            )
    return Forwarded(tuple(destinations), setup, secure_bridge, emergency, tuple(notes))


def _diverted(before: Redirection | None, diverter: str, forward: Forward) -> Redirection:
    number = Number(diverter)
    if before is None:
        return Redirection(number, forward.reason, 1, number, forward.reason)
    original = before.original or before.number
    return Redirection(number, forward.reason, before.count + 1, original, before.original_reason)
