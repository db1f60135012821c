"""What is remembered of reads is what would be read."""

import itertools
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, select
from sqlalchemy.schema import CreateTable

from moorage.db import memory
from moorage.db.engine import Database, Prepared, Tx, open_database

words = Table("words", MetaData(), Column("id", Integer, primary_key=True), Column("word", Text))
WORD = Prepared(select(words.c.word).where(words.c.id == bindparam("id")), "id")

RENAME = Prepared(words.update().where(words.c.id == bindparam("number")).values(word=bindparam("said")))


def word(tx: Tx, number: int) -> str | None:
    row = WORD.row(tx, number)
    return row[0] if row else None


class File:
    """A database, the statements that its connections have run, and another program that writes to it."""

    def __init__(self, path: Path, seen: list[str]) -> None:
        self.seen = seen
        self.db = open_database(f"sqlite:///{path}")
        self.db.write_now(lambda tx: tx.execute(CreateTable(words)).rowcount)
        self.other = sqlite3.connect(path, isolation_level=None)

    def says(self, number: int, said: str) -> None:
        self.other.execute("INSERT OR REPLACE INTO words VALUES (?, ?)", (number, said))

    def cost(self, number: int) -> int:
        """How many statements it takes to read a word."""
        self.seen.clear()
        self.db.read_now(word, number)
        return len(self.seen)


@pytest.fixture
def file(tmp_path: Path, sqlite_statements: list[str]) -> Iterator[File]:
    opened = File(tmp_path / "words.db", sqlite_statements)
    yield opened
    opened.other.close()
    opened.db.close_now()


async def test_a_write_on_the_spot_sees_itself_and_so_does_who_reads_behind_it(file: File) -> None:
    """The event loop reads through the connection that it writes through: what that remembers is of no transaction."""

    def rename(tx: Tx, said: str) -> str | None:
        word(tx, 1)
        RENAME.run(tx, number=1, said=said)
        return word(tx, 1)

    def fail(tx: Tx) -> None:
        rename(tx, "nothing")
        raise ValueError

    file.says(1, "one")
    for said in ("two", "three"):
        assert await file.db.write(rename, said, durable=False) == said
        assert [await file.db.read(word, 1) for _ in range(4)] == [said] * 4
        file.seen.clear()
        assert await file.db.read(word, 1) == said
        assert file.seen == [], "the loop does not remember what it reads"
        with pytest.raises(ValueError):
            await file.db.write(fail, durable=False)
        assert await file.db.read(word, 1) == said


def test_what_is_asked_for_again_takes_no_statement_until_somebody_commits(file: File) -> None:
    file.says(1, "one")
    for number in (1, 2):  # a word that is there, and one that is not
        file.db.read_now(word, number)
        assert [file.cost(number) for _ in range(4)] == [1, 0, 0, 0], number
    file.says(3, "three")
    assert file.cost(1) == 1
    file.cost(1)
    assert file.cost(1) == 0
    file.db.write_now(lambda tx: tx.execute(words.delete()).rowcount)
    assert file.db.read_now(word, 1) is None


def test_whoever_commits_is_seen_at_once(file: File) -> None:
    for number in range(500):
        said = str(number)
        if number % 2:
            file.says(1, said)
        else:
            file.db.write_now(lambda tx, said=said: tx.raw.execute("REPLACE INTO words VALUES (1, ?)", (said,)))
        if number % 50 == 0:
            file.other.execute(f"PRAGMA wal_checkpoint({random.choice(['PASSIVE', 'TRUNCATE'])})")
        assert [file.db.read_now(word, 1) for _ in range(3)] == [said] * 3


