"""Keys of SRTP in SDP: the a=crypto attribute (RFC 4568, suites of RFC 6188 and 7714), parsed and written.

Tells what an attribute says and whether the engine can do it. What is offered and taken is decided in ``encryption``.
"""

from __future__ import annotations

import binascii

import msgspec

from gateway.media.api import SrtpKey, SrtpSuite
from gateway.voip.sip.errors import SipError

MAX_ATTRIBUTE = 512
"""Longest a=crypto value read, in characters: eight of the longest keys fit."""
MAX_ATTRIBUTES = 16
"""a=crypto lines of one m= that are read; further ones are not looked at."""
MAX_TAG_DIGITS = 9
"""RFC 4568 9.1."""
MAX_LIFETIME = 2**48
"""RFC 3711 9.2: more packets than that no master key may protect."""
MAX_KDR = 24
MIN_WINDOW = 64
"""RFC 4568 6.3.6: the least window size hint."""
MAX_MKI_LENGTH = 128
"""RFC 4568 6.1, in octets."""
MAX_MKI_TAKEN = 8
"""Octets of an MKI that the engine takes; telephones have 1 to 4."""

KEY_LENGTHS: dict[SrtpSuite, int] = {
    SrtpSuite.AEAD_AES_256_GCM: 44,
    SrtpSuite.AEAD_AES_128_GCM: 28,
    SrtpSuite.AES_256_CM_HMAC_SHA1_80: 46,
    SrtpSuite.AES_CM_128_HMAC_SHA1_80: 30,
    SrtpSuite.AES_256_CM_HMAC_SHA1_32: 46,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32: 30,
}
"""Octets of master key and master salt of every suite that the engine has, the one we like best first."""

SUITES: dict[str, SrtpSuite] = {
    **{suite.name: suite for suite in KEY_LENGTHS},
    # What drafts of RFC 6188 called them; Asterisk up to 18 and some telephones still do.
    "AES_CM_256_HMAC_SHA1_80": SrtpSuite.AES_256_CM_HMAC_SHA1_80,
    "AES_CM_256_HMAC_SHA1_32": SrtpSuite.AES_256_CM_HMAC_SHA1_32,
}

_INLINE = "inline:"
_FIRST_CHARACTER = 33
_LAST_CHARACTER = 126


class Crypto(msgspec.Struct, frozen=True):
    """One a=crypto: ``key`` is what its sender sends with. ``name`` is the suite's as it was written."""

    tag: int
    name: str
    key: SrtpKey

    @property
    def suite(self) -> SrtpSuite:
        """The suite."""
        return self.key.suite

    def __str__(self) -> str:
        """The value of the attribute, with the key: not for any log."""
        return f"{self.tag} {self.name} {_INLINE}{binascii.b2a_base64(self.key.key, newline=False).decode('ascii')}"

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.name}, …)"


class UnusableCrypto(msgspec.Struct, frozen=True):
    """An a=crypto that is well formed but asks for what we do not have; RFC 4568 5.1.2 passes it over.

    ``why`` is for people and has no key in it.
    """

    tag: int
    why: str


def parse_crypto(value: str) -> Crypto | UnusableCrypto:
    """Parse the value of one a=crypto; raises SipError(400) if it is none by RFC 4568 9.1.

    Unusable are unknown suites and key methods, several keys, a long MKI, and every session parameter that changes what
    is protected, or is unknown and not marked as dispensable with "-" (6.3.7).
    """
    if len(value) > MAX_ATTRIBUTE:
        raise SipError(400, f"a=crypto of {len(value)} characters, at most {MAX_ATTRIBUTE} expected")
    parts = value.split()
    if len(parts) < 3:
        raise SipError(400, f"a=crypto has {len(parts)} fields, expected a tag, a suite and keys")
    tag = _tag(parts[0])
    name = parts[1]
    suite = SUITES.get(name.upper())
    if suite is None:
        return UnusableCrypto(tag, f"unknown suite {name[:40]}")
    key, mki, why = _keys(parts[2], KEY_LENGTHS[suite])
    why = why or _session_parameters(parts[3:])
    if why or key is None:
        return UnusableCrypto(tag, why)
    return Crypto(tag, name, SrtpKey(suite, key, mki))


