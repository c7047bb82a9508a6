"""SIP requests and responses (RFC 3261 7): start line, header fields, body, typed access to both, and serialising.

Header values stay raw text until a typed accessor is used, which parses once. Accessors raise SipError(400) for a value
that is wrong, and those that must exist (via, from_, to, call_id, cseq) for one that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.headers import Headers
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.syntax import parse_number, split_list, split_tokens
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import (
    MAX_SECONDS,
    CSeq,
    MediaType,
    NameAddr,
    RAck,
    Replaces,
    SessionExpires,
    Tagged,
    Via,
    parse_name_addr,
    parse_name_addrs,
)

SIP_VERSION = "SIP/2.0"
Value = TypeVar("Value")
Fields = Headers | Iterable[tuple[str, str]]
_NONE: frozenset[str] = frozenset()
# What a far end wants of session timers is the same in all its messages.
_parse_session_expires = lru_cache(maxsize=64)(SessionExpires.parse)


class Message:
    """What requests and responses share. ``headers`` and ``body`` may be changed freely until it is sent."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Fields = (), body: bytes = b"") -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body

    @property
    def start_line(self) -> str:
        """The first line without its end."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message as sent: header fields in their order and as written, Content-Length made right.

        Raises ValueError for a line end inside a value, which only a mistake of ours can put there.
        """
        lines = [self.start_line]
        add = lines.append
        body = self.body
        counted = False
        for key, name, value in self.headers.entries:
            if key == "content-length":
                if counted:
                    continue
                counted = True
                value = str(len(body))
            add(f"{name}: {value}")
        if not counted:
            add(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header field of an outgoing message has a line end in it")
        return f"{head}\r\n\r\n".encode("utf-8", "surrogateescape") + body

    # -- header fields every message must have --

    @property
    def via(self) -> Via:
        """The top Via."""
        headers = self.headers
        value = headers.parsed.get("via")
        if value is None:
            text = headers.first.get("via")
            if text is None:
                raise SipError(400, "no Via")
            value = headers.parsed["via"] = Via.parse(split_list(text)[0] if "," in text else text)
        return value

    @property
    def vias(self) -> tuple[Via, ...]:
        """All Vias, the top one first."""
        return self._all("via", "vias", Via.parse)

    @property
    def from_(self) -> NameAddr:
        """From."""
        value = self.headers.parsed.get("from")
        return self._required("from", parse_name_addr) if value is None else value

    @property
    def to(self) -> NameAddr:
        """To."""
        value = self.headers.parsed.get("to")
        return self._required("to", parse_name_addr) if value is None else value

    @property
    def call_id(self) -> str:
        """Call-ID as written; it is compared octet by octet (RFC 3261 20.8)."""
        text = self.headers.first.get("call-id")
        if not text:
            raise SipError(400, "no Call-ID")
        return text

    @property
    def cseq(self) -> CSeq:
        """CSeq: ``number`` and ``method``."""
        value = self.headers.parsed.get("cseq")
        return self._required("cseq", CSeq.parse) if value is None else value

    # -- addresses --

    @property
    def contacts(self) -> tuple[NameAddr, ...]:
        """All Contacts. ``Contact: *`` gives one whose uri_text is "*"."""
        return self._addresses("contact")

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """All Routes in order."""
        return self._addresses("route")

    @property
    def record_routes(self) -> tuple[NameAddr, ...]:
        """All Record-Routes in order."""
        return self._addresses("record-route")

    @property
    def refer_to(self) -> NameAddr | None:
        """Refer-To (RFC 3515), or None."""
        return self._optional("refer-to", NameAddr.parse)

    @property
    def referred_by(self) -> NameAddr | None:
        """Referred-By (RFC 3892), or None."""
        return self._optional("referred-by", NameAddr.parse)

    def addresses(self, name: str) -> tuple[NameAddr, ...]:
        """All addresses of the fields ``name`` (full name in lower case): p-asserted-identity, diversion and so on."""
        return self._addresses(name)

    # -- body --

    @property
    def content_type(self) -> MediaType | None:
        """Content-Type, or None."""
        return self._optional("content-type", MediaType.parse)

    @property
    def content_disposition(self) -> Tagged | None:
        """Content-Disposition, or None."""
        return self._optional("content-disposition", Tagged.parse)

    @property
    def accept(self) -> tuple[MediaType, ...] | None:
        """The ranges of Accept; None without the field, () if it is there and empty (nothing is acceptable)."""
        if "accept" not in self.headers:
            return None
        texts = self.headers.get_all("accept")
        return tuple(MediaType.parse(value) for text in texts if text.strip() for value in split_list(text))

    # -- capabilities: option tags in lower case, methods as written --

    @property
    def require(self) -> frozenset[str]:
        """Option tags of Require."""
        return self._tags("require")

    @property
    def proxy_require(self) -> frozenset[str]:
        """Option tags of Proxy-Require."""
        return self._tags("proxy-require")

    @property
    def supported(self) -> frozenset[str]:
        """Option tags of Supported."""
        return self._tags("supported")

    @property
    def unsupported(self) -> frozenset[str]:
        """Option tags of Unsupported."""
        return self._tags("unsupported")

    @property
    def allow(self) -> frozenset[str]:
        """Methods of Allow (case matters, RFC 3261 7.1)."""
        headers = self.headers
        value = headers.parsed.get("allow")
        if value is None:
            text = headers.first.get("allow", "")
            if "allow" in headers.repeated:
                text = ",".join(headers.repeated["allow"])
            value = headers.parsed["allow"] = _tokens(text)
        return value

    # -- numbers --

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, 0 to 255, or None."""
        return self._optional("max-forwards", lambda text: parse_number(text, 255, "Max-Forwards"))

    @property
    def expires(self) -> int | None:
        """Expires in seconds, or None; a malformed or overlarge one is 3600 (RFC 3261 20.19, 10.2.1.1)."""
        return self._optional("expires", _lenient_expires)

    @property
    def min_expires(self) -> int | None:
        """Min-Expires in seconds, or None."""
        return self._optional("min-expires", lambda text: parse_number(text, MAX_SECONDS, "Min-Expires"))

    @property
    def session_expires(self) -> SessionExpires | None:
        """Session-Expires (RFC 4028), or None."""
        return self._optional("session-expires", _parse_session_expires)

    @property
    def min_se(self) -> int | None:
        """Min-SE in seconds (RFC 4028), or None."""
        value = self._optional("min-se", _parse_session_expires)
        return None if value is None else value.seconds

    @property
    def retry_after(self) -> int | None:
        """Retry-After in seconds, or None; its comment and parameters are dropped."""
        tagged = self._optional("retry-after", Tagged.parse)
        return None if tagged is None else parse_number(tagged.value, MAX_SECONDS, "Retry-After")

    @property
    def rseq(self) -> int | None:
        """RSeq (RFC 3262 7.1), or None."""
        return self._optional("rseq", lambda text: parse_number(text, MAX_SECONDS, "RSeq"))

    @property
    def rack(self) -> RAck | None:
        """RAck (RFC 3262 7.2), or None."""
        return self._optional("rack", RAck.parse)

    # -- other extensions --

    @property
    def event(self) -> Tagged | None:
        """Event (RFC 6665), or None."""
        return self._optional("event", Tagged.parse)

    @property
    def subscription_state(self) -> Tagged | None:
        """Subscription-State (RFC 6665), or None."""
        return self._optional("subscription-state", Tagged.parse)

    @property
    def replaces(self) -> Replaces | None:
        """Replaces (RFC 3891), or None."""
        return self._optional("replaces", Replaces.parse)

    # -- how the above work --

    def _required(self, key: str, parse: Callable[[str], Value]) -> Value:
        headers = self.headers
        text = headers.first.get(key)
        if not text:
            raise SipError(400, f"no {key}")
        value = headers.parsed[key] = parse(text)
        return value

    def _optional(self, key: str, parse: Callable[[str], Value]) -> Value | None:
        headers = self.headers
        text = headers.first.get(key)
        if text is None:
            return None
        value = headers.parsed.get(key)
        if value is None:
            value = headers.parsed[key] = parse(text)
        return value

    def _all(self, key: str, cache: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
        parsed = self.headers.parsed
        value: tuple[Value, ...] | None = parsed.get(cache)
        if value is None:
            texts = self.headers.get_all(key)
            value = parsed[cache] = tuple([parse(part) for text in texts for part in split_list(text)])
        return value

    def _addresses(self, key: str) -> tuple[NameAddr, ...]:
        headers = self.headers
        text = headers.first.get(key)
        if text is None:
            return ()
        value: tuple[NameAddr, ...] | None = headers.parsed.get(key)
        if value is None:
            if key in headers.repeated:
                value = tuple([address for text in headers.repeated[key] for address in parse_name_addrs(text)])
            else:
                value = parse_name_addrs(text)
            headers.parsed[key] = value
        return value

    def _tags(self, key: str) -> frozenset[str]:
        headers = self.headers
        text = headers.first.get(key)
        if text is None:
            return _NONE
        value = headers.parsed.get(key)
        if value is None:
            if key in headers.repeated:
                text = ",".join(headers.repeated[key])
            value = headers.parsed[key] = _tokens(text.lower())
        return value


class Request(Message):
    """A request. ``uri`` may be handed in as text; ``version`` is other than SIP/2.0 only on what was received.

    ``key`` is what its transaction is matched by, once that was worked out (``transactions``).
    """

    __slots__ = ("_uri", "key", "method", "uri_text", "version")

    def __init__(
        self, method: str, uri: Uri | str, headers: Fields = (), body: bytes = b"", version: str = SIP_VERSION
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self._uri: Uri | None
        if isinstance(uri, str):
            self._uri, self.uri_text = None, uri
        else:
            self._uri, self.uri_text = uri, str(uri)
        self.version = version
        self.key: tuple[str, ...] | None = None

    @classmethod
    def received(cls, method: str, uri: str, version: str) -> Request:
        """A request whose header fields and body the parser is about to fill in."""
        request = cls.__new__(cls)
        request.method = method
        request._uri = None
        request.uri_text = uri
        request.version = version
        request.key = None
        request.headers = _EMPTY
        request.body = b""
        return request

    @property
    def uri(self) -> Uri:
        """The Request-URI; raises SipError(400)."""
        uri = self._uri
        if uri is None:
            uri = self._uri = Uri.parse(self.uri_text)
        return uri

    @property
    def start_line(self) -> str:
        """``METHOD uri SIP/2.0``."""
        return f"{self.method} {self.uri_text} {self.version}"

    def response(self, status: int, reason: str | None = None, to_tag: str | None = None) -> Response:
        """A response with what RFC 3261 8.2.6.2 copies: Via, From, To (with ``to_tag`` if untagged), Call-ID, CSeq.

        Also Record-Route in 101 to 299 (12.1.1) and Timestamp in 100. Works for requests whose headers do not parse.
        """
        copied = _COPIED_EARLY if 100 < status < 300 else _COPIED_TRYING if status == 100 else _COPIED
        entries = [entry for entry in self.headers.entries if entry[0] in copied]
        if to_tag is not None and status > 100:
            for number, (key, name, value) in enumerate(entries):
                if key == "to" and not self._to_is_tagged():
                    entries[number] = (key, name, f"{value};tag={to_tag}")
                    break
        return Response(status, reason_phrase(status) if reason is None else reason, Headers.of_entries(entries))

    def echoed(self, status: int, to_tag: str | None = None) -> str:
        """The lines that ``response`` copies; ``to_tag`` is for a To that is known to have none."""
        headers = self.headers
        first = headers.first
        tag = f";tag={to_tag}" if to_tag is not None and status > 100 else ""
        if not headers.repeated and "record-route" not in first and "timestamp" not in first:
            try:
                return (
                    f"Via: {first['via']}\r\nFrom: {first['from']}\r\nTo: {first['to']}{tag}\r\n"
                    f"Call-ID: {first['call-id']}\r\nCSeq: {first['cseq']}\r\n"
                )
            except KeyError:
                # Whatever it has of them goes back.
                pass
        copied = _COPIED_EARLY if 100 < status < 300 else _COPIED_TRYING if status == 100 else _COPIED
        lines: list[str] = []
        for key, name, value in headers.entries:
            if key in copied:
                lines.append(f"{name}: {value}{tag}\r\n" if key == "to" else f"{name}: {value}\r\n")
                if key == "to":
                    tag = ""
        return "".join(lines)

    def cancel(self) -> Request:
        """The CANCEL of this request as it was sent (RFC 3261 9.1)."""
        headers = Headers.of_entries([entry for entry in self.headers.entries if entry[0] in _COPIED_CANCEL])
        headers.replace_first("Via", str(self.via))
        headers.add("CSeq", f"{self.cseq.number} CANCEL")
        headers.add("Max-Forwards", "70")
        return Request("CANCEL", self.uri_text, headers)

    def ack(self, response: Response) -> Request:
        """The ACK of a non-2xx final ``response`` to this INVITE as it was sent (RFC 3261 17.1.1.3)."""
        headers = Headers.of_entries([entry for entry in self.headers.entries if entry[0] in _COPIED_ACK])
        headers.replace_first("Via", str(self.via))
        headers.add("To", response.headers.get("to") or "")
        headers.add("CSeq", f"{self.cseq.number} ACK")
        headers.add("Max-Forwards", "70")
        return Request("ACK", self.uri_text, headers)

    def stamp_source(self, address: str, port: int) -> None:
        """Write where the request came from into the top Via: received (RFC 3261 18.2.1) and rport (RFC 3581 4)."""
        via = self.via
        wants = via.wants_rport
        if via.host == address and not wants and via.received is None:
            return
        headers = self.headers
        text = headers.first["via"]
        if wants and text.endswith(";rport") and "," not in text and '"' not in text and "received" not in via.params:
            # As nearly all write it.
            text = f"{text}={port};received={address}"
        else:
            params = {**via.params, "received": address}
            if wants:
                params["rport"] = str(port)
            rest = split_list(text)[1:] if "," in text else []
            text = ", ".join([str(Via(via.transport, via.host, via.port, params)), *rest])
        headers.replace_top_via(text)
        # What was read of it stays true: received and rport are only ever asked for in responses.
        params = via.params
        params["received"] = address
        if wants:
            params["rport"] = str(port)
        headers.parsed["via"] = via

    def _to_is_tagged(self) -> bool:
        try:
            return self.to.tag is not None
        except SipError:
            # The value is beyond repair: send it back as it came.
            return True

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri_text}>"


class Response(Message):
    """A response. ``status`` is 100 to 699."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str | None = None, headers: Fields = (), body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason_phrase(status) if reason is None else reason

    @classmethod
    def received(cls, status: int, reason: str) -> Response:
        """A response whose header fields and body the parser is about to fill in."""
        response = cls.__new__(cls)
        response.status = status
        response.reason = reason
        response.headers = _EMPTY
        response.body = b""
        return response

    @property
    def start_line(self) -> str:
        """``SIP/2.0 status reason``."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


_EMPTY = Headers()
_COPIED = frozenset({"via", "from", "to", "call-id", "cseq"})
_COPIED_EARLY = _COPIED | {"record-route"}
_COPIED_TRYING = _COPIED | {"timestamp"}
_COPIED_CANCEL = frozenset({"from", "to", "call-id", "route"})
_COPIED_ACK = frozenset({"from", "call-id", "route"})


@lru_cache(maxsize=256)
def _tokens(text: str) -> frozenset[str]:
    """The tokens of a list: what a far end says that it can do is the same in each of its messages."""
    return frozenset(split_tokens(text))


def _lenient_expires(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_SECONDS else 3600
