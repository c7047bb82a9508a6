"""What a branch is like, chosen by its seed: lines, trunks, phones, NATs, encryption; and its configuration."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from gateway.config import Configuration, parse
from gateway.config.model import Phone, Trunk
from gateway.config.values import PeerHost, Transport, read_listen
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.flow import DEFAULT_PORT, DEFAULT_TLS_PORT
from tests.simulation.gateway_node import ADDRESS
from tests.simulation.nat import NatKind
from tests.simulation.registering import ACCOUNT, MAX_CONTACTS, SECRET
from tests.simulation.story import EMERGENCY

Peer = TypeVar("Peer", Trunk, Phone)
PHONE = ACCOUNT
FAR_ENDS = (("hq", "10.0.1.1"), ("alt", "10.0.1.2"), (PHONE, "10.0.1.3"))
PROVIDER = "itsp"
PROVIDER_HOST = "itsp.example.org"
PROVIDER_USER = "gateway"
SERVERS = ("10.0.1.11", "10.0.1.12")

_SPANS = (
    ("e1", "euroisdn", "user", "1-15,17-31"),
    ("t1", "ni2", "user", "1-23"),
    ("e1", "euroisdn", "network", "1-15,17-31"),
    ("t1", "ni2", "network", "1-23"),
)

# Context, what is called, where that goes; {hunt} is how channels are hunted.
_ROUTES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("from-sip", "_1XXXXXX", ("pri:{hunt}0/{{number}}",)),
    ("from-sip", "_2XXXXXX", ("pri:g0/{{number}}", "sip:alt/{{number}}")),
    ("from-sip", "_3XXXXXX", ("sip:hq/{{number}}",)),
    ("from-sip", "_4XXXXXX", ("sip:alt/{{number}}", "pri:r0/{{number}}")),
    ("from-sip", "_5XXXXXX", ("sip:7001", "sip:alt/{{number}}")),
    ("from-sip", "_7XXXXXX", ("sip:itsp/{{number}}", "pri:g0/{{number}}")),
    ("from-sip", "_90XXXXXX", ("echo",)),
    ("from-sip", "_91XXXXXX", ("tone:busy",)),
    ("from-sip", "_92XXXXXX", ("reject:call_rejected",)),
    ("from-sip", EMERGENCY, ("pri:g0/911", "sip:itsp/911", "sip:hq/911", "sip:alt/911")),
    ("from-pstn", "_1XXXXXX", ("sip:hq/{{number}}",)),
    ("from-pstn", "_2XXXXXX", ("sip:hq/{{number}}", "sip:alt/{{number}}")),
    ("from-pstn", "_3XXXXXX", ("sip:7001",)),
    ("from-pstn", "_4XXXXXX", ("sip:7001", "sip:alt/{{number}}")),
    ("from-pstn", "_5XXXXXX", ("pri:G0/{{number}}",)),
    ("from-pstn", "_7XXXXXX", ("sip:itsp/{{number}}",)),
    ("from-pstn", "_90XXXXXX", ("milliwatt",)),
    ("from-pstn", "_91XXXXXX", ("tone:congestion",)),
    ("from-pstn", "_92XXXXXX", ("reject:call_rejected",)),
)
_IMPATIENT = frozenset({("from-sip", "_5XXXXXX"), ("from-pstn", "_4XXXXXX")})
"""Who goes on to another destination after 15 s."""


@dataclass(slots=True)
class Shape:
    """What kind of branch it is."""

    spans: list[tuple[str, str, str, str]] = field(default_factory=list)
    calls: int = 50
    faults: bool = True
    overlap: bool = False
    transports: dict[str, str] = field(default_factory=dict)
    proves: bool = False
    """Trunks ask for a password, and are asked for it."""
    music: str = "tone"
    directmedia: str = "no"
    directrtpsetup: str = "false"
    behind_nat: bool = False
    """The gateway is, and all far ends are outside."""
    encryption: dict[str, tuple[MediaEncryption, MediaEncryption]] = field(default_factory=dict)
    """What the gateway and a far end think of SRTP."""
    devices: int = 0
    """Telephones that register for the one account; 0: one with a fixed address."""
    nats: list[NatKind | None] = field(default_factory=list)
    """What each of them is behind."""
    natexpiry: int = 60
    servers: int = 0
    """Of the provider that the gateway registers with; 0: there is none."""
    named_servers: bool = True
    """They are found by SRV, else they are all addresses of one name."""
    strangers: bool = False
    braked: bool = False
    """The phone may have few calls an hour."""
    iax: str = ""
    """What the file says of IAX2."""


_NO, _OPTIONAL, _REQUIRED = MediaEncryption
_ENCRYPTIONS = (
    (_REQUIRED, _REQUIRED),
    (_REQUIRED, _OPTIONAL),
    (_OPTIONAL, _REQUIRED),
    (_OPTIONAL, _OPTIONAL),
    (_OPTIONAL, _NO),
    (_NO, _OPTIONAL),
)
"""What the gateway and a far end may think of SRTP and still have a call."""


def choose_shape(rng: random.Random, calls: int, faults: bool | None) -> Shape:
    """The kind of branch that ``rng`` wants."""
    shape = Shape(calls=calls)
    for _ in range(rng.choice((1, 1, 2, 3))):
        line, switch_type, side, timeslots = rng.choice(_SPANS)
        if rng.random() < 0.5:
            timeslots = f"1-{rng.randint(2, 6)}"
        shape.spans.append((line, switch_type, side, timeslots))
    shape.faults = rng.random() < 0.75 if faults is None else faults
    shape.transports = {name: rng.choice(("udp", "udp", "udp", "tcp")) for name, _ in FAR_ENDS}
    shape.transports[PROVIDER] = rng.choice(("udp", "udp", "tcp"))
    shape.overlap = rng.random() < 0.4
    shape.music = rng.choice(("tone", "none"))
    shape.directmedia = rng.choice(("no", "no", "yes", "update"))
    shape.directrtpsetup = rng.choice(("false", "true"))
    shape.devices = rng.choice((0, 0, 1, 1, 2, 3))
    for _ in range(shape.devices):
        shape.nats.append(rng.choice((None, None, *NatKind)))
    # Either a phone registers more often than its NAT forgets, or it is asked how it is.
    shape.natexpiry = rng.choice((20, 60))
    for name, _ in FAR_ENDS:
        if rng.random() < 0.4 and not (name == PHONE and shape.devices):
            shape.encryption[name] = rng.choice(_ENCRYPTIONS)
    shape.proves = rng.random() < 0.4
    shape.behind_nat = rng.random() < 0.3
    shape.servers = rng.choice((0, 0, 1, 2, 2))
    shape.named_servers = rng.random() < 0.5
    shape.strangers = rng.random() < 0.2
    shape.braked = rng.random() < 0.2
    return shape


def choose_configuration(shape: Shape, rng: random.Random, directory: str = "/simulation") -> Configuration:
    """A configuration of that kind, as of a file in ``directory``."""
    return _encrypted(parse(_text(shape, rng), Path(directory) / "branch.toml"), shape)


def _encrypted(configuration: Configuration, shape: Shape) -> Configuration:
    """``configuration`` with TLS for those far ends of ``shape``; of certificates nothing is checked here."""
    if not shape.encryption:
        return configuration

    def secured(peer: Peer) -> Peer:
        if peer.name not in shape.encryption:
            return peer
        mode, _ = shape.encryption[peer.name]
        host = PeerHost(peer.host.host, DEFAULT_PORT)
        return structs.replace(peer, transport=Transport.TLS, host=host, media_encryption=mode)

    listen = (*configuration.sip.listen, read_listen(f"tls:{ADDRESS}:{DEFAULT_TLS_PORT}"))
    return structs.replace(
        configuration,
        sip=structs.replace(configuration.sip, listen=listen),
        trunks=tuple(map(secured, configuration.trunks)),
        phones=tuple(map(secured, configuration.phones)),
    )


def _text(shape: Shape, rng: random.Random) -> str:
    parts = [
        "schema = 1",
        '[gateway]\ncountry = "us"\nrun_dir = "run"',
        f'[media]\nrtp_ports = [10000, 19999]\ngrace_seconds = 20\nmusiconhold = "{shape.music}"',
        f'[sip]\nlisten = ["udp:{ADDRESS}:5060", "tcp:{ADDRESS}:5060"]\ndirectrtpsetup = {shape.directrtpsetup}\n'
        f"minexpiry = {min(60, shape.natexpiry)}\nnatexpiry = {shape.natexpiry}",
    ]
    if shape.behind_nat:
        # All are outside.
        parts.append('[network]\nlocalnet = ["127.0.0.0/8"]')
    for index, (line, switch_type, side, timeslots) in enumerate(shape.spans):
        overlap = "both" if shape.overlap and switch_type == "euroisdn" else "no"
        parts.append(
            f'[[span]]\nname = "s{index}"\nchannels = "virtual:spans/{index}"\nline = "{line}"\nside = "{side}"\n'
            f'switch_type = "{switch_type}"\ngroup = "g0"\ncontext = "from-pstn"\noverlapdial = "{overlap}"\n'
            f'timeslots = "{timeslots}"'
        )
    for name, address in FAR_ENDS[:2]:
        refresh = rng.choice(("originate", "originate", "accept"))
        if shape.faults:
            # Where both ends of a call may vanish at once, as here, only the session timer notices.
            refresh = "originate"
        parts.append(
            f'[[trunk]]\nname = "{name}"\ntechnology = "sip"\nhost = "{address}"\ncontext = "from-sip"\n'
            f'transport = "{shape.transports[name]}"\ndtmfmode = "{"info" if name == "alt" else "rfc4733"}"\n'
            f'trustrpid = true\nsession_timers = "{refresh}"\n'
            f'prack = "{rng.choice(("no", "supported"))}"\nallowtransfer = true\n'
            f'directmedia = "{shape.directmedia}"\n'
            f"qualify = {rng.choice(('false', 'true', '500'))}\nqualifyfreq = {rng.choice((5, 20, 60))}"
            + (f'\nsecret = "{SECRET}"\ndefaultuser = "gateway"' if shape.proves else "")
        )
    if shape.servers:
        parts.append(_provider(shape, rng))
    parts.append(_phone(shape, rng))
    hunt = rng.choice("gGrR")
    for context, match, to in _ROUTES:
        places = [place.format(hunt=hunt) for place in to if shape.servers or "itsp" not in place]
        if places:
            ring = "\nring_seconds = 15" if (context, match) in _IMPATIENT else ""
            listed = ", ".join(f'"{place}"' for place in places)
            parts.append(f'[[route]]\ncontext = "{context}"\nmatch = "{match}"\nto = [{listed}]{ring}')
    if shape.iax:
        parts.append(shape.iax)
    return "\n".join(parts)


def _provider(shape: Shape, rng: random.Random) -> str:
    insecure = rng.choice(('["invite"]', '["invite", "port"]', '["port"]', "[]"))
    return (
        f'[[trunk]]\nname = "{PROVIDER}"\ntechnology = "sip"\nhost = "{PROVIDER_HOST}"\ncontext = "from-sip"\n'
        f'transport = "{shape.transports[PROVIDER]}"\nregister = true\nregisterexpiry = {rng.choice((60, 60, 120))}\n'
        f'defaultuser = "{PROVIDER_USER}"\nsecret = "{SECRET}"\ninsecure = {insecure}\nsession_timers = "originate"\n'
        f"qualify = {rng.choice(('false', 'true'))}\nqualifyfreq = {rng.choice((5, 20, 60))}\n"
        f'directmedia = "{shape.directmedia}"'
    )


def _phone(shape: Shape, rng: random.Random) -> str:
    name, address = FAR_ENDS[2]
    place = f'host = "{address}"'
    if shape.devices:
        place = f'secret = "{SECRET}"\nmax_contacts = {MAX_CONTACTS}\nnat = "force_rport,comedia"'
        if any(shape.nats) and shape.natexpiry > 20:
            place += "\nqualify = true\nqualifyfreq = 10"
    brake = f"\ncalls_per_hour = {rng.randint(1, 6)}" if shape.braked else ""
    return (
        f'[[phone]]\nname = "{name}"\n{place}\ncontext = "from-sip"\nsession_timers = "originate"\n'
        f'transport = "{shape.transports[name]}"\ndirectmedia = "{shape.directmedia}"{brake}'
    )
