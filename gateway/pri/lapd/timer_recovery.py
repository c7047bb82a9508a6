"""State 8, timer recovery (Q.921 5.6.7, figure B.8): we asked with P=1 and wait for F=1; no new I frames go out."""

from __future__ import annotations

from gateway.pri.lapd import multiple_frame
from gateway.pri.lapd.awaiting import start_release
from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.handlers import StateTable, nothing
from gateway.pri.lapd.link import DataLink, State


def i_frame(link: DataLink, frame: Frame, _command: bool) -> None:
    """I frame: its N(R) acknowledges, but only F=1 ends the recovery."""
    multiple_frame.take_i(link, frame)
    if link.nr_valid(frame.nr):
        link.acknowledge(frame.nr)
    else:
        link.nr_error_recovery(frame.nr)


def recovered(link: DataLink) -> None:
    """F=1 came: INVOKE RETRANSMISSION of what the peer has not, state 7."""
    link.invoke_retransmission()
    link.set_state(State.MULTIPLE_FRAME_ESTABLISHED)
    link.transmit_queued()


def rr_or_rej(link: DataLink, frame: Frame, command: bool) -> None:
    """RR or REJ."""
    if frame.type is FrameType.REJ:
        link.statistics.rej_in += 1
    link.peer_receiver_busy = False
    if command and frame.pf:
        link.enquiry_response()
    if not link.nr_valid(frame.nr):
        link.nr_error_recovery(frame.nr)
        return
    link.acknowledge(frame.nr)
    if frame.pf and not command:
        link.t200_at = None
        link.start_t203()
        recovered(link)


def rnr(link: DataLink, frame: Frame, command: bool) -> None:
    """RNR; with F=1 the peer is there but busy, and T200 asks again from state 7."""
    link.statistics.rnr_in += 1
    link.peer_receiver_busy = True
    if command and frame.pf:
        link.enquiry_response()
    if not link.nr_valid(frame.nr):
        link.nr_error_recovery(frame.nr)
        return
    link.acknowledge(frame.nr)
    if frame.pf and not command:
        link.start_t200()
        recovered(link)


def dm(link: DataLink, frame: Frame, _command: bool) -> None:
    """DM: the peer has no link any more, whether it answers our P=1 or not (5.8.7)."""
    link.mdl_error("B" if frame.pf else "E")
    link.establish_data_link(False)


def t200_expiry(link: DataLink) -> None:
    """T200 (5.6.7): ask again, N200 times, then re-establish (5.8.3)."""
    if link.rc < link.n200:
        link.enquire()
        return
    link.mdl_error("I")
    link.establish_data_link(False)


TABLE = StateTable(
    frames={
        FrameType.I: i_frame,
        FrameType.RR: rr_or_rej,
        FrameType.REJ: rr_or_rej,
        FrameType.RNR: rnr,
        FrameType.SABME: multiple_frame.sabme,
        FrameType.DISC: multiple_frame.disc,
        FrameType.UA: multiple_frame.ua,
        FrameType.DM: dm,
        FrameType.FRMR: multiple_frame.frmr,
    },
    establish_request=multiple_frame.establish_request,
    release_request=start_release,
    persistent_deactivation=multiple_frame.persistent_deactivation,
    t200_expiry=t200_expiry,
    t203_expiry=nothing,
    frame_rejected=multiple_frame.frame_rejected,
)
