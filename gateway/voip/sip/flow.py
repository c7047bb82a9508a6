"""Where SIP messages come from and go to: flows (RFC 5626 in spirit) and what the endpoint hands to its sockets.

TLS joins as a third transport word with the issue that brings it. Does not open, read or resolve anything.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

UDP = "UDP"
TCP = "TCP"
RELIABLE = frozenset({TCP, "TLS"})

DEFAULT_PORT = 5060


class Flow(msgspec.Struct, frozen=True):
    """One way to reach a far end: transport, its literal address and port, and which of our sockets.

    ``connection`` numbers a TCP connection; 0 asks the adapter to open one (or take one that it has to there).
    ``listener`` is the index of the listening socket a datagram came in on, or leaves by.
    """

    transport: str
    address: str
    port: int
    connection: int = 0
    listener: int = 0

    @property
    def reliable(self) -> bool:
        """True where the transport keeps order and repeats by itself, so that we must not."""
        return self.transport in RELIABLE

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


class Resolve(msgspec.Struct, frozen=True):
    """``host`` is a name whose addresses the endpoint wants: answer with ``SipEndpoint.resolved``."""

    host: str


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
