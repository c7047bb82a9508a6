"""The variables of one data link and the subroutines its states share (Q.921 3.5.2 and figure B.9).

The states themselves are in tei_assigned, awaiting and multiple_frame; ``Lapd`` is the way in.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import msgspec

from gateway.pri.lapd.frames import (
    FrameType,
    encode_address,
    encode_supervisory,
    encode_unnumbered,
)
from gateway.pri.lapd.parameters import MDL_ERRORS, LapdTimer, system_parameters

log = logging.getLogger(__name__)

MAX_QUEUED = 256
"""I frames that wait for window or peer; layer 3 is told when one more is refused."""


class Side(Enum):
    """Which end of the D channel we are; it decides the command/response bit (Q.921 3.3.2)."""

    USER = "user"
    NETWORK = "network"


class State(IntEnum):
    """States 4 to 8 of Q.921; 1 to 3 wait for a TEI, which a PRI has from the start."""

    TEI_ASSIGNED = 4
    AWAITING_ESTABLISHMENT = 5
    AWAITING_RELEASE = 6
    MULTIPLE_FRAME_ESTABLISHED = 7
    TIMER_RECOVERY = 8


# What may follow what, other than itself (figures B.4 to B.8).
TRANSITIONS: dict[State, frozenset[State]] = {
    State.TEI_ASSIGNED: frozenset({State.AWAITING_ESTABLISHMENT, State.MULTIPLE_FRAME_ESTABLISHED}),
    State.AWAITING_ESTABLISHMENT: frozenset(
        {State.TEI_ASSIGNED, State.AWAITING_RELEASE, State.MULTIPLE_FRAME_ESTABLISHED}
    ),
    State.AWAITING_RELEASE: frozenset({State.TEI_ASSIGNED}),
    State.MULTIPLE_FRAME_ESTABLISHED: frozenset(
        {State.TEI_ASSIGNED, State.AWAITING_ESTABLISHMENT, State.AWAITING_RELEASE, State.TIMER_RECOVERY}
    ),
    State.TIMER_RECOVERY: frozenset(
        {State.TEI_ASSIGNED, State.AWAITING_ESTABLISHMENT, State.AWAITING_RELEASE, State.MULTIPLE_FRAME_ESTABLISHED}
    ),
}


class Transmit(msgspec.Struct, frozen=True, gc=False):
    """A frame for the D channel, address to information field."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """The link is up with empty queues: DL-ESTABLISH indication if ``by_peer``, else confirm."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The link is down and its queues are lost: DL-RELEASE confirm if ``confirmed``, else indication."""

    confirmed: bool


