"""How many CPUs this process may use."""

import os
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: how many microseconds of CPU in how many of time, `max 100000` where there is no limit."""


def usable_cpus(quota: Path = _QUOTA) -> int:
    """As many as it may run on, or fewer where a container's quota of time is less; at least 1."""
    count = len(os.sched_getaffinity(0))
    try:
        most, period = map(int, quota.read_text().split())
    except (OSError, ValueError):
        return count
    return max(1, min(count, most // period))
