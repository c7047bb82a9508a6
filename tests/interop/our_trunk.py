"""Our PRI trunk at one end of a real virtual span, with test media: as the gateway (connecting) or the exchange."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import Number
from gateway.leg import Leg, Offered, Setup
from gateway.pri.channels import ChannelState, Hunt, Line
from gateway.pri.lapd import LapdTimer, Side, Transmit
from gateway.pri.leg import PriLeg
from gateway.pri.span.layer1 import CountersRead, Layer1Timer, LineChanged
from gateway.pri.span.virtual import VirtualSpan, VirtualSpanServer
from gateway.pri.trunk import PriSettings, PriTrunk
from tests.interop.core_driver import CoreDriver
from tests.interop.echo_media import EchoMedia
from tests.interop.leg_script import LegScript
from tests.interop.program import PeerError

Behaviour = Callable[["OurTrunk", Leg], None]
POLL_SECONDS = 0.02


def answer(trunk: OurTrunk, leg: Leg) -> None:
    """Behaviour of a called party that rings and answers at once."""
    trunk.call(leg.proceed)
    trunk.call(leg.alert, False)
    trunk.call(leg.answer, None)


class OurTrunk:
    """A running PriTrunk. ``plan`` says by the first digits what becomes of calls that come in; else a test acts."""

    def __init__(
        self,
        directory: Path,
        *,
        side: Side = Side.USER,
        listen: bool = False,
        switch: str = "euroisdn",
        line: str = "e1",
        plan: dict[str, Behaviour] | None = None,
        seed: int = 1,
        **settings: Any,
    ) -> None:
        self.side = side
        self.plan = plan or {}
        self.media = EchoMedia(self._after_reply)
        self.sent: list[bytes] = []
        self.outputs: list[object] = []
        self._offers: asyncio.Queue[LegScript] = asyncio.Queue()
        self.trunk = PriTrunk(
            PriSettings(
                "pstn",
                lambda timeslot: str(directory / str(timeslot)),
                line=Line(line),
                side=side,
                switch_type=switch,
                **{"lapd_timers": {LapdTimer.T200: 300 * MILLISECOND}, **settings},
            ),
            self.media,
            random.Random(seed),
            self._on_offer,
        )
        self._driver = CoreDriver(self.trunk, self._take)
        self.span = (VirtualSpanServer if listen else VirtualSpan)(
            directory, Line(line), self._frame, self._line, timers={Layer1Timer.CLEAR: 0}
        )

    async def __aenter__(self) -> OurTrunk:
        self.span.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away as a program that was killed does."""
        self._driver.close()
        self.span.close()
        self.media.close_all()

    def _frame(self, frame: bytes, now: int) -> None:
        self.trunk.receive_frame(frame, now)
        self._driver.drain()

    def _line(self, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            self.trunk.line_state(event.alarm, now)
            self._driver.drain()

    def _after_reply(self) -> None:
        self._driver.drain()

    def _take(self, output: object) -> None:
        if isinstance(output, Transmit):
            self.sent.append(output.frame)
            self.span.send_frame(output.frame)
        else:
            self.outputs.append(output)

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> LegScript:
        script = LegScript(leg.name).offer(leg, offered, now)
        self._offers.put_nowait(script)
        digits = offered.setup.called.digits
        for prefix in sorted(self.plan, key=len, reverse=True):
            if digits.startswith(prefix):
                asyncio.get_running_loop().call_soon(self.plan[prefix], self, leg)
                break
        return script

    # -- for tests --

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """``function(*arguments, now)`` on the trunk or one of its legs, and drain."""
        return self._driver.call(function, *arguments)

    def place(self, called: str | Number, *, hunt: Hunt = Hunt.ASCENDING, **setup: Any) -> LegScript:
        """Start a call; PeerError if the trunk has no leg for it."""
        leg = self.call(self.trunk.new_leg, hunt)
        if isinstance(leg, Cause):
            raise PeerError(f"no leg: {leg!r}")
        assert isinstance(leg, PriLeg)
        script = LegScript(leg.name)
        script.leg = leg
        leg.listener = script
        number = called if isinstance(called, Number) else Number(called)
        self.call(leg.place, Setup(number, **setup))
        return script

    def release(self, script: LegScript, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> None:
        """Release the leg of ``script``."""
        assert script.leg is not None
        self.call(script.leg.release, cause)

    async def offered(self, *, within: float = 5.0) -> LegScript:
        """The next call that comes in."""
        try:
            return await asyncio.wait_for(self._offers.get(), within)
        except TimeoutError:
            raise PeerError(f"no call came in within {within} s") from None

    async def until(self, done: Callable[[], bool], what: str, *, within: float = 5.0) -> None:
        """Wait until ``done()``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not done():
            if loop.time() > deadline:
                raise PeerError(f"not {what} within {within} s: {list(self.trunk.channels)} {self.outputs[-5:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def up(self, *, within: float = 8.0) -> None:
        """Wait until the data link is up and no channel waits for the end of a restart or an alarm."""
        await self.until(lambda: self.trunk.up and all(not c.block for c in self.trunk.channels), "up", within=within)

    @property
    def idle(self) -> bool:
        """Whether no call, channel or stream is left."""
        channels = all(channel.state is ChannelState.IDLE for channel in self.trunk.channels)
        return not self.trunk.legs and channels and not self.media.open_streams

    async def cleared(self, *, within: float = 6.0) -> None:
        """Wait until nothing of any call is left."""
        await self.until(lambda: self.idle, "idle", within=within)
