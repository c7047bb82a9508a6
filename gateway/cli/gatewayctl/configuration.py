"""``gatewayctl config``: the configuration and its change, with its consequences told before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from gateway.cli.gatewayctl import show
from gateway.cli.gatewayctl.actions import job_done
from gateway.cli.gatewayctl.client import NOT_GOOD, Gateway, Unsuccessful
from gateway.cli.gatewayctl.options import Duration, Session, command
from gateway.provision.bus.interface import ROOT
from gateway.provision.bus.model import STAGED
from gateway.provision.bus.objects import CONFIGURATION

PATH = f"{ROOT}/configuration"
COMMIT_SECONDS = 60.0


class VersionNumber(click.ParamType):  # type: ignore[type-arg]
    """A version's number, ``active`` or ``staged``."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number on the bus."""
        if isinstance(value, int):
            return value
        words = {"active": 0, "staged": STAGED}
        if value in words:
            return words[value]
        if not str(value).isdecimal() or not 0 < int(value) < STAGED:
            self.fail(f"{value!r}, expected a version's number, active or staged", param, ctx)
        return int(value)


VERSION = VersionNumber()


async def _ask(gateway: Gateway, member: str, *values: object, seconds: float = 60.0) -> list[Any]:
    return await gateway.call(PATH, CONFIGURATION, member, *values, seconds=seconds)


@click.group(
    "config",
    help="The configuration: stage a change, check it, see what it would do, commit it, confirm it or roll it back.\n\n"
    "\b\n"
    "gatewayctl config set trunk.hq.qualifyfreq 30\n"
    "gatewayctl config plan\n"
    'gatewayctl config commit --confirm 5m --comment "shorter qualify"\n'
    "gatewayctl config confirm",
)
def config_group() -> None:
    """The group itself does nothing."""


@config_group.command("get")
@click.argument("key", required=False)
@click.option("--version", type=VERSION, default="active", help="A version's number, active (default) or staged.")
@command
def config_get(session: Session, key: str | None, version: int) -> None:
    """The whole document, or what stands at KEY (trunk.hq.host); never a password."""
    if key is None:
        (text,) = session.run(lambda gateway: _ask(gateway, "Get", version))
    else:
        (text,) = session.run(lambda gateway: _ask(gateway, "GetValue", key, version))
    if session.json:
        show.as_json({"document" if key is None else key: text})
    else:
        click.echo(text, nl=not text.endswith("\n"))


@config_group.command("set")
@click.argument("key")
@click.argument("value")
@command
def config_set(session: Session, key: str, value: str) -> None:
    """Stage a change of one KEY (trunk.hq.host); VALUE is as in TOML, and a bare word is a text."""
    _staged(session, session.run(lambda gateway: _change(gateway, "Set", key, value)))


@config_group.command("unset")
@click.argument("key")
@command
def config_unset(session: Session, key: str) -> None:
    """Stage the removal of one KEY, or of a whole trunk, phone or span (trunk.hq)."""
    _staged(session, session.run(lambda gateway: _change(gateway, "Unset", key)))


async def _change(gateway: Gateway, member: str, *values: object) -> list[Any]:
    await _ask(gateway, member, *values)
    return await _ask(gateway, "Check")


@config_group.command("stage")
@click.argument("file", type=click.File(encoding="utf-8"))
@command
def config_stage(session: Session, file: Any) -> None:
    """Stage a whole FILE (- is standard input)."""
    text = file.read()
    _staged(session, session.run(lambda gateway: _ask(gateway, "Stage", text)))


@config_group.command("edit")
@command
def config_edit(session: Session) -> None:
    """Edit what is staged, or else the active document, with $EDITOR, and stage it."""

    async def document(gateway: Gateway) -> str:
        state = await gateway.properties(PATH, CONFIGURATION)
        (text,) = await _ask(gateway, "Get", STAGED if state["StagedBy"] else 0)
        return str(text)

    text = session.run(document)
    while True:
        edited = click.edit(text, extension=".toml", require_save=True)
        if edited is None or edited == text:
            click.echo("Nothing was changed.", err=True)
            return
        fresh = edited
        (found,) = session.run(lambda gateway: _ask(gateway, "CheckDocument", fresh))  # noqa: B023
        if not any(each[2] == "error" for each in found):
            break
        show.problems(found)
        if not sys.stdin.isatty() or not click.confirm("It has errors. Edit again?", default=True, err=True):
            raise click.exceptions.Exit(NOT_GOOD)
        text = edited
    _staged(session, session.run(lambda gateway: _ask(gateway, "Stage", fresh)))


def _staged(session: Session, result: Sequence[Any]) -> None:
    """What is to be said after a change was staged."""
    (found,) = result
    if session.json:
        show.as_json(_problems(found))
        errors = any(each[2] == "error" for each in found)
    else:
        errors = show.problems(found)
        click.echo("Staged. See `config plan`, then `config commit`.", err=True)
    if errors:
        raise click.exceptions.Exit(NOT_GOOD)


def _problems(found: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(("file", "line", "severity", "key", "text"), row, strict=True)) for row in found]


@config_group.command("check")
@click.argument("file", required=False, type=click.File(encoding="utf-8"))
@command
def config_check(session: Session, file: Any) -> None:
    """What is wrong with what is staged, or with FILE; exit 5 if there are errors."""
    if file is None:
        (found,) = session.run(lambda gateway: _ask(gateway, "Check"))
    else:
        text = file.read()
        (found,) = session.run(lambda gateway: _ask(gateway, "CheckDocument", text))
    if session.json:
        show.as_json(_problems(found))
        errors = any(each[2] == "error" for each in found)
    else:
        errors = show.problems(found)
    if errors:
        raise click.exceptions.Exit(NOT_GOOD)


