"""Two sites as textbooks set them up: serverA is the gateway, serverB is Asterisk, both at the usual ports."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.interop.openssl import as_ast_tls_cert
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.outside.asterisk import Asterisk

NETWORK = f"127.{1 + os.getpid() % 250}.1"
"""Of this process's own, as others test beside."""
SERVER_A, SERVER_B = f"{NETWORK}.1", f"{NETWORK}.2"
MILLIWATT_HZ = 1004
GATEWAY = f"""
[[trunk]]
name = "serverB"
technology = "sip"
host = "{SERVER_B}"
defaultuser = "serverA"
secret = "apples"
context = "incoming"
allow = ["ulaw"]
TERMS
[[route]]
context = "from-pstn"
match = "_41655506XX"
to = ["sip:serverB/{{number:-4}}"]
SECURE_BRIDGE
[[route]]
context = "incoming"
match = "_6XXX"
to = ["pri:r0/5550107"]
REQUIRE
"""
GENERAL = f"[general]\nbindaddr = {SERVER_B}\n"
PEER = f"""\
[serverA]
type = peer
host = {SERVER_A}
defaultuser = serverB
secret = apples
context = incoming
disallow = all
allow = ulaw
directmedia = no
"""
EXTENSIONS = """\
[default]
exten => _6XXX,1,Dial(SIP/${EXTEN}@serverA)
[incoming]
exten => _X.,1,Answer()
same => n,Echo()
"""
TLS_GENERAL = f"""\
tlsenable = yes
tlsbindaddr = {SERVER_B}
tlscertfile = {{inside}}/lib/keys/serverB.pem
tlscafile = {{inside}}/lib/keys/ca.crt
"""
TLS_EXTENSIONS = """\
[default]
exten => _6XXX,1,Set(CHANNEL(secure_bridge_signaling)=1)
MEDIA
same => n,Dial(SIP/${EXTEN}@serverA)
same => n,UserEvent(dialled,Status: ${DIALSTATUS})
[incoming]
exten => _X.,1,Answer()
same => n,GotoIf($["${CHANNEL(secure_signaling)}" = "1"]?secure:insecure)
same => n(secure),NoOp(Signaling is encrypted.)
same => n,NoOp(Media: ${CHANNEL(secure_media)}.)
same => n,Echo()
same => n(insecure),NoOp(Signaling is not encrypted.)
same => n,Hangup()
"""
SECURE_MEDIA = "same => n,Set(CHANNEL(secure_bridge_media)=1)"


class ServerA(Product):
    """The gateway at the usual ports of an address of its own."""

    def __init__(
        self, directory: Path, *, terms: str = "", secure_bridge: str = "", require: str = "", sip: str = ""
    ) -> None:
        words = {"TERMS": terms, "SECURE_BRIDGE": secure_bridge, "REQUIRE": require}
        extra = GATEWAY
        for word, text in words.items():
            extra = extra.replace(word, text)
        super().__init__(directory, extra=extra, sip=sip, listen=[f"tls:{SERVER_A}:5061"] if sip else [])
        self._configuration = self._configuration.replace(f"127.0.0.1:{self.sip_port}", f"{SERVER_A}:5060")


async def heard_both_ways(product: Product, far: Asterisk) -> None:
    """A call each way, each of which hears the tone that it sent, or that the called side sends."""
    report = await product.pstn_call("4165550601", hold=1500, voice="milliwatt")
    assert report["cause"] == 16, product.log
    assert report["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), report
    await far.manager.originate("Local/6123@default", "Echo")
    await product.until_answered()
    await asyncio.sleep(1.5)
    await far.manager.action("Hangup", Channel="/^Local/")
    ended = await product.exchange.event("ended", 10, lambda event: event["direction"] == "from gateway")
    assert ended["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), ended
    await product.until_idle()


@scenario
async def test_two_boxes(tmp_path: Path) -> None:
    product = ServerA(tmp_path)
    async with Asterisk({"sip.conf": GENERAL + PEER, "extensions.conf": EXTENSIONS}) as far, product:
        shown = await far.console("sip show peers")
        assert "serverA/serverB" in shown and SERVER_A in shown
        await heard_both_ways(product, far)


async def secured(directory: Path, media: bool, **words: str) -> tuple[ServerA, Asterisk]:
    """Both with certificates as the book makes them: a common name and nothing else."""
    keys = directory / "keys"
    keys.mkdir()
    # Asterisk compares names only; ours compares with what ``host`` says.
    for name, who in (("serverA", "localhost"), ("serverB", SERVER_B)):
        await as_ast_tls_cert(keys, who)
        (keys / f"{who}.pem").rename(keys / f"{name}.pem")
    (keys / "serverA.pem").chmod(0o600)
    sip = f'tls_certificate = "{keys / "serverA.pem"}"\ntls_ca = "{keys / "ca.crt"}"'
    terms = 'transport = "tls"\nallow_common_name = true\n' + words.pop("terms", "")
    product = ServerA(directory, sip=sip, terms=terms, **words)
    # localhost is 127.0.0.1 there too, where many listen.
    ours = free_port()
    product._configuration = product._configuration.replace(f"tls:{SERVER_A}:5061", f"tls:127.0.0.1:{ours}")
    peer = PEER.replace(f"host = {SERVER_A}", f"host = localhost\nport = {ours}") + "transport = tls\n"
    files = {
        "sip.conf": GENERAL + TLS_GENERAL + peer + ("encryption = yes\n" if media else ""),
        "extensions.conf": TLS_EXTENSIONS.replace("MEDIA", SECURE_MEDIA if media else ""),
    }
    far = Asterisk(files)
    (far.directory / "lib" / "keys").mkdir(parents=True)
    for file in ("serverB.pem", "ca.crt"):
        shutil.copy(keys / file, far.directory / "lib" / "keys")
    return product, far


async def noted(far: Asterisk, text: str) -> None:
    """Wait for a NoOp of its dial plan."""
    await far.manager.event("Newexten", 5, lambda event: event.get("AppData") == text)


@scenario
async def test_signalling_is_encrypted(tmp_path: Path) -> None:
    product, far = await secured(
        tmp_path,
        media=False,
        require='require = ["secure_signalling"]',
        secure_bridge='secure_bridge = ["secure_signalling"]',
    )
    async with far, product:
        await heard_both_ways(product, far)
        await noted(far, "Signaling is encrypted.")
        assert [record["facts"] for record in product.records()] == [[], ["secure_signalling"]]


@scenario
async def test_signalling_and_voice_are_encrypted(tmp_path: Path) -> None:
    product, far = await secured(
        tmp_path,
        media=True,
        terms='media_encryption = "required"',
        require='require = ["secure_signalling", "secure_media"]',
        secure_bridge='secure_bridge = ["secure_signalling", "secure_media"]',
    )
    async with far, product:
        await heard_both_ways(product, far)
        await noted(far, "Signaling is encrypted.")
        await noted(far, "Media: 1.")
        out, into = product.records()
        assert out["attempts"][0]["leg"]["srtp"] and into["incoming"]["srtp"]
        assert into["facts"] == ["secure_media", "secure_signalling"]


@scenario
async def test_a_bridge_that_must_be_secure_is_not_made_with_a_gateway_in_the_clear(tmp_path: Path) -> None:
    product, far = await secured(tmp_path, media=True)
    async with far, product:
        await far.manager.originate("Local/6123@default", "Echo")
        assert (await far.manager.told("dialled"))["Status"] != "ANSWER"
        await product.until_idle()
        assert not any(record["answer"] for record in product.records())
