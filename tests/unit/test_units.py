"""What the image is given for systemd: units that it takes, hardened as far as measured, and what they lean on."""

from __future__ import annotations

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from gateway import boot
from gateway.boot import VARIABLE
from tests.interop.program import find_program

OVERLAY = Path(__file__).parents[2] / "overlay"
UNITS = OVERLAY / "usr/lib/systemd/system"
NAMES = ("branch-gateway.service", "branch-gateway-media.service")
SLOT_UNITS = ("branch-gateway-arrive.service", "branch-gateway-mark-good.service")
"""They write to a partition and start the box anew, which takes root; they have no socket and end."""
IMAGE = (
    "branch-gateway-firewall-reload.service",
    "branch-gateway-firewall.path",
    "branch-gateway-firewall.service",
)
"""What prepares the host for them, and ends: no daemons."""
MOST_EXPOSED = 20
"""Tenths of what ``systemd-analyze security`` calls exposure, which goes to 10."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = find_program("systemd-analyze", "systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def keys(name: str, section: str) -> dict[str, str]:
    parser = RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / name)
    return dict(parser[section])


def test_all_units_are_known_here() -> None:
    assert sorted(each.name for each in UNITS.iterdir()) == sorted(NAMES + SLOT_UNITS + IMAGE)


@pytest.mark.parametrize("name", NAMES)
def test_exposure_is_low(name: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", UNITS / name)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None and float(found[1]) <= MOST_EXPOSED / 10


@pytest.mark.parametrize("name", NAMES + SLOT_UNITS)
def test_systemd_takes_every_line(name: str, tmp_path: Path) -> None:
    # The programs are in the image and not here, nor are those units that it has of others.
    unit = (UNITS / name).read_text()
    unit = re.sub(r"(?m)^(ExecStart|ExecReload)=\S+", r"\1=/bin/true", unit)
    unit = re.sub(r"(?m)^(Wants|After)=.*\n", "", unit)
    (tmp_path / name).write_text(unit)
    done = analyze("verify", "--man=no", "--generators=no", tmp_path / name)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_service_says_that_it_is_ready_and_alive_and_is_no_root(name: str) -> None:
    service = keys(name, "Service")
    assert service["Type"] == "notify" and service["Restart"] == "always"
    assert float(service["WatchdogSec"]) > 0
    assert service["CapabilityBoundingSet"] == "" == service["AmbientCapabilities"]
    users = (OVERLAY / "usr/lib/sysusers.d/branch-gateway.conf").read_text()
    assert re.search(rf"(?m)^u {re.escape(service['User'])} ", users)
    assert service["Group"] == "branch-gateway"
    # Without a directory of ProtectSystem=strict's exceptions a service does not start.
    directory = (OVERLAY / "usr/lib/tmpfiles.d/branch-gateway.conf").read_text()
    assert f"d {service['ReadWritePaths']} 2770 root branch-gateway" in directory


def test_the_media_engine_may_take_what_it_asks_for() -> None:
    service = keys("branch-gateway-media.service", "Service")
    source = (Path(__file__).parents[2] / "gateway/media/engine/main.c").read_text()
    wanted = re.search(r"REALTIME_PRIORITY = (\d+)", source)
    assert wanted is not None and service["LimitRTPRIO"] == wanted[1]
    assert service["LimitMEMLOCK"] == "infinity"
    assert "RestrictRealtime" not in service


def test_the_gateway_runs_from_its_store_and_knows_the_start_of_its_host() -> None:
    service = keys("branch-gateway.service", "Service")
    assert service["StateDirectory"] == "branch-gateway"
    assert "--store /var/lib/branch-gateway/config --first /etc/" in service["ExecStart"]
    # Without /proc/sys a trial would not end with a reboot.
    assert service["ProcSubset"] == "pid" and service["Environment"] == f"{VARIABLE}=%b"


def test_without_proc_the_start_of_the_host_is_what_systemd_says(monkeypatch: pytest.MonkeyPatch) -> None:
    known = boot.boot_identity()
    monkeypatch.setattr(boot, "_BOOT", Path("/nowhere"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert boot.boot_identity() == ""
    monkeypatch.setenv(VARIABLE, known)
    assert boot.boot_identity() == known and len(known) == 32


def test_users_and_groups_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    program = find_program("systemd-sysusers", "systemd")
    done = subprocess.run(
        [program, f"--root={tmp_path}", OVERLAY / "usr/lib/sysusers.d/branch-gateway.conf"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    passwd, group = ((tmp_path / "etc" / name).read_text() for name in ("passwd", "group"))
    for user in ("branch-gateway", "branch-gateway-media"):
        assert re.search(rf"(?m)^{user}:.*:/usr/sbin/nologin$", passwd)
    assert re.search(r"(?m)^branch-gateway:.*:branch-gateway-media$", group)
    assert {"gateway-admin", "gateway-viewer"} <= {line.partition(":")[0] for line in group.splitlines()}
