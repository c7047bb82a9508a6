"""libiax2, with iaxmodem on it, as phones of IAX2: modems register with the gateway and send each other frames."""

from __future__ import annotations

from pathlib import Path

from tests.interop.product import Product
from tests.interop.program import PeerError, free_port
from tests.interop.scenario import lasting
from tests.outside.iaxmodem import IaxModem, frames_both_ways

HEAD = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
minexpiry = 30
"""
MODEM = """
[[trunk]]
name = "m{number}"
technology = "iax2"
host = "dynamic"
secret = "apples"
context = "modems"
allow = ["{codec}"]
# It is older than call tokens.
requirecalltoken = "no"
[[route]]
context = "modems"
match = "{number}"
to = ["iax2:m{number}/{{number}}"]
"""
ROUTES = """
[[route]]
context = "modems"
match = "_9."
to = ["pri:r0/{number:1}"]
"""


def configured(product: Product, *codecs: str) -> int:
    """Modems m1, m2, … of these codecs; the port that they register at."""
    port = free_port()
    product.add(HEAD.format(port=port))
    for number, codec in enumerate(codecs, 1):
        product.add(MODEM.format(number=number, codec=codec))
    product.add(ROUTES)
    return port


async def until_registered(product: Product, *names: str) -> None:
    await product.until(
        lambda status: all(status["iax"]["peers"][name]["address"] for name in names), "registrations", 70
    )


@lasting(150.0)
async def test_modems_register_and_send_each_other_frames(tmp_path: Path) -> None:
    product = Product(tmp_path)
    port = configured(product, "alaw", "ulaw")
    async with (
        product,
        await IaxModem.start("m1", port, codec="alaw") as one,
        await IaxModem.start("m2", port, codec="ulaw") as two,
    ):
        await until_registered(product, "m1", "m2")
        await frames_both_ways(one, two, "2")
        await product.until_idle()
        (record,) = product.records()
        assert record["caller"]["number"] == "4165552222"
        assert record["cause"] == 16
        # Why a call failed is told, as a modem tells it.
        one.skip()
        one.type("ATDT95550102")
        assert await one.until_said("BUSY", "NO CARRIER", "NO ANSWER") == "BUSY"
        await product.until_idle()


@lasting(60.0)
async def test_a_modem_with_a_wrong_password_is_not_registered(tmp_path: Path) -> None:
    product = Product(tmp_path, exchange=False)
    port = configured(product, "alaw")
    async with product, await IaxModem.start("m1", port, secret="pears"):  # noqa: S106
        await product.until(lambda status: bool(status["iax"]["statistics"]["failed"]), "an attempt that failed")
        status = await product.gateway.command("status")
        if status["iax"]["peers"]["m1"]["address"]:
            raise PeerError("it is registered all the same")


@lasting(60.0)
async def test_a_modem_that_knows_no_call_tokens_is_refused_where_they_are_required(tmp_path: Path) -> None:
    product = Product(tmp_path, exchange=False)
    port = free_port()
    product.add(HEAD.format(port=port) + MODEM.format(number=1, codec="alaw").replace('"no"', '"yes"') + ROUTES)
    async with product, await IaxModem.start("m1", port):
        status = await product.until(lambda status: bool(status["iax"]["statistics"]["rejected"]), "a refusal")
        assert not status["iax"]["peers"]["m1"]["address"]
        assert not status["iax"]["statistics"]["sessions"]
