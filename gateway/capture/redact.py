"""Secrets taken out of what a capture shows: each octet of one becomes "x", so that lengths stay what they were.

SIP: what proves knowledge of a password (Authorization, Proxy-Authorization, Authentication-Info of RFC 3261 and 7616),
passwords in URIs, keys of SDP (RFC 4568 crypto, RFC 4567 key-mgmt, k= of RFC 4566). IAX2: passwords, their digests and
signatures, keys and call tokens (RFC 5456 8.6). It goes by the octets, so that what nobody can parse is redacted too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from gateway.voip.iax.elements import Ie
from gateway.voip.iax.frame import FULL_HEADER, Command, FrameType

_MASK = b"x"
_FOLDED = rb"[^\r\n]*(?:(?:\r\n|\r|\n)[ \t][^\r\n]*)*"
_FIELDS = re.compile(
    rb"(?:^|(?<=[\r\n]))[ \t]*(?:proxy-)?(?:authorization|authentication-info)[ \t]*:(" + _FOLDED + rb")",
    re.IGNORECASE,
)
_SHOWN = rb"username|realm|nonce|uri|algorithm|opaque|qop|nc|cnonce|nextnonce|userhash"
_PARAMETER = re.compile(
    rb"[\s,]*(?:(?:" + _SHOWN + rb")[ \t]*=[ \t]*(?:\"[^\"\\\r\n]*\"|[^\s,\";=\\]+)(?=[\s,]|\Z))", re.IGNORECASE
)
_SCHEME = re.compile(rb"\s*(?:digest(?=\s)\s*)?", re.IGNORECASE)
_CRYPTO = re.compile(rb"(?:^|(?<=[\r\n]))[ \t]*a[ \t]*=[ \t]*crypto[ \t]*:([^\r\n]*)", re.IGNORECASE)
_INLINE = re.compile(rb"inline[ \t]*:([^\s|;]*)", re.IGNORECASE)
_CRYPTO_SHOWN = re.compile(rb"[ \t]*\d{0,9}[ \t]+[A-Za-z0-9_]{1,64}[ \t]+(?=inline[ \t]*:)", re.IGNORECASE)
_KEYS = re.compile(
    rb"(?:^|(?<=[\r\n]))[ \t]*(?:k[ \t]*=|a[ \t]*=[ \t]*key-mgmt[ \t]*:)([^\r\n]*)",
    re.IGNORECASE,
)
_PROTECTED = re.compile(rb"((?:^|(?<=[\r\n]))m=[^ \r\n]{1,20} [0-9/]{1,11} )RTP/SAVP(?= )")
_URI = re.compile(rb"sips?:[^:]*:", re.IGNORECASE)
_QUOTED = re.compile(rb"[\s,]*[^\",]*(?:\"(?:[^\"\\]|\\.)*(?:\"|\Z)[^\",]*)*", re.DOTALL)

_IAX_SECRET = frozenset({Ie.PASSWORD, Ie.MD5_RESULT, Ie.RSA_RESULT, Ie.ENCKEY, Ie.CALLTOKEN, Ie.AESPROVISIONING})
_RTKEY_SECRET = _IAX_SECRET | {Ie.CHALLENGE}


def _masked(data: bytes) -> bytes:
    """Its length in "x"; line ends and blanks stay, as a field may be folded."""
    return re.sub(rb"[^\s]", _MASK, data)


def _credentials(value: bytes) -> bytes:
    """A field's value with only those parameters of Digest readable that anybody may know."""
    scheme = _SCHEME.match(value)
    at = scheme.end() if scheme is not None else 0
    parts = [value[:at]]
    while at < len(value):
        shown = _PARAMETER.match(value, at)
        if shown is not None:
            parts.append(shown.group())
            at = shown.end()
            continue
        # Up to the comma that ends it. One within quotes ends it early: what follows is then no parameter either, but
        # of a quoted text that is made to look like one.
        quoted = _QUOTED.match(value, at)
        end = quoted.end() if quoted is not None and quoted.end() > at else len(value)
        parts.append(_named(value[at:end]))
        at = end
    return b"".join(parts)


_NAME = re.compile(rb"[\s,]*(?:response|rspauth)[ \t]*=[ \t]*", re.IGNORECASE)


def _named(parameter: bytes) -> bytes:
    """A parameter that is not shown: its name where it is one of Digest's own, so that one sees that it was there."""
    name = _NAME.match(parameter)
    at = name.end() if name is not None else 0
    value = parameter[at:]
    if name is not None and len(value) > 1 and value[:1] == value[-1:] == b'"':
        return parameter[:at] + b'"' + _masked(value[1:-1]) + b'"'
    return parameter[:at] + re.sub(rb"[^\s,]", _MASK, value)


