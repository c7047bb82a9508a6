"""The control protocol between signalling and media engine: message layouts, the Python side of ``engine/protocol.h``.

Bytes only: nothing here knows a request's meaning or keeps state.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from gateway.core import ProtocolError
from gateway.media.api import Copied, IaxVoiceSettings, Latch, RtpSettings, SrtpSuite, Statistics, Tone

MAGIC = 0x4D47
VERSION = 1
PACKET_MAX = 32768
BODY_MAX = 4096
LABEL_BYTES = 64
TEXT_MAX = 200
SOCKET_PATH_MAX = 107
FILE_PATH_MAX = 1023
DIGITS_MAX = 64
STEPS_MAX = 16
FREQUENCIES_MAX = 4
LIST_MAX = 32
NO_PAYLOAD_TYPE = 255
NO_REPEAT = 255
SRTP_KEY_BYTES = 48
SRTP_MKI_BYTES = 8
IAX_KEY_BYTES = 16
IAX_FRAME_MAX = BODY_MAX - 20
IAX_CALL_MAX = 0x7FFF
IAX_TRUNK_OCTETS_MAX = 0xFFFF
IAX_TRUNK = 1
IAX_TRUNK_STAMPS = 2
IAX_ENCRYPTED = 4
STATISTICS_LEAST_BYTES = 100
STATISTICS_BYTES = 132
TAPS_MAX = 32
TAP_HEADER = 48
STEP_MILLISECONDS_MAX = 3_600_000
DIGIT_MILLISECONDS_MAX = 60_000


class Opcode(IntEnum):
    """Requests; a reply has REPLY added."""

    HELLO = 1
    OPEN_RTP = 2
    SET_RTP = 3
    OPEN_TDM = 4
    OPEN_TONE = 5
    OPEN_PROMPT = 6
    OPEN_ECHO = 7
    OPEN_RECORDER = 8
    CONNECT = 9
    DISCONNECT = 10
    SEND_DIGITS = 11
    STATISTICS = 12
    CLOSE = 13
    LIST = 14
    ADOPT = 15
    OPEN_IAX_SOCKET = 16
    SEND_IAX = 17
    OPEN_IAX = 18
    SET_IAX = 19
    IAX_VOICE = 20
    TAP = 21
    EVENT_DIGIT = 0x40
    EVENT_FIRST = 0x41
    EVENT_SILENT = 0x42
    EVENT_HEARD = 0x43
    EVENT_ENDED = 0x44
    EVENT_LOST = 0x45
    EVENT_IAX_FRAME = 0x46
    EVENT_IAX_VOICE = 0x47
    EVENT_IAX_CLEAR = 0x48
    EVENT_TAP = 0x49
    REPLY = 0x80


class Kind(IntEnum):
    """Kinds of streams, as LIST tells them."""

    RTP = 1
    TDM = 2
    TONE = 3
    PROMPT = 4
    ECHO = 5
    RECORDER = 6
    IAX_SOCKET = 7
    IAX = 8


HEADER = Struct("<HBBIII")
HEADER_BYTES = HEADER.size
CODE = Struct("<i")
HELLO = Struct("<HHII")
HELLO_REPLY = Struct("<iB3xIII")
OPEN_RTP = Struct("<B3x16s64s")
OPEN_RTP_REPLY = Struct("<iHH")
SET_RTP = Struct("<BBBB16sHHBBBBBBxx")
SET_RTP_SOURCE = Struct("<BBBB16s48s48s")
SET_RTP_MKI = Struct("<B8s")
OPEN_TDM = Struct("<BBxx64s")
OPEN_TONE = Struct("<BBxx64s")
TONE_STEP = Struct("<4HIhxx")
OPEN_PROMPT = Struct("<B3x64s")
OPEN_ECHO = Struct("<64s")
OPEN_RECORDER = Struct("<I64s")
CONNECT = Struct("<I")
SEND_DIGITS = Struct("<I")
LIST = Struct("<I")
LIST_REPLY = Struct("<iI")
LIST_ENTRY = Struct("<IIHBB64s")
STATISTICS_LEAST = Struct("<4Q6I4fIfI4f")
STATISTICS = Struct("<4Q6I4fIfI4f3IBBH16s")
OPEN_IAX_SOCKET = Struct("<BxH16s64s")
IAX_ADDRESS = Struct("<BxH16s")
OPEN_IAX = Struct("<I64s")
SET_IAX = Struct("<BBBB16sHHHHqBBxx16s16s")
IAX_VOICE = Struct("<IB3x")
EVENT_DIGIT = Struct("<IB3x")
EVENT_SILENT = Struct("<I")
TAP = Struct("<B3x")
EVENT_TAP = Struct("<BBHHBxq16s16s")
_COPIED = {int(each): each for each in Copied}

SRTP_KEY_LENGTHS = {
    SrtpSuite.AES_CM_128_HMAC_SHA1_80: 30,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32: 30,
    SrtpSuite.AES_256_CM_HMAC_SHA1_80: 46,
    SrtpSuite.AES_256_CM_HMAC_SHA1_32: 46,
    SrtpSuite.AEAD_AES_128_GCM: 28,
    SrtpSuite.AEAD_AES_256_GCM: 44,
}
"""Octets of master key and salt (RFC 4568 6.2, RFC 6188 4, RFC 7714 12)."""


class WireError(ProtocolError):
    """A packet of the control connection is not laid out as protocol.h says."""


@dataclass(frozen=True, slots=True)
class HelloReply:
    """What the engine is: ``kept`` streams of an earlier client, ``limit`` streams at most."""

    fresh: bool
    kept: int
    limit: int
    process: int


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One stream the engine has. ``peer`` 0: not wired; ``port`` 0: no RTP stream."""

    stream: int
    peer: int
    port: int
    kind: Kind
    adopted: bool
    label: str


