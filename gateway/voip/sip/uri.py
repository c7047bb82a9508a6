"""SIP, SIPS and tel URIs (RFC 3261 19.1, RFC 3966) and any other absolute URI: parse, build, compare.

Escapes stay as they came; ``user`` is raw and ``user_decoded`` is not. Does not resolve names.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import unquote

import msgspec

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.syntax import MAX_PARAMETERS, Params, format_params, parse_number

MAX_URI = 4096
"""Longest URI taken, in characters."""

MAX_HOSTS_KEPT = 256
"""Hosts with their ports that were read last and are kept."""

_HOST = re.compile(r"[A-Za-z0-9._\-]+\Z").match
_USER = re.compile(r"[^\x00-\x20<>\"\x7f@]*\Z").match
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z").match
_PRINTING = re.compile(r"[^\x00-\x20<>\"\x7f]*\Z").match
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# RFC 2396 2.2: an escaped reserved character is not the same as the bare one.
_RESERVED = frozenset(";/?:@&=+$,")
_USER_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$,;?/")
_TEL_SEPARATORS = str.maketrans("", "", "-.() ")
# RFC 3261 19.1.4: these count even if only one of the two URIs has them.
_STRICT_PARAMS = ("user", "ttl", "method", "maddr", "transport")


class Uri(msgspec.Struct, frozen=True):
    """One URI. ``scheme`` is in lower case; ``host`` has no brackets, so an IPv6 address is just that.

    For tel: ``user`` is the number as written and ``host`` is empty. For any scheme other than sip, sips and tel only
    ``opaque`` (all after the colon) is set. ``headers`` is the raw text after the question mark.
    """

    scheme: str
    user: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = {}
    password: str | None = None
    headers: str = ""
    opaque: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse ``text``; raises SipError(400)."""
        scheme, colon, rest = text.partition(":")
        if scheme != "sip":
            scheme = scheme.lower()
        if not colon or not rest or len(text) > MAX_URI:
            raise SipError(400, f"{text[:60]!r} is no URI")
        if scheme == "sip" or scheme == "sips":
            return _parse_sip(scheme, rest)
        if scheme == "tel":
            return _parse_tel(rest)
        if not _SCHEME(scheme) or not _PRINTING(rest):
            raise SipError(400, f"{text[:60]!r} is no URI")
        return cls(scheme, opaque=rest)

    def __str__(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        if self.scheme == "tel":
            return f"tel:{self.user}{format_params(self.params)}"
        host = self.host
        if ":" in host:
            host = f"[{host}]"
        if self.port is not None:
            host = f"{host}:{self.port}"
        if self.user is not None:
            user = self.user if self.password is None else f"{self.user}:{self.password}"
            host = f"{user}@{host}"
        tail = format_params(self.params) if self.params else ""
        return f"{self.scheme}:{host}{tail}?{self.headers}" if self.headers else f"{self.scheme}:{host}{tail}"

    @property
    def user_decoded(self) -> str:
        """The user part with escapes resolved ("" if there is none)."""
        user = self.user or ""
        return unquote(user, errors="surrogateescape") if "%" in user else user

    @property
    def number(self) -> str:
        """For tel and user=phone style users: the user part up to its parameters, visual separators removed."""
        return self.user_decoded.partition(";")[0].translate(_TEL_SEPARATORS)

    @property
    def user_params(self) -> Params:
        """Parameters inside a telephone-subscriber user part: ``+1555;phone-context=x`` (RFC 3966, RFC 4694)."""
        params: Params = {}
        if self.user is None or ";" not in self.user:
            return params
        for part in self.user.split(";")[1:MAX_PARAMETERS]:
            name, equals, value = part.partition("=")
            params.setdefault(name.lower(), unquote(value) if equals else None)
        return params

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case, or None."""
        value = self.params.get("transport")
        return value.lower() if value else None

    @property
    def loose_routing(self) -> bool:
        """True with the ``lr`` parameter (RFC 3261 19.1.1)."""
        return "lr" in self.params

    @property
    def host_port(self) -> str:
        """``host[:port]`` as it stands in the URI, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def with_param(self, name: str, value: str | None = None) -> Uri:
        """A copy with this parameter added or replaced; without a value it is a flag."""
        return msgspec.structs.replace(self, params={**self.params, name: value})

    def without_param(self, name: str) -> Uri:
        """A copy without the parameter ``name``."""
        if name not in self.params:
            return self
        return msgspec.structs.replace(self, params={key: value for key, value in self.params.items() if key != name})

    def without_headers(self) -> Uri:
        """A copy fit for a Request-URI: no headers, no ``method`` parameter (RFC 3261 19.1.5)."""
        if not self.headers and "method" not in self.params:
            return self
        params = {name: value for name, value in self.params.items() if name != "method"}
        return msgspec.structs.replace(self, headers="", params=params)

    def matches(self, other: Uri) -> bool:
        """Equivalence of RFC 3261 19.1.4 (tel: RFC 3966 4). Other schemes compare as text."""
        if self.scheme != other.scheme:
            return False
        if self.scheme == "tel":
            return self.number.lower() == other.number.lower() and _folded(self.params) == _folded(other.params)
        if self.opaque or other.opaque:
            return self.opaque == other.opaque
        return (
            self.port == other.port
            and self.host.lower() == other.host.lower()
            and _normal(self.user) == _normal(other.user)
            and _normal(self.password) == _normal(other.password)
            and _params_match(self.params, other.params)
            and _headers_match(self.headers, other.headers)
        )


def escape_user(text: str) -> str:
    """``text`` as the user part of a URI: everything that may not stand there bare is %-escaped (UTF-8)."""
    if _USER_SAFE.issuperset(text):
        return text
    return "".join(
        character
        if character in _USER_SAFE
        else "".join([f"%{octet:02X}" for octet in character.encode("utf-8", "surrogateescape")])
        for character in text
    )


@lru_cache(maxsize=MAX_HOSTS_KEPT)
def parse_host_port(text: str) -> tuple[str, int | None]:
    """``host[:port]`` with an IPv6 address in brackets; raises SipError(400)."""
    host, colon, port = text.partition(":")
    if _HOST(host):
        return host, parse_number(port, 65535, "port") if colon else None
    if text[:1] == "[":
        host, bracket, tail = text[1:].partition("]")
        if not bracket:
            raise SipError(400, f"no ] after [ in {text[:60]!r}")
        host = check_ipv6(host)
        if not tail:
            return host, None
        if tail[0] != ":":
            raise SipError(400, f"{tail[:20]!r} after ], expected a port")
        return host, parse_number(tail[1:], 65535, "port")
    raise SipError(400, f"{text[:60]!r} is no host")


def check_ipv6(text: str) -> str:
    """``text`` if it is an IPv6 address. Three colons in a row, a wide-spread slip (RFC 5118 4.10), become two."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        if ":::" not in text:
            raise SipError(400, f"{text[:60]!r} is no IPv6 address") from None
        text = text.replace(":::", "::")
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            raise SipError(400, f"{text[:60]!r} is no IPv6 address") from None
    return text


def _parse_sip(scheme: str, rest: str) -> Uri:
    # An @ cannot stand bare in any other part, and a user part may hold ; and ?: so it goes first.
    user, at, tail = rest.partition("@")
    password: str | None = None
    if at:
        if not _USER(user):
            raise SipError(400, f"user part {user[:60]!r} has a character that must be escaped")
        if ":" in user:
            user, _, password = user.partition(":")
        if not user:
            raise SipError(400, f"empty user part in {rest[:60]!r}")
        host_port = tail
    else:
        host_port = rest
    headers = ""
    if "?" in host_port:
        host_port, _, headers = host_port.partition("?")
        if not _PRINTING(headers):
            raise SipError(400, f"URI headers {headers[:60]!r} have a character that must be escaped")
    params: Params = {}
    if ";" in host_port:
        host_port, _, tail = host_port.partition(";")
        params = _parse_uri_params(tail)
    host, port = parse_host_port(host_port)
    return Uri(scheme, user if at else None, host, port, params, password, headers)


def _parse_uri_params(text: str) -> Params:
    if not _PRINTING(text) or "@" in text:
        raise SipError(400, f"URI parameters {text[:60]!r} have a character that must be escaped")
    parts = text.split(";")
    if len(parts) > MAX_PARAMETERS:
        raise SipError(400, f"{len(parts)} URI parameters, at most {MAX_PARAMETERS} expected")
    params: Params = {}
    for number, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if not name:
            if number == len(parts) - 1 and number and not equals:
                break
            raise SipError(400, f"empty URI parameter in {text[:60]!r}")
        name = name.lower()
        if name not in params:
            params[name] = value if equals else None
    return params


def _parse_tel(rest: str) -> Uri:
    number, semicolon, tail = rest.partition(";")
    if not number.translate(_TEL_SEPARATORS) or not _USER(number):
        raise SipError(400, f"{rest[:60]!r} is no telephone number")
    return Uri("tel", number, params=_parse_uri_params(tail) if semicolon else {})


def _normal(text: str | None) -> str | None:
    """Escapes of characters that need none resolved, the others in upper case."""
    if text is None or "%" not in text:
        return text
    return _ESCAPE.sub(_normal_escape, text)


def _normal_escape(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    character = chr(code)
    if 0x20 < code < 0x7F and character not in _RESERVED and character != "%":
        return character
    return found[0].upper()


def _folded(params: Params) -> dict[str, str | None]:
    return {
        (_normal(name) or "").lower(): value if value is None else (_normal(value) or "").lower()
        for name, value in params.items()
    }


def _params_match(ours: Params, theirs: Params) -> bool:
    if not ours and not theirs:
        return True
    first, second = _folded(ours), _folded(theirs)
    if any(first.get(name) != second.get(name) for name in _STRICT_PARAMS if name in first or name in second):
        return False
    return all(second[name] == value for name, value in first.items() if name in second)


def _headers_match(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    return _header_set(ours) == _header_set(theirs)


def _header_set(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split("&"))
    return sorted((name.lower(), _normal(value) or "") for name, _, value in pairs)
