"""Bringing a database's schema to what this program needs, in one transaction, under a lock.

Alembic is imported only where a migration is due: one plain SELECT says whether it is.

SQLite cannot alter a table in place, so Alembic copies it, drops it and renames the copy; with foreign keys on,
the drop empties every table that refers to it.  So they are off meanwhile, and before COMMIT we check that no
reference dangles and that no surviving table has lost or won a row which its migration did not announce.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from moorage.db.engine import open_database, parse_url
from moorage.db.migrations.head import HEAD
from moorage.db.tx import Tx
from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

SCRIPTS: Final = Path(__file__).parent / "migrations"

_VERSIONS: Final = "alembic_version"

_LOCK: Final = 0x6D6F6F72616765
"""The advisory lock's key on PostgreSQL: the program's name in ASCII."""

Counts = dict[str, int]


def current(url: str) -> str | None:
    """The revision a database is at; None if it has no schema yet.  Raises UNAVAILABLE."""
    database = open_database(url)
    try:
        return database.read_now(revision)
    finally:
        database.close_now()


def migrate(
    url: str, *, patience: float = 60.0, scripts: Path = SCRIPTS, head: str | None = HEAD, copy: bool = True
) -> bool:
    """Bring a database to `head`; False if it was there already.

    Waits up to `patience` seconds for another process that writes or migrates.  Whatever goes wrong, the database
    stays as it was; a SQLite file is copied before, unless it is new or `copy` is false.  Raises UNAVAILABLE, with
    the reason, and STORAGE_FULL.
    """
    if current(url) == head:
        return False
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        return _migrate_sqlite(parsed, patience, scripts, head, copy)
    return _migrate_postgresql(parsed, patience, scripts, head)


def require_known(found: str | None, what: str, scripts: Path = SCRIPTS, head: str | None = HEAD) -> None:
    """Raise UNAVAILABLE where `found`, the revision of `what`, is none that this program knows."""
    if found == head or found in {script.revision for script in _history(scripts).walk_revisions()}:
        return
    if found is None:
        raise RegistryError(Code.UNAVAILABLE, f"{what} has no schema of ours")
    raise RegistryError(
        Code.UNAVAILABLE,
        f"{what} has a schema at revision {found}, which is newer than this program knows ({head}): "
        "run the newer program again, or restore a backup made before the upgrade",
    )


def revision(tx: Tx) -> str | None:
    """The revision of the schema; None where there is none."""
    if tx.dialect == "sqlite":
        there = tx.raw.execute("SELECT name FROM sqlite_schema WHERE name = ?", (_VERSIONS,)).fetchall()
    else:
        there = tx.raw.execute(
            "SELECT name FROM to_regclass(%s) AS name WHERE name IS NOT NULL", (_VERSIONS,)
        ).fetchall()
    if not there:
        return None
    rows = tx.raw.execute(f"SELECT version_num FROM {_VERSIONS}").fetchall()  # noqa: S608 - our own constant
    return str(rows[0][0]) if rows else None


def _migrate_sqlite(url: URL, patience: float, scripts: Path, head: str | None, copy: bool) -> bool:
    from moorage.db.copies import keep_before
    from moorage.db.link import Link, named
    from moorage.db.sqlite import connect
    from moorage.db.turnstile import Turnstile

    path = Path(url.database or "")
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, patience), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    before = kept = None
    try:
        with closing(Turnstile(path)) as turnstile, turnstile.hold(patience), closing(Link(engine)) as link:
            link.tx.raw.execute("PRAGMA foreign_keys=OFF")
            link.begin(durable=True)
            before = revision(link.tx)
            if before == head:  # another process was faster
                return False
            if before is not None:
                require_known(before, "the database", scripts, head)
                kept = keep_before(path, head, patience) if copy else None
            counts = _counts(link.tx)
            changed = _upgrade(link.connection, scripts, before, head)
            _compare(link.tx, counts, changed)
            link.commit()
            return True
    except Exception as error:
        raise _failed(named(error), before, head, kept) from error


def _migrate_postgresql(url: URL, patience: float, scripts: Path, head: str | None) -> bool:
    from moorage.db.postgresql import named

    engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"connect_timeout": 2})
    before = None
    try:
        with engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute(f"SET LOCAL lock_timeout = '{int(patience * 1000)}ms'")
            raw.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            # Servers that run meanwhile hold the tables for moments only, and those who queue behind us stand still.
            raw.execute("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0")
            before = revision(Tx("postgresql", connection, raw))
            if before == head:
                return False
            if before is not None:
                require_known(before, "the database", scripts, head)
            _upgrade(connection, scripts, before, head)
            return True
    except Exception as error:
        raise _failed(named(error), before, head) from error


def _upgrade(connection: Connection, scripts: Path, before: str | None, head: str | None) -> set[str]:
    """Run the migrations that are due; the names of the tables whose counts they change on purpose."""
    from alembic import command

    config, directory = _config(scripts), _history(scripts)
    changed: set[str] = set()
    for script in directory.iterate_revisions(head, before or "base"):
        changed.update(getattr(script.module, "changes_counts", ()))
    config.attributes["connection"] = connection
    if not connection.in_transaction():
        connection.begin()  # tells Alembic that the transaction is ours; on SQLite the driver takes no notice
    command.upgrade(config, head or "head")
    return changed


def _history(scripts: Path) -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config(scripts))


def _config(scripts: Path) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _counts(tx: Tx) -> Counts:
    """How many rows each table has."""
    names = tx.raw.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> ?",
        (_VERSIONS,),
    ).fetchall()
    counts = {}
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        ((counts[name],),) = tx.raw.execute(f"SELECT count(*) FROM {quoted}").fetchall()  # noqa: S608 - quoted
    return counts


def _compare(tx: Tx, before: Counts, changed: set[str]) -> None:
    """Raise UNAVAILABLE if a reference dangles, or a surviving table has another number of rows than before."""
    dangling = tx.raw.execute("PRAGMA foreign_key_check").fetchall()
    if dangling:
        tables = ", ".join(sorted({str(table) for table, *_ in dangling}))
        raise RegistryError(Code.UNAVAILABLE, f"{len(dangling)} rows would refer to nothing, in: {tables}")
    after = _counts(tx)
    for name in before.keys() & after.keys() - changed:
        if before[name] != after[name]:
            raise RegistryError(
                Code.UNAVAILABLE, f"the table {name} had {before[name]} rows and would have {after[name]}"
            )


def _failed(reason: BaseException, before: str | None, head: str | None, kept: Path | None = None) -> RegistryError:
    code = reason.code if isinstance(reason, RegistryError) else Code.UNAVAILABLE
    aside = f" (the copy that was made before is {kept})" if kept else ""
    return RegistryError(
        code,
        f"the database was not migrated from {before or 'an empty schema'} to {head} and is as it was{aside}: {reason}",
    )
