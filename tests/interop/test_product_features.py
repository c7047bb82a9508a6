"""Transfer, hold, call forwarding and direct media with telephones of others: baresip, and sipp to be exact."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.product import Product
from tests.interop.program import PeerError, free_port
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp
from tests.interop.tone import write_tone

HOLD_HERTZ = 500.0
NOW = 0.6
"""Seconds: what a phone hears at the end of its recording."""
MUSIC = 'musiconhold = "tune"'

_PHONE = """
[[phone]]
name = "{name}"
host = "127.0.0.1:{port}"
context = "internal"
directmedia = "{directmedia}"
"""
_ROUTES = """
[[route]]
context = "internal"
match = "_9."
to = ["pri:g0/{number:1}"]
[[route]]
context = "internal"
match = "2001"
to = ["sip:p1"]
[[route]]
context = "internal"
match = "2002"
to = ["sip:p2"]
[[route]]
context = "internal"
match = "2003"
to = ["sip:p3"]
"""


class Ports:
    """Three phones' ports, and the configuration that knows them."""

    def __init__(self, directmedia: str = "no") -> None:
        self.ports = [free_port() for _ in range(3)]
        phones = (
            _PHONE.format(name=f"p{n}", port=port, directmedia=directmedia) for n, port in enumerate(self.ports, 1)
        )
        self.extra = "".join(phones) + _ROUTES

    def product(self, directory: Path) -> Product:
        """The gateway, with music on hold that can be told from everything else."""
        (directory / "prompts").mkdir()
        write_tone(directory / "prompts" / "tune.wav", HOLD_HERTZ, seconds=2)
        return Product(directory, extra=self.extra, media=MUSIC)

    async def start(self, directory: Path, number: int, tone: float, answer: str = "auto") -> Baresip:
        """The phone ``number``, from 1."""
        port = self.ports[number - 1]
        return await Baresip.start(directory / f"p{number}", user=f"p{number}", sip_port=port, tone=tone, answer=answer)


@contextlib.asynccontextmanager
async def two_phones(directory: Path, directmedia: str = "no") -> AsyncIterator[tuple[Product, Baresip, Baresip]]:
    """The gateway with the phones 1 and 2, whose tones are of 600 Hz and 700 Hz."""
    ports = Ports(directmedia)
    async with (
        ports.product(directory) as product,
        await ports.start(directory, 1, 600) as first,
        await ports.start(directory, 2, 700) as second,
    ):
        yield product, first, second


async def call_of_phones(product: Product, first: Baresip, second: Baresip) -> None:
    """Phone 2 calls phone 1, which answers."""
    await second.dial(f"sip:2001@127.0.0.1:{product.sip_port}")
    await first.event("CALL_ESTABLISHED")


async def hold_and_resume(first: Baresip, second: Baresip) -> None:
    """Phone 1 puts phone 2 on hold, which hears music, and comes back."""
    await first.command("hold")
    await second.hears(HOLD_HERTZ, last=NOW)
    # baresip 1.1 resumes and says "Invalid argument", as there is no other call to put on hold.
    with contextlib.suppress(PeerError):
        await first.command("resume")
    await second.hears(600, last=NOW)


@scenario
async def test_a_phone_transfers_a_call_of_the_telephone_line_to_another_phone(tmp_path: Path) -> None:
    async with two_phones(tmp_path) as (product, first, second):
        await first.dial(f"sip:95550107@127.0.0.1:{product.sip_port}")
        await first.event("CALL_ESTABLISHED")
        await first.hears(1004, last=NOW)
        await first.command("transfer", f"sip:2002@127.0.0.1:{product.sip_port}")
        await second.event("CALL_ESTABLISHED")
        await first.event("CALL_CLOSED")
        await second.hears(1004, last=NOW)
        await second.hang_up()
        await product.until_idle()
        (record,) = product.records()
        (transfer,) = record["transfers"]
        assert (transfer["kind"], transfer["by"], transfer["number"]) == ("blind", "p1", "2002")
        assert record["cause"] == 16


@scenario
async def test_a_phone_transfers_another_phone_to_the_telephone_line(tmp_path: Path) -> None:
    async with two_phones(tmp_path) as (product, first, second):
        await call_of_phones(product, first, second)
        await first.hears(700, last=NOW)
        await first.command("transfer", f"sip:95550107@127.0.0.1:{product.sip_port}")
        await first.event("CALL_CLOSED")
        await second.hears(1004, last=NOW)
        await second.hang_up()
        await product.until_idle()
        (record,) = product.records()
        assert record["transfers"][0]["leg"]["technology"] == "pri"


