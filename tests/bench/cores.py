"""What the gateway's cores cost a call, without sockets: ``python -m tests.bench.cores [--profile] [--spans N]``.

Exchange, SIP far end and media engine live in the same process and are not counted. The figure is CPU microseconds a
call inside the switch, from SETUP or INVITE to the last message; ``--profile`` shows where they go.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gateway import leg as words
from gateway.cause import Cause
from gateway.config import parse
from gateway.core import MILLISECOND, SECOND
from gateway.identity import Number, Party
from gateway.leg import Leg, LegEvent, Listener, Offered, Setup
from gateway.media import api
from gateway.media.api import OnOpened, OnStatistics, Opened, Statistics, Tone
from gateway.pri.channels import Line
from gateway.pri.exchange.core import CallRequest, Exchange
from gateway.pri.lapd import Side, Transmit
from gateway.pri.settings import PriSettings
from gateway.pri.span.layer1 import Alarm
from gateway.switch import CallEnded, SpanFrame, Switch
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import Flow, Send
from gateway.voip.sip.hop import Listener as SipListener
from gateway.voip.sip.peers import PeerSettings, SipSettings
from tests.unit.no_media import NoMedia

_CONFIGURATION = """
schema = 1
[gateway]
name = "bench"
[sip]
listen = ["udp:127.0.0.1:5060"]
[[trunk]]
name = "hq"
technology = "sip"
host = "127.0.0.1:5070"
context = "from-hq"
[[route]]
context = "from-pstn"
match = "_X."
to = ["sip:hq/{number}"]
[[route]]
context = "from-hq"
match = "_9."
to = ["pri:r0/{number:1}"]
[[route]]
context = "from-hq"
match = "_8."
to = ["sip:hq/{number:1}"]
"""
_SPAN = """
[[span]]
name = "s%d"
channels = "virtual:/span/s%d"
line = "e1"
group = "g0"
context = "from-pstn"
"""
TALK = 100 * MILLISECOND
DIRECTIONS = ("PRI → SIP", "SIP → PRI", "SIP → SIP")


class InstantMedia(NoMedia):
    """A media engine that says yes to everything, at the next drain."""

    def __init__(self) -> None:
        self.replies: deque[Callable[[], None]] = deque()
        self._serial = 0

    def _open(self, on_reply: OnOpened) -> int:
        self._serial = serial = self._serial + 1
        self.replies.append(lambda: on_reply(Opened(serial, "127.0.0.1", 10_000 + 2 * (serial % 5000))))
        return serial

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        return self._open(on_reply)

    def set_rtp(self, stream: int, settings: api.RtpSettings) -> None:
        pass

    def open_tdm(self, path: str, law: api.Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        return self._open(on_reply)

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        return self._open(on_reply)

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        return self._open(on_reply)

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        return self._open(on_reply)

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        return self._open(on_reply)

    def connect(self, first: int, second: int) -> None:
        pass

    def disconnect(self, stream: int) -> None:
        pass

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        pass

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        self.replies.append(lambda: on_reply(Statistics()))

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        if on_reply is not None:
            self.replies.append(lambda: on_reply(Statistics()))


class Answering:
    """A called SIP party that answers at once and never hangs up, or a caller that hangs up when answered."""

    def __init__(self, world: World) -> None:
        self._world = world

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Answer what was offered; hang up what was answered after TALK."""
        if isinstance(event, words.Answered):
            self._world.hang_up_at.append((now + TALK, leg))


