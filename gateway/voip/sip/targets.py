"""Locating SIP servers (RFC 3263): from a host to its servers in the order they are to be tried. Sans-I/O.

NAPTR, SRV and A/AAAA as far as each is called for; who failed lately comes last (4.3). Sends and resolves nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from gateway.core import SECOND
from gateway.voip.sip.flow import ADDRESS, NAPTR, SRV, TCP, TLS, UDP, Resolve, default_port, literal_address
from gateway.voip.sip.names import MAX_RECORDS, USUAL_TTL, Answer, Names, Naptr, Srv

MAX_TARGETS = 32
"""Servers of one domain that are tried."""
MAX_DOMAINS = 4096
AVOID = 60 * SECOND
"""How long a server that failed comes after all others (own; RFC 3263 4.3 leaves it open)."""
MAX_AVOIDED = 1024

_SRV_NAMES = {UDP: "_sip._udp", TCP: "_sip._tcp", TLS: "_sips._tcp"}
_NAPTR_SERVICES = {"SIP+D2U": UDP, "SIP+D2T": TCP, "SIPS+D2T": TLS}
TRANSPORTS = frozenset(_NAPTR_SERVICES.values())


class Domain(msgspec.Struct, frozen=True):
    """Where a far end says it is. ``port`` 0 is none written; ``transport`` "" leaves the choice to its NAPTR."""

    host: str
    port: int = 0
    transport: str = UDP


class Target(msgspec.Struct, frozen=True):
    """One server: transport word, literal address and port. ``host`` is the name that its certificate should bear."""

    transport: str
    address: str
    port: int
    host: str = ""


class _Service(msgspec.Struct, frozen=True):
    """Servers of one priority and weight: all addresses of one name."""

    rank: int
    priority: int
    weight: int
    targets: tuple[Target, ...]


class Located(msgspec.Struct, frozen=True):
    """What is known of a domain's servers, and which questions that hangs on. ``pending``: answers are missing."""

    services: tuple[_Service, ...]
    questions: tuple[Resolve, ...]
    pending: bool

    @property
    def targets(self) -> tuple[Target, ...]:
        """All servers, in no order that matters."""
        return tuple([target for service in self.services for target in service.targets])


class _Search:
    """One walk through what the names are known to have."""

    def __init__(
        self, names: Names, now: int, reaches: Callable[[str, str], bool], speaks: Callable[[str], bool]
    ) -> None:
        self._names = names
        self._now = now
        self._reaches = reaches
        self._speaks = speaks
        self.questions: list[Resolve] = []
        self.pending = False

    def _ask(self, name: str, kind: str) -> Answer | None:
        question = Resolve(name, kind)
        self.questions.append(question)
        answer = self._names.ask(question, self._now)
        if answer is None:
            self.pending = True
        return answer

    def _addresses(self, host: str) -> Iterable[str]:
        literal = literal_address(host)
        if literal is not None:
            return (literal,)
        answer = self._ask(host, ADDRESS)
        if answer is None:
            return ()
        found = [literal_address(record) for record in answer.records[:MAX_RECORDS] if isinstance(record, str)]
        return dict.fromkeys([address for address in found if address is not None])

    def _targets(self, transport: str, host: str, port: int, name: str) -> tuple[Target, ...]:
        found = [
            Target(transport, address, port, name)
            for address in self._addresses(host)
            if self._reaches(transport, address)
        ]
        return tuple(found)

    def domain(self, domain: Domain) -> Iterator[_Service]:
        """RFC 3263 4.1 and 4.2."""
        host, port, transport = domain.host, domain.port, domain.transport
        if literal_address(host) is not None or port:
            # 4.1: with a literal address, or a port, nothing is left to be chosen but what is usual.
            transport = transport or UDP
            targets = self._targets(transport, host, port or default_port(transport), host)
            if targets:
                yield _Service(0, 0, 0, targets)
            return
        services = [(transport, f"{_SRV_NAMES[transport]}.{host}")] if transport else list(self._chosen(host))
        served = False
        for rank, (word, name) in enumerate(services):
            answer = self._ask(name, SRV)
            records = () if answer is None else answer.records[:MAX_RECORDS]
            for record in records:
                if isinstance(record, Srv):
                    # A service that is decidedly not there (a target of "") is not looked for elsewhere.
                    served = True
                    targets = self._targets(word, record.target, record.port, host) if record.target else ()
                    if targets:
                        yield _Service(rank, record.priority, record.weight, targets)
            if answer is None:
                # Not known yet: nobody is called at the wrong place meanwhile.
                served = True
        if not served:
            word = transport or UDP
            targets = self._targets(word, host, default_port(word), host)
            if targets:
                yield _Service(0, 0, 0, targets)

    def _chosen(self, host: str) -> Iterator[tuple[str, str]]:
        """Transports and SRV names in the order of the NAPTR records; without any, those that we speak (4.1)."""
        answer = self._ask(host, NAPTR)
        if answer is None:
            return
        rules = sorted(record for record in answer.records[:MAX_RECORDS] if isinstance(record, Naptr))
        chosen = [
            (_NAPTR_SERVICES[rule.service], rule.replacement)
            for rule in rules
            if rule.flags == "S" and rule.replacement and self._speaks(_NAPTR_SERVICES.get(rule.service, ""))
        ]
        # TLS is chosen by a record or by the operator, never by a guess: its certificate would be the wrong one.
        yield from chosen or ((word, f"{_SRV_NAMES[word]}.{host}") for word in (UDP, TCP))


