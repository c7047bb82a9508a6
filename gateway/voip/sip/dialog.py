"""A dialog (RFC 3261 12): identifiers, sequence numbers, route set, remote target; builds the requests inside it.

Knows nothing of sessions or media: see ``session.py``.
"""

from __future__ import annotations

import logging
import random
from enum import Enum

from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import MAGIC_COOKIE, MAX_CSEQ, NameAddr

log = logging.getLogger(__name__)

MAX_ROUTES = 32
"""Longest route set taken; a longer one is refused with 400 (or ends our own call)."""

_NO_FIELDS: list[tuple[str, str]] = []
_OWN_FIELDS = 6
"""Header fields that every request inside a dialog has."""

DialogKey = tuple[str, str, str]
"""Call-ID, local tag, remote tag."""


def new_call(rng: random.Random) -> tuple[str, str, int]:
    """From tag (48 bits), Call-ID (96) and the CSeq before the first, of requests that begin something (8.1.1)."""
    number = rng.getrandbits(160)
    digits = f"{number:040x}"
    return digits[:12], digits[12:36], 1 + (number & 0xFFFF)


class DialogState(Enum):
    """RFC 3261 12."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Dialog:
    """One dialog as this side sees it. ``local`` and ``remote`` are whole From/To values with their tags."""

    __slots__ = (
        "call_id",
        "invite_cseq",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "routes",
        "state",
        "target",
        "uac",
    )

    def __init__(
        self,
        *,
        uac: bool,
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        local_cseq: int,
        remote_cseq: int | None,
        target: str,
        routes: tuple[NameAddr, ...],
    ) -> None:
        self.uac = uac
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.invite_cseq = local_cseq if uac else remote_cseq or 0
        self.target = target
        self.routes = routes
        self.state = DialogState.EARLY

    @classmethod
    def from_response(cls, request: Request, response: Response, local_tag: str) -> Dialog:
        """The dialog that a 101-299 ``response`` to our INVITE makes (12.1.2); raises SipError."""
        routes = check_routes(response.record_routes)[::-1]
        return cls(
            uac=True,
            call_id=request.call_id,
            local=request.sender if isinstance(request, ComposedRequest) else request.headers.get("From") or "",
            local_tag=local_tag,
            remote=response.headers.get("To") or "",
            # 12.1.2: an old (RFC 2543) far end may leave the tag out; it is then null.
            remote_tag=response.to.tag or "",
            local_cseq=request.cseq.number,
            remote_cseq=None,
            target=_contact(response) or request.uri_text,
            routes=routes,
        )

    @classmethod
    def from_request(cls, request: Request, local_tag: str) -> Dialog:
        """The dialog that our 101-299 response to an INVITE makes (12.1.1); raises SipError."""
        target = _contact(request)
        if target is None:
            if request.via.branch.startswith(MAGIC_COOKIE):
                raise SipError(400, "INVITE has no Contact", request)
            # RFC 2543 6.13: an old client without one is called back at its From (RFC 4475 3.4.1).
            target = request.from_.uri_text
        return cls(
            uac=False,
            call_id=request.call_id,
            local=f"{request.headers.get('To')};tag={local_tag}",
            local_tag=local_tag,
            remote=request.headers.get("From") or "",
            remote_tag=request.from_.tag or "",
            local_cseq=0,
            remote_cseq=request.cseq.number,
            target=target,
            routes=check_routes(request.record_routes),
        )

    @property
    def key(self) -> DialogKey:
        """What identifies the dialog on our side."""
        return (self.call_id, self.local_tag, self.remote_tag)

    def confirm(self, response: Response | None = None) -> None:
        """The dialog is confirmed; on the caller's side its 2xx says route set and target again (13.2.2.4)."""
        self._set_state(DialogState.CONFIRMED)
        if response is not None:
            self.routes = check_routes(response.record_routes)[::-1]
            self.refresh_target(response)

    def terminate(self) -> None:
        """The dialog is over."""
        if self.state is not DialogState.TERMINATED:
            self._set_state(DialogState.TERMINATED)

    def refresh_target(self, message: Request | Response) -> None:
        """Take the Contact of a target refresh request or its 2xx (12.2.1.2, 12.2.2) if there is one."""
        target = _contact(message)
        if target is not None:
            self.target = target

    def in_order(self, request: Request) -> bool:
        """Check and keep the far end's CSeq (12.2.2). False: the request is out of order, answer 500."""
        number = request.cseq.number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    @property
    def request_uri(self) -> str:
        """The Request-URI of the next request."""
        return self._route()[0] if self.routes else self.target

    def next_hop(self) -> Uri:
        """The URI whose host the next request goes to: first route, else the target. Raises SipError."""
        if self.routes:
            return self.routes[0].uri
        return Uri.parse(self.target)

    def request(self, method: str, via: str, fields: list[tuple[str, str]], body: bytes = b"") -> Request:
        """A request inside the dialog (12.2.1.1). ACK repeats the INVITE's number, all others take the next."""
        if method == "ACK":
            number = self.invite_cseq
        else:
            number = self.local_cseq = self.local_cseq + 1
            if number > MAX_CSEQ:
                number = self.local_cseq = 1
            if method == "INVITE":
                self.invite_cseq = number
        uri, routes = self._route() if self.routes else (self.target, _NO_FIELDS)
        text = (
            f"Via: {via}\r\nMax-Forwards: 70\r\n{field_lines(routes) if routes else ''}From: {self.local}\r\n"
            f"To: {self.remote}\r\nCall-ID: {self.call_id}\r\nCSeq: {number} {method}\r\n"
            f"{field_lines(fields) if fields else ''}"
        )
        return ComposedRequest(
            method, uri, number, self.call_id, self.local, text, _OWN_FIELDS + len(routes) + len(fields), body
        )

    def _route(self) -> tuple[str, list[tuple[str, str]]]:
        routes = self.routes
        if routes[0].uri.loose_routing:
            return self.target, [("Route", str(route)) for route in routes]
        # 12.2.1.1: a strict router wants itself in the Request-URI and the target as last Route.
        fields = [("Route", str(route)) for route in routes[1:]]
        fields.append(("Route", f"<{self.target}>"))
        return str(routes[0].uri.without_headers()), fields

    def _set_state(self, state: DialogState) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("dialog %s: %s -> %s", self.call_id, self.state.value, state.value)
        self.state = state


def _contact(message: Request | Response) -> str | None:
    contacts = message.contacts
    return contacts[0].uri_text if contacts else None


def check_routes(routes: tuple[NameAddr, ...]) -> tuple[NameAddr, ...]:
    """``routes`` of a Record-Route if requests can be sent along them; raises SipError(400)."""
    if len(routes) > MAX_ROUTES:
        raise SipError(400, f"{len(routes)} Record-Routes, at most {MAX_ROUTES} expected")
    for route in routes:
        # Parsed now, so that no request of ours meets a broken one later.
        _ = route.uri
    return routes
