"""Channel identification (Q.931 4.5.13), Restart indicator (4.5.25), Change status (national, SERVICE messages)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import CodingStandard, ElementId, InformationElement, bits, coded, group, known

MAX_CHANNELS = 31
"""Channel numbers in one element: all of an E1. A slot map is bounded by its octets."""

MAX_INTERFACE_OCTETS = 4
"""Octets 3.1 of interface identifier; one does for any NFAS group."""


class ChannelSelection(IntEnum):
    """Q.931 table 4-15, octet 3 bits 2-1, on a primary rate interface."""

    NONE = 0
    AS_INDICATED = 1
    RESERVED = 2
    ANY = 3


class ChannelType(IntEnum):
    """Q.931 table 4-15, octet 3.2 bits 4-1."""

    B = 3
    H0 = 6
    H11 = 8
    H12 = 9


class RestartClass(IntEnum):
    """Q.931 table 4-20: what is to be restarted."""

    INDICATED_CHANNELS = 0
    SINGLE_INTERFACE = 6
    ALL_INTERFACES = 7


class ServiceStatus(IntEnum):
    """Whether a channel of a SERVICE message is to be, or is, in use (national use on North American primary rates)."""

    IN_SERVICE = 0
    MAINTENANCE = 1
    OUT_OF_SERVICE = 2


_CODINGS = tuple(CodingStandard)
_SELECTIONS = tuple(ChannelSelection)


@dataclass(frozen=True, slots=True)
class ChannelIdentification(InformationElement):
    """Channels by number or as a slot map, on this interface (``interface`` None: implicit) or another.

    ``map_octets`` is 0 for channels by number, 3 for the map of a T1 (slots 1 to 24), 4 for that of an E1 (0 to 31).
    ``primary`` False is a basic rate element: its selection is the B channel itself and it has no channel list.
    """

    channels: tuple[int, ...] = ()
    exclusive: bool = True
    interface: int | None = None
    selection: ChannelSelection = ChannelSelection.AS_INDICATED
    d_channel: bool = False
    map_octets: int = 0
    channel_type: ChannelType | int = ChannelType.B
    coding: CodingStandard = CodingStandard.ITU
    primary: bool = True
    identifier = ElementId.CHANNEL_IDENTIFICATION

    @property
    def channel(self) -> int | None:
        """The first channel, or None if none is indicated."""
        return self.channels[0] if self.channels else None

    @classmethod
    def parse(cls, contents: bytes) -> ChannelIdentification:
        """Octets 3 to 3.3*; ContentError if they end early or a slot map has a length of no line."""
        usual = _USUAL.get(contents)
        if usual is not None:
            return usual
        size = len(contents)
        if not size:
            raise ContentError("Channel identification without contents")
        first = contents[0]
        primary = bool(first & 0x20)
        selection = _SELECTIONS[first & 3]
        interface = None
        at = 1
        if first & 0x40:
            identifier, at = group(contents, 1)
            if len(identifier) > MAX_INTERFACE_OCTETS:
                raise ContentError(f"interface identifier of {len(identifier)} octets")
            interface = 0
            for octet in identifier:
                interface = interface << 7 | octet & 0x7F
        channels: tuple[int, ...] = ()
        kind: ChannelType | int = ChannelType.B
        coding = CodingStandard.ITU
        map_octets = 0
        # Figure 4-18 note 5: octets 3.2 and 3.3 are absent where a whole interface is meant.
        if primary and size > at and selection is ChannelSelection.AS_INDICATED:
            if size < at + 2:
                raise ContentError("Channel identification ends before its channel number")
            octet = contents[at]
            coding = _CODINGS[(octet >> 5) & 3]
            kind = known(ChannelType, octet & 15)
            if octet & 0x10:
                map_octets = min(size - at - 1, 4)
                channels = _slots(contents[at + 1 : at + 5])
            else:
                channels = _numbers(contents, at + 1)
        return cls(
            channels,
            bool(first & 8),
            interface,
            selection,
            bool(first & 4),
            map_octets,
            kind,
            coding,
            primary,
        )

    def build(self) -> bytes:
        """Octets 3 to 3.3*."""
        out = bytearray(
            (
                0x80
                | (0x40 if self.interface is not None else 0)
                | (0x20 if self.primary else 0)
                | (8 if self.exclusive else 0)
                | (4 if self.d_channel else 0)
                | bits("channel selection", self.selection, 2),
            )
        )
        if self.interface is not None:
            out += _interface(self.interface)
        if not self.channels:
            if self.map_octets:
                raise ValueError("slot map without channels")
            return bytes(out)
        if not self.map_octets and len(self.channels) > MAX_CHANNELS:
            raise ValueError(f"{len(self.channels)} channels, expected at most {MAX_CHANNELS}")
        octet = 0x80 | bits("coding standard", self.coding, 2) << 5 | bits("channel type", self.channel_type, 4)
        if self.map_octets:
            out.append(octet | 0x10)
            out += _map(self.channels, self.map_octets)
        else:
            out.append(octet)
            out += bytes(bits("channel number", channel, 7) for channel in self.channels)
            out[-1] |= 0x80
        return bytes(out)


def _usual() -> dict[bytes, ChannelIdentification]:
    """One B channel by number on this interface, exclusive or preferred: what nearly every message carries."""
    table = {}
    for channel in range(1, MAX_CHANNELS + 1):
        for exclusive in (True, False):
            element = coded(ChannelIdentification((channel,), exclusive))
            table[element.octets()] = element
    return table


def _numbers(contents: bytes, at: int) -> tuple[int, ...]:
    """Channel numbers up to the one with the extension bit, or to the end where a switch sets none."""
    last = contents[at]
    if last & 0x80:
        return (last & 0x7F,)
    channels = []
    for octet in contents[at:]:
        channels.append(octet & 0x7F)
        if octet & 0x80:
            break
    if len(channels) > MAX_CHANNELS:
        raise ContentError(f"{len(channels)} channel numbers, expected at most {MAX_CHANNELS}")
    return tuple(channels)


def _slots(slots: bytes) -> tuple[int, ...]:
    """Q.931 figure 4-19: bit 1 of the last octet is slot 1 of a T1 (3 octets), slot 0 of an E1 (4 octets)."""
    if len(slots) not in (3, 4):
        raise ContentError(f"slot map of {len(slots)} octets, expected 3 or 4")
    bitmap = int.from_bytes(slots, "big")
    offset = 4 - len(slots)
    return tuple(bit + offset for bit in range(32) if bitmap >> bit & 1)


def _map(channels: tuple[int, ...], octets: int) -> bytes:
    if octets not in (3, 4):
        raise ValueError(f"slot map of {octets} octets, expected 3 or 4")
    bitmap = 0
    for channel in channels:
        bit = channel - (4 - octets)
        if not 0 <= bit < octets * 8:
            raise ValueError(f"channel {channel} is not in a slot map of {octets} octets")
        bitmap |= 1 << bit
    return bitmap.to_bytes(octets, "big")


def _interface(identifier: int) -> bytes:
    bits("interface identifier", identifier, 7 * MAX_INTERFACE_OCTETS)
    octets = [identifier & 0x7F | 0x80]
    while identifier > 0x7F:
        identifier >>= 7
        octets.insert(0, identifier & 0x7F)
    return bytes(octets)


_USUAL = _usual()


@dataclass(frozen=True, slots=True)
class RestartIndicator(InformationElement):
    """What a RESTART restarts."""

    restart_class: RestartClass | int = RestartClass.INDICATED_CHANNELS
    identifier = ElementId.RESTART_INDICATOR

    @classmethod
    def parse(cls, contents: bytes) -> RestartIndicator:
        """Octet 3; ContentError for a class that Q.931 does not have."""
        if not contents:
            raise ContentError("Restart indicator without contents")
        value = known(RestartClass, contents[0] & 7)
        if not isinstance(value, RestartClass):
            raise ContentError(f"restart class {value}")
        return cls(value)

    def build(self) -> bytes:
        """Octet 3."""
        return bytes((0x80 | bits("restart class", self.restart_class, 3),))


@dataclass(frozen=True, slots=True)
class ChangeStatus(InformationElement):
    """The new status of the channel or interface of a SERVICE message; ``preference`` is bit 7 (1: channel)."""

    status: ServiceStatus | int
    preference: int = 1
    identifier = ElementId.CHANGE_STATUS

    @classmethod
    def parse(cls, contents: bytes) -> ChangeStatus:
        """Octet 3."""
        if not contents:
            raise ContentError("Change status without contents")
        return cls(known(ServiceStatus, contents[0] & 7), (contents[0] >> 6) & 1)

    def build(self) -> bytes:
        """Octet 3."""
        return bytes((0x80 | bits("preference", self.preference, 1) << 6 | bits("status", self.status, 3),))
