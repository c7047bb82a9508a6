"""What signalling may ask of the media engine, and what the engine tells it: streams, wired in pairs.

The words are the same for the real engine (``client.py`` speaks them over a Unix socket) and for the one of the
simulation. Requests never block: an ``int`` that names a stream is chosen by the caller's side at once, the reply comes
later to ``on_reply``. Nothing here touches a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import msgspec


class Law(IntEnum):
    """Companding law of a TDM stream (G.711)."""

    ULAW = 0
    ALAW = 1


class Codec(IntEnum):
    """Codecs of an RTP stream; the value is the static RTP payload type (RFC 3551), above 127 where there is none.

    L16 here is 16 kHz mono; Opus (RFC 7587) runs at 48 kHz on the wire.
    """

    ULAW = 0
    ALAW = 8
    G722 = 9
    OPUS = 128
    L16 = 129


class SrtpSuite(IntEnum):
    """SRTP crypto suites (RFC 4568 6.2, RFC 6188, RFC 7714)."""

    AES_CM_128_HMAC_SHA1_80 = 1
    AES_CM_128_HMAC_SHA1_32 = 2
    AES_256_CM_HMAC_SHA1_80 = 3
    AES_256_CM_HMAC_SHA1_32 = 4
    AEAD_AES_128_GCM = 5
    AEAD_AES_256_GCM = 6


class SrtpKey(msgspec.Struct, frozen=True):
    """How one direction is protected; ``key`` is master key and master salt, concatenated (RFC 4568 6.1).

    ``mki``: what each packet that the far end sends has of a master key identifier, at most 8 octets; we send none.
    """

    suite: SrtpSuite
    key: bytes
    mki: bytes = b""

    def __repr__(self) -> str:
        return f"SrtpKey({self.suite.name}, …)"


class Srtp(msgspec.Struct, frozen=True):
    """SRTP and SRTCP of a stream: what we send with, and what the far end sends with."""

    send: SrtpKey
    receive: SrtpKey


class Latch(IntEnum):
    """Where voice is sent: as the SDP says, or (comedia) once to where the far end's voice came from."""

    NO = 0
    ONCE = 1


class Direction(IntEnum):
    """Which way an RTP stream flows, seen from the gateway."""

    INACTIVE = 0
    RECVONLY = 1
    SENDONLY = 2
    SENDRECV = 3


class Silence(IntEnum):
    """Which direction of a stream fell silent."""

    RECEIVE = 1
    SEND = 2


class RtpSettings(msgspec.Struct, frozen=True):
    """Everything the two SDPs decide about an RTP stream. ``dtmf_payload_type`` None: no RFC 4733.

    ``payload_type`` and ``dtmf_payload_type`` are the numbers we send with, those of the far end's description;
    ``receive_…`` the numbers of ours, which the far end sends with (RFC 3264 5.1, 6.1). None there: the same.
    With ``srtp`` nothing unprotected is heard or sent. ``signalling_address`` is the literal address that the far end's
    signalling comes from, if known: where a source must be learned (``latch``, or a far end that sends from elsewhere
    than it receives), voice from that host is preferred to a stranger's. ``digits_told``: the far end is told digits in
    signalling (SIP INFO), so in its voice there is silence where they were.
    """

    address: str
    port: int
    rtcp_port: int
    codec: Codec
    payload_type: int
    dtmf_payload_type: int | None = 101
    packet_milliseconds: int = 20
    direction: Direction = Direction.SENDRECV
    rtcp_mux: bool = False
    receive_payload_type: int | None = None
    receive_dtmf_payload_type: int | None = None
    srtp: Srtp | None = None
    latch: Latch = Latch.NO
    signalling_address: str = ""
    digits_told: bool = False


