"""Calls that were forwarded: gateway.identity.Redirection to and from Diversion (RFC 5806) and History-Info (RFC 7044).

Reasons are tables. RFC 4244's older way of saying it and the cause parameter of RFC 4458 are both read.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from gateway.identity import Number, Presentation, Redirection, RedirectionReason, Screening
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.identity import Field, IdentityRules, clean_name
from gateway.voip.sip.message import Message
from gateway.voip.sip.syntax import Params, parse_number
from gateway.voip.sip.syntax import unquote as unquote_string
from gateway.voip.sip.telephone import ANONYMOUS_URI, number_of, uri_of
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import NameAddr, parse_name_addrs

MAX_DIVERSIONS = 31
"""Most diversions counted (Q.952: the counter has five bits)."""

REASON_OF_DIVERSION = {
    "unknown": RedirectionReason.UNKNOWN,
    "user-busy": RedirectionReason.BUSY,
    "no-answer": RedirectionReason.NO_REPLY,
    "unavailable": RedirectionReason.OUT_OF_ORDER,
    "out-of-service": RedirectionReason.OUT_OF_ORDER,
    "deflection": RedirectionReason.BY_CALLED_DTE,
    "unconditional": RedirectionReason.UNCONDITIONAL,
    "time-of-day": RedirectionReason.UNCONDITIONAL,
    "follow-me": RedirectionReason.UNCONDITIONAL,
    "do-not-disturb": RedirectionReason.UNCONDITIONAL,
    "away": RedirectionReason.UNCONDITIONAL,
}
"""RFC 5806 4: diversion-reason."""

DIVERSION_OF_REASON = {
    RedirectionReason.UNKNOWN: "unknown",
    RedirectionReason.BUSY: "user-busy",
    RedirectionReason.NO_REPLY: "no-answer",
    RedirectionReason.OUT_OF_ORDER: "out-of-service",
    RedirectionReason.BY_CALLED_DTE: "deflection",
    RedirectionReason.UNCONDITIONAL: "unconditional",
}

REASON_OF_CAUSE = {
    302: RedirectionReason.UNCONDITIONAL,
    404: RedirectionReason.UNKNOWN,
    408: RedirectionReason.NO_REPLY,
    480: RedirectionReason.BY_CALLED_DTE,
    486: RedirectionReason.BUSY,
    487: RedirectionReason.BY_CALLED_DTE,
    503: RedirectionReason.OUT_OF_ORDER,
    600: RedirectionReason.BUSY,
}
"""RFC 4458 3 and 3GPP TS 24.604: cause of a History-Info entry."""

CAUSE_OF_REASON = {
    RedirectionReason.UNKNOWN: 404,
    RedirectionReason.BUSY: 486,
    RedirectionReason.NO_REPLY: 408,
    RedirectionReason.OUT_OF_ORDER: 503,
    RedirectionReason.BY_CALLED_DTE: 480,
    RedirectionReason.UNCONDITIONAL: 302,
}

MAX_HISTORY = 5
"""Diverters that a History-Info of ours lists: as many diversions as the services allow (ETS 300 207-1)."""
UNKNOWN_URI = "sip:unknown@unknown.invalid"
"""RFC 7544: a diverter of whom nothing is known but that there was one."""
_NOBODY = Number(presentation=Presentation.NOT_AVAILABLE)
_HIDDEN = frozenset({"full", "uri"})
_HISTORY_HIDDEN = frozenset({"history", "id", "user", "header"})


class _Diverter(NamedTuple):
    address: NameAddr
    reason: RedirectionReason
    presentation: Presentation
    screening: Screening
    times: int = 1


def redirection_of(message: Message) -> Redirection | None:
    """How the call was forwarded before it came here, or None.

    Of Diversion and History-Info together (RFC 7544 leaves that to policy) the one counts that tells of more
    diversions: the other was written by somebody who did not know them all. If they tell as many it is Diversion,
    which knows presentation and screening of each number. The caller decides whether the far end may be believed.
    """
    headers = message.headers
    found = _redirection(_diversions(message)) if "diversion" in headers else None
    if "history-info" in headers:
        other = _redirection(_history(message))
        if found is None or (other is not None and other.count > found.count):
            return other
    return found


def diversion_fields(redirection: Redirection, rules: IdentityRules) -> tuple[Field, ...]:
    """Diversion, the last diverter first; the first one of all is a value of its own if it is another."""
    last = redirection.number
    first = redirection.original
    count = max(1, min(redirection.count, MAX_DIVERSIONS))
    two = count > 1 and first is not None and first.digits != last.digits
    values = [_diversion(last, redirection.reason, count - 1 if two else count, redirection.name, rules)]
    if two and first is not None:
        values.append(_diversion(first, redirection.original_reason, 1, None, rules))
    return tuple([("Diversion", value) for value in values])


def history_fields(redirection: Redirection, target: Uri, rules: IdentityRules) -> tuple[Field, ...]:
    """History-Info (RFC 7044 5, 10.1): who diverted and ``target``, whom the call now goes to.

    Diverters that are only counted are entries of their own for nobody known (RFC 7544), so that the count stays.
    """
    steps = [(redirection.number, redirection.reason, redirection.name)]
    first = redirection.original
    if first is not None and redirection.count > 1 and first.digits != redirection.number.digits:
        steps.insert(0, (first, redirection.original_reason, None))
    missing = min(redirection.count, MAX_HISTORY) - len(steps)
    steps[len(steps) - 1 : len(steps) - 1] = [(_NOBODY, RedirectionReason.UNKNOWN, None)] * missing
    values: list[str] = []
    index, cause, parent = "1", "", ""
    for number, reason, name in steps:
        uri, hidden = _shown(number, rules)
        headers = "?Privacy=history" if hidden else ""
        shown = "" if hidden else name or ""
        address = NameAddr(f"{uri}{cause}{headers}", shown)
        values.append(f"{address};index={index}{parent}")
        parent = f";mp={index}"
        cause = f";cause={CAUSE_OF_REASON[reason]}"
        index = f"{index}.1"
    values.append(f"<{target.without_headers()}{cause}>;index={index}{parent}")
    return (("History-Info", ", ".join(values)),)


def _redirection(diverters: list[_Diverter]) -> Redirection | None:
    """``diverters`` in time order."""
    if not diverters:
        return None
    first, last = diverters[0], diverters[-1]
    count = min(sum(diverter.times for diverter in diverters), MAX_DIVERSIONS)
    return Redirection(
        _number(last) or Number(presentation=Presentation.NOT_AVAILABLE),
        last.reason,
        count,
        _number(first) if len(diverters) > 1 else None,
        first.reason if len(diverters) > 1 else RedirectionReason.UNKNOWN,
        clean_name(last.address.display_name) if last.presentation == Presentation.ALLOWED else None,
    )


def _number(diverter: _Diverter) -> Number | None:
    try:
        uri = diverter.address.uri
    except SipError:
        return None
    number = number_of(uri, diverter.presentation, diverter.screening)
    if number is None and (uri.user == "anonymous" or uri.host == "anonymous.invalid"):
        return Number(presentation=Presentation.RESTRICTED)
    return number


def _diversions(message: Message) -> list[_Diverter]:
    found: list[_Diverter] = []
    for text in message.headers.get_all("diversion"):
        try:
            addresses = parse_name_addrs(text)
        except SipError:
            continue
        for address in addresses:
            params = address.params
            reason = REASON_OF_DIVERSION.get(_word(params, "reason"), RedirectionReason.UNKNOWN)
            hidden = _word(params, "privacy") in _HIDDEN
            screened = _word(params, "screen") == "yes"
            found.append(
                _Diverter(
                    address,
                    reason,
                    Presentation.RESTRICTED if hidden else Presentation.ALLOWED,
                    Screening.NETWORK if screened else Screening.USER_NOT_SCREENED,
                    _counter(params),
                )
            )
    found.reverse()
    return found


def _history(message: Message) -> list[_Diverter]:
    entries: list[NameAddr] = []
    for text in message.headers.get_all("history-info"):
        try:
            entries.extend(parse_name_addrs(text))
        except SipError:
            continue
    by_index = {_word(entry.params, "index"): entry for entry in entries}
    found: list[_Diverter] = []
    for number, entry in enumerate(entries):
        if number == 0:
            continue
        before = entries[number - 1]
        mapped = _word(entry.params, "mp")
        cause = _uri_cause(entry)
        older = None if cause is not None or mapped else _escaped_cause(before)
        if cause is None and older is None and not mapped:
            continue
        parent = by_index.get(mapped or _word(entry.params, "index").rpartition(".")[0], before)
        if cause is None:
            cause = older if older is not None else _escaped_cause(parent)
        reason = REASON_OF_CAUSE.get(cause or 0, RedirectionReason.UNKNOWN)
        found.append(_Diverter(parent, reason, _history_presentation(message, parent), Screening.USER_NOT_SCREENED))
    return found


def _uri_cause(entry: NameAddr) -> int | None:
    try:
        value = entry.uri.params.get("cause")
    except SipError:
        return None
    return int(value) if value and value.isdecimal() and len(value) <= 3 else None


def _escaped_cause(entry: NameAddr) -> int | None:
    """The status in a Reason that is escaped into the URI's headers (RFC 4244 4.1)."""
    value = _escaped_header(entry, "reason")
    protocol, _, tail = value.partition(";")
    if protocol.strip().upper() != "SIP":
        return None
    for part in tail.split(";"):
        name, _, code = part.partition("=")
        code = code.strip()
        if name.strip().lower() == "cause" and code.isdecimal() and len(code) <= 3:
            return int(code)
    return None


