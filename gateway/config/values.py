"""Values of the configuration that have a form of their own: addresses, listening points, channel paths, networks.

Each ``read_…`` takes what TOML holds and returns the typed value, or raises ValueError saying what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from gateway.cause import Cause
from gateway.config.problems import did_you_mean
from gateway.identity import TypeOfNumber
from gateway.routing.destinations import ALL_FORMS, GROUP, DestinationError, Template, parse_cause, parse_destination
from gateway.routing.patterns import Pattern, PatternError, parse_pattern
from gateway.voip.iax.peers import CallTokens
from gateway.voip.sip.direct_policy import DirectMedia
from gateway.voip.sip.nat import NatMode
from gateway.voip.sip.peers import DtmfMode

MAX_SOCKET_PATH = 107
"""sockaddr_un holds 108 bytes with the closing NUL."""

MAX_HOST = 253
MAX_QUALIFY = 600_000
"""Milliseconds: Asterisk's users write 120000."""

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_CALLERID = re.compile(r"(?:([^<>]{0,80})<([0-9*#A-D]{1,32})>|([0-9*#A-D]{1,32}))\Z")
_SCHEME = re.compile(r"(?:sips?|https?|stuns?):", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}\Z")
_DIAL_PLANS: dict[str, TypeOfNumber | None] = {
    "unknown": TypeOfNumber.UNKNOWN,
    "international": TypeOfNumber.INTERNATIONAL,
    "national": TypeOfNumber.NATIONAL,
    "local": TypeOfNumber.SUBSCRIBER,
    "dynamic": None,
}

Value = TypeVar("Value")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Transport(Enum):
    """What carries SIP (or, for IAX2, UDP only). ``AUTO``: the NAPTR records of the host say (RFC 3263 4.1)."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    AUTO = "auto"

    @property
    def token(self) -> str:
        """The word of a Via header (RFC 3261 25.1), as ``gateway.voip.sip.flow`` has it."""
        return "UDP" if self is Transport.AUTO else self.value.upper()


@dataclass(frozen=True, slots=True)
class Listen:
    """One listening point; the address ``::`` is IPv4 and IPv6."""

    transport: Transport
    address: Address
    port: int

    def reaches(self, far: Address) -> bool:
        """Whether this socket can send to ``far``."""
        return self.address.version == far.version or (self.address.version == 6 and self.address.is_unspecified)

    def __str__(self) -> str:
        return f"{self.transport.value}:{host_port(str(self.address), self.port)}"


@dataclass(frozen=True, slots=True)
class MetricsListen:
    """Where metrics are handed out: a Unix socket, or a port of this host that nobody outside reaches."""

    path: Path | None = None
    address: Address | None = None
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else host_port(str(self.address), self.port)


@dataclass(frozen=True, slots=True)
class PeerHost:
    """Where a trunk or phone is: an address or a name, and a port if one is written. ``dynamic``: it registers."""

    host: str
    port: int | None = None
    dynamic: bool = False

    @property
    def address(self) -> Address | None:
        """The host as an IP address, or None if it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class VirtualChannels:
    """A span that is a directory of sockets."""

    directory: str

    def __str__(self) -> str:
        return f"virtual:{self.directory}"


@dataclass(frozen=True, slots=True)
class DahdiChannels:
    """A span of a card, by DAHDI's span number."""

    span: int

    def __str__(self) -> str:
        return f"dahdi:{self.span}"


Channels = VirtualChannels | DahdiChannels


@dataclass(frozen=True, slots=True)
class Qualify:
    """How a peer is watched: ``milliseconds`` of answer time until it counts as lagged; None is not at all."""

    milliseconds: int | None


STRUCK = "***"
"""What interfaces write in place of a password that they do not tell."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A password: written in the file, or the path of a file that holds it. Never shown."""

    text: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True)
class CallerId:
    """Name and number that a peer's calls show."""

    name: str
    number: str


@dataclass(frozen=True, slots=True)
class PortRange:
    """UDP ports, both ends included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last


def host_port(host: str, port: int | None) -> str:
    """``host:port`` with brackets around an IPv6 address."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def read_port(text: str) -> int:
    """A UDP or TCP port, 1 to 65535."""
    if not _PORT.match(text) or not 1 <= int(text) <= 65535:
        raise ValueError("expected a port from 1 to 65535")
    return int(text)


