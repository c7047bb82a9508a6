"""What calls with Asterisk's chan_sip are made of: causes, ringing, early media, numbers, transfers, codecs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import lasting
from tests.outside.asterisk import Asterisk
from tests.outside.ended_calls import CAUSES_OUT, EXTENSIONS

MILLIWATT_HZ = 1004
SIP = """\
[general]
bindaddr = 127.0.0.1
bindport = {port}
allowguest = no
trustrpid = yes
sendrpid = pai
trust_id_outbound = yes
use_q850_reason = yes
[branch]
type = peer
host = 127.0.0.1
port = GATEWAY
context = incoming
directmedia = no
disallow = all
allow = alaw
CODECS
"""
DIALPLAN = """\
[incoming]
exten => _X.,1,UserEvent(offered,Caller: ${CALLERID(num)},Pres: ${CALLERID(pres)})
same => n,Goto(${EXTEN:-2},1)
EXTENSIONS
exten => 60,1,Answer()
same => n,Wait(0.5)
same => n,Transfer(SIP/95550107)
same => n,UserEvent(transferred,Status: ${TRANSFERSTATUS})
same => n,Echo()
exten => 61,1,Transfer(SIP/95550107)
[out]
exten => _X.,1,Set(CALLERID(num)=4165557777)
same => n,Set(CALLERID(name)=Far Site)
same => n,Set(CALLERID(pres)=${PRES})
same => n,Dial(SIP/9${EXTEN}@branch,6)
same => n,UserEvent(dialled,Number: ${EXTEN},Status: ${DIALSTATUS},Cause: ${HANGUPCAUSE})
[listening]
exten => _X.,1,Answer()
same => n,Dial(SIP/9${EXTEN}@branch,8)
""".replace("EXTENSIONS\n", EXTENSIONS)


def scene(directory: Path, trunk: str = "", codecs: str = "") -> tuple[Product, Asterisk]:
    """A gateway and the Asterisk that is its trunk "hq"."""
    port = free_port()
    product = Product(directory, trunk=trunk, far_port=port)
    sip = SIP.replace("GATEWAY", str(product.sip_port)).replace("CODECS", codecs)
    return product, Asterisk({"sip.conf": sip, "extensions.conf": DIALPLAN}, port=port)


async def dialled(far: Asterisk, number: str, presentation: str = "allowed") -> tuple[str, str]:
    """Let it call a number of the telephone company; DIALSTATUS and HANGUPCAUSE."""
    channel = f"Local/{number}@out"
    await far.manager.originate(channel, "Wait", "1", Variable=f"PRES={presentation}")
    told = await far.manager.told("dialled", 15, Number=number)
    return told["Status"], told["Cause"]


CAUSES_IN = {
    "5550102": ("BUSY", "17"),
    "5550103": ("CHANUNAVAIL", "1"),
    "5550109": ("CONGESTION", "42"),
    "5550110": ("CHANUNAVAIL", "21"),
}


@lasting(60.0)
async def test_why_a_call_failed_is_the_same_on_either_side(tmp_path: Path) -> None:
    product, far = scene(tmp_path)
    async with far, product:
        causes = {}
        for last in CAUSES_OUT:
            report = await product.pstn_call(f"41655501{last}")
            assert report["answered"] is None
            causes[last] = report["cause"]
        assert causes == CAUSES_OUT
        assert {number: await dialled(far, number) for number in CAUSES_IN} == CAUSES_IN
        assert await dialled(far, "5550101") == ("NOANSWER", "0")
        await product.until_idle()


@lasting(60.0)
async def test_ringing_and_early_media(tmp_path: Path) -> None:
    product, far = scene(tmp_path)
    async with far, product:
        call = (await product.exchange.command("call", called="4165550150", hold=300))["call"]
        ringing = await product.exchange.event("alerting", 5, lambda event: event["call"] == call)
        assert ringing["answered"] is None
        await product.exchange.command("hangup", call=call)
        await product.until_idle()
        call = (await product.exchange.command("call", called="4165550151", hold=300))["call"]
        await product.until(lambda status: bool(status["calls"]), "the call")
        # Nobody tells when the first half second of it has been heard, and this machine may stall.
        await asyncio.sleep(4.0)
        await product.exchange.command("hangup", call=call)
        early = await product.exchange.event("ended", 5, lambda event: event["call"] == call)
        assert any("in-band" in word for word in early["progress"])
        await product.until_idle()
        heard = product.records()[-1]["attempts"][0]["leg"]["media"]["frequency"]
        assert heard == pytest.approx(MILLIWATT_HZ, abs=10)
        report = await product.pstn_call("4165550152", hold=1200)
        assert report["alerting"] < report["answered"]
        assert report["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10)
        # An announcement of the telephone company's before there is an answer, heard at the other site.
        await far.manager.originate("Local/5550105@listening", "Record", f"{far.inside}/early.wav,0,4,kx")
        await asyncio.sleep(3.0)
        await far.manager.action("Hangup", Channel="/^Local/")
        await product.until_idle()
        samples = (far.directory / "early.wav").read_bytes()[44:]
        assert any(samples)


@lasting(60.0)
async def test_numbers_that_are_withheld_stay_so(tmp_path: Path) -> None:
    product, far = scene(tmp_path)
    async with far, product:
        for presentation, word in (("allowed", "allowed"), ("restricted", "prohib")):
            await product.pstn_call("4165550117", caller="4165553333", presentation=presentation)
            offered = await far.manager.event("UserEvent", 5, lambda event: event.get("Pres", "").startswith(word))  # noqa: B023
            assert offered["Caller"] == "4165553333"
        for presentation, word in (("allowed", "allowed"), ("prohib", "restricted")):
            before = len(product.exchange.events)
            assert (await dialled(far, "5550102" if word == "allowed" else "5550110", presentation))[0] != "ANSWER"
            ended = [event for event in product.exchange.events[before:] if event["event"] == "ended"]
            assert (ended[-1]["caller"], ended[-1]["caller_presentation"]) == ("4165557777", word)


@pytest.mark.parametrize("allowed", [True, False])
@lasting(60.0)
async def test_asterisk_transfers_a_call_if_it_may(tmp_path: Path, allowed: bool) -> None:
    product, far = scene(tmp_path, "allowtransfer = true" if allowed else "")
    async with far, product:
        report = await product.pstn_call("4165550160", hold=2500, voice="nothing" if allowed else "milliwatt")
        assert report["cause"] == 16
        assert report["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10)
        await product.until_idle()
        told = await far.manager.told("transferred")
        assert told["Status"] == ("SUCCESS" if allowed else "FAILURE")
        assert len(product.records()[0]["transfers"]) == allowed


@lasting(60.0)
async def test_asterisk_redirects_a_call_nowhere(tmp_path: Path) -> None:
    product, far = scene(tmp_path)
    async with far, product:
        report = await product.pstn_call("4165550161")
        assert (report["answered"], report["cause"]) == (None, 23)
        await product.until_idle()


@pytest.mark.parametrize("codec", ["alaw", "ulaw", "g722"])
@lasting(60.0)
async def test_codecs(tmp_path: Path, codec: str) -> None:
    product, far = scene(tmp_path, f'allow = ["{codec}"]', f"disallow = all\nallow = {codec}")
    async with far, product:
        report = await product.pstn_call("4165550170", hold=1500, voice="milliwatt")
        assert report["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), product.log
        await product.until_idle()
        (record,) = product.records()
        assert record["attempts"][0]["leg"]["codec"] == codec