class World:
    """Gateway, exchange and SIP far end joined by function calls in virtual time; only the gateway is timed."""

    def __init__(self, spans: int, profile: cProfile.Profile | None) -> None:
        text = _CONFIGURATION + "".join(_SPAN % (number, number) for number in range(spans))
        self.now = SECOND
        self.spent = 0
        self.ended = 0
        self.hang_up_at: deque[tuple[int, Leg]] = deque()
        self._profile = profile
        self.media = InstantMedia()
        self.far_media = InstantMedia()
        self.switch = Switch(parse(text, Path("bench.toml")), self.media, random.Random(1))
        self.exchanges = {
            f"s{number}": Exchange(
                PriSettings(f"s{number}", str, Line.E1, Side.NETWORK, listen=True),
                self.far_media,
                random.Random(number),
            )
            for number in range(spans)
        }
        self.far = SipEndpoint(
            SipSettings(
                listeners=(SipListener("UDP", "127.0.0.1", 5070),), peers=(PeerSettings("gw", "127.0.0.1", 5060),)
            ),
            self.far_media,
            random.Random(2),
            self._offered,
        )
        self._frames: deque[tuple[str, bytes, bool]] = deque()
        self._datagrams: deque[tuple[bytes, bool]] = deque()
        for name, exchange in self.exchanges.items():
            exchange.line_state(Alarm.NONE, self.now)
            self._gateway(lambda name=name: self.switch.line_state(name, Alarm.NONE, self.now))  # type: ignore[misc]
        self.settle()

    def _offered(self, leg: Leg, offered: Offered, now: int) -> Listener | None:
        leg.alert(False, now)
        leg.answer(None, now)
        return Answering(self)

    def _gateway(self, work: Callable[[], None]) -> None:
        """Do ``work`` in the gateway, with everything that follows inside it, on the clock."""
        switch, media, frames, datagrams = self.switch, self.media, self._frames, self._datagrams
        if self._profile is not None:
            self._profile.enable()
        begun = time.thread_time_ns()
        work()
        switch.enter(self.now)
        while True:
            while (output := switch.poll()) is not None:
                if isinstance(output, SpanFrame):
                    frames.append((output.span, output.frame, False))
                elif isinstance(output, Send):
                    datagrams.append((output.data, False))
                elif isinstance(output, CallEnded):
                    self.ended += 1
            if not media.replies:
                break
            media.replies.popleft()()
        switch.next_timer()
        self.spent += time.thread_time_ns() - begun
        if self._profile is not None:
            self._profile.disable()

    def _far_side(self) -> None:
        for name, exchange in self.exchanges.items():
            while (output := exchange.poll()) is not None:
                if isinstance(output, Transmit):
                    self._frames.append((name, output.frame, True))
        while (sent := self.far.poll()) is not None:
            if isinstance(sent, Send):
                self._datagrams.append((sent.data, True))

    def settle(self) -> None:
        """Carry everything until nobody has anything more to say at this time."""
        to_gateway, to_far = Flow("UDP", "127.0.0.1", 5070), Flow("UDP", "127.0.0.1", 5060)
        while True:
            self._far_side()
            while self.far_media.replies:
                self.far_media.replies.popleft()()
                self._far_side()
            if self._frames:
                name, frame, inward = self._frames.popleft()
                if inward:
                    self._gateway(lambda name=name, frame=frame: self.switch.receive_frame(name, frame, self.now))  # type: ignore[misc]
                else:
                    self.exchanges[name].receive_frame(frame, self.now)
            elif self._datagrams:
                data, inward = self._datagrams.popleft()
                if inward:
                    self._gateway(lambda data=data: self.switch.receive_sip(data, to_gateway, self.now))  # type: ignore[misc]
                else:
                    self.far.receive(data, to_far, self.now)
            else:
                return

    def advance(self, until: int) -> None:
        """Let time pass to ``until``."""
        while True:
            self.settle()
            far = [at for at in (self.far.next_timer(), *(e.next_timer() for e in self.exchanges.values())) if at]
            own = self.switch.next_timer()
            hang_up = self.hang_up_at[0][0] if self.hang_up_at else None
            earliest = min((at for at in (*far, own, hang_up) if at is not None), default=None)
            if earliest is None or earliest > until:
                self.now = until
                return
            self.now = max(self.now, earliest)
            if own is not None and own <= self.now:
                self._gateway(lambda: self.switch.handle_timer(self.now))
            if hang_up is not None and hang_up <= self.now:
                self.hang_up_at.popleft()[1].release(Cause.NORMAL_CALL_CLEARING, self.now)
            self.far.handle_timer(self.now)
            for exchange in self.exchanges.values():
                exchange.handle_timer(self.now)

    def from_pstn(self) -> None:
        """One call PRI → SIP, from beginning to end."""
        exchange = self.exchanges["s0"]
        exchange.call(CallRequest("4165550101", hold=TALK // MILLISECOND, measure=False), self.now)
        self.advance(self.now + 3 * TALK)

    def from_sip(self, called: str = "95550112") -> None:
        """One call SIP → PRI, from beginning to end."""
        leg = self.far.new_leg("gw", self.now)
        if isinstance(leg, Cause):
            raise SystemExit(f"no leg: {leg}")
        leg.listener = Answering(self)
        leg.place(Setup(Number(called), Party(Number("4165551234"))), self.now)
        self.advance(self.now + 3 * TALK)

    def through(self) -> None:
        """One call SIP → SIP, from beginning to end."""
        self.from_sip("85550112")


def measure(spans: int, calls: int, direction: str, profile: cProfile.Profile | None) -> float:
    """CPU microseconds a call."""
    world = World(spans, profile)
    call = {"PRI → SIP": world.from_pstn, "SIP → PRI": world.from_sip, "SIP → SIP": world.through}[direction]
    for _ in range(20):
        call()
    world.advance(world.now + 40 * SECOND)
    before, ended = world.spent, world.ended
    for _ in range(calls):
        call()
    if world.ended - ended != calls:
        raise SystemExit(f"{direction}: {world.ended - ended} of {calls} calls ended")
    # The transactions' last timers belong to the calls too.
    world.advance(world.now + 40 * SECOND)
    return (world.spent - before) / calls / 1000


def main() -> None:
    """Parse the command line, measure each direction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--spans", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", action="append", choices=DIRECTIONS)
    options = parser.parse_args()
    gc.freeze()
    for direction in options.only or DIRECTIONS:
        profile = cProfile.Profile() if options.profile else None
        print(f"{direction}: {measure(options.spans, options.calls, direction, profile):.0f} µs a call in the cores")
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
