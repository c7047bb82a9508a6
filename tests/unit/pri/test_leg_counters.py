"""The last counters of a leg's stream are in its record, and a silent engine does not keep the leg from ending."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from tests.unit.pri.pri_pair import Heard, Pair


@pytest.mark.parametrize("number", [0, 1])
def test_both_records_have_the_counters_whoever_hangs_up(number: int) -> None:
    pair = Pair()
    legs = pair.establish(pair.user)
    assert all("media" not in leg.record() for leg in legs)
    legs[number].release(Cause.NORMAL_CALL_CLEARING, pair.now)
    pair.seconds(0.5)
    for leg in legs:
        media = leg.record()["media"]
        assert isinstance(media, dict)
        assert media["packets_sent"] == 50
    pair.check_nothing_left()


def test_an_engine_that_does_not_answer_delays_the_end_by_a_second_only() -> None:
    pair = Pair()
    ours, theirs = pair.establish(pair.user)
    pair.user.media.counts = False
    theirs.release(Cause.NORMAL_CALL_CLEARING, pair.now)
    heard = ours.listener
    assert isinstance(heard, Heard)
    pair.seconds(0.5)
    waits = heard.released is None
    pair.seconds(1)
    assert waits
    assert heard.released is not None and heard.released.cause is Cause.NORMAL_CALL_CLEARING
    assert "media" not in ours.record()
    pair.check_nothing_left()
