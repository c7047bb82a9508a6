"""Lexical rules shared by all SIP header values (RFC 3261 25.1): lists, parameters, quoted strings, tokens, numbers.

Knows no header and no URI.
"""

from __future__ import annotations

import re

from gateway.voip.sip.errors import SipError

MAX_LIST_VALUES = 128
"""Most comma-separated values taken from all header fields of one name in one message."""
MAX_PARAMETERS = 64
"""Most parameters of one value."""

Params = dict[str, str | None]
"""Parameters in order, names in lower case; a flag has None. Values are raw: a quoted string keeps its quotes."""

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z").match
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BLANK = " \t"
# What may matter where a value is split at its key: between them nothing has to be looked at.
_MARKS = {",": re.compile('[",<]').search, ";": re.compile('[";<]').search}


def is_token(text: str) -> bool:
    """True if ``text`` is an RFC 3261 token."""
    return _TOKEN(text) is not None


def parse_number(text: str, maximum: int, what: str) -> int:
    """``text`` as an unsigned decimal number of at most ``maximum``; raises SipError(400) naming ``what``."""
    if text.isdigit() and text.isascii() and len(text) <= 20:
        value = int(text)
        if value <= maximum:
            return value
    raise SipError(400, f"{what} is {text[:40]!r}, expected 0 to {maximum}")


def split_list(text: str) -> list[str]:
    """Split at commas that are outside quoted strings and angle brackets; each value stripped, none may be empty."""
    if "," not in text:
        values = [text.strip(_BLANK)]
    elif '"' not in text and "<" not in text:
        values = [value.strip(_BLANK) for value in text.split(",")]
    else:
        values = [value.strip(_BLANK) for value in _split_outside(text, ",")]
    if len(values) > MAX_LIST_VALUES:
        raise SipError(400, f"{len(values)} values in a list, at most {MAX_LIST_VALUES} expected")
    if "" in values:
        raise SipError(400, f"empty value in the list {text[:60]!r}")
    return values


def split_tokens(text: str) -> list[str]:
    """Split a list of tokens at its commas. Empty values are ignored: Supported and Accept may be empty."""
    if "\t" not in text and "  " not in text:
        # Nearly always so, and then not to be done value by value.
        values = text.strip(" ").split(", ", MAX_LIST_VALUES)
        if "," not in "".join(values) and "" not in values:
            return values
    return [value for part in text.split(",")[: MAX_LIST_VALUES + 1] if (value := part.strip(_BLANK))]


def _split_outside(text: str, separator: str) -> list[str]:
    values: list[str] = []
    start = at = 0
    find_mark = _MARKS[separator]
    while (mark := find_mark(text, at)) is not None:
        at = mark.start()
        character = text[at]
        if character == '"':
            at = end_of_quoted(text, at)
        elif character == separator:
            values.append(text[start:at])
            start = at = at + 1
        else:
            at = text.find(">", at) + 1
            if not at:
                raise SipError(400, f"no > after < in {text[start : start + 60]!r}")
    values.append(text[start:])
    return values


def end_of_quoted(text: str, start: int) -> int:
    """The index after the quoted string that opens at ``start``; raises SipError(400) if it does not close."""
    at = start + 1
    while True:
        close = text.find('"', at)
        if close < 0:
            raise SipError(400, f"unterminated quoted string in {text[start : start + 60]!r}")
        backslash = text.find("\\", at, close)
        if backslash < 0:
            return close + 1
        at = backslash + 2


def parse_params(text: str) -> Params:
    """Parse ``;name=value;flag``; ``text`` starts with the semicolon or is empty.

    One semicolon at the very end is tolerated, an empty parameter elsewhere is an error (RFC 4475 3.1.2.1).
    A repeated name keeps its first value.
    """
    params: Params = {}
    if not text:
        return params
    if text[:5] == ";tag=" and text.count(";") == 1 and text.isprintable() and " " not in text and '"' not in text:
        # The one that every From and To has.
        params["tag"] = text[5:]
        return params
    parts = _split_outside(text, ";") if '"' in text else text.split(";")
    if len(parts) > MAX_PARAMETERS:
        raise SipError(400, f"{len(parts)} parameters, at most {MAX_PARAMETERS} expected")
    if parts[0].strip(_BLANK):
        raise SipError(400, f"expected ; before {text[:40]!r}")
    if len(parts) > 2 and not parts[-1].strip(_BLANK):
        parts.pop()
    del parts[0]
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_BLANK).lower()
        if not name:
            raise SipError(400, f"empty parameter in {text[:60]!r}")
        if name not in params:
            params[name] = value.strip(_BLANK) if equals else None
    return params


def format_params(params: Params) -> str:
    """The inverse of parse_params."""
    if not params:
        return ""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params.items()])


def unquote(text: str) -> str:
    """The text inside a quoted string, quoted pairs resolved; text without quotes comes back unchanged."""
    if len(text) < 2 or text[0] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    result: list[str] = []
    at, end = 0, len(inner)
    while at < end:
        if inner[at] == "\\" and at + 1 < end:
            at += 1
        result.append(inner[at])
        at += 1
    return "".join(result)


def quote(text: str) -> str:
    """``text`` as a quoted string. Control characters become blanks, so nothing can break out of its header field."""
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
