"""What a UAS refuses before it looks at meaning (RFC 3261 8.2.1 to 8.2.3, 16.3, RFC 4475), and responses to be dropped.

Matching to transactions and dialogs, authentication and merged requests are not its business.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gateway.voip.sip.body import SDP, not_understood
from gateway.voip.sip.dialog import check_routes
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import SIP_VERSION, Message, Request, Response
from gateway.voip.sip.status import KNOWN_METHODS
from gateway.voip.sip.syntax import split_tokens
from gateway.voip.sip.uri import MAX_URI

METHODS = frozenset({"ACK", "BYE", "CANCEL", "INFO", "INVITE", "NOTIFY", "OPTIONS", "PRACK", "REFER", "UPDATE"})
URI_SCHEMES = frozenset({"sip", "sips", "tel"})
OPTION_TAGS = frozenset({"100rel", "timer", "replaces"})
BODY_KINDS = frozenset({SDP})

SINGLE_HEADERS = (
    "from",
    "to",
    "call-id",
    "cseq",
    "max-forwards",
    "content-type",
    "content-disposition",
    "expires",
    "date",
    "event",
    "rack",
    "rseq",
    "refer-to",
    "replaces",
    "session-expires",
    "min-se",
)
"""Header fields that may stand but once (RFC 3261 7.3.1, 20). Content-Length is the parser's."""

_DIALOG_METHODS = frozenset({"INVITE", "UPDATE"})
_BODY_UNUSED = frozenset({"ACK", "BYE", "CANCEL", "OPTIONS"})


class Rejection(msgspec.Struct, frozen=True):
    """The response a request deserves. ``text`` is for the log, ``headers`` go into the response.

    An ACK is never answered: a Rejection of one means to drop it.
    """

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


def check_request(
    request: Request,
    *,
    methods: Collection[str] = METHODS,
    option_tags: Collection[str] = OPTION_TAGS,
    body_kinds: Collection[str] = BODY_KINDS,
    schemes: Collection[str] = URI_SCHEMES,
    forwarding: bool = False,
) -> Rejection | None:
    """None if the request may be processed, else how it is to be refused.

    ``forwarding`` is a proxy's or B2BUA's view: Max-Forwards 0 is refused with 483, Proxy-Require counts. After None
    the accessors via, vias, from_, to, call_id, cseq, max_forwards, uri, contacts, routes, record_routes do not raise,
    and of an INVITE the URIs of From, To and Contact neither.
    """
    try:
        return (
            _check_form(request)
            or _check_method(request, methods)
            or _check_target(request, schemes, forwarding)
            or _check_extensions(request, option_tags, forwarding)
            or _check_body(request, body_kinds)
        )
    except SipError as error:
        return Rejection(error.status or 400, error.text)


def check_response(response: Response) -> str | None:
    """None if the response may be matched to a transaction, else why it must be dropped (RFC 3261 8.1.3, 18.1.2)."""
    try:
        _ = (response.via, response.from_, response.to, response.call_id, response.cseq)
        for key in ("from", "to", "call-id", "cseq"):
            if len(response.headers.get_all(key)) > 1:
                return f"more than one {key}"
        # A second Via means that the response belongs to someone further up (8.1.3.3).
        if len(response.vias) > 1:
            return "more than one Via"
        _ = (response.contacts, response.record_routes, response.retry_after, response.rseq)
    except SipError as error:
        return error.text
    return None


def check_usable(response: Response) -> None:
    """Parse what the user of an INVITE or UPDATE will need; raises SipError: the response is then dropped."""
    if response.status > 100 and response.headers.first.get("cseq", "").endswith(("INVITE", "UPDATE")):
        _ = (response.to, response.contacts, response.rseq)
        if "record-route" in response.headers.first:
            check_routes(response.record_routes)


