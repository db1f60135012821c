"""Rows of what was deleted, kept for a while so that it can be brought back."""

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, bindparam, cast, select, update
from sqlalchemy import insert as insert_

from moorage.db.engine import Prepared, Tx
from moorage.db.repositories import Repository
from moorage.db.schema import blobs, edges, manifests, trash_blobs, trash_edges, trash_manifests, trash_tags, uploads
from moorage.db.statements import among, insert
from moorage.oci.digest import Digest
from moorage.oci.names import Tag

_KEEP_TAG: Final = Prepared(
    lambda dialect: insert(dialect, trash_tags, "repository_id", "name", "digest", "actor", "deleted_at", "purge_after")
)
_DISCARD: Final = Prepared(
    lambda dialect: insert(
        dialect, trash_blobs, "storage_key", "digest", "size", "state", "purge_after"
    ).on_conflict_do_nothing()
)
_POSTPONE: Final = Prepared(
    lambda dialect: (
        update(trash_blobs)
        .where(among(dialect, trash_blobs.c.storage_key, "keys"))
        .values(purge_after=bindparam("until"))
    )
)
_KEYS: Final = (blobs.c.storage_key, trash_blobs.c.storage_key)
_LIVE: Final = Prepared(
    select(
        manifests.c.repository_id,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.pushed_at,
        manifests.c.content,
    ).where(manifests.c.id == bindparam("manifest"))
)
_KEEP_MANIFEST: Final = Prepared(
    lambda dialect: insert(
        dialect,
        trash_manifests,
        "repository_id",
        "digest",
        "media_type",
        "pushed_at",
        "content",
        "tags",
        "actor",
        "deleted_at",
        "purge_after",
    ).returning(trash_manifests.c.id)
)
_KEEP_EDGES: Final = Prepared(
    insert_(trash_edges).from_select(
        ["trash_id", "position", "repository_id", "blob_id"],
        select(cast(bindparam("trash"), BigInteger), edges.c.position, edges.c.repository_id, edges.c.blob_id).where(
            edges.c.manifest_id == bindparam("manifest"), edges.c.blob_id.is_not(None)
        ),
    )
)


def keep_tag(tx: Tx, repository: Repository, tag: Tag, digest: Digest, actor: str, now: int, purge_after: int) -> None:
    _KEEP_TAG.run(
        tx,
        repository_id=repository.id,
        name=tag.value,
        digest=str(digest),
        actor=actor,
        deleted_at=now,
        purge_after=purge_after,
    )


def keep_manifest(tx: Tx, identity: int, tags: Sequence[Tag], actor: str, now: int, purge_after: int) -> None:
    """Copy a live manifest, with what it holds on to, before its row goes."""
    live = _LIVE.one(tx, manifest=identity)
    if live is None:
        raise LookupError(f"there is no manifest {identity} to keep")
    repository, digest, media_type, pushed_at, content = live
    kept = _KEEP_MANIFEST.one(
        tx,
        repository_id=repository,
        digest=digest,
        media_type=media_type,
        pushed_at=pushed_at,
        content=content,
        tags=json.dumps([tag.value for tag in tags]),
        actor=actor,
        deleted_at=now,
        purge_after=purge_after,
    )
    if kept is None:
        raise LookupError("a manifest in the trash has no id")
    _KEEP_EDGES.run(tx, trash=kept[0], manifest=identity)


def discard(tx: Tx, key: str, digest: Digest, size: int, purge_after: int) -> None:
    """Have bytes that no row names any more removed by the collector."""
    discard_all(tx, [(key, str(digest), size)], purge_after)


def discard_all(tx: Tx, gone: Sequence[tuple[str, str, int]], purge_after: int) -> None:
    """The same of many at once: key, digest and size of each; a digest that is not known is empty."""
    _DISCARD.run_each(
        tx,
        [
            {"storage_key": key, "digest": digest, "size": size, "state": "waiting", "purge_after": purge_after}
            for key, digest, size in gone
        ],
    )


def postpone(tx: Tx, keys: list[str], until: int) -> None:
    """Have bytes that could not be removed tried again after `until`, so that they keep no others waiting."""
    _POSTPONE.run(tx, keys=keys, until=until)


def unnamed(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that no row names: neither a blob, nor an upload, nor the trash."""
    known = {row[0] for column in _KEYS for row in tx.execute(select(column).where(column.in_(keys))).fetchall()}
    identities = {key.rpartition("/")[2]: key for key in keys}
    started = tx.execute(select(uploads.c.id).where(uploads.c.id.in_(list(identities)))).fetchall()
    return set(keys) - known - {identities[row.id] for row in started}


def discard_unnamed(tx: Tx, found: Sequence[tuple[str, int]], purge_after: int) -> int:
    """Have the bytes under keys that still nobody names, each with its size in bytes, removed by the collector."""
    orphans = unnamed(tx, [key for key, _ in found])
    discard_all(tx, [(key, "", size) for key, size in found if key in orphans], purge_after)
    return len(orphans)
