"""Calls over a network that loses, doubles and reorders, from seeds: both sides end alike and nothing is left."""

from __future__ import annotations

import random

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.leg import Answered, Leg, LegEvent, Offered
from gateway.voip.sip.leg import SipLeg
from tests.unit.voip.sip.sip_pair import Faults, Notes, Pair, simple_setup

CALLS = 6


@pytest.mark.parametrize("seed", range(24))
def test_calls_over_a_bad_network_end_alike_on_both_sides_and_leave_nothing(seed: int) -> None:
    rng = random.Random(seed)
    faults = Faults(loss=0.15, duplicate=0.15, delay=20 * MILLISECOND, jitter=400 * MILLISECOND)
    pair = Pair(seed=seed, faults=faults)
    pair.b.media.delayed = seed % 3 == 0

    def react(leg: Leg, offered: Offered, notes: Notes, now: int) -> None:
        assert isinstance(leg, SipLeg)
        choice = rng.randrange(6)
        if choice == 0:
            leg.release(Cause.USER_BUSY, now)
            return
        if choice == 1:
            leg.progress(True, now)
        if choice >= 2:
            leg.alert(choice == 2, now)
        if choice != 5:
            leg.answer(None, now)

    pair.b.on_offer_react = react
    legs: list[tuple[SipLeg, Notes]] = []
    for _ in range(CALLS):
        legs.append(pair.call(simple_setup(), seconds=rng.random() * 3))
        pair.b.media.flush()
    pair.run(5)
    pair.b.media.flush()
    for leg, notes in legs:
        if notes.released is None and rng.random() < 0.5:
            leg.hold(pair.now)
            pair.run(rng.random())
        if rng.random() < 0.7:
            leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
        pair.run(rng.random() * 2)
        pair.b.media.flush()
    for far, _, far_notes in pair.b.offers:
        if far_notes.released is None:
            far.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(80)
    pair.b.media.flush()
    pair.faults = Faults()
    pair.run(300)
    pair.b.media.flush()
    for _, notes in legs:
        assert notes.released is not None
        assert notes.names().count("Released") == 1
    for far, _, far_notes in pair.b.offers:
        assert far_notes.names().count("Released") == 1
        twin = next((notes for leg, notes in legs if leg.call_id == far.call_id), None)
        assert twin is not None
        if twin.of(Answered):
            assert far.record()["codec"] == "alaw"
    pair.assert_clean()


@pytest.mark.parametrize("lost", ["INVITE", 100, 180, 200, "ACK", "BYE"])
def test_loss_of_any_one_message_is_mended(lost: str | int) -> None:
    pair = Pair()
    left = [1]

    def drop(sender: str, message: object) -> bool:
        what = getattr(message, "method", None) or getattr(message, "status", None)
        if what == lost and left[0]:
            left[0] -= 1
            return True
        return False

    pair.drop = drop
    leg, notes = pair.call(seconds=3)
    far, _, far_notes = pair.b.offers[-1]
    far.alert(False, pair.now)
    pair.run(1)
    far.answer(None, pair.now)
    pair.run(5)
    assert notes.of(Answered)
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(5)
    assert far_notes.released is not None
    assert far_notes.released.cause is Cause.NORMAL_CALL_CLEARING
    pair.assert_clean()


def test_doubling_of_every_message_is_not_noticed() -> None:
    pair = Pair(faults=Faults(duplicate=1.0))
    leg, notes, _far, far_notes = pair.answered_call()
    leg.hold(pair.now)
    pair.run(1)
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(1)
    assert notes.names() == ["MediaChanged", "Alerting", "Answered", "Released"]
    assert far_notes.names() == ["MediaChanged", "Held", "Leaving", "Released"]
    assert len(pair.b.offers) == 1
    pair.assert_clean()


def test_both_sides_hang_up_at_once() -> None:
    pair = Pair()
    leg, notes, far, far_notes = pair.answered_call()
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    far.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.assert_clean()
    assert notes.released is not None
    assert far_notes.released is not None


def test_answer_and_cancel_cross() -> None:
    pair = Pair()
    leg, notes = pair.call()
    far, _, far_notes = pair.b.offers[-1]
    far.alert(False, pair.now)
    pair.run(0.1)
    far.answer(None, pair.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.assert_clean()
    assert far_notes.released is not None
    assert far_notes.released.cause is Cause.NORMAL_CALL_CLEARING
    assert not notes.of(Answered)


def test_both_sides_hold_at_once_and_both_get_their_way() -> None:
    pair = Pair()
    leg, notes, far, far_notes = pair.answered_call()
    leg.hold(pair.now)
    far.hold(pair.now)
    pair.run(0.2)
    assert "a 491 INVITE" in pair.ladder()
    assert "b 491 INVITE" in pair.ladder()
    pair.run(6)
    assert {"Held"} == {type(event).__name__ for event in (notes.events[-1], far_notes.events[-1])}
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.assert_clean()


def test_calls_over_tcp_need_no_retransmission() -> None:
    pair = Pair(transport="TCP")
    leg, _, _, _ = pair.answered_call()
    leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.run(1)
    assert pair.ladder() == [
        "a INVITE", "b 100 INVITE", "b 180 INVITE", "b 200 INVITE", "a ACK", "a BYE", "b 200 BYE",
    ]  # fmt: skip
    pair.assert_clean()


def test_same_seed_gives_the_same_run() -> None:
    def once() -> list[str]:
        pair = Pair(seed=5, faults=Faults(loss=0.2, duplicate=0.2, jitter=300 * MILLISECOND))
        leg, _ = pair.call(seconds=5)
        leg.release(Cause.NORMAL_CALL_CLEARING, pair.now)
        pair.run(70)
        return [f"{at} {by} {message!r}" for at, by, message in pair.wire]

    assert once() == once()


def test_reactions_inside_events_are_safe() -> None:
    pair = Pair()

    def react(leg: Leg, event: LegEvent, now: int) -> None:
        if isinstance(event, Answered):
            leg.hold(now)
            leg.release(Cause.NORMAL_CALL_CLEARING, now)

    _leg, notes = pair.call()
    notes.react = react
    pair.b.offers[-1][0].answer(None, pair.now)
    pair.run(1)
    assert notes.released is not None
    pair.assert_clean()
