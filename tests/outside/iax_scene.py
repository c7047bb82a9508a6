"""The gateway with a trunk "site" over IAX2, the Asterisk at its other end, and the wire between them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.interop.product import Product
from tests.interop.program import PATIENCE, free_port
from tests.outside.asterisk import Asterisk
from tests.outside.iax_site import MILLIWATT_HZ, SECRET, hang_up, heard, recorded, site, talk
from tests.outside.iax_wire import Relay, in_clear, malformed

OURS = """
[iax]
listen = ["udp:{loopback}:{port}"]
{iax}
[[trunk]]
name = "site"
technology = "iax2"
host = "{host}"
defaultuser = "branch"
{secret}
context = "from-site"
{trunk}
[[route]]
context = "from-pstn"
match = "_41655506XX"
to = ["iax2:site/{{number}}"]
[[route]]
context = "from-site"
match = "_9."
to = ["pri:r0/{{number:1}}"]
[[route]]
context = "from-site"
match = "_8."
to = ["sip:hq/{{number:1}}"]
[[route]]
context = "from-site"
match = "_6."
to = ["iax2:site/{{number:1}}"]
[[route]]
context = "from-hq"
match = "_7."
to = ["iax2:site/{{number:1}}"]
{more}
"""
PURE = 0.9
DIALLED = "95550107"
"""A subscriber of the telephone company's with a tone, as the site dials it."""
_SIP = """\
[general]
bindaddr = 127.0.0.1
bindport = {port}
allowguest = no
[branch]
type = peer
host = 127.0.0.1
port = GATEWAY
context = incoming
directmedia = no
disallow = all
allow = alaw
"""


class Scene:
    """Relay, Asterisk and gateway, started in that order or the last two the other way round (``far_last``).

    The words are lines of either side's configuration.

    ``near`` and ``far`` are the ports that gateway and Asterisk have; each knows the relay instead of the other, but
    with ``direct``, which another ``loopback`` needs.
    ``sip``: the Asterisk is the SIP trunk "hq" as well.
    """

    def __init__(
        self,
        directory: Path,
        *,
        trunk: str = "",
        secret: str = 'secret = "apples"',  # noqa: S107 - a line of a test's configuration
        iax: str = "",
        more: str = "",
        host: str = "",
        general: str = "",
        peer: str = "",
        peers: str = "",
        quick_rotation: bool = False,
        sip: bool = False,
        direct: bool = False,
        far_last: bool = False,
        loopback: str = "127.0.0.1",
    ) -> None:
        self.directory = directory
        self._far_last = far_last
        self._encrypted = "encryption" in trunk
        self.near, far_port, sip_port = free_port(), free_port(), free_port()
        self.wire = Relay(self.near, far_port)
        theirs, ours = self.wire.near_port, self.wire.far_port
        if direct:
            theirs, ours = far_port, self.near
        extra = OURS.format(
            port=self.near,
            loopback=loopback,
            iax=iax,
            host=host or f"{loopback}:{theirs}",
            secret=secret,
            trunk=trunk,
            more=more,
        )
        self.product = Product(directory, extra=extra, far_port=sip_port)
        self.far: Asterisk = site(
            ours, general=general, peer=peer, more=peers, iax=far_port, quick_rotation=quick_rotation
        )
        self.far.files["iax.conf"] = self.far.files["iax.conf"].replace("127.0.0.1", loopback)
        if sip:
            self.far.port = sip_port
            self.far.files["sip.conf"] = _SIP.replace("GATEWAY", str(self.product.sip_port))

    async def __aenter__(self) -> Scene:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.wire)
            parts: list[Asterisk | Product] = [self.far, self.product]
            for part in reversed(parts) if self._far_last else parts:
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        if error is None:
            seen = in_clear(self.wire.datagrams, SECRET) if self._encrypted else self.wire.datagrams
            ours = [each for each in seen if each.near]
            assert await asyncio.to_thread(malformed, self.directory / "ours.pcap", ours) == []

    async def call_out(self, number: str = "4165550670", hertz: float = MILLIWATT_HZ) -> None:
        """A call of the telephone company through to the site, until it hears a tone there: its own, echoed."""
        report = await self.product.heard_call(hertz, called=number, voice="milliwatt")
        assert report["cause"] == 16, self.product.log
        await self.product.until_idle()

    async def call_in(
        self, number: str = DIALLED, name: str = "11", seconds: float = 2.5, peer: str = "branch"
    ) -> None:
        """A call of the site's, through its ``peer``, to the telephone company's tone, or whoever ``number`` is."""
        await talk(self.far, number, name, peer)
        await self.product.until_answered()
        await asyncio.sleep(seconds)
        # A machine that is busy with something else tears voice: then it may take longer to hear some in one piece.
        for _ in range(int(PATIENCE / 2)):
            if recorded(self.far, name) and heard(self.far, name).purity > PURE:
                break
            await asyncio.sleep(1.0)
        await hang_up(self.far)
        await self.product.until_idle()
        tone = heard(self.far, name)
        assert tone.frequency == pytest.approx(MILLIWATT_HZ, abs=5), (tone, self.product.log[-3000:])

    async def both_ways(self) -> None:
        """A call each way. What is heard is what was sent, back from an echo, so that voice went both ways in each."""
        await self.call_out()
        await self.call_in("95550106")

    def leg(self, record: int = -1) -> dict[str, object]:
        """What the record of a call says of its IAX2 leg."""
        found = self.product.records()[record]
        legs = [found["incoming"], *(attempt["leg"] for attempt in found["attempts"] if attempt.get("leg"))]
        (leg,) = [dict(each) for each in legs if each.get("technology") == "iax2"]
        return leg

    def session(self, record: int = -1) -> dict[str, Any]:
        """What that says of its session."""
        session = self.leg(record)["session"]
        assert isinstance(session, dict)
        return session

    async def reach(self, word: str, within: float = PATIENCE) -> None:
        """Wait until the trunk is ``word`` by its qualify."""
        await self.product.until(
            lambda status: status["iax"]["peers"]["site"]["reach"] == word, f"a {word} site", within
        )
