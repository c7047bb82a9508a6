"""Endpoints that are killed in a ``Scene`` and begin anew from what was kept of their calls."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec.structs import replace

from gateway.cause import Cause
from gateway.media.wire import Kind, ListEntry
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import Encryption, IaxSettings, PeerSettings
from gateway.voip.iax.survival import IaxSurvival
from tests.unit.voip.iax.iax_scene import ADDRESSES, Agent, Notes, Scene


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


def again(
    scene: Scene, agent: Agent, change: Callable[[IaxSettings], IaxSettings] = lambda settings: settings
) -> Heritage:
    """The program of ``agent`` is killed and another begins: the engine stays, all else is gone."""
    agent.endpoint = IaxEndpoint(change(agent.endpoint.settings), agent.media, random.Random(77), agent._on_offer)
    heritage = Heritage(agent)
    agent.endpoint.enter(scene.now)
    agent.endpoint.inherit(heritage)
    agent.endpoint.engine_ready(False, scene.now)
    return heritage


def reborn(scene: Scene, agent: Agent, state: bytes, stream: int | None, seconds: float = 1.0) -> tuple[IaxLeg, Notes]:
    """Another program goes on with a call after ``seconds`` in which nobody was there."""
    assert stream is not None
    with Absence(scene, agent):
        scene.run(seconds)
    told = list(agent.media.history)
    heritage = again(scene, agent)
    leg = IaxSurvival(agent.endpoint).revive(state, stream, scene.now)
    agent.endpoint.inherited(scene.now)
    notes = Notes()
    leg.listener = notes
    scene.drain()
    assert len(heritage.adopted) == len(agent.media.sockets) == 1
    assert agent.media.history == told, "the engine needs to be told nothing"
    return leg, notes


class Absence:
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


def killed(
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
    leg, heard = reborn(scene, scene[who], state, mine.stream, seconds)
    assert leg.record().keys() == record.keys() - {"media"}
    assert all(leg.record()[key] == record[key] for key in leg.record() if key != "session")
    return leg, heard, other, notes


def hang_up(leg: IaxLeg, scene: Scene) -> None:
    leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(2)


def secured(_owner: str, settings: PeerSettings) -> PeerSettings:
    return replace(settings, encryption=Encryption.REQUIRED)


def standing(scene: Scene, who: str = "b") -> tuple[bytes, IaxLeg, Notes]:
    kept = Kept(scene[who])
    ours, our_notes, theirs, their_notes = scene.answered()
    leg, notes = (ours, their_notes) if who == "a" else (theirs, our_notes)
    return kept.of(leg), leg, notes
