"""Our PRI trunk at one end of a real virtual span, with test media: as the gateway (connecting) or the exchange."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from gateway.core import MILLISECOND
from gateway.identity import Number
from gateway.leg import Leg
from gateway.pri.channels import ChannelState, Hunt, Line
from gateway.pri.lapd import LapdTimer, Side, Transmit
from gateway.pri.span.layer1 import CountersRead, Layer1Timer, LineChanged
from gateway.pri.span.virtual import VirtualSpan, VirtualSpanServer
from gateway.pri.trunk import PriSettings, PriTrunk
from tests.interop.leg_script import LegScript
from tests.interop.our_end import OurEnd
from tests.interop.program import PATIENCE

Behaviour = Callable[["OurTrunk", Leg], None]
POLL_SECONDS = 0.02


def answer(trunk: OurTrunk, leg: Leg) -> None:
    """Behaviour of a called party that rings and answers at once."""
    trunk.call(leg.proceed)
    trunk.call(leg.alert, False)
    trunk.call(leg.answer, None)


class OurTrunk(OurEnd):
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
        super().__init__(plan)
        self.outputs: list[object] = []
        self.trunk = PriTrunk(
            PriSettings(
                "pstn",
                lambda timeslot: str(directory / str(timeslot)),
                line=Line(line),
                side=side,
                switch_type=switch,
                # What is lost is soon sent again; a far end that the machine holds up for seconds is not given up.
                **{"lapd_timers": {LapdTimer.T200: 300 * MILLISECOND, LapdTimer.N200: 20}, **settings},
            ),
            self.media,
            random.Random(seed),
            self._on_offer,
        )
        self._drive(self.trunk, self._take)
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

    def _take(self, output: object) -> None:
        if isinstance(output, Transmit):
            self.sent.append(output.frame)
            self.span.send_frame(output.frame)
        else:
            self.outputs.append(output)

    # -- for tests --

    def place(self, called: str | Number, *, hunt: Hunt = Hunt.ASCENDING, **setup: Any) -> LegScript:
        """Start a call; PeerError if the trunk has no leg for it."""
        return self._place(self.call(self.trunk.new_leg, hunt), called, setup)

    def _state(self) -> str:
        return f"{list(self.trunk.channels)} {self.outputs[-5:]}"

    async def up(self, *, within: float = PATIENCE) -> None:
        """Wait until the data link is up and no channel waits for the end of a restart or an alarm."""
        await self.until(lambda: self.trunk.up and all(not c.block for c in self.trunk.channels), "up", within=within)

    @property
    def idle(self) -> bool:
        """Whether no call, channel or stream is left."""
        channels = all(channel.state is ChannelState.IDLE for channel in self.trunk.channels)
        return not self.trunk.legs and channels and not self.media.open_streams

    async def cleared(self, *, within: float = PATIENCE) -> None:
        """Wait until nothing of any call is left."""
        await self.until(lambda: self.idle, "idle", within=within)
