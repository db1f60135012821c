"""What the collector asks of the rows.  Every function is one short transaction's work."""

from typing import Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, insert, or_, select, tuple_, update

from moorage.db import trash
from moorage.db.engine import Prepared, Tx
from moorage.db.schema import (
    blobs,
    edges,
    links,
    trash_blobs,
    trash_edges,
    trash_links,
    trash_manifests,
    trash_tags,
    uploads,
)
from moorage.oci.digest import Digest


def abandoned(tx: Tx, before: int) -> int:
    """How many uploads nobody has touched since `before`."""
    left = select(func.count()).where(uploads.c.finished.is_(None), uploads.c.touched_at < before)
    return int(tx.execute(left).scalar_one())


def purge_uploads(tx: Tx, before: int, finished_before: int, now: int, most: int) -> int:
    """Forget uploads that nobody touched since `before`; their bytes go to the trash."""
    done = uploads.c.finished.is_not(None)
    stale = (done & (uploads.c.touched_at < finished_before)) | (~done & (uploads.c.touched_at < before))
    found = tx.execute(select(uploads.c.id, uploads.c.digest, uploads.c.finished).where(stale).limit(most)).fetchall()
    for row in found:
        gone = tx.execute(delete(uploads).where(uploads.c.id == row.id, stale)).rowcount
        if gone and row.finished is None:
            trash.discard(tx, f"blobs/u/{row.id[:2]}/{row.id}", Digest.parse(row.digest), 0, now)
    return len(found)


def purge_manifests(tx: Tx, now: int, leased_until: int, most: int) -> int:
    """Forget deleted manifests and tags that can no longer be restored; what they held is leased once more."""
    found = [
        row.id
        for row in tx.execute(
            select(trash_manifests.c.id).where(trash_manifests.c.purge_after < now).limit(most)
        ).fetchall()
    ]
    if found:
        held = select(trash_edges.c.blob_id).where(trash_edges.c.trash_id.in_(found))
        tx.execute(
            update(links)
            .where(links.c.blob_id.in_(held), links.c.leased_until < leased_until)
            .values(leased_until=leased_until)
        )
        tx.execute(delete(trash_edges).where(trash_edges.c.trash_id.in_(found)))
        tx.execute(delete(trash_manifests).where(trash_manifests.c.id.in_(found)))
    tags = tx.execute(delete(trash_tags).where(trash_tags.c.purge_after < now)).rowcount
    return len(found) + tags


def _unreferenced() -> ColumnElement[bool]:
    referred = exists().where(edges.c.blob_id == links.c.blob_id, edges.c.repository_id == links.c.repository_id)
    kept = exists().where(
        trash_edges.c.blob_id == links.c.blob_id, trash_edges.c.repository_id == links.c.repository_id
    )
    return ~referred & ~kept


_THIS = (links.c.repository_id == bindparam("repository"), links.c.blob_id == bindparam("blob"))
_TAKE: Final = Prepared(delete(links).where(*_THIS, links.c.leased_until < bindparam("now"), _unreferenced()))

Link = tuple[int, int]
"""A repository's id and a blob's."""


def candidates(tx: Tx, since: int, now: int, most: int) -> list[Link]:
    """Links whose lease ran out from `since` on, of blobs that no manifest of the repository refers to: a look only."""
    expired = (links.c.leased_until >= since, links.c.leased_until < now)
    found = select(links.c.repository_id, links.c.blob_id).where(*expired, _unreferenced()).limit(most)
    return [(row.repository_id, row.blob_id) for row in tx.execute(found).fetchall()]


def unlink(tx: Tx, now: int, purge_after: int, found: list[Link]) -> int:
    """Take blobs that are `candidates` still from their repositories into the trash; gives how many were looked at.

    On PostgreSQL the first statement only locks: a push that committed after that statement began may refer to what
    was found, so they are looked at again by a younger statement, behind the lock.  A link that somebody else holds is
    in use: it is left for the next time, and nothing may be concluded from what can be seen of it.
    """
    if tx.dialect != "sqlite":
        these = select(links.c.repository_id, links.c.blob_id).where(tuple_(*links.primary_key).in_(found))
        locked = tx.execute(these.with_for_update(skip_locked=True)).fetchall()
        found = [(row.repository_id, row.blob_id) for row in locked]
    kept = []
    for repository, blob in found:
        if _TAKE.run(tx, repository=repository, blob=blob, now=now):
            kept.append({"repository_id": repository, "blob_id": blob, "deleted_at": now, "purge_after": purge_after})
    if kept:
        tx.execute(insert(trash_links), kept)
    return len(found)


