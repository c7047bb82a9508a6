"""A transaction table in virtual time, its users played by the test."""

from __future__ import annotations

import random

from gateway.core import SECOND, TimerQueue
from gateway.voip.sip.flow import TCP, UDP, Flow
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.timers import durations
from gateway.voip.sip.transaction import (
    ClientTransaction,
    ServerTransaction,
    State,
    Timers,
    Transaction,
    Trouble,
)
from gateway.voip.sip.transactions import Transactions

UDP_FLOW = Flow(UDP, "192.0.2.2", 5060)
TCP_FLOW = Flow(TCP, "192.0.2.2", 5060, 3)


class Bench:
    """A transaction table in virtual time; it is client user and server user itself."""

    def __init__(self, flow: Flow = UDP_FLOW, limit: int = 100) -> None:
        self.now = SECOND
        self.flow = flow
        self.timers: Timers = TimerQueue()
        self.wire: list[tuple[int, bytes]] = []
        self.table = Transactions(self.timers, durations(), random.Random(1), self._send, limit)
        self.responses: list[int] = []
        self.troubles: list[Trouble] = []
        self.cancels = 0
        self._serial = 0

    def _send(self, flow: Flow, data: bytes) -> None:
        self.wire.append((self.now, data))

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        self.responses.append(response.status)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        self.troubles.append(trouble)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: int) -> None:
        self.cancels += 1

    def on_server_trouble(self, transaction: ServerTransaction, trouble: Trouble, now: int) -> None:
        self.troubles.append(trouble)

    def run(self, seconds: float) -> None:
        end = self.now + round(seconds * SECOND)
        while (due := self.timers.next_timer()) is not None and due <= end:
            self.now = due
            for owner, timer in self.timers.expired(due):
                owner.expire(timer, due)
        self.now = end

    def message(self, method: str, branch: str | None = None, to_tag: str = "", **more: str) -> Request:
        self._serial += 1
        via = more.get("via", f"SIP/2.0/{self.flow.transport} host:5060;branch={branch or self.table.branch()}")
        return Request(
            method,
            more.get("uri", "sip:x@y"),
            [
                ("Via", via),
                ("From", "<sip:a@b>;tag=f"),
                ("To", "<sip:x@y>" + (f";tag={to_tag}" if to_tag else "")),
                ("Call-ID", more.get("call_id", "c")),
                ("CSeq", f"{more.get('number', '1')} {more.get('cseq_method', method)}"),
            ],
        )

    def client(self, method: str = "INVITE") -> ClientTransaction:
        request = self.message(method)
        return self.table.request(request, request.to_bytes(), self.flow, self, self.now)

    def respond(self, transaction: ClientTransaction, status: int) -> bool:
        return self.table.receive_response(transaction.request.response(status, None, "t"), self.now)

    def server(self, method: str = "INVITE") -> ServerTransaction:
        transaction = self.table.accept(self.message(method), self.flow, self.flow, self.now)
        transaction.user = self
        return transaction

    def sent_at(self) -> list[float]:
        return [(at - SECOND) / SECOND for at, _ in self.wire]


def state(transaction: Transaction) -> State:
    return transaction.state


def respond(transaction: ServerTransaction, status: int, now: int) -> None:
    transaction.respond(status, transaction.request.response(status, None, "t").to_bytes(), now)
