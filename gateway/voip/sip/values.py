"""Typed values of SIP header fields (RFC 3261 20 and extensions): addresses, Via, CSeq, media types and the like.

Each has ``parse(text)``, which raises SipError(400), and ``str()``. Knows one value at a time, not messages.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.status import KNOWN_METHODS
from gateway.voip.sip.syntax import (
    Params,
    end_of_quoted,
    format_params,
    is_token,
    parse_number,
    parse_params,
    quote,
    split_list,
    unquote,
)
from gateway.voip.sip.uri import Uri, parse_host_port

MAX_CSEQ = 2**31 - 1
_SHORT_CSEQ = 9
"""So many digits are never more than MAX_CSEQ."""
MAX_SECONDS = 2**32 - 1
MAX_ADDRESSES_KEPT = 512
"""Values of each kind that were parsed last and are kept."""
MAGIC_COOKIE = "z9hG4bK"
"""RFC 3261 8.1.1.7: a branch that begins so is unique to its transaction."""


class NameAddr:
    """``"Display name" <uri>;params`` or ``uri;params`` (RFC 3261 20.10). Immutable; the URI is parsed on first use."""

    __slots__ = ("_uri", "display_name", "params", "uri_text")

    def __init__(self, uri: Uri | str, display_name: str = "", params: Params | None = None) -> None:
        """``display_name`` is plain text, neither quoted nor escaped."""
        self._uri: Uri | None
        if isinstance(uri, str):
            self._uri, self.uri_text = None, uri
        else:
            self._uri, self.uri_text = uri, str(uri)
        self.display_name = display_name
        self.params: Params = {} if params is None else params

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse one value. Raises SipError(400); a wrong URI raises only when ``uri`` is used."""
        text = text.strip(" \t")
        if text[:1] == '"':
            end = end_of_quoted(text, 0)
            display_name = unquote(text[:end])
            opening = text.find("<", end)
            if opening < 0 or text[end:opening].strip(" \t"):
                raise SipError(400, f"expected < after the display name in {text[:60]!r}")
        else:
            opening = text.find("<")
            if opening < 0:
                return cls._parse_bare(text)
            # RFC 4475 3.1.2.15: a display name that should have been quoted does no harm.
            display_name = text[:opening].rstrip(" \t")
        closing = text.find(">", opening)
        if closing < 0:
            raise SipError(400, f"no > after < in {text[:60]!r}")
        uri_text = text[opening + 1 : closing].strip(" \t")
        if not uri_text:
            raise SipError(400, f"no URI between < and > in {text[:60]!r}")
        tail = text[closing + 1 :]
        return cls(uri_text, display_name, parse_params(tail.strip(" \t")) if tail else {})

    @classmethod
    def _parse_bare(cls, text: str) -> NameAddr:
        # RFC 3261 20.10: without <> all after a semicolon belongs to the header field, and ? and , may not occur.
        uri_text, semicolon, tail = text.partition(";")
        uri_text = uri_text.rstrip(" \t")
        if "?" in uri_text or "," in uri_text or not uri_text:
            raise SipError(400, f"{text[:60]!r} is no address, or needs < and >")
        return cls(uri_text, "", parse_params(f";{tail}") if semicolon else {})

    @property
    def uri(self) -> Uri:
        """The URI; raises SipError(400) if it is none."""
        uri = self._uri
        if uri is None:
            uri = self._uri = Uri.parse(self.uri_text)
        return uri

    @property
    def tag(self) -> str | None:
        """The tag parameter, or None."""
        return self.params.get("tag")

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        """A copy with this parameter added or replaced."""
        copy = NameAddr(self.uri_text, self.display_name, {**self.params, name: value})
        copy._uri = self._uri
        return copy

    def without_param(self, name: str) -> NameAddr:
        """A copy without the parameter ``name``."""
        copy = NameAddr(self.uri_text, self.display_name, {k: v for k, v in self.params.items() if k != name})
        copy._uri = self._uri
        return copy

    def __str__(self) -> str:
        name = f"{quote(self.display_name)} " if self.display_name else ""
        return f"{name}<{self.uri_text}>{format_params(self.params)}" if self.params else f"{name}<{self.uri_text}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NameAddr):
            return NotImplemented
        ours = (self.uri_text, self.display_name, self.params)
        return ours == (other.uri_text, other.display_name, other.params)

    def __hash__(self) -> int:
        return hash((self.uri_text, self.display_name))

    def __repr__(self) -> str:
        return f"NameAddr({str(self)!r})"


