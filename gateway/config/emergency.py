"""Whether help can be called from where people call: warnings about emergency numbers that lead nowhere or elsewhere.

From the contexts of phones, and of spans whose far end is a PBX. In the US 911 must do without a prefix (47 CFR 9.16).
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.fields import Reader
from gateway.config.iax import encryption_of
from gateway.config.model import Configuration, IaxSection
from gateway.config.problems import KeyPath
from gateway.pri.lapd import Side
from gateway.routing.destinations import (
    Destination,
    IaxDestination,
    PriDestination,
    RejectDestination,
    TrunkDestination,
)
from gateway.routing.emergency import emergency_numbers, expected_emergency_numbers
from gateway.voip.iax.peers import Encryption


def check_emergency(reader: Reader, configuration: Configuration) -> None:
    """Note what keeps callers of ``configuration``, which has no error, from help.

    It says nothing where there is no way out, and of contexts that nobody at all can be called from.
    """
    if not (configuration.spans or configuration.trunks or configuration.iax_trunks):
        return
    places = dict(_places(configuration))
    if not places:
        return
    # Late: the dial plan reads configurations itself.
    from gateway.routing.dialplan import DialPlan, Route

    plan = DialPlan(configuration)
    known = emergency_numbers(configuration.gateway.country)
    expected = expected_emergency_numbers(configuration.gateway.country)
    encrypting = _encrypting(configuration)
    for context, path in places.items():
        if context not in plan.contexts:
            continue
        nowhere = []
        for number in sorted(known):
            route = plan.route(context, number)
            if not isinstance(route, Route) or all(isinstance(each, RejectDestination) for each in route.destinations):
                nowhere += [number] if number in expected else []
                continue
            for destination in route.destinations:
                sent = _sent(destination)
                if sent is not None and sent not in known:
                    text = f"the emergency number {number} leaves as {sent or 'no number'}, to {destination}"
                    reader.warning(path, f'{text}; expected a [[route]] with match = "{number}" of its own', context)
                    break
            if all(isinstance(each, IaxDestination) and each.trunk in encrypting for each in route.destinations):
                text = f"the emergency number {number} has no way but over trunks with forceencryption"
                reader.warning(path, f"{text}: where the far end does not encrypt, nobody answers", context)
        if nowhere:
            numbers = "the emergency number " if len(nowhere) == 1 else "the emergency numbers "
            reader.warning(
                path, f"{numbers}{', '.join(nowhere)} cannot be called from here: no [[route]] leads out", context
            )


def _places(configuration: Configuration) -> Iterator[tuple[str, KeyPath]]:
    """Each context that people call from, with the key that names it; of several keys the first stays."""
    found: dict[str, KeyPath] = {}
    for index, phone in enumerate(configuration.phones):
        found.setdefault(phone.context, ("phone", index, "context"))
    for index, span in enumerate(configuration.spans):
        if span.side is Side.NETWORK:
            found.setdefault(span.context, ("span", index, "context"))
    yield from found.items()


def _encrypting(configuration: Configuration) -> frozenset[str]:
    """The IAX2 trunks that no call goes over in clear."""
    section = configuration.iax or IaxSection()
    trunks = configuration.iax_trunks
    return frozenset(each.name for each in trunks if encryption_of(each, section) is Encryption.REQUIRED)


def _sent(destination: Destination) -> str | None:
    """The number that goes out, or None of what stays here."""
    return destination.number if isinstance(destination, PriDestination | TrunkDestination | IaxDestination) else None
