"""What only PostgreSQL can get wrong: competing transactions, lost connections, a server that goes away."""

import asyncio
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from moorage.db.engine import Database, Tx, open_database
from moorage.errors import Code, RegistryError
from tests.databases import Server, opening
from tests.promises.test_database import create, kept, note, stop_here


@pytest.fixture
def url(postgresql_server: Server) -> Iterator[str]:
    made = postgresql_server.create(schema=False)
    yield made
    postgresql_server.drop(made)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    opened = open_database(url)
    opened.write_now(create)
    yield opened
    opened.close_now()


async def test_a_write_that_loses_a_serialisation_race_runs_again(db: Database) -> None:
    """Two writes each look whether there is room for one row, and both see that there is."""
    both, runs = threading.Barrier(2), []

    def only_one(tx: Tx, number: int) -> bool:
        runs.append(number)
        tx.raw.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        free = not kept(tx)
        if len(runs) <= 2:
            both.wait(30)
        if free:
            note(tx, number)
        return free

    assert sorted(await asyncio.gather(db.write(only_one, 1), db.write(only_one, 2))) == [False, True]
    assert len(runs) > 2
    assert len(await db.read(kept)) == 1


async def test_a_deadlock_is_resolved_by_running_again(db: Database) -> None:
    await db.write(note, 1)
    await db.write(note, 2)
    both, runs = threading.Barrier(2), []

    def touch(tx: Tx, first: int, second: int) -> None:
        runs.append(first)
        tx.raw.execute("UPDATE notes SET word = word || 'x' WHERE id = %s", (first,))
        if len(runs) <= 2:
            both.wait(30)
        tx.raw.execute("UPDATE notes SET word = word || 'x' WHERE id = %s", (second,))

    await asyncio.gather(db.write(touch, 1, 2), db.write(touch, 2, 1))
    words = await db.read(lambda tx: tx.raw.execute("SELECT word FROM notes").fetchall())
    assert (len(runs), words) == (3, [("xx",), ("xx",)])


async def test_a_write_that_always_loses_is_unavailable_in_the_end(db: Database) -> None:
    runs = []

    def lose(tx: Tx) -> None:
        runs.append(1)
        tx.raw.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")

    with pytest.raises(RegistryError) as refused:
        await db.write(lose)
    assert refused.value.code is Code.UNAVAILABLE
    assert 2 < len(runs) < 20


async def test_a_server_whose_commits_do_not_wait_for_the_disk_is_overruled(
    postgresql_server: Server, url: str
) -> None:
    name = url.partition("@/")[2].partition("?")[0]
    postgresql_server.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with opening(url) as opened:
        assert await opened.write(lambda tx: tx.raw.execute("SHOW synchronous_commit").fetchone()) == ("on",)


def terminate(server: Server, url: str, *, which: str = "true") -> int:
    name = url.partition("@/")[2].partition("?")[0]
    return len(
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{name}' AND application_name = 'moorage' AND {which}"
        )
    )


async def test_lost_idle_connections_are_not_noticed_by_callers(
    db: Database, postgresql_server: Server, url: str
) -> None:
    for ask in (db.read, db.scan, db.write):
        await asyncio.gather(*(db.read(lambda tx: tx.raw.execute("SELECT pg_sleep(0.05)")) for _ in range(5)))
        assert terminate(postgresql_server, url) > 1
        asked = (ask(lambda tx: tx.raw.execute("SELECT 1").fetchall()) for _ in range(50))
        assert await asyncio.gather(*asked) == [[(1,)]] * 50


@pytest.mark.parametrize("way", ["scan", "write"])
async def test_a_connection_lost_in_the_middle_runs_again(
    db: Database, postgresql_server: Server, url: str, way: str
) -> None:
    runs = []

    def lose(tx: Tx) -> int:
        runs.append(1)
        if way == "write":
            note(tx, 1)
        if len(runs) == 1:
            assert terminate(postgresql_server, url, which="state <> 'idle'") == 1
        return len(kept(tx))

    assert await getattr(db, way)(lose) == (1 if way == "write" else 0)
    assert len(runs) == 2


