"""The running gateway's configuration on asyncio: the store, the change being made, and who takes versions up.

All interfaces to the configuration go through ``ConfigurationKeeper``. Reading, checking and writing run in a thread,
one job at a time, so that the event loop has calls to serve meanwhile. No method ever gives a password back.
"""

from __future__ import annotations

import asyncio
import logging
import time
import tomllib
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

from gateway.background import Background
from gateway.config.change import (
    Change,
    ChangeError,
    ChangeState,
    ChangeStatus,
    Confirm,
    Drain,
    EndDrain,
    Order,
    Refusal,
    StagedDocument,
    TakeUp,
    Told,
    Undo,
    Word,
    Write,
)
from gateway.config.defaults import default_of
from gateway.config.differences import unified
from gateway.config.edit import EditError, NoSuchKeyError, as_document, find, with_value, without
from gateway.config.model import Configuration
from gateway.config.plan import CallUse, Plan, Use, plan_of
from gateway.config.problems import Problem
from gateway.config.store import NoSuchVersionError, Store, StoreError, UnusableError
from gateway.config.store_records import MAX_AUTHOR, MAX_COMMENT, MAX_DOCUMENT, Origin, Trial, Version, sha256
from gateway.config.store_secrets import SecretsError
from gateway.config.store_staged import Staged
from gateway.config.unconfigured import TROUBLE
from gateway.core import SECOND

log = logging.getLogger(__name__)

Which = int | Literal["active", "previous", "staged"]
"""A version by its number, or by what it is; ``active`` is the one that runs."""
LOOK_SECONDS = 0.25
"""How often a commit that waits for calls to end looks whether they have."""

Result = TypeVar("Result")


class ApplyError(Exception):
    """A configuration could not be taken up, and all is as before; the text says why."""


class Applier(Protocol):
    """Who takes configurations up: the running gateway."""

    def calls(self) -> Iterable[CallUse]:
        """The calls of this moment."""

    def drain(self, parts: frozenset[Use]) -> None:
        """Let no new call use ``parts`` until this is said again, with none."""

    async def apply(self, old: Configuration, new: Configuration, plan: Plan) -> str:
        """Go from ``old`` to ``new``; what still needs a restart of the gateway, or nothing.

        Raises ApplyError if it cannot be done; then all is as before.
        """


