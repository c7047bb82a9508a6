"""A branch in virtual time whose gateway is killed at any moment, and begins anew from what it kept in memory.

Everybody who calls and is called is the test's, so that it is known of each call who thinks that it stands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.call import Call
from gateway.call_states import State
from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, Party
from gateway.leg import Answered, Leg, LegEvent, Listener, Offered, Released, Setup
from gateway.media.wire import Kind, ListEntry
from gateway.pri.span.layer1 import Alarm
from gateway.record import WallClock
from gateway.survival import note, take_up
from gateway.switch import Switch
from tests.unit.branch_scene import GATEWAY, Scene

ROUTES = """
[[route]]
context = "from-pstn"
match = "_4."
to = ["sip:hq/{number}"]

[[route]]
context = "from-hq"
match = "_9."
to = ["pri:g0/{number}"]

[[route]]
context = "from-hq"
match = "_7."
to = ["sip:hq/{number}"]
"""
CALM = 120.0
"""Seconds until each end knows of the other: longer than T309, and than the refresh of a SIP session is put off."""
MAX_DOWN = 2_500
"""Milliseconds that a start takes; T309 lasts longer, and so do repetitions by SIP."""


@dataclass
class End:
    """One end of a call, which ``stands`` as far as it knows."""

    scene: Mortal
    leg: Leg
    events: list[LegEvent] = field(default_factory=list)
    answered: bool = False
    over: bool = False

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        self.events.append(event)
        if isinstance(event, Answered):
            self.answered = True
        elif isinstance(event, Released):
            self.over = True

    @property
    def stands(self) -> bool:
        return self.answered and not self.over

    def answer(self) -> None:
        if not self.over:
            self.answered = True
            self.leg.answer(None, self.scene.now)

    def hang_up(self) -> None:
        if not self.over:
            self.over = True
            self.leg.release(Cause.NORMAL_CALL_CLEARING, self.scene.now)

    def hold(self, held: bool) -> None:
        if self.stands:
            (self.leg.hold if held else self.leg.resume)(self.scene.now)


class _Counting(Switch):
    """Notes what it is offered."""

    offers: list[str]

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        self.offers.append(offered.setup.called.digits)
        return super()._offered(leg, offered, now)


class _Nobody:
    """What is there of a program that was killed."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_settings: None


class _Engine:
    """What the next program finds of the voice."""

    def __init__(self, scene: Mortal) -> None:
        streams = scene.media.wiring.streams
        self.kept = tuple(ListEntry(number, 0, 0, Kind.RTP, False, "") for number in streams)
        self.adopted: set[int] = set()

    def adopt(self, stream: int) -> None:
        self.adopted.add(stream)


