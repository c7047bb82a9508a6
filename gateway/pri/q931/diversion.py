"""Diversion as ETS 300 207-1 tells it: divertingLegInformation2 in the Facility of a SETUP. Read only.

What we divert goes out as Redirecting number, which every network takes; the operation has to be subscribed to.
"""

from __future__ import annotations

from gateway.identity import (
    MAX_DIGITS,
    Number,
    NumberingPlan,
    Presentation,
    Redirection,
    RedirectionReason,
    TypeOfNumber,
)
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie import Facility
from gateway.pri.q931.ie.rose import ComponentKind, components, values

DIVERTING_LEG_INFORMATION_2 = 15
"""Local operation value of ETS 300 207-1."""

_REASONS = {
    0: RedirectionReason.UNKNOWN,
    1: RedirectionReason.UNCONDITIONAL,
    2: RedirectionReason.BUSY,
    3: RedirectionReason.NO_REPLY,
    4: RedirectionReason.BY_CALLED_DTE,
    5: RedirectionReason.BY_CALLED_DTE,
}
_TYPES = {kind.value: kind for kind in TypeOfNumber}
_INTEGER, _ENUMERATED, _SEQUENCE = 0x02, 0x0A, 0x30
_DIVERTING, _ORIGINAL = 0xA1, 0xA2


def read_diversion(facility: Facility) -> Redirection | None:
    """The diversion that a Facility tells of, or None if it tells of none or its octets are no BER."""
    try:
        for component in components(facility):
            if component.kind is ComponentKind.INVOKE and component.operation == DIVERTING_LEG_INFORMATION_2:
                return _argument(component.argument)
    except ContentError:
        return None
    return None


def _argument(argument: bytes) -> Redirection | None:
    for tag, contents in values(argument):
        if tag == _SEQUENCE:
            return _diversion(contents)
    return None


def _diversion(contents: bytes) -> Redirection:
    """Counter (1 to 5), reason, and two numbers that may be missing."""
    count, reason = 1, RedirectionReason.UNKNOWN
    number, original = Number(presentation=Presentation.NOT_AVAILABLE), None
    for tag, octets in values(contents):
        if tag == _INTEGER and len(octets) == 1:
            count = max(1, min(octets[0], 5))
        elif tag == _ENUMERATED and len(octets) == 1:
            reason = _REASONS.get(octets[0], RedirectionReason.UNKNOWN)
        elif tag == _DIVERTING:
            number = _presented(octets)
        elif tag == _ORIGINAL:
            original = _presented(octets)
    return Redirection(number, reason, count, original)


def _presented(contents: bytes) -> Number:
    """PresentedNumberUnscreened (ETS 300 196-1 annex D)."""
    for tag, octets in values(contents):
        if tag == 0xA0:
            return _party_number(octets, Presentation.ALLOWED)
        if tag == 0xA3:
            return _party_number(octets, Presentation.RESTRICTED)
        if tag == 0x81:
            return Number(presentation=Presentation.RESTRICTED)
    return Number(presentation=Presentation.NOT_AVAILABLE)


def _party_number(contents: bytes, presentation: Presentation) -> Number:
    """PartyNumber (ETS 300 196-1 annex D): digits alone, or a public or private number with its type."""
    for tag, octets in values(contents):
        if tag == 0x80:
            return Number(_digits(octets), TypeOfNumber.UNKNOWN, NumberingPlan.UNKNOWN, presentation)
        if tag in (0xA1, 0xA5):
            plan = NumberingPlan.ISDN if tag == 0xA1 else NumberingPlan.PRIVATE
            return _typed_number(octets, plan, presentation)
    return Number(presentation=Presentation.NOT_AVAILABLE)


def _typed_number(contents: bytes, plan: NumberingPlan, presentation: Presentation) -> Number:
    kind, digits = TypeOfNumber.UNKNOWN, ""
    for tag, octets in values(contents):
        if tag == _ENUMERATED and len(octets) == 1:
            # The private types have the same numbers but other meanings.
            kind = _TYPES.get(octets[0], kind) if plan is NumberingPlan.ISDN else kind
        else:
            digits = _digits(octets)
    return Number(digits, kind, plan, presentation)


def _digits(octets: bytes) -> str:
    """NumericString; what is no digit is left out."""
    return "".join(digit for digit in octets.decode("latin-1") if digit in "0123456789*#")[:MAX_DIGITS]
