"""The telephone company at the far end of one span: the product's own simulated exchange, with scripted subscribers."""

from __future__ import annotations

import random
from dataclasses import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import Number, Party
from gateway.leg import Leg
from gateway.pri.exchange.core import CallEvent, CallRequest, Exchange
from gateway.pri.exchange.plan import UNKNOWN, NumberPlan, Subscriber, Voice
from gateway.pri.lapd import Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import ChannelFreed
from tests.simulation.story import BOREDOM, DESK, EMERGENCY, Answering, Script, Side, Story
from tests.simulation.voice import DirectMedia
from tests.simulation.world import DLine, LineEnd, Node, World


class ScriptedPlan(NumberPlan):
    """A number plan whose subscribers do what the call's script says."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story

    def lookup(self, digits: str) -> Subscriber:
        if digits == EMERGENCY:
            return _subscriber(DESK)
        script = self._story.by_called(digits)
        return UNKNOWN if script is None else _subscriber(script.next_answer())

    def complete(self, digits: str) -> bool:
        return digits == EMERGENCY or self._story.by_called(digits) is not None


def _subscriber(answering: Answering) -> Subscriber:
    inband = answering.early is not None or answering.ring_inband
    release = answering.hold if answering.answer_after is not None else answering.refuse_after
    if release is None:
        release = BOREDOM
    return Subscriber(
        answering.name,
        alert_after=None if answering.early is not None else answering.ring_after,
        answer_after=answering.answer_after,
        release_after=release,
        cause=answering.cause,
        before=Voice.RINGBACK if inband else Voice.NOTHING,
        after=Voice.MILLIWATT,
        progress_inband=inband,
    )


class ExchangeNode(Node, LineEnd):
    """One exchange with its end of one line."""

    def __init__(self, world: World, settings: PriSettings, line: DLine, story: Story) -> None:
        super().__init__(world, f"exchange-{settings.name}")
        self.settings = settings
        self.line = line
        self.story = story
        self.restarts = 0
        self.running = True
        self.freed: list[ChannelFreed] = []
        self._begin()
        line.attach(1, self)

    def _begin(self) -> None:
        self.media = DirectMedia()
        self.plan = ScriptedPlan(self.story)
        self.exchange = Exchange(self.settings, self.media, random.Random(self.world.rng.getrandbits(64)), self.plan)
        self.sides: dict[int, tuple[Script, Side]] = {}

    def stop(self) -> None:
        """The exchange fails: the line's far end is dead."""
        self.world.note(self.name, "down")
        self.restarts += 1
        self.running = False
        for _, side in self.sides.values():
            side.lost = side.lost or side.ended is None
        self.line.attach(1, None)

    def start(self) -> None:
        """It comes back knowing nothing."""
        self.world.note(self.name, "up")
        self.running = True
        self._begin()
        self.line.attach(1, self)

    # -- line --

    def frame(self, data: bytes) -> None:
        self.exchange.receive_frame(data, self.world.now)
        self.settle()

    def alarm(self, alarm: Alarm) -> None:
        self.exchange.line_state(alarm, self.world.now)
        self.settle()

    # -- node --

    def drain(self) -> None:
        poll, send = self.exchange.poll, self.line.send
        while self.running:
            while (output := poll()) is not None:
                if isinstance(output, Transmit):
                    send(1, output.frame)
                elif isinstance(output, CallEvent):
                    self._on_call(output)
                elif isinstance(output, ChannelFreed):
                    self.freed.append(output)
            if not self.media.flush():
                break

    def next_deadline(self) -> int | None:
        return self.exchange.next_timer() if self.running else None

    def expire(self, now: int) -> None:
        self.exchange.handle_timer(now)

    # -- calls --

    def place(self, script: Script) -> None:
        """A subscriber calls the gateway."""
        now = self.world.now
        if not self.running:
            script.refused = Cause.NETWORK_OUT_OF_ORDER
            return
        request = CallRequest(
            script.called,
            Party(Number(script.calling), f"Caller {script.number}"),
            hold=script.hold,
            overlap=script.overlap,
            measure=False,
        )
        report = self.exchange.call(request, now)
        if isinstance(report, Cause):
            script.refused = report
            return
        line = self.exchange.lines[report.call]
        line.subscriber = replace(line.subscriber, cause=script.caller_cause)
        side = Side(self.name, "pri", None, now, line.leg)
        script.caller = side
        self.sides[report.call] = script, side
        self.world.after(script.patience * MILLISECOND, self._give_up, self.exchange, report.call)
        self.settle()

    def _acts(self, acts: tuple[tuple[int, str], ...], call: int) -> None:
        for milliseconds, what in acts:
            self.world.after(milliseconds * MILLISECOND, self._act, self.exchange, call, what)

    def _act(self, exchange: Exchange, call: int, what: str) -> None:
        line = exchange.lines.get(call)
        if exchange is not self.exchange or not self.running or line is None or line.leg is None:
            return
        leg: Leg = line.leg
        if what == "hold":
            leg.hold(self.world.now)
        elif what == "resume":
            leg.resume(self.world.now)
        elif what == "press" and call in self.sides:
            self.story.on_key(*self.sides[call])
        self.settle()

    def _give_up(self, exchange: Exchange, call: int) -> None:
        if exchange is not self.exchange or not self.running or call not in self.sides:
            return
        script, side = self.sides[call]
        if side.answered is None and side.ended is None:
            side.hung_up, side.hung_up_with = self.world.now, script.caller_cause
            exchange.hang_up(call, self.world.now, script.caller_cause)
            self.settle()

    def _on_call(self, event: CallEvent) -> None:
        report = event.report
        if event.moment == "offered":
            self._on_offered(event)
            return
        known = self.sides.get(report.call)
        if known is None:
            return
        script, side = known
        if event.moment == "alerting":
            side.ringing = side.ringing or event.now
            if side is script.caller:
                self.story.on_ringing(script)
        elif event.moment == "answered":
            side.answered = report.answered
            if side is script.caller:
                self._acts(script.acts, report.call)
                self.story.on_answered(script)
        elif event.moment == "ended":
            side.answered = report.answered
            side.ringing = report.alerting
            side.ended, side.cause, side.ours = report.ended, report.cause, report.released_by_us
            side.answering = next((each for each in script.answers if each.name == report.subscriber), None)
            if side.ours and side.hung_up is None:
                side.hung_up, side.hung_up_with = report.ended, report.cause
            del self.sides[report.call]
            self.world.note(self.name, "ended", f"{script.number} {report.cause.name if report.cause else ''}")

    def _on_offered(self, event: CallEvent) -> None:
        report = event.report
        script = self.story.by_caller(report.caller) or self.story.by_called(report.called)
        line = self.exchange.lines.get(report.call)
        if line is not None:
            line.measures = False
        if script is None:
            return
        side = Side(self.name, "pri", None, event.now, line.leg if line is not None else None)
        script.callees.append(side)
        self.sides[report.call] = script, side
