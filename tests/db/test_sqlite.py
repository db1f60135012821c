"""What only SQLite can get wrong: groups, turns between processes, a file that others lock."""

import asyncio
import itertools
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from moorage.db import writer
from moorage.db.ballast import Ballast
from moorage.db.engine import Database, Tx, open_database
from moorage.db.link import Link
from moorage.db.turnstile import Turnstile
from moorage.db.writer import MOST
from moorage.errors import Code, RegistryError
from tests.conftest import tool
from tests.promises.test_database import create, fail, kept, note, notes, standing, stop_here


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'notes.db'}"


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    opened = open_database(url, patience=5)
    opened.write_now(create)
    yield opened
    opened.close_now()


def full_at_first(tx: Tx, number: int) -> None:
    """Fill the disk: as SQLite sees it, its file may not grow any more."""
    note(tx, number)
    pages = tx.raw.execute("PRAGMA page_count").fetchone()[0]
    tx.raw.execute(f"PRAGMA max_page_count={pages}")
    note(tx, number + 1, "x" * 100_000)


async def test_a_group_that_dies_as_a_whole_runs_again_one_by_one(db: Database) -> None:
    runs: list[int] = []

    def counted(tx: Tx, number: int) -> int:
        runs.append(number)
        return note(tx, number)

    with standing(db) as go:
        before = [asyncio.ensure_future(db.write(counted, number)) for number in (1, 2)]
        poison = asyncio.ensure_future(db.write(full_at_first, 1000))
        after = [asyncio.ensure_future(db.write(counted, number)) for number in (3, 4)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*before, *after) == [1, 2, 3, 4]
        with pytest.raises(RegistryError) as refused:
            await poison
    assert refused.value.code is Code.STORAGE_FULL
    assert runs == [1, 2, 1, 2, 3, 4], "the group did not die and run again"
    assert await db.read(kept) == {0, 1, 2, 3, 4}


async def test_nobody_hears_of_success_before_the_group_has_committed(db: Database) -> None:
    reached, go = threading.Event(), threading.Event()

    def last(_tx: Tx) -> None:
        reached.set()
        assert go.wait(30)

    with standing(db) as begin:
        first = asyncio.ensure_future(db.write(note, 1))
        second = asyncio.ensure_future(db.write(last))
        await asyncio.sleep(0)
        begin.set()
        await asyncio.to_thread(reached.wait, 30)
        await asyncio.sleep(0.05)
        assert not first.done()
        go.set()
        assert await first == 1
        await second
    assert await db.read(kept) == {0, 1}


async def test_one_durable_member_makes_its_group_durable(db: Database) -> None:
    def setting(tx: Tx) -> int:
        return int(tx.raw.execute("PRAGMA synchronous").fetchone()[0])

    with standing(db) as go:
        group = [asyncio.ensure_future(db.write(setting, durable=durable)) for durable in (False, True, False)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*group) == [2, 2, 2]
    assert await db.write(setting, durable=False) == 1


def test_a_read_ends_in_its_first_step(db: Database) -> None:
    with standing(db), pytest.raises(StopIteration) as ended:
        db.read(kept).send(None)
    assert ended.value.value == set()


