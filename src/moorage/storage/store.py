"""The promises of a blob store.

A store keeps bytes under opaque keys and knows nothing of digests, repositories or uploads: what exists is said
by rows alone.  All methods block and are called from worker threads, except `open` and `room`, which are
quick.

The protocol is made so that object storage can keep it: nothing is renamed, nothing finished is appended to, and
nothing is listed while a client waits.  What a store must remember of an unfinished object, its `Parts`, is kept
by the caller, in the upload's row.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from moorage.errors import Code, RegistryError
from moorage.oci.digest import Buffer

INLINE: Final = 16 * 1024
"""Blobs of at most this many bytes live in their row, under no key."""

LOST: Final = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA})
"""What a disk or its file system says of bytes that it has lost.  Other errors say nothing about the bytes."""

Parts = tuple[int, ...]
"""Sizes in bytes of what was appended so far, in order; their sum is the offset of the next byte."""


@dataclass(frozen=True, slots=True)
class File:
    """An open file of `size` bytes, `start` to `start + count` of it wanted.  The receiver closes `fd`."""

    fd: int
    start: int
    count: int
    size: int


Content = bytes | File | Iterator[bytes]
"""Bytes on their way out, in the form that is cheapest for the store."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One stored object: `modified` is the time of its last change, in seconds since the epoch."""

    key: str
    size: int
    modified: float


def unreadable(reason: OSError) -> RegistryError:
    """What to raise, from the reason: BLOB_UNKNOWN where the disk has lost the object, else UNAVAILABLE."""
    code = Code.BLOB_UNKNOWN if reason.errno in LOST else Code.UNAVAILABLE
    return RegistryError(code, f"the blob's bytes cannot be read from the storage: {reason.strerror}")


class Appending(Protocol):
    """Bytes on their way in.  One writer at a time; others are refused while it lives."""

    def write(self, data: Buffer, /) -> None:
        """Add all of `data`; nothing only forgets what lay behind.

        Raises STORAGE_FULL or UNAVAILABLE; the object then ends anywhere within `data`.
        """
        ...

    def close(self) -> Parts:
        """End the turn and say what is there now.  Does not make it durable."""
        ...


class BlobStore(Protocol):
    """Where blobs' bytes are kept.  Every implementation passes `tests/promises/test_blobstore.py`."""

    @property
    def incarnation(self) -> str:
        """Changes whenever bytes that were appended but not sealed may have been lost, as by a power cut.

        Stays the same for all processes that use the store as long as one of them lives.
        """
        ...

    @property
    def identity(self) -> str:
        """Which store this is: made when it is first opened, kept for ever.  The database remembers it."""
        ...

    def become(self, identity: str, /) -> None:
        """Take over the identity of the store that is being restored here; durable when it returns."""
        ...

    def append(self, key: str, parts: Parts, /) -> Appending:
        """Take the turn to write `key` where `parts` end; the first write forgets whatever lies behind that point.

        Until then nothing has changed, so that the caller can make sure that its `parts` are still true.  Raises
        RANGE_INVALID while another writer is at it, BLOB_UPLOAD_INVALID where fewer bytes are there than `parts`
        say.
        """
        ...

    def seal(self, key: str, parts: Parts, /) -> None:
        """Return only when the object is whole and survives a power cut.

        Raises RANGE_INVALID while a writer is at it, BLOB_UPLOAD_INVALID where it is not what `parts` say,
        STORAGE_FULL or UNAVAILABLE.  Where the disk refused to sync it, the object is gone: it can never be sealed.
        """
        ...

    def open(self, key: str, start: int, stop: int, /) -> Content:
        """Bytes `start` up to `stop`.

        Raises BLOB_UNKNOWN where the object is missing, or `unreadable`; reading what is given may raise OSError too.
        """
        ...

    def size(self, key: str, /) -> int:
        """How many bytes are there, of which none is read.  Raises as `open` does."""
        ...

    def delete(self, key: str, /) -> None:
        """Remove an object, finished or not; one that is not there is no error."""
        ...

    def keys(self) -> Iterator[StoredKey]:
        """Everything stored but what is lost, in no order, slowly: for maintenance, never while a client waits."""
        ...

    def room(self) -> int | None:
        """How many more bytes fit, quickly; None where nobody can tell."""
        ...

    def check(self) -> None:
        """Raise UNAVAILABLE, saying why, where the store cannot be written: what readiness asks."""
        ...
