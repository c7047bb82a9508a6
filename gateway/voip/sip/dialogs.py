"""All dialogs of an endpoint: by identifiers (RFC 3261 12), and by the letters in which the far end repeats them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.message import SIP_VERSION, Request

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

_SINGLE = frozenset({"from", "to", "cseq", "call-id"})


class Dialogs:
    """``by_key`` are all there are."""

    def __init__(self) -> None:
        self.by_key: dict[DialogKey, Session] = {}
        # The same by Call-ID and the whole values of To and From.
        self._as_known: dict[tuple[str, str, str], Session] = {}

    def add(self, key: DialogKey, session: Session) -> None:
        """``session`` has the requests of the dialog ``key`` from now on."""
        self.by_key[key] = session
        dialog = session.dialog
        self._as_known[(dialog.call_id, dialog.local, dialog.remote)] = session

    def remove(self, key: DialogKey) -> None:
        """The dialog is over."""
        session = self.by_key.pop(key, None)
        if session is not None:
            dialog = session.dialog
            self._as_known.pop((dialog.call_id, dialog.local, dialog.remote), None)

    def find(self, request: Request) -> Session | None:
        """The dialog of ``request``; raises SipError for a From or To that makes no sense."""
        return self.by_key.get((request.call_id, request.to.tag or "", request.from_.tag or ""))

    def find_as_known(self, request: Request) -> Session | None:
        """The dialog of a plain request whose Call-ID, From and To are letter by letter as in the one that made it."""
        headers = request.headers
        first = headers.first
        session = self._as_known.get((first.get("call-id", ""), first.get("to", ""), first.get("from", "")))
        if session is None or request.body or "require" in first or request.version != SIP_VERSION:
            return None
        if "cseq" not in first or (headers.repeated and not _SINGLE.isdisjoint(headers.repeated)):
            return None
        return session