class Via(msgspec.Struct, frozen=True):
    """One hop (RFC 3261 20.42). ``transport`` is in upper case, ``host`` has no brackets, ``port`` may be absent."""

    transport: str
    host: str
    port: int | None = None
    params: Params = {}

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse one value; raises SipError(400)."""
        hop, semicolon, tail = text.partition(";")
        transport, host, port = _parse_hop(hop)
        if tail[:7] == "branch=":
            branch, more, rest = tail[7:].partition(";")
            if (not more or rest == "rport") and is_token(branch):
                # As nearly all write it.
                return cls(transport, host, port, {"branch": branch, "rport": None} if more else {"branch": branch})
        return cls(transport, host, port, parse_params(semicolon + tail.rstrip(" \t")))

    @property
    def branch(self) -> str:
        """The branch parameter, or ""."""
        return self.params.get("branch") or ""

    @property
    def received(self) -> str | None:
        """The received parameter, without the brackets some put around IPv6 (RFC 5118 4.5), or None."""
        value = self.params.get("received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The value of rport (RFC 3581), or None without one; ``wants_rport`` tells a flag from its absence."""
        value = self.params.get("rport")
        return parse_number(value, 65535, "rport") if value else None

    @property
    def wants_rport(self) -> bool:
        """True if there is an rport parameter, with or without a value."""
        return "rport" in self.params

    @property
    def maddr(self) -> str | None:
        """The maddr parameter without brackets, or None."""
        value = self.params.get("maddr")
        return value.strip("[]") if value else None

    @property
    def sent_by(self) -> str:
        """``host[:port]`` as on the wire, host in lower case: the value that RFC 3261 17.2.3 compares."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.lower() if self.port is None else f"{host.lower()}:{self.port}"

    def with_param(self, name: str, value: str | None = None) -> Via:
        """A copy with this parameter added or replaced."""
        return msgspec.structs.replace(self, params={**self.params, name: value})

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None:
            host = f"{host}:{self.port}"
        return f"SIP/2.0/{self.transport} {host}{format_params(self.params)}"


class CSeq(NamedTuple):
    """RFC 3261 20.16."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse ``number method``; raises SipError(400)."""
        digits, _, name = text.partition(" ")
        if name in KNOWN_METHODS and digits.isdigit() and digits.isascii() and len(digits) <= _SHORT_CSEQ:
            return cls(int(digits), name)
        parts = text.split()
        if len(parts) != 2 or not is_token(parts[1]):
            raise SipError(400, f"CSeq is {text[:60]!r}, expected a number and a method")
        return cls(parse_number(parts[0], MAX_CSEQ, "CSeq"), parts[1])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class RAck(NamedTuple):
    """RFC 3262 7.2: which reliable provisional response a PRACK acknowledges."""

    rseq: int
    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> RAck:
        """Parse ``rseq cseq method``; raises SipError(400)."""
        parts = text.split()
        if len(parts) != 3 or not is_token(parts[2]):
            raise SipError(400, f"RAck is {text[:60]!r}, expected two numbers and a method")
        return cls(parse_number(parts[0], MAX_SECONDS, "RSeq"), parse_number(parts[1], MAX_CSEQ, "CSeq"), parts[2])

    def __str__(self) -> str:
        return f"{self.rseq} {self.number} {self.method}"