class ConfigurationKeeper:
    """The one owner of a store that is open. Every method may be called at any time from the event loop's thread.

    Words that change raise ChangeError, whose ``refusal`` names the reason. ``author`` is who says it, for the history.
    ``clock`` gives microseconds since the host started, as when the store was opened; ``boot`` names that start.
    """

    def __init__(
        self,
        store: Store,
        applier: Applier,
        clock: Callable[[], int],
        *,
        boot: str,
        wall_clock: Callable[[], float] = time.time,
        background: Background | None = None,
    ) -> None:
        if store.configuration is None:
            raise ValueError("the store is empty")
        self._store = store
        self._applier = applier
        self._clock = clock
        self._boot = boot
        self._wall = wall_clock
        self._background = background or Background()
        trial = store.state.trial
        staged, self._staged = self._found()
        self._change = Change(store.state.active, None if trial is None else trial.until, staged)
        self._runs = store.configuration
        self._running = store.running
        self._restart = ""
        self._trouble = ""
        self._listeners: list[Callable[[Told], None]] = []
        self._jobs = asyncio.Lock()
        self._work: asyncio.Task[Version | ChangeError | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to watch the trial that a version may be on. Needs a running loop."""
        if self._change.staged is None and self._store.staged is not None:
            self._staged = ("", None)
            self._store.unstage()
        self._announce()
        self._set_timer()

    async def close(self) -> None:
        """Let go of the store. What is staged stays so, as does a version on trial."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._work is not None:
            if self._change.state is ChangeState.DRAINING:
                self._change.discard()
            await asyncio.wait((self._work,))
        async with self._jobs:
            self._store.close()

    @property
    def configuration(self) -> Configuration:
        """The configuration that runs."""
        return self._runs

    def status(self) -> ChangeStatus:
        """Where the configuration stands, now."""
        change, state, staged = self._change, self._store.state, self._change.staged
        left = None if change.trial is None else max(change.trial - self._clock(), 0) / SECOND
        return ChangeStatus(
            state=change.state,
            active=state.active,
            running=self._running,
            previous=state.previous,
            seconds_to_confirm=left if change.state is ChangeState.UNCONFIRMED else None,
            staged_by="" if staged is None else staged.author,
            staged_problems=0 if staged is None else len(staged.problems),
            degraded="; ".join(
                filter(None, (self._store.degraded, TROUBLE if self._store.unconfigured else "", self._trouble))
            ),
            restart=self._restart,
        )

    def listen(self, heard: Callable[[Told], None]) -> Callable[[], None]:
        """Have ``heard`` called with everything that happens; what is returned ends that."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard) if heard in self._listeners else None

    # -- to look at --

    def history(self) -> tuple[Version, ...]:
        """The versions kept, the newest first."""
        return self._store.versions

    async def text(self, which: Which = "active") -> str:
        """The document of a version, or what is staged; passwords are ``{ file = "secrets/NAME.REVISION" }``."""
        if which == "staged":
            return self._staged_document().text
        number = self._number(which)
        return await self._job(lambda: self._store.text(number))

    async def value(self, path: str, which: Which = "active") -> str:
        """What stands at ``path`` (``trunk.hq.qualify``, ``sip.listen``, ``trunk.hq``), written as TOML.

        A value that is not written is its default, if it has one. NO_SUCH_KEY if nothing can be there.
        """
        text = await self.text(which)

        def look() -> str:
            root = tomllib.loads(text)
            try:
                return as_document(find(root, path))
            except NoSuchKeyError:
                return default_of(root, path)

        return await self._job(look)

    async def difference(self, old: Which = "active", new: Which = "staged") -> str:
        """A unified diff of two documents, empty if they are the same."""
        before, after = await self.text(old), await self.text(new)
        return await self._job(lambda: unified(before, after, self._title(old), self._title(new)))

    async def check(self, text: str | None = None) -> tuple[Problem, ...]:
        """Everything to be said about ``text``, or about what is staged; an empty tuple if nothing is."""
        if text is None:
            return self._staged_document().problems
        _bounded(text)
        return tuple(await self._job(lambda: self._store.examined(text)[1]))

    async def plan(self, which: Which = "staged") -> Plan:
        """What would happen if what is staged were committed, or a version rolled back to, this moment."""
        if which == "staged":
            document = self._staged_document()
            new = self._staged[1]
            if new is None:
                raise ChangeError(Refusal.INVALID, "what is staged has errors", document.problems)
        else:
            number = self._number(which)
            new = await self._job(lambda: self._store.usable(number))
        old, calls = self._runs, list(self._applier.calls())
        return await self._job(lambda: plan_of(old, new, calls))

    # -- to change --

    async def stage(self, text: str, author: str) -> StagedDocument:
        """Put ``text`` beside the active version, in place of what was staged. It may have errors, but must be TOML.

        NOT_TOML, TOO_LONG, DISK.
        """
        _bounded(text)
        return await self._stage(lambda: text, author)

    async def set(self, path: str, value: str, author: str) -> StagedDocument:
        """Stage what is staged (or active) with ``value``, written as TOML, at ``path``; a bare word is a string.

        Comments and order stay. A table of a list is added by setting its first key (``trunk.new.host``).
        NO_SUCH_KEY, BAD_VALUE.
        """
        return await self._stage(lambda: with_value(self._draft(), path, value), author)

    async def unset(self, path: str, author: str) -> StagedDocument:
        """Stage what is staged (or active) without the key or table at ``path``. NO_SUCH_KEY."""
        return await self._stage(lambda: without(self._draft(), path), author)

    async def discard(self) -> None:
        """Forget what is staged; a commit that waits for calls to end is given up. NOTHING_STAGED."""
        self._change.discard()
        self._staged = ("", None)
        self._announce()
        await self._unstage()

    async def commit(
        self, author: str, comment: str = "", *, confirm_seconds: int = 0, drain_seconds: int = 0
    ) -> Version:
        """Make what is staged the active version, and take it up; returns when that is done.

        ``confirm_seconds`` above 0: it is undone after them unless confirmed. ``drain_seconds`` above 0: calls that it
        would drop have so long to end. NOTHING_STAGED, INVALID, STALE, UNCONFIRMED, UNCHANGED, BUSY, DISK, NOT_APPLIED.
        """
        self._change.refuse(Word.COMMIT)
        if self._staged_document().valid and self._staged[0] == self._store.version(self._store.running).sha256:
            raise ChangeError(Refusal.UNCHANGED, f"version {self._store.running} says the same")
        self._change.commit(
            _line(author, MAX_AUTHOR),
            _line(comment, MAX_COMMENT),
            self._clock(),
            confirm=confirm_seconds * SECOND,
            drain=drain_seconds * SECOND,
        )
        return await self._carried_out()

    async def confirm(self, author: str) -> Version:
        """Let the version on trial stay. NOTHING_UNCONFIRMED, BUSY, DISK."""
        self._change.confirm()
        log.info("the configuration is confirmed by %s", _line(author, MAX_AUTHOR))
        return await self._carried_out()

    async def roll_back(
        self, author: str, number: int | None = None, comment: str = "", *, confirm_seconds: int = 0
    ) -> Version:
        """Make an earlier version active again, the previous one if none is named; returns when it is taken up.

        A version on trial is undone by that; else what is rolled back to becomes a new version with the old content.
        NO_SUCH_VERSION, INVALID, UNCONFIRMED (with a number), UNCHANGED, BUSY, DISK, NOT_APPLIED.
        """
        self._change.refuse(Word.ROLL_BACK)
        if number is None and self._change.state is not ChangeState.UNCONFIRMED:
            number = self._store.state.previous or None
        if number is not None:
            try:
                version = self._store.version(number)
            except NoSuchVersionError as error:
                raise ChangeError(Refusal.NO_SUCH_VERSION, str(error)) from None
            if version.sha256 == self._store.version(self._store.running).sha256:
                raise ChangeError(Refusal.UNCHANGED, f"version {self._store.running} says the same")
        self._change.roll_back(
            _line(author, MAX_AUTHOR),
            _line(comment, MAX_COMMENT),
            number,
            self._clock(),
            confirm=confirm_seconds * SECOND,
        )
        return await self._carried_out()

    # -- inside: documents --

    def _staged_document(self) -> StagedDocument:
        staged = self._change.staged
        if staged is None:
            raise ChangeError(Refusal.NOTHING_STAGED, "nothing is staged")
        return staged

    def _draft(self) -> str:
        """What an edit starts from. Reads the disk."""
        staged = self._change.staged
        return self._store.text(self._store.running) if staged is None else staged.text

    def _number(self, which: Which) -> int:
        if isinstance(which, int):
            return which
        return self._store.running if which == "active" else self._store.state.previous

    def _title(self, which: Which) -> str:
        return which if which == "staged" else f"version {self._number(which)}"

    async def _stage(self, make: Callable[[], str], author: str) -> StagedDocument:
        self._change.refuse(Word.STAGE)
        author, base = _line(author, MAX_AUTHOR), self._change.active
        # The draft is read with the job, so that of two edits at a time none is lost.
        async with self._jobs:
            document, digest, configuration = await self._thread(lambda: self._examined(make(), author, base))
            self._change.refuse(Word.STAGE)
            before, kept = self._store.staged, Staged(document.text, author, document.wall, base)
            await self._thread(lambda: self._store.stage(kept))
            try:
                self._change.stage(document)
            except ChangeError:
                await self._thread(lambda: self._store.stage(before) if before else self._store.unstage())
                raise
            self._staged = (digest, configuration)
        self._announce()
        return document

    async def _unstage(self) -> None:
        async with self._jobs:
            # Somebody may have staged something anew meanwhile.
            if self._change.staged is None:
                await self._thread(self._store.unstage)

    def _found(self) -> tuple[StagedDocument | None, tuple[str, Configuration | None]]:
        """What was staged before the start, and what it says. Blocks."""
        staged = self._store.staged
        if staged is None or sha256(staged.text.encode()) == self._store.version(self._store.running).sha256:
            # The latter was committed, and power failed before it was no longer staged.
            return None, ("", None)
        configuration, told = self._store.examined(staged.text)
        document = StagedDocument(staged.text, staged.author, staged.wall, staged.base, tuple(told))
        return document, (sha256(staged.text.encode()), configuration)

    def _examined(self, text: str, author: str, base: int) -> tuple[StagedDocument, str, Configuration | None]:
        """Take the passwords out of ``text`` and see what it says. Blocks."""
        _bounded(text)
        try:
            tomllib.loads(text)
        except (ValueError, RecursionError):
            problems = tuple(self._store.examined(text)[1])
            raise ChangeError(Refusal.NOT_TOML, str(problems[0]) if problems else "it is no TOML", problems) from None
        text = self._store.take_passwords(text)
        configuration, told = self._store.examined(text)
        document = StagedDocument(text, author, self._wall(), base, tuple(told))
        return document, sha256(text.encode()), configuration

    # -- inside: orders --

    async def _carried_out(self) -> Version:
        """Carry out what the change orders, whatever becomes of who asked for it."""
        self._work = asyncio.get_running_loop().create_task(self._carry_out())
        outcome = await asyncio.shield(self._work)
        if isinstance(outcome, ChangeError):
            raise outcome
        if outcome is None:
            raise ChangeError(Refusal.BUSY, "the gateway ends")
        return outcome

    async def _carry_out(self) -> Version | ChangeError | None:
        self._announce()
        while (order := self._change.poll()) is not None:
            await self._perform(order)
            self._announce()
        if self._change.staged is None and self._staged[0]:
            self._staged = ("", None)
            await self._unstage()
        self._work = None
        self._set_timer()
        return self._change.outcome

    async def _perform(self, order: Order) -> None:
        change = self._change
        try:
            match order:
                case Drain():
                    await self._drain()
                case EndDrain():
                    self._applier.drain(frozenset())
                case Write():
                    change.written(await self._job(lambda: self._write(order)))
                case TakeUp():
                    change.taken_up(await self._take_up())
                case Undo(why):
                    change.undone(await self._job(lambda: self._store.undo(why)))
                case Confirm():
                    change.confirmed(await self._job(self._store.confirm))
        except ChangeError as error:
            change.failed(error.refusal, str(error))
        except Exception as error:
            log.exception("the configuration cannot be changed")
            change.failed(Refusal.NOT_APPLIED, f"an error of ours: {error}")

    def _write(self, order: Write) -> Version:
        text, configuration = order.text, self._staged[1]
        if order.origin is Origin.ROLLBACK:
            text, configuration = self._store.text_of_ours(order.restores), self._store.usable(order.restores)
        trial = None
        if order.trial is not None:
            trial = Trial(self._boot, order.trial, self._wall() + (order.trial - self._clock()) / SECOND)
        return self._store.add(
            text,
            order.origin,
            author=order.author,
            comment=order.comment,
            wall=self._wall(),
            restores=order.restores,
            trial=trial,
            configuration=configuration,
        )

    async def _take_up(self) -> str:
        old, new = self._runs, self._store.configuration
        if new is None or new == old:
            self._running = self._store.running
            return ""
        calls = list(self._applier.calls())
        plan = await self._job(lambda: plan_of(old, new, calls))
        try:
            restart = await self._applier.apply(old, new, plan)
        except ApplyError as error:
            self._trouble = ""
            if self._store.running != self._running and self._change.undoing:
                self._trouble = f"version {self._store.running} is active and could not be taken up: {error}"
            raise ChangeError(Refusal.NOT_APPLIED, str(error)) from None
        self._runs, self._running, self._restart, self._trouble = new, self._store.running, restart, ""
        return restart

    async def _drain(self) -> None:
        """Wait until no call is left that the change would drop, or it has waited long enough."""
        new = self._staged[1]
        if new is None:
            self._change.drained(self._clock())
            return
        parts: frozenset[Use] | None = None
        while self._change.state is ChangeState.DRAINING:
            old, calls = self._runs, list(self._applier.calls())
            plan = await self._job(lambda old=old, new=new, calls=calls: plan_of(old, new, calls))  # type: ignore[misc]
            if self._change.state is not ChangeState.DRAINING:
                return
            if parts is None:
                parts = plan.affected
                self._applier.drain(parts)
            if not plan.dropped:
                self._change.drained(self._clock())
                return
            self._change.handle_timer(self._clock())
            if self._change.state is ChangeState.DRAINING:
                await asyncio.sleep(LOOK_SECONDS)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._change.next_timer()
        if at is not None and self._work is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(max(at - self._clock(), 0) / SECOND, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._work is not None or self._closed:
            return
        self._change.handle_timer(self._clock())
        self._work = asyncio.get_running_loop().create_task(self._carry_out())

    def _announce(self) -> None:
        while self._change.events:
            told = self._change.events.popleft()
            text = f": {told.text}" if told.text else ""
            log.info("configuration: %s, version %d%s", told.happening.value, told.version, text)
            for heard in tuple(self._listeners):
                try:
                    heard(told)
                except Exception:
                    log.exception("who was told of the configuration failed")

    # -- inside: threads --

    async def _job(self, work: Callable[[], Result]) -> Result:
        """Do what blocks, one such thing at a time."""
        async with self._jobs:
            return await self._thread(work)

    async def _thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await self._background.run(work)
        except NoSuchVersionError as error:
            raise ChangeError(Refusal.NO_SUCH_VERSION, str(error)) from None
        except UnusableError as error:
            raise ChangeError(Refusal.INVALID, str(error), error.problems) from None
        except StoreError as error:
            raise ChangeError(Refusal.DISK, str(error)) from None
        except NoSuchKeyError as error:
            raise ChangeError(Refusal.NO_SUCH_KEY, str(error)) from None
        except (EditError, SecretsError) as error:
            raise ChangeError(Refusal.BAD_VALUE, str(error)) from None


def _bounded(text: str) -> None:
    try:
        octets = len(text) if len(text) > MAX_DOCUMENT else len(text.encode())
    except UnicodeEncodeError:
        raise ChangeError(Refusal.NOT_TOML, "expected text that UTF-8 can hold") from None
    if octets > MAX_DOCUMENT:
        raise ChangeError(Refusal.TOO_LONG, f"expected a document of at most {MAX_DOCUMENT} octets")


def _line(text: str, longest: int) -> str:
    """``text`` as one line that can be shown, cut to ``longest``."""
    return "".join(each if each.isprintable() else " " for each in text[:longest]).strip()
