"""The image's tree says the same everywhere, and its small scripts do what they say or say what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import uuid
from pathlib import Path

import pytest

from gateway.provision.slots import BootState, Slot, SlotState
from gateway.provision.slots_block import COPY_AT, decode, is_archive

ROOT = Path(__file__).parents[3]
TREE = ROOT / "buildroot"
BOARD = TREE / "board/x86_64"
SCRIPTS = TREE / "scripts"
FAKE_BUILDROOT = """\
export BR2_VERSION := {version}
O ?= output
BR2_DEFCONFIG ?= $(BR2_EXTERNAL)/configs/$(MAKECMDGOALS)
defconfig branch_gateway_x86_64_defconfig:
\t@mkdir -p $(O)
\t@grep -v -e '{drops}' $(BR2_DEFCONFIG) > $(O)/.config
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=os.environ | environment
    )


def fake_buildroot(directory: Path, drops: str = "nothing-at-all", version: str = "2026.02.3") -> Path:
    """A tree whose Kconfig takes every line but those that match ``drops``, and whose check-package is content."""
    (directory / "package").mkdir(parents=True)
    (directory / "utils").mkdir()
    (directory / "Makefile").write_text(FAKE_BUILDROOT.format(version=version, drops=drops))
    (directory / "utils/check-package").write_text("print('0 warnings generated')\n")
    return directory


def values(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if re.match(r"[A-Z][A-Z0-9_]*=", line))


