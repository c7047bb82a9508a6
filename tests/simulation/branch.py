"""One branch, made from a seed: its configuration, its far ends, its calls and its misfortunes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from gateway.assembly import pri_settings
from gateway.call import MAX_SERVICE
from gateway.config import Configuration, parse
from gateway.core import MILLISECOND, SECOND
from gateway.pri.lapd import Side as LapdSide
from gateway.pri.settings import PriSettings
from gateway.voip.sip.peers import DtmfMode, PeerSettings, Reliability, SessionTimers
from tests.simulation.exchange_node import ExchangeNode
from tests.simulation.gateway_node import ADDRESS, GatewayNode
from tests.simulation.hearing import Hearing
from tests.simulation.invariants import left_over
from tests.simulation.load import Load
from tests.simulation.misfortune import Misfortunes
from tests.simulation.sip_node import SipNode
from tests.simulation.story import Story
from tests.simulation.world import DLine, Network, Weather, World

QUIET_LIMIT = MAX_SERVICE + 200 * SECOND
"""How long a branch may take to come to rest when nobody calls any more and nothing breaks: a session refresh that
finds its far end gone comes after 900 s, and a service whose caller vanished ends after MAX_SERVICE."""
ORPHAN_LIMIT = 120 * SECOND
LOOK_EVERY = 10 * SECOND

_SPANS = (
    ("e1", "euroisdn", "user", "1-15,17-31"),
    ("t1", "ni2", "user", "1-23"),
    ("e1", "euroisdn", "network", "1-15,17-31"),
    ("t1", "ni2", "network", "1-23"),
)

_ROUTES = """
[[route]]
context = "from-sip"
match = "_1XXXXXX"
to = ["pri:{hunt}0/{{number}}"]
[[route]]
context = "from-sip"
match = "_2XXXXXX"
to = ["pri:g0/{{number}}", "sip:alt/{{number}}"]
[[route]]
context = "from-sip"
match = "_3XXXXXX"
to = ["sip:hq/{{number}}"]
[[route]]
context = "from-sip"
match = "_4XXXXXX"
to = ["sip:alt/{{number}}", "pri:r0/{{number}}"]
[[route]]
context = "from-sip"
match = "_5XXXXXX"
to = ["sip:7001", "sip:alt/{{number}}"]
ring_seconds = 15
[[route]]
context = "from-sip"
match = "_90XXXXXX"
to = ["echo"]
[[route]]
context = "from-sip"
match = "_91XXXXXX"
to = ["tone:busy"]
[[route]]
context = "from-sip"
match = "_92XXXXXX"
to = ["reject:call_rejected"]
[[route]]
context = "from-pstn"
match = "_1XXXXXX"
to = ["sip:hq/{{number}}"]
[[route]]
context = "from-pstn"
match = "_2XXXXXX"
to = ["sip:hq/{{number}}", "sip:alt/{{number}}"]
[[route]]
context = "from-pstn"
match = "_3XXXXXX"
to = ["sip:7001"]
[[route]]
context = "from-pstn"
match = "_4XXXXXX"
to = ["sip:7001", "sip:alt/{{number}}"]
ring_seconds = 15
[[route]]
context = "from-pstn"
match = "_5XXXXXX"
to = ["pri:G0/{{number}}"]
[[route]]
context = "from-pstn"
match = "_90XXXXXX"
to = ["milliwatt"]
[[route]]
context = "from-pstn"
match = "_91XXXXXX"
to = ["tone:congestion"]
[[route]]
context = "from-pstn"
match = "_92XXXXXX"
to = ["reject:call_rejected"]
"""


@dataclass(slots=True)
class Shape:
    """What kind of branch it is."""

    spans: list[tuple[str, str, str, str]] = field(default_factory=list)
    calls: int = 50
    faults: bool = True
    overlap: bool = False
    transports: dict[str, str] = field(default_factory=dict)


class Branch:
    """A world with one gateway in it. ``run`` takes it through its calls to rest."""

    def __init__(self, seed: int, calls: int, *, faults: bool | None = None) -> None:
        self.world = world = World(seed)
        rng = world.rng
        self.shape = shape = _shape(rng, calls, faults)
        self.story = Story()
        self.weather = Weather(latency=rng.choice((1, 5, 20)) * MILLISECOND, jitter=1 * MILLISECOND)
        self.network = Network(world, self.weather)
        self.configuration = parse(_configuration(shape, rng), Path("/simulation/branch.toml"))
        self.lines = {span.name: DLine(world, span.name, rng.randrange(500, 3000)) for span in self.configuration.spans}
        self.gateway = GatewayNode(world, self.configuration, self.network, self.lines)
        self.exchanges = [
            ExchangeNode(world, _exchange_settings(self.configuration, span.name), self.lines[span.name], self.story)
            for span in self.configuration.spans
        ]
        self.phones = [self._phone(name, address, rng) for name, address in _FAR_ENDS]
        self.load = Load(world, self.story, self.exchanges, self.phones, rng)
        self.misfortunes = Misfortunes(world, self)
        self.hearing = Hearing(self)
        self.orphans = 0

    def _phone(self, name: str, address: str, rng: random.Random) -> SipNode:
        peer = PeerSettings(
            "gateway",
            ADDRESS,
            transport=self.shape.transports[name].upper(),
            context="default",
            dtmfmode=DtmfMode.INFO if name == "alt" else DtmfMode.RFC4733,
            reliable=rng.choice((Reliability.OFF, Reliability.SUPPORTED, Reliability.SUPPORTED)),
            session_timers=rng.choice((SessionTimers.REFUSE, SessionTimers.ACCEPT, SessionTimers.ORIGINATE)),
            late_offer=rng.random() < 0.1,
        )
        return SipNode(self.world, name, address, self.network, self.story, peer, strips_reason=rng.random() < 0.3)

    def run(self) -> None:
        """Let the lines come up, make the calls, let things go wrong, then wait until all is quiet."""
        world = self.world
        world.run(world.now + 10 * SECOND)
        end = self.load.plan(self.shape.calls)
        if self.shape.faults:
            self.misfortunes.plan(end)
        world.run(end)
        self.misfortunes.over()
        if not self._rest(QUIET_LIMIT) and self._hang_up_orphans():
            self._rest(ORPHAN_LIMIT)

    def _rest(self, limit: int) -> bool:
        world = self.world
        end = world.now + limit
        while world.now < end:
            world.run(world.now + LOOK_EVERY)
            if self.quiet:
                return True
        return False

    def _hang_up_orphans(self) -> int:
        """A call between far ends that all forgot it, without session timers, is an operator's to end."""
        switch = self.gateway.switch
        for identity, call in list(switch.calls.items()):
            caller = call.setup.caller.number
            script = self.story.by_caller(caller.digits) if caller is not None else None
            if script is not None and all(side.lost for side in script.sides):
                self.world.note("operator", "hangs up", identity)
                switch.hang_up(identity, self.world.now)
                self.orphans += 1
        self.gateway.settle()
        return self.orphans

    @property
    def quiet(self) -> bool:
        """True if nothing is under way any more; what is left at the limit is for the invariants to name."""
        return not left_over(self)


