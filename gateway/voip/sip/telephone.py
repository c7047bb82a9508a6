"""Telephone numbers in URIs: tel: (RFC 3966) and SIP users (RFC 3261 19.1.6) to and from Q.931 numbers.

A plus is type of number international (Q.931 4.5.8). Knows no header field.
"""

from __future__ import annotations

import msgspec

from gateway.identity import MAX_DIGITS, Number, NumberingPlan, Presentation, Screening, TypeOfNumber
from gateway.voip.sip.uri import Uri, escape_user

_DIGITS = frozenset("0123456789*#ABCD")

LONGEST_COUNTRY_CODE = 3
"""Digits, by E.164 6.2.1."""
ANONYMOUS_URI = "sip:anonymous@anonymous.invalid"
"""RFC 3323 4.1.1.3: who must not be known."""


class NumberStyle(msgspec.Struct, frozen=True):
    """How numbers are written towards one far end.

    ``country_code``: national numbers become international with it; without, they stay bare. ``plus``: international
    numbers carry a plus. ``user_phone``: add user=phone to SIP URIs.
    """

    country_code: str = ""
    plus: bool = True
    user_phone: bool = False


PLAIN = NumberStyle()


def digits_of(text: str) -> str | None:
    """``text`` as the digits of a Number (a to d in upper case), or None if it is not all digits or too long."""
    if text.isdecimal() and text.isascii():
        return text if len(text) <= MAX_DIGITS else None
    text = text.upper()
    return text if text and len(text) <= MAX_DIGITS and _DIGITS.issuperset(text) else None


def number_of(
    uri: Uri,
    presentation: Presentation = Presentation.ALLOWED,
    screening: Screening = Screening.USER_NOT_SCREENED,
) -> Number | None:
    """The telephone number that ``uri`` stands for, or None if it is none (sip:alice@example.com).

    A phone-context that is a country code with a plus makes a national number, a longer one a subscriber's (RFC 3966
    5.1.5).
    """
    user = uri.user
    if user is None:
        return None
    if user.isdecimal() and user.isascii() and len(user) <= MAX_DIGITS and uri.scheme != "tel":
        return Number(user, TypeOfNumber.UNKNOWN, NumberingPlan.ISDN, presentation, screening)
    text = uri.number
    kind = TypeOfNumber.UNKNOWN
    if text[:1] == "+":
        text, kind = text[1:], TypeOfNumber.INTERNATIONAL
    digits = digits_of(text)
    if digits is None:
        return None
    if kind == TypeOfNumber.UNKNOWN:
        params = uri.params if uri.scheme == "tel" else uri.user_params
        context = params.get("phone-context") or ""
        if context.startswith("+"):
            length = sum(map(str.isdigit, context))
            kind = TypeOfNumber.NATIONAL if length <= LONGEST_COUNTRY_CODE else TypeOfNumber.SUBSCRIBER
    return Number(digits, kind, NumberingPlan.ISDN, presentation, screening)


def user_of(number: Number, style: NumberStyle = PLAIN) -> str:
    """``number`` as the user part of a URI."""
    digits = number.digits
    if number.type == TypeOfNumber.INTERNATIONAL:
        return f"+{escape_user(digits)}" if style.plus else escape_user(digits)
    if number.type == TypeOfNumber.NATIONAL and style.country_code:
        return f"{'+' if style.plus else ''}{style.country_code}{escape_user(digits)}"
    return escape_user(digits)


def uri_of(number: Number, host: str, style: NumberStyle = PLAIN, port: int | None = None) -> Uri:
    """``number`` as a SIP URI at ``host``."""
    return Uri("sip", user_of(number, style), host, port, {"user": "phone"} if style.user_phone else {})
