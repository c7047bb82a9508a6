"""The state of one primary rate line, sans-I/O: alarms with debounce, error counters and what they were in the past.

Speaks the ``line`` packets of a virtual span (docs/virtual-span.md). What the figures mean is in evidence.py.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

from gateway.core import MILLISECOND, SECOND, ProtocolError, TimerQueue, TimerRow, timer_durations

log = logging.getLogger(__name__)

MAX_PACKET = 4096
"""Octets of one line packet."""
MAX_HISTORY = 64
"""Alarm periods remembered."""
MAX_QUARTERS = 96
"""Quarter hours of counters remembered: a day."""
MAX_COUNT = 2**64 - 1
QUARTER = 900 * SECOND


class Layer1Error(ProtocolError):
    """A line packet that is not what docs/virtual-span.md says."""


class Alarm(Enum):
    """What is wrong with the line, as in DAHDI (I.431 7.3, T1.403): no more than one at a time, the worst.

    RED: we get no frames (LOS, LFA). YELLOW: the far end gets none from us (RAI). BLUE: all ones come in (AIS).
    """

    NONE = "none"
    RED = "red"
    YELLOW = "yellow"
    BLUE = "blue"

    @property
    def usable(self) -> bool:
        """True if frames and voice get through both ways."""
        return self is Alarm.NONE


_ALARMS = {alarm.value: alarm for alarm in Alarm}


class Layer1Timer(Enum):
    """How long things last before they count (microseconds)."""

    DECLARE = "declare"
    CLEAR = "clear"
    COUNTERS = "counters"
    BOUNCE = "bounce"


LAYER1_TIMERS: dict[Layer1Timer, TimerRow] = {
    # At once: the card has integrated the signal already (G.775), and every second here is a second of dead calls.
    Layer1Timer.DECLARE: TimerRow("alarm declared after", 0, 0, 10 * SECOND, "policy; ANSI T1.231 has 2.5 s"),
    Layer1Timer.CLEAR: TimerRow(
        "alarm cleared after", 500 * MILLISECOND, 0, 60 * SECOND, "policy; ANSI T1.231 has 10 s"
    ),
    Layer1Timer.COUNTERS: TimerRow("counters asked every", 10 * SECOND, SECOND, 900 * SECOND, "docs/virtual-span.md"),
    Layer1Timer.BOUNCE: TimerRow("bounces counted over", 600 * SECOND, SECOND, 86_400 * SECOND, "policy"),
}


@dataclass(frozen=True, slots=True)
class Counters:
    """Errors of a line since some start, each only counting up; the names are those of the JSON object.

    ``slips``: frames repeated or skipped for want of a common clock. ``crc_errors``: CRC-4 or CRC-6 blocks wrong.
    ``far_crc_errors``: the same as seen by the far end (E bits). ``code_violations``: HDB3, B8ZS or AMI broken.
    ``framing_errors``: frame alignment words wrong. ``hdlc_errors``: D-channel frames with bad FCS or aborted.
    """

    slips: int = 0
    crc_errors: int = 0
    far_crc_errors: int = 0
    code_violations: int = 0
    framing_errors: int = 0
    hdlc_errors: int = 0

    def since(self, earlier: Counters) -> Counters:
        """What was added after ``earlier``; a counter that went back was started anew and counts from 0."""
        return Counters(*(b if b < a else b - a for a, b in zip(earlier.values(), self.values(), strict=True)))

    def plus(self, other: Counters) -> Counters:
        """The sum."""
        return Counters(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        """The figures in the order of the fields."""
        return tuple(getattr(self, name) for name in COUNTER_NAMES)

    def as_json(self) -> dict[str, int]:
        """For a line packet."""
        return dict(zip(COUNTER_NAMES, self.values(), strict=True))


COUNTER_NAMES = tuple(f.name for f in fields(Counters))


@dataclass(frozen=True, slots=True)
class Period:
    """One stretch of time with one alarm (or none); ``until`` is None for the present one."""

    alarm: Alarm
    since: int
    until: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Quarter:
    """Errors of one quarter of an hour that began at ``start``; ``slipped`` is how many counter readings saw slips."""

    start: int
    errors: Counters
    slipped: int = 0


@dataclass(frozen=True, slots=True)
class LineChanged:
    """The declared alarm is another one, since ``since``; ``reason`` says in words how we know."""

    alarm: Alarm
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class SendLine:
    """A line packet for the far end."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class CountersRead:
    """The far end told its counters; ``errors`` is what came on top since the last time."""

    counters: Counters
    errors: Counters


