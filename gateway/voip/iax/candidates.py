"""Those that were challenged and have not answered yet: a bounded number, of which no source has more than a share."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.host import Ended, Timed
from gateway.voip.iax.identities import Claim
from gateway.voip.iax.session import Session
from gateway.voip.iax.timers import IaxTimer

SOURCE_SHARE = 8
"""One in so many of them may be of one source."""
_AUTH = IaxTimer.AUTH


class Judge(Protocol):
    """What hears the candidates."""

    def ask(self, session: Session, candidate: Candidate, now: int) -> None:
        """Challenge it."""

    def answered(self, session: Session, candidate: Candidate, frame: FullFrame, now: int) -> None:
        """It said something."""

    def unreadable(self, session: Session, candidate: Candidate, now: int) -> None:
        """It sent what no key makes sense of, or what should have been encrypted."""

    def gone(self, session: Session, candidate: Candidate, now: int) -> None:
        """It did not answer, or nothing that could be read."""


class Candidate:
    """One of them. ``encrypts`` is what of its ENCRYPTION was agreed to."""

    __slots__ = (
        "_judge",
        "challenge",
        "claim",
        "elements",
        "encrypts",
        "had_token",
        "opening",
        "source",
        "unreadable",
    )

    def __init__(self, judge: Judge, claim: Claim, opening: FullFrame, elements: Elements, source: str) -> None:
        self._judge = judge
        self.claim = claim
        self.opening = opening
        self.elements = elements
        self.source = source
        self.had_token = elements.raw(Ie.CALLTOKEN) is not None
        self.unreadable = 0
        self.encrypts = 0
        self.challenge = b""

    @property
    def calls(self) -> bool:
        """Whether it is a call, else a registration."""
        return self.opening.subclass == Command.NEW

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """What it began with, and then what it says to the challenge."""
        if frame is self.opening:
            self._judge.ask(session, self, now)
        elif frame.type == FrameType.IAX:
            self._judge.answered(session, self, frame, now)

    def on_clear(self, session: Session, _frame: FullFrame, now: int) -> None:
        """It agreed to encrypt, and does not."""
        self._judge.unreadable(session, self, now)

    def on_unreadable(self, session: Session, now: int) -> None:
        """It encrypts with another key: the key comes of the password."""
        self._judge.unreadable(session, self, now)

    def on_session_end(self, session: Session, _ended: Ended, now: int) -> None:
        """It is gone."""
        self._judge.gone(session, self, now)


class Clock(Protocol):
    """What is needed of the endpoint."""

    durations: dict[IaxTimer, int]

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""


class Candidates:
    """``most`` of them at a time; ``gone`` is told of each whose time is over."""

    def __init__(self, clock: Clock, most: int, gone: Callable[[Session, Candidate, int], None]) -> None:
        self._clock = clock
        self._most = most
        self._share = max(most // SOURCE_SHARE, 1)
        self._gone = gone
        # Oldest first; when each is given up.
        self._waiting: OrderedDict[Session, tuple[Candidate, int]] = OrderedDict()
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, session: Session) -> bool:
        return session in self._waiting

    def were_asked(self, challenge: bytes) -> bool:
        """Whether ``challenge`` is one that some of them are to answer."""
        return any(candidate.challenge == challenge for candidate, _ in self._waiting.values())

    def has_share(self, source: str) -> bool:
        """Whether there are as many of ``source`` as there may be."""
        return self._by_source[source] >= self._share

    def make_room(self, now: int) -> int:
        """Give up some for another: whoever is honest answers within a round trip. How many went."""
        count = 0
        while len(self._waiting) >= self._most:
            self.abandon(self._least_likely(), now)
            count += 1
        return count

    def _least_likely(self) -> Session:
        """The oldest that showed no token, and may be of nobody; else the oldest."""
        for session, (candidate, _) in self._waiting.items():
            if not candidate.had_token:
                return session
        return next(iter(self._waiting))

    def add(self, session: Session, candidate: Candidate, now: int) -> None:
        """``candidate`` is about to be challenged in ``session``."""
        until = now + self._clock.durations[_AUTH]
        if not self._waiting:
            self._clock.start(self, _AUTH, until)
        self._waiting[session] = candidate, until
        self._by_source[candidate.source] += 1

    def drop(self, session: Session) -> None:
        """``session`` is none of theirs any more; its end is the caller's."""
        found = self._waiting.pop(session, None)
        if found is None:
            return
        source = found[0].source
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
        if not self._waiting:
            self._clock.stop(self, _AUTH)

    def abandon(self, session: Session, now: int) -> None:
        """Forget ``session`` without a word."""
        self.drop(session)
        session.abandon(now)

    def expire(self, _timer: IaxTimer, now: int) -> None:
        """Some have had their time."""
        while self._waiting:
            session, (candidate, until) = next(iter(self._waiting.items()))
            if until > now:
                self._clock.start(self, _AUTH, until)
                return
            self.abandon(session, now)
            self._gone(session, candidate, now)
