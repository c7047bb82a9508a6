"""Voice of two SIP sides of one call around the gateway: each is told the other's address by re-INVITE or UPDATE.

The gateway's streams stay ready: voice is back as soon as either side changes anything, and whenever the call needs it
here (hold, transfer, digits that would have to be translated). ``Changes`` sees to it that the far end is told what is
wanted last, glare (RFC 3261 14.1) included.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.media.api import Direction, Latch, RtpSettings
from gateway.voip.sip.addresses import is_private
from gateway.voip.sip.codecs import TELEPHONE_EVENT_PAYLOADS
from gateway.voip.sip.encryption import CLEAR
from gateway.voip.sip.offer_answer import Elsewhere
from gateway.voip.sip.peers import DtmfMode
from gateway.voip.sip.sdp import address_family

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.negotiation import Negotiation

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
"""How often the voice of one pair is sent directly: far ends that answer each change with another come to rest."""
_BY_EVENTS = frozenset({DtmfMode.RFC4733, DtmfMode.AUTO})


def begin(caller: SipLeg, called: SipLeg, negotiation: Negotiation) -> None:
    """``directrtpsetup``: the INVITE to ``called`` names the voice of ``caller``, who has offered it, as its own.

    Only with payload types that our offers have anyway, and towards one place: others are told after the answer.
    """
    session = caller.session
    settings = session.negotiation.settings if session is not None else None
    if settings is None or called.ways or called.peer.late_offer or not called.peer.direct.allowed:
        return
    local = negotiation.local
    row = next((row for row in local.codecs if row.codec == settings.codec), None)
    event = TELEPHONE_EVENT_PAYLOADS.get(row.clock) if row is not None and local.telephone_event else None
    fits = row is not None and (row.payload_type, event) == (settings.payload_type, settings.dtmf_payload_type)
    if (
        fits
        and local.encryption is CLEAR
        and not _own_hindrance(caller, settings)
        and _same_digits(caller.peer.dtmfmode, called.peer.dtmfmode)
        and address_family(settings.address) == address_family(local.address)
        and called.peer.direct.may_reach(settings.address)
    ):
        negotiation.begin_elsewhere(Elsewhere(settings.address, settings.port, settings.codec))


def answer(caller: SipLeg, called: SipLeg) -> None:
    """``directrtpsetup``: the answer that ``caller`` still waits for names the voice of ``called``, who answered."""
    session, terms = caller.session, _terms(called)
    settings = session.negotiation.settings if session is not None else None
    if session is None or settings is None or terms is None or called.session is None:
        return
    if called.session.negotiation.settled_elsewhere is None or _own_hindrance(called, terms):
        return
    there = _end_of(called)
    if there is not None and not _mutual_hindrance(caller, settings, called, terms):
        session.negotiation.answer_elsewhere(there)


class DirectPath:
    """What two legs that are joined want of their far ends. One per pair; either may end at any time."""

    def __init__(self, one: SipLeg, other: SipLeg) -> None:
        self._legs = one, other
        self._wanted = False
        self._refused = False
        self._attempts = 0
        self._trying = False
        # Both sides know each other's address.
        self.direct = False
        # Within a change of ours: the terms that come of it are looked at when it is through.
        self._busy = False

    def want(self, wanted: bool, now: int) -> None:
        """The call lets the voice go directly, or needs it here."""
        if wanted is not self._wanted:
            self._wanted = wanted
            self.reconcile(now)

    def refused(self, now: int) -> None:
        """One of the far ends does not want it."""
        self._refused = True
        self.reconcile(now)

    def joins(self, one: SipLeg, other: SipLeg) -> bool:
        """True if it is of these two legs."""
        return one in self._legs and other in self._legs

    def reconcile(self, now: int) -> None:
        """Let both far ends be told what is to be: each other's address, or the gateway's."""
        if self._busy or (self._wanted and None in map(_terms, self._legs)):
            # Not before both have answered.
            return
        self._busy = True
        try:
            one, other = self._legs
            hindrance = self._hindrance(one, other)
            if not hindrance and not self._trying:
                self._attempts += 1
            self._trying = not hindrance
            if hindrance and log.isEnabledFor(logging.DEBUG):
                log.debug("%s and %s: voice through the gateway: %s", one.name, other.name, hindrance)
            # Voice is taken in before anybody is told to send it.
            if hindrance:
                self._note(False)
            for leg, far in ((one, other), (other, one)):
                leg.send_elsewhere(None if hindrance else _end_of(far), now)
            self._note(not hindrance and all(_elsewhere(leg, far) for leg, far in ((one, other), (other, one))))
        finally:
            self._busy = False

    def _note(self, direct: bool) -> None:
        if direct is not self.direct:
            self.direct = direct
            for leg in self._legs:
                leg.keep_quiet(direct)

    def _hindrance(self, one: SipLeg, other: SipLeg) -> str:
        """Why the voice has to come through the gateway; "" if it need not."""
        if not self._wanted:
            return "the call needs it"
        if self._refused:
            return "refused"
        if self._attempts >= MAX_ATTEMPTS and not self._trying:
            return "too many changes"
        terms = _terms(one), _terms(other)
        if terms[0] is None or terms[1] is None:
            return "no terms"
        for leg, settings in zip((one, other), terms, strict=True):
            reason = _own_hindrance(leg, settings) if settings is not None else "no terms"
            if reason:
                return reason
        return _mutual_hindrance(one, terms[0], other, terms[1])


def _terms(leg: SipLeg) -> RtpSettings | None:
    session = leg.session
    if session is None or not session.confirmed:
        return None
    return session.negotiation.settings


def _own_hindrance(leg: SipLeg, settings: RtpSettings) -> str:
    policy = leg.peer.direct
    session = leg.session
    if not policy.allowed or session is None:
        return "directmedia is no"
    if settings.direction is not Direction.SENDRECV:
        return "it does not flow both ways"
    if settings.srtp is not None or session.negotiation.local.encryption.hindrance:
        return "SRTP"
    if settings.latch is Latch.ONCE or session.latches:
        return "comedia: where the far end really is only the media engine knows"
    if not policy.behind_nat and (session.nat_detected or _translated(leg, settings)):
        return "NAT"
    if policy.outgoing and leg.incoming is not None and not session.changed_by_far_end:
        return "it will ask for it itself"
    return ""


def _translated(leg: SipLeg, settings: RtpSettings) -> bool:
    """Whether the far end gives an address for its voice that only its own network knows."""
    return is_private(settings.address) and not is_private(leg.flow.address)


def _mutual_hindrance(one: SipLeg, first: RtpSettings, other: SipLeg, second: RtpSettings) -> str:
    if address_family(first.address) != address_family(second.address):
        return "IPv4 and IPv6"
    if first.codec != second.codec:
        return "another codec"
    if not _same_digits(one.peer.dtmfmode, other.peer.dtmfmode):
        return "digits are translated"
    for sends, receives in ((first, second), (second, first)):
        # What it was told to send with must be what the other one expects: one number, one meaning.
        number, event = sends.receive_payload_type, sends.receive_dtmf_payload_type
        if number is None:
            number, event = sends.payload_type, sends.dtmf_payload_type
        if number != receives.payload_type or event != receives.dtmf_payload_type:
            return "other payload types"
    if not one.peer.direct.may_reach(second.address) or not other.peer.direct.may_reach(first.address):
        return "directmediadeny"
    return ""


def _same_digits(one: DtmfMode, other: DtmfMode) -> bool:
    return one is other or (one in _BY_EVENTS and other in _BY_EVENTS)


def _end_of(leg: SipLeg) -> Elsewhere | None:
    settings = _terms(leg)
    return None if settings is None else Elsewhere(settings.address, settings.port, settings.codec)


def _elsewhere(leg: SipLeg, far: SipLeg) -> bool:
    """Whether ``leg``'s far end sends to where ``far``'s is."""
    session = leg.session
    return session is not None and session.negotiation.settled_elsewhere == _end_of(far)
