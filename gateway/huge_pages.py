"""Puts what the process has in memory into huge pages, as far as Linux lets us (madvise(2), MADV_COLLAPSE: 6.1).

A call touches a little of everything, and between calls others have the caches: on a virtual machine the walk through
page tables that this costs was a sixth of the processor time of a call. Where it cannot be had nothing is lost.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

HUGE = 2 << 20
"""Octets of a huge page on x86-64."""
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
MAX_OCTETS = 512 << 20
"""No more than this is gathered, whatever there is."""


def ranges(maps: str) -> Iterator[tuple[int, int]]:
    """Begin and end of whole huge pages in ``maps`` (/proc/PID/maps): private memory, and programs' text."""
    for line in maps.splitlines():
        words = line.split(maxsplit=5)
        if len(words) < 5:
            continue
        name = words[5] if len(words) > 5 else ""
        memory = words[1] == "rw-p" and name in ("", "[heap]")
        text = words[1] == "r-xp" and name.startswith("/")
        if not (memory or text):
            continue
        begin, _, end = words[0].partition("-")
        first = -(-int(begin, 16) // HUGE) * HUGE
        last = int(end, 16) // HUGE * HUGE
        if first < last:
            yield first, last


def gather() -> int:
    """Octets that are in huge pages now; 0 where the kernel has none for us."""
    try:
        maps = Path("/proc/self/maps").read_text()
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    gathered = 0
    for first, last in ranges(maps):
        size = last - first
        if gathered + size > MAX_OCTETS:
            break
        # What is made later in the range is to come in huge pages too; what is there is moved now.
        madvise(first, size, MADV_HUGEPAGE)
        if madvise(first, size, MADV_COLLAPSE) == 0:
            gathered += size
    log.debug("%d KiB are in huge pages", gathered >> 10)
    return gathered