Layer1Output = LineChanged | SendLine | CountersRead


class Layer1:
    """One end of a line. It begins unconnected, which is a red alarm.

    ``alarm`` is the declared one, ``received`` what the line says at this moment.
    """

    def __init__(self, name: str = "line", timers: Mapping[Layer1Timer, int] | None = None, now: int = 0) -> None:
        """``timers`` overrides defaults of LAYER1_TIMERS; ValueError for one out of range."""
        values = timer_durations(LAYER1_TIMERS, timers)
        self.name = name
        self.alarm = Alarm.RED
        self.received = Alarm.RED
        self.reason = "nobody at the other end yet"
        self.since = now
        self.connected = False
        self.counters = Counters()
        self.own_counters = Counters()
        self.own_alarm = Alarm.NONE
        self.bounces = 0
        self._values = values
        self._timers: TimerQueue[Layer1Timer] = TimerQueue()
        self._out: deque[Layer1Output] = deque()
        self._history: deque[Period] = deque(maxlen=MAX_HISTORY)
        self._quarters: deque[Quarter] = deque(maxlen=MAX_QUARTERS)
        self._bounced: deque[int] = deque(maxlen=MAX_HISTORY)
        self._told = False
        self._ever_clear = False
        self._counters_known = False
        self._pending_reason = ""

    # -- what the owner calls --

    def connect(self, now: int) -> None:
        """The connection stands. A far end that says nothing is taken as no alarm after the clearing time."""
        if self.connected:
            return
        self.connected = True
        self._told = self._counters_known = False
        self._send({"alarm": self.own_alarm.value})
        self._timers.start(Layer1Timer.COUNTERS, now)
        self._hear(Alarm.NONE, "connected", now)

    def disconnect(self, reason: str, now: int) -> None:
        """The connection is closed or was refused: a cut cable."""
        self.connected = False
        self._timers.stop(Layer1Timer.COUNTERS)
        if self.alarm is Alarm.RED:
            self.reason = reason
        self._hear(Alarm.RED, reason, now)

    def tell_alarm(self, alarm: Alarm, now: int) -> None:
        """Let the far end see ``alarm`` from now on."""
        del now
        self.own_alarm = alarm
        if self.connected:
            self._send({"alarm": alarm.value})

    def receive(self, packet: bytes, now: int) -> None:
        """Take one line packet; Layer1Error if it is not a JSON object as documented. Unknown keys are ignored."""
        if len(packet) > MAX_PACKET:
            raise Layer1Error(f"line packet of {len(packet)} octets, expected at most {MAX_PACKET}")
        try:
            document = json.loads(packet)
        except (ValueError, RecursionError) as error:
            raise Layer1Error(f"line packet is not JSON: {packet[:80]!r}") from error
        if not isinstance(document, dict):
            raise Layer1Error(f"line packet is {packet[:80]!r}, expected a JSON object")
        alarm = self._alarm_in(document)
        counters = self._counters_in(document)
        request = document.get("request")
        if alarm is not None:
            self._told = True
            self._hear(alarm, f"the line reports {alarm.value}", now)
        if counters is not None:
            self._read(counters, now)
        if request == "counters":
            self._send({"counters": self.own_counters.as_json()})

    def handle_timer(self, now: int) -> None:
        """Let expire what is due."""
        for timer in self._timers.expired(now):
            if timer is Layer1Timer.COUNTERS:
                self._send({"request": "counters"})
                self._timers.start(Layer1Timer.COUNTERS, now + self._values[Layer1Timer.COUNTERS])
            else:
                self._declare(now)

    def next_timer(self) -> int | None:
        """The earliest deadline, or None."""
        return self._timers.next_timer()

    def poll(self) -> Layer1Output | None:
        """The next output, or None."""
        return self._out.popleft() if self._out else None

    # -- what an operator asks --

    def history(self) -> tuple[Period, ...]:
        """Past periods, oldest first, and the present one."""
        return (*self._history, Period(self.alarm, self.since, None, self.reason))

    def quarters(self) -> tuple[Quarter, ...]:
        """Errors by quarters of an hour in which there was a reading, oldest first; the last one may still grow."""
        return tuple(self._quarters)

    def recent_bounces(self, now: int) -> int:
        """How many alarms came up within the last Layer1Timer.BOUNCE."""
        earliest = now - self._values[Layer1Timer.BOUNCE]
        while self._bounced and self._bounced[0] < earliest:
            self._bounced.popleft()
        return len(self._bounced)

    # -- inside --

    def _hear(self, alarm: Alarm, reason: str, now: int) -> None:
        """Debounce: the line says ``alarm``."""
        timers = self._timers
        again = alarm is self.received
        self.received = alarm
        if alarm is self.alarm:
            timers.stop(Layer1Timer.DECLARE)
            timers.stop(Layer1Timer.CLEAR)
            return
        self._pending_reason = reason
        if alarm is Alarm.NONE:
            timers.stop(Layer1Timer.DECLARE)
            if self._told and not self._ever_clear:
                # The first time up there is no bounce to wait out.
                self._declare(now)
            elif not again or Layer1Timer.CLEAR not in timers:
                timers.start(Layer1Timer.CLEAR, now + self._values[Layer1Timer.CLEAR])
            return
        delay = self._values[Layer1Timer.DECLARE]
        if not delay or (self.alarm is not Alarm.NONE):
            self._declare(now)
        elif Layer1Timer.DECLARE not in timers:
            timers.start(Layer1Timer.DECLARE, now + delay)

    def _declare(self, now: int) -> None:
        """Make what the line says the declared alarm."""
        alarm = self.received
        self._timers.stop(Layer1Timer.DECLARE)
        self._timers.stop(Layer1Timer.CLEAR)
        if alarm is self.alarm:
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s -> %s", self.name, self.alarm.value, alarm.value)
        self._history.append(Period(self.alarm, self.since, now, self.reason))
        if self.alarm is Alarm.NONE:
            self.bounces += 1
            self._bounced.append(now)
        self.alarm = alarm
        self.since = now
        self.reason = self._pending_reason
        self._ever_clear = self._ever_clear or alarm is Alarm.NONE
        self._out.append(LineChanged(alarm, now, self.reason))

    def _read(self, counters: Counters, now: int) -> None:
        errors = counters.since(self.counters) if self._counters_known else Counters()
        self._counters_known = True
        self.counters = counters
        start = now - now % QUARTER
        quarters = self._quarters
        slipped = 1 if errors.slips else 0
        if quarters and quarters[-1].start == start:
            last = quarters[-1]
            quarters[-1] = Quarter(start, last.errors.plus(errors), last.slipped + slipped)
        else:
            quarters.append(Quarter(start, errors, slipped))
        self._out.append(CountersRead(counters, errors))

    def _send(self, document: Mapping[str, object]) -> None:
        self._out.append(SendLine(json.dumps(document).encode()))

    @staticmethod
    def _alarm_in(document: dict[str, object]) -> Alarm | None:
        value = document.get("alarm")
        if value is None:
            return None
        alarm = _ALARMS.get(value) if isinstance(value, str) else None
        if alarm is None:
            raise Layer1Error(f"alarm is {value!r}, expected one of {', '.join(_ALARMS)}")
        return alarm

    @staticmethod
    def _counters_in(document: dict[str, object]) -> Counters | None:
        value = document.get("counters")
        if value is None:
            return None
        if not isinstance(value, dict):
            raise Layer1Error(f"counters is {value!r}, expected an object")
        figures: dict[str, int] = {}
        for name in COUNTER_NAMES:
            figure = value.get(name, 0)
            if isinstance(figure, bool) or not isinstance(figure, int) or not 0 <= figure <= MAX_COUNT:
                raise Layer1Error(f"counter {name} is {figure!r}, expected a whole number from 0")
            figures[name] = figure
        return Counters(**figures)
