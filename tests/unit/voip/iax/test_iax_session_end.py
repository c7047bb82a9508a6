"""Sessions of IAX2: call tokens at their beginning, INVAL and HANGUP at their end (RFC 5456 6.9.2)."""

from __future__ import annotations

import pytest

from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.host import Path
from gateway.voip.iax.session import MAX_TOKENS, Session
from tests.unit.voip.iax.iax_sessions import HERE, OURS, THEIRS, Bench, Owner, owner_of

# -- call tokens --


def token(text: bytes = b"1234?abcdef") -> Elements:
    return Elements().add(Ie.CALLTOKEN, text)


def test_a_call_token_has_the_first_frame_sent_again_with_it() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now, Elements().add_text(Ie.CALLED_NUMBER, "123"))
    first = bench.frames()[0]
    bench.run(20)
    bench.hear(Command.CALLTOKEN, o=0, i=1, source=1, stamp=0, elements=token())
    (again,) = bench.frames()
    assert (again.subclass, again.oseqno, again.iseqno, again.destination) == (Command.NEW, 0, 0, 0)
    assert not again.retransmitted
    assert again.stamp > first.stamp
    assert again.elements.items == [*first.elements.items[:-1], (Ie.CALLTOKEN, b"1234?abcdef")]
    assert bench.session.destination == 0
    bench.hear(Command.ACCEPT, o=0, i=1)
    assert bench.session.destination == THEIRS
    bench.run(60_000)
    assert not owner_of(bench).ended


def test_call_tokens_without_end_are_not_followed() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    for _ in range(MAX_TOKENS + 3):
        bench.hear(Command.CALLTOKEN, o=0, i=1, source=1, elements=token())
    assert len(bench.frames()) == 1 + MAX_TOKENS


def test_a_call_token_from_elsewhere_or_for_what_opens_nothing_is_not_followed() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.sent.clear()
    bench.hear(Command.CALLTOKEN, o=0, i=1, source=1, elements=token(), path=Path(1, "198.51.100.1", 4569))
    bench.hear(Command.CALLTOKEN, o=0, i=1, source=1)
    bench.hear(Command.CALLTOKEN, o=0, i=1, source=1, elements=token(b""))
    assert bench.sent == []
    bench.hear(Command.ACCEPT)
    bench.sent.clear()
    bench.hear(Command.CALLTOKEN, o=1, source=THEIRS, elements=token())
    assert bench.sent == []


# -- the end --


def test_inval_ends_the_session() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.INVAL, o=0, i=0, stamp=0)
    (ended,) = owner_of(bench).ended
    assert not ended.timed_out
    assert bench.forgotten == [bench.session]
    assert bench.sent == []


def test_inval_from_elsewhere_or_for_another_call_ends_nothing() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.INVAL, path=Path(1, "198.51.100.1", 4569))
    bench.hear(Command.INVAL, path=Path(1, HERE.address, 9999))
    bench.hear(Command.INVAL, source=THEIRS + 1)
    bench.hear(Command.INVAL, destination=OURS + 1)
    assert not owner_of(bench).ended


def test_a_closed_session_repeats_its_last_word_until_it_is_acknowledged() -> None:
    bench = Bench()
    bench.up()
    bench.session.command(Command.HANGUP, bench.now)
    bench.session.close(bench.now)
    assert bench.forgotten == []
    bench.run(600)
    assert bench.names() == ["HANGUP", "HANGUP"]
    bench.hear(Command.ACK)
    assert bench.forgotten == [bench.session]
    assert not owner_of(bench).ended
    assert bench.timers == []


def test_a_closed_session_whose_far_end_is_gone_is_forgotten_in_silence() -> None:
    bench = Bench()
    bench.up()
    bench.session.command(Command.HANGUP, bench.now)
    bench.session.close(bench.now)
    bench.run(20_000)
    assert bench.forgotten == [bench.session]
    assert not owner_of(bench).ended


def test_a_closed_session_acknowledges_and_tells_nobody() -> None:
    bench = Bench()
    bench.up()
    bench.session.command(Command.HANGUP, bench.now)
    bench.session.close(bench.now)
    bench.sent.clear()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, i=1)
    assert bench.names() == ["ACK"]
    assert owner_of(bench).heard == []
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    assert bench.sent == []


def test_a_hangup_is_acknowledged_though_its_owner_closes_the_session() -> None:
    class Closing(Owner):
        def on_frame(self, session: Session, frame: object, now: int) -> None:
            session.close(now)

    bench = Bench(Closing())
    bench.session.command(Command.NEW, bench.now)
    bench.session.destination = THEIRS
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.sent.clear()
    bench.hear(Command.HANGUP, i=0)
    assert bench.names() == ["ACK"]
    # Who hung up hears nothing any more.
    assert bench.forgotten == [bench.session]
    assert bench.timers == []


def test_a_repeated_hangup_is_acknowledged_even_then() -> None:
    bench = Bench()
    bench.up()
    bench.hear(Command.HANGUP)
    bench.session.close(bench.now)
    bench.sent.clear()
    bench.hear(Command.HANGUP, o=1)
    assert bench.names() == ["ACK"]
    assert bench.forgotten == [bench.session]


def test_an_incoming_session_begins_with_its_first_frame() -> None:
    bench = Bench()
    bench.session.begin(bench.frame(Command.NEW, i=0, destination=0), bench.now)
    assert bench.session.destination == THEIRS
    assert owner_of(bench).heard == [Command.NEW]
    (ack,) = bench.frames()
    assert (ack.subclass, ack.destination, ack.iseqno) == (Command.ACK, THEIRS, 1)
    bench.hear(Command.NEW, o=0, i=0, destination=0)
    assert bench.names() == ["ACK"]
    assert owner_of(bench).heard == [Command.NEW]


@pytest.mark.parametrize("subclass", [Command.NEW, Command.POKE, Command.FWDOWNL, Command.PING])
def test_what_has_no_number_of_ours_takes_no_turn_of_what_has_one(subclass: Command) -> None:
    bench = Bench()
    bench.session.begin(bench.frame(Command.NEW, i=0, destination=0), bench.now)
    bench.hear(subclass, o=1, i=0, destination=0)
    bench.hear(Control.HOLD, kind=FrameType.CONTROL, o=1)
    assert owner_of(bench).heard == [Command.NEW, Control.HOLD]


def test_a_far_end_that_begins_with_another_number_goes_on_from_there() -> None:
    bench = Bench()
    bench.session.begin(bench.frame(Command.NEW, o=1, i=0, destination=0), bench.now)
    assert owner_of(bench).heard == [Command.NEW]
    assert bench.frames()[0].iseqno == 2
    bench.hear(Control.HOLD, kind=FrameType.CONTROL, o=2)
    assert owner_of(bench).heard == [Command.NEW, Control.HOLD]


def test_two_that_hang_up_at_once_are_done_at_once() -> None:
    bench = Bench()
    bench.up()
    bench.session.command(Command.HANGUP, bench.now)
    bench.session.close(bench.now)
    bench.sent.clear()
    bench.hear(Command.HANGUP, i=1)
    assert bench.names() == ["ACK"]
    assert bench.forgotten == [bench.session]
    assert bench.timers == []
