"""Upgrading a database that is full: every row survives, whatever happens meanwhile."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.db import copies
from moorage.db.engine import Tx, open_database
from moorage.db.migrate import SCRIPTS, current, migrate
from moorage.db.migrations.head import HEAD
from moorage.errors import Code, RegistryError

OLDEST = "0001"
ROWS: dict[str, list[dict[str, object]]] = {
    "repositories": [{"id": 7, "name": "acme/app", "owner": "library", "created_at": 1, "listed_at": None}],
    "blobs": [
        {"id": 3, "digest": "sha256:a", "size": 1, "storage_key": "blobs/u/ab/ab", "created_at": 2, "content": None},
        {"id": 9, "digest": "sha256:b", "size": 2, "storage_key": None, "created_at": 3, "content": b"\x00\xff"},
    ],
    "links": [
        {"repository_id": 7, "blob_id": 3, "linked_at": 1, "leased_until": 2},
        {"repository_id": 7, "blob_id": 9, "linked_at": 3, "leased_until": 4},
    ],
    "manifests": [
        {"id": 5, "repository_id": 7, "digest": "sha256:m", "media_type": "m", "size": 2, "artifact_type": "a",
         "subject": "sha256:s", "hold": None, "pushed_at": 1, "annotations": "{}", "content": b"{}"},
        {"id": 6, "repository_id": 7, "digest": "sha256:n", "media_type": "m", "size": 3, "artifact_type": None,
         "subject": None, "hold": "why", "pushed_at": 1, "annotations": None, "content": b"{ }"},
    ],
    "edges": [
        {"manifest_id": 5, "position": 0, "repository_id": 7, "digest": "sha256:a", "role": "layer", "blob_id": 3,
         "child_id": None},
        {"manifest_id": 5, "position": 1, "repository_id": 7, "digest": "sha256:n", "role": "child", "blob_id": None,
         "child_id": 6},
        {"manifest_id": 6, "position": 0, "repository_id": 7, "digest": "sha256:x", "role": "layer", "blob_id": None,
         "child_id": None},
    ],
    "tags": [{"repository_id": 7, "name": "Latest", "manifest_id": 5, "updated_at": 1}],
    "tag_history": [{"id": 2, "repository_id": 7, "tag": "Latest", "digest": "sha256:m", "previous": None,
                     "actor": "anonymous", "at": 1}],
    "uploads": [{"id": "up", "repository": "acme/app", "actor": "anonymous", "epoch": 1, "parts": "5,6",
                 "digest": "sha256:u", "hash_state": b"\x01", "incarnation": "i", "finished": None, "started_at": 1,
                 "touched_at": 2, "content": None}],
    "events": [{"id": 4, "at": 1, "kind": "k", "repository": "acme/app", "actor": "a", "facts": "{}",
                "transaction": 11}],
    "trash_manifests": [{"id": 8, "repository_id": 7, "digest": "sha256:o", "media_type": "m", "tags": "[]",
                         "actor": "a", "pushed_at": 1, "deleted_at": 2, "purge_after": 3, "content": b"[]"}],
    "trash_edges": [{"trash_id": 8, "position": 0, "repository_id": 7, "blob_id": 3}],
    "trash_tags": [{"id": 1, "repository_id": 7, "name": "old", "digest": "sha256:o", "actor": "a", "deleted_at": 2,
                    "purge_after": 3}],
    "trash_links": [{"repository_id": 7, "blob_id": 3, "actor": None, "deleted_at": 2, "purge_after": 3}],
    "trash_blobs": [{"storage_key": "blobs/u/cd/cd", "digest": "sha256:t", "size": 9, "state": "waiting",
                     "purge_after": 3}],
    "jobs": [{"name": "gc", "due_at": 1, "leased_until": 2, "holder": "h", "finished_at": 3, "failures": 4,
              "error": "e"}],
}  # fmt: skip


def insert(tx: Tx, table: str, row: dict[str, object]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    place = "?" if tx.dialect == "sqlite" else "%s"
    tx.raw.execute(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join([place] * len(row))})', list(row.values()))


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the tables that the oldest schema had, in its columns."""

    def read(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table: sorted(
                (tuple(row) for row in tx.raw.execute(f'SELECT {_names(rows)} FROM "{table}"').fetchall()), key=repr
            )
            for table, rows in ROWS.items()
        }

    opened = open_database(url)
    try:
        return opened.scan_now(read)
    finally:
        opened.close_now()


def _names(rows: list[dict[str, object]]) -> str:
    return ", ".join(f'"{name}"' for name in rows[0])


EXPECTED = {table: sorted((tuple(row.values()) for row in rows), key=repr) for table, rows in ROWS.items()}


@pytest.fixture
def old(empty_database: str) -> str:
    """A database of the oldest schema with a row of every kind in every table."""
    migrate(empty_database, head=OLDEST)
    opened = open_database(empty_database)
    for table, rows in ROWS.items():
        for row in rows:
            opened.write_now(insert, table, row)
    opened.close_now()
    return empty_database