@config_group.command("plan")
@click.option("--rollback", "version", type=VERSION, default="staged", help="What a roll-back to a version would do.")
@command
def config_plan(session: Session, version: int) -> None:
    """What a commit would do to every part, and which calls would drop; exit 5 if any would."""
    entries, service = session.run(lambda gateway: _ask(gateway, "Plan", version))
    if session.json:
        show.as_json(_plan(entries, service))
    else:
        show.plan(entries, service)
    if _dropped(entries) or service:
        raise click.exceptions.Exit(NOT_GOOD)


def _plan(entries: Sequence[Sequence[Any]], service: str) -> dict[str, Any]:
    parts = []
    for kind, name, action, differences, dropped, why in entries:
        changed = [dict(zip(("key", "old", "new"), each, strict=True)) for each in differences]
        parts.append(
            {"kind": kind, "name": name, "action": action, "differences": changed, "calls": dropped, "why": why}
        )
    return {"parts": parts, "service": service, "dropped": _dropped(entries)}


def _dropped(entries: Sequence[Sequence[Any]]) -> list[str]:
    return list(dict.fromkeys(call for entry in entries for call in entry[4]))


@config_group.command("commit")
@click.option("--comment", "-m", default="", help="Why, for the history.")
@click.option(
    "--confirm", "confirm_seconds", type=Duration(), default=0, help="Undo it by itself unless confirmed within: 5m."
)
@click.option("--drain", "drain_seconds", type=Duration(), default=0, help="Let calls that would drop end first: 10m.")
@click.option("--yes", "-y", is_flag=True, help="Do it though calls drop.")
@command
def config_commit(session: Session, comment: str, confirm_seconds: int, drain_seconds: int, yes: bool) -> None:
    """Make what is staged the active version. If calls would drop it asks, or needs --yes or --drain."""

    async def consequences(gateway: Gateway) -> list[Any]:
        return await _ask(gateway, "Plan", STAGED)

    async def commit(gateway: Gateway) -> str:
        if not drain_seconds:
            (version,) = await _ask(gateway, "Commit", comment, confirm_seconds, seconds=COMMIT_SECONDS)
            return str(version)
        (path,) = await _ask(gateway, "CommitWhenDrained", comment, confirm_seconds, drain_seconds)
        return (await job_done(gateway, path, "the commit", quiet=session.json))["version"]

    if not yes:
        entries, service = session.run(consequences)
        dropped = _dropped(entries)
        if service or (dropped and not drain_seconds):
            if not session.json:
                show.plan(entries, service)
            if session.json or not sys.stdin.isatty():
                raise Unsuccessful(f"{len(dropped)} calls would drop; --yes does it, --drain waits for them", NOT_GOOD)
            click.confirm(f"{len(dropped)} calls drop. Go on?", abort=True, err=True)
    version = session.run(commit)
    if session.json:
        show.as_json({"version": int(version)})
        return
    click.echo(f"Version {version} is active.")
    if confirm_seconds:
        click.echo(f"Without `config confirm` it is undone in {show.length(confirm_seconds)}.")


@config_group.command("confirm")
@command
def config_confirm(session: Session) -> None:
    """Keep the version that was committed with --confirm."""
    session.run(lambda gateway: _ask(gateway, "Confirm"))
    _done(session, {"done": True}, "It stays.")


@config_group.command("discard")
@command
def config_discard(session: Session) -> None:
    """Forget what is staged."""
    session.run(lambda gateway: _ask(gateway, "Discard"))
    _done(session, {"done": True}, "Nothing is staged.")


@config_group.command("rollback")
@click.argument("version", required=False, type=VERSION, default=0)
@click.option(
    "--confirm", "confirm_seconds", type=Duration(), default=0, help="Undo it by itself unless confirmed within: 5m."
)
@command
def config_rollback(session: Session, version: int, confirm_seconds: int) -> None:
    """Make the previous version active again, or VERSION."""
    (active,) = session.run(lambda gateway: _ask(gateway, "Rollback", version, confirm_seconds, seconds=COMMIT_SECONDS))
    _done(session, {"active": active}, f"Version {active} is active.")


@config_group.command("history")
@command
def config_history(session: Session) -> None:
    """The versions that are kept: when, who, why."""

    async def ask(gateway: Gateway) -> tuple[list[Any], int]:
        (found,) = await _ask(gateway, "History")
        return found, (await gateway.properties(PATH, CONFIGURATION))["Active"]

    found, active = session.run(ask)
    if session.json:
        names = ("version", "time", "author", "comment", "how", "parent", "restores", "fault")
        show.as_json([dict(zip(names, row, strict=True)) | {"active": row[0] == active} for row in found])
    else:
        show.history(found, active)


@config_group.command("diff")
@click.argument("old", required=False, type=VERSION, default="active")
@click.argument("new", required=False, type=VERSION, default="staged")
@command
def config_diff(session: Session, old: int, new: int) -> None:
    """What differs between two versions; by default between the active one and what is staged."""
    (text,) = session.run(lambda gateway: _ask(gateway, "Diff", old, new))
    if session.json:
        show.as_json({"diff": text})
    else:
        click.echo(text, nl=False)


@config_group.command("status")
@command
def config_status(session: Session) -> None:
    """Where the configuration stands."""
    found = session.run(lambda gateway: gateway.properties(PATH, CONFIGURATION))
    if session.json:
        show.as_json(show.plain(found))
        return
    for name, value in found.items():
        if value not in ("", 0):
            shown = show.moment(value) if name == "ConfirmUntil" else value
            click.echo(f"{show.snake(name).replace('_', ' '):<16} {shown}")


def _done(session: Session, result: dict[str, Any], text: str) -> None:
    if session.json:
        show.as_json(result)
    else:
        click.echo(text, err=True)
