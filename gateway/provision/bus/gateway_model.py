"""The running daemon as the bus shows it: what ``states`` has, read from switch, spans and engine when it is asked for.

Nothing is kept here but what was begun over the bus: loops, captures, and how many calls each peer has, for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gateway.call import Call
from gateway.capture.capture import Selection, UnknownCallError
from gateway.capture.captures import MAX_AT_ONCE, UnknownSpanError
from gateway.config.model import Configuration, IaxTrunk, Phone, Trunk
from gateway.core import MILLISECOND, SECOND
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING, Leg
from gateway.media.api import Failure, Opened, Statistics
from gateway.pri.channels import Block, ChannelState
from gateway.pri.trunk import PriTrunk
from gateway.provision.bus.errors import Name, ServiceError, invalid, not_found, not_possible, not_supported
from gateway.provision.bus.model import ConfigurationModel, Progress, TraceWanted
from gateway.provision.bus.peer_states import iax_trunk_state, phone_state, trunk_state
from gateway.provision.bus.states import (
    CallState,
    ManagerState,
    NetworkState,
    PhoneState,
    Quality,
    SpanState,
    TrunkState,
)
from gateway.provision.bus.trial_call import TrialCall
from gateway.status import findings_of

if TYPE_CHECKING:
    from gateway.daemon import Daemon

log = logging.getLogger(__name__)

T = TypeVar("T")

COUNTED_FOR = 100 * MILLISECOND
ENGINE_SECONDS = 3.0
MAX_LOOPS = 64
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SERIAL_PLACES = (Path("/sys/class/dmi/id/product_serial"), Path("/etc/machine-id"))
_BLOCKS = tuple(block for block in Block if block)


def serial_number(places: Sequence[Path] = _SERIAL_PLACES) -> str:
    """The box's own number, or else the machine's identity; empty where there is neither."""
    for place in places:
        try:
            text = place.read_text("ascii", "replace").strip()
        except OSError:
            continue
        if text and text.lower() not in ("none", "not specified", "to be filled by o.e.m.", "system serial number"):
            return text[:64]
    return ""


def own_version() -> str:
    """The version of this program."""
    try:
        return version("branch-gateway")
    except PackageNotFoundError:
        return "unknown"


class _Reply(Generic[T]):
    """What the media engine replies, as somebody waits for it."""

    def __init__(self) -> None:
        self._told: asyncio.Future[T | Failure] = asyncio.get_running_loop().create_future()

    def __call__(self, result: T | Failure) -> None:
        if not self._told.done():
            self._told.set_result(result)

    async def here(self) -> T | Failure | None:
        """The reply; None if none came within ENGINE_SECONDS."""
        try:
            return await asyncio.wait_for(self._told, ENGINE_SECONDS)
        except TimeoutError:
            return None


class DaemonModel:
    """A GatewayModel over ``daemon``, whose configuration is changed by ``configuration``."""

    def __init__(
        self, daemon: Daemon, configuration: ConfigurationModel, wall: Callable[[], int], *, serial: str | None = None
    ) -> None:
        self.configuration = configuration
        self._daemon = daemon
        self._wall = wall
        self._serial = serial_number() if serial is None else serial
        self._version = own_version()
        self._begun = daemon.clock()
        self._started = wall()
        self._loops: dict[tuple[str, int], tuple[int, int]] = {}
        self._pours: set[asyncio.Task[int]] = set()
        self._peers_of: Configuration | None = None
        self._peers: dict[str, Trunk | IaxTrunk | Phone] = {}
        self._counted: Counter[str] = Counter()
        self._counted_at = -COUNTED_FOR

    async def close(self) -> None:
        """End what goes on for callers."""
        for task in self._pours:
            task.cancel()
        if self._pours:
            await asyncio.wait(self._pours, timeout=2)

    def _at(self, now: int | None) -> int:
        """The wall-clock time of the monotonic ``now``, to the tenth of a second, so that it stays the same."""
        if now is None:
            return 0
        wall = self._wall() + now - self._daemon.clock()
        return max(round(wall / 100_000) * 100_000, 0)

    # -- the whole --

    def manager(self) -> ManagerState:
        """The gateway as a whole."""
        daemon = self._daemon
        switch = daemon.switch
        now = daemon.clock()
        idle = total = 0
        for trunk in switch.trunks.values():
            idle += trunk.channels.count(ChannelState.IDLE)
            total += len(trunk.channels)
        health = self._health()
        well = all(text == "ok" for text in health.values())
        return ManagerState(
            name=daemon.configuration.gateway.name,
            version=self._version,
            serial_number=self._serial,
            started=self._started,
            uptime=(now - self._begun) // SECOND,
            state="ending" if daemon.ending else "running" if well else "degraded",
            health=health,
            calls=len(switch.calls),
            channels=total,
            channels_idle=idle,
            registered=len(switch.sip.phones.location.names()),
            shut_out={address: int(left) for address, left in switch.sip.defence.shut_out(now).items()},
            statistics=self._statistics(),
            log_level=logging.getLevelName(logging.getLogger().getEffectiveLevel()).lower(),
        )

    def _statistics(self) -> dict[str, int]:
        switch = self._daemon.switch
        counted = dict(switch.sip.statistics())
        if switch.iax is not None:
            counted |= {f"iax_{name}": value for name, value in switch.iax.statistics().items()}
        return {name: value for name, value in counted.items() if value >= 0}

    def _health(self) -> dict[str, str]:
        daemon = self._daemon
        down = [
            name for name, trunk in daemon.switch.trunks.items() if not trunk.up or not daemon.spans[name].alarm.usable
        ]
        standing = self.configuration.standing()
        return {
            "engine": "ok" if daemon.switch.engine_up else "the media engine does not answer: no call has voice",
            "lines": f"down: {', '.join(down)}" if down else "ok",
            "configuration": standing.degraded or "ok",
            **daemon.service.faults,
        }

    def network(self) -> NetworkState:
        """How it stands to the Internet."""
        daemon = self._daemon
        status: dict[str, Any] = dict(daemon.switch.sip.relocation.status())
        section = daemon.configuration.network
        external = [
            (family, str(found["address"]), str(found["from"]))
            for family, found in sorted(status["external"].items())
            if "address" in found
        ]
        listeners = [f"{each.transport.lower()} {each.address}:{each.port}" for each in daemon.listeners]
        if daemon.configuration.iax is not None:
            listeners += [f"iax2 {each.address}:{each.port}" for each in daemon.configuration.iax.listen]
        return NetworkState(
            interface=str(status["interface"] or ""),
            addresses=tuple(status["addresses"]),
            networks=tuple(status["networks"]),
            externip=str(section.externhost or section.externip),
            localnet=tuple(str(each) for each in section.localnet),
            external=tuple(external),
            listeners=tuple(listeners),
        )

    def pardon(self, address: str) -> None:
        """Hear an address again."""
        if not self._daemon.switch.pardon(address):
            raise not_found(f"address {address} that is shut out")

    def set_log_level(self, level: str) -> None:
        """debug, info, warning or error."""
        if level not in LEVELS:
            raise invalid(f"level: {level!r}, expected {', '.join(LEVELS)}")
        logging.getLogger().setLevel(LEVELS[level])

    # -- spans --

    def span_names(self) -> Iterable[str]:
        """Its spans."""
        return self._daemon.spans

    def span(self, name: str) -> SpanState | None:
        """One of them."""
        daemon = self._daemon
        end, trunk = daemon.spans.get(name), daemon.switch.trunks.get(name)
        if end is None or trunk is None:
            return None
        now = daemon.clock()
        layer1 = end.layer1
        settings = next((each for each in daemon.configuration.spans if each.name == name), None)
        if settings is None:
            return None
        channels = []
        for channel in trunk.channels:
            why = (
                () if not channel.block else tuple(str(each.name).lower() for each in _BLOCKS if each in channel.block)
            )
            if (name, channel.timeslot) in self._loops:
                why = (*why, "loop")
            channels.append((channel.timeslot, channel.state.value, why))
        return SpanState(
            name=name,
            line=settings.line.value,
            side=settings.side.value,
            switch_type=settings.switch_type.value,
            groups=tuple(settings.group),
            context=settings.context,
            alarm=end.alarm.value,
            reason=layer1.reason,
            since=self._at(layer1.since),
            bounces=layer1.recent_bounces(now),
            data_link=trunk.up,
            channels=tuple(channels),
            counters={each: int(value) for each, value in layer1.counters.as_json().items()},
            findings=tuple(finding.text for finding in findings_of(trunk, end, now)),
        )

    def _trunk_of(self, span: str, timeslot: int) -> PriTrunk:
        trunk = self._daemon.switch.trunks.get(span)
        if trunk is None:
            raise not_found(f"span {span}")
        if timeslot and trunk.channels.get(timeslot) is None:
            raise not_found(f"B channel {timeslot} of span {span}")
        return trunk

    def _each_of(self, trunk: PriTrunk, timeslot: int) -> list[int]:
        return [timeslot] if timeslot else [channel.timeslot for channel in trunk.channels]

    def block(self, span: str, timeslot: int) -> None:
        """Take a B channel out of service, 0 for all; calls go on."""
        trunk = self._trunk_of(span, timeslot)
        for each in self._each_of(trunk, timeslot):
            trunk.block(each, self._daemon.clock())
        self._daemon.drain()

    def unblock(self, span: str, timeslot: int) -> None:
        """Put it back."""
        trunk = self._trunk_of(span, timeslot)
        for each in self._each_of(trunk, timeslot):
            self._end_loop(span, each)
            trunk.unblock(each, self._daemon.clock())
        self._daemon.drain()

    def restart(self, span: str, timeslot: int) -> None:
        """RESTART a B channel, 0 for the interface; its calls are lost."""
        trunk = self._trunk_of(span, timeslot)
        if not trunk.up:
            raise not_possible(f"span {span} has no data link")
        trunk.restart(timeslot or None, self._daemon.clock())
        self._daemon.drain()

    async def loop(self, span: str, timeslot: int, on: bool) -> None:
        """Send back what comes in on a blocked B channel, or stop that."""
        if not timeslot:
            raise invalid("timeslot: 0, expected one B channel")
        trunk = self._trunk_of(span, timeslot)
        if not on:
            if not self._end_loop(span, timeslot):
                raise not_possible(f"channel {timeslot} of span {span} is not looped")
            self._daemon.drain()
            return
        channel = trunk.channels.get(timeslot)
        if channel is None or Block.LOCAL not in channel.block or channel.owner is not None:
            raise not_possible(f"channel {timeslot} of span {span} has to be blocked and without a call first")
        if (span, timeslot) in self._loops:
            raise not_possible(f"channel {timeslot} of span {span} is looped already")
        if len(self._loops) >= MAX_LOOPS:
            raise ServiceError(Name.LIMITS_EXCEEDED, f"{MAX_LOOPS} channels are looped")
        if not self._daemon.switch.engine_up:
            raise not_possible("the media engine does not answer")
        media = self._daemon.media
        opened = _Reply[Opened]()
        label = f"loop {span} {timeslot}"
        stream = media.open_tdm(trunk.settings.channel_path(timeslot), trunk.settings.companding, label, opened)
        echo = media.open_echo(label, lambda _: None)
        media.connect(stream, echo)
        self._loops[span, timeslot] = (stream, echo)
        self._daemon.drain()
        result = await opened.here()
        if isinstance(result, Opened):
            return
        self._end_loop(span, timeslot)
        self._daemon.drain()
        if result is None:
            raise ServiceError(Name.TIMEOUT, "the media engine does not answer")
        raise not_possible(f"channel {timeslot} of span {span}: {result.text}")

    def _end_loop(self, span: str, timeslot: int) -> bool:
        streams = self._loops.pop((span, timeslot), None)
        for stream in streams or ():
            self._daemon.media.close(stream)
        return streams is not None

    # -- trunks and phones --

    def _calls_of(self, name: str) -> int:
        """How many calls have a leg of ``name``."""
        now = self._daemon.clock()
        if now - self._counted_at >= COUNTED_FOR:
            self._counted_at = now
            self._counted = Counter()
            for call in self._daemon.switch.calls.values():
                outgoing = call.outgoing
                ends = {call.source} if outgoing is None else {call.source, outgoing.source}
                self._counted.update(ends)
        return self._counted[name]

    def trunk_names(self) -> Iterable[str]:
        """Its trunks, SIP and IAX2."""
        configuration = self._daemon.configuration
        return [each.name for each in (*configuration.trunks, *configuration.iax_trunks)]

    def _configured(self, name: str) -> Trunk | IaxTrunk | Phone | None:
        configuration = self._daemon.configuration
        if self._peers_of is not configuration:
            # It is replaced as a whole.
            self._peers_of = configuration
            self._peers = {each.name: each for each in configuration.trunks}
            self._peers |= {each.name: each for each in configuration.iax_trunks}
            self._peers |= {each.name: each for each in configuration.phones}
        return self._peers.get(name)

    def trunk(self, name: str) -> TrunkState | None:
        """One of them."""
        peer = self._configured(name)
        now = self._daemon.clock()
        switch = self._daemon.switch
        if isinstance(peer, Trunk):
            return trunk_state(peer, switch.sip, now, self._at, self._calls_of(name))
        if isinstance(peer, IaxTrunk) and switch.iax is not None:
            return iax_trunk_state(peer, switch.iax, now, self._at, self._calls_of(name))
        return None

    def phone_names(self) -> Iterable[str]:
        """Its phones."""
        return [each.name for each in self._daemon.configuration.phones]

    def phone(self, name: str) -> PhoneState | None:
        """One of them."""
        peer = self._configured(name)
        if not isinstance(peer, Phone):
            return None
        return phone_state(peer, self._daemon.switch.sip, self._daemon.clock(), self._at, self._calls_of(name))

    # -- calls --

    def call_names(self) -> Iterable[str]:
        """Its calls' identities."""
        return self._daemon.switch.calls

    def call_mark(self, identity: str) -> object:
        """What differs when anything that is told of a call has changed."""
        call = self._daemon.switch.calls.get(identity)
        if call is None:
            return None
        history = call.history
        digits = call.setup.called.digits
        return (call.state, digits, len(history.attempts), history.connected, history.one_way, len(history.notes))

    def call(self, identity: str) -> CallState | None:
        """One of them."""
        call = self._daemon.switch.calls.get(identity)
        if call is None:
            return None
        history = call.history
        number = call.setup.caller.number
        connected = history.connected.number if history.connected is not None else None
        hops = [_hop("incoming", call.incoming)]
        if call.outgoing is not None:
            hops.append(_hop("outgoing", call.outgoing))
        return CallState(
            id=identity,
            state=call.state.value,
            source=call.source,
            context=call.context,
            caller=number.digits if number is not None else "",
            caller_name=call.setup.caller.name or "",
            called=call.setup.called.digits,
            destination=history.attempts[-1].destination if history.attempts else "",
            connected=connected.digits if connected is not None else "",
            started=self._at(history.started),
            alerted=self._at(history.alerting),
            answered=self._at(history.answered),
            emergency=history.emergency,
            one_way=history.one_way,
            hops=tuple(hops),
            notes=tuple(history.notes),
        )

    def _live(self, identity: str) -> Call:
        call = self._daemon.switch.calls.get(identity)
        if call is None:
            raise not_found(f"call {identity}")
        return call

    async def quality(self, identity: str) -> Sequence[Quality]:
        """The voice of a call, by side."""
        call = self._live(identity)
        sides = [("incoming", call.incoming.stream)]
        if call.outgoing is not None:
            sides.append(("outgoing", call.outgoing.stream))
        found = []
        for side, stream in sides:
            statistics = await self.statistics(stream)
            if statistics is not None:
                found.append(_quality(side, statistics))
        return found

    async def statistics(self, stream: int | None) -> Statistics | None:
        """The counters of a stream; None if it has none, or none any more."""
        if stream is None or not self._daemon.switch.engine_up:
            return None
        told = _Reply[Statistics]()
        self._daemon.media.statistics(stream, told)
        self._daemon.drain()
        result = await told.here()
        return result if isinstance(result, Statistics) else None

    def hang_up(self, identity: str) -> None:
        """End a call."""
        self._live(identity)
        self._daemon.switch.hang_up(identity, self._daemon.clock())
        self._daemon.drain()

    # -- diagnostics --

    def explain(self, context: str, number: str) -> Sequence[str]:
        """How the dial plan would route a number, a step a line."""
        return self._daemon.switch.explain(context, number)

    async def test_call(self, context: str, number: str, seconds: int, tell: Progress) -> Mapping[str, str]:
        """Call a number; what was heard."""
        return await TrialCall(self._daemon, self.statistics).run(context, number, seconds, tell)

    def trace(self, wanted: TraceWanted) -> int:
        """The end of a pipe to read a pcapng from; closing it ends the trace."""
        captures = self._daemon.captures
        if captures is None:
            raise not_supported("nothing is kept to be traced: [gateway] capture_megabytes = 0")
        if len(self._pours) >= MAX_AT_ONCE:
            raise ServiceError(Name.LIMITS_EXCEEDED, f"{MAX_AT_ONCE} traces are handed out already")
        selection = Selection(wanted.call or None, wanted.span or None, wanted.secrets, wanted.voice)
        try:
            # A look first, as what pours it can tell nobody what is wrong.
            captures.capture(selection)
        except (UnknownCallError, UnknownSpanError) as error:
            raise ServiceError(Name.NOT_FOUND, str(error)) from None
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(ours, True)
        task = asyncio.create_task(captures.pour(selection, theirs, follow=not wanted.past), name="trace")
        self._pours.add(task)
        task.add_done_callback(self._poured)
        return ours

    def _poured(self, task: asyncio.Task[int]) -> None:
        self._pours.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a trace ended early: %s", task.exception())

    def trace_state(self) -> tuple[int, int]:
        """How many traces there are, and octets of the ring."""
        captures = self._daemon.captures
        return len(self._pours), 0 if captures is None else captures.ring.octets


def _hop(side: str, leg: Leg) -> tuple[str, str, str, str, str, bool, str]:
    record: dict[str, Any] = leg.record()
    facts = record.get("facts") or ()
    where = f"channel {record['channel']}" if record.get("channel") is not None else record.get("far_address")
    media = record.get("srtp") or ("AES" if SECURE_MEDIA in facts else "no")
    return (
        side,
        leg.technology,
        leg.source or str(record.get("peer") or record.get("trunk") or ""),
        str(where or ""),
        str(record.get("codec") or ""),
        SECURE_SIGNALLING in facts,
        str(media),
    )


def _quality(side: str, told: Statistics) -> Quality:
    return Quality(
        side=side,
        sent=told.packets_sent,
        received=told.packets_received,
        lost=told.lost,
        remote_lost=max(told.remote_lost, 0),
        jitter=told.jitter,
        round_trip=told.round_trip,
        delay=told.buffer_delay,
        mos=told.mos,
        source=told.source,
    )
