"""The short way that a usual frame takes through LAPD does what the tables of the states do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pri.lapd import LAPD_TIMERS, Lapd, LapdTimer, Side, lapd
from gateway.pri.lapd.link import DataLink
from gateway.pri.lapd.multiple_frame import take_usual
from tests.unit.pri.lapd_far_end import FarEnd

_VARIABLES = (
    *("state", "vs", "va", "vr", "rc", "peer_receiver_busy", "own_receiver_busy"),
    *("reject_exception", "ack_pending", "t200_at", "t203_at", "statistics"),
)

# Mostly what the far end of this very link would send.
_ns = st.sampled_from(("{vr}", "{vr}", "{vr}", "0", "1", "3"))
_nr = st.sampled_from(("{vs}", "{vs}", "{va}", "0", "1", "3"))
_poll = st.sampled_from(("", "", "", " P"))
_supervisory = st.sampled_from(("RR", "RR", "RR", "REJ", "RNR"))
_events = st.one_of(
    st.builds("c:I {} {}{} abc".format, _ns, _nr, _poll),
    st.builds("c:I {} {} {}".format, _ns, _nr, st.sampled_from(("x" * 260, "x" * 261, "y"))),
    st.builds("c:{} {}{}".format, _supervisory, _nr, _poll),
    st.builds("r:{} {}{}".format, _supervisory, _nr, st.sampled_from(("", "", " F"))),
    st.builds("r:I {} {} abc".format, _ns, _nr),
    st.sampled_from(("send one", "send two", "send three", "timer", "c:SABME P")),
    st.sampled_from(("busy", "free")),
)


def _outcome(events: list[str]) -> list[object]:
    link = Lapd(Side.USER, timers={LapdTimer.K: 2})
    far = FarEnd(link, Side.USER)
    far.run("up", "establish", "r:UA F")
    seen: list[object] = []
    for event in events:
        far.now += LAPD_TIMERS[LapdTimer.T200].minimum // 10
        try:
            seen.append(far.do(event.format(vr=link.vr, vs=link.vs, va=link.va)))
        except AssertionError:
            assert event == "timer"  # none runs
        seen.append([repr(getattr(link, name)) for name in _VARIABLES])
        seen.append([list(link.sent), list(link.queue)])
    return seen


@settings(max_examples=300)
@given(st.lists(_events, max_size=20))
def test_frames_have_the_same_effect_on_the_short_way_and_through_the_tables(events: list[str]) -> None:
    short = _outcome(events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lapd, "take_usual", lambda *_: False)
        assert _outcome(events) == short


def test_an_i_frame_in_sequence_and_an_rr_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []

    def take(link: DataLink, octets: bytes, command: bool) -> bool:
        taken.append(take_usual(link, octets, command))
        return taken[-1]

    monkeypatch.setattr(lapd, "take_usual", take)
    far = FarEnd(Lapd(Side.USER), Side.USER)
    far.run("up", "establish", "r:UA F", "send one", "c:I 0 1 abc", "r:RR 1", "c:RR 1 P")
    assert taken == [True, True, False]
