"""Layer 1: alarms with debounce, line packets, counters and what they are taken to mean."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.pri.channels import Line
from gateway.pri.lapd import Statistics
from gateway.pri.span.evidence import Clock, Fault, explain_alarm, explain_counters, explain_link
from gateway.pri.span.layer1 import (
    LAYER1_TIMERS,
    MAX_HISTORY,
    MAX_PACKET,
    MAX_QUARTERS,
    QUARTER,
    Alarm,
    Counters,
    CountersRead,
    Layer1,
    Layer1Error,
    Layer1Timer,
    LineChanged,
    SendLine,
)

CLEAR = LAYER1_TIMERS[Layer1Timer.CLEAR].default


def drain(line: Layer1) -> list[object]:
    said: list[object] = []
    while (output := line.poll()) is not None:
        match output:
            case LineChanged(alarm, since, _):
                said.append((alarm, since))
            case SendLine(packet):
                said.append(json.loads(packet))
            case CountersRead(_, errors):
                said.append(errors)
    return said


def hear(line: Layer1, now: int, **document: object) -> list[object]:
    line.receive(json.dumps(document).encode(), now)
    return drain(line)


def at(line: Layer1, now: int) -> list[object]:
    """Let the timers expire up to ``now``, each at its time, as the owner does; leaves out the asking for counters."""
    said: list[object] = []
    while (deadline := line.next_timer()) is not None and deadline <= now:
        line.handle_timer(deadline)
        said += [o for o in drain(line) if o != {"request": "counters"}]
    return said


def up(now: int = 0) -> Layer1:
    line = Layer1()
    line.connect(now)
    hear(line, now, alarm="none")
    at(line, now)
    assert line.alarm is Alarm.NONE
    return line


def test_it_begins_red() -> None:
    line = Layer1()
    assert line.alarm is Alarm.RED
    assert not line.alarm.usable
    assert line.next_timer() is None


def test_the_first_time_up_is_at_once() -> None:
    line = Layer1()
    line.connect(7)
    assert drain(line) == [{"alarm": "none"}]
    assert hear(line, 8, alarm="none") == [(Alarm.NONE, 8)]


def test_a_far_end_that_says_nothing_is_taken_as_good_after_the_clearing_time() -> None:
    line = Layer1()
    line.connect(0)
    drain(line)
    assert at(line, CLEAR - 1) == []
    assert at(line, CLEAR) == [(Alarm.NONE, CLEAR)]


@pytest.mark.parametrize("alarm", [Alarm.RED, Alarm.YELLOW, Alarm.BLUE])
def test_an_alarm_is_declared_at_once_and_cleared_late(alarm: Alarm) -> None:
    line = up()
    assert hear(line, 10, alarm=alarm.value) == [(alarm, 10)]
    assert hear(line, 20, alarm="none") == []
    assert at(line, 20 + CLEAR - 1) == []
    assert line.alarm is alarm
    assert at(line, 20 + CLEAR) == [(Alarm.NONE, 20 + CLEAR)]


def test_a_bounce_within_the_clearing_time_is_one_alarm() -> None:
    line = up()
    hear(line, 10, alarm="red")
    for now in range(100_000, 1_000_000, 200_000):
        assert hear(line, now, alarm="none") == []
        assert hear(line, now + 100_000, alarm="red") == []
    assert line.bounces == 1
    assert hear(line, 2 * SECOND, alarm="none") == []
    assert hear(line, 2 * SECOND + CLEAR // 2, alarm="none") == []
    assert at(line, 2 * SECOND + CLEAR) == [(Alarm.NONE, 2 * SECOND + CLEAR)]


def test_one_alarm_turns_into_another_at_once() -> None:
    line = up()
    hear(line, 1, alarm="red")
    assert hear(line, 2, alarm="yellow") == [(Alarm.YELLOW, 2)]
    assert hear(line, 3, alarm="blue") == [(Alarm.BLUE, 3)]


def test_declaring_can_be_delayed_and_is_then_dropped_by_a_short_alarm() -> None:
    line = Layer1(timers={Layer1Timer.DECLARE: SECOND})
    line.connect(0)
    hear(line, 0, alarm="none")
    assert hear(line, 10, alarm="red") == []
    assert hear(line, 20, alarm="none") == []
    assert at(line, 3 * SECOND) == []
    hear(line, 4 * SECOND, alarm="red")
    assert at(line, 5 * SECOND) == [(Alarm.RED, 5 * SECOND)]


def test_a_closed_connection_is_red_at_once_and_says_why() -> None:
    line = up()
    line.disconnect("the far end closed the line", 5)
    assert drain(line) == [(Alarm.RED, 5)]
    assert line.reason == "the far end closed the line"
    assert line.next_timer() is None
    line.connect(10)
    assert drain(line) == [{"alarm": "none"}]
    assert hear(line, 10, alarm="none") == []
    assert at(line, 10 + CLEAR) == [(Alarm.NONE, 10 + CLEAR)]


def test_history_is_bounded_and_ends_with_now() -> None:
    line = up()
    now = 0
    for _ in range(MAX_HISTORY):
        now += SECOND
        hear(line, now, alarm="red")
        hear(line, now, alarm="none")
        at(line, now + CLEAR)
    history = line.history()
    assert len(history) == MAX_HISTORY + 1
    assert history[-1].alarm is Alarm.NONE
    assert history[-1].until is None
    assert all(a.until == b.since and a.alarm is not b.alarm for a, b in pairwise(history))
    assert line.recent_bounces(now) == MAX_HISTORY
    assert line.recent_bounces(now + 3600 * SECOND) == 0


def test_we_tell_our_alarm_now_and_to_whom_connects_later() -> None:
    line = up()
    line.tell_alarm(Alarm.YELLOW, 1)
    assert drain(line) == [{"alarm": "yellow"}]
    line.disconnect("", 2)
    drain(line)
    line.tell_alarm(Alarm.BLUE, 3)
    assert drain(line) == []
    line.connect(4)
    assert drain(line) == [{"alarm": "blue"}]


def test_counters_are_asked_for_and_answered() -> None:
    line = Layer1()
    line.connect(0)
    drain(line)
    line.handle_timer(0)
    assert drain(line) == [{"request": "counters"}]
    assert line.next_timer() in (CLEAR, 10 * SECOND)
    line.own_counters = Counters(slips=3)
    answer = hear(line, 1, request="counters")
    assert answer == [{"counters": Counters(slips=3).as_json()}]


def test_errors_are_what_came_since_the_last_reading() -> None:
    line = up()
    # What was there before us is not ours to blame.
    assert hear(line, 1, counters={"slips": 100}) == [Counters()]
    assert hear(line, 2, counters={"slips": 103, "crc_errors": 5}) == [Counters(slips=3, crc_errors=5)]
    # A counter that went back was started anew.
    assert hear(line, 3, counters={"slips": 2, "crc_errors": 5}) == [Counters(slips=2)]
    # So it is with a far end that comes anew.
    line.disconnect("", 4)
    line.connect(5)
    drain(line)
    assert hear(line, 6, counters={"slips": 50}) == [Counters()]


def test_quarters_of_an_hour_add_up_and_are_bounded() -> None:
    line = up()
    for minute in range(30 + 15 * MAX_QUARTERS):
        hear(line, minute * 60 * SECOND, counters={"slips": minute // 2})
    quarters = line.quarters()
    assert len(quarters) == MAX_QUARTERS
    assert quarters[-1].start == (MAX_QUARTERS + 1) * QUARTER
    assert {q.errors.slips for q in quarters} == {7, 8}
    assert {q.slipped for q in quarters} == {7, 8}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'{"alarm": "purple"}',
        b'{"alarm": 1}',
        b'{"alarm": ["red"]}',
        b'{"counters": 1}',
        b'{"counters": {"slips": -1}}',
        b'{"counters": {"slips": true}}',
        b'{"counters": {"slips": 1.5}}',
        b'{"counters": {"slips": 18446744073709551616}}',
        b"\xff\xfe",
        b" " * (MAX_PACKET + 1),
        b"[" * 4000,
    ],
)
def test_a_wrong_packet_is_the_one_error_and_changes_nothing(packet: bytes) -> None:
    line = up()
    with pytest.raises(Layer1Error):
        line.receive(packet, 1)
    assert line.alarm is Alarm.NONE
    assert line.poll() is None


def test_an_alarm_beside_a_wrong_counter_is_not_taken_either() -> None:
    line = up()
    with pytest.raises(Layer1Error):
        line.receive(b'{"alarm": "red", "counters": []}', 1)
    assert line.alarm is Alarm.NONE


def test_unknown_keys_are_ignored() -> None:
    line = up()
    assert hear(line, 1, weather="fine", request="tea", counters={"slips": 0, "tea": "yes"}) == [Counters()]


@given(st.binary(max_size=200))
def test_random_octets_give_only_the_one_error(packet: bytes) -> None:
    line = up()
    try:
        line.receive(packet, 1)
    except Layer1Error:
        return


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.sampled_from(["alarm", "counters", "request", "slips"]), c),
        max_leaves=8,
    )
)
def test_random_json_gives_only_the_one_error(document: object) -> None:
    line = up()
    try:
        line.receive(json.dumps(document).encode(), 1)
    except Layer1Error:
        return


def test_timers_out_of_range_are_refused() -> None:
    for timer, row in LAYER1_TIMERS.items():
        with pytest.raises(ValueError, match=row.name):
            Layer1(timers={timer: row.maximum + 1})


# -- evidence --


@pytest.mark.parametrize(
    ("alarm", "connected", "fault"),
    [
        (Alarm.RED, False, Fault.CABLE),
        (Alarm.RED, True, Fault.CABLE),
        (Alarm.YELLOW, True, Fault.CABLE),
        (Alarm.BLUE, True, Fault.CARRIER),
    ],
)
def test_what_an_alarm_means(alarm: Alarm, connected: bool, fault: Fault) -> None:
    (finding,) = explain_alarm(alarm, connected)
    assert finding.fault is fault


def test_no_alarm_and_no_bounces_need_no_words() -> None:
    assert explain_alarm(Alarm.NONE, True, 2) == ()
    (finding,) = explain_alarm(Alarm.NONE, True, 7)
    assert "7 times" in finding.text


@pytest.mark.parametrize(
    ("errors", "clock", "faults"),
    [
        (Counters(), Clock.LINE, []),
        (Counters(code_violations=9), Clock.LINE, [Fault.CABLE]),
        (Counters(code_violations=9, crc_errors=8, framing_errors=7), Clock.LINE, [Fault.CABLE]),
        (Counters(crc_errors=8), Clock.LINE, [Fault.CARRIER]),
        (Counters(crc_errors=100_000), Clock.LINE, [Fault.SETTING]),
        (Counters(framing_errors=7), Clock.LINE, [Fault.SETTING]),
        (Counters(far_crc_errors=7), Clock.LINE, [Fault.CABLE]),
        (Counters(slips=425), Clock.INTERNAL, [Fault.CLOCK]),
        (Counters(slips=425), Clock.LINE, [Fault.CLOCK]),
        (Counters(slips=425, code_violations=1), Clock.LINE, [Fault.CABLE, Fault.CABLE]),
        (Counters(hdlc_errors=3), Clock.LINE, [Fault.SETTING]),
        (Counters(hdlc_errors=3, slips=1), Clock.LINE, [Fault.CLOCK]),
    ],
)
def test_what_counters_mean(errors: Counters, clock: Clock, faults: list[Fault]) -> None:
    findings = explain_counters(errors, 100 * SECOND, Line.E1, clock)
    assert [finding.fault for finding in findings] == faults
    for finding in findings:
        assert any(str(figure) in finding.text for figure in errors.values() if figure)


def test_slips_tell_whose_clock() -> None:
    (own,) = explain_counters(Counters(slips=80), 100 * SECOND, Line.E1, Clock.INTERNAL)
    assert "clock from the line" in own.text
    assert "100.00 ppm" in own.text
    (other,) = explain_counters(Counters(slips=80), 100 * SECOND, Line.E1, Clock.LINE)
    assert "carrier's clock" in other.text


@pytest.mark.parametrize(
    ("errors", "established", "word"),
    [
        (Statistics(wrong_side=2, sabme_out=4, frames_in=2), False, "same side"),
        (Statistics(sabme_out=4), False, "no frame came back"),
        (Statistics(sabme_out=4, frames_in=3, other_address=3), False, "SAPI or TEI"),
        (Statistics(sabme_out=4, frames_in=3), False, "refuses"),
        (Statistics(invalid=2, frames_in=1000), True, "2 frames too short"),
        (Statistics(retransmissions=5, frames_in=50, frames_out=50), True, "5 frames lost of 100"),
    ],
)
def test_what_the_d_channel_tells(errors: Statistics, established: bool, word: str) -> None:
    (finding,) = explain_link(errors, established)
    assert word in finding.text


def test_a_good_link_needs_no_words() -> None:
    assert explain_link(Statistics(frames_in=1000, frames_out=1000, retransmissions=2), True) == ()
