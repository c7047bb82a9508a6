"""The whole product over TLS: baresip both ways with certificates of gateway-certs, and OpenSSL at the door."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.interop.baresip import Baresip
from tests.interop.openssl import as_ast_tls_cert, certs, s_client
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario

ANSWERING = "5550107"
SECRET = "apples"  # noqa: S105 - of this test's phone
PHONE = """
[[phone]]
name = "tlsphone"
host = "127.0.0.1:{port}"
transport = "tls"
context = "from-hq"
{terms}
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:tlsphone"]
{secure}
[[route]]
context = "from-hq"
match = "_8."
to = ["pri:r0/{{number:1}}"]
require = ["secure_signalling"]
"""


async def phone_over_tls(directory: Path, **settings: Any) -> Baresip:
    """A baresip that calls over TLS."""
    return await Baresip.start(directory, user="tlsphone", transport="tls", **settings)


class Certificates:
    """A CA and certificates for the gateway and a phone, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "certs"

    async def make(self) -> Certificates:
        await certs("ca", self.directory, "--name", "Test CA")
        await self.box("gateway")
        await self.box("phone")
        return self

    async def box(self, name: str) -> None:
        await certs("box", self.directory, name, "--ip", "127.0.0.1", "--host", "localhost")

    @property
    def sip(self) -> str:
        """What goes into [sip]."""
        words = ("tls_certificate", "gateway.crt"), ("tls_key", "gateway.key"), ("tls_ca", "ca.crt")
        return "\n".join(f'{key} = "{self.directory / name}"' for key, name in words)

    async def phone(self, directory: Path, **settings: Any) -> Baresip:
        extra = f"sip_certificate {self.directory / 'phone.pem'}\nsip_cafile {self.directory / 'ca.crt'}\n"
        return await phone_over_tls(directory, extra=extra, **settings)


