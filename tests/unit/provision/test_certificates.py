"""Certificates that are made: what they may do and for whom; what is found wrong with others."""

from __future__ import annotations

import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provision.certificates import (
    CertificateError,
    Identity,
    KeyKind,
    days_left,
    describe_key,
    describe_name,
    fits,
    known_to,
    make_box,
    make_ca,
    names_of,
    read_certificates,
    read_key,
    validity_fault,
)

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> Identity:
    return make_ca("Example CA", KeyKind.EC, NOW, 3650)


def box(ca: Identity, days: int = 100, kind: KeyKind = KeyKind.EC) -> Identity:
    return make_box(ca, "branch", ["Branch.example.org."], ["192.0.2.1", "2001:db8::1"], kind, NOW, days)


def test_box_is_for_its_names_as_server_and_client(ca: Identity) -> None:
    made = box(ca).certificate
    assert names_of(made) == ["dns:branch.example.org", "ip:192.0.2.1", "ip:2001:db8::1", "sip:branch.example.org"]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (describe_name(made.subject), describe_name(made.issuer)) == ("branch", "Example CA")


def test_ca_may_sign_boxes_but_no_other_ca(ca: Identity) -> None:
    limits = ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)
    assert ca.certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize("kind", KeyKind)
def test_every_kind_of_key_is_made_and_read_again(ca: Identity, kind: KeyKind) -> None:
    made = box(ca, kind=kind)
    (certificate,) = read_certificates(made.certificate_pem)
    key = read_key(made.key_pem + made.certificate_pem)
    assert fits(certificate, key)
    assert not fits(ca.certificate, key)
    assert known_to([certificate], [ca.certificate])
    assert describe_key(certificate).split()[0] in ("EC", "RSA", "Ed25519")


def test_other_ca_of_the_same_name_did_not_sign(ca: Identity) -> None:
    other = make_ca("Example CA", KeyKind.EC, NOW, 10)
    assert not known_to([box(ca).certificate], [other.certificate])
    assert known_to([box(ca).certificate], [other.certificate, ca.certificate])


def test_chain_through_a_certificate_in_between_is_known() -> None:
    root = make_ca("Root", KeyKind.EC, NOW, 100)
    middle = make_ca("Middle", KeyKind.EC, NOW, 100)
    signed = (
        x509.CertificateBuilder()
        .subject_name(middle.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(middle.key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    leaf = make_box(middle, "leaf", ["a.example"], [], KeyKind.EC, NOW, 1).certificate
    assert known_to([leaf, signed], [root.certificate])
    assert not known_to([leaf], [root.certificate])


def test_box_ends_with_its_ca() -> None:
    ca = make_ca("Short", KeyKind.EC, NOW, 10)
    assert days_left(box(ca, 100).certificate, NOW) == pytest.approx(10)
    with pytest.raises(CertificateError, match="the CA's certificate ended on 2026-12-03"):
        make_box(ca, "late", ["a.example"], [], KeyKind.EC, NOW + 11 * DAY, 5)


@pytest.mark.parametrize(
    ("hosts", "addresses", "said"),
    [
        (["*.example.org"], [], "without wildcard"),
        (["a b"], [], "expected a DNS name"),
        ([""], [], "expected a DNS name"),
        (["höst"], [], "expected a DNS name"),
        ([], ["192.0.2.300"], "expected an IPv4 or IPv6 address"),
        ([], [], "expected 1 to 50 hosts and addresses"),
        ([f"h{n}.example" for n in range(51)], [], "expected 1 to 50"),
    ],
)
def test_names_that_cannot_be_are_refused(ca: Identity, hosts: list[str], addresses: list[str], said: str) -> None:
    with pytest.raises(CertificateError, match=said):
        make_box(ca, "branch", hosts, addresses, KeyKind.EC, NOW, 5)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_ca_needs_a_name_that_fits(name: str) -> None:
    with pytest.raises(CertificateError, match="expected 1 to 64 characters"):
        make_ca(name, KeyKind.EC, NOW, 5)


def test_validity_says_what_is_wrong(ca: Identity) -> None:
    made = box(ca, 10).certificate
    assert validity_fault(made, NOW) == ""
    assert "ended on 2026-12-03 12:00 UTC; expected a new one" in validity_fault(made, NOW + 11 * DAY)
    assert "begins on 2026-11-23 11:00 UTC and it is 1970-01-01 00:00 here" in validity_fault(
        made, datetime.datetime.fromtimestamp(0, datetime.UTC)
    )


def test_python_verifies_what_is_made(ca: Identity) -> None:
    context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    assert context.cert_store_stats()["x509_ca"] == 1


def test_encrypted_key_is_refused_in_one_line(ca: Identity) -> None:
    pem = ca.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(CertificateError, match="without pass phrase"):
        read_key(pem)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_random_bytes_are_no_certificate_and_no_key(data: bytes) -> None:
    for pem in (data, b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateError):
            read_certificates(pem)
        with pytest.raises(CertificateError):
            read_key(pem)
