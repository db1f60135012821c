"""The collector beside a push, at the very moments that matter: PostgreSQL; on SQLite writers take turns."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from moorage.access.action import Action
from moorage.access.actor import NOBODY
from moorage.access.rules import OpenRules
from moorage.core import push, upload
from moorage.core.ports import PushManifest
from moorage.core.precondition import ALWAYS
from moorage.core.registry import Registry
from moorage.db import blobs, repositories
from moorage.db.engine import Database, Tx, open_database
from moorage.features.gc import rows
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest
from moorage.oci.names import RepositoryName, Tag
from tests import make
from tests.databases import Server
from tests.model.nodes import LEASE, SECOND, TRASH, Fleet

BLOB = b"x" * 20_000
DIGEST = make.digest(BLOB)
NAME = RepositoryName.parse("acme/app")
OTHER = RepositoryName.parse("z")
PERMIT = asyncio.run(OpenRules().permit(NOBODY, NAME, Action.PUSH))


class Bench:
    """Two registries on one database; a third connection that is patient, for work in a thread."""

    def __init__(self, url: str, folder: Path) -> None:
        self.fleet = Fleet(url, folder)
        self.fleet.start()
        self.db: Database = open_database(url, patience=30)
        self.registry: Registry = replace(self.fleet.nodes[0].registry, db=self.db)

    def has(self, name: RepositoryName = NAME) -> bool:
        answer = self.fleet.ask(0, "GET", f"/v2/{name}/blobs/{DIGEST}")
        return answer.content == BLOB

    def push_blob(self, name: RepositoryName = NAME) -> None:
        """A blob whose lease has run out already."""
        assert self.fleet.ask(0, "POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
        self.fleet.clock.at += LEASE + SECOND

    def put(self, tx: Tx) -> None:
        """What a manifest's push does in its transaction."""
        content = make.image(BLOB)
        act = PushManifest(Digest.of(content), Manifest.parse(content, make.IMAGE), len(content), (Tag("1"),))
        push._put(tx, self.registry, PERMIT, act, content, Tag("1"), ALWAYS)

    def unlink(self, tx: Tx) -> int:
        now = self.fleet.clock.at
        return rows.unlink(tx, now, now + TRASH, rows.candidates(tx, 0, now, 50))

    def give_up(self) -> int:
        return self.fleet.nodes[1].db.write_now(rows.give_up, self.fleet.clock.at, 50)


def waiting(server: Server, kind: str) -> int:
    """How many transactions wait for a lock of this kind."""
    ((number,),) = server.sql(f"SELECT count(*) FROM pg_locks WHERE locktype = '{kind}' AND NOT granted")
    return int(str(number))


def until(true: Callable[[], bool]) -> None:
    stop = time.monotonic() + 25
    while not true() and time.monotonic() < stop:
        time.sleep(0.01)
    assert true()


@pytest.fixture
def bench(postgresql_url: str, tmp_path: Path) -> Iterator[Bench]:
    one = Bench(postgresql_url, tmp_path / "blobs")
    yield one
    one.db.close_now()
    one.fleet.end()


@contextmanager
def standing(db: Database, work: Callable[[Tx], Any]) -> Iterator[list[Any]]:
    """`work` is done in a transaction that stays open meanwhile; in the end it is committed."""
    reached, go, results = threading.Event(), threading.Event(), list[Any]()

    def stand(tx: Tx) -> Any:
        result = work(tx)
        reached.set()
        assert go.wait(30)
        return result

    thread = threading.Thread(target=lambda: results.append(db.write_now(stand)))
    thread.start()
    try:
        assert reached.wait(30)
        yield results
    finally:
        go.set()
        thread.join(30)
        assert results


def test_a_push_that_is_not_committed_yet_keeps_its_blobs(bench: Bench) -> None:
    bench.push_blob()
    with standing(bench.db, bench.put):
        assert bench.fleet.nodes[1].db.write_now(bench.unlink) == 0, "what is held is left alone, and not waited for"
    assert bench.has()


