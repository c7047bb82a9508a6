"""What goes wrong on a line: loss, cuts, alarms, restarts of an end. Afterwards everything works again by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number
from gateway.leg import Alerting, Answered, Leg, LegEvent, Offered, Proceeding, Released, Setup
from gateway.pri.channels import Block, ChannelState
from gateway.pri.leg import PriLeg
from gateway.pri.q931.call import Q931Call
from gateway.pri.q931.message import CallReference, Message
from gateway.pri.q931.states import State
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import ChannelFreed, LinkDown, LinkUp, Maintenance, PriSettings
from tests.unit.pri.pri_pair import CLEARED, T1_NI2, End, Heard, Pair

E1_EURO = PriSettings("user", lambda timeslot: f"u/{timeslot}", context="from-pstn", overlap_receive=True)


def released(leg: PriLeg) -> Released | None:
    assert isinstance(leg.listener, Heard)
    return leg.listener.released


def test_link_comes_up_and_says_so() -> None:
    pair = Pair()
    for end in pair.ends:
        assert end.trunk.up
        assert [note for note in end.notes if isinstance(note, LinkUp)] == [LinkUp(end.trunk.name, False)]
    pair.check_nothing_left()


@pytest.mark.parametrize("alarm", [Alarm.RED, Alarm.YELLOW, Alarm.BLUE])
def test_active_calls_survive_a_short_alarm_and_others_do_not(alarm: Alarm) -> None:
    pair = Pair()
    active, other = pair.establish(pair.user)
    ringing, _ = pair.user.new_leg()
    ringing.place(Setup(Number("1")), pair.now)
    pair.settle()
    pair.alarm(alarm)
    assert [type(note) for end in pair.ends for note in end.notes].count(LinkDown) == 2
    ended = released(ringing)
    assert ended is not None
    assert ended.cause is Cause.DESTINATION_OUT_OF_ORDER
    assert pair.user.trunk.new_leg(None, pair.now) is Cause.NETWORK_OUT_OF_ORDER
    pair.seconds(30)
    pair.alarm(Alarm.NONE)
    pair.seconds(2)
    assert active.call.state is other.call.state is State.ACTIVE
    assert released(active) is None
    active.release(CLEARED, pair.now)
    pair.seconds(2)
    assert released(other) is not None
    pair.check_nothing_left()


@pytest.mark.parametrize("settings", [E1_EURO, T1_NI2], ids=lambda settings: settings.switch_type)
def test_alarm_longer_than_t309_ends_the_calls_and_blocks_nothing_for_ever(settings: PriSettings) -> None:
    pair = Pair(settings)
    active, other = pair.establish(pair.user)
    pair.alarm(Alarm.RED)
    assert pair.user.trunk.channels.count(ChannelState.BLOCKED) == len(pair.user.trunk.channels) - 1
    pair.seconds(91)
    for leg in (active, other):
        ended = released(leg)
        assert ended is not None
        assert ended.cause is Cause.DESTINATION_OUT_OF_ORDER
    pair.seconds(3600)
    pair.alarm(Alarm.NONE)
    pair.seconds(5)
    pair.check_nothing_left()
    pair.establish(pair.network)


def test_d_channel_that_dies_without_an_alarm_is_noticed_and_comes_back() -> None:
    pair = Pair()
    active, _ = pair.establish(pair.user)
    pair.cut = True
    pair.seconds(30)
    assert not pair.user.trunk.up
    assert not pair.network.trunk.up
    pair.cut = False
    pair.seconds(10)
    assert active.call.state is State.ACTIVE
    active.release(CLEARED, pair.now)
    pair.seconds(5)
    pair.check_nothing_left()


def test_call_hung_up_during_an_alarm_is_over_at_once_and_at_the_far_end_when_the_line_is_back() -> None:
    pair = Pair()
    active, other = pair.establish(pair.user)
    pair.alarm(Alarm.RED)
    active.release(CLEARED, pair.now)
    pair.seconds(0)
    assert released(active) is not None
    assert released(other) is None
    pair.seconds(20)
    pair.alarm(Alarm.NONE)
    pair.seconds(2)
    assert released(other) is not None
    pair.check_nothing_left()


def test_line_that_bounces_every_second_leaves_nothing_behind() -> None:
    pair = Pair(E1_EURO, seed=3)
    for _ in range(30):
        pair.alarm(Alarm.RED)
        pair.seconds(0.7)
        pair.alarm(Alarm.NONE)
        pair.seconds(0.3)
        if pair.user.trunk.up and pair.network.trunk.up:
            leg, _ = pair.user.new_leg()
            leg.place(Setup(Number("1")), pair.now)
            pair.settle()
    pair.seconds(200)
    for end in pair.ends:
        for leg in tuple(end.trunk.legs.values()):
            leg.release(CLEARED, pair.now)
    pair.seconds(100)
    pair.check_nothing_left()


@pytest.mark.parametrize("from_user", [True, False])
@pytest.mark.parametrize("settings", [E1_EURO, T1_NI2], ids=lambda settings: settings.switch_type)
def test_end_that_starts_afresh_clears_the_calls_of_the_other(settings: PriSettings, from_user: bool) -> None:
    pair = Pair(settings)
    leg, other = pair.establish(pair.user)
    end, survivor, kept = (pair.user, pair.network, other) if from_user else (pair.network, pair.user, leg)
    fresh = End(pair, end.trunk.settings, 99)
    if from_user:
        pair.user = fresh
    else:
        pair.network = fresh
    pair.ends = (pair.user, pair.network)
    fresh.trunk.line_state(Alarm.NONE, pair.now)
    pair.seconds(10)
    assert released(kept) is not None
    assert survivor.trunk.up
    pair.check_nothing_left()
    pair.establish(pair.user)


def test_loss_of_every_status_answer_clears_the_call_with_41() -> None:
    pair = Pair()
    active, _ = pair.establish(pair.user)
    active.call.enquire()
    # The far end is there but never answers.
    pair.network.trunk.q931.handlers = {**pair.network.trunk.q931.handlers, 0x75: lambda call, message: None}
    pair.seconds(20)
    ended = released(active)
    assert ended is not None
    assert ended.cause is Cause.TEMPORARY_FAILURE
    pair.check_nothing_left()


# -- operator and audit --


def test_blocked_channel_is_not_used_until_it_is_unblocked() -> None:
    pair = Pair(replace(E1_EURO, timeslots=(1, 2)))
    pair.user.trunk.block(1, pair.now)
    leg, _ = pair.user.new_leg()
    assert leg.record()["channel"] == 2
    assert pair.user.trunk.new_leg(None, pair.now) is Cause.NO_CIRCUIT_AVAILABLE
    pair.user.trunk.unblock(1, pair.now)
    other, _ = pair.user.new_leg()
    assert other.record()["channel"] == 1


def test_ni2_tells_the_far_end_of_a_block() -> None:
    pair = Pair(T1_NI2)
    pair.user.trunk.block(4, pair.now)
    pair.settle()
    channel = pair.network.trunk.channels.get(4)
    assert channel is not None
    assert channel.block is Block.REMOTE
    pair.user.trunk.unblock(4, pair.now)
    pair.settle()
    pair.check_nothing_left()


def test_block_of_the_far_end_does_not_outlive_the_link() -> None:
    pair = Pair(T1_NI2)
    pair.network.trunk.channels.block(Block.REMOTE, 4)
    pair.alarm(Alarm.RED)
    pair.alarm(Alarm.NONE)
    pair.seconds(2)
    pair.check_nothing_left()


def test_restart_of_one_channel_ends_its_call_on_both_sides() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    kept, _ = pair.establish(pair.user)
    pair.user.trunk.restart(1, pair.now)
    pair.settle()
    assert released(leg) is not None
    assert released(other) is not None
    assert released(kept) is None
    kept.release(CLEARED, pair.now)
    pair.settle()
    pair.check_nothing_left()


def test_channel_whose_release_is_never_confirmed_is_told_and_used_again() -> None:
    pair = Pair()
    leg, other = pair.establish(pair.user)
    calls = pair.network.trunk.q931.calls
    # The far end takes no notice of anything that is said of this call.
    calls[other.call.key] = Mute(pair.network.trunk.q931, other.call.reference.answer(), originated=False)
    leg.release(CLEARED, pair.now)
    pair.seconds(39)
    assert released(leg) is not None
    assert any(isinstance(note, Maintenance) and note.timeslots == (1,) for note in pair.user.notes)
    assert pair.user.trunk.channels.count(ChannelState.IDLE) == 30


class Mute(Q931Call):
    """A call of a far end that has lost its mind."""

    __slots__ = ()

    def receive(self, message: Message) -> None:
        """Nothing."""


def test_audit_frees_what_nobody_has() -> None:
    pair = Pair()
    trunk = pair.user.trunk
    call = Q931Call(trunk.q931, CallReference(9), originated=True)
    call.channel = trunk.channels.seize(3, call)
    call.released = True
    trunk.channels.seize(4, "a placeholder of a group")
    trunk.channels.block(Block.RESTART, 5)
    trunk.channels.block(Block.LAYER1, 6)
    lost = trunk.q931.new_call(trunk.settings.hunt)
    assert isinstance(lost, Q931Call)
    pair.seconds(61)
    freed = {note.timeslot for note in pair.user.notes if isinstance(note, ChannelFreed)}
    assert freed == {3, 5, 6}
    pair.seconds(60)
    freed = {note.timeslot for note in pair.user.notes if isinstance(note, ChannelFreed)}
    assert freed == {3, 4, 5, 6}
    pair.check_nothing_left()


def test_restart_without_answer_is_told_to_management() -> None:
    pair = Pair()
    pair.network.trunk.q931.restarts.receive = lambda message: None  # type: ignore[method-assign]
    pair.user.trunk.restart(None, pair.now)
    pair.seconds(241)
    assert any(isinstance(note, Maintenance) and "RESTART" in note.text for note in pair.user.notes)
    pair.check_nothing_left()


# -- a day on a bad line --

TIMER_CAUSES = (Cause.NO_USER_RESPONDING, Cause.RECOVERY_ON_TIMER_EXPIRY)


@dataclass
class Story:
    """One call as both ends saw it, told apart by its called number."""

    caller: Heard
    called: Heard | None = None
    released_by: str | None = None
    cause: Cause | None = None
    reactions: list[str] = field(default_factory=list)


class Day:
    """Random calls between two trunks; whoever is called answers, refuses or lets it ring, and either hangs up."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.rng = random.Random(seed)
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self.stories: dict[str, Story] = {}
        self.serial = 0
        for end in pair.ends:
            end.on_offer = self._offered

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        self.serial += 1
        self.agenda.append((self.pair.now + int(seconds * SECOND), self.serial, action))
        self.agenda.sort(key=lambda entry: entry[:2])

    def run(self, seconds: float) -> None:
        until = self.pair.now + int(seconds * SECOND)
        while self.agenda and self.agenda[0][0] <= until:
            at, _, action = self.agenda.pop(0)
            self.pair.run(max(0, at - self.pair.now))
            action()
            self.pair.settle()
        self.pair.run(until - self.pair.now)

    def call(self) -> None:
        end = self.rng.choice(self.pair.ends)
        leg = end.trunk.new_leg(None, self.pair.now)
        if isinstance(leg, Cause):
            return
        number = f"5{len(self.stories):06d}"
        heard = Heard()
        leg.listener = heard
        self.stories[number] = Story(heard)
        if self.rng.random() < 0.3:
            leg.place(Setup(Number(number[:3]), complete=False), self.pair.now)
            for index, digit in enumerate(number[3:]):
                last = index == 3
                self.at(0.1 + index * 0.1, lambda d=digit, e=last: leg.digits(d, e, self.pair.now))  # type: ignore[misc]
        else:
            leg.place(Setup(Number(number)), self.pair.now)
        if self.rng.random() < 0.3:
            self.at(self.rng.random() * 8, lambda: self._hang_up(leg, number, "caller"))

    def _hang_up(self, leg: Leg, number: str, by: str, cause: Cause = CLEARED) -> None:
        assert isinstance(leg, PriLeg)
        story = self.stories.get(number)
        if not leg.over and story is not None and story.released_by is None:
            story.released_by, story.cause = by, cause
        leg.release(cause, self.pair.now)

    def _offered(self, leg: Leg, offered: Offered, now: int) -> None:
        assert isinstance(leg, PriLeg)
        digits = [offered.setup.called.digits]

        def react(leg: Leg, event: LegEvent, now: int) -> None:
            more = getattr(event, "digits", "")
            digits[0] += more
            if (more or getattr(event, "complete", False)) and len(digits[0]) >= 7:
                self._decide(leg, digits[0])

        heard = leg.listener
        assert isinstance(heard, Heard)
        heard.react = react
        if offered.setup.complete or len(digits[0]) >= 7:
            self._decide(leg, digits[0])

    def _decide(self, leg: Leg, number: str) -> None:
        story = self.stories.get(number)
        assert isinstance(leg, PriLeg)
        assert isinstance(leg.listener, Heard)
        if story is None or story.called is not None:
            return
        story.called = leg.listener
        choice = self.rng.random()
        if choice < 0.2:
            self._hang_up(leg, number, "called", Cause.USER_BUSY)
            return
        leg.proceed(self.pair.now)
        if choice < 0.4:
            self.at(self.rng.random() * 2, lambda: self._hang_up(leg, number, "called", Cause.NO_ANSWER_FROM_USER))
            return
        self.at(self.rng.random(), lambda: leg.alert(self.rng.random() < 0.5, self.pair.now))
        self.at(1 + self.rng.random(), lambda: leg.answer(None, self.pair.now))
        self.at(2 + self.rng.random() * 8, lambda: self._hang_up(leg, number, "called"))

    def finish(self) -> None:
        self.agenda.clear()
        for end in self.pair.ends:
            for leg in tuple(end.trunk.legs.values()):
                leg.release(CLEARED, self.pair.now)
        self.pair.loss = 0
        if self.pair.cut:
            self.pair.alarm(Alarm.NONE)
        self.pair.seconds(300)

    def check(self, *, agree: bool) -> None:
        self.pair.check_nothing_left()
        for number, story in self.stories.items():
            assert story.caller.released is not None, number
            kinds = [type(event) for event in story.caller.spoken]
            assert kinds.count(Released) == 1
            assert kinds.count(Answered) <= 1
            order = [kind for kind in kinds if kind in (Proceeding, Alerting, Answered)]
            assert order == sorted(order, key=[Proceeding, Alerting, Answered].index)
            for heard in (story.caller, story.called):
                assert heard is None or heard.released is not None
            if agree and story.called is not None and story.called.released is not None:
                ours, theirs = story.caller.released, story.called.released
                crossed = ours.ours and theirs.ours
                # A timer of a stalled line may go off while the far end's word is on its way.
                if not crossed and ours.cause not in TIMER_CAUSES:
                    assert ours.cause is theirs.cause, (number, ours, theirs)


