"""Network-specific facilities (Q.931 4.5.21), Transit network selection (4.5.29), and elements kept as octets.

Octet elements are those of packet mode (4.6) and of Q.932's terminal management: a voice gateway passes them on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import ElementId, InformationElement, bits

MAX_NETWORK_IDENTIFICATION = 32
"""IA5 characters of a network identification; carriers have three to eight."""

MAX_FACILITY_SPECIFICATION = 32
MAX_OCTET_CONTENTS = 253


def _identification(octets: bytes) -> str:
    if len(octets) > MAX_NETWORK_IDENTIFICATION:
        raise ContentError(f"network identification of {len(octets)} octets")
    text = octets.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise ContentError(f"network identification {octets!r} is not IA5")
    return text


def _identification_octets(text: str) -> bytes:
    if len(text) > MAX_NETWORK_IDENTIFICATION or not (text.isascii() and text.isprintable()):
        raise ValueError(f"network identification {text!r}, expected {MAX_NETWORK_IDENTIFICATION} IA5 characters")
    return text.encode("ascii")


@dataclass(frozen=True, slots=True)
class TransitNetworkSelection(InformationElement):
    """The carrier to take. ``type`` 0 user specified, 2 national, 3 international; ``plan`` 1 carrier code, 3 DNIC."""

    identification: str
    type: int = 2
    plan: int = 1
    identifier = ElementId.TRANSIT_NETWORK_SELECTION

    @classmethod
    def parse(cls, contents: bytes) -> TransitNetworkSelection:
        """Octets 3 and 4*."""
        if len(contents) < 2:
            raise ContentError(f"Transit network selection of {len(contents)} octets, expected at least 2")
        return cls(_identification(contents[1:]), (contents[0] >> 4) & 7, contents[0] & 15)

    def build(self) -> bytes:
        """Octets 3 and 4*."""
        octet = 0x80 | bits("type of identification", self.type, 3) << 4 | bits("plan", self.plan, 4)
        if not self.identification:
            raise ValueError("Transit network selection without identification")
        return bytes((octet,)) + _identification_octets(self.identification)


@dataclass(frozen=True, slots=True)
class NetworkSpecificFacilities(InformationElement):
    """A facility of one network: its coding as octets (octet 4*), and the network, by default the one at hand."""

    facility: bytes
    identification: str | None = None
    type: int = 2
    plan: int = 1
    identifier = ElementId.NETWORK_SPECIFIC_FACILITIES

    @classmethod
    def parse(cls, contents: bytes) -> NetworkSpecificFacilities:
        """Octets 3, 3.1, 3.2* and 4*."""
        if not contents:
            raise ContentError("Network-specific facilities without contents")
        length = contents[0]
        if not length:
            return cls(contents[1:])
        if len(contents) < length + 1:
            raise ContentError(f"network identification of {length} octets in {len(contents) - 1}")
        octet = contents[1]
        return cls(contents[length + 1 :], _identification(contents[2 : length + 1]), (octet >> 4) & 7, octet & 15)

    def build(self) -> bytes:
        """Octets 3 to 4*."""
        if len(self.facility) > MAX_FACILITY_SPECIFICATION:
            raise ValueError(f"facility coding of {len(self.facility)} octets")
        if self.identification is None:
            return b"\x00" + self.facility
        octet = 0x80 | bits("type of identification", self.type, 3) << 4 | bits("plan", self.plan, 4)
        text = _identification_octets(self.identification)
        return bytes((len(text) + 1, octet)) + text + self.facility


@dataclass(frozen=True, slots=True)
class _OctetElement(InformationElement):
    """An element without fields: its contents as octets, at least ``minimum`` of them."""

    contents: bytes
    minimum: ClassVar[int] = 1

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        """Octets 3*."""
        if len(contents) < cls.minimum:
            raise ContentError(f"{cls.__name__} of {len(contents)} octets, expected at least {cls.minimum}")
        return cls(contents)

    def build(self) -> bytes:
        """Octets 3*."""
        if not self.minimum <= len(self.contents) <= MAX_OCTET_CONTENTS:
            raise ValueError(f"{type(self).__name__} of {len(self.contents)} octets, expected {self.minimum} or more")
        return self.contents


@dataclass(frozen=True, slots=True)
class InformationRate(_OctetElement):
    """Q.931 4.6.3."""

    identifier = ElementId.INFORMATION_RATE
    minimum = 4


@dataclass(frozen=True, slots=True)
class EndToEndTransitDelay(_OctetElement):
    """Q.931 4.6.2."""

    identifier = ElementId.END_TO_END_TRANSIT_DELAY
    minimum = 3


@dataclass(frozen=True, slots=True)
class TransitDelaySelection(_OctetElement):
    """Q.931 4.6.9."""

    identifier = ElementId.TRANSIT_DELAY_SELECTION
    minimum = 3


@dataclass(frozen=True, slots=True)
class PacketLayerBinaryParameters(_OctetElement):
    """Q.931 4.6.4."""

    identifier = ElementId.PACKET_LAYER_BINARY_PARAMETERS


@dataclass(frozen=True, slots=True)
class PacketLayerWindowSize(_OctetElement):
    """Q.931 4.6.5."""

    identifier = ElementId.PACKET_LAYER_WINDOW_SIZE


@dataclass(frozen=True, slots=True)
class PacketSize(_OctetElement):
    """Q.931 4.6.6."""

    identifier = ElementId.PACKET_SIZE


@dataclass(frozen=True, slots=True)
class ClosedUserGroup(_OctetElement):
    """Q.931 4.6.1."""

    identifier = ElementId.CLOSED_USER_GROUP
    minimum = 2


@dataclass(frozen=True, slots=True)
class ReverseChargeIndication(_OctetElement):
    """Q.931 4.6.8."""

    identifier = ElementId.REVERSE_CHARGE_INDICATION


@dataclass(frozen=True, slots=True)
class InformationRequest(_OctetElement):
    """Q.932: the network asks for more."""

    identifier = ElementId.INFORMATION_REQUEST


@dataclass(frozen=True, slots=True)
class ServiceProfileIdentification(_OctetElement):
    """Q.932 Annex A: SPID."""

    identifier = ElementId.SERVICE_PROFILE_IDENTIFICATION


@dataclass(frozen=True, slots=True)
class EndpointIdentifier(_OctetElement):
    """Q.932 Annex A."""

    identifier = ElementId.ENDPOINT_IDENTIFIER


@dataclass(frozen=True, slots=True)
class ExtendedFacility(_OctetElement):
    """Q.932 8.2.4: a Facility longer than 255 octets allow; kept as octets."""

    identifier = ElementId.EXTENDED_FACILITY


@dataclass(frozen=True, slots=True)
class ConnectedAddress(_OctetElement):
    """The connected address that 1TR6-era and some Q.SIG exchanges send as 0x0c; kept as octets."""

    identifier = ElementId.CONNECTED_ADDRESS
