"""``gateway-certs``: files with their modes, nothing overwritten, what is wrong told in a line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.certs import main


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    directory = tmp_path / "certs"
    assert run("ca", directory, "--name", "Example").exit_code == 0
    assert run("box", directory, "branch", "--host", "branch.example.org", "--ip", "192.0.2.1").exit_code == 0
    return directory


def test_files_are_made_with_their_modes(certs: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in certs.iterdir()}
    assert modes == {
        "ca.crt": 0o644,
        "ca.key": 0o600,
        "branch.crt": 0o644,
        "branch.key": 0o600,
        "branch.pem": 0o600,
    }
    assert stat.S_IMODE(certs.stat().st_mode) == 0o700
    assert (certs / "branch.pem").read_bytes() == (certs / "branch.key").read_bytes() + (
        certs / "branch.crt"
    ).read_bytes()


def test_nothing_is_overwritten(certs: Path) -> None:
    before = {path: path.read_bytes() for path in certs.iterdir()}
    again = run("ca", certs, "--name", "Other")
    assert (again.exit_code, again.output) == (
        1,
        f"gateway-certs: {certs}/ca.crt is there already; expected another name, or remove it first\n",
    )
    again = run("box", certs, "branch", "--host", "x.example.org")
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert {path: path.read_bytes() for path in certs.iterdir()} == before


def test_dangling_link_is_not_written_through(certs: Path, tmp_path: Path) -> None:
    (certs / "other.key").symlink_to(tmp_path / "elsewhere")
    assert run("box", certs, "other", "--host", "x.example.org").exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["ca", "", "../up", ".hidden", "a b", "a/b"])
def test_name_of_a_box_is_a_name_of_files(certs: Path, name: str) -> None:
    said = run("box", certs, name, "--host", "x.example.org")
    assert said.exit_code == 1
    assert "expected letters, digits" in said.output


def test_box_without_ca_says_how_to_make_one(tmp_path: Path) -> None:
    said = run("box", tmp_path, "branch", "--host", "x.example.org")
    assert said.exit_code == 1
    assert "make them first: gateway-certs ca" in said.output


def test_box_needs_a_host_or_an_address(certs: Path) -> None:
    said = run("box", certs, "other")
    assert said.exit_code == 1
    assert "expected 1 to 50 hosts and addresses" in said.output


def test_revoked_certificates_are_on_a_list_that_grows(certs: Path, tmp_path: Path) -> None:
    for name in ("lost", "stolen"):
        run("box", certs, name, "--host", f"{name}.example.org")
    made = run("revoke", certs, certs / "lost.crt")
    assert (made.exit_code, made.output) == (0, f"{certs}/ca.crl: 1 certificates are revoked\n")
    assert run("revoke", certs, certs / "stolen.crt", certs / "lost.crt").output.endswith(
        "2 certificates are revoked\n"
    )
    assert (certs / "ca.crl").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in certs.iterdir() if path.name.startswith(".")] == []
    other = tmp_path / "other"
    run("ca", other, "--name", "Other")
    refused = run("revoke", other, certs / "lost.crt")
    assert refused.exit_code == 1
    assert "the certificate of lost is not of this CA" in refused.output
    assert not (other / "ca.crl").exists()
    (certs / "ca.crl").rename(other / "ca.crl")
    assert "is not of the CA in" in run("revoke", other, other / "ca.crt").output


def test_show_says_what_is_in_it(certs: Path) -> None:
    said = run("show", certs / "branch.crt").output
    for text in ("branch.crt: branch", "signed by  Example", "dns:branch.example.org, ip:192.0.2.1", "EC secp256r1"):
        assert text in said


def test_check_finds_nothing_wrong_with_what_was_made(certs: Path) -> None:
    said = run("check", certs / "branch.crt", "--key", certs / "branch.key", "--ca", certs / "ca.crt")
    assert (said.exit_code, said.output) == (0, "")
    assert run("check", certs / "branch.pem").exit_code == 0


def test_check_tells_each_fault_in_a_line(certs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("ca", other, "--name", "Other", "--days", "5")
    run("box", other, "box", "--host", "b.example.org")
    (other / "box.key").chmod(0o644)
    said = run("check", other / "box.crt", "--key", certs / "branch.key", "--ca", certs / "ca.crt")
    assert said.exit_code == 1
    assert said.output.splitlines() == [
        f"{other}/box.crt: ends in 5 days; make a new one in time",
        f"{certs}/branch.key: this private key does not fit the certificate",
        f"{other}/box.crt: {certs}/ca.crt did not sign it",
    ]
    said = run("check", other / "box.crt", "--key", other / "box.key", "--days", "0")
    assert said.output == (f"{other}/box.key: others may use this private key (mode 0644); chmod 600 {other}/box.key\n")
    assert run("check", other / "none.crt").output == (
        f"gateway-certs: {other}/none.crt: cannot be read: No such file or directory\n"
    )


def test_file_that_is_no_certificate_or_key_is_named(certs: Path, tmp_path: Path) -> None:
    other = tmp_path / "letter"
    other.write_text("dear sirs")
    for words in (
        ("show", certs / "ca.crt", other),
        ("check", other),
        ("check", certs / "branch.crt", "--key", other),
        ("check", certs / "branch.crt", "--ca", other),
    ):
        said = run(*words)
        assert said.exit_code == 1
        assert said.output.splitlines()[-1].startswith(f"gateway-certs: {other}: expected a")


def test_key_kinds_and_help() -> None:
    assert "ec|rsa2048|rsa3072|ed25519" in run("box", "--help").output
    assert run("ca", "x", "--name", "n", "--key", "dsa").exit_code == 2
