"""Group commit: one thread writes for everyone in this process, and many waiting writes share one fsync.

    callers ──► queue ──► turn · BEGIN IMMEDIATE · SAVEPOINT a … RELEASE · SAVEPOINT b … RELEASE · COMMIT ──► callers

A write that need not reach the disk is done where it is asked for, as long as nobody else is writing: two changes of
threads would cost several times what it does.

Each member of several stands in its own savepoint, so that one that fails takes nobody with it.  Some failures end the
whole transaction all the same (a full disk, an I/O error, a failed COMMIT): then every member runs again,
alone; on a full disk the ballast is dropped first.  No result leaves before its COMMIT has succeeded.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final, TypeVar, TypeVarTuple

from moorage.db.ballast import Ballast
from moorage.db.link import Link, is_full, is_io_error, named
from moorage.db.threads import shutting_down
from moorage.db.turnstile import Turnstile
from moorage.db.tx import Tx
from moorage.errors import RegistryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST: Final = 128
"""The most members of one group: bounds how long the first waits for the last."""

_IN_A_ROW: Final = 256
"""After so many writes on the spot the thread has the next, for it alone moves the log's pages to the file."""

_LEAST_PATIENCE: Final = 0.1
"""Seconds that even a group which has queued too long may wait for its turn."""


Mend = Callable[[Link], None]

Outcome = tuple[Any, BaseException | None]
"""What a write function gave, or what it raised."""


