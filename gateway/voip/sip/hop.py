"""One hop: what RFC 3261 18 and RFC 3581 say about Via, and which address of ours the far end is told.

``AdvertisedAddress`` is the only place that decides which address goes into Via, Contact and SDP; ``externip`` and
``localnet`` will be settled there. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.voip.sip.flow import DEFAULT_PORT, TCP, UDP, Flow, bracketed, literal_address
from gateway.voip.sip.values import Via

MAX_DATAGRAM_REQUEST = 1300
"""RFC 3261 18.1.1: a longer request goes by a congestion-controlled transport."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of ours as SIP sees it: transport word, local address ("" or a wildcard: any) and port."""

    transport: str
    address: str
    port: int

    @property
    def wildcard(self) -> bool:
        """True if it hears on all addresses."""
        return self.address in ("", "::", "0.0.0.0")  # noqa: S104 - compared, not bound

    def reaches(self, address: str) -> bool:
        """True if its address family can send to ``address``; ``::`` is both families (dual stack)."""
        if self.address in ("", "::"):
            return True
        return (":" in self.address) == (":" in address)


class OwnVia(NamedTuple):
    """The Via of a request of ours: its value, and the parts that responses are matched by."""

    text: str
    branch: str
    sent_by: str


class AdvertisedAddress:
    """Which address of ours ``remote`` is told. Without a wildcard that is the listener's own.

    ``local_for`` asks the host which local address it would use towards a remote one; results are kept.
    """

    MAX_KEPT = 4096

    def __init__(self, listeners: tuple[Listener, ...], local_for: Callable[[str], str]) -> None:
        self._listeners = listeners
        self._local_for = local_for
        self._kept: dict[tuple[str, int], str] = {}

    def of(self, remote: str, listener: int = 0) -> str:
        """The address for Via, Contact and SDP towards ``remote`` on listener number ``listener``."""
        key = (remote, listener)
        address = self._kept.get(key)
        if address is None:
            if len(self._kept) >= self.MAX_KEPT:
                self._kept.clear()
            chosen = self._listeners[listener] if listener < len(self._listeners) else None
            address = self._local_for(remote) if chosen is None or chosen.wildcard else chosen.address
            self._kept[key] = address
        return address

    def bind_of(self, remote: str, listener: int = 0) -> str:
        """The address of this host that media with ``remote`` is received on; the same, as long as there is no NAT."""
        return self.of(remote, listener)

    def forget(self) -> None:
        """Addresses of this host changed."""
        self._kept.clear()


def reply_flow(via: Via, flow: Flow) -> Flow:
    """Where responses go to a request that came on ``flow`` with ``via`` on top (18.2.2, RFC 3581 4).

    A maddr that is no literal address is not followed: responses go back to where the request came from.
    """
    if flow.reliable:
        return flow
    if via.maddr is not None:
        maddr = literal_address(via.maddr)
        if maddr is not None:
            return Flow(UDP, maddr, via.port or DEFAULT_PORT, 0, flow.listener)
    if via.wants_rport:
        return flow
    return Flow(UDP, flow.address, via.port or DEFAULT_PORT, 0, flow.listener)


def reconnected(via: Via, flow: Flow) -> Flow:
    """Where a response goes if its TCP connection is gone: to the source address, at the sent-by port (18.2.2)."""
    return Flow(TCP, flow.address, via.port or DEFAULT_PORT)


def sent_by(address: str, port: int) -> str:
    """``host:port`` for Via and Contact."""
    return f"{bracketed(address)}:{port}"
