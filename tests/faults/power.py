"""Power cuts under load: the file systems go, the registry dies, the power comes back, and the oracle looks.

same      rows and bytes on one ext4                    separate     each on its own
strict    rows on a disk that loses nothing, bytes on one that keeps nothing that POSIX does not promise
postgresql, postgresql-separate     the same with a server that syncs, on the same cut disk
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.databases import as_postgres
from tests.faults import oracle
from tests.faults.clients import clients
from tests.faults.disks import STORING, Disk, Strict
from tests.faults.history import History
from tests.faults.oracle import Verdict
from tests.faults.points import traced
from tests.faults.report import LONG
from tests.faults.server import Launcher, Place, Running

SYNCING = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "dynamic_shared_memory_type": "mmap",
}


@dataclass
class Cuts:
    """What came of it."""

    cuts: int = 0
    lost: int = 0
    """Files that the strict disk took away."""
    verdict: Verdict = field(default_factory=Verdict)

    def add(self, later: "Cuts") -> None:
        self.cuts += later.cuts
        self.lost = later.lost
        self.verdict.add(later.verdict)


@dataclass
class Machine:
    """A registry's place, and what happens to it when the power fails."""

    place: Place
    disks: list[Disk] = field(default_factory=list)
    strict: Strict | None = None
    cluster: "Cluster | None" = None

    def boot(self, launcher: Launcher) -> Running:
        if self.cluster:
            self.cluster.start()
        running = launcher.start(self.place)
        running.until_ready()
        return running

    @contextmanager
    def watched(self, running: Running) -> Iterator[None]:
        """Meanwhile a strict disk learns what it may keep."""
        if self.strict is None:
            yield
            return
        with traced("-f", "-y", "-s", "0", "-e", f"trace={STORING}", pid=running.pid) as trace:
            yield
        self.strict.learn(trace.lines)

    def cut(self, running: Running) -> None:
        """The power fails everywhere at once, and comes back.

        The registry is frozen first, as by a power cut: a sync that is on its way while its file system is shut down
        may come back and claim that it succeeded, and that must reach no client.
        """
        if self.disks:
            running.freeze()
        for disk in random.sample(self.disks, len(self.disks)):
            disk.cut()
        for disk in self.disks:
            disk.prove_cut()
        running.kill()
        if self.cluster:
            self.cluster.kill()
        for disk in self.disks:
            disk.back()

    def remove(self) -> None:
        if self.cluster:
            self.cluster.kill()
        for disk in self.disks:
            disk.remove()


class Cluster:
    """A PostgreSQL that syncs, on a disk that can be cut."""

    def __init__(self, folder: Path, socket: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
        self._programs, self._folder, self._socket = programs[-1], folder, socket
        for one in (folder, socket):
            one.mkdir(mode=0o755, exist_ok=True)
            shutil.chown(one, "postgres", "postgres")
        order = ["--locale=C.UTF-8", "--encoding=UTF8", "--wal-segsize=16"]
        as_postgres(self._programs / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", *order)

    @property
    def _data(self) -> Path:
        return self._folder / "cluster"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._socket}"

    def start(self) -> None:
        # After a power cut no process of before is there, whoever has its number now.
        for one in (self._data / "postmaster.pid", *self._socket.glob(".s.PGSQL.*")):
            one.unlink(missing_ok=True)
        settings = " ".join(f"-c {name}={value!r}" for name, value in SYNCING.items())
        options = f"{settings} -c unix_socket_directories={self._socket}"
        log = self._socket / "log"
        try:
            as_postgres(self._programs / "pg_ctl", "-D", self._data, "-l", log, "-s", "-w", "-o", options, "start")
        except AssertionError as failed:
            raise AssertionError(log.read_text()[-2000:]) from failed

    def kill(self) -> None:
        """The postmaster and its children, known by the folder they work in: until nobody is there any more."""
        until = time.monotonic() + 30
        while processes := self._processes():
            assert time.monotonic() < until, "PostgreSQL does not die"
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _processes(self) -> list[int]:
        found = []
        for one in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if one.readlink() == self._data:
                    found.append(int(one.parent.name))
        return found


ARRANGEMENTS = ("same", "separate", "strict", "postgresql", "postgresql-separate")


@contextmanager
def machine(launcher: Launcher, arrangement: str, folder: Path, **environment: str) -> Iterator[Machine]:
    made: list[Disk] = []

    def disk(name: str, megabytes: int) -> Disk:
        made.append(Disk.make(folder / name, megabytes))
        return made[-1]

    built = None
    try:
        built = _build(arrangement, folder, environment, disk)
        yield built
    finally:
        launcher.kill_all()
        if built is not None:
            built.remove()
        for one in made:
            one.remove()


def _build(arrangement: str, folder: Path, environment: dict[str, str], disk: Callable[[str, int], Disk]) -> Machine:
    database, _, apart = arrangement.partition("-")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    if arrangement == "strict":
        place = Place(folder / "data", environment, folder / "blobs", log=log)
        return Machine(place, strict=Strict(folder / "blobs"))
    size = 512 if LONG else 64
    first = disk("rows", size + 448 if database == "postgresql" else size)
    place = Place(first.folder / "data", environment, log=log)
    disks = [first]
    if "separate" in (database, apart):
        disks.append(disk("bytes", size))
        place.blobs = disks[1].folder / "blobs"
    cluster = None
    if database == "postgresql":
        cluster = Cluster(first.folder / "server", folder / "socket")
        place.url = cluster.url
    return Machine(place, disks, cluster=cluster)


def cuts(
    launcher: Launcher, machine: Machine, path: Path, times: int, names: str, *, until_wrong: bool = False
) -> Cuts:
    """Cut the power `times` times under pushers, pullers and deleters, at random moments."""
    seen, history = Cuts(), History(path, "power")
    running = machine.boot(launcher)
    history.event("ready")
    try:
        for number in range(times):
            since, begin = time.monotonic_ns(), path.stat().st_size
            with machine.watched(running), clients(path, machine.place.port, f"{names}{number}", 4, 1, 1):
                # Until there is something to lose.
                _wait_for_pushes(path, begin, random.randrange(1, 40))
                history.event("killed")
                machine.cut(running)
            if machine.strict:
                machine.strict.cut()
                seen.lost = machine.strict.lost
            seen.cuts += 1
            running = machine.boot(launcher)
            history.event("ready")
            seen.verdict.add(oracle.check(machine.place, path, since=since))
            if until_wrong and seen.verdict.violations:
                break
        seen.verdict.add(oracle.check(machine.place, path))
    finally:
        history.close()
    running.kill()
    return seen


def _wait_for_pushes(path: Path, begin: int, count: int) -> None:
    """Wait until that many answers were 201 behind byte `begin` of the history, and a moment that nobody has chosen."""
    until = time.monotonic() + 60
    while True:
        with path.open("rb") as file:
            file.seek(begin)
            if file.read().count(b'"status": 201') >= count:
                break
        assert time.monotonic() < until, "nothing is pushed"
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.2))