class Mortal(Scene):
    """A branch with ``calls`` calls and ``kills`` kills within a minute, as ``seed`` has them."""

    def __init__(self, seed: int, calls: int = 30, kills: int = 3) -> None:
        self.rng = random.Random(seed)
        self.journal: dict[str, bytes] = {}
        self.offers: list[str] = []
        self.callers: dict[str, End] = {}
        self.called: dict[str, End] = {}
        self.starts = 0
        self.gone_on = 0
        self.ended_by_starts = 0
        self.up = True
        super().__init__(routes=ROUTES, up=False)
        self.switch = self._new()
        self._cores[0] = self.switch
        self.exchanges["pstn"].trunk.take_calls(lambda leg, offered, now: self._ring(leg, offered.setup.called.digits))
        self.alarm("pstn", Alarm.NONE)
        self.run(3)
        rng = self.rng
        for serial in range(calls):
            self.later(rng.randrange(60 * SECOND), lambda serial=serial: self._call(serial))  # type: ignore[misc]
        for _ in range(kills):
            self.later(rng.randrange(60 * SECOND), self.kill)

    # -- the program --

    def put(self, name: str, content: bytes) -> None:
        """As a journal does."""
        self.journal[name] = content

    def drop(self, name: str, *, at_leisure: bool = False) -> None:
        """As a journal does."""
        self.journal.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self.journal

    def _new(self) -> Switch:
        self.starts += 1
        switch = _Counting(
            self.configuration, self.media, random.Random(self.rng.getrandbits(32)), local_for=lambda _remote: GATEWAY
        )
        switch.offers = self.offers
        return switch

    def _drain_switch(self) -> bool:
        if super()._drain_switch():
            return True
        if self.up and self.switch.touched:
            note(self, self.switch.touched, self.switch)
            self.switch.touched.clear()
        return False

    def kill(self) -> None:
        """The program is gone; voice stays, and nobody hears the line or SIP."""
        if not self.up:
            return
        self.up = False
        self.switch = self._cores[0] = cast(Any, _Nobody())
        self.media._replies.clear()
        self.exchanges["pstn"].line_state(Alarm.RED, self.now)
        self.later(self.rng.randrange(50, MAX_DOWN) * MILLISECOND, self.begin)

    def begin(self) -> None:
        """Another begins."""
        self.switch = self._cores[0] = self._new()
        engine = _Engine(self)
        before, self.journal = self.journal, {}
        written = {record.id for record in self.records}
        left = take_up(before, self.switch, engine, self.now, WallClock(0, 0), written)
        self.gone_on += len(left.calls)
        self.ended_by_starts += len(left.records)
        self.records += left.records
        for entry in engine.kept:
            if entry.stream not in engine.adopted:
                self.media.close(entry.stream)
        self.up = True
        self.alarm("pstn", Alarm.NONE)

    # -- who calls --

    def _far_offered(self, leg: Leg, offered: Offered, now: int) -> Listener:
        return self._ring(leg, offered.setup.called.digits)

    def _ring(self, leg: Leg, number: str) -> End:
        end = self.called[number] = End(self, leg)
        rng = self.rng
        if rng.random() < 0.7:
            self.later(rng.randrange(2 * SECOND), lambda: None if end.over else leg.alert(False, self.now))
        if rng.random() < 0.85:
            self.later(rng.randrange(2 * SECOND, 8 * SECOND), end.answer)
        self._later_life(end)
        return end

    def _later_life(self, end: End) -> None:
        rng = self.rng
        if rng.random() < 0.3:
            self.later(rng.randrange(60 * SECOND), end.hang_up)
        if rng.random() < 0.3:
            at = rng.randrange(40 * SECOND)
            self.later(at, lambda: end.hold(True))
            self.later(at + rng.randrange(SECOND, 20 * SECOND), lambda: end.hold(False))

    def _call(self, serial: int) -> None:
        kind = self.rng.choice("497")
        number = f"{kind}{serial:06}"
        setup = Setup(Number(number), Party(Number("2125550000")))
        leg = (
            self.exchanges["pstn"].trunk.new_leg(None, self.now)
            if kind == "4"
            else self.far.new_leg("gateway", self.now)
        )
        if isinstance(leg, Cause):
            return
        end = leg.listener = self.callers[number] = End(self, leg)
        leg.place(setup, self.now)
        self._later_life(end)

    # -- the verdict --

    def disagreements(self) -> list[str]:
        """Calls that do not stand at both ends and here, or at neither."""
        standing = Counter(
            call.setup.called.digits for call in self.switch.calls.values() if call.state is State.ANSWERED
        )
        found = [f"{number} stands {count} times" for number, count in standing.items() if count > 1]
        for number in sorted({*self.callers, *self.called}):
            caller, called = self.callers.get(number), self.called.get(number)
            stands = [number in standing, *[each is not None and each.stands for each in (caller, called)]]
            if len(set(stands)) > 1:
                found.append(f"{number}: here, at the caller, at the called side: {stands}")
        there = {call.setup.called.digits for call in self.switch.calls.values()}
        for ends in (self.callers, self.called):
            found += [
                f"{number} is waited for in vain" for number in ends if not ends[number].over and number not in there
            ]
        return found + [
            f"{call.setup.called.digits} cannot be heard"
            for call in self.switch.calls.values()
            if call.state is State.ANSWERED and not call._holding and not self._heard(call)
        ]

    def _heard(self, call: Call) -> bool:
        """Whether both sides of the call are wired to each other."""
        one = self.media.wiring.streams.get(call.incoming.stream or 0)
        return one is not None and call.outgoing is not None and one.peer == call.outgoing.stream

    def judge(self) -> list[str]:
        """Let the story come to its end; all that is not as it should be."""
        self.run(75 + CALM)
        found = self.disagreements()
        for end in [*self.callers.values(), *self.called.values()]:
            end.hang_up()
        self.settle()
        self.run(CALM)
        offered, recorded = Counter(self.offers), Counter(record.dialled for record in self.records)
        found += [
            f"{number} was offered {n} times, and has {recorded[number]} records"
            for number, n in offered.items()
            if recorded[number] != n
        ]
        found += [f"a record of {number}, which was never offered" for number in recorded if number not in offered]
        if self.journal:
            found.append(f"kept after their end: {sorted(self.journal)}")
        try:
            self.assert_clean()
        except AssertionError as error:
            found.append(f"left over: {str(error)[:300] or 'something'}")
        return found