def locate(
    domain: Domain,
    names: Names,
    now: int,
    reaches: Callable[[str, str], bool] = lambda _transport, _address: True,
    speaks: Callable[[str], bool] = TRANSPORTS.__contains__,
) -> Located:
    """What is known of the servers of ``domain``; asks ``names`` for what is missing or no longer good.

    ``reaches`` says whether a transport of ours gets to an address, ``speaks`` whether a NAPTR record may choose it.
    """
    search = _Search(names, now, reaches, speaks)
    services = tuple(search.domain(domain))
    return Located(services, tuple(search.questions), search.pending)


def in_order(located: Located, rng: random.Random) -> list[Target]:
    """The servers as RFC 2782 has them tried: by priority, within one at random by weight. At most MAX_TARGETS."""
    services = located.services
    if len(services) == 1:
        return list(services[0].targets[:MAX_TARGETS])
    groups: dict[tuple[int, int], list[_Service]] = {}
    for service in services:
        groups.setdefault((service.rank, service.priority), []).append(service)
    ordered: dict[Target, None] = {}
    for _, group in sorted(groups.items(), key=lambda each: each[0]):
        # Those of no weight first, so that they are drawn now and then.
        left = sorted(group, key=lambda service: service.weight)
        while left:
            drawn = rng.randint(0, sum(service.weight for service in left))
            for number, service in enumerate(left):
                drawn -= service.weight
                if drawn <= 0:
                    ordered.update(dict.fromkeys(left.pop(number).targets))
                    break
    return list(ordered)[:MAX_TARGETS]


