"""Information elements of IAX2 full frames (RFC 5456 8.6, and those in use since), between octets and values.

``Elements`` keeps what was received in order and octet by octet, so that it serialises to what it was parsed from;
values are read when they are asked for, and what cannot be read is as if it were not there, or IaxError.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from gateway.voip.iax.errors import IaxError

MAX_ELEMENTS = 512
"""In one frame: chan_iax2, which may send many variables, writes 1024 octets at most (own)."""
MAX_DATA = 255
"""Octets of one element: its length has one octet (8.6)."""


class Ie(IntEnum):
    """Numbers of information elements (8.6 and the IANA registry "IAX Information Elements")."""

    CALLED_NUMBER = 0x01
    CALLING_NUMBER = 0x02
    CALLING_ANI = 0x03
    CALLING_NAME = 0x04
    CALLED_CONTEXT = 0x05
    USERNAME = 0x06
    PASSWORD = 0x07
    CAPABILITY = 0x08
    FORMAT = 0x09
    LANGUAGE = 0x0A
    VERSION = 0x0B
    ADSICPE = 0x0C
    DNID = 0x0D
    AUTHMETHODS = 0x0E
    CHALLENGE = 0x0F
    MD5_RESULT = 0x10
    RSA_RESULT = 0x11
    APPARENT_ADDR = 0x12
    REFRESH = 0x13
    DPSTATUS = 0x14
    CALLNO = 0x15
    CAUSE = 0x16
    IAX_UNKNOWN = 0x17
    MSGCOUNT = 0x18
    AUTOANSWER = 0x19
    MUSICONHOLD = 0x1A
    TRANSFERID = 0x1B
    RDNIS = 0x1C
    PROVISIONING = 0x1D
    AESPROVISIONING = 0x1E
    DATETIME = 0x1F
    DEVICETYPE = 0x20
    SERVICEIDENT = 0x21
    FIRMWAREVER = 0x22
    FWBLOCKDESC = 0x23
    FWBLOCKDATA = 0x24
    PROVVER = 0x25
    CALLINGPRES = 0x26
    CALLINGTON = 0x27
    CALLINGTNS = 0x28
    SAMPLINGRATE = 0x29
    CAUSECODE = 0x2A
    ENCRYPTION = 0x2B
    ENCKEY = 0x2C
    CODEC_PREFS = 0x2D
    RR_JITTER = 0x2E
    RR_LOSS = 0x2F
    RR_PKTS = 0x30
    RR_DELAY = 0x31
    RR_DROPPED = 0x32
    RR_OOO = 0x33
    VARIABLE = 0x34
    OSPTOKEN = 0x35
    CALLTOKEN = 0x36
    CAPABILITY2 = 0x37
    FORMAT2 = 0x38
    CALLINGANI2 = 0x39


class ApparentAddress(NamedTuple):
    """8.6: where a registrar sees us; a ``sockaddr_in`` or ``sockaddr_in6`` as it lies in memory."""

    address: str
    port: int


_FAMILY_INET = 2
_FAMILIES_INET6 = frozenset({10, 28, 30, 23})
"""AF_INET6 of Linux, FreeBSD, macOS and Windows; that of 4.4BSD stands behind an octet of length."""
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_LONG_VERSION = 0
"""Octet before the value of CAPABILITY2 and FORMAT2."""


class Elements:
    """The elements of one frame in order, as (number, octets); a number that repeats keeps all its values."""

    __slots__ = ("items",)

    def __init__(self, items: list[tuple[int, bytes]] | None = None) -> None:
        self.items: list[tuple[int, bytes]] = [] if items is None else items

    @classmethod
    def parse(cls, data: bytes) -> Elements:
        """The elements that ``data`` consists of (8.6); IaxError if one is cut short or there are too many."""
        items: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while at < size:
            if size - at < 2:
                raise IaxError(f"{size - at} octet left where an information element begins")
            length = data[at + 1]
            end = at + 2 + length
            if end > size:
                raise IaxError(f"information element {data[at]:#04x} of {length} octets, {size - at - 2} left")
            if len(items) == MAX_ELEMENTS:
                raise IaxError(f"more than {MAX_ELEMENTS} information elements")
            items.append((data[at], bytes(data[at + 2 : end])))
            at = end
        return cls(items)

    def __bytes__(self) -> bytes:
        return b"".join([bytes((number, len(data))) + data for number, data in self.items])

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elements) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Elements({self.described()})"

    def described(self) -> str:
        """For traces and logs; passwords and keys are left out."""
        return ", ".join([_described(number, data) for number, data in self.items])

    # -- reading --

    def raw(self, number: int) -> bytes | None:
        """The octets of the first element ``number``, None if there is none."""
        for found, data in self.items:
            if found == number:
                return data
        return None

    def all(self, number: int) -> list[bytes]:
        """The octets of each element ``number``."""
        return [data for found, data in self.items if found == number]

    def text(self, number: int) -> str | None:
        """A text (UTF-8, 8.6), else taken as Latin-1, as old far ends mean it. No control characters."""
        data = self.raw(number)
        if data is None:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return text if text.isprintable() else "".join([each for each in text if each.isprintable()])

    def number(self, number: int) -> int | None:
        """An unsigned number of 1, 2, 4 or 8 octets; IaxError if it has another length."""
        data = self.raw(number)
        if data is None:
            return None
        if len(data) not in _UNSIGNED:
            raise IaxError(f"{_name(number)} of {len(data)} octets, expected 1, 2, 4 or 8")
        return int.from_bytes(data, "big")

    def formats(self, number: int, long_number: int) -> int | None:
        """Media formats as a bit mask: of the element of 64 bits where it is there and of version 0, else the old."""
        data = self.raw(long_number)
        if data is not None and len(data) == 9 and data[0] == _LONG_VERSION:
            return int.from_bytes(data[1:], "big")
        data = self.raw(number)
        if data is None:
            return None
        if len(data) != 4:
            raise IaxError(f"{_name(number)} of {len(data)} octets, expected 4")
        return int.from_bytes(data, "big")

    def apparent_address(self) -> ApparentAddress | None:
        """APPARENT ADDR (8.6); None if it is missing or of a family nobody knows."""
        data = self.raw(Ie.APPARENT_ADDR)
        if data is None or len(data) < 8:
            return None
        # The family is in the byte order of who sent it.
        family = data[0] or data[1]
        port = int.from_bytes(data[2:4], "big")
        if family == _FAMILY_INET:
            return ApparentAddress(str(IPv4Address(data[4:8])), port)
        if family in _FAMILIES_INET6 and len(data) >= 24:
            return ApparentAddress(str(IPv6Address(data[8:24])), port)
        return None

    # -- writing; each gives the elements themselves, so that calls can be chained --

    def add(self, number: int, data: bytes = b"") -> Elements:
        """Append octets. ValueError if there are more than 255."""
        if len(data) > MAX_DATA:
            raise ValueError(f"{_name(number)} of {len(data)} octets, at most {MAX_DATA} fit")
        self.items.append((number, data))
        return self

    def add_text(self, number: int, text: str) -> Elements:
        """Append a text, cut at a character where it is too long."""
        return self.add(number, text.encode()[:MAX_DATA].decode("utf-8", "ignore").encode())

    def add_number(self, number: int, value: int, octets: int) -> Elements:
        """Append an unsigned number of so many octets."""
        return self.add(number, value.to_bytes(octets, "big"))

    def add_formats(self, number: int, long_number: int, mask: int) -> Elements:
        """Append a mask of media formats both ways: 32 bits, and 64 bits for those who know it."""
        self.add(number, (mask & 0xFFFF_FFFF).to_bytes(4, "big"))
        return self.add(long_number, bytes((_LONG_VERSION,)) + mask.to_bytes(8, "big"))

    def add_address(self, address: str, port: int) -> Elements:
        """Append APPARENT ADDR as a little-endian Linux host writes it; all read it."""
        if ":" in address:
            data = b"\x0a\0" + port.to_bytes(2, "big") + bytes(4) + IPv6Address(address).packed + bytes(4)
        else:
            data = b"\x02\0" + port.to_bytes(2, "big") + IPv4Address(address).packed + bytes(8)
        return self.add(Ie.APPARENT_ADDR, data)


_SECRET = frozenset(
    {Ie.PASSWORD, Ie.MD5_RESULT, Ie.RSA_RESULT, Ie.ENCKEY, Ie.CHALLENGE, Ie.CALLTOKEN, Ie.AESPROVISIONING}
)
_TEXTS = frozenset(
    {
        Ie.CALLED_NUMBER,
        Ie.CALLING_NUMBER,
        Ie.CALLING_ANI,
        Ie.CALLING_NAME,
        Ie.CALLED_CONTEXT,
        Ie.USERNAME,
        Ie.LANGUAGE,
        Ie.DNID,
        Ie.CAUSE,
        Ie.RDNIS,
        Ie.CODEC_PREFS,
        Ie.MUSICONHOLD,
        Ie.DEVICETYPE,
        Ie.SERVICEIDENT,
        Ie.VARIABLE,
    }
)


def _name(number: int) -> str:
    try:
        return Ie(number).name
    except ValueError:
        return f"information element {number:#04x}"


def _described(number: int, data: bytes) -> str:
    name = _name(number)
    if number in _SECRET:
        return f"{name}=({len(data)} octets)"
    if number in _TEXTS:
        return f"{name}={data.decode('utf-8', 'replace')!r}"
    if len(data) in _UNSIGNED:
        return f"{name}={int.from_bytes(data, 'big')}"
    return f"{name}={data.hex()}" if data else name
