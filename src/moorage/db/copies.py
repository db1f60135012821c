"""Whole copies of a SQLite file that others go on using, and the one that is kept before its schema changes.

moorage.db.before-0002      the rows as they were before they were brought to revision 0002
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from moorage.db.sqlite import connect, create_file
from moorage.errors import Code, RegistryError

_KEPT: Final = 2
"""How many copies of before a migration are kept; each is as large as the database."""


def copy(rows: sqlite3.Connection, target: Path) -> None:
    """Copy all rows as `rows` sees them to `target`, a new file.  Raises sqlite3.Error and OSError."""
    create_file(target)
    with closing(sqlite3.connect(target, isolation_level=None)) as made:
        rows.backup(made)
    settle(target)


def settle(path: Path) -> None:
    """Make a SQLite file that nobody has open one plain file, without a log beside it, that survives a power cut.

    Raises sqlite3.Error and OSError.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as rows:
        rows.execute("PRAGMA journal_mode=DELETE")
    for suffix in ("-turn", "-turn-queue"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for one in (path, path.parent):
        descriptor = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_before(path: Path, head: str | None, patience: float) -> Path:
    """Copy the database beside itself before it is brought to `head`; older copies than the last go.

    The caller holds the turn to write.  Raises STORAGE_FULL where there is no room, sqlite3.Error and OSError.
    """
    needed = 2 * sum(one.stat().st_size for one in (path, Path(f"{path}-wal")) if one.exists())
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise RegistryError(
            Code.STORAGE_FULL,
            f"a copy of the database is made before it is changed; with the change itself that takes "
            f"{needed // 1024**2 + 1} MiB in {path.parent}, and {free // 1024**2} MiB are free; free some space",
        )
    target = Path(f"{path}.before-{head}")
    made = Path(f"{target}.new")
    try:
        made.unlink(missing_ok=True)
        with closing(connect(path, patience)) as rows:
            copy(rows, made)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
    kept = [one for one in path.parent.glob(f"{path.name}.before-*") if one.suffix != ".new"]
    for old in sorted(kept, key=lambda one: one.stat().st_mtime)[:-_KEPT]:
        old.unlink()
    return target
