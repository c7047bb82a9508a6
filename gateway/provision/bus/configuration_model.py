"""The configuration as the bus shows it: kept in a store (``gateway.config.keeper``), or a file that is only shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.config.change import ChangeError, ChangeState, ChangeStatus, Refusal
from gateway.config.keeper import ConfigurationKeeper, Which
from gateway.config.plan import Plan
from gateway.config.problems import Problem
from gateway.config.store_secrets import take_secrets
from gateway.provision.bus.errors import Name, ServiceError, not_supported
from gateway.provision.bus.model import STAGED, Entry, PlanView

T = TypeVar("T")

_NAMES = {
    Refusal.NOT_TOML: Name.INVALID_CONFIGURATION,
    Refusal.INVALID: Name.INVALID_CONFIGURATION,
    Refusal.TOO_LONG: Name.LIMITS_EXCEEDED,
    Refusal.NO_SUCH_VERSION: Name.NOT_FOUND,
    Refusal.NO_SUCH_KEY: Name.NOT_FOUND,
    Refusal.BAD_VALUE: Name.INVALID_ARGUMENT,
}
"""All others say that it is not possible now."""
MAX_TOLD_PROBLEMS = 20


def row_of(problem: Problem) -> tuple[str, int, str, str, str]:
    """A row of PROBLEM_ROW; a value is in the text, as ``gateway --check`` has it."""
    text = f"{problem.value}: {problem.text}" if problem.value else problem.text
    return (Path(problem.file).name, problem.line, problem.severity.value, problem.key, text)


def view_of(plan: Plan) -> PlanView:
    """A plan for the bus; parts that stay as they are are not told."""
    entries = []
    for entry in plan.changes:
        differences = tuple(
            (each.key, "", "") if each.secret else (each.key, each.old, each.new) for each in entry.differences
        )
        entries.append(Entry(entry.kind.value, entry.name, entry.action.value, differences, entry.calls, entry.why))
    return PlanView(tuple(entries), plan.service)


def _which(version: int) -> Which:
    if version == STAGED:
        return "staged"
    return version or "active"


async def _said(word: Awaitable[T]) -> T:
    """The result of a word of the keeper; its refusals become errors of the bus."""
    try:
        return await word
    except ChangeError as error:
        lines = [str(error), *(str(each) for each in error.problems[:MAX_TOLD_PROBLEMS])]
        raise ServiceError(_NAMES.get(error.refusal, Name.NOT_POSSIBLE), "\n".join(lines)) from None


class KeptConfiguration:
    """A ConfigurationModel over a store."""

    def __init__(self, keeper: ConfigurationKeeper) -> None:
        self._keeper = keeper

    def standing(self) -> ChangeStatus:
        """Where it stands."""
        return self._keeper.status()

    async def text(self, version: int) -> str:
        """A document."""
        return await _said(self._keeper.text(_which(version)))

    async def value(self, key: str, version: int) -> str:
        """What stands at a dotted key, as TOML."""
        return await _said(self._keeper.value(key, _which(version)))

    async def stage(self, text: str, author: str) -> None:
        """Stage a whole document."""
        await _said(self._keeper.stage(text, author))

    async def set_key(self, key: str, value: str, author: str) -> None:
        """Stage with one key changed."""
        await _said(self._keeper.set(key, value, author))

    async def unset_key(self, key: str, author: str) -> None:
        """Stage without a key or table."""
        await _said(self._keeper.unset(key, author))

    async def discard(self) -> None:
        """Forget what is staged."""
        await _said(self._keeper.discard())

    async def problems(self, text: str | None = None) -> Sequence[tuple[str, int, str, str, str]]:
        """What is wrong with ``text`` or what is staged."""
        return [row_of(each) for each in await _said(self._keeper.check(text))]

    async def plan(self, version: int) -> PlanView:
        """What a commit would do, or a roll-back."""
        return view_of(await _said(self._keeper.plan(_which(version))))

    async def commit(self, comment: str, author: str, confirm_seconds: int, drain_seconds: int) -> int:
        """Make what is staged the active version."""
        word = self._keeper.commit(author, comment, confirm_seconds=confirm_seconds, drain_seconds=drain_seconds)
        return (await _said(word)).number

    async def confirm(self, author: str) -> None:
        """Keep the active version."""
        await _said(self._keeper.confirm(author))

    async def rollback(self, version: int, author: str, confirm_seconds: int) -> int:
        """Make a version active again."""
        word = self._keeper.roll_back(author, version or None, confirm_seconds=confirm_seconds)
        return (await _said(word)).number

    async def history(self) -> Sequence[tuple[object, ...]]:
        """Rows of HISTORY_ROW, the youngest first."""
        return [
            (
                each.number,
                max(int(each.wall * 1e6), 0),
                each.author,
                each.comment,
                each.origin.value,
                each.parent,
                each.restores,
                each.fault or each.undone,
            )
            for each in self._keeper.history()
        ]

    async def diff(self, old: int, new: int) -> str:
        """What differs between two documents."""
        return await _said(self._keeper.difference(_which(old), _which(new)))


class FileConfiguration:
    """A ConfigurationModel over the file that ``gateway --config`` was started with: it can be looked at, no more."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def standing(self) -> ChangeStatus:
        """One version, for ever."""
        return ChangeStatus(ChangeState.IDLE, 0, 0, 0, None, "", 0, "", "")

    def _no(self) -> ServiceError:
        return not_supported(f"the gateway runs with {self._path.name}, not with a store (gateway --store DIRECTORY)")

    async def text(self, version: int) -> str:
        """The file, its passwords covered."""
        if version:
            raise self._no()
        try:
            return await asyncio.to_thread(self._covered)
        except (OSError, ValueError) as error:
            raise ServiceError(Name.NOT_POSSIBLE, f"{self._path.name}: {error}") from None

    def _covered(self) -> str:
        return take_secrets(self._path.read_text("utf-8"), lambda name, _: f"secrets/{name}")

    async def value(self, key: str, version: int) -> str:
        """Only a store is read by keys."""
        raise self._no()

    async def stage(self, text: str, author: str) -> None:
        """Not here."""
        raise self._no()

    async def set_key(self, key: str, value: str, author: str) -> None:
        """Not here."""
        raise self._no()

    async def unset_key(self, key: str, author: str) -> None:
        """Not here."""
        raise self._no()

    async def discard(self) -> None:
        """Not here."""
        raise self._no()

    async def problems(self, text: str | None = None) -> Sequence[tuple[str, int, str, str, str]]:
        """Not here."""
        raise self._no()

    async def plan(self, version: int) -> PlanView:
        """Not here."""
        raise self._no()

    async def commit(self, comment: str, author: str, confirm_seconds: int, drain_seconds: int) -> int:
        """Not here."""
        raise self._no()

    async def confirm(self, author: str) -> None:
        """Not here."""
        raise self._no()

    async def rollback(self, version: int, author: str, confirm_seconds: int) -> int:
        """Not here."""
        raise self._no()

    async def history(self) -> Sequence[tuple[object, ...]]:
        """There is none."""
        return []

    async def diff(self, old: int, new: int) -> str:
        """Not here."""
        raise self._no()
