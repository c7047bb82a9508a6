"""State 4, TEI assigned: no link, nobody trying (Q.921 5.5.4, figure B.4)."""

from __future__ import annotations

from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.handlers import StateTable, nothing, report_rejected
from gateway.pri.lapd.link import DataLink


def establish_request(link: DataLink) -> None:
    """DL-ESTABLISH request (5.5.1.2)."""
    link.establish_data_link(True)


def release_request(link: DataLink) -> None:
    """DL-RELEASE request (5.5.3.1): there is nothing to release."""
    link.release_confirm()


def sabme(link: DataLink, frame: Frame, _command: bool) -> None:
    """SABME (5.5.1.2); we are always able to establish."""
    link.response(FrameType.UA, frame.pf)
    link.clear_exception_conditions()
    # Not in the figure: what layer 3 could have queued belonged to an earlier link.
    link.discard_i_queue()
    link.establish_indication(True)
    link.enter_multiple_frame()


def disc(link: DataLink, frame: Frame, _command: bool) -> None:
    """DISC (5.5.4)."""
    link.response(FrameType.DM, frame.pf)


def ua(link: DataLink, frame: Frame, _command: bool) -> None:
    """UA nobody asked for (5.8.7, table 9)."""
    link.mdl_error("C" if frame.pf else "D")


def dm(link: DataLink, frame: Frame, _command: bool) -> None:
    """DM with F=0 is the peer's wish that we establish (5.5.1.3); with F=1 it means nothing here.

    A link that is wanted is tried anyhow, at its own pace: a peer that answers every SABME with DM sets none.
    """
    if not frame.pf and not link.wanted:
        link.establish_data_link(True)


TABLE = StateTable(
    frames={FrameType.SABME: sabme, FrameType.DISC: disc, FrameType.UA: ua, FrameType.DM: dm},
    establish_request=establish_request,
    release_request=release_request,
    persistent_deactivation=nothing,
    t200_expiry=nothing,
    t203_expiry=nothing,
    frame_rejected=report_rejected,
)
