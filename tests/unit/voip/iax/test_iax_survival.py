"""An endpoint made anew from what its predecessor left: answered calls go on, each side can change and end them."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.leg import Resumed, Text
from gateway.media.wire import Kind, ListEntry
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.frame import Command, FrameType
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.peers import Encryption, IaxListener, IaxSettings, PeerSettings
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.survival import IaxLegState, IaxSurvival, KeysKept, SentKept
from gateway.voip.iax.timers import IaxTimer
from tests.unit.voip.iax.iax_calls import offered, say, settled
from tests.unit.voip.iax.iax_scene import ADDRESSES, BAD_NETWORK, Agent, Bridge, Notes, Scene, simple_setup

ROTATING = {IaxTimer.KEY_LEAST: 2 * SECOND, IaxTimer.KEY_MOST: 3 * SECOND}


class Heritage:
    """What the engine of ``agent`` has of the program before."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.adopted: list[int] = []
        self.kept = tuple(
            ListEntry(stream, 0, port, Kind.IAX_SOCKET, False, f"iax2 {address} {port}")
            for stream, (address, port) in agent.media.sockets.items()
        ) + tuple(ListEntry(stream, 0, 0, Kind.IAX, False, "") for stream in agent.media.voices)

    def adopt(self, stream: int) -> None:
        self.adopted.append(stream)
        self.kept = tuple(entry for entry in self.kept if entry.stream != stream)


class Kept:
    """As the journal has it: what is kept of the legs of ``agent`` whenever one of them is another."""

    def __init__(self, agent: Agent) -> None:
        self.states: dict[str, bytes | None] = {}
        self.writes = 0
        self._survival = IaxSurvival(agent.endpoint)
        self._touched: dict[str, IaxLeg] = {}
        agent.endpoint.on_changed = self._changed
        self._drain = agent.drain
        agent.drain = self._drained  # type: ignore[method-assign]

    def _drained(self, now: int) -> None:
        self._drain(now)
        self.note()

    def _changed(self, leg: IaxLeg) -> None:
        self._touched[leg.name] = leg

    def note(self) -> None:
        for name, leg in self._touched.items():
            self.states[name] = self._survival.keep(leg)
            self.writes += 1
        self._touched.clear()

    def of(self, leg: IaxLeg) -> bytes:
        state = self.states[leg.name]
        assert state is not None
        return state


def _again(
    scene: Scene, agent: Agent, change: Callable[[IaxSettings], IaxSettings] = lambda settings: settings
) -> Heritage:
    """The program of ``agent`` is killed and another begins: the engine stays, all else is gone."""
    agent.endpoint = IaxEndpoint(change(agent.endpoint.settings), agent.media, random.Random(77), agent._on_offer)
    heritage = Heritage(agent)
    agent.endpoint.enter(scene.now)
    agent.endpoint.inherit(heritage)
    agent.endpoint.engine_ready(False, scene.now)
    return heritage


def _reborn(scene: Scene, agent: Agent, state: bytes, stream: int | None, seconds: float = 1.0) -> tuple[IaxLeg, Notes]:
    """Another program goes on with a call after ``seconds`` in which nobody was there."""
    assert stream is not None
    with _Absence(scene, agent):
        scene.run(seconds)
    told = list(agent.media.history)
    heritage = _again(scene, agent)
    leg = IaxSurvival(agent.endpoint).revive(state, stream, scene.now)
    agent.endpoint.inherited(scene.now)
    notes = Notes()
    leg.listener = notes
    scene.drain()
    assert len(heritage.adopted) == len(agent.media.sockets) == 1
    assert agent.media.history == told, "the engine needs to be told nothing"
    return leg, notes


class _Absence:
    """While it lasts nobody hears what comes for ``agent``, as when the engine has nobody to tell it."""

    def __init__(self, scene: Scene, agent: Agent) -> None:
        self._scene, self._agent = scene, agent

    def __enter__(self) -> None:
        agent = self._agent
        self._drop = self._scene.drop
        gone = IaxEndpoint(IaxSettings(), agent.media, random.Random(0), agent._on_offer)
        agent.endpoint, self._dead = gone, agent.endpoint
        place = ADDRESSES[agent.name]
        self._scene.drop = lambda sender, to, data: (
            (to[0] == place and bool(data[0] & 0x80)) or sender == agent.name or self._drop(sender, to, data)
        )

    def __exit__(self, *_: object) -> None:
        self._agent.endpoint = self._dead
        self._scene.drop = self._drop


