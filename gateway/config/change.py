"""The life of a change of the configuration: stage, check, plan, commit, confirm or roll back. Sans-I/O.

What is told of it, and the errors that its words may end with. Whoever owns it carries out what ``poll`` hands over.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.config.problems import Problem, Severity
from gateway.config.store_records import Origin, Version
from gateway.core import SECOND

log = logging.getLogger(__name__)

MAX_CONFIRM = 7 * 24 * 3600 * SECOND
MAX_DRAIN = 24 * 3600 * SECOND


class ChangeState(Enum):
    """Where the configuration stands."""

    IDLE = "idle"
    """The active version runs and nothing is staged."""
    STAGED = "staged"
    """A document waits beside the active version; it may have errors."""
    DRAINING = "draining"
    """A commit waits for the calls to end that it would drop; new ones that would need those parts are refused."""
    APPLYING = "applying"
    """A version is being written and taken up."""
    UNCONFIRMED = "unconfirmed"
    """The active version runs on trial: without ``confirm`` it is undone at its deadline."""


class Refusal(Enum):
    """Why a word was not carried out; the value is its name for interfaces."""

    NOTHING_STAGED = "NothingStaged"
    NOT_TOML = "NotToml"
    TOO_LONG = "TooLong"
    INVALID = "Invalid"
    """The document has errors; ``problems`` has them."""
    STALE = "Stale"
    """Another version has become active since the document was staged."""
    UNCONFIRMED = "Unconfirmed"
    """A version still waits to be confirmed or rolled back."""
    NOTHING_UNCONFIRMED = "NothingUnconfirmed"
    BUSY = "Busy"
    """A commit or a roll-back is being carried out."""
    NO_SUCH_VERSION = "NoSuchVersion"
    NO_SUCH_KEY = "NoSuchKey"
    BAD_VALUE = "BadValue"
    """Not a value of TOML, or one out of its range."""
    UNCHANGED = "Unchanged"
    """The document is the active one."""
    DISK = "Disk"
    """The version could not be written; the old one goes on."""
    NOT_APPLIED = "NotApplied"
    """The version could not be taken up; the one before runs again."""


class ChangeError(Exception):
    """A word that is refused: ``refusal`` says why for programs, the text for people."""

    def __init__(self, refusal: Refusal, text: str, problems: tuple[Problem, ...] = ()) -> None:
        self.refusal = refusal
        self.problems = problems
        super().__init__(text)


class Happening(Enum):
    """What is told of the configuration while it changes."""

    STAGED = "staged"
    DISCARDED = "discarded"
    DRAINING = "draining"
    COMMITTED = "committed"
    """``version`` is active and taken up; with a deadline it still is to be confirmed."""
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled back"
    """``version`` is active again, or anew."""
    FAILED = "failed"
    """A commit or a roll-back came to nothing; ``text`` says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event. ``version`` is the active one after it; ``text`` is for people."""

    happening: Happening
    version: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class StagedDocument:
    """What is staged. ``text`` has references in place of passwords. ``base``: the active version it was made upon."""

    text: str
    author: str
    wall: float
    base: int
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        """Whether it may be committed: no problem of it is an error."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """Where the configuration stands. Seconds count from now; ``degraded`` is empty while all is well.

    ``active`` is what the disk says is to run, ``running`` what does (another one if ``active`` cannot be used);
    ``previous`` is what a roll-back without a number leads to, 0 if there is none. ``staged_by`` is empty if nothing is
    staged. ``restart`` says why ``running`` needs a restart of the gateway to be in force entirely, or is empty.
    """

    state: ChangeState
    active: int
    running: int
    previous: int
    seconds_to_confirm: float | None
    staged_by: str
    staged_problems: int
    degraded: str
    restart: str


# -- what the owner carries out --


@dataclass(frozen=True, slots=True)
class Drain:
    """Let no new call begin that the change would drop, and say ``drained`` when the last one ended."""


@dataclass(frozen=True, slots=True)
class EndDrain:
    """Let all calls begin again."""


@dataclass(frozen=True, slots=True)
class Write:
    """Make a version of ``text`` in the store, or of version ``restores``; then say ``written`` or ``failed``.

    ``trial`` is until when it is to be confirmed, None if it need not be.
    """

    origin: Origin
    text: str
    restores: int
    author: str
    comment: str
    trial: int | None


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Let the gateway run what is active now; then say ``taken_up`` or ``failed``."""


