"""Asterisk and iaxmodem against each other over IAX2, so that a failure of another test is not theirs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.program import PeerError, free_port
from tests.interop.scenario import lasting
from tests.outside.asterisk import with_quick_rotation
from tests.outside.iax_site import MILLIWATT_HZ, NEW_KEY, SECRET, hang_up, heard, site, talk
from tests.outside.iax_wire import Relay, in_clear, malformed
from tests.outside.iaxmodem import IaxModem, frames_both_ways

ENCRYPTED = "encryption = yes\nforceencryption = yes\n"
WAYS = {"encrypted": "", "trunk and encrypted": "trunk = yes\n"}


def test_another_module_is_not_made_quick() -> None:
    with pytest.raises(PeerError, match="in another way"):
        with_quick_rotation(bytes(1000))


@pytest.mark.parametrize("way", WAYS)
@lasting(60.0)
async def test_asterisk_calls_asterisk(tmp_path: Path, way: str) -> None:
    general = ENCRYPTED
    peer = f"username = branch\n{general}{WAYS[way]}"
    ports = free_port(), free_port()
    relay = Relay(*ports)
    async with (
        relay,
        site(relay.near_port, general=general, peer=peer, iax=ports[0], quick_rotation=True) as one,
        site(relay.far_port, general=general, peer=peer, iax=ports[1], quick_rotation=True) as two,
    ):
        await one.console("iax2 set debug on")
        await talk(one, "4170")
        await two.manager.told("offered", Number="4170")
        # It is the called side that makes new keys.
        await one.until_logged(NEW_KEY)
        await asyncio.sleep(1.5)
        await hang_up(one)
        await two.until("core show channels", "0 active channels")
        assert heard(one).frequency == pytest.approx(MILLIWATT_HZ, abs=5)
    assert malformed(tmp_path / "wire.pcap", in_clear(relay.datagrams, SECRET)) == []
    # What an operator would not expect: the trunk is in the clear whatever was asked for.
    assert any(each.trunk for each in relay.datagrams) is ("trunk" in way)
    assert any(each.mini for each in relay.datagrams) is (way == "encrypted")


MODEM = """\
[{name}]
type = friend
host = dynamic
secret = apples
context = modems
requirecalltoken = no
"""


@lasting(60.0)
async def test_modems_register_with_asterisk_and_call_each_other(tmp_path: Path) -> None:
    plan = "[modems]\nexten => _X,1,Dial(IAX2/m${EXTEN})\n"
    more = "".join(MODEM.format(name=name) for name in ("m1", "m2"))
    general = "calltokenoptional = 127.0.0.1/255.255.255.255\n"
    async with (
        site(free_port(), general=general, more=more, files={"extensions.conf": plan}) as far,
        await IaxModem.start("m1", far.iax) as one,
        await IaxModem.start("m2", far.iax, codec="ulaw") as two,
    ):
        await far.until("iax2 show peers", r"m1 .*127.0.0.1(?s:.)*m2 .*127.0.0.1")
        await frames_both_ways(one, two, "2")
