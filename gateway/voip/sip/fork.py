"""A call to all Contacts of a phone at once: one leg, one RTP stream, an INVITE of its own for each (RFC 3261 16.7).

The first 2xx wins and the others are cancelled; a 6xx ends all; of other failures the best one counts. Who says nothing
is waited for while others ring, and no longer than the peer's failover_ms if there are only such left. Early media is
heard of one branch at a time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.leg import Alerting, Answered, Forward, LegEvent, Proceeding, Progress, Setup
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import Host
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.transaction import ClientInvite
from gateway.voip.sip.uac import OutgoingInvite
from gateway.voip.sip.way import Way

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.session import Session

log = logging.getLogger(__name__)

MAX_BRANCHES = 20
"""INVITEs of one call; max_contacts of a phone is no larger."""
ELSEWHERE = ('SIP;cause=200;text="Call completed elsewhere"', "Q.850;cause=26")
"""RFC 3326 2: the reasons for which phones do not show a missed call."""
_LIKELIEST = (486, 484, 480, 404)
"""Which failure tells most of a user who was called in several places, best first."""
_SILENT = 408


class _Ending(NamedTuple):
    """How a branch ended: what ``SipLeg.finish`` is told."""

    cause: Cause
    location: Location
    text: str
    status: int
    timer: str
    forward: Forward | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Lower is better (16.7 step 6): the lowest class, within it what tells most; one without an answer last."""
        status = self.status
        if status in (0, _SILENT) or self.timer:
            return (9, 0)
        return (status // 100, _LIKELIEST.index(status) if status in _LIKELIEST else len(_LIKELIEST))


class _Branch:
    """What an OutgoingInvite takes for its leg's ear; ``invite`` is None once it is over, won or lost."""

    def __init__(self, fork: Fork, leg: SipLeg, host: Host, peer: PeerSettings, way: Way, setup: Setup) -> None:
        self._fork: Fork | None = fork
        self.way = way
        self.negotiation = leg.negotiation(way.flow)
        self.invite: OutgoingInvite | None = OutgoingInvite(
            leg, host, peer, way.flow, setup, self.negotiation, way=way, ear=self
        )
        self.call_id = self.invite.call_id

    def emit(self, event: LegEvent) -> None:
        if self._fork is not None:
            self._fork.emit(self, event)

    def answered(self, session: Session, now: int) -> None:
        if self._fork is not None:
            self._fork.answered(self, session, now)

    def finish(
        self,
        cause: Cause,
        location: Location,
        now: int,
        *,
        text: str = "",
        status: int = 0,
        timer: str = "",
        forward: Forward | None = None,
    ) -> None:
        if self._fork is not None:
            self._fork.ended(self, _Ending(cause, location, text, status, timer, forward), now)

    def over(self) -> OutgoingInvite | None:
        """Hear no more of it; its INVITE lives on by its transaction. Returns that, the first time."""
        self._fork = None
        invite, self.invite = self.invite, None
        return invite


class Fork:
    """Stands where a leg with one INVITE has its OutgoingInvite. ``ways`` has two or more."""

    def __init__(self, leg: SipLeg, host: Host, peer: PeerSettings, ways: tuple[Way, ...], setup: Setup) -> None:
        self._leg = leg
        self._host = host
        self._patience = host.suspects.patience(peer.name, peer.failover)
        self._hurrying = False
        self._branches = [_Branch(self, leg, host, peer, way, setup) for way in ways[:MAX_BRANCHES]]
        self.call_id = self._branches[0].call_id
        self.negotiation = self._branches[0].negotiation
        self.session: Session | None = None
        self._best: _Ending | None = None
        # The Call-ID of the branch whose early media is heard.
        self._heard = ""
        self._alerted = False
        self._audible = False
        self._last: LegEvent | None = None

    # -- commands of the leg --

    def start(self, now: int) -> None:
        """Send all INVITEs; our RTP port is known, to the first branch's negotiation."""
        port = self.negotiation.local.port
        for branch in self._branches[1:]:
            branch.negotiation.place(port)
        for invite in self._invites():
            invite.start(now)
        self._hurry(now)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits of the number."""
        for invite in self._invites():
            invite.digits(digits, complete, now)

    def relocate(self, _address: str, now: int) -> None:
        """Our address changed before anybody answered: each branch is told the one that it needs."""
        advertised = self._host.outbound.advertised
        for branch in self._branches:
            flow = branch.way.flow
            if branch.invite is not None and advertised.reachable(flow.address, flow.listener):
                branch.invite.relocate(advertised.media_of(flow.address, flow.listener), now)

    def follow(self, old: Flow, new: Flow) -> None:
        """Who was called over ``old`` is at ``new`` now."""
        for branch in self._branches:
            if branch.way.flow == old:
                branch.way = branch.way._replace(flow=new)
            if branch.invite is not None:
                branch.invite.follow(old, new)

    def lost(self, session: Session, text: str, now: int, timer: str) -> None:
        """An early ``session`` is there no more, and none of our branches' INVITEs was answered."""
        for invite in self._invites():
            invite.lost(session, text, now, timer)

    def cancel(self, cause: Cause, text: str, now: int, reasons: tuple[str, ...] = ()) -> None:
        """The leg gave up, or it is settled without the branches that are left."""
        self._stop_hurrying()
        for invite in self._let_go():
            invite.cancel(cause, text, now, reasons)

    @property
    def unanswered(self) -> list[ClientInvite]:
        """The INVITEs without a final response."""
        return [transaction for invite in self._invites() for transaction in invite.unanswered]

    def hears(self, session: Session) -> bool:
        """Whether ``session``'s early media is the one to be heard; the first one that has any is."""
        if not self._heard:
            self._heard = session.dialog.call_id
        return session.dialog.call_id == self._heard

    def _invites(self) -> list[OutgoingInvite]:
        return [branch.invite for branch in self._branches if branch.invite is not None]

    def _let_go(self) -> list[OutgoingInvite]:
        branches, self._branches = self._branches, []
        return [invite for branch in branches if (invite := branch.over()) is not None]

    # -- silence --

    def expire(self, timer: SipTimer, now: int) -> None:  # noqa: ARG002
        """Time to see whether anybody says anything."""
        self._hurrying = False
        self._hurry(now)

    def _hurry(self, now: int) -> None:
        """Wait no longer if all the branches that are left have said nothing for too long."""
        invites = self._invites()
        if not invites:
            return
        due = max(now if each.silent_since is None else each.silent_since for each in invites) + self._patience
        if now < due:
            self._hurrying = True
            self._host.timers.start((self, SipTimer.FAILOVER), due)
            return
        for invite in self._let_go():
            invite.give_up(now)
        text = f"no response within {self._patience / SECOND:g} s"
        ending = _Ending(Cause.RECOVERY_ON_TIMER_EXPIRY, Location.BEYOND_INTERWORKING, text, 0, "")
        self._finish(self._best_with(ending), now)

    def _stop_hurrying(self) -> None:
        if self._hurrying:
            self._hurrying = False
            self._host.timers.stop((self, SipTimer.FAILOVER))

    # -- what the branches report --

    def emit(self, branch: _Branch, event: LegEvent) -> None:
        """Tell the leg's listener what is news: that it rings anywhere, and what can be heard."""
        match event:
            case Answered():
                branch.over()
                self._leg.emit(event)
                return
            case Alerting() | Progress():
                # Whoever rings: what is heard is the one branch that speaks, if any does.
                event = replace(event, inband=bool(self._heard))
                rings = isinstance(event, Alerting)
                if self._alerted or not rings:
                    # Nothing new, unless there is something to be heard now.
                    if event.inband and self._audible:
                        return
                    if self._alerted and not event.inband:
                        return
                self._alerted = self._alerted or rings
                self._audible = self._audible or event.inband
            case Proceeding():
                if self._last is not None:
                    return
        if event != self._last:
            self._last = event
            self._leg.emit(event)

    def answered(self, winner: _Branch, session: Session, now: int) -> None:
        """A branch won: the others end, with the reason that keeps phones from showing a missed call."""
        self._branches = [each for each in self._branches if each is not winner]
        self.cancel(Cause.NON_SELECTED_USER_CLEARING, "", now, ELSEWHERE)
        self.session = session
        self.call_id = winner.call_id
        self._leg.flow = winner.way.flow
        self._leg.call_id = winner.call_id
        self._leg.answered(session, now)

    def ended(self, branch: _Branch, ending: _Ending, now: int) -> None:
        """A branch failed, if only because its 2xx could not be used."""
        branch.over()
        if branch not in self._branches:
            return
        self._branches.remove(branch)
        best = self._best_with(ending)
        if 600 <= ending.status < 700:
            # 16.7 step 5: nobody is to be asked any more.
            self.cancel(Cause.NON_SELECTED_USER_CLEARING, "", now)
            self._finish(ending, now)
        elif not self._branches:
            self._stop_hurrying()
            self._finish(best, now)
        else:
            if branch.call_id == self._heard:
                self._hear_another(now)
            self._hurry(now)

    def _best_with(self, ending: _Ending) -> _Ending:
        if self._best is None or ending.rank < self._best.rank:
            self._best = ending
        return self._best

    def _hear_another(self, now: int) -> None:
        self._heard = ""
        for invite in self._invites():
            session = invite.audible
            if session is not None:
                self._leg.on_session_media(session, now)
                return

    def _finish(self, ending: _Ending, now: int) -> None:
        self._leg.finish(
            ending.cause,
            ending.location,
            now,
            text=ending.text,
            status=ending.status,
            timer=ending.timer,
            forward=ending.forward,
        )
