"""Calls of SIP that outlive the program: what an answered leg leaves behind, and the leg made of it at the next start.

Dialog, terms of the media with their keys, and session timer are as they were; our CSeq goes on well above (RFC 3261
12.2.2 allows gaps), so that not every request has to be kept. Connections are gone: what is sent next opens a new one,
or goes where a phone registers from. Each session is refreshed (RFC 4028) soon or a little later, which also tells
whether the far end still has the call. Of a call that was not answered just as much is kept as ends it.
This is the inside of ``SipLeg`` seen from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.core import SECOND
from gateway.identity import Number, Party
from gateway.leg import Setup
from gateway.media.api import RtpSettings
from gateway.voip.sip.causes import sip_status_for
from gateway.voip.sip.dialog import Dialog, DialogState
from gateway.voip.sip.ear import DEAF
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.hop import reconnected
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.negotiation import Negotiation
from gateway.voip.sip.offer_answer import LocalMedia
from gateway.voip.sip.parser import parse
from gateway.voip.sip.parties import refusal_fields
from gateway.voip.sip.peers import PeerSettings, SessionTimers
from gateway.voip.sip.session import Phase, Session, session_timer
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.uac import OutgoingInvite
from gateway.voip.sip.uas import RETRY_AFTER_SECONDS
from gateway.voip.sip.unproven import unproven
from gateway.voip.sip.values import MAX_CSEQ, NameAddr

if TYPE_CHECKING:
    from gateway.cause import Cause
    from gateway.leg import Leg
    from gateway.voip.sip.endpoint import SipEndpoint

RESTARTED = "the gateway was restarted"
CSEQ_GAP = 100
"""How far our CSeq goes ahead of the one that was kept (own): more requests than go out before it is kept again."""
REFRESH_SOON = 2 * SECOND
REFRESH_SPREAD = 10 * SECOND
"""When a session that we refresh is refreshed after the start, as one over a connection: not all at once (own)."""
ASK_AFTER = 40 * SECOND
ASK_SPREAD = 30 * SECOND
"""When any other is: a BYE that came while nobody was here is repeated for 32 s (RFC 3261 timer F), phones need time to
register over new connections.
"""


class DialogKept(msgspec.Struct, frozen=True):
    """A confirmed dialog (RFC 3261 12)."""

    uac: bool
    call_id: str
    local: str
    local_tag: str
    remote: str
    remote_tag: str
    local_cseq: int
    remote_cseq: int | None
    target: str
    routes: tuple[str, ...] = ()


class MediaKept(msgspec.Struct, frozen=True):
    """What offer and answer came to, and the descriptions they were."""

    local: LocalMedia
    settings: RtpSettings | None
    sent: bytes
    remote: bytes
    held: bool = False
    answered: bool = False


class SipLegState(msgspec.Struct, frozen=True, omit_defaults=True, tag="standing"):
    """An answered leg. ``told``: what the media engine knows.

    ``direct``: voice went around the gateway once, ``quiet``: it does now. ``unproven``: who calls only said a name.
    """

    peer: str
    name: str
    placed: bool
    flow: Flow
    session_flow: Flow
    local_address: str
    remote_host: str
    contact: str
    dialog: DialogKept
    media: MediaKept
    told: RtpSettings | None = None
    interval: int = 0
    we_refresh: bool = False
    min_se: int = 0
    allow: frozenset[str] = frozenset()
    info_refused: bool = False
    nat: bool = False
    identity: Party | None = None
    direct: bool = False
    quiet: bool = False
    unproven: bool = False


class SipInviteState(msgspec.Struct, frozen=True, omit_defaults=True, tag="invited"):
    """An INVITE that came in and has no final response: ``response`` is the last one that went to ``reply_flow``."""

    flow: Flow
    reply_flow: Flow
    response: bytes
    tag: str


class SentKept(msgspec.Struct, frozen=True):
    """An INVITE of ours without a final response: its start line and header fields, which went to ``flow``."""

    flow: Flow
    head: bytes


class SipCallState(msgspec.Struct, frozen=True, omit_defaults=True, tag="placed"):
    """A leg that calls ``peer``, in one place or in many."""

    peer: str
    sent: tuple[SentKept, ...]


_ECHOED = frozenset({"via", "from", "to", "call-id", "cseq"})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SipLegState | SipInviteState | SipCallState).decode


class SipSurvival:
    """``gateway.survival.Technology`` for the endpoint."""

    def __init__(self, host: SipEndpoint) -> None:
        self._host = host

    def keep(self, leg: Leg) -> bytes | None:
        """What ``revive`` and ``give_up`` need; None before anything was sent and after the end."""
        if not isinstance(leg, SipLeg) or leg.over:
            return None
        session = leg.session
        if session is None or session.phase is not Phase.CONFIRMED:
            return _on_its_way(leg)
        dialog, negotiation, timer = session.dialog, session.negotiation, session.timer
        return _encode(
            SipLegState(
                peer=leg.peer.name,
                name=leg.name,
                placed=leg._placed,
                flow=leg.flow,
                session_flow=session.flow,
                local_address=leg.local_address,
                remote_host=leg.remote_host,
                contact=session.contact,
                dialog=DialogKept(
                    dialog.uac,
                    dialog.call_id,
                    dialog.local,
                    dialog.local_tag,
                    dialog.remote,
                    dialog.remote_tag,
                    dialog.local_cseq,
                    dialog.remote_cseq,
                    dialog.target,
                    tuple(str(route) for route in dialog.routes),
                ),
                media=MediaKept(
                    negotiation.local,
                    negotiation.settings,
                    negotiation.sent,
                    negotiation.remote,
                    negotiation.held,
                    negotiation.answered,
                ),
                told=leg.settings,
                interval=timer.interval,
                we_refresh=timer.we_refresh,
                min_se=timer.min_se,
                allow=session.allow,
                info_refused=session.info_refused,
                nat=session.nat_detected,
                identity=session.identity,
                direct=leg._direct,
                quiet=leg._quiet,
                unproven=leg.peer.unproven,
            )
        )

    def revive(self, state: bytes, stream: int, now: int) -> SipLeg:
        """The leg of an answered call, its voice ``stream``; raises ValueError."""
        one = _decode(state)
        if not isinstance(one, SipLegState):
            raise ValueError("it was not answered")
        return self._leg(one, stream, now)

    def give_up(self, state: bytes, cause: Cause, now: int) -> None:
        """End a call that cannot be gone on with: BYE, CANCEL or the final response; raises ValueError."""
        one = _decode(state)
        match one:
            case SipLegState():
                self._leg(one, None, now).release(cause, now, RESTARTED)
            case SipInviteState():
                self._refuse(one, cause, now)
            case SipCallState():
                for each in one.sent:
                    self._cancel(one.peer, each, cause, now)

    def _refuse(self, one: SipInviteState, cause: Cause, now: int) -> None:
        """RFC 3261 13.3.1.3: the request is made of what our last response took of it."""
        host = self._host
        try:
            echo = _parsed(one.response)
            copied = [(name, value) for name, value in echo.headers if name.lower() in _ECHOED]
            request = Request("INVITE", "sip:of-before", copied)
            initial = request.to.tag is None
            where = reconnected(request.via, one.reply_flow) if one.reply_flow.connection else one.reply_flow
            transaction = host.transactions.accept(request, one.flow, where, now, initial=initial)
        except (SipError, TableFull) as error:
            raise ValueError(str(error)) from error
        transaction.tag = one.tag
        status, phrase = sip_status_for(cause, host.settings.cause_rules)
        fields = refusal_fields(cause, RESTARTED)
        if status == 503:
            fields.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
        host.respond(transaction, status, now, fields, reason=phrase)

    def _cancel(self, name: str, one: SentKept, cause: Cause, now: int) -> None:
        """CANCEL, though nobody may have heard of the INVITE yet (9.1): while nobody was here, who knows?"""
        host = self._host
        peer = host.peers.get(name) or PeerSettings(name, one.flow.address)
        flow = _still(host, name, one.flow, now)
        try:
            request = _parsed(one.head)
            if not isinstance(request, Request) or request.method != "INVITE":
                raise ValueError("it is no INVITE of ours")
            leg = SipLeg(host, "", peer, flow, host.outbound.advertised.of(flow.address, flow.listener), "", source="")
            invite = OutgoingInvite(leg, host, peer, flow, Setup(Number()), leg.negotiation(flow), ear=DEAF)
            invite.resume_cancelled(request, flow, (cause, RESTARTED), now)
        except (SipError, TableFull) as error:
            raise ValueError(str(error)) from error

    def _peer(self, one: SipLegState) -> PeerSettings:
        """Whose call it is; raises ValueError if nobody of that name may call any more."""
        settings = self._host.settings
        if not one.peer:
            if settings.context is None:
                raise ValueError("strangers may not call any more")
            return settings.stranger
        peer = self._host.peers.get(one.peer)
        if peer is None:
            raise ValueError(f"{one.peer} is not configured any more")
        return unproven(peer) if one.unproven else peer

    def _leg(self, one: SipLegState, stream: int | None, now: int) -> SipLeg:
        host = self._host
        peer = self._peer(one)
        try:
            routes = tuple(NameAddr.parse(route) for route in one.dialog.routes)
            for route in routes:
                _ = route.uri
            negotiation = Negotiation.again(
                one.media.local,
                host.rng,
                one.media.settings,
                sent=one.media.sent,
                remote=one.media.remote,
                held=one.media.held,
                answered=one.media.answered,
            )
        except SipError as error:
            raise ValueError(str(error)) from error
        kept = one.dialog
        key = (kept.call_id, kept.local_tag, kept.remote_tag)
        if host.session_of(key) is not None or one.name in host.legs:
            raise ValueError("it was taken up before")
        dialog = Dialog(
            uac=kept.uac,
            call_id=kept.call_id,
            local=kept.local,
            local_tag=kept.local_tag,
            remote=kept.remote,
            remote_tag=kept.remote_tag,
            local_cseq=min(kept.local_cseq + CSEQ_GAP, MAX_CSEQ),
            remote_cseq=kept.remote_cseq,
            target=kept.target,
            routes=routes,
        )
        dialog.state = DialogState.CONFIRMED
        leg = SipLeg(host, one.name, peer, one.flow, one.local_address, one.remote_host, source=peer.name)
        timer = session_timer(host, peer)
        timer.interval, timer.we_refresh = one.interval, one.we_refresh
        timer.min_se = max(timer.min_se, one.min_se)
        flow = _still(host, peer.name, one.session_flow, now)
        session = Session(host, leg, peer, dialog, negotiation, flow, one.contact, timer)
        session.note_nat(one.nat)
        session.allow, session.info_refused = one.allow, one.info_refused
        session.identity = one.identity
        session.phase = Phase.CONFIRMED
        session.restart_session_timer(now)
        _ask_soon(session, now)
        leg._session, leg._negotiation = session, negotiation
        leg.stream, leg.settings, leg.call_id = stream, one.told, kept.call_id
        leg._placed, leg._direct, leg._quiet = one.placed, one.direct, one.quiet
        leg._answered = True
        host.take_leg(leg)
        return leg


def _ask_soon(session: Session, now: int) -> None:
    """A refresh tells whether the far end still has the call: its BYE may have found nobody."""
    timer, peer, rng = session.timer, session.peer, session.host.rng
    if (timer.interval and timer.we_refresh) or (session.flow.reliable and not peer.dynamic):
        after = REFRESH_SOON + rng.randrange(REFRESH_SPREAD)
    else:
        after = ASK_AFTER + rng.randrange(ASK_SPREAD)
    if peer.session_timers is not SessionTimers.REFUSE:
        session.start(SipTimer.REFRESH, now, after)


def _on_its_way(leg: SipLeg) -> bytes | None:
    """What ends an INVITE that has no final response; octets that are there already."""
    incoming, outgoing = leg.incoming, leg.outgoing
    if incoming is not None:
        transaction = incoming.unanswered
        if transaction is None:
            return None
        return _encode(
            SipInviteState(transaction.flow, transaction.reply_flow, _head(transaction.last), transaction.tag)
        )
    sent = outgoing.unanswered if outgoing is not None else []
    if not sent:
        return None
    return _encode(SipCallState(leg.peer.name, tuple(SentKept(each.flow, _head(each.data)) for each in sent)))


def _head(data: bytes) -> bytes:
    """Start line and header fields of a message, without what has keys in it."""
    return data[: data.find(b"\r\n\r\n") + 2]


def _parsed(head: bytes) -> Request | Response:
    """The message of which ``head`` is left; raises SipError."""
    lines = head.split(b"\r\n")
    return parse(b"\r\n".join(line for line in lines if not line.lower().startswith(b"content-")))


def _still(host: SipEndpoint, peer: str, flow: Flow, now: int) -> Flow:
    """``flow`` as far as it can be used: a connection of before is none any more."""
    settings = host.peers.get(peer)
    if not flow.connection or settings is None:
        return flow
    name = flow.name or (settings.host.lower() if flow.secure else "")
    fresh = Flow(flow.transport, flow.address, flow.port if settings.dynamic else settings.port, name=name)
    return host.phones.way_back(settings, fresh, now) if settings.dynamic else fresh


__all__ = ["SipLegState", "SipSurvival"]
