"""LAPD in multiple frame operation: windows, sequence numbers, acknowledgement, timers, limits, configuration."""

from __future__ import annotations

import pytest

from gateway.pri.lapd import LAPD_TIMERS, MAX_QUEUED, Data, Lapd, LapdTimer, Side, State, Transmit
from tests.unit.pri.lapd_far_end import SECOND, WAY, FarEnd, frame


def up(side: Side = Side.USER, **options: object) -> FarEnd:
    far_end = FarEnd(Lapd(side, **options), side)  # type: ignore[arg-type]
    far_end.run(*WAY[State.MULTIPLE_FRAME_ESTABLISHED])
    return far_end


@pytest.mark.parametrize("k", [1, 7, 127])
@pytest.mark.parametrize("side", list(Side))
def test_window_and_wrap_of_sequence_numbers(k: int, side: Side) -> None:
    far_end = up(side, timers={LapdTimer.K: k})
    for text in range(300):
        assert far_end.link.send(f"m{text}".encode(), 0) is (text < k + MAX_QUEUED)
    queued = min(300, k + MAX_QUEUED)
    seen: list[str] = [o for o in far_end.drain() if o.startswith("c:I")]
    assert seen == [f"c:I {n} 0 m{n}" for n in range(k)]
    acknowledged = 0
    while acknowledged < queued:
        # One frame at a time is acknowledged, and opens the window for one more.
        acknowledged += 1
        more = far_end.do(f"r:RR {acknowledged % 128}")
        following = acknowledged + k - 1
        assert more == ([f"c:I {following % 128} 0 m{following}"] if following < queued else [])
    assert far_end.link.t200_at is None
    assert far_end.link.va == queued % 128