class MediaType(NamedTuple):
    """Content-Type, or one range of Accept (RFC 3261 20.15, 20.1). Type and subtype are in lower case."""

    type: str
    subtype: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Parse ``type/subtype;params``; raises SipError(400)."""
        full, semicolon, tail = text.partition(";")
        kind, slash, subtype = full.partition("/")
        kind, subtype = kind.strip(" \t").lower(), subtype.strip(" \t").lower()
        if not slash or not is_token(kind) or not is_token(subtype):
            raise SipError(400, f"{text[:60]!r} is no media type")
        return cls(kind, subtype, parse_params(f";{tail}") if semicolon else {})

    @property
    def full(self) -> str:
        """``type/subtype``."""
        return f"{self.type}/{self.subtype}"

    def covers(self, full: str) -> bool:
        """True if this range of an Accept header takes in ``full`` (``type/subtype``, lower case)."""
        if self.type == "*":
            return True
        return full == self.full or (self.subtype == "*" and full.startswith(f"{self.type}/"))

    def __str__(self) -> str:
        return f"{self.full}{format_params(self.params)}"


class Tagged(NamedTuple):
    """A token (or number) with parameters: Content-Disposition, Event, Session-Expires, Retry-After and others."""

    value: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> Tagged:
        """Parse ``value;params``: value in lower case, without a comment in brackets. Raises SipError(400)."""
        value, semicolon, tail = text.partition(";")
        value = value.partition("(")[0].strip(" \t").lower()
        if not is_token(value):
            raise SipError(400, f"{text[:60]!r} is no token with parameters")
        return cls(value, parse_params(f";{tail}") if semicolon else {})

    def __str__(self) -> str:
        return f"{self.value}{format_params(self.params)}"


class SessionExpires(NamedTuple):
    """RFC 4028 4: seconds, and who refreshes ("uac", "uas" or None)."""

    seconds: int
    refresher: str | None = None

    @classmethod
    def parse(cls, text: str) -> SessionExpires:
        """Parse Session-Expires or Min-SE; raises SipError(400)."""
        tagged = Tagged.parse(text)
        refresher = (tagged.params.get("refresher") or "").lower()
        seconds = parse_number(tagged.value, MAX_SECONDS, "Session-Expires")
        return cls(seconds, refresher if refresher in ("uac", "uas") else None)

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


class Replaces(NamedTuple):
    """RFC 3891 6.1: the dialog to be replaced, tags as its owner sees them."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Parse ``call-id;to-tag=..;from-tag=..``; raises SipError(400)."""
        call_id, semicolon, tail = text.partition(";")
        params = parse_params(f";{tail}") if semicolon else {}
        to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
        if to_tag is None or from_tag is None:
            raise SipError(400, f"Replaces {text[:60]!r} lacks to-tag or from-tag")
        return cls(call_id.strip(" \t"), to_tag, from_tag, "early-only" in params)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@lru_cache(maxsize=MAX_ADDRESSES_KEPT)
def parse_name_addr(text: str) -> NameAddr:
    """``NameAddr.parse`` for values that come again and again: all messages of a call have the same From and To."""
    return NameAddr.parse(text)


@lru_cache(maxsize=MAX_ADDRESSES_KEPT)
def parse_name_addrs(text: str) -> tuple[NameAddr, ...]:
    """All addresses of one Contact, Route, Record-Route or similar field; raises SipError(400)."""
    if "," not in text:
        return (NameAddr.parse(text),)
    return tuple([NameAddr.parse(value) for value in split_list(text)])


@lru_cache(maxsize=MAX_ADDRESSES_KEPT)
def _parse_hop(text: str) -> tuple[str, str, int | None]:
    """Transport, host and port out of a Via up to its parameters: the same in all messages of a far end."""
    if text[:8] == "SIP/2.0/":
        transport, _, sent_by = text[8:].partition(" ")
        sent_by = sent_by.strip(" \t")
    else:
        # Blanks may stand around the slashes (RFC 4475 3.1.1.1).
        name, _, tail = text.partition("/")
        version, _, tail = tail.partition("/")
        if name.strip(" \t").upper() != "SIP" or version.strip(" \t") != "2.0":
            raise SipError(400, f"Via is {text[:60]!r}, expected SIP/2.0/...")
        transport, _, sent_by = tail.replace("\t", " ").lstrip().partition(" ")
        sent_by = sent_by.strip()
    if not is_token(transport):
        raise SipError(400, f"Via transport is {transport[:20]!r}")
    if " " in sent_by or "\t" in sent_by:
        sent_by = sent_by.replace(" ", "").replace("\t", "")
    host, port = parse_host_port(sent_by)
    return transport.upper(), host, port
