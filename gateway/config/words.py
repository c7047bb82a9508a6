"""Words of other systems, Asterisk's above all, and what they are called here: how an unknown key or word is answered.

Only messages are made of this; no other system's word is ever taken for ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

from gateway.config import model

_TABLES: Mapping[str, tuple[type[msgspec.Struct], ...]] = {
    "[gateway]": (model.GatewaySection,),
    "[network]": (model.NetworkSection,),
    "[media]": (model.MediaSection,),
    "[sip]": (model.SipSection,),
    "[[trunk]] and [[phone]]": (model.SipPeer,),
    "[[trunk]]": (model.Trunk,),
    "[[trunk]] of technology iax2": (model.IaxTrunk,),
    "[[phone]]": (model.Phone,),
    "[[span]]": (model.Span,),
    "[[route]]": (model.Route,),
}
# Keys that say so little that they would be found everywhere.
_EVERYWHERE = frozenset({"name", "host", "context", "line", "listen", "timers"})

_LISTEN = 'such addresses stand in listen of [sip], as "{}"'
_KEYS: Mapping[str, str] = {
    "auth": "secret and defaultuser of the [[trunk]] say that",
    "authdebug": "there is none; --trace writes what goes over the wire",
    "bindaddr": _LISTEN.format("udp:[::]:5060"),
    "bindport": _LISTEN.format("udp:[::]:5060"),
    "call-limit": 'it is "call_limit"',
    "calltokenoptional": 'it is requirecalltoken = "no" of a [[trunk]]',
    "canreinvite": 'it is "directmedia"',
    "defaultexpirey": 'it is "defaultexpiry" of [sip]',
    "domain": 'it is "fromdomain" of a [[trunk]], "realm" of [sip]',
    "encryption": 'it is "media_encryption"; that of [iax] is for IAX2 only',
    "externaddr": 'it is "externip" of [network]',
    "exten": "extensions are [[route]]s, with match and to",
    "from_domain": 'it is "fromdomain"',
    "from_user": 'it is "fromuser"',
    "icesupport": "there is no ICE; nat and localnet do without",
    "media_encryption_optimistic": 'it is media_encryption = "optional"',
    "inkey": 'it is "inkeys", a list of files',
    "jitterbuffer": "voice has a jitter buffer by itself, as long as it must be",
    "maxregexpire": 'it is "maxexpiry"',
    "minregexpire": 'it is "minexpiry"',
    "mohinterpret": 'it is "musiconhold" of [media]',
    "musicclass": 'it is "musiconhold" of [media]',
    "notransfer": "it is transfer = false",
    "outbound_proxy": 'it is "outboundproxy"',
    "password": 'it is "secret"',
    "port": 'it stands with the host, as "sip.example.org:5070"',
    "registertimeout": 'it is "registerexpiry"; the next try is later each time by itself',
    "qualifyfreqnotok": 'it is "qualify_unreachable_seconds" of [timers.iax]',
    "qualifyfreqok": 'it is "qualifyfreq" of a [[trunk]]',
    "qualifysmoothing": "the round trip is smoothed by itself",
    "regexten": "numbers are [[route]]s, with match and to",
    "rtp_symmetric": 'it is nat = ["comedia"]',
    "rtpend": "it is the second of rtp_ports in [media]",
    "rtpstart": "it is the first of rtp_ports in [media]",
    "sendrpid": 'it is "trustrpid", which sends and believes',
    "session-expires": 'it is "session_expires" of [sip]',
    "session-minse": 'it is "session_minse" of [sip]',
    "session-timers": 'it is "session_timers"',
    "srvlookup": "always done for a host that is a name without a port",
    "stun_server": 'it is "stunaddr" of [network]',
    "tcpbindaddr": _LISTEN.format("tcp:[::]:5060"),
    "tcpenable": _LISTEN.format("tcp:[::]:5060"),
    "tlsbindaddr": _LISTEN.format("tls:[::]:5061"),
    "tlscafile": 'it is "tls_ca" of [sip]',
    "tlscertfile": 'it is "tls_certificate" of [sip]',
    "tlsdontverifyserver": "it is tls_verify = false of a [[trunk]] or [[phone]]",
    "tlsenable": _LISTEN.format("tls:[::]:5061"),
    "tlsprivatekey": 'it is "tls_key" of [sip]',
    "tos_audio": "voice is marked EF by itself",
    "trunkfreq": "trunk frames go every 20 ms",
    "trunkmaxsize": 'trunk frames are as long as "trunkmtu" of a [[trunk]] and the path take them',
    "type": "what it is the table says: [[trunk]] or [[phone]]",
    "udpbindaddr": _LISTEN.format("udp:[::]:5060"),
    "user": 'it is "defaultuser" of a [[trunk]], "name" of a [[phone]]',
    "username": 'it is "defaultuser" of a [[trunk]], "name" of a [[phone]]',
}


@cache
def _homes() -> Mapping[str, tuple[str, ...]]:
    """Where each key may stand; a key of both trunks and phones once."""
    homes: dict[str, tuple[str, ...]] = {}
    for title, structs in _TABLES.items():
        for struct in structs:
            for name in struct.__struct_fields__:
                both = struct is not model.SipPeer and name in _of_both()
                # What SIP has another word for is explained rather than sent to IAX2.
                other = struct is model.IaxTrunk and (name in _KEYS or name in homes)
                if name not in _EVERYWHERE and not both and not other:
                    homes[name] = (*homes.get(name, ()), title)
    return homes


@cache
def _of_both() -> frozenset[str]:
    return frozenset(model.SipPeer.__struct_fields__)


def elsewhere(key: str, known: Sequence[str]) -> str:
    """What to do about ``key``, which is none of the ``known`` ones: the end of a message, or nothing."""
    word = key.lower()
    if word in known:
        return f'; did you mean "{word}"?'
    homes = _homes().get(word)
    if homes:
        return f"; it belongs into {' or '.join(homes)}"
    text = _KEYS.get(word) or _KEYS.get(word.replace("-", "_")) or _KEYS.get(word.replace("_", "-"))
    return f"; {text}" if text else ""


_NOT_OF_IAX: Mapping[str, str] = {
    "allow_common_name": "there are no certificates",
    "allow_wildcard_certs": "there are no certificates",
    "comfort_noise": "it is left out",
    "directmedia": 'it is "transfer"',
    "diversion": "a redirecting number goes as RDNIS",
    "dtmfmode": "digits have frames of their own",
    "fromdomain": 'it is "defaultuser" that says who we are',
    "fromuser": 'it is "defaultuser" that says who we are',
    "keepalive": "with qualify it is asked whether it is there, and that keeps a firewall open",
    "max_contacts": "it is registered in one place",
    "media_encryption": 'it is "encryption", or "forceencryption"',
    "nat": "a far end is answered where it calls from by itself",
    "outboundproxy": "it is host that everything is sent to",
    "plus": "the type of a number goes beside it",
    "prack": "every frame is acknowledged by itself",
    "ptime": "voice goes every 20 ms",
    "session_timers": "a far end that vanished is found out by PING by itself",
    "tls_verify": "there are no certificates",
    "transport": "it goes over UDP",
    "trustrpid": "who calls is believed as it is said, unless callerid says it",
}
_NOT_OF_SIP: Mapping[str, str] = {
    "auth": "[sip] auth_algorithms says how passwords are proven",
    "encryption": 'it is "media_encryption"',
    "forceencryption": 'it is media_encryption = "required"',
    "inkeys": "it is a certificate that proves who it is, with tls_ca of [sip]",
    "outkey": "it is a certificate that proves who we are, tls_certificate of [sip]",
    "transfer": 'it is "directmedia"',
}


def of_other_technology(key: str, technology: str) -> str:
    """What is to be said of a key that trunks of ``technology`` do not have, but those of the other one."""
    if technology == model.Technology.IAX2.value:
        return f'of no use with technology = "iax2"; {_NOT_OF_IAX[key]}'
    hint = _NOT_OF_SIP.get(key)
    return 'of use with technology = "iax2" only' + (f"; {hint}" if hint else "")