@pytest.fixture
def old_file(old: str) -> Path:
    if not old.startswith("sqlite"):
        pytest.skip("only a SQLite file is copied")
    return Path(old.removeprefix("sqlite:///"))


only_sqlite = pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)


def test_the_rows_are_of_every_table(old: str) -> None:
    names = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    if not old.startswith("sqlite"):
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    opened = open_database(old)
    found = {row[0] for row in opened.read_now(lambda tx: list(tx.raw.execute(names).fetchall()))}
    opened.close_now()
    assert found - {"alembic_version", "sqlite_sequence"} == set(ROWS)


def test_an_upgrade_loses_no_row(old: str) -> None:
    assert migrate(old) is True
    assert (current(old), contents(old)) == (HEAD, EXPECTED)


@only_sqlite
def test_ids_are_not_given_twice_after_an_upgrade(old_file: Path) -> None:
    migrate(f"sqlite:///{old_file}")
    with closing(sqlite3.connect(old_file)) as rows:
        rows.execute("DELETE FROM edges")
        rows.execute("DELETE FROM links")
        rows.execute("DELETE FROM blobs")
        made = rows.execute("INSERT INTO blobs (digest, size, created_at) VALUES ('sha256:c', 0, 0) RETURNING id")
        assert made.fetchone() == (10,)


@only_sqlite
def test_the_file_is_copied_before_and_the_last_two_copies_stay(old_file: Path) -> None:
    for number in (3, 2, 1):
        stale = old_file.with_name(f"{old_file.name}.before-000{number}x")
        stale.touch()
    migrate(f"sqlite:///{old_file}")
    kept = sorted(one.name for one in old_file.parent.glob(f"{old_file.name}.before-*"))
    assert len(kept) == 2
    copy = old_file.with_name(f"{old_file.name}.before-{HEAD}")
    assert copy.name in kept
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(old_file.parent.glob(f"{copy.name}-*"))
    assert (current(f"sqlite:///{copy}"), contents(f"sqlite:///{copy}")) == (OLDEST, EXPECTED)


@only_sqlite
def test_a_step_that_fails_names_the_copy(old_file: Path, tmp_path: Path) -> None:
    scripts = Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))
    step = "revision, down_revision = 'step', '{}'\ndef upgrade():\n    raise ValueError('no')\n"
    (scripts / "versions" / "step.py").write_text(step.format(HEAD))
    with pytest.raises(RegistryError) as refused:
        migrate(f"sqlite:///{old_file}", scripts=scripts, head="step")
    copy = old_file.with_name(f"{old_file.name}.before-step")
    assert f"the copy that was made before is {copy}" in refused.value.message
    assert contents(f"sqlite:///{copy}") == contents(f"sqlite:///{old_file}") == EXPECTED


@only_sqlite
def test_without_room_for_a_copy_nothing_is_changed(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=old_file.stat().st_size)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RegistryError) as refused:
        migrate(f"sqlite:///{old_file}")
    assert refused.value.code is Code.STORAGE_FULL
    assert "free some space" in refused.value.message
    assert (current(f"sqlite:///{old_file}"), contents(f"sqlite:///{old_file}")) == (OLDEST, EXPECTED)
    assert not list(old_file.parent.glob("*.before-*"))


KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
import alembic.command, alembic.script
from moorage.db import sqlite
from moorage.db.migrate import migrate

original, folder = Path(sys.argv[1]), Path(sys.argv[2])
connect = sqlite.connect

def counted(limit, seen):
    def dying(path, patience):
        rows = connect(path, patience)
        def look(statement):
            seen.append(statement)
            if len(seen) == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        rows.set_trace_callback(look)
        return rows
    return dying

number = 0
while number < 1000:
    number += 1
    copy = folder / f"{number}.db"
    shutil.copy(original, copy)
    child = os.fork()
    if child == 0:
        import moorage.db.copies
        sqlite.connect = moorage.db.copies.connect = counted(number, [])
        migrate(f"sqlite:///{copy}")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        break
print(json.dumps(number))
"""


@only_sqlite
def test_a_kill_before_any_statement_leaves_the_old_schema_or_the_new_one(old_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(old_file), str(folder)],
        capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    statements = json.loads(done.stdout)
    assert statements > 20
    seen = set()
    for number in range(1, statements + 1):
        url = f"sqlite:///{folder / f'{number}.db'}"
        seen.add(current(url))
        assert contents(url) == EXPECTED
        migrate(url, copy=False)
        assert (current(url), contents(url)) == (HEAD, EXPECTED)
        with closing(sqlite3.connect(folder / f"{number}.db")) as rows:
            assert rows.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert rows.execute("PRAGMA foreign_key_check").fetchall() == []
    assert seen == {OLDEST, HEAD}
