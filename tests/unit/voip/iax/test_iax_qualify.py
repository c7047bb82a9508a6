"""qualify: POKE and PONG, in virtual time."""

from __future__ import annotations

import logging

import pytest

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import PeerSettings
from gateway.voip.iax.qualify import Watch
from gateway.voip.reach import Reach
from gateway.voip.sip.names import Answer
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WORD, Wire

FAR = PeerSettings(name="far", host=PEER, secret=WORD, qualify=2 * SECOND, qualifyfreq=60 * SECOND)


def until_poked(wire: Wire, count: int = 1, most: int = 120) -> FullFrame:
    for _ in range(most * 100):
        pokes = [each for each in wire.sent_to(PEER) if each.subclass == Command.POKE]
        if len(pokes) >= count:
            return pokes[-1]
        wire.advance(10 * MILLISECOND)
    raise AssertionError(f"no {count} POKEs in {most} s")


def pong(poke: FullFrame, source: int = 1) -> bytes:
    return bytes(FullFrame(source, poke.source, poke.stamp, 0, 1, FrameType.IAX, Command.PONG))


def watch_of(wire: Wire) -> Watch:
    watch = wire.endpoint.peers["far"].watch
    assert watch is not None
    return watch


def test_nothing_is_known_before_the_first_answer() -> None:
    wire = Wire(FAR)
    assert wire.endpoint.peers["far"].reach is Reach.UNKNOWN


def test_answer_in_time_makes_it_reachable_with_its_round_trip() -> None:
    wire = Wire(FAR)
    poke = until_poked(wire)
    assert (poke.destination, poke.oseqno, poke.data) == (0, 0, b"")
    wire.advance(30 * MILLISECOND)
    wire.datagram(pong(poke))
    assert watch_of(wire).state is Reach.REACHABLE
    assert watch_of(wire).round_trip is not None
    assert 30 * MILLISECOND <= (watch_of(wire).round_trip or 0) <= 40 * MILLISECOND
    assert wire.endpoint.numbers.resting == 1
    assert len(wire.endpoint.numbers) == 0


def test_it_is_asked_again_after_its_frequency_and_not_before() -> None:
    wire = Wire(FAR)
    wire.datagram(pong(until_poked(wire)))
    count = len(wire.sent_to(PEER))
    wire.advance(53 * SECOND)
    assert len(wire.sent_to(PEER)) == count
    wire.advance(8 * SECOND)
    assert len(wire.sent_to(PEER)) > count


def test_late_answer_is_lagged() -> None:
    wire = Wire(FAR)
    poke = until_poked(wire)
    wire.advance(2100 * MILLISECOND)
    wire.datagram(pong(poke))
    assert watch_of(wire).state is Reach.LAGGED


def test_answer_to_a_repeated_question_is_measured_from_that_one() -> None:
    wire = Wire(FAR)
    until_poked(wire)
    second = until_poked(wire, 2)
    assert second.retransmitted
    wire.advance(20 * MILLISECOND)
    wire.datagram(pong(second))
    assert watch_of(wire).state is Reach.REACHABLE
    assert (watch_of(wire).round_trip or SECOND) < 100 * MILLISECOND


def test_no_answer_is_unreachable_and_is_asked_more_often(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(FAR)
    until_poked(wire)
    with caplog.at_level(logging.WARNING):
        wire.advance(5 * SECOND)
    assert watch_of(wire).state is Reach.UNREACHABLE
    assert wire.endpoint.suspects.is_unreachable("far")
    assert "far is unreachable: no answer" in caplog.text
    count = len(wire.sent_to(PEER))
    wire.advance(12 * SECOND)
    assert len(wire.sent_to(PEER)) > count


def test_no_answer_for_an_hour_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(FAR)
    with caplog.at_level(logging.INFO):
        wire.advance(3600 * SECOND)
    assert len(caplog.records) == 1


def test_answer_after_silence_makes_it_reachable_again() -> None:
    wire = Wire(FAR)
    wire.advance(30 * SECOND)
    assert watch_of(wire).state is Reach.UNREACHABLE
    count = len([each for each in wire.sent_to(PEER) if each.subclass == Command.POKE])
    wire.datagram(pong(until_poked(wire, count + 1)))
    assert watch_of(wire).state is Reach.REACHABLE
    assert not wire.endpoint.suspects.names


def test_answer_from_another_address_is_none() -> None:
    wire = Wire(FAR)
    poke = until_poked(wire)
    wire.datagram(pong(poke), STRANGER)
    assert watch_of(wire).state is Reach.UNKNOWN


def test_whoever_answers_in_a_session_gets_its_acknowledgement() -> None:
    wire = Wire(FAR)
    (ack,) = wire.datagram(pong(until_poked(wire), source=77))
    assert (ack.subclass, ack.destination) == (Command.ACK, 77)


def test_peer_that_registers_is_asked_where_it_registered() -> None:
    wire = Wire(PeerSettings(name="far", dynamic=True, secret=WORD, qualify=2 * SECOND))
    wire.advance(60 * SECOND)
    assert not wire.sent_to(PEER)
    wire.far_end(PEER, 5555).register("far", WORD)
    wire.advance(MILLISECOND)
    assert any(at == 5555 for _, to, at, _ in wire.media.sent if to == PEER)
    poke = until_poked(wire)
    wire.datagram(pong(poke), PEER, 5555)
    assert watch_of(wire).state is Reach.REACHABLE
    wire.far_end(PEER, 5555).register("far", WORD, command=Command.REGREL)
    assert watch_of(wire).state is Reach.UNKNOWN
    assert watch_of(wire).next_ask is None


def test_silent_address_of_a_name_gives_way_to_the_next() -> None:
    wire = Wire(PeerSettings(name="far", host="pbx.example", secret=WORD, qualify=2 * SECOND))
    (question,) = wire.asked
    wire.endpoint.looked_up(question, Answer((STRANGER, PEER)), wire.now)
    wire.advance(30 * SECOND)
    assert wire.sent_to(STRANGER)
    assert wire.sent_to(PEER)


def test_nothing_is_asked_any_more_after_the_end() -> None:
    wire = Wire(FAR)
    until_poked(wire)
    wire.endpoint.leave(wire.now)
    count = len(wire.media.sent)
    wire.advance(600 * SECOND)
    assert len(wire.media.sent) == count
    assert wire.endpoint.next_timer() is None
