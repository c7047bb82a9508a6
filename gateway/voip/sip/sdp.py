"""Session descriptions (SDP, RFC 8866 and 4566): parse and serialise, order and unknown lines kept.

Takes what the field sends: bare LF, no last line end, s= or t= missing. Does not negotiate; see offer_answer. The
a=crypto of a stream (RFC 4568) stand apart from its other lines, and after them, as they are new in every call.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import msgspec

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.syntax import parse_number

MAX_DESCRIPTION = 16_384
"""Longest description taken, in octets."""
MAX_LINES = 512
MAX_MEDIA = 16
"""Most m= lines of a description."""
MAX_FORMATS = 64
"""Most formats of one m= line."""
MAX_VERSION = 2**64 - 1
MAX_KEPT = 64
"""Groups of lines that were read or written last and are kept: a far end uses the same in each of its calls."""
_LF = "\n"

Line = tuple[str, str]
"""Type letter and value: ("a", "ptime:20")."""

DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})


class RtpMap(msgspec.Struct, frozen=True):
    """What a=rtpmap says of one payload type (RFC 8866 6.6). ``encoding`` is in lower case, ``clock`` in hertz."""

    encoding: str
    clock: int
    channels: int = 1


class Origin(msgspec.Struct, frozen=True):
    """The o= line. ``family`` is IP4 or IP6."""

    username: str
    session_id: str
    version: int
    family: str
    address: str

    @classmethod
    def parse(cls, value: str) -> Origin:
        """Parse ``user id version IN IP4 address``; raises SipError(400)."""
        parts = value.split()
        if len(parts) != 6:
            raise SipError(400, f"o= has {len(parts)} fields, expected 6")
        return cls(parts[0], parts[1], parse_number(parts[2], MAX_VERSION, "o= version"), parts[4].upper(), parts[5])

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} IN {self.family} {self.address}"


class MediaDescription(msgspec.Struct, frozen=True):
    """One m= line and the lines that belong to it, in order (c=, b=, a= and any other).

    ``crypto`` are the values of its a=crypto: there are keys in them.
    """

    media: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    port_count: int = 1
    crypto: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str, lines: tuple[Line, ...], crypto: tuple[str, ...] = ()) -> MediaDescription:
        """Parse the value of an m= line; raises SipError(400)."""
        parts = value.split()
        if len(parts) < 4 or len(parts) > MAX_FORMATS + 3:
            raise SipError(400, f"m= has {len(parts)} fields, expected 4 to {MAX_FORMATS + 3}")
        port, slash, count = parts[1].partition("/")
        return cls(
            parts[0].lower(),
            parse_number(port, 65535, "m= port"),
            parts[2],
            tuple(parts[3:]),
            lines,
            parse_number(count, 65535, "m= number of ports") if slash else 1,
            crypto,
        )

    def __repr__(self) -> str:
        return f"MediaDescription({str(self)!r}, {self.lines!r}, {len(self.crypto)} a=crypto)"

    def __str__(self) -> str:
        port = f"{self.port}/{self.port_count}" if self.port_count != 1 else str(self.port)
        return f"{self.media} {port} {self.protocol} {' '.join(self.formats)}"

    def attribute(self, name: str) -> str | None:
        """The value of the first a=name ("" for a flag), or None if there is none."""
        return find_attribute(self.lines, name)

    def attributes(self, name: str) -> list[str]:
        """The values of all a=name."""
        start = f"{name}:"
        return [value[len(start) :] for kind, value in self.lines if kind == "a" and value.startswith(start)]

    @property
    def direction(self) -> str | None:
        """sendrecv, sendonly, recvonly or inactive; None if this level does not say."""
        return find_direction(self.lines)

    @property
    def connection(self) -> str | None:
        """The address of this level's c= line, or None."""
        return find_connection(self.lines)

    def rtpmaps(self) -> dict[str, RtpMap]:
        """What a=rtpmap says, by format. A line that makes no sense is left out."""
        maps: dict[str, RtpMap] = {}
        for kind, value in self.lines:
            if kind == "a" and value.startswith("rtpmap:"):
                payload, _, encoding = value[7:].strip().partition(" ")
                name, _, rest = encoding.strip().partition("/")
                clock, _, channels = rest.partition("/")
                if clock.isdecimal() and clock.isascii() and len(clock) < 8 and payload not in maps:
                    maps[payload] = RtpMap(name.lower(), int(clock), int(channels) if channels in _CHANNELS else 1)
        return maps

    def fmtp(self, payload: str) -> str | None:
        """The parameters of a=fmtp for ``payload``, or None."""
        start = f"fmtp:{payload} "
        for kind, value in self.lines:
            if kind == "a" and value.startswith(start):
                return value[len(start) :].strip()
        return None


