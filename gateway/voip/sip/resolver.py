"""Looking names up: the hosts file, then the DNS by dnspython's asyncio resolver. NAPTR, SRV, A and AAAA.

Keeps no answers (``names.py`` does) and blocks nothing: files are small and read again only when they have changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
import dns.resolver

from gateway.core import SECOND
from gateway.voip.sip.flow import ADDRESS, NAPTR, SRV, Resolve, literal_address
from gateway.voip.sip.names import FAILED, MAX_NAMES, MAX_RECORDS, MOST_NEGATIVE_TTL, Answer, Naptr, Record, Srv

log = logging.getLogger(__name__)

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS_TTL = 60 * SECOND
"""How soon a change of the hosts file is noticed."""
MAX_HOSTS_FILE = 1 << 20
TRY_SECONDS = 2.0
"""How long one name server is waited for,"""
LIFETIME_SECONDS = 6.0
"""and how long all of them together."""
MAX_AT_ONCE = 64
"""Look-ups that run at a time; the others wait."""

_ADDRESS_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA)


class Resolver:
    """Answers questions. ``nameservers`` and ``port`` take the place of what resolv.conf says (for tests)."""

    def __init__(
        self,
        *,
        hosts: Path = HOSTS,
        resolv_conf: Path = RESOLV_CONF,
        nameservers: Iterable[str] = (),
        port: int = 53,
    ) -> None:
        self._hosts = hosts
        self._hosts_seen: tuple[int, int] | None = None
        self._by_name: dict[str, tuple[str, ...]] = {}
        self._resolv_conf = resolv_conf
        self._conf_seen: tuple[int, int] | None = None
        self._nameservers = list(nameservers)
        self._port = port
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        # What failed last, so that it is told once.
        self._troubled: set[Resolve] = set()

    async def look_up(self, question: Resolve) -> Answer:
        """The answer to ``question``; FAILED if nobody knows one. Raises nothing of its own."""
        known = self._from_hosts(question)
        if known is not None:
            return known
        async with self._room:
            try:
                answer = await self._ask(question)
            except (dns.exception.DNSException, OSError, ValueError, UnicodeError) as error:
                if question not in self._troubled and len(self._troubled) < MAX_NAMES:
                    self._troubled.add(question)
                    # A name may be no text at all: it came in somebody's message.
                    name = ascii(question.host)[1:-1]
                    log.warning("cannot look %s up (%s): %s", name, question.kind, _reason(error))
                return FAILED
        self._troubled.discard(question)
        return answer

    async def _ask(self, question: Resolve) -> Answer:
        if question.kind == ADDRESS:
            return await self._addresses(question.host)
        if question.kind == SRV:
            return await self._records(question.host, dns.rdatatype.SRV)
        if question.kind == NAPTR:
            return await self._records(question.host, dns.rdatatype.NAPTR)
        return FAILED

    # -- the hosts file --

    def _from_hosts(self, question: Resolve) -> Answer | None:
        seen = _stamp(self._hosts)
        if seen != self._hosts_seen:
            self._hosts_seen = seen
            self._by_name = _read_hosts(self._hosts)
        host = question.host.rstrip(".").lower()
        if question.kind == ADDRESS:
            addresses = self._by_name.get(host)
            return None if addresses is None else Answer(addresses, HOSTS_TTL)
        if question.kind == SRV:
            # _sip._udp.NAME
            host = host.split(".", 2)[-1]
        # What the operator wrote down has no other services than what is written there.
        return Answer((), HOSTS_TTL) if host in self._by_name else None

    # -- the DNS --

    def _dns(self) -> dns.asyncresolver.Resolver:
        seen = None if self._nameservers else _stamp(self._resolv_conf)
        resolver = self._resolver
        if resolver is None or seen != self._conf_seen:
            self._conf_seen = seen
            resolver = dns.asyncresolver.Resolver(configure=False)
            if self._nameservers:
                resolver.nameservers = list(self._nameservers)
            else:
                resolver.read_resolv_conf(str(self._resolv_conf))
            resolver.port = self._port
            resolver.timeout = TRY_SECONDS
            resolver.lifetime = LIFETIME_SECONDS
            resolver.cache = None
            self._resolver = resolver
        return resolver

    async def _addresses(self, host: str) -> Answer:
        # IPv4 first: an IPv6 that is announced and does not work is the more frequent of the two.
        found = await asyncio.gather(*(self._records(host, kind) for kind in _ADDRESS_TYPES), return_exceptions=True)
        answers = [answer for answer in found if isinstance(answer, Answer)]
        records: tuple[Record, ...] = tuple(dict.fromkeys(record for answer in answers for record in answer.records))
        if not records:
            for error in found:
                if isinstance(error, BaseException):
                    raise error
        ttl = min(answer.ttl for answer in answers if answer.records or not records)
        return Answer(records[:MAX_RECORDS], ttl)

    async def _records(self, host: str, kind: dns.rdatatype.RdataType) -> Answer:
        name = dns.name.from_text(host)
        # A name without a dot may be one of the search list's.
        search = len(name) <= 2 and kind in _ADDRESS_TYPES
        if search:
            name = dns.name.from_text(host, origin=None)
        try:
            answer = await self._dns().resolve(name, kind, raise_on_no_answer=False, search=search)
        except dns.resolver.NXDOMAIN as error:
            return Answer((), _negative_ttl(*error.responses().values()))  # type: ignore[no-untyped-call]
        if answer.rrset is None:
            return Answer((), _negative_ttl(answer.response))
        # A chain of aliases is good for as long as its shortest link.
        ttl = min((rrset.ttl for rrset in answer.response.answer), default=answer.rrset.ttl) * SECOND
        return Answer(tuple(_record(data) for data in answer.rrset)[:MAX_RECORDS], ttl)


def _record(data: object) -> Record:
    if isinstance(data, dns.rdtypes.IN.SRV.SRV):
        return Srv(data.priority, data.weight, data.port, _text(data.target))
    if isinstance(data, dns.rdtypes.IN.NAPTR.NAPTR):
        flags, service = (part.decode("ascii", "replace").upper() for part in (data.flags, data.service))
        return Naptr(data.order, data.preference, flags, service, _text(data.replacement))
    return literal_address(str(data)) or str(data)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).removesuffix(".")


def _negative_ttl(*responses: dns.message.Message) -> int:
    """RFC 2308 5: the smaller of the SOA's own time to live and its minimum."""
    for rrset in (rrset for response in responses for rrset in response.authority):
        for data in rrset:
            if isinstance(data, dns.rdtypes.ANY.SOA.SOA):
                return min(rrset.ttl, data.minimum) * SECOND
    return min(HOSTS_TTL, MOST_NEGATIVE_TTL)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _read_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """hosts(5): addresses by name in lower case; "localhost" is there in any case (RFC 6761 6.3)."""
    found: dict[str, list[str]] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_HOSTS_FILE)
    except OSError:
        text = ""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        literal = literal_address(address)
        if literal is not None and "%" not in address:
            for name in names:
                entry = found.setdefault(name.rstrip(".").lower(), [])
                if literal not in entry and len(entry) < MAX_RECORDS:
                    entry.append(literal)
    found.setdefault("localhost", ["127.0.0.1", "::1"])
    # IPv4 first, as from the DNS.
    return {name: tuple(sorted(addresses, key=lambda each: ":" in each)) for name, addresses in found.items()}


def _reason(error: BaseException) -> str:
    """The messages of dnspython repeat the question and go on for lines."""
    if isinstance(error, dns.resolver.NoResolverConfiguration):
        return "no name server is configured"
    if isinstance(error, dns.exception.Timeout):
        return "no name server answers"
    if isinstance(error, dns.resolver.NoNameservers):
        return "all name servers failed"
    return str(error).partition("\n")[0] or type(error).__name__
