"""Coverage-guided fuzzing by atheris: one target after the other, each in a process of its own.

``--replay FILE TARGET`` gives a target one input again and needs no atheris. ``make fuzz`` installs that.
"""

from __future__ import annotations

import importlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
SLOWEST_SECONDS = 20
MEMORY_MEGABYTES = 2048
NAMES = (
    *("q931", "lapd", "trunk", "line", "sip", "sdp", "stream", "endpoint", "configuration", "patterns", "media"),
    *("control", "stun", "digest", "registrar", "transfer", "crypto", "networks", "servers"),
    *("iax", "iax_endpoint", "bus"),
)


class _Formats(logging.Handler):
    """Writes nothing, but puts every message together: a wrong one is a bug too."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


def _fuzz(name: str, seconds: int, seed: int) -> None:
    """Run one target in this process; does not return."""
    sys.path.append(str(LIBRARY))
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"fuzz: atheris is not there for Python {version}; `make fuzz` installs it where it has a wheel")
    with atheris.instrument_imports(include=["gateway"]):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    logging.getLogger().addHandler(_Formats())
    logging.getLogger().setLevel(logging.INFO)
    corpus = BUILD / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(octets)
    arguments = {
        "max_total_time": seconds,
        "max_len": target.longest,
        "timeout": SLOWEST_SECONDS,
        "rss_limit_mb": MEMORY_MEGABYTES,
        "artifact_prefix": f"{BUILD}/{name}-",
        "seed": seed,
        "print_final_stats": 1,
    }
    atheris.Setup([name, *(f"-{key}={value}" for key, value in arguments.items()), str(corpus)], target.take)
    atheris.Fuzz()


def _replay(name: str, file: Path) -> None:
    """Give one input to one target."""
    importlib.import_module("tests.fuzz.targets").TARGETS[name].take(file.read_bytes())


def _run(name: str, seconds: int, seed: int) -> bool:
    """Run one target in a process of its own and say how it went."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(seconds), "--seed", str(seed), name]
    log = BUILD / f"{name}.log"
    with log.open("w") as file:
        code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    executions = re.search(r"number_of_executed_units: (\d+)", text) or re.search(r"Done (\d+) runs", text)
    coverage = re.findall(r"cov: (\d+)", text)
    figures = f"{executions[1] if executions else '?':>9} inputs, coverage {coverage[-1] if coverage else '?'}"
    click.echo(f"{name:14} {'ok' if code == 0 else 'FAILED':7} {figures}")
    if code:
        click.echo("\n".join(text.splitlines()[-40:]), err=True)
        click.echo(f"All of it: {log}. Again: python -m tests.fuzz --replay FILE {name}", err=True)
    return code == 0


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[TARGET]...")
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="Time of each target.")
@click.option("--seed", type=int, default=0, help="Of the random choices; 0: another one each time.")
@click.option("--replay", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="One input again.")
@click.option("--here", is_flag=True, hidden=True)
def main(names: tuple[str, ...], seconds: int, seed: int, replay: Path | None, here: bool) -> None:
    """Fuzz the targets named, or all, one after the other. Inputs that fail stay in build/fuzz."""
    if replay is not None or here:
        if len(names) != 1:
            raise click.UsageError("expected one TARGET")
        if replay is not None:
            _replay(names[0], replay)
        else:
            _fuzz(names[0], seconds, seed)
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    done = [_run(name, seconds, seed) for name in names or NAMES]
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
