"""The whole product on a provider trunk: registered with Kamailio, watched, with calls from and to its line."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.provider import start_provider
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

TRUNK = """
[[trunk]]
name = "provider"
technology = "sip"
host = "localhost:{port}"
register = true
registerexpiry = 60
defaultuser = "branch042"
fromuser = "branch042"
secret = "apples"
insecure = ["invite"]
qualify = true
qualifyfreq = 1
context = "from-provider"
[[route]]
context = "from-pstn"
match = "_41655502XX"
to = ["sip:provider/9{{number}}"]
[[route]]
context = "from-provider"
match = "_416X."
to = ["pri:r0/5550107"]
"""


@scenario
async def test_calls_between_line_and_provider(tmp_path: Path) -> None:
    port = free_port()
    async with (
        await Sipp.start("uas_basic", tmp_path, codecs="8 101") as far,
        Product(tmp_path, extra=TRUNK.format(port=port)) as product,
    ):
        # It registers with whoever comes late, too.
        await product.until(
            lambda status: status["peers"]["provider"]["qualify"]["reach"] == "unreachable",
            "an unreachable provider",
        )
        async with await start_provider(
            tmp_path / "kamailio",
            port=port,
            accounts={"416": "branch042"},
            targets={"9": f"127.0.0.1:{far.port}"},
        ):
            status = await product.until(
                lambda status: (
                    status["peers"]["provider"]["registration"]["state"] == "registered"
                    and status["peers"]["provider"]["qualify"]["reach"] == "reachable"
                    and status["peers"]["provider"]["qualify"]["round_trip_ms"] is not None
                ),
                "a registration",
            )
            shown = status["peers"]["provider"]
            assert shown["registration"]["server"] == f"udp:127.0.0.1:{port}"
            assert 0 < shown["registration"]["expires_seconds"] <= 60
            assert 0 < shown["qualify"]["round_trip_ms"] < 2000
            report = await product.pstn_call("4165550201")
            assert report["cause"] == 16, report
            await far.succeed()
            async with await Sipp.start(
                "uac_basic", tmp_path, remote=("127.0.0.1", port), service="4165550300", codecs="8 101"
            ) as caller:
                await caller.succeed()
            await product.until_idle()
            await asyncio.sleep(0)
        assert "trunk provider: registered with udp:127.0.0.1" in product.log
        assert "apples" not in product.log
    last = product.records()[-1]
    assert last["source"] == "provider" or last["dialled"] == "4165550300"


TLS_TRUNK = TRUNK.replace('host = "localhost:{port}"', 'host = "127.0.0.1:{port}"\ntransport = "tls"')


@scenario
async def test_calls_between_line_and_provider_over_tls(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make("gateway", "proxy")
    ours, port = free_port(), free_port()
    async with (
        await Sipp.start("uas_basic", tmp_path, codecs="8 101") as far,
        await start_provider(
            tmp_path / "kamailio",
            accounts={"416": "branch042"},
            targets={"9": f"127.0.0.1:{far.port}"},
            tls=(files.directory, port),
        ) as provider,
        Product(
            tmp_path, sip=files.sip, listen=[f"tls:127.0.0.1:{ours}"], extra=TLS_TRUNK.format(port=port)
        ) as product,
    ):
        await product.until(
            lambda status: status["peers"]["provider"]["registration"]["server"] == f"tls:127.0.0.1:{port}",
            "a registration",
        )
        report = await product.pstn_call("4165550201")
        assert report["cause"] == 16, report
        await far.succeed()
        async with await Sipp.start(
            "uac_basic", tmp_path, remote=("127.0.0.1", provider.port), service="4165550300", codecs="8 101"
        ) as caller:
            await caller.succeed()
        await product.until_idle()
    assert product.records()[-1]["facts"] == ["secure_signalling"]
    assert product.records()[-1]["source"] == "provider"
