"""Encryption of one session's full frames: which keys are in force, and RTKEY (as chan_iax2 has it; RFC 5456 has none).

Each direction has a key of its own. Whoever sends RTKEY, still with the old key, sends with the new one at once. What
the far end sent before stays readable: frames that it repeats have the key of their first time. As nothing in IAX2 is
authenticated, a frame is taken for genuine if what was decrypted makes sense in this session.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from gateway.voip.iax.crypt import KEY_SIZE, Cipher
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FullFrame, parse_full


class Protection:
    """The keys of a session."""

    __slots__ = ("_earlier", "_receive", "_rng", "rotations_received", "rotations_sent", "send")

    def __init__(self, send_key: bytes, receive_key: bytes, rng: random.Random) -> None:
        self._rng = rng
        self.send = Cipher(send_key, rng)
        self._receive = self.send if receive_key == send_key else Cipher(receive_key, rng)
        self._earlier: Cipher | None = None
        self.rotations_sent = 0
        self.rotations_received = 0

    @property
    def send_key(self) -> bytes:
        """What we encrypt with now."""
        return self.send.key

    @property
    def receive_key(self) -> bytes:
        """What the far end encrypts with now."""
        return self._receive.key

    def openings(self, data: bytes) -> Iterator[FullFrame]:
        """What ``data`` may have been: with the key in force, then with the one before it."""
        for cipher in (self._receive, self._earlier):
            if cipher is not None:
                try:
                    yield parse_full(cipher.decrypt(data))
                except IaxError:
                    continue

    def new_key(self) -> Elements:
        """What an RTKEY of ours says; ``sent_new_key`` is to follow when it went."""
        return Elements().add(Ie.CHALLENGE, self._rng.randbytes(KEY_SIZE))

    def sent_new_key(self, elements: Elements) -> None:
        """From now on with that key."""
        self.send = Cipher(elements.raw(Ie.CHALLENGE) or b"", self._rng)
        self.rotations_sent += 1

    def received_new_key(self, elements: Elements) -> None:
        """The far end's RTKEY: its frames have that key from now on; IaxError if it is none."""
        cipher = Cipher(elements.raw(Ie.CHALLENGE) or b"", self._rng)
        self._earlier = self._receive
        self._receive = cipher
        self.rotations_received += 1
