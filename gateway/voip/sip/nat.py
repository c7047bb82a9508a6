"""What is done for a peer behind NAT: ``nat`` in Asterisk's words, RFC 3581 made compulsory, and who sits behind one.

Decides only; ``hop.reply_flow``, ``Session`` and ``SipLeg`` act on it.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from gateway.voip.sip.addresses import is_private
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow, literal_address
from gateway.voip.sip.message import Response
from gateway.voip.sip.values import Via


class NatMode(Enum):
    """One word of ``nat``. An rport that the far end asks for (RFC 3581) is given whatever this says."""

    NO = "no"
    FORCE_RPORT = "force_rport"
    COMEDIA = "comedia"
    AUTO_FORCE_RPORT = "auto_force_rport"
    AUTO_COMEDIA = "auto_comedia"


DEFAULT_NAT = frozenset({NatMode.AUTO_FORCE_RPORT})
"""Asterisk's default too."""
_FORCED = NatMode.FORCE_RPORT
_AUTO = NatMode.AUTO_FORCE_RPORT


def behind_nat(via: Via, flow: Flow) -> bool:
    """True if who sent ``via`` takes itself to be elsewhere than where its packets come from. A name tells nothing."""
    claimed = literal_address(via.host)
    return claimed is not None and claimed != flow.address


def contact_behind_nat(response: Response, flow: Flow) -> bool:
    """True if who answered us at ``flow`` gives a private address as its Contact and no proxy stands in between."""
    if "record-route" in response.headers.first or is_private(flow.address):
        return False
    try:
        contacts = response.contacts
        claimed = literal_address(contacts[0].uri.host) if contacts else None
    except SipError:
        return False
    return claimed is not None and claimed != flow.address and is_private(claimed)


@lru_cache(maxsize=64)
def to_source(nat: frozenset[NatMode], detected: bool) -> bool:
    """True if responses and requests go to where the peer's came from, not where its Via and Contact say."""
    return _FORCED in nat or (detected and _AUTO in nat)


@lru_cache(maxsize=64)
def latches(nat: frozenset[NatMode], detected: bool) -> bool:
    """True if voice goes to where the peer's voice comes from (comedia), not where its SDP says."""
    return NatMode.COMEDIA in nat or (detected and NatMode.AUTO_COMEDIA in nat)
