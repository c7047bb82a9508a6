"""What the service needs of the gateway, as protocols: the daemon has them, and the tests have models of their own.

Nothing here may block. What raises, raises ServiceError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.provision.bus.states import (
    CallState,
    ManagerState,
    NetworkState,
    PhoneState,
    Quality,
    SpanState,
    TrunkState,
)

if TYPE_CHECKING:
    from gateway.config.change import ChangeStatus


@dataclass(frozen=True, slots=True)
class Entry:
    """One part of a plan: see ``gateway.config.plan``. ``differences``: key, old, new; both empty for a secret."""

    kind: str
    name: str
    action: str
    differences: tuple[tuple[str, str, str], ...]
    calls: tuple[str, ...]
    why: str

    def as_row(self) -> tuple[object, ...]:
        """By PLAN_ROW."""
        return (self.kind, self.name, self.action, self.differences, self.calls, self.why)


PLAN_ROW = "sssa(sss)ass"
HISTORY_ROW = "utsssuus"
"""Number, wall-clock microseconds, author, comment, commit/rollback/import, parent, restores, what is wrong with it."""
PROBLEM_ROW = "susss"
"""File, line, error or warning, key, text."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """What a commit would do. ``service`` says why the whole gateway has to restart, or is empty."""

    entries: tuple[Entry, ...]
    service: str


STAGED = 0xFFFF_FFFF
"""In place of a version's number: what is staged. 0 is the active version."""


class ConfigurationModel(Protocol):
    """The configuration and its change. Texts of documents have references in place of passwords."""

    def standing(self) -> ChangeStatus:
        """Where it stands."""

    async def text(self, version: int) -> str:
        """A document."""

    async def value(self, key: str, version: int) -> str:
        """What stands at a dotted key, as TOML."""

    async def stage(self, text: str, author: str) -> None:
        """Stage a whole document; it may have errors, which ``problems`` tells."""

    async def set_key(self, key: str, value: str, author: str) -> None:
        """Stage the staged (or the active) document with one key changed; ``value`` as in TOML."""

    async def unset_key(self, key: str, author: str) -> None:
        """Stage the staged (or the active) document without a key or table."""

    async def discard(self) -> None:
        """Forget what is staged."""

    async def problems(self, text: str | None = None) -> Sequence[tuple[str, int, str, str, str]]:
        """What is wrong with ``text`` or what is staged, rows of PROBLEM_ROW."""

    async def plan(self, version: int) -> PlanView:
        """What a commit of what is staged would do, or a roll-back to a version."""

    async def commit(self, comment: str, author: str, confirm_seconds: int, drain_seconds: int) -> int:
        """Make what is staged the active version, whose number it returns; 0 seconds need no confirmation."""

    async def confirm(self, author: str) -> None:
        """Keep the active version."""

    async def rollback(self, version: int, author: str, confirm_seconds: int) -> int:
        """Make a version active again, 0 for the one before; the number of the active one afterwards."""

    async def history(self) -> Sequence[tuple[object, ...]]:
        """Rows of HISTORY_ROW, the youngest first."""

    async def diff(self, old: int, new: int) -> str:
        """What differs between two documents, as a unified diff."""


@dataclass(frozen=True, slots=True)
class TraceWanted:
    """What a trace is to have. ``call`` or ``span`` narrow it; ``secrets``: keys and passwords are not taken out.

    ``past``: what is in the ring only, and then the end; else it goes on until the reader is gone. ``voice``: what is
    said from then on as well.
    """

    call: str = ""
    span: str = ""
    secrets: bool = False
    past: bool = False
    voice: bool = False


Progress = Callable[[float, str], None]


class GatewayModel(Protocol):
    """A running gateway."""

    @property
    def configuration(self) -> ConfigurationModel:
        """Its configuration."""

    def manager(self) -> ManagerState:
        """The gateway as a whole."""

    def network(self) -> NetworkState:
        """How it stands to the Internet."""

    def span_names(self) -> Iterable[str]:
        """Its spans."""

    def span(self, name: str) -> SpanState | None:
        """One of them."""

    def trunk_names(self) -> Iterable[str]:
        """Its trunks, SIP and IAX2."""

    def trunk(self, name: str) -> TrunkState | None:
        """One of them."""

    def phone_names(self) -> Iterable[str]:
        """Its phones."""

    def phone(self, name: str) -> PhoneState | None:
        """One of them."""

    def call_names(self) -> Iterable[str]:
        """Its calls' identities."""

    def call_mark(self, identity: str) -> object:
        """What differs when anything that is told of a call has changed; None if it is gone."""

    def call(self, identity: str) -> CallState | None:
        """One of them."""

    async def quality(self, identity: str) -> Sequence[Quality]:
        """The voice of a call, by side."""

    def hang_up(self, identity: str) -> None:
        """End a call."""

    def pardon(self, address: str) -> None:
        """Hear an address again."""

    def set_log_level(self, level: str) -> None:
        """debug, info, warning or error."""

    def block(self, span: str, timeslot: int) -> None:
        """Take a B channel out of service, 0 for all; calls go on."""

    def unblock(self, span: str, timeslot: int) -> None:
        """Put it back."""

    def restart(self, span: str, timeslot: int) -> None:
        """RESTART a B channel, 0 for the interface; its calls are lost."""

    async def loop(self, span: str, timeslot: int, on: bool) -> None:
        """Send back what comes in on a blocked B channel, or stop that."""

    def explain(self, context: str, number: str) -> Sequence[str]:
        """How the dial plan would route a number, a step a line."""

    async def test_call(self, context: str, number: str, seconds: int, tell: Progress) -> Mapping[str, str]:
        """Call a number; what was heard."""

    def trace(self, wanted: TraceWanted) -> int:
        """The end of a pipe to read a pcapng from; closing it ends the trace."""

    def trace_state(self) -> tuple[int, int]:
        """How many traces there are, and octets of the ring."""
