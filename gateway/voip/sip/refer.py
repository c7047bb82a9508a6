"""REFER inside a dialog (RFC 3515, 5589, 3892, 4488): what the far end asks, and the NOTIFYs that say how it goes.

The transfer itself is the call's (``gateway.call_transfer``); the dialog that a Replaces names is found by
``replaces``. There is no SUBSCRIBE to the implicit subscription: it ends with the transfer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import TransferStep
from gateway.voip.sip.causes import sip_status_for
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.telephone import number_of
from gateway.voip.sip.transaction import ClientTransaction, ServerTransaction, Trouble
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import Replaces

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)

MAX_REFERRED_BY = 256
"""Longest URI of a Referred-By that is passed on; a longer one is left out."""
MAX_QUEUED = 4
"""NOTIFYs that wait for the response to the one before."""
EXPIRES = 240
"""Seconds that an implicit subscription is said to last: longer than any target may ring."""
SIPFRAG = "message/sipfrag;version=2.0"
_SCHEMES = frozenset({"sip", "sips", "tel"})


class Refer(NamedTuple):
    """What a REFER asks: a number to call, or the dialog whose other side to be joined with."""

    target: Number
    replaces: Replaces | None
    referred_by: str


def read_refer(request: Request) -> Refer:
    """What ``request`` asks. Raises SipError: 400 for what makes no sense, 603 for what is never done."""
    texts = request.headers.get_all("refer-to")
    refer_to = request.refer_to
    if refer_to is None or len(texts) != 1:
        raise SipError(400, f"REFER has {len(texts)} Refer-To, expected one")
    uri = refer_to.uri
    if uri.scheme not in _SCHEMES:
        raise SipError(603, f"Refer-To has scheme {uri.scheme}, expected sip, sips or tel")
    if uri.params.get("method", "INVITE") != "INVITE":
        raise SipError(603, "Refer-To asks for another method than INVITE")
    replaces = _replaces_of(uri)
    number = number_of(uri)
    if number is None and replaces is None:
        raise SipError(603, f"Refer-To {refer_to.uri_text[:60]!r} is no number")
    return Refer(number or Number(), replaces, _referred_by(request))


def _replaces_of(uri: Uri) -> Replaces | None:
    """The Replaces among the header fields of ``uri`` (RFC 3261 19.1.1), escapes resolved."""
    for field in uri.headers.split("&") if uri.headers else ():
        name, _, value = field.partition("=")
        if unquote(name).lower() == "replaces":
            return Replaces.parse(unquote(value))
    return None


def _referred_by(request: Request) -> str:
    try:
        referrer = request.referred_by
        # Parsed, so that nothing but a URI is passed on.
        text = str(referrer.uri.without_headers()) if referrer is not None else ""
    except SipError:
        return ""
    return text if len(text) <= MAX_REFERRED_BY else ""


class Referral:
    """One REFER that was taken, and its implicit subscription (RFC 3515 2.4.4); ``silent``: there is none (RFC 4488).

    It outlives the session's BYE: who asks for a transfer may hang up and still be told (RFC 5057 3.2).
    """

    def __init__(self, session: Session, event: str, *, silent: bool) -> None:
        self._session: Session | None = session
        self._event = event
        self._silent = silent
        self._waiting: deque[tuple[int, str, bool]] = deque()
        self._pending = False
        self._last = 0
        # What is to be done when all has been told.
        self._after: Callable[[int], None] | None = None
        # Until the transfer came to its end; a further REFER gets 491 so long.
        self.running = True

    def told_first(self, after: Callable[[int], None]) -> bool:
        """Do ``after`` when all has been told; False if it has been already, and ``after`` is the caller's to do."""
        if not self._pending:
            return False
        self._after = after
        return True

    def went(self, step: TransferStep, cause: Cause | None, now: int) -> None:
        """The transfer got to ``step``."""
        if not self.running:
            return
        match step:
            case TransferStep.TRYING:
                self._say(100, False, now)
            case TransferStep.ALERTING:
                self._say(180, False, now)
            case TransferStep.DONE:
                self._say(200, True, now)
            case TransferStep.FAILED:
                self._say(_status_of(self._session, cause), True, now)

    def _say(self, status: int, last: bool, now: int) -> None:
        if last:
            self.running = False
        if self._silent or self._session is None or (status == self._last and not last):
            return
        self._last = status
        if self._waiting and not self._waiting[-1][2]:
            # Only the latest of what could not be told yet is of use.
            self._waiting.pop()
        if len(self._waiting) < MAX_QUEUED:
            self._waiting.append((status, reason_phrase(status), last))
        self._proceed(now)

    def _proceed(self, now: int) -> None:
        session = self._session
        if self._pending or not self._waiting or session is None:
            return
        status, phrase, last = self._waiting.popleft()
        state = "terminated;reason=noresource" if last else f"active;expires={EXPIRES}"
        fields = [
            ("Event", self._event),
            ("Subscription-State", state),
            ("Contact", session.contact),
            ("Content-Type", SIPFRAG),
        ]
        body = f"SIP/2.0 {status} {phrase}\r\n".encode()
        self._pending = session.send("NOTIFY", now, fields, body, user=self) is not None
        if last:
            self._session = None
        if not self._pending:
            self._end(now)

    def _end(self, now: int) -> None:
        self._session = None
        self._waiting.clear()
        after, self._after = self._after, None
        if after is not None:
            after(now)

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:  # noqa: ARG002
        """A NOTIFY was answered: the next may go, or there is nobody who wants one (RFC 6665 4.2.2)."""
        if response.status < 200:
            return
        self._pending = False
        if response.status >= 300 or (self._session is None and not self._waiting):
            self._end(now)
        else:
            self._proceed(now)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:  # noqa: ARG002
        """Nobody answers: the subscription is over, the session has timers of its own."""
        self._pending = False
        self._end(now)


def _status_of(session: Session | None, cause: Cause | None) -> int:
    if cause is None:
        return 487
    if cause is Cause.INVALID_CALL_REFERENCE:
        return 481
    rules = session.host.settings.cause_rules if session is not None else None
    return sip_status_for(cause, rules)[0]


def receive_refer(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    """A REFER came inside the dialog of ``session``; raises SipError for what cannot be taken."""
    referral = session.referral
    if referral is not None and referral.running:
        session.refuse(transaction, 491, now)
        return
    owner = session.owner
    peer = session.peer
    # A stranger, who has no name, sends nobody anywhere.
    if owner is None or not session.confirmed or not peer.allowtransfer or not peer.name:
        session.refuse(transaction, 603, now)
        return
    refer = read_refer(request)
    silent = (request.headers.get("refer-sub") or "").strip().lower() == "false"
    # RFC 3515 2.4.6: only one after the first needs an id, and some do not know it.
    event = "refer" if referral is None else f"refer;id={request.cseq.number}"
    fields = [("Contact", session.contact), ("Supported", "norefersub")]
    if silent:
        fields.append(("Refer-Sub", "false"))
    session.referral = Referral(session, event, silent=silent)
    session.host.respond(transaction, 200 if silent else 202, now, fields)
    owner.on_session_refer(session, refer, now)
