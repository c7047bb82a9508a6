"""Whole calls between two endpoints: set-up, early media, answer, clearing, in virtual time."""

from __future__ import annotations

from gateway.cause import Cause
from gateway.leg import Released
from gateway.media.api import Codec
from tests.unit.voip.sip.sip_pair import Pair, hang_up


def test_call_is_set_up_answered_and_cleared_by_the_caller() -> None:
    pair = Pair()
    leg, notes, _, far_notes = pair.answered_call()
    hang_up(leg, pair)
    assert pair.ladder() == [
        "a INVITE", "b 100 INVITE", "b 180 INVITE", "b 200 INVITE", "a ACK", "a BYE", "b 200 BYE",
    ]  # fmt: skip
    assert notes.names() == ["MediaChanged", "Alerting", "Answered", "Released"]
    assert notes.released == Released(Cause.NORMAL_CALL_CLEARING, ours=True)
    assert far_notes.released is not None
    assert far_notes.released.cause is Cause.NORMAL_CALL_CLEARING
    assert pair.a.media.history[-1][1].codec is Codec.ALAW
    assert pair.b.media.history[-1][1].codec is Codec.ALAW
    pair.assert_clean()
