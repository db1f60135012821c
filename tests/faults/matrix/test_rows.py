"""F09, F26, F27: a SQLite file that is locked, on a network share, or damaged."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.cli.running import moorage
from tests.conftest import ROOT, Served, missing, tool
from tests.faults.matrix.means import healthy, layer, told, until

Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]

HOLD = """
import sqlite3, sys, time
raw = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
raw.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
raw.execute("ROLLBACK")
"""


@contextmanager
def locked(database: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another program holds the write lock, without taking turns."""
    command = [sys.executable, "-c", HOLD, str(database), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


@pytest.mark.parametrize("seconds", [1, 6])
def test_f09_a_locked_database_is_waited_for_then_refused_and_readers_never_wait(
    registry: Start, connect: Connect, seconds: float
) -> None:
    server = registry()
    client, other = connect(server), connect(server)
    body = make.push_image(client, "acme/app", "1", b"{}", layer(1))
    slowest = 0.0
    with locked(server.data / "moorage.db", seconds), ThreadPoolExecutor(1) as pool:
        writing = pool.submit(make.push_blob, other, "acme/app", b"while it is locked")
        while not writing.done():
            began = time.monotonic()
            assert client.get("/v2/acme/app/manifests/1").content == body
            slowest = max(slowest, time.monotonic() - began)
        answer = writing.result()
    if seconds < 2:
        assert answer.status_code == 201
    else:
        told(answer, 503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
    assert slowest < 1  # of waits of seconds
    assert make.push_blob(other, "acme/app", b"while it is locked").status_code == 201
    healthy(client, "acme/app", 2)
    assert "Traceback" not in server.log.read_text()


def test_f09_a_reader_who_stays_bounds_neither_writes_nor_the_log_for_ever(registry: Start, connect: Connect) -> None:
    server = registry()
    client = connect(server)
    log = server.data / "moorage.db-wal"

    def write(count: int) -> None:
        for _ in range(count):
            make.push_image(client, "acme/app", "1", b"{}", b"layer", annotations={"a": os.urandom(250_000).hex()})

    write(4)
    with closing(sqlite3.connect(server.data / "moorage.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM manifests").fetchall()
        write(40)
        grown = log.stat().st_size
        assert grown > 16 << 20
        reader.execute("COMMIT")
    write(40)
    assert log.stat().st_size <= grown + (8 << 20)  # written over from its start, not on


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Path]:
    """A folder over SFTP, served by a program at the other end of a socket."""
    sshfs, server = tool("sshfs"), Path("/usr/lib/openssh/sftp-server")
    if not server.exists():
        missing("openssh-sftp-server")
    if not Path("/dev/fuse").exists():
        missing("/dev/fuse")
    ours, theirs = socket.socketpair()
    (tmp_path / "far").mkdir()
    point = tmp_path / "share"
    point.mkdir()
    with ours, theirs:
        far = subprocess.Popen([server], stdin=ours, stdout=ours)
        near = subprocess.Popen(
            [sshfs, "-f", "-o", "passive", f":{tmp_path / 'far'}", point], stdin=theirs, stdout=theirs
        )
        until(lambda: os.path.ismount(point) or near.poll() is not None)
        if near.poll() is not None:
            missing("leave to mount with sshfs")
        yield point
        subprocess.run(["umount", "-l", point], check=True)
        near.wait(20)
        far.kill()
        far.wait(20)


def serve_on(data: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    arguments = ["serve", "--open", "--config", ROOT / "tests" / "lab.yml", "--listen", "127.0.0.1:0", "--data", data]
    return moorage(*arguments, **environment)


def test_f26_sqlite_on_a_network_share_is_refused(
    share: Path, registry: Start, connect: Connect, tmp_path: Path
) -> None:
    done = serve_on(share / "data")
    assert done.returncode == 1
    assert "lies on a network file system (fuse.sshfs), where SQLite loses data" in done.stderr
    assert "use PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr
    link = tmp_path / "link"
    link.symlink_to(share)
    assert "network file system" in serve_on(link / "data").stderr
    # Blobs may lie there.
    server = registry(tmp_path / "data", REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=str(share / "blobs"))
    healthy(connect(server), "acme/app", 1)
    server.stop()


def damage(path: Path, share: float = 0.5) -> None:
    """Flip bytes in the middle of every second page behind the first."""
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096, 2):
            file.seek(page * 4096 + int(4096 * share))
            byte = file.read(64)
            file.seek(-len(byte), os.SEEK_CUR)
            file.write(bytes(one ^ 0xFF for one in byte))
            file.seek(page * 4096)
            file.write(b"\x55" * 8)  # the page's own head


def crashed(registry: Start, connect: Connect) -> Path:
    """The data of a server that was killed, with rows in the file and in the log."""
    server = registry()
    client = connect(server)
    for number in range(30):
        make.push_image(client, f"acme/app{number}", "1", b"{}", b"layer", annotations={"a": "x" * 40_000})
        if number == 20:
            with closing(sqlite3.connect(server.data / "moorage.db")) as raw:
                raw.execute("PRAGMA wal_checkpoint(PASSIVE)")
    server.process.kill()
    server.process.wait()
    assert (server.data / "moorage.db-wal").stat().st_size
    return server.data


def test_f27_a_database_damaged_in_a_crash_is_not_served(registry: Start, connect: Connect) -> None:
    data = crashed(registry, connect)
    damage(data / "moorage.db")
    before = (data / "moorage.db").read_bytes()
    done = serve_on(data)
    assert done.returncode == 1
    assert "is damaged (" in done.stderr
    assert "restore a backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert (data / "moorage.db").read_bytes() == before  # kept for whoever wants to look at it


def test_f27_a_sound_database_starts_after_a_crash(registry: Start, connect: Connect) -> None:
    data = crashed(registry, connect)
    client = connect(registry(data))
    for number in range(30):
        assert client.get(f"/v2/acme/app{number}/manifests/1").status_code == 200
    healthy(client, "acme/app", 1)


def test_f27_damage_that_shows_later_is_told_and_served_from_no_more(registry: Start, connect: Connect) -> None:
    """It was closed properly, so nobody looked: the answer is a refusal, never a wrong manifest."""
    server = registry()
    client = connect(server)
    bodies = {
        n: make.push_image(client, f"acme/app{n}", "1", b"{}", b"l", annotations={"a": "x" * 40_000}) for n in range(20)
    }
    server.stop()
    damage(server.data / "moorage.db")
    try:
        server = registry(server.data)
    except RuntimeError as refusal:
        assert "damaged" in str(refusal)
        assert "Traceback" not in str(refusal)
        return
    client = connect(server)
    seen = set()
    for number, body in bodies.items():
        answer = client.get(f"/v2/acme/app{number}/manifests/1")
        seen.add(answer.status_code)
        assert answer.status_code in (200, 503)
        if answer.status_code == 200:
            assert answer.content == body
        else:
            assert "damaged" in told(answer, 503, "UNAVAILABLE")
    assert 503 in seen