def _check_form(request: Request) -> Rejection | None:
    if request.version.upper() != SIP_VERSION:
        return Rejection(505, f"version is {request.version[:20]!r}, expected {SIP_VERSION}")
    headers = request.headers
    if headers.repeated:
        for key in SINGLE_HEADERS:
            values = headers.repeated.get(key)
            if values is not None:
                return Rejection(400, f"{len(values)} header fields {key}, expected one")
    _ = (request.via, request.from_, request.to, request.call_id)
    if "via" in headers.repeated or "," in headers.first["via"]:
        _ = request.vias
    return None


def _check_method(request: Request, methods: Collection[str]) -> Rejection | None:
    method = request.method
    if method not in methods:
        # Known before CSeq is compared: 501 tells more than 400 (RFC 4475 3.1.2.18).
        if method in KNOWN_METHODS:
            return Rejection(405, f"method {method} is not taken here", (("Allow", _listed(methods)),))
        return Rejection(501, f"method {method[:40]!r} is unknown", (("Allow", _listed(methods)),))
    if request.cseq.method != method:
        return Rejection(400, f"CSeq names {request.cseq.method[:40]!r} in a request {method}")
    return None


def _check_target(request: Request, schemes: Collection[str], forwarding: bool) -> Rejection | None:
    if len(request.uri_text) > MAX_URI:
        return Rejection(414, f"Request-URI of {len(request.uri_text)} characters, at most {MAX_URI} expected")
    uri = request.uri
    if uri.scheme not in schemes:
        return Rejection(416, f"URI scheme is {uri.scheme[:40]!r}, expected one of {_listed(schemes)}")
    if uri.headers:
        return Rejection(400, "Request-URI with header fields")
    # RFC 2543 had no Max-Forwards, so it may be missing (RFC 4475 3.4.1).
    if request.max_forwards == 0 and forwarding and request.method != "OPTIONS":
        return Rejection(483, "Max-Forwards is 0")
    _ = (request.contacts, request.routes, request.record_routes)
    if request.method == "INVITE":
        _ = (request.from_.uri, request.to.uri)
        for contact in request.contacts:
            _ = contact.uri
    return None


def _check_extensions(request: Request, option_tags: Collection[str], forwarding: bool) -> Rejection | None:
    # RFC 3261 8.2.2.3: neither ACK nor CANCEL may be refused for Require.
    if request.method in ("ACK", "CANCEL"):
        return None
    wanted = request.require | request.proxy_require if forwarding else request.require
    if not wanted:
        return None
    missing = [tag for tag in _as_written(request, wanted) if tag.lower() not in option_tags]
    if missing:
        return Rejection(
            420, f"extensions {', '.join(missing)[:80]} are not supported", (("Unsupported", ", ".join(missing)),)
        )
    return None


def _check_body(request: Request, body_kinds: Collection[str]) -> Rejection | None:
    first = request.headers.first
    if request.method in _DIALOG_METHODS and "accept" in first:
        accept = request.accept
        if accept is not None and not any(media.covers(kind) for media in accept for kind in body_kinds):
            return Rejection(406, f"nothing in Accept {request.headers.get('accept')!r} can be sent")
    body = request.body
    if not body or request.method in _BODY_UNUSED:
        return None
    kind = first.get("content-type")
    if kind is None:
        return Rejection(400, "body without Content-Type")
    if kind in body_kinds and "content-disposition" not in first and "content-encoding" not in first:
        return None
    bad = not_understood(request, body_kinds)
    if bad is None:
        return None
    if bad.encoding and bad.kind in body_kinds:
        return Rejection(415, f"content encoding is {bad.encoding[:40]!r}", (("Accept-Encoding", "identity"),))
    return Rejection(415, f"content type is {bad.kind[:60]!r}", (("Accept", _listed(body_kinds)),))


def _as_written(message: Message, tags: frozenset[str]) -> list[str]:
    texts = message.headers.get_all("require") + message.headers.get_all("proxy-require")
    return [tag for tag in dict.fromkeys(tag for text in texts for tag in split_tokens(text)) if tag.lower() in tags]


def _listed(values: Collection[str]) -> str:
    return ", ".join(sorted(values))
