"""Calls of all kinds through one gateway, each heard by a telephone: lines, SIP, SIP with TLS and SRTP, IAX2.

``near`` is the gateway that something happens to. ``far`` is one more: what telephones speak in clear it brings to near
over TLS and SRTP or over IAX2, and back. Behind near's lines everybody is an echo.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

from gateway.leg import Leg
from tests.interop.leg_script import LegScript
from tests.interop.openssl import Certificates
from tests.interop.our_sip import trunk
from tests.interop.product import POLL_SECONDS, Product
from tests.interop.program import PATIENCE, PeerError, free_port
from tests.interop.tone_ends import Telephones, ToneEnds

ECHO = "5550106"
SECRET = "correct horse battery"  # noqa: S105 - a test's
TRUNKS = """
[iax]
listen = ["udp:127.0.0.1:{iax_port}"]
[[trunk]]
name = "secure"
technology = "sip"
host = "127.0.0.1:{far_tls_port}"
transport = "tls"
media_encryption = "required"
context = "{context}"
[[trunk]]
name = "plain"
technology = "iax2"
host = "127.0.0.1:{far_iax_port}"
secret = "{secret}"
trunk = true
trunktimestamps = true
context = "{context}"
allow = ["alaw"]
[[trunk]]
name = "coded"
technology = "iax2"
host = "127.0.0.1:{far_iax_port}"
secret = "{secret}"
forceencryption = true
context = "{context}"
allow = ["alaw"]
"""
ROUTE = """
[[route]]
context = "{context}"
match = "{match}"
to = ["{to}"]
"""
NEAR_ROUTES = (
    ("from-pstn", "_41655502XX", "sip:secure/{number}"),
    ("from-pstn", "_41655503XX", "iax2:plain/{number}"),
    ("from-pstn", "_41655505XX", "iax2:coded/{number}"),
    ("from-hq", "_7.", "sip:hq/{number:1}"),
    ("from-hq", "_6.", "sip:secure/{number:1}"),
)
FAR_ROUTES = (
    ("from-hq", "_2.", "sip:secure/{number:1}"),
    ("from-hq", "_3.", "iax2:plain/{number:1}"),
    ("from-hq", "_4.", "iax2:coded/{number:1}"),
    ("from-near", "_X.", "sip:hq/{number}"),
)


class Way(Enum):
    """A kind of call through near: what a telephone or the exchange dials, who calls, and how far's name is there."""

    SIP_LINE = "9{serial:03}5550106"
    LINE_SIP = "41655501{serial:02}"
    SIP_SIP = "74165559{serial:03}"
    SRTP_LINE = "29{serial:03}5550106"
    LINE_SRTP = "41655502{serial:02}"
    SIP_SRTP = "64165558{serial:03}"
    IAX_LINE = "39{serial:03}5550106"
    LINE_IAX = "41655503{serial:02}"
    CODED_LINE = "49{serial:03}5550106"
    LINE_CODED = "41655505{serial:02}"


OVER_FAR_IN = frozenset({Way.SRTP_LINE, Way.IAX_LINE, Way.CODED_LINE})
OVER_FAR_OUT = frozenset({Way.LINE_SRTP, Way.SIP_SRTP, Way.LINE_IAX, Way.LINE_CODED})
BY_LINE = frozenset({Way.LINE_SIP, Way.LINE_SRTP, Way.LINE_IAX, Way.LINE_CODED})
TO_LINE = frozenset({Way.SIP_LINE, Way.SRTP_LINE, Way.IAX_LINE, Way.CODED_LINE})
ENCRYPTED = frozenset({Way.SRTP_LINE, Way.LINE_SRTP, Way.SIP_SRTP, Way.CODED_LINE, Way.LINE_CODED})


@dataclass(slots=True)
class Standing:
    """A call: what near was told to call, the telephones at its ends, and its number at the exchange."""

    way: Way
    called: str
    caller: LegScript | None = None
    callee: LegScript | None = None
    line: int = -1

    @property
    def told_far(self) -> str | None:
        """What far was told to call; None if the call is none of far's."""
        if self.way in OVER_FAR_IN:
            return self.way.value[0] + self.called
        if self.way in OVER_FAR_OUT:
            return self.called if self.way in BY_LINE else self.called[1:]
        return None

    @property
    def stream(self) -> int:
        """One of its telephones."""
        script = self.caller or self.callee
        assert script is not None
        return _stream(script)


def _routes(routes: tuple[tuple[str, str, str], ...]) -> str:
    return "".join(ROUTE.format(context=context, match=match, to=to) for context, match, to in routes)


