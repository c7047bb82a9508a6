"""An IAX2 endpoint in virtual time whose far ends are frames written by hand, and a media engine that is a list."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.core import SECOND
from gateway.leg import Leg, LegEvent, Listener, NotOffered, Offered
from gateway.media.api import Codec, Failure, IaxFrame, IaxVoiceSettings, OnOpened, OnStatistics, Opened, Statistics
from gateway.voip.iax.auth import md5_result
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.peers import IaxListener, IaxSettings, PeerSettings
from gateway.voip.sip.flow import Resolve
from tests.unit.no_media import NoMedia

PEER = "192.0.2.9"
STRANGER = "198.51.100.7"
WORD = "open sesame"
START = 1_000_000 * SECOND
WALL = 1_800_000_000.0


class WireMedia(NoMedia):
    """Sockets are numbers from 1 on; what is sent is kept."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str, int, bytes]] = []
        self.sockets: list[tuple[str, int]] = []
        self.refuse: Failure | None = None
        self.replies: list[Callable[[], None]] | None = None
        self.streams: set[int] = set()
        self.aimed: dict[int, IaxVoiceSettings] = {}
        self._serial = 0

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        self._serial += 1
        reply: Opened | Failure = self.refuse or Opened(self._serial, address, port)
        if self.refuse is None:
            self.sockets.append((address, port))
        if self.replies is None:
            on_reply(reply)
        else:
            # As the engine does it: later.
            self.replies.append(lambda: on_reply(reply))
        return self._serial

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        self.sent.append((socket, address, port, data))

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        self._serial += 1
        self.streams.add(self._serial)
        on_reply(Opened(self._serial))
        return self._serial

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        assert stream in self.streams
        self.aimed[stream] = settings

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        assert stream in self.streams

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        self.streams.discard(stream)
        if on_reply is not None:
            on_reply(Statistics())


class Caller:
    """The listener of a leg that was offered."""

    def __init__(self) -> None:
        self.events: list[LegEvent] = []

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        self.events.append(event)


