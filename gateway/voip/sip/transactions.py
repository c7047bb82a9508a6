"""The table of all transactions of an endpoint: matching (RFC 3261 17.1.3, 17.2.3, 9.2, 8.2.2.2) and its limit.

Old RFC 2543 elements, whose branch has no magic cookie, are matched by their message's fields.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from gateway.voip.sip.flow import Flow
from gateway.voip.sip.hop import OwnVia, reconnected
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import (
    ClientInvite,
    ClientNonInvite,
    ClientTransaction,
    ClientUser,
    Event,
    ServerInvite,
    ServerNonInvite,
    ServerTransaction,
    Timers,
    Transaction,
)
from gateway.voip.sip.values import MAGIC_COOKIE
from gateway.voip.sip.waits import Waits

log = logging.getLogger(__name__)

MAX_TRANSACTIONS = 16_384
"""New INVITEs beyond this are refused; requests inside calls may fill the table to twice that."""

Key = tuple[str, ...]
_COOKIE = MAGIC_COOKIE.lower()
_SPARE_BRANCHES = 32


@dataclass(slots=True)
class TransactionCounters:
    """What the table saw since its start."""

    client: int = 0
    server: int = 0
    retransmissions: int = 0
    stray_responses: int = 0
    refused: int = 0


class TableFull(Exception):  # noqa: N818 - a condition to answer with 503, not an error of the far end
    """The table has no room for another transaction."""


def server_key(request: Request) -> Key:
    """The key that a request and its retransmissions share; an ACK or 2xx-less CANCEL finds INVITE's under INVITE."""
    key = request.key
    if key is None:
        via = request.via
        method = "INVITE" if request.method == "ACK" else request.method
        branch = via.branch.lower()
        if branch.startswith(_COOKIE) and len(branch) > len(_COOKIE):
            key = (branch, via.sent_by, method)
        else:
            key = _old_key(request, method)
        request.key = key
    return key


def cancelled_key(cancel: Request) -> Key:
    """The key of the INVITE that ``cancel`` is meant for (RFC 3261 9.2)."""
    via = cancel.via
    branch = via.branch
    if branch[:7].lower() == "z9hg4bk" and len(branch) > len(MAGIC_COOKIE):
        return (branch.lower(), via.sent_by, "INVITE")
    return _old_key(cancel, "INVITE")


def _old_key(request: Request, method: str) -> Key:
    to_tag = "" if method == "INVITE" else request.to.tag or ""
    return (
        str(request.uri),
        to_tag,
        request.from_.tag or "",
        request.call_id,
        str(request.cseq.number),
        str(request.via),
        method,
    )


