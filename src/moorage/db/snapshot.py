"""All rows at one moment, in a SQLite file of its own; and back, into an empty database of either kind.

    SQLite       page by page, as SQLite's online backup does it: writers go on meanwhile
    PostgreSQL   row by row out of one read-only transaction, into a file of the same schema

So a snapshot is always the same thing, and can be brought back into either.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVarTuple
from urllib.parse import quote

from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from moorage.db import copies
from moorage.db.engine import Database, Tx, open_database, parse_url
from moorage.db.migrate import migrate, revision
from moorage.db.migrations.head import HEAD
from moorage.errors import Code, RegistryError

Ts = TypeVarTuple("Ts")

_OWN: Final = {"state", "jobs"}
"""Tables that a registry fills by itself as soon as it starts."""

_AT_ONCE: Final = 200
"""Rows on their way at a time: each may hold a manifest of some megabytes."""


def save(database: Database, target: Path) -> None:
    """Write all rows as they are at this moment to `target`, a new file; durable when it returns.

    The database's schema must be this program's own.  Blocking.  Raises UNAVAILABLE or STORAGE_FULL; `target` is
    worthless then.
    """
    from moorage.db.link import named

    try:
        if database.dialect != "sqlite":
            migrate(f"sqlite:///{target}")
        database.scan_now(_save, target)
    except sqlite3.Error as error:
        reason = named(error)
        if isinstance(reason, RegistryError) and reason.code is Code.STORAGE_FULL:
            raise RegistryError(Code.STORAGE_FULL, f"the disk of {target} is full; free some space") from error
        raise reason from error
    except OSError as reason:
        raise RegistryError(Code.UNAVAILABLE, f"{target} cannot be written: {reason.strerror}") from reason


@contextmanager
def opened(path: Path) -> Iterator[Tx]:
    """A snapshot to read from; nothing is written, not even beside it.  Raises UNAVAILABLE."""
    from moorage.db.link import Link, named

    place = f"file:{quote(os.fspath(path.absolute()))}?mode=ro&immutable=1"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    try:
        with closing(Link(engine)) as link:
            yield link.tx
    except sqlite3.Error as error:
        raise named(error, writing=False) from error


def change(path: Path, fn: Callable[[Tx, *Ts], None], *args: *Ts) -> None:
    """Change a snapshot, having brought it up to date; durable when it returns.  Raises UNAVAILABLE or STORAGE_FULL."""
    url = f"sqlite:///{path}"
    migrate(url, copy=False)
    rows = open_database(url)
    try:
        rows.write_now(fn, *args)
    finally:
        rows.close_now()
    copies.settle(path)


def held(database: Database) -> dict[str, int]:
    """How many rows each table has, of those that are not empty and not only the registry's own book-keeping."""
    return database.scan_now(_held)


def load(source: Path, url: str, *, patience: float = 10.0) -> None:
    """Fill an empty database, whose schema is that of the snapshot, in one transaction.

    Blocking.  Raises UNAVAILABLE where it holds anything by now, or cannot be written, and STORAGE_FULL.
    """
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        _load_sqlite(source, parsed, patience)
        return
    database = open_database(url)
    try:
        database.write_now(_load_postgresql, source)
    finally:
        database.close_now()


def _save(tx: Tx, target: Path) -> None:
    if tx.dialect == "sqlite":
        copies.copy(tx.raw, target)
        return
    if revision(tx) != HEAD:
        raise RegistryError(Code.UNAVAILABLE, "the database's schema has just been changed by another program")
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("BEGIN IMMEDIATE")
        for table, columns in _columns(copy).items():
            _pull(tx, copy, table, columns)
        copy.execute("COMMIT")
    copies.settle(target)


def _pull(tx: Tx, copy: sqlite3.Connection, table: str, columns: list[str]) -> None:
    """Stream one table's rows from PostgreSQL, and the number that its next row would get."""
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join("?" for _ in columns)
    with tx.raw.cursor(name="snapshot", binary=True) as rows:
        rows.itersize = _AT_ONCE
        rows.execute(f'SELECT {names} FROM "{table}"')  # noqa: S608 - our own schema's names
        copy.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({places})', rows)  # noqa: S608
    found = tx.raw.execute("SELECT pg_get_serial_sequence(%s, %s)", (table, "id")) if "id" in columns else None
    sequence = found.fetchone()[0] if found and _is_numbered(copy, table) else None
    if sequence:
        ((last, called),) = tx.raw.execute(f"SELECT last_value, is_called FROM {sequence}").fetchall()  # noqa: S608
        copy.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last if called else last - 1))


