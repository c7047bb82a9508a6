"""An endpoint made anew from what its predecessor left: answered calls go on, each side can change and end them."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Resumed, Text
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.frame import Command, FrameType
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.peers import IaxListener, PeerSettings
from gateway.voip.iax.survival import IaxLegState, IaxSurvival
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_calls import offered, say, settled
from tests.unit.voip.iax.iax_heirs import Absence, Heritage, Kept, again, hang_up, killed, reborn, secured, standing
from tests.unit.voip.iax.iax_scene import ADDRESSES, BAD_NETWORK, Bridge, Notes, Scene, simple_setup

ROTATING = {IaxTimer.KEY_LEAST: 2 * SECOND, IaxTimer.KEY_MOST: 3 * SECOND}


@pytest.mark.parametrize("peer", [secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("ends", ["itself", "other"])
def test_a_call_goes_on_and_either_side_ends_it(
    peer: Callable[[str, PeerSettings], PeerSettings], who: str, ends: str
) -> None:
    scene = Scene(peer=peer)
    leg, heard, other, notes = killed(scene, who)
    scene.talk((who, leg), ("b" if who == "a" else "a", other))
    scene.run(30)
    assert heard.events == [] and notes.events == []
    hang_up(leg if ends == "itself" else other, scene)
    assert heard.released is not None and notes.released is not None
    assert notes.released.cause is heard.released.cause is Cause.NORMAL_CALL_CLEARING
    assert not scene.sent("a", Command.INVAL) and not scene.sent("b", Command.INVAL)
    scene.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
def test_hold_digits_and_texts_go_both_ways(who: str) -> None:
    scene = Scene()
    leg, heard, other, notes = killed(scene, who)
    for one, events in ((leg, notes), (other, heard)):
        one.hold(scene.now)
        one.resume(scene.now)
        one.keypad("12#", 100, scene.now)
        one.text("hello", scene.now)
        scene.run(1)
        assert events.names()[:2] == ["Held", "Resumed"]
        assert events.keys == "12#"
        assert [event.text for event in events.events if isinstance(event, Text)] == ["hello"]
    hang_up(leg, scene)
    scene.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("peer", [secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
def test_a_call_that_stood_for_long_goes_on_for_long(
    who: str, peer: Callable[[str, PeerSettings], PeerSettings]
) -> None:
    scene = Scene(peer=peer)
    leg, heard, other, notes = killed(scene, who, before=lambda a, b: scene.run(45))
    assert leg.session is not None
    leg.session.lag = leg.session.far_report = None
    scene.run(125)
    assert leg.session.lag is not None and leg.session.far_report is not None
    assert heard.events == [] and notes.events == []
    for one, events in ((leg, notes), (other, heard)):
        one.keypad("1", 100, scene.now)
        scene.run(1)
        assert events.keys == "1"
    passes = len(scene[who].endpoint.rounds)
    hang_up(leg, scene)
    assert passes and not len(scene[who].endpoint.rounds)
    scene.assert_clean()


def test_who_was_on_hold_is_still() -> None:
    scene = Scene()

    def hold(a: IaxLeg, b: IaxLeg) -> None:
        a.hold(scene.now)
        settled(scene)

    leg, heard, other, _ = killed(scene, "b", before=hold)
    other.hold(scene.now)
    other.resume(scene.now)
    scene.run(1)
    assert [type(event) for event in heard.events] == [Resumed]
    hang_up(leg, scene)
    scene.assert_clean()


def test_who_wanted_no_voice_is_sent_none() -> None:
    scene = Scene()
    leg, _, other, _ = killed(scene, "b", before=lambda a, b: say(a, scene, FrameType.IAX, Command.QUELCH))
    assert leg.settings is not None and leg._quiet
    say(other, scene, FrameType.IAX, Command.UNQUELCH)
    assert leg.settings != scene["b"].media.history[-2][1] and not leg._quiet
    hang_up(leg, scene)
    scene.assert_clean()


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_what_nobody_acknowledged_before_goes_again(seconds: float) -> None:
    scene = Scene()

    def press(a: IaxLeg, b: IaxLeg) -> None:
        scene.drop = lambda sender, to, data: sender == "b"
        b.keypad("7", 100, scene.now)
        scene.drain()

    leg, _, _, notes = killed(scene, "b", before=press, seconds=seconds)
    scene.drop = lambda sender, to, data: False
    leg.keypad("8", 100, scene.now)
    scene.run(2)
    assert notes.keys == "78"
    hang_up(leg, scene)
    scene.assert_clean()


def test_frames_that_wait_for_others_go_in_their_turn() -> None:
    scene = Scene()
    digits = "0123456789" * 9

    def press(a: IaxLeg, b: IaxLeg) -> None:
        scene.drop = lambda sender, to, data: sender == "b"
        b.keypad(digits, 100, scene.now)
        scene.drain()
        assert b.session is not None and b.session.congested

    leg, _, _, notes = killed(scene, "b", before=press)
    scene.drop = lambda sender, to, data: False
    scene.run(5)
    assert notes.keys == digits
    hang_up(leg, scene)
    scene.assert_clean()


def absent(scene: Scene, meanwhile: Callable[[IaxLeg], object], begins: float) -> tuple[IaxLeg, Notes, Notes]:
    """``meanwhile`` happens to a's leg while b's program is away: that leg, its notes, and those of b's new one."""
    kept = Kept(scene["b"])
    ours, notes, theirs, _ = scene.answered()
    state = kept.of(theirs)
    with Absence(scene, scene["b"]):
        meanwhile(ours)
        scene.run(3)
    _, heard = reborn(scene, scene["b"], state, theirs.stream, begins)
    scene.run(5)
    return ours, notes, heard