class Transactions:
    """All transactions of one endpoint. ``send`` hands bytes to the transport; ``timers`` is the endpoint's queue."""

    def __init__(
        self,
        timers: Timers,
        durations: dict[SipTimer, int],
        rng: random.Random,
        send: Callable[[Flow, bytes], None],
        limit: int = MAX_TRANSACTIONS,
    ) -> None:
        self.timers = timers
        self.waits = Waits(timers, durations)
        self.durations = durations
        self.send = send
        self.limit = limit
        self.counters = TransactionCounters()
        # Asked once, not with every state of every transaction.
        self.verbose = log.isEnabledFor(logging.DEBUG)
        self._rng = rng
        self._branches: list[str] = []
        self._clients: dict[Key, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._merged: dict[Key, ServerTransaction] = {}

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    @property
    def all(self) -> list[Transaction]:
        """Every living transaction."""
        return [*self._clients.values(), *self._servers.values()]

    def branch(self) -> str:
        """A new branch parameter (RFC 3261 8.1.1.7)."""
        spare = self._branches
        if not spare:
            # Many at a time: the system's random numbers cost by the call.
            digits = f"{self._rng.getrandbits(64 * _SPARE_BRANCHES):0{16 * _SPARE_BRANCHES}x}"
            spare += [f"{MAGIC_COOKIE}{digits[at : at + 16]}" for at in range(0, len(digits), 16)]
        return spare.pop()

    def request(
        self, request: Request, data: bytes, flow: Flow, user: ClientUser, now: int, via: OwnVia | None = None
    ) -> ClientTransaction:
        """Send ``request`` (``data`` on the wire) in a transaction; raises TableFull.

        ``via`` is its Via if the caller made it just now, and has a new branch unless it is a CANCEL's.
        """
        invite = request.method == "INVITE"
        self._check_room(invite)
        if via is None:
            via = OwnVia("", request.via.branch, request.via.sent_by)
        key = (via.branch, request.method)
        transaction: ClientInvite | ClientNonInvite
        if invite:
            transaction = ClientInvite(self, key, request, flow, data, user, via.sent_by)
        else:
            transaction = ClientNonInvite(self, key, request, flow, data, user, via.sent_by)
        self._clients[key] = transaction
        self.counters.client += 1
        transaction.start(now)
        return transaction

    def resume(self, request: Request, flow: Flow, user: ClientUser, now: int) -> ClientInvite:
        """The transaction of an INVITE that the program before this one sent; raises TableFull and SipError."""
        self._check_room(invite=True)
        via = request.via
        key = (via.branch, request.method)
        transaction = self._clients[key] = ClientInvite(self, key, request, flow, b"", user, via.sent_by)
        transaction.resume(now)
        return transaction

    def receive_response(self, response: Response, now: int) -> bool:
        """Give ``response`` to its transaction; False if there is none (it is then to be dropped, RFC 6026 7.3).

        Raises SipError if it is too broken to be matched.
        """
        transaction = self._match_as_sent(response)
        if transaction is None:
            transaction = self._match(response)
        if transaction is None:
            self.counters.stray_responses += 1
            return False
        transaction.receive(response, now)
        return True

    def _match_as_sent(self, response: Response) -> ClientTransaction | None:
        """The transaction, if Via and CSeq came back just as we write them: without parsing either."""
        headers = response.headers
        first = headers.first
        via = first.get("via")
        if via is None or "via" in headers.repeated:
            return None
        number, _, method = first.get("cseq", "").partition(" ")
        hop, _, params = via.partition(";branch=")
        transaction = self._clients.get((params.partition(";")[0], method))
        if (
            transaction is None
            or "," in params
            or number != str(transaction.number)
            or hop != f"SIP/2.0/{transaction.flow.transport} {transaction.sent_by}"
        ):
            return None
        return transaction

    def _match(self, response: Response) -> ClientTransaction | None:
        """RFC 3261 17.1.3 and 8.1.3.3, whatever way the values are written."""
        cseq, via = response.cseq, response.via
        transaction = self._clients.get((via.branch, cseq.method))
        if (
            transaction is None
            or transaction.number != cseq.number
            or len(response.vias) != 1
            or transaction.sent_by != via.sent_by
        ):
            return None
        return transaction

    def find(self, request: Request) -> ServerTransaction | None:
        """The server transaction that ``request`` (a retransmission or an ACK) belongs to."""
        transaction = self._servers.get(server_key(request))
        if transaction is None or len(transaction.key) == 3 or request.method != "ACK":
            return transaction
        # RFC 3261 17.2.3: with an old element the To tag of the ACK must be that of our response.
        return transaction if request.to.tag == transaction.tag else None

    def absorb(self, request: Request, now: int) -> bool:
        """True if ``request`` is a retransmission or the ACK of a non-2xx final response, and has been dealt with."""
        transaction = self.find(request)
        if transaction is None:
            return False
        if request.method == "ACK":
            if transaction.status < 300:
                return False
            self._received(transaction, Event.ACK, now)
        else:
            self.counters.retransmissions += 1
            self._received(transaction, Event.REQUEST, now)
        return True

    @staticmethod
    def _received(transaction: ServerTransaction, event: Event, now: int) -> None:
        if isinstance(transaction, ServerInvite | ServerNonInvite):
            transaction.receive(event, now)

    def is_merged(self, request: Request) -> bool:
        """True if ``request`` reached us before by another way (RFC 3261 8.2.2.2): answer 482."""
        return self._merge_key(request) in self._merged

    def accept(
        self, request: Request, flow: Flow, reply_flow: Flow, now: int, *, initial: bool = True
    ) -> ServerTransaction:
        """Open the transaction of a new request, ``initial`` if it has no To tag; raises TableFull and SipError."""
        invite = request.method == "INVITE"
        self._check_room(invite)
        # Both keys before anything is kept: they raise for a request too broken to have them.
        key = server_key(request)
        merge_key = self._merge_key(request) if initial else ()
        transaction: ServerInvite | ServerNonInvite
        if invite:
            transaction = ServerInvite(self, key, request, flow, reply_flow)
        else:
            transaction = ServerNonInvite(self, key, request, flow, reply_flow)
        self._servers[key] = transaction
        transaction.initial = initial
        if initial:
            transaction.merge_key = merge_key
            self._merged[merge_key] = transaction
        self.counters.server += 1
        transaction.start(now)
        return transaction

    def find_cancelled(self, cancel: Request) -> ServerTransaction | None:
        """The INVITE transaction that ``cancel`` is meant for, or None (481)."""
        return self._servers.get(cancelled_key(cancel))

    def transport_failed(self, flow: Flow, now: int) -> None:
        """``flow`` cannot be used (connection refused, lost): tell whoever waits on it."""
        for client in [each for each in self._clients.values() if each.flow == flow]:
            client.transport_failed(now)
        for server in [each for each in self._servers.values() if each.reply_flow == flow]:
            if flow.reliable and flow.connection:
                # RFC 3261 18.2.2: the response goes to where the request says that its sender listens.
                server.reply_flow = reconnected(server.request.via, flow)
            else:
                server.transport_failed(now)

    def ended(self, transaction: Transaction) -> None:
        """Forget ``transaction`` (called by itself)."""
        if isinstance(transaction, ClientTransaction):
            self._clients.pop(transaction.key, None)
            return
        self._servers.pop(transaction.key, None)
        if isinstance(transaction, ServerTransaction) and self._merged.get(transaction.merge_key) is transaction:
            del self._merged[transaction.merge_key]

    def _check_room(self, invite: bool) -> None:
        if len(self._clients) + len(self._servers) >= (self.limit if invite else 2 * self.limit):
            self.counters.refused += 1
            raise TableFull(f"{len(self)} transactions, at most {self.limit} expected")

    @staticmethod
    def _merge_key(request: Request) -> Key:
        return (request.from_.tag or "", request.call_id, str(request.cseq.number), request.method)
