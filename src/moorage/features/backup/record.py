"""A backup's folder, and the page that makes it one.

    DEST/
    ├── backup.json                  written last, in one step: what is not in it is no backup
    ├── moorage-20260102T030405Z.db  the rows, a SQLite file whatever database they came from
    └── blobs/u/3f/3f0c…d1           the bytes those rows name, under the keys that they have in the store

While the next backup is made, the page still names the rows of the last one, and their bytes are all there.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from moorage.errors import Code, RegistryError

FORMAT: Final = 1

_PAGE: Final = "backup.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What `backup.json` says; sizes are in bytes."""

    at: str
    """When the rows were read: ISO 8601, UTC."""
    schema: str
    """The revision of their schema."""
    store: str
    """The identity of the store that the blobs come from."""
    database: str
    """The name of the file with the rows."""
    repositories: int
    manifests: int
    blobs: int
    files: int
    """How many blobs have bytes of their own; the others live in their rows."""
    size: int
    """Of those files together."""
    missing: tuple[str, ...] = ()
    """The digests of blobs that the registry had lost already, and the folder has not either."""


def read(folder: Path) -> Record | None:
    """The backup in `folder`, or None where there is none.  Raises UNAVAILABLE where it cannot be understood."""
    page = folder / _PAGE
    try:
        found = json.loads(page.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as reason:
        raise RegistryError(Code.UNAVAILABLE, f"{page} cannot be read: {reason}") from reason
    form = found.pop("format", None) if isinstance(found, dict) else None
    if form != FORMAT:
        raise RegistryError(
            Code.UNAVAILABLE, f"{page} has format {form}, and this program knows {FORMAT}: use the program that made it"
        )
    try:
        return Record(**{**found, "missing": tuple(found["missing"])})
    except (KeyError, TypeError) as reason:
        raise RegistryError(Code.UNAVAILABLE, f"{page} is not what a backup writes: {reason}") from reason


def write(folder: Path, record: Record) -> None:
    """Make `record` the backup in `folder`, in one durable step.  Raises OSError."""
    made = folder / f"{_PAGE}.new"
    with made.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(record)}, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    made.replace(folder / _PAGE)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.  Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A name beside `target` for what is being made; gone in the end, unless it was given its real name."""
    made = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    try:
        yield made
    finally:
        made.unlink(missing_ok=True)
