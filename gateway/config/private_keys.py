"""Who may read the file of a private key: its owner alone, or a group that may do no more."""

from __future__ import annotations

import stat
from pathlib import Path

OPEN_TO_OTHERS = 0o137
"""Modes that a private key must not have: its owner alone may write it, a group may read it."""


def fault_of_mode(path: Path) -> str:
    """What is wrong with who may read or write the private key at ``path``, or nothing."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & OPEN_TO_OTHERS:
        return ""
    return f"others than its owner may use this private key (mode {mode:04o}); expected 0600: chmod 600 {path}"
