"""Call path optimization (RFC 5456 6.5): two IAX2 far ends of one call go on without the gateway between them.

``PathRelease`` is the one in the middle. It sends both TXREQ with the other's place and call number; each tries by
TXCNT and TXACC whether it reaches the other, and says TXREADY; then both get TXREL, and the call is theirs alone:
neither voice nor signalling comes here any more. Nothing changes before both are ready. ``PathChange`` is one of the
ends. As in chan_iax2, no call that is encrypted goes this way. TXMEDIA (voice alone) is refused.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import MAX_CALL_NUMBER, Command, FullFrame
from gateway.voip.iax.host import Host, Path
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.sip.addresses import address_of, version_of
from gateway.voip.sip.direct_policy import DirectPolicy

if TYPE_CHECKING:
    from gateway.leg import Leg
    from gateway.voip.iax.leg import IaxLeg
    from gateway.voip.iax.peers import PeerSettings
    from gateway.voip.iax.session import Session

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""How often one pair of legs is asked, after holds and the like; a refusal or silence is the last answer (own)."""
CROSSED_PAUSE = SECOND
"""After two attempts that crossed each waits this long at least, and four times as long at most (own)."""
COMMANDS = frozenset({Command.TXREQ, Command.TXREADY, Command.TXREL, Command.TXREJ, Command.TXMEDIA})
"""What comes in sequence from whom the session is with; a leg gives it to ``on_frame`` here."""


def policy_of(settings: PeerSettings) -> DirectPolicy:
    """``transfer`` with its permit and deny, as those of ``directmedia`` are."""
    return DirectPolicy(settings.transfer, permit=settings.transfer_permit, deny=settings.transfer_deny)


# -- what a leg calls --


def join(leg: IaxLeg, other: Leg | None, now: int) -> None:
    """The call lets ``leg`` and ``other`` go without it, or (None) needs them here; see ``Leg.join``."""
    release = leg.path_release
    if release is not None:
        if other is None:
            release.want(False, now)
        elif not release.joins(leg, other):
            release.want(False, now)
            release.forget()
            release = None
    if other is None or not _may_transfer(leg):
        return
    # A leg of another technology has no such thing; nor have those of tests.
    if not hasattr(other, "path_release"):
        return
    partner: IaxLeg = other  # type: ignore[assignment]
    if release is None:
        if partner.path_release is not None:
            partner.path_release.want(False, now)
            partner.path_release.forget()
        release = PathRelease(leg, partner)
    release.want(True, now)


def on_frame(leg: IaxLeg, session: Session, frame: FullFrame, now: int) -> None:
    """One of ``COMMANDS`` came in its turn; IaxError if its elements cannot be read."""
    release, change = leg.path_release, leg.path_change
    match frame.subclass:
        case Command.TXREQ:
            if change is None:
                change = leg.path_change = PathChange(leg)
            change.asked(session, frame.elements, now)
        case Command.TXREADY if release is not None:
            release.ready(leg, now)
        case Command.TXREL if change is not None:
            change.released(session, frame, now)
        case Command.TXMEDIA:
            # chan_iax2 would believe that our voice goes elsewhere; after TXREJ all is as before.
            if change is not None:
                change.forget()
            session.command(Command.TXREJ, now)
        case Command.TXREJ:
            if release is not None:
                release.rejected(leg, now)
            if change is not None:
                change.forget()


def on_transfer(leg: IaxLeg, session: Session, frame: FullFrame, path: Path, now: int) -> None:
    """TXCNT or TXACC came from anywhere."""
    if leg.path_change is not None:
        try:
            leg.path_change.tried(session, frame, path, now)
        except IaxError as error:
            log.debug("%s: %s from %s: %s", leg.name, frame, path, error)


def over(leg: IaxLeg, now: int) -> None:
    """The leg is about to end: whatever was under way is not any more."""
    if leg.path_release is not None:
        leg.path_release.ended(leg, now)
    if leg.path_change is not None:
        leg.path_change.forget()
        leg.path_change = None