def message(opcode: int, request: int, stream: int, body: bytes = b"") -> bytes:
    """One whole message."""
    return HEADER.pack(MAGIC, VERSION, opcode, request, stream, len(body)) + body


def messages(packet: bytes) -> list[tuple[int, int, int, bytes]]:
    """(opcode, request, stream, body) of each message in ``packet``; raises WireError if one of them is bad."""
    found = []
    at, size = 0, len(packet)
    while at < size:
        if size - at < HEADER_BYTES:
            raise WireError(f"{size - at} octets left, expected a header of {HEADER_BYTES}")
        magic, version, opcode, request, stream, length = HEADER.unpack_from(packet, at)
        if magic != MAGIC:
            raise WireError(f"magic {magic:#06x}, expected {MAGIC:#06x}")
        if version != VERSION:
            raise WireError(f"protocol version {version}, expected {VERSION}")
        at += HEADER_BYTES
        if length > BODY_MAX or length > size - at:
            raise WireError(f"body of {length} octets, {size - at} left, {BODY_MAX} allowed")
        found.append((opcode, request, stream, packet[at : at + length]))
        at += length
    return found


def address_bytes(address: str) -> tuple[int, bytes]:
    """(4 or 6, address padded to 16 octets) of a literal IP address; raises ValueError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return (6 if family == socket.AF_INET6 else 4), socket.inet_pton(family, address).ljust(16, b"\0")
    except OSError:
        raise ValueError(f"{address!r} is not an IP address") from None


def label_bytes(label: str) -> bytes:
    """At most LABEL_BYTES - 1 octets; ``Struct`` pads the rest."""
    return label.encode("utf-8", "replace")[: LABEL_BYTES - 1]


def _source_part(settings: RtpSettings) -> bytes:
    """The part of SET_RTP that says who may speak, and how it is known to be the far end."""
    family, address = address_bytes(settings.signalling_address) if settings.signalling_address else (0, b"")
    send = receive = b""
    suites = (0, 0)
    if settings.srtp is not None:
        for key in (settings.srtp.send, settings.srtp.receive):
            if len(key.key) != SRTP_KEY_LENGTHS[key.suite]:
                raise ValueError(f"{len(key.key)} octets of key, {key.suite.name} has {SRTP_KEY_LENGTHS[key.suite]}")
        send, receive = settings.srtp.send.key, settings.srtp.receive.key
        suites = (settings.srtp.send.suite, settings.srtp.receive.suite)
    body = SET_RTP_SOURCE.pack(settings.latch, *suites, family, address, send, receive)
    mki = settings.srtp.receive.mki if settings.srtp is not None else b""
    if not mki:
        return body
    if len(mki) > SRTP_MKI_BYTES:
        raise ValueError(f"MKI of {len(mki)} octets, at most {SRTP_MKI_BYTES} expected")
    return body + SET_RTP_MKI.pack(len(mki), mki)


def rtp_settings_body(family: int, address: bytes, settings: RtpSettings) -> bytes:
    """Body of SET_RTP; raises ValueError if a key is not as long as its suite wants, or an address is none."""
    body = _rtp_body(family, address, settings)
    if settings.srtp is None and settings.latch is Latch.NO and not settings.signalling_address:
        return body
    return body + _source_part(settings)


def _rtp_body(family: int, address: bytes, settings: RtpSettings) -> bytes:
    dtmf, receive = settings.dtmf_payload_type, settings.receive_payload_type
    receive_dtmf = settings.receive_dtmf_payload_type
    return SET_RTP.pack(
        family,
        settings.codec,
        settings.payload_type,
        NO_PAYLOAD_TYPE if dtmf is None else dtmf,
        address,
        settings.port,
        settings.rtcp_port,
        settings.packet_milliseconds,
        settings.direction,
        settings.rtcp_mux,
        settings.digits_told,
        NO_PAYLOAD_TYPE if receive is None else receive,
        NO_PAYLOAD_TYPE if receive_dtmf is None else receive_dtmf,
    )


def iax_settings_body(family: int, address: bytes, settings: IaxVoiceSettings) -> bytes:
    """Body of SET_IAX; raises ValueError if a key is not as long as AES-128's, or a number is none of IAX2."""
    s = settings
    for key in (s.send_key, s.receive_key):
        if len(key) not in {0, IAX_KEY_BYTES}:
            raise ValueError(f"IAX2 key of {len(key)} octets, expected {IAX_KEY_BYTES}")
    for number in (s.source_call, s.far_call):
        if not 0 < number <= IAX_CALL_MAX:
            raise ValueError(f"IAX2 call number {number}, expected 1 to {IAX_CALL_MAX}")
    if not 0 <= s.trunk_octets <= IAX_TRUNK_OCTETS_MAX:
        raise ValueError(f"trunk frames of {s.trunk_octets} octets, expected 0 to {IAX_TRUNK_OCTETS_MAX}")
    flags = s.trunk * IAX_TRUNK | s.trunk_stamps * IAX_TRUNK_STAMPS | s.encrypted * IAX_ENCRYPTED
    return SET_IAX.pack(
        *(family, s.codec, s.direction, flags, address, s.port, s.source_call, s.far_call, s.trunk_octets, s.epoch),
        *(len(s.send_key), len(s.receive_key), s.send_key, s.receive_key),
    )