def give_up(tx: Tx, now: int, most: int) -> int:
    """Forget links that waited long enough in the trash, and the blobs that nobody has any more.

    On PostgreSQL a blob is locked before it is asked who has it: whoever is about to link it holds it already, and
    then it is left for the next time.
    """
    due = select(trash_links.c.blob_id).where(trash_links.c.purge_after < now).limit(most)
    done = 0
    for identity in sorted({row.blob_id for row in tx.execute(due).fetchall()}):
        blob = select(blobs.c.digest, blobs.c.size, blobs.c.storage_key).where(blobs.c.id == identity)
        row = tx.execute(blob.with_for_update(skip_locked=True)).fetchone()
        if row is None:
            continue
        done += 1
        tx.execute(delete(trash_links).where(trash_links.c.blob_id == identity, trash_links.c.purge_after < now))
        if _is_had(tx, identity):
            continue
        tx.execute(delete(blobs).where(blobs.c.id == identity))
        if row.storage_key is not None:
            trash.discard(tx, row.storage_key, Digest.parse(row.digest), row.size, now)
    return done


def _is_had(tx: Tx, blob: int) -> bool:
    """Whether any repository has the blob, or may get it back from the trash."""
    for table in (links, trash_links, trash_edges, edges):
        if tx.execute(select(func.count()).select_from(table).where(table.c.blob_id == blob)).scalar():
            return True
    return False


def due(tx: Tx, now: int, most: int | None) -> tuple[int, int]:
    """How many blobs, and bytes, the next steps would destroy; of each kind it counts at most `most`.

    Bytes of abandoned uploads weigh nothing: nobody was promised them.
    """
    waited = select(trash_links.c.blob_id).where(trash_links.c.purge_after < now)
    held = [
        exists().where(links.c.blob_id == blobs.c.id),
        exists().where(trash_links.c.blob_id == blobs.c.id, trash_links.c.purge_after >= now),
        exists().where(trash_edges.c.blob_id == blobs.c.id),
        exists().where(edges.c.blob_id == blobs.c.id),
    ]
    given_up = select(blobs.c.size).where(blobs.c.id.in_(waited), ~or_(*held))
    discarded = select(trash_blobs.c.size).where(trash_blobs.c.purge_after <= now, trash_blobs.c.size > 0)
    return _sums(tx, *(kind.limit(most) for kind in (given_up, discarded)))


def total(tx: Tx) -> tuple[int, int]:
    """How many blobs, and bytes, are stored, the trash included."""
    return _sums(tx, select(blobs.c.size), select(trash_blobs.c.size).where(trash_blobs.c.size > 0))


def _sums(tx: Tx, *kinds: Select[tuple[int]]) -> tuple[int, int]:
    objects = size = 0
    for kind in kinds:
        sizes = kind.subquery()
        count, bytes_ = func.count().label("count"), func.coalesce(func.sum(sizes.c.size), 0).label("bytes")
        found = tx.execute(select(count, bytes_).select_from(sizes)).mappings().one()
        objects, size = objects + int(found["count"]), size + int(found["bytes"])
    return objects, size


def condemn(tx: Tx, now: int, most: int) -> list[str]:
    """Mark bytes as being destroyed: from its commit on, nobody can bring them back.  Gives their keys."""
    found = tx.execute(select(trash_blobs.c.storage_key).where(trash_blobs.c.purge_after <= now).limit(most))
    keys = [row.storage_key for row in found.fetchall()]
    if keys:
        tx.execute(update(trash_blobs).where(trash_blobs.c.storage_key.in_(keys)).values(state="purging"))
    return keys


def forget(tx: Tx, keys: list[str]) -> None:
    """The bytes under `keys` are gone."""
    tx.execute(delete(trash_blobs).where(trash_blobs.c.storage_key.in_(keys), trash_blobs.c.state == "purging"))
