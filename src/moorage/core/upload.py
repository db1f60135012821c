"""Pushing blobs: start, append, finish, cancel, mount (distribution-spec, "Pushing blobs").

Bytes first, name last: they are hashed, sealed and only then named by a row, in the transaction whose commit is
the 201.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from moorage.access.action import Action
from moorage.access.permit import Permit
from moorage.core import room
from moorage.core.damage import condemn
from moorage.core.intake import Intake, Source, digest_in, go_on, in_thread, key_of, outrun
from moorage.core.ports import FinishUpload
from moorage.core.pull import is_lost, lost
from moorage.core.registry import Registry, read_only
from moorage.db import blobs, events, repositories, trash, uploads
from moorage.db.blobs import Blob
from moorage.db.engine import Tx
from moorage.db.uploads import Upload
from moorage.errors import Code, Interrupted, RegistryError
from moorage.oci.digest import CANONICAL, Digest, of_nothing
from moorage.oci.names import RepositoryName
from moorage.storage.store import INLINE

__all__ = ["Upload", "append", "cancel", "finish", "holders", "mount", "start", "status", "whole"]

HOLDERS: Final = 64
"""How many repositories are looked at for a mount that names none."""


@dataclass(frozen=True, slots=True)
class _Nothing:
    """An empty body."""

    length: int | None = 0

    def __aiter__(self) -> "_Nothing":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def at_hand(self) -> None:
        return None


NOTHING: Final[Source] = _Nothing()


async def start(registry: Registry, permit: Permit, algorithm: str = CANONICAL) -> Upload:
    """Begin an upload that expects to be finished with a digest of `algorithm`.

    Its row is not synced: losing it makes a client start over.
    """
    _check(registry, permit)
    room.for_bytes(registry, 0)
    room.for_rows(registry)
    upload = _new(registry, permit, algorithm)
    await registry.db.write(uploads.add, upload, registry.now(), durable=False)
    return upload


async def status(registry: Registry, permit: Permit, identity: str) -> Upload:
    """The upload as it stands.  Raises BLOB_UPLOAD_UNKNOWN."""
    permit.require(Action.PUSH)
    return await _open(registry, permit, identity)


async def append(registry: Registry, permit: Permit, identity: str, body: Source, at: int | None = None) -> Upload:
    """Add a chunk that begins at offset `at`, or wherever the upload stands.

    Raises RANGE_INVALID, with the true offset as detail, for a chunk that does not begin there.  Of a chunk that
    was cut short, what arrived is kept.
    """
    _check(registry, permit)
    upload = await _open(registry, permit, identity)
    _check_offset(upload, at)
    _check_room(registry, upload, body)
    return await _advance(registry, await _receive(registry, upload, body))


async def finish(
    registry: Registry, permit: Permit, identity: str, digest: Digest, body: Source, at: int | None = None
) -> Digest:
    """Add the last chunk, if any, and make the upload a blob of the repository; durable when it returns.

    Raises DIGEST_INVALID where the bytes have another digest, and STORAGE_FULL or UNAVAILABLE where they cannot be
    synced; the upload is gone then.  Finishing again with the same digest is no error: the first answer may have been
    lost.
    """
    _check(registry, permit)
    upload = await _find(registry, permit, identity)
    if upload.finished is not None:
        if upload.finished == digest and await _has(registry, permit.repository, digest):
            return digest
        raise _unknown(identity)
    _check_offset(upload, at)
    _check_room(registry, upload, body)
    if upload.offset == 0 and upload.digest.algorithm != digest.algorithm:
        upload = upload._replace(digest=of_nothing(digest.algorithm))
    upload = await _receive(registry, upload, body)
    try:
        _compare(upload, await digest_in(registry, upload, digest.algorithm), digest)
        await _seal(registry, upload)
    except RegistryError as error:
        # A second sync may succeed over bytes that the first one lost: nobody goes on with them.
        if error.code is not Code.RANGE_INVALID:  # that is somebody else, who does
            await registry.db.write(_forget, upload, registry.now(), durable=False)
        raise
    return await _finish(registry, permit, upload, digest, session=True)


async def whole(registry: Registry, permit: Permit, digest: Digest, body: Source) -> Digest:
    """Push a blob in one request (end-4b).  Raises DIGEST_INVALID; nothing is kept then."""
    _check(registry, permit)
    upload = _new(registry, permit, digest.algorithm)
    _check_room(registry, upload, body)

    def claim(upload: Upload) -> Upload:
        # No key without a row: what is killed from here on is an abandoned upload like any other.
        registry.db.write_now(uploads.add, upload, registry.now(), durable=False)
        return upload

    intake = Intake(registry, upload, None, claim)
    try:
        upload = await intake.take(body)
        _compare(upload, upload.digest, digest)
        await _seal(registry, upload)
    except BaseException:
        left = intake.progress()
        if left.content is None:
            await registry.db.write(_forget, left, registry.now(), durable=False)
        raise
    return await _finish(registry, permit, upload, digest, session=False)


async def cancel(registry: Registry, permit: Permit, identity: str) -> None:
    """Drop an upload and its bytes.  Raises BLOB_UPLOAD_UNKNOWN."""
    permit.require(Action.PUSH)
    upload = await _open(registry, permit, identity)
    await registry.db.write(_forget, upload, registry.now(), durable=False)


async def mount(registry: Registry, permit: Permit, source: Permit, digest: Digest) -> bool:
    """Give the repository a blob that the source has.  False where the source does not have it, or lost its bytes."""
    source.require(Action.PULL)
    _check(registry, permit)
    room.for_rows(registry)
    if not await _has(registry, source.repository, digest):
        return False
    return await registry.db.write(_mount, registry, permit, source.repository, digest, brief=True)


async def holders(registry: Registry, permit: Permit, digest: Digest) -> list[RepositoryName]:
    """Some of the repositories that have the blob; the caller must ask for a permit before naming any."""
    permit.require(Action.PUSH)
    return await registry.db.scan(blobs.holders, digest, HOLDERS)


def _check(registry: Registry, permit: Permit) -> None:
    permit.require(Action.PUSH)
    if registry.policy.read_only:
        raise read_only()


def _check_room(registry: Registry, upload: Upload, body: Source) -> None:
    """Refuse a body for which there is no room before any of it is read.  Raises STORAGE_FULL.

    What comes without a length is looked at again as it arrives.
    """
    room.for_rows(registry)
    if body.length is None or (body.length and upload.offset + body.length > INLINE):
        room.for_bytes(registry, body.length or 0)


def _new(registry: Registry, permit: Permit, algorithm: str) -> Upload:
    return Upload(
        id=str(uuid.uuid4()),
        repository=permit.repository,
        actor=permit.actor.name,
        epoch=0,
        parts=(),
        digest=of_nothing(algorithm),
        hash_state=None,
        incarnation=registry.store.incarnation,
        finished=None,
        content=b"",
    )


async def _find(registry: Registry, permit: Permit, identity: str) -> Upload:
    """An upload of this repository and this actor; to anybody else it does not exist."""
    upload = await registry.db.read(uploads.find, permit.repository, identity)
    if upload is None or upload.actor != permit.actor.name:
        raise _unknown(identity)
    return upload


async def _open(registry: Registry, permit: Permit, identity: str) -> Upload:
    upload = await _find(registry, permit, identity)
    if upload.finished is not None:
        raise _unknown(identity)
    return upload


async def _has(registry: Registry, repository: RepositoryName, digest: Digest) -> bool:
    """Whether the repository has the blob, so that nobody need push it."""
    linked = await registry.db.read(blobs.find, repository, digest)
    return linked is not None and not await is_lost(registry, linked.blob)


def _unknown(identity: str) -> RegistryError:
    return RegistryError(
        Code.BLOB_UPLOAD_UNKNOWN,
        "there is no such upload in this repository: it was finished or cancelled, or has expired; start a new one",
        upload=identity[:80],
    )


def _check_offset(upload: Upload, at: int | None) -> None:
    if at is not None and at != upload.offset:
        raise RegistryError(
            Code.RANGE_INVALID,
            f"the chunk begins at byte {at}, but the next byte of this upload is {upload.offset}; go on from there",
            offset=upload.offset,
        )


async def _receive(registry: Registry, upload: Upload, body: Source) -> Upload:
    """Take in a body; when it is cut short, write down how far it came before saying so.

    Where there is no room for it, nothing of it is kept: those who would go on later have to be given room first.
    """
    if upload.content is not None and body.length == 0:
        return upload
    intake = await go_on(registry, upload)
    try:
        return await intake.take(body)
    except (Interrupted, RegistryError) as cut:
        if isinstance(cut, Interrupted) or cut.code is Code.REQUEST_TIMEOUT:
            await registry.db.write(uploads.advance, intake.progress(), registry.now(), durable=False)
        elif cut.code is Code.STORAGE_FULL:
            await in_thread(intake.give_back)
        raise


async def _advance(registry: Registry, upload: Upload) -> Upload:
    advanced = await registry.db.write(uploads.advance, upload, registry.now(), durable=False)
    if advanced is None:
        raise outrun()
    return advanced


async def _seal(registry: Registry, upload: Upload) -> None:
    if upload.content is None:
        await in_thread(registry.store.seal, key_of(upload), upload.parts)


def _compare(upload: Upload, arrived: Digest, wanted: Digest) -> None:
    if arrived != wanted:
        raise RegistryError(
            Code.DIGEST_INVALID,
            f"the {upload.offset} bytes that arrived do not have the digest {wanted}; push the blob again",
            digest=str(wanted),
        )


def _forget(tx: Tx, upload: Upload, now: int) -> None:
    """The upload's row goes; its bytes, which nothing names then, are left to the collector."""
    if uploads.remove(tx, upload.id):
        trash.discard(tx, key_of(upload), upload.digest, 0, now)


