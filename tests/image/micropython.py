"""A real MicroPython (of Debian 13, unpacked and not installed) that runs the rescue stage's scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.outside.bullseye import unpacked

RESCUE = Path(__file__).parents[2] / "rescue"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"


def run(script: str, *arguments: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``script`` as of a file in `rescue`, with ``arguments`` in sys.argv."""
    root = unpacked("micropython", ("micropython",), "usr/bin/micropython", "trixie")
    library = root / "usr/lib/x86_64-linux-gnu"
    words = [root / LOADER, "--library-path", library, root / "usr/bin/micropython", "-c", script, *arguments]
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={"MICROPYPATH": str(RESCUE), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
