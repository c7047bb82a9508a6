"""Single-octet elements and shift: Q.931 4.5.2 to 4.5.4, 4.5.14, 4.5.20, 4.5.24, 4.5.26."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.pri.q931.ie.element import ElementId, SingleOctetElement, bits, coded, known


class Congestion(IntEnum):
    """Q.931 table 4-14."""

    RECEIVER_READY = 0
    RECEIVER_NOT_READY = 15


class Repeat(IntEnum):
    """Q.931 table 4-19: how the elements after it are to be taken."""

    PRIORITIZED = 2


@dataclass(frozen=True, slots=True)
class Shift(SingleOctetElement):
    """Change of codeset: from here on (locking), or for the next element only (Q.931 4.5.3, 4.5.4).

    Decoding keeps it among the elements so that a message encodes as it came; whoever builds a message needs none,
    encoding puts them where the elements' codesets need them.
    """

    to: int
    locking: bool = True
    identifier = ElementId.SHIFT

    def build(self) -> bytes:
        """The octet."""
        return bytes((0x90 | (0 if self.locking else 8) | bits("codeset", self.to, 3),))


@dataclass(frozen=True, slots=True)
class MoreData(SingleOctetElement):
    """More USER INFORMATION of the same block follows."""

    identifier = ElementId.MORE_DATA

    def build(self) -> bytes:
        """The octet."""
        return b"\xa0"


@dataclass(frozen=True, slots=True)
class SendingComplete(SingleOctetElement):
    """The called party number is complete."""

    identifier = ElementId.SENDING_COMPLETE

    def build(self) -> bytes:
        """The octet."""
        return b"\xa1"


@dataclass(frozen=True, slots=True)
class CongestionLevel(SingleOctetElement):
    """Flow control of USER INFORMATION."""

    level: Congestion | int
    identifier = ElementId.CONGESTION_LEVEL

    def build(self) -> bytes:
        """The octet."""
        return bytes((0xB0 | bits("congestion level", self.level, 4),))


@dataclass(frozen=True, slots=True)
class RepeatIndicator(SingleOctetElement):
    """The next elements repeat one identifier, in order of priority."""

    indication: Repeat | int = Repeat.PRIORITIZED
    identifier = ElementId.REPEAT_INDICATOR

    def build(self) -> bytes:
        """The octet."""
        return bytes((0xD0 | bits("repeat indication", self.indication, 4),))


# Nearly every SETUP has it.
_SENDING_COMPLETE = coded(SendingComplete())


def parse_single_octet(octet: int) -> SingleOctetElement | None:
    """The codeset 0 element that ``octet`` (bit 8 set) is, or None if it is none that Q.931 defines."""
    if octet == 0xA1:
        return _SENDING_COMPLETE
    high = octet & 0xF0
    if high == 0x90:
        return Shift(octet & 7, not octet & 8)
    if high == 0xB0:
        return CongestionLevel(known(Congestion, octet & 15))
    if high == 0xD0:
        return RepeatIndicator(known(Repeat, octet & 15))
    return MoreData() if octet == 0xA0 else None
