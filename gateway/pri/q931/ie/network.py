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


def _network_octet(type_of_identification: int, plan: int) -> int:
    return 0x80 | bits("type of identification", type_of_identification, 3) << 4 | bits("plan", plan, 4)


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
        if not self.identification:
            raise ValueError("Transit network selection without identification")
        return bytes((_network_octet(self.type, self.plan),)) + _identification_octets(self.identification)


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
        text = _identification_octets(self.identification)
        return bytes((len(text) + 1, _network_octet(self.type, self.plan))) + text + self.facility


@dataclass(frozen=True, slots=True)
class _OctetElement(InformationElement):
    """An element without fields: its contents as octets, at least ``minimum`` of them."""

    contents: bytes
    minimum: ClassVar[int] = 1

    def __init_subclass__(cls, *, identifier: ElementId | None = None, minimum: int = 1) -> None:
        if identifier is not None:
            cls.identifier, cls.minimum = identifier, minimum

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


class InformationRate(_OctetElement, identifier=ElementId.INFORMATION_RATE, minimum=4):
    """Q.931 4.6.3."""

    __slots__ = ()


class EndToEndTransitDelay(_OctetElement, identifier=ElementId.END_TO_END_TRANSIT_DELAY, minimum=3):
    """Q.931 4.6.2."""

    __slots__ = ()


class TransitDelaySelection(_OctetElement, identifier=ElementId.TRANSIT_DELAY_SELECTION, minimum=3):
    """Q.931 4.6.9."""

    __slots__ = ()


class PacketLayerBinaryParameters(_OctetElement, identifier=ElementId.PACKET_LAYER_BINARY_PARAMETERS):
    """Q.931 4.6.4."""

    __slots__ = ()


class PacketLayerWindowSize(_OctetElement, identifier=ElementId.PACKET_LAYER_WINDOW_SIZE):
    """Q.931 4.6.5."""

    __slots__ = ()


class PacketSize(_OctetElement, identifier=ElementId.PACKET_SIZE):
    """Q.931 4.6.6."""

    __slots__ = ()


class ClosedUserGroup(_OctetElement, identifier=ElementId.CLOSED_USER_GROUP, minimum=2):
    """Q.931 4.6.1."""

    __slots__ = ()


class ReverseChargeIndication(_OctetElement, identifier=ElementId.REVERSE_CHARGE_INDICATION):
    """Q.931 4.6.8."""

    __slots__ = ()


class InformationRequest(_OctetElement, identifier=ElementId.INFORMATION_REQUEST):
    """Q.932: the network asks for more."""

    __slots__ = ()


class ServiceProfileIdentification(_OctetElement, identifier=ElementId.SERVICE_PROFILE_IDENTIFICATION):
    """Q.932 Annex A: SPID."""

    __slots__ = ()


class EndpointIdentifier(_OctetElement, identifier=ElementId.ENDPOINT_IDENTIFIER):
    """Q.932 Annex A."""

    __slots__ = ()


class ExtendedFacility(_OctetElement, identifier=ElementId.EXTENDED_FACILITY):
    """Q.932 8.2.4: a Facility longer than 255 octets allow; kept as octets."""

    __slots__ = ()


class ConnectedAddress(_OctetElement, identifier=ElementId.CONNECTED_ADDRESS):
    """The connected address that 1TR6-era and some Q.SIG exchanges send as 0x0c; kept as octets."""

    __slots__ = ()
