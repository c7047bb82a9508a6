"""The one error that the SIP codecs raise for what the far end sent: SIP, SDP and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import ProtocolError

if TYPE_CHECKING:
    from gateway.voip.sip.message import Request


class SipError(ProtocolError):
    """Wrong bytes from the far end.

    ``status`` is the response a request deserves for it; None means that nothing may be answered (responses, noise).
    ``request`` is set by the parser when enough of a broken request is known to answer it. ``warning`` is the code of
    the Warning that a 488 should have (RFC 3261 20.43), 0 for none.
    """

    def __init__(self, status: int | None, text: str, request: Request | None = None, *, warning: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.request = request
        self.warning = warning

    def __str__(self) -> str:
        return self.text if self.status is None else f"{self.text} ({self.status})"
