"""What a command of the exchange's control socket asks for, read from its JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TypeVar

from msgspec.structs import replace

from gateway.control_socket import CommandError
from gateway.identity import (
    MAX_DIGITS,
    MAX_NAME,
    Number,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.pri.exchange.core import DEFAULT_CALLER, CallRequest
from gateway.pri.exchange.plan import Voice

EnumMember = TypeVar("EnumMember", bound=IntEnum)

_DIGITS = frozenset("0123456789*#ABCD")


def integer(request: Mapping[str, object], name: str, default: int | None = None) -> int:
    """A whole number of a request; CommandError if it is none."""
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CommandError(f"{name}: expected a whole number")
    return value


def fraction(request: Mapping[str, object], name: str) -> float:
    """A share of a request, 0 if it is not there; CommandError if it is none."""
    value = request.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise CommandError(f"{name}: expected a fraction from 0 to 1")
    return float(value)


def call_request(request: Mapping[str, object]) -> CallRequest:
    """The call that a request asks for; CommandError says what is wrong with it."""
    called = _number(request, "called", required=True)
    caller = _number(request, "caller", DEFAULT_CALLER.number)
    presentation = _member(request, "presentation", Presentation.ALLOWED)
    if caller is not None:
        type_of_number = _member(request, "type", TypeOfNumber.UNKNOWN)
        caller = replace(caller, type=type_of_number, presentation=presentation, screening=Screening.NETWORK)
    name = request.get("name", DEFAULT_CALLER.name)
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME):
        raise CommandError(f"name: expected a text of at most {MAX_NAME} characters")
    redirecting = _number(request, "redirecting")
    redirection = None
    if redirecting is not None:
        redirection = Redirection(redirecting, _member(request, "reason", RedirectionReason.UNCONDITIONAL))
    try:
        voice = Voice(str(request.get("voice", "milliwatt")))
    except ValueError as error:
        raise CommandError(f"voice: expected one of {', '.join(v.value for v in Voice)}") from error
    hold = integer(request, "hold", 5_000)
    overlap = request.get("overlap", False)
    if not isinstance(overlap, bool):
        raise CommandError("overlap: expected true or false")
    return CallRequest(
        called.digits if called is not None else "",
        Party(caller, name or None, presentation),
        voice,
        None if hold < 0 else hold,
        redirection,
        overlap=overlap,
    )


def _number(
    request: Mapping[str, object], name: str, default: Number | None = None, *, required: bool = False
) -> Number | None:
    value = request.get(name)
    if value is None and not required:
        return default
    if not isinstance(value, str) or len(value) > MAX_DIGITS or not value or not _DIGITS.issuperset(value):
        raise CommandError(f"{name}: expected a number of 1 to {MAX_DIGITS} digits")
    return Number(value)


def _member(request: Mapping[str, object], name: str, default: EnumMember) -> EnumMember:
    """The member of ``default``'s enum that the request names in small letters."""
    value = request.get(name)
    if value is None:
        return default
    members = {member.name.lower(): member for member in type(default)}
    found = members.get(value) if isinstance(value, str) else None
    if found is None:
        raise CommandError(f"{name}: expected one of {', '.join(members)}")
    return found
