"""Full frames as they come: to the session whose call number they bear, to the gatekeeper, or to a small answer.

What is sent to somebody who has not shown where it is is metered: one small datagram for each that came.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.voip.iax.calltokens import STATELESS_NUMBER, reply
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FULL_HEADER, MAX_CALL_NUMBER, Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.gatekeeper import OPENERS
from gateway.voip.iax.host import Ended, Path
from gateway.voip.iax.session import Session
from gateway.voip.sip.defence import source_of
from gateway.voip.sip.flow import literal_address

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

log = logging.getLogger(__name__)

STRANGERS_RATE = 400
"""Datagrams a second that are read of all who are no peers and in no call."""
PEERS_RATE = 1000
"""Datagrams a second outside of sessions that are read of an address where peers are: anybody can write it on his."""
MAX_ADDRESSES = 4096
CHALLENGE_ROOM = 48
"""Octets by which a challenge is longer than what is challenged: of who knows no call tokens, where that is allowed."""
DOUBLED_WITHIN = 5 * SECOND
"""How long after a frame its double may still come out of a network (own)."""
_EACH = SECOND // STRANGERS_RATE
_EACH_PEER = SECOND // PEERS_RATE
_MAPPED = "::ffff:"
_GIVEN_UP = frozenset({Command.HANGUP, Command.REJECT})
"""What one may say who has not heard our call number yet."""
_UNANSWERED = frozenset(
    {
        Command.ACK,
        Command.INVAL,
        Command.VNAK,
        Command.TXCNT,
        Command.TXACC,
        Command.CALLTOKEN,
        Command.UNSUPPORT,
    }
)
"""What gets no INVAL if it is for nobody: it belongs to no call that could be cleared, or would be answered in turn."""


class Meter:
    """What may go to who began a session without having shown where it is."""

    __slots__ = ("_octets",)

    def __init__(self, octets: int) -> None:
        self._octets = octets + CHALLENGE_ROOM

    def came(self, octets: int) -> None:
        """Another datagram of so many octets came."""
        self._octets = octets + CHALLENGE_ROOM

    def lets_pass(self, data: bytes) -> bool:
        """Whether ``data`` may go now."""
        # The answer acknowledges, too; an ACK before it would be all that goes.
        if data[10] == FrameType.IAX and data[11] == Command.ACK:
            return False
        if len(data) > self._octets:
            return False
        self._octets = 0
        return True


class Reception:
    """Of one endpoint. ``sessions`` by our call numbers, ``ears`` for those that are no session's."""

    def __init__(self, endpoint: IaxEndpoint) -> None:
        self._endpoint = endpoint
        self.sessions: dict[int, Session] = {}
        self.ears: dict[int, Callable[[bytes, Path, int], None]] = {}
        self.meters: dict[int, Meter] = {}
        # Sessions that far ends began, by where they are and their call number; and what they began with.
        self._begun: dict[tuple[Path, int], Session] = {}
        self._opening: dict[int, tuple[tuple[Path, int], bytes]] = {}
        self._free_at = 0
        self._free_at_peer: OrderedDict[str, int] = OrderedDict()

    def receive(self, data: bytes, path: Path, now: int) -> None:
        """A datagram came that is no mini frame and no meta frame. Nothing that it may hold raises."""
        endpoint = self._endpoint
        counters = endpoint.counters
        counters.frames += 1
        if path.address.startswith(_MAPPED):
            path = Path(path.socket, literal_address(path.address) or path.address, path.port)
        if len(data) < FULL_HEADER or not data[0] & 0x80:
            self.broken(IaxError(f"{len(data)} octets are no full frame"), path, now)
            return
        number = (data[2] << 8 | data[3]) & MAX_CALL_NUMBER
        session = self.sessions.get(number) if number else None
        if session is not None:
            if session.path == path:
                if self.meters and self.meters.pop(number, None) is not None:
                    # Who knows our call number heard it where it says to be.
                    self._shown(session, now)
                if endpoint.suspects.names:
                    self._heard(session, now)
                session.receive(data, path, now)
            elif self._reads(path.address, now):
                session.receive(data, path, now)
            return
        if number:
            if number == STATELESS_NUMBER:
                return
            hears = self.ears.get(number)
            if hears is not None:
                hears(data, path, now)
            elif self._reads(path.address, now):
                self._unknown(parse_full(data), path)
            return
        self._outside(data, path, now)

    @staticmethod
    def _shown(session: Session, now: int) -> None:
        on_shown = getattr(session.owner, "on_shown", None)
        if on_shown is not None:
            on_shown(session, now)

    def _heard(self, session: Session, now: int) -> None:
        peer = getattr(session.owner, "peer", None)
        if peer is not None and peer.name:
            self._endpoint.heard(peer, now)

    def _outside(self, data: bytes, path: Path, now: int) -> None:
        """A frame that is for no call number of ours."""
        endpoint = self._endpoint
        key = (path, (data[0] << 8 | data[1]) & MAX_CALL_NUMBER)
        begun = self._begun.get(key)
        if begun is not None and not self._is_anew(data, begun, now):
            meter = self.meters.get(begun.source)
            if meter is not None:
                meter.came(len(data))
            # Where encryption is agreed upon the challenge goes again by itself, and this comes in clear.
            if (
                data[10] == FrameType.IAX
                and data[11] in _GIVEN_UP
                and endpoint.gatekeeper.given_up(begun, parse_full(data), now)
            ):
                return
            if not begun.encrypted:
                begun.receive(data, path, now)
            return
        if not self._reads(path.address, now) and not self._has_token(data, path, now):
            endpoint.counters.overload += 1
            self._tell_overload(path, now)
            return
        frame = parse_full(data)
        if frame.type != FrameType.IAX or not frame.source:
            endpoint.counters.unknown += 1
        elif frame.subclass == Command.POKE:
            endpoint.counters.pokes += 1
            endpoint.transmit(path, bytes(reply(frame, Command.PONG)))
        elif frame.subclass in OPENERS:
            endpoint.gatekeeper.receive(frame, len(data), path, now)
        else:
            endpoint.counters.unknown += 1

    def _tell_overload(self, path: Path, now: int) -> None:
        """In the log: somebody sends more than is read, and who is shut out is told of elsewhere."""
        endpoint = self._endpoint
        if endpoint.identities.knows(path.address):
            text = "more comes from %s, where a trunk is, than is read: what is new there may be dropped"
            endpoint.bursts.tell(f"overload {source_of(path.address)}", now, logging.WARNING, text, path.address)
        elif not endpoint.defence.closed_to(path.address, now):
            text = "more comes from strangers than is read: some of it is dropped, this from %s"
            endpoint.bursts.tell("overload", now, logging.WARNING, text, path)

    def _has_token(self, data: bytes, path: Path, now: int) -> bool:
        """Whether it is read all the same: who spoofs an address must not keep those from us who are there."""
        endpoint = self._endpoint
        if data[10] != FrameType.IAX or data[11] not in OPENERS or endpoint.defence.closed_to(path.address, now):
            return False
        # With an account of its own, which those that spoof an address cannot empty.
        return endpoint.gatekeeper.has_token(data, path, now) and self._affords(f"={path.address}", now)

    def _is_anew(self, data: bytes, begun: Session, now: int) -> bool:
        """Whether ``data`` begins another session with the call number of ``begun``: its far end was started again."""
        if data[10] != FrameType.IAX or data[11] not in OPENERS:
            return False
        opening = self._opening[begun.source][1]
        if data[FULL_HEADER:] != opening:
            return True
        # Where tokens make no difference: what goes again says so, and no network doubles anything after so long.
        again = data[2] & 0x80
        return not again and now - begun.epoch >= DOUBLED_WITHIN and not self._has_element(opening, Ie.CALLTOKEN)

    @staticmethod
    def _has_element(data: bytes, number: Ie) -> bool:
        try:
            return Elements.parse(data).raw(number) is not None
        except IaxError:
            return False

    def begins_anew(self, path: Path, source: int, now: int) -> None:
        """Somebody who showed where it is begins a session with ``source``: what it had with that number is over."""
        begun = self._begun.get((path, source))
        if begun is None:
            return
        told = not begun.closed
        begun.abandon(now)
        if told:
            begun.owner.on_session_end(begun, Ended("its far end has begun another session"), now)

    def _unknown(self, frame: FullFrame, path: Path) -> None:
        """For a call number that nobody has: INVAL (6.9.2), so that far ends clear what we know nothing of."""
        self._endpoint.counters.unknown += 1
        iax = frame.type == FrameType.IAX
        if not frame.source or (iax and frame.subclass in _UNANSWERED):
            return
        if iax and frame.subclass == Command.PONG and frame.source == STATELESS_NUMBER:
            # The late answer to a POKE, of who keeps nothing for it.
            return
        invalid = FullFrame(frame.destination, frame.source, 0, 0, 0, FrameType.IAX, Command.INVAL)
        self._endpoint.transmit(path, bytes(invalid))

    def broken(self, error: IaxError, path: Path, now: int) -> None:
        """Bytes came that are no frame."""
        endpoint = self._endpoint
        endpoint.counters.garbage += 1
        if endpoint.identities.knows(path.address):
            text = "from %s: %s"
            endpoint.bursts.tell(f"garbage {source_of(path.address)}", now, logging.INFO, text, path, error)
        elif log.isEnabledFor(logging.DEBUG):
            # Nobody is shut out for what anybody can send with his address on it.
            log.debug("from %s: %s", path, error)

    def _reads(self, address: str, now: int) -> bool:
        """Whether a datagram outside of calls is read: a flood leaves time for them, and peers theirs."""
        endpoint = self._endpoint
        if endpoint.identities.knows(address):
            return self._affords(address, now)
        if not endpoint.defence.allowed(address, now):
            return False
        free_at = max(self._free_at, now) + _EACH
        if free_at - now > SECOND:
            return False
        self._free_at = free_at
        return True

    def _affords(self, account: str, now: int) -> bool:
        known = self._free_at_peer
        free_at = max(known.get(account, 0), now) + _EACH_PEER
        if free_at - now > SECOND:
            return False
        if account not in known and len(known) >= MAX_ADDRESSES:
            known.popitem(last=False)
        known[account] = free_at
        known.move_to_end(account)
        return True

    # -- sessions --

    def adopt(self, session: Session, opening: bytes, meter: Meter | None) -> None:
        """A far end began ``session`` with the elements ``opening``."""
        key = (session.path, session.destination)
        self.sessions[session.source] = session
        self._begun[key] = session
        self._opening[session.source] = (key, opening)
        if meter is not None:
            self.meters[session.source] = meter

    def forget(self, session: Session) -> None:
        """``session`` is over."""
        if self.sessions.get(session.source) is not session:
            return
        del self.sessions[session.source]
        self.meters.pop(session.source, None)
        opening = self._opening.pop(session.source, None)
        if opening is not None and self._begun.get(opening[0]) is session:
            del self._begun[opening[0]]

    def moved(self, session: Session) -> None:
        """The far end of ``session`` is at another place, or has another call number."""
        opening = self._opening.get(session.source)
        if opening is None:
            return
        old, data = opening
        if self._begun.get(old) is session:
            del self._begun[old]
        key = (session.path, session.destination)
        self._begun[key] = session
        self._opening[session.source] = (key, data)

    def renumber(self, before: int, socket: int) -> None:
        """What was the socket ``before`` is ``socket`` now."""
        for session in self.sessions.values():
            if session.path.socket == before:
                session.path = session.path._replace(socket=socket)
                self.moved(session)
