"""Frames of IAX2 from where the far end is not: NAT's new port is followed once it is proven, strangers never are."""

from __future__ import annotations

import random

from gateway.core import MILLISECOND
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.frame import Command, Control, FrameType, FullFrame, parse_full
from gateway.voip.iax.host import Path
from gateway.voip.iax.roaming import MOVE_PAUSE, PROBE_PAUSE
from tests.unit.voip.iax.iax_sessions import HERE, KEY, Bench, Watcher

PORT = HERE._replace(port=1025)
AWAY = Path(1, "198.51.100.7", 4569)


def call(*, encrypted: bool = False) -> tuple[Bench, Watcher, Cipher | None]:
    owner = Watcher()
    bench = Bench(owner)
    bench.up()
    if not encrypted:
        return bench, owner, None
    bench.session.encrypt(KEY, KEY, bench.now)
    return bench, owner, Cipher(KEY, random.Random(3))


def probe(bench: Bench, path: Path, cipher: Cipher | None) -> FullFrame:
    """The PING that asks the far end whether it is at ``path``."""
    (data,) = [data for to, data in bench.sent if to == path]
    bench.sent.clear()
    frame = parse_full(data if cipher is None else cipher.decrypt(data))
    assert frame.subclass == Command.PING
    return frame


def test_a_clear_call_follows_its_far_end_to_a_new_port_once_that_answers() -> None:
    bench, owner, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    assert owner.moves == []
    ping = probe(bench, PORT, None)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp, path=PORT)
    assert owner.moves == bench.paths == [PORT]
    assert bench.session.path == PORT
    assert bench.session.as_json()["moves"] == 1
    # What was not taken from there is asked for.
    assert bench.names() == ["VNAK"]
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    assert bench.sent[-1][0] == PORT


def test_what_the_old_port_did_not_get_goes_to_the_new_one_before_it_is_asked() -> None:
    bench, owner, _ = call()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.session.send(FrameType.CONTROL, Control.HOLD, bench.now)
    lost = [parse_full(data) for _, data in bench.sent]
    bench.sent.clear()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    asked = [parse_full(data) for to, data in bench.sent if to == PORT]
    assert [(each.type, each.oseqno) for each in asked[:2]] == [(each.type, each.oseqno) for each in lost]
    ping = asked[2]
    assert (ping.subclass, ping.oseqno) == (Command.PING, lost[-1].oseqno + 1)
    bench.hear(Command.PONG, o=1, i=ping.oseqno + 1, stamp=ping.stamp, path=PORT)
    assert owner.moves == [PORT]
    assert not bench.session.unacknowledged


def test_a_clear_call_never_goes_to_another_address() -> None:
    bench, owner, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=AWAY)
    assert bench.sent == []
    bench.hear(Command.PONG, o=1, stamp=1, path=AWAY)
    assert owner.moves == []
    assert bench.session.strangers == 2


def test_an_encrypted_call_follows_its_far_end_anywhere_once_that_answers() -> None:
    bench, owner, cipher = call(encrypted=True)
    bench.hear(Command.LAGRQ, o=1, path=AWAY, cipher=cipher)
    assert owner.moves == []
    ping = probe(bench, AWAY, cipher)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp, path=AWAY, cipher=cipher)
    assert owner.moves == [AWAY]


def test_a_copied_frame_of_an_encrypted_call_moves_nothing() -> None:
    bench, owner, cipher = call(encrypted=True)
    assert cipher is not None
    copied = cipher.encrypt(bytes(bench.frame(Control.RINGING, kind=FrameType.CONTROL)))
    bench.session.receive(copied, AWAY, bench.now)
    probe(bench, AWAY, cipher)
    # The stranger there can do no more than send what it heard.
    bench.session.receive(copied, AWAY, bench.now)
    bench.session.receive(copied, HERE, bench.now)
    assert owner.heard == [Control.RINGING]
    assert owner.moves == []
    assert bench.session.path == HERE


def test_a_pong_with_another_stamp_or_from_a_third_place_proves_nothing() -> None:
    bench, owner, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    ping = probe(bench, PORT, None)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp + 1, path=PORT)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp, path=HERE._replace(port=1026))
    assert owner.moves == []


def test_whoever_is_still_heard_at_the_old_place_has_not_moved() -> None:
    bench, owner, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    ping = probe(bench, PORT, None)
    bench.hear(Command.LAGRQ)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp, path=PORT)
    assert owner.moves == []