@pytest.mark.parametrize("k", [1, 7, 127])
@pytest.mark.parametrize("start", [0, 1, 120, 127])
def test_every_nr_is_judged_right_around_the_wrap(k: int, start: int) -> None:
    for out in sorted({0, 1, k // 2, k}):
        for nr in range(128):
            far_end = up(timers={LapdTimer.K: k})
            link = far_end.link
            link.va = link.vs = start
            for _ in range(out):
                link.send(b"x", 0)
            link.receive(frame(f"r:RR {nr}", Side.NETWORK), 0)
            if (nr - start) % 128 <= out:
                assert link.state is State.MULTIPLE_FRAME_ESTABLISHED
                assert link.va == nr
                assert len(link.sent) == out - (nr - start) % 128
            else:
                assert link.statistics.mdl_errors == {"J": 1}


def test_receive_sequence_wraps() -> None:
    far_end = up()
    for n in range(300):
        assert far_end.do(f"c:I {n % 128} 0 m{n}") == [f"data m{n}", f"r:RR {(n + 1) % 128}"]


def test_an_answer_carries_the_acknowledgement() -> None:
    far_end = up()
    link = far_end.link
    link.receive(frame("c:I 0 0 ask", Side.NETWORK), 0)
    assert link.poll() == Data(b"ask")
    link.send(b"answer", 0)
    assert link.poll() == Transmit(frame("c:I 0 1 answer", Side.USER))
    assert link.poll() is None


def test_one_rr_acknowledges_all_that_came_before_the_drain() -> None:
    far_end = up()
    for n in range(5):
        far_end.link.receive(frame(f"c:I {n} 0 m{n}", Side.NETWORK), 0)
    assert far_end.drain() == [*(f"data m{n}" for n in range(5)), "r:RR 5"]


def test_t200_runs_while_i_frames_are_out_and_t203_while_not() -> None:
    far_end = up()

    def timers() -> tuple[int | None, int | None]:
        return far_end.link.t200_at, far_end.link.t203_at

    assert timers() == (None, 10 * SECOND)
    far_end.now = 2 * SECOND
    far_end.run("send a", "send b")
    assert timers() == (3 * SECOND, None)
    far_end.now = 2_500_000
    far_end.run("r:RR 1")
    assert timers() == (3_500_000, None)
    far_end.run("r:RR 1")
    assert timers() == (3_500_000, None)
    far_end.now = 2_600_000
    far_end.run("r:RR 2")
    assert timers() == (None, 12_600_000)


def test_a_busy_peer_is_asked_every_t200_for_ever_and_gets_its_frames_then() -> None:
    far_end = up()
    far_end.run("r:RNR 0", "send a")
    for _ in range(20):
        assert far_end.do("timer") == ["c:RR 0 P"]
        assert far_end.do("r:RNR 0 F") == []
        assert far_end.link.state is State.MULTIPLE_FRAME_ESTABLISHED
    assert far_end.do("timer") == ["c:RR 0 P"]
    assert far_end.do("r:RR 0 F") == ["c:I 0 0 a"]


def test_a_lost_link_is_noticed_after_n200_enquiries_and_reported_after_n200_sabme() -> None:
    far_end = up(persistent=False)
    times = []
    while far_end.link.state is not State.TEI_ASSIGNED:
        said = far_end.do("timer")
        times.append((far_end.now // SECOND, said[0]))
    assert times == [
        (10, "c:RR 0 P"),
        *((at, "c:RR 0 P") for at in (11, 12, 13)),
        (14, "mdl I"),
        *((at, "c:SABME P") for at in (15, 16, 17)),
        (18, "mdl G"),
    ]


def test_t203_of_a_second_notices_sooner() -> None:
    far_end = up(timers={LapdTimer.T203: 1_500_000, LapdTimer.T200: 500_000, LapdTimer.N200: 2})
    while not far_end.link.statistics.mdl_errors:
        far_end.do("timer")
    assert far_end.now == 3_000_000


def test_reordered_pair_is_repaired_by_one_reject() -> None:
    far_end = up()
    assert far_end.do("c:I 1 0 b") == ["r:REJ 0"]
    assert far_end.do("c:I 0 0 a") == ["data a", "r:RR 1"]
    assert far_end.do("c:I 1 0 b") == ["data b", "r:RR 2"]
    assert far_end.link.statistics.out_of_sequence == 1
    assert far_end.link.statistics.rej_out == 1


@pytest.mark.parametrize("state", list(State))
def test_send_says_whether_it_took_the_message(state: State) -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run(*WAY[state])
    taken = state in (State.MULTIPLE_FRAME_ESTABLISHED, State.TIMER_RECOVERY)
    assert far_end.link.send(b"x", 0) is taken
    assert far_end.link.statistics.refused == (not taken)


def test_limits_of_send() -> None:
    far_end = up()
    link = far_end.link
    assert not link.send(bytes(261), 0)
    assert link.send(bytes(260), 0)
    far_end.run("r:RNR 1")
    for _ in range(MAX_QUEUED):
        assert link.send(b"x", 0)
    assert not link.send(b"x", 0)
    assert link.statistics.refused == 2


def test_every_parameter_can_be_changed_within_its_range() -> None:
    for timer, row in LAPD_TIMERS.items():
        for value in (row.minimum - 1, row.maximum + 1):
            with pytest.raises(ValueError, match=row.name):
                Lapd(Side.USER, timers={timer: value})
        Lapd(Side.USER, timers={timer: row.default})


def test_t203_has_to_be_longer_than_t200() -> None:
    with pytest.raises(ValueError, match="T203"):
        Lapd(Side.USER, timers={LapdTimer.T200: 10 * SECOND})


def test_sapi_and_tei_are_configurable() -> None:
    link = Lapd(Side.NETWORK, sapi=16, tei=1)
    link.activate(0)
    link.establish(0)
    assert link.poll() == Transmit(bytes((16 << 2 | 2, 1 << 1 | 1, 0x7F)))
    link.receive(bytes((16 << 2 | 2, 1 << 1 | 1, 0x73)), 0)
    assert link.established


CHECK = bytes((0xFE, 0xFF, 0x03, 0x0F, 0x00, 0x00, 0x04))


@pytest.mark.parametrize("ai", [0x01, 0xFF])
def test_the_user_side_answers_a_tei_check_and_the_network_side_does_not(ai: int) -> None:
    user, network = up(Side.USER).link, up(Side.NETWORK).link
    for link in (user, network):
        link.receive(CHECK + bytes((ai,)), 0)
    assert user.poll() == Transmit(bytes((0xFC, 0xFF, 0x03, 0x0F, 0x00, 0x01, 0x05, 0x01)))
    assert network.poll() is None
    assert user.established


@pytest.mark.parametrize("frame", [CHECK, CHECK + b"\x03", CHECK[:6] + b"\x06\x01", b"\xfc" + CHECK[1:] + b"\x01"])
def test_other_tei_management_stays_unanswered(frame: bytes) -> None:
    user = up(Side.USER).link
    user.receive(frame, 0)
    assert user.poll() is None
    assert user.established


# -- link recovery --


def test_nothing_goes_out_before_layer_1_is_up_and_then_at_once() -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    assert far_end.do("establish") == []
    assert far_end.link.next_timer() is None
    assert far_end.do("c:SABME P") == []
    assert far_end.link.statistics.while_inactive == 1
    assert far_end.do("up") == ["c:SABME P"]


def test_without_persistence_establish_on_a_dead_line_is_refused() -> None:
    far_end = FarEnd(Lapd(Side.USER, persistent=False), Side.USER)
    assert far_end.do("establish") == ["release-indication"]
    assert far_end.do("up") == []


def test_alarm_takes_the_link_down_at_once_and_its_end_brings_it_back() -> None:
    far_end = up()
    far_end.now = SECOND
    assert far_end.do("down") == ["release-indication"]
    assert far_end.link.next_timer() is None
    assert far_end.do("down") == []
    far_end.now = 2 * SECOND
    assert far_end.do("up") == ["c:SABME P"]
    assert far_end.do("r:UA F") == ["establish-confirm"]


def test_a_line_that_comes_back_soon_need_not_wait_for_the_retry_interval() -> None:
    far_end = up()
    far_end.now = 100_000
    far_end.run("down")
    far_end.now = 200_000
    assert far_end.do("up") == ["c:SABME P"]


@pytest.mark.parametrize("end", ["down", "release"])
def test_no_retry_after_layer_1_is_down_or_layer_3_gave_up(end: str) -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run("up", "establish", "r:DM F")
    assert far_end.link.next_timer() == SECOND
    far_end.run(end)
    assert far_end.link.next_timer() is None


@pytest.mark.parametrize("event", ["c:SABME P", "establish"])
def test_no_retry_is_left_over_when_the_link_comes_up_otherwise(event: str) -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run("up", "establish", "r:DM F", event)
    assert far_end.link.retry_at is None


def test_a_peer_that_refuses_is_tried_once_in_a_retry_interval_and_reported_once() -> None:
    far_end = FarEnd(Lapd(Side.USER, timers={LapdTimer.RETRY: 3 * SECOND}), Side.USER)
    assert far_end.run("up", "establish") == ["c:SABME P"]
    assert far_end.do("r:DM F") == ["release-indication"]
    for attempt in range(1, 6):
        assert far_end.do("timer") == ["c:SABME P"]
        assert far_end.now == attempt * 3 * SECOND
        assert far_end.do("r:DM F") == []
    assert far_end.do("timer") == ["c:SABME P"]
    assert far_end.do("r:UA F") == ["establish-confirm"]


def test_a_storm_of_dm_is_no_storm_of_sabme() -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run("up", "establish", "r:DM F")
    for _ in range(100):
        assert far_end.do("r:DM") == []
    assert far_end.do("timer") == ["c:SABME P"]


def test_a_peer_that_releases_is_asked_again_at_once() -> None:
    far_end = up()
    far_end.now = 5 * SECOND
    assert far_end.do("c:DISC P") == ["r:UA F", "release-indication", "c:SABME P"]
    assert far_end.do("r:UA F") == ["establish-confirm"]
    # But not twice within the interval.
    assert far_end.do("c:DISC P") == ["r:UA F", "release-indication"]
    assert far_end.link.next_timer() == 6 * SECOND


def test_a_silent_peer_is_tried_for_ever_at_the_pace_of_t200() -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run("up", "establish")
    said = [far_end.do("timer") for _ in range(100)]
    assert far_end.now == 100 * SECOND
    assert sum(o == "c:SABME P" for outputs in said for o in outputs) == 100
    assert sum(o == "release-indication" for outputs in said for o in outputs) == 1


def test_release_ends_link_recovery() -> None:
    far_end = up()
    far_end.run("release")
    assert far_end.do("r:UA F") == ["release-confirm"]
    assert far_end.link.next_timer() is None
    far_end.run("down")
    assert far_end.do("up") == []


def test_a_link_that_the_peer_made_is_not_ours_to_keep() -> None:
    far_end = FarEnd(Lapd(Side.NETWORK), Side.NETWORK)
    far_end.run("up", "c:SABME P")
    assert far_end.do("c:DISC P") == ["r:UA F", "release-indication"]
    assert far_end.link.next_timer() is None


def test_statistics_count_what_happened() -> None:
    far_end = up()
    far_end.run("send a", "send b", "r:REJ 0", "r:RR 2", "c:I 0 2 x", "c:I 2 2 x", "busy", "c:SABME P")
    far_end.run("r:FRMR 12345", "r:UA F")
    statistics = far_end.link.statistics
    assert (statistics.i_frames_in, statistics.i_frames_out) == (2, 4)
    assert (statistics.retransmissions, statistics.rej_in, statistics.rej_out) == (2, 1, 1)
    assert (statistics.rnr_out, statistics.frmr_in, statistics.sabme_in, statistics.sabme_out) == (1, 1, 1, 2)
    assert statistics.mdl_errors == {"F": 1, "K": 1}
    assert (statistics.frames_in, statistics.frames_out) == (8, 10)
