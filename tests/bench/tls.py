"""TLS handshakes a second of one core: the gateway, and Kamailio as the yardstick; OpenSSL's s_time is the client.

Both show a certificate and verify that of the client.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.bench.processes import tree
from tests.demo.processes import Service
from tests.interop.kamailio import SWIFT_MEMORY, Kamailio
from tests.interop.openssl import certs, run
from tests.interop.program import find_program, free_port
from tests.interop.test_kamailio_tls import proxy_over_tls

SECONDS = 4
START_SECONDS = 10.0
BEGUN_SECONDS = 1.0
KINDS = (("ec", "EC P-256"), ("rsa2048", "RSA 2048"))
_COUNT = re.compile(r"^(\d+) connections in [\d.]+ real seconds", re.MULTILINE)
_CONFIGURATION = """schema = 1
[gateway]
run_dir = "{directory}"
[sip]
listen = ["tls:127.0.0.1:{port}"]
tls_certificate = "{certs}/proxy.crt"
tls_key = "{certs}/proxy.key"
tls_ca = "{certs}/ca.crt"
tls_verify_client = "required"
# Strangers may not begin as many.
[[trunk]]
name = "client"
technology = "sip"
host = "127.0.0.1"
transport = "tls"
"""


async def _connections(port: int, files: Path, *options: str) -> int:
    """How many connections s_time made, one after the other."""
    words = [find_program("openssl", "openssl"), "s_time", "-connect", f"127.0.0.1:{port}", "-time", str(SECONDS)]
    words += ["-CAfile", str(files / "ca.crt"), "-cert", str(files / "proxy.crt"), "-key", str(files / "proxy.key")]
    code, said = await run(*words, *options)
    found = _COUNT.search(said)
    if code or found is None:
        raise SystemExit(f"bench: s_time: {said}")
    return int(found[1])


async def _until_listening(port: int) -> None:
    """Somebody has the port a moment before it takes connections, and its processes begin after it does."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise SystemExit(f"bench: nobody listens for TLS at port {port}") from None
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await asyncio.sleep(BEGUN_SECONDS)
            return


async def _gateway(directory: Path, files: Path, *options: str) -> str:
    port = free_port()
    file = directory / "gateway.toml"
    file.write_text(_CONFIGURATION.format(directory=directory, port=port, certs=files))
    service = await Service.start("gateway", ["-m", "gateway", "--config", str(file)], directory / "gateway.log")
    try:
        await _until_listening(port)
        before = tree(service.pid)
        count = await _connections(port, files, *options)
        spent = tree(service.pid) - before
    finally:
        await service.stop()
    return f"{count / spent:.0f} a second of a core"


async def _kamailio(directory: Path, files: Path, *options: str) -> str:
    port = free_port()
    async with await Kamailio.start(
        directory,
        {},
        write=lambda where, plain: proxy_over_tls(where, files, plain, port, {}),
        options=SWIFT_MEMORY,
    ) as proxy:
        await _until_listening(port)
        before = tree(proxy.process.pid)
        count = await _connections(port, files, *options)
        spent = tree(proxy.process.pid) - before
    return f"{count / spent:.0f} a second of a core"


async def handshakes(directory: Path) -> list[tuple[str, str]]:
    """What was measured, and its value."""
    rows = []
    for kind, what in KINDS:
        files = directory / kind / "certs"
        await asyncio.to_thread(files.parent.mkdir, parents=True)
        await certs("ca", files, "--name", "Bench", "--key", kind)
        await certs("box", files, "proxy", "--ip", "127.0.0.1", "--key", kind)
        rows.append((f"TLS handshakes, {what}", await _gateway(files.parent, files, "-new")))
        rows.append((f"… of Kamailio, {what}, same run", await _kamailio(files.parent, files, "-new")))
    return rows
