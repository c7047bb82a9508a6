"""A Switch between two far ends of IAX2 that is killed at any moment: calls go on, or end, each with one record."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.call_record import record_of
from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.inheritance import Inheritance
from gateway.media.api import EngineReady
from gateway.media.wire import Kind, ListEntry
from gateway.record import CallRecord, WallClock
from gateway.switch import CallEnded, Switch
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.timers import IaxTimer
from tests.unit.test_switch_iax import Tandem, TonedMedia, changed, required
from tests.unit.voip.iax.iax_scene import ADDRESSES, BAD_NETWORK, Faults, Notes, Place


class KeepingMedia(TonedMedia):
    """An engine that goes on when its client is gone. ``kept``: what the next one has not adopted."""

    def __init__(self, send: Any) -> None:
        super().__init__(send)
        self.kept: tuple[ListEntry, ...] = ()

    def orphan(self) -> None:
        """The client is gone: what happens now nobody is told."""
        self.events.clear()
        sockets = [
            ListEntry(stream, 0, port, Kind.IAX_SOCKET, False, f"iax2 {address} {port}")
            for stream, (address, port) in self.sockets.items()
        ]
        self.kept = (*sockets, *(ListEntry(stream, 0, 0, Kind.IAX, False, "") for stream in self.voices))

    def adopt(self, stream: int) -> None:
        assert any(entry.stream == stream for entry in self.kept), f"{stream} adopted twice, or never there"
        self.kept = tuple(entry for entry in self.kept if entry.stream != stream)

    def close_kept(self) -> int:
        kept = self.kept
        for entry in kept:
            self.adopt(entry.stream)
            self.close(entry.stream)
        return len(kept)


class _Gone:
    """In the place of a Switch while there is none."""

    def next_timer(self) -> int | None:
        return None

    def handle_timer(self, now: int) -> None:
        """Nobody is there."""


class Mortal(Tandem):
    """A Tandem whose Switch can be killed, and made anew from its journal in ``directory``."""

    def __init__(self, directory: Path, **words: Any) -> None:
        self.directory = directory
        self.gone = True
        # The identities of all calls there were.
        self.known: set[str] = set()
        self.ended: list[CallRecord] = []
        super().__init__(**words)
        self.keeping = KeepingMedia(self.carry)
        self.media = self.keeping
        self.begin()

    def settle(self, now: int) -> None:
        if self.gone:
            return
        super().settle(now)
        self.known.update(self.switch.calls)
        for output in self.outputs:
            if isinstance(output, CallEnded):
                self.known.add(output.call.identity)
                self.ended.append(record_of(output.call, WallClock(now, now)))
        self.outputs.clear()
        self.inheritance.note()

    def deliver(self, source: Place, target: Place, data: bytes) -> None:
        if not (self.gone and target[0] == ADDRESSES["m"] and data[0] & 0x80):
            super().deliver(source, target, data)

    def kill(self) -> None:
        """The program is gone; the engine is not."""
        self.gone = True
        self.endpoint = cast(Any, _Gone())
        self.keeping.orphan()

    def begin(self) -> None:
        """Another program begins."""
        media, configuration = cast(Any, self.keeping), self.switch.configuration
        self.switch = Switch(configuration, media, random.Random(self.rng.getrandbits(32)))
        if self.switch.iax is not None:
            self.switch.iax.durations |= {IaxTimer.KEY_LEAST: 2 * SECOND, IaxTimer.KEY_MOST: 4 * SECOND}
        self.inheritance = inheritance = Inheritance(self.directory, self.switch, media)
        answers: list[bool] = []

        def connect() -> None:
            answers.append(inheritance.engine_answers())
            if not answers[-1]:
                self.keeping.close_kept()
            self.switch.media_event(EngineReady(fresh=False), self.now)

        self.switch.enter(self.now)
        asyncio.run(
            inheritance.take_up(
                connect,
                lambda: self.now,
                lambda: WallClock(self.now, self.now),
                self.ended.append,
                lambda: {record.id for record in self.ended},
            )
        )
        if not answers:
            connect()
        assert not self.keeping.kept
        self.gone = False
        self.endpoint = self.switch
        self.settle(self.now)

    def assert_told(self) -> None:
        """All is over: each call has one record, and nothing is left."""
        assert self.switch.quiet
        assert self.switch.idle
        assert not self.media.voices
        assert sorted(record.id for record in self.ended) == sorted(self.known)
        for name in "ac":
            assert self[name].endpoint.idle


@pytest.mark.parametrize(
    "words", [{}, {"peer": required, "terms": "forceencryption = true"}], ids=["clear", "encrypted"]
)
@pytest.mark.parametrize("ends", ["caller", "called"])
def test_a_standing_call_goes_on_and_either_side_ends_it(tmp_path: Path, words: dict[str, Any], ends: str) -> None:
    scene = Mortal(tmp_path, **words)
    leg, notes, far, far_notes = scene.through()
    voices = set(scene.media.voices)
    scene.kill()
    scene.run(2)
    scene.begin()
    assert set(scene.media.voices) == voices
    leg.keypad("12", 100, scene.now)
    far.keypad("34", 100, scene.now)
    scene.run(20)
    assert (notes.keys, far_notes.keys) == ("34", "12")
    (leg if ends == "caller" else far).release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(60)
    assert notes.released is not None and far_notes.released is not None
    (record,) = scene.ended
    assert (record.cause, record.released_by, record.notes) == (16, ends, ())
    scene.assert_told()


def test_a_call_that_rings_is_ended_on_both_sides_with_a_record(tmp_path: Path) -> None:
    scene = Mortal(tmp_path)
    _, notes = scene.place(caller="a", called="m")
    scene.run(10, until=lambda: bool(scene["c"].offers))
    far, _, far_notes = scene["c"].offers[-1]
    far.alert(False, scene.now)
    scene.run(1)
    scene.kill()
    scene.run(1)
    scene.begin()
    scene.run(60)
    for each in (notes, far_notes):
        assert each.released is not None and each.released.cause is Cause.TEMPORARY_FAILURE
    (record,) = scene.ended
    assert (record.cause, record.released_by) == (41, "gateway")
    scene.assert_told()


def test_a_wire_that_is_quiet_costs_nothing_and_one_killed_before_any_call_begins_anew(tmp_path: Path) -> None:
    scene = Mortal(tmp_path)
    scene.kill()
    scene.run(1)
    scene.begin()
    leg, *_ = scene.through()
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(60)
    scene.assert_told()


_WORLDS: dict[str, dict[str, Any]] = {
    "clear": {},
    "lossy": {"faults": BAD_NETWORK},
    "encrypted": {"faults": BAD_NETWORK, "peer": required, "terms": "forceencryption = true"},
    "transfer": {
        "faults": Faults(loss=0.02, jitter=20 * MILLISECOND),
        "peer": lambda _owner, settings: changed(settings, transfer=True),
        "terms": "transfer = true",
    },
}


@pytest.mark.parametrize("world", _WORLDS)
@pytest.mark.parametrize("seed", range(12))
def test_it_may_be_killed_at_any_moment(tmp_path: Path, seed: int, world: str) -> None:
    scene = Mortal(tmp_path, seed=seed, **_WORLDS[world])
    chance = random.Random(seed)
    legs: list[tuple[IaxLeg, Notes]] = []
    answered: set[int] = set()
    for _ in range(40):
        match chance.choice(("place", "place", "answer", "answer", "answer", "press", "press", "hold", "end", "kill")):
            case "place":
                caller = chance.choice("ac")
                legs.append(scene.place(caller=caller, called="m"))
            case "answer":
                for far, _, notes in scene["a"].offers + scene["c"].offers:
                    if id(far) not in answered and notes.released is None and chance.random() < 0.7:
                        answered.add(id(far))
                        legs.append((far, notes))
                        far.answer(None, scene.now)
            case "kill":
                scene.kill()
                scene.run(chance.uniform(0, 3))
                scene.begin()
            case step if legs:
                leg, notes = chance.choice(legs)
                if notes.released is None and step == "press":
                    leg.keypad("5", 100, scene.now)
                elif notes.released is None and step == "hold":
                    leg.hold(scene.now)
                elif notes.released is None:
                    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        scene.drain()
        scene.run(chance.uniform(0, 0.4))
    scene.run(chance.uniform(0, 20))
    for far, _, notes in scene["a"].offers + scene["c"].offers:
        if notes.released is None:
            far.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(120)
    assert all(notes.released is not None for _, notes in legs)
    scene.assert_told()
