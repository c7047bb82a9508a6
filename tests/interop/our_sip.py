"""Our SIP endpoint on loopback sockets through its own asyncio transport, with test media and scripted calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Leg
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import TCP, UDP, Send
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.peers import PeerSettings, SipSettings
from gateway.voip.sip.resolver import Resolver
from gateway.voip.sip.transport import SipTransport
from tests.interop.core_driver import CoreDriver
from tests.interop.leg_script import LegScript
from tests.interop.our_end import OurEnd
from tests.interop.program import PATIENCE, free_port

Behaviour = Callable[["OurSip", Leg], None]
POLL_SECONDS = 0.02
RING_SECONDS = 0.2


def answer(sip: OurSip, leg: Leg) -> None:
    """Behaviour of a called party that rings and answers at once."""
    sip.call(leg.alert, False)
    sip.call(leg.answer, None)


def answer_later(sip: OurSip, leg: Leg) -> None:
    """Behaviour of a called party that rings for a while before it answers."""
    sip.call(leg.alert, False)
    asyncio.get_running_loop().call_later(RING_SECONDS, sip.call, leg.answer, None)


def answer_early(sip: OurSip, leg: Leg) -> None:
    """Behaviour of a called party with an announcement before it rings and answers."""
    sip.call(leg.progress, True)
    sip.call(leg.alert, True)
    sip.call(leg.answer, None)


def ring(sip: OurSip, leg: Leg) -> None:
    """Behaviour of a called party that does not answer."""
    sip.call(leg.alert, False)


def refuse(cause: Cause) -> Behaviour:
    """Behaviour of a called party that cannot be had."""

    def behave(sip: OurSip, leg: Leg) -> None:
        sip.call(leg.release, cause)

    return behave


class OurSip(OurEnd):
    """A running SipEndpoint at 127.0.0.1:``port`` (UDP and TCP). ``peer`` is the trunk that calls go to."""

    def __init__(
        self,
        *,
        peers: tuple[PeerSettings, ...] = (),
        plan: dict[str, Behaviour] | None = None,
        seed: int = 1,
        resolver: Resolver | None = None,
        port: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(plan)
        self.port = port or free_port()
        listeners = (Listener(UDP, "127.0.0.1", self.port), Listener(TCP, "127.0.0.1", self.port))
        self.transport = SipTransport(listeners, CoreDriver.now, self._after, resolver=resolver)
        self.endpoint = SipEndpoint(
            SipSettings(listeners=listeners, peers=peers, **settings), self.media, random.Random(seed), self._on_offer
        )
        self._drive(self.endpoint, self._take)

    async def __aenter__(self) -> Self:
        await self.transport.start()
        await self.transport.attach(self.endpoint)
        # What it does of its own accord.
        self._driver.drain()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._driver.close()
        self.transport.close()
        self.media.close_all()
        await asyncio.sleep(0)  # connections that were aborted still have to be told

    def _take(self, output: Any) -> None:
        if isinstance(output, Send):
            self.sent.append(output.data)
        self.transport.perform(output)

    # -- for tests --

    def place(self, peer: str, called: str | Number, **setup: Any) -> LegScript:
        """Start a call to ``peer``; PeerError if there is no leg for it."""
        return self._place(self.call(self.endpoint.new_leg, peer), called, setup)

    async def cleared(self, *, within: float = PATIENCE) -> None:
        """Wait until no leg, dialog or stream is left (transactions may wait out their timers)."""
        await self.until(lambda: not any(self._left()), "cleared", within=within)

    def _left(self) -> tuple[object, ...]:
        return self.endpoint.legs, self.endpoint.dialogs, self.media.open_streams

    def _state(self) -> str:
        return str(self._left())


def trunk(port: int, *, name: str = "peer", transport: str = UDP, **settings: Any) -> PeerSettings:
    """A SIP trunk at a loopback port."""
    return replace(PeerSettings(name, "127.0.0.1", port, transport, context="from-peer"), **settings)


def sip_directory(path: Path) -> Path:
    """A directory below ``path`` for the files of SIP peers."""
    directory = path / "sip"
    directory.mkdir()
    return directory
