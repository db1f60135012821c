"""Opening the database: SQLite for one machine, PostgreSQL for many."""

from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from moorage.db.database import Database
from moorage.db.prepared import Prepared
from moorage.db.tx import Tx
from moorage.errors import Code, RegistryError

__all__ = ["Database", "Prepared", "Tx", "open_database", "parse_url"]

_POSTGRESQL: Final = {"postgresql", "postgres", "postgresql+psycopg"}


def open_database(url: str, *, pool_size: int = 10, patience: float = 2.0, ballast: int = 0) -> Database:
    """Open `sqlite:///path/to/file` or `postgresql://user:password@host/name`.

    `patience` is how many seconds to wait for a lock, a connection or a free place in the pool.  `pool_size`
    bounds the connections to PostgreSQL; they are made when first needed, so a server that is down is noticed
    by `ping`.  `ballast` is how many bytes to set aside on SQLite's disk, so that deletes work on a full one.
    Raises UNAVAILABLE for an address that cannot be understood or a file that cannot be opened.
    """
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        from moorage.db.sqlite import SQLite

        return SQLite(parsed, patience=patience, ballast=ballast)
    from moorage.db.postgresql import PostgreSQL

    return PostgreSQL(parsed, pool_size=pool_size, patience=patience)


def parse_url(url: str) -> URL:
    """Take a database's address.  Raises UNAVAILABLE without repeating it, for it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    if parsed is not None and parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    raise RegistryError(
        Code.UNAVAILABLE,
        "the database address cannot be understood: write sqlite:///path/to/file or postgresql://user@host/name",
    )
