"""One gateway a run directory: a second one would take the first one's media engine, with the voice of its calls.

The lock is on the directory itself (flock) and ends with the process, however that ends: nothing is left to clean up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RunDirectoryError(RuntimeError):
    """Another gateway has this run directory."""


@contextmanager
def sole_user(directory: Path) -> Iterator[None]:
    """Have ``directory`` to ourselves. RunDirectoryError if another gateway has it, OSError if it cannot be opened."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(f"{directory}: another gateway runs with this run_dir") from None
        yield
    finally:
        os.close(descriptor)
