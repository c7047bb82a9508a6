"""The four transaction machines of RFC 3261 17, with RFC 6026 (Accepted) and RFC 4320 (non-INVITE) applied.

Each machine is a table (state, event) -> method. A transaction knows its messages only as far as clause 17 does; who
uses it hears of responses, time-outs and transport errors. Matching is in ``transactions.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from gateway.core import TimerQueue
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.waits import Wait, Waits

if TYPE_CHECKING:
    from gateway.voip.sip.message import Request, Response

log = logging.getLogger(__name__)


class TimerOwner(Protocol):
    """Something with timers in the endpoint's one queue."""

    def expire(self, timer: SipTimer, now: int) -> None:
        """``timer`` of this object ran out."""


Timers = TimerQueue[tuple[TimerOwner, SipTimer]]


class State(IntEnum):
    """States of all four machines (RFC 3261 figures 5 to 8, RFC 6026 figures 3 and 5)."""

    INITIAL = 0
    CALLING = 1
    TRYING = 2
    PROCEEDING = 3
    ACCEPTED = 4
    COMPLETED = 5
    CONFIRMED = 6
    TERMINATED = 7


class Event(IntEnum):
    """What happens to a transaction besides its timers; numbers keep clear of SipTimer's."""

    PROVISIONAL = 101
    SUCCESS = 102
    FAILURE = 103
    REQUEST = 104
    ACK = 105
    TRANSPORT_ERROR = 106


class Trouble(Enum):
    """Why a transaction ended without a final response, or a server's response without its ACK."""

    TIMEOUT = "time-out"
    NO_ANSWER = "timer C"
    TRANSPORT = "transport error"


class ClientUser(Protocol):
    """Who sent the request of a client transaction."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response arrived (never a retransmission, but for 2xx to INVITE and reliable 1xx)."""

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """No final response will come; after NO_ANSWER (timer C) one still may, and the user is to cancel."""


class ServerUser(Protocol):
    """Who answers the request of an INVITE server transaction."""

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: int) -> None:
        """A CANCEL for the request arrived before its final response."""

    def on_server_trouble(self, transaction: ServerTransaction, trouble: Trouble, now: int) -> None:
        """The final response could not be delivered (no ACK, or transport error)."""


class Surroundings(Protocol):
    """What a transaction needs of its table."""

    timers: Timers
    waits: Waits
    durations: dict[SipTimer, int]
    verbose: bool

    def send(self, flow: Flow, data: bytes) -> None:
        """Hand ``data`` to the transport."""

    def ended(self, transaction: Transaction) -> None:
        """``transaction`` reached TERMINATED: forget it."""


_EVENTS = (Event.PROVISIONAL, Event.PROVISIONAL, Event.SUCCESS, *4 * (Event.FAILURE,))
"""The event that a response is, by the first digit of its status."""


Handlers = Mapping[tuple[int, int], Callable[[Any, int], None]]
"""(state, event or timer) -> method: what is not in it is ignored."""


