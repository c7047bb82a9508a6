"""Sessions of IAX2: order, acknowledgements, stamps, what they answer by themselves (RFC 5456 6.7, 7, 8.1.1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import MILLISECOND
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, Control, FrameType, parse_full
from gateway.voip.iax.host import Path
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.session import Session
from tests.unit.voip.iax.iax_sessions import OURS, THEIRS, Bench, Owner, owner_of

# -- sequence numbers and acknowledgements --


def test_the_first_frame_has_no_destination_and_both_numbers_zero() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now, Elements().add_text(Ie.CALLED_NUMBER, "123"))
    (frame,) = bench.frames()
    assert (frame.source, frame.destination, frame.oseqno, frame.iseqno, frame.stamp) == (OURS, 0, 0, 0, 0)
    assert not frame.retransmitted


def test_what_opens_a_session_says_that_call_tokens_are_known() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now, Elements().add_text(Ie.CALLED_NUMBER, "123"))
    (frame,) = bench.frames()
    assert frame.elements.items[-1] == (Ie.CALLTOKEN, b"")
    assert len(frame.elements.all(Ie.CALLTOKEN)) == 1


def test_the_far_end_s_call_number_is_learned_from_its_first_frame() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.hear(Command.ACCEPT)
    assert bench.session.destination == THEIRS
    bench.sent.clear()
    bench.session.send(FrameType.CONTROL, Control.HOLD, bench.now)
    assert bench.frames()[0].destination == THEIRS


def test_a_frame_in_its_turn_is_told_and_acknowledged_with_its_stamp() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, stamp=4711)
    assert owner_of(bench).heard == [Control.RINGING]
    (ack,) = bench.frames()
    assert (ack.subclass, ack.stamp, ack.iseqno, ack.oseqno) == (Command.ACK, 4711, 2, 1)


def test_an_answer_in_sequence_acknowledges_and_no_ack_is_sent() -> None:
    class Answering(Owner):
        def on_frame(self, session: Session, frame: object, now: int) -> None:
            session.command(Command.AUTHREP, now)

    bench = Bench(Answering())
    bench.session.command(Command.NEW, bench.now)
    bench.sent.clear()
    bench.hear(Command.AUTHREQ)
    (answer,) = bench.frames()
    assert (answer.subclass, answer.iseqno) == (Command.AUTHREP, 1)


def test_an_ack_stops_the_repetition() -> None:
    bench = Bench()
    bench.up()
    bench.session.command(Command.PING, bench.now)
    bench.hear(Command.ACK)
    bench.sent.clear()
    bench.run(60_000)
    assert bench.sent == []
    assert not owner_of(bench).ended


def test_any_frame_in_sequence_acknowledges_by_its_iseqno() -> None:
    bench = Bench()
    bench.up()
    for _ in range(3):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, i=3)
    bench.sent.clear()
    bench.run(600)
    assert [frame.oseqno for frame in bench.frames()] == [3]


def test_an_iseqno_out_of_the_window_acknowledges_nothing() -> None:
    bench = Bench()
    bench.up()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    for nonsense in (1, 0, 3, 100, 255):
        bench.hear(Command.ACK, i=nonsense)
    bench.sent.clear()
    bench.run(600)
    assert [frame.oseqno for frame in bench.frames()] == [1]


def test_sequence_numbers_wrap_both_ways() -> None:
    bench = Bench()
    bench.up()
    for number in range(600):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
        bench.hear(Command.ACK)
        bench.hear(Control.KEY, kind=FrameType.CONTROL, stamp=1000 + number)
    assert len(owner_of(bench).frames) == 600
    dtmf = [frame.oseqno for frame in bench.frames() if frame.type == FrameType.DTMF]
    assert dtmf == [(1 + number) & 0xFF for number in range(600)]
    bench.run(30_000)
    assert not owner_of(bench).ended


def test_a_repetition_is_acknowledged_again_and_told_once() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, stamp=50)
    bench.sent.clear()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, o=1, stamp=50)
    assert owner_of(bench).heard == [Control.RINGING]
    (ack,) = bench.frames()
    assert (ack.subclass, ack.stamp, ack.iseqno) == (Command.ACK, 50, 2)


def test_what_comes_too_early_is_asked_for_by_vnak_and_heard_in_order() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=2)
    assert owner_of(bench).heard == []
    (vnak,) = bench.frames()
    assert (vnak.subclass, vnak.iseqno) == (Command.VNAK, 1)
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, o=1)
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=2)
    assert owner_of(bench).heard == [Control.RINGING, Control.ANSWER]


def test_what_came_too_early_is_heard_as_soon_as_what_was_missing_is_here() -> None:
    bench = Bench()
    bench.up()
    for ahead, control in ((3, Control.ANSWER), (2, Control.PROGRESS), (40, Control.KEY)):
        bench.hear(control, kind=FrameType.CONTROL, o=ahead)
    bench.sent.clear()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, o=1)
    assert owner_of(bench).heard == [Control.RINGING, Control.PROGRESS, Control.ANSWER]
    (ack,) = bench.frames()
    assert (ack.subclass, ack.iseqno) == (Command.ACK, 4)
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=3)
    assert owner_of(bench).heard == [Control.RINGING, Control.PROGRESS, Control.ANSWER]


def test_one_gap_is_asked_for_once_in_a_while() -> None:
    bench = Bench()
    bench.up()
    for ahead in range(2, 12):
        bench.hear(Control.KEY, kind=FrameType.CONTROL, o=ahead)
    assert bench.names() == ["VNAK"]
    bench.run(100)
    bench.hear(Control.KEY, kind=FrameType.CONTROL, o=12)
    assert bench.names() == ["VNAK"]


def test_a_vnak_gets_all_from_there_on_again() -> None:
    bench = Bench()
    bench.up()
    for digit in "123":
        bench.session.send(FrameType.DTMF, ord(digit), bench.now)
    bench.sent.clear()
    bench.hear(Command.VNAK, i=2)
    again = bench.frames()
    assert [(frame.oseqno, frame.retransmitted) for frame in again] == [(2, True), (3, True)]
    # What just went for it does not go once more for the next copy of it.
    bench.hear(Command.VNAK, i=2)
    assert bench.frames() == []
    bench.run(20)
    bench.hear(Command.VNAK, i=2)
    assert len(bench.frames()) == 2


def test_vnaks_do_not_end_a_session_before_its_time() -> None:
    bench = Bench()
    bench.up()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    for _ in range(100):
        bench.run(20)
        bench.hear(Command.VNAK, i=1)
    assert not owner_of(bench).ended


# -- stamps (8.1.1) --


def test_stamps_are_milliseconds_since_the_session_began() -> None:
    bench = Bench()
    bench.up()
    bench.run(1234)
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    assert bench.frames()[0].stamp == 1234


def test_stamps_rise_even_within_a_millisecond() -> None:
    bench = Bench()
    bench.up()
    for _ in range(5):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    stamps = [frame.stamp for frame in bench.frames()]
    assert stamps == sorted(set(stamps))


def test_voice_keeps_the_stamp_that_the_engine_gave_it_and_others_come_after() -> None:
    bench = Bench()
    bench.up()
    bench.run(100)
    bench.session.send(FrameType.VOICE, 8, bench.now, b"v" * 160, stamp=120)
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    voice, digit = bench.frames()
    assert voice.stamp == 120
    assert digit.stamp == 121


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=40))
def test_stamps_are_all_different_whatever_the_pauses(pauses: list[int]) -> None:
    bench = Bench()
    bench.up()
    stamps = []
    for pause in pauses:
        bench.now += pause
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
        bench.hear(Command.ACK)
        stamps += [frame.stamp for frame in bench.frames()]
    assert stamps == sorted(set(stamps))


def test_a_gap_is_asked_for_once_in_a_round_trip() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.run(300)
    bench.hear(Command.ACCEPT)
    bench.sent.clear()
    for _ in range(5):
        bench.hear(Control.KEY, kind=FrameType.CONTROL, o=2)
        bench.run(55)
    assert bench.names() == ["VNAK"]


def test_another_call_number_of_the_far_end_s_is_not_taken() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=1, source=THEIRS + 1)
    assert owner_of(bench).heard == []
    assert bench.session.strangers == 1


def test_what_came_too_early_need_not_come_again() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=2)
    bench.hear(Control.HOLD, kind=FrameType.CONTROL, o=3)
    bench.sent.clear()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, o=1)
    assert owner_of(bench).heard == [Control.RINGING, Control.ANSWER, Control.HOLD]
    assert [(frame.subclass, frame.iseqno) for frame in bench.frames()] == [(Command.ACK, 4)]


# -- what the session answers by itself --


def test_ping_gets_pong_with_its_stamp_and_a_report() -> None:
    class Reporting(Owner):
        def report(self, session: Session, now: int) -> LinkReport:
            return LinkReport(jitter=7, lost=3, lost_percent=2, packets=500, delay=60, dropped=1, out_of_order=4)

    bench = Bench(Reporting())
    bench.up()
    bench.hear(Command.PING, stamp=99_000)
    (pong,) = bench.frames()
    assert (pong.subclass, pong.stamp, pong.oseqno) == (Command.PONG, 99_000, 1)
    elements = pong.elements
    assert elements.number(Ie.RR_JITTER) == 7
    assert elements.number(Ie.RR_LOSS) == 2 << 24 | 3
    assert elements.number(Ie.RR_PKTS) == 500
    assert elements.number(Ie.RR_DELAY) == 60
    assert elements.number(Ie.RR_DROPPED) == 1
    assert elements.number(Ie.RR_OOO) == 4
    assert owner_of(bench).heard == []


def test_lagrq_gets_lagrp_with_its_stamp() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.LAGRQ, stamp=77)
    (answer,) = bench.frames()
    assert (answer.subclass, answer.stamp) == (Command.LAGRP, 77)


def test_a_watched_session_asks_and_measures() -> None:
    bench = Bench()
    bench.up()
    bench.session.watch(bench.now)
    bench.run(10_000)
    (lagrq,) = bench.frames()
    assert lagrq.subclass == Command.LAGRQ
    bench.run(30)
    bench.hear(Command.LAGRP, stamp=lagrq.stamp)
    assert bench.session.lag == 30 * MILLISECOND
    bench.sent.clear()
    bench.run(9_970)
    ping = next(frame for frame in bench.frames() if frame.subclass == Command.PING)
    bench.run(16)
    report = LinkReport(lost=5, lost_percent=1, packets=600).add_to(Elements())
    bench.hear(Command.PONG, stamp=ping.stamp, elements=report)
    assert bench.session.far_report is not None
    assert (bench.session.far_report.lost, bench.session.far_report.packets) == (5, 600)


def test_a_far_end_that_falls_silent_ends_a_watched_session() -> None:
    bench = Bench()
    bench.up()
    bench.session.watch(bench.now)
    bench.run(10_000 + 15_400)
    assert not owner_of(bench).ended
    bench.run(200)
    (ended,) = owner_of(bench).ended
    assert ended.timed_out
    assert "LAGRQ" in ended.text
    assert bench.timers == []


def test_an_answer_to_no_question_of_ours_measures_nothing() -> None:
    bench = Bench()
    bench.up()
    bench.session.watch(bench.now)
    bench.run(10_000)
    bench.hear(Command.LAGRP, stamp=1)
    assert bench.session.lag is None
    bench.run(10_000)
    round_trip = bench.session.round_trip
    report = LinkReport(packets=600).add_to(Elements())
    bench.hear(Command.PONG, stamp=1, i=1, elements=report)
    assert bench.session.far_report is None
    assert bench.session.round_trip == round_trip


def test_what_goes_elsewhere_acknowledges_nothing() -> None:
    class Trying(Owner):
        def on_frame(self, session: Session, frame: object, now: int) -> None:
            session.immediate(Command.TXCNT, now, path=Path(1, "198.51.100.1", 4569), destination=5)

    bench = Bench(Trying())
    bench.up()
    bench.hear(Command.TXREQ)
    assert [Command(frame.subclass) for frame in bench.frames()] == [Command.TXCNT, Command.ACK]


def test_a_pong_of_an_unasked_session_is_its_owner_s() -> None:
    bench = Bench()
    bench.session.command(Command.POKE, bench.now)
    bench.hear(Command.PONG, stamp=0)
    assert owner_of(bench).heard == [Command.PONG]


def test_a_command_that_nobody_knows_gets_unsupport() -> None:
    bench = Bench()
    bench.up()
    bench.hear(0x3F)
    (frame,) = bench.frames()
    assert frame.subclass == Command.UNSUPPORT
    assert frame.elements.number(Ie.IAX_UNKNOWN) == 0x3F
    assert owner_of(bench).heard == []


def test_what_the_owner_does_not_know_it_may_call_unsupported() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.PROVISION)
    assert owner_of(bench).heard == [Command.PROVISION]
    bench.sent.clear()
    bench.session.unsupported(owner_of(bench).frames[0], bench.now)
    assert bench.frames()[0].elements.number(Ie.IAX_UNKNOWN) == Command.PROVISION


def test_unsupport_is_not_answered_by_another() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.UNSUPPORT, elements=Elements().add_number(Ie.IAX_UNKNOWN, 0x26, 1))
    assert bench.names() == ["ACK"]


def test_the_operator_sees_numbers_and_counters() -> None:
    bench = Bench()
    bench.up()
    shown = bench.session.as_json()
    assert shown["source_call"] == OURS
    assert shown["far_call"] == THEIRS
    assert shown["encrypted"] is False
    assert parse_full(bytes(bench.frame(Command.PING))).subclass == Command.PING
