"""The typed model of the configuration file, schema 1: one struct a section, one field a key.

This is the one place that knows the names, their defaults and their ranges. ``docs/configuration.md`` says what they
mean. Relative paths are taken from the directory of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.cause import Cause
from gateway.config.fields import Each, FilePath, FilePaths, Reads, Unread
from gateway.config.problems import Problem
from gateway.config.values import (
    CallerId,
    Channels,
    Listen,
    MetricsListen,
    Network,
    PeerHost,
    PortRange,
    Qualify,
    Secret,
    Transport,
    read_callerid,
    read_calltoken,
    read_cause,
    read_channels,
    read_destination,
    read_dialplan,
    read_directmedia,
    read_dtmfmode,
    read_externhost,
    read_externip,
    read_groups,
    read_host,
    read_keepalive,
    read_listen,
    read_localnet,
    read_metrics,
    read_nat,
    read_network,
    read_pattern,
    read_proxy,
    read_qualify,
    read_rtp_ports,
    read_secret,
    read_stunaddr,
    read_timeslots,
    read_udp_listen,
)
from gateway.identity import TypeOfNumber
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING
from gateway.media.api import Codec, Law
from gateway.pri.channels import Line
from gateway.pri.lapd import LapdTimer, Side
from gateway.pri.q931.timers import Q931Timer
from gateway.routing.destinations import Template
from gateway.routing.patterns import Pattern
from gateway.voip.iax.peers import CallTokens
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.sip.direct_policy import DirectMedia
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.nat import DEFAULT_NAT, NatMode
from gateway.voip.sip.peers import DtmfMode, RedirectionHeader, Reliability, SessionTimers
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.tls import VerifyClient

SCHEMA = 1
DEFAULT_CONTEXT = "default"

Name = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z",
        description="a name of up to 64 letters, digits, '.', '_' and '-', not beginning with a mark",
    ),
]
Text = Annotated[str, Meta(max_length=200, description="text of at most 200 characters")]
UserPart = Annotated[
    str, Meta(pattern=r"^[0-9A-Za-z+*#._-]{1,64}\Z", description="a user name of up to 64 letters, digits, + * # . _ -")
]
HostPart = Annotated[
    str, Meta(pattern=r"^[0-9A-Za-z](?:[0-9A-Za-z.-]{0,251}[0-9A-Za-z])?\Z", description="a host name or IPv4 address")
]
Prefix = Annotated[str, Meta(pattern=r"^[0-9*#]{0,8}\Z", description="up to 8 digits, * or #")]
AtOnce = Annotated[int, Meta(ge=0, le=10_000)]
CallsAnHour = Annotated[int, Meta(ge=0, le=100_000)]
NumbersAnHour = Annotated[int, Meta(ge=0, le=10_000)]
CallNumbers = Annotated[int, Meta(ge=1, le=32_767)]
"""Of IAX2 (RFC 5456 8.1.1): 15 bits, and 0 is nobody's."""


class SwitchType(Enum):
    """The dialect of Q.931 spoken on a span."""

    EUROISDN = "euroisdn"
    NI2 = "ni2"
    DMS100 = "dms100"
    ESS5 = "5ess"
    ESS4 = "4ess"
    QSIG = "qsig"


class OverlapDial(Enum):
    """In which direction digits of the called number may come one after the other."""

    NO = "no"
    INCOMING = "incoming"
    OUTGOING = "outgoing"
    BOTH = "both"


class Technology(Enum):
    """What a trunk speaks."""

    SIP = "sip"
    IAX2 = "iax2"


class AuthAlgorithm(Enum):
    """What a password may be proven with (RFC 8760), the strongest first."""

    SHA_512_256 = "sha-512-256"
    SHA_256 = "sha-256"
    MD5 = "md5"


class IaxAuth(Enum):
    """How who calls over IAX2 proves who it is (RFC 5456 8.6.13)."""

    MD5 = "md5"
    RSA = "rsa"
    PLAINTEXT = "plaintext"


class Insecure(Enum):
    """What a peer need not prove."""

    INVITE = "invite"
    PORT = "port"


class PhoneLocation(Enum):
    """Where a phone stands: at the branch, or where we cannot vouch for its address."""

    SITE = "site"
    REMOTE = "remote"


