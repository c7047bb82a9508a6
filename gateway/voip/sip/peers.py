"""Who we talk SIP with and how: settings of the endpoint, its trunks and phones, and the table that finds one.

In this issue a peer has a fixed host. Registration (``host = "dynamic"``), digest (``secret``), SRV and NAT modes join
here: as fields of PeerSettings and as further ways to find a peer in PeerTable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.cause_map import CauseRules
from gateway.core import SECOND
from gateway.voip.sip.codecs import CODECS, CodecRow
from gateway.voip.sip.flow import DEFAULT_PORT, TCP, UDP, Flow, literal_address
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.telephone import PLAIN, NumberStyle
from gateway.voip.sip.timers import SipTimer

MAX_PEERS = 4096
MAX_CALLS = 1024
"""Calls (legs) at a time; a further INVITE gets 503."""


class DtmfMode(Enum):
    """How digits pressed in a call go to the peer: ``dtmfmode``."""

    RFC4733 = "rfc4733"
    INFO = "info"
    INBAND = "inband"
    AUTO = "auto"


class Reliability(Enum):
    """RFC 3262, ``prack``: not used, used where both sides can, or asked for."""

    OFF = "no"
    SUPPORTED = "supported"
    REQUIRED = "required"


class SessionTimers(Enum):
    """RFC 4028, ``session_timers`` in Asterisk's words: never; if the peer asks; we ask too."""

    REFUSE = "refuse"
    ACCEPT = "accept"
    ORIGINATE = "originate"


class PeerKind(Enum):
    """A phone is called by its own name, a trunk by the number dialled."""

    TRUNK = "trunk"
    PHONE = "phone"


class RedirectionHeader(Enum):
    """How a redirecting number is told to the peer: ``diversion``."""

    NONE = "none"
    DIVERSION = "diversion"
    HISTORY_INFO = "history-info"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One trunk or phone. ``host`` is a literal address or a name; ``transport`` is UDP or TCP.

    ``match_port``: requests are this peer's only if they also come from ``port``. ``trust_identity``: believe and send
    P-Asserted-Identity (RFC 3325). ``late_offer``: our INVITE has no SDP, the far end
    offers. ``user`` replaces the number in the Request-URI (a phone's defaults to its name). ``failover``: how long it
    may stay silent (microseconds) when there is another way for the call.
    """

    name: str
    host: str
    port: int = DEFAULT_PORT
    transport: str = UDP
    kind: PeerKind = PeerKind.TRUNK
    context: str = "default"
    user: str = ""
    codecs: tuple[CodecRow, ...] = (CODECS["alaw"], CODECS["ulaw"])
    dtmfmode: DtmfMode = DtmfMode.RFC4733
    match_port: bool = False
    trust_identity: bool = True
    reliable: Reliability = Reliability.SUPPORTED
    session_timers: SessionTimers = SessionTimers.ACCEPT
    follow_redirects: bool = False
    late_offer: bool = False
    style: NumberStyle = PLAIN
    redirection: RedirectionHeader = RedirectionHeader.DIVERSION
    packet_milliseconds: int = 20
    failover: int = 4 * SECOND


@dataclass(frozen=True, slots=True)
class SipSettings:
    """Everything the SIP endpoint is told. ``context`` None rejects calls that no peer owns with 403 at once."""

    listeners: tuple[Listener, ...] = (Listener(UDP, "127.0.0.1", DEFAULT_PORT),)
    peers: tuple[PeerSettings, ...] = ()
    context: str | None = "default"
    user_agent: str = "Branch Gateway"
    stranger: PeerSettings = field(default_factory=lambda: PeerSettings("", "", trust_identity=False))
    timers: Mapping[SipTimer, int] = field(default_factory=dict)
    max_calls: int = MAX_CALLS
    cause_rules: CauseRules | None = None


class Credentials(Protocol):
    """Where digest (RFC 8760, RFC 3261 22) will answer a challenge; without one a challenge is a refusal."""

    def authorize(self, peer: PeerSettings, request: Request, challenge: Response) -> tuple[str, str] | None:
        """The header field (name, value) to repeat ``request`` with, or None to give up."""


class PeerTable:
    """Finds the peer of an incoming request by where it came from, and the flow to an outgoing one by its name."""

    def __init__(self, peers: Iterable[PeerSettings]) -> None:
        self._by_name: dict[str, PeerSettings] = {}
        self._by_port: dict[tuple[str, int], PeerSettings] = {}
        self._by_address: dict[str, PeerSettings] = {}
        self._known: set[str] = set()
        # Flows that were asked for, until an address changes.
        self._flows: dict[str, Flow] = {}
        self._addresses: dict[str, tuple[str, ...]] = {}
        for peer in peers:
            if peer.name in self._by_name:
                raise ValueError(f"two SIP peers are named {peer.name!r}")
            if len(self._by_name) >= MAX_PEERS:
                raise ValueError(f"more than {MAX_PEERS} SIP peers")
            self._by_name[peer.name] = peer
        self._index()

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> PeerSettings | None:
        """The peer called ``name``."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """The hosts that are names."""
        return sorted({peer.host for peer in self._by_name.values() if literal_address(peer.host) is None})

    def unresolved(self) -> list[str]:
        """Names of hosts whose addresses are not known yet."""
        return [host for host in self.names() if host not in self._addresses]

    def resolved(self, host: str, addresses: tuple[str, ...]) -> None:
        """``host`` has these addresses now (none: keep what was known)."""
        if addresses:
            self._addresses[host] = addresses
            self._index()

    def knows(self, address: str) -> bool:
        """True if a peer lives at ``address``, on whatever port."""
        return address in self._known

    def match(self, flow: Flow) -> PeerSettings | None:
        """The peer that a request on ``flow`` comes from: source address and port first, then address alone."""
        peer = self._by_port.get((flow.address, flow.port))
        if peer is not None and (not flow.reliable or peer.transport == flow.transport):
            return peer
        return self._by_address.get(flow.address)

    def flow(self, peer: PeerSettings, listener_for: Callable[[str, str], int | None]) -> Flow | None:
        """The flow to ``peer``, or None while its name has no address or no socket of ours reaches it."""
        flow = self._flows.get(peer.name)
        if flow is not None:
            return flow
        literal = literal_address(peer.host)
        addresses = (literal,) if literal is not None else self._addresses.get(peer.host, ())
        for address in addresses:
            listener = listener_for(peer.transport, address)
            if listener is not None:
                flow = Flow(peer.transport, address, peer.port, 0, listener if peer.transport != TCP else 0)
                self._flows[peer.name] = flow
                return flow
        return None

    def _index(self) -> None:
        self._by_port.clear()
        self._by_address.clear()
        self._known.clear()
        self._flows.clear()
        for peer in self._by_name.values():
            literal = literal_address(peer.host)
            for address in (literal,) if literal is not None else self._addresses.get(peer.host, ()):
                self._known.add(address)
                self._by_port.setdefault((address, peer.port), peer)
                # A TCP peer's requests come from any port of its own, so only the address can tell.
                if not peer.match_port or peer.transport == TCP:
                    self._by_address.setdefault(address, peer)
