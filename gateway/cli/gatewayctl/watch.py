"""``gatewayctl events`` and ``gatewayctl trace``: what the gateway tells while it happens."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import click

from gateway.cli.gatewayctl import show
from gateway.cli.gatewayctl.client import FAILED, Gateway, Unsuccessful
from gateway.cli.gatewayctl.options import NameOf, Session, command
from gateway.provision.bus.adapter import Incoming
from gateway.provision.bus.interface import BUS_NAME, ROOT, name_of
from gateway.provision.bus.objects import CALL, DIAGNOSTICS, SPAN

BLOCK = 65_536
_SHORT = len(BUS_NAME) + 1


@click.command()
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@click.option("--changes/--no-changes", default=True, help="Show what changes of spans, trunks, phones and calls too.")
@command
def events(session: Session, count: int | None, changes: bool) -> None:
    """What happens, as it happens; Ctrl-C ends it. With --json an object a line."""
    with suppress(KeyboardInterrupt):
        session.run(lambda gateway: _events(gateway, session.json, count, changes))


async def _events(gateway: Gateway, as_json: bool, count: int | None, changes: bool) -> None:
    await gateway.bus.listen(f"type='signal',sender='{BUS_NAME}'")
    # From now on it looks for changes more often; and whoever has no rights hears of it here.
    await gateway.all_of(CALL)
    click.echo("listening", err=True)
    left = count
    while left is None or left:
        for event in events_of(await gateway.signals.get(), changes):
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else line_of(event))
            sys.stdout.flush()
            if left is not None:
                left -= 1
                if not left:
                    return


def events_of(signal: Incoming, changes: bool) -> Iterator[dict[str, Any]]:
    """What a signal tells, in words of its own."""
    body = signal.body
    event: dict[str, Any] = {"time": int(time.time() * 1e6)}
    match signal.member:
        case "Event":
            at, severity, kind, subject, text = body
            yield {"time": at, "event": kind, "severity": severity, "subject": subject, "text": text}
        case "CallEnded":
            identity, cause, by, seconds = body
            yield event | {"event": "call ended", "id": identity, "cause": cause, "by": by, "talk_seconds": seconds}
        case "LineChanged":
            yield event | {"event": "line changed", "span": body[0], "alarm": body[1], "reason": body[2]}
        case "SignalsLost":
            yield event | {"event": "signals lost", "count": body[0]}
        case "InterfacesAdded" if changes:
            kind, name = _thing(body[0])
            (properties,) = body[1].values()
            yield event | {"event": f"{kind} added", "name": name, **show.plain(properties)}
        case "InterfacesRemoved" if changes:
            kind, name = _thing(body[0])
            yield event | {"event": f"{kind} removed", "name": name}
        case "PropertiesChanged" if changes:
            kind, name = _thing(signal.path)
            yield event | {"event": f"{kind} changed", "name": name, **show.plain(body[1])}
        case _:
            return


def _thing(path: str) -> tuple[str, str]:
    """The kind of object at a path, and its name."""
    kind, _, element = path[len(ROOT) + 1 :].partition("/")
    return (kind.removesuffix("s") if element else kind or "gateway"), name_of(element) or "" if element else ""


def line_of(event: dict[str, Any]) -> str:
    """One line for a person."""
    rest = {name: value for name, value in event.items() if name not in ("time", "event") and value not in ("", [], 0)}
    # What has parts has a command that shows them.
    text = "  ".join(
        f"{name}={'…' if isinstance(value, list | dict) else value}"
        for name, value in rest.items()
        if value is not False
    )
    return f"{show.moment(event['time'])}  {event['event']:<16} {show.cell(text)}"


@click.command()
@click.option("--call", default="", type=NameOf(CALL, "Id"), help="Of this call only.")
@click.option("--span", default="", type=NameOf(SPAN, "Name"), help="Of the D channel of this span only.")
@click.option("--past", is_flag=True, help="What is remembered of the last minutes, and then end.")
@click.option("--voice", is_flag=True, help="What is said from now on, too, decrypted.")
@click.option("--secrets", is_flag=True, help="Leave passwords and keys in it.")
@click.option(
    "--write", "-w", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not stdout."
)
@command
def trace(session: Session, call: str, span: str, past: bool, voice: bool, secrets: bool, file: Path | None) -> None:
    """Q.931, SIP (in clear, whatever its transport) and IAX2 as pcapng, for Wireshark; Ctrl-C ends it.

    gatewayctl trace | wireshark -k -i -
    """
    if file is None and sys.stdout.isatty():
        raise click.UsageError("a pcapng is not for a terminal: -w FILE, or | wireshark -k -i -")
    if past and voice:
        raise click.UsageError("what was said is not remembered: --voice goes without --past")
    octets = 0
    with suppress(KeyboardInterrupt, BrokenPipeError):
        wanted = (call, span, secrets, past, voice)
        descriptor = session.run(lambda gateway: _trace(gateway, wanted))
        with os.fdopen(descriptor, "rb", buffering=0) as source, _target(file) as target:
            while block := source.read(BLOCK):
                target.write(block)
                target.flush()
                octets += len(block)
    if file is not None:
        click.echo(f"{octets} octets in {file}", err=True)


def _target(file: Path | None) -> AbstractContextManager[IO[bytes]]:
    """Where a trace goes; others are not to read it."""
    if file is None:
        return nullcontext(sys.stdout.buffer)
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


async def _trace(gateway: Gateway, wanted: tuple[str, str, bool, bool, bool]) -> int:
    """The descriptor to read from."""
    reply = await gateway.ask(f"{ROOT}/diagnostics", DIAGNOSTICS, "Trace", *wanted)
    if not reply.fds:
        raise Unsuccessful("this bus passes no file descriptors", FAILED)
    return int(reply.fds[reply.body[0]])
