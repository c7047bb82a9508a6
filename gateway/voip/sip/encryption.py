"""Which streams are SRTP: what is offered, what of an offer or an answer is taken, and with which keys (RFC 4568 5, 7).

Profiles are RTP/SAVP, and RTP/AVP with a=crypto where both ends may do without (RFC 8643). The keys of SDES are no
secret where the signalling is none: there none are offered, and what requires SRTP is refused.
"""

from __future__ import annotations

import random
from enum import Enum
from itertools import accumulate

import msgspec

from gateway.media.api import Srtp, SrtpKey, SrtpSuite
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.sdes import KEY_LENGTHS, Crypto, first_usable, parse_crypto, with_tag
from gateway.voip.sip.sdp import MediaDescription

PLAIN_PROTOCOLS = frozenset({"RTP/AVP", "RTP/AVPF"})
SECURE_PROTOCOLS = frozenset({"RTP/SAVP", "RTP/SAVPF"})
"""Transport protocols of m= that we take, in capitals."""

OFFERED_SUITES = (
    SrtpSuite.AEAD_AES_256_GCM,
    SrtpSuite.AEAD_AES_128_GCM,
    SrtpSuite.AES_256_CM_HMAC_SHA1_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
)
"""What we offer, best first; the last is all that some Cisco gateways have. AES-256 with a short tag helps nobody."""

KEY_OCTETS = sum(KEY_LENGTHS.values())
"""Enough for a key of every suite."""

_OFFSETS = dict(zip(KEY_LENGTHS, accumulate(KEY_LENGTHS.values(), initial=0), strict=False))

_NOT_ACCEPTABLE = 488


