"""Only one gateway has a run directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.run_lock import RunDirectoryError, sole_user

HOLD = """
import sys, time
from pathlib import Path
from gateway.run_lock import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_and_the_place_is_free_afterwards(tmp_path: Path) -> None:
    with (
        sole_user(tmp_path),
        pytest.raises(RunDirectoryError, match="another gateway runs with this run_dir"),
        sole_user(tmp_path),
    ):
        pass
    with sole_user(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_place_of_a_killed_one_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunDirectoryError), sole_user(tmp_path):
            pass
        other.kill()
        other.wait()
    with sole_user(tmp_path):
        pass


def test_a_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "absent"):
        with pytest.raises(OSError), sole_user(tmp_path / name):
            pass
