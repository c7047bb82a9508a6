"""Calls that leave the one in the middle (RFC 5456 6.5): two Asterisks go on without us; we go on with one.

Asterisk 16 itself, in the middle, lets nobody go: its bridges know nothing of IAX2 any more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import lasting
from tests.outside.iax_site import MILLIWATT_HZ, hang_up, heard, site, talk

TRUNK = """
[[trunk]]
name = "{name}"
technology = "iax2"
host = "127.0.0.1:{port}"
defaultuser = "branch"
secret = "apples"
context = "between"
transfer = {transfer}
[[route]]
context = "between"
match = "_{prefix}."
to = ["iax2:{name}/{{number:1}}"]
"""


@pytest.mark.parametrize("allowed", [True, False])
@lasting(60.0)
async def test_two_sites_go_on_without_us_if_they_may(tmp_path: Path, allowed: bool) -> None:
    ours, one_port, two_port = free_port(), free_port(), free_port()
    word = "true" if allowed else "false"
    extra = f'[iax]\nlisten = ["udp:127.0.0.1:{ours}"]\n'
    extra += TRUNK.format(name="site", port=one_port, transfer=word, prefix="1")
    extra += TRUNK.format(name="second", port=two_port, transfer=word, prefix="2")
    two = site(ours, peer="transfer = yes\nusername = second\n", iax=two_port)
    async with (
        site(ours, peer="transfer = yes\n", iax=one_port) as one,
        two,
        Product(tmp_path, extra=extra) as product,
    ):
        await talk(one, "24170")
        await two.manager.told("offered", Number="4170")
        if allowed:
            await product.until_idle()
            (record,) = product.records()
            assert record["answer"]
        else:
            await product.until_answered()
        # They talk for longer than the gateway has known of it.
        await asyncio.sleep(3.0)
        assert len((await product.gateway.command("status"))["calls"]) == (not allowed)
        await two.until("core show channels", "1 active channel")
        shown = await one.console("iax2 show channels")
        await hang_up(one)
        # The other one heard of the end, directly or from us.
        await two.until("core show channels", "0 active channels")
        await product.until_idle()
        tone = heard(one, last=2.0)
        assert tone.frequency == pytest.approx(MILLIWATT_HZ, abs=5), (tone, shown)
        assert tone.audible >= 1.5


END = """
[iax]
listen = ["udp:127.0.0.1:{port}"]
[[trunk]]
name = "middle"
technology = "iax2"
host = "127.0.0.1:{middle}"
defaultuser = "second"
secret = "apples"
transfer = true
[[route]]
context = "from-pstn"
match = "_4165556XXX"
to = ["iax2:middle/1{{number}}"]
"""


@lasting(60.0)
async def test_we_go_on_with_an_asterisk_without_the_one_in_the_middle(tmp_path: Path) -> None:
    end_port, middle_port, far_port = free_port(), free_port(), free_port()
    extra = f'[iax]\nlisten = ["udp:127.0.0.1:{middle_port}"]\n'
    extra += TRUNK.format(name="site", port=far_port, transfer="true", prefix="1")
    extra += TRUNK.format(name="second", port=end_port, transfer="true", prefix="2")
    for name in ("middle", "end"):
        (tmp_path / name).mkdir()
    middle = Product(tmp_path / "middle", exchange=False, extra=extra)
    product = Product(tmp_path / "end", extra=END.format(port=end_port, middle=middle_port))
    async with site(middle_port, peer="transfer = yes\n", iax=far_port) as far, middle, product:
        call = (await product.exchange.command("call", called="4165556070", hold=-1, voice="milliwatt"))["call"]
        await product.until_answered()
        await middle.until(lambda status: not status["calls"], "the end of the call in the middle")
        await asyncio.sleep(3.0)
        await product.exchange.command("hangup", call=call)
        ended = await product.exchange.event("ended", 10, lambda event: event["call"] == call)
        assert ended["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), ended
        await product.until_idle()
        await far.until("core show channels", "0 active channels")
        leg = product.records()[-1]["attempts"][0]["leg"]
        assert leg["session"]["far_address"] == f"127.0.0.1:{far_port}"