class CodecName(Enum):
    """Codecs by Asterisk's names."""

    ALAW = "alaw"
    ULAW = "ulaw"
    G722 = "g722"
    OPUS = "opus"
    SLIN16 = "slin16"
    G729 = "g729"
    ALL = "all"


class Fact(Enum):
    """What a hop can vouch for: the incoming one (``require``), or the outgoing one (``secure_bridge``)."""

    SECURE_SIGNALLING = SECURE_SIGNALLING
    SECURE_MEDIA = SECURE_MEDIA


MEDIA_CODECS: dict[CodecName, Codec] = {
    CodecName.ULAW: Codec.ULAW,
    CodecName.ALAW: Codec.ALAW,
    CodecName.G722: Codec.G722,
    CodecName.OPUS: Codec.OPUS,
    CodecName.SLIN16: Codec.L16,
}
"""The codecs that the media engine has."""


class GatewaySection(Struct, frozen=True, kw_only=True):
    """``[gateway]``: the box itself. ``records`` None is ``calls.jsonl`` in ``run_dir``, ``state_dir`` None that."""

    name: Name = "gateway"
    country: Annotated[str, Meta(pattern=r"^[a-z]{2}\Z", description="a country as two small letters, such as us")] = (
        "us"
    )
    run_dir: Annotated[Path, FilePath()] = Path("/run/branch-gateway")
    state_dir: Annotated[Path | None, FilePath()] = None
    records: Annotated[Path | None, FilePath()] = None
    records_megabytes: Annotated[int, Meta(ge=1, le=100_000)] = 10
    records_files: Annotated[int, Meta(ge=1, le=1000)] = 5
    capture_megabytes: Annotated[int, Meta(ge=0, le=1024)] = 16
    metrics: Annotated[MetricsListen | None, Reads(read_metrics)] = None
    bus: Annotated[
        str,
        Meta(
            pattern=r"^(system|none|unix:path=/[-0-9A-Za-z_/.%]{1,300})\Z",
            description='"system", "none" or unix:path= and the path of a socket',
        ),
    ] = "system"

    @property
    def state_path(self) -> Path:
        """The directory of what is to outlive a restart."""
        return self.state_dir if self.state_dir is not None else self.run_dir

    @property
    def records_path(self) -> Path:
        """The file that call records go to."""
        return self.records if self.records is not None else self.run_dir / "calls.jsonl"


class NetworkSection(Struct, frozen=True, kw_only=True):
    """``[network]``: how the gateway stands to the Internet."""

    wan: Annotated[str, Meta(pattern=r"^[!-.0-9:-~]{1,15}\Z", description='a network interface, or "auto"')] = "auto"
    externip: Annotated[str | PeerHost, Reads(read_externip)] = "auto"
    externhost: Annotated[PeerHost | None, Reads(read_externhost)] = None
    externrefresh: Annotated[int, Meta(ge=10, le=86_400)] = 300
    externtcpport: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    externtlsport: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    localnet: Annotated[tuple[str | Network, ...], Each(read_localnet)] = ("auto",)
    stunaddr: Annotated[PeerHost | None, Reads(read_stunaddr)] = None


class MediaSection(Struct, frozen=True, kw_only=True):
    """``[media]``: voice. ``control`` None is ``media.sock`` in the runtime directory."""

    rtp_ports: Annotated[PortRange, Reads(read_rtp_ports)] = PortRange(10000, 19999)
    media_address: Annotated[str, Meta(max_length=45, description="an IP address")] | None = None
    control: Annotated[Path | None, FilePath()] = None
    prompts: Annotated[Path, FilePath()] = Path("prompts")
    musiconhold: Annotated[
        str, Meta(pattern=r"^[!-.0-~]{1,100}\Z", description='"tone", "none" or the name of a prompt')
    ] = "tone"
    silence_ms: Annotated[int, Meta(ge=200, le=60_000)] = 2000
    grace_seconds: Annotated[int, Meta(ge=0, le=3600)] = 30


