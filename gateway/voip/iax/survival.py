"""Calls of IAX2 that outlive the program: what a leg leaves behind, and the leg made of it at the next start.

Numbers, stamps and keys of the session go on exactly where they were, as RFC 5456 7 has no room for a gap; so a call is
kept whenever a full frame was sent or taken, before anything goes out. What was not acknowledged goes again. Sockets
and voice are the media engine's, which goes on by itself; full frames that come while nobody is there are repeated by
their sender. This is the inside of ``IaxLeg`` and ``Session`` seen from outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.core import SECOND
from gateway.identity import Number
from gateway.leg import Setup
from gateway.media.api import Codec
from gateway.voip.iax.causes import add_cause
from gateway.voip.iax.crypt import KEY_SIZE, Cipher
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.frame import MAX_CALL_NUMBER, Command
from gateway.voip.iax.host import Path, SessionOwner
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.leg_states import LegState
from gateway.voip.iax.leg_voice import NOBODY
from gateway.voip.iax.outstanding import MAX_OUTSTANDING, MAX_WAITING, Sent
from gateway.voip.iax.protection import Protection
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.roaming import Roaming
from gateway.voip.iax.rounds import Pass
from gateway.voip.iax.sending import STAMP_BITS
from gateway.voip.iax.session import Session
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.sip.flow import literal_address

if TYPE_CHECKING:
    from gateway.cause import Cause
    from gateway.leg import Leg
    from gateway.voip.iax.endpoint import IaxEndpoint

ASK_SOON = SECOND
ASK_SPREAD = 4 * SECOND
"""When the far end is asked after the start whether it still has the call: not all at once (own)."""
MAX_PORT = 0xFFFF

_CallNumber = Annotated[int, msgspec.Meta(ge=1, le=MAX_CALL_NUMBER)]
_Octet = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_Stamp = Annotated[int, msgspec.Meta(ge=0, le=STAMP_BITS)]
_MOST = 1 << 62
_Subclass = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class SentKept(msgspec.Struct, frozen=True, array_like=True):
    """A frame that has no acknowledgement. ``key``: what it went with, b"" in clear; no ``sequence`` while it waits."""

    kind: _Octet
    subclass: _Subclass
    stamp: _Stamp
    data: bytes
    sequence: _Octet = 0
    key: bytes = b""


class KeysKept(msgspec.Struct, frozen=True, array_like=True):
    """``earlier``: what the far end encrypted with before, b"" if nothing. ``rotate``: we change ours in time."""

    send: bytes
    receive: bytes
    earlier: bytes = b""
    rotate: bool = False
    sent: _Count = 0
    received: _Count = 0


class CountersKept(msgspec.Struct, frozen=True, array_like=True):
    """What the call record says of the session."""

    sent: _Count = 0
    received: _Count = 0
    repeated: _Count = 0
    malformed: _Count = 0
    strangers: _Count = 0
    moves: _Count = 0


class SessionKept(msgspec.Struct, frozen=True, array_like=True):
    """A session whose far end's call number is known. ``stamp`` -1: none was sent."""

    path: Path
    source: _CallNumber
    destination: _CallNumber
    epoch: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
    oseqno: _Octet
    iseqno: _Octet
    stamp: Annotated[int, msgspec.Meta(ge=-1, le=STAMP_BITS)]
    outstanding: Annotated[tuple[SentKept, ...], msgspec.Meta(max_length=MAX_OUTSTANDING)] = ()
    waiting: Annotated[tuple[SentKept, ...], msgspec.Meta(max_length=MAX_WAITING)] = ()
    keys: KeysKept | None = None
    round_trip: _Count | None = None
    lag: _Count | None = None
    heard: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)] | None = None
    counters: CountersKept = CountersKept()
    far_report: LinkReport | None = None


class IaxLegState(msgspec.Struct, frozen=True, omit_defaults=True):
    """``codec`` None: not agreed on. ``aimed``: the media engine knows where the voice goes; ``moving``: a transfer."""

    peer: str
    name: str
    incoming: bool
    state: LegState
    session: SessionKept
    codec: Codec | None = None
    aimed: bool = False
    required: bool = False
    quiet: bool = False
    held: bool = False
    emergency: bool = False
    passing: Pass | None = None
    moving: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IaxLegState).decode
_CLEAR = frozenset({0, KEY_SIZE})


