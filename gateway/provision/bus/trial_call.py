"""A call that an operator has the gateway place to see whether a number can be had and is heard both ways.

It begins where a phone's would, in a context of the dial plan, and plays the tone of a milliwatt; what comes back is
measured by the media engine. Nobody's telephone number is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Conveyed, Leg, Listener, Offered, Released, Setup, TransferStep
from gateway.media.api import Failure, Opened, Statistics
from gateway.media.tones import MILLIWATT
from gateway.provision.bus.errors import not_possible
from gateway.provision.bus.model import Progress
from gateway.routing.dialplan import Route
from gateway.routing.emergency import emergency_numbers

if TYPE_CHECKING:
    from gateway.daemon import Daemon

SOURCE = "test call"
ANSWER_SECONDS = 60.0
LOOK_SECONDS = 0.25
HEARD = -60.0
"""dBm0 above which something is heard."""
NEAR = 25.0
"""Hertz by which the tone that comes back may differ from the one that is sent."""

StatisticsOf = Callable[[int | None], Awaitable[Statistics | None]]


class TrialLeg:
    """The caller's side: a tone for a voice, and ears for nothing but how the call goes."""

    def __init__(self, stream: int, changed: asyncio.Event) -> None:
        self.listener: Listener | None = None
        self.name = SOURCE
        self.technology = "test"
        self.source = SOURCE
        self.stream: int | None = stream
        self.rtptimeout = 0
        self.alerting = False
        self.answered = False
        self.released: Cause | None = None
        self.over = False
        self._changed = changed

    def place(self, setup: Setup, now: int) -> None:
        """It is never called."""

    def proceed(self, now: int) -> None:
        """Nothing to tell."""

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:
        """Nothing to tell."""

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """It rings."""
        self.alerting = True
        self._changed.set()

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        """It was answered."""
        self.answered = True
        self._changed.set()

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """Nobody sends any."""

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        """Not by signalling."""
        return False

    def hold(self, now: int) -> None:
        """Nobody to tell."""

    def resume(self, now: int) -> None:
        """Nobody to tell."""

    def identify(self, connected: Party, now: int) -> None:
        """Nobody to tell."""

    def notify(self, description: int, now: int) -> None:
        """Nobody to tell."""

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:
        """It asks for none."""

    def begin_with(self, caller: Leg) -> None:
        """It is the caller."""

    def join(self, other: Leg | None, now: int) -> None:
        """Its voice is here."""

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """The call is over; that it is gone is said when the caller of this is done."""
        if self.released is None:
            self.released = cause
            self._changed.set()

    def say_released(self, now: int) -> None:
        """The last word that it owes its call."""
        listener, self.over = self.listener, True
        if listener is not None and self.released is not None:
            listener.on_leg(self, Released(self.released, ours=True), now)

    def record(self) -> dict[str, object]:
        """For the call record."""
        return {"technology": self.technology}


class TrialCall:
    """One such call over ``daemon``."""

    def __init__(self, daemon: Daemon, statistics: StatisticsOf) -> None:
        self._daemon = daemon
        self._statistics = statistics
        self._changed = asyncio.Event()

    async def run(self, context: str, number: str, seconds: int, tell: Progress) -> Mapping[str, str]:
        """Call, listen for ``seconds``, and hang up; what came of it. ServiceError if it cannot be begun."""
        daemon = self._daemon
        routing = daemon.switch.dial_plan.route(context, number)
        helpers = emergency_numbers(daemon.configuration.gateway.country)
        if number in helpers or (isinstance(routing, Route) and routing.emergency):
            raise not_possible(f"{number} is an emergency number; nobody calls it to try")
        if not daemon.switch.engine_up:
            raise not_possible("the media engine does not answer")
        failed: list[str] = []

        def opened(result: Opened | Failure) -> None:
            if isinstance(result, Failure):
                failed.append(result.text)

        stream = daemon.media.open_tone(MILLIWATT, SOURCE, opened)
        leg = TrialLeg(stream, self._changed)
        begun = daemon.clock()
        offered = Offered(Setup(Number(number), Party(name="Test call")), context, SOURCE, note="placed by an operator")
        identity = daemon.switch.offer(leg, offered, begun)
        daemon.drain()
        try:
            tell(0.0, "calling")
            await self._until_answered(leg, tell)
            result = {
                "call": identity,
                "answered": "yes" if leg.answered else "no",
                "seconds_to_answer": f"{(daemon.clock() - begun) / 1e6:.2f}" if leg.answered else "",
                "two_way": "no",
            }
            if leg.answered and leg.released is None:
                result |= await self._listen(identity, leg, seconds, tell)
            if leg.released is not None:
                result["cause"] = f"{int(leg.released)} {leg.released.name.lower().replace('_', ' ')}"
            if failed:
                result["error"] = failed[0]
            return result
        finally:
            await self._end(identity, leg)
            daemon.media.close(stream)
            daemon.drain()

    async def _wait(self, seconds: float) -> bool:
        """Whether something changed within ``seconds``."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _until_answered(self, leg: TrialLeg, tell: Progress) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_SECONDS
        while not leg.answered and leg.released is None and loop.time() < until:
            await self._wait(until - loop.time())
            if leg.alerting and not leg.answered:
                tell(0.1, "it rings")

    async def _listen(self, identity: str, leg: TrialLeg, seconds: int, tell: Progress) -> dict[str, str]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first: Statistics | None = None
        last: Statistics | None = None
        loudest, frequency = -99.0, 0.0
        while leg.released is None and loop.time() < begun + seconds:
            tell(0.2 + 0.8 * (loop.time() - begun) / seconds, "listening")
            await self._wait(LOOK_SECONDS)
            last = await self._statistics(self._listened(identity, leg)) or last
            first = first or last
            if last is not None and last.receive_level > loudest:
                loudest, frequency = last.receive_level, last.frequency
        if first is None or last is None:
            return {"heard": "no", "error": "there is no voice to measure"}
        came = last.packets_received - first.packets_received
        went = last.packets_sent - first.packets_sent
        heard = loudest > HEARD and came > 0
        inside = self._listened(identity, leg) == leg.stream
        own = abs(frequency - MILLIWATT.steps[0].frequencies[0]) < NEAR
        result = {
            "heard": "yes" if heard else "no",
            "heard_level": f"{loudest:.1f} dBm0",
            "heard_frequency": f"{frequency:.0f} Hz",
            "own_tone_came_back": "yes" if heard and own else "no",
            "packets_received": str(came),
            "packets_sent": str(went),
            "lost": str(last.lost - first.lost),
            "mos": f"{last.mos:.1f}",
            # That ours arrives is certain where our tone comes back; else it is what can be known from here.
            "two_way": "yes" if heard and (own or (went > 0 and last.send_level > HEARD)) else "no",
        }
        if inside and not heard:
            result["error"] = "it leads to the gateway itself, whose own voice is not measured"
        return result

    def _listened(self, identity: str, leg: TrialLeg) -> int | None:
        """The stream of the far end's voice; our own where a destination is in the gateway itself."""
        call = self._daemon.switch.calls.get(identity)
        if call is None:
            return None
        return leg.stream if call.outgoing is None else call.outgoing.stream

    async def _end(self, identity: str, leg: TrialLeg) -> None:
        daemon = self._daemon
        daemon.switch.hang_up(identity, daemon.clock())
        daemon.drain()
        if leg.released is not None and not leg.over:
            leg.say_released(daemon.clock())
            daemon.drain()
