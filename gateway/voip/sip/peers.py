"""Who we talk SIP with and how: settings of the endpoint, its trunks and phones, and the table that finds one.

In this issue a peer has a fixed host. Registration (``host = "dynamic"``), digest (``secret``), SRV and NAT modes join
here: as fields of PeerSettings and as further ways to find a peer in PeerTable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.cause_map import CauseRules
from gateway.core import SECOND
from gateway.voip.sip.codecs import CODECS, CodecRow
from gateway.voip.sip.digest import Algorithm
from gateway.voip.sip.direct_policy import NOT_DIRECT, DirectPolicy
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.externip import Addressing
from gateway.voip.sip.far_end_settings import LEFT_ALONE, FarEndSettings
from gateway.voip.sip.flow import DEFAULT_PORT, TCP, TLS, UDP, Flow, bracketed, default_port, literal_address
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode
from gateway.voip.sip.telephone import PLAIN, NumberStyle
from gateway.voip.sip.timers import SipTimer

MAX_PEERS = 4096
MAX_CONTACTS = 5
"""Contacts that a phone may have registered at a time, unless ``max_contacts`` says otherwise."""
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
class Brakes:
    """What a stolen password may cost: 0 is no limit. ``call_limit``: calls at once; the others count a running hour.

    ``destinations_per_hour``: different numbers that are called. Emergency calls are exempt from all.
    """

    call_limit: int = 0
    calls_per_hour: int = 0
    destinations_per_hour: int = 0


NO_BRAKES = Brakes()


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One trunk or phone. ``host`` is a literal address or a name; ``transport`` is UDP, TCP or TLS.

    ``match_port``: requests are this peer's only if they also come from ``port``. ``trust_identity``: believe and send
    P-Asserted-Identity (RFC 3325). ``late_offer``: our INVITE has no SDP, the far end offers. ``user`` replaces the
    number in the Request-URI (a phone's defaults to its name). ``failover``: how long it may stay silent (microseconds)
    when there is another way for the call. ``dynamic``: it has no ``host`` but registers, from ``max_contacts`` places
    at most.

    ``secret``: the password between us, "" for none. We are ``auth_user`` to the peer (or else ``user`` or ``name``);
    the peer is its ``name`` to us, or ``auth_user`` too. ``insecure_invite``: its INVITEs need no proof.
    ``fromuser`` and ``fromdomain`` are what our From says instead of caller and own address.
    ``tls_verify``: its certificate is looked at when we connect to it.

    ``unproven``: not who it says to be but who calls for help under its name (``unproven.py``).

    ``direct``: whether its voice may go around the gateway. ``allowtransfer``: its REFER and Replaces are heeded.
    ``rtptimeout``: microseconds without any voice of it that end a call, 0 for never. ``comfort_noise``: it may send
    that in its pauses (RFC 3389).
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
    media_encryption: MediaEncryption = MediaEncryption.NO
    dynamic: bool = False
    max_contacts: int = MAX_CONTACTS
    nat: frozenset[NatMode] = DEFAULT_NAT
    secret: str = field(default="", repr=False)
    auth_user: str = ""
    fromuser: str = ""
    fromdomain: str = ""
    insecure_invite: bool = False
    unproven: bool = False
    allowtransfer: bool = True
    direct: DirectPolicy = NOT_DIRECT
    rtptimeout: int = 0
    comfort_noise: bool = False
    brakes: Brakes = NO_BRAKES
    tls_verify: bool = True
    far_end: FarEndSettings = LEFT_ALONE

    @property
    def uri_host(self) -> str:
        """``host`` as it stands in a URI."""
        return bracketed(self.host.strip("[]"))

    @property
    def host_port(self) -> str:
        """``host`` as it stands in a URI, with ``port`` unless that goes without saying."""
        return self.uri_host if self.port == default_port(self.transport) else f"{self.uri_host}:{self.port}"


STRANGER = PeerSettings("", "", trust_identity=False, media_encryption=MediaEncryption.OPTIONAL)
"""Who is nobody's peer: believed nothing, refused no encryption."""


@dataclass(frozen=True, slots=True)
class RegistrarSettings:
    """Seconds, in Asterisk's words. ``natexpiry``: the most that is given to who registers from behind NAT."""

    minexpiry: int = 60
    maxexpiry: int = 3600
    defaultexpiry: int = 120
    natexpiry: int = 60


@dataclass(frozen=True, slots=True)
class SipSettings:
    """Everything the SIP endpoint is told. ``context`` None rejects calls that no peer owns with 403 at once.

    ``realm`` and ``algorithms`` are what we challenge with. ``emergency``: numbers that no brake may stop.
    """

    listeners: tuple[Listener, ...] = (Listener(UDP, "127.0.0.1", DEFAULT_PORT),)
    peers: tuple[PeerSettings, ...] = ()
    context: str | None = "default"
    user_agent: str = "Branch Gateway"
    stranger: PeerSettings = STRANGER
    timers: Mapping[SipTimer, int] = field(default_factory=dict)
    max_calls: int = MAX_CALLS
    addressing: Addressing = field(default_factory=Addressing)
    cause_rules: CauseRules | None = None
    directrtpsetup: bool = False
    registrar: RegistrarSettings = RegistrarSettings()
    realm: str = "branch-gateway"
    algorithms: tuple[Algorithm, ...] = tuple(Algorithm)
    emergency: frozenset[str] = frozenset()


