"""Every file of examples/ is good as it stands, certificates aside, which the test makes as the file itself says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.assembly import sip_settings, tls_settings
from gateway.cli import certs
from gateway.config import Configuration, check, parse

DIRECTORY = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(DIRECTORY.glob("*.toml"))


def prepared(example: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``example`` with the certificates that its commands make."""
    monkeypatch.chdir(directory)
    text = example.read_text()
    for command in re.findall(r"`gateway-certs ([^`]*)`", text.replace("\n# ", " ")):
        done = CliRunner().invoke(certs.main, shlex.split(command))
        assert done.exit_code == 0, done.output
    return Path(shutil.copy(example, directory / example.name))


def test_there_are_examples_of_the_usual_cases() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {"branch", "two-sites", "provider", "phones-behind-nat", "encrypted", "iax2"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_an_example(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prepared(example, tmp_path, monkeypatch)
    assert [str(problem) for problem in check(path.read_text(), path)] == []
    configuration = parse(path.read_text(), path)
    assert isinstance(configuration, Configuration)
    assert sip_settings(configuration).peers
    assert (tls_settings(configuration) is not None) is (example.stem == "encrypted")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_context_of_an_example_that_calls_out_knows_an_emergency_number_or_no_line(example: Path) -> None:
    """Examples are copied: whoever has a line in one can call for help with it."""
    text = example.read_text()
    assert ("[[span]]" in text) <= bool(re.search(r'match = "(911|112|_11\[02\])"', text))
