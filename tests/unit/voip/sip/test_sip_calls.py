"""Whole calls between two endpoints: set-up, early media, answer, clearing, in virtual time."""

from __future__ import annotations

import weakref

from gateway.cause import Cause, Location
from gateway.leg import Leaving, Released
from gateway.media.api import Codec
from gateway.voip.sip.transaction import ClientTransaction
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


def test_a_far_end_that_hangs_up_is_told_of_before_the_engine_has_counted() -> None:
    pair = Pair()
    leg, notes, _, far_notes = pair.answered_call()
    pair.b.media.delayed = True
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(0.1)
    left = far_notes.of(Leaving)
    assert left == [Leaving(Released(Cause.NORMAL_CALL_CLEARING, Location.USER))]
    assert far_notes.released is None
    pair.b.media.delayed = False
    pair.b.media.flush()
    pair.run(40)
    assert left == [Leaving(released) for released in far_notes.of(Released) if isinstance(released, Released)]
    assert not notes.of(Leaving), "who hangs up knows"
    pair.assert_clean()


def test_the_called_side_of_a_call_that_is_over_is_gone_although_its_requests_are_still_known() -> None:
    pair = Pair()
    leg, _, far, _ = pair.answered_call()
    assert far.session is not None
    session = weakref.ref(far.session)
    hang_up(leg, pair)
    del far
    pair.b.offers.clear()
    assert session() is None
    lingering = {each.request.method: each for each in pair.b.endpoint.transactions.all}
    assert sorted(lingering) == ["BYE", "INVITE"]
    assert {name: dict(each.request.headers.parsed) for name, each in lingering.items()} == {"BYE": {}, "INVITE": {}}
    pair.inject("b", pair.sent("a", "BYE")[0].to_bytes())
    assert len(pair.sent("b", 200)) == 3, "the 200 of INVITE, that of BYE, and that again"
    pair.run(40)
    pair.assert_clean()


def test_the_calling_side_keeps_neither_what_it_sent_nor_what_it_got() -> None:
    pair = Pair()
    leg, *_ = pair.answered_call()
    hang_up(leg, pair)
    lingering = [each for each in pair.a.endpoint.transactions.all if isinstance(each, ClientTransaction)]
    assert sorted(each.request.method for each in lingering) == ["BYE", "INVITE"]
    assert all(each.response is None for each in lingering)
    pair.inject("a", pair.sent("b", 200)[0].to_bytes())
    assert len(pair.sent("a", "ACK")) == 2
    pair.run(40)
    pair.assert_clean()
