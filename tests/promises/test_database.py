"""What the database promises, on SQLite and on PostgreSQL alike."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select

from moorage.db.engine import Database, Tx
from moorage.db.schema import Word
from moorage.errors import Code, RegistryError
from tests.databases import Server, opening

notes = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("word", Word))


def create(tx: Tx) -> None:
    tx.raw.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY, word text)"
        if tx.dialect == "sqlite"
        else 'CREATE TABLE notes (id integer PRIMARY KEY, word text COLLATE "C")'
    )


def note(tx: Tx, number: int, word: str = "") -> int:
    tx.execute(insert(notes), {"id": number, "word": word})
    return number


def fail(tx: Tx, number: int, error: Exception) -> None:
    note(tx, number)
    raise error


def kept(tx: Tx) -> set[int]:
    return {row.id for row in tx.execute(select(notes.c.id)).fetchall()}


def stop_here(tx: Tx, number: int, reached: threading.Event, go: threading.Event) -> int:
    """Write a row and stand still before the commit."""
    note(tx, number)
    reached.set()
    assert go.wait(30)
    return number


@pytest.fixture
async def db(empty_database: str) -> AsyncIterator[Database]:
    async with opening(empty_database) as opened:
        opened.write_now(create)
        yield opened


@contextmanager
def standing(db: Database, number: int = 0) -> Iterator[threading.Event]:
    """A writer in the middle of its transaction; it goes on when the event is set, at the latest in the end."""
    reached, go = threading.Event(), threading.Event()
    writer = threading.Thread(target=db.write_now, args=(stop_here, number, reached, go))
    writer.start()
    try:
        assert reached.wait(30)
        yield go
    finally:
        go.set()
        writer.join(30)


async def test_a_failing_write_takes_nobody_with_it(db: Database) -> None:
    with standing(db) as go:
        writes = [
            asyncio.ensure_future(db.write(fail, n, ValueError(str(n))) if n % 3 == 0 else db.write(note, n))
            for n in range(1, 30)
        ]
        await asyncio.sleep(0.05)
        go.set()
        results = await asyncio.gather(*writes, return_exceptions=True)
    for number, result in enumerate(results, 1):
        assert isinstance(result, ValueError) if number % 3 == 0 else result == number
    assert db.read_now(kept) == {0, *(n for n in range(1, 30) if n % 3)}


async def test_a_refusal_passes_unchanged_and_leaves_nothing(db: Database) -> None:
    refusal = RegistryError(Code.DENIED, "no", why="because")
    with pytest.raises(RegistryError) as refused:
        await db.write(fail, 1, refusal)
    assert refused.value is refusal
    assert await db.read(kept) == set()


async def test_an_error_that_was_caught_after_it_ended_the_transaction_is_no_success(db: Database) -> None:
    def careless(tx: Tx) -> str:
        note(tx, 1)
        try:
            tx.raw.execute("ROLLBACK" if tx.dialect == "sqlite" else "SELECT 1/0")
        except Exception:  # noqa: BLE001 - that is the mistake
            return "fine"
        return "fine"

    with pytest.raises(RuntimeError, match="ended its transaction"):
        await db.write(careless)
    assert await db.read(kept) == set()


async def test_the_result_comes_after_the_commit(db: Database, empty_database: str) -> None:
    async with opening(empty_database) as beside:
        with standing(db, 1) as go:
            second = asyncio.ensure_future(db.write(note, 2))
            await asyncio.sleep(0.1)
            assert 1 not in await beside.read(kept)
            go.set()
            assert await second == 2
        assert await beside.read(kept) == {1, 2}


CHILD = """
import sys
from tests.promises.test_database import note
from moorage.db.engine import open_database
db = open_database(sys.argv[1])
for number in range(1, 100_000):
    db.write_now(note, number)
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(db: Database, empty_database: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, empty_database], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as output:
        for line in output:
            if int(line) == 40:
                child.send_signal(signal.SIGKILL)
                break
        told = {*range(1, 41), *map(int, output.read().split())}
    child.wait(20)
    missing = told - db.read_now(kept)
    assert not missing
    assert len(db.read_now(kept)) <= len(told) + 1


@pytest.mark.parametrize("durable", [True, False])
async def test_only_a_durable_write_waits_for_the_disk(db: Database, durable: bool) -> None:
    def setting(tx: Tx) -> object:
        if tx.dialect == "sqlite":
            return {1: "NORMAL", 2: "FULL"}[tx.raw.execute("PRAGMA synchronous").fetchone()[0]]
        return {"off": "NORMAL", "on": "FULL"}[tx.raw.execute("SHOW synchronous_commit").fetchone()[0]]

    wanted = "FULL" if durable else "NORMAL"
    for _ in range(2):
        assert await db.write(setting, durable=durable) == wanted
        assert await db.write(setting, durable=True) == "FULL"
        assert await db.write(setting, durable=durable) == wanted


async def test_a_read_does_not_wait_for_a_writer(db: Database) -> None:
    with standing(db):
        async with asyncio.timeout(30):
            assert await db.read(kept) == set()
            assert await db.scan(kept) == set()
            await db.ping()