class PeerTable:
    """Finds the peer of an incoming request by where it came from, and the flow to an outgoing one by its name."""

    def __init__(self, peers: Iterable[PeerSettings]) -> None:
        self._by_name: dict[str, PeerSettings] = {}
        self._by_port: dict[tuple[str, int], PeerSettings] = {}
        self._by_address: dict[str, PeerSettings] = {}
        # The same for what comes over TLS, where peers with transport TLS come first, and those by proven name.
        self._by_secure_address: dict[str, PeerSettings] = {}
        self._by_host: dict[str, PeerSettings] = {}
        self._known: set[str] = set()
        # Flows that were asked for, until an address changes.
        self._flows: dict[str, Flow] = {}
        self._addresses: dict[str, tuple[str, ...]] = {}
        # Addresses and ports of the servers that RFC 3263 found, by the peer's name.
        self._places: dict[str, tuple[tuple[str, int], ...]] = {}
        for peer in peers:
            if peer.name in self._by_name:
                raise ValueError(f"two SIP peers are named {peer.name!r}")
            if len(self._by_name) >= MAX_PEERS:
                raise ValueError(f"more than {MAX_PEERS} SIP peers")
            self._by_name[peer.name] = peer
        self._index()

    def __len__(self) -> int:
        return len(self._by_name)

    def replace(self, peers: Iterable[PeerSettings]) -> frozenset[str]:
        """Let ``peers`` be all; the names of those that are gone or other than before. Whoever is the same stays."""
        before = self._by_name
        known = {peer.name: peer for peer in peers}
        self._by_name = {name: old if (old := before.get(name)) == peer else peer for name, peer in known.items()}
        changed = frozenset(name for name, old in before.items() if self._by_name.get(name) is not old)
        for name in changed:
            self._places.pop(name, None)
        self._index()
        return changed

    def __iter__(self) -> Iterator[PeerSettings]:
        return iter(self._by_name.values())

    def get(self, name: str) -> PeerSettings | None:
        """The peer called ``name``."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """The hosts that are names."""
        return sorted(
            {peer.host for peer in self._by_name.values() if not peer.dynamic and literal_address(peer.host) is None}
        )

    def unresolved(self) -> list[str]:
        """Names of hosts whose addresses are not known yet."""
        return [host for host in self.names() if host not in self._addresses]

    def resolved(self, host: str, addresses: tuple[str, ...]) -> None:
        """``host`` has these addresses now (none: keep what was known)."""
        if addresses:
            self._addresses[host] = addresses
            self._index()

    def located(self, name: str, places: Iterable[tuple[str, int]]) -> None:
        """The servers of the peer called ``name`` are at these addresses and ports now (none: keep what was known)."""
        known = tuple(places)
        if known and self._places.get(name) != known:
            self._places[name] = known
            self._index()

    def knows(self, address: str) -> bool:
        """True if a peer lives at ``address``, on whatever port."""
        return address in self._known

    def match(self, flow: Flow) -> PeerSettings | None:
        """The peer that a request on ``flow`` comes from: source address and port first, then address alone.

        A peer with transport TLS is known over TLS only; there the name that its certificate proves comes first.
        """
        if flow.transport == TLS:
            if flow.name and (peer := self._by_host.get(flow.name)) is not None:
                return peer
            peer = self._by_port.get((flow.address, flow.port))
            if peer is not None and peer.transport == TLS:
                return peer
            return self._by_secure_address.get(flow.address)
        peer = self._by_port.get((flow.address, flow.port))
        if peer is not None and (peer.transport == flow.transport or (flow.transport == UDP and peer.transport == TCP)):
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
                number = listener if peer.transport == UDP else 0
                name = peer.host.rstrip(".").lower() if peer.transport == TLS else ""
                flow = Flow(peer.transport, address, peer.port, 0, number, name)
                self._flows[peer.name] = flow
                return flow
        return None

    def _places_of(self, peer: PeerSettings) -> Iterable[tuple[str, int]]:
        found = self._places.get(peer.name)
        if found is not None:
            return found
        literal = literal_address(peer.host)
        addresses = (literal,) if literal is not None else self._addresses.get(peer.host, ())
        return [(address, peer.port) for address in addresses]

    def _index(self) -> None:
        self._by_port.clear()
        self._by_address.clear()
        self._by_secure_address.clear()
        self._by_host.clear()
        self._known.clear()
        self._flows.clear()
        for peer in self._by_name.values():
            if peer.dynamic:
                continue
            if peer.transport == TLS:
                self._by_host.setdefault(peer.host.rstrip(".").lower(), peer)
            for address, port in self._places_of(peer):
                self._known.add(address)
                self._by_port.setdefault((address, port), peer)
                # A TCP peer's requests come from any port of its own, so only the address can tell.
                if peer.transport != TLS and (not peer.match_port or peer.transport == TCP):
                    self._by_address.setdefault(address, peer)
                if peer.transport == TLS:
                    there = self._by_secure_address.get(address)
                    if there is None or there.transport != TLS:
                        self._by_secure_address[address] = peer
                elif not peer.match_port or peer.transport == TCP:
                    self._by_secure_address.setdefault(address, peer)
