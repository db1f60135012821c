"""Rows in one file: WAL, readers on any thread, one writing thread for each process.

    registry.db  registry.db-wal  registry.db-shm     SQLite's own
    registry.db-turn  registry.db-turn-queue          whose turn it is to write (`turnstile`)
    registry.db-ballast                               for the day the disk is full (`ballast`)

Readers never wait for the writer, nor it for them.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from threading import get_ident
from typing import Any, Final, TypeVar, TypeVarTuple

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from moorage.db.ballast import Ballast
from moorage.db.database import Database
from moorage.db.link import Link, is_damaged, is_full, is_io_error, named
from moorage.db.mounts import network_file_system
from moorage.db.threads import Threads, shutting_down
from moorage.db.turnstile import Turnstile
from moorage.db.tx import Tx
from moorage.db.writer import Member, Writer
from moorage.errors import Code, RegistryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_OLDEST: Final = (3, 38, 0)

_SCANS: Final = 4
"""Threads for larger reads."""

_QUEUED_SCAN: Final = 10.0
"""Seconds that a scan may wait for a thread."""

_LEAST: Final = 1024 * 1024
"""Bytes: a disk with less is taken for full where SQLite says no more than that a file could not be made."""

_INLINE_PATIENCE: Final = 250
"""Milliseconds a read may wait for a lock.  Readers wait only where a crashed process's log is recovered, and
the event loop stands still meanwhile."""


_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-16384",
    # Not mapped: every read after somebody's write would map the file anew, and a disk's error would be a signal.
    "mmap_size=0",
    "temp_store=MEMORY",
    "journal_size_limit=67108864",
    "trusted_schema=OFF",
)


class SQLite(Database):
    """A database file.  Open it after forking, never before."""

    def __init__(self, url: URL, *, patience: float, ballast: int) -> None:
        """Open or create the file (mode 0600), with a ballast of so many bytes.  Raises UNAVAILABLE."""
        if sqlite3.sqlite_version_info < _OLDEST:
            wanted = ".".join(map(str, _OLDEST))
            raise RegistryError(
                Code.UNAVAILABLE, f"SQLite {wanted} or newer is needed; this Python has {sqlite3.sqlite_version}"
            )
        self.dialect = "sqlite"
        self.url = url
        self._path = Path(url.database or "").absolute()
        self._folder = str(self._path.parent)
        if (kind := network_file_system(self._path.parent)) is not None:
            raise RegistryError(
                Code.UNAVAILABLE,
                f"the database file {self._path} lies on a network file system ({kind}), where SQLite loses data: put "
                "it on a local disk (the data folder, or database.url), or use PostgreSQL; blobs may stay there",
            )
        self._patience = patience
        self._ballast = Ballast(self._path, ballast)
        try:
            create_file(self._path)
            self._turnstile = Turnstile(self._path)
        except OSError as reason:
            raise RegistryError(
                Code.UNAVAILABLE, f"the database file {self._path} cannot be opened: {reason.strerror}"
            ) from reason
        self._engine = create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )
        self._readers: dict[int, Link] = {}
        self._threads = Threads("moorage-scan", _SCANS, _QUEUED_SCAN)
        self._writer = Writer(
            lambda: Link(self._engine),
            lambda: Link(self._engine, remembers=self._path),
            self._turnstile,
            patience,
            self._ballast,
            self._mend,
        )
        self._closed = False

    async def read(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        link = self._writer.lend()
        if link is None:
            return self.read_now(fn, *args)
        try:
            before = link.changes
            found = fn(link.tx, *args)
            written = link.changes != before
        except (sqlite3.Error, DBAPIError):
            self._writer.distrust()
        else:
            if written:  # a reader's own connection would have refused it
                raise RuntimeError("a function that is to read has written")
            return found
        finally:
            link.tx.close_results()
            link.used.release()
        return self.read_now(fn, *args)  # which finds out what is wrong, or that it has passed

    async def scan(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        return await self._threads.run(self.scan_now, fn, *args)

    async def write(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True, brief: bool = False) -> T:
        if not durable and (done := self._writer.write_at_once(fn, *args)) is not None:
            return done[0]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        member = Member(fn, args, durable, future, loop)
        if brief and durable:
            self._writer.gather(member)
        else:
            self._writer.submit(member)
        return await future

    def read_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        link = self._readers.get(get_ident()) or self._reader()
        with link.used:
            try:
                return fn(link.tx, *args)
            except Exception as error:
                self._judge(error)
                raise
            finally:
                link.tx.close_results()

    def scan_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        link = self._readers.get(get_ident()) or self._reader()
        with link.used:
            try:
                try:
                    link.begin_snapshot()
                    return fn(link.tx, *args)
                finally:
                    link.tx.close_results()
                    link.roll_back()
            except Exception as error:
                self._judge(error)
                raise

    def write_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True) -> T:
        if self._writer.is_this_thread():
            raise RuntimeError("a write function cannot ask for another write: it would wait for itself")
        if not durable and (done := self._writer.write_at_once(fn, *args)) is not None:
            return done[0]
        future: Future[T] = Future()
        self._writer.submit(Member(fn, args, durable, future))
        return future.result()

    async def ping(self) -> None:
        await self.read(_ask)
        if not os.access(self._path, os.W_OK):
            raise RegistryError(
                Code.UNAVAILABLE, "the registry's database file cannot be written: check its owner, mode and disk"
            )

    def room(self) -> int | None:
        try:
            found = os.statvfs(self._folder)
        except OSError:  # whoever writes will be told
            return None
        return found.f_bavail * found.f_frsize

    def verify_now(self, *, whole: bool = False) -> list[str]:
        # A connection of its own: others hold pages that they read before, and would not look again.
        try:
            with closing(connect(self._path, self._patience)) as raw:
                raw.execute("PRAGMA query_only=ON")
                found = raw.execute(f"PRAGMA {'integrity_check' if whole else 'quick_check'}").fetchall()
        except sqlite3.Error as error:
            reason = named(error, writing=False)
            if not is_damaged(error):
                raise reason from error
            return [str(error)]
        return [str(row[0]) for row in found if row[0] != "ok"]

    def close_now(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._threads.close()
        while self._readers:
            self._readers.popitem()[1].close_from_elsewhere()
        self._turnstile.close()

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def _connect(self) -> sqlite3.Connection:
        """Connect; if the disk is too full even for SQLite's own files, without the ballast.  Raises sqlite3.Error."""
        try:
            return connect(self._path, self._patience)
        except sqlite3.Error as error:
            full = is_full(error) or (is_io_error(error) and (self.room() or 0) < _LEAST)
            if not (full and self._ballast.drop()):
                raise
            return connect(self._path, self._patience)

    def _mend(self, link: Link) -> None:
        """Begin the log anew.  Raises UNAVAILABLE while somebody reads in it, and sqlite3.Error.

        After a failed sync the kernel may take pages for clean that never reached the disk.  A later commit would
        be synced above such a hole, and a power cut would lose it with everything behind the hole.
        """
        ((busy, _, _),) = link.tx.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise _recovering()
        try:
            log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(log)
        except OSError as reason:
            raise _recovering() from reason
        finally:
            os.close(log)

    def _reader(self) -> Link:
        """This thread's connection for reading.  A later thread with the same id takes over a dead one's."""
        if self._closed:
            raise shutting_down()
        try:
            link = Link(self._engine, remembers=self._path)
            for pragma in (f"busy_timeout={_INLINE_PATIENCE}", "query_only=ON"):
                link.tx.driver.execute(f"PRAGMA {pragma}")
        except Exception as error:
            raise named(error) from error
        self._readers[get_ident()] = link
        return link

    def _judge(self, error: Exception) -> None:
        """Raise what a reader's error stands for; drop its connection if that is broken."""
        if self._closed and isinstance(error, (sqlite3.Error, DBAPIError)):  # interrupted, or closed already
            raise shutting_down() from error
        if is_io_error(error) and (link := self._readers.pop(get_ident(), None)):
            link.close()
        reason = named(error, writing=False)
        if reason is not error:
            raise reason from error


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """A driver connection with our pragmas; the driver begins nothing by itself.  Raises sqlite3.Error."""
    raw = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        for pragma in _PRAGMAS:
            raw.execute(f"PRAGMA {pragma}")
        (mode,) = raw.execute("PRAGMA journal_mode").fetchone()
    except BaseException:
        raw.close()
        raise
    if mode != "wal":
        raw.close()
        raise RegistryError(
            Code.UNAVAILABLE, f"the database file {path} cannot use a write-ahead log: is its disk a network share?"
        )
    return raw


def create_file(path: Path) -> None:
    """Create an empty database file that only its owner may read, and make its name durable.  Raises OSError."""
    if path.exists():
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _recovering() -> RegistryError:
    return RegistryError(
        Code.UNAVAILABLE, "the registry's database recovers from an error of its disk; try again shortly"
    )


def _ask(tx: Tx) -> Any:
    return tx.raw.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
