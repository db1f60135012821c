"""Finding out what is here: tags, referrers, the catalog (distribution-spec, "Content Discovery")."""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple

from moorage.access.action import Action
from moorage.access.permit import CatalogPermit, Permit
from moorage.core import unknown
from moorage.core.registry import Registry
from moorage.db import manifests, repositories, tags
from moorage.db.engine import Tx
from moorage.db.manifests import Referrer
from moorage.oci import mediatypes
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TAGS_PAGE: Final = 10_000
"""Tags in an answer to a client that asks for no number."""

CATALOG_PAGE: Final = 100
"""Repositories in an answer to a client that asks for no number."""

_LOOKED_AT: Final = 1000
"""Names looked at in one read at most, unless more are wanted."""

_SHORT: Final = 100
"""Names on a page that is read at once, from neighbours in an index: a thread would take longer to hand it over."""

REFERRERS_PAGE: Final = 1_000
REFERRERS_BYTES: Final = 3 * 1024 * 1024
"""A page of referrers stays below the 4 MiB that clients read."""

_BATCH: Final = 16
"""Referrers read at a time: each may have megabytes of annotations."""

_FALLBACK: Final = re.compile(r"(sha256|sha512)-([a-f0-9]{64})")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of names; `more` says whether others follow, `size` how many were asked for at most."""

    names: tuple[str, ...]
    more: bool
    size: int


async def tag_page(registry: Registry, permit: Permit, size: int | None, after: str, most: int) -> Page:
    """Tags behind `after`, in byte order; whoever asks for a number gets `most` of them at most.

    Raises NAME_UNKNOWN.
    """
    permit.require(Action.PULL)
    wanted = TAGS_PAGE if size is None else min(size, most)
    found = await _read(registry, wanted, _tags, permit.repository, after, wanted + 1)
    if found is None:
        raise unknown.repository(permit)
    return Page(tuple(found[:wanted]), wanted > 0 and len(found) > wanted, wanted)


async def catalog_page(registry: Registry, permit: CatalogPermit, size: int | None, after: str, most: int) -> Page:
    """Repositories behind `after` that are visible to the permit's holder, in byte order."""
    wanted = min(CATALOG_PAGE if size is None else size, most)
    if not wanted:
        return Page((), more=False, size=0)

    async def look(after: str, batch: int) -> list[str]:
        return await _read(registry, batch - 1, repositories.page, after, batch)

    found = await one_more_than(wanted, after, look, str, permit.left)
    return Page(tuple(found[:wanted]), len(found) > wanted, wanted)


async def one_more_than(
    wanted: int,
    after: str,
    look: Callable[[str, int], Awaitable[list[T]]],
    name: Callable[[T], str],
    left: Callable[[list[T]], Awaitable[list[T]]],
) -> list[T]:
    """What is `left` to somebody of what lies behind the name `after`: more than wanted, if there are so many.

    `look` gives the next so many, which are more each time: most of those before were not to be shown, and fewer and
    larger looks cost less.
    """
    found: list[T] = []
    batch = wanted + 1
    while len(found) <= wanted:
        some = await look(after, batch)
        found += await left(some)
        if len(some) < batch:
            break
        after, batch = name(some[-1]), max(batch, min(2 * batch, _LOOKED_AT))
    return found


@dataclass(frozen=True, slots=True)
class Referrers:
    """One page of the manifests that refer to a subject; `more` is where the next page begins, or None."""

    content: bytes
    more: str | None


async def referrers(
    registry: Registry, permit: Permit, subject: Digest, types: Sequence[str], after: str = ""
) -> Referrers:
    """An image index of what refers to `subject`, of one of `types` if any are given; empty if nothing does."""
    permit.require(Action.PULL)
    return await registry.db.scan(_referrers, permit.repository, subject, tuple(types), after)


async def synthesised_fallback(registry: Registry, permit: Permit, tag: Tag) -> bytes | None:
    """The index that an older client expects under a subject's fallback tag, made from what refers to it.

    None where the tag is no fallback tag, or nothing refers to its subject ("Referrers Tag Schema").  Such a tag has
    the first 64 digits of the subject's digest.
    """
    permit.require(Action.PULL)
    match = _FALLBACK.fullmatch(tag.value)
    if match is None:
        return None
    return await registry.db.scan(_fallback, permit.repository, f"{match[1]}:{match[2]}")


async def _read(registry: Registry, wanted: int, fn: Callable[[Tx, *Ts], T], *args: *Ts) -> T:
    read = registry.db.read if wanted <= _SHORT else registry.db.scan
    return await read(fn, *args)


def _tags(tx: Tx, name: RepositoryName, after: str, most: int) -> list[str] | None:
    found = tags.page(tx, name, after, most)
    return found if found or repositories.find(tx, name) else None


def _referrers(tx: Tx, name: RepositoryName, subject: Digest, types: Sequence[str], after: str) -> Referrers:
    entries: list[bytes] = []
    room = REFERRERS_BYTES
    while True:
        batch = manifests.referrers(tx, name, subject, types, after, _BATCH)
        for one in batch:
            entry = _entry(one)
            room -= len(entry) + 1
            if entries and (room < 0 or len(entries) == REFERRERS_PAGE):
                return Referrers(_index(entries), after)
            entries.append(entry)
            after = str(one.digest)
        if len(batch) < _BATCH:
            return Referrers(_index(entries), None)


def _fallback(tx: Tx, name: RepositoryName, beginning: str) -> bytes | None:
    subject = manifests.subject(tx, name, beginning)
    return _referrers(tx, name, subject, (), "").content if subject else None


def _entry(one: Referrer) -> bytes:
    entry: dict[str, object] = {"mediaType": one.media_type, "digest": str(one.digest), "size": one.size}
    if one.artifact_type:
        entry["artifactType"] = one.artifact_type
    if one.annotations:
        entry["annotations"] = one.annotations
    return json.dumps(entry, ensure_ascii=False).encode()


def _index(entries: list[bytes]) -> bytes:
    begin = f'{{"schemaVersion": 2, "mediaType": "{mediatypes.OCI_INDEX}", "manifests": ['
    return begin.encode() + b", ".join(entries) + b"]}"
