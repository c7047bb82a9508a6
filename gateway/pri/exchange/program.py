"""The exchange between its sockets: one core a span, one media engine, commands and events over a control socket."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.cause import Cause
from gateway.control_socket import CommandError, ControlServer
from gateway.identity import Party
from gateway.media.api import EngineLost, EngineReady, MediaEvent
from gateway.media.client import EngineSettings, MediaClient
from gateway.media.connection import EngineConnection
from gateway.pri.exchange.core import CallEvent, CallRequest, Exchange
from gateway.pri.exchange.line import Report
from gateway.pri.exchange.requests import call_request, fraction, integer
from gateway.pri.lapd import Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.endpoint import monotonic_microseconds
from gateway.pri.span.faults import FaultInjector, FaultRates
from gateway.pri.span.layer1 import Alarm, CountersRead, LineChanged
from gateway.pri.span.virtual import VirtualSpanServer

MAX_LOAD_RATE = 200.0
MAX_LOAD_CALLS = 1_000_000
MAX_SPANS = 32
# Reports carry a call number that is unique in its span only; control clients see it with the span's share.
CALLS_A_SPAN = 10_000_000

log = logging.getLogger(__name__)

_COMMANDS = "call, calls, hangup, load, load-result, status, cut, mend, alarm or faults"


class SpanUnit:
    """One span of the exchange: its core and its sockets."""

    def __init__(
        self, program: ExchangeProgram, number: int, settings: PriSettings, directory: Path, country: str
    ) -> None:
        self.number = number
        self.name = settings.name
        rng = program.rng
        self.exchange = Exchange(settings, program.client, rng, country=country)
        self.span = VirtualSpanServer(
            directory,
            settings.line,
            self._frame,
            self._line,
            name=settings.name,
            faults_in=FaultInjector(FaultRates(), rng),
            faults_out=FaultInjector(FaultRates(), rng),
        )
        self._program = program
        self._timer: asyncio.TimerHandle | None = None

    def _frame(self, frame: bytes, now: int) -> None:
        self.exchange.receive_frame(frame, now)
        self._program.drain(self)

    def _line(self, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            self._program.say(
                f"{self.name}: line {event.alarm.value}",
                {"event": "line", "span": self.name, "alarm": event.alarm.value},
            )
            self.exchange.line_state(event.alarm, now)
            self._program.drain(self)

    def pump(self) -> None:
        """Send and tell what the core has to."""
        output = self.exchange.poll()
        while output is not None:
            if isinstance(output, Transmit):
                self.span.send_frame(output.frame)
            elif isinstance(output, CallEvent):
                self._program.call_event(self, output)
            else:
                self._program.say(f"{self.name}: {output}", {"event": "trunk", "span": self.name, "what": str(output)})
            output = self.exchange.poll()

    def set_timer(self) -> None:
        """Have the core woken when it wants to be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.exchange.next_timer()
        if at is not None:
            delay = max(at - monotonic_microseconds(), 0) / 1_000_000
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.exchange.handle_timer(monotonic_microseconds())
        self._program.drain(self)

    def close(self) -> None:
        """Let go of the sockets."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.span.close()


class ExchangeProgram:
    """All spans of one exchange. ``start`` raises SpanError or OSError."""

    def __init__(
        self,
        spans: Sequence[tuple[PriSettings, Path]],
        engine: str,
        *,
        country: str = "us",
        seed: int = 1,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        # The exchange needs no RTP, and a line of its own that nobody speaks on is nothing to report.
        self.client = MediaClient(self.rng, EngineSettings(silence_milliseconds=0))
        self.engine = EngineConnection(self.client, engine, monotonic_microseconds, self._media_event, self.drain)
        self.units = [
            SpanUnit(self, number, settings, directory, country) for number, (settings, directory) in enumerate(spans)
        ]
        self.control: ControlServer | None = None
        self._as_json = as_json
        self._quiet = quiet
        self._next_unit = 0
        self.load: asyncio.Task[None] | None = None
        self._load_done = dict.fromkeys(("placed", "answered", "failed", "no_channel"), 0)

    async def start(self, control: Path | None) -> None:
        """Open everything."""
        self.engine.start()
        for unit in self.units:
            unit.span.start()
        if control is not None:
            self.control = ControlServer(control, self.command)
            await self.control.start()

    async def close(self) -> None:
        """Stop what runs."""
        if self.load is not None:
            self.load.cancel()
        if self.control is not None:
            await self.control.close()
        for unit in self.units:
            unit.close()
        self.engine.close()

    # -- between the sockets and the cores --

    def drain(self, only: SpanUnit | None = None) -> None:
        """Send and tell all there is; then set the timers. ``only`` says that just this span was touched."""
        units = self.units if only is None else (only,)
        while True:
            for unit in units:
                unit.pump()
            # The engine's client last, as the cores ask it for voice; what it has to tell may make a core speak.
            if not self.engine.drain():
                break
        for unit in units:
            unit.set_timer()

    def _media_event(self, event: MediaEvent, _now: int) -> None:
        if isinstance(event, EngineLost | EngineReady):
            state = "lost" if isinstance(event, EngineLost) else "ready"
            self.say(f"media engine {state}", {"event": "engine", "state": state})

    def call_event(self, unit: SpanUnit, event: CallEvent) -> None:
        """Tell what happened to a call."""
        report = event.report
        if event.moment == "ended" and self.load is not None and report.direction == "to gateway":
            self._load_done["answered" if report.answered is not None else "failed"] += 1
        if self._quiet and self.control is None:
            return
        self.say(_sentence(event), {"event": event.moment, **_report(unit, report)})

    def say(self, text: str, event: Mapping[str, object]) -> None:
        """Tell control clients and, unless quiet, standard output."""
        if self.control is not None:
            self.control.tell(event)
        if not self._quiet:
            line = json.dumps(event) if self._as_json else f"{time.strftime('%H:%M:%S')} {text}"
            print(line, flush=True)

    # -- commands --

    async def command(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out one request of the control socket; CommandError says what is wrong with it."""
        match request.get("command"):
            case "call":
                return {"call": self._call(call_request(request), request.get("span"))}
            case "calls":
                lines = ((unit, line) for unit in self.units for line in unit.exchange.lines.values())
                return {"calls": [_report(unit, line.report) for unit, line in lines]}
            case "hangup":
                self._hang_up(integer(request, "call"))
                return {}
            case "load":
                return self._start_load(request)
            case "load-result":
                running = self.load is not None and not self.load.done()
                busy = any(unit.exchange.lines for unit in self.units)
                return {"running": running or busy, **self._load_done}
            case "status":
                return {"spans": {unit.name: _status(unit) for unit in self.units}}
            case "cut":
                for unit in self._chosen(request):
                    unit.span.cut()
                return {}
            case "mend":
                for unit in self._chosen(request):
                    unit.span.mend()
                return {}
            case "alarm":
                self._tell_alarm(request)
                return {}
            case "faults":
                self._set_faults(request)
                return {}
            case other:
                raise CommandError(f"command {other!r}, expected {_COMMANDS}")

    def _chosen(self, request: Mapping[str, object]) -> list[SpanUnit]:
        name = request.get("span")
        chosen = [unit for unit in self.units if name is None or unit.name == name]
        if not chosen:
            raise CommandError(f"span {name!r}, expected one of {', '.join(unit.name for unit in self.units)}")
        return chosen

    def _call(self, request: CallRequest, span: object = None) -> int:
        """Make a call on ``span``, or on the next one that can; returns its number."""
        units = self._chosen({} if span is None else {"span": span})
        cause: Cause = Cause.NO_CIRCUIT_AVAILABLE
        for offset in range(len(units)):
            unit = units[(self._next_unit + offset) % len(units)]
            report = unit.exchange.call(request, monotonic_microseconds())
            if isinstance(report, Cause):
                cause = report
                continue
            self._next_unit = (self._next_unit + offset + 1) % len(units)
            self.drain(unit)
            return unit.number * CALLS_A_SPAN + report.call
        self.drain()
        raise CommandError(f"no call: {cause.name.lower().replace('_', ' ')}")

    def _hang_up(self, call: int) -> None:
        number, call = divmod(call, CALLS_A_SPAN)
        if number >= len(self.units):
            raise CommandError("no such call")
        unit = self.units[number]
        if not unit.exchange.hang_up(call, monotonic_microseconds()):
            raise CommandError("no such call")
        self.drain(unit)

    def _tell_alarm(self, request: Mapping[str, object]) -> None:
        try:
            alarm = Alarm(str(request.get("alarm")))
        except ValueError as error:
            raise CommandError("alarm: expected none, red, yellow or blue") from error
        for unit in self._chosen(request):
            unit.span.tell_alarm(alarm)

    def _set_faults(self, request: Mapping[str, object]) -> None:
        try:
            rates = FaultRates(
                lose=fraction(request, "lose"),
                corrupt=fraction(request, "corrupt"),
                duplicate=fraction(request, "duplicate"),
                delay=fraction(request, "delay"),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        for unit in self._chosen(request):
            for injector in (unit.span.faults_in, unit.span.faults_out):
                if injector is not None:
                    injector.rates = rates

    def _start_load(self, request: Mapping[str, object]) -> Mapping[str, object]:
        if self.load is not None and not self.load.done():
            raise CommandError("a load runs already")
        rate = request.get("rate", 1.0)
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise CommandError("rate: expected calls a second")
        calls = integer(request, "calls", 10)
        if not 0 < rate <= MAX_LOAD_RATE or not 0 < calls <= MAX_LOAD_CALLS:
            raise CommandError(f"expected rate up to {MAX_LOAD_RATE} a second and up to {MAX_LOAD_CALLS} calls")
        self._load_done = dict.fromkeys(("placed", "answered", "failed", "no_channel"), 0)
        wanted = replace(call_request(request), measure=False)
        self.load = asyncio.get_running_loop().create_task(self._run_load(wanted, rate, calls))
        return {}

    async def _run_load(self, request: CallRequest, rate: float, calls: int) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(calls):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            self._load_done["placed"] += 1
            try:
                self._call(request)
            except CommandError as error:
                # The gateway never heard of it: all channels are taken, or no line is up.
                if not self._load_done["no_channel"]:
                    log.warning("call %d of the load: %s (further ones are only counted)", number + 1, error)
                self._load_done["failed"] += 1
                self._load_done["no_channel"] += 1


def _status(unit: SpanUnit) -> dict[str, object]:
    trunk = unit.exchange.trunk
    return {
        "alarm": unit.span.alarm.value,
        "data_link": trunk.up,
        "calls": len(unit.exchange.lines),
        "channels": {str(channel.timeslot): channel.state.value for channel in trunk.channels},
    }


def _report(unit: SpanUnit, report: Report) -> dict[str, object]:
    values: dict[str, object] = {
        "call": unit.number * CALLS_A_SPAN + report.call,
        "span": unit.name,
        "direction": report.direction,
        "called": report.called,
        "caller": report.caller,
        "caller_name": report.caller_party.name,
        "caller_presentation": _presentation(report.caller_party),
        "redirecting": None if report.redirection is None else report.redirection.number.digits,
        "subscriber": report.subscriber,
        "started": report.started,
        "alerting": report.alerting,
        "answered": report.answered,
        "ended": report.ended,
        "cause": None if report.cause is None else int(report.cause),
        "progress": list(report.progress),
        "channel": report.channel,
    }
    if report.connected is not None and report.connected.number is not None:
        values["connected"] = report.connected.number.digits
        values["connected_name"] = report.connected.name
    if report.heard is not None:
        values["heard"] = report.heard.by_name()
    return values


def _presentation(party: Party) -> str | None:
    return None if party.number is None else party.number.presentation.name.lower()


def _sentence(event: CallEvent) -> str:
    report = event.report
    text = f"call {report.call} {report.direction}, {report.caller or 'no number'} to {report.called}: {event.moment}"
    if report.subscriber:
        text += f" ({report.subscriber})"
    if event.moment == "ended" and report.cause is not None:
        text += f", cause {int(report.cause)} {report.cause.name.lower().replace('_', ' ')}"
        if report.answered is not None and report.ended is not None:
            text += f", {(report.ended - report.answered) / 1e6:.1f} s"
        if report.heard is not None:
            text += f", heard {report.heard.frequency:.0f} Hz at {report.heard.receive_level:.0f} dBm0"
    return text
