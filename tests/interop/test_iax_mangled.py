"""IAX2 frames that nobody should send, on the real socket of the daemon: no traceback, no leak, no other call harmed.

IAX_MANGLED is how many (200,000 is what was promised). They are made of real ones, to and from calls that there are: a
far end of the test's own, which may call without proof, gets its calls' numbers, and a stranger sends the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.bench.processes import Used, used
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import SCENARIO_SECONDS, lasting
from tests.interop.standing_call import StandingCall, configuration, telephone
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_mangler import Mangler

pytestmark = pytest.mark.alone

FRAMES = int(os.environ.get("IAX_MANGLED", "20000"))
A_SECOND = 4_000
WARM_UP = 4_000
MOST_GROWTH = 12 * 1024 * 1024
NEAR = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
[[trunk]]
name = "main"
technology = "iax2"
host = "127.0.0.1:{far}"
defaultuser = "near"
secret = "apples"
[[route]]
context = "talkers"
match = "_8."
to = ["iax2:main/{{number}}"]
"""
MAIN = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
maxcallnumbers_nonvalidated = 64
[timers.iax]
linger_ms = 500
auth_ms = 2000
retransmit_ms = 100
retransmit_most_ms = 200
retries = 2
[[trunk]]
name = "near"
technology = "iax2"
host = "127.0.0.1:{near}"
secret = "apples"
context = "from-near"
[[trunk]]
name = "rough"
technology = "iax2"
host = "127.0.0.1:{rough}"
insecure = ["invite"]
requirecalltoken = "no"
context = "from-rough"
maxcallnumbers = 100
[[route]]
context = "from-near"
match = "_8."
to = ["pri:r0/{{number:1}}"]
[[route]]
context = "from-rough"
match = "_X."
to = ["echo"]
"""


class Both(Product):
    """The gateway that is attacked. ``near`` is the other one, through which the telephone's voice goes first."""

    near: Product

    @property
    def voice_pids(self) -> list[int]:
        """Engines of both."""
        return [*super().voice_pids, *self.near.voice_pids]

    @property
    def files(self) -> list[int]:
        """How many files the Python side and the engine have open."""
        pids = [self.gateway_pid, *([self.engine_pid] if self.engine_pid else [])]
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]

    @property
    def memory(self) -> Used:
        """Of both of them."""
        return used(self.gateway_pid) + (used(self.engine_pid) if self.engine_pid else Used(0, 0))


class Rough:
    """Sends, and learns from what is answered: numbers of calls, and frames that would be in their turn."""

    def __init__(self, address: str, own: int, port: int, rng: random.Random) -> None:
        self._port = port
        self._rng = rng
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, own))
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self.mangler = Mangler(rng)
        self.answers = 0
        self.sent = 0
        for frame in self._beginnings():
            self.mangler.remember(frame)

    def _new(self) -> bytes:
        body = (
            rfc.element(rfc.IE_VERSION, 2, 2)
            + rfc.element(rfc.IE_CALLED, "5550100")
            + rfc.element(rfc.IE_CALLING, "4165559999")
            + rfc.element(rfc.IE_USERNAME, self._rng.choice(("rough", "rough", "rough", "near", "nobody")))
            + rfc.element(rfc.IE_CAPABILITY, rfc.ALAW | rfc.ULAW, 4)
            + rfc.element(rfc.IE_FORMAT, rfc.ALAW, 4)
        )
        if self._rng.random() < 0.3:
            body += rfc.element(rfc.IE_TOKEN, b"")
        return rfc.Full(self._rng.randrange(1, 1 << 15), 0, 1, 0, 0, rfc.IAX, rfc.NEW, body).octets()

    def _beginnings(self) -> list[bytes]:
        """First frames of everything."""
        registering = rfc.element(rfc.IE_USERNAME, "near") + rfc.element(rfc.IE_REFRESH, 60, 2)
        return [
            self._new(),
            rfc.Full(77, 0, 1, 0, 0, rfc.IAX, rfc.REGREQ, registering).octets(),
            rfc.Full(78, 0, 1, 0, 0, rfc.IAX, rfc.POKE).octets(),
            rfc.Full(79, 80, 9, 1, 1, rfc.VOICE, rfc.ALAW, b"\xd5" * 160).octets(),
            rfc.Full(79, 80, 9, 1, 1, rfc.DTMF_END, ord("5")).octets(),
            rfc.Full(79, 80, 9, 1, 1, rfc.IAX, rfc.TXREQ, rfc.element(rfc.IE_APPARENT, bytes(16))).octets(),
            rfc.mini(79, 40, b"\xd5" * 160),
            rfc.trunk(40, [(79, 40, b"\xd5" * 160)], stamps=True),
        ]

    def listen(self) -> None:
        """Take what was answered; what would be the next frame of that call is remembered."""
        while True:
            try:
                data = self._socket.recv(4096)
            except (BlockingIOError, ConnectionError):
                return
            self.answers += 1
            if not rfc.is_full(data):
                continue
            frame = rfc.read_full(data)
            number, target = frame.target or self._rng.randrange(1, 1 << 15), frame.source
            out, expected = frame.expected, (frame.out + frame.numbered) & 0xFF
            kind, sub = self._rng.choice(
                (
                    *((rfc.IAX, sub) for sub in (rfc.ACK, rfc.PONG, rfc.HANGUP, rfc.AUTHREP, rfc.ACCEPT, rfc.TXREQ)),
                    *((rfc.IAX, sub) for sub in (rfc.RTKEY, rfc.QUELCH, rfc.VNAK, rfc.LAGRQ, rfc.REJECT, rfc.INVAL)),
                    *((rfc.CONTROL, sub) for sub in (rfc.ANSWER, rfc.RINGING, rfc.HOLD)),
                    (rfc.VOICE, rfc.ALAW),
                    (rfc.DTMF_BEGIN, ord("5")),
                )
            )
            self.mangler.remember(
                rfc.Full(number, target, frame.stamp + 20, out, expected, kind, sub, frame.body).octets()
            )

    async def send(self, count: int) -> None:
        """So many, one in ten of which is the beginning of a call as it should be."""
        loop = asyncio.get_running_loop()
        begun, before = loop.time(), self.sent
        while self.sent - before < count:
            while self.sent - before < min(count, (loop.time() - begun) * A_SECOND):
                chance = self._rng.random()
                data = self._new() if chance < 0.1 else self.mangler.replayed() if chance < 0.2 else self.mangler.any()
                self.sent += 1
                try:
                    self._socket.send(data or b"\0")
                except (BlockingIOError, ConnectionError):
                    continue
            self.listen()
            await asyncio.sleep(0.002)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