class MediaEncryption(Enum):
    """SRTP, ``media_encryption``: never, where the far end has it, or always."""

    NO = "no"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Encryption(msgspec.Struct, frozen=True):
    """How the streams of one leg may be protected.

    ``confidential``: the signalling of this hop is encrypted. ``keys``: ``KEY_OCTETS`` random octets, of which every
    suite has its own; none where ``mode`` is NO. ``insisting``: what is optional is offered as if it were required.
    """

    mode: MediaEncryption = MediaEncryption.NO
    confidential: bool = False
    keys: bytes = b""
    insisting: bool = False

    def __repr__(self) -> str:
        return f"Encryption({self.mode.value}, confidential={self.confidential})"

    @classmethod
    def begin(cls, mode: MediaEncryption, *, confidential: bool, rng: random.Random) -> Encryption:
        """With new keys out of ``rng``, which in a running gateway is the operating system's."""
        if mode is MediaEncryption.NO:
            return CLEAR
        return cls(mode, confidential, rng.randbytes(KEY_OCTETS))

    def renewed(self, rng: random.Random) -> Encryption:
        """With other keys: one that was in use and no longer is must never be used again (RFC 3711 9.1)."""
        return Encryption(self.mode, self.confidential, rng.randbytes(KEY_OCTETS), self.insisting)

    @property
    def may_insist(self) -> bool:
        """True if a far end that takes RTP/SAVP alone might take another offer than the usual one."""
        return self.mode is MediaEncryption.OPTIONAL and self.confidential and not self.insisting

    def key(self, suite: SrtpSuite) -> SrtpKey:
        """What we send with if ``suite`` is agreed upon."""
        at = _OFFSETS[suite]
        return SrtpKey(suite, self.keys[at : at + KEY_LENGTHS[suite]])

    @property
    def hindrance(self) -> str:
        """Why no call is possible over this hop, "" if one is."""
        if self.mode is MediaEncryption.REQUIRED and not self.confidential:
            return "media_encryption = required, and keys would be sent in the clear: signalling is not TLS"
        return ""

    def offer(
        self, previous: MediaDescription | None, srtp: Srtp | None, *, in_use: bool
    ) -> tuple[str, tuple[str, ...]]:
        """Protocol and a=crypto of an offer of ours; raises SipError(488) if none may be made.

        ``previous`` is what we said last of the stream, ``srtp`` what it has now, ``in_use`` False: it has no terms.
        What was agreed stays as it is, with its keys (RFC 4568 7.1.4).
        """
        if self.hindrance:
            raise SipError(_NOT_ACCEPTABLE, self.hindrance)
        if previous is not None and in_use:
            if srtp is None:
                if self.mode is not MediaEncryption.REQUIRED:
                    return "RTP/AVP", ()
            else:
                again = [
                    str(Crypto(crypto.tag, crypto.name, self._current(crypto.suite, srtp)))
                    for crypto in map(parse_crypto, previous.crypto)
                    if isinstance(crypto, Crypto) and (crypto.suite is srtp.send.suite or self.confidential)
                ]
                return previous.protocol, tuple(again)
        if self.mode is MediaEncryption.NO or not self.confidential:
            return "RTP/AVP", ()
        secure = self.insisting or self.mode is MediaEncryption.REQUIRED
        protocol = "RTP/SAVP" if secure else "RTP/AVP"
        return protocol, tuple(
            [str(Crypto(tag, suite.name, self.key(suite))) for tag, suite in enumerate(OFFERED_SUITES, 1)]
        )

    def _current(self, suite: SrtpSuite, srtp: Srtp | None) -> SrtpKey:
        return srtp.send if srtp is not None and srtp.send.suite is suite else self.key(suite)

    def answer(self, offered: MediaDescription, srtp: Srtp | None) -> tuple[Srtp, Crypto] | str | None:
        """What we answer to a stream that the far end offers: with SRTP, None without; or why it cannot be had.

        ``srtp`` is what the stream has now: our key stays while the suite does.
        """
        secure = offered.protocol.upper() in SECURE_PROTOCOLS
        if self.mode is MediaEncryption.NO:
            return f"transport protocol {offered.protocol[:20]} where media_encryption = no" if secure else None
        required = self.mode is MediaEncryption.REQUIRED
        if required and not self.confidential:
            return self.hindrance
        if not secure and not (self.confidential and offered.crypto):
            # Where it is no more than an option, a key for everybody to read is worth nothing.
            return "media_encryption = required, and no SRTP is offered" if required else None
        # RFC 4568 5.1.2: the offer's order counts.
        theirs, why = first_usable(offered.crypto)
        if theirs is None:
            if secure or required:
                return f"no a=crypto that can be used{': ' if why else ''}{why}"
            return None
        ours = self._current(theirs.suite, srtp)
        return Srtp(ours, theirs.key), Crypto(theirs.tag, theirs.name, ours)

    def settle(self, ours: MediaDescription, answered: MediaDescription) -> Srtp | None:
        """What the far end's answer makes of our offer; raises SipError(488) for one that does not fit it.

        Of what was offered with RTP/SAVP nothing else is taken (RFC 4568 5.1.3).
        """
        secure = ours.protocol.upper() in SECURE_PROTOCOLS
        answered_secure = answered.protocol.upper() in SECURE_PROTOCOLS
        if secure and not answered_secure:
            raise SipError(
                _NOT_ACCEPTABLE, f"{ours.protocol} was answered with {answered.protocol[:20]}: not encrypted"
            )
        if not secure and (not ours.crypto or not answered.crypto):
            if answered_secure:
                raise SipError(_NOT_ACCEPTABLE, f"{ours.protocol} was answered with {answered.protocol[:20]}")
            if self.mode is MediaEncryption.REQUIRED:
                raise SipError(_NOT_ACCEPTABLE, "media_encryption = required, and the answer has no SRTP")
            return None
        if len(answered.crypto) != 1:
            raise SipError(
                _NOT_ACCEPTABLE, f"answer has {len(answered.crypto)} a=crypto, expected one of those offered"
            )
        theirs, why = first_usable(answered.crypto)
        if theirs is None:
            raise SipError(_NOT_ACCEPTABLE, f"a=crypto of the answer cannot be used: {why}")
        chosen = with_tag(ours.crypto, theirs.tag)
        if chosen is None or chosen.suite is not theirs.suite:
            raise SipError(
                _NOT_ACCEPTABLE, f"answer takes a=crypto {theirs.tag} {theirs.name[:40]}, which was not offered"
            )
        if chosen.key.key == theirs.key.key:
            raise SipError(_NOT_ACCEPTABLE, "answer repeats our own key")
        return Srtp(chosen.key, theirs.key)


CLEAR = Encryption()
"""No SRTP at all."""


def rekeyed(before: Srtp | None, after: Srtp | None) -> bool:
    """True if the far end sends with another key from now on: ours is to be another one too.

    Whoever took the call over behind a far end that stays the same must not share a key with whom it was taken from.
    """
    return before is not None and after is not None and before.receive != after.receive and before.send == after.send


def disused(before: Srtp | None, after: Srtp | None) -> bool:
    """True if the key that we sent with is no longer in use."""
    return before is not None and (after is None or after.send != before.send)
