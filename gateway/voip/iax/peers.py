"""What the configuration says of IAX2 and of each of its peers, as the endpoint takes it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntFlag
from ipaddress import IPv4Network, IPv6Network

import msgspec

from gateway.core import SECOND
from gateway.media.api import Codec
from gateway.voip.iax.timers import IaxTimer

DEFAULT_PORT = 4569
"""RFC 5456 9.1."""

MAX_LISTENERS = 16
"""The media engine has room for no more sockets."""

Network = IPv4Network | IPv6Network


class AuthMethod(IntFlag):
    """Bits of AUTHMETHODS (8.6.13)."""

    PLAINTEXT = 1
    MD5 = 2
    RSA = 4


class Encryption(Enum):
    """``encryption`` and ``forceencryption``: never, where the far end agrees, or not without."""

    NO = "no"
    OPTIONAL = "optional"
    REQUIRED = "required"


class CallTokens(Enum):
    """``requirecalltoken``: whether who calls must first show that it is where it says (RFC 5456 has none, see docs).

    AUTO is NO until a peer proved to be itself and had one, and YES from then on.
    """

    YES = "yes"
    NO = "no"
    AUTO = "auto"


class PeerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One ``[[trunk]]`` of technology iax2. Times in microseconds.

    ``host`` is a name or literal, "" where ``dynamic`` (the far end registers as ``name``); ``srv``: it has named no
    port, so that its SRV records say where it is, if it has any. ``user`` is who we are to the far end, ``name`` who it
    is to us: the USERNAME it calls and registers with. ``outkey`` and ``inkeys`` are PEM. ``transfer``: we may leave
    the path of its calls; ``allow_transfer``: its TRANSFER is heeded.
    """

    name: str
    host: str = ""
    port: int = DEFAULT_PORT
    srv: bool = False
    dynamic: bool = False
    context: str = "default"
    user: str = ""
    secret: str = ""
    methods: AuthMethod = AuthMethod.MD5
    outkey: bytes = b""
    outkey_name: str = ""
    inkeys: tuple[bytes, ...] = ()
    inkey_names: tuple[str, ...] = ()
    insecure_invite: bool = False
    match_port: bool = True
    codecs: tuple[Codec, ...] = (Codec.ALAW, Codec.ULAW)
    trunk: bool = False
    trunk_stamps: bool = False
    trunk_octets: int = 4096
    encryption: Encryption = Encryption.NO
    calltokens: CallTokens = CallTokens.YES
    transfer: bool = False
    transfer_permit: tuple[Network, ...] = ()
    transfer_deny: tuple[Network, ...] = ()
    qualify: int = 0
    qualifyfreq: int = 60 * SECOND
    register: bool = False
    registerexpiry: int = 60
    failover: int = 4 * SECOND
    rtptimeout: int = 0
    allow_transfer: bool = True
    max_call_numbers: int = 2048
    call_limit: int = 0
    calls_per_hour: int = 0
    destinations_per_hour: int = 0

    def __repr__(self) -> str:
        return f"PeerSettings({self.name!r}, {self.host}:{self.port}, …)"


class IaxListener(msgspec.Struct, frozen=True):
    """A UDP socket: local address ("::" is both families) and port."""

    address: str
    port: int = DEFAULT_PORT


class IaxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[iax]`` and its peers. ``context`` None: nobody unknown may call. Expiries in seconds."""

    listeners: tuple[IaxListener, ...] = ()
    peers: tuple[PeerSettings, ...] = ()
    context: str | None = None
    codecs: tuple[Codec, ...] = (Codec.ALAW, Codec.ULAW)
    minexpiry: int = 60
    maxexpiry: int = 3600
    timers: Mapping[IaxTimer, int] = {}
    max_unproven: int = 256
    """Sessions at once of far ends that have not proven who they are."""
    key_rotation: bool = True
    emergency: frozenset[str] = frozenset()

    @property
    def guest(self) -> PeerSettings | None:
        """Who is no peer of ours and may call all the same; None where nobody may."""
        return None if self.context is None else PeerSettings(name="", context=self.context, codecs=self.codecs)

    @property
    def encrypts(self) -> bool:
        """Whether calls of any peer may be encrypted."""
        return any(each.encryption is not Encryption.NO for each in self.peers)
