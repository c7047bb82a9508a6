"""What goes from end to end of a call in SIP: User-to-User (RFC 7433, RFC 7434) and ISDN subaddresses (RFC 4715).

Compatibilities have no place in SIP and end here. That SIP is no ISDN is said of every call (Q.1912.5 6.1.3.4, 6.7.4).
"""

from __future__ import annotations

from urllib.parse import quote
from urllib.parse import unquote as percent_decoded

from gateway.leg import Conveyed, Interworking, Met
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Message, Request
from gateway.voip.sip.peers import PeerKind
from gateway.voip.sip.syntax import Params, parse_params, unquote
from gateway.voip.sip.uri import Uri

MAX_USER_USER = 129
"""Octets of a User-user element with its protocol discriminator (Q.931 4.5.30)."""
MAX_SUBADDRESS = 20
"""Octets of a subaddress (Q.931 4.5.9)."""

FROM_KIND: dict[PeerKind, Conveyed] = {
    PeerKind.TRUNK: Conveyed((Met(Interworking.NOT_END_TO_END),)),
    PeerKind.PHONE: Conveyed((Met(Interworking.ORIGINATION_NOT_ISDN),)),
}
"""What is to be said of a call from SIP: another network in between, or a phone that is no ISDN terminal (5.2.6)."""
TO_KIND: dict[PeerKind, Conveyed] = {
    PeerKind.TRUNK: Conveyed((Met(Interworking.NOT_END_TO_END),)),
    PeerKind.PHONE: Conveyed((Met(Interworking.DESTINATION_NOT_ISDN),)),
}
"""The same of a call to SIP (5.1.6)."""

_NSAP = 0x80
# X.213 annex A: authority and format identifiers of local addresses, in IA5 and in decimal digits.
_AFI_IA5, _AFI_DECIMAL = 0x50, 0x48


def user_to_user_field(contents: bytes) -> tuple[str, str]:
    """User-to-User for the contents of a User-user element."""
    return "User-to-User", f"{contents.hex()};encoding=hex;purpose=isdn-uui"


def user_to_user_of(message: Message) -> bytes | None:
    """The contents of a User-user element that ``message`` brings, or None; a wrong or foreign one is as if absent."""
    for text in message.headers.get_all("user-to-user"):
        for one in text.split(","):
            data, _, tail = one.partition(";")
            try:
                params = parse_params(f";{tail}" if tail else "")
                contents = bytes.fromhex(unquote(data.strip()))
            except (SipError, ValueError):
                continue
            encoding = (params.get("encoding") or "hex").lower()
            purpose = (params.get("purpose") or "isdn-uui").lower()
            if encoding == "hex" and purpose == "isdn-uui" and 0 < len(contents) <= MAX_USER_USER:
                return contents
    return None


def isub_of(contents: bytes) -> str:
    """The parameters of a telephone number for a subaddress element; "" for one that RFC 4715 has no way to say."""
    if len(contents) < 3 or len(contents) > MAX_SUBADDRESS + 1 or contents[0] & 0xF0 != _NSAP:
        return ""
    authority, rest = contents[1], contents[2:]
    if authority == _AFI_IA5 and rest.isascii():
        text = rest.decode("ascii")
        if text.isprintable():
            return f";isub={quote(text, safe='')}"
    elif authority == _AFI_DECIMAL:
        digits = rest.hex().rstrip("f")
        if digits.isdecimal():
            return f";isub={digits};isub-encoding=nsap-bcd"
    return f";isub={contents[1:].hex()};isub-encoding=nsap"


def subaddress_of(params: Params) -> bytes | None:
    """The contents of a subaddress element for a number's ``isub``, or None."""
    text = params.get("isub")
    if not text:
        return None
    encoding = (params.get("isub-encoding") or "nsap-ia5").lower()
    try:
        if encoding == "nsap-ia5":
            rest = bytes((_AFI_IA5,)) + text.encode("ascii")
        elif encoding == "nsap-bcd":
            rest = bytes((_AFI_DECIMAL,)) + bytes.fromhex(text + "f" * (len(text) % 2))
        elif encoding == "nsap":
            rest = bytes.fromhex(text)
        else:
            return None
    except ValueError:
        return None
    return bytes((_NSAP,)) + rest if 0 < len(rest) <= MAX_SUBADDRESS else None


def subaddress_in(uri: Uri) -> bytes | None:
    """The subaddress of the telephone number that ``uri`` is, or None; behind the host it is taken too."""
    if "isub" in uri.params:
        return subaddress_of({name: value and percent_decoded(value) for name, value in uri.params.items()})
    if uri.user is None or ";" not in uri.user:
        return None
    return subaddress_of(uri.user_params)


def conveyed_of(request: Request, kind: PeerKind, *, trusted: bool) -> Conveyed:
    """What an INVITE of a far end of ``kind`` brings that only passes through the gateway."""
    called = subaddress_in(request.uri)
    calling = asserted_subaddress(request) if trusted else None
    user_user = user_to_user_of(request) if "user-to-user" in request.headers else None
    usual = FROM_KIND[kind]
    if called is None and calling is None and user_user is None:
        return usual
    return Conveyed(usual.progress, calling, called, user_user=user_user)


def answer_of(message: Message, kind: PeerKind, *, trusted: bool) -> Conveyed:
    """What a response to an INVITE of ours brings that only passes through."""
    usual = TO_KIND[kind]
    subaddress = asserted_subaddress(message) if trusted else None
    user_user = user_to_user_of(message) if "user-to-user" in message.headers else None
    if subaddress is None and user_user is None:
        return usual
    return Conveyed(usual.progress, subaddress=subaddress, user_user=user_user)


def asserted_subaddress(message: Message) -> bytes | None:
    """The subaddress of whom ``message`` asserts (3GPP TS 29.163 has it there and nowhere else)."""
    value = message.headers.get("p-asserted-identity")
    if value is None or "isub=" not in value:
        return None
    try:
        found = [subaddress_in(address.uri) for address in message.addresses("p-asserted-identity")]
    except SipError:
        return None
    return next((one for one in found if one is not None), None)
