"""The directory of a real file system that a store is in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.config.disk import DirectoryDisk, put


def test_what_is_put_is_there_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        disk = DirectoryDisk(tmp_path / "deep/store")
        assert disk.lock()
        disk.make_directory("secrets")
        put(disk, "secrets/hq.1", b"x" * 100_000)
        put(disk, "secrets/hq.1", b"y")
    finally:
        os.umask(before)
    disk.sync_directory("secrets")
    assert disk.read("secrets/hq.1", 1) == b"y"
    assert disk.names("secrets") == ["hq.1"] and disk.names("") == ["secrets"]
    assert stat.S_IMODE((tmp_path / "deep/store/secrets/hq.1").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep/store/secrets").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "deep/store").stat().st_mode) == 0o750
    disk.release()


def test_even_a_tight_umask_leaves_the_group_what_it_may_have(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        disk = DirectoryDisk(tmp_path)
        disk.make_directory("versions")
        disk.make_directory("versions")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "versions").stat().st_mode) == 0o750


def test_a_file_that_others_could_read_before_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "hq.1.new").write_bytes(b"old")
    (tmp_path / "hq.1.new").chmod(0o666)
    put(DirectoryDisk(tmp_path), "hq.1", b"fresh")
    assert stat.S_IMODE((tmp_path / "hq.1").stat().st_mode) == 0o600


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "aim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("aim")
    (tmp_path / "x.new").symlink_to("aim")
    disk = DirectoryDisk(tmp_path)
    with pytest.raises(OSError, match=r".*"):
        disk.read("link", 100)
    with pytest.raises(OSError, match=r".*"):
        disk.create("x.new")
    assert (tmp_path / "aim").read_bytes() == b"precious"


def test_what_is_no_file_or_too_long_is_an_error(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    (tmp_path / "long").write_bytes(b"12345")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("long", "directory", "nothing"):
        with pytest.raises(OSError, match=r".*"):
            disk.read(name, 4)
    # Nobody waits for somebody to write.
    assert disk.read("fifo", 4) == b""


def test_the_lock_is_one_for_all(tmp_path: Path) -> None:
    one, other = DirectoryDisk(tmp_path), DirectoryDisk(tmp_path)
    assert one.lock()
    assert not other.lock()
    one.release()
    one.release()
    assert other.lock()
    other.release()


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError, match=r".*"):
        put(disk, "name", b"x")
    assert disk.names("") == ["name"]