class SipSection(Struct, frozen=True, kw_only=True):
    """``[sip]``: what holds for all of SIP. The session interval and Min-SE end up in ``Timers.sip``."""

    listen: Annotated[tuple[Listen, ...], Each(read_listen)] = (
        read_listen("udp:[::]:5060"),
        read_listen("tcp:[::]:5060"),
    )
    tls_certificate: Annotated[Path | None, FilePath()] = None
    tls_key: Annotated[Path | None, FilePath()] = None
    tls_ca: Annotated[Path | None, FilePath()] = None
    tls_crl: Annotated[Path | None, FilePath()] = None
    tls_verify_client: VerifyClient = VerifyClient.NO
    context: Name = DEFAULT_CONTEXT
    realm: Annotated[
        str, Meta(pattern=r"^[0-9A-Za-z._@ -]{1,64}\Z", description="1 to 64 letters, digits, blanks and . _ @ -")
    ] = "branch-gateway"
    # MD5 first, as many a telephone looks at the first challenge only; whoever can do better finds it below.
    auth_algorithms: Annotated[tuple[AuthAlgorithm, ...], Meta(min_length=1, max_length=3)] = (
        AuthAlgorithm.MD5,
        AuthAlgorithm.SHA_512_256,
        AuthAlgorithm.SHA_256,
    )
    session_expires: Annotated[int, Meta(ge=90, le=3600)] | None = None
    session_minse: Annotated[int, Meta(ge=90, le=3600)] | None = None
    minexpiry: Annotated[int, Meta(ge=10, le=86_400)] = 60
    maxexpiry: Annotated[int, Meta(ge=10, le=86_400)] = 3600
    defaultexpiry: Annotated[int, Meta(ge=10, le=86_400)] = 120
    directrtpsetup: bool = False
    natexpiry: Annotated[int, Meta(ge=10, le=86_400)] = 60
    useragent: Annotated[
        str, Meta(pattern=r"^[!-~]([ -~]{0,98}[!-~])?\Z", description="1 to 100 printable characters")
    ] = "branch-gateway"


class IaxSection(Struct, frozen=True, kw_only=True):
    """``[iax]``: what holds for all of IAX2. ``context`` None: nobody calls who is no trunk."""

    listen: Annotated[tuple[Listen, ...], Each(read_udp_listen)] = (read_udp_listen("udp:[::]:4569"),)
    context: Name | None = None
    encryption: bool = False
    forceencryption: bool = False
    keyrotate: bool = True
    trunktimestamps: bool = False
    minexpiry: Annotated[int, Meta(ge=10, le=65_535)] = 60
    maxexpiry: Annotated[int, Meta(ge=10, le=65_535)] = 3600
    maxcallnumbers_nonvalidated: Annotated[int, Meta(ge=1, le=8192)] = 256


class Timers(Struct, frozen=True, kw_only=True):
    """``[timers]``: values that differ from the standards' defaults; timers in microseconds, counters as they are."""

    q921: Annotated[Mapping[LapdTimer, int], Unread()] = msgspec.field(default_factory=dict)
    q931: Annotated[Mapping[Q931Timer, int], Unread()] = msgspec.field(default_factory=dict)
    sip: Annotated[Mapping[SipTimer, int], Unread()] = msgspec.field(default_factory=dict)
    iax: Annotated[Mapping[IaxTimer, int], Unread()] = msgspec.field(default_factory=dict)


class Span(Struct, frozen=True, kw_only=True):
    """``[[span]]``: one T1 or E1. A dial plan of None sends numbers with the type they have (``dynamic``)."""

    name: Name
    channels: Annotated[Channels, Reads(read_channels)]
    line: Line
    side: Side = Side.USER
    switch_type: SwitchType = SwitchType.EUROISDN
    group: Annotated[tuple[str, ...], Reads(read_groups)] = ("g0",)
    context: Name = DEFAULT_CONTEXT
    law: Annotated[str, Meta(pattern=r"^[au]law\Z", description="alaw or ulaw")] | None = None
    timeslots: Annotated[tuple[int, ...] | None, Reads(read_timeslots)] = None
    overlapdial: OverlapDial = OverlapDial.NO
    pridialplan: Annotated[TypeOfNumber | None, Reads(read_dialplan)] = None
    prilocaldialplan: Annotated[TypeOfNumber | None, Reads(read_dialplan)] = None
    internationalprefix: Prefix = ""
    nationalprefix: Prefix = ""
    timers: Annotated[Timers, Unread()] = Timers()

    @property
    def companding(self) -> Law:
        """The law of the B channels: as set, else A-law on E1 and µ-law on T1."""
        if self.law is not None:
            return Law.ALAW if self.law == "alaw" else Law.ULAW
        return Law.ALAW if self.line is Line.E1 else Law.ULAW

    @property
    def d_channel(self) -> int:
        """The timeslot of the D channel."""
        return self.line.d_channel

    @property
    def b_channels(self) -> tuple[int, ...]:
        """The timeslots that carry calls, ascending."""
        every = range(1, self.line.timeslots + 1)
        slots = tuple(slot for slot in every if slot != self.d_channel)
        return slots if self.timeslots is None else tuple(slot for slot in self.timeslots if slot in slots)


