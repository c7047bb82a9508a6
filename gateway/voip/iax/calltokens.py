"""Call tokens: who asks for a session first shows that it is where its datagrams say they come from. Takes no memory.

No RFC has them (element 0x36 and command 0x28 of the IANA registries; chan_iax2 of Asterisk is what all follow): a NEW,
REGREQ or REGREL with an empty CALLTOKEN element asks for a token, the answer is a CALLTOKEN frame from call number 1,
and the request comes again with the token. Who sends no such element does not know tokens.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s

from gateway.voip.iax.elements import Ie
from gateway.voip.iax.frame import FULL_HEADER, Command, FrameType, FullFrame
from gateway.voip.iax.host import Path

STATELESS_NUMBER = 1
"""Call number of answers that belong to no session; what is sent to it is not answered."""
LEAST_TOKEN = 6
"""Octets. The shortest REGREQ has so much room (a user of one letter): the answer is never longer than the question."""
MOST_TOKEN = 24
_ELEMENT_HEADER = 2
_KEY = 32
_NO_ZERO = bytes([1, *range(1, 256)])
"""chan_iax2 takes a token for a C string: it must not have an octet of 0."""


class TokenMint:
    """Makes tokens and knows its own again. ``key`` has 32 octets; ``life`` is how long a token holds at least."""

    def __init__(self, key: bytes, life: int) -> None:
        if len(key) != _KEY:
            raise ValueError(f"key of {len(key)} octets, expected {_KEY}")
        self._key = key
        self._life = life

    def token(self, path: Path, octets: int, now: int) -> bytes:
        """The token of who is at the far end of ``path``, of so many octets."""
        return self._of(path, now // self._life, octets)

    def holds(self, token: bytes, path: Path, now: int) -> bool:
        """Whether ``token`` was made for who sends it, in this span of ``life`` or the one before."""
        if not LEAST_TOKEN <= len(token) <= MOST_TOKEN:
            return False
        span = now // self._life
        size = len(token)
        # Both in any case: which one it was is nobody's business.
        this = hmac.compare_digest(token, self._of(path, span, size))
        before = hmac.compare_digest(token, self._of(path, span - 1, size))
        return this or before

    def answer(self, asked: FullFrame, octets: int, path: Path, now: int) -> bytes | None:
        """The datagram that gives a token to who ``asked`` in a datagram of ``octets``; None if it would be longer."""
        size = min(octets - FULL_HEADER - _ELEMENT_HEADER, MOST_TOKEN)
        if size < LEAST_TOKEN:
            return None
        token = self.token(path, size, now)
        return bytes(reply(asked, Command.CALLTOKEN, bytes((Ie.CALLTOKEN, len(token))) + token))

    def _of(self, path: Path, span: int, octets: int) -> bytes:
        text = f"{span} {path.socket} {path.address} {path.port}".encode()
        return blake2s(text, key=self._key, digest_size=octets).digest().translate(_NO_ZERO)


def reply(asked: FullFrame, command: Command, data: bytes = b"") -> FullFrame:
    """A frame that answers ``asked`` without a session, as far ends know it of chan_iax2."""
    return FullFrame(
        STATELESS_NUMBER, asked.source, asked.stamp, 0, (asked.oseqno + 1) & 0xFF, FrameType.IAX, command, data
    )
