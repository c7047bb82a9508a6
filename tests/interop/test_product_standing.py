"""Calls that stand on eight lines while the configuration is changed under them: every telephone hears its tone on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.demo import private_bus
from tests.interop.ctl import Ctl
from tests.interop.our_sip import trunk
from tests.interop.product import Product
from tests.interop.program import PATIENCE, free_port
from tests.interop.scenario import scenario
from tests.interop.tone_ends import MUCH_HELD_UP, Listening, Telephones, ToneEnds, hears_a_gap

pytestmark = pytest.mark.alone
CALLS = int(os.environ.get("STANDING_CALLS", "240"))
CHANNELS = 30
AT_ONCE = 20
ECHO = "5550106"
TRIAL_SECONDS = 5
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 3.0
SPARE = """
[iax]
listen = ["udp:127.0.0.1:{iax_port}"]
[[trunk]]
name = "spare1"
technology = "sip"
host = "192.0.2.1"
allow = ["alaw", "ulaw"]
context = "spare"
[[trunk]]
name = "spare2"
technology = "sip"
host = "192.0.2.2"
context = "spare"
[[trunk]]
name = "spare3"
technology = "iax2"
host = "192.0.2.3"
context = "spare"
[[phone]]
name = "desk1"
secret = "a long word of desk one"
context = "spare"
[[phone]]
name = "desk2"
secret = "a long word of desk two"
context = "spare"
[[phone]]
name = "desk3"
host = "192.0.2.33"
context = "spare"
[[route]]
context = "spare"
match = "_1XX"
to = ["sip:desk1"]
[[route]]
context = "spare"
match = "_2XX"
to = ["sip:spare1/{{number}}", "sip:hq/{{number}}"]
"""
NEW = """
[[trunk]]
name = "new1"
technology = "sip"
host = "192.0.2.11"
context = "spare"
[[trunk]]
name = "new2"
technology = "iax2"
host = "192.0.2.12"
context = "spare"
[[phone]]
name = "desk4"
secret = "a long word of desk four"
context = "spare"
[[route]]
context = "spare"
match = "_4XX"
to = ["sip:new1/{number}"]
[[route]]
context = "from-hq"
match = "_5XX"
to = ["iax2:new2/{number}"]
[[cause]]
cause = 20
to_sip = 404
"""


async def standing(product: Product, telephones: Telephones, calls: int) -> None:
    """Half of ``calls`` are made by telephones to echoes behind the lines, the others by those echoes to telephones."""
    for first in range(0, calls // 2, AT_ONCE):
        for _ in range(first, min(first + AT_ONCE, calls // 2)):
            telephones.place("product", f"9{ECHO}")
        await product.until_answered(min(first + AT_ONCE, calls // 2))
    for first in range(calls // 2, calls, AT_ONCE):
        for number in range(first, min(first + AT_ONCE, calls)):
            await product.exchange.command("call", called=f"41655501{number % 100:02}", hold=-1, voice="echo")
        await product.until_answered(min(first + AT_ONCE, calls))


class Draft:
    """A document that is changed, change by change."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.changes = 0

    def replace(self, old: str, new: str) -> None:
        """One change."""
        assert self.text.count(old) == 1, (old, self.text)
        self.text = self.text.replace(old, new)
        self.changes += 1


def changed(text: str) -> str:
    """The document with twenty changes, none of which has to do with another."""
    draft = Draft(text + NEW)
    draft.changes = NEW.count("[[")
    draft.replace('allow = ["alaw", "ulaw"]', 'allow = ["ulaw", "alaw"]')
    draft.replace('name = "spare2"', 'name = "spare2"\nqualify = true')
    draft.replace('host = "192.0.2.3"', 'host = "192.0.2.4"')
    draft.replace('name = "desk1"', 'name = "desk1"\ncallerid = "One <101>"')
    draft.replace('name = "desk2"', 'name = "desk2"\ncall_limit = 3')
    draft.replace('to = ["sip:desk1"]', 'to = ["sip:desk2"]')
    draft.replace('"sip:spare1/{number}", "sip:hq/{number}"', '"sip:hq/{number}", "sip:spare1/{number}"')
    draft.replace('[[phone]]\nname = "desk3"\nhost = "192.0.2.33"\ncontext = "spare"\n', "")
    # What the calls stand on is changed as well, in place.
    draft.replace("trustrpid = true", 'trustrpid = true\nallow = ["ulaw", "alaw"]')
    draft.replace("[sip]\n", "[sip]\nsession_expires = 900\n")
    draft.replace("[iax]\n", "[iax]\nmaxexpiry = 1800\n")
    draft.replace("[media]\n", '[media]\nmusiconhold = "none"\n')
    draft.replace("[gateway]\n", '[gateway]\ncountry = "gb"\n')
    draft.replace('name = "s0"\n', 'name = "s0"\noverlapdial = "incoming"\n')
    assert draft.changes == 20
    return draft.text


