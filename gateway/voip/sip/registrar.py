"""The registrar (RFC 3261 10.3): REGISTER of an authenticated phone or trunk to bindings and a response.

Who may register is settled before (digest); which other address a Contact must not lead to, in ``location.flow_for``.
RFC 3327 (Path), +sip.instance of RFC 5626 (one flow a phone), natexpiry of our own. No GRUU, no q-ordered forking.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.core import SECOND
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.location import WHOLE_Q, Binding, Location, LocationFull, Moved, flow_for
from gateway.voip.sip.message import Request
from gateway.voip.sip.nat import to_source
from gateway.voip.sip.peers import PeerSettings, RegistrarSettings
from gateway.voip.sip.syntax import quote
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import MAX_SECONDS, NameAddr

log = logging.getLogger(__name__)

MAX_CONTACT = 512
"""Longest Contact URI that is kept, in characters."""
MAX_PATHS = 8
"""Path URIs of a registration."""
MAX_INSTANCE = 128
"""Longest +sip.instance kept, in characters; it is a URN, mostly of 45 (RFC 5626 4.1)."""
MAX_USER_AGENT = 80
ONE_HOUR = 3600
"""RFC 3261 10.3: whoever asks for an hour or more is never told that it is too short."""
RETRY_AFTER_FULL = 30
_PLAUSIBLE_YEAR = 2025
"""Before it the clock was never set; phones would set theirs by it."""
_Q = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z").match


class Answer(NamedTuple):
    """The response to a REGISTER; ``moved`` are standing calls' flows that have changed."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    moved: tuple[Moved, ...] = ()
    changed: bool = False
    """A binding is new, gone or elsewhere, not only refreshed."""


class _Asked(NamedTuple):
    """One Contact of a REGISTER; ``seconds`` is what it asks for, None for nothing."""

    text: str
    uri: Uri
    seconds: int | None
    q: int
    instance: str


