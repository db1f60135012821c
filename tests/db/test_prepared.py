"""Statements of the hot path: what they are handed, and what comes back."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, select
from sqlalchemy.schema import CreateTable

import moorage.db
import moorage.features.gc
from moorage.db.engine import Database, Prepared, open_database
from moorage.db.statements import among, insert
from moorage.db.tx import Dialect

words = Table("words", MetaData(), Column("id", Integer, primary_key=True), Column("word", Text))
ADD = Prepared(lambda dialect: insert(dialect, words, "id", "word"))
AMONG = Prepared(lambda dialect: select(words.c.id).where(among(dialect, words.c.word, "wanted")).order_by(words.c.id))

NUMBERED = Prepared(lambda dialect: select(words.c.word).where(among(dialect, words.c.id, "wanted")))


def prepared() -> Iterator[tuple[str, Prepared]]:
    """Every prepared statement of the program."""
    for package in (moorage.db, moorage.features.gc):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Prepared):
                    yield f"{module.name}.{name}", value


@pytest.fixture
def db(empty_database: str) -> Iterator[Database]:
    opened = open_database(empty_database)
    opened.write_now(lambda tx: tx.execute(CreateTable(words)).rowcount)
    yield opened
    opened.close_now()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_prepared_statement_compiles_and_reads_what_the_driver_gives(dialect: Dialect) -> None:
    found = dict(prepared())
    assert len(found) > 30
    assert {name: one.unconverted(dialect) for name, one in found.items() if one.unconverted(dialect)} == {}


def test_a_list_of_any_length_is_a_parameter(db: Database) -> None:
    db.write_now(lambda tx: ADD.run_each(tx, [{"id": number, "word": f"w{number}"} for number in range(2000)]))
    assert db.read_now(lambda tx: AMONG.all(tx, wanted=[])) == []
    assert db.read_now(lambda tx: AMONG.all(tx, wanted=["w7", 'q"\\', "w1999"])) == [(7,), (1999,)]
    assert db.read_now(lambda tx: NUMBERED.all(tx, wanted=[7, 5000])) == [("w7",)]
    assert len(db.read_now(lambda tx: AMONG.all(tx, wanted=[f"w{number}" for number in range(5000)]))) == 2000


def test_a_parameter_too_few_or_too_many_is_refused(db: Database) -> None:
    with pytest.raises(TypeError, match="missing \\['word'\\]"):
        db.write_now(lambda tx: ADD.run(tx, id=1))
    with pytest.raises(TypeError, match="unknown \\['more'\\]"):
        db.write_now(lambda tx: ADD.run(tx, id=1, word="a", more=2))


def test_a_change_says_how_many_rows_it_touched(db: Database) -> None:
    renamed = Prepared(words.update().where(words.c.word == bindparam("old")).values(word=bindparam("new")))
    db.write_now(lambda tx: ADD.run_each(tx, [{"id": 1, "word": "a"}, {"id": 2, "word": "a"}]))
    assert db.write_now(lambda tx: renamed.run(tx, old="a", new="b")) == 2
    assert db.write_now(lambda tx: renamed.run(tx, old="a", new="b")) == 0


def test_in_over_a_list_has_no_fixed_text() -> None:
    statement = select(words.c.id).where(words.c.word.in_(["a", "b"]))
    with pytest.raises(ValueError, match="IN over a list"):
        Prepared(statement)
    late = Prepared(lambda _: statement)
    with pytest.raises(ValueError, match="IN over a list"):
        late.unconverted("sqlite")