def test_another_process_is_seen_at_once(file: File, tmp_path: Path) -> None:
    code = (
        "import sqlite3, sys\n"
        "one = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for line in sys.stdin:\n"
        "    one.execute('REPLACE INTO words VALUES (1, ?)', (line.strip(),))\n"
        "    print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "words.db"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin
        assert writer.stdout
        for number in range(500):
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            assert [file.db.read_now(word, 1) for _ in range(3)] == [str(number)] * 3
        writer.stdin.close()


def test_a_writer_that_is_killed_leaves_nothing_stale(file: File, tmp_path: Path) -> None:
    code = (
        "import itertools, sqlite3, sys\n"
        "one = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for number in itertools.count():\n"
        "    one.execute('REPLACE INTO words VALUES (1, hex(randomblob(8)))')\n"
        "    if number == 20: print('begun', flush=True)\n"
    )
    for _ in range(15):
        with subprocess.Popen([sys.executable, "-c", code, tmp_path / "words.db"], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"begun\n"
            end = time.monotonic() + random.random() / 50
            while time.monotonic() < end:
                file.db.read_now(word, 1)
            writer.kill()
        remembered = [file.db.read_now(word, 1) for _ in range(3)]
        with closing(sqlite3.connect(tmp_path / "words.db")) as fresh:
            assert remembered == [fresh.execute("SELECT word FROM words WHERE id = 1").fetchone()[0]] * 3


def test_nothing_is_remembered_of_a_snapshot_nor_told_to_it(file: File) -> None:
    file.says(1, "old")

    def within(tx: Tx) -> list[str | None]:
        before = word(tx, 1)
        file.says(1, "new")
        return [before, word(tx, 1), word(tx, 1), word(tx, 1)]

    assert file.db.scan_now(within) == ["old"] * 4
    assert [file.db.read_now(word, 1) for _ in range(3)] == ["new"] * 3
    assert file.db.scan_now(within) == ["new"] * 4


def test_nor_of_reads_beside_a_result_that_is_half_read(file: File) -> None:
    for number in range(3000):
        file.says(number, "old")

    def beside(tx: Tx) -> list[str | None]:
        tx.execute(select(words)).fetchone()
        file.says(1, "new")
        return [word(tx, 1) for _ in range(4)]

    assert file.db.read_now(beside) == ["old"] * 4
    assert file.db.read_now(word, 1) == "new"


def test_a_snapshot_stays_without_a_memory_whatever_is_done_in_it(file: File) -> None:
    file.says(1, "old")

    def within(tx: Tx) -> list[str | None]:
        before = word(tx, 1)
        file.says(1, "new")
        return [before, *(file.db.read_now(word, 1) for _ in range(4)), word(tx, 1)]

    assert file.db.scan_now(within) == ["old"] * 6
    assert file.db.read_now(word, 1) == "new"


def test_nor_of_reads_beside_the_drivers_own(file: File) -> None:
    for number in range(3000):
        file.says(number, "old")
    held = []

    def beside(tx: Tx) -> list[str | None]:
        held.append(tx.raw.execute("SELECT * FROM words"))
        held[0].fetchone()
        file.says(1, "new")
        return [word(tx, 1) for _ in range(4)]

    assert file.db.read_now(beside) == ["old"] * 4
    held.clear()
    assert file.db.read_now(word, 1) == "new"


def test_what_is_kept_is_bounded(file: File) -> None:
    for number in range(8):
        file.says(number, "x" * 900_000)
    for number in [*range(8)] * 2:
        file.cost(number)
    assert [file.cost(number) for number in range(8)].count(0) == 4


def test_long_keys_are_bounded_too() -> None:
    header = memoryview(bytearray(48))
    kept = memory.Memory(header)
    keys = [(None, (f"{number}" + "x" * 500_000,)) for number in range(20)]
    for _ in range(3):
        for key in keys:
            if kept.get(key) is None:
                kept.keep(key, [])
    assert sum(kept.get(key) is not None for key in keys) == 8


def test_what_is_pulled_often_finds_its_place_behind_many_that_are_not(file: File) -> None:
    for number in range(10_000):
        file.cost(number)
    assert [file.cost(1) for _ in range(4)][2:] == [0, 0]


def test_where_commits_are_too_many_nothing_is_kept_for_some_reads(file: File) -> None:
    def until_kept() -> int:
        return next(reads for reads in itertools.count() if file.cost(1) == 0)

    file.cost(0)
    for number in range(20):
        file.cost(number)
    file.says(1, "one")
    assert until_kept() > 20 * 7
    file.says(1, "two")
    assert until_kept() <= 3


def test_without_a_memory_all_is_read(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "of", lambda _path: None)
    file.says(1, "one")
    assert [file.cost(1) for _ in range(5)][1:] == [1] * 4


def test_a_file_that_nobody_has_open_has_no_memory(tmp_path: Path) -> None:
    assert memory.of(tmp_path / "none.db") is None


def test_a_name_with_spaces_is_found_and_a_closed_memory_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "no one's words.db"
    db: Database = open_database(f"sqlite:///{path}")
    db.write_now(lambda tx: tx.execute(CreateTable(words)).rowcount)
    found = memory.of(path)
    assert found is not None
    found.close()
    for _ in range(3):
        assert found.get((WORD, (1,))) is None
        found.keep((WORD, (1,)), [])
    db.close_now()


def test_of_a_file_that_was_replaced_nothing_is_remembered(tmp_path: Path) -> None:
    """Both have their index mapped under one name."""
    path = tmp_path / "words.db"
    first, second = File(path, []), File(tmp_path / "others.db", [])
    second.other.close()
    second.db.close_now()
    (tmp_path / "others.db").rename(path)
    again = sqlite3.connect(path, isolation_level=None)
    again.execute("SELECT * FROM words").fetchall()
    assert memory.of(path) is None
    again.close()
    first.other.close()
    first.db.close_now()
