"""Encrypted sessions of IAX2: when encryption begins, RTKEY both ways, what in clear is worth, and a lost far end."""

from __future__ import annotations

import random

import pytest

from gateway.core import SECOND
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Command, Control, FrameType
from gateway.voip.iax.outstanding import MAX_OUTSTANDING
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_sessions import HERE, KEY, THEIRS, Bench, Owner, Watcher

NEW_KEY = bytes(range(100, 116))


def cipher(key: bytes = KEY) -> Cipher:
    return Cipher(key, random.Random(5))


def encrypted(*, rotate: bool = False) -> tuple[Bench, Watcher]:
    owner = Watcher()
    bench = Bench(owner)
    bench.up()
    bench.session.encrypt(KEY, KEY, bench.now, rotate=rotate)
    return bench, owner


def rtkey(key: bytes = NEW_KEY) -> Elements:
    return Elements().add(Ie.CHALLENGE, key)


def test_what_is_sent_after_the_keys_is_encrypted_and_what_went_before_is_repeated_in_clear() -> None:
    bench = Bench()
    bench.session.command(Command.NEW, bench.now)
    bench.hear(Command.AUTHREQ)
    bench.session.command(Command.PING, bench.now)
    bench.sent.clear()
    bench.session.encrypt(KEY, KEY, bench.now)
    bench.session.command(Command.AUTHREP, bench.now)
    ((_, data),) = bench.sent
    assert data[:4] == bytes((0x80, 7, 0, THEIRS))
    assert bench.frames(cipher())[0].subclass == Command.AUTHREP
    bench.run(600)
    (_, ping), (_, answer) = bench.sent
    assert ping[10:12] == bytes((FrameType.IAX, Command.PING))
    bench.sent = [(HERE, answer)]
    (again,) = bench.frames(cipher())
    assert again.subclass == Command.AUTHREP
    assert again.retransmitted


def test_a_repetition_is_not_the_same_octets() -> None:
    bench, _ = encrypted()
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.run(600)
    first, second = [data for _, data in bench.sent]
    assert first[4:20] != second[4:20]


def test_frames_that_the_key_opens_are_taken() -> None:
    bench, owner = encrypted()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, cipher=cipher())
    assert owner.heard == [Control.ANSWER]
    assert bench.names(cipher()) == ["ACK"]


def test_frames_of_another_key_are_not_taken_and_it_is_told() -> None:
    bench, owner = encrypted()
    for _ in range(50):
        bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=1, cipher=cipher(NEW_KEY))
    assert owner.heard == []
    assert owner.clear == []
    assert owner.unreadable == bench.session.malformed == 50
    assert bench.sent == []


def test_a_frame_in_clear_in_its_turn_is_told_and_not_taken() -> None:
    bench, owner = encrypted()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL)
    assert owner.heard == []
    assert [frame.subclass for frame in owner.clear] == [Control.ANSWER]


def test_what_was_sent_in_clear_before_may_come_once_more() -> None:
    bench, owner = encrypted()
    bench.hear(Command.ACCEPT, o=0)
    bench.hear(Command.ACK)
    assert owner.clear == []
    assert owner.unreadable == 0
    assert bench.sent == []


def test_a_stranger_s_frame_in_clear_is_no_matter() -> None:
    bench, owner = encrypted()
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=1, path=HERE._replace(address="198.51.100.1"))
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=1, source=THEIRS + 1)
    assert owner.clear == []
    assert owner.heard == []


def test_keys_have_sixteen_octets() -> None:
    bench = Bench()
    with pytest.raises(IaxError, match="16"):
        bench.session.encrypt(b"short", KEY, bench.now)


# -- RTKEY --


def test_a_new_key_of_the_far_end_s_is_for_what_it_sends_from_then_on() -> None:
    bench, owner = encrypted()
    bench.hear(Command.RTKEY, elements=rtkey(), cipher=cipher())
    assert owner.keys == [(KEY, NEW_KEY)]
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, cipher=cipher(NEW_KEY))
    assert owner.heard == [Control.ANSWER]
    # Ours is as it was.
    assert bench.names(cipher()) == ["ACK", "ACK"]


def test_what_the_far_end_repeats_has_its_old_key_and_is_acknowledged() -> None:
    bench, owner = encrypted()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, cipher=cipher())
    bench.hear(Command.RTKEY, elements=rtkey(), cipher=cipher())
    bench.sent.clear()
    bench.hear(Control.RINGING, kind=FrameType.CONTROL, o=1, cipher=cipher())
    assert bench.names(cipher()) == ["ACK"]
    assert owner.heard == [Control.RINGING]


def test_the_key_before_the_last_is_not_good_any_more() -> None:
    bench, owner = encrypted()
    bench.hear(Command.RTKEY, elements=rtkey(NEW_KEY), cipher=cipher())
    bench.hear(Command.RTKEY, elements=rtkey(bytes(16)), cipher=cipher(NEW_KEY))
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=3, cipher=cipher())
    assert owner.heard == []
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, cipher=cipher(bytes(16)))
    assert owner.heard == [Control.ANSWER]


def test_an_rtkey_that_is_none_changes_nothing() -> None:
    bench, owner = encrypted()
    bench.hear(Command.RTKEY, elements=rtkey(b"short"), cipher=cipher())
    bench.hear(Command.RTKEY, cipher=cipher())
    assert owner.keys == []
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, cipher=cipher())
    assert owner.heard == [Control.ANSWER]