class Wire:
    """``endpoint`` and what it sends. ``now`` is virtual."""

    def __init__(self, *peers: PeerSettings, seed: int = 1, **settings: object) -> None:
        values: dict[str, object] = {"listeners": (IaxListener("0.0.0.0", 4569),), "peers": peers, **settings}
        self.settings = IaxSettings(**values)  # type: ignore[arg-type]
        self.media = WireMedia()
        self.now = START
        self.offered: list[tuple[Leg, Offered]] = []
        self.refused: list[NotOffered] = []
        self.stored: list[bytes] = []
        self.asked: list[Resolve] = []
        self.take_offers = True
        self.endpoint = IaxEndpoint(
            self.settings,
            self.media,
            random.Random(seed),
            self._on_offer,
            on_not_offered=lambda refused, _now: self.refused.append(refused),
            wall_clock=lambda: WALL + (self.now - START) / SECOND,
        )
        self.endpoint.open(self.now)
        self.drain()
        self._numbers = random.Random(99)

    def _on_offer(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        self.offered.append((leg, offered))
        return Caller() if self.take_offers else None

    def drain(self) -> None:
        while (output := self.endpoint.poll()) is not None:
            if isinstance(output, StoreIaxBindings):
                self.stored.append(output.data)
            else:
                self.asked.append(output)

    def advance(self, microseconds: int) -> None:
        """Let that much time pass, and everything happen in it that is due."""
        end = self.now + microseconds
        while (at := self.endpoint.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.endpoint.handle_timer(self.now)
            self.drain()
        self.now = end
        self.endpoint.enter(end)

    def datagram(self, data: bytes, address: str = PEER, port: int = 4569, socket: int = 1) -> list[FullFrame]:
        """A datagram comes; the frames that go to where it came from because of that."""
        before = len(self.media.sent)
        self.endpoint.media_event(IaxFrame(socket, address, port, data), self.now)
        self.drain()
        return [parse_full(each) for _, to, at, each in self.media.sent[before:] if (to, at) == (address, port)]

    def sent_to(self, address: str) -> list[FullFrame]:
        """Everything that ever went to ``address``."""
        return [parse_full(data) for _, to, _, data in self.media.sent if to == address]

    def far_end(self, address: str = PEER, port: int = 4569) -> FarEnd:
        """Somebody there with a call number of his own."""
        return FarEnd(self, address, port, self._numbers.randrange(2, 32_768))


class FarEnd:
    """One call number at one address, which acknowledges nothing by itself and counts its frames."""

    def __init__(self, wire: Wire, address: str, port: int, number: int) -> None:
        self.wire = wire
        self.address = address
        self.port = port
        self.number = number
        self.destination = 0
        self.oseqno = 0
        self.iseqno = 0

    def send(self, command: int, elements: Elements | None = None, *, kind: int = FrameType.IAX) -> list[FullFrame]:
        data = b"" if elements is None else bytes(elements)
        frame = FullFrame(self.number, self.destination, 5, self.oseqno, self.iseqno, kind, command, data)
        if frame.in_sequence:
            self.oseqno = (self.oseqno + 1) & 0xFF
        answers = self.wire.datagram(bytes(frame), self.address, self.port)
        for answer in answers:
            self.take(answer)
        return answers

    def take(self, answer: FullFrame) -> None:
        if answer.source != 1:
            self.destination = answer.source
            if answer.in_sequence:
                self.iseqno = (answer.oseqno + 1) & 0xFF

    def open(
        self, command: Command, elements: Elements, *, change: Callable[[bytes], bytes] = lambda token: token
    ) -> list[FullFrame]:
        """With a call token, that is asked for first."""
        (answer,) = self.send(command, Elements([*elements.items, (Ie.CALLTOKEN, b"")]))
        assert answer.subclass == Command.CALLTOKEN
        token = answer.elements.raw(Ie.CALLTOKEN)
        assert token
        self.oseqno = 0
        return self.send(command, Elements([*elements.items, (Ie.CALLTOKEN, change(token))]))

    def register(self, user: str, secret: str, refresh: int = 60, command: Command = Command.REGREQ) -> FullFrame:
        """A whole registration; the last answer."""
        elements = Elements().add_text(Ie.USERNAME, user).add_number(Ie.REFRESH, refresh, 2)
        return self.prove(command, self.open(command, elements), elements, secret)

    def prove(self, command: Command, answers: list[FullFrame], elements: Elements, secret: str) -> FullFrame:
        """Answer the challenge among ``answers``."""
        (challenge,) = answers
        assert challenge.subclass in (Command.REGAUTH, Command.AUTHREQ), challenge
        asked = challenge.elements.raw(Ie.CHALLENGE)
        assert asked
        proof = Elements([*elements.items, (Ie.MD5_RESULT, md5_result(asked, secret))])
        (answer, *_) = [each for each in self.send(command, proof) if each.subclass != Command.ACK]
        return answer

    def call(self, user: str, secret: str, number: str = "100") -> list[int]:
        """A whole call up to what comes on its proof: subclasses."""
        (challenge,) = self.open(Command.NEW, new_elements(user, number))
        asked = challenge.elements.raw(Ie.CHALLENGE)
        assert asked
        proof = Elements([(Ie.MD5_RESULT, md5_result(asked, secret))])
        return [each.subclass for each in self.send(Command.AUTHREP, proof)]


def new_elements(user: str = "", number: str = "100") -> Elements:
    """What a NEW says, but for its call token."""
    elements = Elements().add_number(Ie.VERSION, 2, 2).add_text(Ie.CALLED_NUMBER, number)
    elements.add_formats(Ie.FORMAT, Ie.FORMAT2, 8).add_formats(Ie.CAPABILITY, Ie.CAPABILITY2, 12)
    if user:
        elements.add_text(Ie.USERNAME, user)
    return elements
