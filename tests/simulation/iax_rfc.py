"""IAX2 once more, written from RFC 5456 and from nothing else: a mistake of gateway.voip.iax is not made here too.

Frames to and from octets (8), proofs (8.6.15, 8.6.16), encryption (7.2 and the order of octets that far ends use).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import random
import struct
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1

PORT = 4569
DTMF_END, VOICE, CONTROL, NULL, IAX, TEXT, NOISE, DTMF_BEGIN = 1, 2, 4, 5, 6, 7, 10, 12
HANGUP_CONTROL, RINGING, ANSWER, BUSY, CONGESTION, PROGRESS, PROCEEDING, HOLD, UNHOLD = 1, 3, 4, 5, 8, 14, 15, 16, 17
NEW, PING, PONG, ACK, HANGUP, REJECT, ACCEPT, AUTHREQ, AUTHREP, INVAL = range(1, 11)
LAGRQ, LAGRP, REGREQ, REGAUTH, REGACK, REGREJ, REGREL, VNAK = range(11, 19)
TXREQ, TXCNT, TXACC, TXREADY, TXREL, TXREJ, QUELCH, UNQUELCH, POKE = range(22, 31)
UNSUPPORT, RTKEY, CALLTOKEN = 33, 39, 40
UNNUMBERED = frozenset({ACK, INVAL, VNAK, TXCNT, TXACC, CALLTOKEN})
"""IAX frames that take no number and want no ACK (7)."""
IE_CALLED, IE_CALLING, IE_NAME, IE_USERNAME, IE_PASSWORD, IE_CAPABILITY, IE_FORMAT = 1, 2, 4, 6, 7, 8, 9
IE_VERSION, IE_METHODS, IE_CHALLENGE, IE_MD5, IE_RSA, IE_APPARENT, IE_REFRESH = 11, 14, 15, 16, 17, 18, 19
IE_CAUSE, IE_UNKNOWN, IE_CAUSECODE, IE_ENCRYPTION, IE_TOKEN = 22, 23, 42, 43, 54
IE_CALLNO, IE_MUSICONHOLD, IE_TRANSFERID, IE_VARIABLE = 21, 26, 27, 52
PLAINTEXT, MD5, RSA = 1, 2, 4
ULAW, ALAW = 4, 8
AES128 = 1
KEYS_CHANGE = 0x8000
"""Of the element ENCRYPTION, as Asterisk has it: RTKEY is understood."""


class MalformedError(Exception):
    """No frame of IAX2."""


@dataclass(frozen=True, slots=True)
class Full:
    """8.1.1. ``sub`` is the octet as it stands, its C bit and all."""

    source: int
    target: int
    stamp: int
    out: int
    expected: int
    kind: int
    sub: int
    body: bytes = b""
    again: bool = False

    def octets(self) -> bytes:
        """As it is on the wire."""
        second = self.target | (0x8000 if self.again else 0)
        head = struct.pack("!HHIBB", self.source | 0x8000, second, self.stamp & 0xFFFFFFFF, self.out, self.expected)
        return head + bytes([self.kind, self.sub]) + self.body

    @property
    def numbered(self) -> bool:
        """Whether it has a sequence number of its own and waits for an ACK."""
        return self.kind != IAX or self.sub not in UNNUMBERED

    @property
    def elements(self) -> dict[int, bytes]:
        """The information elements of the body (8.6), the first of each kind."""
        found: dict[int, bytes] = {}
        rest = self.body
        while rest:
            if len(rest) < 2 or len(rest) < 2 + rest[1]:
                raise MalformedError("an information element is cut short")
            found.setdefault(rest[0], rest[2 : 2 + rest[1]])
            rest = rest[2 + rest[1] :]
        return found


@dataclass(frozen=True, slots=True)
class Mini:
    """8.1.2, or one call's share of a trunk frame (8.1.3.2); ``stamp`` None there where it has none of its own."""

    source: int
    stamp: int | None
    voice: bytes
    trunked: bool = False