def test_the_old_place_is_asked_too_and_again() -> None:
    bench, _, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    assert [to for to, _ in bench.sent] == [PORT, HERE]
    assert {frame.oseqno for frame in bench.frames()} == {1}
    bench.run(600)
    assert [to for to, _ in bench.sent] == [HERE]


def test_strangers_are_asked_once_in_a_while_only() -> None:
    bench, _, _ = call()
    for port in range(1000, 1100):
        bench.hear(Command.LAGRQ, o=1, path=HERE._replace(port=port))
    assert [to.port for to, _ in bench.sent] == [1000, HERE.port]
    bench.run(PROBE_PAUSE // MILLISECOND)
    bench.sent.clear()
    bench.hear(Command.LAGRQ, o=1, path=HERE._replace(port=2000))
    # The question before has had no answer: it goes there too, so that none of the numbers is missing.
    assert {to.port for to, _ in bench.sent if to != HERE} == {2000}


def test_a_session_that_moved_stays_for_a_while() -> None:
    bench, owner, _ = call()
    bench.hear(Command.LAGRQ, o=1, path=PORT)
    ping = probe(bench, PORT, None)
    bench.hear(Command.PONG, o=2, stamp=ping.stamp, path=PORT)
    bench.run(PROBE_PAUSE // MILLISECOND + 1)
    bench.sent.clear()
    bench.hear(Command.LAGRQ, o=1, path=HERE)
    assert bench.sent == []
    bench.run((MOVE_PAUSE - PROBE_PAUSE) // MILLISECOND)
    bench.sent.clear()
    bench.hear(Command.LAGRQ, o=1, path=HERE)
    assert [to for to, _ in bench.sent] == [HERE, PORT]
    assert owner.moves == [PORT]


def test_frames_that_do_not_fit_ask_nobody() -> None:
    bench, _, _ = call()
    bench.hear(Command.LAGRQ, o=200, path=PORT)
    bench.hear(Command.ACK, path=PORT)
    bench.hear(Command.VNAK, path=PORT)
    assert bench.sent == []


def test_a_stranger_acknowledges_and_asks_for_nothing() -> None:
    bench, _, _ = call()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.sent.clear()
    bench.hear(Command.ACK, path=PORT)
    bench.hear(Command.VNAK, i=1, path=AWAY)
    assert bench.sent == []
    bench.run(600)
    assert len(bench.sent) == 1


def test_the_first_answer_must_come_from_where_it_was_asked() -> None:
    owner = Watcher()
    bench = Bench(owner)
    bench.session.command(Command.NEW, bench.now)
    bench.hear(Command.ACCEPT, o=0, path=AWAY)
    assert bench.session.destination == 0
    assert owner.heard == []


def test_attempts_to_reach_for_a_transfer_are_told_from_wherever_they_come() -> None:
    bench, owner, _ = call()
    bench.hear(Command.TXCNT, o=0, i=0, source=55, path=AWAY)
    ((frame, path),) = owner.transfers
    assert (frame.subclass, frame.source, path) == (Command.TXCNT, 55, AWAY)
    bench.session.immediate(Command.TXACC, bench.now, path=AWAY, destination=55)
    ((to, data),) = bench.sent
    assert to == AWAY
    assert parse_full(data).destination == 55


def test_a_transferred_session_begins_anew_with_its_new_far_end() -> None:
    bench, owner, _ = call()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL)
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.run(100)
    bench.sent.clear()
    bench.session.join(AWAY, 55, bench.now)
    bench.session.send(FrameType.DTMF, ord("6"), bench.now)
    assert {to for to, _ in bench.sent} == {AWAY}
    frames = bench.frames()
    # A digit that nobody has acknowledged is for the new one.
    assert [(each.oseqno, each.subclass) for each in frames] == [(0, ord("5")), (1, ord("6"))]
    assert [(each.destination, each.iseqno, each.stamp) for each in frames] == [(55, 0, 0), (55, 0, 1)]
    assert bench.session.epoch == bench.now
    assert owner.moves == [AWAY]
    bench.hear(Control.HOLD, kind=FrameType.CONTROL, o=0, i=1, source=55, path=AWAY)
    assert owner.heard[-1] == Control.HOLD
