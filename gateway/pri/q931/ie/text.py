"""Elements made of text or plain octets: Display (Q.931 4.5.16), Keypad facility (4.5.18), User-user (4.5.30).

Also Date/time (4.5.15), Call identity (4.5.6) and Segmented message (4.5.26).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import ElementId, InformationElement, bits

MAX_DISPLAY = 80
"""Q.931 table 4-3: 82 octets, of which two are octets 1 and 2; older networks take 34."""
MAX_KEYPAD = 32
MAX_USER_INFORMATION = 128
MAX_CALL_IDENTITY = 8

CHARSET_NATIONAL = 0x31
"""Octet 3 bits 7-1 (0xb1 with the extension bit) that NI-2, DMS-100 and 5ESS put before the text."""


_DIALLED = frozenset("0123456789*#ABCD")


def dialled(digits: str) -> str:
    """Of received digits those that a Number holds."""
    if digits.isdecimal():
        return digits
    return "".join(digit for digit in digits.upper() if digit in _DIALLED)


def to_ia5(text: str) -> str:
    """``text`` in the printable characters of IA5: accents dropped, others a question mark."""
    if text.isascii() and text.isprintable():
        return text
    plain = unicodedata.normalize("NFKD", text)
    kept = (character for character in plain if not unicodedata.combining(character))
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in kept)


def from_octets(octets: bytes) -> str:
    """What can be shown of received text: IA5, else UTF-8 if it is that, else Latin 1; control characters dropped."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


@dataclass(frozen=True, slots=True)
class Display(InformationElement):
    """Text for a terminal to show. ``charset`` is octet 3 bits 7-1 where the text has such an octet before it, or None.

    Received text is as ``from_octets`` says; what is sent is IA5.
    """

    text: str
    charset: int | None = None
    identifier = ElementId.DISPLAY

    @classmethod
    def of(cls, name: str, charset: int | None = None, limit: int = MAX_DISPLAY) -> Display:
        """A Display of ``name`` in IA5, cut to ``limit`` octets of contents."""
        return cls(to_ia5(name)[: limit - (charset is not None)], charset)

    @classmethod
    def parse(cls, contents: bytes) -> Display:
        """Octets 3*; an empty one is an empty text."""
        if len(contents) > MAX_DISPLAY + 2:
            raise ContentError(f"Display of {len(contents)} octets, expected at most {MAX_DISPLAY}")
        charset = None
        if contents and 0x80 <= contents[0] < 0xC0:
            charset = contents[0] & 0x7F
            contents = contents[1:]
        return cls(from_octets(contents), charset)

    def build(self) -> bytes:
        """Octet 3 if there is a charset, then the text in IA5."""
        text = to_ia5(self.text).encode("ascii")
        if self.charset is not None:
            text = bytes((0x80 | bits("charset", self.charset, 6),)) + text
        if len(text) > MAX_DISPLAY:
            raise ValueError(f"Display of {len(text)} octets, expected at most {MAX_DISPLAY}")
        return text


@dataclass(frozen=True, slots=True)
class KeypadFacility(InformationElement):
    """Digits keyed at the terminal, as IA5."""

    digits: str
    identifier = ElementId.KEYPAD_FACILITY

    @property
    def dialled(self) -> str:
        """Of the digits those that a Number may hold."""
        return dialled(self.digits)

    @classmethod
    def parse(cls, contents: bytes) -> KeypadFacility:
        """Octets 3*."""
        if len(contents) > MAX_KEYPAD:
            raise ContentError(f"Keypad facility of {len(contents)} octets, expected at most {MAX_KEYPAD}")
        digits = contents.decode("latin-1")
        if not digits.isascii() or not digits.isprintable():
            raise ContentError(f"Keypad facility {contents!r} is not IA5")
        return cls(digits)

    def build(self) -> bytes:
        """Octets 3*."""
        if not 1 <= len(self.digits) <= MAX_KEYPAD or not self.digits.isascii():
            raise ValueError(f"Keypad facility {self.digits!r}, expected 1 to {MAX_KEYPAD} IA5 characters")
        return self.digits.encode("ascii")


