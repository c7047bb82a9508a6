"""The file of what is staged, so that a restart does not lose it: a record of one line, and the document below it.

It is written whole or not at all, and passwords are references in it. What makes no sense is none.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from gateway.config.disk import Disk, put
from gateway.config.store_records import MAX_DOCUMENT, MAX_RECORD, RecordError, read_staged, staged_record

log = logging.getLogger(__name__)

FILE = "staged"


@dataclass(frozen=True, slots=True)
class Staged:
    """A document that ``author`` staged upon the active version ``base``, ``wall`` seconds after 1970."""

    text: str
    author: str
    wall: float
    base: int


def write_staged(disk: Disk, staged: Staged) -> None:
    """Keep ``staged`` in place of what was kept; OSError."""
    data = staged.text.encode()
    put(disk, FILE, staged_record(staged.author, staged.wall, staged.base, data) + b"\n" + data)
    disk.sync_directory("")


def read(disk: Disk) -> Staged | None:
    """What is kept, if anything is that can be used."""
    try:
        head, _, data = disk.read(FILE, MAX_RECORD + MAX_DOCUMENT).partition(b"\n")
        author, wall, base = read_staged(head, data)
        return Staged(data.decode(), author, wall, base)
    except FileNotFoundError:
        return None
    except (OSError, RecordError, UnicodeDecodeError) as error:
        log.warning("what was staged cannot be used: %s", error)
        return None


def forget(disk: Disk) -> None:
    """Nothing is staged any more. If that cannot be written it is found again, upon a version that it names."""
    with contextlib.suppress(OSError):
        disk.unlink(FILE)
        disk.sync_directory("")
