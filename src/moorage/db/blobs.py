"""Rows of blobs, and of the links by which repositories hold them."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.repositories import Repository
from moorage.db.schema import blobs, edges, links, manifests, repositories, trash_links
from moorage.db.statements import among, insert
from moorage.db.tx import Dialect
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


class Blob(NamedTuple):
    """A blob as stored: `size` in bytes; its bytes are `content`, or lie under `key`.

    `damaged` says what is wrong with them, once a check has found it.
    """

    id: int
    digest: Digest
    size: int
    key: str | None
    content: bytes | None = None
    damaged: str | None = None


class Linked(NamedTuple):
    """A blob that a repository holds; without a reference it goes when `leased_until` has passed."""

    blob: Blob
    repository_id: int
    leased_until: int


_LINKED = (
    select(blobs.c.id, blobs.c.size, blobs.c.storage_key, links.c.repository_id, links.c.leased_until)
    .select_from(repositories.join(links).join(blobs))
    .where(repositories.c.name == bindparam("name"), blobs.c.digest == bindparam("digest"), blobs.c.damaged.is_(None))
)
_FIND: Final = Prepared(_LINKED, "name", "digest")
_FIND_HELD: Final = Prepared(_LINKED.with_for_update(read=True, key_share=True, of=links))
_READ: Final = Prepared(_LINKED.add_columns(blobs.c.content), "name", "digest")
_BY_DIGEST: Final = Prepared(
    select(blobs.c.id, blobs.c.size, blobs.c.storage_key, blobs.c.damaged).where(blobs.c.digest == bindparam("digest"))
)
_DAMAGE: Final = Prepared(
    select(
        select(blobs.c.damaged)
        .select_from(links.join(blobs))
        .where(links.c.repository_id == repositories.c.id, blobs.c.digest == bindparam("digest"))
        .correlate(repositories)
        .scalar_subquery()
    ).where(repositories.c.name == bindparam("name")),
    "digest",
    "name",
)


def damaged_below(manifest: ColumnElement[int]) -> Select[tuple[str]]:
    """The digests of damaged blobs that a manifest refers to, by its id.

    From the side of the damaged, which have an index of their own: few ever are, and every push asks.
    """
    refers = exists().where(edges.c.blob_id == blobs.c.id, edges.c.manifest_id == manifest)
    return select(blobs.c.digest).where(blobs.c.damaged.is_not(None), refers.correlate_except(edges))


_DAMAGED_OF: Final = Prepared(damaged_below(bindparam("manifest")))
_CONDEMN: Final = Prepared(
    update(blobs)
    .where(blobs.c.id == bindparam("blob"), blobs.c.damaged.is_(None))
    .where(func.coalesce(blobs.c.storage_key, "") == bindparam("key"))
    .values(damaged=bindparam("reason"))
)
_HEAL: Final = Prepared(
    update(blobs)
    .where(blobs.c.id == bindparam("blob"), blobs.c.damaged.is_not(None))
    .values(
        damaged=None, size=bindparam("true_size"), storage_key=bindparam("new_key"), content=bindparam("new_content")
    )
)
_HOLDERS: Final = Prepared(
    select(repositories.c.name)
    .select_from(blobs.join(links).join(repositories))
    .where(blobs.c.digest == bindparam("digest"))
    .limit(bindparam("most"))
)
_REFERRING: Final = Prepared(
    select(manifests.c.digest)
    .select_from(edges.join(manifests, edges.c.manifest_id == manifests.c.id))
    .where(edges.c.blob_id == bindparam("blob"), edges.c.repository_id == bindparam("repository"))
    .limit(1)
)
_RENEW: Final = Prepared(
    update(links)
    .where(links.c.repository_id == bindparam("repository"), links.c.blob_id == bindparam("blob"))
    .values(leased_until=bindparam("until"))
)
_UNLINK: Final = Prepared(
    delete(links).where(links.c.repository_id == bindparam("repository"), links.c.blob_id == bindparam("blob"))
)
_HOLDINGS: Final = Prepared(
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.storage_key)
    .select_from(links.join(blobs, links.c.blob_id == blobs.c.id))
    .where(links.c.repository_id == bindparam("repository"))
    .order_by(blobs.c.id)
)
_KEEP_LINK: Final = Prepared(
    lambda dialect: insert(dialect, trash_links, "repository_id", "blob_id", "actor", "deleted_at", "purge_after")
)
_FORGET_KEPT: Final = Prepared(
    delete(trash_links).where(
        trash_links.c.repository_id == bindparam("repository"), trash_links.c.blob_id == bindparam("blob")
    )
)
_ADD: Final = Prepared(
    lambda dialect: (
        insert(dialect, blobs, "digest", "size", "storage_key", "content", "created_at")
        .on_conflict_do_nothing(index_elements=[blobs.c.digest])
        .returning(blobs.c.id)
    )
)
_HOLD: Final = Prepared(select(blobs.c.id).where(blobs.c.digest == bindparam("digest")).with_for_update(key_share=True))
_BIND: Final = Prepared(
    update(edges)
    .where(
        edges.c.repository_id == bindparam("in_repository"),
        edges.c.digest == bindparam("waiting_for"),
        edges.c.blob_id.is_(None),
        edges.c.child_id.is_(None),
    )
    .values(blob_id=bindparam("blob"))
)


def _link(dialect: Dialect) -> Any:
    added = insert(dialect, links, "repository_id", "blob_id", "linked_at", "leased_until")
    later = func.max if dialect == "sqlite" else func.greatest
    return added.on_conflict_do_update(
        index_elements=[links.c.repository_id, links.c.blob_id],
        set_={"leased_until": later(links.c.leased_until, added.excluded.leased_until)},
    )


def _held(dialect: Dialect) -> Any:
    return (
        select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.storage_key)
        .select_from(links.join(blobs))
        .where(
            links.c.repository_id == bindparam("repository"),
            blobs.c.damaged.is_(None),
            among(dialect, blobs.c.digest, "digests"),
        )
        .order_by(blobs.c.id)
        # The link is what the collector takes; the blob is shared with other repositories, whose pushes need not wait.
        .with_for_update(read=True, key_share=True, of=links)
    )


def _kept(dialect: Dialect) -> Any:
    return (
        select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.storage_key)
        .select_from(trash_links.join(blobs, trash_links.c.blob_id == blobs.c.id))
        .where(
            trash_links.c.repository_id == bindparam("repository"),
            trash_links.c.actor.is_(None),
            among(dialect, blobs.c.digest, "digests"),
        )
        .order_by(blobs.c.id)
        # In the collector's own order: it holds a blob, then takes what is in the trash.
        .with_for_update(key_share=True, of=blobs)
    )


_HOLDERS_HELD: Final = Prepared(
    select(repositories.c.id)
    .where(repositories.c.id.in_(select(links.c.repository_id).where(links.c.blob_id == bindparam("blob"))))
    .order_by(repositories.c.id)
    .with_for_update(key_share=True)
)
_ANY_STORED: Final = Prepared(select(blobs.c.id).where(blobs.c.storage_key.is_not(None)).limit(1))
_LINK: Final = Prepared(_link)
_HELD: Final = Prepared(_held)
_KEPT: Final = Prepared(_kept)


def find(tx: Tx, name: RepositoryName, digest: Digest) -> Linked | None:
    """The blob if the repository holds it, without its bytes."""
    row = _FIND.row(tx, name.value, digest.text)
    return Linked(Blob(row[0], digest, row[1], row[2]), row[3], row[4]) if row else None


def find_held(tx: Tx, name: RepositoryName, digest: Digest) -> Linked | None:
    """The same, held against the collector until the transaction ends."""
    row = _FIND_HELD.one(tx, name=name.value, digest=str(digest))
    return Linked(Blob(row[0], digest, row[1], row[2]), row[3], row[4]) if row else None


def read(tx: Tx, name: RepositoryName, digest: Digest) -> Linked | None:
    """The blob if the repository holds it, with its bytes where they live in the row."""
    row = _READ.row(tx, name.value, digest.text)
    return Linked(Blob(row[0], digest, row[1], row[2], row[5]), row[3], row[4]) if row else None


def stored(tx: Tx, digest: Digest) -> Blob | None:
    """The blob in whatever repository; says nothing about who may know of it."""
    row = _BY_DIGEST.one(tx, digest=str(digest))
    return Blob(row[0], digest, row[1], row[2], damaged=row[3]) if row else None


def any_stored(tx: Tx) -> bool:
    """Whether any blob has its bytes in the store."""
    return _ANY_STORED.one(tx) is not None


def absence(tx: Tx, name: RepositoryName, digest: Digest) -> tuple[bool, str | None]:
    """Why a blob is not found: whether its repository is there at all, and what is wrong with its bytes, if that."""
    row = _DAMAGE.row(tx, digest.text, name.value)
    return (row is not None, row[0] if row else None)


def damaged_of(tx: Tx, manifest: int) -> list[Digest]:
    """The blobs of a manifest that are known to be damaged, by the manifest's id."""
    return [Digest.parse(row[0]) for row in _DAMAGED_OF.all(tx, manifest=manifest)]


