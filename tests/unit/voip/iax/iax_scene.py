"""IAX2 endpoints in virtual time, a network that loses, doubles and reorders, and media engines that are lists.

What is on the wire is what the gateway says: full frames are its own, mini frames are made by ``IaxMedia.speak`` as the
engine makes them. Each agent is a peer of each other one, by name.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, Party
from gateway.leg import (
    Alerting,
    Answered,
    Keypad,
    Leg,
    LegEvent,
    Listener,
    NotOffered,
    Offered,
    Proceeding,
    Released,
    Setup,
)
from gateway.media.api import (
    ClearVoice,
    Codec,
    Direction,
    Failure,
    IaxFrame,
    IaxMediaEvent,
    IaxVoiceDue,
    IaxVoiceSettings,
    OnOpened,
    OnStatistics,
    Opened,
    Statistics,
)
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Command, FrameType, FullFrame, MiniFrame, parse
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import DEFAULT_PORT, IaxListener, IaxSettings, PeerSettings
from tests.unit.no_media import NoMedia

ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "m": "192.0.2.9"}
SECRET = "s3cret"  # noqa: S105
PACKET = 20
ODD_STAMP = 3000
Place = tuple[str, int]
"""Address and port."""


class IaxMedia(NoMedia):
    """The engine's requests for one gateway, noted and answered at once; its voice as far as anybody could tell."""

    def __init__(self, send: Callable[[Place, Place, bytes], None]) -> None:
        self._send = send
        self._serial = 0
        self.refuse: Failure | None = None
        self.sockets: dict[int, Place] = {}
        self.voices: dict[int, int] = {}
        self.settings: dict[int, IaxVoiceSettings] = {}
        self.history: list[tuple[int, IaxVoiceSettings]] = []
        # What was heard on a stream: (stamp, octets) of each frame.
        self.heard: dict[int, list[tuple[int, bytes]]] = {}
        self.events: list[IaxMediaEvent] = []
        # Streams for whose settings a full VOICE frame went, and those that a clear frame was told of.
        self._begun: dict[int, tuple[object, ...]] = {}
        self._told: set[int] = set()
        # The receive key before the one in force: voice is faster than RTKEY.
        self._former: dict[int, bytes] = {}

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        self._serial += 1
        self.sockets[self._serial] = (address, port)
        on_reply(Opened(self._serial, address, port))
        return self._serial

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        assert data[0] & 0x80, "no full frame"
        self._send(self.sockets[socket], (address, port), data)

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        assert socket in self.sockets
        self._serial += 1
        if self.refuse is not None:
            on_reply(self.refuse)
            return self._serial
        self.voices[self._serial] = socket
        self.heard[self._serial] = []
        on_reply(Opened(self._serial))
        return self._serial

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        assert stream in self.voices
        assert settings.source_call
        assert settings.far_call
        assert not settings.encrypted or (settings.send_key and settings.receive_key)
        before = self.settings.get(stream)
        if before is not None and before.receive_key != settings.receive_key:
            self._former[stream] = before.receive_key
        self.settings[stream] = settings
        self.history.append((stream, settings))
        self._told.discard(stream)

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        assert stream in self.voices
        self.heard[stream].append((stamp, data))

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        on_reply(Statistics())

    def connect(self, first: int, second: int) -> None:
        """Voice is not carried between streams here."""

    def disconnect(self, stream: int) -> None:
        """Nor was it."""

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        assert stream in self.voices or stream in self.sockets, f"stream {stream} closed twice or never opened"
        self.sockets.pop(stream, None)
        self.voices.pop(stream, None)
        self.settings.pop(stream, None)
        if on_reply is not None:
            on_reply(Statistics(packets_received=len(self.heard.get(stream, ()))))

    # -- what the engine does by itself --

    def speak(self, stream: int, data: bytes, now: int) -> None:
        """One packet of voice goes out: by the gateway as a full frame, or as a mini frame."""
        settings = self.settings.get(stream)
        if settings is None:
            return
        stamp = (now - settings.epoch) // MILLISECOND
        key = (settings.far_call, settings.epoch, settings.codec, stamp >> 16)
        if self._begun.get(stream) != key:
            self._begun[stream] = key
            self.events.append(IaxVoiceDue(stream, stamp, settings.codec, data))
            return
        frame = bytes(MiniFrame(settings.source_call, stamp & 0xFFFF, data))
        if settings.send_key:
            frame = Cipher(settings.send_key, random.Random(stamp)).encrypt(frame)
        self._send(self.sockets[self.voices[stream]], (settings.address, settings.port), frame)

    def hear(self, source: Place, data: bytes) -> None:
        """A mini frame came in."""
        for stream, settings in self.settings.items():
            if (settings.address, settings.port) != source or settings.far_call != data[0] << 8 | data[1]:
                continue
            if settings.direction in (Direction.SENDONLY, Direction.INACTIVE):
                return
            frame = self._opened(stream, settings, data) if settings.receive_key else parse(data)
            if frame is None:
                if settings.encrypted and stream not in self._told and (len(data) - 2) % 16:
                    self._told.add(stream)
                    self.events.append(ClearVoice(stream))
                return
            assert isinstance(frame, MiniFrame)
            self.heard[stream].append((frame.stamp, frame.data))

    def _opened(self, stream: int, settings: IaxVoiceSettings, data: bytes) -> MiniFrame | None:
        """A mini frame decrypted with the key in force or the one before it; the stamp tells whether that was right."""
        heard = self.heard[stream]
        for key in (settings.receive_key, self._former.get(stream, b"")):
            if not key:
                continue
            try:
                frame = parse(Cipher(key, random.Random(0)).decrypt(data))
            except IaxError:
                continue
            assert isinstance(frame, MiniFrame)
            odd = bool(heard) and (frame.stamp - heard[-1][0] + ODD_STAMP) & 0xFFFF > 2 * ODD_STAMP
            if not odd and (not heard or len(frame.data) == len(heard[-1][1])):
                return frame
        return None