class Peer(Struct, frozen=True, kw_only=True):
    """What all trunks and phones have in common."""

    name: Name
    secret: Annotated[Secret | None, Reads(read_secret)] = None
    context: Name = DEFAULT_CONTEXT
    allow: Annotated[tuple[CodecName, ...], Meta(max_length=20)] = (CodecName.ALAW, CodecName.ULAW)
    disallow: Annotated[tuple[CodecName, ...], Meta(max_length=20)] = ()
    qualify: Annotated[Qualify, Reads(read_qualify)] = Qualify(None)
    qualifyfreq: Annotated[int, Meta(ge=1, le=86_400)] = 60
    insecure: tuple[Insecure, ...] = ()
    directmediapermit: Annotated[tuple[Network, ...], Each(read_network)] = ()
    directmediadeny: Annotated[tuple[Network, ...], Each(read_network)] = ()
    failover_ms: Annotated[int, Meta(ge=500, le=32_000)] = 4000
    rtptimeout: Annotated[int, Meta(ge=0, le=86_400)] = 0
    callerid: Annotated[CallerId | None, Reads(read_callerid)] = None
    call_limit: AtOnce = 0
    calls_per_hour: CallsAnHour = 0
    destinations_per_hour: NumbersAnHour = 0

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """The codecs to offer, best first; those that the engine has not are left out."""
        names = tuple(CodecName) if CodecName.ALL in self.allow else self.allow
        without = () if CodecName.ALL in self.disallow else self.disallow
        return tuple(
            dict.fromkeys(MEDIA_CODECS[name] for name in names if name in MEDIA_CODECS and name not in without)
        )


class SipPeer(Peer, frozen=True, kw_only=True):
    """What SIP trunks and phones have in common."""

    transport: Transport = Transport.UDP
    tls_verify: bool = True
    allow_wildcard_certs: bool = False
    allow_common_name: bool = False
    ptime: Annotated[
        int, Meta(ge=10, le=60, multiple_of=10, description="milliseconds of a packet: 10, 20, 30, 40, 50 or 60")
    ] = 20
    media_encryption: MediaEncryption = MediaEncryption.NO
    keepalive: Annotated[int | None, Reads(read_keepalive)] = None
    directmedia: Annotated[frozenset[DirectMedia], Reads(read_directmedia)] = frozenset({DirectMedia.NO})
    dtmfmode: Annotated[DtmfMode, Reads(read_dtmfmode)] = DtmfMode.RFC4733
    nat: Annotated[frozenset[NatMode], Reads(read_nat)] = DEFAULT_NAT
    prack: Reliability = Reliability.SUPPORTED
    session_timers: SessionTimers = SessionTimers.ORIGINATE
    diversion: RedirectionHeader = RedirectionHeader.DIVERSION
    allowtransfer: bool | None = None
    comfort_noise: bool = False
    trustrpid: bool = False
    plus: bool = True
    max_contacts: Annotated[int, Meta(ge=1, le=20)] = 5


class Trunk(SipPeer, frozen=True, kw_only=True):
    """``[[trunk]]`` of technology sip: another exchange or a provider."""

    technology: Technology
    host: Annotated[PeerHost, Reads(read_host)]
    defaultuser: UserPart | None = None
    fromuser: UserPart | None = None
    fromdomain: HostPart | None = None
    register: bool = False
    registerexpiry: Annotated[int, Meta(ge=30, le=604_800)] = 3600
    outboundproxy: Annotated[PeerHost | None, Reads(read_proxy)] = None


