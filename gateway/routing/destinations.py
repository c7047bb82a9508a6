"""Where a route may lead: destinations as the configuration writes them, and as the dial plan hands them to a call.

``pri:g0/{number:1}`` is a template; expanding it with the called number gives a typed destination.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import msgspec

from gateway.cause import Cause
from gateway.media.api import Tone
from gateway.media.tones import MILLIWATT
from gateway.pri.channels import Hunt

MAX_DESTINATION = 200
MAX_DESTINATIONS = 64
MAX_EXPANDED = 80

GROUP = re.compile(r"[gGrR][0-9A-Za-z_-]{0,31}\Z")
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
_LITERAL = re.compile(r"[0-9A-Za-z*#+._-]*\Z")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"number(?::(-?\d{1,3})(?::(-?\d{1,3}))?)?\Z")


class DestinationError(ValueError):
    """A destination that cannot be read; the text says what was expected."""


# -- what the dial plan hands to a call --


class PriDestination(msgspec.Struct, frozen=True):
    """A B channel of trunk group ``group`` (as spans name it: ``g0``), found by ``hunt``, to ``number``."""

    group: str
    hunt: Hunt
    number: str

    def __str__(self) -> str:
        return f"pri:{self.hunt.value}{self.group[1:]}/{self.number}"


class TrunkDestination(msgspec.Struct, frozen=True):
    """``number`` over the SIP trunk named ``trunk``."""

    trunk: str
    number: str

    def __str__(self) -> str:
        return f"sip:{self.trunk}/{self.number}"


class PhoneDestination(msgspec.Struct, frozen=True):
    """The SIP phone named ``phone``; ``number`` is what was called."""

    phone: str
    number: str

    def __str__(self) -> str:
        return f"sip:{self.phone}"


class IaxDestination(msgspec.Struct, frozen=True):
    """``number`` over the IAX2 trunk named ``trunk``."""

    trunk: str
    number: str

    def __str__(self) -> str:
        return f"iax2:{self.trunk}/{self.number}"


class PlayDestination(msgspec.Struct, frozen=True):
    """The WAV file ``path``, then the end of the call; ``prompt`` is its name in the configuration."""

    path: str
    prompt: str

    def __str__(self) -> str:
        return f"play:{self.prompt}"


class TonedDestination(msgspec.Struct, frozen=True):
    """A call-progress tone that a caller hears before the call ends with ``cause``."""

    tone: Tone
    cause: Cause
    name: str

    def __str__(self) -> str:
        return f"tone:{self.name}"


class EchoDestination(msgspec.Struct, frozen=True):
    """What the caller says comes back."""

    def __str__(self) -> str:
        return "echo"


class MilliwattDestination(msgspec.Struct, frozen=True):
    """1004 Hz at 0 dBm0."""

    tone: Tone = MILLIWATT

    def __str__(self) -> str:
        return "milliwatt"


class RejectDestination(msgspec.Struct, frozen=True):
    """No way: the call ends with ``cause``."""

    cause: Cause

    def __str__(self) -> str:
        return f"reject:{self.cause.name.lower()}"


LegDestination = PriDestination | TrunkDestination | PhoneDestination | IaxDestination
"""Those that have a far end, and so a leg of their own."""

Destination = (
    LegDestination | PlayDestination | TonedDestination | EchoDestination | MilliwattDestination | RejectDestination
)


# -- what the configuration writes --


class Kind(Enum):
    """The word before a destination's colon, or the whole of it."""

    PRI = "pri"
    SIP = "sip"
    IAX2 = "iax2"
    PLAY = "play"
    TONE = "tone"
    ECHO = "echo"
    MILLIWATT = "milliwatt"
    GOTO = "goto"
    REJECT = "reject"


_FORMS = {
    Kind.PRI: "pri:GROUP/NUMBER",
    Kind.SIP: "sip:TRUNK/NUMBER or sip:PHONE",
    Kind.IAX2: "iax2:TRUNK/NUMBER",
    Kind.PLAY: "play:PROMPT",
    Kind.TONE: "tone:NAME",
    Kind.ECHO: "echo",
    Kind.MILLIWATT: "milliwatt",
    Kind.GOTO: "goto:CONTEXT/NUMBER",
    Kind.REJECT: "reject:CAUSE",
}
ALL_FORMS = ", ".join(_FORMS.values())


@dataclass(frozen=True, slots=True)
class Slice:
    """``{number:offset:length}``: as ``${EXTEN:offset:length}``, negative counts from the end."""

    offset: int = 0
    length: int | None = None

    def of(self, number: str) -> str:
        """The part of ``number`` that is meant; what lies outside it is left out."""
        start = self.offset if self.offset >= 0 else max(0, len(number) + self.offset)
        if self.length is None:
            return number[start:]
        end = start + self.length if self.length >= 0 else len(number) + self.length
        return number[start : max(start, end)]


