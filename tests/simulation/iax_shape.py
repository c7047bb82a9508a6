"""IAX2 trunks of a branch, chosen by its seed: who registers with whom, proofs, encryption, trunk frames, NATs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.core import SECOND
from gateway.media.api import Codec
from gateway.voip.iax.peers import AuthMethod, CallTokens, Encryption, PeerSettings
from tests.simulation import iax_rfc as rfc
from tests.simulation.gateway_node import ADDRESS
from tests.simulation.iax_keys import private_key, private_pem, public_pem
from tests.simulation.iax_talk import Terms
from tests.simulation.nat import NatKind

SECRET = "plums"  # noqa: S105 - of trunks in a simulation
REFRESH = 20
"""Seconds: less than a NAT's mapping lives."""
FAR_ENDS = (("pbx", "10.0.2.1", "93"), ("site", "10.0.2.2", "94"), ("wild", "10.0.2.3", "95"))
"""Name, address, and what the numbers behind it begin with. ``site`` is a gateway of ours, the others are not."""
SITE = "site"
WILD = "wild"
KEYS_CHANGE = (15, 30)
"""Seconds between key changes of the gateway's."""
_NO, _OPTIONAL, _REQUIRED = Encryption.NO, Encryption.OPTIONAL, Encryption.REQUIRED
_ENCRYPTIONS = (
    *((_NO, _NO),) * 4,
    (_NO, _OPTIONAL),
    (_OPTIONAL, _NO),
    (_OPTIONAL, _OPTIONAL),
    (_REQUIRED, _OPTIONAL),
    (_OPTIONAL, _REQUIRED),
    (_REQUIRED, _REQUIRED),
    (_REQUIRED, _REQUIRED),
)
"""What the gateway and the far end may think of it and still have a call."""


@dataclass(frozen=True, slots=True)
class IaxShape:
    """One trunk. ``dynamic``: the far end registers here; ``registers``: the gateway does there."""

    name: str
    address: str
    digits: str
    dynamic: bool
    registers: bool
    rsa: bool
    md5: bool
    encryption: tuple[Encryption, Encryption]
    trunk: bool
    stamps: bool
    far_tokens: bool
    calltokens: str
    qualify: str
    nat: NatKind | None
    rotates: bool

    @property
    def encrypted(self) -> bool:
        """Whether its calls have to be."""
        return _REQUIRED in self.encryption

    @property
    def user(self) -> str:
        """Who the gateway is to the far end."""
        return f"gw-{self.name}"


def choose_iax(rng: random.Random) -> list[IaxShape]:
    """The trunks that ``rng`` wants."""
    found = []
    for name, address, digits in FAR_ENDS:
        place = rng.random()
        rsa = rng.random() < 0.25
        md5 = not rsa or rng.random() < 0.6
        nat = rng.choice((None, None, *NatKind))
        dynamic = place < 0.35
        found.append(
            IaxShape(
                name,
                address,
                digits,
                dynamic=dynamic,
                registers=0.35 <= place < 0.7,
                rsa=rsa,
                md5=md5,
                encryption=rng.choice(_ENCRYPTIONS) if md5 else (_NO, _NO),
                trunk=rng.random() < 0.5,
                stamps=rng.random() < 0.5,
                far_tokens=rng.random() < 0.7,
                calltokens=rng.choice(("yes", "yes", "no", "auto")),
                qualify=rng.choice(("false", "true", "500")),
                nat=nat if dynamic else None,
                rotates=rng.random() < 0.7,
            )
        )
    if rng.random() < 0.5:
        found.pop()
    return found


def configured(shapes: list[IaxShape]) -> str:
    """The file's part for them; the gateway's key and the far ends' stand beside the file."""
    parts = [
        f'[iax]\nlisten = ["udp:{ADDRESS}:{rfc.PORT}"]\nminexpiry = {REFRESH}',
        f"[timers.iax]\nkey_least_seconds = {KEYS_CHANGE[0]}\nkey_most_seconds = {KEYS_CHANGE[1]}",
    ]
    for shape in shapes:
        ours = shape.encryption[0]
        methods = [*(['"md5"'] if shape.md5 else []), *(['"rsa"'] if shape.rsa else [])]
        lines = [
            f'[[trunk]]\nname = "{shape.name}"\ntechnology = "iax2"\ncontext = "from-sip"',
            f'host = "{"dynamic" if shape.dynamic else shape.address}"\ndefaultuser = "{shape.user}"',
            f"auth = [{', '.join(methods)}]",
            *([f'secret = "{SECRET}"'] if shape.md5 else []),
            *(['inkeys = ["far.pub"]\noutkey = "gateway.key"'] if shape.rsa else []),
            *([f"{'force' if ours is _REQUIRED else ''}encryption = true"] if ours is not _NO else []),
            f"trunk = {str(shape.trunk).lower()}\ntrunktimestamps = {str(shape.stamps).lower()}",
            f'requirecalltoken = "{shape.calltokens}"\nqualify = {shape.qualify}\nqualifyfreq = 10',
            *([f"register = true\nregisterexpiry = {REFRESH + 10}"] if shape.registers else []),
        ]
        parts.append("\n".join(lines))
        for context in ("from-sip", "from-pstn"):
            more = ', "pri:g0/{number}"' if context == "from-sip" and shape.name != WILD else ""
            parts.append(
                f'[[route]]\ncontext = "{context}"\nmatch = "_{shape.digits}XXXXXX"\n'
                f'to = ["iax2:{shape.name}/{{number}}"{more}]'
            )
    return "\n".join(parts)


def terms(shape: IaxShape) -> Terms:
    """What the far end that is none of ours is told of the same trunk."""
    theirs = shape.encryption[1]
    methods = (rfc.MD5 if shape.md5 else 0) | (rfc.RSA if shape.rsa else 0)
    return Terms(
        shape.name,
        shape.user,
        SECRET if shape.md5 else "",
        methods=methods,
        proves=methods,
        own_key=private_key("far") if shape.rsa else None,
        their_key=private_key("gateway").public_key() if shape.rsa else None,
        encryption=theirs.value,
        must_be_encrypted=shape.encrypted,
        trunk=shape.trunk,
        stamps=shape.stamps,
        tokens=shape.far_tokens,
        registers=shape.dynamic,
        registrar=shape.registers,
        rotates=20 * SECOND if shape.rotates else 0,
        refresh=REFRESH,
    )


def peer(shape: IaxShape) -> PeerSettings:
    """The same for a far end that is one of ours."""
    methods = (AuthMethod.MD5 if shape.md5 else AuthMethod(0)) | (AuthMethod.RSA if shape.rsa else AuthMethod(0))
    return PeerSettings(
        name=shape.user,
        host="" if shape.registers else ADDRESS,
        dynamic=shape.registers,
        user=shape.name,
        secret=SECRET if shape.md5 else "",
        methods=methods,
        outkey=private_pem("far") if shape.rsa else b"",
        outkey_name="far" if shape.rsa else "",
        inkeys=(public_pem("gateway"),) if shape.rsa else (),
        inkey_names=("gateway",) if shape.rsa else (),
        codecs=(Codec.ULAW, Codec.ALAW),
        trunk=shape.trunk,
        trunk_stamps=shape.stamps,
        encryption=shape.encryption[1],
        calltokens=CallTokens.YES if shape.far_tokens else CallTokens.NO,
        qualify=2 * SECOND if shape.qualify == "true" else 0,
        qualifyfreq=20 * SECOND,
        register=shape.dynamic,
        registerexpiry=30,
    )
