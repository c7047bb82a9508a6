"""What a process has used: CPU time of all its threads and memory, from /proc."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROCESS_CLOCK = 2
"""CPU clock of a whole process: the low bits of a clock id whose high ones are ~pid (clock_getcpuclockid(3))."""


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds since the start and resident memory in bytes."""

    cpu: float
    resident: int

    def __sub__(self, earlier: Used) -> Used:
        return Used(self.cpu - earlier.cpu, self.resident - earlier.resident)

    def __add__(self, other: Used) -> Used:
        return Used(self.cpu + other.cpu, self.resident + other.resident)


def used(*pids: int) -> Used:
    """The sum over ``pids``, of threads that have ended too. The scheduler's own account is read, not that of ticks."""
    total = Used(0.0, 0)
    for pid in pids:
        nanoseconds = time.clock_gettime_ns(~pid << 3 | _PROCESS_CLOCK)
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        total += Used(nanoseconds / 1e9, pages * 4096)
    return total


def children(pid: int) -> list[int]:
    """The direct children of ``pid``, whichever thread of it started them."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def tree(pid: int) -> float:
    """CPU seconds of ``pid`` and of all that it started."""
    return used(pid).cpu + sum(map(tree, children(pid)))


def percentile(values: list[float], fraction: float) -> float:
    """The value below which ``fraction`` of ``values`` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else float("nan")


def machine() -> str:
    """The machine in a line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    kernel = Path("/proc/sys/kernel/osrelease").read_text().split("-")[0]
    return f"{model}, {cores} cores, {memory} GiB, Linux {kernel}"


def stolen() -> tuple[int, int]:
    """Time so far, of all processors: what a host gave to others although we wanted it, and all (proc(5), ticks)."""
    columns = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return columns[7], sum(columns)


def share_stolen(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The part of the time between two readings of ``stolen``."""
    return (after[0] - before[0]) / max(after[1] - before[1], 1)
