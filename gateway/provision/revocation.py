"""Lists of revoked certificates (CRLs, RFC 5280 5): read, looked at, and made by a CA of one's own.

Pure functions over bytes and times. OCSP (RFC 6960) is not done.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.provision.certificates import CLOCK_SKEW, CertificateError, Identity, describe_name

MAX_LISTS = 100
"""In one file."""
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

Crl = x509.CertificateRevocationList


def read_crls(pem: bytes) -> list[Crl]:
    """All lists of a PEM file; CertificateError if there is none, or one that makes no sense."""
    found = _LIST.findall(pem)
    if not found or len(found) > MAX_LISTS:
        text = f"expected 1 to {MAX_LISTS} lists of revoked certificates in PEM form (-----BEGIN X509 CRL-----)"
        raise CertificateError(text)
    try:
        return [x509.load_pem_x509_crl(one) for one in found]
    except ValueError:
        raise CertificateError("expected lists of revoked certificates that can be read (RFC 5280 5)") from None


def list_fault(one: Crl, now: datetime.datetime) -> str:
    """Why ``one`` is not good at ``now``, or "": then certificates of its CA are refused, all of them."""
    end = one.next_update_utc
    if end is not None and now > end:
        return f"the list of {describe_name(one.issuer)} ended on {end:%Y-%m-%d %H:%M} UTC; expected a new one"
    if now < one.last_update_utc:
        begin, who = one.last_update_utc, describe_name(one.issuer)
        return f"the list of {who} begins on {begin:%Y-%m-%d %H:%M} UTC; expected a clock that is right"
    return ""


def is_of(one: Crl, ca: x509.Certificate) -> bool:
    """Whether ``ca`` signed ``one``."""
    if one.issuer != ca.subject:
        return False
    try:
        return one.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def revoke(ca: Identity, before: Crl | None, certificates: Sequence[x509.Certificate], now: datetime.datetime) -> bytes:
    """A new list as PEM: what was in ``before``, and ``certificates``. It is good for as long as its CA's certificate.

    Raises CertificateError for a certificate that ``ca`` did not sign.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - CLOCK_SKEW)
        .next_update(ca.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    dates = {} if before is None else {each.serial_number: each.revocation_date_utc for each in before}
    for one in certificates:
        if one.issuer != ca.certificate.subject:
            raise CertificateError(f"the certificate of {describe_name(one.subject)} is not of this CA")
        dates.setdefault(one.serial_number, now)
    for serial, date in dates.items():
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date).build()
        builder = builder.add_revoked_certificate(revoked)
    digest = None if isinstance(ca.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(ca.key, digest).public_bytes(serialization.Encoding.PEM)