def test_what_was_said_while_nobody_was_there_is_heard() -> None:
    scene = Scene()
    ours, notes, heard = absent(scene, lambda leg: leg.keypad("42", 100, scene.now), 1)
    assert heard.keys == "42"
    ours.release(Cause.USER_BUSY, scene.now)
    scene.run(2)
    assert heard.released is not None and heard.released.cause is Cause.USER_BUSY
    assert notes.released is not None
    scene.assert_clean()


def test_a_far_end_that_hung_up_meanwhile_is_heard() -> None:
    scene = Scene()
    _, _, heard = absent(scene, lambda leg: leg.release(Cause.NORMAL_CALL_CLEARING, scene.now), 1)
    assert heard.released is not None and heard.released.cause is Cause.NORMAL_CALL_CLEARING
    scene.assert_clean()


def test_a_far_end_that_has_forgotten_the_call_says_so_soon() -> None:
    scene = Scene()

    def forget(leg: IaxLeg) -> None:
        session = leg.session
        assert session is not None
        leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        session.abandon(scene.now)

    _, _, heard = absent(scene, forget, 0)
    scene.run(1)
    assert heard.released is not None and heard.released.cause is Cause.TEMPORARY_FAILURE
    scene.assert_clean()


@pytest.mark.parametrize("seed", range(30))
def test_an_encrypted_call_that_begins_anew_again_and_again_over_a_bad_network(seed: int) -> None:
    scene = Scene(
        seed=seed, faults=BAD_NETWORK, peer=secured, whole=lambda owner, settings: replace(settings, timers=ROTATING)
    )
    kept = {name: Kept(scene[name]) for name in "ab"}
    ours, our_notes, theirs, their_notes = scene.answered(seconds=90)
    scene.run(3)
    legs, notes = {"a": ours, "b": theirs}, {"a": our_notes, "b": their_notes}
    heard, pressed = {"a": [our_notes], "b": [their_notes]}, {"a": "", "b": ""}
    chance = random.Random(seed)
    for _ in range(8):
        for name, digit in (("a", "1"), ("b", "2")):
            pressed[name] += digit
            legs[name].keypad(digit, 100, scene.now)
        scene.drain()
        who = chance.choice("ab")
        scene.run(chance.uniform(0, 4))
        state, stream = kept[who].of(legs[who]), legs[who].stream
        legs[who], notes[who] = reborn(scene, scene[who], state, stream, chance.uniform(0, 3))
        heard[who].append(notes[who])
        kept[who] = Kept(scene[who])
        kept[who]._changed(legs[who])
        scene.run(chance.uniform(0, 1))
    scene.run(20)
    assert "".join([each.keys for each in heard["b"]]) == pressed["a"]
    assert "".join([each.keys for each in heard["a"]]) == pressed["b"]
    sessions = [leg.session for leg in legs.values() if leg.session is not None]
    scene.run(10, until=lambda: {each.receive_key for each in sessions} == {each.send_key for each in sessions})
    assert [each.receive_key for each in sessions] == [each.send_key for each in reversed(sessions)]
    for name, leg in legs.items():
        assert leg.settings == scene[name].media.settings[leg.stream or 0]
    scene.talk(("a", legs["a"]), ("b", legs["b"]))
    legs["a"].release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(60)
    assert notes["a"].released is not None and notes["b"].released is not None
    assert notes["b"].released.cause is Cause.NORMAL_CALL_CLEARING
    scene.assert_clean()


