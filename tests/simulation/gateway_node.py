"""The gateway in virtual time: the product's Switch and MediaClient, run as the daemon runs them, and an engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.call_record import record_of
from gateway.config.model import Configuration
from gateway.core import MILLISECOND, SECOND
from gateway.leg import Leg, Listener, Offered
from gateway.media.api import IaxFrame, IaxMediaEvent, IaxVoiceDue
from gateway.media.client import EngineSettings, MediaClient, Transmit
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import ChannelFreed
from gateway.record import CallRecord, WallClock
from gateway.switch import CallEnded, CallRefused, SpanEvent, SpanFrame, Switch
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.flow import UDP, Close, Flow, Resolve, Send
from gateway.voip.sip.names import Answer
from tests.simulation.guard import Guard
from tests.simulation.iax_rfc import PORT as IAX_PORT
from tests.simulation.iax_voice import TALK_EVERY, IaxPart
from tests.simulation.tcp import Streams, StreamUser
from tests.simulation.voice import Stream
from tests.simulation.wire_engine import WireEngine
from tests.simulation.world import Address, DLine, LineEnd, Network, Node, World
from tests.unit.voip.sip.address_check import breach

if TYPE_CHECKING:
    from tests.simulation.itsp import Names

ADDRESS = "10.0.0.1"
ADDRESS_6 = "fd00::1"
"""Where it hears IAX2 as well."""
SECOND_IAX_PORT = 4570
PORT = 5060
START = 1_800_000_000
"""When the run begins, in seconds since 1970."""
CONTROL_DELAY = 300
"""Microseconds between signalling and engine, each way."""
_CLOCK = WallClock(0, 0)


class CountingSwitch(Switch):
    """A Switch that counts what it is offered, and has ``guard`` look at it."""

    offers = 0
    guard: Guard

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        self.offers += 1
        self.guard.offered(leg, offered)
        return super()._offered(leg, offered, now)


class _SpanEnd(LineEnd):
    def __init__(self, node: GatewayNode, span: str) -> None:
        self._node = node
        self._span = span

    def frame(self, data: bytes) -> None:
        node = self._node
        node.switch.receive_frame(self._span, data, node.world.now)
        node.settle()

    def alarm(self, alarm: Alarm) -> None:
        node = self._node
        node.switch.line_state(self._span, alarm, node.world.now)
        node.settle()


class GatewayNode(Node, StreamUser):
    """The box. ``records`` are those of all starts of the daemon, ``cut_short`` how many calls a restart took."""

    def __init__(
        self,
        world: World,
        configuration: Configuration,
        network: Network,
        lines: dict[str, DLine],
        guard: Guard,
        names: Names,
    ) -> None:
        super().__init__(world, "gateway")
        self.configuration = configuration
        self.network = network
        self.lines = lines
        self.engine = WireEngine()
        if configuration.iax is not None:
            self._carry_iax()
        self.records: list[CallRecord] = []
        self.freed: list[ChannelFreed] = []
        self.refused: list[CallRefused] = []
        self.offers = 0
        self.cut_short = 0
        self.restarts = 0
        self.running = False
        self.stored: bytes | None = None
        self.stored_iax: bytes | None = None
        # Registrations that were granted us, and times that both ends of a call wanted a change at once.
        self.registered = self.glares = 0
        self.breaches: list[str] = []
        self.guard = guard
        self.names = names
        self.overhear: Callable[[bytes, Address], None] | None = None
        self.watch_iax: Callable[[str, int], None] | None = None
        self._rng = random.Random(world.rng.getrandbits(64))
        self.start()

    def _carry_iax(self) -> None:
        """The engine has IAX2 sockets; all speak at the same time, so that what goes in a trunk frame goes in one."""
        self.engine.iax = IaxPart(
            self.engine,
            self._send_iax,
            self._iax_event,
            lambda stream: self.world.after(CONTROL_DELAY, self._iax_first, stream),
            random.Random(self.world.seed),
            itself=False,
        )
        self.network.also(ADDRESS, ADDRESS_6)
        for port in (IAX_PORT, SECOND_IAX_PORT):
            self.network.join_port(ADDRESS, port, partial(self._receive_iax, port))
        self.world.after(TALK_EVERY, self._speak)

    def _send_iax(self, source: Address, target: Address, data: bytes) -> None:
        if self.watch_iax is not None:
            self.watch_iax(target[0], -len(data))
        self.network.send(source, target, data)

    def _receive_iax(self, port: int, data: bytes, source: Address) -> None:
        if self.engine.iax is not None:
            if self.watch_iax is not None:
                self.watch_iax(source[0], len(data))
            self.engine.iax.receive(data, source, port)

    def _iax_event(self, event: IaxMediaEvent) -> None:
        if isinstance(event, IaxFrame):
            packet = self.engine.iax_frame(event.socket, event.address, event.port, event.data)
        elif isinstance(event, IaxVoiceDue):
            packet = self.engine.iax_voice_due(event.stream, event.stamp, event.codec, event.data)
        else:
            packet = self.engine.clear_voice(event.stream)
        if self.engine.connected:
            self.world.after(CONTROL_DELAY, self._from_engine, self.media, packet)

    def _iax_first(self, stream: Stream) -> None:
        self._first(self.media, stream)

    def _speak(self) -> None:
        if self.engine.iax is not None:
            self.engine.iax.speak(self.world.now)
            self.world.after(TALK_EVERY, self._speak)

    # -- life --

    def start(self) -> None:
        """The daemon starts."""
        world = self.world
        world.note(self.name, "up")
        media = self.configuration.media
        rng = random.Random(world.rng.getrandbits(64))
        self.media = MediaClient(
            rng,
            EngineSettings((media.rtp_ports.first, media.rtp_ports.last), media.silence_ms, media.grace_seconds),
        )
        self.switch = CountingSwitch(
            self.configuration,
            self.media,
            rng,
            local_for=lambda _remote: ADDRESS,
            wall_clock=lambda: START + world.now / SECOND,
        )
        self.switch.guard = self.guard
        if self.stored is not None:
            self.switch.sip.phones.restore(self.stored, world.now)
        if self.stored_iax is not None and self.switch.iax is not None:
            self.switch.iax.restore(self.stored_iax, world.now)
        self.guard.started(self.switch, world.now)
        self.running = True
        self.streams = Streams(self.network, ADDRESS, PORT, self)
        self.connect_engine()
        self.network.join(ADDRESS, self.name, self._receive)
        self.network.cut(ADDRESS, False)
        for name, line in self.lines.items():
            line.attach(0, _SpanEnd(self, name))
        self.settle()

    def stop(self) -> None:
        """The daemon dies; the engine runs on."""
        self.world.note(self.name, "down")
        self.restarts += 1
        self.running = False
        self.guard.stopping(self.switch, self.world.now)
        self.cut_short += len(self.switch.calls)
        self.offers += self.switch.offers - len(self.switch.calls)
        self.network.cut(ADDRESS, True)
        self.streams.vanish()
        for line in self.lines.values():
            line.attach(0, None)
        if self.media.up:
            self.engine.client_gone(self.world.now)
            self._arm_engine()

    def connect_engine(self) -> None:
        """A connection to the engine comes up."""
        if self.running and not self.media.up:
            self.engine.client_came()
            self.media.connected(self.world.now)
            self.settle()

    def lose_engine(self, *, crash: bool) -> None:
        """The connection to the engine breaks, or the engine itself."""
        self.world.note(self.name, "engine crashed" if crash else "engine lost")
        if crash:
            self.engine.crash()
        elif self.media.up:
            self.engine.client_gone(self.world.now)
            self._arm_engine()
        if self.running and self.media.up:
            self.media.lost(self.world.now)
            self.settle()

    # -- node --

    def _receive(self, data: bytes, source: Address) -> None:
        if self.running:
            if self.overhear is not None:
                self.overhear(data, source)
            self._count(data)
            self.switch.receive_sip(data, Flow(UDP, source[0], source[1], 0, 0), self.world.now)
            self.settle()

    def _count(self, data: bytes) -> None:
        status = data[8:11]
        if status == b"491":
            self.glares += 1
        elif status == b"200" and b" REGISTER\r\n" in data:
            self.registered += 1

    def stream_received(self, data: bytes, flow: Flow) -> None:
        self._count(data)
        self.switch.receive_sip(data, flow, self.world.now)
        self.settle()

    def stream_lost(self, flow: Flow) -> None:
        self.switch.sip_connection_lost(flow, self.world.now)
        self.settle()

    def drain(self) -> None:
        if not self.running:
            return
        switch, media, world = self.switch, self.media, self.world
        poll = switch.poll
        switch.enter(world.now)
        while True:
            while (output := poll()) is not None:
                if isinstance(output, SpanFrame):
                    self.lines[output.span].send(0, output.frame)
                elif isinstance(output, StoreBindings):
                    self.stored = output.data
                elif isinstance(output, StoreIaxBindings):
                    self.stored_iax = output.data
                elif isinstance(output, Send):
                    flow = output.flow
                    self.glares += output.data.startswith(b"SIP/2.0 491")
                    self.guard.sent(output, len(switch.sip.phones.location), world.now)
                    wrong = breach(switch.sip, flow, output.data)
                    if wrong is not None:
                        self.breaches.append(wrong)
                    if flow.transport == UDP:
                        self.network.send((ADDRESS, PORT), (flow.address, flow.port), output.data)
                    else:
                        self.streams.send(flow, output.data)
                elif isinstance(output, Close):
                    self.streams.close(output.flow)
                elif isinstance(output, CallEnded):
                    self._ended(output)
                elif isinstance(output, Resolve):
                    self._resolve(output)
                elif isinstance(output, CallRefused):
                    self.refused.append(output)
                elif isinstance(output, SpanEvent) and isinstance(output.event, ChannelFreed):
                    self.freed.append(output.event)
            # What the engine's client has to tell may make the switch speak again.
            told = media.poll()
            if told is None:
                break
            while told is not None:
                if isinstance(told, Transmit):
                    world.after(CONTROL_DELAY, self._to_engine, media, told.data)
                else:
                    switch.media_event(told, world.now)
                told = media.poll()

    def _resolve(self, question: Resolve) -> None:
        switch = self.switch
        self.names.ask(question, lambda asked, answer: self._resolved(switch, asked, answer))

    def _resolved(self, switch: Switch, question: Resolve, answer: Answer) -> None:
        if self.running and switch is self.switch:
            switch.looked_up(question, answer, self.world.now)
            self.settle()

    def _ended(self, output: CallEnded) -> None:
        record = record_of(output.call, _CLOCK)
        self.records.append(record)
        self.world.note(
            self.name, "record", f"{record.id[9:]} {record.dialled} cause {record.cause} by {record.released_by}"
        )

    def next_deadline(self) -> int | None:
        if not self.running:
            return None
        at, sweep = self.switch.next_timer(), self.media.next_timer()
        return at if sweep is None or (at is not None and at < sweep) else sweep

    def expire(self, now: int) -> None:
        if self.running:
            self.media.handle_timer(now)
            self.switch.handle_timer(now)

    # -- engine --

    def _to_engine(self, client: MediaClient, packet: bytes) -> None:
        if client is not self.media or not client.up or not self.engine.connected:
            return
        replies = self.engine.receive(packet, self.world.now)
        if replies:
            self.world.after(CONTROL_DELAY, self._from_engine, client, replies)
        fresh = self.engine.fresh
        while fresh:
            # Not everybody who promises voice sends some.
            stream = fresh.pop()
            if self._rng.random() < 0.8:
                self.world.after(self._rng.randrange(1, 400) * MILLISECOND, self._first, client, stream)

    def _first(self, client: MediaClient, stream: Stream) -> None:
        packet = self.engine.first_packet(stream)
        if packet:
            self._from_engine(client, packet)

    def hear_digit(self, stream: Stream, digit: str) -> None:
        """A far end pressed a key: the engine hears it on ``stream``."""
        self._from_engine(self.media, self.engine.digit_heard(stream, digit, 100))

    def hear_nothing(self) -> None:
        """The engine tells of a stream, any, that it hears nothing."""
        streams = list(self.engine.streams.values())
        if streams:
            self._from_engine(self.media, self.engine.silent(self._rng.choice(streams), 2000))

    def _from_engine(self, client: MediaClient, packet: bytes) -> None:
        if client is self.media and client.up and self.running:
            client.receive(packet, self.world.now)
            self.settle()

    def _arm_engine(self) -> None:
        at = self.engine.next_timer()
        if at is not None:
            self.world.at(at, self._engine_expired)

    def _engine_expired(self) -> None:
        # The end of the grace time may have moved meanwhile.
        self.engine.handle_timer(self.world.now)
        self._arm_engine()

    def total_offers(self) -> int:
        """Calls offered to any switch so far, without those that a restart took."""
        return self.offers + self.switch.offers


def retry_engine(node: GatewayNode, after_milliseconds: int) -> None:
    """Bring the engine's connection back after a while."""
    node.world.after(after_milliseconds * MILLISECOND, partial(GatewayNode.connect_engine, node))
