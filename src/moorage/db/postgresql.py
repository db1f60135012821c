"""Rows on a PostgreSQL server: a bounded pool of connections, used from as many threads.

Connections are in autocommit mode and transactions are made by hand, as on SQLite; writes run at READ COMMITTED.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, TypeVarTuple

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from moorage.db.database import Database
from moorage.db.pulse import Pulse
from moorage.db.threads import Threads, shutting_down
from moorage.db.tx import Tx
from moorage.errors import Code, RegistryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout='60s'"
_DURABLE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_RELAXED: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit=off"

_SHORT: Final = 30.0
_LONG: Final = 90.0
"""Seconds after which a caller hears that the server does not answer.  It ends slow statements well before by
itself (10 and 60 s), and one that is cut off is noticed earlier (`pulse`); this is for all else that stands still."""

_AGAIN: Final = {"40001", "40P01"}
"""serialization_failure and deadlock_detected: the same work may succeed when run again."""

_STALE: Final = {"0A000", "26000"}
"""What a prepared statement comes to whose table another version has changed ("cached plan must not change result
type"), or which the server has forgotten: new connections know nothing of it."""

_EPOCH: Final = "moorage-epoch"
"""Where a pooled connection has written down when it was made; those of an earlier epoch are not used again."""

_ATTEMPTS: Final = 8
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.2

# A replica that was promoted away, a server that starts or stops, and resources that have run out.
_UNAVAILABLE_CLASSES: Final = ("08", "28", "3D", "53", "57", "58")

_SETTINGS: Final = """
SELECT set_config('lock_timeout', %(lock)s, false),
       set_config('statement_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '30s', false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                       ELSE current_setting('synchronous_commit') END, false)
"""


class PostgreSQL(Database):
    """A database on a server; nothing is connected before it is first asked for."""

    def __init__(self, url: URL, *, pool_size: int, patience: float) -> None:
        self.dialect = "postgresql"
        self.url = url.set(drivername="postgresql")
        self._patience = patience
        self._epoch = 0
        arguments = {
            "connect_timeout": max(2, math.ceil(patience)),
            "application_name": "moorage",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            **url.query,
        }
        self._engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=patience,
            pool_use_lifo=True,
            pool_recycle=3600,
            connect_args=arguments,
        )
        event.listen(self._engine, "connect", self._prepare_connection)
        # Scans have threads of their own, so that long reads leave connections for the short ones.
        scans = max(1, pool_size // 3)
        _, further = self._engine.dialect.create_connect_args(url)
        self._pulse = Pulse(lambda: psycopg.connect(**{**further, **arguments}), self._engine.dispose, patience)
        self._short = Threads("moorage-rows", max(1, pool_size - scans), patience, _SHORT, self._pulse.doubt)
        self._long = Threads("moorage-scan", scans, patience * 5, _LONG, self._pulse.doubt)
        self._pulse.watched = (self._short, self._long)
        self._closed = False

    async def read(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        return await self._short.run(self.read_now, fn, *args)

    async def scan(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        return await self._long.run(self.scan_now, fn, *args)

    async def write(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True, brief: bool = False) -> T:
        del brief  # nothing is done on the loop's thread
        return await self._short.run(self._write, fn, args, durable)

    def read_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        return self._run(lambda tx: fn(tx, *args))

    def scan_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        return self._run(lambda tx: _transaction(tx, _SNAPSHOT, fn, args))

    def write_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True) -> T:
        return self._write(fn, args, durable)

    def _write(self, fn: Callable[[Tx, *Ts], T], args: tuple[*Ts], durable: bool) -> T:
        begin = _DURABLE if durable else _RELAXED
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._run(lambda tx: _transaction(tx, begin, fn, args), writing=True)
            except (psycopg.Error, DBAPIError) as error:
                if _state(error) not in _AGAIN:
                    raise
            time.sleep(random.uniform(0.2, 1.0) * pause)  # noqa: S311 - spreads rivals, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)
        try:
            return self._run(lambda tx: _transaction(tx, begin, fn, args), writing=True)
        except (psycopg.Error, DBAPIError) as error:
            if _state(error) not in _AGAIN:
                raise
            raise RegistryError(
                Code.UNAVAILABLE, "too many writes compete for the same rows; try again shortly"
            ) from error

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(self._patience * 2):
                await self._short.run(self.read_now, _ask)
        except TimeoutError as error:
            raise _down() from error

    def verify_now(self, *, whole: bool = False) -> list[str]:  # noqa: ARG002 - the server watches over its files
        return []

    def close_now(self) -> None:
        if self._closed:
            return
        self._short.close()
        self._long.close()
        self._closed = True
        self._engine.dispose()

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def _run(self, work: Callable[[Tx], T], *, writing: bool = False) -> T:
        """Run on a pooled connection; once more, on one seen alive, where the first turned out broken or stale.

        That is safe for writes as well, since a connection lost during COMMIT raises RegistryError instead.
        """
        for alive in (False, True):
            connection = self._checkout(alive=alive)
            raw = _driver(connection)
            tx = Tx("postgresql", connection, raw)
            try:
                return work(tx)
            except (psycopg.Error, DBAPIError) as error:
                if not alive and _state(error) in _STALE:
                    if connection.info[_EPOCH] == self._epoch:
                        self._epoch += 1  # the others in the pool are as stale
                    raw.close()
                if raw.closed and not alive:
                    continue
                raise named(error, writing=writing) from error
            finally:
                self._pulse.leave(raw)
                tx.close_results()
                if raw.closed and not connection.invalidated:
                    connection.invalidate()
                connection.close()
        raise AssertionError("unreachable")

    def _checkout(self, *, alive: bool) -> Connection:
        """Take a connection.  `alive` asks it first: after a restart of the server every pooled one is dead."""
        if self._closed:
            raise shutting_down()
        while True:
            try:
                connection = self._engine.connect()
            except PoolTimeoutError as error:
                raise RegistryError(
                    Code.UNAVAILABLE, "every connection to the registry's database is busy; try again shortly"
                ) from error
            except (DBAPIError, psycopg.Error) as error:
                raise _down() from error
            raw = _driver(connection)
            if connection.info[_EPOCH] != self._epoch:
                connection.invalidate()
                connection.close()
                continue
            self._pulse.use(raw)
            if not alive:
                return connection
            try:
                raw.execute("SELECT 1")
            except psycopg.Error:
                self._pulse.leave(raw)
                connection.invalidate()
                connection.close()
            else:
                return connection

    def _prepare_connection(self, raw: Any, record: Any) -> None:
        record.info[_EPOCH] = self._epoch
        self._pulse.use(raw)
        try:
            raw.execute(_SETTINGS, {"lock": f"{int(self._patience * 1000)}ms"})
            if raw.info.transaction_status is not TransactionStatus.IDLE:
                raw.commit()
        finally:
            self._pulse.leave(raw)


def _driver(connection: Connection) -> "psycopg.Connection[Any]":
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def _transaction(tx: Tx, begin: str, fn: Callable[[Tx, *Ts], T], args: tuple[*Ts]) -> T:
    """BEGIN, `fn`, COMMIT.  Raises `fn`'s error after rolling back, and UNAVAILABLE where the outcome is unknown."""
    raw: psycopg.Connection[Any] = tx.raw
    raw.execute(begin)
    try:
        value = fn(tx, *args)
        tx.close_results()
        if raw.info.transaction_status is TransactionStatus.INERROR:
            # COMMIT would quietly roll back, and we would promise what was not kept.
            raise RuntimeError("the function caught an error that had ended its transaction")  # noqa: TRY301
    except BaseException:
        if not raw.closed:
            tx.close_results()
            _roll_back(raw)
        raise
    try:
        raw.execute("COMMIT")
    except psycopg.Error as error:
        if raw.closed:
            raise RegistryError(
                Code.UNAVAILABLE,
                "the connection to the database broke during a commit, so it is not known whether it was saved; "
                "look, then try again",
            ) from error
        raise
    return value


def _roll_back(raw: "psycopg.Connection[Any]") -> None:
    """Roll back, or close a connection that cannot: one lost between pipelined statements does not know it yet."""
    try:
        raw.execute("ROLLBACK")
    except psycopg.Error:
        raw.close()


def named(error: BaseException, *, writing: bool = True) -> BaseException:
    """The RegistryError that a failure of the server stands for; any other error as it is."""
    state = _state(error)
    if state == "53100":
        made = RegistryError(
            Code.STORAGE_FULL, "the disk of the registry's database is full; its operator must free or add space"
        )
    elif state == "55P03":
        made = RegistryError(Code.UNAVAILABLE, "another request keeps the rows that are needed; try again shortly")
    elif state == "57014":
        made = RegistryError(Code.UNAVAILABLE, "the registry's database took too long; try again shortly")
    elif state == "25006" and writing:
        made = RegistryError(Code.UNAVAILABLE, "the registry's database is a read-only replica; use the primary")
    elif state[:2] in _UNAVAILABLE_CLASSES or _is_lost(error):
        made = _down()
    else:
        return error
    made.__cause__ = error
    return made


def _down() -> RegistryError:
    return RegistryError(
        Code.UNAVAILABLE, "the registry's database server does not answer; try again shortly, the log has the cause"
    )


def _state(error: BaseException) -> str:
    """The SQLSTATE, or an empty text where the server said none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""


def _is_lost(error: BaseException) -> bool:
    """Whether the connection broke: the driver then reports an operational error without SQLSTATE."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None


def _ask(tx: Tx) -> Any:
    return tx.raw.execute("SELECT 1").fetchall()
