"""The real engine on loopback with its far ends: a TDM channel, an RTP peer and a client without asyncio."""

from __future__ import annotations

import fcntl
import math
import random
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from

from gateway.media.api import (
    Codec,
    Failure,
    Law,
    MediaEvent,
    Opened,
    RtpSettings,
    Statistics,
)
from gateway.media.client import EngineSettings, MediaClient, Transmit
from gateway.media.engine_process import BINARY, EngineProcess
from tests.interop.program import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
FRAME = 160
SILENCE_ULAW = b"\xff" * FRAME


def build_engine(target: str = "all") -> Path:
    """Build the engine (a no-op if it is up to date); one test process at a time."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (build / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-C", str(ROOT / "gateway/media/engine"), target], check=True, capture_output=True)
    return BINARY


def ulaw_encode(value: int) -> int:
    sign = 0x80 if value < 0 else 0
    size = min(abs(value) + 0x84, 0x7FFF)
    segment = max(size.bit_length() - 8, 0)
    return ~(sign | segment << 4 | (size >> (segment + 3)) & 0x0F) & 0xFF


def ulaw_decode(code: int) -> int:
    bits = ~code & 0xFF
    value = ((((bits & 0x0F) << 3) + 0x84) << (bits >> 4 & 7)) - 0x84
    return -value if bits & 0x80 else value


ULAW_VALUES = [ulaw_decode(code) for code in range(256)]


class Sine:
    """Frames of a sum of sines, mu-law, continuous from frame to frame."""

    def __init__(self, *hertz: float, amplitude: float = 8000.0) -> None:
        self._hertz = hertz
        self._amplitude = amplitude / max(1, len(hertz))
        self._at = 0

    def frame(self) -> bytes:
        start, self._at = self._at, self._at + FRAME
        return bytes(
            ulaw_encode(round(self._amplitude * sum(math.sin(2 * math.pi * f * i / 8000) for f in self._hertz)))
            for i in range(start, start + FRAME)
        )


def strength(codes: bytes, hertz: float) -> float:
    """Share of the power of mu-law ``codes`` that is at ``hertz`` (0 to 1)."""
    samples = [ULAW_VALUES[code] for code in codes]
    total = sum(value * value for value in samples)
    if not total:
        return 0.0
    re = sum(value * math.cos(2 * math.pi * hertz * i / 8000) for i, value in enumerate(samples))
    im = sum(value * math.sin(2 * math.pi * hertz * i / 8000) for i, value in enumerate(samples))
    return 2 * (re * re + im * im) / (len(samples) * total)


class RtpPeer:
    """A telephone's RTP side: sends what it is told, keeps what it gets with its time of arrival."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtcp.bind(("127.0.0.1", 0))
        self.rtcp.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.rtcp_port: int = self.rtcp.getsockname()[1]
        self.received: list[tuple[float, bytes]] = []
        self.reports: list[bytes] = []
        self.to = 0
        self.sequence = 65530
        self.stamp = 0xFFFFFF00
        self.ssrc = 0x1234

    def settings(self, dtmf: int | None = 101) -> RtpSettings:
        return RtpSettings("127.0.0.1", self.port, self.rtcp_port, Codec.ULAW, 0, dtmf)

    def send(self, payload: bytes, payload_type: int = 0, *, stamp: int | None = None, marker: bool = False) -> None:
        at = self.stamp if stamp is None else stamp
        header = pack("!BBHII", 0x80, payload_type | marker << 7, self.sequence, at & 0xFFFFFFFF, self.ssrc)
        self.socket.sendto(header + payload, ("127.0.0.1", self.to))
        self.sequence = (self.sequence + 1) & 0xFFFF

    def send_frame(self, payload: bytes) -> None:
        self.send(payload)
        self.stamp = (self.stamp + FRAME) & 0xFFFFFFFF

    def audio(self) -> bytes:
        return b"".join(data[12:] for _, data in self.received if data[1] & 0x7F == 0)

    def events(self) -> list[tuple[bool, int, int, int, bool, int]]:
        """(marker, sequence, stamp, event, end, duration) of each telephone event received."""
        found = []
        for _, data in self.received:
            if data[1] & 0x7F == 101:
                sequence, stamp = unpack_from("!HI", data, 2)
                event, flags, duration = unpack_from("!BBH", data, 12)
                found.append((bool(data[1] >> 7), sequence, stamp, event, bool(flags >> 7), duration))
        return found

    def close(self) -> None:
        self.socket.close()
        self.rtcp.close()


class TdmFarEnd:
    """The far end of a B channel: listens at the path, or connects to it."""

    def __init__(self, path: Path, *, connect: bool = False) -> None:
        self.path = str(path)
        self.connection: socket.socket | None = None
        self.listener: socket.socket | None = None
        self.received: list[tuple[float, bytes]] = []
        if connect:
            self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.connection.connect(self.path)
            self.connection.setblocking(False)
        else:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.listener.bind(self.path)
            self.listener.listen(4)
            self.listener.setblocking(False)

    def accept(self) -> None:
        assert self.listener is not None
        self.connection, _ = self.listener.accept()
        self.connection.setblocking(False)

    def send(self, block: bytes) -> None:
        if self.connection is not None:
            self.connection.send(block)

    def audio(self) -> bytes:
        return b"".join(block for _, block in self.received)

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def close(self) -> None:
        self.hang_up()
        if self.listener is not None:
            self.listener.close()


