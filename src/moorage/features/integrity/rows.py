"""What checks ask of the rows, in pages.  Values come as they are stored, for they are what is in doubt."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.sql import Select

from moorage.db.blobs import Blob, bind_waiting
from moorage.db.engine import Prepared, Tx
from moorage.db.manifests import DAMAGED, Stored
from moorage.db.repositories import Repository
from moorage.db.schema import blobs, edges, links, manifests, repositories
from moorage.db.statements import among
from moorage.errors import RegistryError
from moorage.features.integrity.verify import Kind
from moorage.oci.digest import CANONICAL, Digest
from moorage.oci.manifest import Manifest
from moorage.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Row:
    """A manifest with all that was derived from its bytes when it was pushed."""

    stored: Stored
    repository: Repository
    content: bytes
    artifact_type: str | None
    subject: str | None
    annotations: str | None


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, and what it leads to: `target` is the digest of what it is bound to, None where that is gone.

    `linked` tells whether its repository holds the blob; `there` whether what it waits for has arrived.
    """

    manifest: int
    position: int
    digest: str
    role: str
    bound: bool
    target: str | None
    linked: bool
    there: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is to look at; bytes as the rows promise them."""

    blobs: int
    blob_bytes: int
    manifests: int
    manifest_bytes: int


_BLOB = (blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.storage_key, blobs.c.content, blobs.c.damaged)
_BLOBS = select(*_BLOB).where(blobs.c.id > bindparam("after")).order_by(blobs.c.id).limit(bindparam("most"))
_BLOBS_AFTER: Final = Prepared(_BLOBS)
# Bytes that could not be read may be back, for disks do come back; those with another digest will not change.
_LOST_AFTER: Final = Prepared(
    _BLOBS.where(blobs.c.damaged.is_not(None), ~blobs.c.damaged.startswith(Kind.HASH.value, autoescape=True))
)
_ONE_BLOB = select(*_BLOB).where(blobs.c.id == bindparam("blob"))
_BLOB_BY_ID: Final = Prepared(_ONE_BLOB)
_BLOB_LOCKED: Final = Prepared(_ONE_BLOB.with_for_update())
_HELD: Final = Prepared(
    lambda dialect: (
        select(*_BLOB)
        .select_from(links.join(blobs))
        .where(links.c.repository_id == bindparam("repository"), among(dialect, blobs.c.digest, "digests"))
        .order_by(blobs.c.id)
        .with_for_update(key_share=True)
    )
)
_CHILDREN: Final = Prepared(
    lambda dialect: select(manifests.c.id, manifests.c.digest, manifests.c.size).where(
        manifests.c.repository_id == bindparam("repository"), among(dialect, manifests.c.digest, "digests")
    )
)
_ABSOLVE: Final = Prepared(
    update(blobs)
    .where(blobs.c.id == bindparam("blob"), func.coalesce(blobs.c.storage_key, "") == bindparam("key"))
    .where(or_(blobs.c.damaged.is_not(None), blobs.c.size != bindparam("true_size")))
    .values(damaged=None, size=bindparam("true_size"))
)

_ROW = (
    select(
        manifests.c.id,
        manifests.c.repository_id,
        repositories.c.name,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size,
        manifests.c.hold,
        manifests.c.artifact_type,
        manifests.c.subject,
        manifests.c.annotations,
        manifests.c.content,
    )
    .select_from(manifests.join(repositories))
    .order_by(manifests.c.id)
)
_LENGTHS: Final = Prepared(
    select(manifests.c.id, func.length(manifests.c.content))
    .where(manifests.c.id > bindparam("after"))
    .order_by(manifests.c.id)
    .limit(bindparam("most"))
)
_MANIFESTS: Final = Prepared(_ROW.where(manifests.c.id > bindparam("after"), manifests.c.id <= bindparam("last")))
_MANIFEST: Final = Prepared(_ROW.where(manifests.c.id == bindparam("manifest")))
_DERIVED: Final = Prepared(
    update(manifests)
    .where(manifests.c.id == bindparam("manifest"))
    .values(
        artifact_type=bindparam("new_artifact_type"),
        subject=bindparam("new_subject"),
        annotations=bindparam("new_annotations"),
    )
)


_TOTALS: Final = [
    Prepared(select(func.count(), func.coalesce(func.sum(table.c.size), 0)).select_from(table))
    for table in (blobs, manifests)
]


def _edges() -> Select[Any]:
    """Edges of a range of manifests, each with what it is bound to, or with what it could be bound to by now."""
    blob, child = blobs.alias("blob"), manifests.alias("child")
    new_blob, new_link, new_child = blobs.alias("new_blob"), links.alias("new_link"), manifests.alias("new_child")
    waits = and_(edges.c.blob_id.is_(None), edges.c.child_id.is_(None))
    found = (
        edges.outerjoin(blob, edges.c.blob_id == blob.c.id)
        .outerjoin(links, and_(links.c.repository_id == edges.c.repository_id, links.c.blob_id == edges.c.blob_id))
        .outerjoin(child, and_(edges.c.child_id == child.c.id, child.c.repository_id == edges.c.repository_id))
        .outerjoin(new_blob, and_(waits, new_blob.c.digest == edges.c.digest, new_blob.c.damaged.is_(None)))
        .outerjoin(
            new_link,
            and_(new_link.c.repository_id == edges.c.repository_id, new_link.c.blob_id == new_blob.c.id),
        )
        .outerjoin(
            new_child,
            and_(
                waits,
                new_child.c.repository_id == edges.c.repository_id,
                new_child.c.digest == edges.c.digest,
                or_(new_child.c.hold.is_(None), ~new_child.c.hold.startswith(DAMAGED, autoescape=True)),
            ),
        )
    )
    return (
        select(
            edges.c.manifest_id,
            edges.c.position,
            edges.c.digest,
            edges.c.role,
            edges.c.blob_id,
            edges.c.child_id,
            blob.c.digest,
            child.c.digest,
            links.c.blob_id,
            new_link.c.blob_id,
            new_child.c.id,
        )
        .select_from(found)
        .where(edges.c.manifest_id >= bindparam("first"), edges.c.manifest_id <= bindparam("last"))
        .order_by(edges.c.manifest_id, edges.c.position)
    )


_EDGES: Final = Prepared(_edges())


def totals(tx: Tx) -> Totals:
    """How much there is to look at."""
    counted: list[int] = []
    for prepared in _TOTALS:
        counted += map(int, prepared.all(tx)[0])
    return Totals(*counted)


def blobs_after(tx: Tx, after: int, most: int, lost: bool = False) -> list[Blob]:
    """At most `most` blobs behind the id `after`, with the bytes that live in rows; only those lost, if asked."""
    prepared = _LOST_AFTER if lost else _BLOBS_AFTER
    return [_blob(row) for row in prepared.all(tx, after=after, most=most)]


def blob(tx: Tx, identity: int, *, lock: bool = False) -> Blob | None:
    """The blob as it is now; locked until the transaction ends, if asked."""
    row = (_BLOB_LOCKED if lock else _BLOB_BY_ID).one(tx, blob=identity)
    return _blob(row) if row else None


def absolve(tx: Tx, found: Blob, size: int) -> bool:
    """The blob's bytes are sound, and `size` is how many there are; unless they were replaced meanwhile."""
    if not _ABSOLVE.run(tx, blob=found.id, key=found.key or "", true_size=size):
        return False
    bind_waiting(tx, found)
    return True