def _crypto(value: bytes) -> bytes:
    """Tag and suite of a crypto attribute stay, and all of its parameters but the keys."""
    shown = _CRYPTO_SHOWN.match(value)
    if shown is None:
        return _masked(value)
    at = shown.end()
    parts, rest = [value[:at]], value[at:]
    # Lifetimes and MKI after "|" say nothing; who puts more keys there has them masked by their own "inline:".
    kept = 0
    for key in _INLINE.finditer(rest):
        parts += [_between(rest[kept : key.start(1)]), _masked(key.group(1))]
        kept = key.end(1)
    parts.append(_between(rest[kept:]))
    return b"".join(parts)


_PLAIN = re.compile(rb"(?i:inline)[ \t]*:|[|:;][0-9^]{1,12}(?=[|:;\s]|\Z)|[|:; \t]")


def _between(data: bytes) -> bytes:
    """What stands between keys, where it is of the known form (RFC 4568 6.1); else nothing of it can be read."""
    at, parts = 0, []
    while at < len(data):
        plain = _PLAIN.match(data, at)
        if plain is None:
            parts.append(_masked(data[at : at + 1]))
            at += 1
        else:
            parts.append(plain.group())
            at = plain.end()
    return b"".join(parts)


def _without_passwords(data: bytes) -> bytes:
    """URIs without what stands between the second colon and "@": deprecated, but there are far ends that do it."""
    pieces = data.split(b"@")
    for index, piece in enumerate(pieces[:-1]):
        begin = max(map(piece.rfind, (b" ", b"\t", b"\r", b"\n", b"<", b">", b'"'))) + 1
        uri = _URI.search(piece, begin)
        if uri is not None:
            pieces[index] = piece[: uri.end()] + _masked(piece[uri.end() :])
    return b"@".join(pieces)


_SIP_RULES: tuple[tuple[bytes, re.Pattern[bytes], Callable[[bytes], bytes]], ...] = (
    (b"auth", _FIELDS, _credentials),
    (b"crypto", _CRYPTO, _crypto),
    (b"k", _KEYS, _masked),
)


def redact_sip(data: bytes) -> bytes:
    """A SIP message, or anything like one, of the same length without its secrets."""
    lowered = data.lower()
    for word, pattern, replaced in _SIP_RULES:
        if word in lowered:
            data = pattern.sub(partial(_replaced, replaced), data)
    return _without_passwords(data) if b"@" in data else data


def _replaced(replaced: Callable[[bytes], bytes], found: re.Match[bytes]) -> bytes:
    whole, begin = found.group(), found.start()
    return whole[: found.start(1) - begin] + replaced(found.group(1)) + whole[found.end(1) - begin :]


def as_decrypted(message: bytes) -> bytes:
    """A SIP message whose SDP says of protected voice that it is not, as it is not in the capture.

    Wireshark goes by that. RTP/AVPF has as many octets as RTP/SAVP, and is plain RTP to it.
    """
    return _PROTECTED.sub(rb"\1RTP/AVPF", message) if b"RTP/SAVP " in message else message


def redact_iax(frame: bytes) -> bytes:
    """A full frame in clear, of the same length without its secrets; one that cannot be read has none shown."""
    if len(frame) < FULL_HEADER or not frame[0] & 0x80:
        return frame
    if frame[10] != FrameType.IAX:
        return frame
    secret = _RTKEY_SECRET if frame[11] == Command.RTKEY else _IAX_SECRET
    parts = [frame[:FULL_HEADER]]
    at, size = FULL_HEADER, len(frame)
    while at < size:
        end = at + 2 + (frame[at + 1] if at + 1 < size else 0)
        if end > size or size - at < 2:
            parts.append(frame[at : at + 2] + _MASK * (size - at - 2))
            break
        if frame[at] in secret:
            parts.append(frame[at : at + 2] + _MASK * (end - at - 2))
        else:
            parts.append(frame[at:end])
        at = end
    return b"".join(parts)


def without_voice(frame: bytes) -> bytes:
    """A full frame of which nothing is shown but its header."""
    return frame[:FULL_HEADER] + _MASK * (len(frame) - FULL_HEADER)


def nothing_of(data: bytes) -> bytes:
    """Nothing but the length of what cannot be understood well enough to be redacted: line ends, which SIP skips."""
    return b"\n" * (len(data) % 2) + b"\r\n" * (len(data) // 2)
