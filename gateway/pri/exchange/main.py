"""``exchange``: the simulated telephone exchange as a program, at the far end of a virtual span.

Its voice comes from a media engine of its own, which it starts and ends. Commands come over ``--control`` (see
``control.py``) or as lines on standard input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import click

from gateway.cause import Cause
from gateway.control_socket import CommandError, ControlServer
from gateway.identity import Number, Party
from gateway.media.api import EngineLost, EngineReady, Law
from gateway.media.client import EngineSettings, MediaClient
from gateway.media.connection import EngineConnection
from gateway.media.engine_process import EngineProcess
from gateway.pri.channels import Line
from gateway.pri.exchange.core import CallEvent, CallRequest, Exchange
from gateway.pri.exchange.line import Report
from gateway.pri.exchange.plan import DEFAULT_PLAN, Voice
from gateway.pri.lapd import Side, Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.endpoint import SpanError, monotonic_microseconds
from gateway.pri.span.faults import FaultInjector, FaultRates
from gateway.pri.span.layer1 import Alarm, CountersRead, LineChanged
from gateway.pri.span.virtual import VirtualSpanServer

log = logging.getLogger("exchange")

MAX_LOAD_RATE = 200.0
MAX_LOAD_CALLS = 1_000_000


class ExchangeProgram:
    """The exchange core between its sockets: span, engine, control."""

    def __init__(self, settings: PriSettings, directory: Path, engine: str, *, country: str, seed: int) -> None:
        self.rng = random.Random(seed)
        # Two engines on one host must not count on each other's RTP ports; the exchange needs none.
        client = MediaClient(self.rng, EngineSettings(silence_milliseconds=0))
        self.engine = EngineConnection(client, engine, monotonic_microseconds, self._media_event, self.drain)
        self.exchange = Exchange(settings, client, self.rng, country=country)
        self.span = VirtualSpanServer(
            directory,
            settings.line,
            self._frame,
            self._line,
            name=settings.name,
            faults_in=FaultInjector(FaultRates(), self.rng),
            faults_out=FaultInjector(FaultRates(), self.rng),
        )
        self.control: ControlServer | None = None
        self.show = True
        self.as_json = False
        self._timer: asyncio.TimerHandle | None = None
        self._load: asyncio.Task[None] | None = None
        self._load_done = {"placed": 0, "answered": 0, "failed": 0}

    # -- between the sockets and the core --

    def _frame(self, frame: bytes, now: int) -> None:
        self.exchange.receive_frame(frame, now)
        self.drain()

    def _line(self, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            self._say(f"line: {event.alarm.value}", {"event": "line", "alarm": event.alarm.value})
            self.exchange.line_state(event.alarm, now)
            self.drain()

    def _media_event(self, event: object, _now: int) -> None:
        if isinstance(event, EngineLost):
            self._say("the media engine is gone", {"event": "engine", "state": "lost"})
        elif isinstance(event, EngineReady):
            self._say("the media engine answers", {"event": "engine", "state": "ready"})

    def drain(self) -> None:
        """Send what the core has to send and tell what it has to tell; then set the one timer."""
        while True:
            # The engine's client first: what it has to tell may make the exchange speak.
            self.engine.drain()
            output = self.exchange.poll()
            if output is None:
                break
            while output is not None:
                if isinstance(output, Transmit):
                    self.span.send_frame(output.frame)
                elif isinstance(output, CallEvent):
                    self._call_event(output)
                else:
                    self._say(str(output), {"event": "trunk", "what": str(output)})
                output = self.exchange.poll()
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
        self.drain()

    def _call_event(self, event: CallEvent) -> None:
        report = event.report
        if event.moment == "ended" and self._load is not None:
            self._load_done["answered" if report.answered is not None else "failed"] += 1
        self._say(_sentence(event), {"event": event.moment, **_report(report)})

    def _say(self, text: str, event: Mapping[str, object]) -> None:
        if self.control is not None:
            self.control.tell(event)
        if self.show:
            line = json.dumps(event) if self.as_json else f"{time.strftime('%H:%M:%S')} {text}"
            print(line, flush=True)

    # -- commands --

    async def command(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out one request of the control socket; CommandError says what is wrong with it."""
        now = monotonic_microseconds()
        exchange = self.exchange
        match request.get("command"):
            case "call":
                report = exchange.call(_call_request(request), now)
                self.drain()
                if isinstance(report, Cause):
                    raise CommandError(f"no call: {report.name.lower()}")
                return {"call": report.call}
            case "hangup":
                if not exchange.hang_up(_integer(request, "call"), now):
                    raise CommandError("no such call")
                self.drain()
                return {}
            case "load":
                return self._start_load(request)
            case "load-result":
                running = self._load is not None and not self._load.done()
                return {"running": running or bool(exchange.lines), **self._load_done}
            case "status":
                return self._status()
            case "cut":
                self.span.cut()
                return {}
            case "mend":
                self.span.mend()
                return {}
            case "alarm":
                try:
                    self.span.tell_alarm(Alarm(str(request.get("alarm"))))
                except ValueError as error:
                    raise CommandError("alarm: expected none, red, yellow or blue") from error
                return {}
            case "faults":
                self._set_faults(request)
                return {}
            case other:
                raise CommandError(
                    f"command {other!r}, expected call, hangup, load, load-result, status, cut, mend, alarm or faults"
                )

    def _status(self) -> Mapping[str, object]:
        channels = self.exchange.trunk.channels
        return {
            "alarm": self.span.alarm.value,
            "data_link": self.exchange.trunk.up,
            "calls": len(self.exchange.lines),
            "channels": {str(channel.timeslot): channel.state.value for channel in channels},
        }

    def _set_faults(self, request: Mapping[str, object]) -> None:
        try:
            rates = FaultRates(
                lose=_fraction(request, "lose"),
                corrupt=_fraction(request, "corrupt"),
                duplicate=_fraction(request, "duplicate"),
                delay=_fraction(request, "delay"),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        for injector in (self.span.faults_in, self.span.faults_out):
            if injector is not None:
                injector.rates = rates

    def _start_load(self, request: Mapping[str, object]) -> Mapping[str, object]:
        if self._load is not None and not self._load.done():
            raise CommandError("a load runs already")
        rate = float(str(request.get("rate", 1.0)))
        calls = _integer(request, "calls", 10)
        if not 0 < rate <= MAX_LOAD_RATE or not 0 < calls <= MAX_LOAD_CALLS:
            raise CommandError(f"expected rate up to {MAX_LOAD_RATE} a second and up to {MAX_LOAD_CALLS} calls")
        self._load_done = {"placed": 0, "answered": 0, "failed": 0}
        self._load = asyncio.get_running_loop().create_task(
            self._run_load(replace(_call_request(request), measure=False), rate, calls)
        )
        return {}

    async def _run_load(self, request: CallRequest, rate: float, calls: int) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(calls):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            self._load_done["placed"] += 1
            if isinstance(self.exchange.call(request, monotonic_microseconds()), Cause):
                self._load_done["failed"] += 1
            self.drain()

    async def close(self) -> None:
        """Stop what runs."""
        if self._load is not None:
            self._load.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self.control is not None:
            await self.control.close()
        self.span.close()
        self.engine.close()


def _integer(request: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CommandError(f"{name}: expected a whole number")
    return value


def _fraction(request: Mapping[str, object], name: str) -> float:
    value = request.get(name, 0)
    if not isinstance(value, int | float):
        raise CommandError(f"{name}: expected a fraction from 0 to 1")
    return float(value)


def _call_request(request: Mapping[str, object]) -> CallRequest:
    called = request.get("called")
    if not isinstance(called, str) or not called or len(called) > 32:
        raise CommandError("called: expected a number of 1 to 32 digits")
    caller = Party(Number(str(request.get("caller", "4165550199"))), str(request.get("name", "EXCHANGE")) or None)
    try:
        voice = Voice(str(request.get("voice", "milliwatt")))
    except ValueError as error:
        raise CommandError(f"voice: expected one of {', '.join(v.value for v in Voice)}") from error
    hold = _integer(request, "hold", 5_000)
    return CallRequest(called, caller, voice, None if hold < 0 else hold, overlap=bool(request.get("overlap", False)))


def _report(report: Report) -> dict[str, object]:
    values: dict[str, object] = {
        "call": report.call,
        "direction": report.direction,
        "called": report.called,
        "caller": report.caller,
        "caller_name": report.caller_party.name,
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
    if report.heard is not None:
        values["heard"] = asdict(report.heard)
    return values


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


async def _standard_input(program: ExchangeProgram) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode("utf-8", "replace"):
        words = line.split()
        if not words:
            continue
        request: dict[str, object] = {"command": words[0]}
        if words[0] == "call" and len(words) > 1:
            request["called"] = words[1]
            if len(words) > 2:
                request["caller"] = words[2]
        elif words[0] == "hangup" and len(words) > 1 and words[1].isdecimal():
            request["call"] = int(words[1])
        elif words[0] == "alarm" and len(words) > 1:
            request["alarm"] = words[1]
        try:
            print(json.dumps(await program.command(request)), flush=True)
        except CommandError as error:
            print(f"exchange: {error}", file=sys.stderr, flush=True)


async def _run(settings: PriSettings, span: Path, options: Mapping[str, object]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    control = options["control"]
    with EngineProcess(span.parent / f"{span.name}.media") as process:
        program = ExchangeProgram(
            settings, span, process.control, country=str(options["country"]), seed=int(str(options["seed"]))
        )
        program.as_json = bool(options["as_json"])
        program.engine.start()
        program.span.start()
        if isinstance(control, Path):
            program.control = ControlServer(control, program.command)
            await program.control.start()
        program._say(f"exchange at {span}, {settings.line.value}, {settings.switch_type}", {"event": "ready"})
        reading = None if options["no_input"] else loop.create_task(_standard_input(program))
        await stop.wait()
        if reading is not None:
            reading.cancel()
        await program.close()


def _plan_text() -> str:
    return "\b\nNumbers (any number that ends so):\n" + "\n".join(
        f"  {number:<8} {subscriber.name}" for number, subscriber in DEFAULT_PLAN.items()
    )


@click.command(
    help="The simulated telephone exchange at the far end of a virtual span.\n\n"
    "Commands on standard input: call NUMBER [CALLER], hangup CALL, status, cut, mend, alarm none|red|yellow|blue.\n\n"
    + _plan_text()
)
@click.option("--span", type=click.Path(path_type=Path), required=True, help="Directory of the span's sockets.")
@click.option("--line", type=click.Choice(["e1", "t1"]), default="e1", show_default=True)
@click.option("--switch-type", type=click.Choice(["euroisdn", "ni2"]), default="euroisdn", show_default=True)
@click.option("--side", type=click.Choice(["network", "user"]), default="network", show_default=True)
@click.option("--country", default="us", show_default=True, help="Whose call-progress tones.")
@click.option("--control", type=click.Path(path_type=Path), help="Unix socket for commands and events (JSON lines).")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
@click.option("--no-input", is_flag=True, help="Do not read standard input.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of faults and call references.")
@click.option("--verbose", "-v", is_flag=True, help="Log protocol state changes.")
def main(span: Path, line: str, switch_type: str, side: str, verbose: bool, **options: object) -> None:
    """Run the exchange until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = PriSettings(
        name=span.name,
        line=Line(line),
        side=Side(side),
        switch_type=switch_type,
        law=Law.ALAW if line == "e1" else Law.ULAW,
        channel_path=lambda timeslot: str(span / str(timeslot)),
        listen=True,
    )
    try:
        span.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.run(_run(settings, span, options))
    except (SpanError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from error
