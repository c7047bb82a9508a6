"""Who exists is not told over IAX2: unknown users and wrong passwords get the same frames in the same time, by clock.

Attempts in pairs, in random order and each from an address of its own, so that a slow moment of the machine hits both
alike; the median of the differences between the two of a pair is what is looked at.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from tests.interop.product import Product
from tests.interop.program import PeerError, free_port
from tests.interop.scenario import scenario
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_keys import private_key, public_pem

pytestmark = pytest.mark.alone

PAIRS = 100
EACH_SECONDS = 0.008
"""Less than the gateway reads of strangers in a second."""
ANSWER_SECONDS = 2.0
MOST_APART = 0.00025
"""Seconds. Here it is 0.02 ms at most; what is left of a difference after so many attempts tells nobody anything."""
CONFIGURATION = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
[[trunk]]
name = "martha"
technology = "iax2"
host = "dynamic"
secret = "plums and pears"
context = "from-hq"
[[trunk]]
name = "rupert"
technology = "iax2"
host = "dynamic"
auth = ["rsa"]
inkeys = ["{directory}/far.pub"]
context = "from-hq"
[[trunk]]
name = "edward"
technology = "iax2"
host = "127.0.0.9"
secret = "plums and pears"
context = "from-hq"
"""
MARTHA, RUPERT, EDWARD = "martha", "rupert", "edward"
STRANGERS = tuple(f"bert{number:02}" for number in range(40))
"""Names of as many letters: what is answered is never longer than what came."""
_RANDOM = (rfc.IE_CHALLENGE, rfc.IE_TOKEN)


def shape(data: bytes) -> tuple[object, ...]:
    """What an attacker can compare of an answer: all but what is random, and the name, which is his own word."""
    frame = rfc.read_full(data)
    said = frame.elements
    octets = len(data) - len(said.pop(rfc.IE_USERNAME, b""))
    told = tuple((kind, len(value) if kind in _RANDOM else value) for kind, value in said.items())
    return octets, frame.out, frame.expected, frame.kind, frame.sub, frame.again, told


@dataclass(slots=True)
class Attempt:
    """What came of one: seconds until each answer, and the shapes of the answers without the user's name."""

    seconds: list[float] = field(default_factory=list)
    shapes: list[tuple[object, ...]] = field(default_factory=list)
    methods: int = 0


