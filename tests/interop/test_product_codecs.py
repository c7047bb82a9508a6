"""The whole product with phones that speak G.722, Opus and L16: to the PSTN and among each other, a tone both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.scenario import scenario

DESK = "4165550500"
DESK_TONE, LOBBY_TONE, MILLIWATT = 600.0, 800.0, 1004.0
PHONES = """
[[phone]]
name = "desk"
host = "127.0.0.1:{desk}"
context = "internal"
allow = ["{first}"]
ptime = {ptime}
[[phone]]
name = "lobby"
host = "127.0.0.1:{lobby}"
context = "internal"
allow = ["{second}"]
[[route]]
context = "from-pstn"
match = "4165550500"
to = ["sip:desk"]
[[route]]
context = "internal"
match = "_9."
to = ["pri:r0/{{number:1}}"]
[[route]]
context = "internal"
match = "501"
to = ["sip:lobby"]
"""
WORDS = {
    "alaw": ("g711", "PCMA"),
    "ulaw": ("g711", "PCMU"),
    "g722": ("g722", "G722"),
    "opus": ("opus", "opus/48000/2"),
    "slin16": ("l16", "L16/16000/1"),
}
"""Of each codec baresip's module, and its name there."""


async def phone(directory: Path, user: str, codec: str, tone: float, **options: Any) -> Baresip:
    """A baresip that speaks nothing but ``codec``; its files are at 8 kHz whatever that is at."""
    module, name = WORDS[codec]
    extra = "ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1"
    if module != "g711":
        extra += f"\nmodule {module}.so"
    return await Baresip.start(directory / user, user=user, tone=tone, codecs=name, extra=extra, **options)


def configured(desk: Baresip, lobby_port: int, first: str, second: str, ptime: int = 20) -> str:
    return PHONES.format(desk=desk.sip_port, lobby=lobby_port, first=first, second=second, ptime=ptime)


@pytest.mark.parametrize(("codec", "ptime"), [("g722", 20), ("opus", 20), ("slin16", 20), ("g722", 60), ("opus", 40)])
@scenario
async def test_a_phone_is_called_from_the_pstn_and_calls_it(tmp_path: Path, codec: str, ptime: int) -> None:
    async with (
        await phone(tmp_path, "desk", codec, DESK_TONE) as desk,
        Product(tmp_path, extra=configured(desk, 9, codec, "alaw", ptime)) as product,
    ):
        report = await product.heard_call(DESK_TONE, DESK)
        assert report["cause"] == 16, product.log
        await desk.event("CALL_CLOSED")
        await desk.dial(f"sip:95550107@127.0.0.1:{product.sip_port}")
        await desk.event("CALL_ESTABLISHED")
        await desk.hears(MILLIWATT)
        await desk.hang_up()
        await product.until_idle()
        for leg in (product.records()[0]["attempts"][0]["leg"], product.records()[1]["incoming"]):
            assert leg["media"]["rejected"] < 5, leg


@pytest.mark.parametrize(
    ("first", "second"),
    [("g722", "alaw"), ("opus", "ulaw"), ("opus", "g722"), ("opus", "opus"), ("g722", "g722"), ("slin16", "opus")],
)
@scenario
async def test_two_phones_that_speak_different_codecs_hear_each_other(tmp_path: Path, first: str, second: str) -> None:
    async with (
        await phone(tmp_path, "desk", first, DESK_TONE) as desk,
        await phone(tmp_path, "lobby", second, LOBBY_TONE) as lobby,
        Product(tmp_path, extra=configured(desk, lobby.sip_port, first, second)) as product,
    ):
        await desk.dial(f"sip:501@127.0.0.1:{product.sip_port}")
        await desk.event("CALL_ESTABLISHED")
        await lobby.event("CALL_ESTABLISHED")
        await desk.hears(LOBBY_TONE)
        await lobby.hears(DESK_TONE)
        await desk.hang_up()
        await product.until_idle()


@scenario
async def test_who_has_no_comfort_noise_is_not_put_off_by_the_offer_of_it(tmp_path: Path) -> None:
    async with await phone(tmp_path, "desk", "alaw", DESK_TONE) as desk:
        phones = configured(desk, 9, "alaw", "alaw").replace("ptime = 20", "ptime = 20\ncomfort_noise = true")
        async with Product(tmp_path, extra=phones) as product:
            report = await product.heard_call(DESK_TONE, DESK)
            assert report["cause"] == 16, product.log
            await desk.event("CALL_CLOSED")
            await product.until_idle()
