"""What the configuration store asks of a file system, step by step, and a directory of the real one.

The steps are as small as a power cut can tell apart, so that tests can run the store on a disk that forgets what was
not synced. Every step raises OSError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Protocol

PRIVATE = 0o600
DIRECTORY = 0o750
TEMPORARY = ".new"
"""The end of names of files that are being written."""


class Disk(Protocol):
    """A directory. Names are relative to it, with ``/`` between; ``""`` is itself."""

    def lock(self) -> bool:
        """Have the directory alone until ``release``; False if another process has it."""

    def release(self) -> None:
        """Let go of the directory."""

    def make_directory(self, name: str) -> None:
        """Make a directory that is open to its owner, and to its group for reading; nothing if it is there."""

    def names(self, directory: str) -> list[str]:
        """The names in ``directory``, in no order."""

    def read(self, name: str, limit: int) -> bytes:
        """The content of a regular file, of at most ``limit`` octets; OSError if it is longer."""

    def create(self, name: str) -> int:
        """A new, empty file for its owner alone in place of what was there, to be written by the number returned."""

    def write(self, file: int, data: bytes) -> None:
        """Put all of ``data`` behind what is in ``file``."""

    def sync(self, file: int) -> None:
        """Let the content of ``file`` outlive a power cut."""

    def close(self, file: int) -> None:
        """No more of ``file``."""

    def rename(self, old: str, new: str) -> None:
        """Let the file ``old`` be ``new``, in place of what was there."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync_directory(self, name: str) -> None:
        """Let the names in a directory outlive a power cut."""


def put(disk: Disk, name: str, data: bytes) -> None:
    """Let ``data`` be the content of ``name``, whole or not at all; it lasts once its directory is synced."""
    fresh = name + TEMPORARY
    try:
        file = disk.create(fresh)
        try:
            disk.write(file, data)
            disk.sync(file)
        finally:
            disk.close(file)
        disk.rename(fresh, name)
    except OSError:
        with contextlib.suppress(OSError):
            disk.unlink(fresh)
        raise


class DirectoryDisk:
    """The directory ``path``, made if it is not there. Links in it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> bool:
        """See ``Disk``. The lock ends with the process, however that ends."""
        self.path.mkdir(mode=DIRECTORY, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor
        return True

    def release(self) -> None:
        """See ``Disk``."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def make_directory(self, name: str) -> None:
        """See ``Disk``."""
        path = self.path / name
        try:
            path.mkdir(mode=DIRECTORY)
        except FileExistsError:
            return
        # What the umask took away belongs to the group.
        path.chmod(DIRECTORY)

    def names(self, directory: str) -> list[str]:
        """See ``Disk``."""
        return [path.name for path in (self.path / directory).iterdir()]

    def read(self, name: str, limit: int) -> bytes:
        """See ``Disk``."""
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise OSError(f"{self.path / name}: longer than {limit} octets")
        return data

    def create(self, name: str) -> int:
        """See ``Disk``."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path / name, flags, PRIVATE)
        os.fchmod(descriptor, PRIVATE)
        return descriptor

    def write(self, file: int, data: bytes) -> None:
        """See ``Disk``."""
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]

    def sync(self, file: int) -> None:
        """See ``Disk``."""
        os.fsync(file)

    def close(self, file: int) -> None:
        """See ``Disk``."""
        os.close(file)

    def rename(self, old: str, new: str) -> None:
        """See ``Disk``."""
        (self.path / old).replace(self.path / new)

    def unlink(self, name: str) -> None:
        """See ``Disk``."""
        (self.path / name).unlink()

    def sync_directory(self, name: str) -> None:
        """See ``Disk``."""
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