# -- what cannot be gone on with --


def _unanswered(scene: Scene, who: str) -> tuple[Kept, IaxLeg, Notes]:
    """A call from a to b that rings: the leg of ``who``, and the notes of the other side."""
    kept = Kept(scene[who])
    ours, our_notes = scene.place()
    theirs, _, their_notes = offered(scene)
    theirs.alert(False, scene.now)
    settled(scene)
    return kept, (ours if who == "a" else theirs), (their_notes if who == "a" else our_notes)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("peer", [secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
def test_a_call_that_was_not_answered_is_not_gone_on_with_but_ended(
    who: str, peer: Callable[[str, PeerSettings], PeerSettings]
) -> None:
    scene = Scene(peer=peer)
    kept, leg, notes = _unanswered(scene, who)
    state = kept.of(leg)
    agent = scene[who]
    again(scene, agent)
    survival = IaxSurvival(agent.endpoint)
    with pytest.raises(ValueError, match="its call is linked"):
        survival.revive(state, leg.stream or 0, scene.now)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    agent.endpoint.inherited(scene.now)
    agent.media.voices.clear()
    scene.run(1)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    assert notes.released.text == "the gateway was restarted"
    scene.assert_clean()


def test_a_far_end_that_said_no_more_than_its_number_is_told() -> None:
    scene = Scene()
    kept = Kept(scene["a"])
    scene.drop = lambda sender, to, data: sender == "b" and data[10:12] == bytes((FrameType.IAX, Command.AUTHREQ))
    leg, _ = scene.place()
    scene.run(1)
    state = kept.of(leg)
    again(scene, scene["a"])
    IaxSurvival(scene["a"].endpoint).give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    scene["a"].endpoint.inherited(scene.now)
    scene["a"].media.voices.clear()
    scene.run(1)
    assert not len(scene["b"].endpoint.gatekeeper)
    scene.assert_clean()


def test_a_call_that_was_not_accepted_is_refused() -> None:
    scene = Scene()
    _, notes = scene.place()
    theirs, _, _ = offered(scene)
    state = IaxSurvival(scene["b"].endpoint).keep(theirs)
    assert state is not None
    again(scene, scene["b"])
    IaxSurvival(scene["b"].endpoint).give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    scene["b"].endpoint.inherited(scene.now)
    scene["b"].media.voices.clear()
    scene.run(1)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    assert scene.sent("b", Command.REJECT) and not scene.sent("b", Command.HANGUP)
    scene.assert_clean()


def test_nothing_is_kept_of_a_call_whose_far_end_has_said_nothing() -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: sender == "b"
    kept = Kept(scene["a"])
    leg, _ = scene.place()
    scene.run(1)
    kept.note()
    assert kept.states == {leg.name: None}
    scene.run(90)


def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    scene = Scene()
    ours, _, _, _ = scene.answered()
    ours.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    assert IaxSurvival(scene["a"].endpoint).keep(ours) is None
    scene.assert_clean()


def test_who_was_not_heard_hanging_up_hangs_up_again() -> None:
    scene = Scene()
    ours, _, _, notes = scene.answered()
    agent = scene["a"]
    scene.drop = lambda sender, to, data: True
    ours.release(Cause.USER_BUSY, scene.now)
    state = IaxSurvival(agent.endpoint).keep(ours)
    assert state is not None
    scene.drop = lambda sender, to, data: False
    again(scene, agent)
    survival = IaxSurvival(agent.endpoint)
    with pytest.raises(ValueError, match="its call is over"):
        survival.revive(state, ours.stream or 0, scene.now)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    agent.endpoint.inherited(scene.now)
    scene.run(1)
    assert notes.released is not None and notes.released.cause is Cause.USER_BUSY
    scene.assert_clean()


def test_a_peer_that_is_not_configured_any_more_is_told() -> None:
    scene = Scene()
    state, leg, notes = standing(scene)
    again(scene, scene["b"], lambda settings: replace(settings, peers=()))
    endpoint = scene["b"].endpoint
    survival = IaxSurvival(endpoint)
    with pytest.raises(ValueError, match="a is not configured any more"):
        survival.revive(state, leg.stream or 0, scene.now)
    assert endpoint.idle and not len(endpoint.numbers)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    endpoint.inherited(scene.now)
    scene["b"].media.voices.clear()
    scene.run(2)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    scene.assert_clean()


def test_a_socket_that_is_not_wanted_any_more_is_closed_before_others_are_opened() -> None:
    scene = Scene()
    state, leg, _ = standing(scene)
    (before,) = scene["b"].media.sockets
    elsewhere = (IaxListener("198.51.100.9"),)
    again(scene, scene["b"], lambda settings: replace(settings, listeners=elsewhere))
    endpoint = scene["b"].endpoint
    assert set(scene["b"].media.sockets.values()) == {("198.51.100.9", 4569)}
    assert before not in endpoint.sockets
    with pytest.raises(ValueError, match="nobody listens any more"):
        IaxSurvival(endpoint).revive(state, leg.stream or 0, scene.now)


def test_without_any_socket_nobody_can_be_told() -> None:
    scene = Scene()
    state, _, _ = standing(scene)
    again(scene, scene["b"], lambda settings: replace(settings, listeners=()))
    with pytest.raises(ValueError, match="no socket leads to"):
        IaxSurvival(scene["b"].endpoint).give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    assert not len(scene["b"].endpoint.numbers)


def test_what_was_taken_up_is_not_taken_up_twice() -> None:
    scene = Scene()
    state, leg, _ = standing(scene)
    again(scene, scene["b"])
    endpoint = scene["b"].endpoint
    survival = IaxSurvival(endpoint)
    survival.revive(state, leg.stream or 0, scene.now)
    passes = len(endpoint.rounds)
    with pytest.raises(ValueError, match="taken up before"):
        survival.revive(state, leg.stream or 0, scene.now)
    other = msgspec.msgpack.encode(replace(msgspec.msgpack.decode(state, type=IaxLegState), name="iax2/a-99"))
    with pytest.raises(ValueError, match="is in use"):
        survival.revive(other, leg.stream or 0, scene.now)
    assert len(endpoint.legs) == 1 and len(endpoint.rounds) == passes
    # No later leg has the name of one of before.
    fresh = endpoint.new_leg("a", scene.now)
    assert isinstance(fresh, IaxLeg) and fresh.name == "iax2/a-2"


def test_nobody_is_heard_and_nothing_begins_before_the_calls_of_before_are_there() -> None:
    def registers(owner: str, settings: PeerSettings) -> PeerSettings:
        return replace(settings, register=True) if owner == "b" else settings

    scene = Scene(peer=registers)
    state, leg, notes = standing(scene)
    again(scene, scene["b"])
    sent = len(scene.wire)
    assert leg.session is not None
    far = leg.session.path.address
    scene["a"].endpoint.legs[next(iter(scene["a"].endpoint.legs))].speak_up(scene.now)
    scene.run(0.2)
    assert {who for _, who, _ in scene.wire[sent:]} == {"a"}, "not even INVAL"
    assert not len(scene["b"].endpoint.numbers)
    revived = IaxSurvival(scene["b"].endpoint).revive(state, leg.stream or 0, scene.now)
    revived.listener = Notes()
    scene["b"].endpoint.inherited(scene.now)
    scene.run(8)
    assert notes.released is None and revived.session is not None
    assert revived.session.path.address == far
    assert scene["b"].endpoint.registrations[0].in_force or scene.sent("b", Command.REGREQ)


def test_a_peer_that_had_all_its_calls_has_them_still() -> None:
    def limited(_owner: str, settings: PeerSettings) -> PeerSettings:
        return replace(settings, call_limit=1)

    scene = Scene(peer=limited)
    _, _, other, _ = killed(scene, "b")
    second, notes = scene.place(caller="a")
    assert notes.released is None or notes.released.cause is Cause.CALL_REJECTED
    _, refused = scene.place(simple_setup("1"))
    scene.run(1)
    assert refused.released is not None and refused.released.cause is Cause.CALL_REJECTED
    assert second.state is LegState.OVER
    hang_up(other, scene)
    scene.assert_clean()


def test_a_transfer_that_was_under_way_comes_to_nothing() -> None:
    """Of b, which is asked to go on with another when it is killed: who is in the middle stays there."""

    def movable(_owner: str, settings: PeerSettings) -> PeerSettings:
        return replace(settings, transfer=True)

    scene = Scene(("a", "m", "b"), peer=movable)
    kept = Kept(scene["b"])
    bridge = Bridge(scene, "m", "b")
    ours, notes = scene.place(called="m")
    theirs, _, _ = offered(scene)
    # Whatever the ends would tell each other is lost.
    scene.drop = lambda sender, to, data: {sender, to[0]} <= {"a", "b", ADDRESSES["a"], ADDRESSES["b"]}
    theirs.alert(False, scene.now)
    settled(scene)
    theirs.answer(None, scene.now)
    scene.run(1)
    assert theirs.path_change is not None and theirs.path_change.under_way
    leg, heard = reborn(scene, scene["b"], kept.of(theirs), theirs.stream, 0.2)
    scene.run(1)
    assert scene.sent("b", Command.TXREJ)
    release = bridge.incoming.path_release if bridge.incoming is not None else None
    assert release is None or not release.under_way
    ours.keypad("5", 100, scene.now)
    scene.run(1)
    assert heard.keys == "5"
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)
    assert notes.released is not None
    scene.assert_clean()


def test_nothing_is_kept_anew_for_voice_and_acknowledgements() -> None:
    scene = Scene()
    kept = Kept(scene["a"])
    ours, _, theirs, _ = scene.answered()
    scene.talk(("a", ours), ("b", theirs))
    before = kept.writes
    scene.talk(("a", ours), ("b", theirs))
    assert kept.writes == before
    ours.keypad("1", 100, scene.now)
    scene.run(0.5)
    assert kept.writes == before + 1
    hang_up(ours, scene)
    scene.assert_clean()


def test_where_the_engine_has_nothing_left_the_far_end_is_told() -> None:
    scene = Scene()
    state, leg, notes = standing(scene)
    agent = scene["b"]
    agent.media.sockets.clear()
    agent.media.voices.clear()
    agent.endpoint = IaxEndpoint(agent.endpoint.settings, agent.media, random.Random(77), agent._on_offer)
    agent.endpoint.enter(scene.now)
    agent.endpoint.inherit(Heritage(agent))
    agent.endpoint.engine_ready(True, scene.now)
    survival = IaxSurvival(agent.endpoint)
    with pytest.raises(ValueError, match="nobody listens any more"):
        survival.revive(state, leg.stream or 0, scene.now)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    agent.endpoint.inherited(scene.now)
    scene.run(1)
    assert notes.released is not None and notes.released.cause is Cause.TEMPORARY_FAILURE
    scene.assert_clean()
