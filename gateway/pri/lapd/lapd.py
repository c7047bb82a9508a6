"""The sans-I/O core of one data link: takes frames, requests and time, dispatches to the state tables (Q.921 annex B).

Link recovery is here too, as it is nobody's in Q.921: a link that layer 3 asked for and that went down is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.pri.lapd import awaiting, multiple_frame, tei_assigned, timer_recovery
from gateway.pri.lapd.frames import COMMANDS_ONLY, RESPONSES_ONLY, FrameType, LapdError, decode
from gateway.pri.lapd.handlers import StateTable
from gateway.pri.lapd.link import MAX_QUEUED, DataLink, Output, Side, State, Transmit
from gateway.pri.lapd.multiple_frame import take_usual
from gateway.pri.lapd.parameters import LapdTimer
from gateway.pri.lapd.tei_management import answer_check

_TABLES: dict[State, StateTable] = {
    State.TEI_ASSIGNED: tei_assigned.TABLE,
    State.AWAITING_ESTABLISHMENT: awaiting.TABLE_5,
    State.AWAITING_RELEASE: awaiting.TABLE_6,
    State.MULTIPLE_FRAME_ESTABLISHED: multiple_frame.TABLE,
    State.TIMER_RECOVERY: timer_recovery.TABLE,
}
_ESTABLISHED = State.MULTIPLE_FRAME_ESTABLISHED
_TRANSFER_STATES = (State.MULTIPLE_FRAME_ESTABLISHED, State.TIMER_RECOVERY)


class Lapd(DataLink):
    """One point-to-point data link on a D channel.

    It begins in state 4 with layer 1 taken as down: nothing goes out before ``activate``. With ``persistent``, once
    ``establish`` was called the link is kept: whenever it is lost it is established again, at once after layer 1 comes
    up or the peer goes away, but never twice within LapdTimer.RETRY, until ``release``; of a row of failed attempts
    only the first gives ``Released``. Without it each request gives one Established or Released, as Q.921 has it.
    Layer 3 keeps nothing across Established and Released: what was queued is gone.
    """

    __slots__ = ()

    def __init__(
        self,
        side: Side,
        *,
        sapi: int = 0,
        tei: int = 0,
        timers: Mapping[LapdTimer, int] | None = None,
        persistent: bool = True,
        name: str = "lapd",
    ) -> None:
        """``timers`` overrides defaults of LAPD_TIMERS; ValueError for one out of range."""
        super().__init__(side, sapi, tei, timers, persistent, name)

    @property
    def established(self) -> bool:
        """True in states 7 and 8: what is sent goes out."""
        return self.state in _TRANSFER_STATES

    # -- requests --

    def establish(self, now: int) -> None:
        """DL-ESTABLISH request: bring the link up, or reset it if it is up."""
        self.now = now
        # A release that runs is finished first; then the wish is served like a lost link.
        self.wanted = self.persistent or self.state is State.AWAITING_RELEASE
        self.reported_down = False
        self.next_attempt = now
        if self.active:
            _TABLES[self.state].establish_request(self)
        elif not self.persistent:
            self.release_indication()

    def release(self, now: int) -> None:
        """DL-RELEASE request: answered by Released(True), in which link recovery ends."""
        self.now = now
        self.wanted = False
        self.retry_at = None
        _TABLES[self.state].release_request(self)

    def send(self, data: bytes, now: int) -> bool:
        """DL-DATA request: queue one layer-3 message.

        False if it is refused: longer than N201, MAX_QUEUED wait already, or there is no link that it could go out on
        (states 4 and 6, and state 5 while layer 3 itself waits for Established).
        """
        self.now = now
        state = self.state
        if state not in _TRANSFER_STATES and (state is not State.AWAITING_ESTABLISHMENT or self.layer3_initiated):
            self.statistics.refused += 1
            return False
        queue = self.queue
        if len(data) > self.n201 or len(queue) >= MAX_QUEUED:
            self.statistics.refused += 1
            return False
        queue.append(data)
        self.transmit_queued()
        return True

    def receiver_busy(self, busy: bool, now: int) -> None:
        """Set or clear own receiver busy (5.6.6): while it is set the peer gets RNR and its I frames are dropped."""
        self.now = now
        if self.state in _TRANSFER_STATES and busy is not self.own_receiver_busy:
            self.own_receiver_busy = busy
            self.response(FrameType.RNR if busy else FrameType.RR, False)
            self.ack_pending = False

    # -- layer 1 --

    def activate(self, now: int) -> None:
        """PH-ACTIVATE indication: layer 1 is up."""
        self.now = now
        if not self.active:
            self.active = True
            # No waiting for the retry interval: how fast a line may bounce is bounded in layer 1's debounce.
            self.next_attempt = now
            self._recover()

    def deactivate(self, now: int) -> None:
        """Persistent deactivation: layer 1 is down, and with it the link."""
        self.now = now
        if self.active:
            self.active = False
            _TABLES[self.state].persistent_deactivation(self)
            self.retry_at = None

    # -- the sans-I/O contract --

    def receive(self, frame: bytes, now: int) -> None:
        """Take one frame, address to information field. Never raises: wrong frames are counted, reported, answered."""
        self.now = now
        statistics = self.statistics
        statistics.frames_in += 1
        if not self.active:
            statistics.while_inactive += 1
            return
        address = frame[:2]
        # The peer's commands carry what our responses carry (table 1).
        if address == self._response_address:
            command = True
        elif address == self._command_address:
            command = False
        else:
            # TEI management (SAPI 63), other links and broken addresses alike: not for us (2.9 d, e).
            statistics.other_address += 1
            answer = answer_check(frame, self.tei) if self.side is Side.USER else None
            if answer is not None:
                statistics.frames_out += 1
                self.out.append(Transmit(answer))
            return
        if self.state is _ESTABLISHED and take_usual(self, frame, command):
            return
        table = _TABLES[self.state]
        try:
            decoded = decode(frame, self.n201)
            kind = decoded.type
            if kind in (RESPONSES_ONLY if command else COMMANDS_ONLY):
                statistics.wrong_side += 1
                raise LapdError(
                    f"{kind.name} as a {'command' if command else 'response'}: "
                    "the line is looped, or both ends are set to the same side",
                    "L",
                )
        except LapdError as error:
            if error.code is None:
                statistics.invalid += 1
            else:
                table.frame_rejected(self, error.code, str(error))
            return
        if kind is FrameType.SABME:
            statistics.sabme_in += 1
        handler = table.frames.get(kind)
        if handler is None:
            statistics.ignored += 1
            return
        handler(self, decoded, command)
        if self.state is State.TEI_ASSIGNED:
            self._recover()

    def handle_timer(self, now: int) -> None:
        """Let expire what is due."""
        self.now = now
        at = self.t200_at
        if at is not None and at <= now:
            self.t200_at = None
            self.statistics.t200_expiries += 1
            _TABLES[self.state].t200_expiry(self)
        at = self.t203_at
        if at is not None and at <= now:
            self.t203_at = None
            self.statistics.t203_expiries += 1
            _TABLES[self.state].t203_expiry(self)
        at = self.retry_at
        if at is not None and at <= now:
            self.retry_at = None
        if self.state is State.TEI_ASSIGNED:
            self._recover()

    def next_timer(self) -> int | None:
        """The earliest deadline, or None. No two timers run at a time."""
        at = self.t200_at
        if at is None:
            at = self.t203_at
            if at is None:
                at = self.retry_at
        return at

    def poll(self) -> Output | None:
        """The next output, or None. The RR that acknowledges comes last, and not if an I frame took its place."""
        out = self.out
        if out:
            return out.popleft()
        if self.ack_pending:
            # Figure B.7, ACKNOWLEDGE PENDING.
            self.ack_pending = False
            if not self.own_receiver_busy:
                self.statistics.frames_out += 1
                return Transmit(self._response_address + bytes((FrameType.RR, self.vr << 1)))
            self.response(FrameType.RNR, False)
            return out.popleft()
        return None

    def _recover(self) -> None:
        """In state 4: try again now, or let ``retry_at`` run until we may, if layer 3 wants the link."""
        if not (self.wanted and self.active and self.state is State.TEI_ASSIGNED):
            return
        if self.next_attempt <= self.now:
            self.retry_at = None
            self.wanted = self.persistent
            self.establish_data_link(True)
        else:
            self.retry_at = self.next_attempt
