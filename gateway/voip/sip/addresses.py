"""Which addresses mean the same everywhere (RFC 6890), and which are one network's own or behind a carrier's NAT.

Not Python's ``is_private``: that counts documentation networks (RFC 5737) as private too, and tells nothing of 6598.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PRIVATE: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""RFC 1918 and unique local addresses (RFC 4193)."""
SHARED = IPv4Network("100.64.0.0/10")
"""Between carriers' NATs and their customers (RFC 6598)."""
HOST_ONLY: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "::1/128", "fe80::/10", "::/128")
)
"""Never beyond this host or this link: loopback, link-local (RFC 3927, RFC 4291) and unspecified."""


def within(address: Address, networks: tuple[Network, ...]) -> bool:
    """True if one of ``networks`` holds ``address``."""
    return any(address.version == network.version and address in network for network in networks)


@lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """The literal address ``text``; None if it is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def is_private(text: str) -> bool:
    """True for a literal address that nobody on the Internet can send to; False for names."""
    address = address_of(text)
    if address is None:
        return False
    return within(address, PRIVATE) or within(address, HOST_ONLY) or within(address, (SHARED,))


def is_public(text: str) -> bool:
    """True for a literal unicast address that anybody can send to."""
    address = address_of(text)
    return address is not None and not is_private(text) and not address.is_multicast


def version_of(text: str) -> int:
    """4 or 6, of a literal address."""
    return 6 if ":" in text else 4
