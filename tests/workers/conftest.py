"""Servers of several processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Served, start
from tests.databases import Server
from tests.workers.crews import Crewed

Start = Callable[..., Crewed]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crew(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crewed]:
    """Two workers on either database, shared by the tests of a module: none of them ends a worker."""
    environment = {"REGISTRY_HTTP_WORKERS": "2"}
    if request.param == "postgresql":
        cluster: Server = request.getfixturevalue("postgresql_server")
        environment["REGISTRY_DATABASE_URL"] = cluster.create(schema=False)
    server = start(tmp_path_factory.mktemp("crew") / "data", **environment)
    yield Crewed(server)
    server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def crewed(serve: Callable[..., Served], tmp_path: Path) -> Start:
    """Starts servers of two workers on SQLite."""

    def begin(data: Path | None = None, **environment: str) -> Crewed:
        return Crewed(serve(data or tmp_path / "data", **{"REGISTRY_HTTP_WORKERS": "2", **environment}))

    return begin
