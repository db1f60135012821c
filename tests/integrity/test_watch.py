"""A database file with wrong bytes in it is noticed, and the registry then says that it is not ready."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from moorage.db.engine import open_database
from moorage.errors import RegistryError
from moorage.features.integrity.watch import Watch
from tests.conftest import Served

PAGE = 4096


def spoil(path: Path) -> None:
    """Overwrite the pages that belong to tables, and leave the header and the schema."""
    content = bytearray(path.read_bytes())
    for page in range(len(content) // PAGE - 4, len(content) // PAGE):
        content[page * PAGE : page * PAGE + 64] = b"\xff" * 64
    path.write_bytes(content)


async def test_a_spoiled_file_makes_the_registry_unready(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    watch = Watch(db)
    job = watch.job()
    assert await job.step() is False
    await watch.check()
    spoil(Path(sqlite_url.removeprefix("sqlite:///")))
    assert await job.step() is False
    with pytest.raises(RegistryError, match="database file is damaged"):
        await watch.check()
    await db.close()


def test_a_file_without_its_header_is_told_too(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    assert db.verify_now() == ["file is not a database"]
    db.close_now()


def test_a_sound_database_has_nothing_to_tell(database_url: str) -> None:
    db = open_database(database_url)
    assert db.verify_now() == []
    assert db.verify_now(whole=True) == []
    db.close_now()


def test_a_server_whose_file_is_spoiled_is_not_ready(serve: Callable[..., Served]) -> None:
    server = serve()
    path = server.data / "moorage.db"
    with closing(sqlite3.connect(path, timeout=20)) as database:
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tag_history'").fetchall()
        with path.open("r+b") as file:
            file.seek((page - 1) * PAGE)
            file.write(b"\xff" * 64)
        stop = time.monotonic() + 60
        while time.monotonic() < stop and httpx.get(f"{server.url}/readyz").status_code == 200:
            database.execute("UPDATE jobs SET due_at = 0 WHERE name = 'database-check'")
            database.commit()
            time.sleep(0.5)
    answer = httpx.get(f"{server.url}/readyz?verbose")
    assert answer.status_code == 503
    assert answer.json()["database"] == "failing", "why is in the log"
    assert "the database file is damaged: stop the registry" in server.log.read_text()