async def settled(product: Both) -> dict[str, Any]:
    """Wait until there is nothing but the standing call; the gateway's status."""
    return await product.until(
        lambda status: len(status["calls"]) == 1 and status["iax"]["statistics"]["sessions"] == 1,
        "the end of all but the standing call",
    )


@lasting(SCENARIO_SECONDS + FRAMES / 500)
async def test_mangled_frames_leave_nothing_behind_and_harm_no_call(tmp_path: Path) -> None:
    rng = random.Random(20)
    ports = {name: free_port() for name in ("near", "main", "rough")}
    for name in ("near", "main"):
        (tmp_path / name).mkdir()
    async with await telephone(tmp_path, seconds=round(150 + FRAMES / 500)) as phone:
        near = Product(tmp_path / "near", exchange=False)
        near.add(configuration(phone, "").split("[[route]]")[0] + NEAR.format(port=ports["near"], far=ports["main"]))
        # What is kept for captures would be all that grows.
        product = Both(tmp_path / "main", section="capture_megabytes = 0")
        product.near = near
        product.add(MAIN.format(port=ports["main"], near=ports["near"], rough=ports["rough"]))
        rough = Rough("127.0.0.1", ports["rough"], ports["main"], rng)
        stranger = Rough("127.0.0.3", 0, ports["main"], rng)
        async with near, product, StandingCall(product, phone, f"127.0.0.1:{near.sip_port}"):
            await asyncio.gather(rough.send(WARM_UP), stranger.send(WARM_UP))
            await settled(product)
            memory, files = product.memory, product.files
            await asyncio.gather(rough.send(FRAMES // 2), stranger.send(FRAMES // 2))
            status = await settled(product)
            growth = product.memory.resident - memory.resident
            assert growth < MOST_GROWTH, growth
            assert product.files == files
        rough.close()
        stranger.close()
        log = product.log
    statistics = status["iax"]["statistics"]
    print(
        f"{rough.sent + stranger.sent} frames sent, {rough.answers + stranger.answers} answered, "
        f"{statistics['frames']} read as full ones, {statistics['garbage']} of them garbage, "
        f"{statistics['calls_in']} calls; {growth // 1024} KiB of growth"
    )
    assert statistics["frames"] > FRAMES / 20
    assert statistics["garbage"]
    assert statistics["calls_in"] > 1 + FRAMES / 1000
    assert rough.answers > FRAMES / 100
    assert "Traceback" not in log
