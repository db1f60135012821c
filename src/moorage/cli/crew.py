"""Several processes that serve together: a parent that serves nothing, and workers that it forks and replaces.

    parent    holds the data folder's lock and the sockets, waits for signals      no loop, thread or database
    ├── 0     opens the registry first, runs the background jobs, serves the debug address
    ├── 1     opens what is there
    └── …

They talk in signals, and in numbers that all see: which workers listen, and with how many connections.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from moorage.cli.told import told
from moorage.db.apart import end_with
from moorage.errors import Code, RegistryError
from moorage.telemetry import finish, logger, retry

READY: Final = signal.SIGUSR1
"""From a worker to its parent: it listens."""
AT_ONCE: Final = signal.SIGUSR1
"""From the parent to its workers: wait for nothing."""

_STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_HEARD: Final = frozenset({*_STOP, signal.SIGHUP, signal.SIGCHLD, READY})

_SOON: Final = 5.0
"""Seconds: who ends sooner after its start has not really worked."""
_MOST: Final = 7
"""So many such ends in a row, and there is no use in another start."""
_FIRST_PAUSE: Final = 0.1
"""Seconds before the start that follows the first of them; each time they are doubled."""
_REST: Final = 1.0
"""Seconds until another start is tried where the system has no room for one."""
_LONG: Final = 3600.0
_BEHIND: Final = 0.5
"""Seconds until lines are tried again that the log's reader has not taken."""

log: Final = logger("moorage.workers")


@dataclass(frozen=True, slots=True)
class _Worker:
    number: int
    since: float


class Crew:
    """The parent of so many workers as there are numbers in `listening`."""

    def __init__(
        self,
        listening: "memoryview[int]",
        work: Callable[[int, bool], None],
        *,
        greet: Callable[[], None],
        leave: Callable[[], None],
        bury: Callable[[int], None],
    ) -> None:
        """`work` is done in a worker, given its number and whether it is the very first.

        In this process `greet` is called once all listen, `leave` when no more are to be started, and `bury` with the
        number of a worker that has ended.
        """
        self._listening, self._work, self._greet, self._leave, self._bury = listening, work, greet, leave, bury
        self._workers: dict[int, _Worker] = {}
        self._due: dict[int, float] = {0: 0.0}
        """When which are to be started.  The first comes alone, for it brings the registry up to date."""
        self._greeted = self._stopping = False
        self._failures = 0
        self._error: BaseException | None = None

    def run(self) -> None:
        """Return once all have ended after a signal to stop.

        Raises UNAVAILABLE where workers end as soon as they have begun, and SystemExit where one could not begin, which
        has said why.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            while self._workers or self._due:
                self._start_due()
                found = signal.sigtimedwait(_HEARD, self._patience())
                self._hear(signal.Signals(found.si_signo) if found is not None else None)
        finally:
            self._tell(signal.SIGKILL)
        if self._error is not None:
            raise self._error

    def _patience(self) -> float:
        """Seconds until the next start is due, or the log's reader may take what it has not."""
        now = time.monotonic()
        longest = _LONG if retry() else _BEHIND
        return max(0.0, min([now + longest, *self._due.values()]) - now)

    def _hear(self, number: signal.Signals | None) -> None:
        if number in _STOP:
            if self._stopping:
                self._tell(AT_ONCE)  # who has not even begun waits for signals later
            else:
                self._stop()
        elif number == signal.SIGHUP:
            self._tell(signal.SIGHUP)
        elif number == READY:
            self._look()
        elif number == signal.SIGCHLD:
            self._reap()

    def _look(self) -> None:
        """Who listens?  After the first the others are started, and with all of them the registry is there."""
        absent = {number for number, listens in enumerate(self._listening) if not listens}
        if self._greeted or self._stopping or 0 in absent:
            return
        missing = absent - self._due.keys() - {worker.number for worker in self._workers.values()}
        self._due |= dict.fromkeys(missing, time.monotonic())
        if not absent:
            self._greeted = True
            self._greet()

    def _stop(self) -> None:
        self._stopping = True
        self._due.clear()
        self._leave()
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:  # or an orphan, where we are the first process of a container
                self._ended(worker, pid, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, pid: int, status: int) -> None:
        self._bury(worker.number)
        if self._stopping:
            return
        how = f"status {status}" if status >= 0 else f"signal {-status}, {signal.strsignal(-status)}"
        if not self._greeted:
            told_why = status > 0
            self._fail(SystemExit(status) if told_why else _ended_early(f"a worker ended before it listened: {how}"))
            return
        soon = time.monotonic() - worker.since < _SOON
        self._failures = self._failures + 1 if soon else 0
        if self._failures >= _MOST:
            words = f"workers end as soon as they have begun, {_MOST} times in a row"
            self._fail(_ended_early(f"{words}: {how}; the log says more"))
            return
        pause = _FIRST_PAUSE * 2 ** (self._failures - 1) if self._failures else 0.0
        self._due[worker.number] = time.monotonic() + pause
        log.error("a worker ended, and is replaced", worker=worker.number, pid=pid, how=how, pause=pause)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._stop()

    def _start_due(self) -> None:
        """Raises OSError where not even the first workers can be had."""
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            gc.freeze()  # or a collection in a worker would copy every page that holds an object
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError as reason:  # no memory, or too many processes
                if not self._greeted:
                    raise
                log.warning("a worker cannot be started", worker=number, error=reason.strerror)
                self._due[number] = now + _REST
                continue
            if not pid:
                self._become(number, not self._greeted and number == 0, parent)
            del self._due[number]
            self._workers[pid] = _Worker(number, now)

    def _become(self, number: int, first: bool, parent: int) -> NoReturn:
        """The life of a worker."""
        status = 1
        try:
            if end_with(parent):
                # A terminal's SIGINT reaches every process; what it means is for the parent to say.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                self._work(number, first)
                status = 0
        except Exception as error:  # noqa: BLE001 - the last place where it can be told
            _say(error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            finish()
            os._exit(status)


def report_ready() -> None:
    """In a worker that listens: tell the parent, and hear signals from here on; those that came before are kept."""
    os.kill(os.getppid(), READY)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _say(error: Exception) -> None:
    try:
        print(f"moorage: {told(error)}", file=sys.stderr)
    except Exception:  # noqa: BLE001 - with the log at debug, faults of the program are raised once more
        traceback.print_exc()


def _ended_early(words: str) -> RegistryError:
    return RegistryError(Code.UNAVAILABLE, words)
