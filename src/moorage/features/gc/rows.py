"""What the collector asks of the rows.  Every function is one short transaction's work."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

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
from moorage.db.statements import among
from moorage.db.tx import Dialect
from moorage.oci.digest import Digest


def _begun(before: int, now: int) -> ColumnElement[bool]:
    """Which uploads may have been touched before `before`, by the index: a clock may have run ahead when they began."""
    return (uploads.c.started_at < before) | (uploads.c.started_at > now)


def abandoned(tx: Tx, before: int, now: int) -> int:
    """How many uploads nobody has touched since `before`."""
    left = select(func.count()).where(uploads.c.finished.is_(None), _begun(before, now), uploads.c.touched_at < before)
    return int(tx.execute(left).scalar_one())


def purge_uploads(tx: Tx, before: int, finished_before: int, now: int, most: int) -> int:
    """Forget uploads that nobody touched since `before`; their bytes go to the trash."""
    done = uploads.c.finished.is_not(None)
    stale = (done & (uploads.c.touched_at < finished_before)) | (~done & (uploads.c.touched_at < before))
    begun = _begun(max(before, finished_before), now)
    columns = (uploads.c.id, uploads.c.digest, uploads.c.finished)
    found = tx.execute(select(*columns).where(begun, stale).limit(most)).fetchall()
    for row in found:
        gone = tx.execute(delete(uploads).where(uploads.c.id == row.id, stale)).rowcount
        if gone and row.finished is None:
            trash.discard(tx, f"blobs/u/{row.id[:2]}/{row.id}", Digest.parse(row.digest), 0, now)
    return len(found)


_DELETED: Final = Prepared(
    select(trash_manifests.c.id).where(trash_manifests.c.purge_after < bindparam("now")).limit(bindparam("most"))
)
_LEASE: Final = Prepared(
    lambda dialect: (
        update(links)
        .where(
            links.c.blob_id.in_(select(trash_edges.c.blob_id).where(among(dialect, trash_edges.c.trash_id, "these")))
        )
        .where(links.c.leased_until < bindparam("until"))
        .values(leased_until=bindparam("until"))
    )
)
_PURGE_EDGES: Final = Prepared(
    lambda dialect: delete(trash_edges).where(among(dialect, trash_edges.c.trash_id, "these"))
)
_PURGE: Final = Prepared(lambda dialect: delete(trash_manifests).where(among(dialect, trash_manifests.c.id, "these")))
_PURGE_TAGS: Final = Prepared(delete(trash_tags).where(trash_tags.c.purge_after < bindparam("now")))


def purge_manifests(tx: Tx, now: int, leased_until: int, most: int) -> int:
    """Forget deleted manifests and tags that can no longer be restored; what they held is leased once more."""
    these = [row[0] for row in _DELETED.all(tx, now=now, most=most)]
    if these:
        _LEASE.run(tx, these=these, until=leased_until)
        _PURGE_EDGES.run(tx, these=these)
        _PURGE.run(tx, these=these)
    return len(these) + _PURGE_TAGS.run(tx, now=now)


def _unreferenced() -> ColumnElement[bool]:
    referred = exists(1).where(edges.c.blob_id == links.c.blob_id, edges.c.repository_id == links.c.repository_id)
    kept = exists(1).where(
        trash_edges.c.blob_id == links.c.blob_id, trash_edges.c.repository_id == links.c.repository_id
    )
    return ~referred & ~kept


_EXPIRED = (
    select(links.c.repository_id, links.c.blob_id)
    .where(links.c.leased_until >= bindparam("since"), links.c.leased_until < bindparam("now"), _unreferenced())
    .limit(bindparam("most"))
    .subquery()
)
_CANDIDATES: Final = select(
    _EXPIRED.c.repository_id, func.aggregate_strings(cast(_EXPIRED.c.blob_id, Text), ",").label("blobs")
).group_by(_EXPIRED.c.repository_id)

Link = tuple[int, int]
"""A repository's id and a blob's."""


def candidates(tx: Tx, since: int, now: int, most: int) -> list[Link]:
    """Links whose lease ran out from `since` on, of blobs that no manifest of the repository refers to: a look only.

    A repository's come as one text: with a row for each, this thread and the event loop would take turns as often.
    """
    found = tx.execute(_CANDIDATES, {"since": since, "now": now, "most": most}).fetchall()
    return [(row.repository_id, int(blob)) for row in found for blob in row.blobs.split(",")]


def _dead(dialect: Dialect) -> tuple[ColumnElement[bool], ...]:
    return (
        links.c.repository_id == bindparam("repository"),
        among(dialect, links.c.blob_id, "these"),
        links.c.leased_until < bindparam("now"),
        _unreferenced(),
    )


_KEEP: Final = Prepared(
    lambda dialect: insert(trash_links).from_select(
        ["repository_id", "blob_id", "deleted_at", "purge_after"],
        select(
            links.c.repository_id,
            links.c.blob_id,
            cast(bindparam("now"), BigInteger),
            cast(bindparam("purge_after"), BigInteger),
        ).where(*_dead(dialect)),
    )
)
_IN_TRASH = exists().where(
    trash_links.c.repository_id == links.c.repository_id, trash_links.c.blob_id == links.c.blob_id
)
_TAKE: Final = Prepared(lambda dialect: delete(links).where(*_dead(dialect), _IN_TRASH))


def unlink(tx: Tx, now: int, purge_after: int, found: list[Link]) -> int:
    """Take blobs that are `candidates` still from their repositories into the trash; gives how many were looked at.

    On PostgreSQL the first statement only locks: a push that committed after that statement began may refer to what
    was found, so they are looked at again by a younger statement, behind the lock.  A link that somebody else holds is
    in use: it is left for the next time, and nothing may be concluded from what can be seen of it.  Only what is in
    the trash by then is taken, for between two statements a reference may go.
    """
    if tx.dialect != "sqlite":
        wanted = select(links.c.repository_id, links.c.blob_id).where(tuple_(*links.primary_key).in_(found))
        locked = tx.execute(wanted.with_for_update(skip_locked=True)).fetchall()
        found = [(row.repository_id, row.blob_id) for row in locked]
    by_repository: dict[int, list[int]] = {}
    for repository, blob in found:
        by_repository.setdefault(repository, []).append(blob)
    for repository, these in by_repository.items():
        _KEEP.run(tx, repository=repository, these=these, now=now, purge_after=purge_after)
        _TAKE.run(tx, repository=repository, these=these, now=now)
    return len(found)


_WAITED: Final = Prepared(
    select(trash_links.c.blob_id).where(trash_links.c.purge_after < bindparam("now")).limit(bindparam("most"))
)
_LOCK: Final = Prepared(
    lambda dialect: (
        select(blobs.c.id)
        .where(among(dialect, blobs.c.id, "these"))
        .order_by(blobs.c.id)
        .with_for_update(skip_locked=True)
    )
)
_EMPTY: Final = Prepared(
    lambda dialect: delete(trash_links).where(
        among(dialect, trash_links.c.blob_id, "these"), trash_links.c.purge_after < bindparam("now")
    )
)
_GIVE_UP: Final = Prepared(
    lambda dialect: (
        delete(blobs)
        .where(among(dialect, blobs.c.id, "these"))
        # No repository has it, or may get it back from the trash.
        .where(*(~exists().where(table.c.blob_id == blobs.c.id) for table in (links, trash_links, trash_edges, edges)))
        .returning(blobs.c.storage_key, blobs.c.digest, blobs.c.size)
    )
)


def give_up(tx: Tx, now: int, most: int) -> int:
    """Forget links that waited long enough in the trash, and the blobs that nobody has any more.

    On PostgreSQL blobs are locked before it is asked who has them: whoever is about to link one holds it already, and
    then it is left for the next time.
    """
    these = sorted({row[0] for row in _WAITED.all(tx, now=now, most=most)})
    if tx.dialect != "sqlite":
        these = [row[0] for row in _LOCK.all(tx, these=these)]
    if these:
        _EMPTY.run(tx, these=these, now=now)
        trash.discard_all(tx, [row for row in _GIVE_UP.all(tx, these=these) if row[0] is not None], now)
    return len(these)


def _totals(kind: Select[tuple[int]]) -> Prepared:
    """How many there are of a kind, and their bytes."""
    sizes = kind.subquery()
    return Prepared(select(func.count(), func.coalesce(func.sum(sizes.c.size), 0)).select_from(sizes))


_HELD = (
    exists().where(links.c.blob_id == blobs.c.id),
    exists().where(trash_links.c.blob_id == blobs.c.id, trash_links.c.purge_after >= bindparam("now")),
    exists().where(trash_edges.c.blob_id == blobs.c.id),
    exists().where(edges.c.blob_id == blobs.c.id),
)
_TO_GIVE_UP: Final = _totals(
    select(blobs.c.size)
    .where(blobs.c.id.in_(select(trash_links.c.blob_id).where(trash_links.c.purge_after < bindparam("now"))))
    .where(~or_(*_HELD))
    .limit(bindparam("most"))
)
_TO_DESTROY: Final = _totals(
    select(trash_blobs.c.size)
    .where(trash_blobs.c.purge_after <= bindparam("now"), trash_blobs.c.size > 0)
    .limit(bindparam("most"))
)
_STORED: Final = _totals(select(blobs.c.size))
_DISCARDED: Final = _totals(select(trash_blobs.c.size).where(trash_blobs.c.size > 0))


def due(tx: Tx, now: int, most: int) -> tuple[int, int]:
    """How many blobs, and bytes, the next steps would destroy; of each kind it counts at most `most`.

    Bytes of abandoned uploads weigh nothing: nobody was promised them.
    """
    return _sum(tx, _TO_GIVE_UP, _TO_DESTROY, now=now, most=most)


def total(tx: Tx) -> tuple[int, int]:
    """How many blobs, and bytes, are stored, the trash included."""
    return _sum(tx, _STORED, _DISCARDED)


def _sum(tx: Tx, *kinds: Prepared, **parameters: int) -> tuple[int, int]:
    found = [row for kind in kinds for row in kind.all(tx, **parameters)]
    return sum(int(count) for count, _ in found), sum(int(size) for _, size in found)


_DUE: Final = Prepared(
    select(trash_blobs.c.storage_key)
    .where(trash_blobs.c.purge_after <= bindparam("now"))
    # No blob's bytes are ever discarded; were they by mistake, nothing else would stand between them and the end.
    .where(~exists().where(blobs.c.storage_key == trash_blobs.c.storage_key))
    .limit(bindparam("most"))
)
_CONDEMN: Final = Prepared(
    lambda dialect: update(trash_blobs).where(among(dialect, trash_blobs.c.storage_key, "keys")).values(state="purging")
)
_FORGET: Final = Prepared(
    lambda dialect: delete(trash_blobs).where(
        among(dialect, trash_blobs.c.storage_key, "keys"), trash_blobs.c.state == "purging"
    )
)


def condemn(tx: Tx, now: int, most: int) -> list[str]:
    """Mark bytes as being destroyed: from its commit on, nobody can bring them back.  Gives their keys."""
    keys = [row[0] for row in _DUE.all(tx, now=now, most=most)]
    if keys:
        _CONDEMN.run(tx, keys=keys)
    return keys


def forget(tx: Tx, keys: list[str]) -> None:
    """The bytes under `keys` are gone."""
    _FORGET.run(tx, keys=keys)