def read_full(data: bytes) -> Full:
    """A full frame in clear."""
    if len(data) < 12:
        raise MalformedError(f"{len(data)} octets")
    first, second, stamp, out, expected, kind, sub = struct.unpack("!HHIBBBB", data[:12])
    if not first & 0x8000:
        raise MalformedError("the F bit is not set")
    return Full(
        first & 0x7FFF, second & 0x7FFF, stamp, out, expected, kind, sub, data[12:], again=bool(second & 0x8000)
    )


def is_full(data: bytes) -> bool:
    """Whether the F bit is set."""
    return len(data) >= 4 and bool(data[0] & 0x80)


def read_voice(data: bytes) -> list[Mini]:
    """What is in a mini frame or a trunk frame."""
    if len(data) < 4:
        raise MalformedError(f"{len(data)} octets")
    number, stamp = struct.unpack("!HH", data[:4])
    if number:
        return [Mini(number, stamp, data[4:])]
    if data[2] != 1 or len(data) < 8 or data[3] > 1:
        raise MalformedError("not a trunk frame")
    found: list[Mini] = []
    rest = data[8:]
    while rest:
        if len(rest) < (6 if data[3] else 4):
            raise MalformedError("a trunk frame is cut short")
        if data[3]:
            length, number, own = struct.unpack("!HHH", rest[:6])
            rest = rest[6:]
        else:
            number, length = struct.unpack("!HH", rest[:4])
            own = None
            rest = rest[4:]
        if length > len(rest):
            raise MalformedError("a trunk frame is cut short")
        found.append(Mini(number & 0x7FFF, own, rest[:length], trunked=True))
        rest = rest[length:]
    return found


def mini(source: int, stamp: int, voice: bytes) -> bytes:
    """A mini frame."""
    return struct.pack("!HH", source, stamp & 0xFFFF) + voice


def trunk(stamp: int, shares: list[tuple[int, int, bytes]], *, stamps: bool) -> bytes:
    """A trunk frame of (call number, stamp, voice)."""
    head = struct.pack("!HBBI", 0, 1, 1 if stamps else 0, stamp & 0xFFFFFFFF)
    for number, own, voice in shares:
        if stamps:
            head += struct.pack("!HHH", len(voice), number, own & 0xFFFF) + voice
        else:
            head += struct.pack("!HH", number, len(voice)) + voice
    return head


def element(kind: int, value: bytes | str | int, octets: int = 0) -> bytes:
    """An information element; a number has so many ``octets``."""
    if isinstance(value, int):
        value = value.to_bytes(octets, "big")
    elif isinstance(value, str):
        value = value.encode()
    return bytes([kind, len(value)]) + value


_FAMILIES = {4: (2, 4), 16: (10, 8)}
"""Linux has IPv4 as 2 and IPv6 as 10; where the address begins."""


def place(address: str, port: int) -> bytes:
    """8.6.17: a sockaddr as the octets of its host, which has the least one first."""
    octets = ipaddress.ip_address(address).packed
    family, begin = _FAMILIES[len(octets)]
    head = bytes([family, 0]) + port.to_bytes(2, "big")
    return (head + bytes(begin - 4) + octets).ljust(16 if len(octets) == 4 else 28, b"\0")


def read_place(data: bytes) -> tuple[str, int]:
    """The address and port in it; MalformedError if there is none."""
    for length, (family, begin) in _FAMILIES.items():
        if family in data[:2] and len(data) >= begin + length:
            address = ipaddress.ip_address(data[begin : begin + length])
            return str(address), int.from_bytes(data[2:4], "big")
    raise MalformedError(f"no address: {data.hex()}")


def md5_proof(challenge: bytes, secret: str) -> bytes:
    """8.6.15: in hexadecimal."""
    return hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest().encode()


