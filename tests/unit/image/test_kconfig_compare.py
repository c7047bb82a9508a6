"""What Kconfig drops or changes is found: by hand-made texts, and with a small Kconfig of our own beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "buildroot/scripts/kconfig_compare.py"
RESULT = """\
#
# Automatically generated file; DO NOT EDIT.
#
BR2_HAVE_DOT_CONFIG=y
BR2_x86_64=y
BR2_HOSTNAME="branch"
# BR2_SHELL is not set
BR2_MODULE=m
"""


def compare(directory: Path, requested: str, result: str = RESULT) -> tuple[int, list[str]]:
    (directory / "asked").write_text(requested)
    (directory / ".config").write_text(result)
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(directory / "asked"), str(directory / ".config")],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stderr.splitlines()


def test_all_as_asked(tmp_path: Path) -> None:
    asked = '# a remark\n\nBR2_x86_64=y\nBR2_HOSTNAME="branch"\nBR2_MODULE=m\n# BR2_SHELL is not set\n'
    assert compare(tmp_path, asked) == (0, [])


def test_an_option_nobody_knows_is_dropped(tmp_path: Path) -> None:
    code, lines = compare(tmp_path, "BR2_x86_64=y\nBR2_PACKAGE_OF_DREAMS=y\n")
    assert code == 1
    assert lines == [
        "asked, line 2: BR2_PACKAGE_OF_DREAMS=y was dropped: no such option, or what it needs is not on",
    ]


@pytest.mark.parametrize(
    ("asked", "became"),
    [
        ("BR2_SHELL=y", "BR2_SHELL=n"),
        ("# BR2_x86_64 is not set", "BR2_x86_64=y"),
        ('BR2_HOSTNAME="other"', 'BR2_HOSTNAME="branch"'),
        ("BR2_MODULE=y", "BR2_MODULE=m"),
    ],
)
def test_a_value_that_became_another_is_told(tmp_path: Path, asked: str, became: str) -> None:
    code, lines = compare(tmp_path, asked + "\n")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].endswith(f"became {became}")


def test_an_option_that_is_off_may_be_missing(tmp_path: Path) -> None:
    assert compare(tmp_path, "# BR2_NOT_EVEN_ASKED is not set\n") == (0, [])


def test_an_option_set_twice_is_told(tmp_path: Path) -> None:
    code, lines = compare(tmp_path, "BR2_x86_64=y\nBR2_x86_64=y\n")
    assert code == 1
    assert "set in line 1 too" in lines[0]


@pytest.mark.parametrize("text", ["BR2_x86_64 y\n", "what is this\n"])
def test_a_line_that_is_none_stops_it(tmp_path: Path, text: str) -> None:
    code, lines = compare(tmp_path, text)
    assert code == 2
    assert "neither an option nor a comment" in lines[0]


def test_a_file_that_is_not_there_stops_it(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "a"), str(tmp_path / "b")], check=False)
    assert run.returncode == 2