class IaxVoiceSettings(msgspec.Struct, frozen=True):
    """Everything the frames of an IAX2 call decide about its voice (RFC 5456 8.1.2, 8.1.3).

    ``source_call`` is our call number, which our mini frames and trunk entries bear; ``far_call`` theirs. ``epoch`` is
    when the call's time stamps began: microseconds of CLOCK_MONOTONIC, the ``now`` of the cores. With ``trunk`` voice
    goes in trunk frames, one for all calls with that address and socket every 20 ms; ``trunk_stamps``: each entry has a
    time stamp. None is longer than ``trunk_octets`` (0: what the path takes and chan_iax2 reads). Keys are AES-128 (RFC
    5456 7.2), b"" is clear; with ``send_key`` voice goes in encrypted mini frames whatever ``trunk`` says, as trunk
    frames cannot be encrypted. ``encrypted``: voice that comes in clear is refused, and told once by ``ClearVoice``.
    ``direction`` SENDONLY and INACTIVE drop what comes.
    """

    address: str
    port: int
    source_call: int
    far_call: int
    codec: Codec
    epoch: int
    trunk: bool = False
    trunk_stamps: bool = False
    trunk_octets: int = 0
    send_key: bytes = b""
    receive_key: bytes = b""
    encrypted: bool = False
    direction: Direction = Direction.SENDRECV

    def __repr__(self) -> str:
        return f"IaxVoiceSettings({self.address}:{self.port}, {self.source_call}/{self.far_call}, {self.codec.name}, …)"


@dataclass(frozen=True, slots=True)
class ToneStep:
    """Up to four frequencies (hertz), ``level`` dBm0 each, for ``milliseconds`` (0 = for ever); none is a pause."""

    frequencies: tuple[int, ...]
    milliseconds: int
    level: float = -13.0


@dataclass(frozen=True, slots=True)
class Tone:
    """A call-progress tone: steps, repeated from ``repeat_from`` (None: once)."""

    steps: tuple[ToneStep, ...]
    repeat_from: int | None = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The engine refused or could not do it; ``code`` is an errno, ``text`` is for the log."""

    code: int
    text: str


class Opened(msgspec.Struct, frozen=True):
    """The stream exists. ``address`` and ``port`` are where an RTP stream receives, else empty and 0."""

    stream: int
    address: str = ""
    port: int = 0


class Statistics(msgspec.Struct, frozen=True):
    """Counters of one stream since it was opened; times in milliseconds, levels in dBm0 (-99 is digital silence).

    ``frequency`` is the single tone (hertz) that dominates what is received, 0 if none. ``lost`` etc. are of what we
    receive; ``remote_*`` is what the far end's RTCP says of what it receives. ``mos`` is by G.107 (1.0 to 4.5).
    ``rejected`` counts all packets that were of no use; of these ``unauthenticated`` and ``replayed`` (SRTP) and
    ``strangers`` (of a source that is not the far end). ``source`` is the address and port that voice comes from
    ("192.0.2.1:4000", "[2001:db8::1]:4000"), empty if it never came; ``latched``: voice is sent there, whatever the SDP
    says.
    """

    packets_sent: int = 0
    octets_sent: int = 0
    packets_received: int = 0
    octets_received: int = 0
    lost: int = 0
    late: int = 0
    duplicated: int = 0
    reordered: int = 0
    rejected: int = 0
    concealed: int = 0
    jitter: float = 0.0
    jitter_maximum: float = 0.0
    round_trip: float = -1.0
    buffer_delay: float = 0.0
    remote_lost: int = 0
    remote_jitter: float = 0.0
    slips: int = 0
    receive_level: float = -99.0
    send_level: float = -99.0
    frequency: float = 0.0
    mos: float = 0.0
    unauthenticated: int = 0
    replayed: int = 0
    strangers: int = 0
    source: str = ""
    latched: bool = False

    def by_name(self) -> dict[str, object]:
        """All counters as JSON types."""
        return msgspec.structs.asdict(self)


# -- events of the engine that are not replies --


@dataclass(frozen=True, slots=True)
class DigitHeard:
    """A DTMF digit ended on ``stream`` (RFC 4733 or in-band), reported once, with its length."""

    stream: int
    digit: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """The first valid packet or block came in on ``stream``."""

    stream: int


@dataclass(frozen=True, slots=True)
class WentSilent:
    """Nothing at all came in on a wired stream for the set time: one-way audio."""

    stream: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class HeardAgain:
    """Packets come in again after WentSilent."""

    stream: int


@dataclass(frozen=True, slots=True)
class PromptEnded:
    """A prompt or a tone that does not repeat has been played to its end."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream's channel or file is gone (cable cut, disk full); the stream stays until closed."""

    stream: int
    text: str


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine's connection is gone; all streams with it unless it comes back."""


@dataclass(frozen=True, slots=True)
class EngineReady:
    """The engine answers (again). ``fresh`` is False if it kept streams of an earlier connection."""

    fresh: bool


