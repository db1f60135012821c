"""How often a server waits for the disk, counted by strace."""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.wire import Wrong

CALLS: Final = "fsync,fdatasync,sync_file_range,syncfs"
_CALL: Final = re.compile(r"\b(?:fsync|fdatasync|sync_file_range|syncfs)\(")


def has_strace() -> bool:
    return shutil.which("strace") is not None


@contextmanager
def counting(pid: int, folder: Path) -> Iterator[Callable[[], int]]:
    """Count the syncs of a process, its threads and children; ask for the number after the block.  Raises Wrong."""
    written = folder / f"syncs-{pid}"
    command = ["strace", "-f", "-e", f"trace={CALLS}", "-o", str(written), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if "attached" not in (told := tracer.stderr.readline()):
            tracer.kill()
            raise Wrong(f"strace does not attach: {told.strip()}")
        try:
            yield lambda: len(_CALL.findall(written.read_text()))
        finally:
            tracer.send_signal(signal.SIGINT)
