"""An Asterisk with chan_iax2 as the other site: its configuration, and what its dial plan does with calls."""

from __future__ import annotations

from pathlib import Path

from tests.interop.tone import HeardTone, measure_tone
from tests.outside.asterisk import Asterisk
from tests.outside.ended_calls import EXTENSIONS

MILLIWATT_HZ = 1004
SECRET = "apples"  # noqa: S105 - of a test's own Asterisk on loopback
WAV_HEADER = 44
NEW_KEY = "Receiving IAX_COMMAND_RTKEY to rotate key"
"""It logs that of each key of the far end after ``iax2 set debug on``."""
_IAX = """\
[general]
bindport = {iax}
bindaddr = 127.0.0.1
disallow = all
allow = alaw
jitterbuffer = no
autokill = yes
GENERAL
[branch]
type = friend
host = 127.0.0.1
port = FAR
username = site
secret = SECRET
auth = md5
context = incoming
requirecalltoken = yes
transfer = no
maxauthreq = 100
PEER
MORE
"""
DIALPLAN = """\
[incoming]
exten => _X.,1,UserEvent(offered,Number: ${EXTEN},Caller: ${CALLERID(num)},Name: ${CALLERID(name)},Pres: ${CALLERID(pres)},Codec: ${CHANNEL(audioreadformat)})
same => n,Goto(${EXTEN:-2},1)
EXTENSIONS
exten => 60,1,Answer()
same => n,Read(GOT,,5,,1,8)
same => n,UserEvent(digits,Got: ${GOT})
same => n,SendDTMF(93*3,150,150)
same => n,Wait(8)
exten => 61,1,Answer()
same => n,Wait(2)
same => n,Hangup(27)
exten => 62,1,Dial(IAX2/branch/95550107,10)
[out]
exten => _X.,1,Set(CALLERID(num)=4165557777)
same => n,Set(CALLERID(name)=Far Site)
same => n,Set(CALLERID(pres)=${PRES})
same => n,Dial(IAX2/branch/${EXTEN},10)
same => n,UserEvent(dialled,Number: ${EXTEN},Status: ${DIALSTATUS},Cause: ${HANGUPCAUSE})
[talk]
exten => _X.,1,MixMonitor({inside}/all-${EXTEN}.wav,r({inside}/heard-${EXTEN}.wav))
same => n,Milliwatt()
[digits]
exten => _X.,1,Wait(0.6)
same => n,SendDTMF(1550*,150,150)
same => n,Read(GOT,,4,,1,8)
same => n,UserEvent(digits,Got: ${GOT})
same => n,Hangup()
""".replace("EXTENSIONS\n", EXTENSIONS)  # noqa: E501 - lines of the dial plan


def iax_conf(far: int, *, general: str = "", peer: str = "", more: str = "") -> str:
    """``iax.conf`` with the peer "branch" at port ``far`` of loopback, to whom it is "site"; later lines win."""
    text = _IAX
    for word, said in (("GENERAL", general), ("SECRET", SECRET), ("FAR", str(far)), ("PEER", peer), ("MORE", more)):
        text = text.replace(word, said)
    return text


def site(
    far: int,
    *,
    general: str = "",
    peer: str = "",
    more: str = "",
    iax: int = 0,
    quick_rotation: bool = False,
    files: dict[str, str] | None = None,
) -> Asterisk:
    """Asterisk at port ``iax`` whose peer is at ``far``; the other words are lines of its ``iax.conf``."""
    conf = iax_conf(far, general=general, peer=peer, more=more)
    return Asterisk(
        {"iax.conf": conf, "extensions.conf": DIALPLAN, **(files or {})}, iax=iax, quick_rotation=quick_rotation
    )


async def talk(far: Asterisk, number: str, name: str = "11", peer: str = "branch") -> None:
    """Let it call ``number`` and play a tone of MILLIWATT_HZ; what it hears goes to a file called by ``name``."""
    given = {"Channel": f"IAX2/{peer}/{number}", "Context": "talk", "Exten": name, "Priority": "1"}
    await far.manager.action("Originate", Async="true", **given)


def heard(far: Asterisk, name: str = "11", last: float = 0.0) -> HeardTone:
    """What it heard in the call ``name`` of ``talk``."""
    path: Path = far.directory / f"heard-{name}.wav"
    return measure_tone(path, last)


def recorded(far: Asterisk, name: str = "11") -> bool:
    """Whether there is anything of that yet: it is written now and then only."""
    path = far.directory / f"heard-{name}.wav"
    return path.exists() and path.stat().st_size > WAV_HEADER


async def hang_up(far: Asterisk) -> None:
    """End all its calls."""
    await far.console("channel request hangup all")