class Locator:
    """The servers of all domains that are called by name, looked up again before they are out of date.

    ``next_timer`` is when ``handle_timer`` is due; questions come out of ``poll``.
    """

    def __init__(
        self,
        rng: random.Random,
        reaches: Callable[[str, str], bool] = lambda _transport, _address: True,
        speaks: Callable[[str], bool] = TRANSPORTS.__contains__,
    ) -> None:
        self.names = Names()
        self._speaks = speaks
        self._rng = rng
        self._reaches = reaches
        self._located: dict[Domain, Located] = {}
        self._by_question: dict[Resolve, list[Domain]] = {}
        self._due: int | None = None
        # Until when a server comes after the others.
        self._avoided: dict[tuple[str, str, int], int] = {}

    def watch(self, domain: Domain, now: int) -> None:
        """Keep the servers of ``domain`` known; ValueError if there are too many domains."""
        if domain not in self._located and len(self._located) >= MAX_DOMAINS:
            raise ValueError(f"more than {MAX_DOMAINS} hosts are called by name")
        self._locate(domain, now)

    def forget(self, domain: Domain) -> None:
        """Nobody wants to know where ``domain`` is any more."""
        self._located.pop(domain, None)

    def _locate(self, domain: Domain, now: int) -> Located:
        located = locate(domain, self.names, now, self._reaches, self._speaks)
        before = self._located.get(domain)
        self._located[domain] = located
        if before is None or before.questions != located.questions:
            for question in before.questions if before is not None else ():
                asking = self._by_question.get(question, [])
                if domain in asking:
                    asking.remove(domain)
                    if not asking:
                        del self._by_question[question]
            for question in located.questions:
                self._by_question.setdefault(question, []).append(domain)
        for question in located.questions:
            self._note(self.names.good_until(question, now))
        return located

    def _note(self, at: int) -> None:
        if self._due is None or at < self._due:
            self._due = at

    def known(self, domain: Domain) -> tuple[Target, ...]:
        """All servers of ``domain`` as far as they are known."""
        located = self._located.get(domain)
        return () if located is None else located.targets

    def pending(self, domain: Domain) -> bool:
        """True while the DNS has not told all."""
        located = self._located.get(domain)
        return located is None or located.pending

    def targets(self, domain: Domain, now: int) -> list[Target]:
        """The servers of ``domain``, the one to try first in front; those that failed lately are last."""
        located = self._located.get(domain)
        if located is None or (not located.services and not located.pending):
            # Whoever wants it now is not kept waiting for the next look.
            located = self._locate(domain, now)
        ordered = in_order(located, self._rng)
        if not self._avoided or len(ordered) < 2:
            return ordered
        return sorted(ordered, key=lambda target: self.avoided(target, now))

    def avoided(self, target: Target, now: int) -> bool:
        """Whether ``target`` failed lately."""
        until = self._avoided.get((target.transport, target.address, target.port))
        return until is not None and until > now

    def avoid(self, place: tuple[str, str, int], now: int, microseconds: int = AVOID) -> None:
        """The server at transport, address and port failed: for a while the others go first."""
        if len(self._avoided) >= MAX_AVOIDED:
            self._avoided = {each: until for each, until in self._avoided.items() if until > now}
            if len(self._avoided) >= MAX_AVOIDED:
                del self._avoided[next(iter(self._avoided))]
        self._avoided[place] = now + microseconds

    def works(self, place: tuple[str, str, int]) -> None:
        """The server answers."""
        self._avoided.pop(place, None)

    def answered(self, question: Resolve, answer: Answer, now: int) -> list[Domain]:
        """The DNS answered; returns the domains whose servers have changed by that."""
        self.names.answered(question, answer, now)
        self._note(self.names.good_until(question, now))
        changed = []
        for domain in tuple(self._by_question.get(question, ())):
            before = self._located[domain]
            after = self._locate(domain, now)
            if after.services != before.services or after.pending != before.pending:
                changed.append(domain)
        return changed

    def moved(self, now: int) -> None:
        """This host is in another network: the DNS there may say something else, and who failed may be reached."""
        self._avoided.clear()
        self.names.forget(now)
        for domain in tuple(self._located):
            self._locate(domain, now)

    def next_timer(self) -> int | None:
        """When names are to be looked up again, or None."""
        return self._due

    def handle_timer(self, now: int) -> None:
        """Look again at the domains whose answers are no longer good."""
        if self._due is None or self._due > now:
            return
        self._due = None
        for domain, located in tuple(self._located.items()):
            for question in located.questions:
                if self.names.good_until(question, now) <= now:
                    self._locate(domain, now)
                    break
                self._note(self.names.good_until(question, now))

    def poll(self) -> Resolve | None:
        """The next question for the DNS, or None."""
        return self.names.poll()


def addresses_answer(addresses: Sequence[str]) -> Answer:
    """Addresses that came without a time to live as an Answer; none is as if the DNS had failed."""
    return Answer(tuple(addresses), USUAL_TTL) if addresses else Answer(failed=True)


def places(targets: Iterable[Target]) -> Mapping[tuple[str, int], None]:
    """Addresses and ports of ``targets``, each once."""
    return dict.fromkeys((target.address, target.port) for target in targets)
