"""What a process and all its children use, as the kernel counts it.

CPU is utime + stime of every thread, those that have ended included.  A living process is asked through its CPU
clock: the sum of /proc/PID/stat, but in nanoseconds instead of hundredths of a second.  Children that have ended
are in their parent's cutime and cstime.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SCHEDULED: Final = 2
"""CPUCLOCK_SCHED: time that any thread of the process was on a core."""

PROC: Final = Path("/proc")


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(folder)[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU seconds the tree has used since it began."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            fields = _stat(PROC / str(one))
            total += (int(fields[13]) + int(fields[14])) / _TICKS
            total += time.clock_gettime((~one << 3) | _SCHEDULED)
    return total


def forget_peak(pid: int) -> None:
    """Let the tree's peaks of memory start again from what it holds now."""
    for one in tree(pid):
        with suppress(OSError):
            (PROC / str(one) / "clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most memory (RSS) the tree has held since `forget_peak`: the sum of its processes' peaks."""
    return _status(pid, "VmHWM:")


def resident_bytes(pid: int) -> int:
    """The memory (RSS) the tree holds now."""
    return _status(pid, "VmRSS:")


def machine_seconds() -> float:
    """CPU seconds that all programs on this machine have used, of all cores together."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS


def _stat(folder: Path) -> list[str]:
    """Fields 3 and on of a process's stat file: the name before them may hold spaces and brackets."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _status(pid: int, name: str) -> int:
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            lines = (PROC / str(one) / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    return total
