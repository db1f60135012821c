"""What a server asks of the system, counted by strace: how often it waits for the disk, or all of it."""

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.wire import Wrong

SYNCS: Final = "fsync,fdatasync,sync_file_range,syncfs"
ALL: Final = "all"
_CALL: Final = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


def has_strace() -> bool:
    return shutil.which("strace") is not None


@contextmanager
def counting(pid: int, folder: Path, calls: str = SYNCS) -> Iterator[Callable[[], Counter[str]]]:
    """Count calls of a process, its threads and children, by name; ask for them after the block.  Raises Wrong."""
    written = folder / f"calls-{pid}"
    command = ["strace", "-f", "-e", f"trace={calls}", "-o", str(written), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if "attached" not in (told := tracer.stderr.readline()):
            tracer.kill()
            raise Wrong(f"strace does not attach: {told.strip()}")
        try:
            yield lambda: Counter(_CALL.findall(written.read_text()))
        finally:
            tracer.send_signal(signal.SIGINT)