def first_usable(values: tuple[str, ...]) -> tuple[Crypto | None, str]:
    """The first usable of the a=crypto of one m=, or None and why the first of all is not.

    A malformed one is passed over like one of a suite that we lack: it need not cost the call. One with an MKI is taken
    if there is none without: who offers both is better understood without.
    """
    why = ""
    second: Crypto | None = None
    for value in values[:MAX_ATTRIBUTES]:
        try:
            crypto = parse_crypto(value)
        except SipError as error:
            why = why or error.text
            continue
        if isinstance(crypto, Crypto):
            if not crypto.key.mki:
                return crypto, ""
            second = second or crypto
            continue
        why = why or crypto.why
    return (second, "") if second is not None else (None, why)


def with_tag(values: tuple[str, ...], tag: int) -> Crypto | None:
    """That of the a=crypto that we wrote ourselves which has ``tag``, or None."""
    start = f"{tag} "
    for value in values:
        if value.startswith(start):
            crypto = parse_crypto(value)
            return crypto if isinstance(crypto, Crypto) else None
    return None


def _tag(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_TAG_DIGITS):
        raise SipError(400, f"tag of a=crypto is {text[:20]!r}, expected 1 to {MAX_TAG_DIGITS} digits")
    return int(text)


def _keys(text: str, length: int) -> tuple[bytes | None, bytes, str]:
    """Key with salt, and MKI; or why they cannot be used. ``text`` is never repeated in a message."""
    methods = text.split(";")
    if len(methods) > 1:
        return None, b"", "more than one key"
    if text[: len(_INLINE)].lower() != _INLINE:
        if ":" not in text:
            raise SipError(400, "a=crypto without a key method")
        return None, b"", "unknown key method"
    encoded, *rest = text[len(_INLINE) :].split("|")
    if len(rest) > 2:
        raise SipError(400, "key of a=crypto has too many parts")
    key = _base64(encoded)
    if len(key) != length:
        raise SipError(400, f"key and salt of a=crypto have {len(key)} octets, expected {length}")
    mki = _mki(rest.pop()) if rest and ":" in rest[-1] else b""
    if rest:
        lifetime = _lifetime(rest.pop())
        if rest:
            raise SipError(400, "key of a=crypto has two lifetimes")
        if not 0 < lifetime <= MAX_LIFETIME:
            return None, b"", "lifetime of a key that no key may have"
    if len(mki) > MAX_MKI_TAKEN:
        return None, b"", f"key with an MKI of {len(mki)} octets"
    return key, mki, ""


def _base64(text: str) -> bytes:
    # Some leave the padding out, where RFC 4568 6.1 has it.
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError):
        raise SipError(400, "key of a=crypto is not base64") from None


def _lifetime(text: str) -> int:
    """Packets: a number, or 2^ and its power (RFC 4568 6.1)."""
    power = text.removeprefix("2^")
    if not (power.isascii() and power.isdigit() and len(power) <= 15):
        raise SipError(400, "lifetime of a=crypto is no number")
    if power is text:
        return int(text)
    return 1 << int(power) if len(power) <= 2 else MAX_LIFETIME + 1


def _mki(text: str) -> bytes:
    """The octets that an MKI has in packets (RFC 4568 6.1: a decimal number, then how many octets it takes)."""
    value, _, length = text.partition(":")
    if not (value.isascii() and value.isdigit() and length.isascii() and length.isdigit() and len(length) <= 3):
        raise SipError(400, "MKI of a=crypto is no pair of numbers")
    if not 1 <= int(length) <= MAX_MKI_LENGTH:
        raise SipError(400, f"MKI of {int(length)} octets, expected 1 to {MAX_MKI_LENGTH}")
    try:
        return int(value).to_bytes(int(length))
    except OverflowError:
        raise SipError(400, f"MKI of a=crypto does not fit into {int(length)} octets") from None


def _session_parameters(parameters: list[str]) -> str:
    """Why these session parameters (RFC 4568 6.3) cannot be had; "" if they can."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if any(not _FIRST_CHARACTER <= ord(character) <= _LAST_CHARACTER for character in parameter):
            raise SipError(400, "session parameter of a=crypto with characters that none may have")
        if parameter.startswith("-"):
            continue
        number = int(value) if value.isdigit() and len(value) <= 9 else None
        if name == "WSH":
            # A hint about a window that the engine has its own opinion of.
            if number is None or number < MIN_WINDOW:
                return "window size hint that is none"
        elif name == "KDR":
            if number is None or number > MAX_KDR:
                return "key derivation rate that is none"
            if number:
                return "keys derived again and again (KDR)"
        else:
            return f"session parameter {name[:30]}"
    return ""