def test_a_push_that_commits_while_the_collector_looks_keeps_its_blobs(bench: Bench, postgresql_server: Server) -> None:
    """The collector's first statement sees the rows of before the push, and locks them after it."""
    bench.push_blob()

    def slowly(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if "SKIP LOCKED" in statement:
            statement = statement.replace("WHERE ", "WHERE pg_advisory_xact_lock_shared(1) IS NOT NULL AND ", 1)
        return statement, parameters

    event.listen(bench.db._engine, "before_cursor_execute", slowly, retval=True)  # type: ignore[attr-defined]
    found: list[int] = []
    collector = threading.Thread(target=lambda: found.append(bench.db.write_now(bench.unlink)))
    with standing(bench.db, lambda tx: tx.raw.execute("SELECT pg_advisory_xact_lock(1)")):
        collector.start()
        until(lambda: waiting(postgresql_server, "advisory") == 1)
        bench.fleet.nodes[1].db.write_now(bench.put)
    collector.join(30)
    assert found == [1], "it was found before the push committed"
    assert bench.has()


def test_a_blob_that_is_being_pushed_again_is_not_given_up(bench: Bench) -> None:
    bench.push_blob(OTHER)
    assert bench.db.write_now(bench.unlink) == 1
    bench.fleet.clock.at += TRASH + SECOND

    def push_again(tx: Tx) -> None:
        now = bench.fleet.clock.at
        repository = repositories.ensure(tx, NAME, now)
        blob = blobs.add(tx, Digest.parse(DIGEST), len(BLOB), "blobs/u/aa/another", None, now)
        blobs.link(tx, repository, blob, now, now + LEASE)

    with standing(bench.db, push_again):
        assert bench.give_up() == 0
    assert bench.give_up() == 1
    assert bench.has()


def test_a_mount_that_had_to_wait_does_not_name_what_is_gone(bench: Bench, postgresql_server: Server) -> None:
    bench.push_blob(OTHER)
    assert bench.fleet.ask(0, "POST", f"/v2/{NAME}/blobs/uploads/?digest={make.digest(b'{}')}", b"{}").status == 201
    told: list[bool] = []
    mount = threading.Thread(
        target=lambda: told.append(
            bench.db.write_now(upload._mount, bench.registry, PERMIT, OTHER, Digest.parse(DIGEST))
        )
    )
    with standing(bench.db, lambda tx: repositories.ensure(tx, NAME, bench.fleet.clock.at)):
        mount.start()
        until(lambda: waiting(postgresql_server, "transactionid") == 1)
        assert bench.fleet.nodes[1].db.write_now(bench.unlink) == 1
        bench.fleet.clock.at += TRASH + SECOND
        assert bench.give_up() == 1
    mount.join(30)
    assert told == [False]


def test_what_is_being_mounted_stays_in_its_source(bench: Bench) -> None:
    bench.push_blob(OTHER)
    with standing(
        bench.db, lambda tx: upload._mount(tx, bench.registry, PERMIT, OTHER, Digest.parse(DIGEST))
    ) as mounted:
        assert bench.fleet.nodes[1].db.write_now(bench.unlink) == 0
    assert mounted == [True]
    assert bench.has(NAME)


def test_pushes_that_share_a_layer_do_not_wait_for_each_other(bench: Bench) -> None:
    for name in (NAME, OTHER):
        bench.push_blob(name)
    body = make.image(BLOB)
    with standing(bench.db, bench.put):
        put = bench.fleet.ask(1, "PUT", f"/v2/{OTHER}/manifests/1", body, content_type=make.IMAGE)
        assert put.status == 201


def test_a_manifest_that_is_being_pushed_while_its_blob_is_healed_holds_it(
    bench: Bench, postgresql_server: Server
) -> None:
    for name in (NAME, OTHER):
        bench.push_blob(name)
    for file in (bench.fleet.blobs / "blobs" / "u").rglob("*-*"):
        file.unlink()
    assert not bench.has()
    bench.registry = replace(bench.registry, policy=replace(bench.registry.policy, sparse=True))
    healed: list[int] = []

    def heal(tx: Tx) -> None:
        repositories.ensure(tx, OTHER, bench.fleet.clock.at)
        blob = blobs.stored(tx, Digest.parse(DIGEST))
        assert blob
        healed.append(blobs.heal(tx, blob, len(BLOB), None, BLOB))

    healer = threading.Thread(target=lambda: bench.db.write_now(heal))
    with standing(bench.db, bench.put):
        healer.start()
        until(lambda: waiting(postgresql_server, "transactionid") == 1)
    healer.join(30)
    assert healed == [True]
    assert bench.fleet.nodes[1].db.write_now(bench.unlink) == 1, (
        "the manifest refers to it, and nothing does in the other"
    )
    assert bench.has()
