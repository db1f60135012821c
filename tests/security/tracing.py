"""Watching the system calls of a running server."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import Served, tool


@contextmanager
def traced(server: Served, calls: str) -> Iterator[list[str]]:
    """Collects the lines of strace for the named calls of all threads; complete once the block has ended."""
    seen: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trace"
        command = [tool("strace"), "-f", "-qq", "-s", "4096", "-e", f"trace={calls}", "-o", str(out)]
        process = subprocess.Popen([*command, "-p", str(server.process.pid)], stderr=subprocess.DEVNULL)
        try:
            _wait_until_attached(server.process.pid, process)
            yield seen
        finally:
            process.terminate()
            process.wait(20)
        seen += [line for line in out.read_text(errors="replace").splitlines() if re.search(r"\w+\(", line)]


def _wait_until_attached(pid: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "strace may not look at the server"
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that is just ending
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            if all(f"TracerPid:\t{process.pid}" in (one / "status").read_text() for one in threads):
                return
        time.sleep(0.05)
    raise TimeoutError("strace did not attach")
