"""The one error of Q.931: what a peer sent that cannot be a message at all (Q.931 5.8.1 to 5.8.3)."""

from __future__ import annotations

from gateway.core import ProtocolError


class Q931Error(ProtocolError):
    """Octets of the far end that are no Q.931 message, or an element whose contents break its coding."""


class ContentError(Q931Error):
    """The contents of one information element break its coding (Q.931 5.8.6.2, 5.8.7.2)."""
