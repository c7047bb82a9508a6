"""``qualify``: OPTIONS tells whether a far end can be had, and how long its answer takes (RFC 3261 11).

One Watch for each trunk, and for each place that a phone is registered at. Who is unreachable is asked more often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gateway.core import SECOND
from gateway.voip.reach import Reach, Reachability
from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.dialog import new_call
from gateway.voip.sip.far_end_timers import FarEndTimer
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import ACCEPT
from gateway.voip.sip.message import Response
from gateway.voip.sip.registration import Surroundings
from gateway.voip.sip.transaction import ClientTransaction, Trouble
from gateway.voip.sip.transactions import TableFull

log = logging.getLogger(__name__)

_OWN_FIELDS = 9
_UNUSABLE = frozenset({408, 502, 503, 504})
"""What a proxy answers for a server behind it that does not: calls would fare no better."""


class Watch(Reachability):
    """One far end that is asked by OPTIONS. ``uri`` is its Request-URI; ``ways`` says by which flows, best first.

    ``late`` and ``frequency`` are in microseconds. ``changed`` is told each change of ``state``. ``looking_up``: there
    may soon be other ways than there are.
    """

    def __init__(
        self,
        where: Surroundings,
        name: str,
        uri: str,
        ways: Callable[[int], Sequence[Flow]],
        late: int,
        frequency: int,
        changed: Callable[[Watch, int], None],
        routes: Callable[[Flow], Sequence[str]] = lambda _flow: (),
        looking_up: Callable[[], bool] = bool,
    ) -> None:
        super().__init__(name, late, log)
        self._where = where
        self._uri = uri
        self._ways = ways
        self._frequency = frequency
        self._changed = changed
        self._routes = routes
        self._looking_up = looking_up
        self._tag, self._call_id, self._cseq = new_call(where.rng)
        self._transaction: ClientTransaction | None = None
        self._asked = 0
        self._answered = True
        self._tried: set[Flow] = set()

    def begin(self, now: int) -> None:
        """Ask for the first time, soon: not all far ends at once."""
        most = self._where.durations[FarEndTimer.QUALIFY_FIRST]
        self._ask_at(now + self._where.rng.randrange(most + 1))

    def cease(self) -> None:
        """Ask no more."""
        self._transaction = None
        # What was asked last may still time out.
        self._answered = True
        self.next_ask = None
        self._where.stop(self, FarEndTimer.QUALIFY)
        self._where.stop(self, FarEndTimer.QUALIFY_ANSWER)

    def ask_soon(self, now: int) -> None:
        """Something changed: look now how it is."""
        self._ask_at(now)

    def heard(self, now: int) -> None:
        """The far end said something of its own accord."""
        if self.state is Reach.UNREACHABLE:
            self._set_state(Reach.REACHABLE, None, "", now)
            self._ask_at(now + min(SECOND, self._frequency))

    def _ask_at(self, at: int) -> None:
        self.next_ask = at
        self._where.start(self, FarEndTimer.QUALIFY, at)

    def expire(self, timer: FarEndTimer, now: int) -> None:
        """It is time to ask, or too late for an answer."""
        if timer is FarEndTimer.QUALIFY:
            self.next_ask = None
            self._tried.clear()
            self._ask_next(now, "its host does not resolve")
        elif not self._answered:
            self._failed("no answer", now)

    def _ask_next(self, now: int, error: str) -> None:
        """Ask the next of its servers; without one it is unreachable."""
        for flow in self._ways(now):
            if flow not in self._tried:
                self._tried.add(flow)
                self._ask(flow, now)
                return
        self._answered = True
        if not self._tried and self.state is Reach.UNKNOWN and self._looking_up():
            self._ask_at(now + SECOND)
            return
        self._set_state(Reach.UNREACHABLE, None, error, now)
        soon = self._where.durations[FarEndTimer.QUALIFY_UNREACHABLE]
        self._ask_at(now + min(soon, self._frequency))

    def _ask(self, flow: Flow, now: int) -> None:
        self._cseq += 1
        outbound = self._where.outbound
        via = outbound.via(flow)
        contact = outbound.contact(flow, "")
        fields = [("Route", route) for route in self._routes(flow)]
        sender = f"<sip:{outbound.sent_by(flow)}>;tag={self._tag}"
        text = (
            f"Via: {via.text}\r\nMax-Forwards: 70\r\nFrom: {sender}\r\nTo: <{self._uri}>\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {self._cseq} OPTIONS\r\nContact: {contact}\r\n"
            f"Accept: {ACCEPT}\r\nUser-Agent: {self._where.user_agent}\r\n{field_lines(fields)}"
        )
        count = _OWN_FIELDS + len(fields)
        request = ComposedRequest("OPTIONS", self._uri, self._cseq, self._call_id, sender, text, count)
        self._asked = now
        self._answered = False
        try:
            self._transaction = outbound.request(request, via, flow, self, now)
        except TableFull:
            # No fault of the far end's.
            self._answered = True
            self._ask_at(now + self._frequency)
            return
        # As Asterisk, which waits twice as long as an answer may take.
        wait = max(2 * self._late, self._where.durations[FarEndTimer.QUALIFY_ANSWER])
        self._where.start(self, FarEndTimer.QUALIFY_ANSWER, now + wait)

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to OPTIONS: whatever it says, somebody is there, but for a proxy's word that nobody is."""
        if response.status < 200 or transaction.number != self._cseq or self._transaction is None:
            return
        if response.status in _UNUSABLE:
            if not self._answered:
                self._failed(f"{response.status} {response.reason}", now)
            return
        self._where.stop(self, FarEndTimer.QUALIFY_ANSWER)
        self._answered = True
        self._transaction = None
        self._where.works(transaction.flow)
        taken = now - self._asked
        self._answered_after(taken, now)
        self._ask_at(now + int(self._frequency * self._where.rng.uniform(0.9, 1.0)))

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """No response at all, or no way there."""
        if transaction.number == self._cseq and not self._answered:
            self._failed("no answer" if trouble is Trouble.TIMEOUT else "no connection", now)

    def _failed(self, error: str, now: int) -> None:
        self._where.stop(self, FarEndTimer.QUALIFY_ANSWER)
        self._answered = True
        if self._transaction is not None:
            self._where.dead(self._transaction.flow, now)
        self._ask_next(now, error)

    def _tell(self, now: int) -> None:
        self._changed(self, now)
