"""The whole product over TLS: baresip both ways with certificates of gateway-certs, and OpenSSL at the door."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.interop.openssl import PACKAGE, Certificates, as_ast_tls_cert, certs, run, s_client
from tests.interop.program import PATIENCE, find_program, free_port
from tests.interop.scenario import scenario
from tests.interop.secure_phone import ANSWERING, CALLED, TlsProduct, address, telephone

SECRET = "apples"  # noqa: S105 - of this test's phone
SECURE = ("secure_signalling",)


@scenario
async def test_calls_over_tls_both_ways_with_baresip(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    async with (
        await telephone(tmp_path / "phone", files, tone=600) as phone,
        TlsProduct(tmp_path, address(phone), sip=files.sip, bridge=SECURE) as product,
    ):
        report = await product.pstn_call(CALLED)
        assert report["cause"] == 16, product.log
        assert (await phone.event("CALL_ESTABLISHED"))["direction"] == "incoming"
        await phone.event("CALL_CLOSED")
        await product.called_by(phone)
        await phone.event("CALL_ESTABLISHED")
        status = await product.until(lambda status: len(status["calls"]) == 1, "the call")
        assert status["calls"][0]["facts"] == ["secure_signalling"]
        assert status["tls"]["connections"] >= 1
        assert status["tls"]["certificate"]["subject"] == "gateway"
        await phone.hang_up()
        await product.until_idle()
        out, into = product.records()
        assert out["facts"] == []
        assert out["attempts"][0]["leg"]["facts"] == ["secure_signalling"]
        assert into["facts"] == ["secure_signalling"]
        assert into["incoming"]["facts"] == ["secure_signalling"]
        assert "refused" not in product.log


@scenario
async def test_certificate_is_replaced_in_the_middle_of_a_call(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    async with (
        await telephone(tmp_path / "phone", files, tone=600) as phone,
        TlsProduct(tmp_path, address(phone), sip=files.sip) as product,
    ):
        await product.called_by(phone)
        await phone.event("CALL_ESTABLISHED")
        before = await product.until(lambda status: len(status["calls"]) == 1, "the call")
        for end in ("crt", "key", "pem"):
            (files.directory / f"gateway.{end}").unlink()
        await files.box("gateway")
        os.kill(product.gateway_pid, signal.SIGHUP)
        after = await product.until(lambda status: status["tls"]["reloads"] > 0, "the new certificate")
        assert after["tls"]["connections"] == before["tls"]["connections"]
        assert "Verify return code: 0 (ok)" in await s_client(product.tls_port, "-CAfile", files.ca)
        await phone.hang_up()
        await product.until_idle()
        assert product.records()[0]["cause"] == 16
        assert "are taken up for new connections" in product.log


@scenario
async def test_phone_that_registers_over_tls_is_called_over_its_connection(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    known = TlsProduct(tmp_path, "dynamic", terms=f'secret = "{SECRET}"', bridge=SECURE, sip=files.sip)
    async with known as product:
        registrar = f"127.0.0.1:{product.tls_port}"
        async with await telephone(tmp_path / "phone", files, tone=600, registrar=registrar, secret=SECRET) as phone:
            status = await product.until(lambda status: bool(status["registered"]), "the registration")
            assert status["registered"]["tlsphone"][0]["address"].startswith("tls:127.0.0.1:")
            report = await product.pstn_call(CALLED)
            assert report["cause"] == 16, product.log
            await phone.event("CALL_CLOSED")
            await product.called_by(phone)
            await phone.event("CALL_ESTABLISHED")
            assert (await product.until(lambda status: len(status["calls"]) == 1, "the call"))["tls"][
                "connections"
            ] == 1
            await phone.hang_up()
            await product.until_idle()
            out, into = product.records()
            assert out["attempts"][0]["leg"]["facts"] == ["secure_signalling"]
            assert (into["source"], into["facts"]) == ("tlsphone", ["secure_signalling"])


@pytest.mark.parametrize("allowed", [True, False])
@scenario
async def test_certificate_of_ast_tls_cert_is_taken_where_its_common_name_is(tmp_path: Path, allowed: bool) -> None:
    files = Certificates(tmp_path)
    files.directory.mkdir()
    await as_ast_tls_cert(files.directory, "localhost")
    pem = files.directory / "localhost.pem"
    pem.chmod(0o600)
    sip = f'tls_certificate = "{pem}"\ntls_ca = "{files.ca}"'
    terms = f"allow_common_name = {str(allowed).lower()}"
    async with (
        await telephone(tmp_path / "phone", extra=f"sip_certificate {pem}\n") as phone,
        TlsProduct(tmp_path, address(phone, "localhost"), terms=terms, sip=sip) as product,
    ):
        report = await product.pstn_call(CALLED)
        assert (report["cause"] == 16) is allowed, product.log
        said = "expected a certificate for localhost; it is for no name but the common name 'localhost'"
        assert (said in product.log) is not allowed


def over(handshakes: Mapping[str, int]) -> int:
    """How many have come to an end."""
    return handshakes["done"] + handshakes["refused"]


@scenario
async def test_openssl_gets_tls_1_2_and_1_3_and_nothing_below(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    async with TlsProduct(tmp_path, f"127.0.0.1:{free_port()}", sip=files.sip) as product:
        port = product.tls_port
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            said = await s_client(port, option, "-CAfile", files.ca, "-verify_hostname", "localhost", "-brief")
            assert f"Protocol version: {version}" in said, said
            assert "Verification: OK" in said, said
        for option in ("-tls1", "-tls1_1"):
            said = await s_client(port, option, "-cipher", "ALL:@SECLEVEL=0")
            assert "Cipher is (NONE)" in said, said
        for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "aNULL"):
            said = await s_client(port, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
            assert "Cipher is (NONE)" in said, said
        status = await product.until(
            lambda status: status["tls"]["connections"] == 0 and over(status["tls"]["handshakes"]) == 7,
            "all handshakes",
        )
        assert status["tls"]["handshakes"]["refused"] == 5
        assert status["tls"]["handshakes"]["done"] == 2
        assert "it offers no TLS from 1.2 on" in product.log
        assert "it has no cipher in common with us" in product.log


@pytest.mark.parametrize("verify", ["required", "optional"])
@scenario
async def test_openssl_with_a_certificate_and_without(tmp_path: Path, verify: str) -> None:
    files = await Certificates(tmp_path).make()
    sip = f'{files.sip}\ntls_verify_client = "{verify}"'
    async with TlsProduct(tmp_path, f"127.0.0.1:{free_port()}", sip=sip) as product:
        await s_client(product.tls_port, "-tls1_2", "-cert", files.directory / "phone.pem", "-brief")
        await s_client(product.tls_port, "-tls1_2", "-brief")
        status = await product.until(lambda status: over(status["tls"]["handshakes"]) == 2, "both handshakes")
        assert status["tls"]["handshakes"]["done"] == (1 if verify == "required" else 2)
        assert ("it sent no certificate; give it one" in product.log) is (verify == "required")


@scenario
async def test_certificate_that_was_revoked_is_let_in_no_more(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make("gateway", "phone", "lost")
    await certs("revoke", files.directory, files.directory / "lost.crt")
    crl = files.directory / "ca.crl"
    code, said = await run(find_program("openssl", PACKAGE), "crl", "-in", crl, "-CAfile", files.ca, "-noout", "-text")
    assert (code, "verify OK" in said) == (0, True), said
    sip = f'{files.sip}\ntls_verify_client = "required"\ntls_crl = "{crl}"'
    async with TlsProduct(tmp_path, f"127.0.0.1:{free_port()}", sip=sip) as product:

        async def done(name: str, handshakes: int) -> int:
            await s_client(product.tls_port, "-tls1_2", "-cert", files.directory / f"{name}.pem", "-brief")
            status = await product.until(
                lambda status: over(status["tls"]["handshakes"]) == handshakes, f"handshake {handshakes}"
            )
            return int(status["tls"]["handshakes"]["done"])

        assert await done("phone", 1) == 1
        assert await done("lost", 2) == 1
        assert "was revoked (tls_crl)" in product.log
        await certs("revoke", files.directory, files.directory / "phone.crt")
        os.kill(product.gateway_pid, signal.SIGHUP)
        await product.until(lambda status: status["tls"]["reloads"] == 1, "the new list")
        assert await done("phone", 3) == 1


@scenario
async def test_call_that_must_be_secure_passes_over_a_trunk_that_is_not(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    route = """
[[route]]
context = "from-pstn"
match = "_41655505XX"
to = ["sip:hq/1"]
secure_bridge = ["secure_signalling"]
"""
    nobody = f"127.0.0.1:{free_port()}"
    async with TlsProduct(tmp_path, nobody, bridge=SECURE, routes=route, sip=files.sip) as product:
        report = await product.pstn_call("4165550501")
        assert report["cause"] == 57
        # And a caller in the clear is not let through a route that asks for more.
        async with await product.calling(f"8{ANSWERING}", "uac_refused", code=403) as caller:
            await caller.wait(PATIENCE)
        await product.until_idle()
        first, second = product.records()
        (attempt,) = first["attempts"]
        assert attempt["text"] == "passed over: it has no secure_signalling, which secure_bridge asks for"
        assert attempt["leg"] is None or not attempt["leg"]
        assert second["cause"] == 57
        assert "requires secure_signalling" in json.dumps(second["notes"])


@scenario
async def test_stranger_who_floods_the_tls_port_keeps_no_peer_out(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    async with (
        await telephone(tmp_path / "phone", files, tone=600) as phone,
        TlsProduct(tmp_path, address(phone), sip=files.sip) as product,
    ):
        stop = asyncio.Event()
        held: list[socket.socket] = []
        loop = asyncio.get_running_loop()

        async def flood(stranger: int) -> None:
            while not stop.is_set() and len(held) < 8000:
                opened = socket.socket()
                held.append(opened)
                opened.setblocking(False)
                opened.bind((f"127.0.1.{stranger}", 0))
                with contextlib.suppress(OSError):
                    await loop.sock_connect(opened, ("127.0.0.1", product.tls_port))
                    await loop.sock_sendall(opened, b"\x16\x03\x01\x02\x00\x01")
                if len(held) > 500:
                    held.pop(0).close()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)

        strangers = [asyncio.create_task(flood(number)) for number in range(1, 41)]
        try:
            await product.until(lambda status: status["tls"]["handshakes"]["turned_away"] > 200, "the flood")
            await product.called_by(phone)
            await phone.event("CALL_ESTABLISHED")
            await phone.hang_up()
            report = await product.pstn_call(CALLED)
            assert report["cause"] == 16, product.log
        finally:
            stop.set()
            await asyncio.gather(*strangers)
            for each in held:
                each.close()
        # One line for each, not one for each time.
        assert product.log.count(" refused: ") <= 3 * len(strangers)
        await product.until(lambda status: status["tls"]["handshakes"]["under_way"] == 0, "the end of it")