@contextlib.asynccontextmanager
async def scene(directory: Path, calls: int) -> AsyncIterator[tuple[Product, Telephones, Ctl]]:
    """A gateway with a store and enough lines for ``calls``, which stand, and gatewayctl."""
    product = Product(
        directory,
        spans=-(-calls // CHANNELS),
        section=f'bus = "{private_bus.address_of(directory)}"\n',
        extra=SPARE.format(iax_port=free_port()),
        options=("--store", str(directory / "store")),
    )
    async with (
        contextlib.AsyncExitStack() as stack,
        await ToneEnds.start() as program,
        Telephones(program, port=product.far_port, peers=(trunk(product.sip_port, name="product"),)) as telephones,
    ):
        bus = await private_bus.start(directory)
        stack.push_async_callback(bus.stop)
        await stack.enter_async_context(product)
        begun = asyncio.get_running_loop().time()
        await standing(product, telephones, calls)
        print(f"\n{calls} calls after {asyncio.get_running_loop().time() - begun:.1f} s")
        await telephones.all_hear(calls)
        yield product, telephones, Ctl(directory)


async def end_all(product: Product, telephones: Telephones, calls: int) -> None:
    """Every call ends by who began it, and has a record that says so."""
    for each in (await product.exchange.command("calls"))["calls"]:
        if each["direction"] == "to gateway":
            await product.exchange.command("hangup", call=each["call"])
    for script in telephones.scripts:
        if script.offered is None:
            telephones.release(script)
    await product.until_idle()
    records = product.records()
    assert len(records) == len({record["id"] for record in records}) == calls
    assert {(record["cause"], record["released_by"]) for record in records} == {(16, "caller")}


@scenario
async def test_standing_calls_hear_nothing_of_twenty_changes(tmp_path: Path) -> None:
    async with scene(tmp_path, CALLS) as (product, telephones, ctl):
        file = tmp_path / "changed.toml"
        before = (await ctl("config", "get"))["document"]
        for document in (changed(before), before, changed(before)):
            file.write_text(document)
            async with Listening(telephones, product.voice_pids) as listening:
                await telephones.pass_time(BEFORE_SECONDS)
                await ctl("config", "stage", str(file))
                plan = await ctl("config", "plan")
                actions = [part["action"] for part in plan["parts"] if part["action"] != "unchanged"]
                assert (plan["dropped"], plan["service"], set(actions)) == ([], "", {"updated", "added", "removed"})
                await ctl("config", "commit", "-m", "twenty changes")
                await telephones.pass_time(AFTER_SECONDS)
            await product.until_answered(CALLS)
            if listening.held_up < MUCH_HELD_UP:
                break
        await hears_a_gap(telephones, next(iter(telephones.media.streams)), 2)
        await end_all(product, telephones, CALLS)


@scenario
async def test_standing_calls_hear_nothing_of_a_change_that_is_undone_as_nobody_confirms_it(tmp_path: Path) -> None:
    async with scene(tmp_path, CHANNELS) as (product, telephones, ctl):
        file = tmp_path / "changed.toml"
        file.write_text(changed((await ctl("config", "get"))["document"]))

        async def goes_to(number: str) -> str:
            return json.dumps(await product.gateway.command("explain", context="spare", number=number))

        before = await goes_to("411")
        async with Listening(telephones, product.voice_pids):
            await ctl("config", "stage", str(file))
            await ctl("config", "commit", "--confirm", f"{TRIAL_SECONDS}s")
            begun = asyncio.get_running_loop().time()
            on_trial = await goes_to("411")
            assert "new1" in on_trial
            while await goes_to("411") != before:
                await telephones.pass_time(0.2)
            lasted = asyncio.get_running_loop().time() - begun
            await telephones.pass_time(BEFORE_SECONDS)
        assert TRIAL_SECONDS - 2 < lasted < TRIAL_SECONDS + PATIENCE
        undone, first = await ctl("config", "history")
        assert (undone["fault"], undone["active"], first["active"]) == ("it was not confirmed in time", False, True)
        await product.until_answered(CHANNELS)
        await end_all(product, telephones, CHANNELS)
