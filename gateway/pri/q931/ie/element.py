"""What every information element has: identifier, codeset, contents octets (Q.931 4.5.1); the reader of octet groups.

A decoded element keeps the octets it came as and encodes to them again; one built from fields has none and is coded
canonically. ``dataclasses.replace`` gives an element without received octets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from gateway.pri.q931.errors import ContentError

MAX_CONTENTS = 255
"""Octets an element's one length octet can count."""

MAX_EXTENSION_OCTETS = 8
"""Octets of one octet group before the extension bit must end it; more is a content error."""

Enumeration = TypeVar("Enumeration", bound=IntEnum)
Coded = TypeVar("Coded", bound="InformationElement")


class ElementId(IntEnum):
    """Identifiers of codeset 0: Q.931 table 4-3, Q.932 table 8-1, Q.951/Q.952 and national use on primary rates.

    Single-octet elements have bit 8 set; those of type 1 (bits 4-1 are contents) are given with contents 0.
    """

    SEGMENTED_MESSAGE = 0x00
    CHANGE_STATUS = 0x01
    BEARER_CAPABILITY = 0x04
    CAUSE = 0x08
    CONNECTED_ADDRESS = 0x0C
    EXTENDED_FACILITY = 0x0D
    CALL_IDENTITY = 0x10
    CALL_STATE = 0x14
    CHANNEL_IDENTIFICATION = 0x18
    FACILITY = 0x1C
    PROGRESS_INDICATOR = 0x1E
    NETWORK_SPECIFIC_FACILITIES = 0x20
    ENDPOINT_IDENTIFIER = 0x26
    NOTIFICATION_INDICATOR = 0x27
    DISPLAY = 0x28
    DATE_TIME = 0x29
    KEYPAD_FACILITY = 0x2C
    INFORMATION_REQUEST = 0x32
    SIGNAL = 0x34
    SWITCHHOOK = 0x36
    FEATURE_ACTIVATION = 0x38
    FEATURE_INDICATION = 0x39
    SERVICE_PROFILE_IDENTIFICATION = 0x3A
    INFORMATION_RATE = 0x40
    END_TO_END_TRANSIT_DELAY = 0x42
    TRANSIT_DELAY_SELECTION = 0x43
    PACKET_LAYER_BINARY_PARAMETERS = 0x44
    PACKET_LAYER_WINDOW_SIZE = 0x45
    PACKET_SIZE = 0x46
    CLOSED_USER_GROUP = 0x47
    REVERSE_CHARGE_INDICATION = 0x4A
    CONNECTED_NUMBER = 0x4C
    CONNECTED_SUBADDRESS = 0x4D
    CALLING_PARTY_NUMBER = 0x6C
    CALLING_PARTY_SUBADDRESS = 0x6D
    CALLED_PARTY_NUMBER = 0x70
    CALLED_PARTY_SUBADDRESS = 0x71
    ORIGINAL_CALLED_NUMBER = 0x73
    REDIRECTING_NUMBER = 0x74
    REDIRECTION_NUMBER = 0x76
    TRANSIT_NETWORK_SELECTION = 0x78
    RESTART_INDICATOR = 0x79
    LOW_LAYER_COMPATIBILITY = 0x7C
    HIGH_LAYER_COMPATIBILITY = 0x7D
    USER_USER = 0x7E
    SHIFT = 0x90
    MORE_DATA = 0xA0
    SENDING_COMPLETE = 0xA1
    CONGESTION_LEVEL = 0xB0
    REPEAT_INDICATOR = 0xD0


class CodingStandard(IntEnum):
    """Whose coding an element's octets follow: bits 7-6 of octet 3 of several elements (e.g. Q.931 table 4-5)."""

    ITU = 0
    ISO_IEC = 1
    NATIONAL = 2
    NETWORK = 3


class _Identified:
    """The part of an element that most classes have as class attributes, and UnknownElement as fields."""

    __slots__ = ()

    identifier: int
    codeset: int = 0


@dataclass(frozen=True, slots=True)
class InformationElement(_Identified):
    """One variable-length information element. ``raw`` is its contents as received, None if built from fields."""

    raw: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, contents: bytes) -> InformationElement:
        """The element of these contents (octet 3 and on); ContentError if they break its coding."""
        raise NotImplementedError

    def build(self) -> bytes:
        """The contents coded from the fields; ValueError if a field is out of its range."""
        raise NotImplementedError

    def octets(self) -> bytes:
        """The contents to send: as received, else built from the fields."""
        raw = self.raw
        return self.build() if raw is None else raw


@dataclass(frozen=True, slots=True)
class SingleOctetElement(InformationElement):
    """An element of one octet (Q.931 4.5.1 types 1 and 2); ``octets`` is that octet itself."""


@dataclass(frozen=True, slots=True)
class UnknownElement(InformationElement):
    """An element this codec gives no fields: unknown, of another codeset, or with contents that break its coding."""

    identifier: int
    contents: bytes = b""
    codeset: int = 0

    def build(self) -> bytes:
        """The contents as they are."""
        return self.contents


@dataclass(frozen=True, slots=True)
class UnknownSingleOctet(SingleOctetElement):
    """A single-octet element this codec gives no fields (bit 8 of ``identifier`` is set)."""

    identifier: int
    codeset: int = 0

    def build(self) -> bytes:
        """The octet."""
        return bytes((self.identifier,))


def coded(element: Coded) -> Coded:
    """``element`` with the octets it is built to, for one that is sent again and again; ValueError as ``build``."""
    object.__setattr__(element, "raw", element.build())
    return element


def group(contents: bytes, start: int) -> tuple[bytes, int]:
    """The octet group at ``start``, whose last octet has the extension bit, and where the next begins (Q.931 4.5.1).

    ContentError if the contents end, or MAX_EXTENSION_OCTETS pass, before the group does.
    """
    at = start
    for at in range(start, min(len(contents), start + MAX_EXTENSION_OCTETS)):
        if contents[at] & 0x80:
            return contents[start : at + 1], at + 1
    if at - start + 1 >= MAX_EXTENSION_OCTETS:
        raise ContentError(f"octet group of more than {MAX_EXTENSION_OCTETS} octets")
    raise ContentError(f"contents of {len(contents)} octets end within an octet group")


def ungroup(octets: list[int]) -> bytes:
    """The octets (bits 7-1 each) as one group: extension bit on the last only."""
    octets[-1] |= 0x80
    return bytes(octets)


def known(enumeration: type[Enumeration], value: int) -> Enumeration | int:
    """``value`` as a member of ``enumeration`` where it is one; codes the standard reserves stay plain numbers."""
    return enumeration._value2member_map_.get(value, value)  # type: ignore[return-value]


def bits(name: str, value: int, width: int) -> int:
    """``value`` if it fits in ``width`` bits, else ValueError naming the field."""
    if not 0 <= value < 1 << width:
        raise ValueError(f"{name} is {value}, expected 0 to {(1 << width) - 1}")
    return int(value)
