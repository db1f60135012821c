"""What the hottest reads found, for as long as nobody commits.

Connections to a SQLite file share an index of its log in memory.  The header of that index changes with every
commit, before COMMIT returns, and SQLite itself compares it at the beginning of a read with the one it saw last
(sqlite.org/walformat.html, 2.1).  While it is what it was, a statement finds what it found: so the rows are given
again without SQLite, its locks and their two system calls.
"""

import ctypes
from pathlib import Path
from typing import Any, Final

_HEADER: Final = 48
"""Bytes: the first of the two copies that SQLite writes, and the one it writes last."""

_VERSION: Final = (3007000).to_bytes(4, "little"), (3007000).to_bytes(4, "big")
_MOST: Final = 1024
"""Reads that are kept."""

_ROOM: Final = 4 * 1024 * 1024
"""Bytes of all their rows."""

_WORTH: Final = 8
"""A memory is worth its work where one read of so many finds something."""

Rows = list[tuple[Any, ...]]


class Memory:
    """Rows by statement and parameters, forgotten with the next commit of any process.

    It belongs to one connection and one thread, and must be closed before the connection: that may take the
    shared memory with it.  A read that may see an older snapshot than the newest must not ask it.
    """

    __slots__ = ("_asked", "_found", "_header", "_rest", "_room", "_rows", "_seen")

    def __init__(self, header: memoryview) -> None:
        self._header = header
        self._seen = b""
        self._rows: dict[object, Rows | None] = {}
        self._room = _ROOM
        self._asked = self._found = self._rest = 0

    def get(self, key: object) -> Rows | None:
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

    def keep(self, key: object, rows: Rows) -> None:
        """Keep what was read since `get`, if it was asked for a second time.

        At first the key is enough: to keep many rows, and let them go with every commit, costs more than reading
        them.  Who has committed since `get` has changed the header, so nobody is told what was read before.
        """
        if self._rest:
            return
        if key not in self._rows:
            if len(self._rows) < _MOST:
                self._rows[key] = None
        elif (size := _size(rows)) <= self._room:
            self._room -= size
            self._rows[key] = rows

    def _begin(self, header: bytes) -> None:
        """Somebody has committed: forget.  Where commits are too many for a memory, have none for some reads."""
        if self._found * _WORTH < self._asked:
            self._rest = self._asked * _WORTH
        self._seen = header
        self._rows.clear()
        self._room = _ROOM
        self._asked = self._found = 0

    def close(self) -> None:
        """Leave the shared memory; whoever asks afterwards gets ValueError."""
        self._header.release()
        self._rows.clear()


def of(path: Path) -> Memory | None:
    """A memory for a database file that this process has open and has read; None where it cannot be had.

    The index is where SQLite has mapped it.  To open the file a second time is no way: closing it would take all
    of SQLite's locks along.
    """
    wanted = f"{path.resolve()}-shm"
    try:
        with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                range_, mode, offset, *_, name = line.rstrip("\n").split(maxsplit=5)
                if name == wanted and mode.startswith("r") and int(offset, 16) == 0:
                    start = int(range_.partition("-")[0], 16)
                    header = memoryview((ctypes.c_char * _HEADER).from_address(start)).cast("B")
                    return Memory(header) if header[:4].tobytes() in _VERSION else None
    except OSError:
        pass
    return None


def _size(rows: Rows) -> int:
    return sum(len(value) for row in rows for value in row if isinstance(value, (bytes, str)))