class SessionDescription(msgspec.Struct, frozen=True):
    """A whole description. ``lines`` are those between s= and the first m=, in order (c=, t=, a= and any other)."""

    origin: Origin
    name: str = "-"
    lines: tuple[Line, ...] = ()
    media: tuple[MediaDescription, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> SessionDescription:
        """Parse a description; raises SipError(400)."""
        if len(data) > MAX_DESCRIPTION:
            raise SipError(400, f"session description of {len(data)} octets, at most {MAX_DESCRIPTION} expected")
        text = data.decode("utf-8", "surrogateescape").rstrip("\r\n\0 ")
        if text.count("\n") >= MAX_LINES:
            raise SipError(400, f"session description of {text.count(_LF) + 1} lines, at most {MAX_LINES} expected")
        if "\0" in text:
            raise SipError(400, "NUL in a session description")
        # Only o= and the port in m= are new in each description of a far end, so only they are read each time.
        session, *sections = text.split("\nm=")
        version, _, session = session.partition("\n")
        if version.removesuffix("\r") != "v=0":
            raise SipError(400, "session description does not begin with v=0")
        creator, _, session = session.partition("\n")
        if creator[:2] != "o=":
            raise SipError(400, "session description without o= after v=")
        origin = Origin.parse(creator[2:])
        if len(sections) > MAX_MEDIA:
            raise SipError(400, f"{len(sections)} m= lines, at most {MAX_MEDIA} expected")
        lines = _lines(session)
        name = "-"
        if lines and lines[0][0] == "s":
            name, lines = lines[0][1], lines[1:]
        media = []
        for section in sections:
            value, more, rest = section.partition("\n")
            if more and not rest:
                raise SipError(400, "empty line in a session description")
            crypto: tuple[str, ...] = ()
            if _CRYPTO in section:
                rest, crypto = _without_crypto(rest)
            media.append(MediaDescription.parse(value, _lines(rest), crypto))
        return cls(origin, name, lines, tuple(media))

    def __str__(self) -> str:
        text = f"v=0\r\no={self.origin}\r\ns={self.name}\r\n{_text(self.lines)}"
        for media in self.media:
            text = f"{text}m={media}\r\n{_text(media.lines)}"
            for value in media.crypto:
                text = f"{text}{_CRYPTO}{value}\r\n"
        return text

    def to_bytes(self) -> bytes:
        """The description as sent."""
        return str(self).encode("utf-8", "surrogateescape")

    def attribute(self, name: str) -> str | None:
        """The value of the first session-level a=name ("" for a flag), or None if there is none."""
        return find_attribute(self.lines, name)

    def address_of(self, media: MediaDescription) -> str:
        """Where ``media`` is to be sent: its own c= or the session's; raises SipError(400) if there is neither."""
        address = media.connection or find_connection(self.lines)
        if address is None:
            raise SipError(400, f"no c= for m={media.media}")
        return address

    def direction_of(self, media: MediaDescription) -> str:
        """The direction of ``media``: its own, the session's, or sendrecv (RFC 8866 6.7)."""
        return media.direction or find_direction(self.lines) or "sendrecv"


_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}\Z").match
_CHANNELS = frozenset("123456789")
_CRYPTO = "a=crypto:"


def _without_crypto(text: str) -> tuple[str, tuple[str, ...]]:
    """The lines of a stream without its a=crypto, and the values of those."""
    others: list[str] = []
    values: list[str] = []
    for line in text.split("\n"):
        if line.startswith(_CRYPTO):
            value = line[len(_CRYPTO) :].removesuffix("\r")
            if "\r" in value:
                raise SipError(400, "CR within a=crypto")
            values.append(value)
        else:
            others.append(line)
    return "\n".join(others), tuple(values)


@lru_cache(maxsize=MAX_KEPT)
def find_attribute(lines: tuple[Line, ...], name: str) -> str | None:
    """The value of the first a=name ("" for a flag), or None."""
    start = f"{name}:"
    for kind, value in lines:
        if kind == "a":
            if value == name:
                return ""
            if value.startswith(start):
                return value[len(start) :].strip()
    return None


@lru_cache(maxsize=MAX_KEPT)
def find_direction(lines: tuple[Line, ...]) -> str | None:
    """The first direction attribute, or None."""
    for kind, value in lines:
        if kind == "a" and (word := value.rstrip()) in DIRECTIONS:
            return word
    return None


@lru_cache(maxsize=MAX_KEPT)
def find_connection(lines: tuple[Line, ...]) -> str | None:
    """The address in the first c= line without TTL, or None; raises SipError(400) if the line is malformed."""
    for kind, value in lines:
        if kind == "c":
            parts = value.split()
            if len(parts) != 3 or parts[0].upper() != "IN":
                raise SipError(400, f"c= is {value[:60]!r}, expected IN IP4 or IN IP6 and an address")
            return parts[2].partition("/")[0]
    return None


def address_family(address: str) -> str | None:
    """IP4 or IP6 for a numeric ``address``, else None."""
    if _IPV4(address):
        return "IP4"
    if ":" not in address:
        return None
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return None
    return "IP6"


@lru_cache(maxsize=MAX_KEPT)
def _text(lines: tuple[Line, ...]) -> str:
    """``lines`` as sent."""
    return "".join([f"{kind}={value}\r\n" for kind, value in lines])


@lru_cache(maxsize=MAX_KEPT)
def _lines(text: str) -> tuple[Line, ...]:
    """Letter and value of each line."""
    lines: list[Line] = []
    for line in text.split("\n") if text else ():
        if line.endswith("\r"):
            line = line[:-1]
        if line[1:2] != "=" or not line[0].isalpha() or "\r" in line:
            raise SipError(400, f"line {line[:60]!r} in a session description")
        lines.append((line[0], line[2:]))
    return tuple(lines)