class IaxSurvival:
    """``gateway.survival.Technology`` for the endpoint."""

    def __init__(self, host: IaxEndpoint) -> None:
        self._host = host

    def keep(self, leg: Leg) -> bytes | None:
        """What ``revive`` and ``give_up`` need; None while the far end has no known call number, or is gone."""
        if not isinstance(leg, IaxLeg):
            return None
        session = leg.session
        if session is None or not session.destination or not self._host.shown(session):
            return None
        if session.closed and not session.unacknowledged:
            return None
        release, change = leg.path_release, leg.path_change
        return _encode(
            IaxLegState(
                peer=leg.peer.name,
                name=leg.name,
                incoming=leg.incoming,
                state=leg.state,
                session=_session_kept(session),
                codec=leg.codec,
                aimed=leg.settings is not None,
                required=leg._required,
                quiet=leg._quiet,
                held=leg._held,
                emergency=leg.emergency,
                passing=leg._passing,
                moving=(release is not None and release.under_way) or (change is not None and change.under_way),
            )
        )

    def revive(self, state: bytes, stream: int, now: int) -> IaxLeg:
        """The leg of an answered call, its voice ``stream``; raises ValueError."""
        one, host = _read(state), self._host
        peer = host.peers.get(one.peer) if one.peer else host.guest
        if one.state is not LegState.UP or one.codec is None:
            raise ValueError(f"its call is {one.state.value}")
        if peer is None:
            raise ValueError(f"{one.peer or 'a stranger'} is not configured any more")
        if one.name in host.legs:
            raise ValueError("it was taken up before")
        if one.session.path.socket not in host.sockets:
            raise ValueError("nobody listens any more where it came in")
        passing = one.passing
        setup = None if passing is None else Setup(Number(passing.called), emergency=one.emergency)
        leg = IaxLeg(host, peer, one.name, now, one.incoming)
        leg.session = session = self._session(one, one.session.path, leg, now)
        # Not a transition: nobody was here to see those that led to it.
        leg.state = LegState.UP
        leg.stream, leg.codec = stream, one.codec
        leg._required, leg._quiet, leg._held = one.required, one.quiet, one.held
        leg._proceeding = True
        leg.setup = setup
        if passing is not None:
            leg._passing = passing
            host.rounds.enter(passing)
        if one.aimed:
            # What it has been told before, unless other settings are in force since.
            leg.settings = leg.voice_settings(session, one.codec)
        _enter(host, leg)
        _go_on(session, now)
        session.watch(now)
        host.start(session, IaxTimer.PING, now + ASK_SOON + host.rng.randrange(ASK_SPREAD))
        keys = one.session.keys
        if keys is not None and keys.rotate:
            session.rotate_keys(now)
        if one.moving:
            # Of the transfer that was under way nothing is left here.
            session.command(Command.TXREJ, now)
        return leg

    def give_up(self, state: bytes, cause: Cause, now: int) -> None:
        """End a call that cannot be gone on with: HANGUP, or REJECT before it was accepted; raises ValueError.

        One that was being ended goes on to be.
        """
        one, host = _read(state), self._host
        path = one.session.path
        if path.socket not in host.sockets:
            socket = host.socket_to(path.address)
            if socket is None:
                raise ValueError(f"no socket leads to {path}")
            path = path._replace(socket=socket)
        session = self._session(one, path, NOBODY, now)
        _go_on(session, now)
        if one.state is not LegState.OVER:
            command = Command.REJECT if one.state is LegState.OFFERED else Command.HANGUP
            session.command(command, now, add_cause(Elements(), cause, "the gateway was restarted"))
        session.close(now)

    def _session(self, one: IaxLegState, path: Path, owner: SessionOwner, now: int) -> Session:
        """The session again, known to the endpoint; nothing is sent yet."""
        host, kept = self._host, one.session
        session = Session(host, path, kept.source, owner, now, kept.destination)
        session.epoch = kept.epoch
        session._oseqno, session._iseqno, session._stamp = kept.oseqno, kept.iseqno, kept.stamp
        # If it was not acknowledged yet it comes again.
        session._acked = kept.iseqno
        keys = kept.keys
        if keys is not None:
            protection = session._protection = Protection(keys.send, keys.receive, host.rng)
            protection.rotations_sent, protection.rotations_received = keys.sent, keys.received
            if keys.earlier:
                protection._earlier = Cipher(keys.earlier, host.rng)
        outstanding = session._outstanding
        outstanding.frames.extend(self._sent(kept.outstanding, session, now))
        outstanding.waiting.extend(self._sent(kept.waiting, session, 0))
        session.round_trip, session.lag, session.heard = kept.round_trip, kept.lag, kept.heard
        session.far_report = kept.far_report
        counted = kept.counters
        session.sent, session.received, session.repeated = counted.sent, counted.received, counted.repeated
        session.malformed, session.strangers = counted.malformed, counted.strangers
        if counted.moves:
            session._roaming = Roaming()
            session._roaming.moves = counted.moves
        if not host.numbers.reserve(kept.source, path.address):
            raise ValueError(f"call number {kept.source} is in use")
        if one.incoming:
            # Whatever its far end begins next with its number is another.
            host.reception.adopt(session, b"", None)
        else:
            host.reception.sessions[kept.source] = session
        return session

    def _sent(self, frames: Iterable[SentKept], session: Session, at: int) -> list[Sent]:
        """Frames that went last at ``at``, 0: that have still to go."""
        found = []
        for frame in frames:
            sent = Sent(frame.kind, frame.subclass, frame.stamp, frame.data)
            sent.sequence = frame.sequence
            sent.at = sent.due = at
            if at:
                # Not more often, whatever it was: nobody was there to hear that it had come.
                sent.tries = 1
            if frame.key:
                protection = session._protection
                same = protection is not None and protection.send_key == frame.key
                sent.cipher = protection.send if same and protection is not None else Cipher(frame.key, self._host.rng)
            found.append(sent)
        return found


