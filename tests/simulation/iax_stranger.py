"""Who hammers on the gateway's IAX2 port: floods, guesses, mangled and replayed frames, and all in another's name."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND
from tests.simulation import iax_rfc as rfc
from tests.simulation.gateway_node import ADDRESS, ADDRESS_6
from tests.simulation.guard import STRANGERS_PREFIX
from tests.simulation.world import Address

if TYPE_CHECKING:
    from tests.simulation.iax_far_ends import IaxFarEnds

IMPOSTOR_AT = f"{STRANGERS_PREFIX}255"
MANGLED_EVERY = 3 * MILLISECOND
"""No more than are read of who is not known."""
FLOOD = 300
"""Frames of a flood: ten thousand a second, for a moment."""


class IaxStrangers:
    """All of them. What the gateway says to them is counted: never more, in frames or in octets, than they said."""

    def __init__(self, far_ends: IaxFarEnds, rng: random.Random) -> None:
        self.far_ends = far_ends
        self.world = far_ends.world
        self.sent = 0
        self._rng = rng
        self._said: Counter[str] = Counter()
        self._octets: Counter[str] = Counter()
        if far_ends.shapes:
            gateway = far_ends.branch.gateway
            gateway.watch_iax = self._watch

    def _watch(self, address: str, octets: int) -> None:
        """So many octets came from, or (less than 0) went to, an address."""
        # Who has a password, if a wrong one, answers, and so shows where it is.
        if address.startswith(STRANGERS_PREFIX) and address != IMPOSTOR_AT:
            self._said[address] += 1 if octets > 0 else -1
            self._octets[address] += octets

    @property
    def breaches(self) -> list[str]:
        """Who got more than it sent."""
        if any(shape.calltokens != "yes" for shape in self.far_ends.shapes.values()):
            # Who may call without a token is asked for a proof, again and again.
            return []
        found = [f"{who} was sent {-more} frames more than came" for who, more in self._said.items() if more < 0]
        return found + [
            f"{who} was sent {-more} octets more than came" for who, more in self._octets.items() if more < 0
        ]

    def plan(self, end: int) -> None:
        """Come a few times between now and ``end``."""
        world, rng = self.world, self._rng
        acts = (self._flood, self._guess, self._babble, self._babble, self._replay)
        for _ in range(rng.randint(2, 6)):
            world.at(rng.randrange(world.now, max(end, world.now + 1)), rng.choice(acts))
        spread = max(1, (end - world.now) // 20)
        for number in range(20):
            world.at(world.now + number * spread, self._mangle, self.far_ends.branch.mangled // 20)

    def _from(self) -> Address:
        return f"{STRANGERS_PREFIX}{self._rng.randrange(1, 255)}", self._rng.randrange(1024, 65535)

    def _anybody(self) -> Address:
        """Its own address, or that of a far end, which it only says to have."""
        rng = self._rng
        if rng.random() < 0.7:
            return self._from()
        network = self.far_ends.branch.network
        name = rng.choice(sorted(self.far_ends.shapes))
        return network.outside(self.far_ends.shapes[name].address), rng.choice((rfc.PORT, 30_001, 30_002))

    def _send(self, source: Address, data: bytes, after: int) -> None:
        if data:
            self.sent += 1
            target = (ADDRESS_6 if ":" in source[0] else ADDRESS, rfc.PORT)
            self.world.after(after, self.far_ends.branch.network.send, source, target, data)

    def _frame(self, sub: int, user: str, more: bytes = b"", number: int | None = None) -> bytes:
        body = rfc.element(rfc.IE_USERNAME, user) + more
        if sub == rfc.NEW:
            body = rfc.element(rfc.IE_VERSION, 2, 2) + rfc.element(rfc.IE_CALLED, "911") + body
        source = self._rng.randrange(1, 0x8000) if number is None else number
        return rfc.Full(source, 0, self._rng.randrange(100), 0, 0, rfc.IAX, sub, body).octets()

    def _user(self) -> str:
        return self._rng.choice((*sorted(self.far_ends.shapes), "guest", "", "100", "x" * 200))

    def _flood(self) -> None:
        """Beginnings of everything, of one or of many, with a token asked for, made up or none."""
        rng = self._rng
        alone = self._anybody() if rng.random() < 0.5 else None
        sub = rng.choice((rfc.NEW, rfc.POKE, rfc.REGREQ, rfc.REGREL, 0))
        for number in range(FLOOD):
            token = rng.choice((b"", rfc.element(rfc.IE_TOKEN, b""), rfc.element(rfc.IE_TOKEN, rng.randbytes(40))))
            kind = sub or rng.randrange(1, 41)
            self._send(alone or self._anybody(), self._frame(kind, self._user(), token), number * MILLISECOND // 10)

    def _guess(self) -> None:
        """Proofs without a challenge."""
        source = self._from()
        for number in range(60):
            proof = rfc.element(rfc.IE_MD5, f"{self._rng.getrandbits(128):032x}") + rfc.element(rfc.IE_TOKEN, b"")
            sub = self._rng.choice((rfc.REGREQ, rfc.NEW, rfc.AUTHREP))
            self._send(source, self._frame(sub, self._user(), proof, number // 3 + 1), number * 30 * MILLISECOND)

    def _babble(self) -> None:
        """No IAX2 at all."""
        source = self._from()
        for number in range(60):
            self._send(source, self._rng.randbytes(self._rng.randrange(1, 300)), number * 10 * MILLISECOND)

    def _replay(self) -> None:
        """What was seen of the wild far end, as it was, in its name or in the stranger's."""
        source = self._anybody()
        for number in range(40):
            self._send(source, self.far_ends.mangler.replayed(), number * 20 * MILLISECOND)

    def _mangle(self, frames: int) -> None:
        """What was seen of the wild far end, mangled."""
        for number in range(frames):
            self.far_ends.mangled += 1
            self._send(self._anybody(), self.far_ends.mangler.any(), number * MANGLED_EVERY)
