"""One session of IAX2 by itself: its host is a list of what it sent, its far end is written by hand, frame by frame."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

from gateway.core import MILLISECOND, SECOND, TimerQueue, timer_durations
from gateway.leg import LegEvent, NotOffered, Offered
from gateway.media.api import Media
from gateway.voip.iax.bursts import Bursts
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.host import Ended, Path, SessionOwner, Timed
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import IaxSettings
from gateway.voip.iax.rounds import Rounds
from gateway.voip.iax.session import Session
from gateway.voip.iax.timers import TIMERS, IaxTimer
from tests.unit.no_media import NoMedia

HERE = Path(1, "192.0.2.2", 4569)
OURS, THEIRS = 7, 9
KEY = bytes(range(16))


class Owner:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.frames: list[FullFrame] = []
        self.ended: list[Ended] = []

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        self.frames.append(frame)

    def on_session_end(self, session: Session, ended: Ended, now: int) -> None:
        self.ended.append(ended)

    @property
    def heard(self) -> list[int]:
        return [frame.subclass for frame in self.frames]


class Watcher(Owner):
    """An owner that is told all there is."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[tuple[bytes, bytes]] = []
        self.moves: list[Path] = []
        self.clear: list[FullFrame] = []
        self.unreadable = 0
        self.transfers: list[tuple[FullFrame, Path]] = []

    def on_keys(self, session: Session, now: int) -> None:
        self.keys.append((session.send_key, session.receive_key))

    def on_moved(self, session: Session, now: int) -> None:
        self.moves.append(session.path)

    def on_clear(self, session: Session, frame: FullFrame, now: int) -> None:
        self.clear.append(frame)

    def on_unreadable(self, session: Session, now: int) -> None:
        self.unreadable += 1

    def on_transfer(self, session: Session, frame: FullFrame, path: Path, now: int) -> None:
        self.transfers.append((frame, path))


class Bench:
    """A host with one session; time is ``now``. ``sent`` has what went out: path and octets."""

    def __init__(self, owner: SessionOwner | None = None, timers: Mapping[IaxTimer, int] | None = None) -> None:
        self.rng = random.Random(1)
        self.media: Media = NoMedia()
        self.durations = timer_durations(TIMERS, timers)
        self.settings = IaxSettings()
        self.bursts = Bursts(logging.getLogger(__name__))
        self.rounds = Rounds()
        self.now = 1000 * SECOND
        self.sent: list[tuple[Path, bytes]] = []
        self.forgotten: list[Session] = []
        self.paths: list[Path] = []
        self.owner = Owner() if owner is None else owner
        self._timers: TimerQueue[tuple[Timed, IaxTimer]] = TimerQueue()
        self.session = Session(self, HERE, OURS, self.owner, self.now)
        # What the far end has sent in sequence.
        self.theirs = 0

    # -- Host --

    def transmit(self, path: Path, data: bytes) -> None:
        self.sent.append((path, data))

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        self._timers.start((owner, timer), at)

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        self._timers.stop((owner, timer))

    def open_session(self, path: Path, owner: SessionOwner, now: int) -> Session | None:
        raise NotImplementedError

    def has_asked(self, challenge: bytes) -> bool:
        return False

    def shown(self, session: Session) -> bool:
        return True

    def changed(self, session: Session) -> None:
        """Nothing is kept here."""

    def forget(self, session: Session, now: int) -> None:
        self.forgotten.append(session)

    def moved(self, session: Session, path: Path) -> None:
        self.paths.append(path)

    def queue(self, leg: IaxLeg, event: LegEvent) -> None:
        raise NotImplementedError

    def offer(self, leg: IaxLeg, offered: Offered, now: int) -> None:
        raise NotImplementedError

    def not_offered(self, refused: NotOffered, now: int) -> None:
        raise NotImplementedError

    def forget_leg(self, leg: IaxLeg) -> None:
        raise NotImplementedError

    # -- time --

    @property
    def timers(self) -> list[IaxTimer]:
        """Those that run."""
        return [timer for _, timer in self._timers]

    def run(self, milliseconds: int) -> None:
        """Let time pass."""
        end = self.now + milliseconds * MILLISECOND
        while (at := self._timers.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            for owner, timer in self._timers.expired(self.now):
                owner.expire(timer, self.now)
        self.now = end

    # -- the far end --

    def frames(self, cipher: Cipher | None = None) -> list[FullFrame]:
        """What has gone out since the last time, read with ``cipher``."""
        sent, self.sent = self.sent, []
        return [parse_full(data if cipher is None else cipher.decrypt(data)) for _, data in sent]

    def names(self, cipher: Cipher | None = None) -> list[str]:
        return [Command(frame.subclass).name for frame in self.frames(cipher) if frame.type == FrameType.IAX]

    def frame(
        self,
        subclass: int,
        *,
        kind: int = FrameType.IAX,
        o: int | None = None,
        i: int | None = None,
        stamp: int = 100,
        elements: Elements | None = None,
        source: int = THEIRS,
        destination: int = OURS,
    ) -> FullFrame:
        """A frame of the far end; ``o`` and ``i`` are its sequence numbers, by default those that are in turn."""
        frame = FullFrame(
            source,
            destination,
            stamp,
            self.theirs if o is None else o,
            self.session._oseqno if i is None else i,
            kind,
            subclass,
            b"" if elements is None else bytes(elements),
        )
        if o is None and frame.in_sequence:
            self.theirs = (self.theirs + 1) & 0xFF
        return frame

    def hear(
        self,
        subclass: int,
        *,
        kind: int = FrameType.IAX,
        o: int | None = None,
        i: int | None = None,
        stamp: int = 100,
        elements: Elements | None = None,
        source: int = THEIRS,
        destination: int = OURS,
        path: Path = HERE,
        cipher: Cipher | None = None,
    ) -> None:
        """Let the far end say it."""
        frame = self.frame(
            subclass,
            kind=kind,
            o=o,
            i=i,
            stamp=stamp,
            elements=elements,
            source=source,
            destination=destination,
        )
        data = bytes(frame)
        self.session.receive(data if cipher is None else cipher.encrypt(data), path, self.now)

    def up(self) -> None:
        """A call that we began and the far end accepted; nothing is outstanding, and nothing noted."""
        self.session.command(Command.NEW, self.now)
        self.hear(Command.ACCEPT)
        self.sent.clear()
        if isinstance(self.owner, Owner):
            self.owner.frames.clear()


def owner_of(bench: Bench) -> Owner:
    assert isinstance(bench.owner, Owner)
    return bench.owner
