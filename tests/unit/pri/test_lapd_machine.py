"""LAPD against any sequence of frames, requests and timers: what has to hold in each state holds after each event."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.pri.lapd import Data, Established, Lapd, LapdTimer, Released, Side, State, Transmit
from gateway.pri.lapd.frames import Frame, FrameType, encode, encode_address
from gateway.pri.lapd.link import DataLink
from tests.unit.pri.lapd_far_end import SECOND


class LapdMachine(RuleBasedStateMachine):
    """One end; the far end says whatever hypothesis likes."""

    @initialize(side=st.sampled_from(Side), k=st.sampled_from([1, 2, 7]), persistent=st.booleans())
    def make(self, side: Side, k: int, persistent: bool) -> None:
        self.side = side
        self.k = k
        self.link = Lapd(side, timers={LapdTimer.K: k}, persistent=persistent)
        self.now = 0
        self.up = False
        self.link.activate(0)

    @rule()
    def establish(self) -> None:
        self.link.establish(self.now)
        self.drain()

    @rule()
    def bring_up(self) -> None:
        """The straight way, as hypothesis rarely finds it."""
        self.link.activate(self.now)
        self.link.establish(self.now)
        self.hear(Frame(FrameType.UA, True), False)

    @rule()
    def release(self) -> None:
        self.link.release(self.now)
        self.drain()

    @rule(count=st.integers(1, 10))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.link.send(b"x", self.now)
        self.drain()

    @rule(busy=st.booleans())
    def receiver_busy(self, busy: bool) -> None:
        self.link.receiver_busy(busy, self.now)
        self.drain()

    @rule(up=st.booleans())
    def layer1(self, up: bool) -> None:
        (self.link.activate if up else self.link.deactivate)(self.now)
        self.drain()

    @rule(kind=st.sampled_from(FrameType), command=st.booleans(), pf=st.booleans(), ns=st.integers(-1, 1))
    def frame_with_likely_numbers(self, kind: FrameType, command: bool, pf: bool, ns: int) -> None:
        supervisory = kind is FrameType.I or kind & 3 == 1
        information = bytes(5) if kind is FrameType.FRMR else b"i" if kind is FrameType.I else b""
        self.hear(
            Frame(
                kind,
                pf,
                (self.link.vr + ns) % 128 if kind is FrameType.I else 0,
                self.link.vs if supervisory else 0,
                information,
            ),
            command,
        )

    @rule(kind=st.sampled_from([FrameType.I, FrameType.RR, FrameType.REJ, FrameType.RNR]), nr=st.integers(0, 127))
    def frame_with_any_numbers(self, kind: FrameType, nr: int) -> None:
        self.hear(Frame(kind, False, self.link.vr if kind is FrameType.I else 0, nr), True)

    @rule(
        kind=st.sampled_from([FrameType.RR, FrameType.REJ, FrameType.RNR]), final=st.booleans(), back=st.integers(0, 7)
    )
    def acknowledgement(self, kind: FrameType, final: bool, back: int) -> None:
        back = min(back, (self.link.vs - self.link.va) % 128)
        self.hear(Frame(kind, final, 0, (self.link.vs - back) % 128), False)

    @rule(octets=st.binary(max_size=12))
    def rubbish(self, octets: bytes) -> None:
        self.link.receive(octets, self.now)
        self.drain()

    @rule()
    def next_timer(self) -> None:
        at = self.link.next_timer()
        if at is not None:
            self.now = max(self.now, at)
            self.link.handle_timer(self.now)
            self.drain()

    @rule(pause=st.integers(0, SECOND))
    def wait(self, pause: int) -> None:
        at = self.link.next_timer()
        self.now = self.now + pause if at is None else min(self.now + pause, at)

    def hear(self, frame: Frame, command: bool) -> None:
        cr = command is (self.side is Side.USER)
        self.link.receive(encode(encode_address(0, 0, cr), frame), self.now)
        self.drain()

    def drain(self) -> None:
        for _ in range(1000):
            output = self.link.poll()
            match output:
                case None:
                    return
                case Established():
                    self.up = True
                case Released():
                    self.up = False
                case Data():
                    assert self.up
                case Transmit(octets):
                    assert len(octets) >= 3
        raise AssertionError("poll does not end")

    @invariant()
    def window(self) -> None:
        link = self.link
        assert len(link.sent) == (link.vs - link.va) % 128 <= self.k

    @invariant()
    def timers(self) -> None:
        """Which timer runs in which state; a stuck link would be one where none does."""
        link: DataLink = self.link
        running = (link.t200_at is not None, link.t203_at is not None)
        match link.state:
            case State.TEI_ASSIGNED:
                assert running == (False, False)
                assert (link.retry_at is not None) is (link.wanted and link.active and link.persistent)
            case State.MULTIPLE_FRAME_ESTABLISHED:
                assert running in ((True, False), (False, True))
                assert not link.sent or running[0]
            case _:
                assert running == (True, False)
        assert link.retry_at is None or link.state is State.TEI_ASSIGNED

    @invariant()
    def layer_3_knows(self) -> None:
        link = self.link
        if link.established:
            assert self.up
        if link.state is State.TEI_ASSIGNED:
            assert not self.up
            assert not link.queue

    @invariant()
    def all_is_sent_that_can_be(self) -> None:
        link = self.link
        if link.state is State.MULTIPLE_FRAME_ESTABLISHED and link.queue:
            assert link.peer_receiver_busy or len(link.sent) == self.k

    @invariant()
    def nothing_is_sent_on_a_dead_line(self) -> None:
        assert self.link.active or self.link.state is State.TEI_ASSIGNED


LapdMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLapdMachine = LapdMachine.TestCase


def test_the_machine_refuses_a_transition_that_q921_does_not_have() -> None:
    link = Lapd(Side.USER)
    with pytest.raises(AssertionError, match="TEI_ASSIGNED -> TIMER_RECOVERY"):
        link.set_state(State.TIMER_RECOVERY)