def _killed(
    scene: Scene, who: str, *, before: Callable[[IaxLeg, IaxLeg], None] = lambda a, b: None, seconds: float = 1.0
) -> tuple[IaxLeg, Notes, IaxLeg, Notes]:
    """A standing call whose side ``who`` began anew: that side's leg and notes, then the other's."""
    kept = Kept(scene[who])
    ours, our_notes, theirs, their_notes = scene.answered()
    scene.talk(("a", ours), ("b", theirs))
    before(ours, theirs)
    mine, other, notes = (ours, theirs, their_notes) if who == "a" else (theirs, ours, our_notes)
    state, record = kept.of(mine), mine.record()
    notes.events.clear()
    leg, heard = _reborn(scene, scene[who], state, mine.stream, seconds)
    assert leg.record().keys() == record.keys() - {"media"}
    assert all(leg.record()[key] == record[key] for key in leg.record() if key != "session")
    return leg, heard, other, notes


def _hang_up(leg: IaxLeg, scene: Scene) -> None:
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)


def _secured(_owner: str, settings: PeerSettings) -> PeerSettings:
    return replace(settings, encryption=Encryption.REQUIRED)


@pytest.mark.parametrize("peer", [_secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("ends", ["itself", "other"])
def test_a_call_goes_on_and_either_side_ends_it(
    peer: Callable[[str, PeerSettings], PeerSettings], who: str, ends: str
) -> None:
    scene = Scene(peer=peer)
    leg, heard, other, notes = _killed(scene, who)
    scene.talk((who, leg), ("b" if who == "a" else "a", other))
    scene.run(30)
    assert heard.events == [] and notes.events == []
    _hang_up(leg if ends == "itself" else other, scene)
    assert heard.released is not None and notes.released is not None
    assert notes.released.cause is heard.released.cause is Cause.NORMAL_CALL_CLEARING
    assert not scene.sent("a", Command.INVAL) and not scene.sent("b", Command.INVAL)
    scene.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
def test_hold_digits_and_texts_go_both_ways(who: str) -> None:
    scene = Scene()
    leg, heard, other, notes = _killed(scene, who)
    for one, events in ((leg, notes), (other, heard)):
        one.hold(scene.now)
        one.resume(scene.now)
        one.keypad("12#", 100, scene.now)
        one.text("hello", scene.now)
        scene.run(1)
        assert events.names()[:2] == ["Held", "Resumed"]
        assert events.keys == "12#"
        assert [event.text for event in events.events if isinstance(event, Text)] == ["hello"]
    _hang_up(leg, scene)
    scene.assert_clean()


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("peer", [_secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
def test_a_call_that_stood_for_long_goes_on_for_long(
    who: str, peer: Callable[[str, PeerSettings], PeerSettings]
) -> None:
    scene = Scene(peer=peer)
    leg, heard, other, notes = _killed(scene, who, before=lambda a, b: scene.run(45))
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
    _hang_up(leg, scene)
    assert passes and not len(scene[who].endpoint.rounds)
    scene.assert_clean()


def test_who_was_on_hold_is_still() -> None:
    scene = Scene()

    def hold(a: IaxLeg, b: IaxLeg) -> None:
        a.hold(scene.now)
        settled(scene)

    leg, heard, other, _ = _killed(scene, "b", before=hold)
    other.hold(scene.now)
    other.resume(scene.now)
    scene.run(1)
    assert [type(event) for event in heard.events] == [Resumed]
    _hang_up(leg, scene)
    scene.assert_clean()


def test_who_wanted_no_voice_is_sent_none() -> None:
    scene = Scene()
    leg, _, other, _ = _killed(scene, "b", before=lambda a, b: say(a, scene, FrameType.IAX, Command.QUELCH))
    assert leg.settings is not None and leg._quiet
    say(other, scene, FrameType.IAX, Command.UNQUELCH)
    assert leg.settings != scene["b"].media.history[-2][1] and not leg._quiet
    _hang_up(leg, scene)
    scene.assert_clean()


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_what_nobody_acknowledged_before_goes_again(seconds: float) -> None:
    scene = Scene()

    def press(a: IaxLeg, b: IaxLeg) -> None:
        scene.drop = lambda sender, to, data: sender == "b"
        b.keypad("7", 100, scene.now)
        scene.drain()

    leg, _, _, notes = _killed(scene, "b", before=press, seconds=seconds)
    scene.drop = lambda sender, to, data: False
    leg.keypad("8", 100, scene.now)
    scene.run(2)
    assert notes.keys == "78"
    _hang_up(leg, scene)
    scene.assert_clean()


def test_frames_that_wait_for_others_go_in_their_turn() -> None:
    scene = Scene()
    digits = "0123456789" * 9

    def press(a: IaxLeg, b: IaxLeg) -> None:
        scene.drop = lambda sender, to, data: sender == "b"
        b.keypad(digits, 100, scene.now)
        scene.drain()
        assert b.session is not None and b.session.congested

    leg, _, _, notes = _killed(scene, "b", before=press)
    scene.drop = lambda sender, to, data: False
    scene.run(5)
    assert notes.keys == digits
    _hang_up(leg, scene)
    scene.assert_clean()


def test_what_was_said_while_nobody_was_there_is_heard() -> None:
    scene = Scene()
    kept = Kept(scene["b"])
    ours, notes, theirs, _ = scene.answered()
    state = kept.of(theirs)
    with _Absence(scene, scene["b"]):
        ours.keypad("42", 100, scene.now)
        scene.run(3)
    _, heard = _reborn(scene, scene["b"], state, theirs.stream, 1)
    scene.run(5)
    assert heard.keys == "42"
    ours.release(Cause.USER_BUSY, scene.now)
    scene.run(2)
    assert heard.released is not None and heard.released.cause is Cause.USER_BUSY
    assert notes.released is not None
    scene.assert_clean()


def test_a_far_end_that_hung_up_meanwhile_is_heard() -> None:
    scene = Scene()
    kept = Kept(scene["b"])
    ours, _, theirs, _ = scene.answered()
    state = kept.of(theirs)
    with _Absence(scene, scene["b"]):
        ours.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        scene.run(3)
    _, heard = _reborn(scene, scene["b"], state, theirs.stream, 1)
    scene.run(5)
    assert heard.released is not None and heard.released.cause is Cause.NORMAL_CALL_CLEARING
    scene.assert_clean()


def test_a_far_end_that_has_forgotten_the_call_says_so_soon() -> None:
    scene = Scene()
    kept = Kept(scene["b"])
    ours, _, theirs, _ = scene.answered()
    state = kept.of(theirs)
    assert ours.session is not None
    with _Absence(scene, scene["b"]):
        ours.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        ours.session.abandon(scene.now)
        scene.run(3)
    _, heard = _reborn(scene, scene["b"], state, theirs.stream, 0)
    scene.run(6)
    assert heard.released is not None and heard.released.cause is Cause.TEMPORARY_FAILURE
    scene.assert_clean()


@pytest.mark.parametrize("seed", range(30))
def test_an_encrypted_call_that_begins_anew_again_and_again_over_a_bad_network(seed: int) -> None:
    scene = Scene(
        seed=seed, faults=BAD_NETWORK, peer=_secured, whole=lambda owner, settings: replace(settings, timers=ROTATING)
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
        legs[who], notes[who] = _reborn(scene, scene[who], state, stream, chance.uniform(0, 3))
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
@pytest.mark.parametrize("peer", [_secured, lambda owner, settings: settings], ids=["encrypted", "clear"])
def test_a_call_that_was_not_answered_is_not_gone_on_with_but_ended(
    who: str, peer: Callable[[str, PeerSettings], PeerSettings]
) -> None:
    scene = Scene(peer=peer)
    kept, leg, notes = _unanswered(scene, who)
    state = kept.of(leg)
    agent = scene[who]
    _again(scene, agent)
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
    _again(scene, scene["a"])
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
    _again(scene, scene["b"])
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
    _again(scene, agent)
    survival = IaxSurvival(agent.endpoint)
    with pytest.raises(ValueError, match="its call is over"):
        survival.revive(state, ours.stream or 0, scene.now)
    survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    agent.endpoint.inherited(scene.now)
    scene.run(1)
    assert notes.released is not None and notes.released.cause is Cause.USER_BUSY
    scene.assert_clean()


def _standing(scene: Scene, who: str = "b") -> tuple[bytes, IaxLeg, Notes]:
    kept = Kept(scene[who])
    ours, our_notes, theirs, their_notes = scene.answered()
    leg, notes = (ours, their_notes) if who == "a" else (theirs, our_notes)
    return kept.of(leg), leg, notes


def test_a_peer_that_is_not_configured_any_more_is_told() -> None:
    scene = Scene()
    state, leg, notes = _standing(scene)
    _again(scene, scene["b"], lambda settings: replace(settings, peers=()))
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
    state, leg, _ = _standing(scene)
    (before,) = scene["b"].media.sockets
    elsewhere = (IaxListener("198.51.100.9"),)
    _again(scene, scene["b"], lambda settings: replace(settings, listeners=elsewhere))
    endpoint = scene["b"].endpoint
    assert set(scene["b"].media.sockets.values()) == {("198.51.100.9", 4569)}
    assert before not in endpoint.sockets
    with pytest.raises(ValueError, match="nobody listens any more"):
        IaxSurvival(endpoint).revive(state, leg.stream or 0, scene.now)


def test_without_any_socket_nobody_can_be_told() -> None:
    scene = Scene()
    state, _, _ = _standing(scene)
    _again(scene, scene["b"], lambda settings: replace(settings, listeners=()))
    with pytest.raises(ValueError, match="no socket leads to"):
        IaxSurvival(scene["b"].endpoint).give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
    assert not len(scene["b"].endpoint.numbers)


def test_what_was_taken_up_is_not_taken_up_twice() -> None:
    scene = Scene()
    state, leg, _ = _standing(scene)
    _again(scene, scene["b"])
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
    state, leg, notes = _standing(scene)
    _again(scene, scene["b"])
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
    _, _, other, _ = _killed(scene, "b")
    second, notes = scene.place(caller="a")
    assert notes.released is None or notes.released.cause is Cause.CALL_REJECTED
    _, refused = scene.place(simple_setup("1"))
    scene.run(1)
    assert refused.released is not None and refused.released.cause is Cause.CALL_REJECTED
    assert second.state is LegState.OVER
    _hang_up(other, scene)
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
    leg, heard = _reborn(scene, scene["b"], kept.of(theirs), theirs.stream, 0.2)
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


# -- what makes no sense --


def _state() -> bytes:
    scene = Scene()
    state, _, _ = _standing(scene)
    return state


STATE = _state()


def _taken(state: bytes) -> None:
    """Take up what may be anything: it is refused, or stands and ends as others."""
    scene = Scene()
    agent = scene["b"]
    agent.media.voices[900] = next(iter(agent.media.sockets))
    agent.media.heard[900] = []
    _again(scene, agent)
    survival = IaxSurvival(agent.endpoint)
    try:
        leg = survival.revive(state, 900, scene.now)
    except ValueError:
        assert agent.endpoint.idle and not len(agent.endpoint.numbers) and not len(agent.endpoint.rounds)
        try:
            survival.give_up(state, Cause.TEMPORARY_FAILURE, scene.now)
        except ValueError:
            assert not len(agent.endpoint.numbers)
        agent.media.voices.clear()
    else:
        leg.listener = Notes()
        assert survival.keep(leg) is not None
    agent.endpoint.inherited(scene.now)
    scene.run(2)
    for each in tuple(agent.endpoint.legs.values()):
        each.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    scene.assert_clean()


@given(st.binary(max_size=300))
def test_no_octets_are_too_strange(state: bytes) -> None:
    _taken(state)


@given(st.data())
def test_no_change_of_a_state_is_too_strange(data: st.DataObject) -> None:
    octets = bytearray(STATE)
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    _taken(bytes(octets))


_FRAMES = st.builds(
    SentKept,
    st.integers(0, 255),
    st.integers(0, 127),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=30),
    st.integers(0, 255),
    st.sampled_from((b"", bytes(16), bytes(15))),
)


@given(st.data())
def test_values_that_no_program_wrote_are_refused_or_harmless(data: st.DataObject) -> None:
    one = msgspec.msgpack.decode(STATE, type=IaxLegState)
    path = one.session.path
    session = replace(
        one.session,
        path=path._replace(
            address=data.draw(st.sampled_from((path.address, "", "here", "::", "::1", "0.0.0.0"))),
            port=data.draw(st.sampled_from((path.port, 0, -1, 65536))),
        ),
        source=data.draw(st.integers(0, 32768)),
        destination=data.draw(st.integers(0, 32768)),
        epoch=data.draw(st.sampled_from((one.session.epoch, 0, -(1 << 40), 1 << 40))),
        oseqno=data.draw(st.integers(0, 256)),
        iseqno=data.draw(st.integers(0, 256)),
        stamp=data.draw(st.integers(-2, 1 << 32)),
        outstanding=tuple(data.draw(st.lists(_FRAMES, max_size=3))),
        waiting=tuple(data.draw(st.lists(_FRAMES, max_size=3))),
    )
    state = data.draw(st.sampled_from(list(LegState)))
    _taken(msgspec.msgpack.encode(replace(one, session=session, state=state)))


_KEYS = st.binary(min_size=16, max_size=16)


@given(st.data())
def test_what_is_kept_of_a_leg_that_was_made_of_it_is_the_same(data: st.DataObject) -> None:
    one = msgspec.msgpack.decode(STATE, type=IaxLegState)
    oseqno = data.draw(st.integers(0, 255))
    count = data.draw(st.integers(0, 5))
    frames = tuple(
        SentKept(FrameType.DTMF, ord("1"), turn, b"", (oseqno - count + turn) & 0xFF) for turn in range(count)
    )
    session = replace(
        one.session,
        source=data.draw(st.integers(2, 32767)),
        destination=data.draw(st.integers(1, 32767)),
        oseqno=oseqno,
        iseqno=data.draw(st.integers(0, 255)),
        stamp=data.draw(st.integers(-1, 0xFFFF_FFFF)),
        epoch=data.draw(st.integers(0, 1 << 50)),
        outstanding=frames,
        keys=data.draw(
            st.none()
            | st.builds(
                KeysKept, _KEYS, _KEYS, _KEYS | st.just(b""), st.booleans(), st.integers(0, 99), st.integers(0, 99)
            )
        ),
        heard=data.draw(st.none() | st.integers(0, 1 << 50)),
        round_trip=data.draw(st.none() | st.integers(0, 1 << 30)),
        lag=data.draw(st.none() | st.integers(0, 1 << 30)),
        far_report=data.draw(st.none() | st.builds(LinkReport, st.integers(0, 9), st.integers(0, 9))),
    )
    state = msgspec.msgpack.encode(
        replace(one, session=session, quiet=data.draw(st.booleans()), held=data.draw(st.booleans()))
    )
    scene = Scene()
    _again(scene, scene["b"])
    survival = IaxSurvival(scene["b"].endpoint)
    leg = survival.revive(state, 900, scene.now)
    kept = survival.keep(leg)
    assert kept is not None and leg.settings is not None
    assert bool(session.keys) is leg.settings.encrypted
    assert msgspec.msgpack.decode(kept, type=IaxLegState) == msgspec.msgpack.decode(state, type=IaxLegState)


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
    _hang_up(ours, scene)
    scene.assert_clean()


def test_where_the_engine_has_nothing_left_the_far_end_is_told() -> None:
    scene = Scene()
    state, leg, notes = _standing(scene)
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
