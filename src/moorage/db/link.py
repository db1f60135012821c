"""One connection to a SQLite file, and what SQLite's errors mean."""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from moorage.db import memory
from moorage.db.tx import Tx
from moorage.errors import Code, RegistryError

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_FAILED: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM}
_NO_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
"""Extended codes of a disk that is full; the second is of the file that connections share memory by."""

_SOON: Final = 0.05
"""Seconds that a statement has to end by itself before it is interrupted, and then the next."""


class Link:
    """The driver's connection and SQLAlchemy's view of it; transactions are ours, made by hand.

    The engine must hand out connections with `isolation_level=None`, or the driver would begin and commit
    behind our back.
    """

    def __init__(self, engine: Engine, remembers: Path | None = None) -> None:
        """Connect, to a file whose rows are to be remembered if it is given.  Raises SQLAlchemy's errors."""
        self.connection = engine.connect()
        raw = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw = raw
        self._durable: bool | None = None
        self._changes = 0
        self._memory = memory.of(remembers) if remembers else None
        self.tx = Tx("sqlite", self.connection, raw)
        self.tx.remember(self._memory)
        self.used = threading.RLock()
        """Held while a function of rows runs: a connection closed under a running statement ends the process."""

    def begin(self, *, durable: bool) -> None:
        """Begin to write.  Durable commits are fsynced; others keep their order and survive all but a power cut."""
        if durable is not self._durable:
            self._raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self._raw.execute("BEGIN IMMEDIATE")
        self._changes = self.changes
        self.tx.remember(None)

    def begin_snapshot(self) -> None:
        self.tx.remember(None)
        self._raw.execute("BEGIN")

    def never_wait(self) -> None:
        """For small writes: fail at once where somebody else has the lock, leave the log's pages to others."""
        for pragma in ("busy_timeout=0", "wal_autocheckpoint=0"):
            self._raw.execute(f"PRAGMA {pragma}")

    @property
    def open(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._raw.in_transaction

    @property
    def changes(self) -> int:
        """How many rows were changed through this connection, ever."""
        return self._raw.total_changes

    @property
    def has_changed(self) -> bool:
        """Whether this transaction has changed a row: there is nothing to sync otherwise."""
        return self.changes != self._changes

    def commit(self) -> None:
        self._raw.execute("COMMIT")
        self.tx.remember(self._memory)

    def roll_back(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")
        self.tx.remember(self._memory)

    def savepoint(self) -> None:
        self._raw.execute("SAVEPOINT member")

    def keep(self) -> None:
        self._raw.execute("RELEASE member")

    def undo(self) -> None:
        self._raw.execute("ROLLBACK TO member")
        self._raw.execute("RELEASE member")

    def is_lost(self, error: BaseException | None = None) -> bool:
        """Whether SQLite has rolled the transaction back, or should not be trusted to go on with it."""
        return not self._raw.in_transaction or (error is not None and is_io_error(error))

    def close_from_elsewhere(self) -> None:
        """Close what another thread may be using, after interrupting the statement that it runs.  Never raises."""
        while not self.used.acquire(timeout=_SOON):
            self._raw.interrupt()
        try:
            self.close()
        finally:
            self.used.release()

    def close(self) -> None:
        """Close, rolling back what is open.  Never raises."""
        self.tx.close_results()
        with suppress(sqlite3.Error, DBAPIError):
            self.roll_back()
        self.tx.remember(None)
        if self._memory is not None:
            self._memory.close()
        with suppress(sqlite3.Error, DBAPIError):
            self.connection.close()
        with suppress(sqlite3.Error):
            self._raw.close()


def is_io_error(error: BaseException | None) -> bool:
    """Whether the connection that raised this must be opened anew."""
    return _code(error) in _FAILED | _DAMAGED


def is_damaged(error: BaseException | None) -> bool:
    """Whether the file is not what SQLite wrote."""
    return _code(error) in _DAMAGED


def is_full(error: BaseException | None) -> bool:
    """Whether there was no room on the disk."""
    return _extended(error) in _NO_ROOM


def named(error: BaseException, *, writing: bool = True) -> BaseException:
    """The RegistryError that a failure of the database stands for; any other error as it is.

    A reader that tries to write is our mistake, not the disk's: with `writing=False` it stays what it is.
    """
    code = _code(error)
    if is_full(error):
        made = RegistryError(
            Code.STORAGE_FULL, "the disk of the registry's database is full; its operator must free or add space"
        )
    elif code in _LOCKED:
        made = RegistryError(
            Code.UNAVAILABLE, "another program keeps the registry's database locked; try again shortly"
        )
    elif code in _DAMAGED:
        made = RegistryError(
            Code.UNAVAILABLE, "the registry's database file is damaged; its operator should restore it from a backup"
        )
    elif code in _FAILED:
        made = RegistryError(
            Code.UNAVAILABLE, "the registry's database file cannot be opened, read or written; its log has the cause"
        )
    elif code == sqlite3.SQLITE_READONLY and writing:
        made = RegistryError(
            Code.UNAVAILABLE, "the registry's database file cannot be written: check its owner, mode and disk"
        )
    else:
        return error
    made.__cause__ = error
    return made


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code, or -1 for an error that is not SQLite's."""
    code = _extended(error)
    return code & 0xFF if code >= 0 else -1


def _extended(error: BaseException | None) -> int:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code: int = getattr(cause, "sqlite_errorcode", -1)
    return code
