"""Blocks of pcapng (draft-ietf-opsawg-pcapng): one section, its interfaces, packets with direction and comment.

Little-endian, times in microseconds since 1970. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct

SECTION = 0x0A0D0D0A
INTERFACE = 1
PACKET = 6
_BYTE_ORDER = 0x1A2B3C4D
_MAX_TIME = (1 << 64) - 1
MAX_TEXT = 1024
"""Octets of a name or a comment."""
SNAP_LENGTH = 262_144
_head = Struct("<II").pack
_section = Struct("<IHHq").pack
_interface = Struct("<HHI").pack
_packet = Struct("<IIIII").pack
_option = Struct("<HH").pack
_length = Struct("<I").pack
_COMMENT = 1
_HARDWARE = 2
_APPLICATION = 4
_IF_NAME = 2
_IF_DESCRIPTION = 3
_FLAGS = 2
_INBOUND = _length(1)
_OUTBOUND = _length(2)


class LinkType(IntEnum):
    """What the packets of an interface begin with (the registry of link types of tcpdump.org)."""

    RAW_IP = 101
    LINUX_LAPD = 177


def _block(kind: int, body: bytes) -> bytes:
    size = _length(12 + len(body))
    return _length(kind) + size + body + size


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    written = b"".join([_option(code, len(value)) + _padded(value) for code, value in options if value])
    return written + bytes(4) if written else b""


def _text(text: str) -> bytes:
    """UTF-8, cut between characters."""
    return text.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore").encode()


def section(application: str, hardware: str = "", comment: str = "") -> bytes:
    """The block that a file begins with; its length is not told, as it is not known yet."""
    options = _options([(_COMMENT, _text(comment)), (_HARDWARE, _text(hardware)), (_APPLICATION, _text(application))])
    return _block(SECTION, _section(_BYTE_ORDER, 1, 0, -1) + options)


def interface(link_type: int, name: str, description: str = "") -> bytes:
    """An interface; the first is number 0. It must come before its packets."""
    options = _options([(_IF_NAME, _text(name)), (_IF_DESCRIPTION, _text(description))])
    return _block(INTERFACE, _interface(link_type, 0, SNAP_LENGTH) + options)


def packet(number: int, at: int, data: bytes, *, inward: bool, comment: str = "") -> bytes:
    """One whole packet of interface ``number``, ``at`` microseconds since 1970."""
    at = min(max(at, 0), _MAX_TIME)
    size = len(data)
    body = _packet(number, at >> 32, at & 0xFFFF_FFFF, size, size) + _padded(data)
    return _block(PACKET, body + _options([(_COMMENT, _text(comment)), (_FLAGS, _INBOUND if inward else _OUTBOUND)]))
