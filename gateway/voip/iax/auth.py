"""Who is who (RFC 5456 6.1, 6.2, 8.6): answers to a challenge, and what such an answer is worth.

RSA is as chan_iax2 has it: the challenge is signed by PKCS #1 v1.5 with SHA-1, the signature goes in base64. A key that
encrypts comes of the shared secret whatever the method, so RSA with encryption needs a secret beside the key pair.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import random
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.voip.iax.crypt import AES_128, key_of
from gateway.voip.iax.elements import MAX_DATA, Elements, Ie
from gateway.voip.iax.peers import AuthMethod, Encryption, PeerSettings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

log = logging.getLogger(__name__)

MIN_RSA_BITS = 1024
"""What chan_iax2 takes, no more and no less."""
MAX_RSA_BITS = MAX_DATA // 4 * 3 * 8
"""The signature's base64 fits into one information element."""
MAX_KEYS_KEPT = 64
OWN_CHALLENGE = "asks us for the proof that it owes us: somebody in between passes our challenge off as its own"
"""As the secret is one for both directions, our answer would prove that it is who it says."""
_METHODS = AuthMethod.PLAINTEXT | AuthMethod.MD5 | AuthMethod.RSA


class Proof(NamedTuple):
    """That we are who we say, or that the far end is. ``key`` encrypts the call from now on; b"" is a call in clear.

    ``elements`` are for AUTHREP, REGREQ and REGREL; empty for a proof that the far end gave.
    """

    method: AuthMethod
    elements: Elements
    key: bytes = b""

    def __repr__(self) -> str:
        return f"Proof({self.method!r}, {'encrypts' if self.key else 'clear'})"


def new_challenge(rng: random.Random) -> bytes:
    """A text that nobody can foresee, 128 bits as hexadecimal digits."""
    return rng.randbytes(16).hex().encode()


def md5_result(challenge: bytes, secret: str) -> bytes:
    """MD5 RESULT (8.6): the digest of challenge and secret in hexadecimal digits."""
    return hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest().encode()


def md5_matches(challenge: bytes, secret: str, result: bytes) -> bool:
    """Whether ``result`` is right, in a time that does not tell how far it is. Never without a secret."""
    return hmac.compare_digest(md5_result(challenge, secret), result.lower()) and bool(secret)


@lru_cache(maxsize=MAX_KEYS_KEPT)
def private_key(pem: bytes) -> RSAPrivateKey:
    """``outkey``; ValueError says what is wrong with it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise ValueError("private key has a passphrase, expected one without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("no private key in PEM") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("private key is not RSA")
    _check_size(key.key_size)
    return key


@lru_cache(maxsize=MAX_KEYS_KEPT)
def public_key(pem: bytes) -> RSAPublicKey:
    """One of ``inkeys``; ValueError says what is wrong with it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("no public key in PEM") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("public key is not RSA")
    _check_size(key.key_size)
    return key


def _check_size(bits: int) -> None:
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ValueError(f"RSA key of {bits} bits, expected {MIN_RSA_BITS} (at most {MAX_RSA_BITS} fit into IAX2)")


def rsa_result(private_pem: bytes, challenge: bytes) -> bytes:
    """RSA RESULT (8.6) in base64; ValueError if the key is of no use."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    return base64.b64encode(private_key(private_pem).sign(challenge, PKCS1v15(), SHA1()))  # noqa: S303 - chan_iax2


def rsa_matches(public_pem: bytes, challenge: bytes, result: bytes) -> bool:
    """Whether ``result`` was made with the private half of the key; ValueError if ours is of no use."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    key = public_key(public_pem)
    try:
        key.verify(base64.b64decode(result, validate=True), challenge, PKCS1v15(), SHA1())  # noqa: S303
    except (InvalidSignature, binascii.Error):
        return False
    return True


def methods_of(settings: PeerSettings, encrypts: bool = False) -> AuthMethod:
    """AUTHMETHODS of our challenge: what the far end may prove itself with; 0 if there is nothing to prove it with.

    ``encrypts``: our challenge has ENCRYPTION. chan_iax2 agrees to it only if MD5 is among the methods; ``verify``
    takes no MD5 for it, though, where the settings have RSA only.
    """
    methods = AuthMethod(0)
    if settings.secret:
        methods |= settings.methods & (AuthMethod.MD5 | AuthMethod.PLAINTEXT)
    if settings.inkeys:
        methods |= settings.methods & AuthMethod.RSA
    return methods | AuthMethod.MD5 if methods and encrypts and settings.secret else methods


def answer(settings: PeerSettings, elements: Elements) -> Proof | None:
    """Our proof for a far end whose AUTHREQ, REGAUTH has ``elements``; None if it asks for what we do not give.

    The strongest method that it offers and our settings allow. It has a key if the challenge has ENCRYPTION with AES,
    our settings want it and there is a secret. IaxError if the elements cannot be read.
    """
    offered = AuthMethod((elements.number(Ie.AUTHMETHODS) or 0) & _METHODS) & settings.methods
    challenge, secret = elements.raw(Ie.CHALLENGE) or b"", settings.secret
    wanted = (elements.number(Ie.ENCRYPTION) or 0) & AES_128 and settings.encryption is not Encryption.NO
    key = key_of(challenge, secret) if wanted and challenge and secret else b""
    if AuthMethod.RSA in offered and settings.outkey and challenge:
        try:
            result = rsa_result(settings.outkey, challenge)
        except ValueError as error:
            log.warning("%s: outkey: %s", settings.name, error)
        else:
            return Proof(AuthMethod.RSA, Elements([(Ie.RSA_RESULT, result)]), key)
    if AuthMethod.MD5 in offered and secret and challenge:
        return Proof(AuthMethod.MD5, Elements([(Ie.MD5_RESULT, md5_result(challenge, secret))]), key)
    if AuthMethod.PLAINTEXT in offered and secret and len(secret.encode()) <= MAX_DATA:
        return Proof(AuthMethod.PLAINTEXT, Elements([(Ie.PASSWORD, secret.encode())]), key)
    return None


def verify(settings: PeerSettings, challenge: bytes, elements: Elements) -> Proof | None:
    """What the far end's ``elements`` (AUTHREP, REGREQ, REGREL) prove after our ``challenge``; None is nothing at all.

    One proof is looked at, that of the strongest method among those given and allowed. ``key`` is there if the settings
    want encryption and there is a secret; whether the far end agreed to it is the caller's to know.
    """
    methods, secret = settings.methods, settings.secret
    if AuthMethod.RSA in methods and settings.inkeys and (result := elements.raw(Ie.RSA_RESULT)) is not None:
        proven, method = bool(challenge) and _any_matches(settings, challenge, result), AuthMethod.RSA
    elif AuthMethod.MD5 in methods and (result := elements.raw(Ie.MD5_RESULT)) is not None:
        proven, method = bool(challenge) and md5_matches(challenge, secret, result), AuthMethod.MD5
    elif AuthMethod.PLAINTEXT in methods and (result := elements.raw(Ie.PASSWORD)) is not None:
        proven, method = hmac.compare_digest(secret.encode(), result) and bool(secret), AuthMethod.PLAINTEXT
    else:
        return None
    if not proven:
        return None
    encrypts = settings.encryption is not Encryption.NO and challenge and secret
    return Proof(method, Elements(), key_of(challenge, secret) if encrypts else b"")


def _any_matches(settings: PeerSettings, challenge: bytes, result: bytes) -> bool:
    for pem in settings.inkeys:
        try:
            if rsa_matches(pem, challenge, result):
                return True
        except ValueError as error:
            log.warning("%s: inkeys: %s", settings.name, error)
    return False
