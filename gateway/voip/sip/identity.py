"""Who calls and who answered: gateway.identity to and from From, To, P-Asserted-Identity, Privacy, Remote-Party-ID.

RFC 3261 8.1.1, RFC 3323, RFC 3325, RFC 4916; Remote-Party-ID (an expired draft still met) is read only.
"""

from __future__ import annotations

import msgspec

from gateway.identity import MAX_NAME, Number, Party, Presentation, Screening
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Message, Request, Response
from gateway.voip.sip.syntax import split_list, unquote
from gateway.voip.sip.telephone import ANONYMOUS_URI, PLAIN, NumberStyle, number_of, uri_of
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import NameAddr

Field = tuple[str, str]

PRIVATE_VALUES = frozenset({"id", "user", "header"})
"""RFC 3323 4.2, RFC 3325 9.3: Privacy values that hide who calls. "session" and "critical" alone do not."""

ANONYMOUS_USERS = frozenset({"anonymous", "restricted", "private"})
"""User parts of From that stand for a caller who hides."""
UNAVAILABLE_USERS = frozenset({"unavailable", "unknown"})
"""User parts of From that stand for a caller nobody knows (3GPP TS 29.163 7.4.6)."""

ASSERTED_SCREENINGS = frozenset({Screening.USER_PASSED, Screening.NETWORK})
"""Numbers that the telephone network vouches for and P-Asserted-Identity may carry (3GPP TS 29.163 table 7.4.6.2)."""

RPID_PRIVACY = {
    "full": (Presentation.RESTRICTED, Presentation.RESTRICTED),
    "name": (Presentation.ALLOWED, Presentation.RESTRICTED),
    "uri": (Presentation.RESTRICTED, Presentation.ALLOWED),
    "off": (Presentation.ALLOWED, Presentation.ALLOWED),
}
"""Remote-Party-ID's privacy: presentation of the number and of the name."""


class IdentityRules(msgspec.Struct, frozen=True):
    """What holds towards one far end.

    ``trusted`` (a trunk in our trust domain, RFC 3325 2): its P-Asserted-Identity and Remote-Party-ID are believed, and
    it gets ours with Privacy. ``host`` is the domain of our URIs. ``assert_unscreened``: assert also numbers that the
    telephone network did not screen.
    """

    host: str
    trusted: bool = False
    style: NumberStyle = PLAIN
    assert_unscreened: bool = True


# -- from SIP --


def caller_of(request: Request, rules: IdentityRules) -> Party:
    """Who calls, of an INVITE. Raises SipError(400) only for a wrong From; what else is wrong is as if absent."""
    if rules.trusted:
        asserted = _asserted(request, "p-asserted-identity") or _remote_party(request, "calling")
        if asserted is not None:
            # A From that hides without a Privacy hides all the same: better that a number is missing than told.
            hidden = "privacy" not in request.headers and _is_anonymous(request.from_)
            return _hidden(asserted) if hidden else asserted
    sender = request.from_
    return _party(sender, _presentation(request), Screening.USER_NOT_SCREENED)


def _is_anonymous(sender: NameAddr) -> bool:
    uri = sender.uri
    return uri.host.lower() == "anonymous.invalid" or (uri.user or "").lower() in ANONYMOUS_USERS


def _hidden(party: Party) -> Party:
    number = party.number
    if number is not None:
        number = msgspec.structs.replace(number, presentation=Presentation.RESTRICTED)
    return Party(number, party.name, Presentation.RESTRICTED)


def preferred_of(request: Request) -> Party | None:
    """Which of its identities a phone asks to be shown (P-Preferred-Identity, RFC 3325 9.2), or None."""
    return _asserted(request, "p-preferred-identity", Screening.USER_NOT_SCREENED)


def called_of(request: Request) -> Number | None:
    """The number called: the Request-URI's, or None if it is no telephone number. Raises SipError."""
    return number_of(request.uri)


def called_at_account(request: Request) -> Number:
    """The number called where the Request-URI is the Contact that we registered with a provider.

    That of P-Called-Party-ID (RFC 7315 4.2), of To, or the account's own; without digits if none of them is a number.
    """
    for name in ("p-called-party-id", "to"):
        try:
            for address in request.addresses(name) if name != "to" else (request.to,):
                number = number_of(address.uri)
                if number is not None:
                    return number
        except SipError:
            continue
    return number_of(request.uri) or Number()


def connected_of(message: Message, rules: IdentityRules) -> Party | None:
    """Who answered or whom we talk to now, of a 200 or 18x, or of a re-INVITE or UPDATE; None if it does not say.

    Without an asserted identity that is the display name of To in a response, and From (RFC 4916) in a request.
    """
    if rules.trusted:
        asserted = _asserted(message, "p-asserted-identity") or _remote_party(message, "called")
        if asserted is not None:
            return asserted
    try:
        if isinstance(message, Response):
            address = message.to
            return (
                _party(address, _presentation(message), Screening.USER_NOT_SCREENED) if address.display_name else None
            )
        return _party(message.from_, _presentation(message), Screening.USER_NOT_SCREENED)
    except SipError:
        return None


