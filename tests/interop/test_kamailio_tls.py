"""The product and Kamailio over TLS, each with a certificate that the other verifies; sipp in the clear behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.kamailio import Kamailio, write_configuration
from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

TRUNK = """
[[trunk]]
name = "proxy"
technology = "sip"
host = "127.0.0.1:{port}"
transport = "tls"
context = "from-proxy"
[[route]]
context = "from-pstn"
match = "_41655506XX"
to = ["sip:proxy/{{number}}"]
secure_bridge = ["secure_signalling"]
[[route]]
context = "from-proxy"
match = "_7."
to = ["pri:r0/{{number:1}}"]
require = ["secure_signalling"]
"""


def proxy_over_tls(directory: Path, files: Path, port: int, tls_port: int, routes: dict[str, list[str]]) -> Path:
    """Kamailio's configuration with TLS at ``tls_port``, which shows a certificate and asks for one both ways."""
    path = write_configuration(directory, port, routes)
    head = "#!KAMAILIO\n"
    rr = 'modparam("rr", "append_fromtag", 1)'
    settings = {
        "certificate": f'"{files / "proxy.crt"}"',
        "private_key": f'"{files / "proxy.key"}"',
        "ca_list": f'"{files / "ca.crt"}"',
        "tls_method": '"TLSv1.2+"',
        "verify_certificate": "1",
        "require_certificate": "1",
    }
    modparams = "\n".join(f'modparam("tls", "{key}", {value})' for key, value in settings.items())
    text = path.read_text()
    text = text.replace(head, f"{head}enable_tls=yes\nlisten=tls:127.0.0.1:{tls_port}\n")
    path.write_text(text.replace(rr, f'loadmodule "tls.so"\n{modparams}\n{rr}'))
    return path


@pytest.mark.parametrize("verify", ["required", "no"])
@scenario
async def test_calls_through_kamailio_over_tls_both_ways(tmp_path: Path, verify: str) -> None:
    files = await Certificates(tmp_path).make("gateway", "proxy")
    ours, tls_port = free_port(), free_port()
    sip = f'{files.sip}\ntls_verify_client = "{verify}"'
    arguments: dict[str, Any] = {"codecs": "8 101"}
    async with (
        await Sipp.start("uas_basic", tmp_path / "sipp", **arguments) as phone,
        await Kamailio.start(
            tmp_path,
            {},
            write=lambda directory, port: proxy_over_tls(
                directory,
                files.directory,
                port,
                tls_port,
                {"4": [f"127.0.0.1:{phone.port}"], "7": [f"127.0.0.1:{ours};transport=tls"]},
            ),
        ) as proxy,
        Product(tmp_path, sip=sip, listen=[f"tls:127.0.0.1:{ours}"], extra=TRUNK.format(port=tls_port)) as product,
    ):
        report = await product.pstn_call("4165550601")
        assert (report["answered"] is not None, report["cause"]) == (True, 16), product.log
        await phone.succeed()
        async with await Sipp.start(
            "uac_basic", tmp_path / "sipp", remote=("127.0.0.1", proxy.port), service="75550107", **arguments
        ) as caller:
            await caller.succeed()
        await product.until_idle()
        out, into = product.records()
        assert out["attempts"][0]["leg"]["facts"] == ["secure_signalling"]
        assert (into["source"], into["facts"]) == ("proxy", ["secure_signalling"])
        assert "refused" not in product.log
        status = await product.until(lambda status: True, "a status")
        # What we opened for the first call was good for the second one too, or the proxy opened one of its own.
        assert 1 <= status["tls"]["connections"] <= 2
        assert out["attempts"][0]["leg"]["far_address"] == f"tls:127.0.0.1:{tls_port}"
