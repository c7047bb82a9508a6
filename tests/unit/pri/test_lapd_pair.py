"""Two LAPD ends on a line that loses, damages, repeats and delays frames, and that is cut, in virtual time."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pri.lapd import Data, Established, Lapd, LapdTimer, MdlError, Output, Released, Side, State, Transmit
from gateway.pri.span.faults import FaultInjector, FaultRates
from tests.unit.pri.lapd_far_end import SECOND, frame

DELAY = 5_000


class End:
    """One end with a layer 3 that numbers its messages, and believes in the link between Established and Released."""

    def __init__(self, side: Side, timers: dict[LapdTimer, int]) -> None:
        self.link = Lapd(side, timers=timers, name=side.value)
        self.next = 0
        self.outstanding: list[int] = []
        self.received: list[int] = []
        self.up = False
        self.reports = 0

    def send(self, now: int) -> None:
        if self.link.send(self.next.to_bytes(4, "big"), now):
            self.outstanding.append(self.next)
            self.next += 1

    def take(self, output: Output) -> None:
        match output:
            case Established():
                self.up = True
                self.reports += 1
                self.outstanding.clear()
            case Released():
                self.up = False
                self.reports += 1
                self.outstanding.clear()
            case Data(data):
                assert self.up, "data without a link"
                self.received.append(int.from_bytes(data, "big"))
            case MdlError(code, text):
                assert text
                assert code in "ABCDEFGHIJKLMNO"


class World:
    """Both ends, the line between them, and the time."""

    def __init__(self, seed: int, rates: FaultRates, k: int = 7) -> None:
        timers = {LapdTimer.K: k}
        self.rng = random.Random(seed)
        self.ends = (End(Side.USER, timers), End(Side.NETWORK, timers))
        self.faults = [FaultInjector(rates, self.rng) for _ in self.ends]
        self.line: list[tuple[int, int, int, bytes]] = []
        self.serial = 0
        self.now = 0
        self.connected = True

    def drain(self) -> None:
        for index, end in enumerate(self.ends):
            while (output := end.link.poll()) is not None:
                if not isinstance(output, Transmit):
                    end.take(output)
                elif self.connected:
                    for when, octets in self.faults[index].carry(output.frame, self.now):
                        self.serial += 1
                        heapq.heappush(self.line, (when + DELAY, self.serial, 1 - index, octets))

    def step(self, until: int) -> bool:
        """On to the next thing that happens before ``until``; False when there is none."""
        due = [at for end in self.ends if (at := end.link.next_timer()) is not None]
        if self.line:
            due.append(self.line[0][0])
        if not due or min(due) > until:
            self.now = until
            return False
        self.now = max(self.now, min(due))
        while self.line and self.line[0][0] <= self.now:
            _, _, index, octets = heapq.heappop(self.line)
            self.ends[index].link.receive(octets, self.now)
            self.drain()
        for end in self.ends:
            at = end.link.next_timer()
            if at is not None and at <= self.now:
                end.link.handle_timer(self.now)
                at = end.link.next_timer()
                assert at is None or at > self.now, "a timer that is due was not served"
        self.drain()
        return True

    def run(self, duration: int) -> None:
        until = self.now + duration
        while self.step(until):
            pass

    def start(self) -> None:
        for end in self.ends:
            end.link.activate(self.now)
            end.link.establish(self.now)
        self.drain()

    def cut(self, cut: bool) -> None:
        self.connected = not cut
        self.line.clear()
        for end in self.ends:
            (end.link.deactivate if cut else end.link.activate)(self.now)
        self.drain()

    def check_settled(self) -> None:
        """On a good line now: the link is up, and what was sent since the last report has arrived."""
        for faults in self.faults:
            faults.rates = FaultRates()
        self.run(60 * SECOND)
        if any(end.link.state is State.TIMER_RECOVERY for end in self.ends):
            # T203 came just now, on an idle link.
            self.run(3 * DELAY)
        for end, other in (self.ends, self.ends[::-1]):
            assert end.link.state is State.MULTIPLE_FRAME_ESTABLISHED
            assert end.up
            assert not end.link.queue
            assert not end.link.sent
            assert not set(end.outstanding) - set(other.received)

    def check_order(self) -> None:
        for end in self.ends:
            assert all(a < b for a, b in zip(end.received, end.received[1:], strict=False)), "twice or out of order"


def talk(world: World, seconds: int, rate: float, cuts: float = 0.0) -> None:
    for _ in range(seconds * 10):
        for end in world.ends:
            for _ in range(world.rng.randint(0, 3)):
                if world.rng.random() < rate:
                    end.send(world.now)
        world.drain()
        if world.rng.random() < cuts:
            world.cut(True)
            world.run(world.rng.randint(0, 3 * SECOND))
            world.cut(False)
        world.run(SECOND // 10)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lose", [0.02, 0.1, 0.4])
def test_on_a_lossy_line_all_arrives_in_order_once_or_a_reset_is_reported(seed: int, lose: float) -> None:
    world = World(seed, FaultRates(lose=lose))
    world.start()
    talk(world, 20, 0.5)
    world.check_order()
    world.check_settled()
    world.check_order()
    sent = sum(end.next for end in world.ends)
    received = sum(len(end.received) for end in world.ends)
    if lose < 0.05:
        assert sent > 200
        assert received > sent * 0.9


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [1, 7, 127])
def test_losses_repetitions_delays_and_cuts(seed: int, k: int) -> None:
    world = World(seed, FaultRates(lose=0.05, duplicate=0.05, delay=0.1, delay_time=300_000), k)
    world.start()
    talk(world, 30, 0.4, cuts=0.01)
    world.check_order()
    world.check_settled()
    world.check_order()


@pytest.mark.parametrize("seed", range(10))
def test_a_line_that_damages_frames_unnoticed_never_breaks_the_machine(seed: int) -> None:
    # What a real line's FCS would catch: content may be wrong then, but the link has to come back.
    world = World(seed, FaultRates(corrupt=0.2, lose=0.1))
    world.start()
    for _ in range(300):
        for end in world.ends:
            end.link.send(b"1", world.now)
        world.drain()
        world.run(SECOND // 10)
    for end in world.ends:
        end.outstanding.clear()
    world.check_settled()


def test_a_good_line_needs_no_repair() -> None:
    world = World(1, FaultRates())
    world.start()
    talk(world, 30, 0.9)
    world.run(SECOND)
    for end, other in (world.ends, world.ends[::-1]):
        assert other.received == list(range(end.next))
        assert not end.link.statistics.mdl_errors
        assert end.link.statistics.retransmissions == 0
        assert end.link.statistics.rej_out == 0
        assert end.reports == 1


def test_both_ends_may_establish_at_once() -> None:
    world = World(1, FaultRates())
    world.start()
    world.run(SECOND)
    for end in world.ends:
        assert end.up
        assert end.link.statistics.sabme_out == 1


def test_one_lost_frame_is_repaired_within_one_t200() -> None:
    world = World(1, FaultRates())
    world.start()
    world.run(SECOND)
    user, network = world.ends
    user.send(world.now)
    while user.link.poll() is not None:
        """Lost."""
    world.run(SECOND + 3 * DELAY)
    assert network.received == [0]
    assert user.link.state is State.MULTIPLE_FRAME_ESTABLISHED


def test_a_restarted_end_gets_its_link_back_without_waiting() -> None:
    world = World(1, FaultRates())
    world.start()
    world.run(5 * SECOND)
    fresh = End(Side.USER, {})
    world.ends = (fresh, world.ends[1])
    fresh.link.activate(world.now)
    fresh.link.establish(world.now)
    world.drain()
    world.run(3 * DELAY)
    assert fresh.up
    assert world.ends[1].link.statistics.mdl_errors == {"F": 1}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 3 * SECOND)), max_size=40), st.sampled_from(State))
def test_random_octets_never_raise_and_never_stop_the_link(rubbish: list[tuple[bytes, int]], state: State) -> None:
    link = Lapd(Side.USER)
    now = 0
    link.activate(now)
    link.establish(now)
    if state is not State.AWAITING_ESTABLISHMENT:
        link.receive(frame("r:UA F", Side.NETWORK), now)
    if state is State.TIMER_RECOVERY:
        now = 10 * SECOND
        link.handle_timer(now)
    for tail, pause in rubbish:
        for octets in (tail, b"\x02\x01" + tail, b"\x00\x01" + tail):
            link.receive(octets, now)
            while link.poll() is not None:
                """Drained."""
        now += pause
        at = link.next_timer()
        if at is not None and at <= now:
            link.handle_timer(now)
    while link.state is not State.AWAITING_ESTABLISHMENT:
        at = link.next_timer()
        assert at is not None
        link.handle_timer(max(at, now))
    link.receive(frame("r:UA F", Side.NETWORK), now)
    assert link.established
