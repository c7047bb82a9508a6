"""Numbers and subaddresses: Q.931 4.5.8 to 4.5.11, Q.951 (connected), Q.952 (redirecting, redirection), national 0x73.

Digits are IA5 as sent; ``to_number`` keeps of them what a Number may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from gateway.identity import (
    MAX_DIGITS,
    Number,
    NumberingPlan,
    Presentation,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import MAX_EXTENSION_OCTETS, ElementId, InformationElement, bits, known
from gateway.pri.q931.ie.text import dialled

MAX_SUBADDRESS = 20
"""Q.931 table 4-3: 23 octets, of which three are octets 1 to 3."""

_TYPES = tuple(TypeOfNumber(value) if value != 5 else TypeOfNumber.UNKNOWN for value in range(8))
_PLANS = tuple(NumberingPlan(value) if value in set(NumberingPlan) else NumberingPlan.UNKNOWN for value in range(16))
_PRESENTATIONS = tuple(Presentation)
_SCREENINGS = tuple(Screening)
_Fields = tuple[str, TypeOfNumber, NumberingPlan, Presentation | None, Screening]
_REASONS: dict[int, RedirectionReason] = {reason.value: reason for reason in RedirectionReason}


def _digits(octets: bytes) -> str:
    """IA5 digits, ContentError if there are too many or one is not printable."""
    if len(octets) > MAX_DIGITS:
        raise ContentError(f"number of {len(octets)} digits, expected at most {MAX_DIGITS}")
    if octets.isdigit():
        return octets.decode("ascii")
    if not octets.isascii():
        raise ContentError(f"number digits {octets!r} are not IA5")
    digits = octets.decode("ascii")
    if not digits.isprintable():
        raise ContentError(f"number digits {octets!r} are not printable")
    return digits


def _digit_octets(digits: str) -> bytes:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"number of {len(digits)} digits, expected at most {MAX_DIGITS}")
    if not (digits.isascii() and digits.isprintable()):
        raise ValueError(f"number digits {digits!r}, expected IA5")
    return digits.encode("ascii")


def _octet3(type_of_number: int, plan: int) -> int:
    """Octet 3 without its extension bit."""
    if not (0 <= type_of_number <= 7 and 0 <= plan <= 15):
        raise ValueError(f"type of number {type_of_number} or numbering plan {plan}, expected 0 to 7 and 0 to 15")
    return type_of_number << 4 | plan


def _octet3a(presentation: int, screening: int) -> int:
    """Octet 3a without its extension bit."""
    if not (0 <= presentation <= 3 and 0 <= screening <= 3):
        raise ValueError(f"presentation {presentation} or screening {screening}, expected 0 to 3")
    return presentation << 5 | screening


@dataclass(frozen=True, slots=True)
class CalledPartyNumber(InformationElement):
    """Q.931 4.5.8."""

    digits: str
    type: TypeOfNumber = TypeOfNumber.UNKNOWN
    plan: NumberingPlan = NumberingPlan.ISDN
    identifier = ElementId.CALLED_PARTY_NUMBER

    @classmethod
    def from_number(cls, number: Number) -> CalledPartyNumber:
        """The element that carries ``number``."""
        return cls(number.digits, number.type, number.plan)

    def to_number(self) -> Number:
        """The number called."""
        return Number(dialled(self.digits), self.type, self.plan)

    @classmethod
    def parse(cls, contents: bytes) -> CalledPartyNumber:
        """Octets 3 and 4*."""
        if not contents:
            raise ContentError("Called party number without contents")
        first = contents[0]
        return cls(_digits(contents[1:]), _TYPES[(first >> 4) & 7], _PLANS[first & 15])

    def build(self) -> bytes:
        """Octets 3 and 4*."""
        return bytes((0x80 | _octet3(self.type, self.plan),)) + _digit_octets(self.digits)


@dataclass(frozen=True, slots=True)
class _PresentedNumber(InformationElement):
    """Octets 3, 3a and digits. ``presentation`` None: octet 3a is absent (then it counts as allowed, not screened)."""

    digits: str
    type: TypeOfNumber = TypeOfNumber.UNKNOWN
    plan: NumberingPlan = NumberingPlan.ISDN
    presentation: Presentation | None = None
    screening: Screening = Screening.USER_NOT_SCREENED

    @classmethod
    def from_number(cls, number: Number) -> Self:
        """The element that carries ``number``, always with octet 3a."""
        return cls(number.digits, number.type, number.plan, number.presentation, number.screening)

    def to_number(self) -> Number:
        """The number, with octet 3a's defaults where it was absent."""
        return Number(
            dialled(self.digits),
            self.type,
            self.plan,
            self.presentation if self.presentation is not None else Presentation.ALLOWED,
            self.screening,
        )

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        """Octets 3, 3a, 3b and 4*; ContentError if an octet of the group is announced and missing."""
        if not contents:
            raise ContentError("number without contents")
        first = contents[0]
        kind, plan = _TYPES[(first >> 4) & 7], _PLANS[first & 15]
        if first & 0x80:
            return cls._of((_digits(contents[1:]), kind, plan, None, Screening.USER_NOT_SCREENED), None)
        end = _octet3_end(contents)
        octet = contents[1]
        return cls._of(
            (_digits(contents[end:]), kind, plan, _PRESENTATIONS[(octet >> 5) & 3], _SCREENINGS[octet & 3]),
            contents[2] if end > 2 else None,
        )

    @classmethod
    def _of(cls, fields: _Fields, octet3b: int | None) -> Self:  # noqa: ARG003 - of a number that was diverted
        return cls(*fields)

    def build(self) -> bytes:
        """Octets 3, 3a and 4*."""
        octet3 = _octet3(self.type, self.plan)
        if self.presentation is None:
            return bytes((0x80 | octet3,)) + _digit_octets(self.digits)
        return bytes((octet3, 0x80 | _octet3a(self.presentation, self.screening))) + _digit_octets(self.digits)


