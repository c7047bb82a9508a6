"""The program ``gateway``: its command line, and one run of it from the first file that is read to the last signal.

What runs is ``daemon.py``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import click

from gateway import event_loop
from gateway.collector import keep_what_is_there
from gateway.config import ConfigError, Configuration, examine, read_text
from gateway.config.store import Store, StoreError
from gateway.config.store_import import not_to_be_trusted, open_store
from gateway.config.unconfigured import TROUBLE
from gateway.control_socket import plainly
from gateway.daemon import Daemon
from gateway.log_lines import log_to
from gateway.media.engine_keeper import EngineKeeper
from gateway.media.engine_process import EngineProcess
from gateway.pri.span.endpoint import SpanError, monotonic_microseconds
from gateway.run_lock import sole_user
from gateway.voip.sip.flow import bracketed
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.tls import TlsFileError
from gateway.voip.sip.transport import ListenError

log = logging.getLogger("gateway")

HAND_OVER = signal.SIGUSR2
"""Tells the gateway to end and leave its calls to the next start."""


async def _run(configuration: Configuration, trace: IO[str] | None, start_engine: bool, store: Store | None) -> None:
    end: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM, HAND_OVER):
        asyncio.get_running_loop().add_signal_handler(number, _tell, end, number)
    with sole_user(configuration.gateway.run_dir):
        await _run_alone(configuration, trace, start_engine, end, store)


def _tell(end: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not end.done():
        end.set_result(number)


async def _run_alone(
    configuration: Configuration,
    trace: IO[str] | None,
    start_engine: bool,
    end: asyncio.Future[signal.Signals],
    store: Store | None,
) -> None:
    async with EngineKeeper(EngineProcess(configuration.media_control)) if start_engine else nullcontext() as keeper:
        daemon = Daemon(configuration, trace=trace, store=store)
        await daemon.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.reload_tls)
        keep_what_is_there()
        iax = () if configuration.iax is None else (f"iax2 {listen}" for listen in configuration.iax.listen)
        log.info(
            "%s is up: %s", configuration.gateway.name, ", ".join([*(_where(one) for one in daemon.listeners), *iax])
        )
        daemon.service.ready()
        if await end is HAND_OVER:
            if keeper is not None:
                keeper.leave()
            await daemon.hand_over()
            return
        if keeper is not None:
            keeper.no_more()
        await daemon.end()


def _where(listener: Listener) -> str:
    return f"{listener.transport.lower()}:{bracketed(listener.address)}:{listener.port}"


def _read(path: Path) -> Configuration:
    """The configuration, after all that is to be said of it; ends the program if it has an error."""
    try:
        configuration, problems = examine(read_text(path), path)
    except ConfigError as error:
        configuration, problems = None, list(error.problems)
    for problem in problems:
        click.echo(str(problem), err=True)
    if configuration is None:
        sys.exit(1)
    peers = (*configuration.trunks, *configuration.iax_trunks, *configuration.phones)
    if any(peer.secret is not None and peer.secret.text for peer in peers) and path.stat().st_mode & stat.S_IROTH:
        text = f"everybody on this host may read it, and there are passwords in it; chmod 640 {path}"
        click.echo(f"{path}:1: warning: {text}", err=True)
    return configuration


def _open(directory: Path, config: Path | None, first: Path | None) -> tuple[Store, Configuration]:
    """The store in ``directory`` and what is to run; ends the program if there is nothing that could.

    That ``config`` is of no use ends it, too; that ``first`` is does not.
    """
    try:
        store = _begun(directory.absolute(), first) if config is None else _opened(directory.absolute(), config)
    except (StoreError, ConfigError) as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(1)
    configuration = store.configuration
    if configuration is None:
        raise RuntimeError("an open store has something to run")
    for problem in configuration.warnings:
        click.echo(str(problem), err=True)
    if store.degraded:
        click.echo(f"{directory}: warning: {store.degraded}", err=True)
    if store.unconfigured:
        click.echo(f"{directory}: warning: {TROUBLE}", err=True)
    return store, configuration


def _opened(directory: Path, first: Path | None) -> Store:
    return open_store(directory, monotonic_microseconds(), time.time(), first=first)


def _begun(directory: Path, first: Path | None) -> Store:
    """The store, begun with ``first`` if that can be: whoever cannot be visited is to start come what may."""
    trouble = "" if first is None else not_to_be_trusted(first, {0, os.geteuid()})
    if first is not None and not trouble:
        try:
            return _opened(directory, first)
        except ConfigError as error:
            trouble = str(error)
    store = _opened(directory, None)
    if trouble and store.unconfigured:
        log.error("nothing to begin with: %s", trouble)
    return store


@click.command(
    help="The branch telephone gateway: calls between PRI lines, SIP and IAX2.\n\n"
    "With --config or --store it runs until SIGINT or SIGTERM; with --check it starts nothing. SIGUSR2 ends it, too, "
    "but leaves its calls as they are to the next start, which is to follow at once.\n\n"
    "\b\nExit status:\n"
    "  0  ended as told; or nothing is wrong with the file (it may have warnings)\n"
    "  1  the file has errors, each told as FILE:LINE: KEY = VALUE: what was expected;\n"
    "     or something could not be opened\n"
    "  2  wrong arguments"
)
@click.option(
    "--config", "config", type=click.Path(path_type=Path), metavar="FILE", help="Run with this configuration file."
)
@click.option(
    "--store",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Run the active version of the configurations kept there. An empty one begins with that of --config, or with "
    "nothing configured: no calls, no open port, until one is committed.",
)
@click.option(
    "--first",
    "first",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="As --config beside --store, but one that is missing, has errors or may be written by others is passed over.",
)
@click.option(
    "--check", "check", type=click.Path(path_type=Path), metavar="FILE", help="Say what is wrong with a file."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every Q.931 and SIP message and every full frame of IAX2 there, a line each.",
)
@click.option("--start-engine", is_flag=True, help="Start a media engine of our own (else it must run already).")
@click.option("--verbose", "-v", is_flag=True, help="Log protocol state changes.")
@click.version_option(package_name="branch-gateway")
def main(
    config: Path | None,
    directory: Path | None,
    first: Path | None,
    check: Path | None,
    trace: Path | None,
    start_engine: bool,
    verbose: bool,
) -> None:
    """Check a configuration, or run the gateway until SIGINT or SIGTERM."""
    log_to(sys.stderr, logging.DEBUG if verbose else logging.INFO)
    path = check or config
    if (path is None and directory is None) or (check and (config or directory)):
        raise click.UsageError("expected --config FILE, --store DIR or --check FILE")
    if first and (directory is None or config):
        raise click.UsageError("expected --store DIR, and no --config, beside --first FILE")
    store: Store | None = None
    if directory is not None:
        store, configuration = _open(directory, config, first)
    elif path is not None:
        configuration = _read(path)
    if check:
        return
    try:
        configuration.gateway.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        if trace is None:
            event_loop.run(_run(configuration, None, start_engine, store))
        else:
            with trace.open("w", encoding="utf-8") as file:
                event_loop.run(_run(configuration, file, start_engine, store))
    except (ListenError, SpanError, TlsFileError, RuntimeError, OSError) as error:
        click.echo(f"gateway: {plainly(error)}", err=True)
        sys.exit(1)
