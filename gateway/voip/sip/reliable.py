"""Reliable provisional responses of the called side (RFC 3262 3): RSeq, repetition until PRACK, one outstanding."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.voip.sip.host import MAX_QUEUED_PROVISIONAL, Host
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ServerTransaction
from gateway.voip.sip.values import RAck

MAX_FIRST_RSEQ = 2**31 - 1
"""RFC 3262 3: the first RSeq is 1 to 2**31 - 1."""

Provisional = tuple[int, list[tuple[str, str]], bytes]
"""Status, header fields, body."""


class ReliableResponses:
    """The reliable provisional responses to one INVITE.

    ``on_free`` is called when the last one was acknowledged, ``on_failed`` when one never was (RFC 3262 3: the INVITE
    is then to be refused with 5xx).
    """

    def __init__(
        self,
        host: Host,
        transaction: ServerTransaction,
        on_free: Callable[[int], None],
        on_failed: Callable[[int], None],
    ) -> None:
        self._host = host
        self._transaction = transaction
        self._on_free = on_free
        self._on_failed = on_failed
        self._rseq = host.rng.randint(1, MAX_FIRST_RSEQ)
        self._outstanding: tuple[int, bytes] | None = None
        self._overtaken = False
        self._with_body = False
        self._interval = 0
        self._waiting: deque[Provisional] = deque()

    @property
    def outstanding(self) -> bool:
        """True while a response waits for its PRACK."""
        return self._outstanding is not None

    @property
    def blocks_answer(self) -> bool:
        """True while a 2xx must wait: a response with a session description is not acknowledged (RFC 3262 3)."""
        return self._outstanding is not None and (self._with_body or any(body for _, _, body in self._waiting))

    def send(self, status: int, fields: list[tuple[str, str]], body: bytes, now: int) -> None:
        """Send reliably; waits its turn behind one that is outstanding. Too long a queue drops the newest."""
        if self._outstanding is not None:
            if len(self._waiting) < MAX_QUEUED_PROVISIONAL:
                self._waiting.append((status, fields, body))
            return
        fields = [*fields, ("Require", "100rel"), ("RSeq", str(self._rseq))]
        data = self._host.respond(self._transaction, status, now, fields, body)
        self._outstanding = (status, data)
        self._with_body = bool(body)
        self._interval = self._host.durations[SipTimer.RELIABLE_RETRANSMIT]
        self._start(SipTimer.RELIABLE_RETRANSMIT, now + self._interval)
        self._start(SipTimer.RELIABLE_TIMEOUT, now + self._host.durations[SipTimer.RELIABLE_TIMEOUT])

    def matches(self, rack: RAck) -> bool:
        """True if ``rack`` acknowledges the outstanding response (RFC 3262 3), or the one a final response overtook."""
        number = self._transaction.request.cseq.number
        return (self._outstanding is not None or self._overtaken) and rack == RAck(self._rseq, number, "INVITE")

    def acknowledged(self, now: int) -> None:
        """The PRACK of the outstanding response came."""
        if self._outstanding is None:
            self._overtaken = False
            return
        self._outstanding = None
        self._stop_timers()
        self._rseq += 1
        if self._waiting:
            self.send(*self._waiting.popleft(), now)
        else:
            self._on_free(now)

    def stop(self) -> None:
        """A final response went out, or the call is over. A PRACK on its way is still taken (RFC 3262 3)."""
        self._overtaken = self._overtaken or self._outstanding is not None
        self._outstanding = None
        self._waiting.clear()
        self._stop_timers()

    def expire(self, timer: SipTimer, now: int) -> None:
        """A timer of the outstanding response ran out."""
        if self._outstanding is None:
            return
        if timer is SipTimer.RELIABLE_TIMEOUT:
            self.stop()
            self._on_failed(now)
            return
        status, data = self._outstanding
        self._transaction.respond(status, data, now)
        self._interval *= 2
        self._start(SipTimer.RELIABLE_RETRANSMIT, now + self._interval)

    def _start(self, timer: SipTimer, at: int) -> None:
        self._host.timers.start((self, timer), at)

    def _stop_timers(self) -> None:
        self._host.timers.stop((self, SipTimer.RELIABLE_RETRANSMIT))
        self._host.timers.stop((self, SipTimer.RELIABLE_TIMEOUT))
