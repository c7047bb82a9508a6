"""The whole product with SRTP: baresip, with its own libsrtp, over TLS both ways, and where one side goes without."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.baresip import Baresip
from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.scenario import scenario
from tests.interop.secure_phone import ANSWERING, CALLED, TlsProduct, address, telephone

MILLIWATT = 1004.0
HERTZ = 600.0


@contextlib.asynccontextmanager
async def scene(
    directory: Path, mode: str, mediaenc: str, *, fact: bool = True
) -> AsyncIterator[tuple[Baresip, TlsProduct]]:
    """A phone and a product, both over TLS. ``mode`` is ours, ``mediaenc`` baresip's word ("" for none).

    ``fact``: the routes both ways ask for secure media.
    """
    files = await Certificates(directory).make()
    facts = ("secure_media",) if fact else ()
    account = f";mediaenc={mediaenc}" if mediaenc else ""
    async with (
        await telephone(directory / "phone", files, "module srtp.so\n", tone=HERTZ, account=account) as phone,
        TlsProduct(
            directory,
            address(phone),
            terms=f'media_encryption = "{mode}"',
            bridge=facts,
            require=("secure_signalling", *facts),
            sip=files.sip,
            trace=True,
        ) as product,
    ):
        yield phone, product


def assert_decrypted(leg: dict[str, Any]) -> None:
    """Nearly all that came was what we have the key of: baresip 1.0 sends the first packets before it has one."""
    media = leg["media"]
    assert media["packets_received"] > 5
    assert media["unauthenticated"] < 5


async def closed(phone: Baresip, direction: str) -> str:
    """Why the phone's call of that direction ended."""
    return str((await phone.event("CALL_CLOSED", direction=direction))["param"])


@pytest.mark.parametrize(
    ("mode", "mediaenc"),
    [("required", "srtp-mand"), ("optional", "srtp"), ("required", "srtp"), ("optional", "srtp-mand")],
)
@scenario
async def test_voice_is_encrypted_both_ways_in_calls_both_ways(tmp_path: Path, mode: str, mediaenc: str) -> None:
    async with scene(tmp_path, mode, mediaenc) as (phone, product):
        report = await product.heard_call(HERTZ, CALLED)
        assert report["cause"] == 16, product.log
        await phone.event("CALL_CLOSED")
        await product.called_by(phone)
        await phone.event("CALL_ESTABLISHED")
        status = await product.until(lambda status: len(status["calls"]) == 1, "the call")
        assert set(status["calls"][0]["facts"]) == {"secure_signalling", "secure_media"}
        await phone.hears(MILLIWATT)
        await phone.hang_up()
        await product.until_idle()
        out, into = product.records()
        for leg in (out["attempts"][0]["leg"], into["incoming"]):
            assert leg["srtp"].startswith(("AES_", "AEAD_")), leg
            assert_decrypted(leg)
        for word in ("inline:", "crypto"):
            assert word not in product.log


@scenario
async def test_phone_without_srtp_gets_no_call_that_requires_it(tmp_path: Path) -> None:
    async with scene(tmp_path, "required", "", fact=False) as (phone, product):
        report = await product.pstn_call(CALLED)
        assert report["cause"] != 16, product.log
        await product.called_by(phone)
        assert "488" in (await closed(phone, "outgoing"))
        await product.until_idle()
        out, *_ = product.records()
        assert out["cause"] != 16
        assert not out["attempts"][0]["leg"]["srtp"]


@scenario
async def test_phone_that_insists_on_srtp_gets_no_call_where_it_is_off(tmp_path: Path) -> None:
    async with scene(tmp_path, "no", "srtp-mand", fact=False) as (phone, product):
        await product.called_by(phone)
        assert "488" in (await closed(phone, "outgoing"))
        await product.until_idle()


@scenario
async def test_optional_goes_on_in_the_clear_with_a_phone_that_has_none(tmp_path: Path) -> None:
    async with scene(tmp_path, "optional", "", fact=False) as (phone, product):
        await product.heard_call(HERTZ, CALLED)
        await phone.event("CALL_CLOSED")
        await product.called_by(phone)
        await phone.hears(MILLIWATT)
        await phone.hang_up()
        await product.until_idle()
        out, into = product.records()
        assert out["attempts"][0]["leg"]["srtp"] is into["incoming"]["srtp"] is None
        assert into["facts"] == ["secure_signalling"]


@scenario
async def test_hold_and_resume_of_an_encrypted_call_keep_its_voice(tmp_path: Path) -> None:
    async with scene(tmp_path, "required", "srtp-mand") as (phone, product):
        await product.called_by(phone)
        await phone.hears(MILLIWATT)
        await phone.command("hold")
        await phone.command("resume")
        await phone.hang_up()
        await product.until_idle()
        (record,) = product.records()
        assert_decrypted(record["incoming"])


@scenario
async def test_keys_in_clear_signalling_are_taken_where_there_is_no_call_without_and_vouch_for_nothing(
    tmp_path: Path,
) -> None:
    async with await Baresip.start(
        tmp_path / "phone", user="desk", tone=HERTZ, extra="module srtp.so", account=";mediaenc=srtp-mand"
    ) as phone:
        extra = f"""
[[phone]]
name = "desk"
host = "127.0.0.1:{phone.sip_port}"
context = "from-hq"
media_encryption = "optional"
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:desk"]
[[route]]
context = "from-hq"
match = "_8."
to = ["pri:r0/{{number:1}}"]
"""
        async with Product(tmp_path, extra=extra) as product:
            await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{product.sip_port}")
            await phone.hears(MILLIWATT)
            await phone.hang_up()
            await product.until_idle()
            # Its voice would be in the clear for everybody who read the keys: none are offered to it.
            report = await product.pstn_call(CALLED)
            assert report["cause"] != 16
            await product.until_idle()
            into, out = product.records()
            assert into["incoming"]["srtp"]
            assert_decrypted(into["incoming"])
            assert into["facts"] == []
            assert out["attempts"][0]["leg"]["sip_status"] == 488
