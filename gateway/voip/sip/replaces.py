"""The dialog that a Replaces names (RFC 3891): whether it is ours, and whether who asks may have its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from gateway.cause import Cause
from gateway.leg import Transferred
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerKind, PeerSettings
from gateway.voip.sip.refer import Refer
from gateway.voip.sip.session import Phase, Session
from gateway.voip.sip.values import Replaces

if TYPE_CHECKING:
    from gateway.voip.sip.host import Host
    from gateway.voip.sip.leg import SipLeg

FindSession = Callable[[DialogKey], Session | None]


def may_have(peer: PeerSettings, owner: PeerSettings) -> bool:
    """Whether ``peer`` may take over a dialog of ``owner``: its own, or a colleague's (call pickup).

    Colleagues are phones that may call the same: whoever picks up gets no call that he could not have been given.
    """
    if not peer.name or not owner.name or not peer.allowtransfer:
        return False
    if peer.name == owner.name:
        return True
    both_phones = peer.kind is PeerKind.PHONE and owner.kind is PeerKind.PHONE
    return both_phones and peer.context == owner.context


def replaced_by(request: Request, peer: PeerSettings, session_of: FindSession) -> SipLeg | None:
    """The leg whose place an INVITE of ``peer`` asks for; None if it asks for none.

    Raises SipError with the status of RFC 3891 3.
    """
    if "replaces" not in request.headers.first:
        return None
    if len(request.headers.get_all("replaces")) != 1 or "join" in request.headers.first:
        raise SipError(400, "more than one Replaces, or Join beside it")
    replaces = request.replaces
    if replaces is None:
        return None
    session = session_of((replaces.call_id, replaces.to_tag, replaces.from_tag))
    leg = None if session is None else leg_of(session)
    # Whoever may not have it learns nothing about what there is.
    if session is None or leg is None or not may_have(peer, session.peer):
        raise SipError(481, "Replaces names no dialog of theirs")
    if session.phase in (Phase.ENDING, Phase.OVER):
        raise SipError(603, "Replaces names a dialog that ends")
    if session.phase is Phase.CONFIRMED:
        if replaces.early_only:
            raise SipError(486, "Replaces wants an early dialog and the call was answered")
    elif leg.incoming is not None:
        raise SipError(481, "Replaces names an early dialog of a caller")
    return leg


def leg_for(replaces: Replaces, peer: PeerSettings, session_of: FindSession) -> SipLeg | None:
    """The leg in whose place ``peer`` asks by REFER that another be put: one of its own; else None."""
    session = session_of((replaces.call_id, replaces.to_tag, replaces.from_tag))
    if session is None or not peer.name or session.peer.name != peer.name:
        return None
    if session.phase in (Phase.ENDING, Phase.OVER) or (replaces.early_only and session.phase is Phase.CONFIRMED):
        return None
    return leg_of(session)


def transferred(refer: Refer, leg: SipLeg, host: Host, now: int) -> Transferred | Cause:
    """What a REFER on ``leg`` asks of its call, or the cause for which it is not done."""
    replaced = None
    if refer.replaces is not None:
        replaced = leg_for(refer.replaces, leg.peer, host.session_of)
        if replaced is None or replaced is leg:
            return Cause.INVALID_CALL_REFERENCE
    elif host.braked(leg.peer, refer.target, now):
        return Cause.CALL_REJECTED
    return Transferred(refer.target, leg.peer.context, replaced, refer.referred_by)


def leg_of(session: Session) -> SipLeg | None:
    """The leg of ``session``, if it still has one."""
    return cast("SipLeg | None", session.owner)
