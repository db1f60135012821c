"""Faults: what they need, where they happen, and the figures at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, tool
from tests.faults import report
from tests.faults.mutants import ON_THE_SPOT
from tests.faults.server import Launcher, launcher


@pytest.fixture(scope="session")
def registries() -> Iterator[Launcher]:
    """Starts registries quickly, for all tests of this worker."""
    with launcher() as opened:
        yield opened


@pytest.fixture(scope="session")
def quick_registries() -> Iterator[Launcher]:
    """The same, of registries that write on the spot whatever is brief, as they do where the disk is quick."""
    with launcher(ON_THE_SPOT) as opened:
        yield opened


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: no test of these is about the disk below, and others may be waiting for that."""
    place = Path(tempfile.mkdtemp(prefix="moorage-", dir="/dev/shm"))
    place.chmod(0o755)  # PostgreSQL is another user
    yield place
    shutil.rmtree(place)


@pytest.fixture
def strace() -> str:
    return tool("strace")


@pytest.fixture
def disks(strace: str) -> None:
    """Disks can be made and their power cut."""
    for name in ("mkfs.ext4", "mount", "umount", "losetup"):
        tool(name)
    if os.geteuid() != 0:
        missing("root, to mount disks,")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [one for kind in terminalreporter.stats.values() for one in kind if getattr(one, "when", "") == "call"]
    found = report.gather(reports)
    if found:
        terminalreporter.section("faults")
        for line in report.lines(found):
            terminalreporter.write_line(line)
        report.keep(found)