class _Refused(Exception):  # noqa: N818 - one way out of many steps
    def __init__(self, status: int, text: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.fields = fields


class Registrar:
    """Decides what a REGISTER does to ``location``. ``wall_clock``: seconds since 1970 for Date; None leaves it out."""

    def __init__(
        self, location: Location, settings: RegistrarSettings, wall_clock: Callable[[], float] | None = None
    ) -> None:
        self.location = location
        self.settings = settings
        self._wall_clock = wall_clock

    def register(self, request: Request, peer: PeerSettings, flow: Flow, now: int) -> Answer:
        """What ``peer``, who has proved to be that, gets for its REGISTER on ``flow``. All of it is done or nothing."""
        try:
            if request.to.uri.user_decoded != peer.name:
                # 10.3 step 4: this user may not change that address-of-record. Nor may it learn if there is such a one.
                raise _Refused(403, f"To is {request.to.uri_text[:60]!r}")
            contacts = request.contacts
            if not contacts:
                return Answer(200, self._success(request, peer.name, now))
            paths = _paths_of(request)
            standing = self.location.bindings(peer.name, now)
            if any(contact.uri_text == "*" for contact in contacts):
                _check_wildcard(request, contacts)
                _check_order(request, standing)
                new: list[Binding] = []
            else:
                new = self._merged(request, peer, flow, paths, standing, now)
            moved = self.location.put(peer.name, new, now)
        except _Refused as refused:
            log.info("%s at %s: REGISTER refused with %d: %s", peer.name, flow, refused.status, refused.text)
            return Answer(refused.status, refused.fields)
        except SipError as error:
            log.info("%s at %s: REGISTER refused: %s", peer.name, flow, error)
            return Answer(error.status or 400)
        except LocationFull as full:
            log.error("%s at %s cannot register: %s", peer.name, flow, full)
            return Answer(503, (("Retry-After", str(RETRY_AFTER_FULL)),))
        changed = bool(moved) or not _same_places(standing, new)
        if changed:
            _tell(peer.name, standing, self.location.bindings(peer.name, now))
        return Answer(200, self._success(request, peer.name, now), tuple(moved), changed)

    # -- the steps of 10.3 --

    def _merged(
        self,
        request: Request,
        peer: PeerSettings,
        flow: Flow,
        paths: tuple[str, ...],
        standing: tuple[Binding, ...],
        now: int,
    ) -> list[Binding]:
        """Step 7: the bindings after this request."""
        if len(request.contacts) > peer.max_contacts:
            raise _Refused(403, f"{len(request.contacts)} Contacts, at most {peer.max_contacts} expected")
        call_id, cseq = request.call_id, request.cseq.number
        agent = (request.headers.get("user-agent") or "")[:MAX_USER_AGENT]
        left = list(standing)
        new: list[Binding] = []
        for asked in [self._read_contact(contact, request) for contact in request.contacts]:
            place, behind_nat = flow_for(
                asked.uri, flow, via_proxy=bool(paths), to_source=to_source(peer.nat, detected=False)
            )
            same = [each for each in left if _is_same(each, asked, place, behind_nat, call_id)]
            _check_order(request, same)
            for each in same:
                left.remove(each)
            seconds = self._granted(asked, behind_nat)
            if seconds == 0:
                continue
            new.append(
                Binding(
                    peer.name,
                    asked.text,
                    asked.uri,
                    place,
                    call_id,
                    cseq,
                    now + seconds * SECOND,
                    seconds,
                    asked.q,
                    asked.instance,
                    paths,
                    agent,
                    behind_nat,
                    serial=self.location.next_serial(),
                )
            )
        return [*new, *_at_most(peer.max_contacts - len(new), left, peer.name)]

    def _read_contact(self, contact: NameAddr, request: Request) -> _Asked:
        text, uri = contact.uri_text, contact.uri
        if uri.scheme not in ("sip", "sips"):
            raise _Refused(400, f"Contact {text[:60]!r} is no SIP URI")
        if len(text) > MAX_CONTACT:
            raise _Refused(400, f"Contact of {len(text)} characters, at most {MAX_CONTACT} expected")
        written = contact.params.get("expires")
        seconds = request.expires if "expires" in request.headers.first else None
        if written is not None:
            # 10.2.1.1: what makes no sense is 3600.
            sane = written.isascii() and written.isdigit() and len(written) <= 10 and int(written) <= MAX_SECONDS
            seconds = int(written) if sane else ONE_HOUR
        q = contact.params.get("q")
        if q is not None and not _Q(q):
            raise _Refused(400, f"q is {q[:20]!r}, expected 0 to 1")
        instance = (contact.params.get("+sip.instance") or "").strip('"')
        if len(instance) > MAX_INSTANCE:
            raise _Refused(400, f"+sip.instance of {len(instance)} characters, at most {MAX_INSTANCE} expected")
        thousandths = WHOLE_Q if q is None else round(float(q) * WHOLE_Q)
        return _Asked(text, uri.without_headers(), seconds, thousandths, instance)

    def _granted(self, asked: _Asked, behind_nat: bool) -> int:
        settings = self.settings
        seconds = settings.defaultexpiry if asked.seconds is None else asked.seconds
        least = min(settings.minexpiry, settings.natexpiry) if behind_nat else settings.minexpiry
        if asked.seconds is not None and 0 < seconds < least and seconds < ONE_HOUR:
            raise _Refused(423, f"expires is {seconds}, at least {least} expected", (("Min-Expires", str(least)),))
        if seconds == 0:
            return 0
        return max(least, min(seconds, settings.maxexpiry, settings.natexpiry if behind_nat else settings.maxexpiry))

    def _success(self, request: Request, name: str, now: int) -> tuple[tuple[str, str], ...]:
        """Step 8: all that stands, each with what is left of it."""
        fields: list[tuple[str, str]] = []
        for binding in self.location.bindings(name, now):
            text = f"<{binding.contact}>;expires={binding.seconds_left(now)}"
            if binding.q != WHOLE_Q:
                text += f";q={binding.q / WHOLE_Q:.3f}".rstrip("0")
            if binding.instance:
                text += f";+sip.instance={quote(binding.instance)}"
            fields.append(("Contact", text))
        if "path" in request.supported:
            # RFC 3327 5.3: back to who can tell from it which way its calls will come.
            fields += [("Path", text) for text in request.headers.get_all("path")]
            fields.append(("Supported", "path"))
        if self._wall_clock is not None:
            date = datetime.fromtimestamp(self._wall_clock(), UTC)
            if date.year >= _PLAUSIBLE_YEAR:
                fields.append(("Date", _sip_date(date)))
        return tuple(fields)


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _sip_date(date: datetime) -> str:
    """RFC 3261 25.1 SIP-date; strftime would speak the host's language."""
    day, month = _DAYS[date.weekday()], _MONTHS[date.month - 1]
    return f"{day}, {date.day:02} {month} {date.year} {date.hour:02}:{date.minute:02}:{date.second:02} GMT"


def _paths_of(request: Request) -> tuple[str, ...]:
    paths = request.addresses("path")
    if len(paths) > MAX_PATHS:
        raise _Refused(400, f"{len(paths)} Paths, at most {MAX_PATHS} expected")
    for path in paths:
        if path.uri.scheme not in ("sip", "sips") or len(path.uri_text) > MAX_CONTACT:
            raise _Refused(400, f"Path {path.uri_text[:60]!r} is no SIP URI of at most {MAX_CONTACT} characters")
    return tuple([str(path) for path in paths])


def _check_wildcard(request: Request, contacts: tuple[NameAddr, ...]) -> None:
    # Step 6.
    if len(contacts) > 1 or request.expires != 0:
        raise _Refused(400, "Contact * with another Contact, or without Expires: 0")


def _check_order(request: Request, bindings: tuple[Binding, ...] | list[Binding]) -> None:
    """Steps 6 and 7: of one Call-ID only a higher CSeq changes anything."""
    for binding in bindings:
        if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
            raise _Refused(500, f"CSeq is {request.cseq.number} after {binding.cseq} of the same Call-ID")


def _is_same(binding: Binding, asked: _Asked, place: Flow, behind_nat: bool, call_id: str) -> bool:
    """True if ``asked`` takes the place of ``binding``: the same instance, or the same URI at the same place.

    Behind different NATs phones often have the same inner address; those are not one another.
    """
    if binding.instance and asked.instance and binding.instance == asked.instance:
        return True
    if not binding.uri.matches(asked.uri):
        return False
    if not (binding.behind_nat and behind_nat):
        return True
    if binding.instance and asked.instance:
        return False
    return binding.flow.address == place.address or binding.call_id == call_id


def _at_most(room: int, bindings: list[Binding], name: str) -> list[Binding]:
    """The ``room`` best of ``bindings`` to keep: a phone that forgot where it was before is not locked out by that."""
    if len(bindings) <= room:
        return bindings
    ordered = sorted(bindings, key=lambda each: (each.gone, -each.serial))
    dropped = ", ".join(f"{each.contact} at {each.flow}" for each in ordered[room:])
    log.warning("%s has more than max_contacts: the longest unheard go: %s", name, dropped)
    return ordered[:room]


def _same_places(before: tuple[Binding, ...], after: list[Binding]) -> bool:
    return {(each.contact, each.flow) for each in before} == {(each.contact, each.flow) for each in after}


def _tell(name: str, before: tuple[Binding, ...], after: tuple[Binding, ...]) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    old = {(each.contact, each.flow) for each in before}
    new = {(each.contact, each.flow) for each in after}
    for contact, flow in new - old:
        log.info("%s is registered: %s at %s", name, contact, flow)
    for contact, flow in old - new:
        log.info("%s is no longer registered: %s at %s", name, contact, flow)
