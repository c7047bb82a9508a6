"""Certificates by our own command, and OpenSSL's s_client as the one who looks at what our TLS port shows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.interop.program import PATIENCE, PeerError, find_program

PACKAGE = "openssl"


async def run(*arguments: str | Path, text: bytes = b"") -> tuple[int, str]:
    """Run a program to its end; its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(text), PATIENCE)
    assert process.returncode is not None
    return process.returncode, said.decode("utf-8", "replace")


async def certs(*arguments: str | Path) -> str:
    """``gateway-certs`` with ``arguments``; PeerError if it fails."""
    code, said = await run(sys.executable, "-m", "gateway.cli.certs", *arguments)
    if code:
        raise PeerError(f"gateway-certs {' '.join(map(str, arguments))}: {said}")
    return said


class Certificates:
    """A CA and certificates by it, in a folder of ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "certs"

    async def make(self, *names: str) -> Certificates:
        """Make the CA and the certificates of ``names``, or those of the gateway and a telephone."""
        await certs("ca", self.directory, "--name", "Test CA")
        for name in names or ("gateway", "phone"):
            await self.box(name)
        return self

    async def box(self, name: str) -> None:
        """Make the certificate of ``name``."""
        await certs("box", self.directory, name, "--ip", "127.0.0.1", "--host", "localhost")

    @property
    def ca(self) -> Path:
        """Whom all have to trust."""
        return self.directory / "ca.crt"

    @property
    def sip(self) -> str:
        """What goes into [sip]."""
        words = ("tls_certificate", "gateway.crt"), ("tls_key", "gateway.key"), ("tls_ca", "ca.crt")
        return "\n".join(f'{key} = "{self.directory / name}"' for key, name in words)

    @property
    def telephone(self) -> str:
        """What goes into baresip's configuration."""
        return f"sip_certificate {self.directory / 'phone.pem'}\nsip_cafile {self.ca}\n"


async def as_ast_tls_cert(directory: Path, name: str) -> None:
    """A CA if there is none, and a certificate of its for ``name`` in NAME.pem, as Asterisk's script makes them."""
    openssl = find_program("openssl", PACKAGE)
    ca, key, request, own = (directory / end for end in ("ca.crt", "ca.key", "box.csr", f"{name}.key"))
    steps: tuple[list[str | Path], ...] = (
        [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            ca,
            "-days",
            "365",
            "-subj",
            "/CN=CA",
        ],
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", own, "-out", request, "-subj", f"/CN={name}/O=A"],
        ["x509", "-req", "-days", "365", "-in", request, "-CA", ca, "-CAkey", key, "-set_serial", "01"],
    )
    said = ""
    for words in steps[ca.exists() :]:
        code, said = await run(openssl, *words)
        if code:
            raise PeerError(f"openssl {words}: {said}")
    certificate = said[said.index("-----BEGIN") :]
    (directory / f"{name}.pem").write_text(own.read_text() + certificate)


async def s_client(port: int, *options: str | Path) -> str:
    """What ``openssl s_client`` says of the TLS port ``port``."""
    words = [find_program("openssl", PACKAGE), "s_client", "-connect", f"127.0.0.1:{port}", *options]
    return (await run(*words, text=b"Q\n"))[1]
