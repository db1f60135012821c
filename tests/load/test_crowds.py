"""Under load it keeps working: closed, with bearer tokens, as shipped."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import usage
from bench.content import Blobs, new_image
from bench.servers import PEERS, Server, start
from bench.workloads.verbs import ACCEPT, push_image, push_patch
from tests.load.crowd import MIB, Crowd, Report, coming

pytestmark = pytest.mark.slow
NAME = "acme/app"
IMAGE = new_image(3, MIB)
GIGABIT = 4.2
"""Seconds between two chunks of a pusher, so that 500 of them send as much as 1 Gbit/s brings: 119 MiB a second."""
WINDOW = 4.0
"""Seconds."""
WINDOWS = 6
QUIET = 0.5
"""Cores that other programs may use (the kernel's own threads among them) on a machine that is ours."""
HONEST = {"200", "201", "202", "429", "503"}


@pytest.fixture
def begin() -> Iterator[Callable[[], Server]]:
    """Starts registries that have an image."""
    folder = Path(tempfile.mkdtemp(prefix="moorage-load-"))
    servers: list[Server] = []

    def one() -> Server:
        servers.append(start(PEERS[0], folder / str(len(servers))))
        with servers[-1].connect() as connection:
            push_image(connection, NAME, "1", IMAGE)
        return servers[-1]

    yield one
    for server in servers:
        server.stop()
        assert "Traceback" not in (server.folder / "log").read_text()
    shutil.rmtree(folder)


def crowd(server: Server, size: int, **who: float) -> Crowd:
    """A crowd for this server, and a blob of `size` bytes that it reads."""
    blob = Blobs(size).new()
    with server.connect() as connection:
        push_patch(connection, NAME, blob)
    ((_, bearer),) = server.authorization(f"/v2/{NAME}/blobs/")
    return Crowd(server.port, bearer.removeprefix("Bearer "), NAME, blob.digest, **who)  # type: ignore[arg-type]


def files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def used_by_others() -> float:
    """CPU seconds of all programs but this one and those it has started."""
    return usage.machine_seconds() - usage.cpu_seconds(os.getpid())


def soon(true: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + 20
    while not (came := true()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return came


class Pulls:
    """Somebody who pulls the image from two registries by turns, so that both meet the same machine."""

    def __init__(self, *servers: Server) -> None:
        self.connections = [server.connect() for server in servers]
        self.seconds: list[list[float]] = [[] for _ in servers]

    def end(self) -> None:
        for connection in self.connections:
            connection.close()

    def for_a_while(self) -> None:
        until = time.monotonic() + WINDOW
        while time.monotonic() < until:
            for connection, taken in zip(self.connections, self.seconds, strict=True):
                began = time.monotonic()
                connection.ask("GET", f"/v2/{NAME}/manifests/1", (ACCEPT,)).want(200)
                for blob in IMAGE.blobs:
                    assert connection.discard(f"/v2/{NAME}/blobs/{blob.digest}") == blob.size
                taken.append(time.monotonic() - began)

    def p99(self) -> list[float]:
        return [sorted(taken)[len(taken) * 99 // 100] for taken in self.seconds]


def none_was_lied_to(report: Report) -> None:
    assert report.errors == []
    assert set(report.statuses) <= HONEST
    assert min(report.read) > 0


@pytest.mark.parametrize("pause", [GIGABIT, 0], ids=["a gigabit", "all that goes"])
def test_a_crowd_is_served_and_leaves_nothing_behind(begin: Callable[[], Server], pause: float) -> None:
    """1,000 idle connections, 500 pushers and 50 slow readers; meanwhile somebody pulls.

    How long that takes is compared with an idle registry beside it: what else the machine does, the crowd's own
    process included, holds up both.  It is a promise for pushers that share a network; on loopback they can have
    every core, and then pulls are only served.  Where other programs are after the same cores, one that works waits
    longer for them than one that sleeps: then only what is beyond that is told apart.
    """
    server, idle = begin(), begin()
    pulls = Pulls(server, idle)
    who = crowd(server, 64 * MIB, idlers=1000, pushers=500, sippers=50, pause=pause)
    pulls.for_a_while()
    before, held = files(server), usage.resident_bytes(server.pid)
    usage.forget_peak(server.pid)
    with coming(who) as came:
        came.say("go")
        assert soon(lambda: files(server) > before + 1550), "not everybody has come"
        pulls.seconds = [[], []]
        others, began = used_by_others(), time.monotonic()
        for _ in range(WINDOWS if pause else 1):
            pulls.for_a_while()
            loaded, unloaded = pulls.p99()
            if loaded <= 3 * unloaded:
                break
        foreign = (used_by_others() - others) / (time.monotonic() - began)
        report = came.stop()
    pulls.end()
    print(f"pulls p99 {loaded * 1000:.0f} ms, idle {unloaded * 1000:.0f}; {report.pushed / report.seconds:.0f} MiB/s")
    print(f"other programs: {foreign:.2f} cores")
    print(f"peak {usage.peak_bytes(server.pid) // MIB} MiB")
    none_was_lied_to(report)
    assert report.pushed > 500
    assert usage.peak_bytes(server.pid) <= 400_000_000
    assert loaded <= (3 if foreign <= QUIET else 10) * unloaded or not pause
    assert soon(lambda: files(server) <= before), (before, files(server))
    assert soon(lambda: usage.resident_bytes(server.pid) <= held + 30 * MIB), (held, usage.resident_bytes(server.pid))


def test_64_pulls_of_a_gibibyte_take_no_memory(begin: Callable[[], Server]) -> None:
    """Each reads 128 MiB of it, at the same time as all others, and leaves: the rest would be more of the same."""
    server = begin()
    who = crowd(server, 1024 * MIB, gulpers=64, gulp=128 * MIB)
    usage.forget_peak(server.pid)
    with coming(who) as came:
        came.say("go")
        assert came.hear() == "gulped"
        report = came.stop()
    none_was_lied_to(report)
    assert min(report.read) >= 128 * MIB
    assert usage.peak_bytes(server.pid) <= 150_000_000