@dataclass(frozen=True, slots=True)
class IaxFrame:
    """A full frame (RFC 5456 8.1.1) came in on an IAX2 socket from ``address`` and ``port``; maybe encrypted."""

    socket: int
    address: str
    port: int
    data: bytes

    def __repr__(self) -> str:
        # It may have a password in it.
        return f"IaxFrame({self.socket}, {self.address}:{self.port}, {len(self.data)} octets)"


@dataclass(frozen=True, slots=True)
class IaxVoiceDue:
    """Voice of ``stream`` that must go as a full VOICE frame: the first one, and where 16 bits of the stamp wrap.

    ``stamp`` is the whole time stamp in milliseconds. No mini frames are sent before the first such event.
    """

    stream: int
    stamp: int
    codec: Codec
    data: bytes


@dataclass(frozen=True, slots=True)
class ClearVoice:
    """Voice came in clear into a call that must be encrypted; it was not heard. Told once for a ``set_iax``."""

    stream: int


class Copied(IntEnum):
    """What there is a copy of, in clear. Of IAX2 that is always a mini frame, with the call's time."""

    RTP = 0
    MINI = 1
    ENCRYPTED = 2
    """A mini frame that is encrypted on the wire."""
    TRUNKED = 3
    """What a trunk frame has of the call."""


@dataclass(frozen=True, slots=True)
class VoiceCopied:
    """A copy for captures: voice in clear that ``stream`` received (``inward``) or sent, as ``copied`` says.

    ``at``: microseconds of CLOCK_MONOTONIC; ``local`` and ``remote`` are addresses and ports; the local address is all
    zeros where a socket of IAX2 has any. Full frames of IAX2 are not among it, as signalling has them.
    """

    stream: int
    at: int
    inward: bool
    local: tuple[str, int]
    remote: tuple[str, int]
    data: bytes
    copied: Copied = Copied.RTP

    def __repr__(self) -> str:
        return f"VoiceCopied({self.stream}, {len(self.data)} octets)"


IaxMediaEvent = IaxFrame | IaxVoiceDue | ClearVoice
StreamEvent = DigitHeard | FirstPacket | WentSilent | HeardAgain | PromptEnded | StreamLost
MediaEvent = StreamEvent | EngineLost | EngineReady | IaxMediaEvent | VoiceCopied

OnOpened = Callable[[Opened | Failure], None]
OnStatistics = Callable[[Statistics | Failure], None]


class Media(Protocol):
    """The requests. Every ``open_*`` returns the new stream's number at once; use of a stream that failed is ignored.

    Requests are carried out in the order they are made, so a stream may be wired before its reply is here.
    """

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        """Bind an RTP/RTCP port pair out of the configured range on local ``address``."""

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        """Set or change what the far end's SDP says; time stamps go on, sequence and SSRC too while the send key stays.

        A key that stays the same keeps its roll-over counter and replay window. A suite that the engine's libsrtp2
        lacks is refused (ENOTSUP, in the log), as is a key of a wrong length; the settings before then stay.
        """

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        """Bind a UDP socket for IAX2 at local ``address`` ("::" hears IPv4 too); full frames come as ``IaxFrame``.

        A socket of an earlier connection at the same address is taken over. It is a stream as far as ``close`` goes.
        """

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        """Send one datagram, a full frame as it is to be on the wire."""

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        """The voice of one IAX2 call on ``socket``; nothing flows before ``set_iax``."""

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        """Set or change where the voice of an IAX2 call goes, how it is coded and protected."""

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        """The voice of a full VOICE frame that came (decrypted), with its whole time stamp; mini frames follow it."""

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        """Open a B channel by its path: connect to a socket (or listen at it), or open a device."""

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        """A stream that plays ``tone`` to the stream it is wired to; there is a reply only if it cannot."""

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        """A stream that plays a WAV file (8 kHz mono, 16 bit linear or G.711)."""

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        """A stream that sends back what it hears."""

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        """A stream that writes what it hears to a WAV file of at most ``seconds``."""

    def connect(self, first: int, second: int) -> None:
        """Wire two streams to each other, each way; either leaves the pair it was in."""

    def disconnect(self, stream: int) -> None:
        """Undo the pair that ``stream`` is in; both hear silence."""

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        """Send DTMF out of ``stream``: RFC 4733 where negotiated, else as tones."""

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        """Ask for the counters of ``stream``."""

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        """End ``stream``; the reply has its last counters."""
