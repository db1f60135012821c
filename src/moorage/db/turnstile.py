"""Taking turns: a fair lock between processes that write to the same SQLite file.

SQLite's own busy handler sleeps and tries again, so a process that writes without pause starves every other.
Two locks make a turnstile:

    acquire:  lock `queue`   →   lock `turn`   →   unlock `queue`        release:  unlock `turn`

Whoever waits for the turn holds the queue, so the one that has just written cannot take the turn again before
the waiting one has had it.  Both are `flock`s: the kernel releases them when their process dies.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from moorage.errors import Code, RegistryError

_FIRST_NAP: Final = 0.00005
_LONGEST_NAP: Final = 0.002


class Turnstile:
    """The turn to write to one database file.

    Each instance opens its own descriptors, so two of them exclude each other within a process as well; one
    instance is for one thread at a time, and must not be carried across a fork.
    """

    def __init__(self, database: Path) -> None:
        """Open the lock files beside `database`, which must exist.  Raises OSError."""
        self._queue = _open(f"{database}-turn-queue", database)
        try:
            self._turn = _open(f"{database}-turn", database)
        except OSError:
            os.close(self._queue)
            raise

    @contextmanager
    def hold(self, patience: float) -> Iterator[None]:
        """Wait up to `patience` seconds for the turn and keep it.  Raises UNAVAILABLE when it does not come."""
        until = time.monotonic() + patience
        _lock(self._queue, until)
        try:
            _lock(self._turn, until)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self.leave()

    def take_at_once(self) -> bool:
        """Take the turn, to be left by `leave`, if nobody has it or waits for it.  Never waits."""
        if not _locked(self._queue):
            return False
        try:
            return _locked(self._turn)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    def leave(self) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._queue)
        os.close(self._turn)


def _open(path: str, like: Path) -> int:
    """Open a lock file that everyone who may write the database may lock, whoever came first (root, say)."""
    model = like.stat()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, model.st_mode & 0o666)
    if os.geteuid() == 0:
        with suppress(OSError):
            os.fchown(descriptor, model.st_uid, model.st_gid)
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(descriptor: int, until: float) -> None:
    """Lock, trying again after short naps: a blocking `flock` in a thread cannot be told to give up."""
    nap = _FIRST_NAP
    while not _locked(descriptor):
        if time.monotonic() >= until:
            raise RegistryError(
                Code.UNAVAILABLE,
                "another process has been writing to the registry's database for too long; try again shortly",
            )
        time.sleep(nap)
        nap = min(nap * 1.5, _LONGEST_NAP)
