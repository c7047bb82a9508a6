"""The one place that decides which address of ours a far end is told: in Via, Contact, Record-Route and SDP.

``externip``, ``externhost``, ``localnet`` and ``media_address`` as Asterisk means them (sip.conf, NAT support), the
networks found out where the configuration leaves that to us. Resolves and opens nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.voip.sip.addresses import HOST_ONLY, PRIVATE, SHARED, Network, address_of, is_public, version_of, within
from gateway.voip.sip.externip import Addressing, ExternIp
from gateway.voip.sip.flow import TCP, UDP
from gateway.voip.sip.hop import Listener

log = logging.getLogger(__name__)

_ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What is known of this host's networks. ``addresses`` are the WAN interface's, the best first.

    ``connected`` are networks that we reach without a router, over whatever interface. ``wan`` is empty while there is
    no default route.
    """

    wan: str = ""
    addresses: tuple[str, ...] = ()
    connected: tuple[Network, ...] = ()

    def of(self, version: int) -> tuple[str, ...]:
        """The addresses of family ``version``."""
        return tuple(text for text in self.addresses if version_of(text) == version)


class AdvertisedAddress:
    """Decides, and keeps what it decided until something changes.

    ``local_for`` asks the host which local address it would use towards a remote one.
    """

    MAX_KEPT = 4096

    def __init__(
        self,
        listeners: tuple[Listener, ...],
        local_for: Callable[[str], str],
        addressing: Addressing | None = None,
    ) -> None:
        self.settings = addressing or Addressing()
        self.external = ExternIp(self.settings)
        self.facts = NetworkFacts()
        self._listeners = listeners
        self._local_for = local_for
        self._kept: dict[tuple[str, int], tuple[str, int]] = {}
        # Of those the addresses of media: the one that is told, and the one that it is received on.
        self._kept_media: dict[tuple[str, int], tuple[str, str]] = {}
        # Which of our addresses leads to a remote one: asking the host takes a few system calls.
        self._owns: dict[str, str] = {}
        self._forgotten: list[Callable[[], None]] = []

    def of(self, remote: str, listener: int = 0) -> str:
        """The address for Via, Contact and Record-Route towards ``remote`` on listener number ``listener``."""
        return self.signalling(remote, listener)[0]

    def signalling(self, remote: str, listener: int = 0) -> tuple[str, int]:
        """Address and port of ours for everything in SIP's header fields that ``remote`` is sent."""
        key = (remote, listener)
        decided = self._kept.get(key)
        if decided is None:
            if len(self._kept) >= self.MAX_KEPT:
                self._kept.clear()
            own = self.own(remote, listener)
            decided = self._decide(remote, listener, own)
            if self._leads(own, remote, listener):
                self._kept[key] = decided
        return decided

    def media_of(self, remote: str, listener: int = 0) -> str:
        """The address for SDP's o= and c= towards ``remote``."""
        return self._media(remote, listener)[0]

    def _media(self, remote: str, listener: int) -> tuple[str, str]:
        key = (remote, listener)
        decided = self._kept_media.get(key)
        if decided is None:
            decided = self._media_address(remote, listener), self._media_bind(remote, listener)
            if len(self._kept_media) >= self.MAX_KEPT:
                self._kept_media.clear()
            if key in self._kept:
                self._kept_media[key] = decided
        return decided

    def _media_address(self, remote: str, listener: int) -> str:
        told = self.signalling(remote, listener)[0]
        fixed = self.settings.media_address
        return fixed if fixed and version_of(fixed) == version_of(told) else told

    def reachable(self, remote: str, listener: int = 0) -> bool:
        """False while this host has no way to ``remote``, and so nothing to tell it."""
        return self._leads(self.own(remote, listener), remote, listener)

    def _leads(self, own: str, remote: str, number: int) -> bool:
        chosen = self._listener(number)
        if chosen is not None and not chosen.wildcard:
            return True
        # Loopback is what ``local_for`` says where there is no route.
        return not _is_loopback(own) or _is_loopback(remote)

    def bind_of(self, remote: str, listener: int = 0) -> str:
        """The address of this host that media with ``remote`` is received on: any, where SIP hears on any too.

        So voice follows the host to another address, and leaves from the one that SIP leaves from.
        """
        return self._media(remote, listener)[1]

    def _media_bind(self, remote: str, listener: int) -> str:
        fixed = self.settings.media_address
        version = version_of(self.own(remote, listener))
        if fixed and version_of(fixed) == version and self._leading_to(fixed) == fixed:
            # An address of this host: whoever is told it expects voice from there (RFC 4961).
            return fixed
        chosen = self._listener(listener)
        return _ANY[version] if chosen is None or chosen.wildcard else chosen.address

    def is_inside(self, remote: str) -> bool:
        """True if ``remote`` is in a network of ours: on this host, in ``localnet``, or not beyond the WAN interface.

        Where the WAN interface has a private address it may be the only one, with the phones beside it.
        """
        address = address_of(remote)
        if address is None:
            return False
        if address.is_loopback or within(address, self.settings.localnet):
            return True
        if not self.settings.localnet_auto:
            return False
        family = self.facts.of(address.version)
        if family and self._leading_to(remote) in family:
            return within(address, PRIVATE) and not any(map(is_public, family))
        return within(address, PRIVATE) or within(address, HOST_ONLY) or within(address, self.facts.connected)

    def update(self, facts: NetworkFacts) -> bool:
        """What is known of the networks changed; True if that may change what anybody is told."""
        if facts == self.facts:
            return False
        before, self.facts = self.facts, facts
        for version in (4, 6):
            if before.of(version) != facts.of(version):
                self.external.forget_seen(version)
        self.external.on_interface(facts.wan, facts.addresses)
        self.forget()
        return True

    def take_up(self, listeners: tuple[Listener, ...], addressing: Addressing) -> None:
        """Let ``addressing`` hold for whoever is told an address from now on."""
        self._listeners = listeners
        if addressing != self.settings:
            self.settings = addressing
            self.external = ExternIp(addressing)
            self.external.on_interface(self.facts.wan, self.facts.addresses)
        self.forget()

    def forget(self) -> None:
        """Addresses of this host, or those it has outside, changed: decide anew."""
        self._kept.clear()
        self._kept_media.clear()
        self._owns.clear()
        for tell in self._forgotten:
            tell()

    def when_forgotten(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` whenever what was decided is no longer true."""
        self._forgotten.append(tell)

    def _listener(self, number: int) -> Listener | None:
        return self._listeners[number] if 0 <= number < len(self._listeners) else None

    def own(self, remote: str, number: int = 0) -> str:
        """The address of this host that packets to ``remote`` leave from."""
        chosen = self._listener(number)
        if chosen is not None and not chosen.wildcard:
            return chosen.address
        return self._leading_to(remote)

    def _leading_to(self, remote: str) -> str:
        """What ``local_for`` says, asked once."""
        own = self._owns.get(remote)
        if own is None:
            own = self._local_for(remote)
            if len(self._owns) >= self.MAX_KEPT:
                self._owns.clear()
            # Where there is no route there may be one soon.
            if not _is_loopback(own) or _is_loopback(remote):
                self._owns[remote] = own
        return own

    def _decide(self, remote: str, number: int, own: str) -> tuple[str, int]:
        chosen = self._listener(number)
        port = chosen.port if chosen is not None else 0
        external = self.external.of(version_of(own))
        if external is None or self._is_local(remote, own):
            return own, port
        settings = self.settings
        fixed = bool(settings.externip or settings.externhost)
        if not fixed and is_public(own):
            # Found out for interfaces behind NAT; this address needs no other.
            return own, port
        transport = chosen.transport if chosen is not None else UDP
        if transport == UDP:
            return external.address, external.port or port
        if transport == TCP:
            return external.address, settings.externtcpport or settings.externport or port
        return external.address, settings.externtlsport or port

    def _is_local(self, remote: str, own: str) -> bool:
        """True if no NAT of ours stands between us and ``remote``."""
        address = address_of(remote)
        if address is None:
            return False
        if within(address, HOST_ONLY) or within(address, self.settings.localnet):
            return True
        if not self.settings.localnet_auto:
            return False
        facts = self.facts
        if within(address, facts.connected) or within(address, PRIVATE):
            # A private address that is not here is reached through a tunnel: no NAT to the Internet leads there.
            return True
        if within(address, (SHARED,)) and within(ip_address(own), (SHARED,)):
            return True
        family = facts.of(version_of(own))
        # What leaves by another interface than the WAN does not pass the WAN's NAT.
        return bool(family) and own not in family


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
