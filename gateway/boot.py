"""What tells one run of the kernel from another."""

from __future__ import annotations

import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
MAX_BOOT = 64
VARIABLE = "BRANCH_GATEWAY_BOOT"


def boot_identity() -> str:
    """What this run of the kernel is known by, ``MAX_BOOT`` octets of ASCII at most; "" if it does not say.

    Where /proc/sys is hidden (ProcSubset=pid) whoever started us says it in ``BRANCH_GATEWAY_BOOT``: its 32 digits.
    """
    try:
        text = _BOOT.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = os.environ.get(VARIABLE, "")
    # systemd writes it without hyphens.
    text = text.strip().replace("-", "")[:MAX_BOOT]
    return text if text.isascii() else ""