async def test_an_undurable_write_ends_in_its_first_step_where_nobody_else_writes(db: Database) -> None:
    with pytest.raises(StopIteration) as ended:
        db.write(note, 1, durable=False).send(None)
    assert ended.value.value == 1
    assert db.read_now(kept) == {1}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the disk takes to sync, it is quick enough."""
    monkeypatch.setattr(writer, "BRISK", 60)


def thread_of(tx: Tx, number: int) -> str:
    note(tx, number)
    return threading.current_thread().name


async def test_brief_writes_change_no_thread_while_the_disk_is_quick(quick: None, db: Database) -> None:
    loop = threading.current_thread().name
    assert [await db.write(thread_of, number, brief=True) for number in (1, 2)] == [loop, loop]
    assert await db.write(thread_of, 3) == "moorage-writer", "who knows how long that takes?"
    with standing(db) as go:
        waiting = asyncio.ensure_future(db.write(thread_of, 4, brief=True))
        await asyncio.sleep(0.05)
        go.set()
        assert await waiting == "moorage-writer"
    assert await db.read(kept) == {0, 1, 2, 3, 4}


async def test_only_a_disk_that_is_known_to_be_quick_holds_up_the_loop(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, commit, slow = threading.current_thread().name, Link.commit, 0.0

    def committed(link: Link) -> None:
        time.sleep(slow)
        commit(link)

    monkeypatch.setattr(Link, "commit", committed)
    monkeypatch.setattr(writer, "BRISK", 0.1)
    monkeypatch.setattr(writer, "_UNKNOWN", 0.8)
    opened = open_database(str(db.url), patience=5)
    try:
        numbers = iter(range(1, 1000))
        at_first = [await opened.write(thread_of, next(numbers), brief=True) for _ in range(40)]
        assert at_first[0] == "moorage-writer"
        assert at_first[-1] == loop
        slow = 1.0
        assert await opened.write(thread_of, next(numbers), brief=True) == loop
        slow = 0.0
        assert await opened.write(thread_of, next(numbers), brief=True) == "moorage-writer"
        for _ in range(40):
            assert await opened.write(lambda _: 0) == 0
        assert await opened.write(thread_of, next(numbers), brief=True) == "moorage-writer", "nothing was synced there"
        again = [await opened.write(thread_of, next(numbers), brief=True) for _ in range(40)]
        assert again[-1] == loop
    finally:
        await opened.close()


async def test_brief_writes_of_one_turn_share_their_commit(
    quick: None, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits, commit = list[str](), Link.commit
    monkeypatch.setattr(Link, "commit", lambda link: (commits.append(threading.current_thread().name), commit(link)))
    asked = [db.write(note, number, brief=True) for number in range(2, 9)]
    refused = db.write(fail, 1, ValueError("no"), brief=True)
    *done, error = await asyncio.gather(*asked, refused, return_exceptions=True)
    assert done == list(range(2, 9))
    assert isinstance(error, ValueError)
    assert commits == [threading.current_thread().name]
    assert await db.read(kept) == set(range(2, 9))
    assert len(await asyncio.gather(*(db.write(note, number, brief=True) for number in range(20, 100)))) == 80
    assert set(commits[1:]) == {"moorage-writer"}, "the loop stood still for a crowd"


async def test_a_turn_whose_loop_was_closed_holds_up_nobody(quick: None, db: Database) -> None:
    def abandoned() -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(loop.stop)
        left.append(loop.create_task(db.write(note, 1, brief=True)))
        loop.run_forever()
        loop.close()

    left = list[asyncio.Task[int]]()
    for number in (2, 3):
        await asyncio.to_thread(abandoned)
        assert await asyncio.wait_for(db.write(note, number, brief=True), 10) == number
    for one in left:
        one._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_what_fails_behind_a_commit_on_the_spot_writes_nothing_twice(
    quick: None, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db._writer._turnstile, "leave", _broken)  # type: ignore[attr-defined]
    assert await asyncio.gather(*(db.write(say, "once", brief=True) for _ in range(2))) == [None, None]
    assert await db.read(said) == ["once", "once"]


def _broken() -> None:
    raise OSError("the lock is gone")


async def test_a_disk_that_fails_is_not_waited_for_again_and_again(
    quick: None, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BRISK", 0.001)
    db._writer._pace = 0.0  # type: ignore[attr-defined]
    commit, failed = Link.commit, list[str]()

    def failing(link: Link) -> None:
        if threading.current_thread().name != "moorage-writer":
            failed.append("on the loop")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        commit(link)

    monkeypatch.setattr(Link, "commit", failing)
    for number in range(1, 6):
        assert await db.write(thread_of, number, brief=True) == "moorage-writer"
    assert failed == ["on the loop"]


async def test_who_is_to_read_is_told_of_having_written(db: Database) -> None:
    with pytest.raises(Exception, match="readonly"):
        await db.read(say, "no")
    await db.write(note, 1, durable=False)
    with pytest.raises(RuntimeError, match="has written"):
        await db.read(say, "no")


async def test_a_disk_that_fails_a_write_on_the_spot_is_mended_by_the_thread(
    quick: None, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await db.write(thread_of, 1, brief=True) == threading.current_thread().name
    commit, failed = Link.commit, list[str]()

    def failing(link: Link) -> None:
        if not failed:
            failed.append(threading.current_thread().name)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        commit(link)

    mended, mend = list[bool](), db._mend  # type: ignore[attr-defined]
    monkeypatch.setattr(Link, "commit", failing)
    monkeypatch.setattr(db._writer, "_mend", lambda link: (mended.append(True), mend(link)))  # type: ignore[attr-defined]
    assert await db.write(thread_of, 2, brief=True) == "moorage-writer"
    assert failed == [threading.current_thread().name]
    assert mended == [True], "a commit was synced above what may be a hole"
    assert await db.write(thread_of, 3, brief=True) == threading.current_thread().name
    assert await db.read(kept) == {1, 2, 3}


async def test_the_loop_reads_what_was_written_beside_it(quick: None, db: Database, url: str) -> None:
    """It reads through the connection that it writes through, which has pages of its own."""
    await db.write(note, 1, brief=True)
    beside = sqlite3.connect(url.removeprefix("sqlite:///"))
    beside.execute("INSERT INTO notes VALUES (2, '')")
    beside.commit()
    beside.close()
    assert await db.read(kept) == {1, 2}
    db.write_now(note, 3)
    assert await db.read(kept) == {1, 2, 3}
    await asyncio.to_thread(db.write_now, note, 4)
    assert await db.read(kept) == {1, 2, 3, 4}


async def test_the_loop_reads_nothing_that_a_thread_has_not_committed(db: Database) -> None:
    await db.write(note, 1, durable=False)
    reached, go = threading.Event(), threading.Event()
    beside = threading.Thread(
        target=lambda: db.write_now(stop_here, 2, reached, go, durable=False)  # on the spot as well
    )
    beside.start()
    try:
        assert reached.wait(30)
        assert await db.read(kept) == {1}
    finally:
        go.set()
        beside.join(30)
    assert await db.read(kept) == {1, 2}


async def test_a_connection_that_fails_a_read_of_the_loop_is_opened_anew(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.write(note, 1, durable=False)
    lent = db._writer.lend()  # type: ignore[attr-defined]
    lent.used.release()
    lent.tx.driver.close()
    assert await db.read(kept) == {1}
    assert db._writer.lend() is None  # type: ignore[attr-defined]
    assert await db.write(note, 2, durable=False) == 2
    lent = db._writer.lend()  # type: ignore[attr-defined]
    assert lent is not None
    lent.used.release()
    assert await db.read(kept) == {1, 2}


async def test_an_undurable_write_waits_in_the_queue_while_somebody_writes(db: Database, url: str) -> None:
    with standing(db) as go:
        second = asyncio.ensure_future(db.write(note, 1, durable=False))
        await asyncio.sleep(0.05)
        assert not second.done()
        go.set()
        assert await second == 1
    turnstile = Turnstile(Path(url.removeprefix("sqlite:///")))
    with turnstile.hold(5):  # as another process would
        third = asyncio.ensure_future(db.write(note, 2, durable=False))
        await asyncio.sleep(0.05)
        assert not third.done()
    assert await third == 2
    turnstile.close()


async def test_a_lock_of_another_program_does_not_stop_the_loop(db: Database, url: str) -> None:
    await db.write(note, 1, durable=False)
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(db.write(note, 2, durable=False))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "it was written, or the loop stood still until it was refused"
    other.execute("ROLLBACK")
    other.close()
    assert await waiting == 2


async def test_a_refusal_on_the_spot_leaves_nothing(db: Database) -> None:
    def refuse(tx: Tx) -> None:
        note(tx, 1)
        raise RegistryError(Code.DENIED, "no")

    with pytest.raises(RegistryError, match="no"):
        await db.write(refuse, durable=False)
    assert await db.write(note, 2, durable=False) == 2
    assert await db.read(kept) == {2}


async def test_a_disk_that_is_full_is_told_of_undurable_writes_too(db: Database) -> None:
    with pytest.raises(RegistryError) as refused:
        await db.write(full_at_first, 1000, durable=False)
    assert refused.value.code is Code.STORAGE_FULL
    assert await db.write(note, 1, durable=False) == 1


async def test_the_log_does_not_grow_for_ever_under_undurable_writes_alone(db: Database, url: str) -> None:
    for number in range(3000):
        await db.write(note, number, "x" * 4000, durable=False)
    log = Path(f"{url.removeprefix('sqlite:///')}-wal")
    assert log.stat().st_size < 3000 * 4000


SYNCING = """
import asyncio, sys
from tests.promises.test_database import note
from moorage.db.engine import open_database
async def main():
    db = open_database(sys.argv[1])
    await db.write(note, 0)
    print("begin", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "together":
        await asyncio.gather(*(db.write(note, number) for number in range(1, 65)))
    else:
        for number in range(1, 65):
            await db.write(note, number, durable=sys.argv[2] == "durable")
    print("end", flush=True)
    sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "least", "most"), [("durable", 64, 90), ("relaxed", 0, 2), ("together", 1, 24)])