def _escaped_header(entry: NameAddr, wanted: str) -> str:
    try:
        headers = entry.uri.headers
    except SipError:
        return ""
    for part in headers.split("&"):
        name, _, value = part.partition("=")
        if name.lower() == wanted:
            return unquote(value)
    return ""


def _history_presentation(message: Message, entry: NameAddr) -> Presentation:
    values = {value.strip().lower() for value in _escaped_header(entry, "privacy").split(";")}
    if _HISTORY_HIDDEN.isdisjoint(values) and "history" not in (message.headers.get("privacy") or "").lower():
        return Presentation.ALLOWED
    return Presentation.RESTRICTED


def _word(params: Params, name: str) -> str:
    value = params.get(name)
    return unquote_string(value).lower() if value else ""


def _counter(params: Params) -> int:
    try:
        return max(1, parse_number(_word(params, "counter") or "1", 255, "counter"))
    except SipError:
        return 1


def _shown(number: Number, rules: IdentityRules) -> tuple[Uri | str, bool]:
    """The URI for ``number``, and whether the far end must hide it; whom we don't trust gets none to hide."""
    hidden = number.presentation == Presentation.RESTRICTED
    if number is _NOBODY:
        return UNKNOWN_URI, False
    if not number.digits or (hidden and not rules.trusted):
        return ANONYMOUS_URI, hidden
    return uri_of(number, rules.host, rules.style), hidden


def _diversion(number: Number, reason: RedirectionReason, count: int, name: str | None, rules: IdentityRules) -> str:
    uri, hidden = _shown(number, rules)
    address = NameAddr(
        uri,
        "" if hidden else name or "",
        {
            "reason": DIVERSION_OF_REASON[reason],
            "privacy": "full" if hidden else "off",
            "screen": "yes" if number.screening == Screening.NETWORK else "no",
            "counter": str(count),
        },
    )
    return str(address)