@dataclass(frozen=True, slots=True)
class Undo:
    """Let the version before the active one be active again; then say ``undone`` or ``failed``."""

    why: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Let the version on trial stay; then say ``confirmed`` or ``failed``."""


Order = Drain | EndDrain | Write | TakeUp | Undo | Confirm


class Word(Enum):
    """What people say to a configuration."""

    STAGE = "stage"
    DISCARD = "discard"
    COMMIT = "commit"
    CONFIRM = "confirm"
    ROLL_BACK = "roll back"


_BUSY = (Refusal.BUSY, "another version is being written and taken up")
_DRAINING = (Refusal.BUSY, "a commit waits for calls to end; discard what is staged to give it up")
_ON_TRIAL = (Refusal.UNCONFIRMED, "the active version is on trial: confirm it or roll it back first")
_NOTHING = (Refusal.NOTHING_STAGED, "nothing is staged")
_NO_TRIAL = (Refusal.NOTHING_UNCONFIRMED, "no version waits to be confirmed")

REFUSED: Mapping[Word, Mapping[ChangeState, tuple[Refusal, str]]] = {
    Word.STAGE: {ChangeState.DRAINING: _DRAINING, ChangeState.APPLYING: _BUSY},
    Word.DISCARD: {ChangeState.IDLE: _NOTHING, ChangeState.APPLYING: _BUSY},
    Word.COMMIT: {
        ChangeState.IDLE: _NOTHING,
        ChangeState.DRAINING: _DRAINING,
        ChangeState.APPLYING: _BUSY,
        ChangeState.UNCONFIRMED: _ON_TRIAL,
    },
    Word.CONFIRM: {
        ChangeState.IDLE: _NO_TRIAL,
        ChangeState.STAGED: _NO_TRIAL,
        ChangeState.DRAINING: _NO_TRIAL,
        ChangeState.APPLYING: _BUSY,
    },
    Word.ROLL_BACK: {ChangeState.DRAINING: _DRAINING, ChangeState.APPLYING: _BUSY},
}
"""In which states a word is refused; in all others it is heeded."""


class Change:
    """What is staged, what is on trial, and what is being done about it.

    After each call the owner drains ``poll`` and ``events``. ``outcome`` is how the last word ended that took orders to
    carry out: the version that it made active, or why it came to nothing.
    """

    def __init__(self, active: int, trial: int | None = None, staged: StagedDocument | None = None) -> None:
        """``trial``: until when the active version is to be confirmed, in microseconds of the owner's clock.

        ``staged`` was so before a restart; if another version is active meanwhile it is dropped, which is told.
        """
        self.active = active
        self.staged: StagedDocument | None = None
        self.trial = trial
        self.outcome: Version | ChangeError | None = None
        self.events: deque[Told] = deque()
        self._orders: deque[Order] = deque()
        self._state = ChangeState.IDLE
        self._timer: int | None = None
        self._write: Write | None = None
        self._version: Version | None = None
        self._undoing = ""
        self._failure: ChangeError | None = None
        if staged is not None and staged.base == active:
            self.staged = staged
        elif staged is not None:
            text = f"what {staged.author} staged upon version {staged.base}, as version {active} is active now"
            self._tell(Happening.DISCARDED, text)
        self._rest()

    @property
    def state(self) -> ChangeState:
        """Where the configuration stands."""
        return self._state

    @property
    def undoing(self) -> bool:
        """Whether the version before the last one is to run again."""
        return bool(self._undoing)

    def next_timer(self) -> int | None:
        """When the wait for calls to end, or a trial, is over; None if neither goes on."""
        return self._timer

    def poll(self) -> Order | None:
        """The next thing to carry out."""
        return self._orders.popleft() if self._orders else None

    def refuse(self, word: Word) -> None:
        """Raise ChangeError if ``word`` is not heeded now."""
        refused = REFUSED[word].get(self._state)
        if refused is not None:
            raise ChangeError(*refused)

    # -- words --

    def stage(self, document: StagedDocument) -> None:
        """Put ``document`` beside the active version."""
        self.refuse(Word.STAGE)
        self.staged = document
        self._rest()
        self._tell(Happening.STAGED, f"by {document.author}")

    def discard(self) -> None:
        """Forget what is staged; a commit that waits for calls to end is given up."""
        self.refuse(Word.DISCARD)
        if self.staged is None:
            raise ChangeError(*_NOTHING)
        self.staged = None
        if self._state is ChangeState.DRAINING:
            self._orders.append(EndDrain())
            self._write = None
            self.outcome = ChangeError(Refusal.NOTHING_STAGED, "what was staged was discarded meanwhile")
        self._rest()
        self._tell(Happening.DISCARDED)

    def commit(self, author: str, comment: str, now: int, *, confirm: int = 0, drain: int = 0) -> None:
        """Make what is staged the active version. ``confirm`` and ``drain`` are microseconds, 0 for neither."""
        self.refuse(Word.COMMIT)
        staged = self.staged
        if staged is None:
            raise ChangeError(*_NOTHING)
        if not staged.valid:
            raise ChangeError(Refusal.INVALID, "what is staged has errors", staged.problems)
        if staged.base != self.active:
            text = f"version {self.active} became active after this was staged upon {staged.base}; stage it anew"
            raise ChangeError(Refusal.STALE, text)
        _in_range("confirm", confirm, MAX_CONFIRM)
        _in_range("drain", drain, MAX_DRAIN)
        self._begin(Write(Origin.COMMIT, staged.text, 0, author, comment, confirm or None), now, drain)

    def roll_back(self, author: str, comment: str, number: int | None, now: int, *, confirm: int = 0) -> None:
        """Make ``number`` active again as a new version; without a number undo the version on trial."""
        self.refuse(Word.ROLL_BACK)
        if self._state is ChangeState.UNCONFIRMED:
            if number is not None:
                raise ChangeError(*_ON_TRIAL)
            self._undo(f"rolled back by {author}")
            return
        if number is None:
            raise ChangeError(Refusal.NO_SUCH_VERSION, "there is no version before the active one")
        _in_range("confirm", confirm, MAX_CONFIRM)
        self._begin(Write(Origin.ROLLBACK, "", number, author, comment, confirm or None), now, 0)

    def confirm(self) -> None:
        """Let the version on trial stay."""
        self.refuse(Word.CONFIRM)
        self._set_state(ChangeState.APPLYING)
        self._orders.append(Confirm())

    def handle_timer(self, now: int) -> None:
        """Go on without the calls that did not end in time, or undo what was not confirmed."""
        if self._timer is None or now < self._timer:
            return
        if self._state is ChangeState.DRAINING:
            self.drained(now)
        elif self._state is ChangeState.UNCONFIRMED:
            self._undo("it was not confirmed in time")

    # -- how orders ended --

    def drained(self, now: int) -> None:
        """The calls that would drop have ended."""
        if self._state is ChangeState.DRAINING and self._write is not None:
            self._orders.append(EndDrain())
            self._apply(self._write, now)

    def written(self, version: Version) -> None:
        """The store has a new active version."""
        self._version = version
        self.active = version.number
        self._orders.append(TakeUp())

    def taken_up(self, text: str = "") -> None:
        """The gateway runs the active version; ``text`` says what still needs a restart."""
        version, write = self._version, self._write
        self._version = self._write = None
        if version is None:
            return
        self.outcome = self._failure or version
        self._failure = None
        if self._undoing:
            self._undoing = ""
            self.trial = None
            self._rest()
            self._tell(Happening.ROLLED_BACK, text)
            return
        if write is not None and write.origin is Origin.COMMIT:
            self.staged = None
        if self.trial is not None:
            self._set_state(ChangeState.UNCONFIRMED)
            self._timer = self.trial
        else:
            self._rest()
        rolled_back = version.origin is Origin.ROLLBACK
        self._tell(Happening.ROLLED_BACK if rolled_back else Happening.COMMITTED, text)

    def undone(self, version: Version) -> None:
        """The store has the version before as the active one again."""
        self._version = version
        self.active = version.number
        self._orders.append(TakeUp())

    def confirmed(self, version: Version) -> None:
        """The store let the version stay."""
        self.trial = None
        self.outcome = version
        self._rest()
        self._tell(Happening.CONFIRMED)

    def failed(self, refusal: Refusal, text: str) -> None:
        """The last order could not be carried out."""
        error = ChangeError(refusal, text)
        self.outcome = error
        self._tell(Happening.FAILED, text)
        if self._write is not None and self._version is not None and not self._undoing:
            # It is active on disk, and must not be.
            self._failure = error
            self._undo(text)
            return
        if self._write is not None or self._undoing:
            # Of what cannot even be gone back from there is nothing more to try.
            self.trial = None
        self._undoing = ""
        self._version = self._write = self._failure = None
        self._rest()

    # -- inside --

    def _begin(self, write: Write, now: int, drain: int) -> None:
        self.outcome = None
        self._failure = None
        if not drain:
            self._apply(write, now)
            return
        self._write = write
        self._set_state(ChangeState.DRAINING)
        self._timer = now + drain
        self._orders.append(Drain())
        self._tell(Happening.DRAINING, f"for {drain / SECOND:g} s at most")

    def _apply(self, write: Write, now: int) -> None:
        trial = None if write.trial is None else now + write.trial
        self.trial = trial
        self._write = Write(write.origin, write.text, write.restores, write.author, write.comment, trial)
        self._set_state(ChangeState.APPLYING)
        self._orders.append(self._write)

    def _undo(self, why: str) -> None:
        self._version = self._write = None
        self._undoing = why
        self._set_state(ChangeState.APPLYING)
        self._orders.append(Undo(why))

    def _rest(self) -> None:
        """Nothing is being carried out: what is on trial goes before what is staged."""
        if self.trial is not None:
            self._set_state(ChangeState.UNCONFIRMED)
            self._timer = self.trial
        else:
            self._set_state(ChangeState.IDLE if self.staged is None else ChangeState.STAGED)

    def _set_state(self, state: ChangeState) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("change: %s -> %s", self._state.value, state.value)
        self._state = state
        self._timer = None

    def _tell(self, happening: Happening, text: str = "") -> None:
        self.events.append(Told(happening, self.active, text))


def _in_range(what: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        text = f"{what}: {value / SECOND:g} s; expected 0 to {most // SECOND}"
        raise ChangeError(Refusal.BAD_VALUE, text)
