"""Trunks and phones as the bus shows them, in the words of Asterisk's ``sip show peers`` and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.config.model import IaxTrunk, Phone, Trunk
from gateway.core import MILLISECOND, SECOND
from gateway.provision.bus.states import PhoneState, TrunkState
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.nat import NatMode

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

_STATUS = {"reachable": "OK", "lagged": "LAGGED", "unreachable": "UNREACHABLE", "unknown": "UNKNOWN"}

At = Callable[[int | None], int]
"""The wall-clock time of a monotonic one."""


def trunk_state(peer: Trunk, sip: SipEndpoint, now: int, at: At, calls: int) -> TrunkState:
    """A trunk over SIP."""
    shown: dict[str, Any] = sip.far_ends.shown(peer.name, now)
    qualify = shown.get("qualify", {})
    registration = shown.get("registration", {})
    return TrunkState(
        name=peer.name,
        technology="sip",
        username=peer.defaultuser or "",
        host="dynamic" if peer.host.dynamic else peer.host.host,
        dynamic=peer.host.dynamic,
        forcerport=NatMode.FORCE_RPORT in peer.nat,
        acl=_acl(peer),
        port=peer.host.port or (5061 if peer.transport.value == "tls" else 5060),
        transport=peer.transport.value,
        servers=tuple(shown.get("servers", ())),
        status=_status(qualify),
        round_trip=_milliseconds(qualify),
        error=str(qualify.get("error", "")),
        registration=str(registration.get("state", "")),
        registration_server=str(registration.get("server", "")),
        registration_expires=_in(registration.get("expires_seconds"), now, at),
        registration_error=str(registration.get("error", "")),
        media_encryption=peer.media_encryption.value,
        context=peer.context,
        calls=calls,
    )


def iax_trunk_state(peer: IaxTrunk, iax: IaxEndpoint, now: int, at: At, calls: int) -> TrunkState | None:
    """A trunk over IAX2; None while the endpoint has none of that name."""
    own = iax.peers.get(peer.name)
    if own is None:
        return None
    shown: dict[str, Any] = own.as_json(now)
    qualify = shown.get("qualify", {})
    registration = shown.get("registration", {})
    address = str(shown["address"])
    return TrunkState(
        name=peer.name,
        technology="iax2",
        username=peer.defaultuser or "",
        host="dynamic" if peer.host.dynamic else peer.host.host,
        dynamic=peer.host.dynamic,
        forcerport=True,
        acl=_acl(peer),
        port=peer.host.port or 4569,
        transport="udp",
        servers=(address,) if address else (),
        status=_status(qualify),
        round_trip=_milliseconds(qualify),
        error=str(qualify.get("error", "")),
        registration=str(registration.get("state", "")),
        registration_server=str(registration.get("server", "")),
        registration_expires=_in(registration.get("expires_seconds") or shown.get("expires_seconds"), now, at),
        registration_error=str(registration.get("error", "")),
        media_encryption=str(shown["encryption"]),
        context=peer.context,
        calls=calls,
    )


def phone_state(peer: Phone, sip: SipEndpoint, now: int, at: At, calls: int) -> PhoneState:
    """A phone, and where it is registered. Its status is that of the place that answers best."""
    bindings = sip.phones.location.bindings(peer.name, now)
    contacts = []
    qualify: dict[str, Any] = {}
    for binding in bindings:
        taken = sip.far_ends.contacts.round_trip(binding)
        reach = sip.far_ends.contacts.reach(binding).value
        trip = -1.0 if taken is None else taken / MILLISECOND
        contacts.append((binding.contact, str(binding.flow), reach, trip, binding.behind_nat, binding.user_agent))
        if peer.qualify.milliseconds is not None and qualify.get("reach") not in ("reachable", "lagged"):
            qualify = {"reach": reach, "round_trip_ms": None if taken is None else trip}
    if not peer.host.dynamic:
        shown: dict[str, Any] = sip.far_ends.shown(peer.name, now)
        qualify = shown.get("qualify", {})
    return PhoneState(
        name=peer.name,
        host="dynamic" if peer.host.dynamic else peer.host.host,
        dynamic=peer.host.dynamic,
        forcerport=NatMode.FORCE_RPORT in peer.nat,
        acl=_acl(peer),
        port=bindings[0].flow.port if bindings else peer.host.port or (0 if peer.host.dynamic else 5060),
        transport=bindings[0].flow.transport.lower() if bindings else peer.transport.value,
        status=_status(qualify),
        round_trip=_milliseconds(qualify),
        registered=bool(bindings) or not peer.host.dynamic,
        contacts=tuple(contacts),
        expires=at(max(each.expires for each in bindings)) if bindings else 0,
        location=peer.location.value,
        media_encryption=peer.media_encryption.value,
        context=peer.context,
        calls=calls,
    )


def _in(seconds: Any, now: int, at: At) -> int:
    return 0 if seconds is None else at(now + int(float(seconds) * SECOND))


def _acl(peer: Trunk | IaxTrunk | Phone) -> bool:
    return bool(peer.directmediapermit or peer.directmediadeny)


def _status(qualify: Mapping[str, Any]) -> str:
    """The word in the column Status of ``sip show peers``."""
    return _STATUS[str(qualify["reach"])] if qualify else "Unmonitored"


def _milliseconds(qualify: Mapping[str, Any]) -> float:
    taken = qualify.get("round_trip_ms")
    return -1.0 if taken is None else float(taken)