def _split_port(text: str) -> tuple[str, str | None]:
    """Host and port texts of ``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("expected [IPv6 address]:PORT")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def read_address(raw: object) -> Address:
    """An IPv4 or IPv6 address without brackets or port."""
    if not isinstance(raw, str):
        raise ValueError("expected an IP address")
    try:
        return ip_address(raw)
    except ValueError:
        raise ValueError("expected an IP address") from None


def read_listen(raw: object) -> Listen:
    """``TRANSPORT:ADDRESS:PORT``."""
    return _listen(raw, 'expected TRANSPORT:ADDRESS:PORT with transport udp, tcp or tls, such as "udp:[::]:5060"')


def _listen(raw: object, expected: str) -> Listen:
    if not isinstance(raw, str):
        raise ValueError(expected)
    word, _, rest = raw.partition(":")
    try:
        transport = Transport(word)
        if transport is Transport.AUTO:
            raise ValueError
        host, port = _split_port(rest)
        address = ip_address(host)
    except ValueError:
        raise ValueError(expected) from None
    if port is None or "%" in host or (address.version == 6 and not rest.startswith("[")):
        raise ValueError(expected)
    return Listen(transport, address, read_port(port))


def read_udp_listen(raw: object) -> Listen:
    """``udp:ADDRESS:PORT``."""
    expected = 'expected udp:ADDRESS:PORT, such as "udp:[::]:4569"'
    listen = _listen(raw, expected)
    if listen.transport is not Transport.UDP:
        raise ValueError(expected)
    return listen


def read_metrics(raw: object) -> MetricsListen | None:
    """``none``, ``ADDRESS:PORT`` of loopback, or ``unix:`` and an absolute path."""
    expected = 'expected "none", a loopback address and port such as "127.0.0.1:9470", or "unix:" and an absolute path'
    if not isinstance(raw, str):
        raise ValueError(expected)
    if raw == "none":
        return None
    if raw.startswith("unix:"):
        path = Path(raw[5:])
        if not path.is_absolute() or len(bytes(path)) > MAX_SOCKET_PATH or "\0" in raw:
            raise ValueError(f"{expected} of at most {MAX_SOCKET_PATH} octets")
        return MetricsListen(path)
    try:
        host, port = _split_port(raw)
        address = ip_address(host)
    except ValueError:
        raise ValueError(expected) from None
    if port is None or not address.is_loopback or (address.version == 6 and not raw.startswith("[")):
        raise ValueError(expected)
    return MetricsListen(None, address, read_port(port))


def read_host(raw: object) -> PeerHost:
    """``HOST`` or ``HOST:PORT`` with an address or a name, or ``dynamic``."""
    expected = 'expected an address or a name, with ":PORT" if need be, or "dynamic"'
    if isinstance(raw, str) and _SCHEME.match(raw):
        raise ValueError(f"{expected}; without the {raw.partition(':')[0]}: before it")
    if not isinstance(raw, str):
        raise ValueError(expected)
    if raw == "dynamic":
        return PeerHost("", dynamic=True)
    host, port = _split_port(raw)
    try:
        host = str(ip_address(host))
        named = False
    except ValueError:
        named = True
    if "%" in host and not named:
        raise ValueError(f"{expected}; a link-local address with its interface is no place for calls")
    if named and (not _HOST.match(host) or _looks_like_ipv4(host)):
        raise ValueError(expected)
    return PeerHost(host, None if port is None else read_port(port))


def _looks_like_ipv4(host: str) -> bool:
    """1.2.3 or 1.2.3.400 is a mistyped address and never a name."""
    return bool(re.fullmatch(r"[0-9.]+", host))


def read_externhost(raw: object) -> PeerHost:
    """A name or an address, with a port if need be."""
    return _read_fixed_host(raw, "a name")


def read_stunaddr(raw: object) -> PeerHost:
    """A name or an address of a STUN server, with a port if need be."""
    return _read_fixed_host(raw, "the name or address of a STUN server")


def _read_fixed_host(raw: object, what: str) -> PeerHost:
    """``read_host`` for one that cannot be ``dynamic``; ValueError says that ``what`` was expected."""
    try:
        host = read_host(raw)
    except ValueError:
        host = PeerHost("", dynamic=True)
    if host.dynamic:
        raise ValueError(f'expected {what}, with ":PORT" if need be')
    return host


def read_nat(raw: object) -> frozenset[NatMode]:
    """Words of Asterisk's ``nat``, in a list or between commas."""
    words = [word.strip() for word in raw.split(",")] if isinstance(raw, str) else raw
    known = {mode.value: mode for mode in NatMode}
    if not isinstance(words, list) or not words:
        raise ValueError(f"expected a list of {', '.join(known)}")
    if words == ["yes"]:
        raise ValueError(f'expected a list of {", ".join(known)}; did you mean ["force_rport", "comedia"]?')
    modes = [_word(word, known) for word in words]
    if NatMode.NO in modes and len(modes) > 1:
        raise ValueError('expected "no" alone, or other words without it')
    return frozenset(modes)


