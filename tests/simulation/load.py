"""The calls of a run: who calls whom when, how the called side behaves, and who hangs up first."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from gateway.cause import Cause
from gateway.core import MILLISECOND
from tests.simulation.exchange_node import ExchangeNode
from tests.simulation.iax_round import ROUND
from tests.simulation.sip_node import SipNode
from tests.simulation.story import DESK, EMERGENCY, ID_DIGITS, Answering, Script, Story
from tests.simulation.world import World

REFUSALS = (
    Cause.USER_BUSY,
    Cause.USER_BUSY,
    Cause.UNALLOCATED_NUMBER,
    Cause.NO_ANSWER_FROM_USER,
    Cause.CALL_REJECTED,
    Cause.NUMBER_CHANGED,
    Cause.DESTINATION_OUT_OF_ORDER,
    Cause.TEMPORARY_FAILURE,
    Cause.SWITCHING_EQUIPMENT_CONGESTION,
    Cause.NO_CIRCUIT_AVAILABLE,
    Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED,
    Cause.INCOMPATIBLE_DESTINATION,
    Cause.INTERWORKING,
    Cause.NORMAL_UNSPECIFIED,
)
STATUSES = (302, 302, 400, 403, 404, 408, 410, 480, 484, 486, 488, 500, 502, 503, 600, 603, 606)
ENDINGS = (Cause.NORMAL_CALL_CLEARING,) * 8 + (Cause.NORMAL_UNSPECIFIED, Cause.PREEMPTION)

_FROM_SIP = (
    ("1", 8),
    ("2", 4),
    ("3", 2),
    ("4", 2),
    ("5", 1),
    ("6", 1),
    ("7", 3),
    ("90", 1),
    ("91", 1),
    ("92", 1),
    (EMERGENCY, 1),
)
_BY_OTHERS = 0.5
_OF_OTHERS = 6
_ROUND = 1
_FROM_PSTN = (("1", 6), ("2", 3), ("3", 3), ("4", 2), ("5", 2), ("6", 1), ("7", 2), ("90", 1), ("91", 1), ("92", 1))


class Origin(Protocol):
    """Who makes calls."""

    name: str

    def place(self, script: Script) -> None:
        """Make a call to the gateway."""


class Load:
    """Plans a run's calls and places them when their time comes. ``others``: who calls, by what is called there."""

    def __init__(
        self,
        world: World,
        story: Story,
        exchanges: Sequence[ExchangeNode],
        phones: Sequence[SipNode],
        rng: random.Random,
        others: Mapping[str, Origin] = MappingProxyType({}),
    ) -> None:
        self.others = others
        self.world = world
        self.story = story
        self.exchanges = exchanges
        self.phones = phones
        self.rng = rng
        self.talkative = False

    def plan(self, calls: int) -> int:
        """Plan ``calls`` calls from now on; returns when the last one has been placed and a little more."""
        rng = self.rng
        pace = rng.choice((150, 500, 1500, 4000))
        at = self.world.now
        number = 0
        self.talkative = rng.random() < 0.3
        while number < calls:
            at += int(rng.expovariate(1 / pace)) * MILLISECOND
            # Now and then both ends reach for the channels in the same instant.
            together = min(rng.randint(4, 12), calls - number) if rng.random() < 0.05 else 1
            for _ in range(together):
                number += 1
                at_exactly = at + rng.randrange(4) * MILLISECOND
                self.world.at(at_exactly, self._place, self._script(number, at_exactly))
        return at + rng.randint(1, 20_000) * MILLISECOND

    def _script(self, number: int, start: int) -> Script:
        rng = self.rng
        pstn = rng.random() < 0.5
        exchange = rng.choice(self.exchanges)
        origin = exchange.name if pstn else rng.choice(self.phones).name
        rows = _FROM_PSTN if pstn else _FROM_SIP
        if self.others:
            rows = (*rows, *((digits, _OF_OTHERS) for digits in self.others), (ROUND, _ROUND))
            if rng.random() < _BY_OTHERS:
                pstn, origin = False, rng.choice(list(self.others.values())).name
        prefix = rng.choices([row[0] for row in rows], [row[1] for row in rows])[0]
        patience = rng.choice((rng.randint(1, 300), rng.randint(300, 8_000), rng.randint(5_000, 40_000)))
        if rng.random() < 0.6:
            patience = rng.randint(20_000, 60_000)
        hold = rng.choice((rng.randint(1, 500), rng.randint(500, 10_000), rng.randint(5_000, 40_000)))
        if rng.random() < (0.5 if self.talkative else 0.04):
            hold = rng.randint(60_000, 230_000)
        answers = tuple(self._answering(f"{attempt}", patience) for attempt in range(1, 4))
        acts = self._acts()
        called = f"{prefix}{number:0{ID_DIGITS}d}"
        if prefix == EMERGENCY:
            called, answers, acts = EMERGENCY, (DESK,), ()
            patience, hold = rng.randint(50_000, 60_000), rng.randint(500, 5_000)
        elif acts and acts[0][1] == "hold" and rng.random() < 0.4:
            # Both do the same at the same time.
            answers = tuple([replace(answer, acts=acts) for answer in answers])
        script = Script(
            number,
            prefix,
            origin,
            called,
            patience,
            hold,
            rng.choice(ENDINGS),
            answers,
            overlap=pstn and exchange.settings.overlap_send and rng.random() < 0.5,
            acts=acts,
            start=start,
        )
        self.story.add(script)
        return script

    def _acts(self) -> tuple[tuple[int, str], ...]:
        rng = self.rng
        if rng.random() > 0.15:
            return ()
        at = rng.randint(100, 5_000)
        if rng.random() < 0.3:
            what = rng.choice(("transfer", "transfer", "consult"))
            return ((at, "hold"), (at + rng.randint(10, 500), what)) if rng.random() < 0.6 else ((at, what),)
        if rng.random() < 0.4:
            return ((at + 1_000, "press"),)
        if rng.random() < 0.1:
            return ((at, "name"), (at + rng.randint(1, 300), "hold"), (at + rng.randint(400, 6_000), "resume"))
        return ((at, "hold"), (at + rng.randint(50, 6_000), "resume"))

    def _answering(self, name: str, patience: int) -> Answering:
        rng = self.rng
        kind = rng.random() * (0.5 if self.talkative else 1.0)
        ring = rng.choice((5, rng.randint(20, 400), rng.randint(100, 3_000)))
        hold = None if self.talkative else rng.choice((None, rng.randint(1, 300), rng.randint(300, 30_000)))
        ending = rng.choice(ENDINGS)
        refusal = rng.choice(REFUSALS)
        if kind < 0.40:
            return Answering(
                f"{name} rings and answers",
                ring_after=ring,
                ring_inband=rng.random() < 0.3,
                answer_after=ring + rng.randint(1, 12_000),
                hold=hold,
                cause=ending,
                acts=self._acts(),
            )
        if kind < 0.50:
            return Answering(f"{name} answers at once", answer_after=rng.randint(1, 50), hold=hold, cause=ending)
        if kind < 0.58:
            return Answering(
                f"{name} speaks before it answers",
                early=ring,
                ring_after=ring + rng.randint(10, 500) if rng.random() < 0.5 else None,
                answer_after=ring + rng.randint(600, 6_000),
                hold=hold,
                cause=ending,
            )
        if kind < 0.66:
            return Answering(
                f"{name} answers just when the caller gives up",
                ring_after=5,
                answer_after=max(10, patience + rng.randint(-60, 60)),
                hold=hold,
                cause=ending,
            )
        if kind < 0.76:
            return Answering(f"{name} refuses with {refusal.name}", refuse_after=rng.choice((0, 20)), cause=refusal)
        if kind < 0.84:
            status = rng.choice(STATUSES)
            return Answering(
                f"{name} refuses with {status}",
                refuse_after=rng.choice((0, 20)),
                cause=refusal,
                status=status,
                forward=status == 302,
            )
        if kind < 0.90:
            return Answering(
                f"{name} rings, then refuses with {refusal.name}",
                ring_after=ring,
                refuse_after=ring + rng.randint(1, 10_000),
                cause=refusal,
            )
        if kind < 0.97:
            return Answering(f"{name} rings for ever", ring_after=ring, ring_inband=rng.random() < 0.2)
        return Answering(f"{name} says nothing")

    def _place(self, script: Script) -> None:
        self.world.note(script.origin, "places", str(script))
        for exchange in self.exchanges:
            if exchange.name == script.origin:
                exchange.place(script)
                return
        for phone in (*self.phones, *self.others.values()):
            if phone.name == script.origin:
                phone.place(script)
                return