class Transaction:
    """What all four have in common. ``key`` is the matching key of RFC 3261 17.1.3 or 17.2.3.

    Of the timer that repeats a message and the one that ends that, only the one that is due first runs.
    """

    __slots__ = ("_end", "_interval", "_running", "_wait", "_where", "flow", "key", "request", "state")

    kind: ClassVar[str] = ""
    _HANDLERS: ClassVar[Handlers] = {}

    def __init__(self, where: Surroundings, key: tuple[str, ...], request: Request, flow: Flow) -> None:
        self._where = where
        self.key = key
        self.request = request
        self.flow = flow
        self.state = State.INITIAL
        self._interval = 0
        self._end = 0
        self._running: SipTimer | None = None
        self._wait: Wait | None = None

    def expire(self, timer: SipTimer, now: int) -> None:
        """``timer`` ran out."""
        if timer is self._running:
            self._running = None
        else:
            self._wait = None
        self._happen(timer, now)
        if self.state is State.TERMINATED:
            self._let_go()

    def _let_go(self) -> None:
        """Let go of the user, who may know this transaction: so no collector has to find the two."""

    def transport_failed(self, now: int) -> None:
        """The transport could not send, or the connection is gone (RFC 3261 17.1.4, 17.2.4)."""
        self._happen(Event.TRANSPORT_ERROR, now)

    def end(self) -> None:
        """Leave at once and silently: the endpoint closes."""
        self._set_state(State.TERMINATED)

    def _happen(self, event: Event | SipTimer, now: int) -> None:
        handler = self._HANDLERS.get((self.state, event))
        if handler is not None:
            handler(self, now)
        elif self._where.verbose:
            log.debug("%s %s: %s ignored in %s", self.kind, self.key[0], event.name, self.state.name)

    def _set_state(self, state: State) -> None:
        if self._where.verbose:
            log.debug("%s %s: %s -> %s", self.kind, self.key[0], self.state.name, state.name)
        self.state = state
        if state is State.TERMINATED:
            self._stop_all()
            self._where.ended(self)

    def _repeat_after(self, interval: int, timer: SipTimer, last: SipTimer, now: int) -> None:
        """Run ``timer``, or ``last`` if it is due first; reliable transports repeat by themselves."""
        self._interval = interval
        at = now + interval
        if at > self._end or self.flow.reliable:
            timer, at = last, self._end
        self._running = timer
        self._where.timers.start((self, timer), at)

    def _repeat_slower(self, timer: SipTimer, last: SipTimer, now: int) -> None:
        """Repeat after twice the interval before, T2 at most (RFC 3261 17.1.2.2, 17.2.1)."""
        self._repeat_after(min(2 * self._interval, self._where.durations[SipTimer.T2]), timer, last, now)

    def _begin_repeating(self, timer: SipTimer, last: SipTimer, now: int) -> None:
        durations = self._where.durations
        self._end = now + durations[last]
        self._repeat_after(durations[timer], timer, last, now)

    def _stop_repeating(self) -> None:
        timer = self._running
        if timer is not None:
            self._running = None
            self._where.timers.stop((self, timer))

    def _wait_for(self, timer: SipTimer, now: int) -> None:
        """Start ``timer``, of which there is one at a time, besides the repetition."""
        wait = self._wait
        if wait is not None:
            wait.owner = None
        self._wait = self._where.waits.start(self, timer, now)

    def _stop_all(self) -> None:
        if self._running is not None:
            self._stop_repeating()
        wait = self._wait
        if wait is not None:
            self._wait = wait.owner = None

    def _linger(self, state: State, timer: SipTimer, now: int) -> None:
        """Go to ``state`` to absorb retransmissions for ``timer``; reliable transports need none of that."""
        self._stop_all()
        self._set_state(state)
        if self.flow.reliable:
            self._set_state(State.TERMINATED)
        else:
            self._wait_for(timer, now)

    def _terminate(self, now: int) -> None:  # noqa: ARG002
        self._set_state(State.TERMINATED)