def test_how_often_the_disk_is_asked_to_sync(
    db: Database, url: str, tmp_path: Path, how: str, least: int, most: int
) -> None:
    trace = tmp_path / "trace"
    process = subprocess.Popen(
        [tool("strace"), "-f", "-e", "trace=fsync,fdatasync,write", "-s", "8", "-o", trace,
         sys.executable, "-c", SYNCING, url, how],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "begin\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "end\n"
    process.communicate("\n", timeout=60)
    lines = trace.read_text()
    between = lines[lines.index('write(1, "begin') : lines.index('write(1, "end')]
    assert least <= len(re.findall(r"\b(?:fsync|fdatasync)\(", between)) <= most


def say(tx: Tx, who: str) -> None:
    """A row behind all others."""
    tx.execute(insert(notes), {"word": who})


def said(tx: Tx) -> list[str]:
    return [row.word for row in tx.execute(select(notes.c.word).order_by(notes.c.id)).fetchall()]


BUSY = """
import asyncio, sys, time
from tests.db.test_sqlite import say
from moorage.db.engine import open_database
async def write(db, stop):
    while time.monotonic() < stop:
        await db.write(say, sys.argv[2], durable=False)
async def main():
    db = open_database(sys.argv[1], patience=30)
    await db.write(say, "ready")
    print("ready", flush=True)
    sys.stdin.readline()
    stop = time.monotonic() + 2
    await asyncio.gather(*(write(db, stop) for _ in range(300)))
asyncio.run(main())
"""


def test_two_processes_that_write_without_pause_take_turns(db: Database, url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUSY, url, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for who in "ab"
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    stop = time.monotonic() + 1.5
    while time.monotonic() < stop:
        db.write_now(say, "now and then", durable=False)
        time.sleep(0.01)
    for process in processes:
        process.communicate(timeout=60)
    words = db.read_now(said)
    counts = Counter(words)
    assert min(counts["a"], counts["b"]) >= 0.2 * len(words), counts
    assert counts["now and then"] > 10, "the process that writes now and then was starved"
    both = words[words.index("b") : len(words) - words[::-1].index("a")] if words[0] == "a" else words
    greedy = [run for run in (len(list(run)) for _, run in itertools.groupby(both)) if run > 4 * MOST]
    # Nearly all of them would be, if nobody stood back; some are, where one process has no CPU for a while.
    assert sum(greedy) < 0.3 * len(both), "who has just written took the turn again and again before others"


def test_the_turn_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.touch()
    holding = (
        "import sys; from pathlib import Path; from moorage.db.turnstile import Turnstile\n"
        "with Turnstile(Path(sys.argv[1])).hold(5): print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", holding, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stdout.readline() == "held\n"
    turnstile = Turnstile(path)
    with pytest.raises(RegistryError) as refused, turnstile.hold(0.1):
        pass
    assert refused.value.code is Code.UNAVAILABLE
    child.kill()
    child.communicate()
    with turnstile.hold(20):
        pass
    turnstile.close()


async def test_a_file_that_another_program_locks_is_unavailable_then_recovers(url: str, db: Database) -> None:
    hasty = open_database(url, patience=0.2)
    beside = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    beside.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryError) as refused:
        await hasty.write(note, 1)
    assert refused.value.code is Code.UNAVAILABLE
    assert await hasty.read(kept) == set()
    beside.execute("ROLLBACK")
    beside.close()
    assert await hasty.write(note, 1) == 1
    await hasty.close()


async def test_nobody_is_told_of_a_commit_that_failed_when_room_was_found_for_another(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that an I/O error ended runs again one by one, and then the disk is full until the ballast is dropped."""
    commit, errors = Link.commit, [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL]

    def failing(link: Link) -> None:
        if errors:
            error = sqlite3.OperationalError("the disk")
            error.sqlite_errorcode = errors.pop(0)
            raise error
        commit(link)

    drops = [True]
    monkeypatch.setattr(Ballast, "drop", lambda _: bool(drops) and drops.pop())
    with standing(db) as go:
        waiting = [asyncio.ensure_future(db.write(note, number)) for number in (1, 2)]
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Link, "commit", lambda link: (monkeypatch.setattr(Link, "commit", failing), commit(link)))
        go.set()
        assert await asyncio.gather(*waiting) == [1, 2]
    assert (errors, drops) == ([], [])
    assert {1, 2} <= db.read_now(kept)


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_within_a_write_is_a_mistake_not_a_hang(db: Database, durable: bool) -> None:
    with pytest.raises(RuntimeError, match="wait for itself"):
        db.write_now(lambda _tx: db.write_now(note, 1, durable=durable), durable=durable)


def test_a_damaged_file_is_told_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"no database at all" * 500)
    opened = open_database(f"sqlite:///{path}")
    for ask in (opened.read_now, opened.write_now):
        with pytest.raises(RegistryError) as refused:
            ask(kept)
        assert refused.value.code is Code.UNAVAILABLE
        assert "damaged" in refused.value.message
    opened.close_now()


CLOSED_WHILE_OTHERS_READ = """
import sys, threading, time
from moorage.db.engine import open_database
from moorage.errors import Code, RegistryError

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT count(*) FROM n"
db = open_database("sqlite:///" + sys.argv[1])
db.write_now(lambda tx: tx.raw.execute("CREATE TABLE notes (id)").close())
told = []

def spin(ask, most):
    try:
        while True:
            ask(lambda tx: tx.raw.execute(COUNT.format(most)).fetchall())
    except RegistryError as error:
        assert error.code is Code.UNAVAILABLE
        told.append(error.message)

asks = (db.read_now, db.scan_now)
threads = [threading.Thread(target=spin, args=(ask, most)) for ask in asks for most in (100, 10_000_000_000)]
for one in threads:
    one.start()
time.sleep(0.2)
db.close_now()
for one in threads:
    one.join(20)
print("\\n".join(told))
"""


def test_closing_interrupts_who_still_reads(tmp_path: Path) -> None:
    """A connection that is closed under a statement of another thread ends the process, with a signal."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_WHILE_OTHERS_READ, str(tmp_path / "notes.db")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["the registry is shutting down; try again shortly"] * 4


@pytest.mark.parametrize("ask", ["read_now", "scan_now"])
def test_a_disk_that_fails_a_reader_is_named_and_the_next_read_has_a_new_connection(db: Database, ask: str) -> None:
    def broken(_tx: Tx) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with pytest.raises(RegistryError, match="cannot be opened, read or written"):
        getattr(db, ask)(broken)
    assert getattr(db, ask)(kept) == set()
