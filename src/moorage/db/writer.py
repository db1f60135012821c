"""Group commit: one thread writes for everyone in this process, and many waiting writes share one fsync.

    callers ──► queue ──► turn · BEGIN IMMEDIATE · SAVEPOINT a … RELEASE · SAVEPOINT b … RELEASE · COMMIT ──► callers

A brief write is done on the spot, where it is asked for, as long as nobody else is writing: two changes of threads
would cost several times what it does, and the connection that the event loop reads through has its pages already.
Where it has to reach the disk, the event loop stands still meanwhile: so that is done only while syncs have been quick
of late, and those asked for in the same turn of the loop share one (decision 11).

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
from contextvars import Context
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

_FEW: Final = 8
"""The most members of a group that the event loop stands still for."""

_IN_A_ROW: Final = 256
"""After so many writes on the spot the thread has the next, for it alone moves the log's pages to the file."""

BRISK: Final = 0.001
"""Seconds: while durable COMMITs take no longer, by the mean of the last ones, the event loop stands still for them."""

_UNKNOWN: Final = 0.008
"""Seconds that they are taken for before they have been seen."""

_LAST: Final = 8
"""How many COMMITs the mean is of, about: the newest has one such share of it."""

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
    future: "Future[Any] | asyncio.Future[Any] | None" = None
    """None where nobody waits: it is written where it is asked for."""
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
        if self.future is None or self.future.done():  # its task was cancelled
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
        self,
        connect: Callable[[], Link],
        connect_both_ways: Callable[[], Link],
        turnstile: Turnstile,
        patience: float,
        ballast: Ballast,
        mend: Mend,
    ) -> None:
        """`connect_both_ways` gives what is read through too; `mend` is called with a fresh connection after an I/O
        error, before anything more is written.
        """
        self._connect = connect
        self._connect_both_ways = connect_both_ways
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
        """What callers write through, and the event loop reads."""
        self._spot_broken = False
        """Whether it has to be opened anew."""
        self._gathered: list[Member] = []
        """Who has asked in this turn of the loop."""
        self._pace = _UNKNOWN
        """Seconds that a durable COMMIT has taken of late, with its sync."""
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

    def gather(self, member: Member) -> None:
        """Write a durable member on its loop, together with the others of this turn of it, or queue it.

        Called on that loop.  Raises UNAVAILABLE once closed.
        """
        loop = member.loop
        if self._pace > BRISK or loop is None:
            self.submit(member)
            return
        gathered = self._gathered
        if not gathered or gathered[0].loop is not loop:  # each loop writes what was gathered on it
            gathered = self._gathered = []
            loop.call_soon(self._write_gathered, gathered, context=Context())
        gathered.append(member)

    def _write_gathered(self, members: list[Member]) -> None:
        if self._gathered is members:
            self._gathered = []
        try:
            if len(members) <= _FEW:
                with suppress(Exception):  # the thread will find it too, and name it
                    self._try_at_once(members, durable=True)
        finally:
            for member in members:
                if not member.settled:
                    self._submit_or_fail(member)
                if member.settled:
                    with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                        member.deliver()

    def _submit_or_fail(self, member: Member) -> None:
        try:
            self.submit(member)
        except RegistryError as closed:
            member.fail(closed)

    def write_at_once(self, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> tuple[T] | None:
        """Do an undurable write on the calling thread if nobody else writes: no lock is waited for, nothing is synced.

        None where the queue has to have it: somebody is writing, or something is wrong that takes time to mend.
        Raises what `fn` raises.
        """
        member = Member(fn, args, durable=False)
        self._try_at_once([member], durable=False)
        if not member.settled:
            return None
        if member.error is not None:
            raise member.error
        return (member.value,)

    def _try_at_once(self, members: list[Member], *, durable: bool) -> None:
        """Settle them all on the spot, or none."""
        if self._in_a_row >= _IN_A_ROW or not self._writing.acquire(blocking=False):
            return
        try:
            if self._closed or self._doubtful or not self._turnstile.take_at_once():
                return
            self._caller = threading.get_ident()
            try:
                self._commit_on_the_spot(members, durable=durable)
            finally:
                self._caller = None
                self._turnstile.leave()
        finally:
            self._writing.release()

    def lend(self) -> Link | None:
        """What is written through on the spot, for a read: it has the pages of what it wrote.

        The caller has its `used` then, and releases that.  None where there is none, or somebody is writing through it.
        """
        link = self._spot
        if link is None or self._spot_broken or self._caller is not None or not link.used.acquire(blocking=False):
            return None
        if link is not self._spot:  # closed meanwhile
            link.used.release()
            return None
        return link

    def distrust(self) -> None:
        """Have what `lend` gave opened anew before it is used again."""
        self._spot_broken = True

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
            self._abandon_spot()

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
            durable = any(member.durable for member in members)
            link.begin(durable=durable)
        except BaseException as error:
            self._abandon(error)
            raise
        try:
            self._write(link, members, durable=durable)
        except BaseException as error:  # noqa: BLE001 - it is delivered, or everyone runs again
            self._abandon(error)
            relieved = is_full(error) and self._ballast.drop()
            if len(members) == 1 and not relieved:
                members[0].fail(named(error))
            return False
        return True

    def _commit_on_the_spot(self, members: list[Member], *, durable: bool) -> None:
        """Write them; nobody is settled if that failed for a reason of the database's, which the thread will name."""
        try:
            link = self._ready_on_the_spot()
            with link.used:
                link.begin(durable=durable)
                self._write(link, members, durable=durable)
        except BaseException as error:
            self._doubtful = self._doubtful or is_io_error(error)
            self._pace = max(self._pace, _UNKNOWN) if durable else self._pace
            self._abandon_spot()
            if not isinstance(error, Exception):
                raise
            return  # it happens again in the thread, or it was passing
        self._in_a_row += len(members)

    def _write(self, link: Link, members: list[Member], *, durable: bool) -> None:
        """Run them in the transaction that has begun, COMMIT and settle them.  Raises what ended it otherwise."""
        for member in members:
            member.value, member.error = _run(link, member.fn, member.args, alone=len(members) == 1)
        if link.open:  # it is not where the only member failed
            self._end(link, durable=durable)
        for member in members:
            member.settled = True

    def _end(self, link: Link, *, durable: bool) -> None:
        """COMMIT, and see how long it takes to sync something."""
        counts = durable and link.has_changed
        begun = time.perf_counter()
        link.commit()
        if counts:
            self._pace += (time.perf_counter() - begun - self._pace) / _LAST

    def _ready_on_the_spot(self) -> Link:
        if self._spot_broken:
            self._abandon_spot()
        if self._spot is None:
            self._spot = self._connect_both_ways()
            self._spot.never_wait()
            self._spot_broken = False
        return self._spot

    def _abandon_spot(self) -> None:
        """Close it, when whoever reads through it has done so."""
        link, self._spot = self._spot, None
        if link is not None:
            link.close_from_elsewhere()

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
