"""The media engine's stand-in of the gateway: its control protocol (``gateway.media.wire``) over a Wiring, sans-I/O.

Packets in, packets out, streams that outlive their client by the grace time. No sample is moved.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from gateway.core import SECOND
from gateway.media import wire
from gateway.media.api import Codec, Direction, IaxVoiceSettings, SrtpSuite, Statistics
from gateway.media.wire import Kind, Opcode
from tests.simulation.iax_voice import IaxPart
from tests.simulation.voice import STREAMS_MAX, Keys, Stream, Wiring

GRACE_LEAST = 5 * SECOND
_OK = wire.CODE.pack(0)
_STATISTICS = _OK + wire.statistics_body(Statistics())
_HEADER = wire.HEADER


class WireEngine(Wiring):
    """One engine process. ``connected`` tells whether a client is there."""

    def __init__(self) -> None:
        super().__init__()
        self.connected = False
        self.requests = 0
        self.refusals: list[str] = []
        self.digits: dict[str, str] = {}
        """What was sent as DTMF, by the label of its stream."""
        self.fresh: list[Stream] = []
        """Streams that can hear now and could not before; the owner takes them out."""
        self.required: frozenset[str] = frozenset()
        """Peers whose voice is never to be in the clear."""
        self.breaches: list[str] = []
        self.encrypted = 0
        self.iax: IaxPart | None = None
        """What carries IAX2; of an owner who has a network."""
        self._key_owners: dict[bytes, str] = {}
        self._grace = 60
        self._grace_end: int | None = None

    # -- what the owner calls --

    def client_came(self) -> None:
        """A connection was made; streams of before wait to be adopted."""
        self.connected = True

    def client_gone(self, now: int) -> None:
        """The connection is gone: streams run on for the grace time."""
        self.connected = False
        self._grace_end = now + self._grace * SECOND
        for stream in self.streams.values():
            stream.adopted = False

    def crash(self) -> None:
        """The process dies with all its streams."""
        self.connected = False
        self._grace_end = None
        self.clear()
        if self.iax is not None:
            self.iax.clear_all()

    def close(self, number: int) -> bool:
        """End a stream."""
        stream = self.streams.get(number)
        if stream is not None and self.iax is not None:
            self.iax.closed(stream)
        return super().close(number)

    def next_timer(self) -> int | None:
        """When streams that nobody adopted end."""
        return self._grace_end

    def handle_timer(self, now: int) -> None:
        """End what nobody adopted."""
        if self._grace_end is not None and now >= self._grace_end:
            self._grace_end = None
            for number in [each.number for each in self.streams.values() if not each.adopted]:
                self.close(number)

    def receive(self, packet: bytes, now: int) -> bytes:
        """Carry out a packet of requests; returns the packet of replies, empty if there is none."""
        replies: list[bytes] = []
        for opcode, request, number, body in wire.messages(packet):
            self.requests += 1
            reply = self._hello(body, now) if opcode == Opcode.HELLO else _HANDLERS[opcode](self, number, body)
            code = wire.CODE.unpack_from(reply)[0]
            if code and not request:
                self.refusals.append(f"{Opcode(opcode).name} {number}: {wire.text_of(reply[4:])}")
            if request or code:
                header = _HEADER.pack(wire.MAGIC, wire.VERSION, opcode | Opcode.REPLY, request, number, len(reply))
                replies.append(header + reply)
        return b"".join(replies)

    # -- events --

    def first_packet(self, stream: Stream) -> bytes:
        """The packet that tells of the first voice on ``stream``; empty if the stream is gone."""
        if self.streams.get(stream.number) is not stream:
            return b""
        return wire.message(Opcode.EVENT_FIRST, 0, stream.number)

    def digit_heard(self, stream: Stream, digit: str, milliseconds: int) -> bytes:
        """The packet that tells of a digit heard on ``stream``."""
        return wire.message(Opcode.EVENT_DIGIT, 0, stream.number, wire.EVENT_DIGIT.pack(milliseconds, ord(digit)))

    def iax_frame(self, socket_number: int, address: str, port: int, data: bytes) -> bytes:
        """The packet that tells of a full frame."""
        family, octets = wire.address_bytes(address)
        body = wire.IAX_ADDRESS.pack(family, port, octets) + data
        return wire.message(Opcode.EVENT_IAX_FRAME, 0, socket_number, body)

    def iax_voice_due(self, stream: int, stamp: int, codec: Codec, data: bytes) -> bytes:
        """The packet that tells of voice that must go in a full frame."""
        return wire.message(Opcode.EVENT_IAX_VOICE, 0, stream, wire.IAX_VOICE.pack(stamp & 0xFFFFFFFF, codec) + data)

    def clear_voice(self, stream: int) -> bytes:
        """The packet that tells of voice in the clear."""
        return wire.message(Opcode.EVENT_IAX_CLEAR, 0, stream)

    def silent(self, stream: Stream, milliseconds: int) -> bytes:
        """The packet that tells that nothing is heard on ``stream``."""
        return wire.message(Opcode.EVENT_SILENT, 0, stream.number, wire.EVENT_SILENT.pack(milliseconds))

    # -- requests --

    def _hello(self, body: bytes, now: int) -> bytes:
        first, last, _silence, grace = wire.HELLO.unpack(body)
        self.ports = (first, last)
        self._grace = grace
        kept = len(self.streams)
        if self._grace_end is not None:
            self._grace_end = max(self._grace_end, now + GRACE_LEAST)
        return wire.HELLO_REPLY.pack(0, kept == 0, kept, STREAMS_MAX, 1)

    def _opened(self, stream: Stream) -> bytes:
        code = self.add(stream)
        if code:
            return _failure(code, stream.path or stream.label)
        if stream.kind is Kind.RTP:
            return wire.OPEN_RTP_REPLY.pack(0, stream.port, stream.port + 1)
        return _OK

    def _open_rtp(self, number: int, body: bytes) -> bytes:
        family, octets, label = wire.OPEN_RTP.unpack(body)
        return self._opened(Stream(number, Kind.RTP, _text(label), address=_address(family, octets)))

    def _set_rtp(self, number: int, body: bytes) -> bytes:
        stream = self.streams.get(number)
        if stream is None:
            return _failure(errno.ENOENT, f"no stream {number}")
        fields = wire.SET_RTP.unpack_from(body)
        if stream.remote is None:
            self.fresh.append(stream)
        stream.remote = (_address(fields[0], fields[4]), fields[5])
        stream.keys = _keys(body)
        source = wire.SET_RTP_SOURCE.unpack_from(body, wire.SET_RTP.size) if len(body) > wire.SET_RTP.size else (0,)
        stream.latches = bool(source[0])
        self._check_keys(stream)
        return _OK

    def _check_keys(self, stream: Stream) -> None:
        """Note a stream in the clear that never may be, and a key that two streams send with."""
        name = stream.label.removeprefix("sip/").rpartition("-")[0]
        if stream.keys is None:
            if name in self.required:
                self.breaches.append(f"{stream.label} is not encrypted")
            return
        self.encrypted += 1
        send, receive = stream.keys
        if self._key_owners.setdefault(send, stream.label) != stream.label or send == receive:
            self.breaches.append(f"{stream.label} sends with a key that is not its own")

    def _open_iax_socket(self, number: int, body: bytes) -> bytes:
        family, port, octets, label = wire.OPEN_IAX_SOCKET.unpack(body)
        stream = Stream(number, Kind.IAX_SOCKET, _text(label), address=_address(family, octets), port=port)
        code = errno.ENOTSUP if self.iax is None else self.iax.open_socket(stream)
        return _failure(code, stream.label) if code else wire.OPEN_RTP_REPLY.pack(0, port, 0)

    def _send_iax(self, number: int, body: bytes) -> bytes:
        family, port, octets = wire.IAX_ADDRESS.unpack_from(body)
        data = body[wire.IAX_ADDRESS.size :]
        if self.iax is None or not self.iax.send(number, (_address(family, octets), port), data):
            return _failure(errno.ENOENT, f"no socket {number}")
        return _OK

    def _open_iax(self, number: int, body: bytes) -> bytes:
        socket_number, label = wire.OPEN_IAX.unpack(body)
        if self.iax is None or socket_number not in self.iax.sockets:
            return _failure(errno.ENOENT, f"no socket {socket_number}")
        code = self.iax.open(number, _text(label), socket_number)
        return _failure(code, _text(label)) if code else _OK

    def _set_iax(self, number: int, body: bytes) -> bytes:
        settings = iax_settings(body)
        if self.iax is None or not self.iax.set(number, settings):
            return _failure(errno.ENOENT, f"no stream {number}")
        stream = self.streams[number]
        name = stream.label.removeprefix("iax2/").removeprefix("iax/").rpartition("-")[0]
        if name in self.required and not (settings.send_key and settings.receive_key and settings.encrypted):
            self.breaches.append(f"{stream.label} is not encrypted")
        return _OK

    def _iax_voice(self, number: int, body: bytes) -> bytes:
        if self.iax is not None:
            self.iax.heard(number, body[wire.IAX_VOICE.size :])
        return _OK

    def _open_tdm(self, number: int, body: bytes) -> bytes:
        size = wire.OPEN_TDM.size
        _law, _listen, label = wire.OPEN_TDM.unpack_from(body)
        return self._opened(Stream(number, Kind.TDM, _text(label), path=os.fsdecode(body[size:])))

    def _open_tone(self, number: int, body: bytes) -> bytes:
        return self._opened(Stream(number, Kind.TONE, _text(wire.OPEN_TONE.unpack_from(body)[2])))

    def _open_prompt(self, number: int, body: bytes) -> bytes:
        return self._opened(Stream(number, Kind.PROMPT, _text(wire.OPEN_PROMPT.unpack_from(body)[1])))

    def _open_echo(self, number: int, body: bytes) -> bytes:
        return self._opened(Stream(number, Kind.ECHO, _text(body)))

    def _open_recorder(self, number: int, body: bytes) -> bytes:
        return self._opened(Stream(number, Kind.RECORDER, _text(wire.OPEN_RECORDER.unpack_from(body)[1])))

    def _connect(self, number: int, body: bytes) -> bytes:
        (other,) = wire.CONNECT.unpack(body)
        return _OK if self.connect(number, other) else _failure(errno.ENOENT, f"no stream {number} or {other}")

    def _disconnect(self, number: int, body: bytes) -> bytes:
        self.disconnect(number)
        return _OK

    def _send_digits(self, number: int, body: bytes) -> bytes:
        stream = self.streams.get(number)
        if stream is None:
            return _failure(errno.ENOENT, f"no stream {number}")
        self.digits[stream.label] = self.digits.get(stream.label, "") + body[wire.SEND_DIGITS.size :].decode()
        return _OK

    def _statistics(self, number: int, body: bytes) -> bytes:
        return _STATISTICS if number in self.streams else _failure(errno.ENOENT, f"no stream {number}")

    def _close(self, number: int, body: bytes) -> bytes:
        return _STATISTICS if self.close(number) else _failure(errno.ENOENT, f"no stream {number}")

    def _list(self, number: int, body: bytes) -> bytes:
        (skip,) = wire.LIST.unpack(body)
        entries = [
            wire.LIST_ENTRY.pack(
                each.number, each.peer or 0, each.port, each.kind, each.adopted, wire.label_bytes(each.label)
            )
            for each in list(self.streams.values())[skip : skip + wire.LIST_MAX]
        ]
        return wire.LIST_REPLY.pack(0, len(self.streams)) + b"".join(entries)

    def _adopt(self, number: int, body: bytes) -> bytes:
        stream = self.streams.get(number)
        if stream is None:
            return _failure(errno.ENOENT, f"no stream {number}")
        stream.adopted = True
        return _OK


def _keys(body: bytes) -> Keys | None:
    """The keys in a SET_RTP."""
    if len(body) <= wire.SET_RTP.size:
        return None
    source = wire.SET_RTP_SOURCE.unpack_from(body, wire.SET_RTP.size)
    if not source[1]:
        return None
    length = wire.SRTP_KEY_LENGTHS[SrtpSuite(source[1])]
    return source[-2][:length], source[-1][:length]


def iax_settings(body: bytes) -> IaxVoiceSettings:
    """What a SET_IAX says."""
    fields = wire.SET_IAX.unpack(body)
    family, codec, direction, flags, octets, port, ours, theirs, _, epoch, sends, receives, send, receive = fields
    return IaxVoiceSettings(
        *(_address(family, octets), port, ours, theirs, Codec(codec), epoch),
        trunk=bool(flags & wire.IAX_TRUNK),
        trunk_stamps=bool(flags & wire.IAX_TRUNK_STAMPS),
        send_key=send[:sends],
        receive_key=receive[:receives],
        encrypted=bool(flags & wire.IAX_ENCRYPTED),
        direction=Direction(direction),
    )


def _failure(code: int, text: str) -> bytes:
    return wire.CODE.pack(code) + text.encode()


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode("utf-8", "replace")


_ADDRESSES: dict[bytes, str] = {}


def _address(family: int, octets: bytes) -> str:
    known = _ADDRESSES.get(octets)
    if known is None:
        known = socket.inet_ntop(socket.AF_INET6 if family == 6 else socket.AF_INET, octets[: 16 if family == 6 else 4])
        _ADDRESSES[octets] = known
    return known


_HANDLERS: dict[int, Callable[[WireEngine, int, bytes], bytes]] = {
    Opcode.OPEN_RTP: WireEngine._open_rtp,
    Opcode.SET_RTP: WireEngine._set_rtp,
    Opcode.OPEN_IAX_SOCKET: WireEngine._open_iax_socket,
    Opcode.SEND_IAX: WireEngine._send_iax,
    Opcode.OPEN_IAX: WireEngine._open_iax,
    Opcode.SET_IAX: WireEngine._set_iax,
    Opcode.IAX_VOICE: WireEngine._iax_voice,
    Opcode.OPEN_TDM: WireEngine._open_tdm,
    Opcode.OPEN_TONE: WireEngine._open_tone,
    Opcode.OPEN_PROMPT: WireEngine._open_prompt,
    Opcode.OPEN_ECHO: WireEngine._open_echo,
    Opcode.OPEN_RECORDER: WireEngine._open_recorder,
    Opcode.CONNECT: WireEngine._connect,
    Opcode.DISCONNECT: WireEngine._disconnect,
    Opcode.SEND_DIGITS: WireEngine._send_digits,
    Opcode.STATISTICS: WireEngine._statistics,
    Opcode.CLOSE: WireEngine._close,
    Opcode.LIST: WireEngine._list,
    Opcode.ADOPT: WireEngine._adopt,
}
