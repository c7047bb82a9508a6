"""What the gateway shows of itself, typed: each field of a state here is a property on the bus (``interface.shown``).

Times are wall-clock microseconds since 1970, 0 for never; durations are in the unit their names say, -1 for unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gateway.provision.bus.interface import Changes, shown

CONST, UNTOLD = Changes.CONST, Changes.UNTOLD


@dataclass(frozen=True, slots=True)
class ManagerState:
    """The gateway as a whole. ``state``: running, degraded (see ``health``) or ending."""

    name: str = shown("s", CONST)
    version: str = shown("s", CONST)
    serial_number: str = shown("s", CONST)
    started: int = shown("t", CONST)
    uptime: int = shown("t", UNTOLD)
    """Seconds."""
    state: str = shown("s")
    health: Mapping[str, str] = shown("a{ss}")
    """By part: "ok", or what is wrong with it."""
    calls: int = shown("u")
    channels: int = shown("u")
    channels_idle: int = shown("u")
    registered: int = shown("u")
    """Phones that are registered."""
    shut_out: Mapping[str, int] = shown("a{su}", UNTOLD)
    """Addresses that are not heard, with seconds to go."""
    statistics: Mapping[str, int] = shown("a{st}", UNTOLD)
    log_level: str = shown("s")


@dataclass(frozen=True, slots=True)
class ConfigurationState:
    """Where the configuration stands: see ``gateway.config.change``."""

    state: str = shown("s")
    active: int = shown("u")
    running: int = shown("u")
    previous: int = shown("u")
    confirm_until: int = shown("t")
    staged_by: str = shown("s")
    staged_problems: int = shown("u")
    degraded: str = shown("s")
    restart: str = shown("s")
    """Why the gateway needs a restart for the active version to be in force entirely; empty if it does not."""


@dataclass(frozen=True, slots=True)
class SpanState:
    """One T1 or E1."""

    name: str = shown("s", CONST)
    line: str = shown("s", CONST)
    side: str = shown("s")
    switch_type: str = shown("s")
    groups: tuple[str, ...] = shown("as")
    context: str = shown("s")
    alarm: str = shown("s")
    """none, red, yellow or blue."""
    reason: str = shown("s")
    since: int = shown("t")
    bounces: int = shown("u")
    data_link: bool = shown("b")
    channels: tuple[tuple[int, str, tuple[str, ...]], ...] = shown("a(usas)")
    """Timeslot; idle, busy, blocked or restarting; what blocks it: local, remote, layer1, restart, loop."""
    counters: Mapping[str, int] = shown("a{st}")
    findings: tuple[str, ...] = shown("as")
    """What an operator should look for, if anything is wrong."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """What trunks and phones have in common: what Asterisk's ``sip show peers`` shows of one, and more."""

    name: str = shown("s", CONST)
    host: str = shown("s")
    dynamic: bool = shown("b")
    forcerport: bool = shown("b")
    """As far as is known without a packet of it: ``auto_force_rport`` is not counted."""
    acl: bool = shown("b")
    """Whether ``directmediapermit`` or ``directmediadeny`` say with whom its voice may go directly."""
    port: int = shown("q")
    transport: str = shown("s")
    status: str = shown("s")
    """OK, LAGGED, UNREACHABLE, UNKNOWN or Unmonitored."""
    round_trip: float = shown("d", UNTOLD)
    """Milliseconds."""
    media_encryption: str = shown("s")
    context: str = shown("s")
    calls: int = shown("u")


@dataclass(frozen=True, slots=True)
class TrunkState(PeerState):
    """A trunk, SIP or IAX2."""

    technology: str = shown("s", CONST)
    username: str = shown("s")
    servers: tuple[str, ...] = shown("as")
    error: str = shown("s")
    registration: str = shown("s")
    """The state of our registration with it, or "" if we need none."""
    registration_server: str = shown("s")
    registration_expires: int = shown("t", UNTOLD)
    registration_error: str = shown("s")


@dataclass(frozen=True, slots=True)
class PhoneState(PeerState):
    """A phone. ``contacts``: contact, where it is, qualify's word, round trip (ms), behind NAT, user agent."""

    registered: bool = shown("b")
    contacts: tuple[tuple[str, str, str, float, bool, str], ...] = shown("a(sssdbs)", UNTOLD)
    expires: int = shown("t", UNTOLD)
    """When the last of its registrations ends."""
    location: str = shown("s")


@dataclass(frozen=True, slots=True)
class CallState:
    """A call that goes on. ``hops``: side, technology, peer or span, far address, codec, secure signalling, SRTP or AES
    (or "no"). What ``states`` there are is in ``gateway.call_states``.
    """

    id: str = shown("s", CONST)
    state: str = shown("s")
    source: str = shown("s", CONST)
    context: str = shown("s", CONST)
    caller: str = shown("s", CONST)
    caller_name: str = shown("s", CONST)
    called: str = shown("s")
    destination: str = shown("s")
    connected: str = shown("s")
    started: int = shown("t", CONST)
    alerted: int = shown("t")
    answered: int = shown("t")
    emergency: bool = shown("b")
    one_way: bool = shown("b")
    hops: tuple[tuple[str, str, str, str, str, bool, str], ...] = shown("a(sssssbs)", UNTOLD)
    notes: tuple[str, ...] = shown("as")


@dataclass(frozen=True, slots=True)
class NetworkState:
    """How the gateway stands to the Internet. ``external``: family (ipv4, ipv6), address, who says so."""

    interface: str = shown("s")
    addresses: tuple[str, ...] = shown("as")
    networks: tuple[str, ...] = shown("as")
    """Networks without a router in between."""
    externip: str = shown("s")
    """As configured."""
    localnet: tuple[str, ...] = shown("as")
    """As configured."""
    external: tuple[tuple[str, str, str], ...] = shown("a(sss)")
    listeners: tuple[str, ...] = shown("as")


@dataclass(frozen=True, slots=True)
class DiagnosticsState:
    """What can be looked into. ``held``: octets of the ring of the last messages; 0 if there is none."""

    tracing: int = shown("u")
    """Traces that are being handed out."""
    held: int = shown("t", UNTOLD)
    jobs: int = shown("u")


@dataclass(frozen=True, slots=True)
class JobState:
    """Long work. ``state``: running, done, failed or cancelled; ``progress`` from 0 to 1."""

    kind: str = shown("s", CONST)
    started: int = shown("t", CONST)
    owner: str = shown("s", CONST)
    """Who began it: a user's number."""
    state: str = shown("s")
    progress: float = shown("d")
    text: str = shown("s")
    ended: int = shown("t")
    result: Mapping[str, str] = shown("a{ss}")


@dataclass(frozen=True, slots=True)
class Quality:
    """The voice of one side of a call as it is now: packets, loss (of what we receive and, by RTCP, of what we send),
    milliseconds, and MOS by G.107 (1.0 to 4.5). -1 is unknown.
    """

    side: str
    sent: int
    received: int
    lost: int
    remote_lost: int
    jitter: float
    round_trip: float
    delay: float
    mos: float
    source: str

    SIGNATURE: ClassVar[str] = "a(sttttdddds)"

    def as_row(self) -> tuple[object, ...]:
        """In the order of SIGNATURE."""
        return (
            self.side,
            self.sent,
            self.received,
            self.lost,
            self.remote_lost,
            self.jitter,
            self.round_trip,
            self.delay,
            self.mos,
            self.source,
        )
