"""IAX2 in the media engine's stand-in: sockets, full frames, and voice as words in real mini and trunk frames.

Who speaks says its name now and then; so it is known who hears whom, and what was in the clear.
"""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core import SECOND
from gateway.media.api import (
    ClearVoice,
    Codec,
    Direction,
    Failure,
    IaxFrame,
    IaxMediaEvent,
    IaxVoiceDue,
    IaxVoiceSettings,
    OnOpened,
    OnStatistics,
    Opened,
)
from gateway.media.wire import Kind
from tests.simulation import iax_rfc as rfc
from tests.simulation.voice import DirectMedia, Stream, Wiring
from tests.simulation.world import Address

TALK_EVERY = 2 * SECOND
"""Voice is said so often: enough to be heard, and to have each 16 bits of stamps begin with a full frame."""
CLEAR_MAX = 5
"""Frames in the clear, and none that is encrypted between them: it is the far end that sends them."""
SHARES_MAX = 20
"""Calls in one trunk frame: what fits the MTU."""
NEVER = -1
_HEARS = (Direction.SENDRECV, Direction.RECVONLY)
_SPEAKS = (Direction.SENDRECV, Direction.SENDONLY)


@dataclass(slots=True)
class IaxStream(Stream):
    """The voice of one IAX2 call. ``heard``: what was said to it last; ``begun``: and first in a full frame."""

    socket: int = 0
    voice: IaxVoiceSettings | None = None
    spoken: int = NEVER
    begun: bool = False
    heard: str = ""
    told: bool = False
    in_clear: int = 0
    frames: int = 0


