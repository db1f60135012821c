"""What an operation takes, counted: statements and system calls say the same on every machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.calls import ALL, counting
from bench.content import MANIFEST, new_image
from bench.servers import start
from bench.workloads.verbs import push_image
from moorage.db.migrate import migrate
from tests import make
from tests.bench.test_syncs import US
from tests.conftest import tool
from tests.model.nodes import Fleet

OURS = ("BEGIN", "COMMIT", "PRAGMA", "ROLLBACK", "SAVEPOINT", "RELEASE")
_ASKED = 100
Count = Callable[..., int]


@pytest.fixture
def statements(tmp_path: Path, sqlite_statements: list[str]) -> Iterator[Count]:
    """How many statements a request takes on SQLite, those aside that begin and end transactions."""
    url = f"sqlite:///{tmp_path}/rows.db"
    migrate(url)
    fleet = Fleet(url, tmp_path / "blobs")
    fleet.start()

    def count(method: str, target: str, content: bytes = b"") -> int:
        sqlite_statements.clear()
        answer = fleet.ask(0, method, target, content, Content_Type=MANIFEST)
        assert answer.status < 300, answer.content
        return len([one for one in sqlite_statements if not one.startswith(OURS)])

    yield count
    fleet.end()


def test_reads_take_one_statement_and_writes_a_few(statements: Count) -> None:
    image = new_image()
    blobs = [
        statements("POST", f"/v2/acme/app/blobs/uploads/?digest={one.digest}", one.shared + one.own)
        for one in image.blobs
    ]
    assert max(blobs[1:]) <= 6
    assert statements("PUT", "/v2/acme/app/manifests/1", image.manifest) <= 11 + len(image.blobs)
    assert statements("PUT", "/v2/acme/app/manifests/2", image.manifest) <= 7
    assert statements("PUT", "/v2/acme/app/manifests/2", image.manifest) <= 5
    for method, target in (
        ("GET", "manifests/1"),
        ("HEAD", "manifests/1"),
        ("GET", f"manifests/{make.digest(image.manifest)}"),
        ("GET", f"blobs/{image.blobs[-1].digest}"),
        ("HEAD", f"blobs/{image.blobs[-1].digest}"),
        ("GET", "tags/list"),
    ):
        assert statements(method, f"/v2/acme/app/{target}") == 1, (method, target)


def test_a_small_read_takes_few_system_calls(tmp_path: Path) -> None:
    tool("strace")
    server = start(US, tmp_path / "server")
    image = new_image()
    try:
        with server.connect() as connection:
            push_image(connection, "acme/app", "1", image)
            small = ("manifests/1", f"blobs/{image.blobs[-1].digest}", "tags/list?n=100")
            for target in [*(f"/v2/acme/app/{one}" for one in small), "/v2/_catalog?n=100", "/v2/_catalog"]:
                connection.ask("GET", target).want(200)
                with counting(server.pid, tmp_path, ALL) as calls:
                    for _ in range(_ASKED):
                        connection.ask("GET", target).want(200)
                # Wait, read, write: the row is remembered.  A little more once a second.
                assert calls().total() / _ASKED < 3.5, calls()
    finally:
        server.discard()