class Data(msgspec.Struct, frozen=True, gc=False):
    """One layer-3 message, in order and once: DL-DATA indication."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MdlError:
    """MDL-ERROR indication: ``code`` A to O of Q.921 appendix II and what it means; evidence, nothing to answer."""

    code: str
    text: str


Output = Transmit | Established | Released | Data | MdlError


@dataclass(slots=True)
class Statistics:
    """What happened on a link since it was made; only ever counts up."""

    frames_in: int = 0
    frames_out: int = 0
    i_frames_in: int = 0
    i_frames_out: int = 0
    retransmissions: int = 0
    rej_in: int = 0
    rej_out: int = 0
    rnr_in: int = 0
    rnr_out: int = 0
    frmr_in: int = 0
    sabme_in: int = 0
    sabme_out: int = 0
    out_of_sequence: int = 0
    t200_expiries: int = 0
    t203_expiries: int = 0
    establishments: int = 0
    releases: int = 0
    invalid: int = 0
    other_address: int = 0
    ignored: int = 0
    while_inactive: int = 0
    wrong_side: int = 0
    refused: int = 0
    mdl_errors: dict[str, int] = field(default_factory=dict)


class DataLink:
    """State variables, transmit queue, timers and subroutines; everything a state function acts on."""

    __slots__ = (
        "_command_address",
        "_response_address",
        "_retry",
        "ack_pending",
        "active",
        "durations",
        "k",
        "layer3_initiated",
        "n200",
        "n201",
        "name",
        "next_attempt",
        "now",
        "out",
        "own_receiver_busy",
        "peer_receiver_busy",
        "persistent",
        "queue",
        "rc",
        "reject_exception",
        "reported_down",
        "retry_at",
        "sent",
        "side",
        "state",
        "statistics",
        "t200",
        "t200_at",
        "t203",
        "t203_at",
        "tei",
        "va",
        "vr",
        "vs",
        "wanted",
    )

    def __init__(
        self, side: Side, sapi: int, tei: int, timers: Mapping[LapdTimer, int] | None, persistent: bool, name: str
    ) -> None:
        values = system_parameters(timers)
        self.t200 = values[LapdTimer.T200]
        self.t203 = values[LapdTimer.T203]
        self.n200 = values[LapdTimer.N200]
        self.n201 = values[LapdTimer.N201]
        self.k = values[LapdTimer.K]
        self._retry = values[LapdTimer.RETRY]
        self.durations = (self.t200, self.t203, self._retry)
        # Q.921 table 1: the network's commands and the user's responses carry C/R = 1.
        network = side is Side.NETWORK
        self._command_address = encode_address(sapi, tei, network)
        self._response_address = encode_address(sapi, tei, not network)
        self.side = side
        self.tei = tei
        self.name = name
        self.persistent = persistent
        self.state = State.TEI_ASSIGNED
        self.statistics = Statistics()
        self.now = 0
        self.out: deque[Output] = deque()
        # I frames in the order of layer 3: ``sent`` from V(A) to V(S)-1, then ``queue`` from V(S) on.
        self.sent: deque[bytes] = deque()
        self.queue: deque[bytes] = deque()
        self.vs = self.va = self.vr = 0
        self.rc = 0
        self.peer_receiver_busy = False
        self.own_receiver_busy = False
        self.reject_exception = False
        self.ack_pending = False
        self.layer3_initiated = False
        self.t200_at: int | None = None
        self.t203_at: int | None = None
        # Link recovery (Lapd._recover): does layer 3 want the link, and when may we try again.
        self.active = False
        self.wanted = False
        self.reported_down = False
        self.next_attempt = 0
        self.retry_at: int | None = None

    def set_state(self, state: State) -> None:
        """Enter ``state``; an illegal transition is a fault of ours."""
        old = self.state
        if state is old:
            return
        if state not in TRANSITIONS[old]:
            raise AssertionError(f"{self.name}: {old.name} -> {state.name} is not in Q.921")
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s -> %s", self.name, old.name, state.name)
        self.state = state
        self.retry_at = None

    # -- frames out --

    def command(self, kind: FrameType, pf: bool) -> None:
        """Transmit a supervisory command, which carries V(R), or an unnumbered one."""
        self._transmit(self._command_address, kind, pf)

    def response(self, kind: FrameType, pf: bool) -> None:
        """Transmit a supervisory response, which carries V(R), or an unnumbered one."""
        self._transmit(self._response_address, kind, pf)

    def _transmit(self, address: bytes, kind: FrameType, pf: bool) -> None:
        statistics = self.statistics
        statistics.frames_out += 1
        if kind is FrameType.RR:
            self.out.append(Transmit(encode_supervisory(address, kind, self.vr, pf)))
            return
        if kind is FrameType.REJ:
            statistics.rej_out += 1
        elif kind is FrameType.RNR:
            statistics.rnr_out += 1
        else:
            statistics.sabme_out += kind is FrameType.SABME
            self.out.append(Transmit(encode_unnumbered(address, kind, pf)))
            return
        self.out.append(Transmit(encode_supervisory(address, kind, self.vr, pf)))

    def _transmit_i(self, information: bytes, ns: int, p: bool) -> None:
        self.ack_pending = False
        statistics = self.statistics
        statistics.frames_out += 1
        statistics.i_frames_out += 1
        self.out.append(Transmit(self._command_address + bytes((ns << 1, self.vr << 1 | p)) + information))

    def transmit_queued(self) -> None:
        """I FRAME QUEUED UP (figure B.7): send as much as window and peer allow."""
        queue = self.queue
        if not queue or self.peer_receiver_busy or self.state is not State.MULTIPLE_FRAME_ESTABLISHED:
            return
        sent = self.sent
        while queue and len(sent) < self.k:
            sent.append(queue.popleft())
            vs = self.vs
            self._transmit_i(sent[-1], vs, False)
            self.vs = (vs + 1) & 127
            if self.t200_at is None:
                self.t203_at = None
                self.t200_at = self.now + self.t200

    def acknowledge(self, nr: int) -> None:
        """V(A) = N(R): forget what the peer has."""
        sent = self.sent
        for _ in range((nr - self.va) & 127):
            sent.popleft()
        self.va = nr

    def nr_valid(self, nr: int) -> bool:
        """V(A) <= N(R) <= V(S), modulo 128 (5.6.3.2)."""
        return (nr - self.va) & 127 <= (self.vs - self.va) & 127

    # -- timers --

    def start_t200(self) -> None:
        """Start or restart T200."""
        self.t200_at = self.now + self.t200

    def start_t203(self) -> None:
        """Start or restart T203."""
        self.t203_at = self.now + self.t203

    # -- towards layer 3 and management --

    def establish_indication(self, by_peer: bool) -> None:
        """DL-ESTABLISH indication or confirm."""
        self.reported_down = False
        self.statistics.establishments += 1
        self.out.append(Established(by_peer))

    def release_indication(self) -> None:
        """DL-RELEASE indication; of the failed attempts of link recovery only the first is one."""
        if not self.reported_down:
            self.statistics.releases += 1
            self.reported_down = self.persistent
            self.out.append(Released(False))

    def release_confirm(self) -> None:
        """DL-RELEASE confirm."""
        self.statistics.releases += 1
        self.out.append(Released(True))

    def mdl_error(self, code: str, detail: str = "") -> None:
        """MDL-ERROR indication."""
        errors = self.statistics.mdl_errors
        errors[code] = errors.get(code, 0) + 1
        text = MDL_ERRORS[code]
        self.out.append(MdlError(code, f"{text}: {detail}" if detail else text))

    # -- subroutines, figure B.9 --

    def establish_data_link(self, layer3_initiated: bool) -> None:
        """ESTABLISH DATA LINK, with SET or CLEAR LAYER 3 INITIATED, and state 5."""
        self.clear_exception_conditions()
        self.rc = 0
        self.layer3_initiated = layer3_initiated
        self.command(FrameType.SABME, True)
        self.start_t200()
        self.t203_at = None
        self.next_attempt = self.now + self._retry
        self.set_state(State.AWAITING_ESTABLISHMENT)

    def nr_error_recovery(self, nr: int) -> None:
        """N(R) ERROR RECOVERY."""
        self.mdl_error("J", f"N(R)={nr} V(A)={self.va} V(S)={self.vs}")
        self.establish_data_link(False)

    def clear_exception_conditions(self) -> None:
        """CLEAR EXCEPTION CONDITIONS."""
        self.peer_receiver_busy = False
        self.reject_exception = False
        self.own_receiver_busy = False
        self.ack_pending = False

    def transmit_enquiry(self) -> None:
        """TRANSMIT ENQUIRY."""
        self.command(FrameType.RNR if self.own_receiver_busy else FrameType.RR, True)
        self.ack_pending = False
        self.start_t200()

    def enquire(self) -> None:
        """The choice of 5.6.7 on T200: the last I frame again with P=1, or an enquiry if there is none to send.

        The frame itself repairs its own loss in one round trip; an enquiry would take two.
        """
        if self.sent and not self.peer_receiver_busy:
            self.statistics.retransmissions += 1
            self._transmit_i(self.sent[-1], (self.vs - 1) & 127, True)
            self.start_t200()
        else:
            self.transmit_enquiry()
        self.rc += 1

    def enquiry_response(self) -> None:
        """ENQUIRY RESPONSE."""
        self.response(FrameType.RNR if self.own_receiver_busy else FrameType.RR, True)
        self.ack_pending = False

    def invoke_retransmission(self) -> None:
        """INVOKE RETRANSMISSION from N(R), which is V(A) by now; transmit_queued sends."""
        sent = self.sent
        if sent:
            self.statistics.retransmissions += len(sent)
            self.queue.extendleft(reversed(sent))
            sent.clear()
            self.vs = self.va

    def discard_i_queue(self) -> None:
        """DISCARD I QUEUE: nothing to send, and nothing left that could be acknowledged."""
        self.queue.clear()
        self.sent.clear()
        self.va = self.vs

    def discard_unacknowledged(self) -> bool:
        """On re-establishment: if V(S) is not V(A), DISCARD I QUEUE and True, as layer 3 has to know."""
        if self.vs == self.va:
            return False
        self.discard_i_queue()
        return True

    def enter_multiple_frame(self) -> None:
        """V(S) = V(A) = V(R) = 0, stop T200, start T203, state 7; what is queued goes out."""
        self.vs = self.va = self.vr = 0
        self.t200_at = None
        self.start_t203()
        self.set_state(State.MULTIPLE_FRAME_ESTABLISHED)
        self.transmit_queued()

    def enter_tei_assigned(self) -> None:
        """Stop T200 and T203, state 4."""
        self.t200_at = self.t203_at = None
        self.set_state(State.TEI_ASSIGNED)