@pytest.mark.parametrize("seed", range(12))
def test_calls_over_a_line_that_loses_frames_end_the_same_at_both_ends(seed: int) -> None:
    settings = (E1_EURO, replace(E1_EURO, overlap_send=True), T1_NI2)[seed % 3]
    pair = Pair(settings, seed=seed, loss=0.05, delay=10 * MILLISECOND)
    day = Day(pair, seed)
    for _ in range(60):
        day.at(day.rng.random() * 20, day.call)
    day.run(40)
    day.finish()
    assert pair.lost > 10
    assert len(day.stories) > 40
    day.check(agree=True)


@pytest.mark.parametrize("seed", range(12))
def test_calls_over_a_line_that_is_cut_leave_nothing_behind(seed: int) -> None:
    settings = (E1_EURO, T1_NI2)[seed % 2]
    pair = Pair(settings, seed=seed, loss=0.02, delay=10 * MILLISECOND)
    day = Day(pair, seed)
    for _ in range(60):
        day.at(day.rng.random() * 60, day.call)
    for _ in range(4):
        cut = day.rng.random() * 55
        length = day.rng.choice([0.1, 1, 8, 20])
        if day.rng.random() < 0.5:
            day.at(cut, lambda: pair.alarm(Alarm.RED))
            day.at(cut + length, lambda: pair.alarm(Alarm.NONE))
        else:
            day.at(cut, lambda: setattr(pair, "cut", True))
            day.at(cut + length, lambda: setattr(pair, "cut", False))
    day.run(100)
    day.finish()
    day.check(agree=False)
    pair.establish(pair.user)
