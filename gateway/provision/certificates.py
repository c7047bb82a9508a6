"""X.509 certificates for SIP over TLS (RFC 5280, RFC 5922, RFC 5924): making them, and saying what is wrong with some.

A CA signs one certificate a box. Pure functions over bytes and times; files are read and written elsewhere.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_CERTIFICATES = 1000
"""In one file: the lists of public CAs hold some 150."""
MAX_NAME = 64
"""RFC 5280 A.1: ub-common-name."""
MAX_NAMES = 50
"""Names and addresses that one certificate is for."""
CLOCK_SKEW = datetime.timedelta(hours=1)
"""Certificates begin that much in the past: boxes' clocks differ."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class CertificateError(Exception):
    """Something cannot be used as certificate or key; the text is one line that says why."""


class KeyKind(Enum):
    """The keys that can be made. Ed25519 is known to few SIP telephones."""

    EC = "ec"
    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PEM (PKCS #8, not encrypted: nobody is there to type a pass phrase when a box starts)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def new_key(kind: KeyKind) -> PrivateKey:
    """A fresh private key."""
    match kind:
        case KeyKind.EC:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyKind.RSA2048:
            return rsa.generate_private_key(65537, 2048)
        case KeyKind.RSA3072:
            return rsa.generate_private_key(65537, 3072)
        case KeyKind.ED25519:
            return ed25519.Ed25519PrivateKey.generate()


def _digest(key: PrivateKey) -> hashes.SHA256 | None:
    # Ed25519 has its own.
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _name(common: str, organization: str = "") -> x509.Name:
    if not common or len(common) > MAX_NAME:
        raise CertificateError(f"name is {common[:80]!r}, expected 1 to {MAX_NAME} characters")
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:MAX_NAME]))
    return x509.Name(parts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime.datetime, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool, key: PrivateKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        # Far ends that know nothing newer than TLS 1.2 may look for it.
        key_encipherment=not ca and isinstance(key, rsa.RSAPrivateKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def make_ca(name: str, kind: KeyKind, now: datetime.datetime, days: int) -> Identity:
    """A certification authority that signs its own certificate, and may sign those of boxes but no other CA's."""
    key = new_key(kind)
    subject = _name(name)
    certificate = (
        _builder(subject, subject, key, now, now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True, key=key), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, _digest(key))
    )
    return Identity(certificate, key)


def make_box(
    ca: Identity,
    name: str,
    hosts: Sequence[str],
    addresses: Sequence[str],
    kind: KeyKind,
    now: datetime.datetime,
    days: int,
) -> Identity:
    """A certificate of ``ca`` for one box, as server and as client.

    ``hosts`` are the names and ``addresses`` the IP addresses by which others reach it: what they verify (RFC 5922).
    It never outlives its CA. Raises CertificateError.
    """
    names: list[x509.GeneralName] = []
    for host in hosts:
        host = host.rstrip(".").lower()
        if not host or not host.isascii() or len(host) > 253 or any(c.isspace() or c in "*/:@" for c in host):
            raise CertificateError(f"host is {host[:80]!r}, expected a DNS name without wildcard (RFC 5922 7.2)")
        names += [x509.DNSName(host), x509.UniformResourceIdentifier(f"sip:{host}")]
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            raise CertificateError(f"ip is {address[:80]!r}, expected an IPv4 or IPv6 address") from None
    if not names or len(names) > 2 * MAX_NAMES:
        raise CertificateError(f"expected 1 to {MAX_NAMES} hosts and addresses that others reach {name!r} by")
    end = ca.certificate.not_valid_after_utc
    if end <= now:
        raise CertificateError(f"the CA's certificate ended on {end:%Y-%m-%d}")
    key = new_key(kind)
    issuer = ca.certificate
    certificate = (
        _builder(_name(name), issuer.subject, key, now, min(now + datetime.timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False, key=key), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
        .sign(ca.key, _digest(ca.key))
    )
    return Identity(certificate, key)


# -- what is there --


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file, the first the box's own; CertificateError if there is none."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("expected a certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None
    if len(found) > MAX_CERTIFICATES:
        raise CertificateError(f"expected at most {MAX_CERTIFICATES} certificates, found {len(found)}")
    return found


def read_key(pem: bytes) -> PrivateKey:
    """The private key of a PEM file, which may hold certificates too; CertificateError if there is none."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise CertificateError("expected a private key without pass phrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("expected a private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, PrivateKey):
        raise CertificateError("expected an EC, RSA or Ed25519 key")
    return key


def fits(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """True if ``key`` is the private key of ``certificate``."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether it may sign others (RFC 5280 4.2.1.9). Of version 1, which cannot say, it is taken to."""
    if certificate.version is x509.Version.v1:
        return True
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except ValueError:
        # An extension of another kind that makes no sense is not for us to judge.
        return True


def known_to(chain: Sequence[x509.Certificate], cas: Sequence[x509.Certificate]) -> bool:
    """True if a CA of ``cas`` signed the first of ``chain``, or one that did through the rest of it."""
    current, rest = chain[0], list(chain[1:])
    for _ in range(len(chain)):
        if any(current == ca or _signed(current, ca) for ca in cas):
            return True
        above = next((one for one in rest if _signed(current, one)), None)
        if above is None:
            return False
        rest.remove(above)
        current = above
    return False


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses of the subject alternative name, as ``dns:…``, ``ip:…`` or the URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        *(f"dns:{name}" for name in names.get_values_for_type(x509.DNSName)),
        *(f"ip:{address}" for address in names.get_values_for_type(x509.IPAddress)),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
    ]


def describe_name(name: x509.Name) -> str:
    """A subject or issuer in a few words: its common name if it has one."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def describe_key(certificate: x509.Certificate) -> str:
    """The kind of a certificate's key."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def days_left(certificate: x509.Certificate, now: datetime.datetime) -> float:
    """Days until the certificate ends; below zero if it has."""
    return (certificate.not_valid_after_utc - now).total_seconds() / 86_400


def validity_fault(certificate: x509.Certificate, now: datetime.datetime) -> str:
    """Why ``certificate`` is not valid at ``now``, or ""."""
    if now > certificate.not_valid_after_utc:
        return f"the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; expected a new one"
    if now < certificate.not_valid_before_utc:
        return (
            f"the certificate begins on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC and it is "
            f"{now:%Y-%m-%d %H:%M} here; expected a clock that is right, or another certificate"
        )
    return ""
