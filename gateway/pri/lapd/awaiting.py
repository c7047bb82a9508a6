"""State 5, awaiting establishment (figure B.5), and state 6, awaiting release (figure B.6), of Q.921."""

from __future__ import annotations

from gateway.pri.lapd.frames import Frame, FrameType
from gateway.pri.lapd.handlers import FrameHandler, Handler, StateTable, nothing, report_rejected
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


# -- both states: what answers our SABME or DISC, and what collides with it --


def own_kind(link: DataLink, frame: Frame, _command: bool) -> None:
    """The command that we sent comes from the peer too: UA, and wait for the UA to ours (5.5.5.1)."""
    link.response(FrameType.UA, frame.pf)


def other_kind(link: DataLink, frame: Frame, _command: bool) -> None:
    """SABME and DISC collide: DM, and wait on (5.5.5.2)."""
    link.response(FrameType.DM, frame.pf)


def on_ua(done: Handler) -> FrameHandler:
    """UA with F=1 answers our command; with F=0 nobody asked for it (5.5.1.2, 5.5.3.2)."""

    def ua(link: DataLink, frame: Frame, _command: bool) -> None:
        if frame.pf:
            done(link)
        else:
            link.mdl_error("D")

    return ua


def on_dm(over: Handler) -> FrameHandler:
    """DM with F=1: the peer refuses the link (5.5.1.3) or had released it (5.5.3.2); F=0 crossed our command."""

    def dm(link: DataLink, frame: Frame, _command: bool) -> None:
        if frame.pf:
            over(link)

    return dm


def on_t200(kind: FrameType, code: str, over: Handler) -> Handler:
    """T200 (5.5.1.3, 5.5.3.3): the command again, N200 times."""

    def t200_expiry(link: DataLink) -> None:
        if link.rc < link.n200:
            link.rc += 1
            link.command(kind, True)
            link.start_t200()
            return
        link.mdl_error(code)
        over(link)

    return t200_expiry


# -- state 5 --


def establish_request_5(link: DataLink) -> None:
    """DL-ESTABLISH request: the establishment that runs becomes layer 3's."""
    link.discard_i_queue()
    link.layer3_initiated = True


def established(link: DataLink) -> None:
    """UA to our SABME (5.5.1.2)."""
    if link.layer3_initiated:
        link.establish_indication(False)
    elif link.discard_unacknowledged():
        link.establish_indication(True)
    link.enter_multiple_frame()


def persistent_deactivation_5(link: DataLink) -> None:
    """Layer 1 is down, or the peer will not, or does not answer: give up."""
    link.discard_i_queue()
    link.release_indication()
    link.enter_tei_assigned()


# -- state 6 --


def released(link: DataLink) -> None:
    """The link is down, or taken as down: DL-RELEASE confirm, state 4 (5.5.3.2, 5.5.3.3)."""
    link.release_confirm()
    link.enter_tei_assigned()


TABLE_5 = StateTable(
    frames={
        FrameType.SABME: own_kind,
        FrameType.DISC: other_kind,
        FrameType.UA: on_ua(established),
        FrameType.DM: on_dm(persistent_deactivation_5),
    },
    establish_request=establish_request_5,
    release_request=start_release,
    persistent_deactivation=persistent_deactivation_5,
    t200_expiry=on_t200(FrameType.SABME, "G", persistent_deactivation_5),
    t203_expiry=nothing,
    frame_rejected=report_rejected,
)
TABLE_6 = StateTable(
    frames={
        FrameType.SABME: other_kind,
        FrameType.DISC: own_kind,
        FrameType.UA: on_ua(released),
        FrameType.DM: on_dm(released),
    },
    # Layer 3's wish is noted by Lapd and served in state 4: the release that runs is finished first.
    establish_request=nothing,
    release_request=nothing,
    persistent_deactivation=released,
    t200_expiry=on_t200(FrameType.DISC, "H", released),
    t203_expiry=nothing,
    frame_rejected=report_rejected,
)