class IaxTrunk(Peer, frozen=True, kw_only=True):
    """``[[trunk]]`` of technology iax2. Without ``auth`` it is MD5 with a secret, RSA with keys; None is as ``[iax]``.

    ``inkeys`` are files of public keys that the far end may prove itself with, ``outkey`` that of our private one.
    """

    technology: Technology
    host: Annotated[PeerHost, Reads(read_host)]
    defaultuser: UserPart | None = None
    auth: Annotated[tuple[IaxAuth, ...], Meta(max_length=3)] = ()
    inkeys: Annotated[tuple[Path, ...], FilePaths()] = ()
    outkey: Annotated[Path | None, FilePath()] = None
    encryption: bool | None = None
    forceencryption: bool | None = None
    trunk: bool = False
    trunktimestamps: bool | None = None
    # At most what the media engine sends in one datagram.
    trunkmtu: Annotated[int, Meta(ge=508, le=16_384)] = 4096
    requirecalltoken: Annotated[CallTokens, Reads(read_calltoken)] = CallTokens.YES
    transfer: bool = False
    allowtransfer: bool = False
    register: bool = False
    # REFRESH has 16 bits (RFC 5456 8.6.18).
    registerexpiry: Annotated[int, Meta(ge=30, le=65_535)] = 60
    maxcallnumbers: CallNumbers = 2048


class Phone(SipPeer, frozen=True, kw_only=True):
    """``[[phone]]``: a SIP telephone. ``host`` is its fixed address; ``dynamic`` if it registers."""

    host: Annotated[PeerHost, Reads(read_host)] = PeerHost("", dynamic=True)
    location: PhoneLocation = PhoneLocation.SITE
    # More than anybody dials by hand, and little for a stolen password: 11,000 calls in 46 hours are known.
    call_limit: AtOnce = 8
    calls_per_hour: CallsAnHour = 120
    destinations_per_hour: NumbersAnHour = 60


class Route(Struct, frozen=True, kw_only=True):
    """``[[route]]``: what a number leads to in a context, or contexts searched after it. ``line`` is the file's."""

    context: Name
    match: Annotated[Pattern | None, Reads(read_pattern)] = None
    caller: Annotated[Pattern | None, Reads(read_pattern)] = None
    to: Annotated[tuple[Template, ...], Each(read_destination)] = ()
    include: tuple[Name, ...] = ()
    require: tuple[Fact, ...] = ()
    secure_bridge: tuple[Fact, ...] = ()
    ring_seconds: Annotated[int, Meta(ge=1, le=3600)] | None = None
    line: Annotated[int, Unread(key=False)] = 0


class CauseRule(Struct, frozen=True, kw_only=True):
    """``[[cause]]``: a change to what one cause means; what is left out stays as it is."""

    cause: Annotated[Cause, Reads(read_cause)]
    to_sip: Annotated[int, Meta(ge=400, le=699)] | None = None
    from_sip: tuple[Annotated[int, Meta(ge=300, le=699)], ...] = ()
    failover: bool | None = None
    tone: str | None = None


class Configuration(Struct, frozen=True, kw_only=True):
    """A whole file that was read and checked without an error. ``warnings`` are what is still to be said.

    ``trunks`` are those of technology sip. ``iax`` is there if the file has it or a trunk of technology iax2.
    """

    path: Path
    gateway: GatewaySection = GatewaySection()
    network: NetworkSection = NetworkSection()
    media: MediaSection = MediaSection()
    sip: SipSection = SipSection()
    iax: IaxSection | None = None
    timers: Timers = Timers()
    spans: tuple[Span, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    iax_trunks: tuple[IaxTrunk, ...] = ()
    phones: tuple[Phone, ...] = ()
    routes: tuple[Route, ...] = ()
    causes: tuple[CauseRule, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def media_control(self) -> Path:
        """The socket of the media engine."""
        return self.media.control if self.media.control is not None else self.gateway.run_dir / "media.sock"
