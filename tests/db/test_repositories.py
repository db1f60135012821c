"""A name and the repositories that had it: each its own row, and writers never meet a deleted one."""

import asyncio
import threading

import pytest

from moorage.db import repositories
from moorage.db.engine import Database, Tx, open_database
from moorage.db.repositories import Repository
from moorage.oci.names import RepositoryName

APP = RepositoryName.parse("acme/app")


def test_a_name_begins_again_with_another_id(database: Database) -> None:
    first = database.write_now(repositories.ensure, APP, 1)
    assert database.write_now(repositories.ensure, APP, 2) == first
    database.write_now(repositories.bury, first)
    assert database.read_now(repositories.find, APP) is None
    second = database.write_now(repositories.ensure, APP, 3)
    assert second.id > first.id
    database.write_now(repositories.bury, second)
    assert database.write_now(repositories.ensure, APP, 4).id > second.id


@pytest.mark.parametrize("wanted", ["ensure", "hold"])
async def test_a_writer_that_waited_for_a_delete_does_not_write_into_what_was_deleted(
    postgresql_url: str, wanted: str
) -> None:
    db = open_database(postgresql_url)
    try:
        first = await db.write(repositories.ensure, APP, 1)
        held, found = threading.Event(), threading.Event()

        def delete(tx: Tx) -> None:
            repositories.hold(tx, APP)
            held.set()
            found.wait(30)
            repositories.bury(tx, first)

        def write(tx: Tx) -> Repository | None:
            held.wait(30)
            assert repositories.find(tx, APP) == first
            found.set()
            return repositories.ensure(tx, APP, 2) if wanted == "ensure" else repositories.hold(tx, APP)

        _, written = await asyncio.gather(db.write(delete), db.write(write))
        assert written is None if wanted == "hold" else written is not None and written.id > first.id
    finally:
        await db.close()


def test_a_page_of_the_catalog_costs_the_same_among_many_that_are_not_in_it(sqlite_url: str) -> None:
    db = open_database(sqlite_url)

    def fill(tx: Tx) -> None:
        for number in range(2_000):
            found = repositories.ensure(tx, RepositoryName.parse(f"acme/app-{number:04}"), 1)
            if number % 500 == 0:
                repositories.list_in_catalog(tx, found, 2)

    def steps(tx: Tx) -> int:
        taken: list[None] = []
        tx.raw.set_progress_handler(lambda: taken.append(None), 1)
        assert len(repositories.page(tx, "acme/app-0000", 100)) == 3
        tx.raw.set_progress_handler(None, 1)
        return len(taken)

    try:
        db.write_now(fill)
        assert db.read_now(steps) < 100
    finally:
        db.close_now()
