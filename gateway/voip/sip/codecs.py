"""The codecs that can be negotiated: the name an operator writes, what SDP calls it (RFC 3551), what the engine does.

A new codec is a new row, once the engine has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from gateway.media.api import Codec
from gateway.voip.sip.sdp import RtpMap


class CodecRow(NamedTuple):
    """One codec. ``payload_type`` is the static one, or the number we offer for a dynamic one.

    ``packets``: the lengths it is sent in, milliseconds, ascending.
    """

    name: str
    codec: Codec
    encoding: str
    clock: int
    payload_type: int
    channels: int = 1
    fmtp: str | None = None
    packets: tuple[int, ...] = (10, 20, 30, 40, 50, 60)

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
        # RFC 3551 4.5.2: its clock is wrong and stays so.
        CodecRow("g722", Codec.G722, "G722", 8000, 9),
        # RFC 7587 7: always 48000 and 2, whatever is spoken; one frame of Opus is 10, 20, 40 or 60 ms.
        CodecRow("opus", Codec.OPUS, "opus", 48_000, 107, 2, "useinbandfec=1", (10, 20, 40, 60)),
        # What is longer than 40 ms fits no Ethernet frame.
        CodecRow("slin16", Codec.L16, "L16", 16_000, 118, packets=(10, 20, 30, 40)),
    )
}

STATIC_PAYLOADS = {"0": RtpMap("pcmu", 8000), "8": RtpMap("pcma", 8000), "9": RtpMap("g722", 8000)}
"""RFC 3551 table 4: what a payload type means that has no a=rtpmap (of the codecs we may ever take)."""

TONELESS = frozenset({Codec.OPUS})
"""Codecs made for speech alone, in which the tones of digits are no longer what they were."""

TELEPHONE_EVENT = "telephone-event"
TELEPHONE_EVENT_PAYLOADS = {8000: 101, 16_000: 119, 48_000: 110}
"""The number we offer for RFC 4733 events of each clock; nothing prescribes them, everyone uses the first."""
TELEPHONE_EVENTS = "0-16"
"""RFC 4733 3.2: the digits, and flash."""

COMFORT_NOISE_PAYLOAD = 13
COMFORT_NOISE_CLOCK = 8000
"""RFC 3389 5.1."""


def codec_rows(names: Iterable[str]) -> tuple[CodecRow, ...]:
    """The rows for the names of an ``allow`` list, in its order, doubles dropped. ValueError for an unknown name."""
    rows: dict[str, CodecRow] = {}
    for name in names:
        row = CODECS.get(name.lower())
        if row is None:
            raise ValueError(f"codec is {name!r}, expected one of {', '.join(CODECS)}")
        rows[row.name] = row
    return tuple(rows.values())


@lru_cache(maxsize=256)
def preferring(rows: tuple[CodecRow, ...], codec: Codec | None) -> tuple[CodecRow, ...]:
    """``rows`` with that of ``codec``, if it is among them, before the others."""
    if codec is None or not rows or rows[0].codec is codec:
        return rows
    return tuple(sorted(rows, key=lambda row: row.codec is not codec))
