"""The whole product with SRTP: baresip, with its own libsrtp, over TLS both ways, and where one side goes without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.interop.test_product_tls import ANSWERING, Certificates

MILLIWATT = 1004.0
PHONE = """
[[phone]]
name = "tlsphone"
host = "127.0.0.1:{port}"
transport = "tls"
context = "from-hq"
media_encryption = "{mode}"
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:tlsphone"]
{secure}
[[route]]
context = "from-hq"
match = "_8."
to = ["pri:r0/{{number:1}}"]
require = ["secure_signalling", {media}]
"""


class SecureProduct:
    """A product and a phone, both over TLS. ``mode`` is ours, ``mediaenc`` baresip's word ("" for none)."""

    def __init__(self, directory: Path, mode: str, mediaenc: str, *, fact: bool = True) -> None:
        self._directory = directory
        self._mode, self._mediaenc, self._fact = mode, mediaenc, fact
        self.port = free_port()

    async def start(self) -> tuple[Baresip, Product]:
        files = await Certificates(self._directory).make()
        extra = (
            f"module srtp.so\nsip_certificate {files.directory / 'phone.pem'}\nsip_cafile {files.directory / 'ca.crt'}"
        )
        self.phone = await Baresip.start(
            self._directory / "phone",
            user="tlsphone",
            transport="tls",
            tone=600,
            extra=extra,
            account=f";mediaenc={self._mediaenc}" if self._mediaenc else "",
        )
        self.product = Product(
            self._directory,
            sip=files.sip,
            listen=[f"tls:127.0.0.1:{self.port}"],
            trace=True,
            extra=PHONE.format(
                port=self.phone.sip_port + 1,
                mode=self._mode,
                secure='secure_bridge = ["secure_media"]' if self._fact else "",
                media='"secure_media"' if self._fact else "",
            ),
        )
        return self.phone, self.product

    async def __aenter__(self) -> tuple[Baresip, Product]:
        phone, product = await self.start()
        try:
            await product.__aenter__()
            await product.until(lambda _status: "product is up" in product.log, "its listeners")
            return phone, product
        except BaseException:
            await phone.stop()
            raise

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self.product.__aexit__(*error)
        finally:
            await self.phone.stop()


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
    secure = SecureProduct(tmp_path, mode, mediaenc)
    async with secure as (phone, product):
        report = await product.pstn_call("4165550401")
        assert report["cause"] == 16, product.log
        assert report["heard"]["frequency"] == pytest.approx(600, abs=10), report
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{secure.port};transport=tls")
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
    secure = SecureProduct(tmp_path, "required", "", fact=False)
    async with secure as (phone, product):
        report = await product.pstn_call("4165550401")
        assert report["cause"] != 16, product.log
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{secure.port};transport=tls")
        assert "488" in (await closed(phone, "outgoing"))
        await product.until_idle()
        out, *_ = product.records()
        assert out["cause"] != 16
        assert not out["attempts"][0]["leg"]["srtp"]


@scenario
async def test_phone_that_insists_on_srtp_gets_no_call_where_it_is_off(tmp_path: Path) -> None:
    secure = SecureProduct(tmp_path, "no", "srtp-mand", fact=False)
    async with secure as (phone, product):
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{secure.port};transport=tls")
        assert "488" in (await closed(phone, "outgoing"))
        await product.until_idle()


@scenario
async def test_optional_goes_on_in_the_clear_with_a_phone_that_has_none(tmp_path: Path) -> None:
    secure = SecureProduct(tmp_path, "optional", "", fact=False)
    async with secure as (phone, product):
        report = await product.pstn_call("4165550401")
        assert report["heard"]["frequency"] == pytest.approx(600, abs=10), report
        await phone.event("CALL_CLOSED")
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{secure.port};transport=tls")
        await phone.hears(MILLIWATT)
        await phone.hang_up()
        await product.until_idle()
        out, into = product.records()
        assert out["attempts"][0]["leg"]["srtp"] is into["incoming"]["srtp"] is None
        assert into["facts"] == ["secure_signalling"]


@scenario
async def test_hold_and_resume_of_an_encrypted_call_keep_its_voice(tmp_path: Path) -> None:
    secure = SecureProduct(tmp_path, "required", "srtp-mand")
    async with secure as (phone, product):
        await phone.dial(f"sip:8{ANSWERING}@127.0.0.1:{secure.port};transport=tls")
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
        tmp_path / "phone", user="desk", tone=600, extra="module srtp.so", account=";mediaenc=srtp-mand"
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
            report = await product.pstn_call("4165550401")
            assert report["cause"] != 16
            await product.until_idle()
            into, out = product.records()
            assert into["incoming"]["srtp"]
            assert_decrypted(into["incoming"])
            assert into["facts"] == []
            assert out["attempts"][0]["leg"]["sip_status"] == 488
