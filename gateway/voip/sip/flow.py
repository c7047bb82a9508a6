"""Where SIP messages come from and go to: flows (RFC 5626 in spirit) and what the endpoint hands to its sockets.

Does not open, read or resolve anything.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

UDP = "UDP"
TCP = "TCP"
TLS = "TLS"
RELIABLE = frozenset({TCP, TLS})

DEFAULT_PORT = 5060
DEFAULT_TLS_PORT = 5061
"""RFC 3261 19.1.2."""


def default_port(transport: str) -> int:
    """The port of ``transport`` where none is written."""
    return DEFAULT_TLS_PORT if transport == TLS else DEFAULT_PORT


class Flow(msgspec.Struct, frozen=True):
    """One way to reach a far end: transport, its literal address and port, and which of our sockets.

    ``connection`` numbers a TCP or TLS connection; 0 asks the adapter to open one (or take one that it has to there).
    ``listener`` is the index of the listening socket a datagram came in on, or leaves by. ``name`` is of TLS only: the
    host that a connection yet to be opened must prove to be by its certificate (RFC 5922), or the peer's host that an
    open one did prove to be; "" is the address, or nobody.
    """

    transport: str
    address: str
    port: int
    connection: int = 0
    listener: int = 0
    name: str = ""

    @property
    def reliable(self) -> bool:
        """True where the transport keeps order and repeats by itself, so that we must not."""
        return self.transport in RELIABLE

    @property
    def secure(self) -> bool:
        """True where nobody between us and the far end can read or change what is said."""
        return self.transport == TLS

    def __str__(self) -> str:
        return f"{self.transport.lower()}:{bracketed(self.address)}:{self.port}"


class Send(msgspec.Struct, frozen=True):
    """``data`` is to leave on ``flow``: one datagram, or bytes of a stream."""

    flow: Flow
    data: bytes


class Close(msgspec.Struct, frozen=True):
    """The connection of ``flow`` is to be closed: its peer sent what cannot be framed, or it idled too long."""

    flow: Flow
    text: str


ADDRESS = "address"
"""What is asked of a name: its A and AAAA records,"""
SRV = "srv"
"""its SRV records (RFC 2782),"""
NAPTR = "naptr"
"""or its NAPTR records (RFC 3263 4.1)."""


class Resolve(msgspec.Struct, frozen=True):
    """``host`` is a name whose addresses (or other records, ``kind``) the endpoint wants.

    Answer with ``SipEndpoint.looked_up``, or for addresses with ``SipEndpoint.resolved``.
    """

    host: str
    kind: str = ADDRESS


def bracketed(address: str) -> str:
    """``address`` as it stands in a URI, a Via or SDP's c= neighbours: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


@lru_cache(maxsize=1024)
def literal_address(host: str) -> str | None:
    """``host`` in canonical form if it is a literal IPv4 or IPv6 address (in brackets or not), else None: a name."""
    try:
        parsed = ipaddress.ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)
