"""Pushing manifests (distribution-spec, "Pushing manifests")."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from moorage.access.action import Action
from moorage.access.permit import Permit
from moorage.core import room
from moorage.core.ports import PushManifest
from moorage.core.precondition import ALWAYS, Precondition
from moorage.core.registry import Policy, Registry, read_only
from moorage.db import blobs, events, manifests, repositories, tags
from moorage.db.blobs import Blob
from moorage.db.engine import Tx
from moorage.db.repositories import Repository
from moorage.errors import Code, RegistryError
from moorage.oci.digest import CANONICAL, Digest
from moorage.oci.manifest import Descriptor, Manifest, Role
from moorage.oci.names import Reference, Tag

_LARGE: Final = 64 * 1024
"""A larger manifest is parsed in a thread."""

_BRIEF: Final = 8 * 1024
"""A larger manifest refers to more than can be written down in a moment; and so do more tags than one."""

_PARSER: Final = ThreadPoolExecutor(1, "moorage-parse")
"""One at a time: parsing never lets go of the interpreter, so more would only take more memory at once."""

_URL: Final = 1024
"""The longest URL that is held against an operator's rules, some of which take the square of its length."""

_NAMED: Final = 5
"""How many missing digests the message spells out; the detail has them all."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A manifest that is now in the repository, and the tags that name it."""

    digest: Digest
    subject: Digest | None
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What of a manifest's references is here."""

    blobs: dict[Digest, Blob]
    children: dict[Digest, tuple[int, int]]

    def size(self, one: Descriptor) -> int | None:
        if one.role.names_manifest and one.digest in self.children:
            return self.children[one.digest][1]
        blob = self.blobs.get(one.digest)
        return blob.size if blob else None


async def manifest(
    registry: Registry,
    permit: Permit,
    reference: Reference,
    content_type: str | None,
    content: bytes,
    extra: tuple[Tag, ...] = (),
    only_if: Precondition = ALWAYS,
) -> Pushed:
    """Store a manifest exactly as it came, and point the tag, or the `extra` tags of a push by digest, at it.

    Durable when it returns; all of it or nothing.  Raises MANIFEST_INVALID, DIGEST_INVALID, SIZE_INVALID,
    MANIFEST_BLOB_UNKNOWN naming everything that is missing, TOO_MANY_TAGS, PRECONDITION_FAILED, STORAGE_FULL, and
    whatever a gate refuses with.
    """
    permit.require(Action.PUSH)
    policy = registry.policy
    if policy.read_only:
        raise read_only()
    room.for_rows(registry, len(content))
    if len(extra) > policy.tags_per_push:
        raise RegistryError(
            Code.TOO_MANY_TAGS,
            f"{len(extra)} tags are named in one push; {policy.tags_per_push} are the most; push again for the others",
            most=policy.tags_per_push,
        )
    wanted = (reference,) if isinstance(reference, Tag) else tuple(dict.fromkeys(extra))
    algorithm = CANONICAL if isinstance(reference, Tag) else reference.algorithm
    digest = Digest.of(content, algorithm)
    if isinstance(reference, Digest) and digest != reference:
        raise RegistryError(
            Code.DIGEST_INVALID,
            f"the manifest's digest is {digest}, but it is pushed as {reference}; push the bytes of that digest",
            digest=str(digest),
        )
    if len(content) > _LARGE:
        parsed = await asyncio.get_running_loop().run_in_executor(_PARSER, _parse, policy, content, content_type)
    else:
        parsed = _parse(policy, content, content_type)
    act = PushManifest(digest, parsed, len(content), wanted)
    brief = len(content) <= _BRIEF and len(wanted) <= 1
    await registry.db.write(_put, registry, permit, act, content, reference, only_if, brief=brief)
    return Pushed(digest, parsed.subject.digest if parsed.subject else None, wanted)


def _parse(policy: Policy, content: bytes, content_type: str | None) -> Manifest:
    parsed = Manifest.parse(content, content_type)
    _check_urls(policy, parsed)
    return parsed


