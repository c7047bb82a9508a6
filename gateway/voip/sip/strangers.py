"""What strangers, who are no peers, may have: so many datagrams a second, and a share of calls and transactions.

A flood of theirs must leave time and room for peers. What is refused here is answered without state (RFC 3261 8.2.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerTable, SipSettings
from gateway.voip.sip.transactions import Transactions

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

STRANGERS_RATE = 400
"""Datagrams, or messages on streams, a second that are read of all strangers where they may not call."""
STRANGERS_SHARE = 4
"""One in so many calls and transactions is for strangers."""
NAMES_AGAIN = 10 * SECOND
"""How often at most the calls of strangers make us ask for the addresses of our peers' names."""
PARTNERS_AGAIN = SECOND
"""How often at most a flood makes us look up whom we are in calls with."""
_EACH = SECOND // STRANGERS_RATE


class Strangers:
    """``calls`` is how many legs are of calls that no peer owns; the endpoint counts them."""

    def __init__(
        self,
        settings: SipSettings,
        peers: PeerTable,
        transactions: Transactions,
        dialogs: Mapping[DialogKey, Session],
    ) -> None:
        self.calls = 0
        self._peers = peers
        self._transactions = transactions
        self._most_calls = settings.max_calls // STRANGERS_SHARE
        self._most_transactions = transactions.limit // STRANGERS_SHARE
        self._may_call = settings.context is not None
        # When all that was heard will have been paid for.
        self._free_at = 0
        self._ask_at = 0
        self._dialogs = dialogs
        self._partners: frozenset[str] = frozenset()
        self._look_at = 0

    def unheard(self, address: str, now: int) -> bool:
        """True if a message from ``address`` is to be dropped unread, as if lost on the way."""
        if self._may_call or self._peers.knows(address):
            return False
        free_at = max(self._free_at, now) + _EACH
        if free_at - now > SECOND:
            return not self._is_partner(address, now)
        self._free_at = free_at
        return False

    def _is_partner(self, address: str, now: int) -> bool:
        """True if a call of a peer's leads to ``address``: a trunk's far ends often have others than the trunk."""
        if now >= self._look_at:
            self._look_at = now + PARTNERS_AGAIN
            self._partners = frozenset(self._addresses())
        return address in self._partners

    def _addresses(self) -> Iterator[str]:
        for session in self._dialogs.values():
            yield from session.addresses
        for transaction in self._transactions.all:
            yield transaction.flow.address

    def status_for(self, request: Request) -> int:
        """The final response to a request outside of our dialogs; 200 for OPTIONS, 0 for an INVITE to be looked at."""
        if request.to.tag is not None:
            return 481
        match request.method:
            case "OPTIONS":
                return 200
            case "REFER":
                return 603
            case "INVITE":
                if not self._may_call:
                    return 403
                return 503 if self._crowded else 0
            case _:
                return 481

    @property
    def _crowded(self) -> bool:
        return self.calls >= self._most_calls or len(self._transactions) >= self._most_transactions

    def names_to_ask(self, now: int) -> list[str]:
        """Whose addresses to ask for when a stranger calls: it may be a peer that had none yet, or has another now."""
        if now < self._ask_at:
            return []
        self._ask_at = now + NAMES_AGAIN
        return self._peers.names()