def read_directmedia(raw: object) -> frozenset[DirectMedia]:
    """Words of Asterisk's ``directmedia``, in a list or between commas."""
    words = [word.strip() for word in raw.split(",")] if isinstance(raw, str) else raw
    known = {mode.value: mode for mode in DirectMedia}
    if not isinstance(words, list) or not words:
        raise ValueError(f"expected a list of {', '.join(known)}")
    modes = [_word(word, known) for word in words]
    if DirectMedia.NO in modes and len(modes) > 1:
        raise ValueError('expected "no" alone, or other words without it')
    return frozenset(modes)


def read_calltoken(raw: object) -> CallTokens:
    """Asterisk's words, or true and false."""
    if isinstance(raw, bool):
        return CallTokens.YES if raw else CallTokens.NO
    return _word(raw, {mode.value: mode for mode in CallTokens})


def read_keepalive(raw: object) -> int:
    """Seconds, or false for none."""
    if raw is False:
        return 0
    if isinstance(raw, int) and not isinstance(raw, bool) and 5 <= raw <= 3600:
        return raw
    raise ValueError("expected seconds from 5 to 3600, or false")


def read_proxy(raw: object) -> PeerHost:
    """A name or an address, with a port if need be."""
    try:
        host = read_host(raw)
    except ValueError:
        host = PeerHost("", dynamic=True)
    if host.dynamic:
        raise ValueError('expected a name or an address, with ":PORT" if need be')
    return host


def read_externip(raw: object) -> str | PeerHost:
    """``auto``, ``none``, or an address with a port if need be."""
    expected = 'expected "auto", "none" or an address, with ":PORT" if need be'
    if raw in ("auto", "none"):
        return str(raw)
    try:
        host = read_host(raw)
    except ValueError as error:
        raise ValueError(str(error) if "a port" in str(error) else expected) from None
    address = host.address
    if address is None:
        raise ValueError(f"{expected}; a name goes into externhost")
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{expected}, that others can send to")
    return host


def read_network(raw: object) -> Network:
    """``NETWORK/LENGTH``, ``NETWORK/MASK`` or one address."""
    expected = "expected a network as ADDRESS/LENGTH or ADDRESS/MASK, such as 192.168.0.0/16"
    if not isinstance(raw, str):
        raise ValueError(expected)
    try:
        network = ip_network(raw)
    except ValueError as error:
        if "host bits" not in str(error):
            raise ValueError(expected) from None
        first = f"expected the network's first address; it is {ip_network(raw, strict=False)}"
        raise ValueError(first) from None
    if network.num_addresses == 1 and network.network_address.is_unspecified:
        raise ValueError(f"expected {network.network_address}/0 if everybody is meant")
    return network


def read_localnet(raw: object) -> str | Network:
    """``auto`` or a network."""
    return "auto" if raw == "auto" else read_network(raw)


def read_channels(raw: object) -> Channels:
    """``virtual:DIRECTORY`` or ``dahdi:SPAN``."""
    expected = "expected virtual:DIRECTORY or dahdi:SPAN"
    if not isinstance(raw, str):
        raise ValueError(expected)
    word, _, rest = raw.partition(":")
    if word == "virtual" and rest and "\0" not in rest:
        return VirtualChannels(rest)
    if word == "dahdi" and re.fullmatch(r"[0-9]{1,3}", rest) and int(rest) >= 1:
        return DahdiChannels(int(rest))
    raise ValueError(expected)


def read_groups(raw: object) -> tuple[str, ...]:
    """One trunk group or a list of them, each ``g`` and a name."""
    expected = 'expected a group that begins with g, such as "g0", or a list of them'
    names = raw if isinstance(raw, list) else [raw]
    if not names or not all(isinstance(name, str) and GROUP.match(name) and name[0] == "g" for name in names):
        raise ValueError(expected)
    if len(set(names)) < len(names):
        raise ValueError("expected each group once")
    return tuple(names)


def read_qualify(raw: object) -> Qualify:
    """Milliseconds, true (2000) or false."""
    if isinstance(raw, bool):
        return Qualify(2000 if raw else None)
    if isinstance(raw, int) and 1 <= raw <= MAX_QUALIFY:
        return Qualify(raw)
    raise ValueError(f"expected milliseconds from 1 to {MAX_QUALIFY}, true (2000) or false")


