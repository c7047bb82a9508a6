"""Our 2xx to an INVITE until its ACK is here (RFC 3261 13.3.1.4): repeated by its sender, on every transport."""

from __future__ import annotations

from collections.abc import Callable

from gateway.voip.sip.host import Fields, Host
from gateway.voip.sip.message import Request
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ServerTransaction


class Acceptance:
    """The 2xx that waits for its ACK, if any. ``on_timeout`` is called when the ACK did not come within 64*T1."""

    __slots__ = (
        "_data",
        "_end",
        "_host",
        "_interval",
        "_number",
        "_on_timeout",
        "_running",
        "_transaction",
        "answer_due",
    )

    def __init__(self, host: Host, on_timeout: Callable[[int], None]) -> None:
        self._host = host
        self._on_timeout = on_timeout
        self._transaction: ServerTransaction | None = None
        self._number = 0
        self._data = b""
        self._interval = 0
        self._end = 0
        self._running = SipTimer.ACCEPT_RETRANSMIT
        # True if the 2xx has our offer, so that the ACK is to have the answer.
        self.answer_due = False

    @property
    def pending(self) -> bool:
        """True while a 2xx of ours is not acknowledged."""
        return self._transaction is not None

    def send(self, transaction: ServerTransaction, fields: Fields, body: bytes, now: int, *, answer_due: bool) -> None:
        """Send the 2xx. A newer one ends the wait for the ACK of the one before (RFC 5407 3.1.4)."""
        host = self._host
        # Before what was read of the request is given up.
        number = transaction.request.cseq.number
        self._data = host.respond(transaction, 200, now, fields, body)
        self.stop()
        self._transaction = transaction
        self._number = number
        self.answer_due = answer_due
        self._end = now + host.durations[SipTimer.ACCEPT_TIMEOUT]
        self._repeat_after(host.durations[SipTimer.ACCEPT_RETRANSMIT], now)

    def _repeat_after(self, interval: int, now: int) -> None:
        """Run the timer of the next repetition, or of the end if that comes first."""
        self._interval = interval
        at = now + interval
        if at > self._end:
            self._running, at = SipTimer.ACCEPT_TIMEOUT, self._end
        else:
            self._running = SipTimer.ACCEPT_RETRANSMIT
        self._host.timers.start((self, self._running), at)

    def acknowledged(self, ack: Request) -> bool:
        """True if ``ack`` belongs to the 2xx that waits; the wait is then over."""
        if self._transaction is None or ack.cseq.number != self._number:
            return False
        self.stop()
        return True

    def stop(self) -> None:
        """Wait no longer."""
        if self._transaction is not None:
            self._transaction = None
            self._host.timers.stop((self, self._running))

    def expire(self, timer: SipTimer, now: int) -> None:
        """Send the 2xx again, or give up."""
        transaction = self._transaction
        if transaction is None:
            return
        if timer is SipTimer.ACCEPT_TIMEOUT:
            self.stop()
            self._on_timeout(now)
            return
        transaction.respond(200, self._data, now)
        self._repeat_after(min(2 * self._interval, self._host.durations[SipTimer.T2]), now)
