"""What a process has used: CPU time of all its threads and memory, from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """The sum over ``pids``. The scheduler's own nanosecond account is read, not the tick-based one."""
    total = Used(0.0, 0)
    for pid in pids:
        nanoseconds = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        total += Used(nanoseconds / 1e9, pages * 4096)
    return total


def children(pid: int) -> list[int]:
    """The direct children of ``pid``."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tree(pid: int) -> float:
    """CPU seconds of ``pid`` and of all that it started."""
    total = used(pid).cpu
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += sum(tree(int(child)) for child in (task / "children").read_text().split())
    return total


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
