"""Digits between four ways of sending them, with Asterisk's PJSIP at both ends: each arrives once, both ways."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import lasting
from tests.outside.asterisk import Asterisk

MODES = {"rfc4733": "rfc4733", "info": "info", "inband": "inband", "auto": "auto_info"}
"""Our words for the ways, and PJSIP's."""
SENT, ANSWERED = "1550*", "93*3"
TRUNK = """
[[trunk]]
name = "{mode}"
technology = "sip"
host = "127.0.0.1:{port}"
fromuser = "{mode}"
context = "digits"
dtmfmode = "{mode}"
[[route]]
context = "digits"
match = "_{prefix}X"
to = ["sip:{mode}/{{number}}"]
"""
ENDPOINT = """
[udp-{mode}]
type = transport
protocol = udp
bind = 127.0.0.1:{port}
[{mode}]
type = aor
contact = sip:127.0.0.1:{gateway}
[{mode}]
type = endpoint
transport = udp-{mode}
aors = {mode}
identify_by = username
context = called
disallow = all
allow = alaw
direct_media = no
dtmf_mode = {word}
"""
DIALPLAN = f"""
[called]
exten => _X.,1,Answer()
same => n,Read(GOT,,7,,1,2)
same => n,UserEvent(called,Number: ${{EXTEN}},Digits: ${{GOT}})
same => n,SendDTMF({ANSWERED},150,150)
same => n,Wait(8)
[caller]
exten => _X.,1,Wait(0.6)
same => n,SendDTMF({SENT},150,150)
same => n,Read(GOT,,7,,1,6)
same => n,UserEvent(caller,Number: ${{EXTEN}},Digits: ${{GOT}})
same => n,Hangup()
"""


@lasting(60.0)
async def test_digits_arrive_once_between_any_two_ways_of_sending_them(tmp_path: Path) -> None:
    ports = {mode: free_port() for mode in MODES}
    prefixes = {mode: prefix for prefix, mode in enumerate(MODES, 1)}
    extra = "".join(TRUNK.format(mode=mode, port=ports[mode], prefix=prefixes[mode]) for mode in MODES)
    product = Product(tmp_path, extra=extra)
    pjsip = "".join(
        ENDPOINT.format(mode=mode, port=ports[mode], gateway=product.sip_port, word=word)
        for mode, word in MODES.items()
    )
    async with Asterisk({"pjsip.conf": pjsip, "extensions.conf": DIALPLAN}) as far, product:
        pairs = [(caller, called) for caller in MODES for called in MODES]
        numbers = {pair: f"{prefixes[pair[1]]}{prefixes[pair[0]]}" for pair in pairs}
        for (caller, _), number in numbers.items():
            given = {"Channel": f"PJSIP/{number}@{caller}", "Context": "caller", "Exten": number, "Priority": "1"}
            await far.manager.action("Originate", Async="true", **given)
            await asyncio.sleep(0.1)
        heard = {}
        for pair, number in numbers.items():
            there = await far.manager.told("called", 15, Number=number)
            back = await far.manager.told("caller", 15, Number=number)
            heard[pair] = there["Digits"], back["Digits"]
        await product.until_idle()
    assert heard == dict.fromkeys(pairs, (SENT, ANSWERED))
