"""Two PriTrunks, user and network, joined by a D channel that may delay, lose and be cut, in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number
from gateway.leg import Leg, LegEvent, Listener, MediaChanged, Offered, Released, Setup
from gateway.media.api import (
    Failure,
    Law,
    OnOpened,
    OnStatistics,
    Opened,
    Statistics,
)
from gateway.pri.channels import ChannelState, Line
from gateway.pri.lapd import Side, Transmit
from gateway.pri.leg import PriLeg
from gateway.pri.q931.message import Message
from gateway.pri.span.layer1 import Alarm
from gateway.pri.trunk import PriSettings, PriTrunk, TrunkOutput
from tests.unit.no_media import NoMedia


class FakeMedia(NoMedia):
    """Media that only counts; what a B channel is not for is an error."""

    def __init__(self) -> None:
        self.streams: dict[int, str] = {}
        self.laws: list[Law] = []
        self.listens: list[bool] = []
        self.fails = False
        self.counts = True
        self._last = 0

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        self._last += 1
        assert path not in self.streams.values(), f"{path} is open already"
        self.laws.append(law)
        self.listens.append(listen)
        if self.fails:
            on_reply(Failure(2, "no such channel"))
        else:
            on_reply(Opened(self._last))
        self.streams[self._last] = path
        return self._last

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        del self.streams[stream]
        if on_reply is not None and self.counts:
            on_reply(Statistics(packets_sent=50))


@dataclass
class Heard:
    """A listener that remembers. ``react`` may answer events as they come."""

    react: Callable[[Leg, LegEvent, int], None] | None = None
    events: list[LegEvent] = field(default_factory=list)
    offer: Offered | None = None

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        assert not any(isinstance(earlier, Released) for earlier in self.events), "an event after Released"
        self.events.append(event)
        if self.react is not None:
            self.react(leg, event, now)

    @property
    def spoken(self) -> list[LegEvent]:
        """The events but MediaChanged."""
        return [event for event in self.events if not isinstance(event, MediaChanged)]

    @property
    def released(self) -> Released | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Released) else None


class End:
    """One side."""

    def __init__(self, pair: Pair, settings: PriSettings, seed: int) -> None:
        self.pair = pair
        self.media = FakeMedia()
        self.trunk = PriTrunk(settings, self.media, random.Random(seed), self._offered)
        self.legs: list[PriLeg] = []
        self.heard: list[Heard] = []
        self.notes: list[TrunkOutput] = []
        self.sent: list[Message] = []
        self.trunk.trace(self._trace)
        self.on_offer: Callable[[Leg, Offered, int], None] | None = None
        self.refuses = False

    def _trace(self, sent: bool, message: Message) -> None:
        if sent:
            self.sent.append(message)

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        if self.refuses:
            return None
        assert isinstance(leg, PriLeg)
        heard = Heard(offer=offered)
        self.legs.append(leg)
        self.heard.append(heard)
        leg.listener = heard
        if self.on_offer is not None:
            self.on_offer(leg, offered, now)
        return heard

    def new_leg(self) -> tuple[PriLeg, Heard]:
        leg = self.trunk.new_leg(None, self.pair.now)
        assert isinstance(leg, PriLeg), leg
        heard = Heard()
        leg.listener = heard
        return leg, heard

    def names(self) -> list[str]:
        """Names of the messages sent since the last look, without RESTART."""
        sent, self.sent = self.sent, []
        return [message.name for message in sent if not message.name.startswith("RESTART")]


class Pair:
    """The two ends and the line between them."""

    def __init__(
        self,
        user: PriSettings | None = None,
        network: PriSettings | None = None,
        *,
        seed: int = 1,
        loss: float = 0.0,
        delay: int = 0,
        up: bool = True,
    ) -> None:
        base = PriSettings("user", lambda timeslot: f"u/{timeslot}", context="from-pstn")
        user = user or base
        network = replace(
            network or user, name="network", side=Side.NETWORK, channel_path=lambda timeslot: f"n/{timeslot}"
        )
        self.now = 0
        self.rng = random.Random(seed)
        self.loss = loss
        self.delay = delay
        self.lost = 0
        self.cut = False
        self.user = End(self, user, seed)
        self.network = End(self, network, seed + 1)
        self.ends = (self.user, self.network)
        self._line: list[tuple[int, int, End, bytes]] = []
        self._serial = 0
        if up:
            self.alarm(Alarm.NONE)
            self.run(5 * SECOND if loss else 0)

    def other(self, end: End) -> End:
        return self.network if end is self.user else self.user

    def alarm(self, alarm: Alarm) -> None:
        """Both ends see the same alarm."""
        self.cut = alarm is not Alarm.NONE
        for end in self.ends:
            end.trunk.line_state(alarm, self.now)
        self.settle()

    def settle(self) -> None:
        """Drain both ends; frames without delay arrive at once."""
        busy = True
        while busy:
            busy = False
            for end in self.ends:
                while (output := end.trunk.poll()) is not None:
                    if isinstance(output, Transmit):
                        busy = True
                        self._transmit(end, output.frame)
                    else:
                        end.notes.append(output)
            while self._line and self._line[0][0] <= self.now:
                _, _, end, frame = heapq.heappop(self._line)
                busy = True
                end.trunk.receive_frame(frame, self.now)

    def _transmit(self, end: End, frame: bytes) -> None:
        if self.cut or (self.loss and self.rng.random() < self.loss):
            self.lost += 1
            return
        self._serial += 1
        heapq.heappush(self._line, (self.now + self.delay, self._serial, self.other(end), frame))

    def run(self, microseconds: int) -> None:
        """Let time pass."""
        self.settle()
        until = self.now + microseconds
        while True:
            moments = [self._line[0][0]] if self._line else []
            moments += [at for end in self.ends if (at := end.trunk.next_timer()) is not None]
            at = min(moments, default=until)
            if at > until:
                break
            self.now = max(self.now, at)
            for end in self.ends:
                due = end.trunk.next_timer()
                if due is not None and due <= self.now:
                    end.trunk.handle_timer(self.now)
            self.settle()
            if not moments:
                break
        self.now = until

    def seconds(self, seconds: float) -> None:
        self.run(int(seconds * SECOND))

    def establish(self, caller: End) -> tuple[PriLeg, PriLeg]:
        """An answered call from ``caller``: its leg and the other's."""
        called = self.other(caller)
        leg, _ = caller.new_leg()
        leg.place(Setup(Number("4165551234")), self.now)
        self.run(50 * MILLISECOND)
        called.legs[-1].answer(None, self.now)
        self.run(50 * MILLISECOND)
        return leg, called.legs[-1]

    def check_nothing_left(self) -> None:
        """No call, no seized or blocked channel, no stream, no timer but those that always run."""
        for end in self.ends:
            trunk = end.trunk
            assert trunk.q931.calls == {}, trunk.q931.calls
            assert trunk.legs == {}
            assert trunk.channels.count(ChannelState.IDLE) == len(trunk.channels), list(trunk.channels)
            assert end.media.streams == {}
            assert trunk.q931.next_timer() is None
            assert len(trunk._timers) <= 1  # the audit
            assert not trunk._events


T1_NI2 = PriSettings("user", lambda timeslot: f"u/{timeslot}", line=Line.T1, switch_type="ni2", context="from-pstn")
CLEARED = Cause.NORMAL_CALL_CLEARING
E1_EURO = PriSettings("user", lambda timeslot: f"u/{timeslot}", context="from-pstn")
TYPES = [E1_EURO, T1_NI2]
CALL = Setup(Number("4165551234"))


def ends(pair: Pair, from_user: bool) -> tuple[End, End]:
    return (pair.user, pair.network) if from_user else (pair.network, pair.user)


def placed(pair: Pair, caller: End, setup: Setup = CALL) -> Heard:
    leg, heard = caller.new_leg()
    leg.place(setup, pair.now)
    pair.settle()
    return heard
