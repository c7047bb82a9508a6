"""Calls over a network that loses 5 %, doubles and reorders: both sides end, digits arrive once and in order."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.leg import Held, Resumed
from gateway.voip.iax.peers import CallTokens, Encryption, IaxSettings, PeerSettings
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_scene import BAD_NETWORK, Faults, Notes, Scene, hang_up, simple_setup

WORSE = Faults(loss=0.25, duplicate=0.2, delay=20 * MILLISECOND, jitter=300 * MILLISECOND)
FOREVER = 300.0
slow = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


def encrypted(owner: str, peer: PeerSettings) -> PeerSettings:
    return replace(peer, encryption=Encryption.REQUIRED)


def tokenless(owner: str, peer: PeerSettings) -> PeerSettings:
    return replace(peer, calltokens=CallTokens.NO)


def plain(owner: str, peer: PeerSettings) -> PeerSettings:
    return peer


def often(owner: str, whole: IaxSettings) -> IaxSettings:
    """Keys change every second or two."""
    timers = {IaxTimer.KEY_LEAST: 1_000_000, IaxTimer.KEY_MOST: 2_000_000, IaxTimer.PING: 3_000_000}
    return replace(whole, timers=timers)


def test_a_call_without_faults_says_no_more_than_it_must() -> None:
    scene = Scene()
    leg, _, far, _ = scene.answered()
    scene.talk(("a", leg), ("b", far))
    assert (scene.heard("a", leg), scene.heard("b", far)) == ("b", "a")
    hang_up(leg, scene)
    scene.assert_clean()
    # NEW twice (the call token), the challenge, ACCEPT, PROCEEDING, RINGING, ANSWER, two voices, HANGUP; and ACKs.
    assert len(scene.wire) <= 22, scene.ladder()


@pytest.mark.parametrize("peer", [plain, tokenless, encrypted])
@slow
@given(seed=st.integers(0, 2**32), digits=st.text("0123456789*#ABCD", max_size=20))
def test_digits_arrive_once_and_in_order_whatever_the_network_does(peer: object, seed: int, digits: str) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK, peer=peer)  # type: ignore[arg-type]
    leg, notes, far, far_notes = scene.answered(seconds=FOREVER)
    for digit in digits:
        leg.keypad(digit, 100, scene.now)
        far.keypad(digit, 100, scene.now)
        scene.run(0.03)
    scene.run(FOREVER, until=lambda: len(notes.keys) >= len(digits) <= len(far_notes.keys))
    scene.run(1)
    assert (notes.keys, far_notes.keys) == (digits, digits)
    hang_up(leg, scene)
    scene.assert_clean()
    assert_ended(notes, far_notes)


@slow
@given(seed=st.integers(0, 2**32), by_caller=st.booleans())
def test_the_cause_arrives_whatever_the_network_does(seed: int, by_caller: bool) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK)
    leg, notes, far, far_notes = scene.answered(seconds=FOREVER)
    hang_up(leg if by_caller else far, scene, Cause.SUBSCRIBER_ABSENT)
    scene.assert_clean()
    other = far_notes if by_caller else notes
    assert other.released is not None
    assert other.released.cause is Cause.SUBSCRIBER_ABSENT


@slow
@given(seed=st.integers(0, 2**32), cause=st.sampled_from([Cause.USER_BUSY, Cause.NO_CIRCUIT_AVAILABLE]))
def test_a_refused_call_ends_on_both_sides(seed: int, cause: Cause) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK)
    _, notes = scene.place()
    scene.run(FOREVER, until=lambda: bool(scene["b"].offers))
    far, _, far_notes = scene["b"].offers[0]
    far.release(cause, scene.now)
    scene.assert_clean()
    assert_ended(notes, far_notes)
    assert notes.released is not None
    assert notes.released.cause is cause


@slow
@given(seed=st.integers(0, 2**32))
def test_holds_arrive_in_order(seed: int) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK)
    leg, _, _, far_notes = scene.answered(seconds=FOREVER)
    for _ in range(3):
        leg.hold(scene.now)
        scene.run(0.01)
        leg.resume(scene.now)
    scene.run(20)
    changes = [each for each in far_notes.names() if each in (Held.__name__, Resumed.__name__)]
    assert changes == ["Held", "Resumed"] * 3
    hang_up(leg, scene)
    scene.assert_clean()


@slow
@given(seed=st.integers(0, 2**32))
def test_voice_that_must_arrive_arrives_and_keys_that_change_hinder_nothing(seed: int) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK, peer=encrypted, whole=often)
    leg, notes, far, far_notes = scene.answered(seconds=FOREVER)
    for _ in range(8):
        leg.keypad("5", 100, scene.now)
        scene.talk(("a", leg), ("b", far), packets=5)
        scene.run(1)
    scene.run(5)
    assert far_notes.keys == "5" * 8
    assert (scene.heard("a", leg), scene.heard("b", far)) == ("b", "a")
    keys = {each.send_key for _, each in scene["a"].media.history}
    assert len(keys) > 3
    hang_up(far, scene)
    scene.assert_clean()
    assert_ended(notes, far_notes)


@slow
@given(seed=st.integers(0, 2**32), data=st.data())
def test_both_sides_may_end_at_any_moment(seed: int, data: st.DataObject) -> None:
    """Nothing is left, whoever ends when; on a network that is worse still."""
    scene = Scene(seed=seed, faults=WORSE, peer=data.draw(st.sampled_from([plain, tokenless, encrypted])))
    leg, notes = scene.place()
    rng = random.Random(seed)
    steps = data.draw(st.lists(st.integers(0, 5), max_size=8))
    for step in steps:
        scene.run(rng.random())
        far = scene["b"].offers[0][0] if scene["b"].offers else None
        match step:
            case 0:
                leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
            case 1 if far is not None:
                far.release(Cause.USER_BUSY, scene.now)
            case 2 if far is not None:
                far.answer(None, scene.now)
            case 3 if far is not None:
                far.alert(True, scene.now)
            case 4:
                leg.keypad("1", 100, scene.now)
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(FOREVER)
    for far, _, _ in scene["b"].offers:
        far.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()
    assert_ended(notes, *[each for _, _, each in scene["b"].offers])


@slow
@given(seed=st.integers(0, 2**32))
def test_many_calls_at_once_do_not_disturb_each_other(seed: int) -> None:
    scene = Scene(seed=seed, faults=BAD_NETWORK)
    calls = []
    for number in range(6):
        caller, called = ("a", "b") if number % 2 else ("b", "a")
        leg, notes = scene.place(simple_setup(f"10{number}"), caller=caller, called=called)
        calls.append((number, leg, notes))
    scene.run(FOREVER, until=lambda: len(scene["a"].offers) == len(scene["b"].offers) == 3)
    fars = {}
    for agent in scene.agents:
        for far, offered, far_notes in agent.offers:
            far.answer(None, scene.now)
            fars[offered.setup.called.digits] = far_notes
    scene.run(20)
    for number, leg, _ in calls:
        leg.keypad(str(number) * 3, 100, scene.now)
    scene.run(20)
    for number, leg, _ in calls:
        assert fars[f"10{number}"].keys == str(number) * 3
        leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()
    assert_ended(*[notes for _, _, notes in calls], *fars.values())


def test_a_far_end_that_falls_silent_is_noticed() -> None:
    scene = Scene()
    _, notes, _, far_notes = scene.answered()
    scene.drop = lambda sender, to, data: True
    scene.assert_clean(120)
    assert_ended(notes, far_notes)
    for each in (notes, far_notes):
        assert each.released is not None
        assert each.released.cause is Cause.RECOVERY_ON_TIMER_EXPIRY


def test_a_far_end_that_forgot_the_call_ends_it_by_inval() -> None:
    scene = Scene()
    leg, notes, _, _ = scene.answered()
    session = leg.session
    assert session is not None
    # As after a restart: nothing of the session is left.
    scene["b"].endpoint.reception.sessions.clear()
    leg.keypad("1", 100, scene.now)
    scene.run(1)
    assert notes.released is not None
    assert notes.released.cause is Cause.TEMPORARY_FAILURE


def assert_ended(*several: Notes) -> None:
    for notes in several:
        assert notes.released is not None, notes.events