def condemn(tx: Tx, blob: Blob, reason: str) -> bool:
    """Write down that the blob's bytes are damaged, unless they were replaced since they were looked at."""
    return bool(_CONDEMN.run(tx, blob=blob.id, key=blob.key or "", reason=reason))


def heal(tx: Tx, blob: Blob, size: int, key: str | None, content: bytes | None) -> bool:
    """Give a damaged blob sound bytes.  False where somebody else was faster; the caller discards the old key."""
    if not _HEAL.run(tx, blob=blob.id, true_size=size, new_key=key, new_content=content):
        return False
    bind_waiting(tx, blob)
    return True


def bind_waiting(tx: Tx, blob: Blob) -> None:
    """Bind the edges that wait for a blob which was damaged, wherever it is linked: those pushed meanwhile.

    Repositories are held, as by `repositories.hold`: a push that is under way has ended, or sees the blob sound.
    """
    for (repository,) in _HOLDERS_HELD.all(tx, blob=blob.id):
        _BIND.run(tx, in_repository=repository, waiting_for=str(blob.digest), blob=blob.id)


def add(tx: Tx, digest: Digest, size: int, key: str | None, content: bytes | None, now: int) -> Blob:
    """Make the blob known, unless it is already; compare `key` to learn whose bytes it has."""
    row = {"digest": str(digest), "size": size, "storage_key": key, "content": content, "created_at": now}
    made = _ADD.one(tx, **row)
    if made is None:
        if tx.dialect != "sqlite":
            # The collector may be about to take an old row of this digest: wait for it, then look again.
            _HOLD.all(tx, digest=str(digest))
        found = stored(tx, digest)
        if found is not None:
            return found
        made = _ADD.one(tx, **row)
        if made is None:
            raise LookupError(f"blob {digest} was neither found nor made")
    return Blob(made[0], digest, size, key)


