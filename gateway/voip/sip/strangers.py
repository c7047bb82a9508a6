"""What strangers, who are no peers, may have: so many datagrams a second, and a share of calls and transactions.

A flood of theirs must leave time and room for peers. What is refused here is answered without state (RFC 3261 8.2.7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.voip.sip.defence import Defence, source_of
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerTable, SipSettings
from gateway.voip.sip.transactions import Transactions

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session

STRANGERS_RATE = 400
"""Datagrams, or messages on streams, a second that are read of all strangers where they may not call.

As many again are for those with private addresses in networks of ours.
"""
SOURCE_SHARE = 4
LEAST_OF_SOURCE = 2
"""One in so many calls of strangers may be of one source, but two in any case."""
STRANGERS_SHARE = 4
"""One in so many calls and transactions is for strangers."""
NAMES_AGAIN = 10 * SECOND
"""How often at most the calls of strangers make us ask for the addresses of our peers' names."""
PARTNERS_AGAIN = SECOND
"""How often at most a flood makes us look up whom we are in calls with."""
_EACH = SECOND // STRANGERS_RATE
_PERHAPS_NEAR = ("10.", "172.", "192.168.", "169.254.", "fc", "fd", "fe8")
"""How private addresses begin: all others of a flood are not worth a look at our networks."""


class Strangers:
    """``calls`` is how many legs are of calls that no peer owns; the endpoint counts them.

    ``near`` says whether an address is in a network of ours; the endpoint sets it.
    """

    def __init__(
        self,
        settings: SipSettings,
        peers: PeerTable,
        defence: Defence,
        transactions: Transactions,
        dialogs: Mapping[DialogKey, Session],
    ) -> None:
        self.calls = 0
        self.near: Callable[[str], bool] = lambda _address: False
        self._calls_of: Counter[str] = Counter()
        self._peers = peers
        self._defence = defence
        self.known = defence.known
        self._transactions = transactions
        self._most_calls = settings.max_calls // STRANGERS_SHARE
        self._most_transactions = transactions.limit // STRANGERS_SHARE
        self.may_call = settings.context is not None
        # When all that was heard will have been paid for.
        self._free_at = 0
        self._near_free_at = 0
        self._ask_at = 0
        self._dialogs = dialogs
        self._partners: frozenset[str] = frozenset()
        self._look_at = 0

    def unheard(self, address: str, now: int) -> bool:
        """True if a message from ``address`` is to be dropped unread, as if lost on the way."""
        defence = self._defence
        if defence.fixed(address):
            return False
        if not defence.allowed(address, now):
            return not self._is_partner(address, now)
        if self.may_call or defence.registered(address):
            return False
        free_at = max(self._free_at, now) + _EACH
        if free_at - now <= SECOND:
            self._free_at = free_at
            return False
        # Telephones at the branch have to register, and a flood of the world's leaves them nothing.
        free_at = max(self._near_free_at, now) + _EACH
        if free_at - now <= SECOND and address.startswith(_PERHAPS_NEAR) and self.near(address):
            self._near_free_at = free_at
            return False
        return not self._is_partner(address, now)

    def look_again(self) -> None:
        """Somebody may be in a call from now on who was in none."""
        self._look_at = 0

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
        """The final response to a request, not INVITE or REGISTER, outside of our dialogs; 200 for OPTIONS."""
        if request.to.tag is not None:
            return 481
        match request.method:
            case "OPTIONS":
                return 200
            case "REFER":
                return 603
            case _:
                return 481

    def called(self, address: str, by: int) -> None:
        """A call of a stranger at ``address`` began (``by`` 1) or ended (-1)."""
        self.calls += by
        name = source_of(address)
        self._calls_of[name] += by
        if self._calls_of[name] <= 0:
            del self._calls_of[name]

    def crowded(self, address: str) -> bool:
        """True if a further call of theirs, or from ``address``, would be one too many."""
        if self._calls_of[source_of(address)] >= max(LEAST_OF_SOURCE, self._most_calls // SOURCE_SHARE):
            return True
        return self.calls >= self._most_calls or len(self._transactions) >= self._most_transactions

    def names_to_ask(self, now: int) -> list[str]:
        """Whose addresses to ask for when a stranger calls: it may be a peer that had none yet, or has another now."""
        if now < self._ask_at:
            return []
        self._ask_at = now + NAMES_AGAIN
        return self._peers.names()
