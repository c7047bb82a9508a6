"""The simulated exchange, sans-I/O: one trunk in the network's role, its subscribers, and calls it makes itself.

The owner hands in D-channel frames, layer-1 alarms and time, and drains ``poll()``.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from gateway.cause import Cause
from gateway.core import TimerQueue
from gateway.identity import Number, Party, Redirection
from gateway.leg import Leg, Listener, Offered, Setup
from gateway.media.api import Media, Tone
from gateway.media.tones import CountryTones, tones_for
from gateway.pri.channels import Hunt
from gateway.pri.exchange.line import Line, LineTimer, Report
from gateway.pri.exchange.plan import NumberPlan, Voice
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import PriTrunk, TrunkOutput

MAX_LINES = 100
DEFAULT_CALLER = Party(Number("4165550199"), "EXCHANGE")


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Something happened to a call: ``moment`` is offered, placed, alerting, answered or ended."""

    moment: str
    report: Report
    now: int


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call the exchange is to make. ``hold`` is milliseconds after answer until it hangs up; None is never.

    ``overlap`` sends the number digit by digit; ``measure`` listens to what comes back.
    """

    called: str
    caller: Party = DEFAULT_CALLER
    voice: Voice = Voice.MILLIWATT
    hold: int | None = 5_000
    redirection: Redirection | None = None
    overlap: bool = False
    measure: bool = True


class Voices:
    """What the exchange of a country sounds like."""

    def __init__(self, country: str) -> None:
        tones: CountryTones = tones_for(country)
        self.ringback: Tone = tones.ringback
        self.announcement: Tone = tones.special_information


class Exchange:
    """The telephone company's end of one span."""

    def __init__(
        self,
        settings: PriSettings,
        media: Media,
        rng: random.Random,
        plan: NumberPlan | None = None,
        country: str = "us",
    ) -> None:
        self.media = media
        self.plan = plan or NumberPlan()
        self.trunk = PriTrunk(settings, media, rng, self._offered)
        self.lines: dict[int, Line] = {}
        self._timers: TimerQueue[LineTimer] = TimerQueue()
        self._voices = Voices(country)
        self._serial = 0
        self._events: deque[CallEvent] = deque()
        self._now = 0

    # -- what the owner calls --

    def receive_frame(self, frame: bytes, now: int) -> None:
        """A frame came in on the D channel."""
        self._now = now
        self.trunk.receive_frame(frame, now)

    def line_state(self, alarm: Alarm, now: int) -> None:
        """Layer 1 changed."""
        self._now = now
        self.trunk.line_state(alarm, now)

    def handle_timer(self, now: int) -> None:
        """Run what is due."""
        self._now = now
        self.trunk.handle_timer(now)
        for call, moment in self._timers.expired(now):
            line = self.lines.get(call)
            if line is not None:
                line.handle_timer(moment, now)

    def next_timer(self) -> int | None:
        """The earliest deadline."""
        own, trunk = self._timers.next_timer(), self.trunk.next_timer()
        if own is None or trunk is None:
            return own if trunk is None else trunk
        return min(own, trunk)

    def poll(self) -> TrunkOutput | CallEvent | None:
        """The next frame to send or thing to tell; None when drained."""
        output = self.trunk.poll()
        if output is not None:
            return output
        return self._events.popleft() if self._events else None

    # -- commands --

    def call(self, request: CallRequest, now: int) -> Report | Cause:
        """Make a call to the gateway; a Cause says why it cannot even begin."""
        self._now = now
        if len(self.lines) >= MAX_LINES:
            return Cause.SWITCHING_EQUIPMENT_CONGESTION
        leg = self.trunk.new_leg(Hunt.DESCENDING, now)
        if isinstance(leg, Cause):
            return leg
        setup = Setup(
            called=Number("" if request.overlap else request.called),
            caller=request.caller,
            redirection=request.redirection,
            complete=not request.overlap,
        )
        line = self._new_line("to gateway", setup, now)
        line.report.called = request.called
        line.measures = request.measure
        self._tell(line, "placed")
        line.calling(leg, setup, request.voice, request.hold, now)
        if request.overlap:
            for digit in request.called:
                leg.digits(digit, False, now)
        return line.report

    def hang_up(self, call: int, now: int, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> bool:
        """End a call; False if there is none of that number."""
        self._now = now
        line = self.lines.get(call)
        if line is None:
            return False
        line.hang_up(now, cause)
        return True

    # -- inside --

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        self._now = now
        if len(self.lines) >= MAX_LINES:
            leg.release(Cause.SWITCHING_EQUIPMENT_CONGESTION, now)
            return None
        line = self._new_line("from gateway", offered.setup, now)
        leg.listener = line
        self._tell(line, "offered")
        line.called(leg, offered.setup, self.plan, now)
        return line

    def _new_line(self, direction: str, setup: Setup, now: int) -> Line:
        self._serial += 1
        number = setup.caller.number
        report = Report(
            self._serial,
            direction,
            setup.called.digits,
            number.digits if number else "",
            "",
            now,
            caller_party=setup.caller,
            redirection=setup.redirection,
        )
        line = Line(self._serial, self.media, self._timers, self._voices, report, self._ended, self._tell)
        self.lines[self._serial] = line
        return line

    def _tell(self, line: Line, moment: str) -> None:
        self._events.append(CallEvent(moment, line.report, self._now))

    def _ended(self, line: Line) -> None:
        self.lines.pop(line.call, None)
        self._tell(line, "ended")
