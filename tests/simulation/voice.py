"""Voice in virtual time: who hears whom, without a sample. Streams and their wiring, and a Media that needs no wire."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.media.api import (
    Codec,
    Failure,
    IaxVoiceSettings,
    Law,
    OnOpened,
    OnStatistics,
    Opened,
    RtpSettings,
    Statistics,
    Tone,
)
from gateway.media.wire import Kind
from tests.unit.no_media import NoMedia

STREAMS_MAX = 2000
_NOTHING = Statistics()


Keys = tuple[bytes, bytes]
"""Of SRTP: what is sent with, what is received with."""


@dataclass(slots=True)
class Stream:
    """One stream. ``path`` is a TDM stream's channel, ``port`` an RTP stream's own, ``remote`` where it sends to.

    ``keys`` None: plain RTP. ``latches``: it answers where voice comes from, wherever ``remote`` is.
    """

    number: int
    kind: Kind
    label: str
    path: str = ""
    address: str = ""
    port: int = 0
    remote: tuple[str, int] | None = None
    peer: int | None = None
    adopted: bool = True
    settings: RtpSettings | None = None
    keys: Keys | None = None
    latches: bool = False


class Wiring:
    """The streams of one engine, wired in pairs. Of a B channel or an RTP port only one stream has it at a time."""

    def __init__(self, first_port: int = 10000, last_port: int = 19999) -> None:
        self.streams: dict[int, Stream] = {}
        self.by_path: dict[str, Stream] = {}
        self.by_port: dict[int, Stream] = {}
        self.ports = (first_port, last_port)
        self._next_port = first_port
        self.opened = 0

    def add(self, stream: Stream) -> int:
        """Take a new stream; returns 0 or an errno."""
        if stream.number in self.streams:
            return errno.EEXIST
        if len(self.streams) >= STREAMS_MAX:
            return errno.ENFILE
        if stream.kind is Kind.RTP:
            port = self._free_port()
            if port is None:
                return errno.EADDRINUSE
            stream.port = port
            self.by_port[port] = stream
        elif stream.kind is Kind.TDM:
            if stream.path in self.by_path:
                return errno.EBUSY
            self.by_path[stream.path] = stream
        self.streams[stream.number] = stream
        self.opened += 1
        return 0

    def _free_port(self) -> int | None:
        first, last = self.ports
        for _ in range((last - first) // 2):
            port = self._next_port
            self._next_port = port + 2 if port + 3 <= last else first
            if port not in self.by_port:
                return port
        return None

    def connect(self, first: int, second: int) -> bool:
        """Wire two streams to each other; either leaves the pair it was in."""
        one, other = self.streams.get(first), self.streams.get(second)
        if one is None or other is None or one is other:
            return False
        self.disconnect(first)
        self.disconnect(second)
        one.peer, other.peer = second, first
        return True

    def disconnect(self, number: int) -> None:
        """Undo the pair of a stream."""
        stream = self.streams.get(number)
        if stream is None or stream.peer is None:
            return
        peer = self.streams.get(stream.peer)
        if peer is not None:
            peer.peer = None
        stream.peer = None

    def close(self, number: int) -> bool:
        """End a stream."""
        self.disconnect(number)
        stream = self.streams.pop(number, None)
        if stream is None:
            return False
        if stream.kind is Kind.RTP:
            del self.by_port[stream.port]
        elif stream.kind is Kind.TDM:
            del self.by_path[stream.path]
        return True

    def clear(self) -> None:
        """All streams are gone."""
        self.streams.clear()
        self.by_path.clear()
        self.by_port.clear()

    def peer_of(self, stream: Stream) -> Stream | None:
        """The stream that ``stream`` is wired to."""
        return None if stream.peer is None else self.streams.get(stream.peer)


class DirectMedia(NoMedia):
    """``gateway.media.api.Media`` on a Wiring at hand, for far ends; the owner calls ``flush`` to have the replies."""

    def __init__(self, first_port: int = 20000) -> None:
        self.wiring = Wiring(first_port, first_port + 9999)
        self.digits: list[tuple[int, str]] = []
        self._next = 0
        self._replies: deque[Callable[[], None]] = deque()

    def flush(self) -> bool:
        """Call back what is due; False if there was nothing."""
        if not self._replies:
            return False
        while self._replies:
            self._replies.popleft()()
        return True

    def _open(self, stream: Stream, on_reply: OnOpened) -> int:
        code = self.wiring.add(stream)
        if code:
            self._replies.append(lambda: on_reply(Failure(code, f"{stream.path or stream.label}: errno {code}")))
        else:
            opened = Opened(stream.number, stream.address, stream.port)
            self._replies.append(lambda: on_reply(opened))
        return stream.number

    def _number(self) -> int:
        self._next += 1
        return self._next

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        return self._open(Stream(self._number(), Kind.RTP, label, address=address), on_reply)

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        found = self.wiring.streams.get(stream)
        if found is not None:
            found.remote = (settings.address, settings.port)
            found.settings = settings
            srtp = settings.srtp
            found.keys = None if srtp is None else (srtp.send.key, srtp.receive.key)

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        return self._refuse(label, on_reply)

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        """There is no such socket."""

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        return self._refuse(label, on_reply)

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        """There is no such stream."""

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        """There is no such stream."""

    def _refuse(self, label: str, on_reply: OnOpened) -> int:
        """Who has no IAX2 (``tests.simulation.iax_voice`` has)."""
        self._replies.append(lambda: on_reply(Failure(errno.ENOTSUP, label)))
        return self._number()

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        return self._open(Stream(self._number(), Kind.TDM, label, path=path), on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        return self._open(Stream(self._number(), Kind.TONE, label), on_reply)

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        return self._open(Stream(self._number(), Kind.PROMPT, label), on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        return self._open(Stream(self._number(), Kind.ECHO, label), on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        return self._open(Stream(self._number(), Kind.RECORDER, label), on_reply)

    def connect(self, first: int, second: int) -> None:
        self.wiring.connect(first, second)

    def disconnect(self, stream: int) -> None:
        self.wiring.disconnect(stream)

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        self.digits.append((stream, digits))

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        self._replies.append(lambda: on_reply(_NOTHING))

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        self.wiring.close(stream)
        if on_reply is not None:
            reply = on_reply
            self._replies.append(lambda: reply(_NOTHING))
