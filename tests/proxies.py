"""Real proxies, in front of a server."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(write: Callable[[Path, int], str], command: Callable[[Path, Path], list[str]]) -> Iterator[int]:
    """A proxy on a free port, which is given; `write` its configuration for a folder and a port, and a `command`
    for the configuration's file and the folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="moorage-proxy-"))
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "proxy.conf"
    file.write_text(write(folder, port))
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(command(file, folder), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "out").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)
