"""Headers that were never sent, so that Wireshark knows what is behind them: IP with UDP or TCP (RFC 791, 8200, 768,
9293) around what went by a socket, and the pseudo-header of a LAPD frame. Check sums are right.
"""

from __future__ import annotations

import ipaddress
from array import array
from functools import lru_cache
from struct import Struct
from sys import byteorder

UDP = 17
TCP = 6
MAX_UDP = 65_507
"""Octets of payload: an IPv4 packet has 65,535."""
MAX_SEGMENT = 65_495
_TTL = 64
_v4 = Struct(">BBHHHBBH").pack
_v6 = Struct(">IHBB").pack
_ports = Struct(">HHHH").pack
_segment = Struct(">HHIIBBHHH").pack
_sll = Struct(">HHHB7xH").pack
_OUTGOING = 4
_ISDN = 8445
"""ARPHRD_LAPD of Linux."""
_LAPD_PROTOCOL = 0x0030
_PUSH_ACK = 0x18

Endpoint = tuple[str, int]
"""A literal address and a port."""


def lapd(frame: bytes, *, inward: bool, network: bool) -> bytes:
    """A frame of a D channel behind the header of LINKTYPE_LINUX_LAPD; ``network``: we are the network side."""
    return _sll(0 if inward else _OUTGOING, _ISDN, 0, network, _LAPD_PROTOCOL) + frame


@lru_cache(maxsize=1024)
def _packed(address: str) -> bytes:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.packed


def _sum(data: bytes) -> int:
    """The check sum of RFC 1071 over ``data``."""
    words = array("H", data if len(data) % 2 == 0 else data + b"\0")
    if byteorder == "little":
        words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip(protocol: int, source: bytes, destination: bytes, payload: bytes) -> bytes:
    if len(source) == 4:
        head = _v4(0x45, 0, 20 + len(payload), 0, 0, _TTL, protocol, 0)
        check = _sum(head + source + destination).to_bytes(2, "big")
        return head[:10] + check + source + destination + payload
    return _v6(6 << 28, len(payload), protocol, _TTL) + source + destination + payload


def _both(source: Endpoint, destination: Endpoint) -> tuple[bytes, bytes]:
    """Both addresses in one family; one that is of the other family is nobody's of the right one."""
    first, second = _packed(source[0]), _packed(destination[0])
    if len(first) != len(second):
        size = 16
        first = first if len(first) == size else bytes(size)
        second = second if len(second) == size else bytes(size)
    return first, second


def _checked(protocol: int, source: bytes, destination: bytes, packet: bytes, at: int) -> bytes:
    pseudo = source + destination + len(packet).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    # RFC 768: zero stands for none.
    check = _sum(pseudo + packet) or 0xFFFF
    return packet[:at] + check.to_bytes(2, "big") + packet[at + 2 :]


def udp(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """An IP packet with ``payload`` in a datagram. ValueError for more than MAX_UDP octets or a wrong address."""
    if len(payload) > MAX_UDP:
        raise ValueError(f"datagram of {len(payload)} octets, at most {MAX_UDP}")
    first, second = _both(source, destination)
    packet = _ports(source[1], destination[1], 8 + len(payload), 0) + payload
    return _ip(UDP, first, second, _checked(UDP, first, second, packet, 6))


def tcp(source: Endpoint, destination: Endpoint, payload: bytes, *, sequence: int, acknowledged: int) -> bytes:
    """An IP packet with ``payload`` in a segment. ValueError for more than MAX_SEGMENT octets or a wrong address."""
    if len(payload) > MAX_SEGMENT:
        raise ValueError(f"segment of {len(payload)} octets, at most {MAX_SEGMENT}")
    first, second = _both(source, destination)
    packet = (
        _segment(
            source[1],
            destination[1],
            sequence & 0xFFFF_FFFF,
            acknowledged & 0xFFFF_FFFF,
            5 << 4,
            _PUSH_ACK,
            0xFFFF,
            0,
            0,
        )
        + payload
    )
    return _ip(TCP, first, second, _checked(TCP, first, second, packet, 16))
