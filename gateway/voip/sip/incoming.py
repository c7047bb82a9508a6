"""INVITEs out of the blue: from a caller who may call to a leg that is offered (RFC 3261 13.3), or to a refusal.

Who may call was settled before (``reception``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.identity import Number
from gateway.leg import Leg, Listener, NotOffered, Offered, OnNotOffered, Setup
from gateway.voip.sip.admission import Refusal, open_call, setup_of
from gateway.voip.sip.causes import cause_for_sip
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import NO_BRAKES, PeerSettings
from gateway.voip.sip.replaces import replaced_by
from gateway.voip.sip.transaction import ServerTransaction
from gateway.voip.sip.uas import RETRY_AFTER_SECONDS
from gateway.voip.sip.unproven import called_number

if TYPE_CHECKING:
    from gateway.voip.sip.endpoint import SipEndpoint

ASKED_AGAIN = frozenset({420, 421, 422})
"""Refusals of how a call was asked for, not of the call: the caller asks once more in another way."""

EMERGENCY_LEGS = 64
"""Legs beyond all others that are for emergency calls: one comes in with each, and another may go out."""

OnOffer = Callable[[Leg, Offered, int], "Listener | None"]


class IncomingCalls:
    """``on_offer`` returns the listener of a leg that it is offered, or None to refuse the call."""

    def __init__(self, endpoint: SipEndpoint, on_offer: OnOffer, on_not_offered: OnNotOffered | None) -> None:
        self._endpoint = endpoint
        self._on_offer = on_offer
        self._on_not_offered = on_not_offered

    def receive(
        self, request: Request, transaction: ServerTransaction, flow: Flow, peer: PeerSettings | None, now: int
    ) -> None:
        """An INVITE of ``peer``, or of nobody we know."""
        endpoint = self._endpoint
        endpoint.respond(transaction, 100, now)
        settings, counters = endpoint.settings, endpoint.counters
        stranger = peer is None
        if peer is None:
            counters.strangers += 1
            if settings.context is None:
                endpoint.respond(transaction, 403, now)
                return
            peer = settings.stranger
        if len(endpoint.legs) >= settings.max_calls and (stranger or not self._has_reserve(request)):
            counters.overload += 1
            endpoint.respond(transaction, 503, now, (("Retry-After", str(RETRY_AFTER_SECONDS)),))
            self._not_offered(request, peer, 503, stranger, now)
            return
        caller = peer
        try:
            replaced = replaced_by(request, peer, endpoint.session_of)
        except SipError as error:
            counters.rejected += 1
            endpoint.respond(transaction, error.status or 400, now)
            return
        if replaced is None and peer.brakes != NO_BRAKES:
            hindrance = endpoint.toll_fraud.hindrance(peer, called_number(request), now)
            if hindrance:
                counters.rejected += 1
                endpoint.respond(transaction, 403, now)
                self._not_offered(request, peer, 403, stranger, now, hindrance)
                return

        def make_leg() -> SipLeg:
            return endpoint.make_leg(caller, flow, request.from_.uri.host, caller.name)

        opened = open_call(endpoint, make_leg, request, transaction, flow, peer, now, stranger=stranger)
        if isinstance(opened, Refusal):
            counters.rejected += 1
            endpoint.respond(transaction, opened.status, now, opened.fields)
            self._not_offered(request, peer, opened.status, stranger, now, opened.why)
            return
        leg, setup = opened
        counters.calls_in += 1
        context = (settings.context or "default") if stranger else peer.context
        note = f"without proof: {flow} says to be {peer.name}" if peer.unproven else ""
        leg.emit(Offered(setup, context, peer.name, replaced, note))

    def _has_reserve(self, request: Request) -> bool:
        """True if it is an emergency call, and there is room for one."""
        settings = self._endpoint.settings
        room = settings.max_calls + EMERGENCY_LEGS
        return len(self._endpoint.legs) + 1 < room and called_number(request) in settings.emergency

    def _not_offered(
        self, request: Request, peer: PeerSettings, status: int, stranger: bool, now: int, why: str = ""
    ) -> None:
        """Tell of a call that will never be offered; what strangers try, and what is asked again, is only counted."""
        if self._on_not_offered is None or stranger or status in ASKED_AGAIN:
            return
        try:
            setup = setup_of(request, peer)
        except SipError:
            setup = Setup(Number())
        cause = cause_for_sip(status, rules=self._endpoint.settings.cause_rules)
        text = f"INVITE for {request.uri_text[:60]} refused: {status}{f', {why}' if why else ''}"
        self._on_not_offered(NotOffered(setup, peer.context, peer.name, "sip", cause, text), now)

    def offer(self, leg: SipLeg, offered: Offered, now: int) -> None:
        """Tell of a call, from the drain loop."""
        incoming, session = leg.incoming, leg.session
        if incoming is None or session is None or leg.over:
            return
        leg.listener = self._on_offer(leg, offered, now)
        if leg.listener is None:
            leg.release(Cause.SWITCHING_EQUIPMENT_CONGESTION, now)
        elif not leg.over:
            leg.open_media(session.negotiation, now)