def _put(
    tx: Tx,
    registry: Registry,
    permit: Permit,
    act: PushManifest,
    content: bytes,
    reference: Reference,
    only_if: Precondition,
) -> None:
    now = registry.now()
    repository = repositories.ensure(tx, permit.repository, now)
    if only_if is not ALWAYS:
        named = manifests.find(tx, permit.repository, reference)
        only_if.check(reference, named.digest if named else None)
    registry.ask_gates(tx, permit, act)
    actor = permit.actor.name
    stored = manifests.find(tx, permit.repository, act.digest)
    if stored is None:
        found = _find(tx, registry, repository, act.manifest, now)
        identity = manifests.add(tx, repository, act.digest, act.manifest, content, found.blobs, found.children, now)
        repositories.list_in_catalog(tx, repository, now)
        facts: dict[str, object] = {"digest": str(act.digest), "media_type": act.manifest.media_type}
        events.append(tx, "manifest.pushed", repository.name.value, actor, facts, now)
    elif stored.media_type != act.manifest.media_type:
        raise RegistryError(
            Code.MANIFEST_INVALID,
            f"these bytes are in {permit.repository} already, as {stored.media_type}; to push them as something else, "
            "write the media type into the manifest's 'mediaType'",
            media_type=stored.media_type,
        )
    else:
        identity = stored.id
        _check_sound(blobs.damaged_of(tx, identity))
        if stored.damaged:
            manifests.heal(tx, stored, content)
            events.append(tx, "manifest.healed", repository.name.value, actor, {"digest": str(act.digest)}, now)
    for tag in act.tags:
        _check_overwrite(tx, permit, repository, tag, act.digest)
        previous = tags.point(tx, repository, tag, identity, act.digest, actor, now)
        if previous != act.digest:
            facts = {"tag": tag.value, "digest": str(act.digest), "previous": str(previous) if previous else None}
            events.append(tx, "tag.moved", repository.name.value, actor, facts, now)


def _check_overwrite(tx: Tx, permit: Permit, repository: Repository, tag: Tag, digest: Digest) -> None:
    """Letting a tag name something else is more than pushing."""
    if not permit.may(Action.OVERWRITE) and tags.resolve(tx, repository, tag) not in {None, digest}:
        raise RegistryError(
            Code.DENIED,
            f"{permit.actor.name} may push new tags to {permit.repository}, but {tag} is there and names another "
            f"manifest; push another tag, or have an owner of {permit.repository.owner} grant 'overwrite'",
            actor=permit.actor.name,
            action=Action.OVERWRITE.value,
            repository=permit.repository.value,
            tag=tag.value,
        )


def _find(tx: Tx, registry: Registry, repository: Repository, manifest: Manifest, now: int) -> _Found:
    """Look up everything the manifest refers to, and refuse it where something is missing."""
    nested = {one.digest for one in manifest.references if one.role is Role.CHILD}
    subject = {manifest.subject.digest} if manifest.subject else set()
    children = manifests.held(tx, repository, nested | subject)
    wanted = [one.digest for one in manifest.references if one.digest not in children]
    found = _Found(blobs.held(tx, repository, wanted), children)
    absent = [digest for digest in wanted if digest not in found.blobs]
    if absent:
        blobs.revive(tx, repository, absent, now, now + registry.policy.lease)
        found = _Found(blobs.held(tx, repository, wanted), children)
    _check_found(registry.policy, manifest, found)
    return found


def _check_found(policy: Policy, manifest: Manifest, found: _Found) -> None:
    missing: dict[Digest, None] = {}
    for one in manifest.references:
        size = found.size(one)
        if size is None:
            if not (policy.sparse or one.elsewhere or _may_be_absent(policy, one)):
                missing[one.digest] = None
        elif size != one.size:
            raise RegistryError(
                Code.SIZE_INVALID,
                f"the manifest says that {one.digest} has {one.size} bytes, but it has {size}; correct the manifest",
                digest=str(one.digest),
            )
    if missing:
        raise _incomplete("content that is not in the repository", list(missing))


def _check_sound(damaged: list[Digest]) -> None:
    """Refuse a manifest that is here already while its blobs are not: its client may skip what it believes we have."""
    if damaged:
        raise _incomplete("content whose bytes are damaged in the storage", damaged)


def _incomplete(what: str, missing: list[Digest]) -> RegistryError:
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return RegistryError(
        Code.MANIFEST_BLOB_UNKNOWN,
        f"the manifest refers to {what}: {', '.join(map(str, missing[:_NAMED]))}{more}; push that first",
        missing=[str(digest) for digest in missing],
    )


def _may_be_absent(policy: Policy, one: Descriptor) -> bool:
    """Docker Registry's `validation.manifests.indexes`."""
    return one.role is Role.CHILD and policy.platforms is not None and one.platform not in policy.platforms


def _check_urls(policy: Policy, manifest: Manifest) -> None:
    """Docker Registry's `validation.manifests.urls`: with neither list, any URL is let through; we fetch none."""
    allowed, denied = policy.urls_allowed, policy.urls_denied
    if not allowed and not denied:
        return
    for url in (url for one in manifest.references for url in one.urls):
        if len(url) > _URL:
            raise RegistryError(
                Code.MANIFEST_INVALID,
                f"a URL in the manifest has {len(url)} characters; {_URL} are the most where there are rules for URLs",
                length=len(url),
            )
        unlisted = allowed and not any(re.search(rule, url) for rule in allowed)
        if unlisted or any(re.search(rule, url) for rule in denied):
            raise RegistryError(
                Code.MANIFEST_INVALID,
                f"the URL {url[:200]!a} is not allowed in manifests here (validation.manifests.urls); "
                "the registry's operator can allow it",
                url=url[:200],
            )
