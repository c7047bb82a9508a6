"""Sessions of IAX2 take whatever comes."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.voip.iax.frame import Command, FrameType
from gateway.voip.iax.host import Path
from gateway.voip.iax.outstanding import MAX_OUTSTANDING
from gateway.voip.iax.session import MAX_FRAME
from tests.unit.voip.iax.iax_sessions import HERE, OURS, THEIRS, Bench, Watcher, owner_of


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(11), b"\x00" * 20, b"\x80\x09\x00\x08" + bytes(8)])
def test_what_is_no_frame_of_this_session_is_counted_and_dropped(data: bytes) -> None:
    bench = Bench()
    bench.up()
    bench.session.receive(data, HERE, bench.now)
    assert bench.session.malformed == 1
    assert bench.sent == []


def test_a_frame_that_is_too_long_is_not_looked_at() -> None:
    bench = Bench()
    bench.up()
    text = bytes(bench.frame(0, kind=FrameType.TEXT, o=1))
    bench.session.receive(text + b"x" * MAX_FRAME, HERE, bench.now)
    assert bench.session.malformed == 1
    bench.session.receive(text + b"x" * (MAX_FRAME - len(text)), HERE, bench.now)
    assert len(owner_of(bench).frames) == 1


def test_a_far_end_with_broken_elements_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.up()
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            bench.session.receive(bytes(bench.frame(Command.UNSUPPORT)) + b"\x17\x05\x01", HERE, bench.now)
    assert bench.session.malformed == 20
    assert len(caplog.records) == 1


def test_a_frame_with_broken_elements_is_acknowledged_and_does_no_harm() -> None:
    bench = Bench()
    bench.up()
    broken = bench.frame(Command.UNSUPPORT)
    data = bytes(broken) + b"\x17\x05\x01"
    bench.session.receive(data, HERE, bench.now)
    assert bench.names() == ["ACK"]
    assert bench.session.malformed == 1


@given(st.lists(st.binary(max_size=64), max_size=30), st.booleans())
def test_random_octets_never_raise_and_queues_stay_bounded(datagrams: list[bytes], encrypted: bool) -> None:
    bench = Bench(Watcher())
    bench.up()
    if encrypted:
        bench.session.encrypt(bytes(16), bytes(16), bench.now, rotate=True)
    head = bytes((0x80, THEIRS, 0, OURS))
    for data in datagrams:
        for datagram in (data, head + data):
            bench.session.receive(datagram, HERE, bench.now)
            bench.session.receive(datagram, Path(1, "198.51.100.1", 1), bench.now)
        bench.run(200)
    assert len(bench.session._outstanding.frames) <= MAX_OUTSTANDING


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 14), st.integers(0, 45)), max_size=60)
)
def test_frames_with_any_numbers_never_raise(numbers: list[tuple[int, int, int, int]]) -> None:
    bench = Bench(Watcher())
    bench.up()
    for o, i, kind, subclass in numbers:
        bench.hear(subclass, kind=kind, o=o, i=i)
        bench.session.send(FrameType.DTMF, ord("5"), bench.now)
    told = [frame.oseqno for frame in owner_of(bench).frames]
    # Whatever came, what is told is told in its turn.
    assert told == sorted(told)