def iax_frame_of(body: bytes) -> tuple[str, int, bytes]:
    """(address, port, datagram) of an IAX frame event; raises WireError."""
    if len(body) < IAX_ADDRESS.size:
        raise WireError(f"IAX frame event of {len(body)} octets")
    family, port, address = IAX_ADDRESS.unpack_from(body)
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, address[:4]), port, body[IAX_ADDRESS.size :]
    return socket.inet_ntop(socket.AF_INET6, address), port, body[IAX_ADDRESS.size :]


def tap_of(body: bytes) -> tuple[int, bool, tuple[str, int], tuple[str, int], bytes, Copied]:
    """(microseconds, received, our address and port, theirs, packet, what it is) of a copy; raises WireError."""
    if len(body) < EVENT_TAP.size:
        raise WireError(f"copy of a packet of {len(body)} octets")
    family, inward, port, far_port, copied, at, near, far = EVENT_TAP.unpack_from(body)
    if copied not in _COPIED:
        raise WireError(f"copy of what is unknown ({copied})")
    size, kind = (4, socket.AF_INET) if family == 4 else (16, socket.AF_INET6)
    local, remote = socket.inet_ntop(kind, near[:size]), socket.inet_ntop(kind, far[:size])
    return at, bool(inward), (local, port), (remote, far_port), body[EVENT_TAP.size :], _COPIED[copied]


