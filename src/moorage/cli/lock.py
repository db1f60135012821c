"""One server at a time for each data folder."""

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from moorage.settings import Settings


def lock(settings: "Settings") -> int | None:
    """Make the data folder and, if the database is SQLite, hold its lock: one server at a time.

    Raises UNAVAILABLE.
    """
    # What is kept here is for the registry's own user and group; the mask holds for whatever makes files later on.
    os.umask(os.umask(0o027) | 0o027)
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        if not settings.database_url.startswith("sqlite"):
            return None
        fd = os.open(settings.data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the data folder {settings.data} cannot be used: {reason.strerror}; give another with --data",
        ) from reason
    until = time.monotonic() + _ENDING
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(fd)
            raise RegistryError(
                Code.UNAVAILABLE,
                f"another server is already using {settings.data}; stop it, or name another folder with --data",
            ) from None
        return fd


_ENDING: Final = 1.0
"""Seconds that the workers of a server may need to end which was killed just now."""
