"""Every crash point: `strace` kills the registry at each mutating system call of an act, in turn.

A point is a thread, a system call and a number: SIGKILL falls when that thread makes that call for the n-th time since
strace took hold of it, and the kernel does not carry the call out.  For each thread and call we raise n until the act
comes through alive, so that nothing has to be believed about how many there are.  After every kill the registry starts
again on the same folder, and the oracle looks.

    start · warm up · prepare · strace takes hold · act … killed · start · check · act again, to its end · check
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.faults import oracle, rows
from tests.faults.history import History
from tests.faults.oracle import Verdict
from tests.faults.server import Launcher, Place, Running
from tests.faults.storm import HURRY
from tests.faults.wire import Client

MUTATING = (
    "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,ftruncate,fallocate,fsync,fdatasync,sync_file_range,"
    "open,openat,openat2,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,fchmod,fchown,copy_file_range,sendfile,io_uring_enter"
)

AFTER = 0.1
"""Seconds for what a registry does after its answer."""

MOST = 400
"""More points than this of one call of one thread mean that something never ends."""


@dataclass
class Points:
    """What was visited, and what was wrong."""

    visited: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    def add(self, name: str, verdict: Verdict) -> None:
        verdict.violations = [f"after {name}: {one}" for one in verdict.violations]
        self.verdict.add(verdict)


@dataclass
class Scene:
    """A registry on its folder, and what an act needs to know of it."""

    place: Place
    path: Path
    """Of the history."""
    number: int = 0
    """Of the attempt: every one has a repository of its own."""
    since: int = 0
    """When it began."""
    running: Running | None = None

    def is_dead(self) -> bool:
        """Asked of the kernel: the registry's calls are then the act's alone."""
        return self.running is None or self.running.is_gone()

    def begin(self) -> None:
        """The next attempt.  What the last one wrote down has been judged, and would be read again at every point."""
        self.path.unlink(missing_ok=True)
        self.number += 1
        self.since = time.monotonic_ns()

    @property
    def repository(self) -> str:
        return f"points/r{self.number}"

    @contextmanager
    def client(self, *, recorded: bool = True) -> Iterator[Client]:
        history = History(self.path, f"c{time.monotonic_ns()}") if recorded else None
        client = Client(self.place.port, history)
        try:
            yield client
        finally:
            client.close()
            if history:
                history.close()


class Act(Protocol):
    """Something that a registry is killed at."""

    environment: dict[str, str]

    def prepare(self, scene: Scene) -> None:
        """What must be there before."""
        ...

    def act(self, scene: Scene) -> bool:
        """Do it, or as much as can be done until the registry dies; whether it was done to the end."""
        ...

    def hold(self, scene: Scene) -> None:
        """After a kill, before the registry starts again: keep it from doing by itself what would hide that."""
        ...

    def verify(self, scene: Scene) -> list[str]:
        """What else is wrong after a kill, besides what the oracle sees."""
        ...

    def repeat(self, scene: Scene) -> list[str]:
        """Do it once more, on the registry that is up again; what is wrong with that."""
        ...


@dataclass
class Trace:
    """What strace wrote; complete only when it has let go."""

    text: str = ""

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@contextmanager
def traced(*arguments: str, pid: int) -> Iterator[Trace]:
    """Have strace hold the thread, or with `-f` the process, from here on."""
    trace = Trace()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        output, told = Path(folder) / "trace", Path(folder) / "told"
        with told.open("w") as stderr:
            process = subprocess.Popen(["strace", *arguments, "-o", str(output), "-p", str(pid)], stderr=stderr)
        try:
            until = time.monotonic() + 20
            while told.read_text().count("attached") <= arguments.count("-p"):
                assert process.poll() is None, told.read_text()
                assert time.monotonic() < until, "strace does not take hold"
                time.sleep(0.002)
            yield trace
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(20)
            trace.text = output.read_text(errors="replace")


def calls(trace: Trace) -> dict[tuple[int, str], int]:
    """How often each thread made each call."""
    found: dict[tuple[int, str], int] = {}
    for line in trace.lines:
        made = re.match(r"(\d+) +(\w+)\(", line)
        if made:
            key = (int(made[1]), made[2])
            found[key] = found.get(key, 0) + 1
    return found


def visit(
    launcher: Launcher, scene: Scene, act: Act, *, only: tuple[str, ...] = (), every: int = 1, until_wrong: bool = False
) -> Points:
    """Kill at every point of an act, or, for mutants: `only` at these calls, at `every` third, `until_wrong`."""
    points = Points()
    scene.place.environment |= act.environment
    # The first start of all does what no other has to.
    _up(launcher, scene).kill()
    running = _up(launcher, scene)
    try:
        for name, call in _survey(running, scene, act):
            number = 0
            while not (only and call not in only) and not (until_wrong and points.verdict.violations):
                number += every
                assert number < MOST, f"{call} of {name} does not end"
                scene.begin()
                act.prepare(scene)
                if not _kill(running, scene, act, (name, call, number)):
                    break
                point = f"{call} {number} of {name}"
                points.visited.append(point)
                act.hold(scene)
                running = _up(launcher, scene)
                points.add(point, oracle.check(scene.place, scene.path, since=scene.since))
                points.verdict.violations += [f"after {point}: {one}" for one in act.verify(scene)]
                if until_wrong and points.verdict.violations:
                    break  # what is broken on purpose need not do the rest
                points.verdict.violations += [f"again after {point}: {one}" for one in act.repeat(scene)]
                points.add(f"{point}, and again", oracle.check(scene.place, scene.path, since=scene.since))
    finally:
        launcher.kill_all()
    return points


def _up(launcher: Launcher, scene: Scene) -> Running:
    running = scene.running = launcher.start(scene.place, lone=True)
    running.until_ready()
    history = History(scene.path, "points")
    history.event("ready")
    history.close()
    with scene.client(recorded=False) as client:
        # So that every thread is there before strace takes hold of one: the writer's, the bytes', and the scans', to
        # which only what is long goes.
        name = f"warm/up{time.monotonic_ns()}"
        assert client.push_blob(name, os.urandom(20_000), "stream")
        status, _, _ = client.ask("GET", "/v2/_catalog?n=1000")
        assert status == 200
    return running


def _survey(running: Running, scene: Scene, act: Act) -> list[tuple[str, str]]:
    """Which thread makes which calls: all that there are, seen in one act that nobody disturbs."""
    scene.begin()
    act.prepare(scene)
    names = {thread: name for name, thread in running.threads().items()}
    with traced("-f", "-e", f"trace={MUTATING}", "-s", "0", pid=running.pid) as trace:
        assert act.act(scene), f"the act itself fails: {running.told()}"
        time.sleep(AFTER)
    made = calls(trace)
    assert made, "strace saw nothing"
    assert {thread for thread, _ in made} <= names.keys(), "the act made a thread that no other attempt may have"
    return sorted((names[thread], call) for thread, call in made)


def _kill(running: Running, scene: Scene, act: Act, point: tuple[str, str, int]) -> bool:
    """Act under the threat of a kill at that point; False if the act came through."""
    name, call, number = point
    thread = running.threads()[name]
    with traced("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}", "-s", "0", pid=thread):
        done = act.act(scene)
        if done:
            # A kill may fall after the answer.
            until = time.monotonic() + AFTER
            while time.monotonic() < until and not running.is_gone():
                time.sleep(0.002)
        if not running.is_gone():
            until = time.monotonic() + 5
            while not done and not running.is_gone():
                assert time.monotonic() < until, f"the act failed and nobody was killed: {running.told()}"
                time.sleep(0.002)
    if not running.is_gone():
        return False
    status = running.wait()
    assert status == -signal.SIGKILL, f"the registry ended by itself ({status}): {running.told()}"
    history = History(scene.path, "points")
    history.event("killed")
    history.close()
    return True


def leaks(launcher: Launcher, scene: Scene, patience: float) -> list[str]:
    """O5, over all that the kills left behind: what a collector does not take although its time has long come."""
    grow_old(scene.place)
    running = launcher.start(scene.place, **HURRY)
    running.until_ready()
    try:
        return oracle.settle(scene.place, patience)
    finally:
        running.kill()


def grow_old(place: Place) -> None:
    """Let years pass, in rows and files, for everything that waits for its time."""
    rows.change(
        place,
        "UPDATE links SET leased_until = 0",
        "UPDATE trash_links SET purge_after = 0",
        "UPDATE trash_manifests SET purge_after = 0",
        "UPDATE trash_tags SET purge_after = 0",
        "UPDATE trash_blobs SET purge_after = 0",
        "UPDATE uploads SET started_at = 0, touched_at = 0",
        "UPDATE jobs SET leased_until = 0, due_at = 0",
    )
    for one in rows.files(place).values():
        os.utime(one, (1_000_000_000, 1_000_000_000))