async def test_a_connection_lost_between_pipelined_statements_runs_again_and_goes(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver does not know yet that it is lost, and cannot roll back: a query of its pipeline is on its way."""
    lost: list[Any] = []

    def lose(tx: Tx) -> int:
        if not lost:
            lost.append(tx.raw)
            tx.raw.pgconn.enter_pipeline_mode()
            tx.raw.pgconn.send_query_params(b"SELECT 1", [])
            raise psycopg.OperationalError("cannot exit pipeline mode while busy")
        return note(tx, 1)

    assert await db.write(lose) == 1
    assert lost[0].closed
    assert await db.read(kept) == {1}
    assert caplog.text == ""


@pytest.mark.parametrize("way", ["read", "scan", "write"])
@pytest.mark.parametrize("how", ["changed", "forgotten"])
async def test_statements_that_the_server_will_not_run_any_more_are_prepared_anew(
    db: Database, postgresql_server: Server, url: str, how: str, way: str
) -> None:
    ask = getattr(db, way)

    def words(tx: Tx) -> object:
        found = tx.raw.execute("SELECT word FROM notes", prepare=True).fetchall()
        tx.raw.execute("SELECT pg_sleep(0.02)")
        return found

    def forget(tx: Tx) -> None:
        tx.raw.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        tx.raw.execute("SELECT pg_sleep(0.02)")

    await db.write(note, 1, "one")
    await asyncio.gather(*(ask(words) for _ in range(20)))
    if how == "changed":
        name = url.partition("@/")[2].partition("?")[0]
        postgresql_server.sql("ALTER TABLE notes ALTER COLUMN word TYPE varchar(20)", name)
    else:
        await asyncio.gather(*(ask(forget) for _ in range(20)))
    for _ in range(2):
        assert await asyncio.gather(*(ask(words) for _ in range(20))) == [[("one",)]] * 20


async def test_an_error_that_no_new_connection_mends_is_raised_as_it_is(db: Database) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        await db.read(lambda tx: tx.raw.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '0A000'; END $$"))
    assert await db.write(note, 1) == 1


@pytest.mark.parametrize("way", ["scan", "write"])
async def test_a_connection_lost_every_time_is_unavailable(
    db: Database, postgresql_server: Server, url: str, way: str
) -> None:
    def lose(tx: Tx) -> None:
        tx.raw.execute("SELECT 1")
        terminate(postgresql_server, url, which="state <> 'idle'")
        tx.raw.execute("SELECT 1")

    with pytest.raises(RegistryError) as refused:
        await getattr(db, way)(lose)
    assert refused.value.code is Code.UNAVAILABLE
    assert await db.read(kept) == set()


async def test_a_storm_of_lost_connections_loses_nothing_and_shows_no_foreign_error(
    db: Database, postgresql_server: Server, url: str
) -> None:
    stop, told, errors = time.monotonic() + 3, set(), []

    async def client(start: int) -> None:
        number = start
        while time.monotonic() < stop:
            number += 1
            try:
                told.add(await db.write(note, number))
                assert number in await db.read(kept)
                await db.scan(kept)
            except RegistryError as error:
                assert error.code is Code.UNAVAILABLE
                errors.append(error)

    async def storm() -> None:
        while time.monotonic() < stop:
            await asyncio.sleep(random.uniform(0.01, 0.1))
            await asyncio.to_thread(terminate, postgresql_server, url)

    await asyncio.gather(storm(), *(client(start * 1_000_000) for start in range(8)))
    assert len(told) > 20
    assert await db.read(kept) >= told


async def test_a_server_that_is_down_is_unavailable_and_recovers(own_server: Server) -> None:
    async with opening(own_server.url("postgres")) as opened:
        await opened.write(create)
        await opened.write(note, 1)
        own_server.stop()
        for ask in (opened.read, opened.scan, opened.write):
            async with asyncio.timeout(20):
                with pytest.raises(RegistryError) as refused:
                    await ask(kept)
            assert refused.value.code is Code.UNAVAILABLE
        with pytest.raises(RegistryError):
            await opened.ping()
        own_server.start()
        assert await opened.read(kept) == {1}
        await opened.write(note, 2)
        await opened.ping()


@contextmanager
def frozen(server: Server) -> Iterator[int]:
    """Every process that serves us stands still meanwhile; gives their number."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'moorage'"
    processes = [int(str(pid)) for (pid,) in server.sql(ours)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield len(processes)
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def outcome(call: Coroutine[Any, Any, object]) -> object:
    """What a call gives, or the code of its refusal."""
    try:
        return await call
    except RegistryError as error:
        return error.code


async def test_a_server_that_freezes_holds_up_nobody_who_comes_later(own_server: Server) -> None:
    async with opening(own_server.url("postgres"), pool_size=4, patience=0.5) as opened:
        await opened.write(create)
        together = threading.Barrier(3)
        await asyncio.gather(*(opened.read(lambda _tx: together.wait(30)) for _ in range(3)))
        with frozen(own_server) as number:
            assert number == 3, "one connection for each thread of short reads"
            stuck = [asyncio.ensure_future(outcome(opened.read(kept))) for _ in range(3)]
            # They are refused on their own after half a minute; who comes behind them must not wait for that.
            async with asyncio.timeout(20):
                late = await asyncio.gather(*(outcome(opened.read(kept)) for _ in range(20)), outcome(opened.ping()))
        assert late == [Code.UNAVAILABLE] * 21
        assert set(await asyncio.gather(*map(answered, stuck))) == {True}
        assert await opened.read(kept) == set()


async def answered(call: Awaitable[object]) -> bool:
    """Whether a call that a frozen server kept for a while gave its answer, or was refused in time."""
    async with asyncio.timeout(40):
        return await call in (set(), Code.UNAVAILABLE)


async def test_a_pool_that_is_used_up_refuses_instead_of_hanging(url: str) -> None:
    async with opening(url, pool_size=2, patience=0.3) as opened:
        opened.write_now(create)
        reached, go = threading.Event(), threading.Event()
        holder = asyncio.ensure_future(opened.write(stop_here, 1, reached, go))
        try:
            await asyncio.to_thread(reached.wait, 30)
            async with asyncio.timeout(20):
                assert await outcome(opened.read(kept)) is Code.UNAVAILABLE
            assert await opened.scan(kept) == set(), "long reads have threads of their own"
        finally:
            go.set()
        assert await holder == 1
        assert await opened.read(kept) == {1}


async def test_no_message_shows_the_password(own_server: Server) -> None:
    own_server.stop()
    async with opening(f"postgresql://someone:open-sesame@/postgres?host={own_server.folder}") as opened:
        for ask in (opened.read, opened.write, opened.scan):
            with pytest.raises(RegistryError) as refused:
                await ask(kept)
            assert "open-sesame" not in "".join(traceback.format_exception(refused.value))
        assert "open-sesame" not in repr(opened)
