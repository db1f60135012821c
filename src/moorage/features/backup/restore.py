"""`moorage restore`: bytes first, rows last, in one transaction; collection is disarmed until a check has passed.

    look at everything ─► a copy of the rows, brought up to date ─► bytes, each hashed on its way ─► the rows

Until the rows are in, nothing refers to the bytes; a restore that was interrupted is simply run again.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from moorage.core import identity
from moorage.core.intake import pieces
from moorage.db import collection, snapshot
from moorage.db.engine import Tx, open_database
from moorage.db.migrate import migrate, require_known
from moorage.errors import Code, RegistryError
from moorage.features.backup import record, rows
from moorage.features.backup.files import holds, is_sound
from moorage.features.backup.record import Record
from moorage.features.backup.rows import Stored
from moorage.features.backup.save import FULL, Progress
from moorage.oci import digest as digests
from moorage.oci.digest import Digest
from moorage.storage.store import BlobStore

_HANDS: Final = 4
_BATCH: Final = 256
_PIECE: Final = 1024 * 1024

How = Literal["kept", "copied", "damaged", "missing"]


@dataclass(slots=True)
class Restored:
    """What a restore did."""

    record: Record
    copied: int = 0
    kept: int = 0
    """Blobs that were there already."""
    size: int = 0
    """Bytes that were copied."""
    missing: list[str] = field(default_factory=list)
    """Digests of blobs that the backup has not, or not as they were: they are unknown until somebody pushes them."""
    lost: list[str] = field(default_factory=list)
    """The same, with those that no repository has: a push may bring any of them."""
    healed: list[str] = field(default_factory=list)
    """Digests of blobs that were damaged in the registry, and are sound now."""

    def count(self, blob: Stored, how: How) -> None:
        if how in {"damaged", "missing"}:
            self.lost.append(blob.digest)
            if blob.linked:
                self.missing.append(blob.digest)
            return
        if how == "kept":
            self.kept += 1
        else:
            self.copied += 1
            self.size += blob.size
        if blob.damaged:
            self.healed.append(blob.digest)


def restore(
    source: Path, url: str, store: BlobStore, work: Path, now: int, *, partial: bool, progress: Progress
) -> Restored:
    """Bring a backup back into an empty database and a store that is new, or the one it was made of.  Blocking.

    `work` is a folder with room for the rows.  With `partial`, a backup is taken that lacks some of its bytes.
    Raises UNAVAILABLE or STORAGE_FULL before the rows are in: then nothing refers to what was copied.
    """
    kept = _read(source)
    database = open_database(url)
    try:
        snapshot.refuse(snapshot.held(database))
    finally:
        database.close_now()
    migrate(url, copy=False)
    try:
        for left in work.glob("restoring.db.*"):  # by one that was killed
            left.unlink()
        with record.draft(work / "restoring.db") as copy:
            shutil.copyfile(source / kept.database, copy)
            snapshot.change(copy, _prepare, kept, now)
            with snapshot.opened(copy) as tx:
                there = _look(source, kept, store, tx, partial)
                restored = _bring(source, kept, store, tx, there, progress)
            snapshot.change(copy, _settle, restored)
            store.become(kept.store)
            snapshot.load(copy, url)
    except OSError as reason:
        code = Code.STORAGE_FULL if reason.errno in FULL else Code.UNAVAILABLE
        raise RegistryError(
            code, f"the backup in {source} was not restored: {reason.strerror} ({reason.filename or work})"
        ) from reason
    return restored


def _read(source: Path) -> Record:
    kept = record.read(source)
    if kept is None:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"{source} is no backup, or one that was never finished: there is no backup.json in it",
        )
    require_known(kept.schema, f"the backup in {source}")
    if not (source / kept.database).exists():
        raise RegistryError(Code.UNAVAILABLE, f"the backup in {source} is incomplete: {kept.database} is missing")
    return kept


def _prepare(tx: Tx, kept: Record, now: int) -> None:
    rows.forget_passing_things(tx)
    identity.remember(tx, kept.store, now)
    collection.disarm(tx, "restored", f"restored from the backup of {kept.at}; run `moorage fsck`", now)


def _settle(tx: Tx, restored: Restored) -> None:
    rows.mark_lost(tx, restored.lost, f"lost before it was restored from the backup of {restored.record.at}")
    rows.absolve(tx, restored.healed)


def _look(source: Path, kept: Record, store: BlobStore, tx: Tx, partial: bool) -> dict[str, int]:
    """The sizes of what is in the store already.  Raises UNAVAILABLE where it is another's, or bytes are lacking."""
    there = {one.key: one.size for one in store.keys()}  # noqa: SIM118 - no dictionary
    unknown, lacking = set(there), []
    for blob in rows.stored(tx):
        unknown.discard(blob.key)
        wanted = blob.linked and not blob.damaged and blob.digest not in kept.missing
        if wanted and there.get(blob.key) != blob.size:
            path = source / blob.key
            if not path.is_file() or path.stat().st_size != blob.size:
                lacking.append(blob.digest)
    if unknown and store.identity != kept.store:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the blob folder already holds {len(unknown)} files that are not of this backup, and is not the one it "
            "was made of: restore into an empty folder; nothing was changed",
        )
    if lacking and not partial:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"the backup in {source} is incomplete: {len(lacking)} of {kept.files} blobs are missing or cut, "
            f"{lacking[0]} first; --partial restores the others; nothing was changed",
        )
    return there


def _bring(source: Path, kept: Record, store: BlobStore, tx: Tx, there: dict[str, int], progress: Progress) -> Restored:
    restored = Restored(kept, missing=[digest for digest, linked in rows.rotten(tx).items() if linked])
    trusted = store.identity == kept.store

    def one(blob: Stored) -> How:
        if there.get(blob.key) == blob.size and ((trusted and not blob.damaged) or _is_whole(store, blob)):
            store.seal(blob.key, (blob.size,))
            return "kept"
        path = source / blob.key
        if blob.damaged and not holds(path, blob.digest, blob.size):
            return "missing"  # and what the store has stays: it may tell its operator why
        return _copy(path, store, blob)

    blobs = rows.stored(tx)
    with ThreadPoolExecutor(_HANDS, thread_name_prefix="restore") as hands:
        while batch := list(islice(blobs, _BATCH)):
            for blob, how in zip(batch, hands.map(one, batch), strict=True):
                restored.count(blob, how)
            progress(restored.kept + restored.copied, kept.files)
    return restored


def _is_whole(store: BlobStore, blob: Stored) -> bool:
    return is_sound(pieces(store.open(blob.key, 0, blob.size)), blob.digest, blob.size)


def _copy(path: Path, store: BlobStore, blob: Stored) -> How:
    """Bring one blob's bytes into the store, unless they are not what the row says."""
    digest = Digest.parse(blob.digest)
    hasher = digests.hasher(digest.algorithm)
    # A new file in any case: the old one may be the very one that the backup is a link to.
    store.delete(blob.key)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return "missing"
    with file:
        turn = store.append(blob.key, ())
        try:
            while piece := file.read(_PIECE):
                hasher.update(piece)
                turn.write(piece)
        finally:
            parts = turn.close()
    if hasher.digest() != digest:
        store.delete(blob.key)
        return "damaged"
    store.seal(blob.key, parts)
    return "copied"