# -- in the middle --


class _Stage(Enum):
    """How far a release from the path is."""

    HERE = "here"
    ASKED = "asked"
    READY = "ready"
    RELEASED = "released"


_UNDER_WAY = frozenset({_Stage.ASKED, _Stage.READY})
_NEXT = {
    _Stage.HERE: frozenset({_Stage.ASKED}),
    _Stage.ASKED: frozenset({_Stage.HERE, _Stage.READY}),
    _Stage.READY: frozenset({_Stage.HERE, _Stage.RELEASED}),
    _Stage.RELEASED: frozenset[_Stage](),
}


class PathRelease:
    """What two legs that are joined want of their far ends. One per pair; either may end at any time."""

    __slots__ = ("_attempts", "_crossed", "_host", "_legs", "_ready", "_refused", "_stage", "_wanted")

    def __init__(self, one: IaxLeg, other: IaxLeg) -> None:
        self._legs = one, other
        one.path_release = other.path_release = self
        self._host: Host = one.host
        self._stage = _Stage.HERE
        self._wanted = False
        self._refused = False
        self._crossed = False
        self._attempts = 0
        # The legs whose far ends have said TXREADY.
        self._ready: set[IaxLeg] = set()

    @property
    def under_way(self) -> bool:
        """Whether the far ends have been asked, and have still to be told what comes of it."""
        return self._stage in _UNDER_WAY

    def joins(self, one: Leg, other: Leg) -> bool:
        """True if it is of these two legs."""
        return one in self._legs and other in self._legs

    def want(self, wanted: bool, now: int) -> None:
        """The call can do without the gateway, or not."""
        if wanted is self._wanted:
            return
        self._wanted = wanted
        if wanted:
            self._begin(now)
        else:
            self._host.stop(self, IaxTimer.TRANSFER)
            self._give_up("the call needs the gateway", now)

    def crosses(self) -> bool:
        """A far end wants to release us from the path while we do the same: both refuse, and try again by chance."""
        asked = self._stage in _UNDER_WAY
        self._crossed = self._crossed or asked
        return asked

    def _begin(self, now: int) -> None:
        one, other = self._legs
        hindrance = self._hindrance(one, other)
        if hindrance:
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s and %s: not released from the path: %s", one.name, other.name, hindrance)
            return
        self._attempts += 1
        self._crossed = False
        self._set_stage(_Stage.ASKED)
        identifier = self._host.rng.getrandbits(32)
        for leg, far in ((one, other), (other, one)):
            _ask(leg, far, identifier, now)
        self._host.start(self, IaxTimer.TRANSFER, now + self._host.durations[IaxTimer.TRANSFER])

    def ready(self, leg: IaxLeg, now: int) -> None:
        """TXREADY: the far end of ``leg`` reaches the other."""
        if self._stage is not _Stage.ASKED:
            return
        self._ready.add(leg)
        if len(self._ready) == len(self._legs):
            # What was said before is passed on first.
            self._set_stage(_Stage.READY)
            self._host.start(self, IaxTimer.TRANSFER, now)

    def _release(self, now: int) -> None:
        one, other = self._legs
        if one.session is None or other.session is None:
            return
        self._set_stage(_Stage.RELEASED)
        for leg, far in ((one.session, other.session), (other.session, one.session)):
            leg.command(Command.TXREL, now, Elements().add_number(Ie.CALLNO, far.destination, 2))
        log.info("%s and %s go on without us", one.name, other.name)
        self.forget()
        for each in self._legs:
            if each.session is not None:
                each.session.leave(now)
            each.leave(now)

    def rejected(self, leg: IaxLeg, now: int) -> None:
        """TXREJ: the far end of ``leg`` does not want to, or does not reach the other."""
        if self._stage not in _UNDER_WAY:
            return
        self._refused = not self._crossed
        self._give_up(f"{leg.name} refuses", now, leg)
        if self._crossed:
            again = self._host.rng.randint(CROSSED_PAUSE, 4 * CROSSED_PAUSE)
            self._host.start(self, IaxTimer.TRANSFER, now + again)

    def ended(self, leg: IaxLeg, now: int) -> None:
        """``leg`` ends."""
        self._give_up(f"{leg.name} ends", now, leg)
        self.forget()

    def forget(self) -> None:
        """The legs have nothing to do with each other any more."""
        self._host.stop(self, IaxTimer.TRANSFER)
        for leg in self._legs:
            if leg.path_release is self:
                leg.path_release = None

    def expire(self, timer: IaxTimer, now: int) -> None:  # noqa: ARG002 - there is one
        """Not both far ends were ready in time; or after two attempts that crossed it is time for the next."""
        if self._stage is _Stage.READY:
            self._release(now)
        elif self._stage is _Stage.ASKED:
            self._refused = True
            self._give_up("no TXREADY in time", now)
        elif self._wanted:
            self._begin(now)

    def _give_up(self, why: str, now: int, but: IaxLeg | None = None) -> None:
        """All stays as it is; the far ends are told, but for ``but``'s."""
        if self._stage not in _UNDER_WAY:
            return
        self._set_stage(_Stage.HERE)
        self._host.stop(self, IaxTimer.TRANSFER)
        self._ready.clear()
        one, other = self._legs
        log.info("%s and %s stay with us: %s", one.name, other.name, why)
        for leg in self._legs:
            if leg is not but and leg.session is not None:
                leg.session.command(Command.TXREJ, now)

    def _hindrance(self, one: IaxLeg, other: IaxLeg) -> str:
        """Why the far ends cannot go on without us; "" if they can."""
        if self._stage is not _Stage.HERE or self._refused or self._attempts >= MAX_ATTEMPTS:
            return "it was tried"
        for leg in self._legs:
            if not _may_transfer(leg):
                return f"{leg.name} may not"
        first, second = one.session, other.session
        if first is None or second is None or first.encrypted or second.encrypted:
            return "encrypted, or over"
        if one.codec is None or one.codec != other.codec:
            return "another codec"
        if version_of(first.path.address) != version_of(second.path.address):
            return "IPv4 and IPv6"
        policies = policy_of(one.peer.settings), policy_of(other.peer.settings)
        if not policies[0].may_reach(second.path.address) or not policies[1].may_reach(first.path.address):
            return "transferdeny"
        return ""

    def _set_stage(self, stage: _Stage) -> None:
        if stage not in _NEXT[self._stage]:
            raise AssertionError(f"release from the path: {self._stage.value} -> {stage.value} is not a transition")
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s and %s: %s -> %s", *[leg.name for leg in self._legs], self._stage.value, stage.value)
        self._stage = stage


