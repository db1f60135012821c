"""Ballast: space that is set aside beside a SQLite file, and thrown overboard when others have filled its disk.

Deleting rows needs room for SQLite's log first: without this nothing could be deleted from a registry whose
disk is full, and a full disk would stay full.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from moorage.telemetry import logger

SIZE: Final = 16 * 1024 * 1024
"""Room for the log and for what a checkpoint adds, of many deletes."""

_SHARE: Final = 16
"""On small disks it is one part in so many."""

_SPARE: Final = 2
"""It is made where so many times its size stays free, so that it does not come and go on a full disk."""

_LOOK: Final = 5.0
"""Seconds between two looks at whether there is room for it again."""


class Ballast:
    """The ballast of one database file; processes that share the file share it too.  No method raises OSError."""

    def __init__(self, database: Path, size: int) -> None:
        """With a `size` of 0 none is made; one that others made is dropped all the same."""
        self._path = f"{database}-ballast"
        self._size = size
        self._look_at = 0.0

    def keep(self) -> None:
        """Make it where it is missing and there is room; looks only now and then."""
        now = time.monotonic()
        if not self._size or now < self._look_at:
            return
        self._look_at = now + _LOOK
        with suppress(OSError):
            self._make()

    def drop(self) -> bool:
        """Free its space; False where there was none to free."""
        self._look_at = time.monotonic() + _LOOK
        try:
            freed = os.stat(self._path).st_size  # noqa: PTH116 - plain strings
            os.unlink(self._path)  # noqa: PTH108
        except OSError:
            return False
        logger(__name__).warning(
            "the database's disk is full: its ballast is dropped, so that deletes and the collector go on",
            path=self._path,
            freed=freed,
        )
        return freed > 0

    def _make(self) -> None:
        """Raises OSError."""
        disk = os.statvfs(os.path.dirname(self._path))  # noqa: PTH120
        size = min(self._size, disk.f_blocks * disk.f_frsize // _SHARE)
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_size >= size:  # noqa: PTH116
                return
        if disk.f_bavail * disk.f_frsize < (1 + _SPARE) * size:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            os.unlink(self._path)  # noqa: PTH108
            raise
        finally:
            os.close(fd)