@dataclass(frozen=True, slots=True)
class UserUser(InformationElement):
    """What users tell each other: protocol discriminator (Q.931 table 4-26: 4 is IA5, 0 user specific), then octets."""

    information: bytes
    protocol: int = 4
    identifier = ElementId.USER_USER

    @classmethod
    def parse(cls, contents: bytes) -> UserUser:
        """Octets 3 and 4*."""
        if not contents:
            raise ContentError("User-user without contents")
        return cls(contents[1:], contents[0])

    def build(self) -> bytes:
        """Octets 3 and 4*."""
        if len(self.information) > MAX_USER_INFORMATION:
            raise ValueError(f"{len(self.information)} octets of user information, expected {MAX_USER_INFORMATION}")
        return bytes((bits("protocol discriminator", self.protocol, 8),)) + self.information


@dataclass(frozen=True, slots=True)
class DateTime(InformationElement):
    """The network's clock: year 0 to 99, month, day, hour, minute and second; the last three may be missing."""

    year: int
    month: int
    day: int
    hour: int | None = None
    minute: int | None = None
    second: int | None = None
    identifier = ElementId.DATE_TIME

    @classmethod
    def parse(cls, contents: bytes) -> DateTime:
        """Octets 3 to 8; ContentError for a date or time that no clock shows."""
        if len(contents) < 3:
            raise ContentError(f"Date/time of {len(contents)} octets, expected at least 3")
        for value, (name, low, high) in zip(contents, _CLOCK, strict=False):
            if not low <= value <= high:
                raise ContentError(f"Date/time with {name} {value}")
        return cls(*contents[:6])

    def build(self) -> bytes:
        """Octets 3 to 8."""
        out = bytearray()
        for value, (name, low, high) in zip(
            (self.year, self.month, self.day, self.hour, self.minute, self.second), _CLOCK, strict=True
        ):
            if value is None:
                break
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected {low} to {high}")
            out.append(value)
        return bytes(out)


_CLOCK = (
    ("year", 0, 99),
    ("month", 1, 12),
    ("day", 1, 31),
    ("hour", 0, 23),
    ("minute", 0, 59),
    ("second", 0, 59),
)


@dataclass(frozen=True, slots=True)
class CallIdentity(InformationElement):
    """The name under which a suspended call waits: 1 to 8 octets, often IA5."""

    identity: bytes
    identifier = ElementId.CALL_IDENTITY

    @classmethod
    def parse(cls, contents: bytes) -> CallIdentity:
        """Octets 3*."""
        if not 1 <= len(contents) <= MAX_CALL_IDENTITY:
            raise ContentError(f"Call identity of {len(contents)} octets, expected 1 to {MAX_CALL_IDENTITY}")
        return cls(contents)

    def build(self) -> bytes:
        """Octets 3*."""
        if not 1 <= len(self.identity) <= MAX_CALL_IDENTITY:
            raise ValueError(f"Call identity of {len(self.identity)} octets, expected 1 to {MAX_CALL_IDENTITY}")
        return self.identity


@dataclass(frozen=True, slots=True)
class SegmentedMessage(InformationElement):
    """Which part of a message a SEGMENT carries (Annex H): how many follow, and the type octet of the whole."""

    first: bool
    remaining: int
    message_type: int
    identifier = ElementId.SEGMENTED_MESSAGE

    @classmethod
    def parse(cls, contents: bytes) -> SegmentedMessage:
        """Octets 3 and 4."""
        if len(contents) < 2:
            raise ContentError(f"Segmented message of {len(contents)} octets, expected 2")
        return cls(bool(contents[0] & 0x80), contents[0] & 0x7F, contents[1])

    def build(self) -> bytes:
        """Octets 3 and 4."""
        octet3 = (0x80 if self.first else 0) | bits("remaining segments", self.remaining, 7)
        return bytes((octet3, bits("message type", self.message_type, 8)))
