"""Requests of the far end inside a dialog, by method (RFC 3261 12.2.2, 14.2, 15.1.2; RFC 3262, 3311, 6086).

What they do to the session is the session's. REFER is in ``refer.py``, ACK with the 2xx that it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.voip.sip.body import SDP_TYPE, find_sdp
from gateway.voip.sip.causes import cause_for_bye
from gateway.voip.sip.dtmf_info import decode
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.host import ACCEPT, ALLOW, SUPPORTED
from gateway.voip.sip.message import Request
from gateway.voip.sip.parties import q850_of
from gateway.voip.sip.refer import receive_refer
from gateway.voip.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

MAX_RETRY_AFTER = 10
"""RFC 3261 14.2: a Retry-After of 0 to 10 s for an INVITE that came too early."""


def refuse_for_now(session: Session, transaction: ServerTransaction, now: int) -> None:
    """500: it may come again in a moment."""
    session.refuse(transaction, 500, now, [("Retry-After", str(session.host.rng.randint(0, MAX_RETRY_AFTER)))])


def _on_bye(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    session.host.respond(transaction, 200, now)
    if session.invited is not None:
        # RFC 3261 15.1.2: a BYE to an early dialog ends its INVITE with 487.
        invited, session.invited = session.invited, None
        session.host.respond(invited, 487, now)
    owner = session.owner
    session.end(now)
    if owner is not None:
        owner.on_session_over(session, cause_for_bye(q850_of(request)), "", now)


def _on_reinvite(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    transaction.user = session
    if session.invited is not None:
        refuse_for_now(session, transaction, now)
        return
    acceptance = session.acceptance
    if session.changes.busy or (acceptance.pending and acceptance.answer_due) or not session.confirmed:
        session.refuse(transaction, 491, now)
        return
    if session.timer.too_small(request):
        session.refuse(transaction, 422, now, session.timer.refusal_fields())
        return
    body = find_sdp(request)
    answer = session.negotiation.take_offer(body) if body is not None else session.negotiation.make_offer()
    fields = _success_fields(session, request)
    fields.append(SDP_TYPE)
    acceptance.send(transaction, fields, answer, now, answer_due=body is None)
    session.refreshed(request, body is not None, now)


def _on_update(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    body = find_sdp(request)
    if body is not None:
        if session.changes.offering or session.negotiation.awaiting_answer:
            session.refuse(transaction, 491, now)
            return
        if session.negotiation.owes_answer:
            # RFC 3311 5.2: the INVITE's own offer is still without an answer.
            refuse_for_now(session, transaction, now)
            return
    if session.timer.too_small(request):
        session.refuse(transaction, 422, now, session.timer.refusal_fields())
        return
    answer = session.negotiation.take_offer(body) if body is not None else b""
    fields = _success_fields(session, request)
    if answer:
        fields.append(SDP_TYPE)
    session.host.respond(transaction, 200, now, fields, answer)
    session.refreshed(request, body is not None, now)


def _success_fields(session: Session, request: Request) -> list[tuple[str, str]]:
    return [
        ("Contact", session.contact),
        ("Allow", ALLOW),
        ("Supported", SUPPORTED),
        *session.timer.take_request(request),
    ]


def _on_prack(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    rack, reliable = request.rack, session.reliable
    if rack is None or reliable is None or not reliable.matches(rack):
        session.refuse(transaction, 481, now)
        return
    body = find_sdp(request)
    fields: list[tuple[str, str]] = []
    answer = b""
    if body is not None:
        if session.negotiation.awaiting_answer:
            session.negotiation.take_answer(body)
        else:
            answer = session.negotiation.take_offer(body)
            fields.append(SDP_TYPE)
    session.host.respond(transaction, 200, now, fields, answer)
    if body is not None:
        session.media_settled(now)
    reliable.acknowledged(now)


def _on_info(session: Session, request: Request, transaction: ServerTransaction, now: int) -> None:
    content_type = request.content_type
    if content_type is None or not request.body:
        session.host.respond(transaction, 200, now)
        return
    try:
        digits, milliseconds = decode(content_type.full, request.body)
    except SipError as error:
        session.refuse(transaction, error.status or 400, now, [("Accept", ACCEPT)] if error.status == 415 else ())
        return
    session.host.respond(transaction, 200, now)
    if session.owner is not None:
        session.owner.on_session_digits(session, digits, milliseconds, now)


def _on_options(session: Session, _request: Request, transaction: ServerTransaction, now: int) -> None:
    session.host.respond(transaction, 200, now, options_fields(session.contact))


def _on_notify(session: Session, _request: Request, transaction: ServerTransaction, now: int) -> None:
    # RFC 6665 4.1.3: we have subscribed to nothing.
    session.refuse(transaction, 481, now)


def options_fields(contact: str) -> list[tuple[str, str]]:
    """What a 200 to OPTIONS says of us (RFC 3261 11.2)."""
    return [
        ("Contact", contact),
        ("Allow", ALLOW),
        ("Accept", ACCEPT),
        ("Accept-Encoding", "identity"),
        ("Accept-Language", "en"),
        ("Supported", SUPPORTED),
    ]


REQUESTS: dict[str, Callable[[Session, Request, ServerTransaction, int], None]] = {
    "BYE": _on_bye,
    "INVITE": _on_reinvite,
    "UPDATE": _on_update,
    "PRACK": _on_prack,
    "INFO": _on_info,
    "OPTIONS": _on_options,
    "REFER": receive_refer,
    "NOTIFY": _on_notify,
}
"""What happens to a request in order; a SipError of it becomes the response."""
