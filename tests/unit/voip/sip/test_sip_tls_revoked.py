"""Certificates that their CA took back (tls_crl), on real connections."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest

from gateway.voip.sip.tls import Tls, TlsFileError, TlsSettings, VerifyClient
from tests.unit.voip.sip.socket_node import Node, run
from tests.unit.voip.sip.test_sip_tls import LISTEN, OPTIONS, client, hang_up, peer, place
from tests.unit.voip.sip.tls_files import NOW, Authority

DAY = datetime.timedelta(days=1)


def called(tls: Tls, far: Tls) -> bool:
    """Whether a gateway with ``tls`` calls one with ``far``."""
    result: list[bool] = []

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=far)
        await a.start(LISTEN, peers=(peer(b.listeners[0].port),), tls=tls)
        _, notes = place(a)
        await a.until(lambda: notes.released is not None or bool(b.offers))
        result.append(bool(b.offers))
        await a.close()
        await b.close()

    run(scenario)
    return result[0]


def test_revoked_certificate_is_refused_and_others_of_the_ca_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    good, lost = authority.tls("good"), authority.tls("lost")
    ours = authority.tls("a", crl=authority.revoke("lost"))
    assert called(ours, good)
    assert not called(ours, lost)
    assert "its certificate was revoked (tls_crl)" in caplog.text
    # A list that grows is taken up with the next connection.
    authority.revoke("good")
    assert called(ours, good)
    ours.reload()
    assert not called(ours, good)


def test_revoked_client_is_not_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    for name in ("good", "lost"):
        authority.issue(name)
    answers: list[bytes] = []

    async def scenario() -> None:
        node = Node()
        tls = authority.tls("b", verify_client=VerifyClient.REQUIRED, crl=authority.revoke("lost"))
        await node.start(LISTEN, tls=tls)
        for name in ("good", "lost"):
            context = client(authority.file)
            context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", node.listeners[0].port, ssl=context, server_hostname=""
            )
            try:
                writer.write(OPTIONS)
                answers.append(await asyncio.wait_for(reader.readline(), 5))
            except (ssl.SSLError, ConnectionError):
                answers.append(b"")
            await hang_up(writer)
        await node.close()

    run(scenario)
    assert answers == [b"SIP/2.0 200 OK\r\n", b""]
    assert "was revoked" in caplog.text


@pytest.mark.parametrize(
    ("when", "says"),
    [(NOW - 40 * DAY, "has ended; get a new one"), (NOW + DAY, "is not valid yet; set the clock right")],
)
def test_list_that_is_not_valid_refuses_all_and_says_so(
    tmp_path: Path, when: datetime.datetime, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    made = authority.revoke(now=when)
    if when < NOW:
        made.write_bytes(ended(authority))
    assert not called(authority.tls("a", crl=made), authority.tls("b"))
    assert says in caplog.text


def ended(authority: Authority) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.identity.certificate.subject)
    builder = builder.last_update(NOW - 3 * DAY).next_update(NOW - DAY)
    return builder.sign(authority.identity.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_ca_without_a_list_is_refused_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "other")
    theirs.issue("b")
    both = tmp_path / "both.crt"
    both.write_bytes(ours.file.read_bytes() + theirs.file.read_bytes())
    crl = ours.revoke()
    assert not called(ours.tls("a", ca=both, crl=crl), theirs.tls("b", ca=both))
    assert "tls_crl has no list of its CA" in caplog.text
    crl.write_bytes(crl.read_bytes() + theirs.revoke().read_bytes())
    assert called(ours.tls("a", ca=both, crl=crl), theirs.tls("b", ca=both))


@pytest.mark.parametrize("what", ["nothing", "a certificate", "garbage", "no file"])
def test_file_that_is_no_list_is_refused_and_the_one_before_stays(tmp_path: Path, what: str) -> None:
    authority = Authority(tmp_path)
    crl = authority.revoke()
    tls = authority.tls("a", crl=crl)
    good = crl.read_bytes()
    if what == "no file":
        crl.unlink()
    else:
        wrong = {"nothing": b"", "a certificate": good + authority.file.read_bytes(), "garbage": b"-----BEGIN X509 CRL"}
        crl.write_bytes(wrong[what])
    with pytest.raises(TlsFileError, match=r"sip\.tls_crl: ") as caught:
        tls.reload()
    assert caught.value.key == "tls_crl"
    assert called(tls, authority.tls("b"))


def test_list_is_among_the_files_that_are_watched() -> None:
    assert TlsSettings(crl=Path("ca.crl")).files == (Path("ca.crl"),)
