"""A session of IAX2 (RFC 5456 6.7 to 6.10 and 7): full frames in order and without loss between two call numbers.

By itself it acknowledges, repeats, asks for what is missing (VNAK), answers PING, LAGRQ, RTKEY and CALLTOKEN, watches
the far end by PING and LAGRQ, and takes a NAT's new port for what it is. All else goes to its owner in its turn. An
owner may have, beyond ``SessionOwner``, what ``SessionWatcher`` has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from gateway.core import MILLISECOND
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import (
    FULL_HEADER,
    MAX_CALL_NUMBER,
    NOT_IN_SEQUENCE,
    Command,
    FrameType,
    FullFrame,
    name_of,
    parse_full,
)
from gateway.voip.iax.host import Path
from gateway.voip.iax.lifetime import LivingSession
from gateway.voip.iax.outstanding import Sent
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.roaming import Roaming
from gateway.voip.iax.sending import OPENERS, STAMP_BITS, with_token

log = logging.getLogger(__name__)

MAX_FRAME = 4096
"""Octets of a full frame that are looked at; chan_iax2 has no more room either (own)."""
MAX_TOKENS = 2
"""CALLTOKENs that are answered in a session: one, and one more for a token that was too old (own)."""
INVALS_OF_ENCRYPTED = 3
"""A clear INVAL ends an encrypted session when so many came and nothing readable between them (own)."""
INVAL_PAUSE = 300 * MILLISECOND
"""Of clear INVALs within this time one counts: the far end had no time to be heard (own)."""
STAMP_SLACK = 600_000
"""How far, in milliseconds, the clock of an encrypted session's far end may be ahead of ours (own)."""
MAX_EARLY = 16
"""How far before its turn a frame may be to be kept for it: networks reorder what is sent at once (own)."""
VNAK_PAUSE = 50 * MILLISECOND
"""What is missing is asked for no more often, nor twice in a round trip: the far end repeats all it has (own)."""
_AHEAD = 0x40
"""Frames so far before or behind their turn make sense in an encrypted session."""
_LAST_WORDS = frozenset({Command.HANGUP, Command.REJECT, Command.REGREJ})
"""After these the far end hears nothing any more."""
_BEGINNINGS = frozenset({Command.NEW, Command.REGREQ, Command.REGREL})
"""What a far end begins a session with here."""
_TRANSFER = frozenset({Command.TXCNT, Command.TXACC})
_KINDS = frozenset(FrameType)
_COMMANDS = frozenset(Command)


class SessionWatcher(Protocol):
    """What an owner of a session may have beyond ``SessionOwner``; each of these alone."""

    def on_keys(self, session: Session, now: int) -> None:
        """``send_key`` or ``receive_key`` is another now (RTKEY)."""

    def on_moved(self, session: Session, now: int) -> None:
        """``path`` is another now."""

    def on_shown(self, session: Session, now: int) -> None:
        """The far end is where it says: it has answered what was sent there."""

    def on_clear(self, session: Session, frame: FullFrame, now: int) -> None:
        """A frame in its turn came in clear into an encrypted session; it was not taken."""

    def on_unreadable(self, session: Session, now: int) -> None:
        """A frame came that none of the keys makes sense of."""

    def on_transfer(self, session: Session, frame: FullFrame, path: Path, now: int) -> None:
        """TXCNT or TXACC came, from wherever (6.5)."""

    def report(self, session: Session, now: int) -> LinkReport | None:
        """What PONG is to say of the voice that comes."""


