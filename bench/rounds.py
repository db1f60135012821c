"""Interleaved rounds: in each, every server does every workload, in an order that rotates.

Figures of one run may be compared, for whatever else the machine does meets everybody.  A stage keeps its servers
for all rounds, or (`fresh`) starts them anew for each and deletes what they wrote before the next one writes.
Memory that this machine has not used for a while must first be had from its host, which costs more than writing it:
so what was written leaves memory before the next sample, for whoever needs new pages first would pay for all.
"""

import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from bench import usage
from bench.load import Load
from bench.servers import Peer, Server, start

T = TypeVar("T")

_SETTLE: Final = 0.05
"""Seconds after the last answer that still count, for what a server does when it has answered."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One server, one workload, one round: operations, seconds, bytes."""

    ops: float
    cpu: float
    seconds: float
    peak: int
    resident: int
    client_busy: float = 0.0
    others: float = 0.0
    """Cores that programs without a part in this kept busy meanwhile."""
    syncs: float = 0.0
    """How often the server waited for the disk; counted only where nothing else is measured."""


class Unit(Enum):
    """How a workload's figure is shown: its name, what of a sample it is, and the factor."""

    MICROSECONDS = ("µs CPU", "cpu", 1e6)
    MILLISECONDS = ("ms CPU", "cpu", 1e3)
    PER_GIB = ("s CPU/GiB", "cpu", 1.0)
    WALL = ("µs", "seconds", 1e6)
    START = ("ms", "seconds", 1e3)
    IDLE = ("MB", "resident", 1e-6)
    PEAK = ("MB", "peak", 1e-6)
    SYNCS = ("syncs", "syncs", 1.0)

    def figure(self, sample: Sample) -> float:
        _, name, factor = self.value
        amount: float = getattr(sample, name) * factor
        return amount / sample.ops

    def wall(self, sample: Sample) -> float | None:
        """Wall time per operation in the same unit, where the figure is CPU."""
        _, name, factor = self.value
        return sample.seconds * factor / sample.ops if name == "cpu" else None


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table.  `run` measures one sample, and raises Wrong if any answer was."""

    title: str
    unit: Unit
    run: Callable[[Server, int], Sample]
    only: frozenset[str] | None = None
    """The names of the peers that do it, if not all."""
    files: bool = False
    """Whether who sends nothing but files does it too."""

    def is_for(self, peer: Peer) -> bool:
        return (self.only is None or peer.name in self.only) and (self.files or not peer.files_only)


@dataclass(frozen=True, slots=True)
class Stage:
    """Workloads that share their servers."""

    name: str
    workloads: Sequence[Workload]
    prepare: Callable[[Server], Server] = lambda server: server
    """Fills a new server; gives the one to go on with."""
    fresh: bool = False
    rounds: int | None = None
    """At most so many."""

    def chosen(self, words: Sequence[str]) -> "Stage":
        """The part whose names hold one of the words; all of it without words."""
        kept = [one for one in self.workloads if not words or any(word in f"{self.name} {one.title}" for word in words)]
        return Stage(self.name, kept, self.prepare, self.fresh, self.rounds)


@dataclass(frozen=True, slots=True)
class Row:
    """All samples of one workload, by the peer's name, in the order of rounds."""

    stage: str
    workload: Workload
    samples: dict[str, list[Sample]] = field(default_factory=dict)


def measure(server: Server, load: Callable[[], Load]) -> Sample:
    """What the server uses while the load runs."""
    usage.forget_peak(server.pid)
    machine, before = usage.machine_seconds(), usage.cpu_seconds(server.pid)
    began = time.monotonic()
    done = load()
    time.sleep(_SETTLE)
    cpu = usage.cpu_seconds(server.pid) - before
    others = (usage.machine_seconds() - machine - cpu - done.cpu) / (time.monotonic() - began)
    peak, resident = usage.peak_bytes(server.pid), usage.resident_bytes(server.pid)
    return Sample(done.ops, cpu, done.seconds, peak, resident, done.busy, max(others, 0.0))


def touch_memory(size: int) -> None:
    """Have the machine give this much memory now, not to whoever writes next."""
    with mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        pass


def give_back_pages(folder: Path) -> None:
    """Take what lies in files out of memory, so that the next bytes get the same pages, not new ones."""
    for file in folder.rglob("*"):
        if file.is_file():
            fd = os.open(file, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark."""

    peers: Sequence[Peer]
    folder: Path
    rounds: int
    core: int | None = None
    """Where servers are to run, if not anywhere."""
    began: float = field(default_factory=time.monotonic)

    def warm_up(self) -> None:
        """Start everybody once: programs come off the disk, and Python's code is compiled.  Raises Wrong."""
        for peer in self.peers:
            start(peer, self.folder / peer.name).discard()

    def stage(self, stage: Stage) -> list[Row]:
        """All rounds of a stage.  Raises Wrong."""
        rows = [Row(stage.name, one) for one in stage.workloads]
        rounds = min(self.rounds, stage.rounds or self.rounds)
        peers = [peer for peer in self.peers if any(one.is_for(peer) for one in stage.workloads)]
        if stage.fresh:
            for number in range(rounds):
                self._tell(f"{stage.name}: round {number + 1} of {rounds}")
                for peer in _rotated(peers, number):
                    with self._serving([peer], stage) as servers:
                        for row in rows:
                            _sample(row, servers, number)
                            give_back_pages(servers[0].data)
            return rows
        self._tell(f"{stage.name}: preparing")
        with self._serving(peers, stage) as servers:
            for number in range(rounds):
                self._tell(f"{stage.name}: round {number + 1} of {rounds}")
                for row in rows:
                    _sample(row, _rotated(servers, number), number)
        return rows

    @contextmanager
    def _serving(self, peers: Sequence[Peer], stage: Stage) -> Iterator[list[Server]]:
        """Servers in fresh folders, prepared; gone without a trace afterwards."""
        servers: list[Server] = []
        try:
            for peer in peers:
                servers.append(start(peer, self.folder / f"{stage.name}-{peer.name}", core=self.core))
                servers[-1] = stage.prepare(servers[-1])
            yield servers
        finally:
            for server in servers:
                server.discard()
            os.sync()

    def _tell(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:4.0f} s  {line}", file=sys.stderr, flush=True)


def _sample(row: Row, servers: Sequence[Server], number: int) -> None:
    for server in servers:
        if row.workload.is_for(server.peer):
            row.samples.setdefault(server.peer.name, []).append(row.workload.run(server, number))


def _rotated(things: Sequence[T], number: int) -> list[T]:
    at = number % len(things)
    return [*things[at:], *things[:at]]