_FAR_ENDS = (("hq", "10.0.1.1"), ("alt", "10.0.1.2"), ("7001", "10.0.1.3"))


def _shape(rng: random.Random, calls: int, faults: bool | None) -> Shape:
    shape = Shape(calls=calls)
    for _ in range(rng.choice((1, 1, 2, 3))):
        line, switch_type, side, timeslots = rng.choice(_SPANS)
        if rng.random() < 0.5:
            timeslots = f"1-{rng.randint(2, 6)}"
        shape.spans.append((line, switch_type, side, timeslots))
    shape.faults = rng.random() < 0.75 if faults is None else faults
    shape.transports = {name: rng.choice(("udp", "udp", "udp", "tcp")) for name, _ in _FAR_ENDS}
    shape.overlap = rng.random() < 0.4
    return shape


def _configuration(shape: Shape, rng: random.Random) -> str:
    parts = [
        "schema = 1",
        '[gateway]\ncountry = "us"\nrun_dir = "run"',
        "[media]\nrtp_ports = [10000, 19999]\ngrace_seconds = 20",
        f'[sip]\nlisten = ["udp:{ADDRESS}:5060", "tcp:{ADDRESS}:5060"]',
    ]
    for index, (line, switch_type, side, timeslots) in enumerate(shape.spans):
        overlap = "both" if shape.overlap and switch_type == "euroisdn" else "no"
        parts.append(
            f'[[span]]\nname = "s{index}"\nchannels = "virtual:spans/{index}"\nline = "{line}"\nside = "{side}"\n'
            f'switch_type = "{switch_type}"\ngroup = "g0"\ncontext = "from-pstn"\noverlapdial = "{overlap}"\n'
            f'timeslots = "{timeslots}"'
        )
    for name, address in _FAR_ENDS[:2]:
        refresh = rng.choice(("originate", "originate", "accept"))
        if shape.faults:
            # Where both ends of a call may vanish at once, as here, only the session timer notices.
            refresh = "originate"
        parts.append(
            f'[[trunk]]\nname = "{name}"\ntechnology = "sip"\nhost = "{address}"\ncontext = "from-sip"\n'
            f'transport = "{shape.transports[name]}"\ndtmfmode = "{"info" if name == "alt" else "rfc4733"}"\n'
            f'trustrpid = true\nsession_timers = "{refresh}"\n'
            f'prack = "{rng.choice(("no", "supported"))}"'
        )
    name, address = _FAR_ENDS[2]
    parts.append(
        f'[[phone]]\nname = "{name}"\nhost = "{address}"\ncontext = "from-sip"\nsession_timers = "originate"\n'
        f'transport = "{shape.transports[name]}"'
    )
    parts.append(_ROUTES.format(hunt=rng.choice("gGrR")))
    return "\n".join(parts)


def _exchange_settings(configuration: Configuration, name: str) -> PriSettings:
    """The far end's settings for a span: the same line from the other side."""
    span = next(span for span in configuration.spans if span.name == name)
    ours = pri_settings(span, configuration)
    other = LapdSide.NETWORK if ours.side is LapdSide.USER else LapdSide.USER
    return PriSettings(
        name=name,
        channel_path=ours.channel_path,
        line=ours.line,
        side=other,
        switch_type=ours.switch_type,
        timeslots=ours.timeslots,
        overlap_receive=ours.overlap_send,
        overlap_send=ours.overlap_receive,
        listen=True,
    )