def manifests_after(tx: Tx, after: int, most: int, most_bytes: int) -> list[Row]:
    """At most `most` manifests behind the id `after`, and no more than `most_bytes` of them, but at least one."""
    last, taken = after, 0
    for identity, length in _LENGTHS.all(tx, after=after, most=most):
        taken += length or 0
        if last != after and taken > most_bytes:
            break
        last = identity
    return [_row(row) for row in _MANIFESTS.all(tx, after=after, last=last)] if last != after else []


def manifest(tx: Tx, identity: int) -> Row | None:
    """The manifest as it is now."""
    row = _MANIFEST.one(tx, manifest=identity)
    return _row(row) if row else None


def edges_between(tx: Tx, first: int, last: int) -> dict[int, list[Edge]]:
    """The edges of the manifests with these ids and all between, in the order of their positions."""
    found: dict[int, list[Edge]] = {}
    for row in _EDGES.all(tx, first=first, last=last):
        identity, position, digest, role, blob_id, child_id, of_blob, of_child, link, new_link, new_child = row
        edge = Edge(
            identity,
            position,
            digest,
            role,
            bound=blob_id is not None or child_id is not None,
            target=of_blob if blob_id is not None else of_child,
            linked=blob_id is None or link is not None,
            there=(new_link is not None and role != "subject")
            or (new_child is not None and role in {"child", "subject"}),
        )
        found.setdefault(identity, []).append(edge)
    return found


def held(tx: Tx, repository: Repository, digests: Iterable[Digest]) -> dict[Digest, Blob]:
    """Those of `digests` that are blobs of the repository, damaged ones among them; locked against the collector."""
    found = _HELD.all(tx, repository=repository.id, digests=[str(one) for one in digests])
    return {Digest.parse(row[1]): _blob(row) for row in found}


def children(tx: Tx, repository: Repository, digests: Iterable[Digest]) -> dict[Digest, tuple[int, int]]:
    """Those of `digests` that are manifests of the repository, damaged ones among them: their id and size."""
    found = _CHILDREN.all(tx, repository=repository.id, digests=[str(one) for one in digests])
    return {Digest.parse(row[1]): (row[0], row[2]) for row in found}


def write_derived(tx: Tx, identity: int, parsed: Manifest) -> None:
    """Write what lists show of a manifest, as its bytes say it."""
    _DERIVED.run(
        tx,
        manifest=identity,
        new_artifact_type=parsed.artifact_type,
        new_subject=str(parsed.subject.digest) if parsed.subject else None,
        new_annotations=json.dumps(parsed.annotations) if parsed.annotations else None,
    )


def strays(tx: Tx) -> list[str]:
    """Rows that refer to rows which are gone; PostgreSQL lets none be."""
    if tx.dialect != "sqlite":
        return []
    found = tx.raw.execute("PRAGMA foreign_key_check").fetchall()
    return [f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is gone" for row in found]


def _blob(row: tuple[Any, ...]) -> Blob:
    return Blob(row[0], _named(row[1]), row[2], row[3], row[4], row[5])


def _row(row: tuple[Any, ...]) -> Row:
    identity, repository, name, digest, media_type, size, hold, artifact_type, subject, annotations, content = row
    stored = Stored(identity, repository, _named(digest), media_type, size, hold)
    return Row(stored, Repository(repository, RepositoryName(name)), content, artifact_type, subject, annotations)


def _named(text: str) -> Digest:
    """The digest that a row says; one that is none is kept as it is, and nothing will ever have it."""
    try:
        return Digest.parse(text)
    except RegistryError:
        return Digest(f"{CANONICAL}:{text}")
