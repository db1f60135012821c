"""All rows at one moment, and back, whatever the kind of database."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from moorage.db import snapshot, state
from moorage.db.engine import Tx, open_database
from moorage.db.migrate import migrate
from moorage.errors import RegistryError
from tests.db.test_upgrade import EXPECTED, ROWS, contents, insert


@pytest.fixture
def filled(database_url: str) -> str:
    with closing_now(database_url) as database:
        for table, rows in ROWS.items():
            for row in rows:
                database.write_now(insert, table, row)
        database.write_now(state.put, "a name", {"a": [1]}, 5)
        database.write_now(_give_numbers)
    return database_url


def closing_now(url: str) -> Any:
    """The database, closed in the end."""
    database = open_database(url)
    manager = closing(database)
    database.close = database.close_now  # type: ignore[method-assign, assignment]
    return manager


def _give_numbers(tx: Tx) -> None:
    """Have number 41 given to a repository that is gone again."""
    if tx.dialect == "postgresql":
        tx.raw.execute("SELECT setval(pg_get_serial_sequence('repositories', 'id'), 41)")
    else:
        tx.raw.execute("INSERT INTO repositories (id, name, owner, created_at) VALUES (41, 'gone', 'x', 0)")
        tx.raw.execute("DELETE FROM repositories WHERE id = 41")


def _add(tx: Tx) -> int:
    made = tx.raw.execute("INSERT INTO repositories (name, owner, created_at) VALUES ('new', 'x', 0) RETURNING id")
    return int(made.fetchone()[0])


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'target.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    url = server.create(schema=False)
    yield url
    server.drop(url)


def test_every_row_comes_back_in_either_database_and_no_id_twice(filled: str, target: str, tmp_path: Path) -> None:
    with closing_now(filled) as database:
        snapshot.save(database, tmp_path / "snapshot")
    assert [one.name for one in tmp_path.glob("snapshot*")] == ["snapshot"], "nothing lies beside it"
    migrate(target)
    snapshot.load(tmp_path / "snapshot", target)
    expected = dict(EXPECTED)
    if target.startswith("postgresql"):
        expected["events"] = [(*row[:-1], 0) for row in EXPECTED["events"]]
    assert contents(target) == expected
    with closing_now(target) as database:
        assert database.read_now(state.get, "a name") == {"a": [1]}
        assert database.write_now(_add) == 42
        with pytest.raises(RegistryError, match="already holds something"):
            snapshot.load(tmp_path / "snapshot", target)


def test_a_snapshot_is_of_one_moment_while_others_write(filled: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def both(tx: Tx, number: int) -> None:
        """Two rows in two tables that belong together."""
        event = {**ROWS["events"][0], "id": 100 + number}
        insert(tx, "events", event)
        insert(tx, "jobs", {**ROWS["jobs"][0], "name": f"job {number}"})

    def write() -> None:
        number = 0
        while not stop.is_set() and number < 5000:
            database.write_now(both, number)
            number += 1

    with closing_now(filled) as database:
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(3):
                snapshot.save(database, tmp_path / f"snapshot-{number}")
        finally:
            stop.set()
            writer.join()
    counts = []
    for number in range(3):
        with snapshot.opened(tmp_path / f"snapshot-{number}") as tx:
            counts.append([tx.raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("events", "jobs")])
    assert all(events == jobs for events, jobs in counts), counts
    assert counts[-1][0] > 1
