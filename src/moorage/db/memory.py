"""What the hottest reads found, for as long as nobody commits.

Connections to a SQLite file share an index of its log in memory.  The header of that index changes with every
commit, before COMMIT returns, and SQLite itself compares it at the beginning of a read with the one it saw last
(sqlite.org/walformat.html, 2.1).  While it is what it was, a statement finds what it found: so the rows are given
again without SQLite, its locks and their two system calls.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_HEADER: Final = 48
"""Bytes: the first of the two copies that SQLite writes, and the one it writes last."""

_VERSION: Final = (3007000).to_bytes(4, sys.byteorder)
_ROOM: Final = 4 * 1024 * 1024
"""Bytes of all that is kept."""

_EACH: Final = 512
"""Bytes, about, that a read takes beside the text and bytes in it."""

_ONCE: Final = 4096
"""Reads known to have been asked for once."""

_WORTH: Final = 8
"""A memory is worth its work where one read of so many finds something."""

Rows = list[tuple[Any, ...]]
Key = tuple[object, tuple[str | int, ...]]
"""A statement, and its parameters.  1 and True are one key, so there are no flags among them."""


class Memory:
    """Rows by statement and parameters, forgotten with the next commit of any process.

    It belongs to one connection and one thread, and must be closed before the connection: that may take the
    shared memory with it.  Only reads that see the newest commit may ask it: each in a transaction of its own,
    while no other is half read.
    """

    __slots__ = ("_asked", "_found", "_header", "_once", "_rest", "_room", "_rows", "_seen")

    def __init__(self, header: memoryview) -> None:
        self._header = header
        self._seen = b""
        self._rows: dict[Key, Rows] = {}
        self._once: set[int] = set()
        self._room = _ROOM
        self._asked = self._found = 0
        self._rest = 0
        """How many reads will neither ask nor keep."""

    def get(self, key: Key) -> Rows | None:
        """What was kept for `key` since the last commit; None for what was not.  To be asked before `keep`."""
        if self._rest:
            self._rest -= 1
            return None
        header = self._header.tobytes()
        if header != self._seen:
            self._begin(header)
            return None
        self._asked += 1
        rows = self._rows.get(key)
        if rows is not None:
            self._found += 1
        return rows

    def keep(self, key: Key, rows: Rows) -> None:
        """Keep what was read after `get`, if it was asked for a second time.

        To keep rows and let them go costs more than reading them.  So of what was asked for once there is a number,
        and what is kept makes no room for others.  If somebody has committed since `get`, the next one sees another
        header, and forgets.
        """
        if self._rest:
            return
        mark = hash(key)
        if mark not in self._once:
            if len(self._once) == _ONCE:
                self._once.clear()
            self._once.add(mark)
            return
        size = _EACH + _size(key[1]) + sum(map(_size, rows))
        if size <= self._room:
            self._room -= size
            self._rows[key] = rows

    def close(self) -> None:
        """Leave the shared memory, and keep nothing any more."""
        self._rest = sys.maxsize
        self._header.release()
        self._rows.clear()

    def _begin(self, header: bytes) -> None:
        """Somebody has committed: forget.  Where commits are too many for a memory, have none for some reads."""
        if self._found * _WORTH < self._asked:
            self._rest = min(self._asked, _ONCE) * _WORTH
        self._seen = header
        self._rows.clear()
        self._once.clear()
        self._room = _ROOM
        self._asked = self._found = 0


def of(path: Path) -> Memory | None:
    """A memory for a database file that this process has open and has read; None where it cannot be had.

    The index is where SQLite has mapped it.  To open the file a second time is no way: closing it would take all
    of SQLite's locks along.
    """
    wanted = os.fsencode(f"{path.resolve()}-shm")
    try:
        lines = Path("/proc/self/maps").read_bytes().split(b"\n")
    except OSError:
        return None
    # 7fb2f900c000-7fb2f9014000 rw-s 00000000 fe:00 9978606      /var/lib/moorage/moorage.db-shm
    fields = (line.split(maxsplit=5) for line in lines)
    starts = [one[0].partition(b"-")[0] for one in fields if one[5:] == [wanted] and int(one[2], 16) == 0]
    if len(starts) != 1:  # of two, one belongs to a file that was replaced
        return None
    header = memoryview((ctypes.c_char * _HEADER).from_address(int(starts[0], 16))).cast("B")
    return Memory(header) if header[:4] == _VERSION else None


def _size(values: Iterable[object]) -> int:
    return sum(len(value) for value in values if isinstance(value, (bytes, str)))
