"""``python -m tests.simulation.run``: many branches on all cores; prints progress, failures and figures."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial

import click

from tests.simulation.iax_far_ends import MANGLED
from tests.simulation.verdict import Verdict, run_seed

MAX_FAILURES = 10
"""Failed runs that are told in full; of further ones only the seed is."""


@click.command(help="Run whole branches in virtual time, one a seed.")
@click.option("--seeds", default=200, show_default=True, help="How many runs.")
@click.option("--calls", default=50, show_default=True, help="Calls of each run.")
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--seed", type=int, help="Only this seed.")
@click.option("--story", is_flag=True, help="Tell the last events even if all is well.")
@click.option("--faults/--no-faults", default=None, help="Make all things go wrong, or nothing; else the seed decides.")
@click.option("--iax", is_flag=True, help="With IAX2 trunks.")
@click.option("--mangled", default=MANGLED, show_default=True, help="IAX2 frames of each run that nobody should send.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core", help="Runs at a time.")
def main(
    seeds: int,
    calls: int,
    first: int,
    seed: int | None,
    story: bool,
    faults: bool | None,
    iax: bool,
    mangled: int,
    jobs: int,
) -> None:
    """Exit 1 if any run failed."""
    chosen = range(first, first + seeds) if seed is None else (seed,)
    work = partial(run_seed, calls=calls, story=story, faults=faults, iax=iax, mangled=mangled)
    started = time.monotonic()
    failed = done = 0
    total = Verdict(0, 0)
    for verdict in _verdicts(work, chosen, jobs):
        done += 1
        _add(total, verdict)
        if verdict.breaches:
            failed += 1
        if story or (verdict.breaches and failed <= MAX_FAILURES):
            _clear()
            click.echo("\n".join([*verdict.story, str(verdict)]))
        elif verdict.breaches:
            _clear()
            click.echo(f"seed {verdict.seed}: {len(verdict.breaches)} breaches")
        _progress(done, len(chosen), failed, total, time.monotonic() - started)
    _clear()
    seconds = time.monotonic() - started
    click.echo(
        f"{done} runs, {total.calls} calls ({total.answered} answered, {total.records} records, {total.cut_short} cut "
        f"short by restarts), {total.misfortunes} incidents, {total.heard} times listened, {total.events} events, "
        f"{total.seconds / 3600:.0f} h of virtual time in {seconds:.0f} s ({total.calls / seconds:.0f} calls/s)"
    )
    if iax:
        mangled_frames = total.seen["mangled IAX2 frames"]
        click.echo(
            f"{mangled_frames} mangled IAX2 frames, {total.seen['IAX2 frames of strangers']} of strangers' in all"
        )
    click.echo("got over: " + ", ".join(f"{count} {kind}" for kind, count in total.seen.items()))
    click.echo(f"{failed} failed" if failed else "all is well")
    sys.exit(1 if failed else 0)


def _verdicts(work: partial[Verdict], seeds: Iterable[int], jobs: int) -> Iterator[Verdict]:
    if jobs <= 1:
        yield from map(work, seeds)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(work, seeds)


def _add(total: Verdict, verdict: Verdict) -> None:
    for name in ("calls", "events", "records", "cut_short", "answered", "heard", "seconds", "misfortunes"):
        setattr(total, name, getattr(total, name) + getattr(verdict, name))
    total.seen.update(verdict.seen)


def _progress(done: int, runs: int, failed: int, total: Verdict, seconds: float) -> None:
    if sys.stderr.isatty() or done == runs or done % max(1, runs // 20) == 0:
        end = "" if sys.stderr.isatty() else "\n"
        rate = total.calls / max(seconds, 0.001)
        print(
            f"\r{done}/{runs} runs, {total.calls} calls, {failed} failed, {rate:.0f} calls/s",
            end=end,
            file=sys.stderr,
            flush=True,
        )


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