class Session(LivingSession):
    """``source`` is our call number, ``destination`` the far end's, 0 until it is known; ``epoch`` when stamps began.

    ``closed``: its owner hears no more; what is still to be acknowledged is seen to. ``round_trip`` and ``lag`` are in
    microseconds, None until measured. ``heard``: when the last good frame of the far end came, None if none did.
    ``far_report``: what its last PONG said of our voice.
    """

    __slots__ = ()

    def begin(self, frame: FullFrame, now: int) -> None:
        """Take ``frame``, which created this session of the far end's, as its first; the owner hears it."""
        self.destination = frame.source
        self._iseqno = frame.oseqno
        self._take(frame, now)

    # -- what comes --

    def receive(self, data: bytes, path: Path, now: int) -> None:
        """A full frame for our call number came from ``path``. What makes no sense here is counted, and dropped."""
        if not FULL_HEADER <= len(data) <= MAX_FRAME or not data[0] & 0x80:
            self.malformed += 1
            return
        source = (data[0] << 8 | data[1]) & MAX_CALL_NUMBER
        destination = (data[2] << 8 | data[3]) & MAX_CALL_NUMBER
        if not source or (destination and destination != self.source):
            self.malformed += 1
            return
        here = path == self.path
        protection = self._protection
        if protection is None:
            frame = parse_full(data)
        else:
            latest = min((now - self.epoch) // MILLISECOND + STAMP_SLACK, STAMP_BITS)
            for frame in protection.openings(data):
                if self._sensible(frame, latest):
                    break
            else:
                self._unreadable(parse_full(data), here, latest, now)
                return
        iax = frame.type == FrameType.IAX
        if iax and frame.subclass in _TRANSFER:
            on_transfer = getattr(self.owner, "on_transfer", None)
            if on_transfer is not None and not self.closed:
                on_transfer(self, frame, path, now)
            return
        if source != self.destination:
            if self.destination or not here:
                self.strangers += 1
                return
            if iax and frame.subclass == Command.CALLTOKEN:
                self._token(frame, now)
                return
            if destination:
                self.destination = source
                self._host.changed(self)
        if not destination:
            self._begun_again(frame, now)
        elif here:
            roaming = self._roaming
            if roaming is not None:
                roaming.candidate = None
            self._take(frame, now)
        else:
            self._elsewhere(frame, path, now)

    def _begun_again(self, frame: FullFrame, now: int) -> None:
        """A frame for no call number of ours (8.1.1): what the session began with has come twice, and counts once."""
        iax = frame.type == FrameType.IAX
        if iax and frame.subclass == Command.HANGUP and frame.oseqno == self._iseqno == 1:
            # Who gives up before our number has come does not know it.
            self._take(frame, now)
            return
        if not iax or frame.subclass not in _BEGINNINGS:
            self.malformed += 1
            return
        self.received += 1
        self.immediate(Command.ACK, now, stamp=frame.stamp)

    def _take(self, frame: FullFrame, now: int) -> None:
        """A frame that is the far end's: in its turn, or not."""
        self.received += 1
        self.heard = now
        self._invals = 0
        kind, subclass = frame.type, frame.subclass
        iax = kind == FrameType.IAX
        if iax and subclass in NOT_IN_SEQUENCE:
            if subclass == Command.INVAL:
                self._end(f"{self.path} knows nothing of it (INVAL)", now)
                return
            self._acknowledged(frame.iseqno, now)
            if subclass == Command.VNAK:
                self._again_for_vnak(frame.iseqno, now)
            if self.closed and not self._outstanding:
                self._forget(now)
            return
        if self._deaf:
            self._acknowledged(frame.iseqno, now)
            if not self._outstanding:
                self._forget(now)
            return
        ahead = (frame.oseqno - self._iseqno) & 0xFF
        if not ahead:
            self._iseqno = (self._iseqno + 1) & 0xFF
            self._host.changed(self)
        self._acknowledged(frame.iseqno, now)
        if ahead:
            if ahead >= 0x80:
                # 7: our acknowledgement was lost.
                self.immediate(Command.ACK, now, stamp=frame.stamp)
            else:
                if ahead <= MAX_EARLY:
                    self._early[frame.oseqno] = frame
                self._miss(now)
            if self.closed and not self._outstanding:
                self._forget(now)
            return
        if iax and subclass in _LAST_WORDS:
            self._outstanding.clear()
        if not self.closed:
            handler = _HANDLERS.get(subclass) if iax else None
            try:
                if handler is not None:
                    handler(self, frame, now)
                elif iax and subclass not in _COMMANDS:
                    self.unsupported(frame, now)
                else:
                    self.owner.on_frame(self, frame, now)
            except IaxError as error:
                self.malformed += 1
                if self.malformed == 1:
                    log.warning("%r: %s: %s (told once)", self, frame, error)
        following = self._early.pop(self._iseqno, None) if self._early else None
        if following is not None:
            # It is acknowledged with what follows.
            self._take(following, now)
            return
        if self._acked != self._iseqno:
            # Nothing that went meanwhile has acknowledged it.
            self.immediate(Command.ACK, now, stamp=frame.stamp)
        if self.closed and not self._outstanding:
            self._forget(now)

    def _miss(self, now: int) -> None:
        """A frame is missing: ask for all from it on (6.9.3)."""
        gap = self._gap
        pause = max(VNAK_PAUSE, self.round_trip or 0)
        if gap is not None and gap[0] == self._iseqno and now - gap[1] < pause:
            return
        self._gap = (self._iseqno, now)
        self.immediate(Command.VNAK, now)

    def _token(self, frame: FullFrame, now: int) -> None:
        """CALLTOKEN: begin anew, with what shows that we are where we say."""
        frames = self._outstanding.frames
        if self.closed:
            # The far end has nothing of it yet, and nothing is wanted of it any more.
            self.abandon(now)
            return
        if self._tokens >= MAX_TOKENS or not frames or frames[0].sequence:
            return
        first = frames[0]
        try:
            token = frame.elements.raw(Ie.CALLTOKEN)
        except IaxError:
            token = None
        if not token or first.kind != FrameType.IAX or first.subclass not in OPENERS:
            self.malformed += 1
            return
        self._tokens += 1
        self.heard = now
        frames.clear()
        self._early.clear()
        self._oseqno = self._iseqno = self._acked = 0
        again = Sent(FrameType.IAX, first.subclass, self._next_stamp(now), with_token(first.data, token))
        self._begin(again, now)

    # -- what is the far end's, and what is not --

    def _sensible(self, frame: FullFrame, latest: int) -> bool:
        """Whether what was decrypted can be a frame of this session; with a wrong key it hardly ever is."""
        return (
            frame.type in _KINDS
            and frame.stamp <= latest
            and (frame.oseqno - self._iseqno + _AHEAD) & 0xFF < 2 * _AHEAD
            and (self._oseqno - frame.iseqno) & 0xFF < 2 * _AHEAD
        )

    def _unreadable(self, clear: FullFrame, here: bool, latest: int, now: int) -> None:
        """No key makes sense of a frame; in clear it may: of one who will not encrypt, or has forgotten the session."""
        self.malformed += 1
        if self.closed or not here or clear.source != self.destination:
            return
        if clear.type == FrameType.IAX and clear.subclass == Command.INVAL:
            self._clear_inval(now)
            return
        owner = self.owner
        if self._sensible(clear, latest):
            # What was sent before the keys were agreed on may come once more; what is new must not be in clear.
            on_clear = getattr(owner, "on_clear", None)
            if on_clear is not None and clear.oseqno == self._iseqno and clear.in_sequence:
                on_clear(self, clear, now)
            return
        on_unreadable = getattr(owner, "on_unreadable", None)
        if on_unreadable is not None:
            on_unreadable(self, now)
        else:
            # An RTKEY that was lost is what it most likely takes.
            self._miss(now)

    def _clear_inval(self, now: int) -> None:
        """INVAL is never encrypted, as its sender has no key; so it is believed if nothing else is heard."""
        if self._invals and now - self._inval_at < INVAL_PAUSE:
            return
        self._invals += 1
        self._inval_at = now
        if self._invals >= INVALS_OF_ENCRYPTED:
            self._end(f"{self.path} knows nothing of it (INVAL)", now)
        elif self._invals == 1:
            self._ask(Command.PING, now)

    def _elsewhere(self, frame: FullFrame, path: Path, now: int) -> None:
        """A frame that fits came from a place that is not the far end's; see roaming.py."""
        roaming = self._roaming
        if roaming is None:
            roaming = self._roaming = Roaming()
        pong = frame.type == FrameType.IAX and frame.subclass == Command.PONG
        if pong and path == roaming.candidate and frame.stamp == roaming.stamp and not self.closed:
            roaming.confirm(now)
            self.move(path, now)
            self._take(frame, now)
            return
        self.strangers += 1
        fits = frame.in_sequence and (frame.oseqno - self._iseqno) & 0xFF < _AHEAD
        if fits and not self.closed and roaming.may_ask(path, self.path, now, encrypted=self.encrypted):
            # What went to the old place is missing there, and before it PING is no more than a frame that is early.
            self._repeat_to(path, now)
            roaming.ask(path, self._ask(Command.PING, now, path), now)

    # -- commands that are the session's own --

    def _on_ping(self, frame: FullFrame, now: int) -> None:
        report = getattr(self.owner, "report", None)
        told: LinkReport | None = report(self, now) if report is not None else None
        elements = Elements() if told is None else told.add_to(Elements())
        self._send(FrameType.IAX, Command.PONG, now, bytes(elements), frame.stamp)

    def _on_pong(self, frame: FullFrame, now: int) -> None:
        ping = self._ping
        if ping is None:
            # The answer to a POKE is its owner's.
            self.owner.on_frame(self, frame, now)
        elif frame.stamp == ping[0]:
            self._ping = None
            self._measured(now - ping[1])
            self.far_report = LinkReport.read(frame.elements) or self.far_report

    def _on_lagrq(self, frame: FullFrame, now: int) -> None:
        self._send(FrameType.IAX, Command.LAGRP, now, b"", frame.stamp)

    def _on_lagrp(self, frame: FullFrame, now: int) -> None:
        lagrq = self._lagrq
        if lagrq is not None and frame.stamp == lagrq[0]:
            self._lagrq = None
            self.lag = now - lagrq[1]

    def _on_rtkey(self, frame: FullFrame, now: int) -> None:
        protection = self._protection
        if protection is None:
            log.debug("%r: RTKEY in a call that is not encrypted", self)
            return
        protection.received_new_key(frame.elements)
        self._tell_keys(now)

    def _on_unsupport(self, frame: FullFrame, now: int) -> None:  # noqa: ARG002 - as all handlers
        unknown = frame.elements.number(Ie.IAX_UNKNOWN)
        log.debug("%r: the far end does not know %s", self, name_of(FrameType.IAX, unknown or 0))

    def as_json(self) -> dict[str, object]:
        """For an operator: numbers, place, round trip and lag (milliseconds), counters of full frames."""
        protection, roaming = self._protection, self._roaming
        return {
            "source_call": self.source,
            "far_call": self.destination,
            "far_address": str(self.path),
            "encrypted": protection is not None,
            "round_trip": None if self.round_trip is None else self.round_trip / MILLISECOND,
            "lag": None if self.lag is None else self.lag / MILLISECOND,
            "sent": self.sent,
            "received": self.received,
            "repeated": self.repeated,
            "malformed": self.malformed,
            "strangers": self.strangers,
            "moves": 0 if roaming is None else roaming.moves,
            "keys_sent": 0 if protection is None else protection.rotations_sent,
            "keys_received": 0 if protection is None else protection.rotations_received,
            "far_report": None if self.far_report is None else self.far_report.as_json(),
        }


_HANDLERS: dict[int, Callable[[Session, FullFrame, int], None]] = {
    Command.PING: Session._on_ping,
    Command.PONG: Session._on_pong,
    Command.LAGRQ: Session._on_lagrq,
    Command.LAGRP: Session._on_lagrp,
    Command.RTKEY: Session._on_rtkey,
    Command.UNSUPPORT: Session._on_unsupport,
}
