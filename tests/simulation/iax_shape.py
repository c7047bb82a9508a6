"""IAX2 trunks of a branch, chosen by its seed: who registers with whom, proofs, encryption, trunks, NATs, guests."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.core import SECOND
from gateway.media.api import Codec
from gateway.voip.iax.peers import AuthMethod, CallTokens, Encryption, PeerSettings
from tests.simulation import iax_rfc as rfc
from tests.simulation.gateway_node import ADDRESS, ADDRESS_6, SECOND_IAX_PORT
from tests.simulation.iax_keys import private_key, private_pem, public_pem
from tests.simulation.iax_round import ROUND
from tests.simulation.iax_talk import Terms
from tests.simulation.nat import NatKind

SECRET = "plums"  # noqa: S105 - of trunks in a simulation
REFRESH = 20
"""Seconds: less than a NAT's mapping lives."""
FAR_ENDS = (("pbx", "10.0.2.1", "93"), ("site", "10.0.2.2", "94"), ("wild", "10.0.2.3", "95"))
"""Name, address, and what the numbers behind it begin with. ``site`` is a gateway of ours, the others are not."""
SITE = "site"
WILD = "wild"
GUEST = "guest"
GUEST_AT = "10.0.2.9"
GUEST_DIGITS = "96"
"""Nobody can be called there."""
KEYS_CHANGE = (15, 30)
"""Seconds between key changes of the gateway's."""
_GUEST_ROUTE = '[[route]]\ncontext = "guests"\nmatch = "{match}"\nto = ["{to}"]'
_GUEST_ROUTES = (("_1XXXXXX", "pri:g0/{number}"), ("_3XXXXXX", "sip:hq/{number}"), ("_90XXXXXX", "echo"))
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
    plaintext: bool = False
    transfer: bool = False
    port: int = rfc.PORT
    """Of the gateway's, as the far end knows it."""
    guest: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether its calls have to be."""
        return _REQUIRED in self.encryption

    @property
    def secret(self) -> str:
        """What both know."""
        return SECRET if self.md5 or self.plaintext else ""

    @property
    def of_six(self) -> bool:
        """Whether it goes over IPv6."""
        return ":" in self.address

    @property
    def gateway(self) -> tuple[str, int]:
        """Where the gateway is for it."""
        return (ADDRESS_6 if self.of_six else ADDRESS), self.port

    @property
    def user(self) -> str:
        """Who the gateway is to the far end."""
        return f"gw-{self.name}"


def choose_iax(seed: int) -> list[IaxShape]:
    """The trunks of the branch with that ``seed``."""
    rng = random.Random(seed + rfc.PORT)
    found = []
    for name, address, digits in FAR_ENDS:
        place = rng.random()
        rsa = rng.random() < 0.25
        plaintext = not rsa and rng.random() < 0.15
        md5 = not plaintext and (not rsa or rng.random() < 0.6)
        nat = rng.choice((None, None, *NatKind))
        dynamic = place < 0.35
        of_six = rng.random() < 0.25
        if of_six:
            nat, address = None, f"fd00:2::{address[-1]}"
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
                plaintext=plaintext,
                transfer=name != WILD and rng.random() < 0.6,
                port=SECOND_IAX_PORT if not of_six and rng.random() < 0.4 else rfc.PORT,
            )
        )
    if rng.random() < 0.5:
        found.pop()
    if rng.random() < 0.5:
        found.append(_guest())
    return found


def _guest() -> IaxShape:
    """Somebody who may call without a name."""
    return IaxShape(
        *(GUEST, GUEST_AT, GUEST_DIGITS),
        dynamic=False,
        registers=False,
        rsa=False,
        md5=False,
        encryption=(_NO, _NO),
        trunk=False,
        stamps=False,
        far_tokens=False,
        calltokens="yes",
        qualify="false",
        nat=None,
        rotates=False,
        guest=True,
    )


def configured(shapes: list[IaxShape]) -> str:
    """The file's part for them; the gateway's key and the far ends' stand beside the file."""
    ports = f"{ADDRESS}:{rfc.PORT}", f"{ADDRESS}:{SECOND_IAX_PORT}", f"[{ADDRESS_6}]:{rfc.PORT}"
    listen = ", ".join(f'"udp:{each}"' for each in ports)
    guests = any(shape.guest for shape in shapes)
    parts = [
        f"[iax]\nlisten = [{listen}]\nminexpiry = {REFRESH}" + ('\ncontext = "guests"' if guests else ""),
        f"[timers.iax]\nkey_least_seconds = {KEYS_CHANGE[0]}\nkey_most_seconds = {KEYS_CHANGE[1]}",
    ]
    if guests:
        parts += [_GUEST_ROUTE.format(match=match, to=to) for match, to in _GUEST_ROUTES]
    for shape in shapes:
        if shape.guest:
            continue
        ours = shape.encryption[0]
        methods = [*(['"md5"'] if shape.md5 else []), *(['"rsa"'] if shape.rsa else [])]
        methods += ['"plaintext"'] if shape.plaintext else []
        host = f"[{shape.address}]" if shape.of_six else shape.address
        lines = [
            f'[[trunk]]\nname = "{shape.name}"\ntechnology = "iax2"\ncontext = "from-sip"',
            f'host = "{"dynamic" if shape.dynamic else host}"\ndefaultuser = "{shape.user}"',
            f"auth = [{', '.join(methods)}]",
            *([f'secret = "{shape.secret}"'] if shape.secret else []),
            *(['inkeys = ["far.pub"]\noutkey = "gateway.key"'] if shape.rsa else []),
            *([f"{'force' if ours is _REQUIRED else ''}encryption = true"] if ours is not _NO else []),
            f"trunk = {str(shape.trunk).lower()}\ntrunktimestamps = {str(shape.stamps).lower()}",
            f'requirecalltoken = "{shape.calltokens}"\nqualify = {shape.qualify}\nqualifyfreq = 10',
            *(["transfer = true"] if shape.transfer else []),
            *([f"register = true\nregisterexpiry = {REFRESH + 10}"] if shape.registers else []),
        ]
        parts.append("\n".join(lines))
        for context in ("from-sip", "from-pstn"):
            if shape.name == SITE:
                parts.append(
                    f'[[route]]\ncontext = "{context}"\nmatch = "_{ROUND}XXXXXX"\nto = ["iax2:{SITE}/{{number}}"]'
                )
            more = ', "pri:g0/{number}"' if context == "from-sip" and shape.name != WILD else ""
            parts.append(
                f'[[route]]\ncontext = "{context}"\nmatch = "_{shape.digits}XXXXXX"\n'
                f'to = ["iax2:{shape.name}/{{number}}"{more}]'
            )
    return "\n".join(parts)


def terms(shape: IaxShape) -> Terms:
    """What the far end that is none of ours is told of the same trunk."""
    theirs = shape.encryption[1]
    methods = (rfc.MD5 if shape.md5 else 0) | (rfc.RSA if shape.rsa else 0) | (rfc.PLAINTEXT if shape.plaintext else 0)
    return Terms(
        "" if shape.guest else shape.name,
        shape.user,
        shape.secret,
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
        guest=shape.guest,
        transfer=shape.transfer,
        rotates=20 * SECOND if shape.rotates else 0,
        refresh=REFRESH,
    )


def peer(shape: IaxShape) -> PeerSettings:
    """The same for a far end that is one of ours."""
    methods = AuthMethod(0)
    for has, method in (
        (shape.md5, AuthMethod.MD5),
        (shape.rsa, AuthMethod.RSA),
        (shape.plaintext, AuthMethod.PLAINTEXT),
    ):
        methods |= method if has else AuthMethod(0)
    host, port = shape.gateway
    return PeerSettings(
        name=shape.user,
        host="" if shape.registers else host,
        port=port,
        dynamic=shape.registers,
        user=shape.name,
        secret=shape.secret,
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
        transfer=shape.transfer,
        register=shape.dynamic,
        registerexpiry=30,
    )
