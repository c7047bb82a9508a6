"""Frames of IAX2 between octets and values: full, mini and meta frames (RFC 5456 8.1 to 8.5), and trunks within those.

``parse`` tells them apart. A frame serialises to the octets that it was parsed from, but for a subclass below 128 that
came as a power of two, and for bits that mean nothing (the mark of a VIDEO frame, the first bit of a call in a trunk).
A full frame's body stays as octets until somebody asks for its information elements.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

import msgspec

from gateway.voip.iax.elements import Elements
from gateway.voip.iax.errors import IaxError

MAX_CALL_NUMBER = 0x7FFF
"""Call numbers have 15 bits; 0 is nobody's (8.1.1)."""
MAX_DATAGRAM = 65_507
FULL_HEADER = 12
MINI_HEADER = 4
TRUNK_HEADER = 8
_FULL = Struct(">HHIBBBB")
_MINI = Struct(">HH")
_TRUNK = Struct(">HBBI")
_FULL_BIT = 0x8000
_RETRANSMITTED_BIT = 0x8000
_CODED_BIT = 0x80


class FrameType(IntEnum):
    """8.2, and DTMF_BEGIN as Asterisk has it since 1.4."""

    DTMF = 0x01
    VOICE = 0x02
    VIDEO = 0x03
    CONTROL = 0x04
    NULL = 0x05
    IAX = 0x06
    TEXT = 0x07
    IMAGE = 0x08
    HTML = 0x09
    COMFORT_NOISE = 0x0A
    DTMF_BEGIN = 0x0C


class Control(IntEnum):
    """Subclasses of control frames (8.3); from VIDEO_UPDATE on as Asterisk has them."""

    HANGUP = 0x01
    RING = 0x02
    RINGING = 0x03
    ANSWER = 0x04
    BUSY = 0x05
    CONGESTION = 0x08
    FLASH = 0x09
    WINK = 0x0A
    OPTION = 0x0B
    KEY = 0x0C
    UNKEY = 0x0D
    PROGRESS = 0x0E
    PROCEEDING = 0x0F
    HOLD = 0x10
    UNHOLD = 0x11
    VIDEO_UPDATE = 0x12
    SOURCE_UPDATE = 0x14
    TRANSFER = 0x15
    CONNECTED_LINE = 0x16
    REDIRECTING = 0x17
    STOP_SOUNDS = 0xFF


class Command(IntEnum):
    """Subclasses of IAX frames (8.4)."""

    NEW = 0x01
    PING = 0x02
    PONG = 0x03
    ACK = 0x04
    HANGUP = 0x05
    REJECT = 0x06
    ACCEPT = 0x07
    AUTHREQ = 0x08
    AUTHREP = 0x09
    INVAL = 0x0A
    LAGRQ = 0x0B
    LAGRP = 0x0C
    REGREQ = 0x0D
    REGAUTH = 0x0E
    REGACK = 0x0F
    REGREJ = 0x10
    REGREL = 0x11
    VNAK = 0x12
    DPREQ = 0x13
    DPREP = 0x14
    DIAL = 0x15
    TXREQ = 0x16
    TXCNT = 0x17
    TXACC = 0x18
    TXREADY = 0x19
    TXREL = 0x1A
    TXREJ = 0x1B
    QUELCH = 0x1C
    UNQUELCH = 0x1D
    POKE = 0x1E
    PAGE = 0x1F
    MWI = 0x20
    UNSUPPORT = 0x21
    TRANSFER = 0x22
    PROVISION = 0x23
    FWDOWNL = 0x24
    FWDATA = 0x25
    TXMEDIA = 0x26
    RTKEY = 0x27
    CALLTOKEN = 0x28


NOT_IN_SEQUENCE = frozenset({Command.ACK, Command.INVAL, Command.VNAK, Command.TXCNT, Command.TXACC, Command.CALLTOKEN})
"""IAX frames that take no sequence number and are not acknowledged (7; CALLTOKEN: RFC 5456 has none, all do so)."""


class FullFrame(msgspec.Struct, frozen=True, gc=False):
    """A full frame (8.1.1). ``stamp`` in milliseconds since the first one; ``subclass`` is expanded from its C bit.

    ``subclass`` of 255 is the one that Asterisk writes for "stop sounds" (C bit and seven ones).
    """

    source: int
    destination: int
    stamp: int
    oseqno: int
    iseqno: int
    type: int
    subclass: int
    data: bytes = b""
    retransmitted: bool = False

    def __bytes__(self) -> bytes:
        return (
            _FULL.pack(
                self.source | _FULL_BIT,
                self.destination | (_RETRANSMITTED_BIT if self.retransmitted else 0),
                self.stamp,
                self.oseqno,
                self.iseqno,
                self.type,
                compressed(self.subclass),
            )
            + self.data
        )

    @property
    def elements(self) -> Elements:
        """The information elements that the body is; IaxError if it is not. For frames of type IAX."""
        return Elements.parse(self.data)

    @property
    def in_sequence(self) -> bool:
        """Whether the frame takes a sequence number and is to be acknowledged."""
        return self.type != FrameType.IAX or self.subclass not in NOT_IN_SEQUENCE

    def __str__(self) -> str:
        again = " again" if self.retransmitted else ""
        return (
            f"{name_of(self.type, self.subclass)} {self.source}->{self.destination} {self.stamp} ms"
            f" o{self.oseqno} i{self.iseqno}{again}"
        )

    def __repr__(self) -> str:
        # No octets of the body: a password may be among them.
        return f"<FullFrame {self}, {len(self.data)} octets>"


class MiniFrame(msgspec.Struct, frozen=True, gc=False):
    """A mini frame (8.1.2): voice; ``stamp`` is the low 16 bits of the time in milliseconds."""

    source: int
    stamp: int
    data: bytes

    def __bytes__(self) -> bytes:
        return _MINI.pack(self.source, self.stamp) + self.data


