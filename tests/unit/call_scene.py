"""What a Call needs around it in tests: legs, a switch and a media engine that only remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway import leg as words
from gateway.call import Call, Purpose
from gateway.call_voice import VoicedCall
from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.leg import Leg
from gateway.media import api
from gateway.media.api import Failure, OnOpened, OnStatistics, Opened, Statistics, Tone, ToneStep
from gateway.routing.dialplan import (
    Destination,
    LegDestination,
    Route,
    Routing,
    TrunkDestination,
)
from tests.unit.no_media import NoMedia

RINGBACK = Tone((ToneStep((440, 480), 2000), ToneStep((), 4000)))
HOLD = Tone((ToneStep((440,), 100), ToneStep((), 5000)))


class FakeMedia(NoMedia):
    def __init__(self) -> None:
        self.streams: dict[int, str] = {}
        self.wires: dict[int, int] = {}
        self.digits: list[tuple[int, str]] = []
        self.fails = ""
        self._serial = 100

    def _open(self, kind: str, on_reply: OnOpened) -> int:
        self._serial += 1
        self.streams[self._serial] = kind
        on_reply(Failure(22, self.fails) if self.fails else Opened(self._serial))
        return self._serial

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        return self._open("rtp", on_reply)

    def set_rtp(self, stream: int, settings: api.RtpSettings) -> None:
        raise AssertionError("a call knows no SDP")

    def open_tdm(self, path: str, law: api.Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        return self._open("tdm", on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        return self._open("tone", on_reply)

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        return self._open(f"prompt {path}", on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        return self._open("echo", on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        return self._open("recorder", on_reply)

    def connect(self, first: int, second: int) -> None:
        self.disconnect(first)
        self.disconnect(second)
        self.wires[first], self.wires[second] = second, first

    def disconnect(self, stream: int) -> None:
        other = self.wires.pop(stream, None)
        if other is not None:
            self.wires.pop(other, None)

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        self.digits.append((stream, digits))

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        on_reply(Statistics())

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        self.disconnect(stream)
        del self.streams[stream]

    def heard_by(self, stream: int) -> str:
        other = self.wires.get(stream)
        return self.streams.get(other, "a leg") if other is not None else "silence"


class FakeLeg:
    def __init__(self, technology: str, stream: int | None) -> None:
        self.listener: words.Listener | None = None
        self.name = technology
        self.technology = technology
        self.source = technology
        self.stream = stream
        self.told: list[str] = []
        self.placed: words.Setup | None = None
        self.released: Cause | None = None
        self.joined: Leg | None = None
        self.rtptimeout = 0
        self.stuck = False
        self.by_signalling = False

    def event(self, event: words.LegEvent, now: int = 0) -> None:
        assert self.listener is not None
        self.listener.on_leg(self, event, now)

    def place(self, setup: words.Setup, now: int) -> None:
        self.placed = setup
        self.told.append("place")

    def proceed(self, now: int) -> None:
        self.told.append("proceed")

    def progress(
        self, inband: bool, now: int, cause: Cause | None = None, conveyed: words.Conveyed | None = None
    ) -> None:
        self.told.append(f"progress {inband}")

    def alert(self, inband: bool, now: int, conveyed: words.Conveyed | None = None) -> None:
        self.told.append(f"alert {inband}")

    def answer(self, connected: Party | None, now: int, conveyed: words.Conveyed | None = None) -> None:
        self.told.append("answer")

    def digits(self, digits: str, complete: bool, now: int) -> None:
        self.told.append(f"digits {digits} {complete}")

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        self.told.append(f"keypad {digits}")
        return self.by_signalling

    def hold(self, now: int) -> None:
        self.told.append("hold")

    def resume(self, now: int) -> None:
        self.told.append("resume")

    def identify(self, connected: Party, now: int) -> None:
        self.told.append("identify")

    def notify(self, description: int, now: int) -> None:
        self.told.append(f"notify {description}")

    def transfer(self, step: words.TransferStep, now: int, cause: Cause | None = None) -> None:
        self.told.append(f"transfer {step.value}" + (f" {int(cause)}" if cause is not None else ""))

    def begin_with(self, caller: Leg) -> None:
        self.told.append("begin with")

    def join(self, other: Leg | None, now: int) -> None:
        self.joined = other

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        self.released = cause
        self.told.append(f"release {int(cause)}")
        if not self.stuck:
            self.event(words.Released(cause, ours=True), now)

    def record(self) -> dict[str, object]:
        return {"technology": self.technology}


@dataclass
class FakeSwitch:
    routing: Routing = field(default_factory=lambda: route_to(TrunkDestination("hq", "1234")))
    legs: list[Leg | Cause] = field(default_factory=list)
    media: FakeMedia = field(default_factory=FakeMedia)
    timers: dict[Purpose, int] = field(default_factory=dict)
    over: list[Call] = field(default_factory=list)
    watched: dict[int, Call] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    failure_tones: dict[Cause, Tone] = field(default_factory=dict)
    music: Tone | str | None = None
    directrtpsetup: bool = False
    facts: dict[str, frozenset[str]] = field(default_factory=dict)

    def route(self, context: str, setup: words.Setup) -> Routing:
        self.asked.append((setup.called.digits, setup.complete))
        self.contexts.append(context)
        return self.routing

    def continues(self, cause: Cause) -> bool:
        return cause not in (Cause.USER_BUSY, Cause.CALL_REJECTED)

    def ordered(self, destinations: Sequence[Destination]) -> Sequence[Destination]:
        return destinations

    def open_leg(self, destination: LegDestination, now: int, *, emergency: bool = False) -> Leg | Cause:
        return self.legs.pop(0)

    def lacking(self, destination: LegDestination, wanted: frozenset[str]) -> frozenset[str]:
        return wanted - self.facts.get(str(destination).partition("/")[0], frozenset())

    def ringback(self) -> Tone:
        return RINGBACK

    def music_on_hold(self) -> Tone | str | None:
        return self.music

    def hold_tone(self) -> Tone:
        return HOLD

    def failure_tone(self, cause: Cause) -> Tone | None:
        return self.failure_tones.get(cause)

    def start_timer(self, call: VoicedCall, purpose: Purpose, deadline: int) -> None:
        self.timers[purpose] = deadline

    def stop_timer(self, call: VoicedCall, purpose: Purpose) -> None:
        self.timers.pop(purpose, None)

    def watch(self, stream: int, call: Call) -> None:
        self.watched[stream] = call

    def touch(self, call: object) -> None:
        pass

    def unwatch(self, stream: int) -> None:
        self.watched.pop(stream, None)

    def ended(self, call: Call, now: int) -> None:
        self.over.append(call)


def route_to(*destinations: Destination, ring_seconds: int | None = None) -> Route:
    return Route(destinations, "from-pstn", "_X.", 1, ring_seconds=ring_seconds)


def start(switch: FakeSwitch, incoming: FakeLeg, complete: bool = True) -> Call:
    setup = words.Setup(Number("1234"), complete=complete)
    call = Call("c1", switch, incoming, words.Offered(setup, "from-pstn", "pstn"), 0)
    call.begin(0)
    return call


def answered_call(incoming: FakeLeg, outgoing: FakeLeg) -> tuple[FakeSwitch, Call]:
    switch = FakeSwitch(legs=[outgoing])
    call = start(switch, incoming)
    outgoing.event(words.Answered())
    return switch, call
