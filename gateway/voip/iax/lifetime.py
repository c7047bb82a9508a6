"""The life of a session of IAX2: what its owner does to it, its timers, its keys (RFC 5456 6.7).

What it sends is in ``sending.py``, what it hears in ``session.py``.
"""

from __future__ import annotations

import logging

from gateway.core import SECOND
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.host import Ended, Host, Path, SessionOwner
from gateway.voip.iax.protection import Protection
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.roaming import Roaming
from gateway.voip.iax.sending import SendingSession
from gateway.voip.iax.timers import IaxTimer

log = logging.getLogger(__name__)

_ROTATION_RETRY = SECOND
_CONTENTS = frozenset({FrameType.DTMF, FrameType.DTMF_BEGIN, FrameType.CONTROL, FrameType.TEXT})
"""Frames that are for whoever the far end is, and not of the session itself."""


class LivingSession(SendingSession):
    """A session as far as its owner and its timers have a hand in it; see ``gateway.voip.iax.session.Session``."""

    __slots__ = (
        "_deaf",
        "_done",
        "_early",
        "_gap",
        "_inval_at",
        "_invals",
        "_lagrq",
        "_ping",
        "_roaming",
        "_rotate",
        "far_report",
        "heard",
        "lag",
        "malformed",
        "owner",
        "received",
        "strangers",
    )

    def __init__(
        self, host: Host, path: Path, source: int, owner: SessionOwner, now: int, destination: int = 0
    ) -> None:
        super().__init__(host, path, source, now, destination)
        self.owner = owner
        self.lag: int | None = None
        self.heard: int | None = None
        self.far_report: LinkReport | None = None
        # Datagrams: good ones, those that make no sense, those from elsewhere.
        self.received = self.malformed = self.strangers = 0
        # What came before its turn, by sequence number.
        self._early: dict[int, FullFrame] = {}
        # What was last asked for by VNAK, and when.
        self._gap: tuple[int, int] | None = None
        # Stamp and time of the PING and LAGRQ of ours that have no answer yet.
        self._ping: tuple[int, int] | None = None
        self._lagrq: tuple[int, int] | None = None
        self._invals = 0
        self._inval_at = 0
        self._rotate = False
        self._roaming: Roaming | None = None
        self._done = False
        self._deaf = False

    def __repr__(self) -> str:
        return f"<Session {self.source}->{self.destination} {self.path}>"

    def watch(self, now: int) -> None:
        """From now on see by PING and LAGRQ whether the far end is there, and how far (6.7.2, 6.7.4)."""
        host, durations = self._host, self._host.durations
        host.start(self, IaxTimer.PING, now + durations[IaxTimer.PING])
        host.start(self, IaxTimer.LAGRQ, now + durations[IaxTimer.LAGRQ])

    def ping(self, now: int) -> None:
        """PING at once; nothing on a closed session."""
        if not self.closed:
            self._ask(Command.PING, now)

    def encrypt(self, send_key: bytes, receive_key: bytes, now: int, *, rotate: bool = False) -> None:
        """Encrypt what is sent from now on, and take nothing in clear any more. ``rotate``: with new keys in time.

        What went in clear is repeated in clear. IaxError if a key has not 16 octets.
        """
        self._protection = Protection(send_key, receive_key, self._host.rng)
        if rotate:
            self.rotate_keys(now)

    def rotate_keys(self, now: int) -> None:
        """Send with a new key in time, and with another after that: the far end knows RTKEY."""
        self._rotate = True
        self._start_rotation(now)

    @property
    def encrypted(self) -> bool:
        """Whether frames are encrypted."""
        return self._protection is not None

    @property
    def send_key(self) -> bytes:
        """What we encrypt with now; b"" in clear."""
        return self._protection.send_key if self._protection is not None else b""

    @property
    def receive_key(self) -> bytes:
        """What the far end encrypts with now; b"" in clear."""
        return self._protection.receive_key if self._protection is not None else b""

    def move(self, path: Path, now: int) -> None:
        """The far end is at ``path`` now; nothing else of the session changes."""
        log.info("%s: the far end is at %s now", getattr(self.owner, "name", None) or repr(self), path)
        self.path = path
        self._host.changed(self)  # type: ignore[arg-type]
        self._host.moved(self, path)  # type: ignore[arg-type]
        on_moved = getattr(self.owner, "on_moved", None)
        if on_moved is not None:
            on_moved(self, now)

    def join(self, path: Path, destination: int, now: int) -> None:
        """Go on with another far end after a transfer (6.5): sequence numbers and stamps begin anew.

        Digits and the like that nobody has acknowledged go to the new one.
        """
        outstanding = self._outstanding
        unheard = [sent for sent in (*outstanding.frames, *outstanding.waiting) if sent.kind in _CONTENTS]
        outstanding.clear()
        self._early.clear()
        self._oseqno = self._iseqno = self._acked = 0
        self._stamp = -1
        self.epoch = now
        self.round_trip = self.lag = None
        self._ping = self._lagrq = self._gap = None
        self.destination = destination
        self.move(path, now)
        for sent in unheard:
            self._send(sent.kind, sent.subclass, now, sent.data)

    def leave(self, now: int) -> None:
        """Close, and take nothing more: what the far end has still to say is for whom it talks to from now on."""
        self._deaf = True
        self.close(now)

    def close(self, now: int) -> None:
        """The owner is done. What is not acknowledged is repeated as long as it has to be; nobody is told."""
        if self.closed:
            return
        self.closed = True
        self._stop_watching()
        if not self._outstanding:
            self._forget(now)

    def abandon(self, now: int) -> None:
        """Forget the session at once, whatever is not acknowledged."""
        self.closed = True
        self._outstanding.clear()
        self._stop_watching()
        self._forget(now)

    def _stop_watching(self) -> None:
        host = self._host
        host.stop(self, IaxTimer.PING)
        host.stop(self, IaxTimer.LAGRQ)
        if self._rotate:
            host.stop(self, IaxTimer.KEY_LEAST)

    def _forget(self, now: int) -> None:
        if self._done:
            return
        self._done = True
        if self._timing is not None:
            self._timing = None
            self._host.stop(self, IaxTimer.RETRANSMIT)
        self._host.forget(self, now)  # type: ignore[arg-type]

    def _end(self, text: str, now: int, *, timed_out: bool = False) -> None:
        """There is no far end any more."""
        told = not self.closed
        self.abandon(now)
        if told:
            self.owner.on_session_end(self, Ended(text, timed_out), now)  # type: ignore[arg-type]

    # -- timers --

    def expire(self, timer: IaxTimer, now: int) -> None:
        """A timer of this session ran out."""
        if timer is IaxTimer.RETRANSMIT:
            self._retransmit(now)
        elif self.closed:
            return
        elif timer is IaxTimer.PING:
            self._host.start(self, timer, now + self._host.durations[timer])
            self._ask(Command.PING, now)
        elif timer is IaxTimer.LAGRQ:
            self._host.start(self, timer, now + self._host.durations[timer])
            self._ask(Command.LAGRQ, now)
        elif timer is IaxTimer.KEY_LEAST:
            self._new_key(now)

    def _ask(self, command: Command, now: int, path: Path | None = None) -> int:
        stamp = self._send(FrameType.IAX, command, now, b"", path=path)
        if command is Command.PING:
            self._ping = (stamp, now)
        else:
            self._lagrq = (stamp, now)
        return stamp

    def _start_rotation(self, now: int) -> None:
        durations = self._host.durations
        least, most = durations[IaxTimer.KEY_LEAST], durations[IaxTimer.KEY_MOST]
        self._host.start(self, IaxTimer.KEY_LEAST, now + self._host.rng.randint(least, max(least, most)))

    def _new_key(self, now: int) -> None:
        protection = self._protection
        if protection is None:
            return
        if self._outstanding.full or self._outstanding.waiting:
            # RTKEY goes with the old key and all behind it with the new one: it must not stand in a queue.
            self._host.start(self, IaxTimer.KEY_LEAST, now + _ROTATION_RETRY)
            return
        elements = protection.new_key()
        self._send(FrameType.IAX, Command.RTKEY, now, bytes(elements))
        # Until it is there all that follows is noise.
        self._repeat_soon(self._outstanding.frames[-1], now)
        protection.sent_new_key(elements)
        self._start_rotation(now)
        self._tell_keys(now)

    def _tell_keys(self, now: int) -> None:
        on_keys = getattr(self.owner, "on_keys", None)
        if on_keys is not None:
            on_keys(self, now)
