"""Where a phone's 3xx wants its call to go (RFC 3261 21.3): the numbers of its Contacts, as far as they are numbers.

Hosts are not looked at: the dial plan decides in the phone's context where a number is.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.identity import Number, RedirectionReason
from gateway.leg import Forward
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import PeerKind, PeerSettings
from gateway.voip.sip.telephone import number_of
from gateway.voip.sip.values import NameAddr

MAX_TARGETS = 5
"""Contacts of one 3xx that are tried."""
FORWARDING = frozenset({300, 301, 302})
"""305 names a proxy and 380 a service, not where the called user is."""
_SCHEMES = frozenset({"sip", "sips", "tel"})


def forward_of(
    response: Response, peer: PeerSettings, braked: Callable[[Number], bool], *, rang: bool
) -> Forward | None:
    """The forwarding that ``response`` of the phone ``peer`` asks for, or None; ``rang``: it let it ring before.

    Each of the targets may be called, so each is asked of ``braked``.
    """
    if response.status not in FORWARDING or peer.kind is not PeerKind.PHONE:
        return None
    targets: list[Number] = []
    for contact in sorted(_contacts(response), key=_rank):
        number = _number_of(contact)
        if number is not None and number not in targets:
            targets.append(number)
    targets = [target for target in targets[:MAX_TARGETS] if not braked(target)]
    if not targets:
        return None
    reason = RedirectionReason.NO_REPLY if rang else RedirectionReason.UNCONDITIONAL
    return Forward(tuple(targets), peer.context, reason)


def _contacts(response: Response) -> tuple[NameAddr, ...]:
    try:
        return response.contacts
    except SipError:
        return ()


def _rank(contact: NameAddr) -> float:
    try:
        return -float(contact.params.get("q") or "1")
    except ValueError:
        return 0.0


def _number_of(contact: NameAddr) -> Number | None:
    try:
        return number_of(contact.uri) if contact.uri.scheme in _SCHEMES else None
    except SipError:
        return None
