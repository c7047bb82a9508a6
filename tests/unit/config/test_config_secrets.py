"""Passwords: in the file, or in one of their own that nobody else may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.assembly import sip_settings
from gateway.config import check
from gateway.config.file import load
from gateway.config.problems import Severity
from gateway.config.secrets import MAX_FILE, MAX_SECRET, secret_text
from gateway.config.values import Secret
from gateway.voip.sip.digest import Algorithm
from gateway.voip.sip.peers import Brakes

TRUNK = '[[trunk]]\nname = "hq"\ntechnology = "sip"\nhost = "192.0.2.10"\n'


def test_password_of_a_file_is_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "hq"
    path.write_text("säsam öffne\r\nand a remark\n")
    path.chmod(0o600)
    assert secret_text(Secret(file="hq"), tmp_path) == "säsam öffne"
    assert secret_text(Secret(file=str(path)), Path("/")) == "säsam öffne"
    assert secret_text(Secret(text="apples"), tmp_path) == "apples"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "hq"
    path.write_text("apples\n")
    path.chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        secret_text(Secret(file="hq"), tmp_path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "1 to 256 printable"),
        (b"\nsecond\n", "1 to 256 printable"),
        (b"a\x07b\n", "1 to 256 printable"),
        (b"x" * (MAX_SECRET + 1), "1 to 256 printable"),
        (b"x" * (MAX_FILE + 1), "at most 4096 octets"),
        (b"\xff\xfe\n", "expected text"),
    ],
)
def test_file_that_holds_no_password_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "hq"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=says):
        secret_text(Secret(file="hq"), tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be read"):
        secret_text(Secret(file="none"), tmp_path)
    with pytest.raises(ValueError, match="can be read"):
        secret_text(Secret(file="."), tmp_path)


def test_file_is_found_beside_the_configuration_and_told_about(tmp_path: Path) -> None:
    configuration = tmp_path / "branch.toml"
    configuration.write_text(f'schema = 1\n{TRUNK}secret = {{ file = "secrets/hq" }}\n')
    (problem,) = [each for each in check(configuration.read_text(), configuration) if each.severity is Severity.ERROR]
    assert "trunk[hq].secret" in str(problem)
    assert "No such file" in str(problem)
    (tmp_path / "secrets").mkdir()
    secret = tmp_path / "secrets" / "hq"
    secret.write_text("apples\n")
    secret.chmod(0o600)
    (peer,) = sip_settings(load(configuration)).peers
    assert [peer.secret] == ["apples"]
    assert "apples" not in repr(peer)


@pytest.mark.parametrize(
    ("secret", "warned"),
    [
        ("347", True),
        ("hq", True),
        ("12345678", True),
        ("apples", True),
        ("123456789012", False),
        ("correct horse", False),
    ],
)
def test_password_that_scanners_try_first_is_warned_of(tmp_path: Path, secret: str, warned: bool) -> None:
    found = check(f'schema = 1\n{TRUNK}secret = "{secret}"\n', tmp_path / "branch.toml")
    assert [each for each in found if "easily guessed" in str(each)] == ([found[0]] if warned else [])
    if len(secret) > len("hq"):
        assert all(secret not in str(each) for each in found)


def test_words_of_authentication_reach_the_endpoint(tmp_path: Path) -> None:
    configuration = tmp_path / "branch.toml"
    configuration.write_text(
        'schema = 1\n[sip]\nrealm = "branch"\nauth_algorithms = ["md5", "sha-256"]\n'
        f'{TRUNK}secret = "apples"\ndefaultuser = "branch-042"\nfromuser = "4165550000"\nfromdomain = "hq.example"\n'
        'insecure = ["invite"]\ncall_limit = 4\ncalls_per_hour = 100\ndestinations_per_hour = 30\n'
    )
    settings = sip_settings(load(configuration))
    assert settings.realm == "branch"
    assert settings.algorithms == (Algorithm.MD5, Algorithm.SHA_256)
    assert "911" in settings.emergency
    (peer,) = settings.peers
    assert (peer.auth_user, peer.fromuser, peer.fromdomain) == ("branch-042", "4165550000", "hq.example")
    assert peer.insecure_invite
    assert peer.brakes == Brakes(4, 100, 30)


def test_a_phone_has_brakes_from_the_start_and_a_trunk_those_that_it_is_given(tmp_path: Path) -> None:
    configuration = tmp_path / "branch.toml"
    phones = '[[phone]]\nname = "desk"\ncontext = "out"\nsecret = "pears-and-plums"\n'
    free = '[[phone]]\nname = "dialler"\ncontext = "out"\nsecret = "plums-and-figs"\n'
    route = '[[route]]\ncontext = "out"\nmatch = "_X."\nto = ["sip:hq/{number}"]\n'
    none = "call_limit = 0\ncalls_per_hour = 0\ndestinations_per_hour = 0\n"
    configuration.write_text(f"schema = 1\n{TRUNK}{phones}{free}{none}{route}")
    brakes = {peer.name: peer.brakes for peer in sip_settings(load(configuration)).peers}
    assert brakes.pop("desk") == Brakes(8, 120, 60)
    assert set(brakes.values()) == {Brakes(0, 0, 0)} and len(brakes) == 2


@pytest.mark.parametrize(
    "line",
    [
        '[sip]\nrealm = "a\\"b"\n',
        "[sip]\nauth_algorithms = []\n",
        '[sip]\nauth_algorithms = ["sha-1"]\n',
        TRUNK + 'fromdomain = "a b"\n',
        TRUNK + 'fromuser = "a b"\n',
        TRUNK + "call_limit = -1\n",
        TRUNK + 'secret = "tab\\t"\n',
    ],
)
def test_what_makes_no_sense_is_an_error(tmp_path: Path, line: str) -> None:
    found = check(f"schema = 1\n{line}", tmp_path / "branch.toml")
    assert [each for each in found if each.severity is Severity.ERROR]
