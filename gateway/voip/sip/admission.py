"""From an INVITE out of the blue to a leg that can be offered, or the response that refuses it (RFC 3261 8.2, 13.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.identity import Number, Party
from gateway.leg import SECURE_MEDIA, SECURE_SIGNALLING, Setup
from gateway.voip.sip.body import find_sdp
from gateway.voip.sip.dialog import Dialog
from gateway.voip.sip.diversion import redirection_of
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import Fields, Host, warning_fields
from gateway.voip.sip.identity import called_at_account, called_of, caller_of
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.nat import behind_nat
from gateway.voip.sip.parties import asserted_party, rules_for
from gateway.voip.sip.peers import PeerSettings, Reliability, SessionTimers
from gateway.voip.sip.refresh import SessionTimer
from gateway.voip.sip.session import Session, session_timer
from gateway.voip.sip.transaction import ServerTransaction
from gateway.voip.sip.uas import IncomingInvite
from gateway.voip.sip.user_to_user import conveyed_of

_TLS = frozenset({SECURE_SIGNALLING})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The final response an INVITE gets without being offered; ``why`` if it is about the session description."""

    status: int
    fields: Fields = ()
    why: str = ""


def refusal_of(request: Request, peer: PeerSettings, timer: SessionTimer) -> Refusal | None:
    """What the rules of 100rel and session timers (RFC 3262, 4028) refuse; SipError for senseless values."""
    if peer.reliable is Reliability.OFF and "100rel" in request.require:
        return Refusal(420, [("Unsupported", "100rel")])
    if peer.reliable is Reliability.REQUIRED and "100rel" not in request.supported | request.require:
        return Refusal(421, [("Require", "100rel")])
    if peer.session_timers is SessionTimers.REFUSE and "timer" in request.require:
        return Refusal(420, [("Unsupported", "timer")])
    if timer.too_small(request):
        return Refusal(422, timer.refusal_fields())
    return None


def setup_of(request: Request, peer: PeerSettings) -> Setup:
    """What the call is to be; SipError(404) if what is called is no number, 400 for a From that makes no sense."""
    called: Number | None
    registration = peer.far_end.registration
    if registration is not None and request.uri.user == registration.user:
        # Our Contact is no number; which one was dialled the registrar tells besides.
        called = called_at_account(request)
    else:
        called = called_of(request)
    if called is None:
        raise SipError(404, f"{request.uri_text[:60]!r} is no number")
    caller: Party = caller_of(request, rules_for(peer, ""))
    redirection = redirection_of(request) if peer.trust_identity else None
    conveyed = conveyed_of(request, peer.kind, trusted=peer.trust_identity)
    return Setup(called, caller, redirection, hops=request.max_forwards, conveyed=conveyed)


def promises_tls(request: Request) -> bool:
    """True if the dialog that ``request`` asks for must have a sips: Contact of ours (RFC 3261 12.1.1)."""
    if request.uri.scheme == "sips":
        return True
    nearest = request.record_routes or request.contacts
    return bool(nearest) and nearest[0].uri.scheme == "sips"


def over_tls(setup: Setup, request: Request, peer: PeerSettings) -> Setup:
    """``setup`` of a call that came over TLS; who called a sips: URI wants no hop after us in the clear (26.2.2)."""
    wanted = _TLS if request.uri.scheme == "sips" else frozenset()
    # Whose certificate nobody looks at may be anybody.
    facts = setup.facts | _TLS if peer.tls_verify else setup.facts
    return replace(setup, facts=facts, secure_bridge=wanted)


def open_call(
    host: Host,
    make_leg: Callable[[], SipLeg],
    request: Request,
    transaction: ServerTransaction,
    flow: Flow,
    peer: PeerSettings,
    now: int,
    *,
    stranger: bool,
) -> tuple[SipLeg, Setup] | Refusal:
    """Make leg, session and early dialog of an INVITE. Nothing is kept if it is refused.

    The offer is checked here, before anybody is called for it; the answer waits for our port.
    """
    try:
        transaction.tag = transaction.tag or host.new_tag()
        dialog = Dialog.from_request(request, transaction.tag)
        timer = session_timer(host, peer)
        refusal = refusal_of(request, peer, timer)
        if refusal is not None:
            return refusal
        setup = setup_of(request, peer)
        if flow.secure:
            setup = over_tls(setup, request, peer)
        body = find_sdp(request)
        leg = make_leg()
        negotiation = leg.negotiation()
        if peer.comfort_noise and setup.called.digits in host.settings.emergency:
            negotiation.hear_everything()
        try:
            hindrance = negotiation.local.encryption.hindrance
            if hindrance:
                raise SipError(488, hindrance, warning=399)
            if body is not None:
                negotiation.hold_offer(body)
        except SipError:
            host.leg_over(leg)
            raise
    except SipError as error:
        status = error.status or 400
        # What exists here and what not is no business of a stranger.
        why = error.text if error.warning else ""
        return Refusal(403 if stranger and status == 404 else status, warning_fields(error), why)
    contact = host.outbound.contact(flow, request.uri.user or "", sips=flow.secure and promises_tls(request))
    session = Session(host, leg, peer, dialog, negotiation, flow, contact, timer)
    session.note_nat(behind_nat(request.via, flow))
    session.learn(request)
    session.identity = asserted_party(request, peer)
    incoming = IncomingInvite(leg, host, transaction, session, offered=body is not None, stranger=stranger)
    incoming.watch_expires(now)
    leg.attach(incoming, session)
    settings = negotiation.settings
    if settings is not None:
        setup = replace(setup, codec=settings.codec)
    if leg.secure_media and peer.tls_verify:
        negotiation.keep_encrypted()
        setup = replace(setup, facts=setup.facts | {SECURE_MEDIA})
    return leg, setup