@dataclass(frozen=True, slots=True)
class NumberTemplate:
    """A number with placeholders: text before, between and after slices of the called number."""

    parts: tuple[str | Slice, ...]

    def expand(self, number: str) -> str:
        """The number to send when ``number`` was called."""
        return "".join([part if isinstance(part, str) else part.of(number) for part in self.parts])[:MAX_EXPANDED]

    @property
    def open_ended(self) -> bool:
        """Whether digits that follow the called number can be sent on as they come (overlap)."""
        last = self.parts[-1] if self.parts else ""
        return isinstance(last, Slice) and last.offset >= 0 and last.length is None


@dataclass(frozen=True, slots=True)
class Template:
    """One destination as written: ``target`` is a group, trunk, phone, prompt, tone or context; see ``kind``."""

    text: str
    kind: Kind
    target: str = ""
    number: NumberTemplate | None = None
    hunt: Hunt | None = None
    cause: Cause | None = None


def parse_cause(value: object) -> Cause:
    """A cause by its number (1 to 127) or its name in Q.850 (``user_busy``); DestinationError if it is neither."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii():
        raise DestinationError("expected a Q.850 cause by number or name")
    if text.isdecimal():
        try:
            return Cause(int(text[:4]))
        except ValueError:
            raise DestinationError("expected a Q.850 cause number that is defined (1 to 127)") from None
    try:
        return Cause[text.upper().replace("-", "_").replace(" ", "_")]
    except KeyError:
        raise DestinationError('expected a Q.850 cause by number or name, such as 17 or "user_busy"') from None


def parse_number_template(text: str) -> NumberTemplate:
    """Read a number with ``{number}`` placeholders; DestinationError says what is wrong."""
    parts: list[str | Slice] = []
    at = 0
    for found in _PLACEHOLDER.finditer(text):
        _append_literal(parts, text[at : found.start()])
        placeholder = _NUMBER.match(found[1])
        if placeholder is None:
            raise DestinationError(f"{found[0]} is no placeholder; expected {{number}}, {{number:1}} or {{number:1:3}}")
        offset, length = placeholder.groups()
        parts.append(Slice(int(offset or 0), None if length is None else int(length)))
        at = found.end()
    _append_literal(parts, text[at:])
    return NumberTemplate(tuple(parts))


def _append_literal(parts: list[str | Slice], text: str) -> None:
    if not _LITERAL.match(text):
        raise DestinationError(f"{text!r} cannot be part of a number; expected digits, * # A-D and {{number}}")
    if text:
        parts.append(text)


def parse_destination(text: str) -> Template:
    """Read one destination; DestinationError says what was expected. Names are not looked up here."""
    if len(text) > MAX_DESTINATION:
        raise DestinationError(f"expected at most {MAX_DESTINATION} characters")
    word, colon, rest = text.partition(":")
    try:
        kind = Kind(word)
    except ValueError:
        raise DestinationError(f"expected one of {ALL_FORMS}") from None
    if kind in (Kind.ECHO, Kind.MILLIWATT):
        if colon:
            raise DestinationError(f"expected {_FORMS[kind]} and nothing after it")
        return Template(text, kind)
    if not rest:
        raise DestinationError(f"expected {_FORMS[kind]}")
    if kind is Kind.REJECT:
        return Template(text, kind, cause=parse_cause(rest))
    if kind in (Kind.PLAY, Kind.TONE):
        return Template(text, kind, _play_target(kind, rest))
    return _parse_numbered(text, kind, rest)


def _play_target(kind: Kind, rest: str) -> str:
    parts = rest.split("/") if kind is Kind.PLAY else [rest]
    if not all(NAME.match(part) for part in parts):
        raise DestinationError(f"expected {_FORMS[kind]} with a name of letters, digits, '.', '_' and '-'")
    return rest


def _parse_numbered(text: str, kind: Kind, rest: str) -> Template:
    target, slash, number_text = rest.partition("/")
    if slash and not number_text:
        raise DestinationError(f"expected {_FORMS[kind]} with a number after the /")
    if not slash and kind is not Kind.SIP:
        raise DestinationError(f"expected {_FORMS[kind]}")
    number = parse_number_template(number_text) if slash else None
    if kind is Kind.PRI:
        if not GROUP.match(target):
            raise DestinationError("expected pri:GROUP/NUMBER with a group that begins with g, G, r or R, such as g0")
        return Template(text, kind, "g" + target[1:], number, Hunt(target[0]))
    if not NAME.match(target):
        raise DestinationError(f"expected {_FORMS[kind]} with a name of letters, digits, '.', '_' and '-'")
    return Template(text, kind, target, number)