class Attacker:
    """One address and call number for each attempt."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._port, self._rng = port, rng
        self._serial = 0

    def attempt(self, sub: int, user: str, proof: int) -> Attempt:
        """NEW or REGREQ with a token, and then a wrong answer to the challenge, by the method ``proof``."""
        self._serial += 1
        address = f"127.77.{self._serial >> 8}.{self._serial & 0xFF}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind((address, 0))
            made.connect(("127.0.0.1", self._port))
            made.settimeout(ANSWER_SECONDS)
            return self._try(made, sub, user, proof)

    def _try(self, made: socket.socket, sub: int, user: str, proof: int) -> Attempt:
        found = Attempt()
        number = self._rng.randrange(2, 0x7FFF)
        opening = rfc.element(rfc.IE_USERNAME, user)
        if sub == rfc.NEW:
            opening += rfc.element(rfc.IE_VERSION, 2, 2) + rfc.element(rfc.IE_CALLED, "5550100")
            opening += rfc.element(rfc.IE_FORMAT, rfc.ALAW, 4) + rfc.element(rfc.IE_CAPABILITY, rfc.ALAW, 4)
        else:
            opening += rfc.element(rfc.IE_REFRESH, 60, 2)
        first = rfc.Full(number, 0, 1, 0, 0, rfc.IAX, sub, opening + rfc.element(rfc.IE_TOKEN, b"")).octets()
        token = rfc.read_full(self._ask(made, first, found)).elements[rfc.IE_TOKEN]
        again = rfc.Full(number, 0, 2, 0, 0, rfc.IAX, sub, opening + rfc.element(rfc.IE_TOKEN, token)).octets()
        challenged = rfc.read_full(self._ask(made, again, found))
        said = challenged.elements
        found.methods = int.from_bytes(said.get(rfc.IE_METHODS, b""), "big")
        challenge = said.get(rfc.IE_CHALLENGE, b"")
        if proof == rfc.RSA:
            # Signed as it should be, with another key.
            answer = rfc.element(rfc.IE_RSA, rfc.rsa_proof(challenge, private_key("gateway")))
        else:
            answer = rfc.element(rfc.IE_MD5, rfc.md5_proof(challenge, "pears"))
        sub = rfc.AUTHREP if sub == rfc.NEW else rfc.REGREQ
        body = answer if sub == rfc.AUTHREP else opening + answer
        proven = rfc.Full(number, challenged.source, 20, 1, 1, rfc.IAX, sub, body)
        refused = rfc.read_full(self._ask(made, proven.octets(), found))
        made.send(rfc.Full(number, challenged.source, refused.stamp, 2, 2, rfc.IAX, rfc.ACK).octets())
        return found

    def _ask(self, made: socket.socket, data: bytes, found: Attempt) -> bytes:
        """Send, and wait for what is no mere ACK."""
        begun = time.perf_counter()
        made.send(data)
        while True:
            answer = made.recv(4096)
            if answer[10:12] != bytes((rfc.IAX, rfc.ACK)):
                break
        found.seconds.append(time.perf_counter() - begun)
        found.shapes.append(shape(answer))
        return answer


@dataclass(frozen=True, slots=True)
class Comparison:
    """A user that there is, what it is asked for and how it is guessed at."""

    name: str
    sub: int
    user: str
    methods: int
    proof: int


COMPARISONS = (
    Comparison("a call as a user with MD5", rfc.NEW, MARTHA, rfc.MD5, rfc.MD5),
    Comparison("a call as a user with RSA", rfc.NEW, RUPERT, rfc.RSA, rfc.RSA),
    Comparison("a call with a method that is not asked for", rfc.NEW, RUPERT, rfc.RSA, rfc.MD5),
    Comparison("a call as a user of a fixed address", rfc.NEW, EDWARD, rfc.MD5, rfc.MD5),
    Comparison("a registration with MD5", rfc.REGREQ, MARTHA, rfc.MD5, rfc.MD5),
    Comparison("a registration with RSA", rfc.REGREQ, RUPERT, rfc.RSA, rfc.RSA),
    Comparison("a registration with a method that is not asked for", rfc.REGREQ, MARTHA, rfc.MD5, rfc.RSA),
)


def asked_for(attacker: Attacker, sub: int, methods: int) -> str:
    """A user that there is not and is asked for the same proof as one that there is."""
    for name in STRANGERS:
        time.sleep(EACH_SECONDS)
        if attacker.attempt(sub, name, rfc.MD5).methods == methods:
            return name
    raise PeerError(f"nobody of {len(STRANGERS)} unknown users is asked for methods {methods}")


def compare(attacker: Attacker, each: Comparison, rng: random.Random) -> tuple[list[float], list[Counter[object]]]:
    """Seconds that known users' answers come later than unknown ones', one for each answer; and all shapes of both."""
    unknown = asked_for(attacker, each.sub, each.methods)
    shapes: list[Counter[object]] = [Counter(), Counter()]
    later: list[list[float]] = []
    for _ in range(PAIRS):
        users = [(0, each.user), (1, unknown)]
        rng.shuffle(users)
        pair: dict[int, Attempt] = {}
        for which, user in users:
            time.sleep(EACH_SECONDS)
            pair[which] = attacker.attempt(each.sub, user, each.proof)
            shapes[which].update([tuple(pair[which].shapes)])
        later.append([known - other for known, other in zip(pair[0].seconds, pair[1].seconds, strict=True)])
    return [median(column) for column in zip(*later, strict=True)], shapes


@scenario
async def test_unknown_users_and_wrong_proofs_take_the_same_time_and_get_the_same_frames(tmp_path: Path) -> None:
    rng = random.Random(77)
    port = free_port()
    (tmp_path / "far.pub").write_bytes(public_pem("far"))
    product = Product(tmp_path, exchange=False, extra=CONFIGURATION.format(port=port, directory=tmp_path))
    attacker = Attacker(port, rng)
    async with product:
        for each in COMPARISONS:
            apart, shapes = await asyncio.to_thread(compare, attacker, each, rng)
            assert shapes[0] == shapes[1], (each.name, shapes)
            assert len(shapes[0]) == 1, (each.name, shapes)
            told = [f"{seconds * 1e6:+.0f} us" for seconds in apart]
            print(f"{each.name}: the answers to who exists come {', '.join(told)} later")
            assert len(apart) == 3
            assert max(map(abs, apart)) < MOST_APART, (each.name, told)
        status = await product.gateway.command("status")
        assert status["iax"]["statistics"]["failed"] >= 2 * PAIRS * len(COMPARISONS)