_Tried = tuple[str | None, str | None]
"""The key of somebody else's copy, and what a look for it found wrong."""


class _UntriedError(Exception):
    """Somebody else pushed the blob before: whether that copy is there has to be seen before ours is let go."""

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob)
        self.blob = blob


async def _finish(registry: Registry, permit: Permit, upload: Upload, digest: Digest, *, session: bool) -> Digest:
    """Name durable bytes."""
    tried: _Tried | None = None
    while True:
        try:
            await registry.db.write(_name, registry, permit, upload, digest, session, tried, brief=True)
        except _UntriedError as copy:
            tried = copy.blob.key, lost(registry, copy.blob)
        else:
            return digest


def _name(
    tx: Tx, registry: Registry, permit: Permit, upload: Upload, digest: Digest, session: bool, tried: _Tried | None
) -> None:
    """The rows that make durable bytes a blob of the repository.  Raises _UntriedError.

    A session that has been finished is remembered, so that a repeated PUT gets its answer again.
    """
    now = registry.now()
    if session:
        done = uploads.advance(tx, upload._replace(finished=digest, content=None, hash_state=None), now) is not None
    else:
        done = upload.content is not None or uploads.remove(tx, upload.id)
    if not done:
        raise outrun()
    repository = repositories.ensure(tx, permit.repository, now)
    registry.ask_gates(tx, permit, FinishUpload(digest, upload.offset))
    key = key_of(upload) if upload.content is None else None
    blob = blobs.add(tx, digest, upload.offset, key, upload.content, now)
    if blob.damaged is None and blob.key not in (None, key):
        if tried is None or tried[0] != blob.key:
            raise _UntriedError(blob)
        if tried[1] is not None and condemn(tx, blob, tried[1], now):
            blob = blob._replace(damaged=tried[1])
    spare, kept_until = key if blob.key != key else None, now  # somebody else was first: one copy is enough
    if blob.damaged is not None and blobs.heal(tx, blob, upload.offset, key, upload.content):
        # What rotted may tell its operator why.
        spare, kept_until = blob.key, now + registry.policy.undo
        events.append(tx, "blob.healed", permit.repository.value, permit.actor.name, {"digest": str(digest)}, now)
    if spare is not None:
        # Ours was promised to nobody: like an abandoned upload's it weighs nothing.
        trash.discard(tx, spare, digest, upload.offset if spare != key else 0, kept_until)
    blobs.link(tx, repository, blob, now, now + registry.policy.lease)


def _mount(tx: Tx, registry: Registry, permit: Permit, source: RepositoryName, digest: Digest) -> bool:
    now = registry.now()
    if blobs.find(tx, source, digest) is None:
        return False
    repository = repositories.ensure(tx, permit.repository, now)
    # That may have waited for long: look again, and hold what is there.
    linked = blobs.find_held(tx, source, digest)
    if linked is None:
        return False
    registry.ask_gates(tx, permit, FinishUpload(digest, linked.blob.size))
    blobs.link(tx, repository, linked.blob, now, now + registry.policy.lease)
    return True