def _octet3_end(contents: bytes) -> int:
    """Where the octet group 3, 3a, … ends."""
    for at in range(1, min(len(contents), MAX_EXTENSION_OCTETS)):
        if contents[at] & 0x80:
            return at + 1
    raise ContentError("number ends within its octet 3")


@dataclass(frozen=True, slots=True)
class CallingPartyNumber(_PresentedNumber):
    """Q.931 4.5.10."""

    identifier = ElementId.CALLING_PARTY_NUMBER


@dataclass(frozen=True, slots=True)
class ConnectedNumber(_PresentedNumber):
    """Q.951 5.4.2: who answered."""

    identifier = ElementId.CONNECTED_NUMBER


@dataclass(frozen=True, slots=True)
class RedirectionNumber(_PresentedNumber):
    """Q.952: whereto a call is being diverted."""

    identifier = ElementId.REDIRECTION_NUMBER


@dataclass(frozen=True, slots=True)
class RedirectingNumber(_PresentedNumber):
    """Q.952: who diverted the call last. ``presentation`` and ``reason`` are None where octets 3a, 3b are absent.

    Octet 3b without 3a cannot be coded: a reason needs a presentation.
    """

    reason: RedirectionReason | None = None
    identifier = ElementId.REDIRECTING_NUMBER

    @classmethod
    def from_number(cls, number: Number, reason: RedirectionReason = RedirectionReason.UNKNOWN) -> Self:
        """The element that says ``number`` diverted the call for ``reason``."""
        return cls(number.digits, number.type, number.plan, number.presentation, number.screening, reason)

    @classmethod
    def _of(cls, fields: _Fields, octet3b: int | None) -> Self:
        return cls(*fields, _REASONS.get(octet3b & 15, RedirectionReason.UNKNOWN) if octet3b is not None else None)

    def build(self) -> bytes:
        """Octets 3, 3a, 3b and 4*."""
        octets = [_octet3(self.type, self.plan)]
        if self.presentation is not None:
            octets.append(_octet3a(self.presentation, self.screening))
            if self.reason is not None:
                octets.append(bits("reason for redirection", self.reason, 4))
        elif self.reason is not None:
            raise ValueError("reason for redirection without presentation")
        octets[-1] |= 0x80
        return bytes(octets) + _digit_octets(self.digits)


@dataclass(frozen=True, slots=True)
class OriginalCalledNumber(RedirectingNumber):
    """National use (NI-2, DMS-100): whom the call was for before its first diversion; coded as redirecting number."""

    identifier = ElementId.ORIGINAL_CALLED_NUMBER


class SubaddressType(IntEnum):
    """Q.931 table 4-10."""

    NSAP = 0
    USER = 2


@dataclass(frozen=True, slots=True)
class _Subaddress(InformationElement):
    """``information`` is the subaddress as octets (0 to 20); ``odd`` says that its last BCD digit is filler."""

    information: bytes
    type: SubaddressType | int = SubaddressType.NSAP
    odd: bool = False
    title: ClassVar[str] = "subaddress"

    @classmethod
    def parse(cls, contents: bytes) -> Self:
        """Octets 3 and 4*."""
        if not contents:
            raise ContentError(f"{cls.title} without contents")
        if len(contents) > MAX_SUBADDRESS + 1:
            raise ContentError(f"{cls.title} of {len(contents) - 1} octets, expected at most {MAX_SUBADDRESS}")
        first = contents[0]
        return cls(contents[1:], known(SubaddressType, (first >> 4) & 7), bool(first & 8))

    def build(self) -> bytes:
        """Octets 3 and 4*."""
        if len(self.information) > MAX_SUBADDRESS:
            raise ValueError(f"{self.title} of {len(self.information)} octets, expected at most {MAX_SUBADDRESS}")
        octet = 0x80 | bits("type of subaddress", self.type, 3) << 4 | (8 if self.odd else 0)
        return bytes((octet,)) + self.information


@dataclass(frozen=True, slots=True)
class CallingPartySubaddress(_Subaddress):
    """Q.931 4.5.11."""

    identifier = ElementId.CALLING_PARTY_SUBADDRESS
    title = "Calling party subaddress"


@dataclass(frozen=True, slots=True)
class CalledPartySubaddress(_Subaddress):
    """Q.931 4.5.9."""

    identifier = ElementId.CALLED_PARTY_SUBADDRESS
    title = "Called party subaddress"


@dataclass(frozen=True, slots=True)
class ConnectedSubaddress(_Subaddress):
    """Q.951."""

    identifier = ElementId.CONNECTED_SUBADDRESS
    title = "Connected subaddress"
