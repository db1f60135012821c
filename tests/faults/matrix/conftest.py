"""Faults, made for real: small disks that fill up, system calls that fail, servers that stop answering.

    disk        makes file systems of a few megabytes
    registry    starts servers that no test outlives, whatever it did to them
    cluster     a PostgreSQL of one's own (`tests.databases`)

Every test here carries the marker `fault`; `make faults` runs them.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served, missing, start, tool

HERE = Path(__file__).parent

# What a test needs that wants the collector to be quick.
QUICK_GC = {
    "REGISTRY_GC_WINDOW": "5s",
    "REGISTRY_GC_TRASH": "100ms",
    "REGISTRY_GC_UNDO": "100ms",
    "REGISTRY_GC_INTERVAL": "200ms",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.fault)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a disk of some MiB: ext4 in a loop image, made with further options of mkfs, or `kind="tmpfs"`.

    It is mounted in the test's own folder, or `at` another.
    """
    if os.geteuid() != 0:
        missing("root, to mount")
    mounted: list[Path] = []

    def make(name: str, size: int = 64, *options: str, kind: str = "ext4", at: Path | None = None) -> Path:
        point = at or tmp_path / name
        point.mkdir(exist_ok=True)
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", point]
        else:
            image = tmp_path / f"{name}.img"
            with image.open("wb") as file:
                file.truncate(size << 20)
            # No blocks kept for root: the tests may be root.
            subprocess.run([tool("mkfs.ext4"), "-q", "-F", "-m", "0", *options, image], check=True)
            command = ["mount", "-o", "loop", image, point]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            missing(f"a loop device and leave to mount ({done.stderr.strip()})")
        mounted.append(point)
        return point

    yield make
    for point in reversed(mounted):
        subprocess.run(["umount", "-l", point], check=True)
        point.rmdir()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers; whatever is left of them in the end is killed."""
    servers: list[Served] = []

    def begin(data: Path | None = None, **environment: str) -> Served:
        servers.append(start(data or tmp_path / "data", **environment))
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.poll() is None:
            with suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGCONT)
            server.process.kill()
            server.process.wait(20)
        if server.process.stdout:
            server.process.stdout.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Served], httpx.Client]]:
    """Clients of servers."""
    clients: list[httpx.Client] = []

    def one(server: Served) -> httpx.Client:
        clients.append(httpx.Client(base_url=server.url, timeout=60, verify=False))
        return clients[-1]

    yield one
    for client in clients:
        client.close()