async def test_a_scan_sees_one_moment(db: Database) -> None:
    def twice(tx: Tx) -> tuple[set[int], set[int]]:
        first = kept(tx)
        db.write_now(note, len(first) + 1)
        return first, kept(tx)

    for _ in range(3):
        first, second = await db.scan(twice)
        assert first == second
    assert await db.read(kept) == {1, 2, 3}


async def test_a_scan_cannot_write(db: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        await db.scan(note, 1)
    assert await db.read(kept) == set()


def half(tx: Tx) -> Any:
    return tx.execute(select(notes.c.id)).fetchone()


def half_and_fail(tx: Tx) -> Any:
    half(tx)
    raise KeyError


def unpinned(db: Database, request: pytest.FixtureRequest) -> bool:
    """Whether nobody holds on to an old state of the database."""
    if db.dialect == "postgresql":
        server: Server = request.getfixturevalue("postgresql_server")
        return server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'moorage' "
            "AND (state LIKE 'idle in transaction%' OR backend_xmin IS NOT NULL)"
        ) == [(0,)]
    return db.write_now(lambda _tx: None) is None and checkpoint(db)


def checkpoint(db: Database) -> bool:
    import sqlite3

    beside = sqlite3.connect(str(db.url.database), isolation_level=None)
    busy, _, _ = beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    beside.close()
    return not busy and Path(f"{db.url.database}-wal").stat().st_size == 0


async def test_nothing_stays_open_behind_a_read(db: Database, request: pytest.FixtureRequest) -> None:
    for number in range(1, 500):
        await db.write(note, number, "x" * 100, durable=False)
    for ask in (db.read, db.scan, db.write):
        await ask(half)
        with pytest.raises(KeyError):
            await ask(half_and_fail)
        await db.write(note, 1000 + len(db.read_now(kept)))
        assert unpinned(db, request), ask


async def test_a_cancelled_caller_disturbs_nobody(db: Database) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    reached, go = threading.Event(), threading.Event()
    running = asyncio.ensure_future(db.write(stop_here, 0, reached, go))
    await asyncio.to_thread(reached.wait, 30)
    waiting = [asyncio.ensure_future(db.write(note, number)) for number in range(1, 9)]
    await asyncio.sleep(0)
    for write in (running, *waiting[::2]):
        write.cancel()
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(running, *waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in (results[0], *results[1::2]))
    assert results[2::2] == [2, 4, 6, 8]
    assert await db.write(note, 100) == 100
    assert {2, 4, 6, 8} <= await db.read(kept)
    await asyncio.sleep(0.1)
    assert complaints == []


@pytest.fixture
def others() -> set[threading.Thread]:
    """The threads that are no business of the database: asked for in front of it."""
    return set(threading.enumerate())


async def test_closing_finishes_what_waits_then_refuses(
    others: set[threading.Thread], db: Database, request: pytest.FixtureRequest
) -> None:
    reached, go = threading.Event(), threading.Event()
    writes = [asyncio.ensure_future(db.write(stop_here, 1, reached, go))]
    await asyncio.to_thread(reached.wait, 30)
    writes += [asyncio.ensure_future(db.write(note, number)) for number in range(2, 6)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(db.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    go.set()
    assert await asyncio.gather(*writes) == [1, 2, 3, 4, 5]
    await closing
    for ask in (db.read, db.scan, db.write):
        with pytest.raises(RegistryError) as refused:
            await ask(kept)
        assert refused.value.code is Code.UNAVAILABLE
    await db.close()
    left = set(threading.enumerate()) - others
    assert not [one.name for one in left if one.name.startswith("moorage-")]
    if db.dialect == "postgresql":
        server: Server = request.getfixturevalue("postgresql_server")
        name = str(db.url.database)
        ask_for = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        until = time.monotonic() + 30
        while server.sql(ask_for) != [(0,)]:  # its processes end by themselves, a little later
            assert time.monotonic() < until
            await asyncio.sleep(0.05)


async def test_words_compare_as_bytes(db: Database) -> None:
    words = ["B", "a", "A", "b", "_x", "1", "a.b", "a-b", "ab", "é", "z", "\N{GREEK SMALL LETTER ALPHA}"]
    for number, word in enumerate(words):
        await db.write(note, number, word)

    def ordered(tx: Tx) -> list[str]:
        return [row.word for row in tx.execute(select(notes.c.word).order_by(notes.c.word)).fetchall()]

    def behind(tx: Tx) -> int:
        return int(tx.execute(select(func.count()).where(notes.c.word > "a")).scalar_one())

    assert await db.scan(ordered) == sorted(words, key=str.encode)
    assert await db.scan(behind) == sum(word.encode() > b"a" for word in words)


@pytest.mark.parametrize("way", ["read", "scan", "write"])
async def test_a_thousand_calls_at_once_all_come_back(db: Database, way: str) -> None:
    ask: Callable[..., Any] = getattr(db, way)
    results = await asyncio.gather(*(ask(kept) for _ in range(1000)), return_exceptions=True)
    assert [one for one in results if one != set() and not isinstance(one, RegistryError)] == []
    assert await ask(kept) == set()
