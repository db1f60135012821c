"""How faults are made, and how the end of one is waited for."""

import errno
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx

from tests import make
from tests.conftest import Served, missing, tool

T = TypeVar("T")
LAYER = 300_000
"""Bytes of a blob that lies in a file."""


def until(true: Callable[[], T], seconds: float = 30) -> T:
    """What `true` says as soon as that is something; fails where it never is."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"still not after {seconds} s"
        time.sleep(0.05)
    return found


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(folder: Path, leave: int = 0) -> Path:
    """Somebody else fills the disk, up to `leave` bytes; gives the file to remove."""
    filler = folder / "filler"
    with filler.open("ab") as file:
        size = file.tell()
        step = 1 << 22
        while step >= 4096:
            if free(folder) - step < leave:
                step //= 2
                continue
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError as reason:
                assert reason.errno == errno.ENOSPC
                step //= 2
    return filler


def layer(number: int = 0, size: int = LAYER) -> bytes:
    """Bytes of a layer, others for every number."""
    return number.to_bytes(8, "big") * (size // 8)


def healthy(client: httpx.Client, name: str, number: int) -> None:
    """A whole push and pull works."""
    content = layer(number)
    body = make.push_image(client, name, f"t{number}", b"{}", content)
    assert client.get(f"/v2/{name}/manifests/t{number}").content == body
    assert client.get(f"/v2/{name}/blobs/{make.digest(content)}").content == content


def told(answer: httpx.Response, status: int, name: str) -> str:
    """The message of a refusal in the specification's form, which names no place on the server."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    (error,) = answer.json()["errors"]
    assert error["code"] == name, error
    assert not re.search(r"(^|[^\w])/\w", error["message"]), error
    return str(error["message"])


@contextmanager
def injected(server: Served, *expressions: str, paths: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Let system calls of a running server fail, as `strace -e inject` describes; gives its log."""
    log = server.data.with_name(f"strace{time.monotonic_ns()}.log")
    calls = ",".join(one.partition(":")[0] for one in expressions)
    command = [tool("strace"), "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"]
    for one in expressions:
        command += ["-e", f"inject={one}"]
    for path in paths:
        command += ["-P", str(path)]
    tracer = subprocess.Popen([*command, "-p", str(server.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: tracer.poll() is not None or traced(server.process.pid))
        assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else ""
        yield log
    finally:
        with suppress(ProcessLookupError):
            tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        if tracer.stderr:
            tracer.stderr.close()


def traced(pid: int) -> bool:
    """Whether every thread is being watched."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            if "TracerPid:\t0\n" in status.read_text():
                return False
    return True


def descriptors(server: Served) -> list[str]:
    """What the server has open, without names for sockets that change."""
    found = []
    for one in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(one.readlink()).partition(":")[0])
    return sorted(found)


@contextmanager
def starved(server: Served, size: int) -> Iterator[None]:
    """From now on the server may take `size` more bytes of memory; beyond that the kernel kills it.

    What it has already stays charged to the group it came from.
    """
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    place, limit = (v1, "memory.limit_in_bytes") if (v1 / "cgroup.procs").exists() else (v2, "memory.max")
    group = place / f"moorage-{server.process.pid}"
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
        (group / "cgroup.procs").write_text(str(server.process.pid))
    except OSError as reason:
        with suppress(OSError):
            group.rmdir()
        missing(f"a memory cgroup ({reason}; root, and a controller that is there)")
    try:
        yield
    finally:
        server.process.kill()
        server.process.wait()
        until(lambda: not (group / "cgroup.procs").read_text().strip())
        group.rmdir()
