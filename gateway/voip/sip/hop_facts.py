"""What a hop to a peer can vouch for: facts that routes ask for with ``secure_bridge`` (``gateway.leg.Setup``)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import TLS, Flow
from gateway.voip.sip.peers import PeerSettings

_SIGNALLING = frozenset({SECURE_SIGNALLING})
_BOTH = frozenset({SECURE_SIGNALLING, SECURE_MEDIA})


def facts_of(peer: PeerSettings, flows: Iterable[Flow] = ()) -> frozenset[str]:
    """What a call to ``peer`` can have; ``flows`` are the ways to it where it registers, all of which must have it.

    TLS to somebody who may be anybody is no secure signalling; SRTP is had where the leg is told to insist on it.
    """
    if peer.dynamic:
        ways = list(flows)
        secure = bool(ways) and all(flow.secure for flow in ways)
    else:
        secure = peer.transport == TLS and peer.tls_verify
    if not secure:
        # Without, the keys of SRTP are no secret.
        return frozenset()
    return _SIGNALLING if peer.media_encryption is MediaEncryption.NO else _BOTH
