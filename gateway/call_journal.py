"""What outlives a killed program on a running machine: named contents in a file, appended to, read at the next start.

A write costs one system call and is not synchronised to a disk: the kernel keeps what a killed process wrote, and
after a loss of power there is nothing to go on with. A record that was cut short, or garbled, ends what is read.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from pathlib import Path

from gateway.boot import MAX_BOOT

log = logging.getLogger(__name__)

MAGIC = b"BGJ1"
_RECORD = struct.Struct("<IIHB")
"""Length of the content, CRC-32 of all that follows it, length of the name, and whether the name is gone."""
_CHECKED, _NAMED = struct.Struct("<II"), struct.Struct("<HB")
"""Its two halves."""
MAX_NAME = 255
MAX_CONTENT = 1 << 20
MAX_FILE = 64 << 20
"""Octets that are read, or written before the file is begun anew."""
SLACK = 1 << 20
"""Octets of what is no longer true that are always allowed; beyond, no more than of what is."""
MAX_PENDING = 4096
"""Octets of what is gone that may wait for a write."""


class CallJournal:
    """Contents by name at ``path``; ``boot`` tells one run of the kernel from another: what is of another is not read.

    Trouble with the file never troubles the caller: it is logged once, and again when it is over.
    """

    def __init__(self, path: Path, boot: str) -> None:
        self.path = path
        self._boot = boot.encode()[:MAX_BOOT]
        self._descriptor: int | None = None
        self._size = 0
        self._live: dict[str, bytes] = {}
        self._live_size = 0
        self._failing = False
        # What is gone and not written so yet.
        self._pending = b""

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, name: object) -> bool:
        return name in self._live

    def read(self) -> dict[str, bytes]:
        """What was there when the program before this one ended; nothing if that makes no sense. Changes no file."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.error("%s: cannot be read: %s; calls of before are not known", self.path, error.strerror or error)
            return {}
        head = self._head()
        if len(data) > MAX_FILE or not data.startswith(MAGIC):
            log.error("%s: makes no sense; calls of before are not known", self.path)
            return {}
        if not data.startswith(head):
            log.info("%s: is of before the machine started", self.path)
            return {}
        return _contents(data, len(head), self.path)

    def begin(self) -> None:
        """Write from now on, to a file with nothing in it but what was put; the one of before makes way."""
        self._renew()

    def put(self, name: str, content: bytes) -> None:
        """Let ``content`` be what is kept as ``name``; ValueError if either is too long."""
        key = name.encode()
        if not key or len(key) > MAX_NAME or len(content) > MAX_CONTENT:
            raise ValueError(f"{name[:40]!r}: {len(content)} octets")
        before = self._live.get(name)
        if before == content:
            return
        self._live[name] = content
        self._live_size += len(content) - (0 if before is None else len(before))
        self._append(_record(key, content, gone=False))

    def drop(self, name: str, *, at_leisure: bool = False) -> None:
        """Keep nothing as ``name`` any more; ``at_leisure``: it may be written with the next ``put``."""
        before = self._live.pop(name, None)
        if before is None:
            return
        self._live_size -= len(before)
        record = _record(name.encode(), b"", gone=True)
        if at_leisure and self._descriptor is not None and len(self._pending) < MAX_PENDING:
            self._pending += record
        else:
            self._append(record)

    def close(self, *, keep: bool) -> None:
        """Write no more. Without ``keep`` the file goes: nothing is left to go on with."""
        if self._descriptor is None:
            return
        if keep and self._pending:
            self._append(b"")
        os.close(self._descriptor)
        self._descriptor = None
        if not keep:
            self.path.unlink(missing_ok=True)

    def _head(self) -> bytes:
        return MAGIC + bytes([len(self._boot)]) + self._boot

    def _append(self, record: bytes) -> None:
        if self._descriptor is None:
            return
        if self._pending:
            record, self._pending = self._pending + record, b""
        if self._size + len(record) > min(MAX_FILE, 2 * self._live_size + SLACK) or self._failing:
            # All that is true goes into the new file, this record among it.
            self._renew()
            return
        try:
            if os.write(self._descriptor, record) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._fail(error)
        else:
            self._size += len(record)

    def _renew(self) -> None:
        """Begin the file anew; whoever is killed meanwhile leaves the old one whole."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                data = b"".join(
                    [
                        self._head(),
                        *(_record(name.encode(), content, gone=False) for name, content in self._live.items()),
                    ]
                )
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                fresh.replace(self.path)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            self._fail(error)
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = len(data)
        self._pending = b""
        if self._failing:
            self._failing = False
            log.warning("%s: is written again", self.path)

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error(
                "%s: cannot be written: %s; calls go on, but would end if the gateway did",
                self.path,
                error.strerror or error,
            )


def _record(key: bytes, content: bytes, *, gone: bool) -> bytes:
    named = _NAMED.pack(len(key), gone) + key
    return b"".join((_CHECKED.pack(len(content), zlib.crc32(content, zlib.crc32(named))), named, content))


def _contents(data: bytes, at: int, path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while at < len(data):
        end = at + _RECORD.size
        if end > len(data):
            break
        length, check, named, gone = _RECORD.unpack_from(data, at)
        after = end + named + length
        if length > MAX_CONTENT or named > MAX_NAME or after > len(data) or zlib.crc32(data[at + 8 : after]) != check:
            break
        try:
            name = data[end : end + named].decode()
        except UnicodeDecodeError:
            break
        if gone:
            found.pop(name, None)
        else:
            found[name] = data[end + named : after]
        at = after
    if at < len(data):
        log.warning("%s: the last %d octets make no sense and are passed over", path, len(data) - at)
    return found