def tone_body(tone: Tone, label: bytes) -> bytes:
    """Body of OPEN_TONE; raises ValueError if the tone breaks a limit."""
    steps = tone.steps
    if not 1 <= len(steps) <= STEPS_MAX:
        raise ValueError(f"tone of {len(steps)} steps, expected 1 to {STEPS_MAX}")
    if tone.repeat_from is not None and not 0 <= tone.repeat_from < len(steps):
        raise ValueError(f"tone repeats from step {tone.repeat_from}, it has {len(steps)}")
    parts = [OPEN_TONE.pack(len(steps), NO_REPEAT if tone.repeat_from is None else tone.repeat_from, label)]
    for step in steps:
        if len(step.frequencies) > FREQUENCIES_MAX:
            raise ValueError(f"{len(step.frequencies)} frequencies, at most {FREQUENCIES_MAX}")
        if not all(0 < hertz < 4000 for hertz in step.frequencies):
            raise ValueError(f"frequencies {step.frequencies}, expected 1 to 3999 Hz")
        if not 0 <= step.milliseconds <= STEP_MILLISECONDS_MAX:
            raise ValueError(f"tone step of {step.milliseconds} ms, expected 0 to {STEP_MILLISECONDS_MAX}")
        if not -99.0 <= step.level <= 3.17:
            raise ValueError(f"tone level {step.level} dBm0, expected -99 to 3.17")
        hertz4 = (*step.frequencies, 0, 0, 0, 0)[:FREQUENCIES_MAX]
        parts.append(TONE_STEP.pack(*hertz4, step.milliseconds, round(step.level * 100)))
    return b"".join(parts)


def statistics_body(statistics: Statistics) -> bytes:
    """Body of a statistics reply after its code (for the simulation's engine); ``source`` must be a literal."""
    s = statistics
    host, _, port = s.source.rpartition(":")
    family, address = address_bytes(host.strip("[]")) if host else (0, b"")
    return STATISTICS.pack(
        *(s.packets_sent, s.octets_sent, s.packets_received, s.octets_received),
        *(s.lost, s.late, s.duplicated, s.reordered, s.rejected, s.concealed),
        *(s.jitter, s.jitter_maximum, s.round_trip, s.buffer_delay, s.remote_lost, s.remote_jitter, s.slips),
        *(s.receive_level, s.send_level, s.frequency, s.mos),
        *(s.unauthenticated, s.replayed, s.strangers, family, s.latched, int(port or 0), address),
    )


def statistics_of(body: bytes, at: int = 0) -> Statistics:
    """Statistics that begin ``at`` in a reply; an engine of before knows fewer. Raises WireError."""
    left = len(body) - at
    if left < STATISTICS_LEAST.size:
        raise WireError(f"statistics of {max(left, 0)} octets")
    if left < STATISTICS.size:
        return Statistics(*STATISTICS_LEAST.unpack_from(body, at))
    *counters, family, latched, port, address = STATISTICS.unpack_from(body, at)
    source = ""
    if family == 4:
        source = f"{socket.inet_ntop(socket.AF_INET, address[:4])}:{port}"
    elif family == 6:
        source = f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"
    values = (*counters, source, bool(latched))
    return Statistics(*values)


def text_of(body: bytes) -> str:
    """The text of a failure or an event."""
    return body.decode("utf-8", "replace")


def list_entries(body: bytes) -> tuple[int, list[ListEntry]]:
    """(streams in all, entries) of a LIST reply; raises WireError."""
    if len(body) < LIST_REPLY.size or (len(body) - LIST_REPLY.size) % LIST_ENTRY.size:
        raise WireError(f"LIST reply of {len(body)} octets")
    _, total = LIST_REPLY.unpack_from(body)
    entries = []
    for stream, peer, port, kind, adopted, label in LIST_ENTRY.iter_unpack(body[LIST_REPLY.size :]):
        try:
            known = Kind(kind)
        except ValueError:
            raise WireError(f"stream {stream} is of unknown kind {kind}") from None
        entries.append(ListEntry(stream, peer, port, known, bool(adopted), text_of(label.rstrip(b"\0"))))
    return total, entries
