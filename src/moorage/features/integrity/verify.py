"""The one rule of what is sound: bytes have the digest and the size that their row says."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeGuard

from moorage.core.intake import pieces
from moorage.db.blobs import Blob
from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest, hasher
from moorage.storage.store import BlobStore, File, unreadable


class Kind(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNCHECKED = "unchecked"
    SIZE = "size"
    HASH = "hash"
    DAMAGED = "damaged"
    ORPHAN = "orphan"
    EDGE = "edge"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Damage:
    """Why bytes are not what their row says.

    `true_size` is set where the bytes have their digest and it is the row that has the wrong size.
    """

    kind: Kind
    words: str
    true_size: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"

    @property
    def lost(self) -> bool:
        """Whether nothing could be read, which a missing disk explains as well as rot does."""
        return self.kind in {Kind.MISSING, Kind.UNREADABLE}


def is_rotten(damage: Damage | None) -> TypeGuard[Damage]:
    """Whether it is the bytes that are wrong, and not only the size that their row says."""
    return damage is not None and damage.true_size is None


class Reading:
    """One blob's bytes on their way through a hash, a slice at a time.  Close it if it is not read to its end."""

    def __init__(self, store: BlobStore, blob: Blob) -> None:
        self.blob = blob
        self._hasher = hasher(blob.digest.algorithm)
        self._pieces = _stored(store, blob)
        self._size = 0
        self._failed: RegistryError | None = None

    def go_on(self, most: int) -> int:
        """Read at least `most` bytes unless fewer are left, and say how many: less means the end.  Blocks."""
        taken = 0
        try:
            while taken < most and (piece := next(self._pieces, b"")):
                self._hasher.update(piece)
                taken += len(piece)
        except RegistryError as error:
            self._failed = error
        self._size += taken
        return 0 if self._failed else taken

    def damage(self) -> Damage | None:
        """What is wrong with the blob, once all of it was read.

        Raises UNAVAILABLE where it could not be, and that says nothing about its bytes.
        """
        if self.blob.content is not None:
            return content(self.blob.digest, self.blob.size, self.blob.content)
        if self._failed is None:
            return _judge(self.blob.digest, self.blob.size, self._hasher.digest(), self._size)
        if self._failed.code is not Code.BLOB_UNKNOWN:
            raise self._failed
        refused = isinstance(self._failed.__cause__, OSError)  # by the disk
        return Damage(Kind.UNREADABLE if refused else Kind.MISSING, self._failed.message)

    def close(self) -> None:
        self._pieces.close()


def content(digest: Digest, size: int, stored: object) -> Damage | None:
    """What is wrong with bytes that live in their row; a rotten file of SQLite may give something else for them."""
    if not isinstance(stored, bytes):
        return Damage(Kind.HASH, f"its row has {type(stored).__name__} where bytes were")
    return _judge(digest, size, Digest.of(stored, digest.algorithm), len(stored))


def _judge(digest: Digest, size: int, found: Digest, read: int) -> Damage | None:
    if found == digest:
        words = f"all of its {read} bytes are there, but its row says {size}"
        return None if read == size else Damage(Kind.SIZE, words, true_size=read)
    if read != size:
        return Damage(Kind.SIZE, f"{read} bytes are stored instead of {size}")
    return Damage(Kind.HASH, f"the stored bytes have the digest {found}")


def _stored(store: BlobStore, blob: Blob) -> Generator[bytes, None, None]:
    """All of a blob's bytes, however many its row promises: so some that were added are seen too."""
    if blob.content is not None:
        if isinstance(blob.content, bytes):
            yield blob.content
        return
    try:
        found = store.open(blob.key or "", 0, blob.size)
        yield from pieces(replace(found, count=found.size) if isinstance(found, File) else found)
    except ValueError as error:  # what stands in the row is no key
        raise RegistryError(Code.BLOB_UNKNOWN, str(error)) from error
    except OSError as error:
        raise unreadable(error) from error
