"""After a crash: whether the database file is sound, before anything is served from it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from moorage.db.engine import parse_url
from moorage.db.link import is_damaged
from moorage.errors import Code, RegistryError

_MOST: Final = 256 * 1024 * 1024
"""Bytes: a larger file is not looked through while everybody waits for the start."""


def check_after_crash(url: str) -> None:
    """Look through a SQLite file that was not closed properly, before it is opened.  Raises UNAVAILABLE.

    Who closes it last removes its log: so there is one left only after a crash, or while others have it open.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        return
    path = Path(parsed.database or "")
    try:
        if not Path(f"{path}-wal").stat().st_size or path.stat().st_size > _MOST:
            return
    except OSError:  # whoever opens it will be told
        return
    found = _first_fault(path)
    if found is not None:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the database file {path} is damaged ({found}); nothing is served from it, lest that spreads: restore a "
            "backup of it, and keep the damaged file",
        )


def _first_fault(path: Path) -> str | None:
    try:
        # Read-only, so that closing does not carry the log over into a file that will be wanted as it was.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=10, uri=True)) as raw:
            ((found,),) = raw.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        return str(error) if is_damaged(error) else None
    return None if found == "ok" else " ".join(str(found).split())
