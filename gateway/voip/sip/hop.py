"""One hop: what RFC 3261 18 and RFC 3581 say about Via, and our listening sockets.

Which address of ours the far end is told is decided in ``address.py``. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.voip.sip.flow import DEFAULT_PORT, UDP, Flow, bracketed, default_port, literal_address
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode, behind_nat
from gateway.voip.sip.values import Via

MAX_DATAGRAM_REQUEST = 1300
"""RFC 3261 18.1.1: a longer request goes by a congestion-controlled transport."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of ours as SIP sees it: transport word, local address ("" or a wildcard: any) and port.

    One that is ``retired`` is there only for the calls that began over it.
    """

    transport: str
    address: str
    port: int
    retired: bool = False

    @property
    def wildcard(self) -> bool:
        """True if it hears on all addresses."""
        return self.address in ("", "::", "0.0.0.0")  # noqa: S104 - compared, not bound

    def reaches(self, address: str) -> bool:
        """True if its address family can send to ``address``; ``::`` is both families (dual stack)."""
        if self.address in ("", "::"):
            return True
        return (":" in self.address) == (":" in address)


def succeeding(listeners: Sequence[Listener], wanted: Sequence[Listener]) -> tuple[Listener, ...]:
    """``listeners`` when ``wanted`` are to be open: flows know them by their number, so that each keeps its own."""
    known = [replace(each, retired=False) for each in listeners]
    stay = [replace(each, retired=each not in wanted) for each in known]
    return (*stay, *(each for each in wanted if each not in known))


class OwnVia(NamedTuple):
    """The Via of a request of ours: its value, and the parts that responses are matched by."""

    text: str
    branch: str
    sent_by: str


def reply_flow(via: Via, flow: Flow, nat: frozenset[NatMode] = DEFAULT_NAT) -> Flow:
    """Where responses go to a request that came on ``flow`` with ``via`` on top (18.2.2, RFC 3581 4).

    A maddr that is no literal address is not followed: responses go back to where the request came from. So they do
    where ``nat`` wants it, as if the far end had known to ask for it by rport.
    """
    if flow.reliable:
        return flow
    if NatMode.FORCE_RPORT in nat:
        return flow
    if via.maddr is not None:
        maddr = literal_address(via.maddr)
        if maddr is not None:
            return Flow(UDP, maddr, via.port or DEFAULT_PORT, 0, flow.listener)
    if via.wants_rport or (NatMode.AUTO_FORCE_RPORT in nat and behind_nat(via, flow)):
        return flow
    return Flow(UDP, flow.address, via.port or DEFAULT_PORT, 0, flow.listener)


def reconnected(via: Via, flow: Flow) -> Flow:
    """Where a response goes if its connection is gone: to the source address, at the sent-by port (18.2.2)."""
    return Flow(flow.transport, flow.address, via.port or default_port(flow.transport), name=flow.name)


def sent_by(address: str, port: int) -> str:
    """``host:port`` for Via and Contact."""
    return f"{bracketed(address)}:{port}"
