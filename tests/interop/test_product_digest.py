"""Passwords, as other people's programs prove and ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.product import Product
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

# sipp 3.6 has MD5 only, and looks at the first challenge.
MD5 = 'auth_algorithms = ["md5"]'
RIGHT, WRONG = "apples", "pears"
PHONE = f"""\
[[phone]]
name = "desk"
secret = "{RIGHT}"
context = "from-hq"
"""


class Guarded(Product):
    """A product whose trunk proves who it is, and asks us."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, sip=MD5, trunk=f'secret = "{RIGHT}"\ndefaultuser = "branch"\n')


async def from_desk(product: Product, **arguments: Any) -> Sipp:
    """Sipp as a phone, from an address where no peer is."""
    return await Sipp.start(
        "uac_digest",
        product.directory / "sipp",
        remote=("127.0.0.1", product.sip_port),
        service="95550112",
        codecs="8 101",
        options=("-i", "127.0.0.3"),
        **arguments,
    )


@scenario
async def test_phone_that_knows_its_password_calls(tmp_path: Path) -> None:
    async with Product(tmp_path, sip=MD5, extra=PHONE) as product:
        async with await from_desk(product, user="desk", password=RIGHT) as caller:
            await caller.succeed()
        status = await product.until_idle()
    assert status["sip"]["calls_in"] == 1


@pytest.mark.parametrize(("user", "password"), [("desk", WRONG), ("nobody", RIGHT)])
@scenario
async def test_wrong_password_and_unknown_user_get_no_call(tmp_path: Path, user: str, password: str) -> None:
    async with Product(tmp_path, sip=MD5, extra=PHONE) as product:
        async with await from_desk(product, user=user, password=password) as caller:
            result = await caller.result()
        status = await product.gateway.command("status")
        records = product.records()
    assert result.failed == 1
    assert status["sip"]["calls_in"] == 0
    assert records == []


@scenario
async def test_trunk_that_is_to_prove_itself_does(tmp_path: Path) -> None:
    async with Guarded(tmp_path) as product:
        async with await product.calling("95550112", "uac_digest", user="hq", password=RIGHT) as caller:
            await caller.succeed()
        await product.until_idle()


@scenario
async def test_we_prove_ourselves_to_a_trunk_that_asks(tmp_path: Path) -> None:
    async with Guarded(tmp_path) as product:
        async with await product.answering("uas_digest", user="branch", password=RIGHT) as called:
            report = await product.pstn_call()
            await called.succeed()
        await product.until_idle()
    assert report["answered"], report
