"""An endpoint on real loopback sockets, for tests of the transport."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from gateway.leg import Leg, Listener, Offered, Setup
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.handshakes import Handshakes
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.peers import PeerSettings, SipSettings
from gateway.voip.sip.tls import Tls
from gateway.voip.sip.transport import SipTransport, local_address_for, parse_listen
from tests.unit.voip.sip.sip_pair import FakeMedia, Notes


class Node:
    """An endpoint on real sockets."""

    def __init__(self) -> None:
        self.media = FakeMedia()
        self.offers: list[tuple[SipLeg, Notes]] = []
        self.setups: list[Setup] = []
        self.changed = asyncio.Event()
        self.endpoint: SipEndpoint
        self.transport: SipTransport
        self.listeners: tuple[Socket, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, *listen: str, peers: tuple[PeerSettings, ...] = (), tls: Tls | None = None) -> None:
        listeners = tuple(parse_listen(text) for text in listen)
        known = {peer.host for peer in peers}
        self.transport = SipTransport(
            listeners, self.clock, self.drain, tls=tls, handshakes=Handshakes(known.__contains__)
        )
        self.listeners = await self.transport.start()
        settings = SipSettings(listeners=self.listeners, peers=peers)
        self.endpoint = SipEndpoint(settings, self.media, random.Random(1), self._on_offer, local_for=local_address_for)
        await self.transport.attach(self.endpoint)

    @staticmethod
    def clock() -> int:
        return time.monotonic_ns() // 1000

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        assert isinstance(leg, SipLeg)
        notes = Notes()
        self.offers.append((leg, notes))
        self.setups.append(offered.setup)
        return notes

    def drain(self) -> None:
        while (output := self.endpoint.poll()) is not None:
            if not isinstance(output, StoreBindings):
                self.transport.perform(output)
        if self._timer is not None:
            self._timer.cancel()
        due = self.endpoint.next_timer()
        if due is not None:
            delay = max(0, due - self.clock()) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)
        self.changed.set()

    def _tick(self) -> None:
        self.endpoint.handle_timer(self.clock())
        self.drain()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def close(self) -> None:
        self.transport.close()
        if self._timer is not None:
            self._timer.cancel()
        # Aborted connections report on the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())
