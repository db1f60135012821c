"""Rows of manifests, and of the edges to what they refer to."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Integer, bindparam, case, delete, or_, select, type_coerce, update

from moorage.db.blobs import Blob, damaged_below
from moorage.db.engine import Prepared, Tx
from moorage.db.repositories import Repository
from moorage.db.schema import edges, manifests, repositories, tags
from moorage.db.statements import among, insert
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest, Role
from moorage.oci.names import Reference, RepositoryName, Tag

DAMAGED: Final = "its bytes are damaged"
"""How the hold of a manifest begins whose stored bytes no longer have its digest; another room's hold follows."""


class Stored(NamedTuple):
    """A manifest as stored: `size` in bytes; `content` only where it was asked for."""

    id: int
    repository_id: int
    digest: Digest
    media_type: str
    size: int
    hold: str | None
    content: bytes | None = None
    incomplete: bool = False
    """Whether a blob of its is damaged, as far as is known; not asked where the content was."""

    @property
    def damaged(self) -> bool:
        """Whether a check has found that its bytes no longer have its digest."""
        return self.hold is not None and self.hold.startswith(DAMAGED)


@dataclass(frozen=True, slots=True)
class Referrer:
    """What a referrers list shows of a manifest (distribution-spec, "Listing Referrers")."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str | None
    annotations: dict[str, str]


_COLUMNS = (
    manifests.c.id,
    manifests.c.repository_id,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.size,
    manifests.c.hold,
)
_IN_REPOSITORY = (
    select(*_COLUMNS).select_from(repositories.join(manifests)).where(repositories.c.name == bindparam("name"))
)
_TAGGED = (
    select(*_COLUMNS)
    .select_from(
        repositories.join(tags, tags.c.repository_id == repositories.c.id).join(
            manifests, manifests.c.id == tags.c.manifest_id
        )
    )
    .where(repositories.c.name == bindparam("name"), tags.c.name == bindparam("reference"))
)
_BY_DIGEST = _IN_REPOSITORY.where(manifests.c.digest == bindparam("reference"))
_NAMED: Final = ("name", "reference")
_INCOMPLETE = type_coerce(damaged_below(manifests.c.id).correlate(manifests).exists(), Integer)
_FIND_DIGEST: Final = Prepared(_BY_DIGEST.add_columns(_INCOMPLETE), *_NAMED)
_FIND_TAG: Final = Prepared(_TAGGED.add_columns(_INCOMPLETE), *_NAMED)
_READ_DIGEST: Final = Prepared(_BY_DIGEST.add_columns(manifests.c.content), *_NAMED)
_READ_TAG: Final = Prepared(_TAGGED.add_columns(manifests.c.content), *_NAMED)

_SUBJECT: Final = Prepared(
    select(manifests.c.subject)
    .select_from(repositories.join(manifests))
    .where(
        repositories.c.name == bindparam("name"),
        manifests.c.subject >= bindparam("first"),
        manifests.c.subject < bindparam("behind"),
    )
    .limit(1)
)
_REFERRING = (
    select(
        manifests.c.digest, manifests.c.media_type, manifests.c.size, manifests.c.artifact_type, manifests.c.annotations
    )
    .select_from(repositories.join(manifests))
    .where(
        repositories.c.name == bindparam("name"),
        manifests.c.subject == bindparam("subject_digest"),
        manifests.c.digest > bindparam("after"),
    )
    .order_by(manifests.c.digest)
    .limit(bindparam("most"))
)
_REFERRERS: Final = Prepared(_REFERRING)
_REFERRERS_OF: Final = Prepared(lambda dialect: _REFERRING.where(among(dialect, manifests.c.artifact_type, "types")))

_BIND: Final = Prepared(
    update(edges)
    .where(
        edges.c.repository_id == bindparam("in_repository"),
        edges.c.digest == bindparam("waiting_for"),
        edges.c.blob_id.is_(None),
        edges.c.child_id.is_(None),
    )
    .values(child_id=bindparam("child"))
)
_SOUND = or_(manifests.c.hold.is_(None), ~manifests.c.hold.startswith(DAMAGED, autoescape=True))
_HELD: Final = Prepared(
    lambda dialect: select(manifests.c.id, manifests.c.digest, manifests.c.size).where(
        manifests.c.repository_id == bindparam("repository"), among(dialect, manifests.c.digest, "digests"), _SOUND
    )
)
_CONDEMN: Final = Prepared(
    update(manifests)
    .where(manifests.c.id == bindparam("manifest"), _SOUND)
    .values(hold=case((manifests.c.hold.is_(None), DAMAGED), else_=f"{DAMAGED}; " + manifests.c.hold))
)
_HEAL: Final = Prepared(
    update(manifests)
    .where(manifests.c.id == bindparam("manifest"))
    .values(hold=bindparam("others"), size=bindparam("true_size"), content=bindparam("sound"))
)
_ADD: Final = Prepared(
    lambda dialect: insert(
        dialect,
        manifests,
        "repository_id",
        "digest",
        "media_type",
        "size",
        "artifact_type",
        "subject",
        "pushed_at",
        "annotations",
        "content",
    ).returning(manifests.c.id)
)
_ADD_EDGE: Final = Prepared(
    lambda dialect: insert(
        dialect, edges, "manifest_id", "position", "repository_id", "digest", "role", "child_id", "blob_id"
    )
)
_DIGESTS: Final = Prepared(
    select(manifests.c.digest)
    .where(manifests.c.repository_id == bindparam("repository"))
    .order_by(manifests.c.id.desc())
)
_RELEASE: Final = Prepared(update(edges).where(edges.c.child_id == bindparam("manifest")).values(child_id=None))
_DELETE_EDGES: Final = Prepared(delete(edges).where(edges.c.manifest_id == bindparam("manifest")))
_DELETE: Final = Prepared(delete(manifests).where(manifests.c.id == bindparam("manifest")))


def find(tx: Tx, name: RepositoryName, reference: Reference) -> Stored | None:
    """The manifest that a tag or digest names in the repository, without its bytes."""
    if isinstance(reference, Tag):
        row = _FIND_TAG.row(tx, name.value, reference.value)
    else:
        row = _FIND_DIGEST.row(tx, name.value, reference.text)
    if row is None:
        return None
    return Stored(row[0], row[1], Digest.parse(row[2]), row[3], row[4], row[5], incomplete=bool(row[6]))


def read(tx: Tx, name: RepositoryName, reference: Reference) -> Stored | None:
    """The same, with the exact bytes that were pushed."""
    if isinstance(reference, Tag):
        row = _READ_TAG.row(tx, name.value, reference.value)
    else:
        row = _READ_DIGEST.row(tx, name.value, reference.text)
    return Stored(row[0], row[1], Digest.parse(row[2]), row[3], row[4], row[5], row[6]) if row else None


def held(tx: Tx, repository: Repository, digests: Iterable[Digest]) -> dict[Digest, tuple[int, int]]:
    """Those of `digests` that are sound manifests of the repository: their id and size."""
    wanted = {str(digest): digest for digest in digests}
    if not wanted:
        return {}
    rows = _HELD.all(tx, repository=repository.id, digests=list(wanted))
    return {wanted[digest]: (identity, size) for identity, digest, size in rows}


def add(
    tx: Tx,
    repository: Repository,
    digest: Digest,
    manifest: Manifest,
    content: bytes,
    blobs: dict[Digest, Blob],
    children: dict[Digest, tuple[int, int]],
    now: int,
) -> int:
    """Write the manifest and its edges, bind the edges that wait for it, and give its id."""
    row = _ADD.one(
        tx,
        repository_id=repository.id,
        digest=str(digest),
        media_type=manifest.media_type,
        size=len(content),
        artifact_type=manifest.artifact_type,
        subject=str(manifest.subject.digest) if manifest.subject else None,
        pushed_at=now,
        annotations=json.dumps(manifest.annotations) if manifest.annotations else None,
        content=content,
    )
    if row is None:
        raise LookupError("an inserted manifest has no id")
    identity = int(row[0])
    _add_edges(tx, identity, repository, manifest, blobs, children)
    _BIND.run(tx, in_repository=repository.id, waiting_for=str(digest), child=identity)
    return identity


def rewrite_edges(
    tx: Tx,
    identity: int,
    repository: Repository,
    manifest: Manifest,
    blobs: dict[Digest, Blob],
    children: dict[Digest, tuple[int, int]],
) -> None:
    """Write the edges of a manifest anew, where they are not what its bytes say."""
    _DELETE_EDGES.run(tx, manifest=identity)
    _add_edges(tx, identity, repository, manifest, blobs, children)


def _add_edges(
    tx: Tx,
    identity: int,
    repository: Repository,
    manifest: Manifest,
    blobs: dict[Digest, Blob],
    children: dict[Digest, tuple[int, int]],
) -> None:
    if manifest.descriptors:
        _ADD_EDGE.run_each(
            tx,
            [
                {
                    "manifest_id": identity,
                    "position": position,
                    "repository_id": repository.id,
                    "digest": str(one.digest),
                    "role": one.role.value,
                    **_found(one.role, one.digest, blobs, children),
                }
                for position, one in enumerate(manifest.descriptors)
            ],
        )


def _found(
    role: Role, digest: Digest, blobs: dict[Digest, Blob], children: dict[Digest, tuple[int, int]]
) -> dict[str, int | None]:
    """What an edge is bound to.  An index may also list blobs: BuildKit's cache does."""
    child = children.get(digest) if role.names_manifest else None
    blob = blobs.get(digest) if child is None and role is not Role.SUBJECT else None
    return {"child_id": child[0] if child else None, "blob_id": blob.id if blob else None}


