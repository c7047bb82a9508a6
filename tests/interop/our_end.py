"""What our SIP endpoint and our PRI trunk have in common as parties of a test: calls that come in, and calls placed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Leg, Offered, Setup
from tests.interop.core_driver import Core, CoreDriver
from tests.interop.echo_media import EchoMedia
from tests.interop.leg_script import LegScript
from tests.interop.program import PATIENCE, PeerError

POLL_SECONDS = 0.02


class OurEnd:
    """``plan`` says by the first digits what becomes of calls that come in; else a test acts."""

    def __init__(self, plan: Mapping[str, Callable[[Any, Leg], None]] | None) -> None:
        self.plan = plan or {}
        self.media = self._media()
        self.sent: list[bytes] = []
        self.scripts: list[LegScript] = []
        self._offers: asyncio.Queue[LegScript] = asyncio.Queue()
        self._driver: CoreDriver

    def _media(self) -> EchoMedia:
        return EchoMedia(self._after)

    def _drive(self, core: Core, take: Callable[[Any], None]) -> None:
        self._driver = CoreDriver(core, take)

    def _after(self) -> None:
        self._driver.drain()

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> LegScript:
        script = LegScript(leg.name).offer(leg, offered, now)
        self.scripts.append(script)
        self._offers.put_nowait(script)
        digits = offered.setup.called.digits
        for prefix in sorted(self.plan, key=len, reverse=True):
            if digits.startswith(prefix):
                asyncio.get_running_loop().call_soon(self.plan[prefix], self, leg)
                break
        return script

    # -- for tests --

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """``function(*arguments, now)`` on the core or one of its legs, and drain."""
        return self._driver.call(function, *arguments)

    def _place(self, leg: Leg | Cause, called: str | Number, setup: dict[str, Any]) -> LegScript:
        if isinstance(leg, Cause):
            raise PeerError(f"no leg: {leg!r}")
        script = LegScript(leg.name)
        script.leg = leg
        leg.listener = script
        number = called if isinstance(called, Number) else Number(called)
        self.call(leg.place, Setup(number, **setup))
        self.scripts.append(script)
        return script

    def release(self, script: LegScript, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> None:
        """Release the leg of ``script``."""
        assert script.leg is not None
        self.call(script.leg.release, cause)

    async def offered(self, *, within: float = PATIENCE) -> LegScript:
        """The next call that comes in."""
        try:
            return await asyncio.wait_for(self._offers.get(), within)
        except TimeoutError:
            raise PeerError(f"no call came in within {within} s") from None

    async def until(self, done: Callable[[], bool], what: str = "as it should be", *, within: float = PATIENCE) -> None:
        """Wait until ``done()``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not done():
            if loop.time() > deadline:
                raise PeerError(f"not {what} within {within} s: {self._state()}")
            await asyncio.sleep(POLL_SECONDS)

    def _state(self) -> str:
        """What a failure says."""
        return ""
