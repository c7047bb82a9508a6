"""The signalling side of the media engine's control connection: ``gateway.media.api.Media`` over wire messages.

Sans-I/O: the owner (``connection.py``) says when a connection is up or lost, hands in packets and sends what ``poll()``
gives. Requests that need no reply, tones among them, carry request id 0 and are answered only if they fail. Replies
are called back out of ``receive()``, ``handle_timer()``, ``lost()`` or ``poll()``, never out of the request itself.
"""

from __future__ import annotations

import errno
import logging
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.core import SECOND
from gateway.media import wire
from gateway.media.api import (
    ClearVoice,
    Codec,
    DigitHeard,
    EngineLost,
    EngineReady,
    Failure,
    FirstPacket,
    HeardAgain,
    IaxFrame,
    IaxVoiceDue,
    IaxVoiceSettings,
    Law,
    MediaEvent,
    OnOpened,
    OnStatistics,
    Opened,
    PromptEnded,
    RtpSettings,
    StreamLost,
    Tone,
    VoiceCopied,
    WentSilent,
)
from gateway.media.wire import HEADER_BYTES, PACKET_MAX, ListEntry, Opcode, WireError

log = logging.getLogger(__name__)

PENDING_MAX = 4096
ADDRESSES_MAX = 1024
TONES_MAX = 256
STREAM_MAX = 0x7FFF_FFFF
_header = partial(wire.HEADER.pack, wire.MAGIC, wire.VERSION)
NOT_CONNECTED = "no connection to the media engine"
SWEEP = SECOND
SWEEPS = 3  # a reply that is missing for 2 to 3 s is given up


@dataclass(frozen=True, slots=True)
class Transmit:
    """One packet for the control connection."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine is told at every HELLO. ``rtp_ports`` inclusive; ``silence_milliseconds`` 0: never reported."""

    rtp_ports: tuple[int, int] = (10000, 19999)
    silence_milliseconds: int = 1500
    grace_seconds: int = 60


OnReply = Callable[[bytes | Failure], None]
_OPENING = frozenset(
    {
        Opcode.OPEN_RTP,
        Opcode.OPEN_TDM,
        Opcode.OPEN_TONE,
        Opcode.OPEN_PROMPT,
        Opcode.OPEN_ECHO,
        Opcode.OPEN_RECORDER,
        Opcode.OPEN_IAX_SOCKET,
        Opcode.OPEN_IAX,
    }
)


