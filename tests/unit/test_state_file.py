"""A file that outlives the program: whole or not at all, and the program goes on without it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import state_file
from gateway.state_file import StateFile


def written(path: Path, *contents: bytes) -> StateFile:
    """A StateFile that was told to keep ``contents`` one after the other, and closed."""
    file = StateFile(path, "registrations")

    async def keep() -> None:
        for content in contents:
            file.keep(content)
        await file.close()

    asyncio.run(keep())
    return file


def test_the_last_content_is_there_after_close(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    file = written(path, b"one", b"two", b"three")
    assert path.read_bytes() == b"three"
    assert file.read() == b"three"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_not_there_is_nothing_to_talk_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert StateFile(tmp_path / "none", "registrations").read() is None
    assert not caplog.records


def test_what_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert StateFile(tmp_path, "registrations").read() is None
    assert "registrations cannot be read: Is a directory" in caplog.text


def test_a_file_that_is_far_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state_file, "MAX_STATE", 10)
    path = tmp_path / "state"
    path.write_bytes(b"x" * 11)
    assert StateFile(path, "registrations").read() is None
    assert "more than 10 octets" in caplog.text


def full_disk(real: Callable[[int, memoryview], int]) -> Callable[[int, memoryview], int]:
    """``os.write`` that takes a few octets and then no more."""
    calls = 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls % 2:
            return real(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    return write


def test_a_full_disk_leaves_the_old_content_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state"
    file = written(path, b"before")
    caplog.set_level("INFO")

    async def twice() -> None:
        for content in (b"during", b"during too"):
            file.keep(content)
            await file.close()

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_disk(os.write))
        asyncio.run(twice())
    assert path.read_bytes() == b"before"
    assert caplog.text.count("No space left on device") == 1

    async def after() -> None:
        file.keep(b"after")
        await file.close()

    asyncio.run(after())
    assert path.read_bytes() == b"after"
    assert "are written again" in caplog.text
