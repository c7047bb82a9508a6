"""Lists of revoked certificates: made, read, and what is wrong with them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provision.certificates import CertificateError, KeyKind, make_box, make_ca
from gateway.provision.revocation import MAX_LISTS, is_of, list_fault, read_crls, revoke

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
CA = make_ca("Test CA", KeyKind.EC, NOW, 30)
BOXES = [make_box(CA, f"box{number}", ["a.example"], [], KeyKind.EC, NOW, 20).certificate for number in range(3)]


@pytest.mark.parametrize("kind", [KeyKind.EC, KeyKind.ED25519, KeyKind.RSA2048])
def test_list_grows_and_is_its_cas(kind: KeyKind) -> None:
    ca = make_ca("Test CA", kind, NOW, 30)
    (first,) = read_crls(revoke(ca, None, BOXES[:1], NOW))
    (second,) = read_crls(revoke(ca, first, BOXES[1:2], NOW + DAY))
    (again,) = read_crls(revoke(ca, second, BOXES[1:2], NOW + 2 * DAY))
    assert [each.serial_number for each in again] == [one.serial_number for one in BOXES[:2]]
    assert [each.revocation_date_utc for each in again] == [NOW, NOW + DAY]
    assert is_of(again, ca.certificate)
    assert not is_of(again, make_ca("Test CA", kind, NOW, 30).certificate)
    assert not is_of(again, make_ca("Other CA", kind, NOW, 30).certificate)
    assert again.next_update_utc == ca.certificate.not_valid_after_utc


def test_certificate_of_another_ca_is_not_this_ones_to_revoke() -> None:
    other = make_box(make_ca("Other", KeyKind.EC, NOW, 30), "x", ["x.example"], [], KeyKind.EC, NOW, 20)
    with pytest.raises(CertificateError, match="x is not of this CA"):
        revoke(CA, None, [other.certificate], NOW)


def test_fault_of_a_list_by_the_time_of_day() -> None:
    (one,) = read_crls(revoke(CA, None, [], NOW))
    assert list_fault(one, NOW) == ""
    assert list_fault(one, NOW + 31 * DAY) == "the list of Test CA ended on 2030-01-31 00:00 UTC; expected a new one"
    assert "begins on 2029-12-31 23:00 UTC; expected a clock that is right" in list_fault(one, NOW - DAY)


def test_file_of_several_lists_has_a_limit() -> None:
    one = revoke(CA, None, [], NOW)
    assert len(read_crls(one * MAX_LISTS)) == MAX_LISTS
    with pytest.raises(CertificateError, match=f"expected 1 to {MAX_LISTS} lists"):
        read_crls(one * (MAX_LISTS + 1))


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_are_no_list(octets: bytes, marked: bool) -> None:
    data = b"-----BEGIN X509 CRL-----\n" + octets + b"\n-----END X509 CRL-----\n" if marked else octets
    with pytest.raises(CertificateError):
        read_crls(data)
