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
    "[[phone]]": (model.Phone,),
    "[[span]]": (model.Span,),
    "[[route]]": (model.Route,),
}
# Keys that say so little that they would be found everywhere.
_EVERYWHERE = frozenset({"name", "host", "context", "line", "listen", "timers"})

_LISTEN = 'such addresses stand in listen of [sip], as "{}"'
_KEYS: Mapping[str, str] = {
    "auth": "secret and defaultuser of the [[trunk]] say that",
    "bindaddr": _LISTEN.format("udp:[::]:5060"),
    "bindport": _LISTEN.format("udp:[::]:5060"),
    "call-limit": 'it is "call_limit"',
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
    "mohinterpret": 'it is "musiconhold" of [media]',
    "musicclass": 'it is "musiconhold" of [media]',
    "outbound_proxy": 'it is "outboundproxy"',
    "password": 'it is "secret"',
    "port": 'it stands with the host, as "sip.example.org:5070"',
    "registertimeout": 'it is "registerexpiry"; the next try is later each time by itself',
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
                if name not in _EVERYWHERE and not (struct in (model.Trunk, model.Phone) and name in _of_both()):
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
