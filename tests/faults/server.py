"""Registries as processes: started, waited for and killed."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

PATIENCE = 60.0
"""Seconds after which a registry that does not come up is a failure of the test."""

ALWAYS = {"REGISTRY_GC_BREAKER": "1.0", "REGISTRY_STORAGE_RESERVE": "0", "REGISTRY_LOG_ACCESSLOG_DISABLED": "true"}
"""No breaker stops a collector that has little else than garbage, and no reserve fills a small disk."""


@dataclass
class Place:
    """Where a registry keeps everything, how it is set, and where it listens after every start."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    blobs: Path | None = None
    """Where they are not in the data folder."""
    url: str | None = None
    """Of a PostgreSQL database; otherwise there is a SQLite file in the data folder."""
    log: Path | None = None
    port: int = field(default_factory=lambda: free_port())  # noqa: PLW0108 - it is defined below

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """The folder with `blobs/` in it."""
        return self.blobs or self.data

    @property
    def output(self) -> Path:
        return self.log or self.data.with_name(f"{self.data.name}.log")

    @property
    def arguments(self) -> list[str]:
        lab = str(ROOT / "tests" / "lab.yml")
        return ["serve", "--open", "--config", lab, "--data", str(self.data), "--listen", self.address]

    def surroundings(self, further: Mapping[str, str]) -> dict[str, str]:
        """The environment of the process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        kept |= ALWAYS | self.environment | dict(further)
        if self.blobs is not None:
            kept["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"] = str(self.blobs)
        if self.url is not None:
            kept["REGISTRY_DATABASE_URL"] = self.url
        return kept


def free_port() -> int:
    """A port that nobody's outgoing connection takes while the registry is down: below the kernel's range."""
    while True:
        port = random.randrange(15_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


@dataclass
class Running:
    """A registry's process."""

    pid: int
    place: Place
    reap: Callable[[], int]
    status: int | None = None

    def wait(self) -> int:
        """How it ended: the exit status, or minus the signal's number."""
        if self.status is None:
            self.status = self.reap()
        return self.status

    def kill(self) -> None:
        """SIGKILL, and proof that it was this which ended it."""
        os.kill(self.pid, signal.SIGKILL)
        status = self.wait()
        assert status == -signal.SIGKILL, f"the registry ended by itself ({status}): {self.told()}"

    def freeze(self) -> None:
        """Stop every thread where it is, or where the kernel lets go of it: no more answers leave."""
        os.kill(self.pid, signal.SIGSTOP)
        until = time.monotonic() + PATIENCE
        while not _states(self.pid) <= set("TtDZX"):
            assert time.monotonic() < until, "the registry cannot be stopped"
            time.sleep(0.001)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait() == 0, self.told()

    def is_gone(self) -> bool:
        """Whether it is dead, reaped or not."""
        if self.status is not None:
            return True
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
        except (FileNotFoundError, ProcessLookupError):
            return True

    def held_child(self) -> int:
        """The process that migrates, once that waits for SIGCONT."""
        until = time.monotonic() + PATIENCE
        while True:
            with suppress(FileNotFoundError, ProcessLookupError):  # another child, which is just ending
                for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                    if _states(int(child)) == {"T"}:
                        return int(child)
            assert not self.is_gone(), f"the registry did not start: {self.told()}"
            assert time.monotonic() < until, "the registry migrates nothing"
            time.sleep(0.002)

    def threads(self) -> dict[str, int]:
        """Its threads' ids by their names; where several have one, those born later are numbered."""
        found: dict[str, int] = {}
        for thread in sorted(int(one.name) for one in Path(f"/proc/{self.pid}/task").iterdir()):
            with suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
                name = Path(f"/proc/{self.pid}/task/{thread}/comm").read_text().strip()
                same = sum(one.split("#")[0] == name for one in found)
                found[f"{name}#{same + 1}" if same else name] = thread
        return found

    def until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while not is_ready(self.place):
            assert not self.is_gone(), f"the registry did not start: {self.told()}"
            assert time.monotonic() < until, f"the registry did not become ready: {self.told()}"
            time.sleep(0.003)

    def wait_or_ready(self) -> int | None:
        """How it ended, or None as soon as it is ready."""
        until = time.monotonic() + PATIENCE
        while not self.is_gone():
            if is_ready(self.place):
                return None
            assert time.monotonic() < until, f"the registry did not become ready: {self.told()}"
            time.sleep(0.003)
        return self.wait()

    def told(self) -> str:
        return self.place.output.read_text()[-3000:]


def _states(pid: int) -> set[str]:
    """What the threads of a process are doing, by the kernel's letters."""
    states = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def is_ready(place: Place) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def execute(place: Place) -> Running:
    """Start a registry as its users do, in a process of its own."""
    with place.output.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage", *place.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=place.surroundings({}),
        )
    return Running(process.pid, place, process.wait)


class Launcher:
    """Starts registries by forking one that is imported already: a tenth of the time.

    Those that still live at its end are killed.
    """

    def __init__(self, variant: str | None = None) -> None:
        self._started: list[Running] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", *([variant] if variant else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def start(
        self, place: Place, *, held: bool = False, apart: bool = False, lone: bool = False, **further: str
    ) -> Running:
        """Start a registry; does not wait until it is ready.

        One that is `held` waits for SIGCONT, and with `apart` its migration does.  Pools of one that is `lone` have
        one thread each.
        """
        order = {
            "arguments": place.arguments,
            "environment": place.surroundings(further),
            "log": str(place.output),
            "held": held,
            "apart": apart,
            "lone": lone,
        }
        pid = int(self._ask(order)["pid"])
        running = Running(pid, place, lambda: int(self._ask({"wait": pid})["status"]))
        self._started = [one for one in self._started if not one.is_gone()] + [running]
        return running

    def kill_all(self) -> None:
        for one in self._started:
            if not one.is_gone():
                one.kill()

    def close(self) -> None:
        self.kill_all()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _ask(self, order: dict[str, object]) -> dict[str, int]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


@contextmanager
def launcher(variant: str | None = None) -> Iterator[Launcher]:
    opened = Launcher(variant)
    try:
        yield opened
    finally:
        opened.close()
