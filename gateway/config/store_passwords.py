"""The files of passwords in a store: one a password, never changed once written, so that a roll-back finds the old one.

Each has the password in its first line and a checksum in its second. What no version names is removed.
"""

from __future__ import annotations

import contextlib
import logging
import tomllib
from collections.abc import Collection

from gateway.config.disk import Disk, put
from gateway.config.store_records import sha256
from gateway.config.store_secrets import DIRECTORY, reference_to, references, revision_of

log = logging.getLogger(__name__)

MAX_FILE = 4096


class Passwords:
    """Those on ``disk``; all methods block and raise OSError. ``read`` once before anything else."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # The revisions there are of each name's.
        self._revisions: dict[str, set[int]] = {}

    def read(self) -> None:
        """Take notice of what is there, and remove what a power cut left half written."""
        for file in self._disk.names(DIRECTORY):
            known = revision_of(f"{DIRECTORY}/{file}")
            if known is not None:
                self._revisions.setdefault(known[0], set()).add(known[1])
            else:
                with contextlib.suppress(OSError):
                    self._disk.unlink(f"{DIRECTORY}/{file}")

    def place(self, name: str, password: str) -> str:
        """Write the password of ``name``, unless it is there already; its reference. It lasts after ``sync``."""
        revisions = self._revisions.setdefault(name, set())
        content = _content(password)
        for revision in sorted(revisions, reverse=True):
            reference = reference_to(name, revision)
            if self._content(reference) == content:
                return reference
        revision = max(revisions, default=0) + 1
        reference = reference_to(name, revision)
        put(self._disk, reference, content)
        revisions.add(revision)
        return reference

    def sync(self) -> None:
        """Let what was written outlive a power cut."""
        self._disk.sync_directory(DIRECTORY)

    def fault(self, reference: str) -> str:
        """What is wrong with the file of a password, or nothing."""
        content = self._content(reference)
        if content is None:
            return f"{reference} cannot be read"
        password = content.partition(b"\n")[0]
        return "" if content == password + b"\n" + sha256(password).encode() + b"\n" else f"{reference} is damaged"

    def superfluous(self, named: Collection[str]) -> list[str]:
        """The references to all that there are but those ``named``."""
        every = (reference_to(name, revision) for name, revisions in self._revisions.items() for revision in revisions)
        return [reference for reference in every if reference not in named]

    def remove_but(self, named: Collection[str]) -> None:
        """Remove all but those ``named``; what cannot be removed stays."""
        for reference in self.superfluous(named):
            try:
                self._disk.unlink(reference)
            except FileNotFoundError:
                pass
            except OSError as error:
                log.warning("%s is of no use any more and cannot be removed: %s", reference, error.strerror)
                continue
            name, _, revision = reference.removeprefix(f"{DIRECTORY}/").rpartition(".")
            self._revisions[name].discard(int(revision))

    def _content(self, reference: str) -> bytes | None:
        with contextlib.suppress(OSError):
            return self._disk.read(reference, MAX_FILE)
        return None


def named_secrets(text: str) -> tuple[str, ...]:
    """The files of ours that a document names."""
    try:
        return references(tomllib.loads(text))
    except (ValueError, RecursionError):
        return ()


def _content(password: str) -> bytes:
    data = password.encode()
    return data + b"\n" + sha256(data).encode() + b"\n"
