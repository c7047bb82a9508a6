"""A root directory with packages of Debian 11 in it, unpacked and not installed, made once and kept under ``build``.

Debian 12 and 13 have no Asterisk; 11 has 16.28 with chan_sip and chan_pjsip. Its packages come by apt, with lists and
cache of their own, signed by Debian's archive keys; nothing of the machine's own apt is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.interop.program import PeerError, find_program

KEPT = Path("build/outside").resolve()
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "bullseye"
FETCH_SECONDS = 300
MIRROR_VARIABLE = "DEBIAN_MIRROR"
_APT = """\
Dir::Etc "{apt}/etc";
Dir::State "{apt}/state";
Dir::State::status "{apt}/state/status";
Dir::Cache "{apt}/cache";
APT::Install-Recommends "false";
APT::Architecture "amd64";
APT::Architectures {{"amd64";}};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def unpacked(name: str, packages: tuple[str, ...], probe: str, suite: str = SUITE) -> Path:
    """The root directory called ``name`` with ``packages`` and all they need; ``probe`` is a file that must be there.

    Raises PeerError with what to do where the packages cannot be had.
    """
    root = KEPT / name
    stamp = KEPT / f"{name}.stamp"
    if stamp.exists() and stamp.read_text() == " ".join(packages) and (root / probe).exists():
        return root
    find_program("apt-get", "apt")
    find_program("dpkg-deb", "dpkg")
    if not KEYRING.exists():
        raise PeerError(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
    begun = time.monotonic()
    print(f"== {name}: fetching packages of Debian {suite}", file=sys.stderr, flush=True)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    archives = _fetch(KEPT / f"apt-{suite}" if suite != SUITE else KEPT / "apt", packages, suite)
    print(f"== {name}: unpacking {len(archives)} packages", file=sys.stderr, flush=True)
    for archive in archives:
        _run(["dpkg-deb", "-x", str(archive), str(root)], 60)
    if not (root / probe).exists():
        raise PeerError(f"{probe} is not in the packages {', '.join(packages)} of Debian {suite}")
    for directory in ("proc", "dev", "tmp", "run", "root"):
        (root / directory).mkdir(exist_ok=True)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    stamp.write_text(" ".join(packages))
    print(f"== {name}: ready after {time.monotonic() - begun:.0f} s, kept in {root}", file=sys.stderr, flush=True)
    return root


def _fetch(apt: Path, packages: tuple[str, ...], suite: str) -> list[Path]:
    for directory in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (apt / directory).mkdir(parents=True, exist_ok=True)
    (apt / "state/status").touch()
    for left in (apt / "cache/archives").glob("*.deb"):
        left.unlink()
    (apt / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    (apt / "apt.conf").write_text(_APT.format(apt=apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C"}
    _run(["apt-get", "-q", "update"], FETCH_SECONDS, environment)
    _run(["apt-get", "-q", "-y", "--download-only", "install", *packages], FETCH_SECONDS, environment)
    return sorted((apt / "cache/archives").glob("*.deb"))


def _mirror() -> str:
    """Where this machine gets its own Debian packages from, else the one that debootstrap would take."""
    named = os.environ.get(MIRROR_VARIABLE)
    if named:
        return named
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(path.read_text("utf-8", "replace") for path in sources if path.is_file())
    found = re.search(r"^(?:deb\s+(?:\[[^\]]*\]\s+)?|URIs:\s*)(https?://\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
    if found:
        return found.group(1)
    scripts = Path("/usr/sbin/debootstrap")
    usual = re.search(r'^DEF_MIRROR="([^"]+)"', scripts.read_text(), re.MULTILINE) if scripts.exists() else None
    if usual is None:
        raise PeerError(f"no mirror of Debian is known here: set {MIRROR_VARIABLE}, or apt-get install debootstrap")
    return usual.group(1)


def _run(words: list[str], seconds: float, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{' '.join(words[:4])}: not done after {seconds:.0f} s") from None
    if done.returncode:
        raise PeerError(f"{' '.join(words[:4])}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
