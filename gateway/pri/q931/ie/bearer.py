"""Bearer capability (Q.931 4.5.5), Low layer compatibility (4.5.19), High layer compatibility (4.5.17)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import (
    CodingStandard,
    ElementId,
    InformationElement,
    bits,
    coded,
    group,
    known,
    ungroup,
)


class TransferCapability(IntEnum):
    """Q.931 table 4-6, octet 3 bits 5-1."""

    SPEECH = 0x00
    UNRESTRICTED_DIGITAL = 0x08
    RESTRICTED_DIGITAL = 0x09
    AUDIO_3_1_KHZ = 0x10
    UNRESTRICTED_DIGITAL_WITH_TONES = 0x11
    VIDEO = 0x18


class TransferMode(IntEnum):
    """Q.931 table 4-6, octet 4 bits 7-6."""

    CIRCUIT = 0
    PACKET = 2


class TransferRate(IntEnum):
    """Q.931 table 4-6, octet 4 bits 5-1; MULTIRATE takes its multiplier from octet 4.1."""

    PACKET = 0x00
    RATE_64 = 0x10
    RATE_2X64 = 0x11
    RATE_384 = 0x13
    RATE_1536 = 0x15
    RATE_1920 = 0x17
    MULTIRATE = 0x18


class Layer1(IntEnum):
    """Q.931 table 4-6, octet 5 bits 5-1: user information layer 1 protocol."""

    V110 = 1
    G711_MU_LAW = 2
    G711_A_LAW = 3
    G721 = 4
    H221_H242 = 5
    H223_H245 = 6
    NON_ITU = 7
    V120 = 8
    X31_FLAG_STUFFING = 9


_CODINGS = tuple(CodingStandard)


@dataclass(frozen=True, slots=True)
class _Bearer(InformationElement):
    """Octets 3 to 7. Each layer is its protocol (bits 5-1) and the bits 7-1 of its further octets (5a, 5b, …).

    ``octet3a`` is there in Low layer compatibility only: bits 7-1 of the octets that extend octet 3.
    """

    capability: TransferCapability | int
    mode: TransferMode | int = TransferMode.CIRCUIT
    rate: TransferRate | int = TransferRate.RATE_64
    layer1: Layer1 | int | None = None
    coding: CodingStandard = CodingStandard.ITU
    multiplier: int | None = None
    layer1_parameters: bytes = b""
    layer2: int | None = None
    layer2_parameters: bytes = b""
    layer3: int | None = None
    layer3_parameters: bytes = b""
    octet3a: bytes = b""
    octet4a: bytes = b""
    title: ClassVar[str] = "Bearer capability"

    def build(self) -> bytes:
        """Octets 3 to 7; the multiplier goes with rate MULTIRATE and with no other."""
        octet3 = bits("coding standard", self.coding, 2) << 5 | bits("transfer capability", self.capability, 5)
        octet4 = bits("transfer mode", self.mode, 2) << 5 | bits("transfer rate", self.rate, 5)
        out = ungroup([octet3, *self.octet3a]) + ungroup([octet4, *self.octet4a])
        if (self.multiplier is not None) is not (self.rate == TransferRate.MULTIRATE):
            raise ValueError(f"rate {self.rate} with multiplier {self.multiplier}")
        if self.multiplier is not None:
            out += bytes((0x80 | bits("rate multiplier", self.multiplier, 7),))
        for number, protocol, parameters in (
            (1, self.layer1, self.layer1_parameters),
            (2, self.layer2, self.layer2_parameters),
            (3, self.layer3, self.layer3_parameters),
        ):
            if protocol is not None:
                out += ungroup([number << 5 | bits(f"layer {number} protocol", protocol, 5), *parameters])
            elif parameters:
                raise ValueError(f"layer {number} parameters without a protocol")
        return out


def _parse(cls: type[_Bearer], contents: bytes) -> _Bearer:
    size = len(contents)
    if size < 2:
        raise ContentError(f"{cls.title} of {size} octets, expected at least 2")
    octet3, at = group(contents, 0)
    coding = _CODINGS[(octet3[0] >> 5) & 3]
    capability = known(TransferCapability, octet3[0] & 0x1F)
    if coding is not CodingStandard.ITU or at >= size:
        # Octets 4 and on mean what the other standard says; they are kept as received.
        if coding is CodingStandard.ITU:
            raise ContentError(f"{cls.title} without octet 4")
        return cls(capability, coding=coding)
    octet4, at = group(contents, at)
    rate = known(TransferRate, octet4[0] & 0x1F)
    multiplier = None
    if rate is TransferRate.MULTIRATE:
        if at >= size:
            raise ContentError(f"{cls.title} without its rate multiplier")
        multiplier = contents[at] & 0x7F
        at += 1
    layers: dict[int, tuple[int, bytes]] = {}
    last = 0
    while at < size:
        octets, at = group(contents, at)
        layer = (octets[0] >> 5) & 3
        if layer <= last:
            raise ContentError(f"{cls.title} with layer {layer} after layer {last}")
        last = layer
        layers[layer] = (octets[0] & 0x1F, _seven(octets[1:]))
    none: tuple[int | None, bytes] = (None, b"")
    layer1, layer1_parameters = layers.get(1, none)
    layer2, layer2_parameters = layers.get(2, none)
    layer3, layer3_parameters = layers.get(3, none)
    return cls(
        capability,
        known(TransferMode, (octet4[0] >> 5) & 3),
        rate,
        known(Layer1, layer1) if layer1 is not None else None,
        coding,
        multiplier,
        layer1_parameters,
        layer2,
        layer2_parameters,
        layer3,
        layer3_parameters,
        _seven(octet3[1:]),
        _seven(octet4[1:]),
    )


def _seven(octets: bytes) -> bytes:
    return bytes(octet & 0x7F for octet in octets) if octets else b""


@dataclass(frozen=True, slots=True)
class BearerCapability(_Bearer):
    """What the call's channel is to carry. The usual ones are SPEECH_MU_LAW, AUDIO_A_LAW and so on in this module."""

    identifier = ElementId.BEARER_CAPABILITY

    @property
    def voice(self) -> bool:
        """True for speech and 3.1 kHz audio: something to hear."""
        return self.capability in (TransferCapability.SPEECH, TransferCapability.AUDIO_3_1_KHZ)

    @classmethod
    def parse(cls, contents: bytes) -> BearerCapability:
        """Octets 3 to 7; ContentError if octet 4 is missing or the layers are out of order."""
        preset = _PRESETS.get(contents)
        if preset is not None:
            return preset
        element = _parse(cls, contents)
        assert isinstance(element, BearerCapability)  # noqa: S101 - tells mypy what cls is
        return element


