"""RSA keys of the simulated gateway and of its far ends: the same ones always, so that a seed gives the same run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_EXPONENT = 65_537
# A proof of a longer key does not fit into an information element (8.6.1).
_PRIMES = {
    "gateway": (
        "f38ea5f193e037547ed22b99e9db2bda6918fe3f562ea7172923e4605d81a27dc29b64b2a2271fe327688c491845c334"
        "32bbbb6a7805771b33dc81afa5a43055",
        "e408feec2af8a1177102cedb4c52a8a127dff69fd672a242cef751666990d60c69da7f1b64f01d362167ae5d0c064327"
        "c54baaee616cde556a7fa0d70e7c0c9b",
    ),
    "far": (
        "cdaf10e07d63593b524545464102ebfc788b7f9d26dd1fb80609712a353b04b7ab704aea2f456803e9b316e6cfbb48df"
        "de1712483a6b0507ca9ef681595477cb",
        "cb78f5568f6f8dae9795a175f5fa3fb14688bcbb95e91174fd82acf82007e2c7ee95c06947e1ad811ec05155da4a9757"
        "837817ecfa68d1b837c1233d8e9be7fb",
    ),
}


@lru_cache
def private_key(whose: str) -> RSAPrivateKey:
    """The key of ``gateway`` or of ``far``, all far ends."""
    p, q = (int(prime, 16) for prime in _PRIMES[whose])
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    crt = rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q)
    return RSAPrivateNumbers(p, q, d, *crt, RSAPublicNumbers(_EXPONENT, p * q)).private_key()


def private_pem(whose: str) -> bytes:
    """As in a file of Asterisk's ``astgenkey``."""
    return private_key(whose).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def public_pem(whose: str) -> bytes:
    """The public half."""
    key = private_key(whose).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_keys(directory: Path) -> None:
    """What the gateway's configuration names: its own private key and the far ends' public one."""
    own = directory / "gateway.key"
    own.touch(mode=0o600)
    own.write_bytes(private_pem("gateway"))
    (directory / "far.pub").write_bytes(public_pem("far"))