def test_an_rtkey_in_a_call_in_clear_is_acknowledged_and_ignored() -> None:
    owner = Watcher()
    bench = Bench(owner)
    bench.up()
    bench.hear(Command.RTKEY, elements=rtkey())
    assert bench.names() == ["ACK"]
    assert owner.keys == []


def test_our_keys_change_at_times_that_nobody_can_foresee() -> None:
    times = set()
    for seed in range(8):
        owner = Watcher()
        bench = Bench(owner)
        bench.rng.seed(seed)
        bench.up()
        bench.session.encrypt(KEY, KEY, bench.now, rotate=True)
        begun = bench.now
        while not owner.keys:
            bench.run(100)
        assert 120 * SECOND <= bench.now - begun <= 300 * SECOND + 100_000
        times.add(bench.now)
    assert len(times) > 4


def test_our_rtkey_goes_with_the_old_key_and_all_after_it_with_the_new_one() -> None:
    bench, owner = encrypted(rotate=True)
    while not owner.keys:
        bench.run(100)
    (key, receive) = owner.keys[0]
    assert receive == KEY
    assert key != KEY
    bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    (_, rtkey_data), (_, digit) = bench.sent[:2]
    bench.sent = [(HERE, rtkey_data)]
    (frame,) = bench.frames(cipher())
    assert frame.subclass == Command.RTKEY
    assert frame.elements.raw(Ie.CHALLENGE) == key
    bench.sent = [(HERE, digit)]
    assert bench.frames(cipher(key))[0].subclass == ord("5")
    # Repeated, each has the key of its first time.
    bench.run(600)
    again = [data for _, data in bench.sent]
    bench.sent = [(HERE, again[0])]
    assert bench.frames(cipher())[0].subclass == Command.RTKEY
    bench.sent = [(HERE, again[1])]
    assert bench.frames(cipher(key))[0].subclass == ord("5")


def test_an_rtkey_is_repeated_soon_and_as_often_as_any_frame_besides() -> None:
    bench, owner = encrypted(rotate=True)
    while not owner.keys:
        bench.run(1)
    bench.sent.clear()
    bench.run(70)
    (again,) = bench.frames(cipher())
    assert (again.subclass, again.retransmitted) == (Command.RTKEY, True)
    begun = bench.now
    while not owner.ended:
        bench.run(100)
    assert 15 * SECOND < bench.now - begun < 16 * SECOND


def test_what_cannot_be_read_asks_for_the_rtkey_that_may_be_missing() -> None:
    owner = Owner()
    bench = Bench(owner)
    bench.up()
    bench.session.encrypt(KEY, KEY, bench.now)
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=2, cipher=cipher(NEW_KEY))
    assert bench.names(cipher()) == ["VNAK"]
    bench.hear(Command.RTKEY, o=1, elements=rtkey(), cipher=cipher())
    bench.hear(Control.ANSWER, kind=FrameType.CONTROL, o=2, cipher=cipher(NEW_KEY))
    assert owner.heard == [Control.ANSWER]


def test_what_another_key_makes_of_a_frame_is_hardly_ever_taken_for_one() -> None:
    bench, owner = encrypted()
    rng = random.Random(4)
    for _ in range(3000):
        data = bytes((0x80, THEIRS, 0, 7)) + rng.randbytes(32)
        bench.session.receive(data, HERE, bench.now)
    assert owner.heard == []
    assert owner.clear == []
    assert owner.ended == []
    assert bench.session.malformed == 3000
    assert bench.session.received == 1


def test_keys_do_not_change_in_front_of_what_waits_to_be_sent() -> None:
    owner = Watcher()
    bench = Bench(owner, timers={IaxTimer.KEY_LEAST: SECOND, IaxTimer.KEY_MOST: SECOND, IaxTimer.RETRIES: 10})
    bench.up()
    bench.session.encrypt(KEY, KEY, bench.now, rotate=True)
    for _ in range(MAX_OUTSTANDING + 1):
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    bench.run(1500)
    assert owner.keys == []
    bench.hear(Command.ACK, cipher=cipher())
    bench.run(1000)
    assert len(owner.keys) >= 1


def test_a_session_that_is_closed_changes_no_keys() -> None:
    bench, owner = encrypted(rotate=True)
    bench.session.close(bench.now)
    assert bench.timers == []
    bench.run(400_000)
    assert owner.keys == []


# -- INVAL, which nobody can encrypt who has forgotten the key --


def inval(bench: Bench) -> None:
    bench.hear(Command.INVAL, o=0, i=0, stamp=0)


def test_one_inval_in_clear_asks_and_ends_nothing() -> None:
    bench, owner = encrypted()
    inval(bench)
    assert bench.names(cipher()) == ["PING"]
    bench.hear(Command.ACK, cipher=cipher())
    bench.run(30_000)
    for _ in range(10):
        inval(bench)
    assert not owner.ended


def test_invals_end_the_session_if_nothing_else_is_heard() -> None:
    bench, owner = encrypted()
    inval(bench)
    for _ in range(2):
        assert not owner.ended
        bench.run(500)
        inval(bench)
    (ended,) = owner.ended
    assert "INVAL" in ended.text


def test_invals_between_which_the_far_end_is_heard_end_nothing() -> None:
    bench, owner = encrypted()
    for _ in range(10):
        inval(bench)
        bench.run(400)
        bench.hear(Command.ACK, cipher=cipher())
    assert not owner.ended


def test_an_encrypted_inval_is_believed() -> None:
    bench, owner = encrypted()
    bench.hear(Command.INVAL, o=1, cipher=cipher())
    assert len(owner.ended) == 1
