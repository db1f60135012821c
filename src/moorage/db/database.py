"""The database as the rest of the registry sees it: functions of a transaction go in, their results come out."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

from sqlalchemy import URL

from moorage.db.tx import Dialect, Tx

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Database(ABC):
    """Rows on SQLite or PostgreSQL.

    Everything goes in as `fn, *args` and is called as `fn(tx, *args)`.  `fn` is plain and synchronous, and a
    function of rows alone: no I/O besides its transaction, and **it may run twice** (a group that failed as a
    whole, a serialisation failure, a lost connection).  What it raises reaches the caller unchanged, after its
    own work was rolled back; a RegistryError is no exception from that.

    Failures of the database itself are RegistryError: UNAVAILABLE (down, locked, too slow, no connection free)
    within about `patience` seconds, STORAGE_FULL when its disk is full.  No message holds a password.
    """

    dialect: Dialect
    url: URL
    """Where it is; its text masks the password."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url!r}>"

    @abstractmethod
    async def read(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        """Bounded point reads; each statement sees the newest commit.

        On SQLite they run at once, on the calling thread, and the coroutine ends in its first step.
        """

    @abstractmethod
    async def scan(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        """Larger reads: in a thread, all statements on one snapshot."""

    @abstractmethod
    async def write(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True, brief: bool = False) -> T:
        """Run `fn` in a transaction; the result comes after its COMMIT.

        `durable` waits for the disk.  Without it, the newest writes may be lost in a power cut (never torn, nor
        out of order): for what only makes a client start over; it must be as bounded as a read.  `brief` says of a
        durable one that it is: on SQLite it may then be done on the calling thread, as long as the disk is quick to
        sync.  If the awaiting task is cancelled, the write may still happen.
        """

    @abstractmethod
    def read_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        """`read`, blocking."""

    @abstractmethod
    def scan_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
        """`scan`, blocking."""

    @abstractmethod
    def write_now(self, fn: Callable[[Tx, *Ts], T], *args: *Ts, durable: bool = True) -> T:
        """`write`, blocking."""

    @abstractmethod
    async def ping(self) -> None:
        """Return if the database answers; raise UNAVAILABLE if not."""

    def room(self) -> int | None:
        """How many bytes are free where the rows lie; None where nobody can tell, as of a server's disk."""
        return None

    @abstractmethod
    def verify_now(self, *, whole: bool = False) -> list[str]:
        """What is wrong inside the database file, as SQLite tells it; a sound one gives nothing.

        `whole` compares every index with its table too, which takes several times as long.  A PostgreSQL server
        watches over its own files.  Blocks for as long as reading the file takes.
        """

    async def verify(self, *, whole: bool = False) -> list[str]:
        """`verify_now`, in a thread."""
        return await asyncio.to_thread(partial(self.verify_now, whole=whole))

    @abstractmethod
    def close_now(self) -> None:
        """Finish the writes that wait and close every connection.  Twice does no harm."""

    @abstractmethod
    async def close(self) -> None:
        """`close_now`, without blocking the loop."""