class Harness:
    """An engine process and one client; ``run`` moves everything for a time or until something is so."""

    def __init__(self, directory: Path, *options: str, settings: EngineSettings | None = None, seed: int = 1) -> None:
        self.directory = directory
        self.process = EngineProcess(directory / "control", ["--no-realtime", *options], binary=build_engine())
        self.process.start()
        self.settings = settings or EngineSettings((20000 + seed * 1000, 20999 + seed * 1000), 500, 5)
        self.events: list[MediaEvent] = []
        self.opened: dict[int, Opened | Failure] = {}
        self.replies: list[Statistics | Failure] = []
        self.peers: list[RtpPeer] = []
        self.lines: list[TdmFarEnd] = []
        self.each_frame: list[Callable[[], None]] = []
        self._next_frame = 0.0
        self.client = MediaClient(random.Random(seed), self.settings)
        self.connect()

    def second_client(self) -> MediaClient:
        """Another client in the place of the one whose connection is closed, that knows nothing of it."""
        self.client = MediaClient(random.Random(99), self.settings)
        self.connect()
        return self.client

    def connect(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(self.process.control)
        self.client.connected(self.now())
        self.drain()

    @staticmethod
    def now() -> int:
        return time.monotonic_ns() // 1000

    def drain(self) -> None:
        while (output := self.client.poll()) is not None:
            if isinstance(output, Transmit):
                self.socket.send(output.data)
            else:
                self.events.append(output)

    def on_opened(self, reply: Opened | Failure) -> None:
        key = reply.stream if isinstance(reply, Opened) else -len(self.opened)
        self.opened[key] = reply

    def port_of(self, stream: int) -> int:
        reply = self.opened[stream]
        assert isinstance(reply, Opened), reply
        return reply.port

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Move voice and control for ``seconds`` or until ``until()``; True if that came."""
        self.drain()
        end = time.monotonic() + seconds
        self._next_frame = max(self._next_frame, time.monotonic())
        while (now := time.monotonic()) < end:
            if until is not None and until():
                return True
            if now >= self._next_frame:
                self._next_frame += 0.02
                for action in self.each_frame:
                    action()
                self.drain()
            self._receive(max(0.0, min(self._next_frame, end) - time.monotonic()))
        return until is not None and until()

    def _receive(self, timeout: float) -> None:
        sockets: dict[socket.socket, Callable[[socket.socket], None]] = {self.socket: self._control}
        for peer in self.peers:
            sockets[peer.socket] = lambda s, p=peer: p.received.append((time.monotonic(), s.recv(2048)))  # type: ignore[misc]
            sockets[peer.rtcp] = lambda s, p=peer: p.reports.append(s.recv(2048))  # type: ignore[misc]
        for line in self.lines:
            if line.listener is not None and line.connection is None:
                sockets[line.listener] = lambda _, f=line: f.accept()  # type: ignore[misc]
            if line.connection is not None:
                sockets[line.connection] = lambda s, f=line: self._block(s, f)  # type: ignore[misc]
        for ready in select.select(list(sockets), [], [], timeout)[0]:
            sockets[ready](ready)

    @staticmethod
    def _block(connection: socket.socket, line: TdmFarEnd) -> None:
        block = connection.recv(1024)
        if block:
            line.received.append((time.monotonic(), block))
        else:
            line.hang_up()

    def _control(self, connection: socket.socket) -> None:
        packet = connection.recv(65536)
        if packet:
            self.client.receive(packet, self.now())
        self.drain()

    def statistics(self, stream: int) -> Statistics:
        before = len(self.replies)
        self.client.statistics(stream, self.replies.append)
        assert self.run(PATIENCE, lambda: len(self.replies) > before)
        reply = self.replies[-1]
        assert isinstance(reply, Statistics), reply
        return reply

    def call(self, *, law: Law = Law.ULAW, dtmf: int | None = 101) -> tuple[RtpPeer, TdmFarEnd, int, int]:
        """A PRI to SIP call: (RTP peer, TDM far end, RTP stream, TDM stream), wired and with both ends there."""
        peer = RtpPeer()
        line = TdmFarEnd(self.directory / f"line{len(self.lines)}")
        self.peers.append(peer)
        self.lines.append(line)
        rtp = self.client.open_rtp("127.0.0.1", "sip", self.on_opened)
        tdm = self.client.open_tdm(line.path, law, "pri", self.on_opened)
        self.client.connect(rtp, tdm)
        self.client.set_rtp(rtp, peer.settings(dtmf))
        assert self.run(PATIENCE, lambda: rtp in self.opened and tdm in self.opened and line.connection is not None)
        peer.to = self.port_of(rtp)
        return peer, line, rtp, tdm

    def close(self) -> None:
        self.socket.close()
        for peer in self.peers:
            peer.close()
        for line in self.lines:
            line.close()
        status = self.process.stop()
        assert status == 0, f"engine ended with {status}"


def comes_through(
    harness: Harness, at: TdmFarEnd | RtpPeer, hertz: float, *, frames: int = 20, purity: float = 0.98
) -> bool:
    """Whether ``frames`` in a row of a clean tone arrive in time: this machine may stall now and then."""

    def clean() -> bool:
        audio = at.audio()[-FRAME * frames :]
        return len(audio) == FRAME * frames and strength(audio, hertz) > purity

    return harness.run(PATIENCE, clean)