def _is_numbered(copy: sqlite3.Connection, table: str) -> bool:
    """Whether the table never gives an id twice."""
    (text,) = copy.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    return "AUTOINCREMENT" in text.upper()


def _load_sqlite(source: Path, url: URL, patience: float) -> None:
    from moorage.db.link import named
    from moorage.db.sqlite import connect
    from moorage.db.turnstile import Turnstile

    path = Path(url.database or "")
    try:
        with (
            closing(Turnstile(path)) as turnstile,
            turnstile.hold(patience),
            closing(connect(path, patience)) as target,
            closing(sqlite3.connect(source)) as snapshot,
        ):
            refuse(_counts(target, _columns(target)))
            snapshot.backup(target)
    except sqlite3.Error as error:
        raise named(error) from error


def _load_postgresql(tx: Tx, source: Path) -> None:
    with closing(sqlite3.connect(source)) as snapshot:
        tables = _columns(snapshot)
        tx.raw.execute("SET LOCAL statement_timeout = 0")
        ordered = _by_reference(snapshot, tables)
        tx.raw.execute("LOCK TABLE {} IN EXCLUSIVE MODE".format(", ".join(f'"{name}"' for name in ordered)))
        refuse(_held(tx))
        for table in reversed(ordered):
            tx.raw.execute(f'DELETE FROM "{table}"')  # noqa: S608 - our own schema's names
        for table in ordered:
            _push(tx, snapshot, table, tables[table])


def _push(tx: Tx, snapshot: sqlite3.Connection, table: str, columns: list[str]) -> None:
    # Events are ordered by the transactions that wrote them; those of another database mean nothing in this one.
    wanted = ["0" if (table, name) == ("events", "transaction") else f'"{name}"' for name in columns]
    names = ", ".join(f'"{name}"' for name in columns)
    rows = snapshot.execute(f'SELECT {", ".join(wanted)} FROM "{table}"')  # noqa: S608 - our own schema's names
    with tx.raw.cursor() as cursor, cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)
    if _is_numbered(snapshot, table):
        ((last,),) = snapshot.execute(
            f'SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0), coalesce(max(id), 0)) FROM "{table}"',  # noqa: S608, E501
            (table,),
        ).fetchall()
        tx.raw.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s, %s)", (table, max(last, 1), last > 0)
        ).fetchall()


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of every table of ours."""
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND name <> 'alembic_version'"
    ).fetchall()
    return {
        name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")').fetchall()] for (name,) in names
    }


def _by_reference(snapshot: sqlite3.Connection, tables: dict[str, list[str]]) -> list[str]:
    """The tables, each behind those that it refers to."""
    refers = {
        name: {row[2] for row in snapshot.execute(f'PRAGMA foreign_key_list("{name}")').fetchall()} - {name}
        for name in tables
    }
    ordered: list[str] = []
    while len(ordered) < len(tables):
        ready = [name for name in tables if name not in ordered and refers[name] <= set(ordered)]
        if not ready:
            raise LookupError("tables refer to each other in a circle")
        ordered += ready
    return ordered


def _held(tx: Tx) -> dict[str, int]:
    if tx.dialect == "sqlite":
        return _counts(tx.raw, _columns(tx.raw))
    names = tx.raw.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'alembic_version'"
    ).fetchall()
    return _counts(tx.raw, [name for (name,) in names])


def _counts(connection: Any, tables: Any) -> dict[str, int]:
    counts = {}
    for name in tables:
        if name not in _OWN:
            ((count,),) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()  # noqa: S608 - our own names
            counts[name] = count
    return {name: count for name, count in counts.items() if count}


def refuse(counts: dict[str, int]) -> None:
    """Raise UNAVAILABLE where a database that should be empty is not."""
    if counts:
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the database to restore into already holds something ({told}): restore into an empty one; nothing "
            "was changed",
        )