SPEECH_MU_LAW = BearerCapability(TransferCapability.SPEECH, layer1=Layer1.G711_MU_LAW)
SPEECH_A_LAW = BearerCapability(TransferCapability.SPEECH, layer1=Layer1.G711_A_LAW)
AUDIO_MU_LAW = BearerCapability(TransferCapability.AUDIO_3_1_KHZ, layer1=Layer1.G711_MU_LAW)
AUDIO_A_LAW = BearerCapability(TransferCapability.AUDIO_3_1_KHZ, layer1=Layer1.G711_A_LAW)
UNRESTRICTED_64 = BearerCapability(TransferCapability.UNRESTRICTED_DIGITAL)


_PRESETS: dict[bytes, BearerCapability] = {
    coded(element).octets(): element
    for element in (SPEECH_MU_LAW, SPEECH_A_LAW, AUDIO_MU_LAW, AUDIO_A_LAW, UNRESTRICTED_64)
}


@dataclass(frozen=True, slots=True)
class LowLayerCompatibility(_Bearer):
    """What the terminals are to do with each other; the network passes it on. Coded as Bearer capability with 3a."""

    identifier = ElementId.LOW_LAYER_COMPATIBILITY
    title = "Low layer compatibility"

    @classmethod
    def parse(cls, contents: bytes) -> LowLayerCompatibility:
        """Octets 3 to 7."""
        element = _parse(cls, contents)
        assert isinstance(element, LowLayerCompatibility)  # noqa: S101 - tells mypy what cls is
        return element


class HighLayer(IntEnum):
    """Q.931 table 4-17, octet 4 bits 7-1 (the usual ones)."""

    TELEPHONY = 0x01
    FACSIMILE_G2_G3 = 0x04
    FACSIMILE_G4 = 0x21
    TELETEX = 0x31
    VIDEOTEX = 0x32
    TELEX = 0x35
    MHS = 0x38
    OSI = 0x41
    VIDEOTELEPHONY = 0x60


@dataclass(frozen=True, slots=True)
class HighLayerCompatibility(InformationElement):
    """The teleservice. ``extended`` is octet 4a bits 7-1, None without it."""

    characteristics: HighLayer | int
    extended: int | None = None
    coding: CodingStandard = CodingStandard.ITU
    interpretation: int = 4
    presentation_method: int = 1
    identifier = ElementId.HIGH_LAYER_COMPATIBILITY

    @classmethod
    def parse(cls, contents: bytes) -> HighLayerCompatibility:
        """Octets 3, 4 and 4a."""
        if len(contents) < 2:
            raise ContentError(f"High layer compatibility of {len(contents)} octets, expected at least 2")
        first, second = contents[0], contents[1]
        extended = None
        if not second & 0x80:
            if len(contents) < 3:
                raise ContentError("High layer compatibility without octet 4a")
            extended = contents[2] & 0x7F
        return cls(known(HighLayer, second & 0x7F), extended, _CODINGS[(first >> 5) & 3], (first >> 2) & 7, first & 3)

    def build(self) -> bytes:
        """Octets 3, 4 and 4a."""
        octet3 = (
            0x80
            | bits("coding standard", self.coding, 2) << 5
            | bits("interpretation", self.interpretation, 3) << 2
            | bits("presentation method", self.presentation_method, 2)
        )
        octet4 = bits("high layer characteristics", self.characteristics, 7)
        if self.extended is None:
            return bytes((octet3, 0x80 | octet4))
        return bytes((octet3, octet4, 0x80 | bits("extended characteristics", self.extended, 7)))