@scenario
async def test_calls_over_tls_both_ways_with_baresip(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    port = free_port()
    async with (
        await files.phone(tmp_path / "phone", tone=600) as phone,
        Product(
            tmp_path,
            sip=files.sip,
            listen=[f"tls:127.0.0.1:{port}"],
            # baresip takes TLS at the port after that of UDP and TCP.
            extra=PHONE.format(port=phone.sip_port + 1, terms="", secure='secure_bridge = ["secure_signalling"]'),
        ) as product,
    ):
        report = await product.pstn_call("4165550401")
        assert report["cause"] == 16, product.log
        assert (await phone.event("CALL_ESTABLISHED"))["direction"] == "incoming"
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{port};transport=tls")
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
    port = free_port()
    async with (
        await files.phone(tmp_path / "phone", tone=600) as phone,
        Product(
            tmp_path,
            sip=files.sip,
            listen=[f"tls:127.0.0.1:{port}"],
            extra=PHONE.format(port=phone.sip_port + 1, terms="", secure=""),
        ) as product,
    ):
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{port};transport=tls")
        await phone.event("CALL_ESTABLISHED")
        before = await product.until(lambda status: len(status["calls"]) == 1, "the call")
        for end in ("crt", "key", "pem"):
            (files.directory / f"gateway.{end}").unlink()
        await files.box("gateway")
        os.kill(product.gateway_pid, signal.SIGHUP)
        after = await product.until(lambda status: status["tls"]["reloads"] > 0, "the new certificate")
        assert after["tls"]["connections"] == before["tls"]["connections"]
        ca = files.directory / "ca.crt"
        assert "Verify return code: 0 (ok)" in await s_client(port, "-CAfile", ca)
        await phone.hang_up()
        await product.until_idle()
        assert product.records()[0]["cause"] == 16
        assert "are taken up for new connections" in product.log


@scenario
async def test_phone_that_registers_over_tls_is_called_over_its_connection(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    port = free_port()
    extra = PHONE.format(port=port, terms=f'secret = "{SECRET}"', secure='secure_bridge = ["secure_signalling"]')
    extra = extra.replace(f'host = "127.0.0.1:{port}"', 'host = "dynamic"')
    async with Product(tmp_path, sip=files.sip, listen=[f"tls:127.0.0.1:{port}"], extra=extra) as product:  # noqa: SIM117
        async with await files.phone(
            tmp_path / "phone", tone=600, registrar=f"127.0.0.1:{port}", secret=SECRET
        ) as phone:
            status = await product.until(lambda status: bool(status["registered"]), "the registration")
            assert status["registered"]["tlsphone"][0]["address"].startswith("tls:127.0.0.1:")
            report = await product.pstn_call("4165550401")
            assert report["cause"] == 16, product.log
            await phone.event("CALL_CLOSED")
            await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{port};transport=tls")
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
    port = free_port()
    extra = f"sip_certificate {files.directory / 'localhost.pem'}\n"
    async with await phone_over_tls(tmp_path / "phone", extra=extra) as phone:
        terms = f"allow_common_name = {str(allowed).lower()}"
        extra = PHONE.format(port=phone.sip_port + 1, terms=terms, secure="")
        extra = extra.replace('host = "127.0.0.1', 'host = "localhost')
        pem = files.directory / "localhost.pem"
        pem.chmod(0o600)
        sip = f'tls_certificate = "{pem}"\ntls_ca = "{files.directory / "ca.crt"}"'
        async with Product(tmp_path, sip=sip, listen=[f"tls:127.0.0.1:{port}"], extra=extra) as product:
            report = await product.pstn_call("4165550401")
            assert (report["cause"] == 16) is allowed, product.log
            said = "expected a certificate for localhost; it is for no name but the common name 'localhost'"
            assert (said in product.log) is not allowed


@scenario
async def test_openssl_gets_tls_1_2_and_1_3_and_nothing_below(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    port, phone = free_port(), free_port()
    async with Product(
        tmp_path,
        sip=files.sip,
        listen=[f"tls:127.0.0.1:{port}"],
        extra=PHONE.format(port=phone, terms="", secure=""),
    ) as product:
        ca = files.directory / "ca.crt"
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            said = await s_client(port, option, "-CAfile", ca, "-verify_hostname", "localhost", "-brief")
            assert f"Protocol version: {version}" in said, said
            assert "Verification: OK" in said, said
        for option in ("-tls1", "-tls1_1"):
            said = await s_client(port, option, "-cipher", "ALL:@SECLEVEL=0")
            assert "Cipher is (NONE)" in said, said
        for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "aNULL"):
            said = await s_client(port, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
            assert "Cipher is (NONE)" in said, said
        assert "it offers no TLS from 1.2 on" in product.log
        assert "it has no cipher in common with us" in product.log
        status = await product.until(lambda status: status["tls"]["connections"] == 0, "no connection")
        assert status["tls"]["handshakes"]["refused"] == 5
        assert status["tls"]["handshakes"]["done"] == 2


@pytest.mark.parametrize("verify", ["required", "optional"])
@scenario
async def test_openssl_with_a_certificate_and_without(tmp_path: Path, verify: str) -> None:
    files = await Certificates(tmp_path).make()
    port, phone = free_port(), free_port()
    async with Product(
        tmp_path,
        sip=f'{files.sip}\ntls_verify_client = "{verify}"',
        listen=[f"tls:127.0.0.1:{port}"],
        extra=PHONE.format(port=phone, terms="", secure=""),
    ) as product:
        pem = files.directory / "phone.pem"
        await s_client(port, "-tls1_2", "-cert", pem, "-brief")
        await s_client(port, "-tls1_2", "-brief")
        await product.until(
            lambda status: status["tls"]["handshakes"]["done"] == (1 if verify == "required" else 2), "handshakes"
        )
        assert ("it sent no certificate; give it one" in product.log) is (verify == "required")


@scenario
async def test_call_that_must_be_secure_passes_over_a_trunk_that_is_not(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    port, phone = free_port(), free_port()
    secure = 'secure_bridge = ["secure_signalling"]'
    route = f'[[route]]\ncontext = "from-pstn"\nmatch = "_41655505XX"\nto = ["sip:hq/1"]\n{secure}\n'
    async with Product(
        tmp_path,
        sip=files.sip,
        listen=[f"tls:127.0.0.1:{port}"],
        extra=PHONE.format(port=phone, terms="", secure=secure) + route,
    ) as product:
        report = await product.pstn_call("4165550501")
        assert report["cause"] == 57
        # And a caller in the clear is not let through a route that asks for more.
        async with await product.calling(f"8{ANSWERING}", "uac_refused", code=403) as caller:
            await caller.wait(10)
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
    port = free_port()
    async with (
        await files.phone(tmp_path / "phone", tone=600) as phone,
        Product(
            tmp_path,
            sip=files.sip,
            listen=[f"tls:127.0.0.1:{port}"],
            extra=PHONE.format(port=phone.sip_port + 1, terms="", secure=""),
        ) as product,
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
                    await loop.sock_connect(opened, ("127.0.0.1", port))
                    await loop.sock_sendall(opened, b"\x16\x03\x01\x02\x00\x01")
                if len(held) > 500:
                    held.pop(0).close()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)

        strangers = [asyncio.create_task(flood(number)) for number in range(1, 41)]
        try:
            await product.until(lambda status: status["tls"]["handshakes"]["turned_away"] > 200, "the flood")
            await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{port};transport=tls")
            await phone.event("CALL_ESTABLISHED")
            await phone.hang_up()
            report = await product.pstn_call("4165550401")
            assert report["cause"] == 16, product.log
        finally:
            stop.set()
            await asyncio.gather(*strangers)
            for each in held:
                each.close()
        # One line for each, not one for each time.
        assert product.log.count(" refused: ") <= 3 * len(strangers)
        await product.until(lambda status: status["tls"]["handshakes"]["under_way"] == 0, "the end of it")
