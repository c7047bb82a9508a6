"""State 7, multiple frame established (Q.921 5.6, figure B.7), and what state 8 does in the same way."""

from __future__ import annotations

from gateway.pri.lapd.awaiting import start_release
from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.handlers import StateTable
from gateway.pri.lapd.link import Data, DataLink, State

# -- states 7 and 8 alike --


def establish_request(link: DataLink) -> None:
    """DL-ESTABLISH request: re-establishment by layer 3 (5.7)."""
    link.discard_i_queue()
    link.establish_data_link(True)


def persistent_deactivation(link: DataLink) -> None:
    """Layer 1 is down."""
    link.discard_i_queue()
    link.release_indication()
    link.enter_tei_assigned()


def sabme(link: DataLink, frame: Frame, _command: bool) -> None:
    """SABME: the peer re-establishes; layer 3 hears of it only if I frames may be lost (5.7.2)."""
    link.response(FrameType.UA, frame.pf)
    link.clear_exception_conditions()
    link.mdl_error("F")
    if link.discard_unacknowledged():
        link.establish_indication(True)
    link.enter_multiple_frame()


def disc(link: DataLink, frame: Frame, _command: bool) -> None:
    """DISC: the peer releases (5.5.3.2)."""
    link.discard_i_queue()
    link.response(FrameType.UA, frame.pf)
    link.release_indication()
    link.enter_tei_assigned()


def ua(link: DataLink, frame: Frame, _command: bool) -> None:
    """UA nobody asked for (5.8.7, table 9)."""
    link.mdl_error("C" if frame.pf else "D")


def frmr(link: DataLink, frame: Frame, _command: bool) -> None:
    """FRMR: re-establish (5.8.6)."""
    link.statistics.frmr_in += 1
    link.mdl_error("K", frame.information.hex())
    link.establish_data_link(False)


def frame_rejected(link: DataLink, code: str, detail: str) -> None:
    """A frame rejection condition: re-establish (5.8.5)."""
    link.mdl_error(code, detail)
    link.establish_data_link(False)


def take_i(link: DataLink, frame: Frame) -> None:
    """The N(S) half of an I frame (5.6.2, 5.8.1); its N(R) is the state's own matter."""
    link.statistics.i_frames_in += 1
    if link.own_receiver_busy:
        if frame.pf:
            link.enquiry_response()
    elif frame.ns == link.vr:
        link.vr = (frame.ns + 1) & 127
        link.reject_exception = False
        link.out.append(Data(frame.information))
        if frame.pf:
            link.enquiry_response()
        else:
            # ACKNOWLEDGE PENDING: Lapd.poll sends the RR unless an I frame of ours takes N(R) along (5.6.3.1).
            link.ack_pending = True
    else:
        link.statistics.out_of_sequence += 1
        if not link.reject_exception:
            link.reject_exception = True
            link.response(FrameType.REJ, frame.pf)
            link.ack_pending = False
        elif frame.pf:
            link.enquiry_response()


# -- state 7 --


def take_usual(link: DataLink, octets: bytes, command: bool) -> bool:
    """``i_frame`` and ``rr`` in one piece for what nearly every frame is, an I frame in sequence or an RR, without P/F.

    False, and nothing has happened, if it is anything else or there is an exception condition.
    """
    size = len(octets)
    if size < 4 or link.peer_receiver_busy:
        return False
    second = octets[3]
    if second & 1:
        return False
    sent = link.sent
    nr = second >> 1
    outstanding = len(sent)
    acknowledged = (nr - link.va) & 127
    if acknowledged > outstanding:
        return False
    control = octets[2]
    if control != FrameType.RR:
        vr = link.vr
        if control != vr << 1 or not command or size > link.n201 + 4 or link.own_receiver_busy:
            return False
        link.vr = (vr + 1) & 127
        link.reject_exception = False
        link.ack_pending = True
        link.statistics.i_frames_in += 1
        link.out.append(Data(octets[4:]))
    elif size != 4:
        return False
    if acknowledged == outstanding:
        sent.clear()
        link.va = nr
        link.t200_at = None
        link.t203_at = link.now + link.t203
    elif acknowledged:
        link.acknowledge(nr)
        link.start_t200()
    if link.queue:
        link.transmit_queued()
    return True


