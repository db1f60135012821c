"""What a command needs of the registry whose data it works on."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from moorage.db.engine import Database
from moorage.errors import Code, RegistryError
from moorage.settings import Settings, load

Config = Annotated[
    Path | None, typer.Option("--config", help="The config.yml; without it, the one that `serve` would find.")
]
Data = Annotated[Path | None, typer.Option("--data", help="The folder that everything is kept in, as for `serve`.")]


def settings_of(config: Path | None, data: Path | None) -> Settings:
    """The settings that `serve` would have.  Raises SettingsError, and UNSUPPORTED where nothing is kept."""
    settings = load(config, overrides={"data": str(data) if data else None}).settings
    if settings.ephemeral:
        raise RegistryError(Code.UNSUPPORTED, "this registry keeps everything in memory: there is nothing to work on")
    return settings


def lock(settings: Settings) -> int | None:
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
                f"another server is already using {settings.data}; stop it, or give this one another --data",
            ) from None
        return fd


_ENDING: Final = 1.0
"""Seconds that the workers of a server may need to end which was killed just now."""


@contextmanager
def rows(settings: Settings) -> Iterator[Database]:
    """The database of a registry that is there, at this version's schema.  Raises UNAVAILABLE where it is not."""
    from moorage.app import existing  # the whole registry: only where a command needs it

    database = existing(settings)
    try:
        yield database
    finally:
        database.close_now()


class Progress:
    """A line on the terminal that is written over; nothing where there is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._due = 0.0
        self._shown = sys.stderr.isatty()

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if self._shown and (now >= self._due or done >= whole):
            self._due = now + _OFTEN
            end = "\n" if done >= whole else ""
            print(f"\r{self._what}: {done:,} of {whole:,} blobs", end=end, file=sys.stderr, flush=True)


_OFTEN: Final = 0.2
"""Seconds between two lines."""


def bytes_in_words(size: int) -> str:
    """`1.5 GiB`."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "bytes" else f"{size} bytes"