def condemn(tx: Tx, identity: int) -> bool:
    """Hold a manifest back whose bytes are damaged, on top of what else holds it.  False where it was known."""
    return bool(_CONDEMN.run(tx, manifest=identity))


def heal(tx: Tx, stored: Stored, content: bytes) -> None:
    """Give a damaged manifest its bytes back, and bind what waits for it; what else holds it back still does."""
    others = (stored.hold or "").removeprefix(DAMAGED).removeprefix("; ") or None
    _HEAL.run(tx, manifest=stored.id, others=others, true_size=len(content), sound=content)
    _BIND.run(tx, in_repository=stored.repository_id, waiting_for=str(stored.digest), child=stored.id)


def digests(tx: Tx, repository: Repository) -> list[Digest]:
    """The digest of every manifest of the repository, the newest first."""
    return [Digest.parse(row[0]) for row in _DIGESTS.all(tx, repository=repository.id)]


def remove(tx: Tx, identity: int) -> None:
    """Take the row and its edges away; edges that lead to it wait again."""
    _RELEASE.run(tx, manifest=identity)
    _DELETE_EDGES.run(tx, manifest=identity)
    _DELETE.run(tx, manifest=identity)


def referrers(
    tx: Tx, name: RepositoryName, subject: Digest, types: Sequence[str], after: str, most: int
) -> list[Referrer]:
    """At most `most` manifests of the repository whose subject is `subject`, by digest, behind `after`."""
    asked = {"name": name.value, "subject_digest": str(subject), "after": after, "most": most}
    rows = _REFERRERS_OF.all(tx, types=list(types), **asked) if types else _REFERRERS.all(tx, **asked)
    return [
        Referrer(Digest.parse(digest), media_type, size, kind, json.loads(annotations) if annotations else {})
        for digest, media_type, size, kind, annotations in rows
    ]


def subject(tx: Tx, name: RepositoryName, beginning: str) -> Digest | None:
    """What some manifest of the repository refers to as its subject, by the beginning of the subject's digest."""
    row = _SUBJECT.one(tx, name=name.value, first=beginning, behind=f"{beginning}g")
    return Digest.parse(row[0]) if row else None
