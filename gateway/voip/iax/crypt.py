"""AES-128 of IAX2 (RFC 5456 7.4): full frames but for their call numbers, and mini frames but for theirs.

As chan_iax2 does it, which the RFC leaves open: CBC with an initial vector of zeros for each datagram, and in front of
what is encrypted 16 to 31 random octets that fill up to whole blocks. The low four bits of the sixteenth say how many
there are beyond 16. Nothing tells whether what was decrypted is genuine: IAX2 has no authentication of frames.
"""

from __future__ import annotations

import hashlib
import random

from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FULL_HEADER, MINI_HEADER

KEY_SIZE = 16
BLOCK = 16
CLEAR_FULL = 4
"""Octets of a full frame that stay clear: both call numbers."""
CLEAR_MINI = 2
"""Octets of a mini frame that stay clear: the source call number."""
LEAST_PADDING = 16
AES_128 = 0x0001
"""Bit of ENCRYPTION (8.6)."""
KEY_ROTATION = 0x8000
"""Bit of ENCRYPTION: who sets it understands RTKEY (as chan_iax2 has it since 1.6)."""
_NO_VECTOR = bytes(BLOCK)


def key_of(challenge: bytes, secret: str) -> bytes:
    """The key that both sides get out of the challenge of AUTHREQ and the shared secret: their MD5 digest."""
    return hashlib.md5(challenge + secret.encode(), usedforsecurity=False).digest()


def prepare() -> None:
    """Load what encryption takes now, so that no first call waits for it."""
    cipher = Cipher(_NO_VECTOR, random.Random(0))
    cipher.decrypt(cipher.encrypt(bytes(MINI_HEADER)))


class Cipher:
    """What one key does to datagrams, either way. ``rng`` gives the padding, afresh for each datagram."""

    __slots__ = ("_cipher", "_rng", "key")

    def __init__(self, key: bytes, rng: random.Random) -> None:
        """IaxError if ``key`` (of an RTKEY, say) has not 16 octets."""
        if len(key) != KEY_SIZE:
            raise IaxError(f"key of {len(key)} octets, expected {KEY_SIZE}")
        # Late: a gateway without encrypted IAX2 trunks never needs the memory of it.
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        self.key = key
        self._rng = rng
        self._cipher = BlockCipher(AES(key), CBC(_NO_VECTOR))

    def __repr__(self) -> str:
        return "Cipher(…)"

    def encrypt(self, datagram: bytes) -> bytes:
        """The full or mini frame ``datagram`` as it goes on the wire. Twice the same gives two different ones."""
        clear = CLEAR_FULL if datagram[0] & 0x80 else CLEAR_MINI
        beyond = -(len(datagram) - clear) % BLOCK
        padding = bytearray(self._rng.randbytes(LEAST_PADDING + beyond))
        padding[15] = padding[15] & 0xF0 | beyond
        encryptor = self._cipher.encryptor()
        return datagram[:clear] + encryptor.update(bytes(padding) + datagram[clear:]) + encryptor.finalize()

    def decrypt(self, datagram: bytes) -> bytes:
        """The frame that ``datagram`` was; IaxError if it cannot have come from ``encrypt`` of anybody."""
        full = bool(datagram) and bool(datagram[0] & 0x80)
        clear, header = (CLEAR_FULL, FULL_HEADER) if full else (CLEAR_MINI, MINI_HEADER)
        size = len(datagram) - clear
        if size < LEAST_PADDING or size % BLOCK:
            raise IaxError(f"{max(size, 0)} encrypted octets, expected some blocks of {BLOCK}")
        decryptor = self._cipher.decryptor()
        text = decryptor.update(datagram[clear:]) + decryptor.finalize()
        begin = LEAST_PADDING + (text[15] & 0x0F)
        if size - begin + clear < header:
            raise IaxError(f"{size} encrypted octets with {begin} of padding hold no frame (another key?)")
        return datagram[:clear] + text[begin:]
