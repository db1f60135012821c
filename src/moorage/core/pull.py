"""Pulling: one indexed read, then the exact bytes (distribution-spec, "Pull")."""

import os
from typing import NamedTuple, Protocol

from moorage.access.action import Action
from moorage.access.permit import Permit
from moorage.core import unknown
from moorage.core.damage import condemn
from moorage.core.discover import synthesised_fallback
from moorage.core.intake import pieces
from moorage.core.registry import Registry
from moorage.db import blobs, manifests
from moorage.db.blobs import Blob, Linked
from moorage.db.engine import Tx
from moorage.db.manifests import Stored
from moorage.errors import Code, RegistryError
from moorage.oci import mediatypes
from moorage.oci.digest import Digest
from moorage.oci.names import Reference, Tag
from moorage.storage.store import Content, File
from moorage.telemetry import logger

__all__ = [
    "File",
    "Linked",
    "Manifest",
    "blob",
    "blob_head",
    "content",
    "file_key",
    "is_lost",
    "lost",
    "manifest",
    "read_blob",
]


class Manifest(Protocol):
    """A manifest on its way out; `content` is None where only its head was asked for."""

    @property
    def digest(self) -> Digest: ...
    @property
    def media_type(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def content(self) -> bytes | None: ...


class _Made(NamedTuple):
    """One that no row holds."""

    digest: Digest
    media_type: str
    size: int
    content: bytes


async def manifest(registry: Registry, permit: Permit, reference: Reference, *, head: bool = False) -> Manifest:
    """What a tag or digest names.

    Raises MANIFEST_UNKNOWN, also where its bytes are damaged, NAME_UNKNOWN, or DENIED where a room holds it back.  A
    client that may push takes the head for leave to push nothing of it: so its blobs have to be sound as well.
    """
    permit.require(Action.PULL)
    look = manifests.find if head else manifests.read
    stored = await registry.db.read(look, permit.repository, reference)
    if stored is None:
        return await _fallback(registry, permit, reference)
    if stored.hold is not None:
        raise _held(stored)
    if head and stored.incomplete and permit.may(Action.PUSH):
        raise RegistryError(
            Code.MANIFEST_UNKNOWN,
            f"blobs of {stored.digest} are damaged in the storage; pushing them again heals it",
            reference=str(stored.digest),
            damaged=True,
        )
    return stored


async def blob(registry: Registry, permit: Permit, digest: Digest) -> Linked:
    """A blob of the repository, ready for `content`.  Raises BLOB_UNKNOWN or NAME_UNKNOWN."""
    permit.require(Action.PULL)
    linked = await registry.db.read(blobs.read, permit.repository, digest)
    if linked is None:
        raise await _absent(registry, permit, digest)
    return linked


async def blob_head(registry: Registry, permit: Permit, digest: Digest) -> Linked:
    """A blob of the repository, without its bytes.  Raises BLOB_UNKNOWN or NAME_UNKNOWN.

    A client that may push takes the answer for leave to skip an upload: so its bytes are looked for, and what nothing
    refers to yet is kept for it long enough, which is written down before it is told.
    """
    permit.require(Action.PULL)
    linked = await registry.db.read(blobs.find, permit.repository, digest)
    if linked is None:
        raise await _absent(registry, permit, digest)
    if not permit.may(Action.PUSH):
        return linked
    if await is_lost(registry, linked.blob):
        raise _damaged(digest)
    if linked.leased_until < registry.now() + registry.policy.lease // 2:
        try:
            kept = await registry.db.write(_renew, registry, linked, brief=True)
        except RegistryError as error:
            logger(__name__).warning("a lease was not renewed", digest=str(digest), error=error.message)
            kept = False
        if not kept:
            raise unknown.blob(permit, digest)
    return linked


async def content(registry: Registry, linked: Linked, start: int, stop: int) -> Content:
    """Bytes `start` up to `stop` of a blob.  Raises BLOB_UNKNOWN where the store has lost or cut it.

    That is written down, or HEAD would go on telling clients that there is no need to push it again.
    """
    try:
        return _open(registry, linked.blob, start, stop)
    except RegistryError as error:
        if error.code is not Code.BLOB_UNKNOWN:
            raise
        await _condemn(registry, linked.blob, error.message)
        raise _damaged(linked.blob.digest) from error


async def file_key(registry: Registry, linked: Linked) -> str | None:
    """The key of a blob that lies in a file, for another program to send; None where it does not.

    Raises as `content` does: the file has been looked at.
    """
    if linked.blob.key is None:
        return None
    found = await content(registry, linked, 0, linked.blob.size)
    if not isinstance(found, File):
        return None
    os.close(found.fd)
    return linked.blob.key


def lost(registry: Registry, blob: Blob) -> str | None:
    """What a look for the blob's bytes, not at them, finds wrong: that they are gone, or not as many."""
    if blob.key is None:
        return None
    try:
        _count(blob, registry.store.size(blob.key))
    except RegistryError as error:
        if error.code is not Code.BLOB_UNKNOWN:
            raise
        return error.message
    return None


async def is_lost(registry: Registry, blob: Blob) -> bool:
    """The same for those about to tell a client that it need not push the blob; written down as by `content`."""
    reason = lost(registry, blob)
    if reason is not None:
        await _condemn(registry, blob, reason)
    return reason is not None


async def _condemn(registry: Registry, blob: Blob, reason: str) -> None:
    logger(__name__).error("a stored blob is damaged", digest=str(blob.digest), key=blob.key, error=reason)
    if registry.policy.read_only:
        return
    try:
        await registry.db.write(condemn, blob, reason, registry.now())
    except RegistryError as error:
        logger(__name__).warning("damage was not written down", digest=str(blob.digest), error=error.message)


def _open(registry: Registry, blob: Blob, start: int, stop: int) -> Content:
    if blob.content is not None:
        return blob.content[start:stop]
    content = registry.store.open(blob.key or "", start, stop)
    if isinstance(content, File):
        try:
            _count(blob, content.size)
        except RegistryError:
            os.close(content.fd)
            raise
    return content


def _count(blob: Blob, found: int) -> None:
    if found != blob.size:
        raise RegistryError(Code.BLOB_UNKNOWN, f"{found} bytes are stored instead of {blob.size}")


async def _absent(registry: Registry, permit: Permit, digest: Digest) -> RegistryError:
    """Why a blob cannot be had: it is damaged, it is not in the repository, or there is no repository."""
    known, damage = await registry.db.read(blobs.absence, permit.repository, digest)
    if damage is not None:
        return _damaged(digest)
    return unknown.blob(permit, digest) if known else unknown.repository(permit)


def _damaged(digest: Digest) -> RegistryError:
    return RegistryError(
        Code.BLOB_UNKNOWN,
        f"the bytes of {digest} are damaged in the storage; pushing the blob again heals it",
        digest=str(digest),
        damaged=True,
    )


def _held(stored: Stored) -> RegistryError:
    if stored.damaged:
        return RegistryError(
            Code.MANIFEST_UNKNOWN,
            f"the bytes of {stored.digest} are damaged in the database; pushing the manifest again heals it",
            reference=str(stored.digest),
            damaged=True,
        )
    return RegistryError(Code.DENIED, f"{stored.digest} may not be pulled: {stored.hold}", digest=str(stored.digest))


def _renew(tx: Tx, registry: Registry, linked: Linked) -> bool:
    return blobs.referring(tx, linked) is not None or blobs.renew(tx, linked, registry.now() + registry.policy.lease)


async def _fallback(registry: Registry, permit: Permit, reference: Reference) -> Manifest:
    """Answer clients that look for referrers under a tag made of the subject's digest; else it is unknown."""
    content = None
    if isinstance(reference, Tag):
        content = await synthesised_fallback(registry, permit, reference)
    if content is None:
        raise await unknown.within(registry, permit, unknown.manifest(permit, reference))
    return _Made(Digest.of(content), mediatypes.OCI_INDEX, len(content), content)


def read_blob(registry: Registry, linked: Linked, start: int, stop: int) -> bytes:
    """Bytes `start` up to `stop` of a blob, all at once: blocking, for small parts."""
    return b"".join(pieces(_open(registry, linked.blob, start, stop)))
