"""`moorage backup`: the rows first, then the bytes that they name; the registry serves on.

    read all rows at one moment ─► link or copy blobs ─► backup.json names both ─► remove what it names no more

Bytes outlive their row by `gc.trash`, so everything that the rows name is still there if this is faster.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from moorage.core import identity
from moorage.db import snapshot
from moorage.db.engine import Database, Tx
from moorage.db.migrate import revision
from moorage.db.migrations.head import HEAD
from moorage.errors import Code, RegistryError
from moorage.features.backup import record, rows
from moorage.features.backup.files import How, holds, is_sound, keep, keep_sound
from moorage.features.backup.record import Record
from moorage.features.backup.rows import Stored
from moorage.storage.store import BlobStore

Progress = Callable[[int, int], None]
"""Told how many blobs are done, of how many."""

_HANDS: Final = 4
"""Files that are written at a time: each waits for the disk."""

_BATCH: Final = 256

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_OF_A_REGISTRY: Final = ("serve.lock", "moorage.db", "blobs/store", "blobs/incarnation")
"""What lies in a folder that a registry uses."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup did; sizes are in bytes."""

    record: Record
    linked: int
    copied: int
    added: int
    """Bytes that were not in the folder before."""
    kept: int
    removed: int


def save(db: Database, store: BlobStore, folder: Path, *, keep_old: bool, progress: Progress) -> Saved:
    """Back up into `folder`, on top of the backup there, if any.  Blocking.

    `keep_old` leaves in the folder what this backup names no more.  Of a damaged blob nothing is taken, and what
    the folder has is kept, if it is sound.  Blobs whose bytes are in neither place are told in the record.  Raises
    UNAVAILABLE or STORAGE_FULL; the last backup can still be used then.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            _check(db, store, folder)
            return _save(db, store, folder, keep_old, progress)
    except OSError as reason:
        code = Code.STORAGE_FULL if reason.errno in FULL else Code.UNAVAILABLE
        raise RegistryError(
            code, f"the backup into {folder} did not succeed: {reason.strerror}; the one before can still be used"
        ) from reason


def _save(db: Database, store: BlobStore, folder: Path, keep_old: bool, progress: Progress) -> Saved:
    at = datetime.now(UTC)
    file = folder / f"moorage-{at:%Y%m%dT%H%M%S%f}Z.db"
    with record.draft(file) as made, _before(folder) as before:
        snapshot.save(db, made)
        lost = _mend(made, before)
        with snapshot.opened(made) as tx:
            found, schema = rows.counts(tx), revision(tx) or ""
            taken = _take(store, folder, tx, before, progress)
        made.replace(file)
    kept = Record(
        at=at.isoformat(timespec="seconds"),
        schema=schema,
        store=store.identity,
        database=file.name,
        files=len(taken.named),
        size=taken.size,
        missing=(*lost, *taken.missing),
        **found,
    )
    for used in _folders(folder, taken.named):
        record.sync_folder(used)
    record.write(folder, kept)
    removed = 0 if keep_old else _tidy(folder, kept, taken.named)
    return Saved(kept, taken.did["linked"], taken.did["copied"], taken.added, taken.did["kept"], removed)


def _mend(made: Path, before: Tx | None) -> list[str]:
    """Give damaged blobs that live in their row the bytes that it has in the last backup, where those are sound.

    What stays damaged, and is in a repository, is returned: its digests.
    """
    with snapshot.opened(made) as tx:
        rotten = rows.rotten(tx)
        sound = _sound(tx, rotten.keys())
    if before is not None:
        sound |= _sound(before, rotten.keys() - sound.keys())
    if sound:
        snapshot.change(made, rows.mend, sound)
    return [digest for digest, linked in rotten.items() if linked and digest not in sound]


@contextmanager
def _before(folder: Path) -> Iterator[Tx | None]:
    """The rows of the last backup; None where there is none."""
    before = record.read(folder)
    if before is None or not (folder / before.database).exists():
        yield None
        return
    with snapshot.opened(folder / before.database) as tx:
        yield tx


def _sound(tx: Tx, wanted: Collection[str]) -> dict[str, bytes]:
    """What a file of rows has for these blobs, where that is sound."""
    found = {digest: rows.content(tx, digest) for digest in wanted}
    return {
        digest: content
        for digest, content in found.items()
        if isinstance(content, bytes) and is_sound((content,), digest, len(content))
    }


@dataclass(slots=True)
class _Taken:
    """What came into the folder, blob by blob."""

    named: set[str]
    missing: list[str]
    did: dict[How, int]
    size: int = 0
    added: int = 0

    def count(self, blob: Stored, how: How) -> None:
        self.did[how] += 1
        if how == "missing":
            if blob.linked:  # what only the trash had is given up at its hour, backup or not
                self.missing.append(blob.digest)
            return
        self.named.add(blob.key)
        self.size += blob.size
        self.added += blob.size if how != "kept" else 0


def _take(store: BlobStore, folder: Path, tx: Tx, before: Tx | None, progress: Progress) -> _Taken:
    taken = _Taken(set(), [], dict.fromkeys(("kept", "linked", "copied", "missing"), 0))
    (folder / "blobs" / "u").mkdir(parents=True, exist_ok=True)
    all_of_them = sum(1 for _ in rows.stored(tx))

    def one(blob: Stored) -> How:
        target = folder / blob.key
        if blob.damaged:
            return keep_sound(target, blob.digest, blob.size)
        target.parent.mkdir(parents=True, exist_ok=True)
        return keep(store, blob.key, blob.size, target)

    blobs, done = rows.stored(tx), 0
    with ThreadPoolExecutor(_HANDS, thread_name_prefix="backup") as hands:
        while batch := list(islice(blobs, _BATCH)):
            for blob, how in zip(batch, hands.map(one, batch), strict=True):
                had = how == "missing" and before is not None and _had(folder, before, blob)
                taken.count(blob, "kept" if had else how)
            done += len(batch)
            progress(done, all_of_them)
    return taken


def _had(folder: Path, before: Tx, blob: Stored) -> bool:
    """Whether the last backup has the blob under another key, from before it was pushed anew; it gets today's then."""
    key = rows.key(before, blob.digest)
    if key is None or key == blob.key or not holds(folder / key, blob.digest, blob.size):
        return False
    target = folder / blob.key
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(folder / key)
    return True


