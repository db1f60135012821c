"""Taking in a blob's bytes: hashed and written in one pass, few of them kept in the row instead.

    body ──> up to INLINE bytes: memory ──────────────────────> the upload's row
         └─> more: a worker thread hashes and writes a piece ──> the store

No transaction is open meanwhile, and the loop never touches large pieces.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from threading import BoundedSemaphore, Lock
from typing import Final, Protocol, TypeVar, TypeVarTuple

from moorage.core import room
from moorage.core.registry import Registry
from moorage.db import uploads
from moorage.db.uploads import Upload
from moorage.errors import Code, RegistryError
from moorage.oci import digest as digests
from moorage.oci.digest import Buffer, Digest, Hasher
from moorage.storage.store import INLINE, Appending, BlobStore, Content, File

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Source(Protocol):
    """A body in pieces, each valid until the next is asked for."""

    @property
    def length(self) -> int | None:
        """How many bytes it has, where that is known."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]: ...

    def at_hand(self) -> memoryview | None:
        """For a thread that has used a piece: one that has come meanwhile, in its place; None where it must wait."""
        ...


Claim = Callable[[Upload], Upload]

_PIECE = 1024 * 1024

_CORES: Final = BoundedSemaphore(max(1, len(os.sched_getaffinity(0)) - 1))
"""How many threads hash and write at a time: one core is left to the loop, for which everybody waits."""


async def in_thread(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run blocking work on the bytes' threads."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


def key_of(upload: Upload) -> str:
    """Where the bytes of an upload lie, from the first to long after: keys are never used again."""
    return f"blobs/u/{upload.id[:2]}/{upload.id}"


class Intake:
    """One client's turn at an upload.

    `claim` is called once the store has given us the turn and before anything is written: it raises the row's
    epoch, or RANGE_INVALID where somebody else has gone on meanwhile.  Without it a client that read the row
    early and sends its bytes late would write over those that another was promised.
    """

    def __init__(self, registry: Registry, upload: Upload, hasher: Hasher | None, claim: Claim | None = None) -> None:
        """`hasher` has hashed what lies in the store; None as long as nothing does."""
        self._registry, self._upload, self._hasher, self._claim = registry, upload, hasher, claim
        self._store = registry.store
        self._small = bytearray(upload.content) if upload.content is not None else None
        self._appending: Appending | None = None
        self._parts = upload.parts
        self._turn = Lock()
        self._unasked = 0
        """How many more bytes may be written before there is another look at how much room is left."""

    async def take(self, body: Source) -> Upload:
        """Take all of `body` and give the upload as it then stands; nothing of that is written down yet.

        Whatever the body raises is passed on after the turn was closed; `progress` then tells what arrived.
        Raises RANGE_INVALID while another client is at this upload.
        """
        try:
            async for piece in body:
                if self._small is not None and len(self._small) + len(piece) <= INLINE:
                    self._small += piece
                else:
                    await in_thread(self._write, piece, body)
        finally:
            if self._appending is not None:
                # Shielded: a cancelled request still waits for its thread, or the file would be closed under it.
                await asyncio.shield(in_thread(self._close))
        return self.progress()

    def progress(self) -> Upload:
        """The upload with all that has arrived."""
        if self._hasher is None:
            small = bytes(self._small or b"")
            digest, state = Digest.of(small, self._upload.digest.algorithm), None
        else:
            small, digest, state = None, self._hasher.digest(), self._hasher.state()
        return self._upload._replace(
            parts=self._parts,
            digest=digest,
            hash_state=state,
            incarnation=self._store.incarnation,
            content=small,
        )

    def give_back(self) -> None:
        """Free what this body took, where there is no room for the rest of it; the upload stands as before."""
        if self._appending is None:
            return
        with suppress(RegistryError):  # somebody else has gone on with it, or a row cannot be written either
            turn = self._store.append(key_of(self._upload), self._upload.parts)
            try:
                if self._claim is not None:
                    self._upload = self._claim(self._upload)
                turn.write(b"")
            finally:
                turn.close()

    def _write(self, piece: Buffer, body: Source) -> None:
        """Write a piece, and what has come meanwhile."""
        with self._turn:
            self._ask_for_room(piece)
            if self._appending is None:
                self._appending = self._store.append(key_of(self._upload), self._parts)
                if self._claim is not None:
                    self._upload = self._claim(self._upload)
            if self._hasher is None:
                small, self._small = self._small or bytearray(), None
                self._hasher = digests.hasher(self._upload.digest.algorithm)
                self._hasher.update(small)
                self._appending.write(small)
            with _CORES:
                self._appending.write(piece)
                self._hasher.update(piece)
                while (more := body.at_hand()) is not None:
                    self._ask_for_room(more)
                    self._appending.write(more)
                    self._hasher.update(more)

    def _ask_for_room(self, piece: Buffer) -> None:
        self._unasked -= len(piece)
        if self._unasked < 0:
            self._unasked = _PIECE
            room.for_bytes(self._registry, len(piece))

    def _close(self) -> None:
        with self._turn:
            if self._appending is not None:
                self._parts = self._appending.close()


async def go_on(registry: Registry, upload: Upload) -> Intake:
    """Continue an upload where it stands.  Raises BLOB_UPLOAD_INVALID where its bytes did not survive."""

    def claim(upload: Upload) -> Upload:
        claimed = registry.db.write_now(uploads.advance, upload, registry.now(), durable=False)
        if claimed is None:
            raise outrun()
        return claimed

    if upload.content is not None:
        return Intake(registry, upload, None, claim)
    saved = None
    if upload.incarnation == registry.store.incarnation:
        saved = digests.resume(upload.hash_state, upload.digest)
    if saved is None:
        # The process that hashed these bytes is gone, and perhaps some of them with it: believe only the bytes.
        saved = await in_thread(rehash, registry.store, upload, upload.digest.algorithm)
        if saved.digest() != upload.digest:
            raise RegistryError(Code.BLOB_UPLOAD_INVALID, "bytes of this upload were lost; start a new one")
    return Intake(registry, upload, saved, claim)


def outrun() -> RegistryError:
    """Somebody else went on with the upload after we had read where it stands."""
    return RegistryError(
        Code.RANGE_INVALID,
        "another client has written to this upload meanwhile; ask for its state, then go on",
        retry=True,
    )


def rehash(store: BlobStore, upload: Upload, algorithm: str) -> Hasher:
    """Hash an upload's bytes again, by reading them: blocking."""
    hasher = digests.hasher(algorithm)
    if upload.content is not None:
        hasher.update(upload.content)
    elif upload.offset:
        for piece in pieces(store.open(key_of(upload), 0, upload.offset)):
            hasher.update(piece)
    return hasher


def pieces(content: Content) -> Iterator[bytes]:
    """The bytes of a stored object in pieces of at most 1 MiB: blocking.  Closes what `content` holds open."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, File):
        try:
            at, stop = content.start, content.start + content.count
            while at < stop and (piece := os.pread(content.fd, min(_PIECE, stop - at), at)):
                at += len(piece)
                yield piece
        finally:
            os.close(content.fd)
    else:
        yield from content


async def digest_in(registry: Registry, upload: Upload, algorithm: str) -> Digest:
    """The digest of all that has arrived, in the algorithm the client finishes with."""
    if upload.digest.algorithm == algorithm:
        return upload.digest
    return (await in_thread(rehash, registry.store, upload, algorithm)).digest()
