"""What legs and sessions ask of identities and reasons: per-peer rules (RFC 3325), connected party, Q.850 in Reason."""

from __future__ import annotations

from functools import lru_cache

from gateway.cause import Cause
from gateway.identity import Party
from gateway.voip.sip.identity import IdentityRules, connected_of
from gateway.voip.sip.message import Message
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.reason import q850_reason, reason_header
from gateway.voip.sip.telephone import NumberStyle


@lru_cache(maxsize=4096)
def _rules(host: str, trusted: bool, style: NumberStyle) -> IdentityRules:
    return IdentityRules(host, trusted, style)


def rules_for(peer: PeerSettings, host: str) -> IdentityRules:
    """The identity rules towards ``peer``, our URIs being at ``host``."""
    return _rules(host, peer.trust_identity, peer.style)


def asserted_party(message: Message, peer: PeerSettings) -> Party | None:
    """Who ``message`` asserts is connected; None if it asserts nobody, or the peer is not to be believed."""
    headers = message.headers.first
    if not peer.trust_identity or ("p-asserted-identity" not in headers and "remote-party-id" not in headers):
        return None
    return connected_of(message, rules_for(peer, ""))


def q850_of(message: Message) -> int | None:
    """The Q.850 cause of the message's Reason, or None."""
    if "reason" not in message.headers.first:
        return None
    reason = q850_reason(message)
    return None if reason is None else reason.cause


def warning_of(message: Message) -> int | None:
    """The code of the message's (first) Warning, or None."""
    text = message.headers.get("warning")
    return int(text[:3]) if text is not None and text[:3].isdecimal() and text[:3].isascii() else None


def reason_fields(cause: Cause, text: str = "") -> list[tuple[str, str]]:
    """The Reason of a BYE or CANCEL of ours."""
    return [reason_header(cause, text)]


def refusal_fields(cause: Cause, text: str = "") -> list[tuple[str, str]]:
    """The Reason of a final failure response of ours: none for normal clearing, which would belie the failure."""
    return [] if cause is Cause.NORMAL_CALL_CLEARING else [reason_header(cause, text)]
