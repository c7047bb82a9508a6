"""The board's grub.cfg run by a real GRUB in user space (grub-emu), on a disk of the image's layout in a sparse file.

What starts is not started here: `linux` is no command of grub-emu, so a function stands for it that says what it was
given. All else is GRUB's own: partitions, the archive, load_env, save_env, its script language.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gateway.provision.slots import BootState, Slot
from gateway.provision.slots_block import BLOCK, COPY_AT, encode, partition
from tests.interop.program import find_program

BOARD = Path(__file__).parents[2] / "buildroot/board/x86_64"
MEBI = 1 << 20
DESCRIPTION_BACK = 4096
"""The description of a slot is so far before the slot's end."""
_WRAPPER = """\
function linux {{
  echo "LINUX $@"
  if [ "$1" = "(hd0,gpt3)/boot/bzImage" ]; then {a}; fi
  if [ "$1" = "(hd0,gpt4)/boot/bzImage" ]; then {b}; fi
  {rescue}
}}
function initrd {{ echo "INITRD $1"; halt; }}
set root=hd0,gpt1
set patience=0
source (host){cfg}
"""


@dataclass(frozen=True, slots=True)
class Booted:
    """``slot``, or rescue for ``reason``; neither if GRUB gave up. ``words`` are the kernel's, run together."""

    slot: Slot | None
    reason: str
    words: str
    text: str


def partitions_env() -> dict[str, str]:
    """The board's partitions.env."""
    lines = (BOARD / "partitions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


class GrubDisk:
    """A disk in ``directory``, and the boots from it."""

    def __init__(self, directory: Path, cfg: Path = BOARD / "grub.cfg") -> None:
        self._grub = find_program("grub-emu", "grub-emu")
        sfdisk = find_program("sfdisk", "fdisk")
        self.directory = directory
        self._cfg = cfg
        self.disk = directory / "disk"
        env = partitions_env()
        at = int(env["OFFSET_ESP"]) * MEBI
        sizes = [
            int(env[f"SIZE_{name}"]) * MEBI for name in ("ESP", "BOOTSTATE", "ROOTFS", "ROOTFS", "FACTORY", "DATA")
        ]
        self.bootstate = at + sizes[0]
        slot_a = self.bootstate + sizes[1]
        self.slots = {Slot.A: slot_a, Slot.B: slot_a + sizes[2]}
        with self.disk.open("wb") as file:
            file.truncate(at + sum(sizes) + MEBI)
        table = "label: gpt\n" + f"start={at // 512}, " + "\n".join(f"size={size // 512}" for size in sizes) + "\n"
        subprocess.run([sfdisk, "-q", self.disk], input=table, text=True, check=True, capture_output=True)
        (directory / "device.map").write_text(f"(hd0) {self.disk}\n")
        block = encode(BootState(), 0)
        self.write(self.bootstate, partition((block, block)))
        for number, slot in enumerate(Slot):
            text = f"# GRUB Environment Block\nverity_sectors={800 + number}\nverity_blocks={100 + number}\n"
            text += f"verity_root=r{number}\nverity_salt=s{number}\n"
            self.write(self.description_at(slot), text.encode().ljust(BLOCK, b"#"))

    def description_at(self, slot: Slot) -> int:
        """Where a slot is described."""
        return self.slots[slot] + int(partitions_env()["SIZE_ROOTFS"]) * MEBI - DESCRIPTION_BACK

    def write(self, at: int, data: bytes) -> None:
        """Octets of the disk."""
        with self.disk.open("r+b") as file:
            file.seek(at)
            file.write(data)

    def lay(self, copies: tuple[bytes, bytes]) -> None:
        """Put both copies of the boot environment."""
        for at, copy in zip(COPY_AT, copies, strict=True):
            self.write(self.bootstate + at, copy)

    @property
    def copies(self) -> tuple[bytes, bytes]:
        """Both copies as they are."""
        found = []
        with self.disk.open("rb") as file:
            for at in COPY_AT:
                file.seek(self.bootstate + at)
                found.append(file.read(BLOCK))
        return found[0], found[1]

    def boot(self, kernels: frozenset[Slot] = frozenset(Slot), rescue: bool = True) -> Booted:
        """One start; ``kernels`` are the slots whose kernel can be loaded."""
        directory = self.directory / "cfg"
        directory.mkdir(exist_ok=True)
        fate = {slot: "halt" if slot in kernels else "false" for slot in Slot}
        (directory / "grub.cfg").write_text(
            _WRAPPER.format(a=fate[Slot.A], b=fate[Slot.B], rescue="true" if rescue else "false", cfg=self._cfg)
        )
        done = subprocess.run(
            [self._grub, f"--directory={directory}", f"--device-map={self.directory / 'device.map'}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            env={"TERM": "dumb", "PATH": "/usr/bin:/bin", "COLUMNS": "2000"},
        )
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", (done.stdout + done.stderr).decode("latin-1")).replace("\r", "")
        # It folds lines at the width of a terminal.
        flat = text.replace("\n", "")
        words = "".join(flat.rpartition("LINUX ")[2].split())
        slot = next((each for each in Slot if flat.rpartition("Slot ")[2].startswith(f"{each.value} starts.")), None)
        reason = re.search(r"Rescue starts: (\w+)\.", flat)
        if reason is not None:
            return Booted(None, reason[1] if "INITRD" in flat else "", words, text)
        return Booted(slot, "", words, text)
