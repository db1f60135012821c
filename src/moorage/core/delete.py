"""Deleting: gone at once for clients, kept in the trash for a while (distribution-spec, "Content Management")."""

from moorage.access.action import Action
from moorage.access.permit import Permit
from moorage.core import unknown
from moorage.core.ports import DeleteBlob, DeleteManifest, DeleteTag
from moorage.core.precondition import ALWAYS, Precondition
from moorage.core.registry import Registry, read_only
from moorage.db import blobs, events, generation, manifests, repositories, tags, trash
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest
from moorage.oci.names import Tag


async def tag(registry: Registry, permit: Permit, name: Tag, only_if: Precondition = ALWAYS) -> None:
    """Take a tag away; the manifest stays.  Raises MANIFEST_UNKNOWN, or NAME_UNKNOWN without even the repository."""
    _check(registry, permit)
    await registry.db.write(_tag, registry, permit, name, only_if, brief=True)


async def manifest(registry: Registry, permit: Permit, digest: Digest, only_if: Precondition = ALWAYS) -> None:
    """Take a manifest and every tag that names it away.  Raises MANIFEST_UNKNOWN or NAME_UNKNOWN."""
    _check(registry, permit)
    await registry.db.write(_manifest, registry, permit, digest, only_if)


async def blob(registry: Registry, permit: Permit, digest: Digest) -> None:
    """Take a blob out of the repository.

    Raises BLOB_UNKNOWN, NAME_UNKNOWN, and UNSUPPORTED while a manifest of the repository refers to it.
    """
    _check(registry, permit)
    await registry.db.write(_blob, registry, permit, digest)


async def repository(registry: Registry, permit: Permit) -> None:
    """Take away everything that is in the repository, as deleting it piece by piece would, or nothing of it.

    The name is free for another beginning: a repository with its own id, as visible as its owner wants new ones to be.
    Raises NAME_UNKNOWN, and what a gate refuses about any of its manifests.
    """
    permit.require(Action.MANAGE)
    _check(registry, permit)
    await registry.db.write(_repository, registry, permit)


def _check(registry: Registry, permit: Permit) -> None:
    permit.require(Action.DELETE)
    if registry.policy.read_only:
        raise read_only()
    if not registry.policy.delete:
        raise RegistryError(
            Code.UNSUPPORTED,
            "deleting is switched off on this registry (storage.delete.enabled: false); its operator can allow it",
            setting="storage.delete.enabled",
        )


def _tag(tx: Tx, registry: Registry, permit: Permit, name: Tag, only_if: Precondition) -> None:
    now, actor = registry.now(), permit.actor.name
    repository = repositories.hold(tx, permit.repository)
    if repository is None:
        raise unknown.repository(permit)
    named = tags.resolve(tx, repository, name)
    if named is not None:
        only_if.check(name, named)
    registry.ask_gates(tx, permit, DeleteTag(name))
    digest = tags.remove(tx, repository, name, actor, now)
    if digest is None:
        raise unknown.manifest(permit, name)
    trash.keep_tag(tx, repository, name, digest, actor, now, now + registry.policy.undo)
    facts: dict[str, object] = {"tag": name.value, "digest": str(digest)}
    events.append(tx, "tag.deleted", repository.name.value, actor, facts, now)


def _manifest(tx: Tx, registry: Registry, permit: Permit, digest: Digest, only_if: Precondition) -> None:
    now, actor = registry.now(), permit.actor.name
    repository = repositories.hold(tx, permit.repository)
    if repository is None:
        raise unknown.repository(permit)
    stored = manifests.find(tx, permit.repository, digest)
    if stored is None:
        raise unknown.manifest(permit, digest)
    only_if.check(digest, digest)
    named = tags.pointing_at(tx, stored.id)
    registry.ask_gates(tx, permit, DeleteManifest(digest, tuple(named)))
    trash.keep_manifest(tx, stored.id, named, actor, now, now + registry.policy.undo)
    for name in named:
        tags.remove(tx, repository, name, actor, now)
    manifests.remove(tx, stored.id)
    facts: dict[str, object] = {"digest": str(digest), "tags": [name.value for name in named]}
    events.append(tx, "manifest.deleted", repository.name.value, actor, facts, now)


def _repository(tx: Tx, registry: Registry, permit: Permit) -> None:
    now, actor = registry.now(), permit.actor.name
    found = repositories.hold(tx, permit.repository)
    digests = manifests.digests(tx, found) if found is not None else []
    holdings = blobs.linked_to(tx, found) if found is not None else []
    if found is None or not (digests or holdings):
        raise RegistryError(
            Code.NAME_UNKNOWN, f"there is no repository {permit.repository}", name=permit.repository.value
        )
    for digest in digests:
        _manifest(tx, registry, permit, digest, ALWAYS)
    for held in holdings:
        registry.ask_gates(tx, permit, DeleteBlob(held.digest))
        blobs.unlink(tx, found, held, actor, now, now + registry.policy.undo)
    repositories.bury(tx, found)
    generation.change(tx, now)
    events.append(tx, "repository.deleted", found.name.value, actor, {"manifests": len(digests)}, now)


def _blob(tx: Tx, registry: Registry, permit: Permit, digest: Digest) -> None:
    now, actor = registry.now(), permit.actor.name
    repository = repositories.hold(tx, permit.repository)
    if repository is None:
        raise unknown.repository(permit)
    linked = blobs.find(tx, permit.repository, digest)
    if linked is None:
        raise unknown.blob(permit, digest)
    referring = blobs.referring(tx, linked)
    if referring is not None:
        raise RegistryError(
            Code.UNSUPPORTED,
            f"the blob {digest} is part of the manifest {referring} in {permit.repository}; delete that first",
            digest=str(digest),
            manifest=str(referring),
        )
    registry.ask_gates(tx, permit, DeleteBlob(digest))
    blobs.unlink(tx, repository, linked.blob, actor, now, now + registry.policy.undo)