def take_nr(link: DataLink, nr: int) -> None:
    """N(R) of an I or RR frame that is in range: acknowledge, and let the right timer run (5.6.3.2)."""
    if nr == link.vs:
        link.acknowledge(nr)
        link.t200_at = None
        link.start_t203()
    elif nr != link.va:
        link.acknowledge(nr)
        link.start_t200()


def i_frame(link: DataLink, frame: Frame, _command: bool) -> None:
    """I frame."""
    take_i(link, frame)
    nr = frame.nr
    if not link.nr_valid(nr):
        link.nr_error_recovery(nr)
    elif link.peer_receiver_busy:
        # T200 runs on: it is what asks the busy peer (5.6.5).
        link.acknowledge(nr)
    else:
        take_nr(link, nr)
        link.transmit_queued()


def poll_or_unsolicited(link: DataLink, frame: Frame, command: bool) -> None:
    """P=1 of a supervisory command is answered; F=1 of a response is one nobody asked for."""
    if frame.pf:
        if command:
            link.enquiry_response()
        else:
            link.mdl_error("A")


def rr(link: DataLink, frame: Frame, command: bool) -> None:
    """RR."""
    link.peer_receiver_busy = False
    poll_or_unsolicited(link, frame, command)
    if link.nr_valid(frame.nr):
        take_nr(link, frame.nr)
        link.transmit_queued()
    else:
        link.nr_error_recovery(frame.nr)


def rej(link: DataLink, frame: Frame, command: bool) -> None:
    """REJ: send again from N(R) on (5.6.4)."""
    link.statistics.rej_in += 1
    link.peer_receiver_busy = False
    poll_or_unsolicited(link, frame, command)
    if link.nr_valid(frame.nr):
        link.acknowledge(frame.nr)
        link.t200_at = None
        link.start_t203()
        link.invoke_retransmission()
        link.transmit_queued()
    else:
        link.nr_error_recovery(frame.nr)


def rnr(link: DataLink, frame: Frame, command: bool) -> None:
    """RNR: the peer cannot take I frames; T200 asks again (5.6.5)."""
    link.statistics.rnr_in += 1
    link.peer_receiver_busy = True
    poll_or_unsolicited(link, frame, command)
    if link.nr_valid(frame.nr):
        link.acknowledge(frame.nr)
        link.t203_at = None
        link.start_t200()
    else:
        link.nr_error_recovery(frame.nr)


def dm(link: DataLink, frame: Frame, _command: bool) -> None:
    """DM nobody asked for: with F=0 the peer has no link any more (5.8.7)."""
    if frame.pf:
        link.mdl_error("B")
    else:
        link.mdl_error("E")
        link.establish_data_link(False)


def t200_expiry(link: DataLink) -> None:
    """T200 (5.6.7): ask, state 8."""
    link.rc = 0
    link.enquire()
    link.set_state(State.TIMER_RECOVERY)


def t203_expiry(link: DataLink) -> None:
    """T203 (5.10.3.2): the link was idle too long to be sure of it."""
    link.transmit_enquiry()
    link.rc = 0
    link.set_state(State.TIMER_RECOVERY)


TABLE = StateTable(
    frames={
        FrameType.I: i_frame,
        FrameType.RR: rr,
        FrameType.REJ: rej,
        FrameType.RNR: rnr,
        FrameType.SABME: sabme,
        FrameType.DISC: disc,
        FrameType.UA: ua,
        FrameType.DM: dm,
        FrameType.FRMR: frmr,
    },
    establish_request=establish_request,
    release_request=start_release,
    persistent_deactivation=persistent_deactivation,
    t200_expiry=t200_expiry,
    t203_expiry=t203_expiry,
    frame_rejected=frame_rejected,
)
