"""Digits through the whole product between far ends that want them in different ways: each arrives, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.scenario import scenario

PHONE = """
[[phone]]
name = "{name}"
host = "127.0.0.1:{port}"
context = "{context}"
dtmfmode = "{mode}"
[[route]]
context = "{context}"
match = "{number}"
to = ["sip:{name}"]
"""
# Not twice the same in a row, and voice in between: baresip 1.1 drops all packets of an event but the first.
PRESSED = "1515#"
PACE = 0.4


async def digits_of(phone: Baresip, count: int) -> str:
    return "".join([(await phone.event("CALL_DTMF_START"))["param"] for _ in range(count)])


def more_digits(phone: Baresip) -> list[object]:
    return [event for event in phone.pending if event.get("type") == "CALL_DTMF_START"]


@pytest.mark.parametrize("mode", ["rfc4733", "info", "auto"])
@scenario
async def test_keys_of_one_telephone_reach_the_other_once(tmp_path: Path, mode: str) -> None:
    async with (
        await Baresip.start(tmp_path / "one", user="one") as one,
        await Baresip.start(tmp_path / "two", user="two") as two,
        Product(
            tmp_path,
            extra=PHONE.format(name="one", port=one.sip_port, mode="rfc4733", context="internal", number="1")
            + PHONE.format(name="two", port=two.sip_port, mode=mode, context="internal", number="2"),
        ) as product,
    ):
        await one.dial(f"sip:2@127.0.0.1:{product.sip_port}")
        await one.event("CALL_ESTABLISHED")
        await two.event("CALL_ESTABLISHED")
        for digit in PRESSED:
            await one.digit(digit)
            # The next one only then: held up by a busy machine, two might come without the voice between them.
            assert await digits_of(two, 1) == digit
            await asyncio.sleep(PACE)
        await one.hang_up()
        await product.until_idle()
        assert more_digits(two) == []
        asked = [line for line in two.lines if line.startswith("INFO sip:")]
        assert len(asked) == (len(PRESSED) if mode == "info" else 0)


@pytest.mark.parametrize("mode", ["rfc4733", "info"])
@scenario
async def test_info_of_a_trunk_reaches_a_telephone_as_it_likes_it(tmp_path: Path, mode: str) -> None:
    async with (
        await Baresip.start(tmp_path / "two", user="two") as two,
        Product(
            tmp_path, extra=PHONE.format(name="two", port=two.sip_port, mode=mode, context="from-hq", number="2")
        ) as product,
    ):
        async with await product.calling("2", "uac_info", pause=1500) as trunk:
            assert await digits_of(two, 3) == "787"
            await trunk.succeed()
        await product.until_idle()
        assert more_digits(two) == []
