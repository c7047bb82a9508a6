"""What a session of IAX2 sends: full frames with sequence numbers and stamps, repeated until acknowledged (RFC 5456 7).

What it hears is in ``session.py``.
"""

from __future__ import annotations

from gateway.core import MILLISECOND
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame, name_of
from gateway.voip.iax.host import Host, Path
from gateway.voip.iax.outstanding import MAX_WAITING, Outstanding, Sent
from gateway.voip.iax.protection import Protection
from gateway.voip.iax.timers import IaxTimer

STAMP_BITS = 0xFFFF_FFFF
OPENERS = frozenset({Command.NEW, Command.REGREQ, Command.REGREL, Command.POKE, Command.FWDOWNL})
"""What may come without a destination (8.1.1), and goes again with a token."""
_HALF = 0x8000_0000
_SOON = 60 * MILLISECOND
"""Three packets of voice (own)."""


def with_token(data: bytes, token: bytes) -> bytes:
    """The elements ``data`` with ``token`` as their only CALLTOKEN, last as all have it. IaxError if they are none."""
    items = [item for item in Elements.parse(data).items if item[0] != Ie.CALLTOKEN]
    return bytes(Elements(items).add(Ie.CALLTOKEN, token))


class SendingSession:
    """A session as far as it speaks; see ``gateway.voip.iax.session.Session``."""

    __slots__ = (
        "__weakref__",
        "_acked",
        "_host",
        "_iseqno",
        "_oseqno",
        "_outstanding",
        "_protection",
        "_stamp",
        "_timing",
        "_tokens",
        "closed",
        "destination",
        "epoch",
        "path",
        "repeated",
        "round_trip",
        "sent",
        "source",
    )

    def __init__(self, host: Host, path: Path, source: int, now: int, destination: int) -> None:
        self.source = source
        self.destination = destination
        self.path = path
        self.epoch = now
        self.closed = False
        self.round_trip: int | None = None
        self.sent = self.repeated = 0
        self._host = host
        self._oseqno = 0
        self._iseqno = 0
        # The last number that the far end has been told we expect.
        self._acked = 0
        self._stamp = -1
        self._outstanding = Outstanding()
        # When RETRANSMIT expires; None while it does not run.
        self._timing: int | None = None
        # CALLTOKENs that were answered.
        self._tokens = 0
        self._protection: Protection | None = None

    @property
    def unacknowledged(self) -> bool:
        """Whether something that we sent has no acknowledgement yet."""
        return bool(self._outstanding)

    @property
    def congested(self) -> bool:
        """Whether frames wait that others be acknowledged."""
        return bool(self._outstanding.waiting)

    def command(self, command: Command, now: int, elements: Elements | None = None) -> None:
        """Send an IAX frame in sequence; nothing on a closed session."""
        self.send(FrameType.IAX, command, now, b"" if elements is None else bytes(elements))

    def send(self, kind: int, subclass: int, now: int, data: bytes | Elements = b"", stamp: int | None = None) -> None:
        """Send a full frame in sequence; nothing on a closed session. ``stamp`` None: now, later than all before.

        What opens a session says that we know call tokens.
        """
        if not self.closed:
            self._send(kind, subclass, now, data if isinstance(data, bytes) else bytes(data), stamp)

    def _send(
        self, kind: int, subclass: int, now: int, data: bytes, stamp: int | None = None, path: Path | None = None
    ) -> int:
        if stamp is None:
            stamp = self._next_stamp(now)
        elif kind == FrameType.VOICE and (stamp - self._stamp) & STAMP_BITS < _HALF:
            self._stamp = stamp
        outstanding = self._outstanding
        self._host.changed(self)  # type: ignore[arg-type]
        opens = not (self.destination or outstanding)
        if opens and kind == FrameType.IAX and subclass in OPENERS:
            data = with_token(data, b"")
        sent = Sent(kind, subclass, stamp, data)
        sent.path = path
        # Nothing can follow what opens a session before the far end's call number is known.
        if (self.destination or opens) and not (outstanding.waiting or outstanding.full):
            self._begin(sent, now)
        elif len(outstanding.waiting) < MAX_WAITING:
            outstanding.waiting.append(sent)
        else:
            self._end(f"more than {MAX_WAITING} frames wait for others to be acknowledged by {self.path}", now)
        return stamp

    def _next_stamp(self, now: int) -> int:
        # 8.1.1: no two full frames of a session have the same stamp, though they may well go in the same millisecond.
        stamp = (now - self.epoch) // MILLISECOND & STAMP_BITS
        if not 0 < (stamp - self._stamp) & STAMP_BITS < _HALF:
            stamp = (self._stamp + 1) & STAMP_BITS
        self._stamp = stamp
        return stamp

    def _begin(self, sent: Sent, now: int) -> None:
        """Send a frame for the first time."""
        sent.sequence = self._oseqno
        self._oseqno = (self._oseqno + 1) & 0xFF
        if self._protection is not None:
            sent.cipher = self._protection.send
        self._outstanding.frames.append(sent)
        if sent.path is not None:
            # Whoever is not there leaves no gap: its place is asked as well.
            self._transmit(sent, now, sent.path)
            sent.tries = 0
        self._transmit(sent, now, self.path)
        sent.due = due = now + self._patience(1)
        timing = self._timing
        if timing is None or due < timing:
            self._timing = due
            self._host.start(self, IaxTimer.RETRANSMIT, due)

    def _repeat_soon(self, sent: Sent, now: int) -> None:
        """Repeat ``sent``, which just went, once more than usual, and before anybody hears that it was lost."""
        sent.tries = 0
        sent.due = due = now + max(2 * (self.round_trip or 0), _SOON)
        if self._timing is None or due < self._timing:
            self._timing = due
            self._host.start(self, IaxTimer.RETRANSMIT, due)

    def _transmit(self, sent: Sent, now: int, path: Path) -> None:
        data = sent.datagram(self.source, self.destination, self._iseqno)
        sent.tries += 1
        sent.at = now
        self._acked = self._iseqno
        self.sent += 1
        self._host.transmit(path, data)

    def _patience(self, tries: int) -> int:
        """How long to wait for the acknowledgement (7.2.1): twice the round trip, then twice as long each time."""
        durations = self._host.durations
        first = durations[IaxTimer.RETRANSMIT]
        round_trip = self.round_trip
        if round_trip is not None and 2 * round_trip > first:
            first = 2 * round_trip
        return min(first << (tries - 1), durations[IaxTimer.RETRANSMIT_MOST])

    def immediate(
        self,
        command: Command,
        now: int,
        elements: Elements | None = None,
        stamp: int | None = None,
        *,
        path: Path | None = None,
        destination: int | None = None,
    ) -> None:
        """Send a frame that takes no sequence number and is not repeated (ACK, VNAK, INVAL, TXCNT, TXACC)."""
        if stamp is None:
            stamp = self._next_stamp(now)
        sent = Sent(FrameType.IAX, command, stamp, b"" if elements is None else bytes(elements))
        sent.sequence = self._oseqno
        if self._protection is not None:
            sent.cipher = self._protection.send
        if path is None:
            self._acked = self._iseqno
        self.sent += 1
        data = sent.datagram(self.source, self.destination if destination is None else destination, self._iseqno)
        self._host.transmit(path or self.path, data)

    def unsupported(self, frame: FullFrame, now: int) -> None:
        """UNSUPPORT for a command that means nothing here (6.9.5)."""
        self.command(Command.UNSUPPORT, now, Elements().add_number(Ie.IAX_UNKNOWN, frame.subclass & 0xFF, 1))

    def _retransmit(self, now: int) -> None:
        """RETRANSMIT ran out: some frame has waited long enough, or the one that it was started for is acknowledged."""
        self._timing = None
        outstanding = self._outstanding
        if not outstanding:
            return
        limit = self._host.durations[IaxTimer.RETRIES]
        for sent in list(outstanding.frames):
            if sent.due > now:
                continue
            if sent.tries > limit:
                what = name_of(sent.kind, sent.subclass)
                self._end(f"{self.path} does not acknowledge {what}, sent {sent.tries} times", now, timed_out=True)
                return
            self._transmit(sent, now, self.path)
            self.repeated += 1
            sent.due = now + self._patience(sent.tries)
        self._timing = due = min([sent.due for sent in outstanding.frames])
        self._host.start(self, IaxTimer.RETRANSMIT, due)

    def _again_for_vnak(self, iseqno: int, now: int) -> None:
        """VNAK (6.9.3): what it asks for goes at once; how often it goes by itself stays as it is."""
        for sent in self._outstanding.asked_for(iseqno, now):
            tries = sent.tries
            self._transmit(sent, now, self.path)
            sent.tries = tries
            sent.asked = True
            self.repeated += 1

    def _repeat_to(self, path: Path, now: int) -> None:
        """All that has no acknowledgement yet goes to ``path`` too; how often it goes by itself stays as it is."""
        for sent in self._outstanding.frames:
            tries = sent.tries
            self._transmit(sent, now, path)
            sent.tries = tries
            sent.asked = True
            self.repeated += 1

    def _acknowledged(self, iseqno: int, now: int) -> None:
        """The far end has all before ``iseqno``, which acknowledges them (7); what waited can go."""
        outstanding = self._outstanding
        last = outstanding.acknowledged(iseqno)
        if last is None:
            return
        # What went more than once may be acknowledged for any of these times (Karn).
        if last.tries == 1 and not last.asked:
            self._measured(now - last.at)
        waiting = outstanding.waiting
        while waiting and not outstanding.full:
            self._begin(waiting.popleft(), now)

    def _measured(self, sample: int) -> None:
        round_trip = self.round_trip
        self.round_trip = sample if round_trip is None else (7 * round_trip + sample) // 8

    def expire(self, timer: IaxTimer, now: int) -> None:
        """A timer of this session ran out."""
        raise NotImplementedError

    def _end(self, text: str, now: int, *, timed_out: bool = False) -> None:
        raise NotImplementedError