def _enter(host: IaxEndpoint, leg: IaxLeg) -> None:
    """``leg`` is one of the endpoint's under the name that it has, which no other gets."""
    number = leg.name.rpartition("-")[2]
    host._serial = max(host._serial, int(number) if number.isdecimal() else 0)
    host.enter_leg(leg)


def _session_kept(session: Session) -> SessionKept:
    protection, roaming, outstanding = session._protection, session._roaming, session._outstanding
    keys = None
    if protection is not None:
        earlier = protection._earlier
        keys = KeysKept(
            protection.send_key,
            protection.receive_key,
            b"" if earlier is None else earlier.key,
            session._rotate,
            protection.rotations_sent,
            protection.rotations_received,
        )
    return SessionKept(
        session.path,
        session.source,
        session.destination,
        session.epoch,
        session._oseqno,
        session._iseqno,
        session._stamp,
        _sent_kept(outstanding.frames) if outstanding.frames else (),
        _sent_kept(outstanding.waiting) if outstanding.waiting else (),
        keys,
        session.round_trip,
        session.lag,
        session.heard,
        CountersKept(
            session.sent,
            session.received,
            session.repeated,
            session.malformed,
            session.strangers,
            0 if roaming is None else roaming.moves,
        ),
        session.far_report,
    )


def _sent_kept(frames: Iterable[Sent]) -> tuple[SentKept, ...]:
    return tuple(
        [
            SentKept(
                sent.kind,
                sent.subclass,
                sent.stamp,
                sent.data,
                sent.sequence,
                b"" if sent.cipher is None else sent.cipher.key,
            )
            for sent in frames
        ]
    )


def _go_on(session: Session, now: int) -> None:
    """What has no acknowledgement goes again, at once."""
    if session.unacknowledged:
        session._timing = now
        session._host.start(session, IaxTimer.RETRANSMIT, now)


def _read(data: bytes) -> IaxLegState:
    """ValueError if it makes no sense."""
    try:
        one = _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    session = one.session
    path, keys, outstanding = session.path, session.keys, session.outstanding
    if literal_address(path.address) is None or not 0 < path.port <= MAX_PORT:
        raise ValueError(f"{path} is no place")
    first = (session.oseqno - len(outstanding)) & 0xFF
    if [sent.sequence for sent in outstanding] != [first + turn & 0xFF for turn in range(len(outstanding))]:
        raise ValueError("what is not acknowledged is not what was sent last")
    lengths = {len(sent.key) for sent in (*outstanding, *session.waiting)}
    if keys is not None:
        lengths.add(len(keys.earlier))
        if len(keys.send) != KEY_SIZE or len(keys.receive) != KEY_SIZE:
            raise ValueError("a key has another length")
    if not lengths <= _CLEAR:
        raise ValueError("a key has another length")
    return one


__all__ = ["IaxLegState", "IaxSurvival"]
