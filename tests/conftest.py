"""Real servers, real databases, real clients."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import hypothesis
import pytest

from moorage.telemetry.log import _Sink, _State

if TYPE_CHECKING:  # pytest loads it as a plugin, below
    from tests.databases import Server

pytest_plugins = ["tests.databases"]

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parent.parent


def missing(what: str) -> None:
    """Skip for want of a tool, unless everything is required (CI): then fail."""
    if os.environ.get("MOORAGE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is required (MOORAGE_REQUIRE_ALL=1); run `make clients`")
    pytest.skip(f"{what} is not installed; `make clients` installs it")


def tool(name: str) -> str:
    """The path of a program, or a skip that says so."""
    found = shutil.which(name)
    if found is None:
        missing(name)
    return str(found)


@dataclass
class Served:
    """A real server process."""

    process: subprocess.Popen[str]
    port: int
    data: Path
    log: Path
    """What the server wrote to its log."""

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        if self.process.stdout:
            self.process.stdout.close()


def start(
    data: Path,
    config: Path | None = None,
    *,
    host: str = "127.0.0.1",
    program: tuple[str, ...] = ("moorage",),
    **environment: str,
) -> Served:
    """Start `moorage serve` on a free port and wait until it says where it listens; open to all without a `config`.

    `program` is another module to start, with its first arguments: a broken variant.
    """
    how = ["--config", str(config)] if config else ["--open", "--config", str(ROOT / "tests" / "lab.yml")]
    log = data.with_name(f"{data.name}.log")
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *program, "serve", *how, "--data", str(data), "--listen", f"{host}:0"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **environment},
        )
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(rf"listens on https?://{re.escape(host)}:(\d+)", line)
        if found:
            return Served(process, int(found[1]), data, log)
    process.wait(5)
    process.stdout.close()
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on either database, shared by all tests: each uses repositories of its own.

    Its log must be without a traceback in the end.
    """
    environment = {}
    if request.param == "postgresql":
        cluster: Server = request.getfixturevalue("postgresql_server")
        environment["REGISTRY_DATABASE_URL"] = cluster.create(schema=False)
    server = start(tmp_path_factory.mktemp("served") / "data", **environment)
    yield server
    server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, verify=False) as one:  # no TLS: no certificates to load
        yield one


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged meanwhile in this process."""
    stream = io.StringIO()
    monkeypatch.setattr(_State, "sink", _Sink(stream))
    monkeypatch.setattr(_State, "least", 0)
    return stream


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers on SQLite; all are stopped in the end."""
    servers: list[Served] = []

    def begin(data: Path | None = None, **environment: str) -> Served:
        servers.append(start(data or tmp_path / "data", **environment))
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.poll() is None:
            server.stop()
        elif server.process.stdout:
            server.process.stdout.close()