def _folders(folder: Path, keys: set[str]) -> set[Path]:
    """Every folder whose entries the backup relies on."""
    lowest = {folder / os.path.dirname(key) for key in keys}  # noqa: PTH120 - a key is no path yet
    above = {parent for one in lowest for parent in one.parents if parent.is_relative_to(folder)}
    return lowest | above | {folder, folder.absolute().parent}


def _tidy(folder: Path, kept: Record, named: set[str]) -> int:
    """Remove what the backup does not name: bytes, older rows, and what an interrupted one left.  How many blobs."""
    removed = 0
    for shard in (folder / "blobs" / "u").iterdir():
        for path in shard.iterdir():
            if f"blobs/u/{shard.name}/{path.name}" not in named:
                path.unlink()
                removed += 1
    for path in folder.glob("moorage-*.db*"):
        if path.name != kept.database:
            path.unlink()
    return removed


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second backup.  Raises UNAVAILABLE."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegistryError(Code.UNAVAILABLE, f"another backup is being made in {folder}") from None
        yield
    finally:
        os.close(descriptor)


def _check(db: Database, store: BlobStore, folder: Path) -> None:
    """Raise UNAVAILABLE where this folder or this registry is not fit."""
    used = [name for name in _OF_A_REGISTRY if (folder / name).exists()]
    if used:
        raise RegistryError(
            Code.UNAVAILABLE, f"{folder} is in use by a registry ({used[0]} is there): give another folder"
        )
    found = db.read_now(revision)
    if found != HEAD:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the database has a schema at revision {found}, and this program needs {HEAD}: back up with the program "
            "that serves it, or let `moorage serve` bring it up to date",
        )
    before = record.read(folder)
    if before is not None and before.store != store.identity:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"{folder} has the backup of another registry, whose blob store is {before.store}; this one's is "
            f"{store.identity}: give another folder",
        )
    identity.is_known(db, store, "the blob folder")