class ToneSites:
    """Both gateways, the exchange of near, and the telephones; ``settings`` are more of near's."""

    def __init__(self, directory: Path, files: Certificates, **settings: Any) -> None:
        iax_ports, tls_ports = (free_port(), free_port()), (free_port(), free_port())
        products: list[Product] = []
        for number in (0, 1):
            place = directory / ("far" if number else "near")
            place.mkdir(parents=True, exist_ok=True)
            extra = TRUNKS.format(
                iax_port=iax_ports[number],
                far_iax_port=iax_ports[1 - number],
                far_tls_port=tls_ports[1 - number],
                secret=SECRET,
                context="from-near" if number else "from-hq",
            ) + _routes(FAR_ROUTES if number else NEAR_ROUTES)
            more = {} if number else dict(settings)
            products.append(
                Product(
                    place,
                    extra=extra + str(more.pop("extra", "")),
                    listen=[f"tls:127.0.0.1:{tls_ports[number]}"],
                    sip=files.sip,
                    number=number + 1,
                    grace=round(PATIENCE),
                    exchange=not number,
                    far_port=products[0].far_port if number else None,
                    **more,
                )
            )
        self.near, self.far = products
        self.tls_ports = tls_ports
        self.calls: list[Standing] = []
        self.telephones: Telephones
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            program = await stack.enter_async_context(await ToneEnds.start())
            peers = (trunk(self.near.sip_port, name="near"), trunk(self.far.sip_port, name="far"))
            self.telephones = Telephones(program, port=self.near.far_port, peers=peers)
            await stack.enter_async_context(self.telephones)
            await stack.enter_async_context(self.near)
            await stack.enter_async_context(self.far)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._stack.__aexit__(kind, error, trace)

    # -- calls --

    async def call(self, way: Way) -> Standing:
        """Make a call and wait until both its ends have it."""
        serial = len(self.calls)
        dialled = way.value.format(serial=serial)
        call = Standing(way, dialled[1:] if way in OVER_FAR_IN else dialled)
        self.calls.append(call)
        if way in BY_LINE:
            request = {"called": dialled, "hold": -1, "voice": "echo"}
            call.line = (await self.near.exchange.command("call", **request))["call"]
        else:
            call.caller = self.telephones.place("far" if way in OVER_FAR_IN else "near", dialled)
        if way not in TO_LINE:
            call.callee = await self.telephones.offered()
        await self._until_answered(call)
        if call.caller is not None and call.callee is not None:
            self.telephones.tones.pair(_stream(call.caller), _stream(call.callee))
        if call.told_far is not None:
            self.telephones.chained |= {_stream(each) for each in (call.caller, call.callee) if each is not None}
        return call

    async def _until_answered(self, call: Standing) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            status = await self.near.gateway.command("status")
            found = [each for each in status["calls"] if each["called"] == call.called]
            if found and found[0]["state"] == "answered":
                break
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"{call} is not answered: {found}\n{self.log}")
            await asyncio.sleep(POLL_SECONDS)
        if call.way in TO_LINE:
            calls = (await self.near.exchange.command("calls"))["calls"]
            call.line = next(each["call"] for each in calls if each["called"] == call.called[1:])

    async def hang_up(self, call: Standing, who: str) -> None:
        """``caller`` or ``called`` ends the call."""
        if (who == "caller") is (call.way in BY_LINE) and call.line >= 0:
            await self.near.exchange.command("hangup", call=call.line)
            return
        script = call.caller if who == "caller" else call.callee
        assert script is not None
        self.telephones.release(script)

    @property
    def voices(self) -> int:
        """How many telephones there are."""
        return sum((call.caller is not None) + (call.callee is not None) for call in self.calls)

    @property
    def voice_pids(self) -> list[int]:
        """All that voice goes through."""
        return [*self.near.voice_pids, *self.far.voice_pids]

    async def until_idle(self) -> None:
        """Wait until neither gateway has anything of a call."""
        await self.near.until_idle()
        await self.far.until(
            lambda status: not status["calls"] and not status["engine"]["streams"] and not status["sip"]["legs"],
            "an idle far gateway",
        )

    @property
    def log(self) -> str:
        """The end of what both gateways logged."""
        return f"near: {self.near.log[-3000:]}\nfar: {self.far.log[-3000:]}"


def _stream(script: LegScript) -> int:
    leg: Leg | None = script.leg
    assert leg is not None and leg.stream is not None
    return leg.stream
