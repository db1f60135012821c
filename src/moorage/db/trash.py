"""Rows of what was deleted, kept for a while so that it can be brought back."""

import json
from collections.abc import Sequence

from sqlalchemy import select

from moorage.db.engine import Tx
from moorage.db.repositories import Repository
from moorage.db.schema import edges, manifests, trash_blobs, trash_edges, trash_manifests, trash_tags
from moorage.db.statements import insert
from moorage.oci.digest import Digest
from moorage.oci.names import Tag


def keep_tag(tx: Tx, repository: Repository, tag: Tag, digest: Digest, actor: str, now: int, purge_after: int) -> None:
    tx.execute(
        insert(tx, trash_tags),
        {
            "repository_id": repository.id,
            "name": tag.value,
            "digest": str(digest),
            "actor": actor,
            "deleted_at": now,
            "purge_after": purge_after,
        },
    )


def keep_manifest(tx: Tx, identity: int, tags: Sequence[Tag], actor: str, now: int, purge_after: int) -> None:
    """Copy a live manifest, with what it holds on to, before its row goes."""
    live = (
        tx.execute(
            select(
                manifests.c.repository_id,
                manifests.c.digest,
                manifests.c.media_type,
                manifests.c.pushed_at,
                manifests.c.content,
            ).where(manifests.c.id == identity)
        )
        .mappings()
        .one()
    )
    kept = tx.execute(
        insert(tx, trash_manifests).returning(trash_manifests.c.id),
        {
            **live,
            "tags": json.dumps([tag.value for tag in tags]),
            "actor": actor,
            "deleted_at": now,
            "purge_after": purge_after,
        },
    ).scalar_one()
    held = select(edges.c.position, edges.c.repository_id, edges.c.blob_id).where(
        edges.c.manifest_id == identity, edges.c.blob_id.is_not(None)
    )
    rows = [{**row, "trash_id": kept} for row in tx.execute(held).mappings().fetchall()]
    if rows:
        tx.execute(insert(tx, trash_edges), rows)


def discard(tx: Tx, key: str, digest: Digest, size: int, purge_after: int) -> None:
    """Have the bytes under `key`, which no row names any more, removed by the collector."""
    tx.execute(
        insert(tx, trash_blobs).on_conflict_do_nothing(),
        {"storage_key": key, "digest": str(digest), "size": size, "state": "waiting", "purge_after": purge_after},
    )