class _Nobody:
    """The user of a client transaction that has ended."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        pass

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        pass


NOBODY = _Nobody()


class ClientTransaction(Transaction):
    """A request of ours. ``response`` is the last one received, until it has been dealt with and none follows."""

    __slots__ = ("_data", "number", "response", "sent_by", "user")

    def __init__(
        self,
        where: Surroundings,
        key: tuple[str, ...],
        request: Request,
        flow: Flow,
        data: bytes,
        user: ClientUser,
        sent_by: str,
    ) -> None:
        super().__init__(where, key, request, flow)
        self._data = data
        self.user = user
        self.sent_by = sent_by
        self.number = request.cseq.number
        self.response: Response | None = None

    def _let_go(self) -> None:
        self.user = NOBODY

    def receive(self, response: Response, now: int) -> None:
        """A response with this transaction's branch arrived."""
        if self.state is State.TERMINATED:
            return
        previous, self.response = self.response, response
        handler = self._HANDLERS.get((self.state, _EVENTS[response.status // 100]))
        if handler is None:
            self.response = previous
            return
        handler(self, now)

    def _send_request(self, _now: int) -> None:
        self._where.send(self.flow, self._data)

    def _to_user(self, now: int) -> None:
        if self.response is not None:
            self.user.on_response(self, self.response, now)

    def _time_out(self, now: int) -> None:
        self._set_state(State.TERMINATED)
        self.user.on_trouble(self, Trouble.TIMEOUT, now)

    def _transport_error(self, now: int) -> None:
        self._set_state(State.TERMINATED)
        self.user.on_trouble(self, Trouble.TRANSPORT, now)


class ClientInvite(ClientTransaction):
    """INVITE client transaction: RFC 3261 17.1.1, RFC 6026 8.4, with timer C (16.7) so that ringing has an end."""

    __slots__ = ("_ack",)

    kind = "INVITE client"

    def start(self, now: int) -> None:
        """Send the request."""
        self._ack = b""
        self._set_state(State.CALLING)
        self._begin_repeating(SipTimer.A, SipTimer.B, now)
        self._send_request(now)

    def resume(self, now: int) -> None:
        """The request was sent by the program before this one; whatever comes now is heard."""
        self._ack = b""
        self._set_state(State.PROCEEDING)
        self._wait_for(SipTimer.C, now)

    @property
    def data(self) -> bytes:
        """The request as it was sent; b"" after a 2xx."""
        return self._data

    def expect_end(self, now: int) -> None:
        """A CANCEL was sent, or the dialog is over: without a final response the transaction ends (9.1)."""
        if self.state in (State.CALLING, State.PROCEEDING):
            self._wait_for(SipTimer.CANCEL_TIMEOUT, now)

    def stop_repeating(self) -> None:
        """Nobody waits for an answer any more: what is still on its way may get one, but no more copies go out."""
        if self._running is SipTimer.A:
            self._stop_repeating()
            self._running = SipTimer.B
            self._where.timers.start((self, SipTimer.B), self._end)

    def _no_answer(self, now: int) -> None:
        self.expect_end(now)
        self.user.on_trouble(self, Trouble.NO_ANSWER, now)

    def _retransmit(self, now: int) -> None:
        self._send_request(now)
        self._repeat_after(2 * self._interval, SipTimer.A, SipTimer.B, now)

    def _provisional(self, now: int) -> None:
        if self.state is State.CALLING:
            self._stop_repeating()
            self._set_state(State.PROCEEDING)
        if self._wait is None or self._wait.timer is SipTimer.C:
            self._wait_for(SipTimer.C, now)
        self._to_user(now)

    def _success(self, now: int) -> None:
        self._stop_all()
        self._set_state(State.ACCEPTED)
        # It is not sent again.
        self._data = b""
        self._wait_for(SipTimer.M, now)
        self._to_user(now)
        self.response = None

    def _failure(self, now: int) -> None:
        if self.response is None:
            return
        self._ack = self.request.ack(self.response).to_bytes()
        self._linger(State.COMPLETED, SipTimer.D, now)
        self._where.send(self.flow, self._ack)
        self._to_user(now)

    def _acknowledge_again(self, _now: int) -> None:
        self._where.send(self.flow, self._ack)

    _HANDLERS: ClassVar[Handlers] = {
        (State.CALLING, SipTimer.A): _retransmit,
        (State.CALLING, SipTimer.B): ClientTransaction._time_out,
        (State.CALLING, SipTimer.CANCEL_TIMEOUT): ClientTransaction._time_out,
        (State.CALLING, Event.PROVISIONAL): _provisional,
        (State.CALLING, Event.SUCCESS): _success,
        (State.CALLING, Event.FAILURE): _failure,
        (State.CALLING, Event.TRANSPORT_ERROR): ClientTransaction._transport_error,
        (State.PROCEEDING, Event.PROVISIONAL): _provisional,
        (State.PROCEEDING, Event.SUCCESS): _success,
        (State.PROCEEDING, Event.FAILURE): _failure,
        (State.PROCEEDING, SipTimer.C): _no_answer,
        (State.PROCEEDING, SipTimer.CANCEL_TIMEOUT): ClientTransaction._time_out,
        (State.ACCEPTED, Event.SUCCESS): ClientTransaction._to_user,
        (State.ACCEPTED, SipTimer.M): Transaction._terminate,
        (State.COMPLETED, Event.FAILURE): _acknowledge_again,
        (State.COMPLETED, SipTimer.D): Transaction._terminate,
        (State.COMPLETED, Event.TRANSPORT_ERROR): Transaction._terminate,
    }


class ClientNonInvite(ClientTransaction):
    """Non-INVITE client transaction: RFC 3261 17.1.2."""

    __slots__ = ()

    kind = "non-INVITE client"

    def start(self, now: int) -> None:
        """Send the request."""
        self._set_state(State.TRYING)
        self._begin_repeating(SipTimer.E, SipTimer.F, now)
        self._send_request(now)

    def _retransmit(self, now: int) -> None:
        self._send_request(now)
        self._repeat_slower(SipTimer.E, SipTimer.F, now)

    def _retransmit_slowly(self, now: int) -> None:
        self._send_request(now)
        self._repeat_after(self._where.durations[SipTimer.T2], SipTimer.E, SipTimer.F, now)

    def _provisional(self, now: int) -> None:
        if self.state is State.TRYING:
            self._set_state(State.PROCEEDING)
        self._to_user(now)

    def _final(self, now: int) -> None:
        self._linger(State.COMPLETED, SipTimer.K, now)
        self._to_user(now)
        self.response = None

    _HANDLERS: ClassVar[Handlers] = {
        (State.TRYING, SipTimer.E): _retransmit,
        (State.TRYING, SipTimer.F): ClientTransaction._time_out,
        (State.TRYING, Event.PROVISIONAL): _provisional,
        (State.TRYING, Event.SUCCESS): _final,
        (State.TRYING, Event.FAILURE): _final,
        (State.TRYING, Event.TRANSPORT_ERROR): ClientTransaction._transport_error,
        (State.PROCEEDING, SipTimer.E): _retransmit_slowly,
        (State.PROCEEDING, SipTimer.F): ClientTransaction._time_out,
        (State.PROCEEDING, Event.PROVISIONAL): _provisional,
        (State.PROCEEDING, Event.SUCCESS): _final,
        (State.PROCEEDING, Event.FAILURE): _final,
        (State.PROCEEDING, Event.TRANSPORT_ERROR): ClientTransaction._transport_error,
        (State.COMPLETED, SipTimer.K): Transaction._terminate,
        (State.COMPLETED, Event.TRANSPORT_ERROR): Transaction._terminate,
    }


class ServerTransaction(Transaction):
    """A request of the far end. ``respond`` is legal until the final response; later ones are ignored.

    ``user`` (INVITE only) hears of CANCEL and of a final response nobody acknowledged.
    """

    __slots__ = ("_last", "initial", "merge_key", "reply_flow", "status", "tag", "user")

    def __init__(
        self, where: Surroundings, key: tuple[str, ...], request: Request, flow: Flow, reply_flow: Flow
    ) -> None:
        super().__init__(where, key, request, flow)
        self.reply_flow = reply_flow
        self.status = 0
        # True if the request has no To tag, so that our responses add ``tag``.
        self.initial = True
        self.merge_key: tuple[str, ...] = ()
        self.tag = ""
        self.user: ServerUser | None = None
        self._last = b""

    def _let_go(self) -> None:
        self.user = None

    def respond(self, status: int, data: bytes, now: int) -> None:
        """Send a response; ``data`` is all of it."""
        raise NotImplementedError

    @property
    def last(self) -> bytes:
        """The last response."""
        return self._last

    def _send_last(self, _now: int) -> None:
        if self._last:
            self._where.send(self.reply_flow, self._last)

    def _undelivered(self, now: int) -> None:
        self._set_state(State.TERMINATED)
        if self.user is not None:
            self.user.on_server_trouble(self, Trouble.TIMEOUT, now)

    def _transport_error(self, now: int) -> None:
        self._set_state(State.TERMINATED)
        if self.user is not None:
            self.user.on_server_trouble(self, Trouble.TRANSPORT, now)


class ServerInvite(ServerTransaction):
    """INVITE server transaction: RFC 3261 17.2.1, RFC 6026 8.7.

    In ACCEPTED the user sends its 2xx again by ``respond`` until it has the ACK (RFC 3261 13.3.1.4).
    """

    __slots__ = ()

    kind = "INVITE server"

    def start(self, _now: int) -> None:
        """Take the request; the user is to send 100 at once (RFC 3261 17.2.1)."""
        self._set_state(State.PROCEEDING)

    def respond(self, status: int, data: bytes, now: int) -> None:
        """Send a response; ``data`` is all of it."""
        event = _EVENTS[status // 100]
        if self.state is State.PROCEEDING:
            self.status, self._last = status, data
            self._where.send(self.reply_flow, data)
            if event is Event.SUCCESS:
                # All that is left is to know the request again, for half a minute: the call need not stay for that.
                self.user = None
                self.request.headers.forget()
                self._set_state(State.ACCEPTED)
                self._wait_for(SipTimer.L, now)
            elif event is Event.FAILURE:
                self._set_state(State.COMPLETED)
                self._begin_repeating(SipTimer.G, SipTimer.H, now)
        elif self.state is State.ACCEPTED and event is Event.SUCCESS:
            self._where.send(self.reply_flow, data)

    def receive(self, event: Event, now: int) -> None:
        """A retransmission of the request (Event.REQUEST) or its ACK (Event.ACK) arrived."""
        self._happen(event, now)

    def _retransmit(self, now: int) -> None:
        self._send_last(now)
        self._repeat_slower(SipTimer.G, SipTimer.H, now)

    def _acknowledged(self, now: int) -> None:
        self._linger(State.CONFIRMED, SipTimer.I, now)

    _HANDLERS: ClassVar[Handlers] = {
        (State.PROCEEDING, Event.REQUEST): ServerTransaction._send_last,
        (State.PROCEEDING, Event.TRANSPORT_ERROR): ServerTransaction._transport_error,
        (State.ACCEPTED, SipTimer.L): Transaction._terminate,
        (State.COMPLETED, Event.REQUEST): ServerTransaction._send_last,
        (State.COMPLETED, Event.ACK): _acknowledged,
        (State.COMPLETED, SipTimer.G): _retransmit,
        (State.COMPLETED, SipTimer.H): ServerTransaction._undelivered,
        (State.COMPLETED, Event.TRANSPORT_ERROR): ServerTransaction._transport_error,
        (State.CONFIRMED, SipTimer.I): Transaction._terminate,
    }


class ServerNonInvite(ServerTransaction):
    """Non-INVITE server transaction: RFC 3261 17.2.2 with RFC 4320: no 1xx but a late 100, never a 408."""

    __slots__ = ()

    kind = "non-INVITE server"

    def start(self, now: int) -> None:
        """Take the request."""
        self._set_state(State.TRYING)
        self._wait_for(SipTimer.TRYING, now)

    def respond(self, status: int, data: bytes, now: int) -> None:
        """Send a response; ``data`` is all of it. RFC 4320 4.1 and 4.2 forbid 101-199 and 408: ValueError."""
        if 100 < status < 200 or status == 408:
            raise ValueError(f"{status} must not answer a non-INVITE request (RFC 4320)")
        if self.state is not State.TRYING and self.state is not State.PROCEEDING:
            return
        self.status, self._last = status, data
        self._where.send(self.reply_flow, data)
        if status == 100:
            self._set_state(State.PROCEEDING)
        else:
            self.request.headers.forget()
            self._linger(State.COMPLETED, SipTimer.J, now)

    def receive(self, event: Event, now: int) -> None:
        """A retransmission of the request arrived."""
        self._happen(event, now)

    _HANDLERS: ClassVar[Handlers] = {
        (State.TRYING, SipTimer.TRYING): Transaction._terminate,
        (State.TRYING, Event.TRANSPORT_ERROR): ServerTransaction._transport_error,
        (State.PROCEEDING, Event.REQUEST): ServerTransaction._send_last,
        (State.PROCEEDING, SipTimer.TRYING): Transaction._terminate,
        (State.PROCEEDING, Event.TRANSPORT_ERROR): ServerTransaction._transport_error,
        (State.COMPLETED, Event.REQUEST): ServerTransaction._send_last,
        (State.COMPLETED, SipTimer.J): Transaction._terminate,
        (State.COMPLETED, Event.TRANSPORT_ERROR): ServerTransaction._transport_error,
    }
