"""A media engine for tests of signalling: RTP streams are real UDP sockets that send back what they hear.

It opens, wires and closes nothing else for real, but keeps all requests, so that a test can see what was asked.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.media.api import (
    Direction,
    Failure,
    Law,
    OnOpened,
    OnStatistics,
    Opened,
    RtpSettings,
    Statistics,
    Tone,
)
from tests.unit.no_media import NoMedia

PORT_PAIR_TRIES = 50
RTP_HEADER = 12
PACKET_MAXIMUM = 2048


@dataclass(slots=True)
class EchoStream:
    """One stream: what it is, what signalling told it, and what went through it."""

    kind: str
    label: str
    path: str = ""
    law: Law = Law.ALAW
    settings: RtpSettings | None = None
    changes: int = 0
    received: int = 0
    sent: int = 0
    closed: bool = False
    wired: int | None = None
    digits: str = ""
    rtp: socket.socket | None = field(default=None, repr=False)
    rtcp: socket.socket | None = field(default=None, repr=False)


class EchoMedia(NoMedia):
    """Implements ``gateway.media.api.Media``. ``after_reply`` is called after each reply, to drain the core."""

    def __init__(self, after_reply: Callable[[], None] = lambda: None) -> None:
        self.after_reply = after_reply
        self.streams: dict[int, EchoStream] = {}
        self.refuse_rtp = False

    @property
    def open_streams(self) -> list[EchoStream]:
        """Those that were not closed: empty when nothing leaked."""
        return [stream for stream in self.streams.values() if not stream.closed]

    def close_all(self) -> None:
        """Give back all sockets, at the end of a test."""
        for number in self.streams:
            self.close(number)

    def _add(self, stream: EchoStream, on_reply: OnOpened, failure: Failure | None = None, port: int = 0) -> int:
        number = len(self.streams) + 1
        self.streams[number] = stream
        reply = failure or Opened(number, "127.0.0.1" if port else "", port)
        asyncio.get_running_loop().call_soon(self._reply, on_reply, reply)
        return number

    def _reply(self, on_reply: OnOpened, reply: Opened | Failure) -> None:
        on_reply(reply)
        self.after_reply()

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        """Bind a port pair on ``address``."""
        stream = EchoStream("rtp", label)
        if self.refuse_rtp:
            return self._add(stream, on_reply, Failure(errno.ENOSPC, "no RTP port is free"))
        for _ in range(PORT_PAIR_TRIES):
            rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                rtp.bind((address, 0))
                port: int = rtp.getsockname()[1]
                if port % 2:
                    raise OSError("odd port")
                rtcp.bind((address, port + 1))
            except OSError:
                rtp.close()
                rtcp.close()
                continue
            rtp.setblocking(False)
            stream.rtp, stream.rtcp = rtp, rtcp
            asyncio.get_running_loop().add_reader(rtp, self._echo, stream, rtp)
            return self._add(stream, on_reply, port=port)
        return self._add(stream, on_reply, Failure(errno.EADDRINUSE, "no port pair"))

    @staticmethod
    def _echo(stream: EchoStream, rtp: socket.socket) -> None:
        try:
            packet = rtp.recv(PACKET_MAXIMUM)
        except OSError:
            return
        settings = stream.settings
        if len(packet) < RTP_HEADER or settings is None or not settings.direction & Direction.RECVONLY:
            return
        stream.received += 1
        if settings.direction is Direction.SENDRECV and settings.port:
            rtp.sendto(packet, (settings.address, settings.port))
            stream.sent += 1

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        """Keep what the far end's session description says."""
        self.streams[stream].settings = settings
        self.streams[stream].changes += 1

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        """Open nothing, and say it went well."""
        return self._add(EchoStream("tdm", label, path, law), on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        """Open nothing, and say it went well."""
        return self._add(EchoStream("tone", label), on_reply)

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        """Open nothing, and say it went well."""
        return self._add(EchoStream("prompt", label, path), on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        """Open nothing, and say it went well."""
        return self._add(EchoStream("echo", label), on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        """Open nothing, and say it went well."""
        return self._add(EchoStream("recorder", label, path), on_reply)

    def connect(self, first: int, second: int) -> None:
        """Keep the pair."""
        self.streams[first].wired = second
        self.streams[second].wired = first

    def disconnect(self, stream: int) -> None:
        """Forget the pair."""
        other = self.streams[stream].wired
        self.streams[stream].wired = None
        if other is not None:
            self.streams[other].wired = None

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        """Keep the digits."""
        self.streams[stream].digits += digits

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        """What was counted."""
        counted = self.streams[stream]
        on_reply(Statistics(packets_sent=counted.sent, packets_received=counted.received))

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        """Close the sockets."""
        closing = self.streams[stream]
        closing.closed = True
        if closing.rtp is not None:
            asyncio.get_running_loop().remove_reader(closing.rtp)
            closing.rtp.close()
        if closing.rtcp is not None:
            closing.rtcp.close()
        closing.rtp = closing.rtcp = None
        if on_reply is not None:
            on_reply(Statistics(packets_sent=closing.sent, packets_received=closing.received))
