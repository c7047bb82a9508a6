"""State 5, awaiting establishment (figure B.5), and state 6, awaiting release (figure B.6), of Q.921."""

from __future__ import annotations

from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.handlers import StateTable, nothing, report_rejected
from gateway.pri.lapd.link import DataLink, State


def start_release(link: DataLink) -> None:
    """DL-RELEASE request in states 5, 7 and 8: RC = 0, DISC with P=1, T200, state 6 (5.5.3.1).

    Figure B.5 has no such event in state 5; it makes layer 3 wait for an answer that may never come. We stop trying.
    """
    link.discard_i_queue()
    link.rc = 0
    link.command(FrameType.DISC, True)
    link.t203_at = None
    link.start_t200()
    link.set_state(State.AWAITING_RELEASE)


# -- state 5 --


def establish_request_5(link: DataLink) -> None:
    """DL-ESTABLISH request: the establishment that runs becomes layer 3's."""
    link.discard_i_queue()
    link.layer3_initiated = True


def sabme_5(link: DataLink, frame: Frame, _command: bool) -> None:
    """SABME collides with ours: UA, and wait for the UA to ours (5.5.5.1)."""
    link.response(FrameType.UA, frame.pf)


def disc_5(link: DataLink, frame: Frame, _command: bool) -> None:
    """DISC collides with our SABME: DM, and wait on (5.5.5.2)."""
    link.response(FrameType.DM, frame.pf)


def ua_5(link: DataLink, frame: Frame, _command: bool) -> None:
    """UA to our SABME (5.5.1.2)."""
    if not frame.pf:
        link.mdl_error("D")
        return
    if link.layer3_initiated:
        link.establish_indication(False)
    elif link.discard_unacknowledged():
        link.establish_indication(True)
    link.enter_multiple_frame()


def dm_5(link: DataLink, frame: Frame, _command: bool) -> None:
    """DM with F=1 refuses our SABME (5.5.1.3); with F=0 it crossed it (5.5.6)."""
    if frame.pf:
        persistent_deactivation_5(link)


def t200_expiry_5(link: DataLink) -> None:
    """T200 (5.5.1.3): SABME again, N200 times."""
    if link.rc < link.n200:
        link.rc += 1
        link.command(FrameType.SABME, True)
        link.start_t200()
        return
    link.mdl_error("G")
    persistent_deactivation_5(link)


def persistent_deactivation_5(link: DataLink) -> None:
    """Layer 1 is down, or the peer will not, or does not answer: give up."""
    link.discard_i_queue()
    link.release_indication()
    link.enter_tei_assigned()


# -- state 6 --


def sabme_6(link: DataLink, frame: Frame, _command: bool) -> None:
    """SABME collides with our DISC: DM (5.5.5.2)."""
    link.response(FrameType.DM, frame.pf)


def disc_6(link: DataLink, frame: Frame, _command: bool) -> None:
    """DISC collides with ours: UA, and wait for the UA to ours (5.5.5.1)."""
    link.response(FrameType.UA, frame.pf)


def ua_6(link: DataLink, frame: Frame, _command: bool) -> None:
    """UA to our DISC (5.5.3.2)."""
    if not frame.pf:
        link.mdl_error("D")
        return
    released(link)


def dm_6(link: DataLink, frame: Frame, _command: bool) -> None:
    """DM with F=1: the peer had released already (5.5.3.2)."""
    if frame.pf:
        released(link)


def t200_expiry_6(link: DataLink) -> None:
    """T200 (5.5.3.3): DISC again, N200 times, then take it as released."""
    if link.rc < link.n200:
        link.rc += 1
        link.command(FrameType.DISC, True)
        link.start_t200()
        return
    link.mdl_error("H")
    released(link)


def released(link: DataLink) -> None:
    """DL-RELEASE confirm, state 4."""
    link.release_confirm()
    link.enter_tei_assigned()


TABLE_5 = StateTable(
    frames={FrameType.SABME: sabme_5, FrameType.DISC: disc_5, FrameType.UA: ua_5, FrameType.DM: dm_5},
    establish_request=establish_request_5,
    release_request=start_release,
    persistent_deactivation=persistent_deactivation_5,
    t200_expiry=t200_expiry_5,
    t203_expiry=nothing,
    frame_rejected=report_rejected,
)
TABLE_6 = StateTable(
    frames={FrameType.SABME: sabme_6, FrameType.DISC: disc_6, FrameType.UA: ua_6, FrameType.DM: dm_6},
    # Layer 3's wish is noted by Lapd and served in state 4: the release that runs is finished first.
    establish_request=nothing,
    release_request=nothing,
    persistent_deactivation=released,
    t200_expiry=t200_expiry_6,
    t203_expiry=nothing,
    frame_rejected=report_rejected,
)