@dataclass
class Notes:
    """A listener that keeps what it hears, and may react."""

    events: list[LegEvent] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    react: Callable[[Leg, LegEvent, int], None] | None = None

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        assert self.released is None, "an event after Released"
        self.events.append(event)
        self.times.append(now)
        if self.react is not None:
            self.react(leg, event, now)

    @property
    def released(self) -> Released | None:
        return next((event for event in self.events if isinstance(event, Released)), None)

    @property
    def keys(self) -> str:
        return "".join([event.digits for event in self.events if isinstance(event, Keypad)])

    def of(self, kind: type[LegEvent]) -> list[LegEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Agent:
    """One endpoint with its media and what it was offered."""

    def __init__(self, name: str, settings: IaxSettings, scene: Scene, seed: int) -> None:
        self.name = name
        self.media = IaxMedia(scene.carry)
        self.offers: list[tuple[IaxLeg, Offered, Notes]] = []
        self.not_offered: list[NotOffered] = []
        self.refuse_offers = False
        self.on_offer: Callable[[IaxLeg, Offered, Notes, int], None] | None = None
        self.endpoint = IaxEndpoint(
            settings,
            self.media,
            random.Random(seed),
            self._on_offer,
            on_not_offered=lambda what, now: self.not_offered.append(what),
        )

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if self.refuse_offers:
            return None
        assert isinstance(leg, IaxLeg)
        notes = Notes()
        self.offers.append((leg, offered, notes))
        if self.on_offer is not None:
            self.on_offer(leg, offered, notes, now)
        return notes

    def drain(self, now: int) -> None:
        """Let the engine and the endpoint say what they have to say to each other."""
        while True:
            if self.endpoint.poll() is not None:
                continue
            if not self.media.events:
                return
            self.endpoint.media_event(self.media.events.pop(0), now)


@dataclass
class Faults:
    """What the network does to each datagram; times in microseconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: int = MILLISECOND
    jitter: int = 0


BAD_NETWORK = Faults(loss=0.05, duplicate=0.05, delay=10 * MILLISECOND, jitter=40 * MILLISECOND)
"""5 % loss, duplicates, and delays that change the order."""


class Scene:
    """Agents and the network; time jumps from event to event. ``wire`` has all full frames sent: (time, who, octets).

    ``peer`` may change what an agent (by name) has of a peer, ``whole`` what it has of itself.
    """

    def __init__(
        self,
        names: Sequence[str] = ("a", "b"),
        *,
        seed: int = 1,
        faults: Faults | None = None,
        peer: Callable[[str, PeerSettings], PeerSettings] = lambda owner, settings: settings,
        whole: Callable[[str, IaxSettings], IaxSettings] = lambda owner, settings: settings,
    ) -> None:
        self.now = SECOND
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        self.wire: list[tuple[int, str, bytes]] = []
        self.minis: list[tuple[int, str, Place, bytes]] = []
        # Whether a datagram is lost: who sends it, to where, the octets.
        self.drop: Callable[[str, Place, bytes], bool] = lambda sender, to, data: False
        self._queue: list[tuple[int, int, Place, Place, bytes]] = []
        self._serial = 0
        self._agents: dict[str, Agent] = {}
        for number, name in enumerate(names):
            peers = tuple([peer(name, _peer(name, other)) for other in names if other != name])
            settings = IaxSettings(listeners=(IaxListener(ADDRESSES[name]),), peers=peers)
            self._agents[name] = Agent(name, whole(name, settings), self, 100 * (number + seed))
        self._places = {(ADDRESSES[name], DEFAULT_PORT): agent for name, agent in self._agents.items()}
        for agent in self._agents.values():
            agent.endpoint.open(self.now)
            agent.drain(self.now)

    def __getitem__(self, name: str) -> Agent:
        return self._agents[name]

    @property
    def agents(self) -> list[Agent]:
        return list(self._agents.values())

    # -- the network --

    def carry(self, source: Place, target: Place, data: bytes) -> None:
        """A datagram goes out."""
        sender = self._places[source].name if source in self._places else ""
        if data[0] & 0x80:
            self.wire.append((self.now, sender, data))
        else:
            self.minis.append((self.now, sender, target, data))
        faults = self.faults
        if self.drop(sender, target, data) or self.rng.random() < faults.loss:
            return
        for _ in range(2 if self.rng.random() < faults.duplicate else 1):
            self._serial += 1
            at = self.now + faults.delay + (self.rng.randint(0, faults.jitter) if faults.jitter else 0)
            heapq.heappush(self._queue, (at, self._serial, source, target, data))

    def deliver(self, source: Place, target: Place, data: bytes) -> None:
        """A datagram arrives, from whom it says."""
        agent = self._places.get(target)
        if agent is None:
            return
        if data[0] & 0x80:
            socket = next(stream for stream, place in agent.media.sockets.items() if place == target)
            agent.endpoint.media_event(IaxFrame(socket, *source, data), self.now)
        else:
            agent.media.hear(source, data)
        agent.drain(self.now)

    def drain(self) -> None:
        for agent in self.agents:
            agent.drain(self.now)

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> None:
        """Let ``seconds`` pass, or less if ``until`` comes true."""
        end = self.now + int(seconds * SECOND)
        self.drain()
        while until is None or not until():
            times = [at for agent in self.agents if (at := agent.endpoint.next_timer()) is not None]
            if self._queue:
                times.append(self._queue[0][0])
            if not times or min(times) > end:
                self.now = end
                break
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, source, target, data = heapq.heappop(self._queue)
                self.deliver(source, target, data)
            for agent in self.agents:
                agent.endpoint.handle_timer(self.now)
            self.drain()

    # -- calls --

    def place(self, setup: Setup | None = None, *, caller: str = "a", called: str = "b") -> tuple[IaxLeg, Notes]:
        """``caller`` begins a call to ``called``."""
        leg = self[caller].endpoint.new_leg(called, self.now)
        assert isinstance(leg, IaxLeg), leg
        notes = Notes()
        leg.listener = notes
        leg.place(setup or simple_setup(), self.now)
        self.drain()
        return leg, notes

    def answered(
        self, setup: Setup | None = None, *, caller: str = "a", called: str = "b", seconds: float = 30.0
    ) -> tuple[IaxLeg, Notes, IaxLeg, Notes]:
        """``caller`` calls ``called``, who rings and answers."""
        before = len(self[called].offers)
        leg, notes = self.place(setup, caller=caller, called=called)
        self.run(seconds, until=lambda: len(self[called].offers) > before or notes.released is not None)
        assert len(self[called].offers) > before, notes.events
        far, _, far_notes = self[called].offers[-1]
        far.proceed(self.now)
        far.alert(False, self.now)
        self.run(seconds, until=lambda: bool(notes.of(Alerting)))
        far.answer(None, self.now)
        self.run(seconds, until=lambda: bool(notes.of(Answered)))
        assert notes.of(Answered), notes.events
        self.run(0.5)
        return leg, notes, far, far_notes

    def talk(self, *legs: tuple[str, IaxLeg], packets: int = 10) -> None:
        """Each leg's engine sends voice, a packet every 20 ms; the octets say whose it is."""
        for _ in range(packets):
            for name, leg in legs:
                if leg.stream is not None:
                    self[name].media.speak(leg.stream, name.encode() * 160, self.now)
            self.run(PACKET / 1000)

    def heard(self, name: str, leg: IaxLeg) -> str:
        """Whose voice ``leg`` of agent ``name`` has heard, each once; noise that another key made is nobody's."""
        assert leg.stream is not None
        voices = {data[:1] for _, data in self[name].media.heard[leg.stream] if len(set(data)) == 1}
        return b"".join(sorted(voices)).decode("latin-1")

    # -- what was said --

    def sent(self, sender: str, command: int, kind: int = FrameType.IAX) -> list[FullFrame]:
        """The frames in clear of a kind and subclass that ``sender`` sent, repetitions included."""
        frames = [parse(data) for _, by, data in self.wire if by == sender]
        return [
            frame
            for frame in frames
            if isinstance(frame, FullFrame) and frame.type == kind and frame.subclass == command
        ]

    def ladder(self) -> list[str]:
        """The wire in short: "a NEW 2->0 …"."""
        return [f"{by} {parse(data)}" for _, by, data in self.wire]

    def assert_clean(self, seconds: float = 90.0) -> None:
        """After long enough nothing is left over anywhere."""
        self.run(seconds)
        for agent in self.agents:
            assert not agent.endpoint.legs, agent.endpoint.legs
            assert not agent.media.voices, agent.media.voices
            assert agent.endpoint.quiet, agent.endpoint.as_json(self.now)


def _peer(owner: str, other: str) -> PeerSettings:
    return PeerSettings(name=other, host=ADDRESSES[other], user=owner, secret=SECRET, context=f"from-{other}")


def simple_setup(called: str = "4165551234", caller: str = "2125550000") -> Setup:
    return Setup(Number(called), Party(Number(caller), "Alice"))


class Bridge:
    """What a Call does with two legs, in short: a call that comes to ``agent`` goes on to ``called``, and is joined."""

    def __init__(self, scene: Scene, agent: str, called: str, *, join: bool = True) -> None:
        self._scene = scene
        self._agent = scene[agent]
        self._called = called
        self._join = join
        self.incoming: IaxLeg | None = None
        self.outgoing: IaxLeg | None = None
        self.notes: list[Notes] = []
        self._agent.on_offer = self._offered

    def _offered(self, leg: IaxLeg, offered: Offered, notes: Notes, now: int) -> None:
        outgoing = self._agent.endpoint.new_leg(self._called, now)
        assert isinstance(outgoing, IaxLeg), outgoing
        self.incoming, self.outgoing = leg, outgoing
        outgoing.listener = far = Notes(react=self._on_outgoing)
        notes.react = self._on_incoming
        self.notes = [notes, far]
        outgoing.place(offered.setup, now)

    def _on_incoming(self, leg: Leg, event: LegEvent, now: int) -> None:
        assert self.outgoing is not None
        match event:
            case Released():
                self.outgoing.release(event.cause, now)
            case Keypad():
                self.outgoing.keypad(event.digits, event.milliseconds, now)

    def _on_outgoing(self, leg: Leg, event: LegEvent, now: int) -> None:
        assert self.incoming is not None
        match event:
            case Proceeding():
                self.incoming.proceed(now)
            case Alerting():
                self.incoming.alert(event.inband, now)
            case Answered():
                self.incoming.answer(event.connected, now)
                if self._join:
                    self.incoming.join(leg, now)
            case Keypad():
                self.incoming.keypad(event.digits, event.milliseconds, now)
            case Released():
                self.incoming.release(event.cause, now)


def hang_up(leg: IaxLeg, scene: Scene, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> None:
    leg.release(cause, scene.now)
    scene.run(0.2)


TRANSFER_COMMANDS = frozenset(
    {Command.TXREQ, Command.TXCNT, Command.TXACC, Command.TXREADY, Command.TXREL, Command.TXREJ}
)