@scenario
async def test_a_transfer_to_a_number_that_is_busy_is_told_and_recorded(tmp_path: Path) -> None:
    async with two_phones(tmp_path) as (product, first, second):
        await call_of_phones(product, first, second)
        await second.hears(600, last=NOW)
        await first.command("transfer", f"sip:95550102@127.0.0.1:{product.sip_port}")
        # baresip 1.0 ends its call when it hears that: ours would have gone on.
        await first.until(lambda: any("transfer failed: 486" in line for line in first.lines), "the failure")
        await second.event("CALL_CLOSED")
        await product.until_idle()
        (record,) = product.records()
        assert [transfer["cause"] for transfer in record["transfers"]] == [17]
        assert record["released_by"] == "called"


@scenario
async def test_who_is_on_hold_hears_the_hold_tone_and_then_the_other_side_again(tmp_path: Path) -> None:
    async with two_phones(tmp_path) as (product, first, second):
        await call_of_phones(product, first, second)
        await second.hears(600, last=NOW)
        await hold_and_resume(first, second)
        await first.hears(700, last=NOW)
        await second.hang_up()
        await product.until_idle()


@pytest.mark.parametrize("directmedia", ["yes", "update"])
@scenario
async def test_two_phones_hear_each_other_around_the_gateway(tmp_path: Path, directmedia: str) -> None:
    async with two_phones(tmp_path, directmedia) as (product, first, second):
        await call_of_phones(product, first, second)
        await second.hears(600, last=NOW)
        await first.hears(700, last=NOW)
        await hold_and_resume(first, second)
        await second.hang_up()
        await product.until_idle()
        (record,) = product.records()
        assert record["incoming"]["direct_media"] is True
        assert record["attempts"][0]["leg"]["direct_media"] is True


@scenario
async def test_a_phone_that_forwards_its_calls_is_followed_to_the_telephone_line(tmp_path: Path) -> None:
    ports = Ports()
    async with (
        ports.product(tmp_path) as product,
        await ports.start(tmp_path, 2, 700) as second,
    ):
        forwarding = await Sipp.start(
            "uas_redirect", tmp_path, port=ports.ports[0], contact=f"sip:95550107@127.0.0.1:{product.sip_port}"
        )
        async with forwarding as phone:
            await second.dial(f"sip:2001@127.0.0.1:{product.sip_port}")
            await second.event("CALL_ESTABLISHED")
            await second.hears(1004, last=NOW)
            await second.hang_up()
            await product.until_idle()
            await phone.succeed()
        (record,) = product.records()
        assert [attempt["cause"] for attempt in record["attempts"]] == [23, 16]
        assert record["redirection"]["number"] == "2001"


_OTHER_SIDE = """
[[route]]
context = "internal"
match = "_8X."
to = ["sip:hq/{number}"]
[[route]]
context = "from-hq"
match = "2002"
to = ["sip:p2"]
"""


@scenario
async def test_glare_with_a_peer_that_changes_something_itself(tmp_path: Path) -> None:
    ports = Ports("yes")
    product = Product(tmp_path, extra=ports.extra + _OTHER_SIDE, trunk='directmedia = "yes"\nsession_timers = "accept"')
    async with product, await ports.start(tmp_path, 1, 600) as phone:
        peer_port = r"[1-9][0-9]*"
        async with await product.answering("uas_glare", peer_port=peer_port) as far:
            await phone.dial(f"sip:8123@127.0.0.1:{product.sip_port}")
            await phone.event("CALL_ESTABLISHED")
            await product.until_answered()
            await far.exchanged(b"ACK ", sent=False, count=3)
            await phone.hang_up()
            await far.succeed()
        await product.until_idle()
        (record,) = product.records()
        assert record["attempts"][0]["leg"]["direct_media"] is True


@pytest.mark.parametrize(("target", "expected"), [("95550112", "200"), ("0005550107", "404")])
@scenario
async def test_a_trunk_transfers_by_the_book(tmp_path: Path, target: str, expected: str) -> None:
    async with Product(tmp_path, trunk="allowtransfer = true") as product:
        async with await product.answering(
            "uas_transfer", target=f"sip:{target}@127.0.0.1:{product.sip_port}", expected=expected
        ) as far:
            report = await product.pstn_call()
            if expected == "200":
                await far.succeed()
        await product.until_idle()
        (record,) = product.records()
        assert len(record["transfers"]) == (expected == "200")
        assert report["answered"] is not None