class MediaClient:
    """One client of one engine. ``rng`` picks where stream numbers begin, so that those of two clients differ."""

    def __init__(self, rng: random.Random, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.up = False
        self.kept: tuple[ListEntry, ...] = ()
        """Streams of an earlier client that this one knows nothing of; adopt() or let the grace time end them."""
        self.streams: set[int] = set()
        """Streams opened (or being opened) and not closed."""
        self._next_stream = rng.randrange(1, STREAM_MAX // 2)
        self._next_request = 0
        self._pending: dict[int, tuple[int, int, OnReply]] = {}
        self._tone_replies: dict[int, OnOpened] = {}
        self._sweep = 0
        self._sweep_at: int | None = None
        self._now = 0
        self._packets: deque[bytes] = deque()
        self._out: list[bytes] = []
        self._out_size = 0
        self._events: deque[MediaEvent] = deque()
        self.refused: deque[Callable[[], None]] = deque()
        """Whom the next ``poll()`` tells that nothing comes of a request."""
        self._addresses: dict[str, tuple[int, bytes]] = {}
        self._tones: dict[Tone, bytes] = {}
        self._listed: list[ListEntry] = []
        self._earlier: set[int] = set()  # streams opened over an earlier connection

    # -- the connection --

    def connected(self, now: int) -> None:
        """A connection to the engine is up: say hello."""
        self._now = now
        self.up = True
        self._forget_output()
        self._earlier = set(self.streams)
        self._request(Opcode.HELLO, 0, self._hello(), self._on_hello)

    def configure(self, settings: EngineSettings) -> None:
        """Let ``settings`` hold from now on; streams that are open keep the ports that they have."""
        if settings == self.settings:
            return
        self.settings = settings
        if self.up:
            self._request(Opcode.HELLO, 0, self._hello(), _noted)

    def _hello(self) -> bytes:
        low, high = self.settings.rtp_ports
        return wire.HELLO.pack(low, high, self.settings.silence_milliseconds, self.settings.grace_seconds)

    def lost(self, now: int) -> None:
        """The connection is gone: every pending request fails; streams are kept for the next connection."""
        self._now = now
        if not self.up:
            return
        self.up = False
        self._forget_output()
        self._sweep_at = None
        pending, self._pending = self._pending, {}
        self._tone_replies.clear()
        self._events.append(EngineLost())
        failure = Failure(errno.ENOTCONN, "connection to the media engine lost")
        for _, _, on_reply in pending.values():
            on_reply(failure)

    def _forget_output(self) -> None:
        self._packets.clear()
        self._out.clear()
        self._out_size = 0

    def _on_hello(self, reply: bytes | Failure) -> None:
        if isinstance(reply, Failure):
            log.error("media engine refuses: %s", reply.text)
            return
        if len(reply) < wire.HELLO_REPLY.size:
            raise WireError(f"HELLO reply of {len(reply)} octets")
        _, fresh, kept, limit, process = wire.HELLO_REPLY.unpack_from(reply)
        log.info("media engine: process %d, %d streams at most, %d kept", process, limit, kept)
        self._listed = []
        if fresh:
            self._settle()
        else:
            self._request(Opcode.LIST, 0, wire.LIST.pack(0), self._on_list)

    def _on_list(self, reply: bytes | Failure) -> None:
        if isinstance(reply, Failure):
            log.error("media engine does not list its streams: %s", reply.text)
            self._settle()
            return
        total, entries = wire.list_entries(reply)
        self._listed += entries
        if entries and len(self._listed) < total:
            self._request(Opcode.LIST, 0, wire.LIST.pack(len(self._listed)), self._on_list)
        else:
            self._settle()

    def _settle(self) -> None:
        """Adopt what is ours, drop what is no more, offer the rest."""
        fresh = not self._listed
        there = {entry.stream for entry in self._listed}
        self.streams -= self._earlier - there
        for stream in self._earlier & self.streams:
            self._send(Opcode.ADOPT, stream)
        self.kept = tuple(entry for entry in self._listed if entry.stream not in self.streams)
        self._listed = []
        self._events.append(EngineReady(fresh))

    def adopt(self, stream: int) -> None:
        """Take over a stream of ``kept``: it is this client's from now on."""
        if any(entry.stream == stream for entry in self.kept):
            self.streams.add(stream)
            self.kept = tuple(entry for entry in self.kept if entry.stream != stream)
            self._send(Opcode.ADOPT, stream)

    def close_kept(self) -> int:
        """End all streams of ``kept``, for whoever cannot go on with the calls they were for; says how many."""
        kept = self.kept
        for entry in kept:
            self.adopt(entry.stream)
            self.close(entry.stream)
        return len(kept)

    def ask(self, on_reply: Callable[[Failure | None], None]) -> None:
        """Ask the engine for a sign of life; None if it gives one."""

        def replied(reply: bytes | Failure) -> None:
            on_reply(reply if isinstance(reply, Failure) else None)

        # Of streams beyond the last: the shortest question that there is an answer to.
        self._request(Opcode.LIST, 0, wire.LIST.pack(0xFFFF_FFFF), replied)

    # -- sans-I/O --

    def receive(self, packet: bytes, now: int) -> None:
        """A packet from the engine; raises WireError if it is malformed (drop the connection then)."""
        self._now = now
        for opcode, request, stream, body in wire.messages(packet):
            if opcode & Opcode.REPLY:
                self._on_message(opcode, request, stream, body)
            else:
                self._on_event(opcode, stream, body)

    def handle_timer(self, now: int) -> None:
        """Give up requests whose reply is missing."""
        self._now = now
        if self._sweep_at is None or now < self._sweep_at:
            return
        self._sweep += 1
        overdue = []
        for request, (sweep, _, _) in self._pending.items():
            if sweep > self._sweep - SWEEPS:
                break
            overdue.append(request)
        for request in overdue:
            _, opcode, on_reply = self._pending.pop(request)
            log.error("media engine: no reply to %s", Opcode(opcode).name)
            on_reply(Failure(errno.ETIMEDOUT, f"no reply to {Opcode(opcode).name}"))
        self._sweep_at = now + SWEEP if self._pending else None

    def next_timer(self) -> int | None:
        """When the next sweep for missing replies is due."""
        return self._sweep_at

    def poll(self) -> Transmit | MediaEvent | None:
        """The next output; all requests made since the last call go out in one packet."""
        while self.refused:
            self.refused.popleft()()
        if self._packets:
            return Transmit(self._packets.popleft())
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            return Transmit(data)
        return self._events.popleft() if self._events else None

    def tap(self, stream: int, on: bool) -> None:
        """Have the voice of an RTP or IAX2 stream copied (``VoiceCopied``), or no more; ``wire.TAPS_MAX`` at once."""
        self._send(Opcode.TAP, stream, wire.TAP.pack(on))

    @property
    def tells(self) -> bool:
        """Whether ``hear`` has something for others."""
        return bool(self._events or self.refused)

    def hear(self) -> MediaEvent | None:
        """The next event, without sending what is to be sent: whoever hears it may have requests to go along."""
        while self.refused:
            self.refused.popleft()()
        return self._events.popleft() if self._events else None

    # -- Media --

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        """See Media."""
        stream = self._new_stream()
        try:
            family, octets = self._address(address)
        except ValueError as error:
            return self._refuse_open(stream, errno.EINVAL, str(error), on_reply)
        body = wire.OPEN_RTP.pack(family, octets, wire.label_bytes(label))
        self._request(Opcode.OPEN_RTP, stream, body, partial(self._bound, stream, address, on_reply))
        return stream

    def _bound(self, stream: int, address: str, on_reply: OnOpened, reply: bytes | Failure) -> None:
        """The reply to the opening of a socket that has a port."""
        if isinstance(reply, Failure):
            self.streams.discard(stream)
            on_reply(reply)
            return
        if len(reply) < wire.OPEN_RTP_REPLY.size:
            raise WireError(f"reply of {len(reply)} octets, expected ports")
        on_reply(Opened(stream, address, wire.OPEN_RTP_REPLY.unpack_from(reply)[1]))

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        """See Media."""
        try:
            family, octets = self._address(settings.address)
            body = wire.rtp_settings_body(family, octets, settings)
        except ValueError as error:
            log.error("stream %d: %s", stream, error)
            return
        self._send(Opcode.SET_RTP, stream, body)

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        """See Media."""
        stream = self._new_stream()
        try:
            family, octets = self._address(address)
        except ValueError as error:
            return self._refuse_open(stream, errno.EINVAL, str(error), on_reply)
        body = wire.OPEN_IAX_SOCKET.pack(family, port, octets, wire.label_bytes(label))
        self._request(Opcode.OPEN_IAX_SOCKET, stream, body, partial(self._bound, stream, address, on_reply))
        return stream

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        """See Media. What is longer than IAX_FRAME_MAX is not sent."""
        try:
            family, octets = self._address(address)
        except ValueError as error:
            log.error("stream %d: %s", socket, error)
            return
        if len(data) > wire.IAX_FRAME_MAX:
            log.error("stream %d: IAX2 frame of %d octets, at most %d", socket, len(data), wire.IAX_FRAME_MAX)
            return
        self._send(Opcode.SEND_IAX, socket, wire.IAX_ADDRESS.pack(family, port, octets) + data)

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        """See Media."""
        body = wire.OPEN_IAX.pack(socket, wire.label_bytes(label))
        return self._open(Opcode.OPEN_IAX, self._new_stream(), body, on_reply)

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        """See Media."""
        try:
            family, octets = self._address(settings.address)
            body = wire.iax_settings_body(family, octets, settings)
        except ValueError as error:
            log.error("stream %d: %s", stream, error)
            return
        self._send(Opcode.SET_IAX, stream, body)

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        """See Media. What is longer than IAX_FRAME_MAX is not handed on."""
        if len(data) <= wire.IAX_FRAME_MAX:
            self._send(Opcode.IAX_VOICE, stream, wire.IAX_VOICE.pack(stamp & 0xFFFF_FFFF, codec) + data)

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        """See Media."""
        body = wire.OPEN_TDM.pack(law, listen, wire.label_bytes(label))
        return self._open_path(Opcode.OPEN_TDM, path, wire.SOCKET_PATH_MAX, body, on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        """See Media."""
        stream = self._new_stream()
        try:
            body = self._tone(tone)
        except ValueError as error:
            return self._refuse_open(stream, errno.EINVAL, str(error), on_reply)
        head = wire.OPEN_TONE.size - wire.LABEL_BYTES
        body = body[:head] + wire.label_bytes(label).ljust(wire.LABEL_BYTES, b"\0") + body[wire.OPEN_TONE.size :]
        if not self.up:
            return self._refuse_open(stream, errno.ENOTCONN, NOT_CONNECTED, on_reply)
        # A tone is there at once or not at all; being woken to hear that it is costs as much as a message of SIP.
        self.streams.add(stream)
        self._tone_replies[stream] = on_reply
        self._write(Opcode.OPEN_TONE, 0, stream, body)
        return stream

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        """See Media."""
        body = wire.OPEN_PROMPT.pack(repeat, wire.label_bytes(label))
        return self._open_path(Opcode.OPEN_PROMPT, path, wire.FILE_PATH_MAX, body, on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        """See Media."""
        body = wire.OPEN_ECHO.pack(wire.label_bytes(label))
        return self._open(Opcode.OPEN_ECHO, self._new_stream(), body, on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        """See Media."""
        body = wire.OPEN_RECORDER.pack(seconds, wire.label_bytes(label))
        return self._open_path(Opcode.OPEN_RECORDER, path, wire.FILE_PATH_MAX, body, on_reply)

    def connect(self, first: int, second: int) -> None:
        """See Media."""
        if second in self.streams:
            self._send(Opcode.CONNECT, first, wire.CONNECT.pack(second))

    def disconnect(self, stream: int) -> None:
        """See Media."""
        self._send(Opcode.DISCONNECT, stream)

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        """See Media. Longer strings are sent in parts of DIGITS_MAX; what the engine cannot queue is refused by it."""
        duration = min(max(milliseconds, 0), wire.DIGIT_MILLISECONDS_MAX)
        octets = digits.encode("ascii", "replace")
        for at in range(0, len(octets), wire.DIGITS_MAX):
            body = wire.SEND_DIGITS.pack(duration) + octets[at : at + wire.DIGITS_MAX]
            self._send(Opcode.SEND_DIGITS, stream, body)

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        """See Media."""
        self._ask(Opcode.STATISTICS, stream, on_reply)

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        """See Media."""
        if on_reply is None:
            self._send(Opcode.CLOSE, stream)
        else:
            self._ask(Opcode.CLOSE, stream, on_reply)
        self.streams.discard(stream)
        self._tone_replies.pop(stream, None)

    # -- requests --

    def _new_stream(self) -> int:
        stream = self._next_stream
        self._next_stream = stream + 1 if stream < STREAM_MAX else 1
        return stream

    def _address(self, address: str) -> tuple[int, bytes]:
        known = self._addresses.get(address)
        if known is None:
            if len(self._addresses) >= ADDRESSES_MAX:
                self._addresses.clear()
            known = self._addresses[address] = wire.address_bytes(address)
        return known

    def _tone(self, tone: Tone) -> bytes:
        known = self._tones.get(tone)
        if known is None:
            if len(self._tones) >= TONES_MAX:
                self._tones.clear()
            known = self._tones[tone] = wire.tone_body(tone, b"")
        return known

    def _refuse_open(self, stream: int, code: int, text: str, on_reply: OnOpened) -> int:
        self.refused.append(lambda: on_reply(Failure(code, text)))
        return stream

    def _open_path(self, opcode: Opcode, path: str, most: int, body: bytes, on_reply: OnOpened) -> int:
        stream = self._new_stream()
        octets = os.fsencode(path)
        if len(octets) > most:
            text = f"path {path!r} has {len(octets)} octets, at most {most}"
            return self._refuse_open(stream, errno.ENAMETOOLONG, text, on_reply)
        return self._open(opcode, stream, body + octets, on_reply)

    def _open(self, opcode: Opcode, stream: int, body: bytes, on_reply: OnOpened) -> int:
        def opened(reply: bytes | Failure) -> None:
            if isinstance(reply, Failure):
                self.streams.discard(stream)
                on_reply(reply)
            else:
                on_reply(Opened(stream))

        self._request(opcode, stream, body, opened)
        return stream

    def _ask(self, opcode: Opcode, stream: int, on_reply: OnStatistics) -> None:
        if stream not in self.streams:
            self.refused.append(lambda: on_reply(Failure(errno.ENOENT, f"no stream {stream}")))
            return

        def answered(reply: bytes | Failure) -> None:
            if isinstance(reply, Failure):
                on_reply(reply)
                return
            on_reply(wire.statistics_of(reply, 4))

        self._request(opcode, stream, b"", answered)

    def _request(self, opcode: Opcode, stream: int, body: bytes, on_reply: OnReply) -> None:
        if not self.up:
            self.refused.append(lambda: on_reply(Failure(errno.ENOTCONN, NOT_CONNECTED)))
            return
        if len(self._pending) >= PENDING_MAX:
            self.refused.append(lambda: on_reply(Failure(errno.EAGAIN, f"{PENDING_MAX} requests wait for a reply")))
            return
        if opcode in _OPENING:
            self.streams.add(stream)
        request = self._next_request = self._next_request % 0xFFFF_FFFF + 1
        self._pending[request] = (self._sweep, opcode, on_reply)
        if self._sweep_at is None:
            self._sweep_at = self._now + SWEEP
        self._write(opcode, request, stream, body)

    def _send(self, opcode: Opcode, stream: int, body: bytes = b"") -> None:
        """A request without reply; one about a stream that failed or is closed is ignored."""
        if self.up and stream in self.streams:
            self._write(opcode, 0, stream, body)

    def _write(self, opcode: Opcode, request: int, stream: int, body: bytes) -> None:
        length = len(body)
        size = HEADER_BYTES + length
        if self._out_size + size > PACKET_MAX:
            self._packets.append(b"".join(self._out))
            self._out.clear()
            self._out_size = 0
        self._out.append(_header(opcode, request, stream, length) + body)
        self._out_size += size

    # -- messages of the engine --

    def _on_message(self, opcode: int, request: int, stream: int, body: bytes) -> None:
        if len(body) < 4:
            raise WireError(f"reply of {len(body)} octets, expected a code")
        (code,) = wire.CODE.unpack_from(body)
        entry = self._pending.pop(request, None) if request else None
        if entry is not None:
            entry[2](Failure(code, wire.text_of(body[4:])) if code else body)
        elif code and opcode == Opcode.OPEN_TONE | Opcode.REPLY:
            refused = self._tone_replies.pop(stream, None)
            if refused is not None:
                self.streams.discard(stream)
                refused(Failure(code, wire.text_of(body[4:])))
        elif code and stream in self.streams:
            log.warning("stream %d: request %d: %s", stream, opcode & ~Opcode.REPLY, wire.text_of(body[4:]))

    def _on_event(self, opcode: int, stream: int, body: bytes) -> None:
        if stream not in self.streams:
            return
        decode = _EVENTS.get(opcode)
        if decode is None:
            raise WireError(f"unknown event {opcode:#x}")
        self._events.append(decode(stream, body))


def _noted(reply: bytes | Failure) -> None:
    if isinstance(reply, Failure):
        log.error("media engine does not take other settings: %s", reply.text)


def _digit(stream: int, body: bytes) -> DigitHeard:
    if len(body) < wire.EVENT_DIGIT.size:
        raise WireError(f"digit event of {len(body)} octets")
    milliseconds, digit = wire.EVENT_DIGIT.unpack_from(body)
    return DigitHeard(stream, chr(digit), milliseconds)


def _silent(stream: int, body: bytes) -> WentSilent:
    if len(body) < wire.EVENT_SILENT.size:
        raise WireError(f"silence event of {len(body)} octets")
    return WentSilent(stream, wire.EVENT_SILENT.unpack_from(body)[0])


def _iax_frame(stream: int, body: bytes) -> IaxFrame:
    return IaxFrame(stream, *wire.iax_frame_of(body))


def _iax_voice(stream: int, body: bytes) -> IaxVoiceDue:
    if len(body) < wire.IAX_VOICE.size:
        raise WireError(f"IAX voice event of {len(body)} octets")
    stamp, number = wire.IAX_VOICE.unpack_from(body)
    codec = _CODECS.get(number)
    if codec is None:
        raise WireError(f"IAX voice event of unknown codec {number}")
    return IaxVoiceDue(stream, stamp, codec, body[wire.IAX_VOICE.size :])


_CODECS: dict[int, Codec] = {int(codec): codec for codec in Codec}
_EVENTS: dict[int, Callable[[int, bytes], MediaEvent]] = {
    Opcode.EVENT_DIGIT: _digit,
    Opcode.EVENT_FIRST: lambda stream, _: FirstPacket(stream),
    Opcode.EVENT_SILENT: _silent,
    Opcode.EVENT_HEARD: lambda stream, _: HeardAgain(stream),
    Opcode.EVENT_ENDED: lambda stream, _: PromptEnded(stream),
    Opcode.EVENT_LOST: lambda stream, body: StreamLost(stream, wire.text_of(body)),
    Opcode.EVENT_IAX_FRAME: _iax_frame,
    Opcode.EVENT_IAX_VOICE: _iax_voice,
    Opcode.EVENT_IAX_CLEAR: lambda stream, _: ClearVoice(stream),
    Opcode.EVENT_TAP: lambda stream, body: VoiceCopied(stream, *wire.tap_of(body)),
}