def read_rtp_ports(raw: object) -> PortRange:
    """``[FIRST, LAST]``."""
    expected = "expected [FIRST, LAST] with ports from 1024 to 65535 and room for at least one pair"
    if not isinstance(raw, list) or len(raw) != 2:
        raise ValueError(expected)
    first, last = raw
    if any(isinstance(port, bool) or not isinstance(port, int) for port in raw):
        raise ValueError(expected)
    # RTP takes an even port and RTCP the next (RFC 3550 11).
    if not 1024 <= first <= 65535 or not 1024 <= last <= 65535 or last - (first + first % 2) < 1:
        raise ValueError(expected)
    return PortRange(first, last)


def read_cause(raw: object) -> Cause:
    """A Q.850 cause by number or name."""
    if not isinstance(raw, (str, int)):
        raise ValueError("expected a Q.850 cause by number or name")
    try:
        return parse_cause(raw)
    except DestinationError as error:
        raise ValueError(str(error)) from None


def read_secret(raw: object) -> Secret:
    """A string, or a table with the path of a file."""
    if raw == STRUCK:
        raise ValueError(f'expected a password; "{STRUCK}" stands for one that was not told')
    if isinstance(raw, str) and raw:
        return Secret(text=raw)
    if isinstance(raw, dict) and list(raw) == ["file"] and isinstance(raw["file"], str) and raw["file"]:
        return Secret(file=raw["file"])
    raise ValueError('expected a string, or a file as { file = "PATH" }')


def _word(raw: object, words: Mapping[str, Value]) -> Value:
    """The value of one of ``words``."""
    if isinstance(raw, str) and raw in words:
        return words[raw]
    suggestion = did_you_mean(raw, list(words)) if isinstance(raw, str) else ""
    raise ValueError(f"expected one of {', '.join(words)}{suggestion}")


def read_dtmfmode(raw: object) -> DtmfMode:
    """How digits go during a call; ``rfc2833`` is RFC 4733 under its old name."""
    return _word(raw, {mode.value: mode for mode in DtmfMode} | {"rfc2833": DtmfMode.RFC4733})


def read_dialplan(raw: object) -> TypeOfNumber | None:
    """What type of number a number is sent with; None: as it came (``dynamic``)."""
    return _word(raw, _DIAL_PLANS)


def read_callerid(raw: object) -> CallerId:
    """``NAME <NUMBER>``, or a number alone."""
    found = _CALLERID.match(raw) if isinstance(raw, str) else None
    if not found:
        raise ValueError('expected "NAME <NUMBER>" with a name of at most 80 characters and at most 32 digits')
    return CallerId((found[1] or "").strip().strip('"'), found[2] or found[3])


def read_pattern(raw: object) -> Pattern:
    """A number, or an Asterisk pattern."""
    expected = "expected a number or an Asterisk pattern with a leading _"
    if not isinstance(raw, str):
        raise ValueError(expected)
    try:
        return parse_pattern(raw)
    except PatternError as error:
        raise ValueError(f"{expected}, found {error}") from None


def read_destination(raw: object) -> Template:
    """One destination of a route."""
    if not isinstance(raw, str):
        raise ValueError(f"expected one of {ALL_FORMS}")
    return parse_destination(raw)


def read_timeslots(raw: object) -> tuple[int, ...]:
    """Timeslots as ``1-15,17-31``, ascending and each once."""
    expected = 'expected timeslots from 1 to 31, ascending, such as "1-15,17-31"'
    if not isinstance(raw, str) or len(raw) > 100:
        raise ValueError(expected)
    slots: list[int] = []
    for part in raw.split(","):
        found = re.fullmatch(r" *([0-9]{1,2})(?:-([0-9]{1,2}))? *", part)
        if not found:
            raise ValueError(expected)
        first, last = int(found[1]), int(found[2] or found[1])
        slots.extend(range(first, last + 1) if first <= last else [0])
    if slots != sorted(set(slots)) or not all(1 <= slot <= 31 for slot in slots):
        raise ValueError(expected)
    return tuple(slots)


def socket_path_too_long(paths: Iterable[str]) -> str | None:
    """The first of ``paths`` that no socket address can hold, or None."""
    return next((path for path in paths if len(path.encode(errors="surrogateescape")) > MAX_SOCKET_PATH), None)


def is_file(path: Path) -> bool:
    """Whether there is a file that we may look at; never an OSError."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_directory(path: Path) -> bool:
    """Whether there is a directory that we may look at; never an OSError."""
    try:
        return path.is_dir()
    except OSError:
        return False