class TrunkEntry(NamedTuple):
    """The voice of one call in a trunk frame; ``stamp`` (16 bits) None where the frame has one for all."""

    source: int
    data: bytes
    stamp: int | None = None


class TrunkFrame(msgspec.Struct, frozen=True):
    """A meta frame that carries a trunk (8.1.3.2). All entries have a stamp of their own or none has."""

    stamp: int
    entries: tuple[TrunkEntry, ...]
    stamped: bool = False

    def __bytes__(self) -> bytes:
        parts = [_TRUNK.pack(0, META_TRUNK, self.stamped, self.stamp)]
        for entry in self.entries:
            if self.stamped:
                parts.append(len(entry.data).to_bytes(2, "big") + _MINI.pack(entry.source, entry.stamp or 0))
            else:
                parts.append(_MINI.pack(entry.source, len(entry.data)))
            parts.append(entry.data)
        return b"".join(parts)


class VideoFrame(msgspec.Struct, frozen=True, gc=False):
    """A meta frame that carries video (8.1.3.1), which nobody here wants."""

    source: int
    stamp: int
    data: bytes

    def __bytes__(self) -> bytes:
        return b"\0\0" + _MINI.pack(self.source | _FULL_BIT, self.stamp) + self.data


META_TRUNK = 1
_STAMPED = 1
Frame = FullFrame | MiniFrame | TrunkFrame | VideoFrame


def parse(data: bytes) -> Frame:
    """The frame that a datagram is; IaxError if it is none."""
    if len(data) < MINI_HEADER:
        raise IaxError(f"{len(data)} octets, the shortest frame has {MINI_HEADER}")
    first = data[0] << 8 | data[1]
    if first & _FULL_BIT:
        return parse_full(data)
    if first:
        return MiniFrame(first, data[2] << 8 | data[3], bytes(data[MINI_HEADER:]))
    if data[2] & 0x80:
        if len(data) < 6:
            raise IaxError(f"video of {len(data)} octets, its header has 6")
        source, stamp = _MINI.unpack_from(data, 2)
        return VideoFrame(source & MAX_CALL_NUMBER, stamp, bytes(data[6:]))
    return _parse_trunk(data)


def parse_full(data: bytes) -> FullFrame:
    """The full frame that ``data`` is, in clear; IaxError if it is too short."""
    if len(data) < FULL_HEADER:
        raise IaxError(f"full frame of {len(data)} octets, its header has {FULL_HEADER}")
    source, destination, stamp, oseqno, iseqno, kind, subclass = _FULL.unpack_from(data)
    if not source & _FULL_BIT:
        raise IaxError("no full frame")
    return FullFrame(
        source & MAX_CALL_NUMBER,
        destination & MAX_CALL_NUMBER,
        stamp,
        oseqno,
        iseqno,
        kind,
        expanded(subclass),
        bytes(data[FULL_HEADER:]),
        bool(destination & _RETRANSMITTED_BIT),
    )


def _parse_trunk(data: bytes) -> TrunkFrame:
    if len(data) < TRUNK_HEADER:
        raise IaxError(f"meta frame of {len(data)} octets, that of a trunk has {TRUNK_HEADER}")
    _, command, flags, stamp = _TRUNK.unpack_from(data)
    if command != META_TRUNK:
        raise IaxError(f"meta command {command}, expected {META_TRUNK} (trunk)")
    if flags & ~_STAMPED:
        raise IaxError(f"trunk of kind {flags}, expected 0 or 1")
    stamped = bool(flags & _STAMPED)
    header = 6 if stamped else 4
    entries: list[TrunkEntry] = []
    at, size = TRUNK_HEADER, len(data)
    while at < size:
        if size - at < header:
            raise IaxError(f"{size - at} octets left where an entry of a trunk begins")
        if stamped:
            length = data[at] << 8 | data[at + 1]
            source, own = _MINI.unpack_from(data, at + 2)
        else:
            source, length = _MINI.unpack_from(data, at)
            own = None
        at += header
        if length > size - at:
            raise IaxError(f"entry of {length} octets in a trunk, {size - at} left")
        entries.append(TrunkEntry(source & MAX_CALL_NUMBER, bytes(data[at : at + length]), own))
        at += length
    return TrunkFrame(stamp, tuple(entries), stamped)


def expanded(octet: int) -> int:
    """The subclass that ``octet`` of the header stands for (8.1.1): with its C bit set a power of two."""
    if not octet & _CODED_BIT:
        return octet
    if octet == 0xFF:
        return octet
    return 1 << (octet & 0x3F)


def compressed(subclass: int) -> int:
    """The octet of the header for ``subclass``; ValueError if it is neither below 128 nor a power of two."""
    if subclass < _CODED_BIT or subclass == 0xFF:
        return subclass
    if subclass & (subclass - 1) or subclass >> 64:
        raise ValueError(f"subclass {subclass:#x}, expected one below 128 or a power of two")
    return _CODED_BIT | (subclass.bit_length() - 1)


def name_of(kind: int, subclass: int) -> str:
    """For logs and traces: ``NEW``, ``CONTROL RINGING``, ``DTMF 5``, ``VOICE 0x4``."""
    try:
        match FrameType(kind):
            case FrameType.IAX:
                return Command(subclass).name
            case FrameType.CONTROL:
                return f"CONTROL {Control(subclass).name}"
            case FrameType.DTMF | FrameType.DTMF_BEGIN as dtmf:
                return f"{dtmf.name} {chr(subclass)!r}"
            case other:
                return f"{other.name} {subclass:#x}"
    except (ValueError, OverflowError):
        return f"frame {kind:#04x}/{subclass:#x}"
