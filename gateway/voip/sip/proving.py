"""Requests inside a dialog that are challenged (401, 407): sent again with credentials before anybody hears of it.

The first INVITE has its own way (``uac.py``). ACK and CANCEL are never challenged (RFC 3261 22.1).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.voip.sip.credentials import CHALLENGES
from gateway.voip.sip.message import Response
from gateway.voip.sip.transaction import ClientTransaction, ClientUser, Trouble

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)


class Proving:
    """Stands before ``user`` for one request of ``session``, and repeats it as often as its digest has an answer."""

    __slots__ = ("_body", "_contact", "_fields", "_method", "_rounds", "_session", "_user")

    def __init__(
        self, session: Session, method: str, fields: list[tuple[str, str]], body: bytes, user: ClientUser
    ) -> None:
        self._session = session
        self._method = method
        self._contact = session.contact
        self._fields = fields
        self._body = body
        self._user = user
        self._rounds = 0

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to the request, or to its repetition."""
        if response.status in CHALLENGES and self._again(transaction, response, now):
            return
        self._user.on_response(transaction, response, now)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """The request, or its repetition, got no final response."""
        self._user.on_trouble(transaction, trouble, now)

    def _again(self, transaction: ClientTransaction, response: Response, now: int) -> bool:
        session = self._session
        digest = session.digest
        if digest is None or session.over or not digest.take(response, self._rounds):
            log.info("call %s: %s refused with %d", session.dialog.call_id, self._method, response.status)
            return False
        self._rounds += 1
        if session.contact != self._contact:
            # Our address changed meanwhile.
            if session.changes.pending is transaction:
                session.changes.begin_again(now)
                return True
            self._contact = contact = session.contact
            self._fields = [(name, contact if name == "Contact" else value) for name, value in self._fields]
        repeated = session.transmit(self._method, now, self._fields, self._body, self)
        if repeated is None:
            return False
        if session.changes.pending is transaction:
            session.changes.pending = repeated
        return True
