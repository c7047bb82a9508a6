"""Who hammers on the gateway's port: scans, guesses, floods, garbage, and what was overheard, said once more."""

from __future__ import annotations

import random
import re

from gateway.core import MILLISECOND
from tests.simulation.gateway_node import ADDRESS, PORT
from tests.simulation.guard import STRANGERS_PREFIX
from tests.simulation.story import EMERGENCY
from tests.simulation.world import Network, World

MOST_OVERHEARD = 8
SLANDER = 700
"""Datagrams of garbage: those who are not known owe more than they may after 600."""
FLOOD = 300
"""Datagrams of a flood: ten thousand a second, for a moment."""
_BRANCH = re.compile(rb"branch=z9hG4bK[^;\r\n]*")
_CALL_ID = re.compile(rb"\r\nCall-ID: [^\r\n]*")


class Strangers:
    """All of them. ``overhear`` is given what others send; ``trunks`` are addresses that they may say to have."""

    def __init__(self, world: World, network: Network, trunks: tuple[str, ...]) -> None:
        self.world = world
        self.network = network
        self.trunks = trunks
        self.sent = 0
        self._rng = random.Random(world.rng.getrandbits(64))
        self._overheard: list[tuple[bytes, tuple[str, int]]] = []

    def overhear(self, data: bytes, source: tuple[str, int]) -> None:
        """Somebody on the way listens."""
        if len(self._overheard) < MOST_OVERHEARD and b"\r\nAuthorization: " in data:
            self._overheard.append((data, source))

    def plan(self, end: int) -> None:
        """Come a few times between now and ``end``."""
        world, rng = self.world, self._rng
        for _ in range(rng.randint(1, 4)):
            act = rng.choice(
                (self._flood, self._scan, self._guess, self._repeat, self._repeat, self._babble, self._slander)
            )
            world.at(rng.randrange(world.now, max(end, world.now + 1)), act)

    def _from(self) -> tuple[str, int]:
        return f"{STRANGERS_PREFIX}{self._rng.randrange(1, 255)}", self._rng.randrange(1024, 65535)

    def _send(self, source: tuple[str, int], data: bytes, after: int) -> None:
        self.sent += 1
        self.world.after(after, self.network.send, source, (ADDRESS, PORT), data)

    def _request(self, method: str, user: str, source: tuple[str, int], more: str = "") -> bytes:
        number = self._rng.getrandbits(48)
        uri = f"sip:{user}@{ADDRESS}" if method != "REGISTER" else f"sip:{ADDRESS}"
        return (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {source[0]}:{source[1]};branch=z9hG4bK{number:x};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{ADDRESS}>;tag={number:x}\r\nTo: <sip:{user}@{ADDRESS}>\r\n"
            f"Call-ID: {number:x}\r\nCSeq: 1 {method}\r\nContact: <sip:{user}@{source[0]}:{source[1]}>\r\n"
            f"{more}Content-Length: 0\r\n\r\n"
        ).encode()

    def _flood(self) -> None:
        """INVITEs and REGISTERs of one, or of many."""
        rng = self._rng
        alone = self._from() if rng.random() < 0.5 else None
        method = rng.choice(("INVITE", "REGISTER"))
        for number in range(FLOOD):
            source = alone or self._from()
            self._send(source, self._request(method, f"1{number:06d}", source), number * MILLISECOND // 10)

    def _scan(self) -> None:
        """Which users are there?"""
        source = self._from()
        for number in range(60):
            method = self._rng.choice(("OPTIONS", "REGISTER", "INVITE", "REFER", "BYE", "NOTIFY", "ACK", "CANCEL"))
            user = EMERGENCY if number % 10 == 0 else f"{7000 + number}"
            self._send(source, self._request(method, user, source), number * 20 * MILLISECOND)

    def _guess(self) -> None:
        """Passwords of the phone."""
        source = self._from()
        for number in range(40):
            more = (
                f'Authorization: Digest username="7001", realm="branch-gateway", nonce="{number:032x}", uri="sip:x", '
                f'response="{self._rng.getrandbits(128):032x}", algorithm=MD5, qop=auth, nc=00000001, cnonce="x"\r\n'
            )
            method = self._rng.choice(("REGISTER", "INVITE"))
            self._send(source, self._request(method, "7001", source, more), number * 50 * MILLISECOND)

    def _repeat(self) -> None:
        """What was overheard, as it was, and as a call or registration of its own; who can may say to be that one."""
        rng = self._rng
        alone = self._from()
        for data, victim in self._overheard:
            source = victim if rng.random() < 0.5 else alone
            self._send(source, data, rng.randrange(1000) * MILLISECOND)
            other = _BRANCH.sub(b"branch=z9hG4bK%x" % rng.getrandbits(48), data, count=1)
            other = _CALL_ID.sub(b"\r\nCall-ID: %x" % rng.getrandbits(48), other, count=1)
            self._send(source, other, rng.randrange(1000) * MILLISECOND)

    def _slander(self) -> None:
        """No SIP either, and so much of it that who is not known would be heard no more."""
        source = self._rng.choice(self.trunks), PORT
        for number in range(SLANDER):
            self._send(source, f"HELP {self._rng.getrandbits(64):x}\r\n\r\n".encode(), number * 10 * MILLISECOND)

    def _babble(self) -> None:
        """No SIP at all."""
        source = self._from()
        for number in range(60):
            self._send(source, self._rng.randbytes(self._rng.randrange(1, 300)), number * 10 * MILLISECOND)
