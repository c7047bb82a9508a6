"""The boot environment on its partition: read, and changed in place so that power may fail at any octet.

Copies are written one after the other, synchronously, under a lock, the one that does not count first. Until the second
is written the old state is on the disk, or the new one; never neither.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.provision.slots import BootState
from gateway.provision.slots_block import (
    BLOCK,
    COPY_AT,
    GENERATIONS,
    PARTITION,
    decode,
    encode,
    is_archive,
    is_clean,
    latest,
    partition,
)

log = logging.getLogger(__name__)

DEVICE = Path("/dev/disk/by-partlabel/bootstate")
LOCK = Path("/run/lock/branch-gateway-slots")


class BootEnvironmentError(RuntimeError):
    """The partition cannot be read or written; the message says which and why."""


class BootEnvironment:
    """The environment on ``device``, a partition or a file that stands for one; ``lock`` is a file for flock."""

    def __init__(self, device: Path = DEVICE, lock: Path = LOCK) -> None:
        self.device = device
        self._lock = lock

    def read(self) -> BootState | None:
        """The state that counts; None if neither copy is whole. BootEnvironmentError if there is no such partition."""
        with self._locked(), self._opened(os.O_RDONLY) as descriptor:
            return _counting(self._copies(descriptor))[0]

    def change(self, change: Callable[[BootState], BootState]) -> BootState:
        """Write what ``change`` makes of the state, the safe default if there is none to read; the new state.

        What ``change`` raises goes through, with nothing written. BootEnvironmentError if not even one copy took it.
        """
        with self._locked(), self._opened(os.O_RDWR | os.O_SYNC) as descriptor:
            copies = self._copies(descriptor)
            state, generation = _counting(copies)
            changed = change(state or BootState())
            if state is None or not self._whole(descriptor):
                self._lay_out(descriptor)
            counts = latest(copies)
            if changed == state and copies[0] == copies[1] and is_clean(copies[0]):
                return changed
            fresh = encode(changed, (generation + 1) % GENERATIONS)
            order = (0, 1) if counts == 1 else (1, 0)
            failures: list[OSError] = []
            for copy in order:
                try:
                    self._write(descriptor, COPY_AT[copy], fresh)
                except OSError as error:
                    log.error("%s: copy %d of the boot environment cannot be written: %s", self.device, copy, error)
                    failures.append(error)
            if len(failures) == len(order):
                raise self._error("written", failures[0])
            return changed

    def repair(self) -> bool:
        """Make both copies and the archive around them good again; whether anything had to be done."""
        with self._locked(), self._opened(os.O_RDONLY) as descriptor:
            copies = self._copies(descriptor)
            sound = copies[0] == copies[1] and is_clean(copies[0]) and self._whole(descriptor)
        if not sound:
            self.change(lambda state: state)
        return not sound

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BootEnvironmentError(f"{self._lock} cannot be opened: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        try:
            descriptor = os.open(self.device, flags | os.O_CLOEXEC)
        except OSError as error:
            raise self._error("opened", error) from None
        try:
            if os.lseek(descriptor, 0, os.SEEK_END) < PARTITION:
                raise BootEnvironmentError(f"{self.device} has less than {PARTITION} octets: it is no boot environment")
            yield descriptor
        finally:
            os.close(descriptor)

    def _error(self, done: str, error: OSError) -> BootEnvironmentError:
        return BootEnvironmentError(f"the boot environment, {self.device}, cannot be {done}: {error.strerror or error}")

    def _copies(self, descriptor: int) -> tuple[bytes, bytes]:
        return self._read(descriptor, COPY_AT[0], BLOCK), self._read(descriptor, COPY_AT[1], BLOCK)

    def _read(self, descriptor: int, at: int, octets: int) -> bytes:
        """What is there; nothing if it cannot be read, which is no copy then."""
        try:
            return os.pread(descriptor, octets, at)
        except OSError as error:
            log.error("%s: %d octets at %d cannot be read: %s", self.device, octets, at, error)
            return b""

    def _whole(self, descriptor: int) -> bool:
        return is_archive(self._read(descriptor, 0, PARTITION))

    def _lay_out(self, descriptor: int) -> None:
        """Write the archive's headers, and nothing over a copy that is whole."""
        empty = partition((bytes(BLOCK), bytes(BLOCK)))
        for at in (0, COPY_AT[0] + BLOCK, COPY_AT[1] - 512):
            try:
                self._write(descriptor, at, empty[at : at + 512])
            except OSError as error:
                log.error("%s: the header at %d cannot be written: %s", self.device, at, error)
        log.warning("%s: the boot environment was laid out anew", self.device)

    def _write(self, descriptor: int, at: int, data: bytes) -> None:
        while data:
            written = os.pwrite(descriptor, data, at)
            at, data = at + written, data[written:]


def _counting(copies: tuple[bytes, bytes]) -> tuple[BootState | None, int]:
    which = latest(copies)
    found = None if which is None else decode(copies[which])
    return (None, 0) if found is None else found