class IaxPart:
    """The part of an engine. ``itself``: unwired streams speak too."""

    def __init__(
        self,
        wiring: Wiring,
        transmit: Callable[[Address, Address, bytes], None],
        event: Callable[[IaxMediaEvent], None],
        first: Callable[[IaxStream], None],
        rng: random.Random,
        *,
        itself: bool,
    ) -> None:
        self.wiring = wiring
        self.sockets: dict[int, Address] = {}
        self.refused = 0
        self.clear = 0
        self.trunks = self.minis = 0
        """Frames of voice that went out."""
        self._transmit = transmit
        self._event = event
        self._first = first
        self._rng = rng
        self._itself = itself
        # Voice as it is found: by where it comes from and with which call number.
        self._by_call: dict[tuple[Address, int], IaxStream] = {}

    # -- requests --

    def open_socket(self, stream: Stream) -> int:
        """0 or an errno. One of an earlier connection, at the same address, is taken over with all its calls."""
        at = stream.address, stream.port
        before = next((number for number, each in self.sockets.items() if each == at), None)
        if before is not None:
            if self.wiring.streams[before].adopted:
                return errno.EADDRINUSE
            self.closed(self.wiring.streams[before])
            self.wiring.close(before)
        code = self.wiring.add(stream)
        if not code:
            self.sockets[stream.number] = at
            for each in self.wiring.streams.values():
                if isinstance(each, IaxStream) and each.socket == before:
                    each.socket = stream.number
        return code

    def send(self, socket: int, target: Address, data: bytes) -> bool:
        """A full frame of the signalling's; False if there is no such socket, or none for such an address."""
        if socket not in self.sockets or (":" in self.sockets[socket][0]) is not (":" in target[0]):
            return False
        self._transmit(self.sockets[socket], target, data)
        return True

    def open(self, number: int, label: str, socket: int) -> int:
        """A stream of an IAX2 call; 0 or an errno."""
        return self.wiring.add(IaxStream(number, Kind.IAX, label, socket=socket))

    def set(self, number: int, settings: IaxVoiceSettings) -> bool:
        """False if there is no such stream."""
        stream = self.wiring.streams.get(number)
        if not isinstance(stream, IaxStream):
            return False
        self._forget(stream)
        if stream.voice is None or stream.voice.epoch != settings.epoch:
            stream.spoken = NEVER
        stream.voice = settings
        stream.told = False
        stream.remote = (settings.address, settings.port)
        self._by_call[(settings.address, settings.port), settings.far_call] = stream
        return True

    def heard(self, number: int, data: bytes) -> None:
        """The voice of a full frame."""
        stream = self.wiring.streams.get(number)
        if isinstance(stream, IaxStream):
            stream.begun = True
            self._hear(stream, data)

    def closed(self, stream: Stream) -> None:
        """A stream is gone from the wiring."""
        if isinstance(stream, IaxStream):
            self._forget(stream)
        else:
            self.sockets.pop(stream.number, None)

    def clear_all(self) -> None:
        """The process is gone, and all with it."""
        self.sockets.clear()
        self._by_call.clear()

    def _forget(self, stream: IaxStream) -> None:
        voice = stream.voice
        if voice is not None:
            key = (voice.address, voice.port), voice.far_call
            if self._by_call.get(key) is stream:
                del self._by_call[key]

    # -- what comes --

    def receive(self, data: bytes, source: Address, port: int) -> None:
        """A datagram came to the local ``port``."""
        of_six = ":" in source[0]
        socket = next(
            (number for number, each in self.sockets.items() if each[1] == port and (":" in each[0]) is of_six), None
        )
        if socket is None:
            return
        if rfc.is_full(data):
            self._event(IaxFrame(socket, source[0], source[1], data))
            return
        number = int.from_bytes(data[:2], "big")
        if number:
            stream = self._by_call.get((source, number))
            if stream is None or stream.voice is None:
                self.refused += 1
                return
            if stream.voice.encrypted or stream.voice.receive_key:
                data = self._opened(stream, stream.voice, data)
        try:
            shares = rfc.read_voice(data)
        except rfc.MalformedError:
            self.refused += 1
            return
        for share in shares:
            stream = self._by_call.get((source, share.source))
            if stream is None or stream.voice is None:
                self.refused += 1
            elif share.trunked and (stream.voice.encrypted or stream.voice.receive_key):
                self._in_clear(stream)
            else:
                self._hear(stream, share.voice)

    def _opened(self, stream: IaxStream, voice: IaxVoiceSettings, data: bytes) -> bytes:
        if not rfc.looks_sealed(data) or not voice.receive_key:
            self._in_clear(stream)
            return b""
        try:
            data = rfc.unsealed(data, voice.receive_key)
        except rfc.MalformedError:
            return b""
        stream.in_clear = 0
        return data

    def _in_clear(self, stream: IaxStream) -> None:
        self.clear += 1
        stream.in_clear += 1
        if stream.in_clear < CLEAR_MAX:
            return
        if stream.voice is not None and stream.voice.encrypted and not stream.told:
            stream.told = True
            self._event(ClearVoice(stream.number))

    def _hear(self, stream: IaxStream, data: bytes) -> None:
        if stream.voice is None or stream.voice.direction not in _HEARS or not stream.begun:
            return
        stream.heard = data.decode("utf-8", "replace")
        stream.frames += 1
        if stream.frames == 1:
            self._first(stream)

    # -- what goes --

    def speak(self, now: int) -> None:
        """All that can say something do so: full frames where they must be, else mini frames, or all in a trunk's."""
        shares: dict[tuple[int, Address, bool], list[tuple[int, int, bytes]]] = {}
        for stream in list(self.wiring.streams.values()):
            if not isinstance(stream, IaxStream) or stream.voice is None or not stream.voice.far_call:
                continue
            voice = stream.voice
            words = self._words(stream)
            if not words or voice.direction not in _SPEAKS or stream.socket not in self.sockets:
                continue
            stamp = max(0, (now - voice.epoch) // 1000)
            if stamp >> 16 != stream.spoken:
                stream.spoken = stamp >> 16
                self._event(IaxVoiceDue(stream.number, stamp, voice.codec, words.encode()))
                continue
            target = (voice.address, voice.port)
            if voice.trunk and not voice.send_key:
                share = (voice.source_call, stamp, words.encode())
                shares.setdefault((stream.socket, target, voice.trunk_stamps), []).append(share)
                continue
            self.minis += 1
            data = rfc.mini(voice.source_call, stamp, words.encode())
            self.send(stream.socket, target, rfc.sealed(data, voice.send_key, self._rng) if voice.send_key else data)
        for (socket, target, stamps), share_list in shares.items():
            for at in range(0, len(share_list), SHARES_MAX):
                self.trunks += 1
                self.send(socket, target, rfc.trunk(now // 1000, share_list[at : at + SHARES_MAX], stamps=stamps))

    def _words(self, stream: IaxStream) -> str:
        peer = self.wiring.peer_of(stream)
        if peer is None:
            return stream.label if self._itself else ""
        return peer.heard if isinstance(peer, IaxStream) else peer.label


class IaxMedia(DirectMedia):
    """``Media`` of a far end with IAX2; events are in ``events``, and ``flush`` says if there are replies."""

    def __init__(self, transmit: Callable[[Address, Address, bytes], None], rng: random.Random) -> None:
        super().__init__()
        self.events: deque[IaxMediaEvent] = deque()
        self.part = IaxPart(self.wiring, transmit, self.events.append, lambda _stream: None, rng, itself=True)

    def _reply(self, code: int, opened: Opened, on_reply: OnOpened) -> None:
        self._replies.append(lambda: on_reply(Failure(code, f"errno {code}") if code else opened))

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        number = self._number()
        stream = Stream(number, Kind.IAX_SOCKET, label, address=address, port=port)
        self._reply(self.part.open_socket(stream), Opened(number, address, port), on_reply)
        return number

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        self.part.send(socket, (address, port), data)

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        number = self._number()
        self._reply(self.part.open(number, label, socket), Opened(number), on_reply)
        return number

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        self.part.set(stream, settings)

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        self.part.heard(stream, data)

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        found = self.wiring.streams.get(stream)
        if found is not None:
            self.part.closed(found)
        super().close(stream, on_reply)
