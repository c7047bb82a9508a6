"""The commands of ``gatewayctl`` that act on calls, spans and the gateway as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from rich.console import Console

from gateway.cli.gatewayctl import show
from gateway.cli.gatewayctl.client import NOT_GOOD, Gateway, Unsuccessful, path_of
from gateway.cli.gatewayctl.options import NameOf, Session, command
from gateway.provision.bus.interface import ROOT
from gateway.provision.bus.objects import CALL, DIAGNOSTICS, JOB, LONGEST_TEST_CALL, MANAGER, SPAN

LOOK_SECONDS = 0.2
CALL_NAME = NameOf(CALL, "Id")
SPAN_NAME = NameOf(SPAN, "Name")


@click.group("call")
def call_group() -> None:
    """One call: look at it, end it."""


@call_group.command("show")
@click.argument("call", type=CALL_NAME)
@command
def call_show(session: Session, call: str) -> None:
    """Parties, times, security of each side, and how its voice is now."""

    async def ask(gateway: Gateway) -> tuple[show.Properties, list[Any]]:
        found = await gateway.properties(path_of("calls", call), CALL)
        (quality,) = await gateway.call(path_of("calls", call), CALL, "Quality")
        return found, quality

    found, quality = session.run(ask)
    if session.json:
        names = ("side", "sent", "received", "lost", "remote_lost", "jitter", "round_trip", "delay", "mos", "source")
        show.as_json({**show.plain(found), "quality": [dict(zip(names, row, strict=True)) for row in quality]})
    else:
        show.call(found, quality)


@call_group.command("hangup")
@click.argument("call", type=CALL_NAME)
@command
def call_hangup(session: Session, call: str) -> None:
    """End a call; both sides are told."""
    session.run(lambda gateway: gateway.call(path_of("calls", call), CALL, "Hangup"))
    _done(session)


@click.group("span")
def span_group() -> None:
    """Channels of a line: take them out of service and back, restart them, loop them."""


def _channel(word: str, member: str, text: str, *further: object) -> None:
    @span_group.command(word, help=text)
    @click.argument("span", type=SPAN_NAME)
    @click.argument("channel", type=click.IntRange(0, 31))
    @command
    def act(session: Session, span: str, channel: int) -> None:
        session.run(lambda gateway: gateway.call(path_of("spans", span), SPAN, member, channel, *further))
        _done(session)


_channel("block", "Block", "Take a channel out of service, 0 for all; a call on it goes on.")
_channel("unblock", "Unblock", "Put a channel into service again, 0 for all.")
_channel("restart", "Restart", "RESTART a channel, 0 for the whole interface. Calls on it are lost.")
_channel("loop", "Loop", "Send back what comes in on a channel, which has to be blocked first.", True)
_channel("unloop", "Loop", "End a loop.", False)


@click.command("pardon")
@click.argument("address")
@command
def pardon(session: Session, address: str) -> None:
    """Hear ADDRESS again, that was shut out for guessing or flooding."""
    session.run(lambda gateway: gateway.call(ROOT, MANAGER, "Pardon", address))
    _done(session)


@click.command("log-level")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error"]))
@command
def log_level(session: Session, level: str) -> None:
    """How much the gateway writes to its log, until it is started anew."""
    session.run(lambda gateway: gateway.call(ROOT, MANAGER, "SetLogLevel", level))
    _done(session)


@click.command("test-call")
@click.argument("context")
@click.argument("number")
@click.option(
    "--seconds",
    type=click.IntRange(1, LONGEST_TEST_CALL),
    default=5,
    show_default=True,
    help="How long to listen.",
)
@command
def test_call(session: Session, context: str, number: str, seconds: int) -> None:
    """Call NUMBER as from CONTEXT, with a tone, and say whether voice goes both ways; exit 5 if it does not."""
    result = session.run(lambda gateway: _test_call(gateway, context, number, seconds, quiet=session.json))
    if session.json:
        show.as_json(result)
    else:
        for name, value in result.items():
            click.echo(f"{name.replace('_', ' '):<20} {value}")
    if result.get("two_way") != "yes":
        raise click.exceptions.Exit(NOT_GOOD)


async def _test_call(gateway: Gateway, context: str, number: str, seconds: int, *, quiet: bool) -> dict[str, str]:
    (path,) = await gateway.call(f"{ROOT}/diagnostics", DIAGNOSTICS, "TestCall", context, number, seconds)
    return await job_done(gateway, path, "the test call", quiet=quiet)


async def job_done(gateway: Gateway, path: str, what: str, *, quiet: bool) -> dict[str, str]:
    """The result of a job, which is shown while it runs, and cancelled with us; Unsuccessful if it failed."""
    with Console(stderr=True, quiet=quiet).status(what) as waiting:
        try:
            while True:
                job = await gateway.properties(path, JOB)
                if job["State"] != "running":
                    break
                waiting.update(f"{what}: {job['Text']} ({job['Progress']:.0%})")
                await asyncio.sleep(LOOK_SECONDS)
        except asyncio.CancelledError:
            await gateway.call(path, JOB, "Cancel")
            raise
    if job["State"] != "done":
        raise Unsuccessful(f"{what} {job['State']}: {job['Text']}")
    return dict(job["Result"])


def _done(session: Session) -> None:
    if session.json:
        show.as_json({"done": True})
