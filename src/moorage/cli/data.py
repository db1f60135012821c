"""What a command needs of the registry whose data it works on."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moorage.cli.words import folder
from moorage.db.engine import Database
from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from moorage.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The config.yml; without it and --data, the one that `serve` would find."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=folder,
        metavar="<path>",
        help="The folder that everything is kept in, as for `serve`; no config.yml is looked for.",
    ),
]


def settings_of(config: Path | None, data: Path | None) -> "Settings":
    """The settings that `serve` would have.  Raises SettingsError, and UNSUPPORTED where nothing is kept."""
    from moorage.settings import load

    settings = load(config, overrides={"data": str(data) if data else None}).settings
    if settings.ephemeral:
        raise RegistryError(Code.UNSUPPORTED, "this registry keeps everything in memory: there is nothing to work on")
    return settings


@contextmanager
def rows(settings: "Settings") -> Iterator[Database]:
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
