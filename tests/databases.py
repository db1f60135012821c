"""Fixtures of databases: a private PostgreSQL cluster, and fresh databases of either kind.

    postgresql_server   a cluster of this test session (of each worker under xdist), `Server`
    own_server          another, for one test that stops it or kills its processes
    postgresql_url      a fresh database with our schema, on that server
    database_url        the same, once on SQLite and once on PostgreSQL
    empty_database      a fresh database without any schema, on both; its address
    database            an open Database on `database_url`
    sqlite_statements   what SQLite is told from then on

The cluster sorts text as people do (ICU, en-US), so that a forgotten COLLATE "C" is noticed.
"""

import itertools
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moorage.db import sqlite
from moorage.db.engine import Database, open_database
from moorage.db.migrate import migrate
from tests.conftest import missing, tool

KINDS = ["sqlite", "postgresql"]

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # nobody cuts the power of a test
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "deadlock_timeout": "50ms",
    "log_min_messages": "warning",
}


@dataclass
class Server:
    """A running cluster; its socket lies in `folder`."""

    folder: Path
    programs: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _template: str = ""

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement beside whatever is being tested."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create(self, *, schema: bool) -> str:
        """The address of a fresh database."""
        name = f"test{next(self._numbers)}"
        if schema and not self._template:
            self.sql("CREATE DATABASE prepared")
            migrate(self.url("prepared"))
            self._template = "prepared"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {self._template if schema else 'template1'}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.partition("@/")[2].partition("?")[0]
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def start(self) -> None:
        settings = " ".join(f"-c {name}={value!r}" for name, value in _SETTINGS.items())
        self._control("start", "-w", "-o", f"{settings} -c unix_socket_directories={self.folder}")

    def stop(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self._control("stop", "-w", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        data, log = self.folder / "data", self.folder / "log"
        as_postgres(self.programs / "pg_ctl", "-D", data, "-l", log, "-s", *arguments)


def as_postgres(*command: str | Path) -> None:
    """Run a program of PostgreSQL, which refuses to be root."""
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    # pg_ctl hands its output to the server it starts: a pipe would stay open as long as that runs.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [*become, *map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=False
        )
        output.seek(0)
        assert done.returncode == 0, output.read().decode(errors="replace")


@contextmanager
def cluster() -> Iterator[Server]:
    """A private PostgreSQL that runs meanwhile."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path))
    if not found:
        missing("PostgreSQL")
    if os.geteuid() == 0:
        tool("setpriv")  # PostgreSQL refuses to run as root
    # Not below pytest's own folder: that is closed to other users, and too long for a socket's name.
    folder = Path(tempfile.mkdtemp(prefix="moorage-pg-"))
    server = Server(folder, found[-1].parent)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        order = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--encoding=UTF8"]
        as_postgres(server.programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", *order)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    with cluster() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    with cluster() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    url = postgresql_server.create(schema=True)
    yield url
    postgresql_server.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "registry.db"
    open_database(f"sqlite:///{path}").close_now()
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "registry.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@asynccontextmanager
async def opening(url: str, **options: Any) -> AsyncIterator[Database]:
    """An open database that is closed in any case: its threads and connections are no other test's business."""
    opened = open_database(url, **options)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=KINDS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Server = request.getfixturevalue("postgresql_server")
    url = server.create(schema=False)
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close_now()


@pytest.fixture
def sqlite_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement run on a connection to SQLite that is made while the test runs."""
    connect, seen = sqlite.connect, list[str]()

    def traced(path: Path, patience: float) -> sqlite3.Connection:
        made = connect(path, patience)
        made.set_trace_callback(seen.append)
        return made

    monkeypatch.setattr(sqlite, "connect", traced)
    return seen
