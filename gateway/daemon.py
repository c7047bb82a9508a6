"""``gateway``: the composition root. Builds the parts from the configuration, runs them on asyncio, ends them.

All decisions are in ``switch.py``; here are sockets, files, the clock and signals. systemd's notify joins here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from gateway.assembly import span_directory, tls_settings
from gateway.call_record import record_of, refusal_record
from gateway.config import ConfigError, Configuration, examine, read_text
from gateway.control_socket import CommandError, ControlServer, plainly, text_of
from gateway.huge_pages import gather
from gateway.log_lines import log_to
from gateway.media.api import EngineReady, IaxMediaEvent, MediaEvent
from gateway.media.client import EngineSettings, MediaClient
from gateway.media.connection import EngineConnection
from gateway.media.engine_keeper import EngineKeeper
from gateway.media.engine_process import EngineProcess
from gateway.pri.span.endpoint import SpanError, monotonic_microseconds
from gateway.pri.span.layer1 import CountersRead, LineChanged
from gateway.pri.span.virtual import VirtualSpan
from gateway.provision.wan import WanWatcher
from gateway.randomness import PooledRandom
from gateway.record import CallRecord, RecordWriter, WallClock
from gateway.run_lock import sole_user
from gateway.state_file import StateFile
from gateway.status import status_of
from gateway.switch import CallEnded, CallRefused, SpanEvent, SpanFrame, Switch
from gateway.trace import TraceLine
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.flow import Flow, Resolve, bracketed
from gateway.voip.sip.handshakes import Handshakes
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.names import Answer
from gateway.voip.sip.tls import Tls, TlsFileError
from gateway.voip.sip.transport import ListenError, SipTransport, local_address_for

if TYPE_CHECKING:
    from gateway.tls_watch import TlsWatch

log = logging.getLogger("gateway")

STATUS_SOCKET = "status.sock"
BINDINGS_FILE = "bindings.json"
IAX_BINDINGS_FILE = "iax-bindings.json"
END_SECONDS = 2.0
"""How long the end of the program waits for far ends to agree that their calls are over."""
COLLECT_AFTER = 10_000
"""Objects made and not gone again until the collector looks at them: those of more than a hundred calls."""
COLLECT_OLDER = (20, 10)


class Daemon:
    """One running gateway. ``start`` raises ListenError, SpanError or OSError; then it runs until ``close``."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        rng: random.Random | None = None,
        trace: IO[str] | None = None,
        clock: Callable[[], int] = monotonic_microseconds,
    ) -> None:
        self.configuration = configuration
        self.clock = clock
        self._trace = trace
        gateway, media = configuration.gateway, configuration.media
        rng = rng or PooledRandom()
        self.media = MediaClient(
            rng,
            EngineSettings(
                rtp_ports=(media.rtp_ports.first, media.rtp_ports.last),
                silence_milliseconds=media.silence_ms,
                grace_seconds=media.grace_seconds,
            ),
        )
        self.records = RecordWriter(
            gateway.records_path, gateway.records_megabytes * 1024 * 1024, gateway.records_files
        )
        self.switch = Switch(
            configuration,
            self.media,
            rng,
            local_for=local_address_for,
            wall_clock=time.time,
            tracer=None if trace is None else self._write_trace,
        )
        self.engine = EngineConnection(
            self.media, str(configuration.media_control), clock, self._media_event, self.drain
        )
        self.spans = {
            span.name: VirtualSpan(
                span_directory(span),
                span.line,
                partial(self._frame, span.name),
                partial(self._line, span.name),
                name=span.name,
                after=self.drain,
            )
            for span in configuration.spans
        }
        self.tls = _tls_watch(configuration)
        self.sip = SipTransport(
            self.switch.sip.settings.listeners,
            clock,
            self.drain,
            tls=None if self.tls is None else self.tls.tls,
            handshakes=Handshakes(self.switch.sip.defence.known),
            admit=self.switch.sip.admits,
        )
        self.bindings = StateFile(gateway.state_path / BINDINGS_FILE, "registrations")
        self.iax_bindings = StateFile(gateway.state_path / IAX_BINDINGS_FILE, "IAX2 registrations")
        self.wan = WanWatcher(configuration.network.wan, clock, self._network)
        self.status = ControlServer(gateway.run_dir / STATUS_SOCKET, self._command)
        self.listeners: tuple[Listener, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Set at the end, when nobody is left to wait for.
        self._quiet: asyncio.Event | None = None

    async def start(self) -> None:
        """Open everything; nothing stays open if something cannot be had."""
        self._loop = asyncio.get_running_loop()
        self.configuration.gateway.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            self.listeners = await self.sip.start()
            await self.status.start()
            for span in self.spans.values():
                span.start()
        except BaseException:
            await self.close()
            raise
        self.records.prepare()
        self._restore_bindings()
        self.engine.start()
        if self.tls is not None:
            self.tls.start()
        # First, so that nobody is told an address that is none outside.
        await self.wan.start()
        await self.sip.attach(_SipReceiver(self))
        self.drain()

    async def end(self, patience: float = END_SECONDS) -> None:
        """End the calls, with both sides told and a record of each, in ``patience`` seconds at most; then close."""
        self._quiet = asyncio.Event()
        calls = len(self.switch.calls)
        if calls:
            log.warning("%d calls are ended, as the gateway ends", calls)
        self.switch.shut_down(self.clock())
        self.drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), patience)
        self.switch.abandon_calls(self.clock())
        self.switch.sip.phones.store_now(self.clock())
        self.drain()
        await self.close()

    async def close(self) -> None:
        """Let go of everything, at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop = None
        await self.wan.close()
        self.sip.close()
        if self.tls is not None:
            self.tls.close()
        for span in self.spans.values():
            span.close()
        self.engine.close()
        await self.status.close()
        await self.bindings.close()
        await self.iax_bindings.close()
        self.records.close()

    def _restore_bindings(self) -> None:
        self._restore(self.bindings, self.switch.sip.phones.restore)
        if self.switch.iax is not None:
            self._restore(self.iax_bindings, self.switch.iax.restore)

    def _restore(self, file: StateFile, restore: Callable[[bytes, int], int]) -> None:
        data = file.read()
        if data is None:
            return
        try:
            count = restore(data, self.clock())
        except ValueError as error:
            log.error("%s makes no sense: %s; who is in it can be called once it registers again", file.path, error)
            return
        log.info("%d registrations of before are restored", count)

    # -- in --

    def _frame(self, span: str, frame: bytes, now: int) -> None:
        self.switch.receive_frame(span, frame, now)

    def _line(self, span: str, event: LineChanged | CountersRead, now: int) -> None:
        if isinstance(event, LineChanged):
            log.warning(
                "span %s: layer 1 alarm %s%s", span, event.alarm.value, f" ({event.reason})" if event.reason else ""
            )
            self.switch.line_state(span, event.alarm, now)
            self.drain()

    def _network(self, facts: NetworkFacts, now: int) -> None:
        if self._loop is not None and self.sip.drop_stale():
            # Calls learn that their connection is gone before they use it to tell of the change.
            self._loop.call_later(0.01, self._tell_network, facts)
        else:
            self.switch.network(facts, now)
            self.drain()

    def _tell_network(self, facts: NetworkFacts) -> None:
        self.switch.network(facts, self.clock())
        self.drain()

    def _media_event(self, event: MediaEvent | IaxMediaEvent, now: int) -> None:
        if isinstance(event, EngineReady):
            # Their calls are of an earlier start and nobody here knows them; their channels are wanted for new ones.
            closed = self.media.close_kept()
            if closed:
                log.warning("%d streams of an earlier start are closed", closed)
        self.switch.media_event(event, now)

    def _expire(self) -> None:
        self._timer = self._timer_at = None
        self.switch.handle_timer(self.clock())
        self.drain()

    # -- out --

    def drain(self) -> None:
        """Carry out all the switch has to say, then set the one timer."""
        loop = self._loop
        if loop is None:
            return
        self.switch.enter(self.clock())
        poll, sip, spans, engine = self.switch.poll, self.sip, self.spans, self.engine
        while True:
            output = poll()
            while output is not None:
                if isinstance(output, SpanFrame):
                    spans[output.span].send_frame(output.frame)
                elif isinstance(output, CallEnded):
                    self._record(record_of(output.call, self._wall()))
                elif isinstance(output, CallRefused):
                    self._record(refusal_record(output.identity, output.refused, output.now, self._wall()))
                elif isinstance(output, SpanEvent):
                    log.info("span %s: %s", output.span, output.event)
                elif isinstance(output, StoreBindings):
                    self.bindings.keep(output.data)
                elif isinstance(output, StoreIaxBindings):
                    self.iax_bindings.keep(output.data)
                else:
                    sip.perform(output)
                output = poll()
            # The engine's client last, as the switch asks it for voice; what it has to tell may make the switch speak.
            if not engine.drain():
                break
        if self._quiet is not None and self.switch.quiet:
            self._quiet.set()
        at = self.switch.next_timer()
        if at == self._timer_at:
            return
        # A timer that would fire too early costs less than moving it with every message: keep it and look again.
        if at is not None and self._timer_at is not None and self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at is not None:
            self._timer = loop.call_later(max(at - self.clock(), 0) / 1e6, self._expire)

    def _wall(self) -> WallClock:
        """Read anew for each record: a box without a battery starts in 1970 and is set right while it runs."""
        return WallClock(time.time_ns() // 1000, self.clock())

    def _record(self, record: CallRecord) -> None:
        self.records.write(record)
        log.info(
            "call %s from %s to %s: cause %d, released by %s, %.1f s",
            record.id,
            record.caller.get("number", "unknown"),
            record.dialled,
            record.cause,
            record.released_by,
            record.talk_seconds,
        )
        self.status.tell({"event": "call ended", "id": record.id, "cause": record.cause})

    def _write_trace(self, line: TraceLine) -> None:
        if self._trace is None:
            return
        try:
            self._trace.write(line.to_json() + "\n")
            self._trace.flush()
        except OSError as error:
            log.error("the trace cannot be written: %s; it ends here, calls go on", error.strerror)
            self._trace = self.switch.tracer = None

    def reload_tls(self) -> None:
        """Take up certificate, key and CA as they are now; calls and connections go on."""
        if self.tls is not None:
            self.tls.reload()

    def _tls_status(self) -> dict[str, object] | None:
        if self.tls is None:
            return None
        handshakes = self.sip.handshakes.statistics()
        return self.tls.status() | {"connections": self.sip.secure_connections, "handshakes": handshakes}

    # -- commands --

    async def _command(self, request: Mapping[str, object]) -> Mapping[str, object]:
        match request.get("command"):
            case "status":
                status = status_of(self.switch, self.spans, self.clock(), engine_streams=len(self.media.streams))
                return status | {"tls": self._tls_status()}
            case "hangup":
                call = text_of(request, "call")
                if not self.switch.hang_up(call, self.clock()):
                    raise CommandError(f"there is no call {call!r}")
                self.drain()
                return {}
            case "pardon":
                address = text_of(request, "address")
                if not self.switch.pardon(address):
                    raise CommandError(f"{address!r} is not shut out")
                return {}
            case "explain":
                return {"lines": self.switch.explain(text_of(request, "context"), text_of(request, "number"))}
            case other:
                raise CommandError(f"command {other!r}, expected status, hangup, pardon or explain")


def _tls_watch(configuration: Configuration) -> TlsWatch | None:
    """Whoever looks after TLS, if anything uses it; raises TlsFileError."""
    settings = tls_settings(configuration)
    if settings is None:
        return None
    # Late: most of what it takes (cryptography) costs memory and time that a box without TLS need not spend.
    from gateway.tls_watch import TlsWatch

    return TlsWatch(Tls(settings))


class _SipReceiver:
    """What the SIP sockets feed: the switch."""

    def __init__(self, daemon: Daemon) -> None:
        self._switch = daemon.switch

    def receive(self, data: bytes, flow: Flow, now: int) -> None:
        self._switch.receive_sip(data, flow, now)

    def connection_lost(self, flow: Flow, now: int) -> None:
        self._switch.sip_connection_lost(flow, now)

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        self._switch.looked_up(question, answer, now)


def keep_what_is_there() -> None:
    """Take what start-up made out of the collector's rounds, which held all calls up for 20 to 30 ms at a time.

    Calls end without leaving cycles, so rounds only walk over what lives: fewer of them than by default. What stays
    goes into huge pages, where it is found faster.
    """
    gc.collect()
    gc.freeze()
    gather()
    gc.set_threshold(COLLECT_AFTER, *COLLECT_OLDER)


async def _run(configuration: Configuration, trace: IO[str] | None, start_engine: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with sole_user(configuration.gateway.run_dir):
        await _run_alone(configuration, trace, start_engine, stop)


async def _run_alone(
    configuration: Configuration, trace: IO[str] | None, start_engine: bool, stop: asyncio.Event
) -> None:
    async with EngineKeeper(EngineProcess(configuration.media_control)) if start_engine else nullcontext() as keeper:
        daemon = Daemon(configuration, trace=trace)
        await daemon.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.reload_tls)
        keep_what_is_there()
        iax = () if configuration.iax is None else (f"iax2 {listen}" for listen in configuration.iax.listen)
        log.info(
            "%s is up: %s", configuration.gateway.name, ", ".join([*(_where(one) for one in daemon.listeners), *iax])
        )
        await stop.wait()
        if keeper is not None:
            keeper.no_more()
        await daemon.end()


def _where(listener: Listener) -> str:
    return f"{listener.transport.lower()}:{bracketed(listener.address)}:{listener.port}"


def _read(path: Path) -> Configuration:
    """The configuration, after all that is to be said of it; ends the program if it has an error."""
    try:
        configuration, problems = examine(read_text(path), path)
    except ConfigError as error:
        configuration, problems = None, list(error.problems)
    for problem in problems:
        click.echo(str(problem), err=True)
    if configuration is None:
        sys.exit(1)
    peers = (*configuration.trunks, *configuration.iax_trunks, *configuration.phones)
    if any(peer.secret is not None and peer.secret.text for peer in peers) and path.stat().st_mode & stat.S_IROTH:
        text = f"everybody on this host may read it, and there are passwords in it; chmod 640 {path}"
        click.echo(f"{path}:1: warning: {text}", err=True)
    return configuration


@click.command(
    help="The branch telephone gateway: calls between PRI lines, SIP and IAX2.\n\n"
    "With --config it runs until SIGINT or SIGTERM; with --check it starts nothing.\n\n"
    "\b\nExit status:\n"
    "  0  ended as told; or nothing is wrong with the file (it may have warnings)\n"
    "  1  the file has errors, each told as FILE:LINE: KEY = VALUE: what was expected;\n"
    "     or something could not be opened\n"
    "  2  wrong arguments"
)
@click.option(
    "--config", "config", type=click.Path(path_type=Path), metavar="FILE", help="Run with this configuration file."
)
@click.option(
    "--check", "check", type=click.Path(path_type=Path), metavar="FILE", help="Say what is wrong with a file."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every Q.931 and SIP message and every full frame of IAX2 there, a line each.",
)
@click.option("--start-engine", is_flag=True, help="Start a media engine of our own (else it must run already).")
@click.option("--verbose", "-v", is_flag=True, help="Log protocol state changes.")
@click.version_option(package_name="branch-gateway")
def main(config: Path | None, check: Path | None, trace: Path | None, start_engine: bool, verbose: bool) -> None:
    """Check a configuration, or run the gateway until SIGINT or SIGTERM."""
    log_to(sys.stderr, logging.DEBUG if verbose else logging.INFO)
    path = check or config
    if path is None or (check and config):
        raise click.UsageError("expected either --config FILE or --check FILE")
    configuration = _read(path)
    if check:
        return
    try:
        configuration.gateway.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        if trace is None:
            asyncio.run(_run(configuration, None, start_engine))
        else:
            with trace.open("w", encoding="utf-8") as file:
                asyncio.run(_run(configuration, file, start_engine))
    except (ListenError, SpanError, TlsFileError, RuntimeError, OSError) as error:
        click.echo(f"gateway: {plainly(error)}", err=True)
        sys.exit(1)