@dataclass(slots=True, eq=False)
class Member:
    """One write and the future that waits for it; `loop` is None where a thread waits."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    durable: bool
    future: "Future[Any] | asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop | None = None
    since: float = field(default_factory=time.monotonic)
    value: Any = None
    error: BaseException | None = None
    settled: bool = False
    """Whether `value` or `error` is final: its COMMIT has succeeded, or it has failed for good."""

    def fail(self, error: BaseException) -> None:
        if isinstance(error, RegistryError):  # one instance for each: a shared one would grow everyone's traceback
            self.error = RegistryError(error.code, error.message, **error.detail)
            self.error.__cause__ = error.__cause__
        else:
            self.error = error
        self.settled = True

    def deliver(self) -> None:
        if self.future.done():  # its task was cancelled
            return
        if not self.settled:
            self.fail(RuntimeError("a write was neither committed nor refused"))
        if self.error is None:
            self.future.set_result(self.value)
        elif isinstance(self.error, StopIteration):  # futures refuse it
            self.future.set_exception(RuntimeError(f"a write function raised {self.error!r}"))
        else:
            self.future.set_exception(self.error)


class Writer:
    """The writing thread of one Database, started by its first write."""

    def __init__(
        self, connect: Callable[[], Link], turnstile: Turnstile, patience: float, ballast: Ballast, mend: Mend
    ) -> None:
        """`mend` is called with a fresh connection after an I/O error, before anything more is written."""
        self._connect = connect
        self._turnstile = turnstile
        self._patience = patience
        self._ballast = ballast
        self._mend = mend
        self._doubtful = False
        """Whether an I/O error has left it open what of the log is on the disk."""
        self._link: Link | None = None
        self._writing = threading.Lock()
        """Held by whoever writes: the thread, or a caller on the spot."""
        self._spot: Link | None = None
        """What callers write through."""
        self._in_a_row = 0
        self._caller: int | None = None
        """The thread that is writing on the spot."""
        self._queue: SimpleQueue[Member | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, member: Member) -> None:
        """Queue a write.  Raises UNAVAILABLE once closed."""
        with self._lock:  # so that nothing enters the queue behind its end
            if self._closed:
                raise shutting_down()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="moorage-writer", daemon=True)
                self._thread.start()
            self._queue.put(member)

    def write_at_once(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> tuple[T] | None:
        """Do an undurable write on the calling thread if nobody else writes: no lock is waited for, nothing is synced.

        None where the queue has to have it: somebody is writing, or something is wrong that takes time to mend.
        Raises what `fn` raises.
        """
        if self._in_a_row >= _IN_A_ROW or not self._writing.acquire(blocking=False):
            return None
        try:
            if self._closed or self._doubtful or not self._turnstile.take_at_once():
                return None
            self._caller = threading.get_ident()
            try:
                done = self._commit_on_the_spot(fn, args)
            finally:
                self._caller = None
                self._turnstile.leave()
        finally:
            self._writing.release()
        if done is None:
            return None
        value, error = done
        if error is not None:
            raise error
        return (value,)

    def is_this_thread(self) -> bool:
        """Whether the calling thread is in the middle of a write."""
        return threading.current_thread() is self._thread or threading.get_ident() == self._caller

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            if self._spot is not None:
                self._spot.close()
                self._spot = None

    def _work(self) -> None:
        ended = False
        while not ended:
            members: list[Member] = []
            waiting = self._queue.get()
            while waiting is not None:
                members.append(waiting)
                if len(members) == MOST:
                    break
                if self._queue.empty():  # nobody else takes from it
                    break
                waiting = self._queue.get()
            else:
                ended = True
            if members:
                self._serve(members)
                _release(members)
                self._ballast.keep()
        if self._link is not None:
            self._link.close()

    def _serve(self, members: list[Member]) -> None:
        """Settle every member, whatever happens."""
        patience = max(members[0].since + self._patience - time.monotonic(), _LEAST_PATIENCE)
        try:
            with self._writing, self._turnstile.hold(patience):
                self._in_a_row = 0
                if not self._commit(members):
                    for member in members:
                        while not member.settled:  # twice where more room was found for it
                            self._commit([member])
        except BaseException as error:  # noqa: BLE001 - the thread must outlive it, or all writes would hang
            reason = named(error)
            for member in members:
                if not member.settled:
                    member.fail(reason)

    def _commit(self, members: list[Member]) -> bool:
        """Write them in one transaction; False if it was lost.

        A lone member is settled either way, unless more room was found for it.  Raises where not even a transaction
        can be begun: then nobody needs to try again.
        """
        try:
            link = self._ready()
            link.begin(durable=any(member.durable for member in members))
        except BaseException as error:
            self._abandon(error)
            raise
        try:
            for member in members:
                member.value, member.error = _run(link, member.fn, member.args, alone=len(members) == 1)
            if link.open:  # it is not where the only member failed
                link.commit()
        except BaseException as error:  # noqa: BLE001 - it is delivered, or everyone runs again
            self._abandon(error)
            relieved = is_full(error) and self._ballast.drop()
            if len(members) == 1 and not relieved:
                members[0].fail(named(error))
            return False
        for member in members:
            member.settled = True
        return True

    def _commit_on_the_spot(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Outcome | None:
        """Write one; None if that failed for a reason of the database's, which the thread will find and name."""
        try:
            if self._spot is None:
                self._spot = self._connect()
                self._spot.never_wait()
            self._spot.begin(durable=False)
            done = _run(self._spot, fn, args, alone=True)
            if self._spot.open:  # it is not where the member failed
                self._spot.commit()
        except BaseException as error:
            self._doubtful = self._doubtful or is_io_error(error)
            if self._spot is not None:
                self._spot.close()
                self._spot = None
            if not isinstance(error, Exception):
                raise
            return None  # it happens again in the thread, or it was passing
        self._in_a_row += 1
        return done

    def _ready(self) -> Link:
        if self._link is None:
            self._link = self._connect()
        if self._doubtful:
            self._mend(self._link)
            self._doubtful = False
        return self._link

    def _abandon(self, error: BaseException) -> None:
        """Roll back by closing: after an I/O error or a full disk a connection is not to be trusted."""
        self._doubtful = self._doubtful or is_io_error(error)
        if self._link is not None:
            self._link.close()
            self._link = None


def _run(link: Link, fn: Callable[..., Any], args: tuple[Any, ...], *, alone: bool) -> Outcome:
    """Run one member in its savepoint; one that is `alone` needs none, for its failure ends the whole transaction.

    Raises what ended the transaction otherwise.
    """
    if not alone:
        link.savepoint()
    try:
        value = fn(link.tx, *args)
    except BaseException as error:
        link.tx.close_results()
        if link.is_lost(error):
            raise
        undo = link.roll_back if alone else link.undo
        undo()
        return None, named(error)
    link.tx.close_results()
    if link.is_lost():
        raise RuntimeError("the write function caught an error that had ended its transaction")
    if not alone:
        link.keep()
    return value, None


def _release(members: list[Member]) -> None:
    """Hand out the results: one wake-up for each event loop, however many of its tasks wait."""
    loops: dict[asyncio.AbstractEventLoop, list[Member]] = {}
    for member in members:
        if member.loop is None:
            member.deliver()
        else:
            loops.setdefault(member.loop, []).append(member)
    for loop, theirs in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_deliver, theirs)


def _deliver(members: list[Member]) -> None:
    for member in members:
        member.deliver()