def _may_transfer(leg: IaxLeg) -> bool:
    return leg.peer.settings.transfer and not leg.emergency


def _ask(leg: IaxLeg, far: IaxLeg, identifier: int, now: int) -> None:
    """TXREQ to ``leg``'s far end: it is to talk to that of ``far``."""
    if leg.session is None or far.session is None:
        return
    path = far.session.path
    elements = Elements().add_address(path.address, path.port)
    elements.add_number(Ie.CALLNO, far.session.destination, 2)
    leg.session.command(Command.TXREQ, now, elements.add_number(Ie.TRANSFERID, identifier, 4))


# -- at an end --


class PathChange:
    """A far end in the middle wants our leg to go on with another one."""

    __slots__ = ("_ends_at", "_host", "_identifier", "_leg", "_number", "_ready", "_session", "_target")

    def __init__(self, leg: IaxLeg) -> None:
        self._leg = leg
        self._host: Host = leg.host
        self._session: Session | None = None
        # Whom we are to talk to; None while nobody wants that.
        self._target: Path | None = None
        self._number = 0
        self._identifier: int | None = None
        self._ready = False
        self._ends_at = 0

    @property
    def under_way(self) -> bool:
        """Whether somebody wants us to talk to another far end."""
        return self._target is not None

    def asked(self, session: Session, elements: Elements, now: int) -> None:
        """TXREQ: try whether the other end is reached, if we may."""
        self.forget()
        leg = self._leg
        number = elements.number(Ie.CALLNO) or 0
        address = elements.apparent_address()
        identifier = elements.number(Ie.TRANSFERID)
        hindrance = ""
        if not _may_transfer(leg):
            hindrance = "transfer is no"
        elif session.encrypted:
            hindrance = "encrypted"
        elif leg.path_release is not None and leg.path_release.crosses():
            hindrance = "both ends want to leave"
        elif address is None or not 0 < number <= MAX_CALL_NUMBER or not address.port:
            hindrance = "nowhere to go"
        elif not _is_place(address.address) or version_of(address.address) != version_of(session.path.address):
            hindrance = f"{address.address} is no place to go"
        elif not policy_of(leg.peer.settings).may_reach(address.address):
            hindrance = f"transferdeny: {address.address}"
        if hindrance or address is None:
            leg.host.bursts.tell(
                f"not transferred {leg.source}", now, logging.INFO, "%s: is not transferred: %s", leg.name, hindrance
            )
            session.command(Command.TXREJ, now)
            return
        self._session = session
        self._target = Path(session.path.socket, address.address, address.port)
        self._number = number
        self._identifier = identifier
        self._ready = False
        self._ends_at = now + self._host.durations[IaxTimer.TRANSFER]
        self._try(session, self._target, now)

    def tried(self, session: Session, frame: FullFrame, path: Path, now: int) -> None:
        """TXCNT: we are reached. TXACC: we reach."""
        if self._target is None or path != self._target or frame.source != self._number:
            return
        if frame.subclass == Command.TXCNT:
            if self._identifier is None or frame.elements.number(Ie.TRANSFERID) in (None, self._identifier):
                session.immediate(Command.TXACC, now, path=path, destination=self._number)
        elif not self._ready:
            self._ready = True
            self._host.stop(self, IaxTimer.TRANSFER)
            session.command(Command.TXREADY, now, Elements().add_number(Ie.CALLNO, session.source, 2))

    def released(self, session: Session, frame: FullFrame, now: int) -> None:
        """TXREL: from now on with the other end."""
        target, number = self._target, frame.elements.number(Ie.CALLNO) or self._number
        if target is None or not self._ready or not 0 < number <= MAX_CALL_NUMBER:
            leg = self._leg
            leg.host.bursts.tell(f"TXREL {leg.source}", now, logging.WARNING, "%s: TXREL without a transfer", leg.name)
            return
        self.forget()
        # Before the session is with somebody else.
        session.immediate(Command.ACK, now, stamp=frame.stamp)
        log.info("%s goes on with %s", self._leg.name, target)
        session.join(target, number, now)

    def forget(self) -> None:
        """Nobody wants us elsewhere."""
        self._host.stop(self, IaxTimer.TRANSFER)
        self._target = None

    def expire(self, timer: IaxTimer, now: int) -> None:  # noqa: ARG002 - there is one
        """No TXACC yet."""
        session, target = self._session, self._target
        if session is None or target is None or session.closed:
            self.forget()
        elif now >= self._ends_at:
            self.forget()
            log.info("%s: is not transferred: %s does not answer", self._leg.name, target)
            session.command(Command.TXREJ, now)
        else:
            self._try(session, target, now)

    def _try(self, session: Session, target: Path, now: int) -> None:
        elements = Elements()
        if self._identifier is not None:
            elements.add_number(Ie.TRANSFERID, self._identifier & 0xFFFF_FFFF, 4)
        session.immediate(Command.TXCNT, now, elements, path=target, destination=self._number)
        again = now + self._host.durations[IaxTimer.RETRANSMIT]
        self._host.start(self, IaxTimer.TRANSFER, min(again, self._ends_at))


def _is_place(text: str) -> bool:
    """Whether datagrams may be sent to a literal address because somebody says so."""
    address = address_of(text)
    return address is not None and not (address.is_multicast or address.is_unspecified or text == "255.255.255.255")