def link(tx: Tx, repository: Repository, blob: Blob, now: int, leased_until: int) -> None:
    """Give the repository the blob, or renew its lease; bind the edges that wait for it there."""
    _LINK.run(tx, repository_id=repository.id, blob_id=blob.id, linked_at=now, leased_until=leased_until)
    _FORGET_KEPT.run(tx, repository=repository.id, blob=blob.id)
    _BIND.run(tx, in_repository=repository.id, waiting_for=str(blob.digest), blob=blob.id)


def renew(tx: Tx, linked: Linked, until: int) -> bool:
    """Lengthen a lease.  False where the link is gone by now."""
    return bool(_RENEW.run(tx, repository=linked.repository_id, blob=linked.blob.id, until=until))


def unlink(tx: Tx, repository: Repository, blob: Blob, actor: str, now: int, purge_after: int) -> bool:
    """Take the blob from the repository, into the trash.  False where it was not there."""
    if not _UNLINK.run(tx, repository=repository.id, blob=blob.id):
        return False
    _KEEP_LINK.run(
        tx, repository_id=repository.id, blob_id=blob.id, actor=actor, deleted_at=now, purge_after=purge_after
    )
    return True


def linked_to(tx: Tx, repository: Repository) -> list[Blob]:
    """Every blob that the repository holds."""
    rows = _HOLDINGS.all(tx, repository=repository.id)
    return [Blob(row[0], Digest.parse(row[1]), row[2], row[3]) for row in rows]


def referring(tx: Tx, linked: Linked) -> Digest | None:
    """A manifest of the same repository that refers to the blob."""
    row = _REFERRING.one(tx, blob=linked.blob.id, repository=linked.repository_id)
    return Digest.parse(row[0]) if row else None


def holders(tx: Tx, digest: Digest, most: int) -> list[RepositoryName]:
    """At most `most` repositories that hold the blob."""
    return [RepositoryName.parse(row[0]) for row in _HOLDERS.all(tx, digest=str(digest), most=most)]


def held(tx: Tx, repository: Repository, digests: Iterable[Digest]) -> dict[Digest, Blob]:
    """Those of `digests` that the repository holds; held against the collector until the transaction ends."""
    wanted = {str(digest): digest for digest in digests}
    if not wanted:
        return {}
    rows = _HELD.all(tx, repository=repository.id, digests=list(wanted))
    return {wanted[row[1]]: Blob(row[0], wanted[row[1]], row[2], row[3]) for row in rows}


def revive(tx: Tx, repository: Repository, digests: Iterable[Digest], now: int, leased_until: int) -> None:
    """Bring back those of `digests` whose lease ran out here, and which are still in the trash.

    What somebody deleted stays deleted.
    """
    for identity, digest, size, key in _KEPT.all(tx, repository=repository.id, digests=[str(one) for one in digests]):
        link(tx, repository, Blob(identity, Digest.parse(digest), size, key), now, leased_until)