def check_script(tmp_path: Path, tree: Path) -> subprocess.CompletedProcess[str]:
    """image-check with modules at hand by the names that check-package wants, so that nothing is installed."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in ("magic", "flake8"):
        (modules / f"{name}.py").touch()
    return run(SCRIPTS / "image-check", BUILDROOT_DIR=str(tree), PYTHONPATH=str(modules))


def test_image_check_is_content_with_a_tree_that_keeps_every_line(tmp_path: Path) -> None:
    result = check_script(tmp_path, fake_buildroot(tmp_path / "tree"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("clean")


def test_image_check_names_the_line_that_was_dropped(tmp_path: Path) -> None:
    result = check_script(tmp_path, fake_buildroot(tmp_path / "tree", drops="BR2_PACKAGE_RAUC=y"))
    assert result.returncode == 1
    assert "BR2_PACKAGE_RAUC=y was dropped" in result.stderr
    assert "clean" not in result.stdout


@pytest.mark.parametrize("version", ["2025.11", ""])
def test_a_tree_of_another_release_is_refused(tmp_path: Path, version: str) -> None:
    result = run(SCRIPTS / "buildroot-tree", BUILDROOT_DIR=str(fake_buildroot(tmp_path / "tree", version=version)))
    assert result.returncode == 1
    assert "2026.02.3 is wanted" in result.stderr


def test_a_directory_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    result = run(SCRIPTS / "buildroot-tree", BUILDROOT_DIR=str(tmp_path))
    assert result.returncode == 1
    assert "is no Buildroot tree" in result.stderr


def test_a_tree_digest_sees_every_file_and_link(tmp_path: Path) -> None:
    def digest() -> str:
        return run(SCRIPTS / "buildroot-tree", "--digest", tmp_path).stdout

    (tmp_path / "a").write_text("one")
    first = digest()
    assert re.fullmatch(r"[0-9a-f]{64}\n", first)
    assert digest() == first
    (tmp_path / "a").write_text("two")
    second = digest()
    (tmp_path / "link").symlink_to("a")
    assert len({first, second, digest()}) == 3


def test_a_fragment_takes_the_place_of_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "defconfig").write_text('BR2_A=y\nBR2_B="x"\nBR2_C=y\n# BR2_D is not set\n')
    (tmp_path / "fragment").write_text('#- BR2_C\nBR2_B="y"\nBR2_D=y\n')
    result = run(SCRIPTS / "merge", tmp_path / "defconfig", tmp_path / "fragment")
    assert result.stdout == 'BR2_A=y\nBR2_B="y"\nBR2_D=y\n'


def test_fill_replaces_names_and_refuses_one_that_is_not_set(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.write_text("# @KEPT@\na=@ONE@-@ONE@\n")
    assert run(SCRIPTS / "fill", template, ONE="1&2").stdout == "# @KEPT@\na=1&2-1&2\n"
    template.write_text("a=@NEVER_SET_ANYWHERE@\n")
    result = run(SCRIPTS / "fill", template)
    assert result.returncode == 1
    assert "NEVER_SET_ANYWHERE is not set" in result.stderr


@pytest.mark.parametrize("name", ["genimage.cfg.in", "rauc/system.conf.in"])
def test_templates_are_filled_from_the_board_s_files(name: str) -> None:
    known = values(BOARD / "partitions.env") | values(BOARD / "image.env")
    result = run(SCRIPTS / "fill", BOARD / name, **known)
    assert result.returncode == 0, result.stderr
    assert known["PARTUUID_ROOTFS_A"] in result.stdout
    assert known["PARTUUID_ROOTFS_B"] in result.stdout


def test_partitions_have_identities_of_their_own() -> None:
    env = values(BOARD / "partitions.env")
    identities = [uuid.UUID(value) for name, value in env.items() if "UUID" in name]
    assert len(identities) == len(set(identities)) == 7
    names = re.findall(r"^\tpartition (\S+) ", (BOARD / "genimage.cfg.in").read_text(), re.M)
    assert names == ["esp", "bootstate", "rootfs-a", "rootfs-b", "factory", "data"]


def test_a_fresh_disk_starts_slot_a_and_never_the_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "bootstate.img"
    result = run("python3", SCRIPTS / "bootstate_image.py", file, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    written = file.read_bytes()
    assert is_archive(written)
    for at in COPY_AT:
        state, _ = decode(written[at : at + 1024]) or (BootState(), 0)
        assert state.first is Slot.A
        assert (state.a.state, state.b.state) == (SlotState.CONFIRMED, SlotState.BAD)


def test_users_of_the_package_are_those_of_sysusers() -> None:
    text = (ROOT / "overlay/usr/lib/sysusers.d/branch-gateway.conf").read_text()
    users = set(re.findall(r"^u (\S+)", text, re.M))
    groups = set(re.findall(r"^g (\S+)", text, re.M))
    table = re.search(
        r"define BRANCH_GATEWAY_USERS\n(.*?)endef",
        (TREE / "package/branch-gateway/branch-gateway.mk").read_text(),
        re.S,
    )
    assert table
    rows = [line.split() for line in table[1].splitlines()]
    assert {row[0] for row in rows if row[0] != "-"} == users
    assert {row[2] for row in rows if row[0] == "-"} == groups


def test_every_library_the_gateway_needs_is_selected() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config = (TREE / "package/branch-gateway/Config.in").read_text()
    selected = set(re.findall(r"select BR2_PACKAGE_PYTHON_(\S+)", config))
    needed = {re.split(r"[<>=\[;]", name)[0].upper().replace("-", "_") for name in project["dependencies"]}
    assert needed == selected
    makefile = (TREE / "package/branch-gateway/branch-gateway.mk").read_text()
    assert f"BRANCH_GATEWAY_VERSION = {project['version']}\n" in makefile


def test_hashes_of_our_packages_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    for package in ("msgspec", "prometheus-client"):
        first = re.search(
            r"^sha256  ([0-9a-f]{64})  \S+\.tar\.gz$",
            (TREE / f"package/python-{package}/python-{package}.hash").read_text(),
            re.M,
        )
        assert first
        assert first[1] in lock


def test_ssh_is_off_until_somebody_enables_it() -> None:
    preset = (ROOT / "overlay/usr/lib/systemd/system-preset/50-branch-gateway.preset").read_text()
    assert "disable sshd.service\n" in preset
    enabled = re.findall(r"^enable (branch-gateway\S*)$", preset, re.M)
    for unit in enabled:
        assert (ROOT / "overlay/usr/lib/systemd/system" / unit).exists()


def test_what_is_inside_grub_has_no_remark_which_its_first_parser_takes_for_a_command() -> None:
    assert "#" not in [line[:1] for line in (BOARD / "grub-builtin.cfg").read_text().splitlines()]


def test_a_slot_that_is_too_small_for_the_root_file_system_is_an_error(tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    with rootfs.open("wb") as file:
        file.truncate(int(values(BOARD / "partitions.env")["SIZE_ROOTFS"]) << 20)
    result = run(SCRIPTS / "slot-image", rootfs, tmp_path / "slot")
    assert result.returncode == 1
    assert "a slot has 256" in result.stderr


def test_a_development_key_signs_code_and_is_made_once(tmp_path: Path) -> None:
    first = run(SCRIPTS / "development-key", tmp_path / "keys")
    assert first.returncode == 0, first.stderr
    signer = (tmp_path / "keys/signer.pem").read_bytes()
    assert run(SCRIPTS / "development-key", tmp_path / "keys").stdout == first.stdout
    assert (tmp_path / "keys/signer.pem").read_bytes() == signer
    said = run("openssl", "x509", "-in", tmp_path / "keys/signer.pem", "-noout", "-ext", "extendedKeyUsage").stdout
    assert "Code Signing" in said
    assert (tmp_path / "keys/signer.key").stat().st_mode & 0o077 == 0
