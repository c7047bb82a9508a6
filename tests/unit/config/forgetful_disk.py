"""A disk for the configuration store that forgets what was not synced when its power is cut, and can be full or worn.

Names and contents are kept as they are and as they would be after a cut. A cut keeps any of the unsynced changes of
names, and of an unsynced content what was there, a part of it, zeros or garbage.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field


class PowerCutError(Exception):
    """The power is gone; what runs ends here."""


@dataclass
class _File:
    content: bytes = b""
    synced: bytes = b""


@dataclass
class _Directory:
    names: dict[str, _File] = field(default_factory=dict)
    synced: dict[str, _File] = field(default_factory=dict)
    # What was done to the names since: a name, and its file or None.
    unsynced: list[dict[str, _File | None]] = field(default_factory=list)

    def do(self, change: dict[str, _File | None]) -> None:
        for name, file in change.items():
            if file is None:
                self.names.pop(name, None)
            else:
                self.names[name] = file
        self.unsynced.append(change)


class ForgetfulDisk:
    """``cut_after``: so many steps that change something are done before the power fails; None is never.

    ``fail_at``: the step, counted from 0, from which on every one of ``fail_steps`` ends with ``fail_with`` (errno).
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cut_after: int | None = None
        self.fail_at: int | None = None
        self.fail_steps = 1
        self.fail_with = errno.ENOSPC
        self.steps = 0
        self.locked = False
        self._directories: dict[str, _Directory] = {"": _Directory()}
        self._made: dict[str, bool] = {"": True}
        self._open: dict[int, _File] = {}
        self._descriptor = 3

    # -- power --

    def cut(self) -> None:
        """The power fails and comes back: what was not synced is there or not."""
        rng = self.rng
        self.locked = False
        self.cut_after = self.fail_at = None
        self._open.clear()
        for name, directory in list(self._directories.items()):
            if not self._made[name] and rng.random() < 0.5:
                del self._directories[name], self._made[name]
                continue
            self._made[name] = True
            names = dict(directory.synced)
            for change in directory.unsynced:
                if rng.random() < 0.5:
                    continue
                for each, file in change.items():
                    if file is None:
                        names.pop(each, None)
                    else:
                        names[each] = file
            for file in names.values():
                if file.content != file.synced:
                    file.content = self._torn(file)
                    file.synced = file.content
            self._directories[name] = _Directory(dict(names), dict(names))

    def _torn(self, file: _File) -> bytes:
        content, rng = file.content, self.rng
        part = content[: rng.randrange(len(content) + 1)]
        return rng.choice(
            (file.synced, content, part, part + bytes(len(content) - len(part)), rng.randbytes(len(content)))
        )

    def _step(self) -> None:
        if self.cut_after is not None:
            if self.cut_after == 0:
                raise PowerCutError
            self.cut_after -= 1
        at = self.steps
        self.steps += 1
        if self.fail_at is not None and self.fail_at <= at < self.fail_at + self.fail_steps:
            raise OSError(self.fail_with, "as told")

    # -- what the store asks --

    def lock(self) -> bool:
        taken = not self.locked
        self.locked = True
        return taken

    def release(self) -> None:
        self.locked = False

    def make_directory(self, name: str) -> None:
        self._step()
        self._directories.setdefault(name, _Directory())
        self._made.setdefault(name, False)

    def names(self, directory: str) -> list[str]:
        return [*self._at(directory).names, *(name for name in self._directories if name and not directory)]

    def read(self, name: str, limit: int) -> bytes:
        directory, file = self._split(name)
        if file not in directory.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        content = directory.names[file].content
        if len(content) > limit:
            raise OSError(errno.EFBIG, "longer", name)
        return content

    def create(self, name: str) -> int:
        self._step()
        directory, file = self._split(name)
        directory.do({file: _File()})
        self._descriptor += 1
        self._open[self._descriptor] = directory.names[file]
        return self._descriptor

    def write(self, file: int, data: bytes) -> None:
        try:
            self._step()
        except OSError:
            # A full disk takes a part.
            self._open[file].content += data[: self.rng.randrange(len(data) + 1)]
            raise
        self._open[file].content += data

    def sync(self, file: int) -> None:
        self._step()
        self._open[file].synced = self._open[file].content

    def close(self, file: int) -> None:
        self._open.pop(file, None)

    def rename(self, old: str, new: str) -> None:
        self._step()
        directory, name = self._split(old)
        other, to = self._split(new)
        assert directory is other and name in directory.names
        directory.do({name: None, to: directory.names[name]})

    def unlink(self, name: str) -> None:
        self._step()
        directory, file = self._split(name)
        if file not in directory.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        directory.do({file: None})

    def sync_directory(self, name: str) -> None:
        self._step()
        directory = self._at(name)
        directory.synced = dict(directory.names)
        directory.unsynced.clear()
        if not name:
            self._made = dict.fromkeys(self._made, True)

    # -- for tests --

    def contents(self) -> dict[str, bytes]:
        """Every file by its whole name."""
        return {
            f"{name}/{file}" if name else file: each.content
            for name, directory in self._directories.items()
            for file, each in directory.names.items()
        }

    def spoil(self, name: str, content: bytes) -> None:
        """Let a file have ``content``, for good."""
        directory, file = self._split(name)
        directory.names[file].content = directory.names[file].synced = content

    def _at(self, name: str) -> _Directory:
        try:
            return self._directories[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such directory", name) from None

    def _split(self, name: str) -> tuple[_Directory, str]:
        directory, _, file = name.rpartition("/")
        return self._at(directory), file
