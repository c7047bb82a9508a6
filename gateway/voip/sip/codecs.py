"""The codecs that can be negotiated: the name an operator writes, what SDP calls it (RFC 3551), what the engine does.

A new codec is a new row, once the engine has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.media.api import Codec
from gateway.voip.sip.sdp import RtpMap


class CodecRow(NamedTuple):
    """One codec. ``payload_type`` is the static one, or the number we offer for a dynamic one."""

    name: str
    codec: Codec
    encoding: str
    clock: int
    payload_type: int
    channels: int = 1
    fmtp: str | None = None

    @property
    def described(self) -> RtpMap:
        """How an a=rtpmap of this codec reads."""
        return RtpMap(self.encoding.lower(), self.clock, self.channels)

    @property
    def rtpmap(self) -> str:
        """The value of a=rtpmap after the payload type."""
        return (
            f"{self.encoding}/{self.clock}" if self.channels == 1 else f"{self.encoding}/{self.clock}/{self.channels}"
        )


CODECS: dict[str, CodecRow] = {
    row.name: row
    for row in (
        CodecRow("ulaw", Codec.ULAW, "PCMU", 8000, 0),
        CodecRow("alaw", Codec.ALAW, "PCMA", 8000, 8),
    )
}

STATIC_PAYLOADS = {"0": RtpMap("pcmu", 8000), "8": RtpMap("pcma", 8000), "9": RtpMap("g722", 8000)}
"""RFC 3551 table 4: what a payload type means that has no a=rtpmap (of the codecs we may ever take)."""

TELEPHONE_EVENT = "telephone-event"
TELEPHONE_EVENT_PAYLOAD = 101
"""The number we offer for RFC 4733 events; nothing prescribes it, everyone uses it."""
TELEPHONE_EVENTS = "0-16"
"""RFC 4733 3.2: the digits, and flash."""


def codec_rows(names: Iterable[str]) -> tuple[CodecRow, ...]:
    """The rows for the names of an ``allow`` list, in its order, doubles dropped. ValueError for an unknown name."""
    rows: dict[str, CodecRow] = {}
    for name in names:
        row = CODECS.get(name.lower())
        if row is None:
            raise ValueError(f"codec is {name!r}, expected one of {', '.join(CODECS)}")
        rows[row.name] = row
    return tuple(rows.values())
