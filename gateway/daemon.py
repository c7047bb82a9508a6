"""The composition root: builds the parts of the gateway from the configuration, runs them on asyncio, ends them.

All decisions are in ``switch.py``; here are sockets, files, the clock and signals. systemd's notify joins here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING

from gateway.assembly import span_directory, tls_settings
from gateway.background import Background
from gateway.boot import boot_identity
from gateway.call_record import record_of, refusal_record
from gateway.capture.captures import Captures
from gateway.capture.ring import Ring
from gateway.config import Configuration
from gateway.config.keeper import ConfigurationKeeper
from gateway.config.model import Span
from gateway.config.store import Store
from gateway.control_socket import CommandError, ControlServer, text_of
from gateway.health import engine_checks, summary
from gateway.inheritance import Inheritance
from gateway.media.api import EngineReady, IaxMediaEvent, MediaEvent, VoiceCopied
from gateway.media.client import MediaClient
from gateway.media.connection import EngineConnection
from gateway.prepared import Prepared
from gateway.pri.span.endpoint import monotonic_microseconds
from gateway.pri.span.hotplug import HotPlug, SpanPresence
from gateway.pri.span.layer1 import CountersRead, LineChanged
from gateway.pri.span.virtual import VirtualSpan
from gateway.provision.bus.runner import Provisioning
from gateway.provision.wan import WanWatcher
from gateway.randomness import PooledRandom
from gateway.reconfigure import Reconfiguration
from gateway.record import CallRecord, WallClock
from gateway.renewal import BINDINGS_FILE, IAX_BINDINGS_FILE, Renewal, engine_settings, record_writer
from gateway.service import Check, Service, notifier_of, watchdog_seconds
from gateway.state_file import StateFile
from gateway.status import status_of
from gateway.switch import CallEnded, CallRefused, SpanEvent, SpanFrame, Switch
from gateway.trace import TraceLine
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.flow import Flow, Resolve
from gateway.voip.sip.handshakes import Handshakes
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.names import Answer
from gateway.voip.sip.tls import Tls
from gateway.voip.sip.transport import SipTransport, local_address_for

if TYPE_CHECKING:
    from gateway.metrics_server import ServedMetrics
    from gateway.tls_watch import TlsWatch

log = logging.getLogger("gateway")

STATUS_SOCKET = "status.sock"
END_SECONDS = 2.0
"""How long the end of the program waits for far ends to agree that their calls are over."""


class Daemon:
    """One running gateway. ``start`` raises ListenError, SpanError or OSError; then it runs until ``close``."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        rng: random.Random | None = None,
        trace: IO[str] | None = None,
        clock: Callable[[], int] = monotonic_microseconds,
        store: Store | None = None,
    ) -> None:
        """With a ``store``, which ``configuration`` is of, the configuration can be changed while it runs."""
        self.configuration = configuration
        self.clock = clock
        self._trace = trace
        gateway = configuration.gateway
        rng = rng or PooledRandom()
        self.media = MediaClient(
            rng,
            engine_settings(configuration),
        )
        self.records = record_writer(configuration)
        ring = Ring(gateway.capture_megabytes << 20) if gateway.capture_megabytes else None
        self.switch = Switch(
            configuration,
            self.media,
            rng,
            local_for=local_address_for,
            wall_clock=time.time,
            tracer=None if trace is None else self._write_trace,
            ring=ring,
        )
        self.inheritance = Inheritance(gateway.run_dir, self.switch, self.media)
        self.engine = EngineConnection(
            self.media, str(configuration.media_control), clock, self._media_event, self.drain
        )
        self.hotplug = HotPlug(self._presence)
        self.spans = {span.name: self._new_span(span) for span in configuration.spans}
        self.tls = _tls_watch(configuration)
        self.sip = SipTransport(
            self.switch.sip.settings.listeners,
            clock,
            self.drain,
            tls=None if self.tls is None else self.tls.tls,
            handshakes=Handshakes(self.switch.sip.defence.known),
            admit=self.switch.sip.admits,
        )
        self.captures: Captures | None = None
        if ring is not None:
            self.captures = Captures(
                ring, self.switch, self.sip, local_for=local_address_for, clock=clock, tap=self._tap
            )
        self.service = Service(
            notifier_of(),
            partial(summary, self.switch, self.spans),
            watchdog=watchdog_seconds(os.environ, os.getpid()),
            checks=engine_checks(self.media, self.drain),
        )
        self.metrics = _metrics(self)
        self.bindings = StateFile(gateway.state_path / BINDINGS_FILE, "registrations")
        self.iax_bindings = StateFile(gateway.state_path / IAX_BINDINGS_FILE, "IAX2 registrations")
        self.wan = WanWatcher(configuration.network.wan, clock, self._network)
        self.status = ControlServer(gateway.run_dir / STATUS_SOCKET, self._command)
        self._renewal = Renewal(self)
        self.keeper = None if store is None else self._keeper(store)
        self.provisioning = Provisioning(self, gateway.bus, self.keeper)
        self.service.checks.append(Check("D-Bus", self.provisioning.answers))
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
        self.records.prepare()
        self._restore_bindings()
        try:
            await self.inheritance.take_up(self.engine.start, self.clock, self._wall, self._record, self.records.recent)
            self.listeners = await self.sip.start()
            if self.captures is not None:
                self.captures.listeners = self.listeners
            await self.status.start()
            if self.metrics is not None:
                await self.metrics.start()
            self.hotplug.start()
            for span in self.spans.values():
                span.start()
        except BaseException:
            await self.close()
            raise
        self.engine.start()
        if self.tls is not None:
            self.tls.start()
        # First, so that nobody is told an address that is none outside.
        await self.wan.start()
        await self.sip.attach(_SipReceiver(self))
        if self.keeper is not None:
            self.keeper.start()
        self.provisioning.start()
        self.drain()

    async def end(self, patience: float = END_SECONDS) -> None:
        """End the calls, with both sides told and a record of each, in ``patience`` seconds at most; then close."""
        self.service.stopping()
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

    async def hand_over(self) -> None:
        """Leave all calls as they are to the program after this one, which is to begin at once; then close."""
        self.service.stopping()
        log.warning("%d calls are handed over, as the gateway is to begin anew", len(self.switch.calls))
        self.switch.sip.phones.store_now(self.clock())
        if self.switch.iax is not None:
            self.switch.iax.registrar.store_now(self.clock())
        self.drain()
        await self.close()

    @property
    def ending(self) -> bool:
        """Whether its calls are being ended."""
        return self._quiet is not None

    async def close(self) -> None:
        """Let go of everything, at once; calls that stand are kept for the next start."""
        self.inheritance.close(keep=bool(self.switch.calls))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop = None
        await self.provisioning.close()
        if self.keeper is not None:
            await self.keeper.close()
        self._renewal.close()
        await self.wan.close()
        self.sip.close()
        if self.tls is not None:
            self.tls.close()
        self.hotplug.close()
        for span in self.spans.values():
            span.close()
        self.engine.close()
        await self.status.close()
        if self.metrics is not None:
            await self.metrics.close()
        await self.bindings.close()
        await self.iax_bindings.close()
        self.records.close()
        await self.service.close()

    def _new_span(self, span: Span) -> VirtualSpan:
        end = VirtualSpan(
            span_directory(span),
            span.line,
            partial(self._frame, span.name),
            partial(self._line, span.name),
            name=span.name,
            after=self.drain,
        )
        self.hotplug.watch(span.name, str(span.channels), end)
        return end

    def _keeper(self, store: Store) -> ConfigurationKeeper:
        background = Background()
        applier = Reconfiguration(self.switch, self.clock, self, background)
        return ConfigurationKeeper(store, applier, self.clock, boot=boot_identity(), background=background)

    # -- what a Reconfiguration asks (gateway.reconfigure.Surroundings) --

    def close_span(self, name: str) -> None:
        """Let go of the line of a span."""
        self.spans.pop(name).close()
        self.hotplug.forget(name)

    def open_span(self, span: Span) -> None:
        """Begin with the line of a span that the switch has already."""
        self.spans[span.name] = self._new_span(span)
        self.spans[span.name].start()

    async def prepare(self, fresh: Prepared) -> None:
        """Open what ``fresh`` needs beside what there is. Raises ListenError, TlsFileError or OSError."""
        await self._renewal.open(fresh)

    async def give_up(self) -> None:
        """What was prepared is not needed."""
        await self._renewal.give_up()

    def reconfigured(self, fresh: Prepared) -> None:
        """The switch has taken ``fresh`` up."""
        self._renewal.take_up(fresh)
        self.drain()

    async def settle(self) -> None:
        """All have taken it up: close what nobody needs any more."""
        await self._renewal.settle()

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
            self.provisioning.line_changed(span, event.alarm.value, event.reason)
            self.switch.line_state(span, event.alarm, now)
            self.drain()

    def _presence(self, event: SpanPresence) -> None:
        text = "is there" if event.present else "is gone"
        log.info("span %s: %s %s", event.name or "of a card", event.channels, text)
        self.provisioning.event("info", "span", event.name, f"{event.channels} {text}")

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

    def _tap(self, stream: int, on: bool) -> None:
        self.media.tap(stream, on)
        self.drain()

    def _media_event(self, event: MediaEvent | IaxMediaEvent, now: int) -> None:
        if isinstance(event, VoiceCopied):
            if self.captures is not None:
                self.captures.heard(event)
            return
        if isinstance(event, EngineReady) and self.captures is not None:
            self.captures.engine_ready()
        if isinstance(event, EngineReady) and not self.inheritance.engine_answers():
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
        if self.inheritance.waiting:
            self.engine.drain()
            return
        self.switch.enter(self.clock())
        poll, sip, spans, engine = self.switch.poll, self.sip, self.spans, self.engine
        while True:
            output = poll()
            while output is not None:
                if isinstance(output, SpanFrame):
                    spans[output.span].send_frame(output.frame)
                elif isinstance(output, CallEnded):
                    if self.captures is not None:
                        self.captures.ended(output.call)
                    self._record(record_of(output.call, self._wall()))
                elif isinstance(output, CallRefused):
                    self._record(refusal_record(output.identity, output.refused, output.now, self._wall()))
                elif isinstance(output, SpanEvent):
                    log.info("span %s: %s", output.span, output.event)
                    self.provisioning.span_event(output.span, output.event)
                elif isinstance(output, StoreBindings):
                    self.bindings.keep(output.data)
                elif isinstance(output, StoreIaxBindings):
                    self.iax_bindings.keep(output.data)
                else:
                    sip.perform(output)
                output = poll()
            # The engine's client last, as the switch asks it for voice; what it has to tell may make the switch speak,
            # and what that asks goes out together with the rest.
            if engine.tell():
                continue
            # First: what far ends of IAX2 have heard of us must never be forgotten.
            self.inheritance.note()
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
        if self.metrics is not None:
            self.metrics.ended(record)
        log.info(
            "call %s from %s to %s: cause %d, released by %s, %.1f s",
            record.id,
            record.caller.get("number", "unknown"),
            record.dialled,
            record.cause,
            record.released_by,
            record.talk_seconds,
            extra={
                "source": record.source,
                "caller": record.caller.get("number"),
                "dialled": record.dialled,
                "cause": record.cause,
                "released_by": record.released_by,
                "talk_seconds": record.talk_seconds,
            },
        )
        self.provisioning.call_ended(record)
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
        self.service.reloading()
        if self.tls is not None:
            self.tls.reload()
        self.service.reloaded()

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


def _metrics(daemon: Daemon) -> ServedMetrics | None:
    """What hands metrics out, if anybody is to have them."""
    listen = daemon.configuration.gateway.metrics
    if listen is None:
        return None
    # Late: a gateway of which nobody asks for metrics need not have prometheus_client in memory.
    from gateway.metrics_server import ServedMetrics

    return ServedMetrics(listen, daemon)


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
