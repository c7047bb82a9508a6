"""Our address as the Internet sees it: what each source says of it, which source is believed, and who disagrees.

Sources in order of trust: the configuration, a name that is looked up again and again (``externhost``), a public
address on the WAN interface, what our trunks' registrars saw our requests come from (received and rport, RFC 3581), and
STUN (RFC 8489). Opens and resolves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from gateway.core import SECOND
from gateway.voip.sip.addresses import Network, is_public, version_of
from gateway.voip.sip.flow import bracketed, literal_address

log = logging.getLogger(__name__)

MAX_REPORTERS = 64
"""Registrars and STUN servers whose last word is kept, in each family."""


class Source(IntEnum):
    """Where an external address is from; the lower is believed."""

    CONFIGURATION = 0
    NAME = 1
    INTERFACE = 2
    REGISTRAR = 3
    STUN = 4


class Addressing(NamedTuple):
    """What the configuration says of our addresses. Empty texts and port 0: not set.

    ``automatic``: without ``externip`` and ``externhost`` the address is found out. ``localnet`` are networks that are
    told our own address; ``localnet_auto`` adds those that are found out. ``externrefresh`` is in microseconds.
    """

    externip: str = ""
    externport: int = 0
    externtcpport: int = 0
    externtlsport: int = 0
    externhost: str = ""
    externrefresh: int = 300 * SECOND
    automatic: bool = False
    localnet: tuple[Network, ...] = ()
    localnet_auto: bool = True
    media_address: str = ""
    stun: tuple[str, int] | None = None


class External(NamedTuple):
    """An address of ours outside, its UDP port if that is known to be another than ours (else 0), and who says so."""

    address: str
    port: int
    source: Source
    by: str = ""

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{bracketed(self.address)}{port}"


_WORDS = {
    Source.CONFIGURATION: "externip",
    Source.NAME: "externhost",
    Source.INTERFACE: "interface",
    Source.REGISTRAR: "registrar",
    Source.STUN: "stun",
}


class ExternIp:
    """Keeps the external address of each family. Every method that learns returns True if the result changed."""

    def __init__(self, addressing: Addressing) -> None:
        self._settings = addressing
        self._said: dict[int, dict[tuple[Source, str], External]] = {4: {}, 6: {}}
        self._chosen: dict[int, External] = {}
        self._told: set[tuple[str, ...]] = set()
        # The last look-up of ``externhost`` failed, and that was told.
        self._unresolved = False
        fixed = literal_address(addressing.externip)
        if fixed is not None:
            self._note(External(fixed, addressing.externport, Source.CONFIGURATION))

    def of(self, version: int) -> External | None:
        """The external address of family ``version`` (4 or 6), if one is known."""
        return self._chosen.get(version)

    def resolved(self, addresses: Iterable[str]) -> bool:
        """``externhost`` has these addresses now; none is a failed look-up, and then the last known stay."""
        host = self._settings.externhost
        found: dict[int, str] = {}
        for text in addresses:
            literal = literal_address(text)
            if literal is not None:
                found.setdefault(version_of(literal), literal)
        if not found:
            known = " and ".join(str(each) for each in self._all(Source.NAME))
            if not self._unresolved:
                log.warning(
                    "network.externhost %s does not resolve; %s. Check the name, and the DNS server",
                    host,
                    f"{known} is kept" if known else "peers are told our own address",
                )
            self._unresolved = True
            return False
        if self._unresolved:
            log.info("network.externhost %s resolves now: %s", host, " and ".join(found.values()))
        self._unresolved = False
        changed = False
        for version, said in self._said.items():
            if version in found:
                external = External(found[version], self._settings.externport, Source.NAME, host)
                changed |= self._note(external)
            elif said.pop((Source.NAME, host), None) is not None:
                changed |= self._choose(version)
        return changed

    def on_interface(self, interface: str, addresses: Iterable[str]) -> bool:
        """The WAN interface has these addresses; a public one is our external one."""
        if not self._settings.automatic:
            return False
        changed = False
        listed = list(addresses)
        for version, said in self._said.items():
            public = next((text for text in listed if version_of(text) == version and is_public(text)), None)
            stale = [key for key in said if key[0] is Source.INTERFACE and (public is None or key[1] != interface)]
            for key in stale:
                del said[key]
            if public is not None:
                changed |= self._note(External(public, 0, Source.INTERFACE, interface))
            elif stale:
                changed |= self._choose(version)
        return changed

    def seen(self, source: Source, by: str, address: str, port: int) -> bool:
        """``by``, a registrar or a STUN server, saw us at ``address`` and ``port`` (0: our own)."""
        literal = literal_address(address)
        if not self._settings.automatic or literal is None or not is_public(literal):
            return False
        return self._note(External(literal, port, source, by))

    def forget_seen(self, version: int) -> bool:
        """We moved: what others saw of us in that family is history until they see us again."""
        said = self._said[version]
        stale = [key for key in said if key[0] in (Source.REGISTRAR, Source.STUN)]
        for key in stale:
            del said[key]
        self._told.clear()
        return bool(stale) and self._choose(version)

    def as_json(self) -> dict[str, object]:
        """For the status: each family's address and where it is from; and all that was said, if there is more."""
        result: dict[str, object] = {}
        for version, chosen in sorted(self._chosen.items()):
            source = _WORDS[chosen.source]
            result[f"ipv{version}"] = {"address": str(chosen), "from": f"{source} {chosen.by}".strip()}
            others = [each for each in self._said[version].values() if each.address != chosen.address]
            if others:
                result[f"ipv{version}_disagreeing"] = {
                    f"{_WORDS[each.source]} {each.by}".strip(): str(each) for each in others
                }
        return result

    def __str__(self) -> str:
        """For the log: each family's address and who says so."""
        chosen = [each for _, each in sorted(self._chosen.items())]
        return ", ".join(f"{each} by {_WORDS[each.source]} {each.by}".rstrip() for each in chosen) or "none"

    def _all(self, source: Source) -> list[External]:
        return [each for said in self._said.values() for key, each in said.items() if key[0] is source]

    def _note(self, external: External) -> bool:
        version = version_of(external.address)
        said = self._said[version]
        key = (external.source, external.by)
        if said.get(key) == external:
            return False
        if key not in said and len(said) >= MAX_REPORTERS:
            del said[next(iter(said))]
        said[key] = external
        changed = self._choose(version)
        self._compare(version)
        return changed

    def _choose(self, version: int) -> bool:
        """Of the best source the one that spoke first, so that two who disagree do not take turns."""
        said = self._said[version]
        before = self._chosen.get(version)
        if not said:
            self._chosen.pop(version, None)
            return before is not None
        best = min(said.values(), key=lambda each: each.source)
        if best.source >= Source.REGISTRAR:
            ports = {each.port for each in said.values() if each.address == best.address}
            if len(ports) > 1:
                # Each destination sees another port (a symmetric NAT): none of them is true for others.
                best = best._replace(port=0)
        self._chosen[version] = best
        return before is None or (before.address, before.port) != (best.address, best.port)

    def _compare(self, version: int) -> None:
        """Report each disagreement once."""
        chosen = self._chosen[version]
        for other in self._said[version].values():
            if other.address == chosen.address:
                continue
            pair = (str(chosen.source), chosen.by, chosen.address, str(other.source), other.by, other.address)
            if pair in self._told:
                continue
            if len(self._told) >= MAX_REPORTERS:
                self._told.clear()
            self._told.add(pair)
            log.warning(
                "our external address is %s by %s, but %s by %s; the former is used",
                chosen.address,
                f"{_WORDS[chosen.source]} {chosen.by}".strip(),
                other.address,
                f"{_WORDS[other.source]} {other.by}".strip(),
            )