def privacy_of(message: Message) -> frozenset[str]:
    """The values of Privacy in lower case; () without the field. They are separated by semicolons (RFC 3323 4.2)."""
    texts = message.headers.get_all("privacy")
    if not texts:
        return frozenset()
    return frozenset([value for text in texts for part in text.lower().split(";") if (value := part.strip(" \t"))])


def _presentation(message: Message) -> Presentation:
    if "privacy" not in message.headers:
        return Presentation.ALLOWED
    return Presentation.ALLOWED if PRIVATE_VALUES.isdisjoint(privacy_of(message)) else Presentation.RESTRICTED


def _party(address: NameAddr, presentation: Presentation, screening: Screening) -> Party:
    uri = address.uri
    number = number_of(uri, presentation, screening)
    name_presentation = presentation
    if number is None:
        user = uri.user_decoded.lower()
        if user in ANONYMOUS_USERS or uri.host.lower() == "anonymous.invalid":
            number = Number(presentation=Presentation.RESTRICTED)
            # The display name is then "Anonymous" and no name at all.
            return Party(number, None, Presentation.RESTRICTED)
        if user in UNAVAILABLE_USERS:
            return Party(Number(presentation=Presentation.NOT_AVAILABLE), None, Presentation.NOT_AVAILABLE)
    name = clean_name(address.display_name)
    if name is not None and number is not None and name.lstrip("+") == number.digits:
        name = None
    return Party(number, name, name_presentation)


def _asserted(message: Message, key: str, screening: Screening = Screening.NETWORK) -> Party | None:
    if key not in message.headers:
        return None
    presentation = _presentation(message)
    found: Party | None = None
    try:
        # There may be a sip: and a tel: identity (RFC 3325 9.1): the number of one, the name of either.
        for address in message.addresses(key):
            party = _party(address, presentation, screening)
            if found is None:
                found = party
            else:
                found = Party(found.number or party.number, found.name or party.name, presentation)
    except SipError:
        return found
    return found


def _remote_party(message: Message, role: str) -> Party | None:
    for text in message.headers.get_all("remote-party-id"):
        try:
            for value in split_list(text):
                address = NameAddr.parse(value)
                if (address.params.get("party") or role).lower() != role:
                    continue
                number, name = RPID_PRIVACY.get(
                    unquote(address.params.get("privacy") or "off").lower(), RPID_PRIVACY["full"]
                )
                screened = (address.params.get("screen") or "no").lower() == "yes"
                party = _party(address, number, Screening.NETWORK if screened else Screening.USER_NOT_SCREENED)
                return Party(party.number, party.name, name)
        except SipError:
            continue
    return None


def clean_name(text: str) -> str | None:
    """``text`` as a name of Party: printable, at most MAX_NAME characters; None if nothing is left."""
    if not text.isprintable():
        text = "".join([character if character.isprintable() else " " for character in text])
    return text.strip()[:MAX_NAME] or None


# -- to SIP --


def caller_fields(party: Party, rules: IdentityRules, isub: str = "") -> tuple[NameAddr, tuple[Field, ...]]:
    """From (without tag) for a call by ``party``, and the fields P-Asserted-Identity and Privacy where they belong.

    A restricted number goes only to a trusted far end, asserted and with Privacy: id. A number that a caller gave
    besides the network's is From alone, the network's is asserted (Q.1912.5 6.1.3.6). ``isub``: parameters of the
    asserted number.
    """
    number = party.number
    name = party.name if party.name_presentation == Presentation.ALLOWED else None
    if number is None or not number.digits or number.presentation == Presentation.NOT_AVAILABLE:
        if number is not None and number.presentation == Presentation.RESTRICTED:
            return NameAddr(ANONYMOUS_URI, "Anonymous"), ((("Privacy", "id"),) if rules.trusted else ())
        return NameAddr(Uri("sip", "unavailable", rules.host), name or ""), ()
    fields = asserted_fields(party, rules, isub)
    if number.presentation == Presentation.RESTRICTED:
        return NameAddr(ANONYMOUS_URI, "Anonymous"), fields or ((("Privacy", "id"),) if rules.trusted else ())
    return NameAddr(uri_of(number, rules.host, rules.style), name or ""), fields


def asserted_fields(party: Party, rules: IdentityRules, isub: str = "") -> tuple[Field, ...]:
    """P-Asserted-Identity and Privacy that name ``party``, caller or connected; () if it may not be named."""
    number = party.network or party.number
    if not rules.trusted or number is None or not number.digits:
        return ()
    if number.screening not in ASSERTED_SCREENINGS and not rules.assert_unscreened:
        return ()
    restricted = number.presentation == Presentation.RESTRICTED
    if party.network is not None and party.number is not None:
        restricted = restricted or party.number.presentation == Presentation.RESTRICTED
    # Privacy covers name and number alike; a name hidden by itself is left out.
    name = party.name if restricted or party.name_presentation == Presentation.ALLOWED else None
    uri = uri_of(number, rules.host, rules.style)
    if isub:
        # RFC 3261 19.1.6: a number with parameters is the user part, and says that it is one.
        uri = msgspec.structs.replace(uri, user=f"{uri.user}{isub}", params={**uri.params, "user": "phone"})
    asserted = ("P-Asserted-Identity", str(NameAddr(uri, name or "")))
    return (asserted, ("Privacy", "id")) if restricted else (asserted,)
