"""What a far end's IAX2 can be wrong about."""

from __future__ import annotations

from gateway.core import ProtocolError


class IaxError(ProtocolError):
    """A datagram or an information element is not what RFC 5456 8 says."""
