"""Codecs and IAX2's names for them: bits of media formats (RFC 5456 8.7), CODEC PREFS (8.6), and who has his way.

What has no codec here (GSM, video, images) is as if it had not been said.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.media.api import Codec

BITS: dict[Codec, int] = {
    Codec.ULAW: 1 << 2,
    Codec.ALAW: 1 << 3,
    Codec.G722: 1 << 12,
    Codec.L16: 1 << 15,
    Codec.OPUS: 1 << 34,
}
"""8.7; L16 of 16 kHz and Opus (in the 64-bit elements only) as chan_iax2 has them."""
CODECS: dict[int, Codec] = {bit: codec for codec, bit in BITS.items()}
MAX_PREFERENCES = 64
"""Octets of CODEC PREFS that are read; no list of formats is longer."""
_FIRST = ord("A")
# Each format has a place in a list of chan_iax2's, from 1 on; the RFC has the letters only.
_LETTERS: dict[Codec, int] = {
    Codec.ULAW: _FIRST + 3,
    Codec.ALAW: _FIRST + 4,
    Codec.G722: _FIRST + 14,
    Codec.L16: _FIRST + 15,
    Codec.OPUS: _FIRST + 37,
}
_BY_LETTER = {letter: codec for codec, letter in _LETTERS.items()}


def mask(codecs: Iterable[Codec]) -> int:
    """CAPABILITY (64 bits) of ``codecs``; one codec's is its FORMAT."""
    bits = 0
    for codec in codecs:
        bits |= BITS[codec]
    return bits


def codec_of(bit: int | None) -> Codec | None:
    """The codec of a FORMAT or of a VOICE frame's subclass; None if it is none of ours, or not one bit."""
    return None if bit is None else CODECS.get(bit)


def codecs_of(bits: int) -> tuple[Codec, ...]:
    """The codecs among ``bits``, in no order that means anything."""
    return tuple([codec for codec, bit in BITS.items() if bits & bit])


def preferences(codecs: Iterable[Codec]) -> bytes:
    """CODEC PREFS of ``codecs``, the best first."""
    return bytes([_LETTERS[codec] for codec in codecs])


def preferred(octets: bytes | None) -> tuple[Codec, ...]:
    """The codecs of CODEC PREFS in order, each once."""
    found: dict[Codec, None] = {}
    for letter in (octets or b"")[:MAX_PREFERENCES]:
        codec = _BY_LETTER.get(letter)
        if codec is not None:
            found[codec] = None
    return tuple(found)


def choose(
    ours: Iterable[Codec], capability: int | None, preferences: bytes | None, format: int | None
) -> Codec | None:
    """What a call that came in is to talk: the caller's preference among what both have, then its FORMAT, then ours.

    ``capability`` None or 0 is that of a caller who names no more than its FORMAT. None: nothing in common.
    """
    have = tuple(ours)
    bits = capability or format or 0
    for codec in preferred(preferences):
        if codec in have and BITS[codec] & bits:
            return codec
    wanted = codec_of(format)
    if wanted in have:
        return wanted
    for codec in have:
        if BITS[codec] & bits:
            return codec
    return None
