"""Calls that outlive the program: what is kept of each makes the same call again, or ends it well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import leg as words
from gateway.boot import boot_identity
from gateway.call import Call, Purpose
from gateway.call_history import Attempt, TransferAttempt
from gateway.call_journal import CallJournal
from gateway.call_states import State
from gateway.call_survival import AttemptState, CallState, history_of, revived, state_of
from gateway.cause import Cause
from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.inheritance import JOURNAL_FILE, YOUNG_SECONDS, Inheritance
from gateway.leg import Leg, Setup
from gateway.media.wire import Kind, ListEntry
from gateway.record import CallRecord, RecordWriter, WallClock
from gateway.survival import CallKept, Heir, LegKept, LegsKept, Technology, kept, may_wait, note, take_up
from tests.unit.call_scene import RINGBACK, FakeLeg, FakeSwitch, answered_call, start

CLOCK = WallClock(0, 0)
NOW = 100 * SECOND


class FakeTechnology:
    """Keeps the name of a leg; ``gone`` are those that it does not make again."""

    def __init__(self) -> None:
        self.gone: dict[str, str] = {}
        self.told: list[str] = []
        self.made: list[FakeLeg] = []

    def keep(self, leg: Leg) -> bytes | None:
        return None if isinstance(leg, FakeLeg) and leg.released is not None else leg.name.encode()

    def revive(self, state: bytes, stream: int, now: int) -> Leg:
        name = state.decode()
        if name in self.gone:
            raise ValueError(self.gone[name])
        self.made.append(FakeLeg(name, stream))
        self.made[-1].listener = Ear()
        return self.made[-1]

    def give_up(self, state: bytes, cause: Cause, now: int) -> None:
        name = state.decode()
        if name == "mute":
            raise ValueError("nobody can be told")
        self.told.append(f"{name} {int(cause)}")


class Ear:
    def on_leg(self, leg: Leg, event: words.LegEvent, now: int) -> None:
        pass


@dataclass
class FakeHeir(FakeSwitch):
    calls: dict[str, Call] = field(default_factory=dict)
    technology: FakeTechnology = field(default_factory=FakeTechnology)
    unknown: set[str] = field(default_factory=set)

    def technology_of(self, technology: str, source: str) -> Technology | None:
        return None if source in self.unknown else self.technology

    def adopt(self, state: CallState, incoming: Leg, outgoing: Leg, now: int) -> Call:
        call = self.calls[state.identity] = revived(state, self, incoming, outgoing, now)
        return call


class FakeEngine:
    def __init__(self, *streams: int) -> None:
        self.kept = tuple(ListEntry(stream, 0, 0, Kind.TDM, False, "") for stream in streams)
        self.adopted: list[int] = []

    def adopt(self, stream: int) -> None:
        self.adopted.append(stream)


def _standing() -> tuple[FakeHeir, Call]:
    switch, call = answered_call(FakeLeg("pri", 1), FakeLeg("sip", 2))
    heir = FakeHeir(media=switch.media, calls={"c1": call})
    return heir, call


def _contents(call: Call, heir: Heir) -> dict[str, bytes]:
    return {call.identity: kept(call, heir)}


def _changed(content: bytes, **changes: Any) -> bytes:
    one = msgspec.msgpack.decode(content)
    for key, value in changes.items():
        if value is None:
            one.pop(key, None)
        else:
            one[key] = value
    return msgspec.msgpack.encode(one)


def _again(
    contents: Mapping[str, bytes], engine: FakeEngine | None = None, **settings: Any
) -> tuple[FakeHeir, list[Call], list[CallRecord]]:
    heir = FakeHeir(**settings)
    left = take_up(contents, heir, engine or FakeEngine(1, 2), NOW, CLOCK)
    return heir, left.calls, left.records


# -- a call is the same again --

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_times = st.none() | st.integers(0, 1 << 62)
_parties = st.none() | st.builds(Party, st.none() | st.builds(Number, st.text("0123456789", max_size=15)), _texts)
_json = st.dictionaries(_texts, st.none() | st.booleans() | st.integers(-5, 5) | _texts | st.lists(_texts, max_size=2))
_attempts = st.builds(
    AttemptState,
    _texts,
    _texts,
    st.none() | st.sampled_from([int(cause) for cause in Cause]),
    _texts,
    _json,
    st.sampled_from(["", "incoming", "outgoing"]),
    _parties,
)
_states = st.builds(
    CallState,
    _texts,
    _texts,
    _texts,
    st.builds(Setup, st.builds(Number, st.text("0123456789", max_size=15))),
    st.integers(0, 1 << 62),
    routed=_times,
    alerting=_times,
    answered=_times,
    ended=_times,
    cause=st.none() | st.sampled_from([int(cause) for cause in Cause]),
    released_by=_texts,
    connected=_parties,
    attempts=st.lists(_attempts, max_size=3).map(tuple),
    transfers=st.lists(_attempts, max_size=3).map(tuple),
    notes=st.lists(_texts, max_size=3).map(tuple),
    one_way=st.booleans(),
    emergency=st.booleans(),
    sent_by=st.lists(_texts, max_size=3).map(tuple),
    left=_json,
    secure_bridge=st.frozensets(_texts, max_size=2),
    require=st.frozensets(_texts, max_size=2),
    forwards=st.integers(0, 5),
    holding=st.lists(st.sampled_from(["incoming", "outgoing"]), unique=True).map(tuple),
    whole=st.booleans(),
)


@given(_states)
def test_what_is_kept_is_read_as_it_was(state: CallState) -> None:
    leg = LegKept("pri", "pstn", 1, b"state")
    one = CallKept(call=state, incoming=leg, others=(leg,))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=CallKept) == one


@given(_states)
def test_a_call_made_of_it_leaves_the_same_behind(state: CallState) -> None:
    # As only a whole call is: no two attempts stand for one leg, and what is new with the program may differ.
    standing = msgspec.structs.replace(
        state,
        whole=True,
        holding=(),
        attempts=tuple(
            msgspec.structs.replace(one, place="outgoing" if at == 0 else "") for at, one in enumerate(state.attempts)
        ),
        transfers=tuple(msgspec.structs.replace(one, place="") for one in state.transfers),
    )
    switch = FakeSwitch()
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    call = revived(standing, switch, incoming, outgoing, NOW)
    assert msgspec.structs.replace(state_of(call), transfers=()) == msgspec.structs.replace(standing, transfers=())
    assert incoming.told == outgoing.told == [], "nothing is sent by it"
    assert not switch.media.streams and not switch.media.wires, "nor is the engine asked"


def test_a_standing_call_goes_on_and_ends_with_one_record() -> None:
    heir, call = _standing()
    call.history.notes.append("of before")
    again, (one,), records = _again(_contents(call, heir), engine := FakeEngine(1, 2))
    assert records == [] and again.calls == {"c1": one}
    assert engine.adopted == [1, 2]
    assert one.state is State.ANSWERED and one.history.notes == ["of before"]
    incoming, outgoing = again.technology.made
    assert set(again.watched) == {1, 2}
    incoming.event(words.Released(Cause.NORMAL_CALL_CLEARING), NOW + SECOND)
    assert outgoing.released is Cause.NORMAL_CALL_CLEARING
    assert again.over == [one]
    assert one.history.ended == NOW + SECOND and one.history.answered == 0
    assert one.history.released_by == "caller"
    assert one.history.attempts[0].leg == {"technology": "sip"}


def test_who_waits_on_hold_still_does_and_hears_music_again() -> None:
    heir, call = _standing()
    heir.music = RINGBACK
    call._switch = heir
    incoming = call.incoming
    assert isinstance(incoming, FakeLeg)
    incoming.event(words.Held(), 0)
    state = state_of(call)
    assert state.holding == ("incoming",) and call._own_stream is not None
    again, (one,), _ = _again(_contents(call, heir), music=RINGBACK)
    first, second = again.technology.made
    assert again.media.heard_by(2) == "tone"
    assert one._waiting() is second
    first.event(words.Resumed(), NOW)
    assert again.media.wires == {1: 2, 2: 1}
    assert not again.media.streams, "the music is over"


def test_a_call_for_help_stays_one_and_what_it_needs_too() -> None:
    heir, call = _standing()
    call.history.emergency = True
    call._secure_bridge = call._require = frozenset({"secure_media"})
    call._forwards = 2
    _, (one,), _ = _again(_contents(call, heir))
    assert one.history.emergency
    assert one._secure_bridge == one._require == frozenset({"secure_media"})
    assert one._forwards == 2


def test_a_transferred_call_says_so_in_its_record() -> None:
    heir, call = _standing()
    outgoing = call.outgoing
    transfer = TransferAttempt("sip:hq/9", "9", owner=outgoing, party=Party(Number("9")), at=5, kind="blind", by="hq")
    call.history.attempts[0].owner = None
    call.history.transfers.append(transfer)
    again, (one,), _ = _again(_contents(call, heir))
    (found,) = one.history.transfers
    assert (found.kind, found.by, found.at, found.owner) == ("blind", "hq", 5, again.technology.made[1])
    again.technology.made[1].event(words.Released(Cause.USER_BUSY), NOW)
    assert found.cause is Cause.USER_BUSY and found.leg == {"technology": "sip"}


# -- what cannot go on is ended well --


def _refused(content: bytes, **settings: Any) -> tuple[FakeHeir, CallRecord]:
    heir, calls, records = _again({"c1": content}, **settings)
    assert calls == [] and heir.calls == {}
    (record,) = records
    assert record.id == "c1"
    return heir, record


def test_a_call_that_was_not_answered_is_ended_on_both_sides() -> None:
    switch = FakeSwitch(legs=[FakeLeg("sip", 2)])
    call = start(switch, FakeLeg("pri", 1))
    heir, record = _refused(kept(call, FakeHeir()))
    assert heir.technology.told == ["pri 41", "sip 41"]
    assert (record.cause, record.released_by, record.end) == (41, "gateway", NOW)
    assert record.notes == ("the gateway was restarted: it was not answered",)
    assert record.dialled == "1234"


def test_all_legs_of_a_call_under_way_elsewhere_are_told() -> None:
    heir, call = _standing()
    call._others = (FakeLeg("iax2", 3),)
    again, record = _refused(kept(call, heir))
    assert again.technology.told == ["pri 41", "sip 41", "iax2 41"]
    assert "elsewhere" in record.notes[-1]


def test_a_call_without_voice_ends() -> None:
    heir, call = _standing()
    again, record = _refused(kept(call, heir), engine=FakeEngine(1))
    assert "voice" in record.notes[-1]
    # The side that was there again hangs up like any other, its stream with it.
    (made,) = again.technology.made
    assert made.released is Cause.TEMPORARY_FAILURE
    assert again.technology.told == ["sip 41"]


def test_a_side_that_has_no_stream_cannot_go_on() -> None:
    heir, call = _standing()
    assert isinstance(call.outgoing, FakeLeg)
    call.outgoing.stream = None
    _, record = _refused(kept(call, heir))
    assert "cannot be kept" in record.notes[-1]


def test_a_side_that_left_nothing_is_not_told() -> None:
    heir, call = _standing()
    one = msgspec.msgpack.decode(kept(call, heir), type=CallKept)
    again, record = _refused(msgspec.msgpack.encode(msgspec.structs.replace(one, incoming=None)))
    assert "cannot be kept" in record.notes[-1]
    assert again.technology.told == ["sip 41"]


def test_who_is_not_configured_any_more_cannot_be_told() -> None:
    heir, call = _standing()
    again, record = _refused(kept(call, heir), unknown={"pri"})
    assert "pri is not configured" in record.notes[-1]
    assert again.technology.told == ["sip 41"]


def test_a_technology_says_why_its_leg_cannot_go_on() -> None:
    heir, call = _standing()
    technology = FakeTechnology()
    technology.gone["sip"] = "taken up before"
    again, record = _refused(kept(call, heir), technology=technology)
    assert "sip: taken up before" in record.notes[-1]
    assert again.technology.made[0].released is Cause.TEMPORARY_FAILURE
    assert record.answer is not None


def test_one_that_cannot_be_told_costs_nobody_else_anything(caplog: pytest.LogCaptureFixture) -> None:
    switch = FakeSwitch(legs=[FakeLeg("sip", 2)])
    mute = FakeLeg("mute", 1)
    call = start(switch, mute)
    heir, _ = _refused(kept(call, FakeHeir()))
    assert heir.technology.told == ["sip 41"]
    assert "nobody can be told" in caplog.text


def test_a_call_whose_record_was_not_written_gets_that_record() -> None:
    heir, call = _standing()
    incoming, outgoing = call.incoming, call.outgoing
    assert isinstance(incoming, FakeLeg) and isinstance(outgoing, FakeLeg)
    outgoing.stuck = True
    call.hang_up(7 * SECOND, Cause.USER_BUSY, "operator")
    assert call.state is State.RELEASING
    again, record = _refused(kept(call, heir))
    assert (record.cause, record.released_by, record.end) == (17, "operator", 7 * SECOND)
    assert "being released" in record.notes[-1]
    assert again.technology.told == [], "both were told before"


def test_a_call_that_has_its_record_gets_no_second_one() -> None:
    heir, call = _standing()
    left = take_up(_contents(call, heir), again := FakeHeir(), FakeEngine(1, 2), NOW, CLOCK, {"c1"})
    assert not left.calls and not left.records
    assert again.technology.told == ["pri 41", "sip 41"]


# -- contents of other programs, and of none --


def test_what_a_later_program_adds_is_passed_over_and_what_an_earlier_one_lacked_has_a_default() -> None:
    heir, call = _standing()
    one = msgspec.msgpack.decode(kept(call, heir))
    one["version"] = 7
    one["colour"] = {"of": "the call"}
    one["call"]["colour"] = ["red"]
    one["incoming"]["colour"] = 5
    for key in ("routed", "attempts", "notes", "streams"):
        one["call"].pop(key, None)
    _, calls, records = _again({"c1": msgspec.msgpack.encode(one)})
    assert len(calls) == 1 and not records
    assert calls[0].history.attempts == []


def test_a_cause_or_word_of_a_later_program_is_no_trouble() -> None:
    heir, call = _standing()
    one = msgspec.msgpack.decode(kept(call, heir))
    one["call"] |= {"cause": 126, "ended": 5, "state": "floating", "whole": False}
    _, record = _refused(msgspec.msgpack.encode(one))
    assert record.cause == int(Cause.of(126))


@pytest.mark.parametrize("whole", [True, False])
def test_a_call_that_makes_no_sense_is_ended_on_the_sides_that_do(
    whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    heir, call = _standing()
    good = kept(call, heir)
    bad = _changed(good, call={"identity": 5, "whole": whole})
    again, calls, records = _again({"c1": bad})
    assert not calls and not records
    assert again.technology.told == ["pri 41", "sip 41"]
    assert "makes no sense" in caplog.text


def test_a_content_under_another_name_is_not_taken_for_that_call() -> None:
    heir, call = _standing()
    content = kept(call, heir)
    again, calls, records = _again({"c1": content, "c2": content})
    assert [one.identity for one in calls] == ["c1"] and not records
    assert again.technology.told == ["pri 41", "sip 41"]


@given(st.dictionaries(st.text(max_size=3), st.binary(max_size=60), max_size=3))
def test_garbage_never_raises(contents: dict[str, bytes]) -> None:
    heir, calls, _ = _again(contents)
    assert calls == [] and heir.calls == {}


@given(st.data())
def test_no_octet_that_differs_raises(data: st.DataObject) -> None:
    heir, call = _standing()
    content = bytearray(kept(call, heir))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    _again({"c1": bytes(content)})


# -- keeping --


def test_what_changed_is_kept_and_what_is_over_is_not(tmp_path: Path) -> None:
    heir, call = _standing()
    journal = CallJournal(tmp_path / "calls", "boot")
    journal.begin()
    note(journal, ["c1", "never"], heir)
    assert set(journal.read()) == {"c1"}
    # That it is being released costs a few octets.
    size = journal.path.stat().st_size
    for leg in (call.incoming, call.outgoing):
        assert isinstance(leg, FakeLeg)
        leg.stuck = True
    call.hang_up(9 * SECOND, Cause.USER_BUSY, "operator")
    note(journal, ["c1"], heir)
    assert journal.path.stat().st_size - size < 60
    again, calls, records = _again(journal.read())
    assert not calls and [(each.cause, each.released_by, each.end) for each in records] == [
        (17, "operator", 9 * SECOND)
    ]
    assert again.technology.told == ["pri 41", "sip 41"]
    del heir.calls["c1"]
    note(journal, ["c1"], heir)
    heir.calls["c2"] = call
    note(journal, ["c2"], heir)
    assert set(journal.read()) == {"c2"}
    journal.close(keep=False)


def test_a_call_that_rings_may_wait_until_it_is_kept_unless_its_far_end_counts() -> None:
    _, standing = _standing()
    rings = start(FakeSwitch(legs=[FakeLeg("sip", 2)]), FakeLeg("pri", 1))
    counts = start(FakeSwitch(legs=[FakeLeg("iax2", 2)]), FakeLeg("pri", 1))
    asks = start(FakeSwitch(legs=[FakeLeg("sip", 2)]), FakeLeg("iax2", 1))
    assert [may_wait(each) for each in (standing, rings, counts, asks)] == [False, True, False, False]


class FakeOwner:
    """What an Inheritance keeps the calls of."""

    def __init__(self, heir: FakeHeir) -> None:
        self.calls, self.technology_of = heir.calls, heir.technology_of
        self.touched: dict[str, None] = {}


def test_calls_are_kept_at_once_and_what_changes_before_they_are_answered_in_a_moment(tmp_path: Path) -> None:
    async def run() -> None:
        heir, call = _standing()
        heir.calls["c2"] = ringing = start(FakeSwitch(legs=[FakeLeg("sip", 2)]), FakeLeg("pri", 1))
        owner = FakeOwner(heir)
        one = Inheritance(tmp_path, cast(Any, owner), cast(Any, None))
        await one.take_up(lambda: None, lambda: 0, lambda: CLOCK, lambda record: None, frozenset)
        journal = CallJournal(tmp_path / JOURNAL_FILE, boot_identity())
        owner.touched = {"c1": None, "c2": None}
        one.note()
        first = journal.read()
        assert not owner.touched and set(first) == {"c1", "c2"}
        call.history.notes.append("answered")
        ringing.history.notes.append("rings")
        owner.touched = {"c1": None, "c2": None}
        one.note()
        second = journal.read()
        assert second["c1"] != first["c1"] and second["c2"] == first["c2"]
        await asyncio.sleep(2 * YOUNG_SECONDS)
        third = journal.read()
        assert third["c1"] == second["c1"] and third["c2"] != second["c2"]
        ringing.history.notes.append("and on")
        owner.touched = {"c2": None}
        one.note()
        one.close(keep=True)
        assert journal.read()["c2"] != third["c2"]

    asyncio.run(run())


def test_a_call_killed_as_soon_as_it_began_is_told_and_has_its_record(tmp_path: Path) -> None:
    async def run() -> None:
        heir = FakeHeir(calls={"c1": start(FakeSwitch(legs=[FakeLeg("sip", 2)]), FakeLeg("pri", 1))})
        owner = FakeOwner(heir)
        one = Inheritance(tmp_path, cast(Any, owner), cast(Any, None))
        await one.take_up(lambda: None, lambda: 0, lambda: CLOCK, lambda record: None, frozenset)
        owner.touched = {"c1": None}
        one.note()
        again, calls, (record,) = _again(CallJournal(tmp_path / JOURNAL_FILE, boot_identity()).read())
        assert not calls and again.technology.told == ["pri 41", "sip 41"]
        assert (record.cause, record.released_by) == (41, "gateway")
        assert record.notes == ("the gateway was restarted: it was not answered",)
        one.close(keep=False)

    asyncio.run(run())


def test_records_are_written_before_the_journal_forgets(tmp_path: Path) -> None:
    async def run() -> None:
        heir, call = _standing()
        journal = CallJournal(tmp_path / JOURNAL_FILE, boot_identity())
        journal.begin()
        note(journal, ["c1"], heir)
        journal.close(keep=True)
        found: list[tuple[str, set[str]]] = []

        class Owner(FakeOwner):
            def inherited(self, now: int) -> None:
                pass

        class Media:
            kept = ()

            def close_kept(self) -> int:
                return 0

        owner = Owner(FakeHeir())
        one = Inheritance(tmp_path, cast(Any, owner), cast(Any, Media()))

        def record(each: CallRecord) -> None:
            found.append((each.id, set(journal.read())))

        # The engine says that it has nothing.
        await one.take_up(one._answers.set, lambda: NOW, lambda: CLOCK, record, frozenset)
        assert found == [("c1", {"c1"})]
        assert journal.read() == {}
        one.close(keep=False)
        assert call.identity == "c1"

    asyncio.run(run())


def test_what_has_its_record_is_known_by_the_file(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "calls.jsonl")
    assert writer.recent() == frozenset()
    heir, call = _standing()
    (record,) = take_up(_contents(call, heir), FakeHeir(), FakeEngine(), NOW, CLOCK).records
    writer.write(record)
    with writer.path.open("ab") as file:
        file.write(b'{"id": "torn')
    assert writer.recent() == {"c1"}
    writer.close()
    assert RecordWriter(Path("/dev/null")).recent() == frozenset()


def test_what_cannot_be_kept_costs_the_others_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heir, call = _standing()
    _, other = answered_call(FakeLeg("pri", 3), FakeLeg("sip", 4))
    heir.calls["c2"] = other
    call.history.notes.append("\udcff")
    journal = CallJournal(tmp_path / "calls", "boot")
    journal.begin()
    note(journal, ["c1", "c2"], heir)
    assert set(journal.read()) == {"c2"}
    assert "cannot be kept" in caplog.text
    journal.close(keep=False)


def test_the_legs_of_a_history_are_found_by_their_place() -> None:
    _, call = _standing()
    incoming, outgoing = FakeLeg("pri", 1), FakeLeg("sip", 2)
    history = history_of(state_of(call), {"incoming": incoming, "outgoing": outgoing})
    assert history.attempt_of(outgoing) is history.attempts[0]
    assert isinstance(history.attempts[0], Attempt) and history.attempt_of(incoming) is None
    assert LegsKept().all == (None, None)


def test_a_call_that_was_taken_up_has_no_timer_of_one_that_rings() -> None:
    heir, call = _standing()
    again, _, _ = _again(_contents(call, heir))
    assert Purpose.RING_LIMIT not in again.timers
