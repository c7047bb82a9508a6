"""What the commands of ``gatewayctl`` have in common: ``--json``, durations, names that the shell completes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from gateway.cli.gatewayctl.client import Gateway, names_of, run
from gateway.provision.bus.interface import Interface

T = TypeVar("T")
_DURATION = re.compile(r"(\d{1,6})([smh]?)\Z")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass
class Session:
    """What was said before the command."""

    address: str | None = None
    json: bool = False

    def run(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        """The result of ``work`` on the gateway."""
        return run(self.address, work)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that gets the Session first, and takes ``--json`` after its name too."""

    def inner(*arguments: Any, as_json: bool, **options: Any) -> Any:
        session = click.get_current_context().ensure_object(Session)
        session.json = session.json or as_json
        return function(session, *arguments, **options)

    wrapped = update_wrapper(inner, function)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(wrapped)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """``90``, ``90s``, ``5m`` or ``1h``, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = _DURATION.match(str(value))
        if found is None:
            self.fail(f"{value!r}, expected a number of seconds, or 5m, or 1h", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class NameOf(click.ParamType):  # type: ignore[type-arg]
    """The name of something that the gateway has."""

    name = "name"

    def __init__(self, interface: Interface, key: str) -> None:
        self._interface = interface
        self._key = key

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Those that begin with ``incomplete``."""
        address = ctx.find_root().params.get("address")
        names = names_of(address, self._interface, self._key)
        return [CompletionItem(each) for each in names if each.startswith(incomplete)]
