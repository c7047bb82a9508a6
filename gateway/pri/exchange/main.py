"""``exchange``: the simulated telephone exchange as a program, at the far end of virtual spans.

Its voice comes from a media engine of its own, which it starts and ends. Commands come over ``--control`` (JSON lines,
see ``program.py``) or as words on standard input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from gateway.control_socket import MAX_LINE, CommandError, plainly
from gateway.core import MILLISECOND
from gateway.media.api import Law
from gateway.media.engine_keeper import EngineKeeper
from gateway.media.engine_process import EngineProcess
from gateway.media.tones import COUNTRIES
from gateway.pri.channels import Line
from gateway.pri.exchange.plan import DEFAULT_PLAN
from gateway.pri.exchange.program import MAX_SPANS, ExchangeProgram
from gateway.pri.lapd import LapdTimer, Side
from gateway.pri.settings import VARIANTS, PriSettings
from gateway.pri.span.endpoint import SpanError
from gateway.pri.span.virtual import refuse_taken

_USUAL = {"e1": "euroisdn", "t1": "ni2"}
"""The switch type of a line if none is asked for."""

_WORDS: dict[str, tuple[str, ...]] = {
    "call": ("called", "caller"),
    "hangup": ("call",),
    "status": (),
    "cut": ("span",),
    "mend": ("span",),
    "alarm": ("alarm", "span"),
}
_NUMBER = re.compile(r"[0-9]{1,18}\Z")


def read_words(line: str) -> dict[str, object]:
    """A line of standard input as a request: ``call 4165550101``, ``alarm yellow``. CommandError for other words."""
    command, *rest = line.split() or [""]
    names = _WORDS.get(command)
    if names is None:
        raise CommandError(f"{command[:40]!r}, expected {', '.join(_WORDS)}")
    if len(rest) > len(names):
        wanted = " ".join(f"[{name}]" for name in names) or "nothing more"
        raise CommandError(f"{command}: {len(rest)} words, expected {wanted}")
    request: dict[str, object] = {"command": command}
    for name, word in zip(names, rest, strict=False):
        request[name] = int(word) if name == "call" and _NUMBER.match(word) else word
    return request


async def _lines_of(file: TextIO) -> Callable[[], Awaitable[bytes]]:
    """What reads the next line of ``file``; only of what may keep us waiting can the loop say when one is there."""
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()):
        return partial(asyncio.to_thread, file.buffer.readline, MAX_LINE)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader.readline


async def _standard_input(program: ExchangeProgram) -> None:
    if sys.stdin is None:
        return
    read_line = await _lines_of(sys.stdin)
    while True:
        try:
            line = (await read_line()).decode("utf-8", "replace")
            if not line:
                return
            if not line.strip():
                continue
            print(json.dumps(await program.command(read_words(line))), flush=True)
        except (CommandError, ValueError) as error:
            # A ValueError is a line that is too long for the reader.
            print(f"exchange: {error}", file=sys.stderr, flush=True)


async def _run(program: ExchangeProgram, engine: EngineProcess, control: Path | None, read_input: bool) -> None:
    async with EngineKeeper(engine):
        await _serve(program, control, read_input)


async def _serve(program: ExchangeProgram, control: Path | None, read_input: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await program.start(control)
        spans = ", ".join(str(unit.span.directory) for unit in program.units)
        program.say(f"exchange at {spans}", {"event": "ready"})
        reading = loop.create_task(_standard_input(program)) if read_input else None
        await stop.wait()
        if reading is not None:
            reading.cancel()
    finally:
        await program.close()


def span_settings(
    directory: Path, line: str, side: str, switch_type: str, t200: int | None = None, n200: int | None = None
) -> PriSettings:
    """The trunk of one span; ``t200`` is milliseconds, ``n200`` a count, None the standard's."""
    timers = {LapdTimer.T200: None if t200 is None else t200 * MILLISECOND, LapdTimer.N200: n200}
    return PriSettings(
        name=directory.name,
        line=Line(line),
        side=Side(side),
        switch_type=switch_type,
        law=Law.ALAW if line == "e1" else Law.ULAW,
        channel_path=lambda timeslot: str(directory / str(timeslot)),
        listen=True,
        overlap_receive=switch_type == "euroisdn",
        overlap_send=switch_type == "euroisdn",
        lapd_timers={timer: value for timer, value in timers.items() if value is not None},
    )


def _plan_text() -> str:
    return "\b\nNumbers (any number that ends so):\n" + "\n".join(
        f"  {number:<8} {subscriber.name}" for number, subscriber in DEFAULT_PLAN.items()
    )


@click.command(
    help="The simulated telephone exchange at the far end of virtual spans.\n\n"
    "Commands on standard input: call NUMBER [CALLER], hangup CALL, status, cut [SPAN], mend [SPAN], "
    "alarm none|red|yellow|blue [SPAN].\n\n" + _plan_text()
)
@click.option(
    "--span", "spans", type=click.Path(path_type=Path), required=True, multiple=True, help="A span's directory."
)
@click.option("--line", type=click.Choice(["e1", "t1"]), default="e1", show_default=True)
@click.option(
    "--switch-type",
    type=click.Choice(list(VARIANTS)),
    help="Its default is that of the line: euroisdn on e1, ni2 on t1.",
)
@click.option("--side", type=click.Choice(["network", "user"]), default="network", show_default=True)
@click.option(
    "--country",
    type=click.Choice(sorted(COUNTRIES)),
    metavar="COUNTRY",
    default="us",
    show_default=True,
    help="Whose call-progress tones, as two letters.",
)
@click.option("--t200-ms", type=click.IntRange(10, 10_000), help="Q.921's T200 in milliseconds, for spoilt lines.")
@click.option("--n200", type=click.IntRange(1, 20), help="Q.921's N200: how often a frame is sent again.")
@click.option("--control", type=click.Path(path_type=Path), help="Unix socket for commands and events (JSON lines).")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
@click.option("--quiet", is_flag=True, help="Print no events.")
@click.option("--no-input", is_flag=True, help="Do not read standard input.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of faults and call references.")
@click.option("--verbose", "-v", is_flag=True, help="Log protocol state changes.")
def main(
    spans: tuple[Path, ...],
    line: str,
    switch_type: str | None,
    side: str,
    country: str,
    t200_ms: int | None,
    n200: int | None,
    control: Path | None,
    as_json: bool,
    quiet: bool,
    no_input: bool,
    seed: int,
    verbose: bool,
) -> None:
    """Run the exchange until SIGINT or SIGTERM."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if len(spans) > MAX_SPANS:
        raise click.UsageError(f"{len(spans)} spans, at most {MAX_SPANS}")
    twice = [span for number, span in enumerate(spans) if span in spans[:number]]
    if twice:
        raise click.UsageError(f"--span {twice[0]} is there twice")
    switch_type = switch_type or _USUAL[line]
    try:
        for span in spans:
            span.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before the media engine is touched, which is another exchange's if that has this span.
            refuse_taken(span / "line")
        engine = EngineProcess(
            spans[0].with_name(f"{spans[0].name}.media"), log=spans[0].with_name("exchange-media.log")
        )
        program = ExchangeProgram(
            [(span_settings(span, line, side, switch_type, t200_ms, n200), span) for span in spans],
            engine.control,
            country=country,
            seed=seed,
            as_json=as_json,
            quiet=quiet,
        )
        asyncio.run(_run(program, engine, control, not no_input))
    except (SpanError, RuntimeError, OSError) as error:
        raise click.ClickException(plainly(error)) from error