def rsa_proof(challenge: bytes, key: RSAPrivateKey) -> bytes:
    """8.6.16: PKCS#1 v1.5 over SHA-1, in base64."""
    return base64.b64encode(key.sign(challenge, rsa_padding.PKCS1v15(), SHA1()))  # noqa: S303 - the protocol's


def rsa_proves(challenge: bytes, result: bytes, key: RSAPublicKey) -> bool:
    """Whether ``result`` was made by the holder of the key."""
    try:
        key.verify(base64.b64decode(result), challenge, rsa_padding.PKCS1v15(), SHA1())  # noqa: S303
    except (InvalidSignature, ValueError):
        return False
    return True


def call_key(challenge: bytes, secret: str) -> bytes:
    """The key of a call: MD5 of challenge and secret."""
    return hashlib.md5(challenge + secret.encode(), usedforsecurity=False).digest()


def _clear_octets(data: bytes) -> int:
    return 4 if data[0] & 0x80 else 2


def sealed(data: bytes, key: bytes, rng: random.Random) -> bytes:
    """A full or mini frame, encrypted: random padding first, so that whole blocks come out."""
    clear = _clear_octets(data)
    rest = data[clear:]
    length = 16 + -len(rest) % 16
    noise = bytearray(rng.randbytes(length))
    noise[15] = noise[15] & 0xF0 | length & 0x0F
    machine = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return data[:clear] + machine.update(bytes(noise) + rest) + machine.finalize()


def unsealed(data: bytes, key: bytes) -> bytes:
    """The other way."""
    clear = _clear_octets(data)
    if len(data) < clear + 16 or (len(data) - clear) % 16:
        raise MalformedError(f"{len(data)} octets are not encrypted ones")
    machine = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).decryptor()
    plain = machine.update(data[clear:]) + machine.finalize()
    padding = 16 + (plain[15] & 0x0F)
    if padding > len(plain):
        raise MalformedError("more padding than there is")
    return data[:clear] + plain[padding:]


def without(data: bytes, kind: int) -> bytes:
    """A full frame in clear without the elements of that kind."""
    kept, rest = bytearray(data[:12]), data[12:]
    while rest:
        end = 2 + rest[1]
        if rest[0] != kind:
            kept += rest[:end]
        rest = rest[end:]
    return bytes(kept)


def looks_sealed(data: bytes) -> bool:
    """Whether it could be an encrypted frame, by its length."""
    clear = _clear_octets(data)
    return len(data) >= clear + 32 and (len(data) - clear) % 16 == 0


RETRY_AFTER = 500_000
MOST_TRIES = 8


@dataclass(slots=True)
class Waiting:
    """A frame that was sent and not yet acknowledged; ``octets`` as sent first."""

    frame: Full
    octets: bytes
    at: int
    tries: int = 0


@dataclass(slots=True)
class Numbers:
    """7: what both sides count, and what waits for its ACK. It knows no call, no peer and no clock."""

    out: int = 0
    expected: int = 0
    waiting: list[Waiting] = field(default_factory=list)

    def send(self, frame: Full) -> Full:
        """``frame`` with its numbers; one that has a number is not yet in ``waiting``."""
        frame = replace(frame, out=self.out, expected=self.expected)
        if frame.numbered:
            self.out = (self.out + 1) & 0xFF
        return frame

    def acknowledged(self, expected: int) -> None:
        """The far end has all before ``expected``."""
        outstanding = (self.out - expected) & 0xFF
        if outstanding <= len(self.waiting):
            del self.waiting[: len(self.waiting) - outstanding]

    def takes(self, frame: Full) -> str:
        """``next`` if its turn has come, ``old`` if it was here before, ``early`` if one before it is missing."""
        if not frame.numbered:
            return "next"
        ahead = (frame.out - self.expected) & 0xFF
        if ahead == 0:
            self.expected = (self.expected + 1) & 0xFF
            return "next"
        return "old" if ahead > 127 else "early"
