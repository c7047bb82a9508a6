"""One run from its seed to its verdict, and the story of a run that failed, in words."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.trace import trace_frame
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FullFrame, parse
from tests.simulation.branch import Branch
from tests.simulation.iax_far_ends import MANGLED
from tests.simulation.invariants import left_over
from tests.simulation.judgement import Judgement
from tests.simulation.world import World

MAX_TOLD = 20
"""Breaches of a run that are told one by one."""
MAX_STORY = 400
"""Events of a failed run that are told."""


KINDS = (
    "registrations",
    "NATs that rebound",
    "telephones that moved",
    "other addresses of ours",
    "calls that went on elsewhere",
    "calls that went on at another server",
    "servers that failed",
    "glares",
    "datagrams lost",
    "datagrams doubled",
    "connections broken",
    "restarts",
    "datagrams of strangers",
)
IAX_KINDS = (
    "calls over IAX2",
    "encrypted calls over IAX2",
    "digits over IAX2",
    "registrations over IAX2",
    "IAX2 keys changed by the gateway",
    "IAX2 keys changed by far ends",
    "calls of guests over IAX2",
    "IAX2 calls over IPv6",
    "IAX2 calls at a second port",
    "IAX2 calls by a password in the clear",
    "IAX2 holds",
    "IAX2 calls that went round",
    "IAX2 texts",
    "IAX2 calls that went on without the gateway",
    "IAX2 trunk frames",
    "IAX2 mini frames",
    "words heard over IAX2",
    "NATs before IAX2 far ends that forgot all",
    "IAX2 far ends that restarted",
    "IAX2 clocks that jumped",
    "IAX2 sessions of far ends that were gone",
    "mangled IAX2 frames",
    "IAX2 frames sent again by others",
    "IAX2 calls that leaked",
    "IAX2 frames of strangers",
)
"""What IAX2 must get over, besides."""
_INCIDENTS = {
    "the NAT before": "NATs that rebound",
    "goes to another address": "telephones that moved",
    " outside": "other addresses of ours",
    " is down": "servers that failed",
    "to those who register": "servers that failed",
    "a TCP connection breaks": "connections broken",
    " restarts$": "restarts",
}
"""What incidents are by their words; $ is the end."""


@dataclass(slots=True)
class Verdict:
    """What came of one run."""

    seed: int
    calls: int
    breaches: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    digest: int = 0
    events: int = 0
    records: int = 0
    cut_short: int = 0
    answered: int = 0
    heard: int = 0
    seconds: int = 0
    misfortunes: int = 0
    more: str = ""
    """Of the command that runs it again."""
    seen: Counter[str] = field(default_factory=Counter)
    """What a branch on the Internet must get over, and how often it did: KINDS."""

    def __str__(self) -> str:
        if not self.breaches:
            return (
                f"seed {self.seed}: {self.calls} calls, {self.records} records, {self.answered} answered: all is well"
            )
        told = [f"seed {self.seed}: {len(self.breaches)} breaches"]
        told += [f"  {breach}" for breach in self.breaches[:MAX_TOLD]]
        told.append(f"  to repeat it: {command(self.seed, self.calls, self.more)}")
        return "\n".join(told)


def command(seed: int, calls: int, more: str = "") -> str:
    """What to type to see a run again."""
    return f".venv/bin/python -m tests.simulation.run --seed {seed} --calls {calls} --story{more}"


def run_seed(
    seed: int,
    calls: int,
    *,
    story: bool = False,
    faults: bool | None = None,
    iax: bool = False,
    mangled: int = MANGLED,
) -> Verdict:
    """Run one branch, perhaps with IAX2 trunks and so many mangled frames.

    An exception out of the product is a breach like any other.
    """
    verdict = Verdict(seed, calls, more=f" --iax --mangled {mangled}" if iax else "")
    branch: Branch | None = None
    with _quiet():
        try:
            branch = Branch(seed, calls, faults=faults, iax=iax, mangled=mangled)
            branch.run()
            verdict.breaches = judge(branch)
        except Exception as error:
            frames = traceback.format_exc().strip().splitlines()
            verdict.breaches = [f"{type(error).__name__}: {error}", *frames[-12:]]
    if branch is not None:
        branch.close()
        _count(verdict, branch)
        if verdict.breaches or story:
            verdict.story = list(tell(branch.world))
    return verdict


def judge(branch: Branch) -> list[str]:
    """All breaches of a run that came to its end."""
    breaches = left_over(branch)
    breaches += branch.breaches
    breaches += branch.guard.breaches
    breaches += branch.guard.lifted(branch.gateway.switch, branch.world.now)
    breaches += branch.gateway.breaches
    breaches += branch.gateway.engine.breaches
    breaches += branch.iax.breaches
    breaches += [f"{phone.name} never registered" for phone in branch.devices if not phone.registrations]
    judgement = Judgement(branch)
    breaches += judgement.judge()
    breaches += branch.hearing.deaf
    freed = [*branch.gateway.freed, *[each for exchange in branch.exchanges for each in exchange.freed]]
    breaches += [f"an audit had to mend {each}" for each in freed]
    if judgement.strict:
        breaches += [f"the engine refused {text}" for text in branch.gateway.engine.refusals]
    return breaches


def _count(verdict: Verdict, branch: Branch) -> None:
    world = branch.world
    verdict.digest, verdict.events, verdict.seconds = world.digest, world.events, world.now // 1_000_000
    verdict.records = len(branch.gateway.records)
    verdict.cut_short = branch.gateway.cut_short
    verdict.misfortunes = len(branch.misfortunes.happened)
    scripts = branch.story.scripts.values()
    verdict.answered = sum(script.caller is not None and script.caller.answered is not None for script in scripts)
    verdict.heard = branch.hearing.talked + branch.hearing.rang
    verdict.seen = seen = Counter(dict.fromkeys(KINDS, 0))
    gateway = branch.gateway
    for _, what in branch.misfortunes.happened:
        seen.update(kind for words, kind in _INCIDENTS.items() if words in f"{what}$")
    seen["registrations"] = gateway.registered + sum(phone.registrations for phone in branch.devices)
    seen["calls that went on elsewhere"] = sum(len(record.attempts) > 1 for record in gateway.records)
    seen["calls that went on at another server"] = sum(len(servers) > 1 for servers in branch.guard.served.values())
    seen["glares"] = gateway.glares
    seen["datagrams lost"] = branch.network.lost
    seen["datagrams doubled"] = branch.network.doubled
    seen["datagrams of strangers"] = branch.strangers.sent
    if branch.iax.nodes:
        seen.update(branch.iax.counted())
        seen["words heard over IAX2"] = branch.hearing.words


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the product's log: here far too many things go wrong on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def tell(world: World) -> Iterator[str]:
    """The last events of a run, a line each."""
    for now, where, what, data in list(world.log)[-MAX_STORY:]:
        yield f"{now / 1e6:11.4f} {where:24} {_words(what, data)}"


def _words(what: str, data: object) -> str:
    if not isinstance(data, bytes):
        return f"{what} {data}"
    if what == "iax":
        return f"{what} {_iax_words(data)}"
    if what != "frame":
        return f"{what} {_sip_words(data)}"
    line = trace_frame(0, "", True, data)
    if line is None:
        return f"{what} {data[:4].hex(' ')}"
    return f"{what} {line.message} of {line.dialogue} {line.detail}"


def _iax_words(data: bytes) -> str:
    try:
        frame = parse(data)
    except IaxError as error:
        return f"{error}: {data[:16].hex(' ')}"
    return str(frame) if isinstance(frame, FullFrame) else f"{frame}"[:90]


def _sip_words(data: bytes) -> str:
    lines = data.split(b"\r\n\r\n")[0].split(b"\r\n")
    fields = {line.split(b":", 1)[0].lower(): line for line in lines[1:]}
    told = [lines[0][:80], *[fields[name][:80] for name in (b"cseq", b"call-id", b"reason") if name in fields]]
    return " | ".join(part.decode("utf-8", "replace") for part in told) + (
        " +SDP" if data[-2:] != b"\r\n\r\n"[-2:] else ""
    )
